# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well the databases of many hosts are backed up: a page and a JSON document, the worst one first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..system import clock
from ..system.files import counted, readable
from . import fleet_details, given, measured, page
from .fleet_details import NOT_REACHED, Standing
from .given import Given
from .measured import seconds
from .page import BAD, GOOD, WARN, Cell, Column, Figure, Section, Table

FORMAT = 1
TITLE = "SQLite backups"
_COLUMNS = (
    Column("State"),
    Column("Database", names=True),
    Column("Host"),
    Column("Why", roomy=True),
    Column("Age of the data", number=True),
    Column("Last verified", number=True),
    Column("Last drill", number=True),
    Column("Targets", number=True),
    Column("Stored", number=True),
)
_FOOTER = (
    "missed: more could be lost than the RPO allows. failing: the last run failed or did not come.",
    "RPO: the oldest that the data in a backup may be. RTO: the longest that a restore may take.",
)
_OPEN_AT_MOST = 3


def collect(
    standings: Iterable[Mapping[str, Any]], made: datetime, *, title: str = TITLE, note: str = ""
) -> dict[str, Any]:
    """The report of what hosts told, as ``to_html`` and ``to_json`` take it."""
    ordered = sorted(standings, key=lambda each: Standing(each).order)
    return {"format": FORMAT, "title": title, "note": note, "made": clock.to_text(made), "databases": ordered}


def to_json(report: Mapping[str, Any]) -> str:
    return given.to_json(report)


def to_html(report: Mapping[str, Any]) -> str:
    """The page of a report; what a host said wrong is left out of it, and nothing of it can do harm."""
    values = Given(report)
    made = values.moment("made")
    standings = [Standing(each, made) for each in values.mappings("databases")]
    standings.sort(key=lambda each: each.order)
    lead, tone = _lead(standings)
    return page.render(
        page.Page(
            title=values.text("title") or TITLE,
            lead=lead,
            tone=tone,
            figures=_figures(standings),
            table=Table(
                "Databases", _COLUMNS, [_row(*each) for each in enumerate(standings, 1)], "State", sortable=True
            ),
            sections=[_section(each, number, len(standings)) for number, each in enumerate(standings, 1)],
            footer=[*filter(None, (values.text("note"), f"Made at {measured.shown(made)}." if made else "")), *_FOOTER],
        )
    )


def _lead(standings: list[Standing]) -> tuple[str, str]:
    """The sentence that tells how it is, and its tone."""
    silent = sum(each.verdict.word == NOT_REACHED for each in standings)
    databases = [each for each in standings if each.verdict.word != NOT_REACHED]
    good = sum(each.verdict.tone == GOOD for each in databases)
    tones = {each.verdict.tone for each in standings}
    tone = BAD if BAD in tones or not standings else WARN if WARN in tones else GOOD
    hosts = f"{counted(silent, 'host')} {'was' if silent == 1 else 'were'} not reached." if silent else ""
    if not databases:
        return hosts or "No database is configured.", tone
    if good < len(databases):
        told = f"{good} of {counted(len(databases), 'database')} {'is' if good == 1 else 'are'} well backed up."
    elif good == 1:
        told = "The database is well backed up."
    else:
        told = f"All {good} databases are well backed up."
    return f"{told} {hosts}".rstrip(), tone


def _figures(standings: list[Standing]) -> list[Figure]:
    verdicts = [each.verdict for each in standings]
    found = [
        Figure(word[0].upper() + word[1:], str(sum(each.word == word for each in verdicts)), tone=tone)
        for word, tone in dict.fromkeys((each.word, each.tone) for each in verdicts)
    ]
    found.extend(_most("Oldest data", [(each.values.number("age_seconds"), each.label) for each in standings]))
    drills = [(each.values.object("last_drill").number("rto_seconds"), each.label) for each in standings]
    found.extend(_most("Longest restore", drills))
    sizes = [size for each in standings if (size := each.values.count("total_bytes"))]
    return [*found, *([Figure("Stored", readable(sum(sizes)))] if sizes else [])]


def _most(label: str, numbers: list[tuple[float | None, str]]) -> list[Figure]:
    known = [(number, whose) for number, whose in numbers if number is not None]
    return [Figure(label, seconds(max(known)[0]), max(known)[1])] if known else []


def _row(number: int, standing: Standing) -> list[Cell]:
    values = standing.values
    first, *more = standing.troubles or [""]
    age, size = values.number("age_seconds"), values.count("total_bytes")
    objective = values.number("rpo_seconds")
    return [
        Cell(status=standing.verdict, sort=standing.order[0], link=_anchor(number)),
        Cell(standing.name or "all of them"),
        Cell(values.text("host")),
        Cell(first, note=f"and {len(more)} more" if more else ""),
        page.measured(age, objective, words=seconds, note=standing.against("rpo", age)),
        _since(standing.ago(values.moment("last_verified"))),
        _drill(standing),
        _targets(*standing.current_targets),
        Cell(sort="") if size is None else Cell(readable(size), sort=size, note=_kept(values)),
    ]


def _since(age_seconds: float | None) -> Cell:
    return Cell(sort="") if age_seconds is None else Cell(f"{seconds(age_seconds)} ago", sort=age_seconds)


def _kept(values: Given) -> str:
    count = values.count("backups")
    return "" if count is None else counted(count, "backup")


def _drill(standing: Standing) -> Cell:
    """How long the last one took; what it did not pass is said instead."""
    drill = standing.values.object("last_drill")
    took, outcome, ago = drill.number("rto_seconds"), drill.text("outcome"), standing.ago(drill.moment("time"))
    when = "" if ago is None else f"{seconds(ago)} ago"
    if outcome in ("", "passed"):
        note = ", ".join(filter(None, (standing.against("rto", took), when)))
        return page.measured(took, standing.values.number("rto_seconds"), words=seconds, note=note)
    return Cell(outcome if outcome in ("failed", "inconclusive") else "unknown", sort="", note=when)


def _targets(current: int, count: int) -> Cell:
    return Cell(f"{current} of {count}", sort=current - count) if count else Cell(sort="")


def _section(standing: Standing, number: int, count: int) -> Section:
    return Section(
        _anchor(number),
        standing.label,
        standing.verdict,
        fleet_details.blocks(standing),
        note=next(iter(standing.troubles), ""),
        is_open=count <= _OPEN_AT_MOST or standing.verdict.tone != GOOD,
    )


def _anchor(number: int) -> str:
    return f"database-{number}"
