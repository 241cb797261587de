# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a repository, as plain values for people and programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import clock, evidence
from .encryption import NO_KEYS, Keys
from .errors import BackupDamagedError
from .manifest import Manifest
from .published import Backup
from .repository import Repository

# By so much the clocks of two hosts that use one repository, or one that is being set, may differ.
_CLOCK_SECONDS = 60


def describe_backup(backup: Backup, keys: Keys = NO_KEYS) -> dict[str, Any]:
    """One backup as the modules return it. Of a damaged manifest only ``id``, ``path`` and ``damage`` are known.

    ``tables`` of an encrypted one are empty unless ``keys`` are given.
    """
    common: dict[str, Any] = {"id": backup.id, "path": str(backup.path), "damage": backup.lack}
    if backup.manifest is None:
        return {**common, "damage": str(backup.damage)}
    described = {
        **common,
        **_describe_manifest(backup.manifest),
        "tables": {},
        "pinned": backup.pinned,
        "pinned_since": backup.pinned_since or None,
        "pinned_until": backup.pinned_until or None,
        "verified": backup.verified,
        "confirmed": backup.confirmed or None,
    }
    try:
        described["tables"] = _tables(backup, keys)
    except BackupDamagedError as error:
        # One damaged backup must not hide the others from a listing.
        described["damage"] = described["damage"] or error.message
    return described


def _describe_manifest(document: Manifest) -> dict[str, Any]:
    return {
        "type": document.type,
        "parent": document.parent,
        "created": document.started,
        "reason": document.reason,
        "tags": list(document.tags),
        "suspect": document.suspect,
        "doubts": evidence.doubts(document.checks),
        "stored_bytes": document.stored_bytes,
        "database_bytes": document.image.bytes,
        "page_size": document.image.page_size,
        "page_count": document.image.page_count,
        "sha256": document.image.sha256,
        "encryption": document.encryption,
    }


def _tables(backup: Backup, keys: Keys) -> dict[str, int]:
    if backup.trusted().encryption != "none" and keys == NO_KEYS:
        return {}
    proof = evidence.proof_of(backup, keys)
    return dict(proof.tables) if proof else {}


def _age_seconds(backups: Sequence[Backup]) -> int | None:
    """How old the newest verified backup is, by order and not by its time.

    One from the future, when the clock was ahead, tells nothing: it must not hide that none came since.
    """
    now = clock.now()
    ages = (int((now - each.current_at).total_seconds()) for each in reversed(backups) if each.verified)
    known = next((each for each in ages if each >= -_CLOCK_SECONDS), None)
    return None if known is None else max(0, known)


def describe_repository(
    repository: Repository,
    *,
    rpo_seconds: float | None = None,
    keys: Keys = NO_KEYS,
    backups: Sequence[Backup] | None = None,
) -> dict[str, Any]:
    """All backups of a repository, oldest first, and how old its newest verified one is.

    ``age_seconds`` is the age of the data that a restore is known to bring back; None without a verified backup.
    ``rpo_met`` is None when no RPO is asked for. ``backups`` are those of the repository, when they are known already.
    """
    backups = repository.backups() if backups is None else backups
    described = [describe_backup(each, keys) for each in backups]
    age_seconds = _age_seconds(backups)
    rpo_met = None
    if rpo_seconds is not None:
        rpo_met = age_seconds is not None and age_seconds <= rpo_seconds
    return {
        "name": repository.name,
        "path": str(repository.path),
        "source": repository.source,
        "backups": described,
        "latest": described[-1] if described else None,
        "age_seconds": age_seconds,
        "rpo_met": rpo_met,
        "total_bytes": sum(each.manifest.stored_bytes for each in backups if each.manifest),
        "last_drill": next((event for event in reversed(repository.history()) if event.get("event") == "drill"), None),
    }
