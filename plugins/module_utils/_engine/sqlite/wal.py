# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write-ahead log of a live database: where in it the pages of one commit are.

The formats are described at https://www.sqlite.org/walformat.html (the wal-index, in the ``-shm``) and
https://www.sqlite.org/fileformat2.html#the_write_ahead_log (the frames, in the ``-wal``).
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

_INDEX_VERSION = 3007000
_MAGIC = (0x377F0682, 0x377F0683)
_INDEX_HEADER = struct.Struct("=IIIBBHIIII8s8s")
# Two copies of the header, then how many frames are in the database file already.
_INDEX_START = struct.Struct(f"={_INDEX_HEADER.size}s{_INDEX_HEADER.size}sI")
INDEX_BYTES = _INDEX_START.size
_LOG_HEADER = struct.Struct(">IIII8sII")
_FRAME_HEADER = struct.Struct(">II8sII")


@dataclass(frozen=True)
class Index:
    """The newest commit, as the wal-index has it: ``frames`` in the log, ``page_count`` pages in the database.

    ``header`` are the bytes that are others after every commit. ``backfilled`` frames are in the database file.
    ``salt`` is in the header of the log and in each of its frames, ``checksum`` in the last of these frames.
    """

    header: bytes
    page_size: int
    frames: int
    page_count: int
    checksum: tuple[int, int]
    salt: bytes
    backfilled: int


def parse_index(data: bytes) -> Index | None:
    """The wal-index that starts with ``data``; None while a writer is changing it, or when it is of another kind."""
    first, second, backfilled = _INDEX_START.unpack_from(data)
    fields = _INDEX_HEADER.unpack(first)
    version, _unused, _changes, ready, _big_endian, page_size, frames, page_count, sum1, sum2, salt, check = fields
    whole = first == second and struct.pack("=II", *_checksum(first[:-8])) == check
    if not whole or version != _INDEX_VERSION or not ready:
        return None
    page_size = (page_size & 0xFE00) | (page_size & 1) << 16
    return Index(first, page_size, frames, page_count, (sum1, sum2), salt, backfilled)


def _checksum(data: bytes) -> tuple[int, int]:
    """SQLite's checksum over native 32-bit words."""
    first = second = 0
    words = struct.unpack(f"={len(data) // 4}I", data)
    for even, odd in zip(words[::2], words[1::2]):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return first, second


class Frames:
    """The newest frame of each page up to the commit ``index``, read from the descriptor ``log``.

    Takes 4 bytes a page. Raises ``ValueError`` when the log is not that of the index.
    """

    def __init__(self, log: int, index: Index) -> None:
        self._log = log
        self._frame_bytes = _FRAME_HEADER.size + index.page_size
        self._page_size = index.page_size
        self._frame_of = array("I", bytes(4 * (index.page_count + 1)))
        magic, version, page_size, _number, salt, _sum1, _sum2 = _LOG_HEADER.unpack(_read(log, _LOG_HEADER.size, 0))
        if magic not in _MAGIC or (version, page_size, salt) != (_INDEX_VERSION, index.page_size, index.salt):
            raise ValueError("the -wal and the -shm do not belong together")
        commit, sums = 0, [0, 0]
        for frame in range(1, index.frames + 1):
            header = _read(log, _FRAME_HEADER.size, self._offset(frame))
            page, commit, salt, *sums = _FRAME_HEADER.unpack(header)
            if salt != index.salt:
                raise ValueError(f"frame {frame} of the -wal is of another time")
            # A page behind the end was cut off by a later commit.
            if page <= index.page_count:
                self._frame_of[page] = frame
        if (commit, *sums) != (index.page_count, *index.checksum):
            raise ValueError(f"frame {index.frames} of the -wal is not the commit that the -shm names")

    def _offset(self, frame: int) -> int:
        return _LOG_HEADER.size + (frame - 1) * self._frame_bytes

    def pages(self, first_page: int, count: int) -> Sequence[tuple[int, int]]:
        """Of ``count`` pages from ``first_page`` on, those that are in the log: page, frame."""
        part = self._frame_of[first_page : first_page + count]
        if not any(part):
            return ()
        return [(first_page + place, frame) for place, frame in enumerate(part) if frame]

    def read(self, frame: int) -> bytes:
        """The page in ``frame``."""
        return _read(self._log, self._page_size, self._offset(frame) + _FRAME_HEADER.size)


def _read(descriptor: int, size: int, offset: int) -> bytes:
    data = os.pread(descriptor, size, offset) if sys.platform != "win32" else b""
    if len(data) != size:
        raise ValueError("the -wal is shorter than the -shm says")
    return data
