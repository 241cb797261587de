# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's configuration: one strict JSON file a database, ``<directory>/databases.d/<name>.json``.

Its keys are options of the modules, of the same types and with the same defaults. What is not understood is an error:
a mistyped key that is passed over silently would show when the backup is needed.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import include, retention
from ..repository.retention import Policy
from ..sealed import codec, encryption
from ..sqlite import urls
from ..system import clock
from ..system.errors import EngineError, ProgramMissingError, RefusedError, UsageError, doing
from ..system.options import Options
from ..watch import schedule
from ..work import prune

ENVIRONMENT = "SQLITE_BACKUP_CONFIG"
# That of root; the role puts the one of another user beside it, with the name of that user behind.
SYSTEM = Path("/etc/sqlite-backup")
DATABASES_NAME = "databases.d"
SEEN_NAME = "seen.d"
MANAGED_BY = "managed_by"
"""The key with what writes the file: nothing that is changed there by hand stays."""
_ENDING = ".json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
"""What the name of a database may be."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Key:
    """What a key may hold: ``type`` is text, path, duration, number, flag, object, list or anything.

    ``keys`` are those of an object, or of the objects in a list; a list without them has texts.
    """

    type: str
    default: Any = None
    choices: tuple[str, ...] = ()
    keys: Mapping[str, Key] = field(default_factory=dict)
    required: bool = False


KEYS: Mapping[str, Key] = {
    "path": Key("path"),
    "database_url": Key("text"),
    "chdir": Key("path"),
    "repository": Key("path", required=True),
    "name": Key("text"),
    "type": Key("text", "auto", ("auto", "full", "incremental")),
    "full_every": Key("duration", "1d"),
    "max_chain": Key("number", 100),
    "compression": Key("text", "auto", ("auto", "zstd", "gzip", "xz", "none")),
    "compression_level": Key("number"),
    "encryption": Key(
        "object",
        keys={
            "method": Key("text", "none", ("none", "age", "gpg")),
            "recipients": Key("list", ()),
            "passphrase_file": Key("path"),
        },
    ),
    "check": Key("text", "quick", ("none", "quick", "full")),
    "include": Key(
        "list", (), keys={"src": Key("path", required=True), "name": Key("text"), "redact": Key("flag", default=False)}
    ),
    "tags": Key("list", ()),
    "timeout": Key("duration", "1h"),
    "lock_timeout": Key("duration", "1m"),
    "allow_empty": Key("flag", default=False),
    "keep_within": Key("duration", retention.KEEP_WITHIN),
    **{name: Key("number", getattr(Policy, name)) for name in retention.COUNTS},
    "keep_suspect": Key("duration", retention.KEEP_SUSPECT),
    "timezone": Key("text", Policy.timezone),
    "identity_file": Key("path"),
    "passphrase_file": Key("path"),
    "rpo": Key("duration"),
    "due": Key(
        "object",
        keys={
            "minute": Key("text", required=True),
            "hour": Key("text", required=True),
            "grace": Key("duration", required=True),
        },
    ),
    "expect_tables": Key("list", ()),
    "assertions": Key("list", (), keys={"sql": Key("text", required=True), "equals": Key("anything", required=True)}),
}
_CORRECT = "Correct it there."
_ALLOWED = {
    "text": "a text",
    "path": "an absolute path",
    "duration": "a duration as text, such as 15m, 1h or 7d",
    "number": "a whole number",
    "flag": "true or false",
    "object": "an object",
    "list": "a list",
}


@dataclass(frozen=True)
class Database:
    """One configured database: every key with its value or its default, None when it has neither."""

    name: str
    file: Path
    options: Mapping[str, Any]

    @property
    def path(self) -> Path:
        return urls.requested(self.options)

    @property
    def repository(self) -> Path:
        return Path(self.options["repository"])


def is_chosen(given: str | None) -> bool:
    """Whether somebody said which directory it is."""
    return bool(given or os.environ.get(ENVIRONMENT))


def directory(given: str | None = None) -> Path:
    """The directory of the configuration: as given, as the environment says, or the usual one of this user."""
    chosen = given or os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(os.path.abspath(chosen))
    if getattr(os, "geteuid", lambda: -1)() == 0:
        return SYSTEM
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "sqlite-backup"


def names(configuration: Path) -> list[str]:
    """The names of all configured databases, whether their files are right or not."""
    place = configuration / DATABASES_NAME
    found = []
    with doing(f"Cannot list {place}"), contextlib.suppress(FileNotFoundError):
        found = os.listdir(place)
    # What is being put in place by a program has a dot in front.
    return sorted(name[: -len(_ENDING)] for name in found if name.endswith(_ENDING) and not name.startswith("."))


def nearest(word: str, known: Sequence[str]) -> str:
    """The hint for a mistyped word: what was probably meant, and else all there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(sorted(known)) or 'none'}."


@dataclass(frozen=True)
class _Where:
    """Of which database a configuration is: what is wrong is told with that, and the key, in front.

    ``told`` is how the database is named, ``source`` where its configuration comes from.
    """

    name: str
    file: Path
    told: str
    source: str

    def error(self, key: str, wrong: str, *, hint: str) -> UsageError:
        """``key`` is "" for the whole file; ``wrong`` goes on behind it."""
        source = f" ({self.source})" if self.source else ""
        return UsageError(f"{self.told}{key and f': {key}'}{wrong}{source}.", hint=hint)


def _where(configuration: Path, name: str, source: str = "") -> _Where:
    file = configuration / DATABASES_NAME / f"{name}{_ENDING}"
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a database ({file}).",
            hint="Use letters, digits, - and _, with a letter or a digit first.",
        )
    return _Where(name, file, name, source or str(file))


def load(configuration: Path, name: str) -> Database:
    """The database ``name``; raises for whatever is wrong with its file, naming the database, the key and the file."""
    where = _where(configuration, name)
    with doing(step=f"{name}: cannot read its configuration {where.file}"):
        for each in (where.file.parent, where.file):
            _check_private(each, name)
        content = _parse(where.file.read_bytes(), where)
    return _database(content, where)


def parsed(data: bytes, configuration: Path, name: str) -> Database:
    """As ``load``, of what may be put into the file of the database ``name``."""
    where = _where(configuration, name, "standard input")
    return _database(_parse(data, where), where)


def checked(content: Any, name: str, *, file: Path, told: str) -> Database:
    """As ``load``, of what ``file`` is to hold; a message names the database as ``told``."""
    return _database(content, _Where(name, file, told, ""))


def _database(content: Any, where: _Where) -> Database:
    try:
        values = _checked(content, {**KEYS, MANAGED_BY: Key("text")}, "", where)
        values.pop(MANAGED_BY)
        _check_together(values, where)
    except UsageError as error:
        manager = content.get(MANAGED_BY) if isinstance(content, dict) else None
        if not isinstance(manager, str):
            raise
        hint = "" if error.hint == _CORRECT else f"{error.hint} "
        raise UsageError(error.message, hint=f"{hint}This file is written by {manager}: correct it there.") from None
    return Database(where.name, where.file, {**values, "name": where.name})


def _check_private(path: Path, name: str) -> None:
    """Who can write here decides what root reads and where it writes."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name != "nt" and mode & _OTHERS_WRITE:
        raise RefusedError(
            f"{name}: others than its owner can write to {path} (mode {mode:04o}).",
            hint=f"Look at its content, then: chmod go-w {shlex.quote(str(path))}",
        )


def _parse(data: bytes, where: _Where) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, _value in pairs if [each for each, _other in pairs].count(key) > 1)
            raise where.error(twice, ": the key is there twice", hint="Remove one of them.")
        return found

    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise where.error("", f": it is not JSON: {error}", hint="Correct it, or have it written again.") from None


def _checked(content: Any, keys: Mapping[str, Key], place: str, where: _Where) -> dict[str, Any]:
    """Every key of an object with its checked value or its default; ``place`` names the object, "" the whole file."""
    if not isinstance(content, dict):
        raise _wrong(content, "an object", place, where)
    for key in content:
        if key not in keys:
            name = f"{place}.{key}" if place else key
            raise where.error(name, ": there is no such key", hint=nearest(key, [*keys]))
    values = {}
    for key, wanted in keys.items():
        name = f"{place}.{key}" if place else key
        given = content.get(key)
        if given is None and (wanted.type != "anything" or key not in content):
            if wanted.required:
                raise where.error(name, " is missing", hint="It must be given.")
            values[key] = [] if wanted.type == "list" else wanted.default
        else:
            values[key] = _value(given, wanted, name, where)
    return values


def _value(given: Any, wanted: Key, name: str, where: _Where) -> Any:
    if wanted.type == "list":
        if not isinstance(given, list):
            raise _wrong(given, "a list", name, where)
        each_wanted = Key("object", keys=wanted.keys) if wanted.keys else Key("text")
        return [_value(each, each_wanted, f"{name}[{number}]", where) for number, each in enumerate(given)]
    if wanted.type == "object":
        return _checked(given, wanted.keys, name, where)
    if not _FITS[wanted.type](given):
        raise _wrong(given, _ALLOWED[wanted.type], name, where)
    if wanted.choices and given not in wanted.choices:
        raise _wrong(given, f"one of {', '.join(wanted.choices)}", name, where)
    return given


def _is_text(given: Any) -> bool:
    return isinstance(given, str) and "\0" not in given


def _is_duration(given: Any) -> bool:
    try:
        return isinstance(given, str) and clock.parse_duration(given) >= 0
    except UsageError:
        return False


_FITS: Mapping[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "path": lambda given: _is_text(given) and os.path.isabs(given),
    "duration": _is_duration,
    "number": lambda given: isinstance(given, int) and not isinstance(given, bool),
    "flag": lambda given: isinstance(given, bool),
    "anything": lambda _given: True,
}


def _wrong(given: Any, allowed: str, name: str, where: _Where) -> UsageError:
    return where.error(name, f"{'' if name else ': it'} is {_shown(given)}, it must be {allowed}", hint=_CORRECT)


def _shown(given: Any) -> str:
    """A wrong value as the file has it, never a page of it."""
    text = json.dumps(given)
    return text if len(text) <= 60 else f"{text[:60]} …"


def _check_together(values: Mapping[str, Any], where: _Where) -> None:
    if (values["path"] is None) == (values["database_url"] is None):
        wrong = ": exactly one of them must be given"
        raise where.error("path and database_url", wrong, hint="Omit one, or add one.")
    if values["name"] not in (None, where.name):
        wrong = f" is {values['name']!r}, it must be that of the file"
        raise where.error("name", wrong, hint="Rename the file, or omit the key name.")
    _check_key("due", lambda: schedule.requested(values), where)
    if values["database_url"] is not None:
        chdir = Path(values["chdir"]) if values["chdir"] else None
        _check_key("database_url", lambda: urls.path(values["database_url"], chdir=chdir), where)


def mistakes(given: Options) -> Iterator[tuple[str, EngineError]]:
    """The keys of a configured database with which every run would fail, whatever the host, each with why.

    No file is looked at, and what only this host lacks is not a mistake: a run may be meant for another one.
    """
    policy = prune.requested(given).policy
    checks: dict[str, Callable[[], object]] = {
        "compression_level": lambda: codec.check_wanted_level(given["compression"], given["compression_level"]),
        "encryption": doing("Cannot encrypt")(lambda: encryption.requested(given["encryption"]).check_options()),
        "include": lambda: [include.checked_name(each["name"] or Path(each["src"]).name) for each in given["include"]],
        "keep_*": lambda: retention.check_rules(policy),
        "timezone": lambda: clock.zone(policy.timezone),
        "due": lambda: schedule.requested(given),
    }
    for key, check in checks.items():
        try:
            check()
        except ProgramMissingError:
            continue
        except EngineError as error:
            yield key, error


def _check_key(key: str, check: Callable[[], object], where: _Where) -> None:
    try:
        check()
    except UsageError as error:
        raise where.error(key, f": {error.message.rstrip('.')}", hint=error.hint) from error
