# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table as people and other programs read it: CSV, and a JSON document as a seed script of Prisma takes it.

Neither is exact, and neither can be imported: for that there is `portable`.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from ..system import files
from . import values
from .contents import Contents, Object
from .values import RawText

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
# As CURRENT_TIMESTAMP of SQLite has it, in UTC: https://www.sqlite.org/lang_datefunc.html#time_values
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)")
# In bytes: file systems take 255, with the endings and what a file is called while it is written.
_LONGEST_NAME = 200
_SHOWN = 100
# Names that Windows has for devices, whatever the ending.
_DEVICE = re.compile(r"(?i)(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)")


class Documents:
    """The tables of a database, one at a time, in pieces; ``warnings`` say afterwards what was not exact."""

    def __init__(self, source: Contents) -> None:
        self._source = source
        self._inexact: set[str] = set()

    @property
    def warnings(self) -> list[str]:
        return [f"{name} has texts that are not UTF-8, or no numbers: they are shown" for name in sorted(self._inexact)]

    def csv(self, table: Object) -> Iterator[bytes]:
        """As https://www.rfc-editor.org/rfc/rfc4180: a text is in quotes, no value is nothing, bytes are in base64."""
        yield from _pieces(self._csv(table))

    def json(self, table: Object) -> Iterator[bytes]:
        """An array with an object a row, as ``createMany`` of Prisma's client takes it."""
        yield from _pieces(self._json(table))

    def _csv(self, table: Object) -> Iterator[bytes]:
        yield ",".join(_cell(name) for name, _type in table.columns).encode() + b"\r\n"
        for row in self._rows(table):
            yield ",".join(map(_cell, row)).encode() + b"\r\n"

    def _json(self, table: Object) -> Iterator[bytes]:
        names = [name for name, _type in table.columns]
        shapes = [_SHAPES.get(kind.split("(")[0].strip().upper(), _plain) for _name, kind in table.columns]
        start = b"[\n"
        for row in self._rows(table):
            told = {name: shape(value) for name, shape, value in zip(names, shapes, row)}
            yield start + values.line(told)[:-1]
            start = b",\n"
        yield b"[]\n" if start == b"[\n" else b"\n]\n"

    def _rows(self, table: Object) -> Iterator[list[Any]]:
        for row in self._source.rows(table):
            yield [self._shown(each, table.name) for each in row[bool(table.rowid) :]]

    def _shown(self, value: Any, table: str) -> Any:
        """A value that can be written at all."""
        if isinstance(value, RawText):
            self._inexact.add(table)
            return value.data.decode("utf-8", "replace")
        if isinstance(value, float) and not math.isfinite(value):
            self._inexact.add(table)
            return "Infinity" if value > 0 else "-Infinity"
        return value


def _pieces(lines: Iterable[bytes]) -> Iterator[bytes]:
    pending = bytearray()
    for each in lines:
        pending += each
        if len(pending) >= files.CHUNK_BYTES:
            yield bytes(pending)
            pending.clear()
    yield bytes(pending)


def file_name(table: str) -> str:
    """The name of the document of a table, whatever the table is called; of a long name its beginning, and a digest."""
    quoted = urllib.parse.quote(table, safe="")
    if quoted.startswith(".") or _DEVICE.match(quoted) or not quoted:
        quoted = f"%{ord(quoted[:1] or ' '):02X}{quoted[1:]}"
    if len(quoted) > _LONGEST_NAME:
        # By the digest it is the only one; "%~" is in no other name.
        quoted = f"{quoted[:_SHOWN]}%~{hashlib.sha256(table.encode()).hexdigest()}"
    return f"{quoted}.json"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = values.encoded(value)
    if isinstance(value, str):
        return '"' + value.replace('"', '""') + '"'
    return repr(value)


def _plain(value: Any) -> Any:
    """Without a type that says more: bytes in base64, and a number that JavaScript would round as a text."""
    if isinstance(value, bytes):
        return values.encoded(value)
    if isinstance(value, int) and abs(value) > values.LARGEST_NUMBER:
        return str(value)
    return value


def _boolean(value: Any) -> Any:
    return bool(value) if isinstance(value, int) and value in (0, 1) else _plain(value)


def _number(value: Any) -> Any:
    return repr(value) if isinstance(value, (int, float)) else _plain(value)


def _moment(value: Any) -> Any:
    """Milliseconds since 1970, or a text of SQLite's, as ISO 8601 with a zone."""
    if isinstance(value, int):
        try:
            moment = _EPOCH + timedelta(milliseconds=value)
        except OverflowError:
            return _plain(value)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    found = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    return f"{found[1]}T{found[2]}Z" if found else _plain(value)


def _document(value: Any) -> Any:
    if isinstance(value, str):
        try:
            found = json.loads(value, parse_constant=_refuse)
            # Not all that can be read can be written: 1e999, half of a pair of UTF-16.
            values.line({"": found})
        except (ValueError, RecursionError):
            return value
        return found
    return _plain(value)


def _refuse(text: str) -> None:
    raise ValueError(text)


# The types that Prisma gives columns of SQLite: https://www.prisma.io/docs/orm/overview/databases/sqlite#type-mapping
_SHAPES: dict[str, Callable[[Any], Any]] = {
    "BOOLEAN": _boolean,
    "BIGINT": _number,
    "DECIMAL": _number,
    "DATETIME": _moment,
    "JSONB": _document,
}
