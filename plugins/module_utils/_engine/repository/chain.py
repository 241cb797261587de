# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain: a full backup and the incrementals that build on it, one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..sealed import codec
from ..system.errors import BackupDamagedError, StorageFailedError
from . import manifest
from .manifest import Manifest
from .published import Backup, wrong_parent
from .repository import Repository


def links(repository: Repository, backup: Backup) -> list[Backup]:
    """What a restore of ``backup`` reads: its full backup first, itself last.

    Raises ``BackupDamagedError`` when a link is missing, or is none that this chain can hold.
    """
    found = [backup]
    while (parent := found[-1].trusted().parent) is not None:
        previous = repository.load(parent)
        if previous is not None and isinstance(previous.damage, StorageFailedError):
            # Not a verdict on what is stored there.
            raise previous.damage
        wrong = "is missing" if previous is None else _wrong(previous, found[-1])
        if previous is None or wrong:
            raise BackupDamagedError(
                f"The backup {backup.id} builds on {parent}, which {wrong}.",
                hint="Use another backup, or a copy of this one from off-site.",
            )
        found.append(previous)
    return found[::-1]


def _wrong(previous: Backup, following: Backup) -> str:
    """Why the one cannot be the parent of the other, an older one with pages of the same size; empty when it can."""
    before, after = previous.manifest, following.trusted()
    if before is None or before.sequence >= after.sequence or before.image.page_size != after.image.page_size:
        return "is damaged"
    return wrong_parent(previous, following)


def check_artifacts(chain: Sequence[Backup]) -> None:
    """Raise ``BackupDamagedError`` unless all files of the last link, and the pages of all others, are as stored.

    Raises ``UsageError`` when this version does not know how.
    """
    for each in chain:
        _check_content(each.trusted(), each.path)
    for each in chain[:-1]:
        manifest.check_files(each.trusted(), each.path, [each.trusted().content_file])
    manifest.check_files(chain[-1].trusted(), chain[-1].path)


def _check_content(document: Manifest, path: Path) -> None:
    """Whether what the manifest says of its content goes with the name that this has."""
    stored = document.content_file
    action = f"Cannot use {path / stored.path}"
    codec.check_known(stored.compression, stored.encryption, action=action)
    if stored.path != manifest.CONTENT_NAMES[document.type] + codec.suffix(stored.compression, stored.encryption):
        raise BackupDamagedError(
            f"{action}: its name is not one of a file with compression {stored.compression}, encryption "
            f"{stored.encryption}.",
            hint="Use another backup, or a copy of this one from off-site.",
        )
