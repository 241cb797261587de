# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One database of a fleet: how well it is backed up, why, and the commands that lead on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from datetime import datetime

from ..system.files import readable
from . import health, measured, page
from .given import Given
from .markup import Markup, element
from .measured import seconds, shown
from .page import BAD, GOOD, QUIET, WARN, Cell, Column, Status, Table

NOT_REACHED, UNKNOWN = "not reached", "unknown"
"""The states that no host tells of itself: it did not answer, or with nothing that says how a database is."""

ORDER = (health.MISSED, health.FAILING, UNKNOWN, NOT_REACHED, health.DEGRADED, health.OK)
_TONES = {health.DEGRADED: WARN, health.OK: GOOD}
_PROGRAM = "sqlite-backup"
_TARGET_COLUMNS = (Column("Target", names=True), Column("State"), Column("Behind"), Column("Newest"))


class Standing:
    """What a host told of one database, as ``sqlite-backup status --json`` has it; ``made`` is when, if it does not."""

    def __init__(self, value: object, made: datetime | None = None) -> None:
        self.values = Given(value)
        self.name = self.values.text("name")
        self.made = self.values.moment("made") or made
        told = self.values.text("state")
        word = told if told in ORDER else UNKNOWN
        self.verdict = Status(word, _TONES.get(word, BAD))

    @property
    def label(self) -> str:
        """The database and its host."""
        return " on ".join(filter(None, (self.name, self.values.text("host")))) or "unknown"

    @property
    def order(self) -> tuple[int, str, str]:
        """The worst first, then by name."""
        return ORDER.index(self.verdict.word), self.name, self.values.text("host")

    @property
    def reasons(self) -> list[Given]:
        """Why it is not well; what is worth a word only comes last."""
        return sorted(self.values.objects("reasons"), key=lambda each: each.text("state") == health.OK)

    @property
    def troubles(self) -> list[str]:
        """Why it is not well, the worst first: in the words of the host, or of what kept it from answering."""
        told = [each.text("text") for each in self.reasons if each.text("state") != health.OK]
        error = self.values.object("error").text("message")
        return [*filter(None, told)] or ([error] if error and self.verdict.tone != GOOD else [])

    def against(self, name: str, number: float | None) -> str:
        """Whether the objective ``name`` is met."""
        goal = self.values.number(f"{name}_seconds")
        drill = self.values.object("last_drill")
        is_met = self.values.flag("rpo_met") if name == "rpo" else drill.flag("rto_met")
        return measured.against(name.upper(), number, goal, is_met)

    def ago(self, moment: datetime | None) -> float | None:
        """How many seconds before it was told that was."""
        if moment is None or self.made is None:
            return None
        return max(0.0, (self.made - moment).total_seconds())

    @property
    def current_targets(self) -> tuple[int, int]:
        """How many of its targets are as they should be, and how many there are."""
        targets = self.values.objects("targets")
        return sum(_target(each).tone == GOOD for each in targets), len(targets)

    def command(self, *words: str) -> str:
        """A command of the runner for this database, to be run on its host."""
        place = self.values.text("config")
        return shlex.join([_PROGRAM, *words, *(["--config", place] if place else [])])


def _target(values: Given) -> Status:
    if values.flag("rpo_met") is False:
        return Status("RPO missed", BAD)
    if values.text("failure"):
        return Status("failed", WARN)
    return Status("current", GOOD) if values.text("newest") else Status("nothing there", WARN)


def blocks(standing: Standing) -> list[Markup]:
    """All that is known of it."""
    stacks = [
        [_facts("Recovery", _recovery(standing)), _facts("Last drill", _drill(standing))],
        [_facts("Stored", _stored(standing)), *_targets(standing)],
    ]
    return [
        *_failure(standing),
        *_reasons(standing),
        *(page.stack(*filter(None, each)) for each in stacks),
        *_lead_on(standing),
    ]


def _failure(standing: Standing) -> list[Markup]:
    """Why a host told nothing of it, or an error beside a state that does not hold it already."""
    error = standing.values.object("error")
    if standing.verdict.word in health.STATES or not error:
        return []
    said = page.message(error.text("message") or "It did not say why.", error.text("hint"))
    return [page.block("Why nothing is known", said, wide=True)]


def _reasons(standing: Standing) -> list[Markup]:
    tones = {health.OK: QUIET, health.DEGRADED: WARN}
    said: list[Markup] = []
    for each in standing.reasons:
        said.append(page.message(each.text("text"), each.text("hint"), tone=tones.get(each.text("state"), BAD)))
        way = each.object("way")
        if command := _way(standing, way):
            said.extend((element("p", f"{way.text('aim')}:", class_="soft"), page.command(command)))
    return [page.block("Why", *said, wide=True)] if said else []


def _way(standing: Standing, way: Given) -> str:
    """The command that a reason leads to; empty when there is none, or it is none of the runner's."""
    command = way.text("command")
    if not re.fullmatch(r"[a-z][a-z-]*", command) or not standing.name:
        return ""
    options: list[str] = []
    for name, value in way.object("options").words():
        options.extend([f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])])
    return standing.command(command, standing.name, *options)


def _facts(title: str, pairs: Iterator[tuple[str, str]]) -> Markup | None:
    known = [(name, text) for name, text in pairs if text]
    return page.block(title, page.facts(known)) if known else None


def _recovery(standing: Standing) -> Iterator[tuple[str, str]]:
    values = standing.values
    age = values.number("age_seconds")
    parts = ("" if age is None else seconds(age), standing.against("rpo", age))
    yield "Age of the data", ", ".join(filter(None, parts))
    yield "Recovery point", _moment(values, "recovery_point")
    yield "RPO missed from", _moment(values, "fresh_until")
    yield "Last verified", _moment(values, "last_verified")
    yield "Last success", _moment(values, "last_success")
    failure = values.object("last_failure")
    yield "Last failure", ", ".join(filter(None, (_moment(failure, "time"), failure.text("message"))))


def _drill(standing: Standing) -> Iterator[tuple[str, str]]:
    drill, outlook = standing.values.object("last_drill"), standing.values.object("outlook")
    took = drill.number("rto_seconds")
    yield "Outcome", drill.text("outcome")
    yield "At", _moment(drill, "time")
    yield "Restored in", "" if took is None else f"{seconds(took)}, {standing.against('rto', took)}"
    yield "Backup", drill.text("backup")
    yield "From", drill.text("place")
    yield "It said", drill.text("message")
    days, later = outlook.count("days"), outlook.number("rto_seconds")
    told = {True: ", the RTO will be met", False: ", the RTO will be missed", None: ""}[outlook.flag("rto_met")]
    yield "Forecast", "" if days is None or later is None else f"restored in {seconds(later)} in {days} days{told}"


def _stored(standing: Standing) -> Iterator[tuple[str, str]]:
    values = standing.values
    yield "Backups", numbers(values)
    yield "All backups", _size(values, "total_bytes")
    yield "Database", _size(values, "database_bytes")
    yield "Changed last", _size(values, "changed_bytes")
    free, whole = _size(values, "free_bytes"), _size(values, "filesystem_bytes")
    yield "Free space", f"{free} of {whole}" if free and whole else free
    suspect = values.count("suspect_backups")
    yield "Suspect", str(suspect) if suspect else ""
    yield "Encryption", values.text("encryption")
    yield "Runs as", values.text("user")
    yield "Version", values.text("version")
    yield "Told at", _moment(values, "made")


def numbers(values: Given) -> str:
    """How many backups there are, and of which kind."""
    count = values.count("backups")
    kinds = [f"{number:.0f} {kind}" for kind, number in values.object("numbers").numbers() if number]
    return "" if count is None else f"{count}{' (' + ', '.join(kinds) + ')' if kinds else ''}"


def _targets(standing: Standing) -> list[Markup]:
    rows = []
    for each in standing.values.objects("targets"):
        behind = each.number("behind_seconds")
        note = measured.against("RPO", behind, each.number("rpo_seconds"), each.flag("rpo_met"))
        state = Cell(status=_target(each), note=each.text("failure"))
        rows.append([Cell(each.text("name")), state, _behind(behind, note), Cell(each.text("newest"))])
    return [page.block("Targets", page.table(Table("Targets", _TARGET_COLUMNS, rows)))] if rows else []


def _behind(behind: float | None, note: str) -> Cell:
    return Cell(note=note) if behind is None else Cell(seconds(behind), note=note)


def _lead_on(standing: Standing) -> list[Markup]:
    if standing.verdict.tone == GOOD or standing.verdict.word == NOT_REACHED:
        return []
    names = [standing.name] if standing.name else []
    commands = (page.command(standing.command(each, *names)) for each in ("status", "doctor"))
    return [page.block("To look at it on its host", *commands, wide=True)]


def _moment(values: Given, name: str) -> str:
    moment = values.moment(name)
    return shown(moment) if moment else ""


def _size(values: Given, name: str) -> str:
    size = values.count(name)
    return "" if size is None else readable(size)
