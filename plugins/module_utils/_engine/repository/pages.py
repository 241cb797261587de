# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages: their digests, the stream of those that changed, and the index that tells which did.

The stream is described in docs/format.md. The index is local, private and disposable: whatever is wrong with it, the
next backup is a full one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..system import files, pieces, places
from ..system.errors import MALFORMED, BackupDamagedError, RefusedError, doing

DIGEST_BYTES = 16
MAGIC = b"SQLite pages\x00\x00\x00\x01"
_HEADER = struct.Struct(">16sII")
_NUMBER = struct.Struct(">I")
END = _NUMBER.pack(0)
_FACTS_BYTES = 16 * 1024 * 1024


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


def digests(chunk: bytes, page_size: int) -> bytes:
    """16 bytes of the SHA-256 of each page in ``chunk``, one after the other."""
    sha256, view = hashlib.sha256, memoryview(chunk)
    return b"".join(
        [sha256(view[place : place + page_size]).digest()[:DIGEST_BYTES] for place in range(0, len(chunk), page_size)]
    )


def changed_places(old: bytes, new: bytes) -> list[int]:
    """The places, from 0, at which digests differ; a place that ``old`` does not have differs."""
    if old == new:
        return []
    count = len(new) // DIGEST_BYTES
    cut = [slice(place * DIGEST_BYTES, (place + 1) * DIGEST_BYTES) for place in range(count)]
    return [place for place in range(count) if old[cut[place]] != new[cut[place]]]


def header(page_size: int, page_count: int) -> bytes:
    """The beginning of a stream of changed pages: the page size in bytes, the pages of the whole image."""
    return _HEADER.pack(MAGIC, page_size, page_count)


def record(number: int, page: bytes | memoryview) -> bytes:
    """One changed page in the stream; the first page of a database has the number 1."""
    return _NUMBER.pack(number) + page


def apply(stream: _Stream, image: BinaryIO, *, page_size: int, page_count: int, where: str) -> None:
    """Bring ``image``, which holds the parent's image, to what the stream of changed pages says.

    Raises ``BackupDamagedError`` unless the stream is whole and of ``page_count`` pages of ``page_size`` bytes.
    """
    reader = _Reader(stream, where)
    if reader.take(_HEADER.size) != header(page_size, page_count):
        raise BackupDamagedError(f"{where} does not hold the changed pages that its manifest says.", action="")
    image.truncate(page_count * page_size)
    last = 0
    while (number := _NUMBER.unpack(reader.take(_NUMBER.size))[0]) != 0:
        if not last < number <= page_count:
            raise BackupDamagedError(f"{where} names the page {number} behind {last}, of {page_count}.", action="")
        image.seek((number - 1) * page_size)
        files.write_all(image, reader.take(page_size))
        last = number
    if not reader.at_end():
        raise BackupDamagedError(f"{where} goes on behind its end.", action="")


class _Reader:
    """Small pieces of a stream that is read in large ones."""

    def __init__(self, stream: _Stream, where: str) -> None:
        self._stream = stream
        self._where = where
        self._data = b""
        self._place = 0

    def take(self, size: int) -> bytes:
        """Exactly the next ``size`` bytes."""
        while len(self._data) < self._place + size:
            if not self._read_on():
                raise BackupDamagedError(f"{self._where} ends too early.", action="")
        self._place += size
        return self._data[self._place - size : self._place]

    def at_end(self) -> bool:
        return self._place == len(self._data) and not self._read_on()

    def _read_on(self) -> bool:
        piece = self._stream.read(files.CHUNK_BYTES)
        self._data, self._place = self._data[self._place :] + piece, 0
        return bool(piece)


class IndexWriter:
    """Collects the digests of the pages of one image, in order, 16 bytes a page; ``write`` them with facts about it."""

    def __init__(self) -> None:
        self._digests = bytearray()

    def add(self, page_digests: bytes) -> None:
        self._digests += page_digests

    def write(self, path: Path, facts: dict[str, Any]) -> None:
        """Make the new private file ``path``. It needs no flush: after a crash its digest tells what became of it."""
        text = json.dumps({"digests_sha256": hashlib.sha256(self._digests).hexdigest(), **facts}, sort_keys=True)
        with doing(f"Cannot write {path}"), files.create_private(path) as file:
            files.write_all(file, self._digests)
            files.write_all(file, text.encode())


class Index:
    """The digests of the pages of one image, read in order; ``facts`` are what ``write`` was given."""

    def __init__(self, file: BinaryIO, facts: dict[str, Any], page_count: int) -> None:
        self._file = file
        self._page_count = page_count
        self._next = 0
        self.facts = facts

    def read(self, count: int) -> bytes:
        """The digests of the next ``count`` pages, fewer at the end of the image."""
        count = min(count, self._page_count - self._next)
        self._next += count
        return files.read_exactly(self._file, count * DIGEST_BYTES)

    def rewind(self) -> None:
        self._file.seek(0)
        self._next = 0


@contextlib.contextmanager
def open_index(path: Path, page_count: int) -> Iterator[Index | None]:
    """The index in ``path``, of an image of ``page_count`` pages; None when there is none that is whole."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(places.reading(path))
            facts = _check_index(file, page_count)
        except (OSError, RefusedError, *MALFORMED):
            yield None
            return
        yield Index(file, facts, page_count)


def _check_index(file: BinaryIO, page_count: int) -> dict[str, Any]:
    digest = hashlib.sha256()
    left_bytes = page_count * DIGEST_BYTES
    for piece in pieces.of(file, most_bytes=left_bytes):
        digest.update(piece)
        left_bytes -= len(piece)
    facts = json.loads(file.read(_FACTS_BYTES))
    file.seek(0)
    if left_bytes or not isinstance(facts, dict) or facts.get("digests_sha256") != digest.hexdigest():
        raise ValueError("the index is not whole")
    return facts
