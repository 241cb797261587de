# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup is the last good one: from the newest back, each is verified until one passes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..sealed.encryption import NO_KEYS, Keys
from ..sqlite.proof import Check
from ..sqlite.snapshot import Progress
from ..system import files
from ..system.errors import BackupNotFoundError, EngineError, KeyRejectedError, ProgramMissingError, doing, sentence
from . import verify
from .content import Expectations

LATEST_GOOD = "latest_good"


@dataclass(frozen=True)
class Failed:
    """A backup that is not good, and why."""

    id: str
    reason: str


@dataclass
class Found:
    """The newest good ``backup`` with its ``checks``, and the newer ones, newest first."""

    backup: Backup
    checks: list[Check]
    newer: list[Failed]
    warnings: list[str] = field(default_factory=list)

    @property
    def passed_over(self) -> list[str]:
        """A warning for each newer one."""
        return [f"{self.backup.id} is taken, not {each.id}: {each.reason}" for each in self.newer]

    def to_json(self) -> dict[str, Any]:
        return {
            "backup": self.backup.id,
            "created": self.backup.trusted().started,
            "checks": [each.to_json() for each in self.checks],
            "newer": [{"backup": each.id, "reason": each.reason} for each in self.newer],
        }


def run(
    repository: Repository,
    expected: Expectations,
    *,
    keys: Keys = NO_KEYS,
    dry_run: bool = False,
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
    progress: Progress | None = None,
) -> Found:
    """The newest backup of this repository that passes; what each of them came to is noted as ``verify`` does.

    Raises ``BackupNotFoundError`` when none passes, and what keeps this host from looking into one: a key or a program
    that it lacks says nothing against a backup.
    """
    with doing(f"Cannot find a good backup in {repository.path}"):
        listed = repository.backups()
        newer: list[Failed] = []
        for each in reversed(published.own(listed)):
            try:
                found = verify.verify_backups(
                    repository,
                    each.id,
                    expected,
                    keys=keys,
                    dry_run=dry_run,
                    lock_timeout_seconds=lock_timeout_seconds,
                    progress=progress,
                )
            except BackupNotFoundError:
                # Retention removed it meanwhile.
                continue
            reason = _against(each, found.error)
            if not reason:
                return Found(each, found.checks, newer, found.warnings)
            newer.append(Failed(each.id, reason))
        raise _nothing_good(listed, newer)


def resolved(
    repository: Repository,
    wanted: str,
    expected: Expectations,
    *,
    keys: Keys,
    dry_run: bool = False,
    lock_timeout_seconds: float,
    progress: Progress | None = None,
) -> tuple[str, list[str]]:
    """The id for ``latest_good``, checked as deep as can be, with what to know of it; anything else as it is."""
    if wanted != LATEST_GOOD:
        return wanted, []
    deep = dataclasses.replace(expected, level="full")
    timeout_seconds = lock_timeout_seconds
    found = run(repository, deep, keys=keys, dry_run=dry_run, lock_timeout_seconds=timeout_seconds, progress=progress)
    return found.backup.id, found.passed_over


def _against(backup: Backup, error: EngineError | None) -> str:
    """What speaks against a backup; empty when nothing does. Raises what says nothing about it."""
    if isinstance(error, (KeyRejectedError, ProgramMissingError)):
        raise error
    if error is not None:
        return error.message
    return f"{backup.held}, so it is held apart." if backup.apart else ""


def _nothing_good(listed: Sequence[Backup], failed: Sequence[Failed]) -> BackupNotFoundError:
    if not failed:
        hint = " ".join([*map(sentence, published.told_of_foreign(listed)), "Make a backup first."])
        return BackupNotFoundError("it holds no backup of its own.", hint=hint)
    return BackupNotFoundError(
        f"none of {files.counted(len(failed), 'backup')} passes; the newest, {failed[0].id}: {failed[0].reason}",
        hint="Look for a copy at a target. To see what each of them fails on, verify all of them.",
    )
