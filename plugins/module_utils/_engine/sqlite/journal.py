# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rollback journal that names a super-journal, the file that ties a transaction over several databases together.

Whoever rolls such a journal back removes the super-journal, whatever file that name is of: SQLite run by root on a
user's journal would remove any file (https://www.sqlite.org/atomiccommit.html#multi_file_commit).
"""

from __future__ import annotations

import os
import stat
import struct
from pathlib import Path
from typing import BinaryIO

from ..system import places
from ..system.errors import EngineError

_MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
# Behind the name: how many bytes it has, their sum, and the magic number.
_END = struct.Struct(">II8s")
_PAGE_NUMBER_BYTES = 4
_LONGEST_NAME_BYTES = 4096


def make_plain(journal: Path, original: Path) -> None:
    """Let the private copy ``journal`` of ``original`` mean the same as before, without the name of a super-journal.

    While a super-journal exists its transaction is to be rolled back; when it is gone, that was committed, and the
    journal is of no use. One that belongs to somebody else than the journal is none.
    """
    with open(places.open_regular(journal, os.O_RDWR), "r+b", buffering=0) as file:
        name, begin = _super_journal(file)
        if name:
            file.truncate(begin if _exists(Path(os.fsdecode(name)), original) else 0)
            os.fsync(file.fileno())


def _super_journal(file: BinaryIO) -> tuple[bytes, int]:
    """The name that the journal ends with, empty when it ends with none, and where that record begins."""
    size_bytes = file.seek(0, os.SEEK_END)
    if size_bytes < _END.size + _PAGE_NUMBER_BYTES:
        return b"", 0
    file.seek(size_bytes - _END.size)
    length, _sum, magic = _END.unpack(file.read(_END.size))
    begin = size_bytes - _END.size - length - _PAGE_NUMBER_BYTES
    if magic != _MAGIC or not 0 < length <= _LONGEST_NAME_BYTES or begin < 0:
        return b"", 0
    file.seek(begin + _PAGE_NUMBER_BYTES)
    return file.read(length), begin


def _exists(path: Path, journal: Path) -> bool:
    try:
        with places.at(path) as (name, parent), places.reading(journal, alone=False) as file:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            return stat.S_ISREG(found.st_mode) and found.st_uid == os.fstat(file.fileno()).st_uid
    except (OSError, ValueError, EngineError):
        return False
