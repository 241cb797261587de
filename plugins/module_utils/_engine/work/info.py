# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a repository, as plain values for people and programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..repository import examination, published
from ..repository.manifest import Manifest
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sealed.encryption import NO_KEYS, Keys
from ..system.errors import BackupDamagedError
from ..watch import health


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
        "apart": backup.apart,
        "foreign": backup.foreign,
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
        "doubts": examination.doubts(document.checks),
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
    proof = examination.proof_of(backup, keys)
    return dict(proof.tables) if proof else {}


def describe_nothing() -> dict[str, Any]:
    """As ``describe_repository``, where none is yet: what monitoring hears before the first backup."""
    judged = health.judge((), (), rpo_seconds=0)
    return {"backups": [], "latest": None, "total_bytes": 0, "last_drill": None, **_judged(judged)}


def _judged(found: health.Health) -> dict[str, Any]:
    return {
        "state": found.state,
        "reasons": [dataclasses.asdict(each) for each in found.reasons],
        "age_seconds": found.age_seconds,
        "rpo_met": found.rpo_met,
        "last_failure": found.last_failure,
    }


def describe_repository(
    repository: Repository,
    *,
    rpo_seconds: float | None = None,
    keys: Keys = NO_KEYS,
    backups: Sequence[Backup] | None = None,
    due: datetime | None = None,
) -> dict[str, Any]:
    """All backups of a repository, oldest first, how old its newest verified one is, and how well it is.

    Foreign backups come first, and are never the latest. ``backups`` are those of the repository, when they are known
    already.
    """
    backups = repository.backups() if backups is None else backups
    described = [describe_backup(each, keys) for each in backups]
    events = repository.history()
    warnings = repository.warnings(backups)
    return {
        "name": repository.name,
        "path": str(repository.path),
        "source": repository.source,
        "backups": described,
        "latest": described[-1] if published.own(backups) else None,
        **_judged(health.judge(backups, events, warnings, rpo_seconds=rpo_seconds, due=due)),
        "total_bytes": sum(each.manifest.stored_bytes for each in backups if each.manifest),
        "warnings": warnings,
        "last_drill": next((event for event in reversed(events) if event.get("event") == "drill"), None),
    }
