# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup a restore takes, and which ones it takes only when that is meant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

from ..system import clock
from ..system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    RefusedError,
    StorageFailedError,
    UsageError,
    Way,
    doing,
)
from . import published
from .published import Backup
from .repository import Repository

_ACTION = "Cannot restore"


@dataclass(frozen=True)
class Wanted:
    """As asked for: ``force`` takes a suspect backup that is named, ``force_identity`` a foreign one."""

    backup: str
    before: datetime | None
    force: bool
    force_identity: bool


@dataclass(frozen=True)
class Chosen:
    """The backup to restore, and warnings; ``others`` are all of the repository."""

    backup: Backup
    others: Sequence[Backup]
    warnings: Sequence[str] = ()

    @contextlib.contextmanager
    def naming_another(self) -> Iterator[None]:
        """Let a failure inside that finds the backup damaged name a good one."""
        try:
            yield
        except BackupDamagedError as error:
            hint, ways = self._good()
            told = f"{error.advice} {hint}".lstrip()
            raise BackupDamagedError(error.cause, action=error.action, hint=told, ways=ways) from error

    def refuse(self, cause: str, *, meant: Way) -> NoReturn:
        """Raise ``RefusedError``, and name a good backup first; ``meant`` is the way for who knows better."""
        hint, ways = self._good()
        raise RefusedError(f"{cause}.", action=f"{_ACTION} {self.backup.id}", hint=hint, ways=[*ways, meant])

    def _good(self) -> tuple[str, list[Way]]:
        """A hint, and the way to restore the newest good backup other than this one."""
        hint, best = good(self.others, [self.backup])
        return hint, [Way("To restore it", "restore", {"backup": best.id})] if best else []


def good(backups: Sequence[Backup], bad: Sequence[Backup]) -> tuple[str, Backup | None]:
    """The newest good one of ``backups`` that is not ``bad``, and a sentence that names it.

    One that builds on what a bad one builds on comes last: nobody knows yet where the damage is.
    """
    others = [each for each in backups if each.verified and each.id not in {bad_one.id for bad_one in bad}]
    if not others:
        return "There is no other good backup in this repository.", None
    doubtful = {link for each in bad for link in _chain(each, backups)}
    best = [each for each in others if not doubtful & _chain(each, backups)] or others
    return f"The newest good backup is {best[-1].id}.", best[-1]


def _chain(backup: Backup, backups: Sequence[Backup]) -> set[str]:
    """Its id, and those of all that it builds on."""
    parents = {each.id: each.manifest.parent for each in backups if each.manifest}
    found: set[str] = set()
    link: str | None = backup.id
    while link is not None and link not in found:
        found.add(link)
        link = parents.get(link)
    return found


def choose(repository: Repository, wanted: Wanted) -> Chosen:
    """The backup that is ``wanted``. Raises when it is not to be trusted, and names a good one."""
    backups = repository.backups()
    with doing(_ACTION):
        backup, warnings = _find(repository, wanted, backups)
    chosen = Chosen(backup, backups, [*warnings, *repository.warnings([] if backup.foreign else backups)])
    if backup.damage is not None and not isinstance(backup.damage, StorageFailedError):
        with chosen.naming_another():
            raise BackupDamagedError(backup.damage.cause, action=backup.damage.action, hint=backup.damage.hint)
    document = backup.trusted()
    if backup.foreign and not wanted.force_identity:
        origin = f"of {document.database.source} on {document.database.host}"
        meant = Way("If this one is meant", "restore", {"backup": backup.id, "force_identity": True})
        chosen.refuse(f"it was made in another repository, {origin}", meant=meant)
    if document.suspect and not (wanted.force and wanted.backup == backup.id):
        aside = f"{document.database.source}.suspect"
        meant = Way("To look at this one", "restore", {"backup": backup.id, "force": True, "dest": aside})
        chosen.refuse("it is a copy of a corrupt database, marked suspect", meant=meant)
    if backup.apart and wanted.backup != backup.id:
        meant = Way("If this one is meant", "restore", {"backup": backup.id})
        chosen.refuse(f"{backup.held}, so it is held apart", meant=meant)
    return chosen


def _find(repository: Repository, wanted: Wanted, backups: Sequence[Backup]) -> tuple[Backup, list[str]]:
    """What is wanted, and a warning when suspect ones were passed over for it."""
    if not wanted.before:
        found = repository.find(wanted.backup, among=backups)
        return found, published.passed_over(backups, found) if wanted.backup == "latest" else []
    if wanted.backup != "latest":
        raise UsageError("both backup and before are given.", hint="Give one of them.")
    early = [each for each in backups if each.manifest and clock.from_text(each.manifest.started) <= wanted.before]
    newest = published.newest(early)
    if newest is None:
        raise BackupNotFoundError(
            f"{repository.path} holds no backup from {clock.with_offset(wanted.before)} or earlier.",
            hint="Choose a later time, or list the backups.",
        )
    return newest, published.passed_over(early, newest)
