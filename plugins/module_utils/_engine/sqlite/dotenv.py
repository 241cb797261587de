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
_S = f"[{_BLANK}]"
# One setting, from its first letter on.
_SETTING = re.compile(
    rf"(?:export{_S}+)?([A-Za-z0-9_.-]+)(?:{_S}*={_S}*?|:{_S}+?)"
    rf"({_S}*'(?:\\'|[^'])*'|{_S}*\"(?:\\\"|[^\"])*\"|{_S}*`(?:\\`|[^`])*`|[^#\r\n]+)?{_S}*(?:#.*)?$",
    re.MULTILINE,
)
_QUOTED = re.compile(r"^(['\"`])(.*)\1$", re.MULTILINE | re.DOTALL)
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
    while first := _FILLED.search(text, place):
        begins_line = not place or "\n" in text[place - 1 : first.start()]
        match = _SETTING.match(text, first.start()) if begins_line else None
        if match:
            found[match[1]] = _plain(match[2] or "")
            place = match.end()
        else:
            place = text.find("\n", first.start())
            if place < 0:
                break
    return found


def _plain(value: str) -> str:
    value = value.strip(_BLANK)
    plain = _QUOTED.sub(r"\2", value)
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
