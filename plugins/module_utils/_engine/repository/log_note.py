# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The note on this host of up to where each log was stored, by the number of its file.

A number is given to other files, too, and a file may be cut and written anew: digests of its beginning and of what is
before that place tell.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from ..system import files, places
from ..system.errors import MALFORMED, RefusedError, doing
from .manifest import made

# So much of the beginning, and so much of the end, tells whether a file is still the same.
_MARK_BYTES = 1024
_MOST_KNOWN = 1000


@dataclass(frozen=True)
class Known:
    """Up to where a file was stored; ``head`` and ``tail`` are digests of its beginning, and of what is before ``end``.

    ``path`` and ``asked`` are digests of its path and of what asked for it; ``name`` is the path, where that is no
    secret. One that ``is_over`` was read to its end under another name than before; one that ``is_quiet`` was, too, and
    had not been written to for a day. Of one that ``is_missed`` it was told that it was not found any more.
    """

    end: int
    head: str
    tail: str
    path: str
    asked: str
    name: str = ""
    is_over: bool = False
    is_quiet: bool = False
    is_missed: bool = False


@dataclass
class Note:
    """What is kept in ``place``: the files that are ``known``, by number, as of ``since``, in seconds.

    Before the first time that is None. ``salt`` goes into every digest: none can be compared with that of a guess.
    """

    place: Path
    known: dict[str, Known]
    salt: str
    since: float | None = None

    def digest(self, data: bytes | Path) -> str:
        plain = data if isinstance(data, bytes) else os.fsencode(data)
        return hashlib.sha256(self.salt.encode() + plain).hexdigest()

    def marks(self, file: BinaryIO, end: int) -> tuple[str, str]:
        """What tells whether the first ``end`` bytes of a file are still the same."""
        size = min(end, _MARK_BYTES)
        return self.digest(read_at(file, 0, size)), self.digest(read_at(file, end - size, size))

    def is_same(self, file: BinaryIO, known: Known) -> bool:
        is_long_enough = known.end <= os.fstat(file.fileno()).st_size
        return is_long_enough and (known.head, known.tail) == self.marks(file, known.end)

    def write(self, seen: Mapping[str, Known], now: float) -> None:
        """Keep what is ``seen``, and what is known besides: it may have another name soon."""
        if not seen and not any(each.is_missed for each in self.known.values()):
            return
        kept = [*{**{name: each for name, each in self.known.items() if name not in seen}, **seen}.items()]
        content = {
            "salt": self.salt,
            "time": now,
            "files": {name: asdict(each) for name, each in kept[-_MOST_KNOWN:]},
        }
        with doing(f"Cannot note up to where logs are stored in {self.place}"):
            files.own_directory(self.place.parent)
            files.replace_private(self.place, (json.dumps(content) + "\n").encode())


def read(place: Path) -> Note:
    """What is kept; nothing when it is not as it was written: then all is new."""
    try:
        content = json.loads(places.read_bytes(place))
        known = {str(name): made(Known, each) for name, each in content["files"].items()}
        return Note(place, known, str(content["salt"]), float(content["time"]))
    except (OSError, RefusedError, *MALFORMED):
        return Note(place, {}, os.urandom(16).hex())


def read_at(file: BinaryIO, place: int, size: int) -> bytes:
    """``size`` bytes from ``place`` on, fewer at the end of the file."""
    file.seek(place)
    return files.read_exactly(file, size)
