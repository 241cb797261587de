# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup a restore takes, and which ones it takes only when that is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from .errors import BackupDamagedError, RefusedError, StorageFailedError, UsageError
from .published import Backup
from .repository import Repository

_ACTION = "Cannot restore"


@dataclass(frozen=True)
class Wanted:
    """As a restore is asked for it. ``force`` takes a suspect backup, too, ``force_identity`` a foreign one."""

    backup: str
    before: datetime | None
    force: bool
    force_identity: bool


def choose(repository: Repository, wanted: Wanted) -> tuple[Backup, list[str]]:
    """The backup that is ``wanted``, and warnings. Raises when it is not to be trusted, and names a good one."""
    backups = repository.backups()
    backup = _find(repository, wanted, backups)
    good = next((each.id for each in reversed(backups) if each.verified and each.id != backup.id), None)
    hint = f"The newest good backup is {good}." if good else "There is no other good backup in this repository."
    if backup.damage is not None and not isinstance(backup.damage, StorageFailedError):
        raise BackupDamagedError(backup.damage.message, hint=hint)
    document = backup.trusted()
    if backup.foreign and not wanted.force_identity:
        origin = f"of {document.database.source} on {document.database.host}"
        raise RefusedError(
            f"{_ACTION} {backup.id}: it was made in another repository, {origin}.",
            hint=f"Set force_identity if that is meant. {hint}",
        )
    if document.suspect and not wanted.force:
        raise RefusedError(f"{_ACTION} {backup.id}: it is a copy of a corrupt database, marked suspect.", hint=hint)
    if backup.apart and wanted.backup != backup.id:
        raise RefusedError(
            f"{_ACTION} {backup.id}: it is perhaps of another database than those before it, and held apart.",
            hint=f"Name it by its id if it is meant. {hint}",
        )
    return backup, repository.warnings([] if backup.foreign else backups)


def _find(repository: Repository, wanted: Wanted, backups: Sequence[Backup]) -> Backup:
    if not wanted.before:
        return repository.find(wanted.backup, action=_ACTION, among=backups)
    if wanted.backup != "latest":
        raise UsageError(f"{_ACTION}: both backup and before are given.", hint="Give one of them.")
    return repository.find_before(wanted.before, action=_ACTION, among=backups)
