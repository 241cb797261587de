# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Environment files of applications, read as Prisma reads them. No message has a word of what is in one.

Prisma reads them by the package dotenv, and then takes ``${NAME}``, and only with braces, for another value:
https://github.com/prisma/prisma/blob/main/packages/internals/src/dotenvExpand.ts. Other than Prisma, this knows only
what is in the file: the environment of a backup is not that of the application.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..system import files, places
from ..system.errors import SourceMissingError, UsageError, doing

# What is white space to JavaScript.
_BLANK = " \t\n\v\f\r\u00a0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000\ufeff"
_QUOTES = "'\"`"
_LINE_END = re.compile(r"\n|\Z")
_COMMENT_OR_LINE_END = re.compile(r"[#\n]|\Z")
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_TAKEN = re.compile(r"(.?)\$\{([A-Za-z0-9_]*)\}")
_FILLED = re.compile(rf"[^{_BLANK}]")
_MOST_BYTES = 1024 * 1024
_LONGEST = 64 * 1024
_DEEPEST = 20


@dataclass(frozen=True)
class Setting:
    """A value, and the number of the user whose file says so."""

    value: str
    uid: int


def lookup(file: Path, key: str) -> Setting:
    """What the environment file ``file`` says of ``key``."""
    with doing(f"Cannot read {key} from {file}"):
        try:
            with places.reading(places.resolved(file)) as opened:
                uid = os.fstat(opened.fileno()).st_uid
                content = files.read_exactly(opened, _MOST_BYTES + 1)
        except (FileNotFoundError, NotADirectoryError):
            hint = "Correct env_file, or put the file back."
            raise SourceMissingError("the file does not exist.", hint=hint) from None
        if len(content) > _MOST_BYTES:
            raise UsageError(f"the file has more than {files.readable(_MOST_BYTES)}.", hint="Correct env_file.")
        values = parsed(content.decode(errors="surrogateescape"))
        if not values.get(key):
            raise UsageError("the file does not set it.", hint="Correct env_key, or add the setting there.")
        return Setting(_Expansion(values).value(key), uid)


def parsed(text: str) -> dict[str, str]:
    """Every setting as dotenv reads it, the last one of a name; nothing in a value is replaced yet."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found: dict[str, str] = {}
    place = 0
    while (first := _skipped(text, place)) < len(text):
        begins_line = not place or "\n" in text[place - 1 : first]
        setting = _setting(text, first) if begins_line else None
        if setting:
            name, value, place = setting
            found[name] = _plain(value)
        else:
            place = _until(text, first, _LINE_END)
    return found


def _setting(text: str, first: int) -> tuple[str, str, int] | None:
    """The name, the value as it stands there, and the end of the setting that begins at ``first``."""
    for start in _starts(text, first):
        name = _NAME.match(text, start)
        value_start = _behind_sign(text, name.end()) if name else None
        if name and value_start is not None:
            begin, end = _quoted(text, value_start) or (value_start, _until(text, value_start, _COMMENT_OR_LINE_END))
            return name[0], text[begin:end], _ending(text, end) or end
    return None


def _starts(text: str, first: int) -> list[int]:
    """Where the name may begin: behind the word export, or with it."""
    behind = first + len("export")
    is_word = text.startswith("export", first) and text[behind : behind + 1] in _BLANK
    return [_skipped(text, behind), first] if is_word else [first]


def _behind_sign(text: str, place: int) -> int | None:
    """Where a value begins: behind "=", whatever is before it, or behind a colon and a blank."""
    equals = _skipped(text, place)
    if text.startswith("=", equals):
        return equals + 1
    return place + 2 if text.startswith(":", place) and text[place + 1 : place + 2] in [*_BLANK] else None


def _quoted(text: str, place: int) -> tuple[int, int] | None:
    """Where a value in quotes begins and ends, when nothing but a comment follows in its line."""
    begin = _skipped(text, place)
    quote = text[begin : begin + 1]
    if not quote or quote not in _QUOTES:
        return None
    # The first quote that no backslash keeps from being the last one; where that cannot be, one of those before it.
    ends = []
    end = text.find(quote, begin + 1)
    while end >= 0:
        ends.append(end + 1)
        if text[end - 1] != "\\" or end - 1 == begin:
            break
        end = text.find(quote, end + 1)
    return next(((begin, each) for each in reversed(ends) if _ending(text, each) is not None), None)


def _ending(text: str, place: int) -> int | None:
    """Where the line ends, when only blanks and a comment are left; blank lines behind it count, too."""
    last = _skipped(text, place)
    if text.startswith("#", last):
        return _until(text, last, _LINE_END)
    if last == len(text):
        return last
    newline = text.rfind("\n", place, last)
    return newline if newline >= 0 else None


def _skipped(text: str, place: int) -> int:
    """The next place that is not blank."""
    found = _FILLED.search(text, place)
    return found.start() if found else len(text)


def _until(text: str, place: int, wanted: re.Pattern[str]) -> int:
    found = wanted.search(text, place)
    return found.start() if found else len(text)


def _plain(value: str) -> str:
    value = value.strip(_BLANK)
    is_quoted = len(value) > 1 and value[0] in _QUOTES and value[0] == value[-1]
    plain = value[1:-1] if is_quoted else value
    return plain.replace("\\n", "\n").replace("\\r", "\r") if value.startswith('"') else plain


class _Expansion:
    """The values with what each ``${NAME}`` stands for, worked out once a name."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._known: dict[str, str] = {}
        self._inside: list[str] = []
        self._taken_chars = 0

    def value(self, name: str) -> str:
        if name not in self._known:
            if name in self._inside or len(self._inside) >= _DEEPEST:
                raise UsageError("it takes its own value, or that of too many others.", hint="Write the value out.")
            self._inside.append(name)
            self._known[name] = _TAKEN.sub(self._replaced, self._values[name])
            self._inside.pop()
        _check_length(len(self._known[name]), _LONGEST)
        return self._known[name]

    def _replaced(self, match: re.Match[str]) -> str:
        before, name = match.groups()
        if before == "\\":
            return match[0][1:]
        if name not in self._values:
            # The name may be a part of a value.
            raise UsageError(
                "it takes the value of another name, which the file does not set.",
                hint="Set that one there, too: what else the environment of the application holds is not known here.",
            )
        value = self.value(name)
        # Before any of it is put together: a small file may take a long value many times.
        self._taken_chars += len(value)
        _check_length(self._taken_chars, _MOST_BYTES)
        return before + value


def _check_length(length: int, most: int) -> None:
    if length > most:
        raise UsageError(f"it has more than {files.readable(most)}.", hint="Write a shorter one.")
