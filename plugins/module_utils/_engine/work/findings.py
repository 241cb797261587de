# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an examination of a database and its backups looks at, and what it may find."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..repository import published
from ..repository.published import Backup
from ..sealed.encryption import NO_KEYS, NOT_ENCRYPTED, Encryption, Keys
from ..sqlite import database
from ..sqlite.database import Source
from ..system import files

OK, NOTE, WARNING, PROBLEM = "ok", "note", "warning", "problem"
OTHERS = stat.S_IRWXG | stat.S_IRWXO
OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True)
class Request:
    """What to look at. ``configuration`` is the file about the database, if there is one; the rest as for a backup."""

    path: Path
    repository: Path
    configuration: Path | None = None
    compression: str = "auto"
    encryption: Encryption = NOT_ENCRYPTED
    keys: Keys = NO_KEYS


@dataclass(frozen=True)
class Finding:
    """What was found under ``name``.

    A problem or a warning has a hint, what to do about it. A note is worth knowing, and nothing has to be done; neither
    it nor what is ok has a hint.
    """

    name: str
    outcome: str
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class Facts:
    """What several checks need.

    ``path`` is without symbolic links, ``source`` None when it cannot be backed up. ``listed`` are all backups, also
    foreign ones. ``mounts`` as for ``mounts.filesystem_of``.
    """

    request: Request
    path: Path
    source: Source | None
    listed: list[Backup]
    mounts: str | None

    @property
    def backups(self) -> list[Backup]:
        """Those of this repository."""
        return published.own(self.listed)

    @property
    def live_bytes(self) -> int:
        return files.size_of(self.path) + files.size_of(database.sidecar(self.path, database.WAL))


# Under its name what looks at one hazard.
Checks = Mapping[str, Callable[[Facts, str], Finding]]


def existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


def rights_of_windows(name: str, path: Path) -> Finding:
    """What the engine does not judge."""
    detail = f"Windows' rights are not looked at: see who may use it by: icacls {subprocess.list2cmdline([str(path)])}"
    return Finding(name, NOTE, detail)
