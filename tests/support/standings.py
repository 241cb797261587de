# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Made-up answers of hosts on how well their databases are backed up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from support.drills import HOSTILE

NEWEST = "20260301T030000Z-full"


def database(**changes: Any) -> dict[str, Any]:
    """One that is well; ``changes`` are laid over it."""
    told = {
        "name": "agent",
        "host": "ci-1",
        "user": "root",
        "version": "0.1.0",
        "made": "2026-03-01T03:30:00Z",
        "state": "ok",
        "reasons": [],
        "rpo": "1h",
        "rpo_seconds": 3600,
        "rpo_met": True,
        "age_seconds": 1800,
        "recovery_point": "2026-03-01T03:00:00Z",
        "fresh_until": "2026-03-01T04:00:00Z",
        "last_verified": "2026-03-01T03:00:00Z",
        "last_success": "2026-03-01T03:00:00Z",
        "latest": {"id": NEWEST},
        "backups": 22,
        "numbers": {"full": 2, "incremental": 20},
        "total_bytes": 420_000_000,
        "database_bytes": 984_000_000,
        "changed_bytes": 4_096_000,
        "free_bytes": 10_000_000_000,
        "filesystem_bytes": 50_000_000_000,
        "suspect_backups": 0,
        "encryption": "age",
        "last_failure": None,
        "rto": "15m",
        "rto_seconds": 900,
        "last_drill": {
            "time": "2026-02-28T03:30:00Z",
            "backup": "20260228T030000Z-full",
            "outcome": "passed",
            "rto_seconds": 12.5,
            "rto_met": True,
            "database_bytes": 980_000_000,
            "place": "",
            "message": "",
        },
        "outlook": {"days": 90, "database_bytes": 1_200_000_000, "rto_seconds": 15.5, "rto_met": True},
        "targets": [
            {
                "name": "nas",
                "newest": NEWEST,
                "behind_seconds": 1800,
                "rpo_seconds": 7200,
                "rpo_met": True,
                "failure": None,
            }
        ],
    }
    return {**told, **changes}


def missed(**changes: Any) -> dict[str, Any]:
    """One whose backups stopped three hours ago."""
    reasons = [
        {
            "state": "missed",
            "text": "The newest verified backup is 3 h old, more than the RPO of 1 h.",
            "hint": "Make a backup, and see whether its schedule runs.",
            "way": None,
        },
        {
            "state": "failing",
            "text": "The run that was due at 2026-03-01T03:00:00+00:00 did not come.",
            "hint": "See whether its schedule runs: the timer, or cron.",
            "way": None,
        },
    ]
    told = database(name="events", state="missed", reasons=reasons, rpo_met=False, age_seconds=10800)
    return {**told, **changes}


def degraded(**changes: Any) -> dict[str, Any]:
    """One whose newest backup nobody has read for long, and which is pinned by somebody who forgot."""
    way = {"aim": "To read it", "command": "verify", "options": {"backup": NEWEST, "level": "full"}}
    reasons = [
        {"state": "degraded", "text": "Nobody has read what is stored.", "hint": "", "way": way},
        {"state": "ok", "text": "Pinned for more than a year: x.", "hint": "Unpin it.", "way": None},
    ]
    return {**database(name="search", host="ci-2", state="degraded", reasons=reasons), **changes}


def failing(**changes: Any) -> dict[str, Any]:
    """One whose last run failed."""
    told = "Cannot back up /srv/metrics.db: there is no such file."
    reasons = [{"state": "failing", "text": f"The last backup failed: {told}", "hint": "See why.", "way": None}]
    failure = {"time": "2026-03-01T03:15:00Z", "event": "backup", "code": 10, "message": told}
    return {**database(name="metrics", state="failing", reasons=reasons, last_failure=failure), **changes}


def unknown(**changes: Any) -> dict[str, Any]:
    """One of which nothing can be known."""
    error = {"code": 23, "class": "StorageFailedError", "message": "The repository is gone.", "hint": "Mount its disk."}
    return {"name": "queue", "host": "ci-2", "state": "unknown", "error": error, **changes}


def not_reached(host: str = "ci-3") -> dict[str, Any]:
    message = "Failed to connect to the host via ssh: Connection refused"
    return {"state": "not reached", "host": host, "name": "", "error": {"message": message}}


def young(**changes: Any) -> dict[str, Any]:
    """One without a first backup: of most things nothing is known."""
    none = dict.fromkeys(
        ("age_seconds", "latest", "last_verified", "last_drill", "outlook", "recovery_point", "last_success"), None
    )
    reasons = [{"state": "missed", "text": "There is no verified backup.", "hint": "Make one.", "way": None}]
    told = database(name="sessions", state="missed", reasons=reasons, rpo_met=False, targets=[], total_bytes=0)
    return {**told, **none, "backups": 0, "numbers": {}, **changes}


def many() -> list[Mapping[str, Any]]:
    """One of each kind, and a few more."""
    behind = {"name": "s3", "newest": None, "behind_seconds": None, "rpo_met": False, "failure": "Refused."}
    late = degraded(name="jobs", host="ci-1", targets=[*database()["targets"], behind])
    return [
        *(database(), missed(), degraded(), failing(), unknown(), not_reached(), young(), late),
        database(name="notes", host="ci-2", age_seconds=60),
    ]


def hostile() -> list[Mapping[str, Any]]:
    """Each of the names in every place that holds a text."""
    return [_named(name) for name in HOSTILE]


def _named(name: str) -> dict[str, Any]:
    way = {"aim": name, "command": "verify", "options": {"backup": name, name: name}}
    texts = dict.fromkeys(("name", "host", "user", "version", "encryption", "config"), name)
    drill = {**database()["last_drill"], **dict.fromkeys(("backup", "outcome", "place", "message"), name)}
    return database(
        **texts,
        state="missed",
        reasons=[{"state": name, "text": name, "hint": name, "way": way}],
        error={"code": 13, "class": name, "message": name, "hint": name},
        last_failure={"time": "2026-03-01T03:15:00Z", "message": name},
        last_drill=drill,
        numbers={name: 3},
        targets=[{"name": name, "newest": name, "failure": name}],
        **{name: name},
    )
