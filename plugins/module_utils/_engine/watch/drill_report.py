# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What drills came to, for people and for programs: a page and a JSON document, the worst drill first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..system import clock
from ..system.files import counted, readable
from . import drill_details, given, measured, page
from .drill_details import Drill
from .given import Given
from .measured import seconds
from .page import BAD, GOOD, WARN, Cell, Column, Figure, Section, Table

FORMAT = 1
_COLUMNS = (
    Column("Outcome"),
    Column("Database", names=True),
    Column("Host"),
    Column("Backup", roomy=True),
    Column("Restored in", number=True),
    Column("Age of the data", number=True),
    Column("Size", number=True),
    Column("Forecast", number=True),
)
_FOOTER = (
    "A drill restores a backup into a scratch place, checks it there, and removes it again.",
    "RTO: the longest that a restore may take. RPO: the oldest that the data in a backup may be.",
)
# Details of more drills than these are closed, unless there is something to see to.
_OPEN_AT_MOST = 3


def collect(drills: Iterable[Mapping[str, Any]], made: datetime) -> dict[str, Any]:
    """The report of ``drills``, as ``to_html`` and ``to_json`` take it."""
    ordered = sorted(drills, key=lambda each: Drill(each).order)
    return {"format": FORMAT, "made": clock.to_text(made), "drills": ordered}


def to_json(report: Mapping[str, Any]) -> str:
    return given.to_json(report)


def to_html(report: Mapping[str, Any]) -> str:
    """The page of a report; what a host said wrong is left out of it, and nothing of it can do harm."""
    values = Given(report)
    drills = sorted((Drill(each) for each in values.mappings("drills")), key=lambda each: each.order)
    made = values.moment("made")
    sections = [_section(each, number, len(drills)) for number, each in enumerate(drills, 1)]
    lead, tone = _lead(drills)
    return page.render(
        page.Page(
            title="Restore drills",
            lead=lead,
            tone=tone,
            figures=_figures(drills),
            table=Table("Summary", _COLUMNS, [_row(*each) for each in enumerate(drills, 1)], "Outcome", sortable=True),
            sections=sections,
            footer=[
                *([f"Made at {measured.shown(made)}."] if made else []),
                *_FOOTER,
            ],
        )
    )


def _lead(drills: list[Drill]) -> tuple[str, str]:
    """The sentence that tells how it went, and its tone."""
    if not drills:
        return "No drill was done.", BAD
    passed = sum(each.verdict.tone == GOOD for each in drills)
    if passed < len(drills):
        tone = BAD if any(each.verdict.tone == BAD for each in drills) else WARN
        return f"{passed} of {counted(len(drills), 'drill')} passed.", tone
    databases = len({each.label for each in drills})
    if databases < passed:
        return f"All {passed} drills of {counted(databases, 'database')} passed.", GOOD
    if passed == 1:
        return "The database came back from its backup.", GOOD
    return f"All {passed} databases came back from their backups.", GOOD


def _figures(drills: list[Drill]) -> list[Figure]:
    verdicts = [each.verdict for each in drills]
    found = [
        Figure(word[0].upper() + word[1:], str(sum(each.word == word for each in verdicts)), tone=tone)
        for word, tone in dict.fromkeys((each.word, each.tone) for each in verdicts)
    ]
    for label, name in (("Longest restore", "rto_seconds"), ("Oldest data", "rpo_seconds")):
        known = [(number, each.label) for each in drills if (number := each.values.number(name)) is not None]
        if known:
            longest, whose = max(known)
            found.append(Figure(label, seconds(longest), whose))
    sizes = [size for each in drills if each.verdict.tone == GOOD and (size := each.values.count("database_bytes"))]
    return [*found, *([Figure("Data brought back", readable(sum(sizes)))] if sizes else [])]


def _row(number: int, drill: Drill) -> list[Cell]:
    values = drill.values
    made, size = values.moment("created"), values.count("database_bytes")
    return [
        Cell(status=drill.verdict, sort=drill.order[0], link=_anchor(number)),
        Cell(drill.name or "all of them"),
        Cell(values.text("host")),
        Cell(values.text("backup"), note=f"made {measured.shown(made)}" if made else ""),
        _against(drill, "rto"),
        _against(drill, "rpo"),
        Cell() if size is None else Cell(readable(size), sort=size),
        _forecast(values.object("forecast")),
    ]


def _against(drill: Drill, name: str) -> Cell:
    """What was measured, beside what it should be."""
    number, goal = drill.values.number(f"{name}_seconds"), drill.values.number(f"{name}_target_seconds")
    return page.measured(number, goal, words=seconds, note=drill.against(name))


def _forecast(forecast: Given) -> Cell:
    longest = forecast.number("rto_seconds")
    if longest is None:
        return Cell(sort="")
    days = forecast.count("days")
    parts = [f"in {days} days" if days else "", measured.met(forecast.flag("rto_met"))]
    return Cell(seconds(longest), sort=longest, note=", ".join(filter(None, parts)))


def _section(drill: Drill, number: int, count: int) -> Section:
    return Section(
        _anchor(number),
        drill.label,
        drill.verdict,
        drill_details.blocks(drill),
        note=drill.values.text("backup"),
        is_open=count <= _OPEN_AT_MOST or drill.verdict.tone != GOOD,
    )


def _anchor(number: int) -> str:
    return f"drill-{number}"
