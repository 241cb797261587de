# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The portable export: a database as lines of JSON, see ``docs/export.md``. The same content makes the same bytes.

First the settings of the file, then the schema, then the rows of each table, and at the end a digest of all of it.
What is read is data from outside: everything in it may be wrong.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from ..system import files
from ..system.errors import BackupDamagedError, ProgramMissingError, RefusedError, SourceMissingError
from ..system.pieces import Readable
from . import contents, values
from .contents import Contents, Object

VERSION = 2
LONGEST_LINE_BYTES = 256 * 1024 * 1024
_FORMAT = "sqlite_export"
_LONGEST_SCHEMA_BYTES = 64 * 1024 * 1024
# What stands around the texts of a line; the widest table takes less: https://www.sqlite.org/limits.html#max_column
_MOST_MARKS_BYTES = 1024 * 1024
_TEXT = re.compile(rb'"[^"]*"')
_BATCH_ROWS = 1000
_BATCH_BYTES = 4 * 1024 * 1024
_ENCODINGS = tuple(values.CODECS)
_WHOLE: dict[str, range] = {
    "auto_vacuum": range(3),
    "user_version": range(-(2**31), 2**31),
    "application_id": range(-(2**31), 2**31),
}
_AGAIN = "Make the export again, or use another copy of it."


class Lines:
    """A database as lines, in pieces of about a megabyte. At the end ``sha256`` and ``rows`` are those of the file."""

    def __init__(self, source: Contents) -> None:
        self._source = source
        self._digest = hashlib.sha256()
        self.rows = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[bytes]:
        pending: list[bytes] = []
        size_bytes = 0
        for line in self._lines():
            pending.append(line)
            size_bytes += len(line)
            if size_bytes >= files.CHUNK_BYTES:
                yield self._noted(pending)
                pending, size_bytes = [], 0
        yield self._noted(pending)
        yield values.line({"end": True, "rows": self.rows, "sha256": self.sha256})

    def _noted(self, pending: list[bytes]) -> bytes:
        piece = b"".join(pending)
        self._digest.update(piece)
        return piece

    def _lines(self) -> Iterator[bytes]:
        source = self._source
        source.check_is_whole()
        told: dict[str, Any] = {"tables": source.names} if source.names else {}
        if source.left_out:
            told["left_out"] = source.left_out
        yield values.line({_FORMAT: VERSION, **source.settings, **told, "objects": source.count})
        for each in source.objects:
            yield values.line(_told(each))
        for each in source.objects:
            if each.rows is not None:
                yield values.line({"rows_of": each.name})
                yield from self._rows(each)

    def _rows(self, table: Object) -> Iterator[bytes]:
        for row in self._source.rows(table):
            line = values.line(values.jsonable(row))
            if len(line) > LONGEST_LINE_BYTES:
                raise RefusedError(
                    f"a row of {table.name!r} takes {files.readable(len(line))}, which is too long for a line.",
                    hint="Take the other tables, by their names, and this one out of a backup.",
                )
            self.rows += 1
            yield line


def _told(each: Object) -> dict[str, Any]:
    told: dict[str, Any] = {"type": each.type, "name": each.name}
    if each.table != each.name:
        told["table"] = each.table
    if each.sql:
        told["sql"] = each.sql
    if each.rows is not None:
        told.update(rowid=bool(each.rowid), columns=[list(column) for column in each.columns], rows=each.rows)
    if each.settings:
        told["settings"] = [[name, *values.jsonable([value])] for name, value in each.settings]
    return told


class Export:
    """What an export tells of a database, and then its rows. Whatever is wrong in it raises ``BackupDamagedError``.

    ``settings`` are those of the file, ``names`` the tables that were asked for, ``left_out`` what is not in it,
    ``objects`` the schema. ``sha256`` is known when all rows were read, and is then right. Raises
    ``SourceMissingError`` for what is no export at all.
    """

    def __init__(self, stream: Readable) -> None:
        self._lines = _lines(stream)
        self._digest = hashlib.sha256()
        self._number = 0
        self._line = b""
        self.sha256 = ""
        self.settings, self.names, self.left_out, count = self._header()
        self.objects = self._objects()
        if len(self.objects) != count:
            self._fail(f"its schema has {len(self.objects)} parts, and not {count}")

    @property
    def rows(self) -> int:
        """How many there are in all tables, as it says itself."""
        return sum(each.rows or 0 for each in self.objects)

    def tables(self) -> Iterator[tuple[Object, Iterator[list[list[Any]]]]]:
        """Each table that has rows of its own, and batches of them, all of which are to be read."""
        for each in self.objects:
            if each.rows is not None:
                if self._parsed() != {"rows_of": each.name}:
                    self._fail(f"the rows of {each.name!r} were to come here")
                self._next()
                yield each, self._batches(each)
        if self._parsed() != {"end": True, "rows": self.rows, "sha256": self._digest.hexdigest()}:
            self._fail("the digest at the end is not that of the file")
        self.sha256 = self._digest.hexdigest()
        if next(self._lines, None) is not None:
            self._fail("something follows behind its end")

    def _batches(self, table: Object) -> Iterator[list[list[Any]]]:
        batch: list[list[Any]] = []
        size_bytes = 0
        width = len(table.columns) + bool(table.rowid)
        for _row in range(table.rows or 0):
            batch.append(self._row(width))
            size_bytes += len(self._line)
            self._next()
            if len(batch) == _BATCH_ROWS or size_bytes > _BATCH_BYTES:
                yield batch
                batch, size_bytes = [], 0
        if batch:
            yield batch

    def _row(self, width: int) -> list[Any]:
        row = self._parsed()
        if not isinstance(row, list) or len(row) != width:
            self._fail(f"a row of {width} values was to come here")
        try:
            return [each if each.__class__ is str else values.value_of(each) for each in row]
        except ValueError as error:
            self._fail(str(error))

    def _header(self) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...], Any]:
        self._line = next(self._lines, b"")
        self._number = 1
        if not self._line.startswith(b'{"' + _FORMAT.encode()):
            raise SourceMissingError("it is no export of a database.", hint="Name a file that an export made.")
        told = self._parsed()
        version = told.pop(_FORMAT, None)
        if version != VERSION:
            older = _is_whole(version) and version < VERSION
            hint = "Make the export again: the first release does not read it." if older else "Update the collection."
            raise ProgramMissingError(f"its format is {version!r:.20}, and not {VERSION}.", hint=hint)
        names, left_out, count = told.pop("tables", []), told.pop("left_out", []), told.pop("objects", None)
        if not _is_list_of_texts(names):
            self._fail("its tables are no list of names")
        if not _is_list_of_texts(left_out) or not set(left_out) <= set(contents.LEFT_OUT):
            self._fail("what it left out is nothing that can be left out")
        if not _are_settings(told):
            self._fail("its settings are none that a database can have")
        self._next()
        return told, tuple(names), tuple(left_out), count

    def _objects(self) -> list[Object]:
        found: list[Object] = []
        size_bytes = 0
        while self._line.startswith(b'{"type"'):
            each = self._object(self._parsed())
            if found and contents.ORDER.index(each.type) < contents.ORDER.index(found[-1].type):
                self._fail("the parts of its schema are not in their order")
            found.append(each)
            size_bytes += len(self._line)
            if size_bytes > _LONGEST_SCHEMA_BYTES:
                self._fail("its schema is too long")
            self._next()
        return found

    def _object(self, told: Any) -> Object:
        texts = [told.get("type"), told.get("name"), told.get("table", told.get("name")), told.get("sql", "")]
        columns, rows, settings = told.get("columns", []), told.get("rows"), told.get("settings", [])
        if not (
            all(isinstance(each, str) for each in texts)
            and isinstance(columns, list)
            and isinstance(settings, list)
            and texts[0] in contents.ORDER
            and (rows is None or (_is_whole(rows) and rows >= 0 and isinstance(told.get("rowid"), bool)))
            and all(_is_list_of_texts(each) and len(each) == 2 for each in columns)
            and all(isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) for each in settings)
        ):
            self._fail("that is no part of a schema")
        try:
            given = tuple((name, values.value_of(value)) for name, value in settings)
        except ValueError as error:
            self._fail(str(error))
        rowid = "rowid" if told.get("rowid") else ""
        layout = tuple((name, kind) for name, kind in columns)
        return Object(texts[0], texts[1], texts[2], texts[3], layout, rowid, rows, given)

    def _parsed(self) -> Any:
        if not self._line:
            self._fail("it ends here, and is not whole")
        try:
            return _decoded(self._line)
        except (ValueError, RecursionError):
            self._fail("that is no line of an export")

    def _next(self) -> None:
        """Go on to the next line; what was read is digested."""
        self._digest.update(self._line + b"\n")
        self._number += 1
        self._line = next(self._lines, b"")

    def _fail(self, cause: str) -> NoReturn:
        raise BackupDamagedError(f"line {self._number}: {cause}.", hint=_AGAIN)


def _decoded(line: bytes) -> Any:
    if _is_bomb(line):
        raise ValueError
    told = _DECODER.decode(line.decode())
    if b"\\ud" in line or b"\\uD" in line:
        # Half of a pair of UTF-16 can be read, and is no text: it cannot be written.
        values.line(told)
    return told


def _is_bomb(line: bytes) -> bool:
    """Whether a long line is not long texts but many values, each of which takes many times as much memory."""
    if len(line) <= _MOST_MARKS_BYTES:
        return False
    plain = line.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks_bytes = end = 0
    for text in _TEXT.finditer(plain):
        marks_bytes += text.start() - end
        end = text.end()
        if marks_bytes > _MOST_MARKS_BYTES:
            return True
    return marks_bytes + len(plain) - end > _MOST_MARKS_BYTES


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


_DECODER = json.JSONDecoder(parse_constant=_no_number)


def _is_list_of_texts(found: Any) -> bool:
    return isinstance(found, list) and all(isinstance(each, str) for each in found)


def _is_whole(found: Any) -> bool:
    return isinstance(found, int) and not isinstance(found, bool)


def _are_settings(told: Any) -> bool:
    names = {"page_size", "encoding", "journal_mode", *_WHOLE}
    return (
        set(told) == names
        and _is_whole(told["page_size"])
        and told["page_size"] in [2**power for power in range(9, 17)]
        and told["encoding"] in _ENCODINGS
        and told["journal_mode"] in ("wal", "rollback")
        and all(_is_whole(told[name]) and told[name] in allowed for name, allowed in _WHOLE.items())
    )


def _lines(stream: Readable) -> Iterator[bytes]:
    """The lines of a stream without their ends; one that is too long, or has no end, is damage."""
    pieces: list[bytes] = []
    size_bytes = 0
    while chunk := stream.read(files.CHUNK_BYTES):
        first, *others = chunk.split(b"\n")
        pieces.append(first)
        size_bytes += len(first)
        if size_bytes > LONGEST_LINE_BYTES:
            raise BackupDamagedError("a line of it is too long.", hint=_AGAIN)
        if others:
            yield b"".join(pieces)
            yield from others[:-1]
            pieces, size_bytes = [others[-1]], len(others[-1])
    if any(pieces):
        raise BackupDamagedError("it ends within a line, and is not whole.", hint=_AGAIN)
