# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Strict JSON files: what is not understood is an error, which names the file and the key, and says what to do.

A mistyped key that is passed over silently would show when the backup is needed.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import re
import shlex
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system import clock, places
from ..system.errors import MALFORMED, RefusedError, UsageError, doing

MANAGED_BY = "managed_by"
"""The key with what writes the file: nothing that is changed there by hand stays."""
NAME = re.compile(r"(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9])\Z)[A-Za-z0-9][A-Za-z0-9_-]*")
"""What the name of a file, without its ending, may be on every system: Windows keeps some for devices."""
_ENDING = ".json"
_LONGEST_BYTES = 16 * 1024 * 1024
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_CORRECT = "Correct it there."
_ALLOWED = {
    "text": "a text that is not empty",
    "path": "an absolute path",
    "duration": "a duration as text, such as 15m, 1h or 7d",
    "number": "a whole number",
    "flag": "true or false",
    "object": "an object",
    "list": "a list",
    "mapping": "an object of names and simple values",
}


@dataclass(frozen=True)
class Key:
    """What a key may hold: ``type`` is text, path, duration, number, flag, object, list, mapping or anything.

    ``keys`` are those of an object, or of the objects in a list; a list without them has texts. A text that is empty
    is wrong unless it ``may_be_empty``: it would be taken for one that is not given.
    """

    type: str
    default: Any = None
    choices: tuple[str, ...] = ()
    keys: Mapping[str, Key] = field(default_factory=dict)
    required: bool = False
    may_be_empty: bool = False


def nearest(word: str, known: Sequence[str]) -> str:
    """The hint for a mistyped word: what was probably meant, and else all there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"Did you mean {close[0]}?" if close else f"Known: {', '.join(sorted(known)) or 'none'}."


@dataclass(frozen=True)
class Where:
    """Of what a configuration is: what is wrong is told with that, and the key, in front.

    ``told`` is how it is named, ``source`` where its configuration comes from. ``is_absolute`` knows the paths of the
    host that it is for, which need not be this one.
    """

    name: str
    file: Path
    told: str
    source: str
    is_absolute: Callable[[str], bool] = os.path.isabs

    def error(self, key: str, wrong: str, *, hint: str) -> UsageError:
        """``key`` is "" for the whole file; ``wrong`` goes on behind it."""
        source = f" ({self.source})" if self.source else ""
        return UsageError(f"{self.told}{key and f': {key}'}{wrong}{source}.", hint=hint)


def names(place: Path) -> list[str]:
    """The names of all that is configured in the directory ``place``, whether the files are right or not."""
    found = []
    with doing(f"Cannot list {place}"), contextlib.suppress(FileNotFoundError):
        found = os.listdir(place)
    # What is being put in place by a program has a dot in front.
    return sorted(name[: -len(_ENDING)] for name in found if name.endswith(_ENDING) and not name.startswith("."))


def where(place: Path, name: str, kind: str, source: str = "") -> Where:
    """The file of ``name``, a ``kind`` of things that are configured in ``place``; raises for what is not a name."""
    file = place / f"{name}{_ENDING}"
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a {kind} ({file}).",
            hint="Use letters, digits, - and _, with a letter or a digit first; not con, nul, com1 and the like.",
        )
    return Where(name, file, name, source or str(file))


def read(place: Where) -> Any:
    """What the file holds that nobody else may write to."""
    with doing(step=f"{place.name}: cannot read its configuration {place.file}"):
        for each in (place.file.parent, place.file):
            _check_private(each, place.name)
        # It may be another user's: neither a link to what is not that user's is followed, nor a fifo waited for.
        return parse(places.read_bytes(places.resolved(place.file), limit_bytes=_LONGEST_BYTES), place)


def settings(
    content: Any, keys: Mapping[str, Key], place: Where, check: Callable[[Mapping[str, Any], Where], None]
) -> dict[str, Any]:
    """Every key with its checked value or its default; ``check`` raises for what does not go together."""
    try:
        values = _checked(content, {**keys, MANAGED_BY: Key("text")}, "", place)
        values.pop(MANAGED_BY)
        check(values, place)
    except UsageError as error:
        manager = content.get(MANAGED_BY) if isinstance(content, dict) else None
        if not isinstance(manager, str):
            raise
        hint = "" if error.hint == _CORRECT else f"{error.hint} "
        raise UsageError(error.message, hint=f"{hint}This file is written by {manager}: correct it there.") from None
    return values


def check_key(key: str, check: Callable[[], object], place: Where) -> None:
    """Let a failure of ``check`` name the key."""
    try:
        check()
    except UsageError as error:
        raise place.error(key, f": {error.message.rstrip('.')}", hint=error.hint) from error


def _check_private(path: Path, name: str) -> None:
    """Who can write here decides what root reads and where it writes."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name != "nt" and mode & _OTHERS_WRITE:
        raise RefusedError(
            f"{name}: others than its owner can write to {path} (mode {mode:04o}).",
            hint=f"Look at its content, then: chmod go-w {shlex.quote(str(path))}",
        )


def parse(data: bytes, where: Where) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, _value in pairs if [each for each, _other in pairs].count(key) > 1)
            raise where.error(twice, ": the key is there twice", hint="Remove one of them.")
        return found

    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=unique)
    except MALFORMED as error:
        raise where.error("", f": it is not JSON: {error}", hint="Correct it, or have it written again.") from None


def _checked(content: Any, keys: Mapping[str, Key], place: str, where: Where) -> dict[str, Any]:
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


def _value(given: Any, wanted: Key, name: str, where: Where) -> Any:
    if wanted.type == "list":
        if not isinstance(given, list):
            raise _wrong(given, "a list", name, where)
        text = Key("text", may_be_empty=wanted.may_be_empty)
        each_wanted = Key("object", keys=wanted.keys) if wanted.keys else text
        return [_value(each, each_wanted, f"{name}[{number}]", where) for number, each in enumerate(given)]
    if wanted.type == "object":
        return _checked(given, wanted.keys, name, where)
    is_empty = wanted.type == "text" and given == "" and not wanted.may_be_empty
    if is_empty or not _FITS[wanted.type](given) or (wanted.type == "path" and not where.is_absolute(given)):
        raise _wrong(given, _ALLOWED[wanted.type], name, where)
    if wanted.choices and given not in wanted.choices:
        raise _wrong(given, f"one of {', '.join(wanted.choices)}", name, where)
    return given


def _is_text(given: Any) -> bool:
    if not isinstance(given, str) or "\0" in given:
        return False
    try:
        # Half a character is nothing that a file or a program could be given.
        return bool(os.fsencode(given)) or not given
    except UnicodeEncodeError:
        return False


def _is_duration(given: Any) -> bool:
    try:
        return isinstance(given, str) and clock.parse_duration(given) >= 0
    except UsageError:
        return False


_SIMPLE = (str, int, bool)
_FITS: Mapping[str, Callable[[Any], bool]] = {
    "text": _is_text,
    "path": _is_text,
    "duration": _is_duration,
    "number": lambda given: isinstance(given, int) and not isinstance(given, bool),
    "flag": lambda given: isinstance(given, bool),
    "mapping": lambda given: isinstance(given, dict) and all(isinstance(each, _SIMPLE) for each in given.values()),
    "anything": lambda _given: True,
}


def _wrong(given: Any, allowed: str, name: str, where: Where) -> UsageError:
    return where.error(name, f"{'' if name else ': it'} is {_shown(given)}, it must be {allowed}", hint=_CORRECT)


def _shown(given: Any) -> str:
    """A wrong value as the file has it, never a page of it."""
    text = json.dumps(given)
    return text if len(text) <= 60 else f"{text[:60]} …"
