# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Push: copy to a target what it lacks of a repository, and read back what came of that."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository import manifest, published, retention
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..repository.retention import Policy
from ..sqlite.snapshot import Progress
from ..system import clock, files, options
from ..system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    ProofFailedError,
    RefusedError,
    doing,
)
from ..system.options import Options
from ..targets import address, target
from ..targets.address import Address
from ..watch import offsite
from . import copies, prune
from .copies import Room

# What is sent before it is read back, and counts: a push that is cut has lost no more than that.
_BATCH_BYTES = 1024**3
_BATCH_BACKUPS = 50


@dataclass(frozen=True)
class Request:
    """What to copy where; the options of the module ``sqlite_offsite_push``.

    ``backup`` is ``all``, ``latest`` or an id, whose chain goes with it. ``name`` is what the audit log calls the
    target. ``policy`` are the rules by which it is pruned: what they would not keep does not go there.
    """

    repository: Path
    target: Address
    backup: str = "all"
    name: str = ""
    policy: Policy | None = None
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS


def requested(given: Options) -> Request:
    with doing("Cannot use the target"):
        there = address.requested(given["target"])
    return Request(
        repository=Path(given["repository"]),
        target=there,
        backup=given["backup"],
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
    )


class Outcome(copies.Transfer):
    """What went to the target."""


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Bring the target up to date. What is there is never overwritten; a push that was cut goes on."""
    outcome = Outcome(request.target.url)
    with doing(f"Cannot push {request.repository} to {request.target.url}"):
        repository = Repository.open_existing(request.repository)
        try:
            _Job(request, repository, outcome, progress).run(dry_run=dry_run)
        except (EngineError, KeyboardInterrupt) as failure:
            if not dry_run:
                repository.record_failed(offsite.PUSH, failure, **outcome.facts(request.name, outcome.newest))
            raise
        if not dry_run:
            facts = outcome.facts(request.name, outcome.newest)
            outcome.warnings.extend(repository.record_done(offsite.PUSH, **facts, outcome="passed"))
    return outcome


class _Job:
    """One run; ``lacking`` and ``odd`` are the names that the target lacks, and has with other content.

    ``there`` are the ids of the backups that are whole at the target.
    """

    def __init__(self, request: Request, repository: Repository, outcome: Outcome, progress: Progress | None) -> None:
        self.request = request
        self.repository = repository
        self.outcome = outcome
        self.progress = progress
        self.target = target.at(request.target)
        self.lacking: frozenset[str] = frozenset()
        self.odd: frozenset[str] = frozenset()
        self.there: set[str] = set()
        self.backups: list[Backup] = []
        self.failure: EngineError | None = None

    def run(self, *, dry_run: bool) -> None:
        with contextlib.ExitStack() as stack:
            if not dry_run:
                lock = copies.lock_name(self.request.name, self.request.target)
                timeout_seconds = self.request.lock_timeout_seconds
                stack.enter_context(self.repository.alone(lock, timeout_seconds=timeout_seconds))
            due = self._compare(*self._wanted(), dry_run=dry_run)
            if dry_run:
                self.outcome.transferred.extend(self._told(each) for each in due)
            else:
                self._send(due)
        if self.failure is not None:
            raise self.failure

    def _wanted(self) -> tuple[list[Backup], list[Backup]]:
        """What the target may hold, and what of that it should, oldest first.

        Nothing that is corrupt, damaged or of another repository, unless it is asked for by its id.
        """
        backups = self.backups = self.repository.backups()
        good = [each for each in backups if each.manifest and not (each.lack or each.foreign or each.corrupt)]
        wanted = good
        if self.request.backup != "all":
            wanted = _chain(self.repository.find(self.request.backup, among=backups), good)
        else:
            damaged = ", ".join(each.id for each in published.own(backups) if each.lack or not each.manifest)
            if damaged:
                self.outcome.warnings.append(f"not sent, since it is damaged here: {damaged}")
            if self.request.policy is not None:
                wanted = _kept(good, self.request.policy)
        if not self.request.target.require_encryption:
            return good, wanted
        sealed = [each for each in wanted if each.trusted().encryption != "none"]
        if wanted and wanted[-1] not in sealed:
            raise RefusedError(
                f"the backup {wanted[-1].id} is not encrypted, and this target takes encrypted ones only.",
                hint="Set encryption for this database, then make a backup.",
            )
        if len(sealed) < len(wanted):
            count = files.counted(len(wanted) - len(sealed), "older backup")
            self.outcome.warnings.append(f"not sent, since it is not encrypted as the target demands: {count}")
        return good, sealed

    def _compare(self, good: Sequence[Backup], wanted: Sequence[Backup], *, dry_run: bool) -> list[Backup]:
        """Those of ``wanted`` that the target lacks, or has in part; of all that are ``good`` it is asked for."""
        names = {each.id: frozenset(_names(each)) for each in (*good, *wanted)}
        asked = frozenset().union(*(names[each.id] for each in wanted))
        found = self.target.compare(self.repository.path, sorted(frozenset().union(*names.values())))
        begun = frozenset().union(*(names[each.id] for each in wanted if _manifest_name(each) in found.missing))
        # What an upload that was cut left where a target shows a file before it is whole.
        cut = found.shorter & begun
        if cut and not dry_run:
            self.target.remove(sorted(cut))
        self.there = {each for each in names if not names[each] & (found.missing | found.different)}
        self.lacking, self.odd = (found.missing | cut) & asked, (found.different - cut) & asked
        for each in wanted:
            odd = min(names[each.id] & self.odd, default=None)
            if odd is not None:
                self._fail(_clash(each, odd))
        self.outcome.before = sorted(self.there)
        self._note_newest()
        return [each for each in wanted if names[each.id] & self.lacking and not names[each.id] & self.odd]

    def _fail(self, error: EngineError) -> None:
        """Fail with this at the end: the other backups must not wait for a person."""
        self.failure = self.failure or error

    def _note_newest(self) -> None:
        # By sequence: what a clock that was ahead has left is not the newest for ever.
        newest = published.newest([each for each in self.backups if each.id in self.there])
        self.outcome.newest = newest.id if newest else None
        known = self.repository.load(newest.id) if newest else None
        self.outcome.behind_seconds = offsite.age_seconds(known) if known else None

    def _told(self, backup: Backup) -> dict[str, Any]:
        names = self.lacking & set(_names(backup))
        return {"id": backup.id, "files": len(names), "bytes": self._bytes(names)}

    def _bytes(self, names: Iterable[str]) -> int:
        return sum(files.size_of(self.repository.path / each) for each in names)

    def _send(self, due: Sequence[Backup]) -> None:
        total_bytes, done_bytes = self._bytes(self.lacking), 0
        for batch in _batches(due):
            with copies.workroom(self.repository.path) as room, contextlib.ExitStack() as stack:
                held: list[Backup] = []
                for each in batch:
                    if self._ready(each, held, room, stack):
                        held.append(each)
                top = self.repository.path if room.is_inside else room.path
                told = [self._told(each) for each in held]
                artifacts = [name for each in held for name in copies.names_of(each) if name in self.lacking]
                for names in (artifacts, [_manifest_name(each) for each in held]):
                    self._send_files(top, names, done_bytes, total_bytes)
                    done_bytes += self._bytes(names)
            self.outcome.transferred.extend(told)
            self.there |= {each.id for each in held}
            self._note_newest()
        # The newest went first.
        order = {each.id: place for place, each in enumerate(due)}
        self.outcome.transferred.sort(key=lambda each: order[each["id"]])

    def _ready(self, backup: Backup, held: Sequence[Backup], room: Room, stack: contextlib.ExitStack) -> bool:
        """Hold ``backup``, and make sure that what will be sent is what its manifest says; False when it cannot be."""
        parent = backup.trusted().parent
        if parent is not None and parent not in self.there and parent not in {each.id for each in held}:
            return False
        try:
            timeout_seconds = self.request.lock_timeout_seconds
            stack.enter_context(self.repository.reading(backup, timeout_seconds=timeout_seconds))
            if room.is_inside:
                manifest.check_files(backup.trusted(), backup.path)
            else:
                copies.copy(backup, room.path)
        except BackupNotFoundError:
            return False
        except BackupDamagedError as error:
            self._fail(error)
            return False
        return True

    def _send_files(self, top: Path, names: Sequence[str], done_bytes: int, total_bytes: int) -> None:
        """Send those of ``names`` that are missing, and compare what is there then."""

        def tell(sent_bytes: int) -> None:
            if self.progress is not None:
                self.progress(min(done_bytes + sent_bytes, total_bytes), total_bytes)

        if not names:
            return
        self.target.put(top, [each for each in names if each in self.lacking], tell)
        found = self.target.compare(top, names, digests=True)
        self.outcome.verified = self.outcome.verified and not found.unknown
        wrong = min(found.missing | found.different, default=None)
        if wrong is not None:
            raise ProofFailedError(
                f"{wrong} is not there as it was sent.",
                hint="Somebody else writes there, or the target loses what it is given: look at it.",
            )


def _kept(backups: Sequence[Backup], policy: Policy) -> list[Backup]:
    """Those of ``backups``, oldest first, that the rules of a target keep."""
    entries = [prune.entry(each, order) for order, each in enumerate(backups)]
    kept = {each.entry.id for each in retention.plan(entries, policy, now=clock.now()) if each.kept}
    return [each for each in backups if each.id in kept]


def _clash(backup: Backup, name: str) -> ProofFailedError:
    return ProofFailedError(
        f"{name} is there already, with other content than in the backup {backup.id}.",
        hint="Nothing there was overwritten. Compare both; then remove the wrong one, or use another target.",
    )


def _batches(due: Sequence[Backup]) -> Iterator[list[Backup]]:
    """The newest backup with its chain first, then the others, always the base before what builds on it."""
    first = _chain(due[-1], due) if due else []
    batch: list[Backup] = []
    for each in (*first, *(each for each in due if each not in first)):
        batch.append(each)
        is_full = sum(one.trusted().stored_bytes for one in batch) >= _BATCH_BYTES or len(batch) >= _BATCH_BACKUPS
        if is_full or each is due[-1]:
            yield batch
            batch = []
    if batch:
        yield batch


def _manifest_name(backup: Backup) -> str:
    return f"{backup.id}/{copies.MANIFEST_NAME}"


def _names(backup: Backup) -> list[str]:
    return [*copies.names_of(backup), _manifest_name(backup)]


def _chain(backup: Backup, backups: Sequence[Backup]) -> list[Backup]:
    """``backup`` and those of ``backups`` that it builds on, the base first."""
    known = {each.id: each for each in backups}
    found = [backup]
    while (parent := found[-1].trusted().parent) in known:
        found.append(known[str(parent)])
    return found[::-1]
