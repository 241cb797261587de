# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One drill: how it went, what it proved and what not, what was measured, and how to repeat it."""

from __future__ import annotations

from ..system.errors import ObjectiveMissedError
from ..system.files import readable
from . import chart, measured, page
from .chart import Chart, Point
from .given import Given
from .markup import Markup, element
from .measured import seconds, shown
from .page import BAD, GOOD, WARN, Cell, Column, Status, Table

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
NOT_REACHED, NOT_MADE = "not reached", "not made"
_ORDER = (FAILED, NOT_REACHED, INCONCLUSIVE, "", PASSED)
_TONES = {FAILED: BAD, NOT_REACHED: BAD, INCONCLUSIVE: WARN, PASSED: GOOD}
_CHECK_COLUMNS = (Column("Check", names=True), Column("Outcome"), Column("Found"))
# More than these cannot be told apart in a small chart.
_MOST_POINTS = 120


class Drill:
    """What one drill answered with."""

    def __init__(self, value: object) -> None:
        self.values = Given(value)
        self.name = self.values.text("name")
        self.verdict = self._verdict()

    @property
    def label(self) -> str:
        """The database and its host."""
        host = self.values.text("host")
        return " on ".join(filter(None, (self.name, host))) or "unknown"

    @property
    def order(self) -> tuple[int, str, str]:
        """The worst first, then by name."""
        word = self.verdict.word
        return _ORDER.index(word if word in _ORDER else ""), self.name, self.values.text("host")

    def _verdict(self) -> Status:
        outcome = self.values.text("outcome")
        if not outcome and not self.values.object("error"):
            # As in check mode.
            return Status(NOT_MADE)
        if outcome not in _TONES:
            return Status(INCONCLUSIVE, WARN)
        missed = [name.upper() for name in ("rto", "rpo") if self.values.flag(f"{name}_met") is False]
        is_good = outcome == PASSED or self.values.object("error").count("code") == ObjectiveMissedError.code
        word = f"{' and '.join(missed)} missed" if missed and is_good else outcome
        return Status(word, WARN if missed and outcome == PASSED else _TONES[outcome])

    def against(self, name: str) -> str:
        """Whether a target is met, as far as there is one."""
        number, goal = self.values.number(f"{name}_seconds"), self.values.number(f"{name}_target_seconds")
        return measured.against(name.upper(), number, goal, self.values.flag(f"{name}_met"))


def blocks(drill: Drill) -> list[Markup]:
    """All that is known of it."""
    values = drill.values
    checks = [
        [Cell(each.text("name")), Cell(status=_checked(each.text("outcome"))), Cell(each.text("detail"), short=False)]
        for each in values.objects("checks")
    ]
    warnings = [page.message(each, tone=WARN) for each in values.texts("warnings")]
    facts = [(name, text) for name, text in _measured(drill) if text]
    repeat = values.text("command")
    return [
        *_failure(values.object("error")),
        *([page.block("Warnings", *warnings, wide=True)] if warnings else []),
        page.stack(
            page.block("Proven", _list(values.texts("proven"))),
            page.block("Not proven", _list(_not_proven(drill))),
            *([page.block("Checks", page.table(Table("Checks", _CHECK_COLUMNS, checks)))] if checks else []),
        ),
        page.stack(*([page.block("Measured", page.facts(facts))] if facts else [])),
        *_charts(values),
        *([page.block("To repeat it", page.command(repeat), wide=True)] if repeat else []),
    ]


def _failure(error: Given) -> list[Markup]:
    if not error:
        return []
    code = error.count("code")
    kind = " ".join(filter(None, (error.text("class"), "" if code is None else f"({code})")))
    said = page.message(error.text("message") or "It did not say why.", error.text("hint"))
    return [page.block(f"What went wrong{kind and f': {kind}'}", said, wide=True)]


def _checked(outcome: str) -> Status:
    return Status(outcome or "unknown", _TONES.get(outcome, WARN))


def _list(texts: list[str]) -> Markup:
    return page.listing(texts) if texts else element("p", "Nothing.", class_="soft")


def _not_proven(drill: Drill) -> list[str]:
    told = drill.values.texts("not_proven")
    if not told and drill.verdict.word == NOT_REACHED:
        return ["That any database of this host can be restored: the host was not reached."]
    return told


def _measured(drill: Drill) -> list[tuple[str, str]]:
    values = drill.values
    created, started = values.moment("created"), values.moment("started")
    rate = values.count("bytes_per_second")
    sizes = [values.count("database_bytes"), values.count("stored_bytes")]
    database, stored = ("" if each is None else readable(each) for each in sizes)
    steps = (f"{name.replace('_', ' ')} {seconds(number)}" for name, number in values.object("durations").numbers())
    return [
        ("Restored in", _with_goal(drill, "rto")),
        ("Age of the data", _with_goal(drill, "rpo")),
        ("Steps", ", ".join(steps)),
        ("Rate", "" if rate is None else f"{readable(rate)} a second"),
        ("Forecast", _forecast(values.object("forecast"))),
        ("Size", f"{database}, {stored} stored" if database and stored else database),
        ("Backup", values.text("backup")),
        ("Made", shown(created) if created else ""),
        ("From", values.text("from")),
        ("Drill began", shown(started) if started else ""),
    ]


def _with_goal(drill: Drill, name: str) -> str:
    number, told = drill.values.number(f"{name}_seconds"), drill.against(name)
    if number is None:
        return told and f"not measured, {told}"
    return f"{seconds(number)}, {told}"


def _forecast(forecast: Given) -> str:
    days, size, longest = forecast.count("days"), forecast.count("database_bytes"), forecast.number("rto_seconds")
    if days is None or size is None or longest is None:
        return ""
    told = {True: ", the RTO will be met", False: ", the RTO will be missed", None: ""}[forecast.flag("rto_met")]
    return f"in {days} days {readable(size)}, restored in {seconds(longest)}{told}"


def _charts(values: Given) -> list[Markup]:
    """How long restores took, and how large the database was, when there is more than this drill."""
    history = [(moment, each) for each in values.objects("history") if (moment := each.moment("time")) is not None]
    history = sorted(history, key=lambda each: each[0])[-_MOST_POINTS:]
    if len(history) < 2:
        return []
    durations, sizes = (
        [
            Point(moment, each.number(name), each.text("outcome") == PASSED, each.text("outcome"))
            for moment, each in history
        ]
        for name in ("rto_seconds", "database_bytes")
    )
    goal = values.number("rto_target_seconds")
    drawn = (
        Chart("Restored in", durations, seconds, goal, "RTO"),
        Chart("Size of the database", sizes, lambda number: readable(int(number))),
    )
    return [chart.line(each) for each in drawn if any(point.value is not None for point in each.points)]
