# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases of this host and its configurations: what is declared, what is not, and what is not meant to be.

A file ``discover.json`` beside the configuration says where to look when nothing else is said, and what is ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system import files, options, words
from ..system.errors import EngineError, ProofFailedError, UsageError
from ..work import discover
from ..work.discover import Declared, Outcome
from . import config, selection, strict
from .result import Asked, Result
from .strict import Key, Where

FILE_NAME = "discover.json"
KEYS: Mapping[str, Key] = {
    "paths": Key("list", ()),
    "exclude": Key("list", ()),
    "ignored": Key("list", (), keys={"path": Key("text", required=True), "reason": Key("text", required=True)}),
    "cross_filesystems": Key("flag", default=False),
    "limit": Key("number", discover.DEFAULT_LIMIT),
    "timeout": Key("duration", discover.DEFAULT_TIMEOUT),
}


def directories(given: str | None, further: Sequence[str] = ()) -> list[Path]:
    """The configuration that is named, else all that this user is to hear of; and ``further`` ones."""
    others = [each.directory for each in selection.others(given)]
    return [*dict.fromkeys([config.directory(given), *(Path(os.path.abspath(each)) for each in (*others, *further))])]


def declared(configurations: Sequence[Path], warnings: list[str]) -> list[Declared]:
    """Every configured database; of one whose file is wrong a warning says so."""
    found = []
    for directory in configurations:
        try:
            names = config.names(directory)
        except EngineError as error:
            warnings.append(error.message)
            continue
        for name in names:
            try:
                settings = config.load(directory, name)
                found.append(Declared(settings.path, name, settings.repository))
            except EngineError as error:
                warnings.append(f"which database {name} is could not be told: {error.message}")
    return found


def settings(configurations: Sequence[Path]) -> dict[str, Any]:
    """What the files of the configurations say together; the defaults where there is none."""
    merged: dict[str, Any] = strict.settings({}, KEYS, Where("", Path(), "", ""), _check)
    for directory in configurations:
        file = directory / FILE_NAME
        if os.path.lexists(file):
            where = Where(FILE_NAME, file, str(file), "")
            values = strict.settings(strict.read(where), KEYS, where, _check)
            for name in ("paths", "exclude", "ignored"):
                values[name] = [*merged[name], *values[name]]
            merged = values
    return merged


def _check(values: Mapping[str, Any], where: Where) -> None:
    strict.check_key("timeout", lambda: options.timeout(values), where)
    strict.check_key("ignored", lambda: discover.ignored(values["ignored"]), where)


def run(given: Mapping[str, Any], configurations: Sequence[Path]) -> Outcome:
    """Look where ``given`` says, else where the configurations do; what is ignored by either is."""
    known = settings(configurations)
    merged = {**known, **{name: value for name, value in given.items() if value is not None}}
    for name in ("exclude", "ignored"):
        merged[name] = [*known[name], *(given[name] or ())]
    merged["paths"] = given["paths"] or known["paths"]
    warnings: list[str] = []
    request = discover.requested(merged)
    outcome = discover.run(request, declared(configurations, warnings))
    outcome.warnings[:0] = warnings
    return outcome


def results(asked: Asked) -> list[Result]:
    """What was found, a result for each path; with ``require_declared`` an undeclared database is a failure."""
    given = {"paths": asked["names"], "exclude": asked["exclude"], "ignored": ()}
    given.update(cross_filesystems=asked["cross_filesystems"] or None, limit=asked["limit"], timeout=None)
    if asked["command"]:
        raise UsageError("discover runs no command.", hint="Leave out what stands behind --.")
    outcome = run(given, directories(asked["config"]))
    found = []
    for number, path in enumerate(outcome.found):
        facts = outcome.at(path)
        lost = [each["path"] for each in facts["databases"] if each["state"] == discover.UNDECLARED]
        error = None
        if lost and asked["require_declared"]:
            error = ProofFailedError(
                f"{path} has databases that are not backed up: {', '.join(lost)}.",
                hint=f"Configure them, or say in {FILE_NAME} why they are not backed up.",
            )
        found.append(Result(str(path), error, [] if number else list(outcome.warnings), facts))
    return found


def lines(result: Result) -> list[str]:
    """For people: one line for the path, and one for each database in it, those that are not declared first."""
    found = result.facts["databases"]
    states = [sum(each["state"] == state for each in found) for state in discover.STATES]
    told = ", ".join(f"{count} {state}" for count, state in zip(states, discover.STATES) if count)
    head = f"{files.counted(len(found), 'database')} in {files.counted(result.facts['files'], 'file')}"
    ordered = sorted(found, key=lambda each: discover.STATES.index(each["state"]))
    return [f"{head}{told and f': {told}'}", *map(_line, ordered)]


def _line(database: Mapping[str, Any]) -> str:
    # Windows has no such owners.
    owner = database["owner"] and f"of {database['owner']}"
    why = database["reason"] or (f"as {database['name']}" if database["name"] else owner)
    told = ", ".join(filter(None, (files.readable(database["bytes"]), why)))
    return words.plain(f"  {database['state']}  {database['path']}  {told}")
