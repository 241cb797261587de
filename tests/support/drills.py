# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Made-up answers of drills, and names that try to be more than names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

MADE = datetime(2026, 3, 1, 4, 0, tzinfo=timezone.utc)
WEEKS = 8

HOSTILE = (
    "<script>window.harmed = 1</script>",
    "</script><script>window.harmed = 2</script>",
    "</style><img src=x onerror='window.harmed = 3'>",
    '" onmouseover="window.harmed = 4" x=\'',
    "</title></svg><svg onload=window.harmed=5>",
    "&lt;script&gt; &amp; <!-- ]]> --> <![CDATA[",
    "javascript:window.harmed=6",
    "right\u202eto left \u2066 \u200f",
    "bell\x07 escape\x1b[31m nul\x00 line\nfeed",
    "half a character \ud83d and \udcff",
    "x" * 10_000,
)


def drill(**changes: Any) -> dict[str, Any]:
    """A drill that passed; ``changes`` are laid over it."""
    newest = "20260301T030000Z-full"
    history = [
        {
            "time": f"{MADE - timedelta(weeks=WEEKS - 1 - week):%Y-%m-%dT%H:%M:%SZ}",
            "backup": newest,
            "outcome": "passed",
            "rto_seconds": 1.0 + week / 32,
            "database_bytes": 900_000_000 + week * 12_000_000,
        }
        for week in range(WEEKS)
    ]
    told = {
        "outcome": "passed",
        "name": "agent",
        "host": "ci-1",
        "backup": newest,
        "created": "2026-03-01T03:00:00Z",
        "from": "/var/backups/sqlite/agent",
        "started": "2026-03-01T04:00:00Z",
        "database_bytes": 984_000_000,
        "stored_bytes": 210_000_000,
        "rto_seconds": 1.21875,
        "rto_target_seconds": 900,
        "rto_met": True,
        "rpo_seconds": 1800,
        "rpo_target_seconds": 3600,
        "rpo_met": True,
        "durations": {"fetch": 0.4, "stage": 0.8},
        "bytes_per_second": 800_000_000,
        "checks": [
            {"name": "integrity_check", "outcome": "passed", "detail": ""},
            {"name": "tables", "outcome": "passed", "detail": "Task 120, User 3"},
            {"name": "assertion SELECT count(*) FROM Task", "outcome": "passed", "detail": "120"},
        ],
        "forecast": {
            "days": 90,
            "growth_bytes_per_day": 1_700_000,
            "database_bytes": 1_137_000_000,
            "rto_seconds": 1.4,
            "rto_met": True,
        },
        "proven": [
            "Every file that 20260301T030000Z-full needs has the SHA-256 of its manifest.",
            "The restored database is byte for byte the one that was backed up.",
        ],
        "not_proven": ["That the application starts with it."],
        "command": "sqlite-backup drill agent --backup 20260301T030000Z-full",
        "error": None,
        "warnings": [],
        "history": history,
    }
    return {**told, **changes}


def failed(**changes: Any) -> dict[str, Any]:
    """One whose backup is damaged: nothing could be measured."""
    error = {
        "code": 13,
        "class": "BackupDamagedError",
        "message": "Cannot restore /var/backups/sqlite/metrics/20260301T020000Z-full: the SHA-256 of image.zst is not"
        " that of its manifest.",
        "hint": "Take another backup.\nThe newest good one is 20260301T010000Z-full.",
    }
    none = dict.fromkeys(("rto_seconds", "rto_met", "bytes_per_second", "forecast"))
    told = drill(outcome="failed", name="metrics", error=error, proven=[], durations={"fetch": 0.1}, **none)
    last = {**told["history"][-1], "outcome": "failed", "rto_seconds": None}
    checks = [{"name": "image digest", "outcome": "failed", "detail": "the SHA-256 differs"}]
    return {**told, "history": [*told["history"][:-1], last], "checks": checks, **changes}


def not_reached(host: str = "ci-3") -> dict[str, Any]:
    message = "Failed to connect to the host via ssh: connect to host ci-3 port 22: Connection refused"
    return {"outcome": "not reached", "host": host, "name": "", "error": {"message": message}}


def many() -> list[Mapping[str, Any]]:
    """One of each kind, and a few more."""
    error = {
        "code": 30,
        "class": "ObjectiveMissedError",
        "message": "The restore took 1260.0 s.",
        "hint": "Look at it.",
    }
    slow = {"outcome": "failed", "rto_seconds": 1260.0, "rto_met": False, "bytes_per_second": 80_000, "error": error}
    late = drill(name="events", host="ci-2", **slow)
    unsure = drill(
        name="search",
        host="ci-2",
        outcome="inconclusive",
        warnings=["A virtual table needs the module spellfix1, which this SQLite does not have."],
        not_proven=["That the table words can be read: it needs the module spellfix1."],
    )
    none = dict.fromkeys(("rto_target_seconds", "rto_met", "rpo_target_seconds", "rpo_met"))
    bare = drill(name="sessions", history=[], **none)
    return [drill(), late, failed(), bare, unsure, not_reached(), drill(name="queue", host="ci-2", rpo_seconds=900)]


def hostile() -> list[Mapping[str, Any]]:
    """Each of the names in every place that holds a text."""
    return [_named(name) for name in HOSTILE]


def _named(name: str) -> dict[str, Any]:
    points = [{**each, "backup": name, "outcome": name} for each in drill()["history"]]
    texts = dict.fromkeys(("name", "host", "backup", "from", "command"), name)
    return drill(
        **texts,
        durations={name: 0.5},
        checks=[{"name": name, "outcome": name, "detail": name}],
        proven=[name],
        not_proven=[name],
        error={"code": 13, "class": name, "message": name, "hint": name},
        warnings=[name],
        history=points,
        **{name: name},
    )
