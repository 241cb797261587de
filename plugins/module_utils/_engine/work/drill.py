# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Drill: restore a backup in a scratch place as if all were lost, prove it, and measure how long that took."""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..repository import chain, examination, published
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sqlite import proof
from ..sqlite.proof import Check
from ..sqlite.snapshot import Progress
from ..system import clock, files, places, scratch
from ..system.clock import Phases
from ..system.errors import (
    BackupDamagedError,
    CancelledError,
    EngineError,
    ObjectiveMissedError,
    ProofFailedError,
    RefusedError,
    UsageError,
    doing,
    explained,
    meaning,
)
from ..targets import target
from ..watch import offsite, recovery
from . import content, copies, pull, restore, verify
from .drill_request import DUE, LATEST, RANDOM, WEEK_SECONDS, Drill, Request, requested
from .restore_request import Request as RestoreRequest

__all__ = ["DUE", "WEEK_SECONDS", "Drill", "Request", "requested", "run"]

_MODE = "0600"


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> list[Drill]:
    """Make the drills that are asked for, the one that matters most first; what fails is told in each.

    Raises only when nothing can be begun, and ``CancelledError``. In check mode the backups are chosen, no more.
    """
    with doing("Cannot make a drill"):
        _check_request(request)
        if request.scratch_dir is not None:
            _check_scratch(request.scratch_dir)
        repository = _repository(request)
        backups = repository.backups() if repository else []
        wanted = _wanted(request, backups)
    found = []
    for identity in wanted:
        job = _Job(request, repository, backups)
        single = job.run(identity, dry_run=dry_run, progress=progress)
        if identity != LATEST and request.backup == DUE and job.is_gone(identity):
            # Retention removed it while the others had their turn.
            continue
        if not dry_run:
            job.record()
        found.append(single)
        if isinstance(single.error, CancelledError):
            break
    return found


def _check_request(request: Request) -> None:
    if request.repository is None and request.target is None:
        raise UsageError("neither repository nor target is given.", hint="Set one of them.")
    if request.target is not None and request.backup == DUE:
        raise UsageError(
            "what is due at a target is not known, since what was proven is written down beside a backup.",
            hint="Choose latest or random. Or pull the backups into a repository of this host, and drill that.",
        )


def _check_scratch(place: Path) -> None:
    """Raise unless nobody else can put a name of theirs in the place of what lies in plain there."""
    if not place.is_dir():
        raise UsageError(f"{place} is not a directory.", hint="Make it, or name another one in scratch_dir.")
    status = os.stat(place)
    if os.name == "nt":
        return
    others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
    if others or status.st_uid not in (0, os.geteuid()) or places.if_of_others(place) is not None:
        raise RefusedError(
            f"others can change what is in {place}.",
            hint="Name a directory in scratch_dir that only the user who runs this, and root, can change or replace.",
        )


def _repository(request: Request) -> Repository | None:
    """Where the result is written down: with a target, the repository of another host need not be here."""
    if request.repository is None or (request.target is not None and not Repository.exists(request.repository)):
        return None
    return Repository.open_existing(request.repository)


def _wanted(request: Request, backups: Sequence[Backup]) -> list[str]:
    if request.backup == DUE:
        return [LATEST, *_due(request, backups)]
    if request.backup != RANDOM:
        return [request.backup]
    able = [each.id for each in _able(backups)]
    if request.target is not None:
        with doing(step=f"cannot list {request.target.url}"):
            able = sorted(copies.listed(target.at(request.target)).whole)
    return [secrets.choice(able)] if able else [LATEST]


def _due(request: Request, backups: Sequence[Backup]) -> list[str]:
    """Beside the newest, those whose turn it is when all are to be proven within a time; and what is damaged already.

    The ones that were restored longest ago come first, so nobody who waits is overtaken.
    """
    newest = published.newest(backups)
    rest = [each for each in published.own(backups) if newest is None or each.id != newest.id]
    damaged = [each.id for each in rest if each.manifest is None or each.lack]
    waiting = sorted((each for each in _able(rest) if not each.lack), key=_waits_since)
    share = request.every_seconds / max(request.prove_within_seconds, 1.0)
    return [*damaged, *(each.id for each in waiting[: math.ceil(len(waiting) * min(1.0, share))])]


def _able(backups: Sequence[Backup]) -> list[Backup]:
    """Those that a restore takes by their id, without more words."""
    return [each for each in published.own(backups) if each.manifest is not None and not each.suspect]


def _waits_since(backup: Backup) -> str:
    """When it was last restored, whatever came of that, or made."""
    looks = [each["time"] for each in backup.verifications if each["level"] == "full"]
    return max(looks, default=backup.trusted().started)


class _Job:
    """One drill. ``repository`` is where it is written down, None when there is none; ``backups`` are its."""

    def __init__(self, request: Request, repository: Repository | None, backups: Sequence[Backup]) -> None:
        self.request = request
        self.repository = repository
        self.backups = backups
        self.phases = Phases()
        self.encrypted = False
        place = request.target.url if request.target else str(request.repository)
        name = request.name or (repository.name if repository else "")
        self.drill = Drill(name, place, durations=self.phases.seconds)
        self.drill.rto_target_seconds, self.drill.rpo_target_seconds = request.rto_seconds, request.rpo_seconds

    def run(self, identity: str, *, dry_run: bool, progress: Progress | None) -> Drill:
        drill = self.drill
        drill.started = clock.to_text(clock.now())
        drill.backup = identity if published.ID.fullmatch(identity) else ""
        begun = time.monotonic()
        try:
            top = None if dry_run else self.request.scratch_dir
            with doing(f"Cannot restore {identity} for trial"), scratch.directory(top) as place:
                repository = self._source(identity, place, dry_run=dry_run, progress=progress)
                if repository is not None:
                    self._describe(repository)
                if repository is None or dry_run:
                    return drill
                self._restore(repository, place, progress)
                drill.rto_seconds = round(time.monotonic() - begun, 3)
        except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001 - the next backup must have its turn
            drill.error = explained(failure)
            drill.checks.append(proof.whole("restore", proof.FAILED, drill.error.message))
        self._judge()
        return drill

    def is_gone(self, identity: str) -> bool:
        """Whether nothing was found because the backup, which was there, is not any more."""
        failed = self.drill.error is not None
        return failed and self.repository is not None and self.repository.load(identity) is None

    def _source(self, identity: str, place: Path, *, dry_run: bool, progress: Progress | None) -> Repository | None:
        """The repository to restore from: this one, or what comes from the target; chooses the backup.

        None in check mode, of a target: nothing comes.
        """
        drill, request = self.drill, self.request
        if request.target is not None:
            with self.phases.phase("fetch"):
                wanted = pull.Request(place / "repository", request.target, identity, request.name)
                outcome = pull.run(wanted, dry_run=dry_run, progress=progress)
            drill.warnings.extend(outcome.warnings)
            drill.backup, drill.rpo_seconds = outcome.chosen, outcome.behind_seconds
            return None if dry_run else Repository.open_existing(place / "repository")
        if self.repository is not None:
            drill.backup = self.repository.find(identity, among=self.backups).id
            newest = published.newest(self.backups)
            drill.rpo_seconds = offsite.age_seconds(newest) if newest else None
        return self.repository

    def _describe(self, repository: Repository) -> None:
        drill = self.drill
        backup = repository.find(drill.backup)
        drill.name = drill.name or repository.name
        document = backup.trusted()
        drill.created, drill.database_bytes = document.started, document.image.bytes
        drill.command = self.request.repeat(backup.id)
        links = [each.trusted() for each in chain.links(repository, backup)]
        drill.stored_bytes = sum(each.stored_bytes for each in links)
        self.encrypted = document.content_file.encryption != "none"

    def _restore(self, repository: Repository, place: Path, progress: Progress | None) -> None:
        """As a restore does it, to a file that is not there; then all that is expected is asked of that file."""
        drill, request = self.drill, self.request
        dest = place / "restored" / "database.sqlite"
        files.create_directory(dest.parent)
        mine = {"owner": str(os.geteuid()), "group": str(os.getegid())} if hasattr(os, "geteuid") else {}
        outcome = restore.run(
            RestoreRequest(
                repository=repository.path,
                backup=drill.backup,
                dest=dest,
                mode=_MODE,
                keys=request.keys,
                lock_timeout_seconds=request.lock_timeout_seconds,
                rehearsal=True,
                **mine,  # type: ignore[arg-type]
            ),
            progress=progress,
        )
        self.phases.seconds.update(outcome.durations)
        drill.warnings.extend(outcome.warnings)
        drill.checks.append(proof.whole("restore", proof.PASSED, f"SHA-256 {outcome.sha256}"))
        with self.phases.phase("prove"):
            backup = repository.find(drill.backup)
            proven = examination.proof_of(backup, request.keys)
            with content.opened(dest, request.expectations, proven) as check:
                drill.checks.extend(check())
        drill.error = content.failure(drill.checks, f"The backup {drill.backup}", BackupDamagedError)

    def _judge(self) -> None:
        """Compare what was measured with what is asked for, and say in words what is known now."""
        drill = self.drill
        outcomes = proof.overall(drill.checks)
        drill.error = drill.error or _missed(drill)
        inconclusive = outcomes == proof.INCONCLUSIVE and drill.rto_met is not False and drill.rpo_met is not False
        drill.outcome = proof.PASSED if drill.error is None else proof.INCONCLUSIVE if inconclusive else proof.FAILED
        if drill.rto_seconds is not None and drill.database_bytes:
            drill.outlook = recovery.outlook(
                self.backups, drill.database_bytes, drill.rto_seconds, drill.rto_target_seconds
            )
        drill.proven.extend(_proven(drill))
        drill.not_proven.extend(_not_proven(drill, self.request))

    def record(self) -> None:
        """Write down what was found, beside the backup and in the audit log; what is not taken there is a warning."""
        drill, repository = self.drill, self.repository
        if repository is None or isinstance(drill.error, CancelledError):
            return
        if self.request.target is None and drill.backup:
            try:
                self._note(repository)
            except EngineError as failure:
                drill.warnings.append(failure.message)
        facts: dict[str, Any] = {
            name: getattr(drill, name)
            for name in ("outcome", "rto_seconds", "rto_met", "rpo_seconds", "rpo_met", "database_bytes")
        }
        facts["backup"] = drill.backup or None
        if self.request.target is not None:
            facts["target"] = self.request.called or self.request.target.url
        if drill.error is not None:
            facts.update(code=drill.error.code, message=self._told(drill.error))
        drill.warnings.extend(repository.record_done(recovery.DRILL, **facts))
        with contextlib.suppress(EngineError):
            drill.history = recovery.past(repository.history())

    def _told(self, error: EngineError) -> str:
        """What the audit log gets; a message may quote what only encrypted files may tell."""
        quotes = self.encrypted and not isinstance(error, ObjectiveMissedError)
        return f"{meaning(error.code)}; what exactly, only the drill itself said" if quotes else error.message

    def _note(self, repository: Repository) -> None:
        """Beside the backup: a drill is a verification as deep as there is. For want of a key nothing was learnt."""
        error = self.drill.error
        if error is None or isinstance(error, (BackupDamagedError, ProofFailedError, ObjectiveMissedError)):
            backup = repository.find(self.drill.backup)
            # What the restore itself refuses is no slip in an assertion.
            expected = self.drill.checks[0].outcome == proof.PASSED
            outcome = verify.noted_outcome(error, proof.overall(self.drill.checks)) if expected else proof.FAILED
            if backup.manifest is not None:
                repository.note_verification(backup, level="full", outcome=outcome)


def _missed(drill: Drill) -> ObjectiveMissedError | None:
    """What to fail with when a restore is good, but too slow, or of data that is too old."""
    if drill.rto_met is False:
        took = f"{drill.rto_seconds:.1f} s, more than the RTO of {clock.in_words(drill.rto_target_seconds or 0)}"
        return ObjectiveMissedError(
            f"The restore of {drill.backup} took {took}.",
            hint="Look at its phases; a faster disk, a nearer copy, or a smaller database. Or allow more in rto.",
        )
    if drill.rpo_met is False:
        ages = f"{clock.in_words(drill.rpo_seconds or 0)} old, more than the RPO of "
        return ObjectiveMissedError(
            f"The newest good backup in {drill.place} is {ages}{clock.in_words(drill.rpo_target_seconds or 0)}.",
            hint="Make a backup, and see whether its schedule runs.",
        )
    return None


def _proven(drill: Drill) -> Iterator[str]:
    passed = [each for each in drill.checks if each.outcome == proof.PASSED]
    if any(each.name == "restore" for each in passed):
        size = files.readable(drill.database_bytes or 0)
        yield f"Nothing of {drill.backup}, or of what it builds on, has changed since it was stored."
        yield f"The restored file, {size}, is the one that was backed up, byte for byte."
    for name, text in _WORDS.items():
        if any(each.name == name for each in passed):
            yield text
    asked = [each for each in passed if each.kind == proof.EXPECTATION]
    if asked:
        yield f"{files.counted(len(asked), 'expectation')} of its content passed."
    if drill.rto_met:
        allowed = clock.in_words(drill.rto_target_seconds or 0)
        yield f"It takes {drill.rto_seconds:.1f} s, no more than the RTO of {allowed}."
    if drill.rpo_met:
        allowed = clock.in_words(drill.rpo_target_seconds or 0)
        yield f"What would be lost is {clock.in_words(drill.rpo_seconds or 0)}, no more than the RPO of {allowed}."


_WORDS = {
    "integrity_check": "SQLite finds nothing wrong with the structure of the file.",
    "rows": "Each table has as many rows as were counted when the backup was made.",
}


def _not_proven(drill: Drill, request: Request) -> Iterator[str]:
    failed: Sequence[Check] = [each for each in drill.checks if each.outcome != proof.PASSED]
    yield from (f"{each.name}: {each.detail.rstrip('.')}." for each in failed)
    if not request.expectations.about_content:
        yield "What the rows say: no table and no assertion is expected."
    if request.rto_seconds is None:
        yield "Whether it is fast enough: no RTO is set."
    if request.rpo_seconds is None:
        yield "Whether it is new enough: no RPO is set."
    if request.target is None:
        yield "That a copy elsewhere can be restored: this was the repository on this host."
    else:
        yield "That the repository on the host can be restored: this was the copy at the target."
    yield "That the application starts with it."
