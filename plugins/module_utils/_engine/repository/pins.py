# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pin of a backup that was set, or taken back, after it was made: a small sealed file beside the manifest.

It has a file of its own, and not a place among the notes: those are an aid and count as never written when damaged,
while a promise must not end by a flipped bit.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..system import clock, files, places
from ..system.errors import MALFORMED, EngineError, doing
from . import seal

FORMAT = 1
NAME = "pin.json"


@dataclass(frozen=True)
class Pin:
    """Whether a backup is pinned ``since`` then; ``until`` is empty where no end is set. Both are RFC 3339 in UTC.

    ``damage`` says why the file cannot be used; such a backup counts as pinned.
    """

    pinned: bool
    since: str = ""
    until: str = ""
    damage: str = ""

    def holds(self, moment: datetime) -> bool:
        """Whether it keeps the backup at ``moment``."""
        return self.pinned and (not self.until or moment < clock.from_text(self.until))


def read(directory: Path) -> Pin | None:
    """What was last said of the backup in ``directory``; None when nothing was since it was made."""
    path = directory / NAME
    try:
        with doing(f"Cannot read {path}"):
            try:
                # Hardly any backup has one, and to find that out by opening takes long.
                os.lstat(path)
                data = places.read_bytes(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
    except EngineError as error:
        return Pin(pinned=True, damage=error.message)
    if not seal.is_right(data):
        return Pin(pinned=True, damage=f"Cannot read {path}: its content does not match its seal.")
    try:
        return _pin(json.loads(data), directory.name)
    except (EngineError, *MALFORMED) as error:
        return Pin(pinned=True, damage=f"Cannot use {path}: {error}.")


def _pin(content: dict[str, object], identity: str) -> Pin:
    pinned, since, until = content["pinned"], content["since"], content["until"]
    if content["format"] != FORMAT:
        raise ValueError(f"it has format {content['format']}, this version reads {FORMAT}")
    if content["backup"] != identity:
        raise ValueError(f"it is that of {content['backup']}")
    if not (isinstance(pinned, bool) and isinstance(since, str) and isinstance(until, str)):
        raise TypeError(f"it says {content!r:.200}")
    for each in filter(None, (since, until)):
        clock.to_text(clock.from_text(each))
    return Pin(pinned, since, until)


def write(directory: Path, pin: Pin) -> None:
    """Replace what is said of the backup in ``directory``."""
    content = {"pinned": pin.pinned, "since": pin.since, "until": pin.until}
    data = seal.to_bytes({"format": FORMAT, "backup": directory.name, **content})
    files.replace_private(directory / NAME, data)
