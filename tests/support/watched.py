# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is told of a database and of a run, as values: for tests of those who tell it."""

from __future__ import annotations

from typing import Any


def observation(**changed: Any) -> dict[str, Any]:
    """A database that is well at noon of 2025-12-30, one minute after a full backup."""
    return {
        "name": "agent",
        "host": "ci-1",
        "user": "root",
        "version": "1.0.0",
        "made": "2025-12-30T12:00:00Z",
        "state": "ok",
        "reasons": [],
        "rpo": "1h",
        "rpo_seconds": 3600,
        "rpo_met": True,
        "rto": "15m",
        "rto_seconds": 900,
        "age_seconds": 60,
        "recovery_point": "2025-12-30T11:59:00Z",
        "fresh_until": "2025-12-30T12:59:00Z",
        "last_verified": "2025-12-30T11:59:00Z",
        "last_success": "2025-12-30T11:59:00Z",
        "last_run": {
            "time": "2025-12-30T11:59:00Z",
            "outcome": "success",
            "code": 0,
            "type": "full",
            "seconds": 1.2,
        },
        "last_failure": None,
        "last_drill": None,
        "latest": {"id": "20251230T115900Z-full", "type": "full"},
        "backups": 22,
        "total_bytes": 1048576,
        "counts": {
            "success": {"full": 3, "incremental": 20, "unchanged": 5},
            "failure": {"auto": 1, "full": 0, "incremental": 0},
        },
        "durations": {"full": 1.2, "incremental": 0.3, "unchanged": 0.1},
        "sizes": {"full": 123, "incremental": 45},
        "numbers": {"full": 2, "incremental": 20},
        "suspect_backups": 0,
        "database_bytes": 1048576,
        "changed_bytes": 4096,
        "free_bytes": 10_000_000,
        "filesystem_bytes": 50_000_000,
        "suspect": False,
        "encryption": "none",
        "targets": [
            {
                "name": "nas",
                "newest": "20251230T115800Z-full",
                "behind_seconds": 12,
                "rpo_seconds": 7200,
                "rpo_met": True,
                "failure": None,
                "recovery_point": "2025-12-30T11:58:00Z",
            }
        ],
        **changed,
    }


def run(**changed: Any) -> dict[str, Any]:
    """A backup that ended well."""
    return {
        "command": "backup",
        "phase": "end",
        "outcome": "success",
        "code": 0,
        "class": "",
        "message": "",
        "seconds": 1.2,
        "started": "2025-12-30T11:58:59Z",
        "id": "123e4567-e89b-12d3-a456-426614174000",
        "durations": {"read": 0.2},
        "backup": "20251230T115900Z-full",
        "type": "full",
        **changed,
    }
