# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run tells of a database: one of which all is known, and one of which nothing is."""

from __future__ import annotations

import copy
from typing import Any

_FULL: dict[str, Any] = {
    "name": "agent",
    "host": "ci-1",
    "user": "root",
    "version": "1.0.0",
    "made": "2026-11-28T07:00:00Z",
    "state": "degraded",
    "reasons": [{"state": "degraded", "text": "The target s3 is behind.", "hint": "", "way": None}],
    "age_seconds": 600,
    "rpo_seconds": 3600,
    "rpo_met": True,
    "rto_seconds": 900,
    "recovery_point": "2026-11-28T06:50:00Z",
    "fresh_until": "2026-11-28T07:50:00Z",
    "last_verified": "2026-11-28T03:00:00Z",
    "last_success": "2026-11-28T06:50:01Z",
    "last_run": {"time": "2026-11-28T06:59:00Z", "outcome": "failure", "code": 16, "type": None, "seconds": 0.5},
    "counts": {
        "success": {"full": 3, "incremental": 20, "unchanged": 5},
        "failure": {"auto": 1, "full": 0, "incremental": 2},
    },
    "durations": {"full": 1.25, "incremental": 0.375, "unchanged": 0.125},
    "sizes": {"full": 123456, "incremental": 4567},
    "numbers": {"full": 2, "incremental": 20},
    "suspect_backups": 1,
    "suspect": False,
    "total_bytes": 987654,
    "database_bytes": 1048576,
    "changed_bytes": 4096,
    "free_bytes": 10000000,
    "filesystem_bytes": 50000000,
    "last_drill": {"time": "2026-11-21T03:00:00Z", "outcome": "passed", "rto_seconds": 12.5, "rto_met": True},
    "outlook": {"days": 90, "growth_bytes_per_day": 1000, "database_bytes": 1200000, "rto_seconds": 14.25},
    "encryption": "age",
    "targets": [
        {
            "name": "s3",
            "newest": "20261128T065000Z-full",
            "behind_seconds": 12,
            "rpo_seconds": 7200,
            "rpo_met": True,
            "failure": None,
            "recovery_point": "2026-11-28T06:50:00Z",
        },
        {
            "name": "disk",
            "newest": None,
            "behind_seconds": None,
            "rpo_seconds": None,
            "rpo_met": None,
            "failure": {"time": "2026-11-28T06:50:02Z", "message": "it is away", "code": 21},
            "recovery_point": None,
        },
    ],
}


def full(**changed: Any) -> dict[str, Any]:
    """An observation of a database of which all is known, with some values ``changed``."""
    return {**copy.deepcopy(_FULL), **changed}


def empty() -> dict[str, Any]:
    """An observation of a database that was never backed up."""
    known = ("name", "host", "user", "version", "made")
    nothing = {name: [] if isinstance(value, list) else None for name, value in _FULL.items()}
    return {**nothing, **{name: _FULL[name] for name in known}, "state": "missed"}
