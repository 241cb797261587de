# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in files, in pieces: never more than there was when it began, and never for ever.

Others can let a file grow as fast as it is read, or make one of holes, which takes no room and years to read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from . import confined
from .clock import Deadline
from .errors import SourceBusyError, StorageFailedError

BYTES = 1024 * 1024
# The check of a structure has as much: a disk that is slower is broken, or there is no disk behind what is read.
_PATIENCE_SECONDS = 600.0
_SLOWEST_BYTES_PER_SECOND = 1024 * 1024
# https://docs.python.org/3/library/os.html#os.stat_result.st_blocks
_BLOCK_BYTES = 512


class Readable(Protocol):
    """What can be read from its beginning to its end."""

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


def of(file: BinaryIO, *, most_bytes: int | None = None, deadline: Deadline | None = None) -> Iterator[bytes]:
    """What follows in the open regular ``file``, as it is when this begins, and no more than ``most_bytes``.

    Raises ``SourceBusyError`` past the ``deadline``. In a child beside another user, see ``confined``, raises
    ``StorageFailedError`` after ten minutes, and a second more for each MiB that the file takes on the disk.
    """
    status = os.fstat(file.fileno())
    left_bytes = status.st_size - file.tell()
    left_bytes = left_bytes if most_bytes is None else min(left_bytes, most_bytes)
    patience = Deadline(_patience_seconds(status) if confined.is_inside() else None)
    while left_bytes > 0:
        if deadline is not None and deadline.passed():
            raise SourceBusyError(
                f"the timeout passed when {left_bytes} of {status.st_size} bytes were left to read.",
                hint="Raise timeout, unless the file is one of holes, which ends for nobody.",
            )
        if patience.passed():
            raise StorageFailedError(
                f"{left_bytes} of {status.st_size} bytes were left after a time in which any disk gives all it has.",
                hint="Look who made the file: it may be one of holes.",
            )
        piece = file.read(min(left_bytes, BYTES))
        if not piece:
            return
        left_bytes -= len(piece)
        yield piece


def _patience_seconds(status: os.stat_result) -> float:
    blocks: int = getattr(status, "st_blocks", 0)
    return _PATIENCE_SECONDS + blocks * _BLOCK_BYTES / _SLOWEST_BYTES_PER_SECOND
