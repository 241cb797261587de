# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One backup as plain values, for people and programs."""

from __future__ import annotations

from typing import Any

from ..repository import examination
from ..repository.manifest import Manifest
from ..repository.published import Backup
from ..sealed.encryption import NO_KEYS, Keys
from ..system.errors import BackupDamagedError


def describe(backup: Backup, keys: Keys = NO_KEYS) -> dict[str, Any]:
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
        "proven": backup.proven or None,
        "suspect": backup.suspect,
        "apart": backup.apart,
        "held": backup.held,
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
