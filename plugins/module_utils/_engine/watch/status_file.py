# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``status.json``: how well all databases of a configuration are, for programs that may not look into a repository.

Everybody may read it: it has states, moments, sizes and counts, and no message, path or reason in words.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from ..system import clock, files, locks, places
from ..system.errors import MALFORMED, EngineError, UsageError, doing
from . import given, health

FORMAT = 1
_LIMIT_BYTES = 16 * 1024 * 1024

_TOLD = (
    *("name", "state", "made", "recovery_point", "fresh_until", "age_seconds", "rpo_seconds", "rpo_met", "rto_seconds"),
    *("last_verified", "last_success", "backups", "suspect_backups", "total_bytes", "database_bytes", "changed_bytes"),
    *("counts", "durations", "sizes", "numbers", "suspect", "encryption"),
)
_TOLD_OF = {
    "last_run": ("time", "outcome", "code", "type", "seconds"),
    "last_failure": ("time", "event", "code"),
    "last_drill": ("time", "outcome", "rto_seconds", "rto_met"),
}
_TOLD_OF_TARGETS = ("name", "behind_seconds", "rpo_seconds", "rpo_met", "recovery_point")

Facts = Mapping[str, Any]


def write(path: Path, observation: Facts, *, configured: Collection[str], lock_timeout_seconds: float) -> None:
    """Put what was observed of one database into the file ``path``, which tells of all that are ``configured``.

    Raises when that cannot be; the old content stays then.
    """
    with doing(f"Cannot write {path}"):
        if not path.parent.exists():
            raise UsageError(
                f"there is no directory {path.parent}.",
                hint="Make it, for the user who runs sqlite-backup, or correct status_file in watch.json.",
            )
        with locks.held(path.with_name(f".{path.name}.lock"), timeout_seconds=lock_timeout_seconds):
            others = [each for each in _known(path) if each["name"] in configured]
            content = _content(others, entry(observation), host=observation.get("host"))
            files.replace_public(path, given.to_json(content).encode())


def entry(observation: Facts) -> dict[str, Any]:
    """What the file tells of one database."""
    told = {name: observation.get(name) for name in _TOLD}
    told["reasons"] = [each["state"] for each in observation.get("reasons") or ()]
    for name, keys in _TOLD_OF.items():
        told[name] = _only(keys, observation.get(name))
    told["targets"] = [
        {**(_only(_TOLD_OF_TARGETS, each) or {}), "failed": each.get("failure") is not None}
        for each in observation.get("targets") or ()
    ]
    return told


def _only(keys: Collection[str], facts: Facts | None) -> dict[str, Any] | None:
    return {name: facts.get(name) for name in keys} if facts else None


def _content(others: list[dict[str, Any]], new: dict[str, Any], *, host: Any) -> dict[str, Any]:
    now = clock.now()
    databases = sorted([new, *(each for each in others if each["name"] != new["name"])], key=lambda each: each["name"])
    worst = max((_state_at(now, each) for each in databases), key=health.STATES.index)
    return {"format": FORMAT, "made": clock.to_text(now), "host": host, "state": worst, "databases": databases}


def _state_at(now: datetime, known: Facts) -> str:
    """What an entry comes to by now: nobody wrote since that its RPO is missed."""
    fresh_until = known.get("fresh_until")
    return health.MISSED if fresh_until and clock.from_text(fresh_until) < now else str(known["state"])


def _known(path: Path) -> list[dict[str, Any]]:
    """The entries of the present file; what is damaged, or of somebody else, is no entry."""
    try:
        content = json.loads(places.read_bytes(path, limit_bytes=_LIMIT_BYTES))
    except (OSError, EngineError, *MALFORMED):
        return []
    found = content.get("databases") if isinstance(content, dict) else None
    return [each for each in found if _is_entry(each)] if isinstance(found, list) else []


def _is_entry(found: Any) -> bool:
    if not isinstance(found, dict) or not isinstance(found.get("name"), str) or found.get("state") not in health.STATES:
        return False
    fresh_until = found.get("fresh_until")
    try:
        return fresh_until is None or clock.from_text(fresh_until) is not None
    except (EngineError, *MALFORMED):
        return False
