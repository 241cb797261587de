# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is in a repository, as plain values for people and programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sealed.encryption import NO_KEYS, Keys
from ..watch import health, offsite, recovery
from . import backup_facts


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
    events: Sequence[health.Event] | None = None,
    due: datetime | None = None,
    targets: Sequence[tuple[str, float | None]] = (),
    drills_every_seconds: float | None = None,
) -> dict[str, Any]:
    """All backups of a repository, oldest first, how old its newest verified one is, and how well it is.

    Foreign backups come first, and are never the latest. ``backups`` and ``events`` are those of the repository, when
    they are known already, ``targets`` the names of those that it has, each with its RPO in seconds.
    """
    backups = repository.backups() if backups is None else backups
    described = [backup_facts.describe(each, keys) for each in backups]
    events = repository.history() if events is None else events
    warnings = repository.warnings(backups)
    standings = [offsite.standing(backups, events, name, target_rpo) for name, target_rpo in targets]
    judged = health.judge(
        backups,
        events,
        warnings,
        rpo_seconds=rpo_seconds,
        due=due,
        targets=standings,
        drills_every_seconds=drills_every_seconds,
    )
    drills = recovery.past(events)
    return {
        "name": repository.name,
        "path": str(repository.path),
        "source": repository.source,
        "backups": described,
        "latest": described[-1] if published.own(backups) else None,
        **_judged(judged),
        **({"targets": [each.to_json() for each in standings]} if targets else {}),
        "total_bytes": sum(each.manifest.stored_bytes for each in backups if each.manifest),
        "warnings": warnings,
        "last_drill": drills[-1].to_json() if drills else None,
    }
