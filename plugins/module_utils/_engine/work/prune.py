# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune a repository: remove every backup that no rule and no promise of retention keeps."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..repository import forecast, published, retention
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..repository.retention import Decision, Entry, Policy
from ..system import clock, files, interrupts, options
from ..system.errors import EngineError, RefusedError, RepositoryLockedError, doing
from ..system.options import Options

_UNKNOWN = datetime.min.replace(tzinfo=timezone.utc)


@dataclass(frozen=True)
class Request:
    """Which repository to prune and what to keep; the options of the module ``sqlite_backup_prune``.

    With ``after_suspect`` the policy is not asked: only what piles up of a corrupt database goes.
    """

    repository: Path
    policy: Policy = field(default_factory=Policy)
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    after_suspect: bool = False


def policy(given: Options) -> Policy:
    """The rules that option values describe."""
    return Policy(
        **{name: given[name] for name in retention.COUNTS},
        keep_within_seconds=options.seconds(given, "keep_within") or 0.0,
        timezone=given["timezone"],
        keep_suspect_seconds=options.seconds(given, "keep_suspect") or 0.0,
    )


def requested(given: Options) -> Request:
    return Request(
        repository=Path(given["repository"]),
        policy=policy(given),
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
    )


@dataclass
class Outcome:
    """What a run did, or in check mode would do; every list is oldest first.

    ``kept`` has ``id`` and ``reasons`` of each backup that stays, ``removed`` ``id`` and ``bytes`` of each that went.
    ``before`` and ``after`` are the ids that the repository lists.
    """

    kept: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.removed)

    @property
    def freed_bytes(self) -> int:
        return sum(each["bytes"] for each in self.removed)

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        return {"kept": self.kept, "removed": self.removed, "freed_bytes": self.freed_bytes}


def run(request: Request, *, dry_run: bool = False) -> Outcome:
    """Remove what the policy does not keep. With ``dry_run`` the same plan is made, and nothing is written."""
    outcome = Outcome()
    with interrupts.Shield() as shield:
        try:
            with doing(f"Cannot prune {request.repository}"):
                _run(request, outcome, shield, dry_run=dry_run)
        except (EngineError, KeyboardInterrupt) as failure:
            if not dry_run and Repository.exists(request.repository):
                # One that cannot be opened must not hide the failure itself.
                with contextlib.suppress(EngineError), doing():
                    Repository.open_existing(request.repository).record_failed("prune", failure, **removed(outcome))
            raise
    shield.deliver()
    return outcome


def outlook(repository: Repository, backups: Sequence[Backup], rules: Policy) -> dict[str, dict[str, Any]]:
    """What a run would say of each backup now, by id: its ``reasons`` to stay, and when it ``goes``.

    ``stays`` is the reason for which nobody can say that. Nothing is locked or written.
    """
    now = clock.now()
    entries = [entry(backup, order) for order, backup in enumerate(backups)]
    # A copy on a read-only medium has no readers that a lock tells of.
    in_use = repository.in_use() if repository.writable else set()
    decisions = retention.plan(entries, rules, now=now, in_use=in_use)
    found = forecast.forecast(decisions, rules, now=now)
    return {
        each.entry.id: {
            "reasons": list(each.reasons) if each.kept else [],
            **forecast.as_facts(found[each.entry.id]),
        }
        for each in decisions
    }


def _run(request: Request, outcome: Outcome, shield: interrupts.Shield, *, dry_run: bool) -> None:
    # A policy that is refused must not wait for a lock first.
    if not request.after_suspect:
        retention.check(request.policy)
    repository = _certain(request.repository)
    with repository.locked(timeout_seconds=request.lock_timeout_seconds, dry_run=dry_run):
        # A backup may have given it an id since: with the old one, all that is new would be foreign.
        repository = _certain(request.repository)
        if not dry_run:
            outcome.warnings.extend(repository.remove_leftovers())
        _Job(request, repository, outcome).run(dry_run=dry_run)
        if outcome.removed and not dry_run:
            shield.begin()
            outcome.warnings.extend(repository.record_done("prune", **removed(outcome), outcome="passed"))


def _certain(path: Path) -> Repository:
    """The repository; which backups are foreign, and which database it is of, must be certain before one goes."""
    repository = Repository.open_existing(path)
    if repository.doubt:
        raise RefusedError(repository.doubt, hint="Nothing is removed until then.")
    return repository


def removed(done: Outcome) -> dict[str, Any]:
    """For the audit log."""
    return {"removed": [each["id"] for each in done.removed], "freed_bytes": done.freed_bytes}


class _Job:
    """One run under the lock of the repository."""

    def __init__(self, request: Request, repository: Repository, outcome: Outcome) -> None:
        self.request = request
        self.repository = repository
        self.outcome = outcome
        self.now = clock.now()
        self.backups = {each.id: each for each in repository.backups()}
        self.in_use = repository.in_use()
        self.outcome.before = list(self.backups)

    def run(self, *, dry_run: bool) -> None:
        decisions = self._plan()
        self._warn(decisions)
        # A backup that somebody began to read since stays, with all that it builds on: then the plan is another one.
        while not all(self._remove(each.entry.id, dry_run=dry_run) for each in decisions if not each.kept):
            decisions = self._plan()
        self.outcome.removed.reverse()
        self.outcome.after = list(self.backups)
        self.outcome.kept = [
            {"id": each.entry.id, "reasons": list(each.reasons)} for each in reversed(decisions) if each.kept
        ]

    def _plan(self) -> list[Decision]:
        entries = [entry(backup, order) for order, backup in enumerate(self.backups.values())]
        if self.request.after_suspect:
            return retention.plan_after_suspect(entries, now=self.now, in_use=self.in_use)
        return retention.plan(entries, self.request.policy, now=self.now, in_use=self.in_use)

    def _remove(self, identity: str, *, dry_run: bool) -> bool:
        """Remove one backup; False when somebody reads it."""
        backup = self.backups[identity]
        size_bytes = files.tree_bytes(backup.path)
        with interrupts.Shield() as shield:
            try:
                if not dry_run:
                    shield.begin()
                    self.repository.remove(backup)
            except RepositoryLockedError:
                self.in_use.add(identity)
                return False
            except EngineError:
                if not os.path.lexists(backup.path):
                    # No longer listed, though its files resist: the audit log must know.
                    self._count(identity, 0)
                raise
            self._count(identity, size_bytes)
        shield.deliver()
        return True

    def _count(self, identity: str, freed_bytes: int) -> None:
        del self.backups[identity]
        self.outcome.removed.append({"id": identity, "bytes": freed_bytes})

    def _warn(self, decisions: Sequence[Decision]) -> None:
        """Say what an operator should look at: what only a person can judge, and what goes whatever the policy."""
        self.outcome.warnings.extend(published.told_of_foreign(list(self.backups.values())))
        for backup in self.backups.values():
            if backup.manifest is None:
                self.outcome.warnings.append(told_of_damage(backup))
            elif backup.pin_damage:
                self.outcome.warnings.append(f"{backup.id} counts as pinned until somebody looks: {backup.pin_damage}")
        future = [each.entry.id for each in decisions if "future-dated" in each.reasons]
        if future:
            self.outcome.warnings.append(
                f"the clock is behind, or was ahead: {', '.join(sorted(future))} began later than now"
            )
        useless = [each.entry.id for each in decisions if each.reasons == (retention.USELESS,)]
        if useless:
            self.outcome.warnings.append(f"no rule counts {', '.join(sorted(useless))}: {retention.USELESS}")
        apart = [each.entry.id for each in decisions if each.entry.apart]
        if any(retention.UNTOLD in each.reasons for each in decisions):
            self.outcome.warnings.append(
                f"{', '.join(sorted(apart))}: held apart; {retention.UNTOLD}, with acknowledge or force_identity"
            )
        elif gone := [each.entry.id for each in decisions if each.reasons == (retention.APART,)]:
            self.outcome.warnings.append(f"no rule counts {', '.join(sorted(gone))}: {retention.APART}")


def told_of_damage(backup: Backup) -> str:
    """A warning about one whose manifest cannot be read."""
    base = ", with all that it may build on," if _type_of(backup.id) != retention.FULL else ""
    return f"{backup.id} stays{base} until somebody looks at it: {backup.damage}"


def entry(backup: Backup, order: int) -> Entry:
    """What retention knows of ``backup``."""
    document = backup.manifest
    if document is None:
        return Entry(backup.id, order, _UNKNOWN, type=_type_of(backup.id), damaged=True)
    return Entry(
        backup.id,
        order,
        clock.from_text(document.started),
        type=document.type,
        parent=document.parent,
        pinned=backup.pinned,
        pinned_until=clock.from_text(until) if (until := backup.pinned_until) else None,
        counts=not document.suspect and not backup.failed and not backup.lack,
        verified=backup.verified,
        suspect=document.suspect,
        apart=backup.apart,
        foreign=backup.foreign,
        sequence=document.sequence,
    )


def _type_of(identity: str) -> str:
    return identity.rsplit("-", maxsplit=1)[1]
