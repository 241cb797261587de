# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well one configured database is backed up: what ``status`` answers, and what whoever watches it is told."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..repository.manifest import COLLECTION_VERSION
from ..system import clock, options, who
from ..system.errors import (
    BackupNotFoundError,
    EngineError,
    LastRunFailedError,
    ObjectiveMissedError,
    PartialError,
    Way,
    doing,
)
from ..watch import figures, health, schedule
from ..work import info
from . import config, counts, drills, offsite, seen
from .config import Database
from .result import Asked, Result

_TOLD = ("state", "reasons", "rpo_met", "age_seconds", "latest", "total_bytes", "last_failure", "last_drill")


def observe(directory: Path, name: str) -> dict[str, Any]:
    """The observation of a configured database, as plain values; where it cannot be made, ``failing`` and why."""
    try:
        return status_one(config.load(directory, name), {}).facts
    except EngineError as error:
        return unobserved(directory, name, error)


def unobserved(directory: Path, name: str, error: EngineError) -> dict[str, Any]:
    """The observation where ``error`` kept it from being made."""
    reason = health.Reason(health.FAILING, error.message, error.hint)
    unknown = {"state": health.FAILING, "reasons": [{**vars(reason)}], "rpo_met": None, "age_seconds": None}
    return {**_common(directory, name), **dict.fromkeys(_TOLD), **unknown, "backups": None, "targets": []}


def _common(directory: Path, name: str) -> dict[str, Any]:
    """What is known whatever became of the repository."""
    counted = counts.read(directory, name)
    return {
        "name": name,
        "host": socket.gethostname(),
        "user": who.user(),
        "version": COLLECTION_VERSION,
        "made": clock.to_text(clock.now()),
        **counted,
        "changed_bytes": (counted["last_run"] or {}).get("changed_bytes"),
    }


def status_one(settings: Database, _asked: Asked) -> Result:
    """How much could be lost right now, whether that is more than the RPO allows, and what else is not well."""
    with doing(f"Cannot tell the status of {settings.name}"):
        seen.check(settings)
    rpo_seconds, rto_seconds = (options.seconds(settings.options, each) for each in ("rpo", "rto"))
    try:
        repository = seen.opened(settings, "Cannot tell the status")
        backups, events = repository.backups(), repository.history()
        told = info.describe_repository(
            repository,
            rpo_seconds=rpo_seconds,
            backups=backups,
            events=events,
            due=_due(settings),
            targets=[(each.name, each.rpo_seconds) for each in offsite.targets(settings)],
            drills_every_seconds=drills.every_seconds(settings),
        )
        measured = figures.of(backups, events, rto_seconds=rto_seconds)
    except BackupNotFoundError:
        told, measured = info.describe_nothing(), figures.of((), ())
    facts = {
        **_common(settings.directory, settings.name),
        "rpo": settings.options["rpo"],
        "rpo_seconds": rpo_seconds,
        "rto": settings.options["rto"],
        "rto_seconds": rto_seconds,
        **{name: told[name] for name in _TOLD},
        "backups": len(told["backups"]),
        "targets": told.get("targets", []),
        **_moments(told["age_seconds"], rpo_seconds),
        **measured,
        **_space(settings.repository),
    }
    doubts = [*(told["latest"] or {}).get("doubts", [])]
    doubts.extend(f"{each['text']} {each['hint']}" for each in told["reasons"] if each["state"] == health.OK)
    return Result(settings.name, _verdict(told, settings), doubts, facts)


def _moments(age_seconds: int | None, rpo_seconds: float | None) -> dict[str, str | None]:
    """Up to when a restore brings everything back, and until when that is recent enough if no backup comes."""
    if age_seconds is None:
        return {"recovery_point": None, "fresh_until": None}
    point = clock.now() - timedelta(seconds=age_seconds)
    end = None if rpo_seconds is None else clock.to_text(point + timedelta(seconds=rpo_seconds))
    return {"recovery_point": clock.to_text(point), "fresh_until": end}


def _space(repository: Path) -> dict[str, int | None]:
    """Of the filesystem of the repository."""
    try:
        found = shutil.disk_usage(repository)
    except OSError:
        return {"free_bytes": None, "filesystem_bytes": None}
    return {"free_bytes": found.free, "filesystem_bytes": found.total}


def _due(settings: Database) -> datetime | None:
    """When a run was due whose backup should be there; none before the schedule was as it is now."""
    planned = schedule.requested(settings.options)
    due = planned.last_due(clock.now()) if planned else None
    with doing(f"Cannot read {settings.file}"):
        return due if due and due.timestamp() > settings.file.stat().st_mtime else None


def _verdict(told: Mapping[str, Any], settings: Database) -> EngineError | None:
    """What monitoring hears of a repository that is not well; every reason, and what to do about the worst."""
    if told["state"] == health.OK:
        return None
    reasons = " ".join(each["text"] for each in told["reasons"] if each["state"] != health.OK)
    ends = {health.MISSED: ObjectiveMissedError, health.FAILING: LastRunFailedError, health.DEGRADED: PartialError}
    hint, way = told["reasons"][0]["hint"], told["reasons"][0]["way"]
    ways = [Way(**way)] if way else []
    if told["state"] in (health.MISSED, health.FAILING) and _is_missing(settings.beside[0]):
        hint = f"There is no file {settings.beside[0]}: check path in {settings.file}."
        ways = [Way("If the file is lost, restore it", "restore")] if told["age_seconds"] is not None else []
    return ends[told["state"]](reasons, hint=hint, ways=ways)


def _is_missing(path: Path) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        pass
    return False
