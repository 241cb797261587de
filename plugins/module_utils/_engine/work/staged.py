# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a backup in scratch, proven, for whoever looks into it there."""

from __future__ import annotations

from pathlib import Path

from ..repository import chain, image
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sealed.encryption import Keys
from ..sqlite.snapshot import Progress
from ..system import files


def write(
    repository: Repository,
    backup: Backup,
    dest: Path,
    keys: Keys,
    *,
    lock_timeout_seconds: float,
    progress: Progress | None = None,
) -> None:
    """Restore ``backup`` into the new private file ``dest``. Raises ``BackupDamagedError`` unless it is that image."""
    with repository.reading(backup, timeout_seconds=lock_timeout_seconds):
        links = chain.links(repository, backup)
        chain.check_artifacts(links)
        files.require_space(dest.parent, image.needed_bytes(links))
        written = image.write_image(links, dest, keys, progress=progress)
        image.prove(backup, written, lambda: None)


def warnings(backup: Backup) -> list[str]:
    """What to know of a backup that somebody looks into."""
    if backup.corrupt:
        return [f"{backup.id} is a copy of a corrupt database: not all that is in it can be read"]
    return [f"{backup.id} was made in another repository"] if backup.foreign else []
