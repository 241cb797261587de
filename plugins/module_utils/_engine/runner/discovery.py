# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The databases of this host and its configurations: what is declared, what is not, and what is not meant to be.

A file ``discover.json`` beside the configuration says where to look when nothing else is said, and what is ignored.

A configuration that another user can write speaks for that user alone: what it declares counts where that user can read
the database, what it ignores where the database is that user's, and where to look it does not say.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system import files, options, owners, rights, words
from ..system.errors import EngineError, ProofFailedError, RefusedError, UsageError, doing
from ..work import discover
from ..work.discover import Declared, Ignored, Outcome
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
                found.append(_declared(directory, name))
            except EngineError as error:
                warnings.append(f"which database {name} is could not be told: {error.message}")
    return found


def _declared(directory: Path, name: str) -> Declared:
    database = config.load(directory, name)
    uid = _other_user(directory, database.file.parent, database.file)
    file = database.options["env_file"]
    if uid is not None and file is not None:
        # The path is not the user's to know when the file is not.
        with doing(step=f"{owners.name_of_user(uid) or uid} cannot read {file}"):
            rights.readable(Path(file), uid)
    return Declared(database.path, name, database.repository, uid)


def _other_user(*places: Path) -> int | None:
    """The user who can write one of ``places``, if that is neither root nor who runs this."""
    if sys.platform == "win32":
        return None
    with doing():
        # What a link of a user leads to is read only when it is that user's, too.
        users = {os.stat(each).st_uid for each in places} - {0, os.geteuid()}
    if len(users) > 1:
        raise RefusedError(
            f"{places[-1]} belongs to several users: {', '.join(map(str, sorted(users)))}.",
            hint="Give the whole configuration to one.",
        )
    return next(iter(users), None)


def settings(configurations: Sequence[Path], warnings: list[str]) -> tuple[dict[str, Any], list[Ignored]]:
    """What the files of the configurations say together, the defaults where there is none; and what users ignore.

    What is wrong with the file of another user, and what in it does not count, is one of the ``warnings``.
    """
    merged = defaults = strict.settings({}, KEYS, Where("", Path(), "", ""), _check)
    theirs: list[Ignored] = []
    for directory in configurations:
        file = directory / FILE_NAME
        if not os.path.lexists(file):
            continue
        try:
            uid = _other_user(directory, file)
        except EngineError as error:
            if _other_user(directory) is None:
                raise
            warnings.append(f"{file} does not count: {error.message}")
            continue
        if uid is not None:
            theirs.extend(_ignored_by(uid, file, defaults, warnings))
            continue
        values = _read(file)
        for name in ("paths", "exclude", "ignored"):
            values[name] = [*merged[name], *values[name]]
        merged = values
    return merged, theirs


def _ignored_by(uid: int, file: Path, defaults: Mapping[str, Any], warnings: list[str]) -> list[Ignored]:
    user = owners.name_of_user(uid) or str(uid)
    try:
        values = _read(file)
    except EngineError as error:
        warnings.append(f"{file} of the user {user} does not count: {error.message}")
        return []
    lost = [name for name in KEYS if name != "ignored" and values[name] not in (defaults[name], [])]
    if lost:
        warnings.append(f"{file} belongs to the user {user}: what it says of {', '.join(lost)} does not count")
    return [dataclasses.replace(each, uid=uid) for each in discover.ignored(values["ignored"])]


def _read(file: Path) -> dict[str, Any]:
    where = Where(FILE_NAME, file, str(file), "")
    return strict.settings(strict.read(where), KEYS, where, _check)


def _check(values: Mapping[str, Any], where: Where) -> None:
    strict.check_key("timeout", lambda: options.timeout(values), where)
    strict.check_key("ignored", lambda: discover.ignored(values["ignored"]), where)


def run(given: Mapping[str, Any], configurations: Sequence[Path]) -> Outcome:
    """Look where ``given`` says, else where the configurations do; what is ignored by either is."""
    warnings: list[str] = []
    known, theirs = settings(configurations, warnings)
    merged = {**known, **{name: value for name, value in given.items() if value is not None}}
    for name in ("exclude", "ignored"):
        merged[name] = [*known[name], *(given[name] or ())]
    merged["paths"] = given["paths"] or known["paths"]
    request = discover.requested(merged)
    request = dataclasses.replace(request, ignored=(*request.ignored, *theirs))
    outcome = discover.run(request, declared(configurations, warnings))
    outcome.warnings[:0] = warnings
    return outcome


def results(asked: Asked) -> list[Result]:
    """What was found, a result for each path.

    With ``require_declared`` it is a failure when a database is undeclared, or may be: not everything was looked at.
    """
    given = {"paths": asked["names"], "exclude": asked["exclude"], "ignored": ()}
    given.update(cross_filesystems=asked["cross_filesystems"] or None, limit=asked["limit"], timeout=None)
    if asked["command"]:
        raise UsageError("discover runs no command.", hint="Leave out what stands behind --.")
    outcome = run(given, directories(asked["config"]))
    found = []
    for number, path in enumerate(outcome.found):
        facts = outcome.at(path)
        error = _failure(str(path), facts) if asked["require_declared"] else None
        found.append(Result(str(path), error, [] if number else list(outcome.warnings), facts))
    return found


def _failure(path: str, facts: Mapping[str, Any]) -> ProofFailedError | None:
    lost = [each["path"] for each in facts["databases"] if each["state"] == discover.UNDECLARED]
    if lost:
        return ProofFailedError(
            f"{path} has databases that are not backed up: {', '.join(lost)}.",
            hint=f"Configure them, or say in {FILE_NAME} why they are not backed up.",
        )
    if not facts["complete"]:
        return ProofFailedError(
            f"{path} may have databases that are not backed up: {'; '.join(facts['gaps'])}.",
            hint=f"Let all of it be looked at, or say in {FILE_NAME} why what is left out is not backed up.",
        )
    return None


def lines(result: Result) -> list[str]:
    """For people: one line for the path, and one for each database in it, those that are not declared first.

    The last one is of the copies that are none of them.
    """
    found = result.facts["databases"]
    states = [sum(each["state"] == state for each in found) for state in discover.STATES]
    told = ", ".join(f"{count} {state}" for count, state in zip(states, discover.STATES) if count)
    head = f"{files.counted(len(found), 'database')} in {files.counted(result.facts['files'], 'file')}"
    ordered = sorted(found, key=lambda each: discover.STATES.index(each["state"]))
    return [f"{head}{told and f': {told}'}", *map(_line, ordered), *_copies(result.facts)]


def _copies(facts: Mapping[str, Any]) -> list[str]:
    where = [*facts["repositories"], *facts["kept"]]
    if not where:
        return []
    copies = files.counted(facts["copies"], "database")
    return [words.plain(f"  left out  {copies} in backups and what restores keep: {discover.named(where)}")]


def _line(database: Mapping[str, Any]) -> str:
    # Windows has no such owners.
    owner = database["owner"] and f"of {database['owner']}"
    why = database["reason"] or (f"as {database['name']}" if database["name"] else owner)
    told = ", ".join(filter(None, (files.readable(database["bytes"]), why)))
    return words.plain(f"  {database['state']}  {database['path']}  {told}")
