# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images of a few small pages, for the rooms that only see pages, and what docs/format.md says of their changes."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator, Sequence

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.snapshot import Snapshot

STREAM_HEADER_BYTES = 24


class MemorySnapshot(Snapshot):
    """``content`` as an image, read in pieces of ``chunk_pages``; ``chunks_read`` counts them."""

    def __init__(
        self, content: bytes, page_size: int, *, chunk_pages: int = 3, connection: sqlite3.Connection | None = None
    ) -> None:
        self.content = content
        self.connection = connection
        self.page_size = page_size
        self.page_count = len(content) // page_size
        self.image_bytes = len(content)
        self.header = database.parse_header(content)
        self.writers_waited = False
        self.held = False
        self.chunks_read = 0
        self._chunk_pages = chunk_pages

    @property
    def pinned_seconds(self) -> float:
        return 0.0

    def read(self, first_page: int, count: int) -> bytes:
        begin = (first_page - 1) * self.page_size
        return self.content[begin : begin + count * self.page_size]

    def chunks(self) -> Iterator[bytes]:
        for first_page in range(1, self.page_count + 1, self._chunk_pages):
            self.chunks_read += 1
            yield self.read(first_page, self._chunk_pages)

    def close(self) -> None:
        """Nothing is open."""


def pages_of(content: bytes, page_size: int) -> list[bytes]:
    return [content[place : place + page_size] for place in range(0, len(content), page_size)]


def records_between(old: bytes, new: bytes, page_size: int) -> list[tuple[int, bytes]]:
    """The pages of ``new`` that ``old`` does not have at their place, with their numbers."""
    before = pages_of(old, page_size)
    after = enumerate(pages_of(new, page_size), start=1)
    return [(number, page) for number, page in after if before[number - 1 : number] != [page]]


def stream_of(page_size: int, page_count: int, records: Sequence[tuple[int, bytes]]) -> bytes:
    """A stream of changed pages, as a stranger would write it."""
    parts = [b"SQLite pages\0\0\0\1", struct.pack(">II", page_size, page_count)]
    parts.extend(struct.pack(">I", number) + page for number, page in records)
    return b"".join([*parts, bytes(4)])
