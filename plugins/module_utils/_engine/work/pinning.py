# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pin a backup that exists, for ever or until a date, or take that back. Its sealed manifest stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..repository import published
from ..repository.pins import Pin
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..system import clock, interrupts, options
from ..system.errors import UsageError, doing
from ..system.options import Options


@dataclass(frozen=True)
class Request:
    """Which backup is to be ``pinned``, or not; the options of the module ``sqlite_backup_pin``.

    ``backup`` is an id or ``latest``; ``until`` None is a pin without an end.
    """

    repository: Path
    backup: str
    pinned: bool = True
    until: datetime | None = None
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS


def requested(given: Options) -> Request:
    return Request(
        repository=Path(given["repository"]),
        backup=given["backup"],
        pinned=given["state"] == "present",
        until=clock.from_operator(given["until"]) if given["until"] is not None else None,
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
    )


@dataclass
class Outcome:
    """What a run did, or in check mode would do. ``before`` and ``after`` are facts about the pin of the backup."""

    changed: bool
    before: dict[str, Any]
    after: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def run(request: Request, *, dry_run: bool = False) -> Outcome:
    """Let the backup be pinned as the request says. Of one with a damaged manifest nothing can be promised."""
    event = "pin" if request.pinned else "unpin"
    with doing(f"Cannot {event} {request.backup} in {request.repository}"):
        return _run(request, event, dry_run=dry_run)


def _run(request: Request, event: str, *, dry_run: bool) -> Outcome:
    _check_end(request)
    repository = Repository.open_existing(request.repository)
    timeout_seconds = request.lock_timeout_seconds
    # Alone: a prune that began before the pin would still remove the backup.
    locked = repository.locked(timeout_seconds=timeout_seconds, dry_run=dry_run)
    with locked, interrupts.Shield() as shield:
        backups = repository.backups()
        backup = repository.find(request.backup, among=backups)
        backup.trusted()
        wanted = _wanted(request, backup)
        outcome = Outcome(wanted is not None, facts(backup), facts(backup))
        if request.backup == "latest":
            outcome.warnings.extend(published.passed_over(backups, backup))
        if wanted is not None:
            outcome.after = _facts(backup.id, wanted)
            if not dry_run:
                shield.begin()
                repository.note_pin(backup, wanted)
                told = repository.record_done(event, backup=backup.id, until=wanted.until, outcome="passed")
                outcome.warnings.extend(told)
    shield.deliver()
    return outcome


def facts(backup: Backup) -> dict[str, Any]:
    """The pin of ``backup`` as it is now, as plain values."""
    return _facts(backup.id, Pin(backup.pinned, backup.pinned_since, backup.pinned_until))


def _facts(identity: str, pin: Pin) -> dict[str, Any]:
    since = pin.since if pin.pinned else ""
    return {"id": identity, "pinned": pin.pinned, "since": since or None, "until": pin.until or None}


def _check_end(request: Request) -> None:
    if request.until is None:
        return
    if not request.pinned:
        raise UsageError("until is given, too.", hint="Only a pin has an end.")
    if request.until <= clock.now():
        raise UsageError(
            f"its end {clock.with_offset(request.until)} is in the past.", hint="Give a later one, or unpin."
        )


def _wanted(request: Request, backup: Backup) -> Pin | None:
    """The pin to write down; None when all is as it should be."""
    until = clock.to_text(request.until) if request.until else ""
    same = backup.pinned == request.pinned and backup.pinned_until == until
    if same and not backup.pin_damage:
        return None
    # A pin that only gets another end began when it began.
    since = backup.pinned_since if request.pinned else ""
    return Pin(request.pinned, since or clock.to_text(clock.now()), until)
