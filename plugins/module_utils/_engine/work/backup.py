# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up one database: "a proven backup of its present content exists" is what a run makes true."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..repository import base, examination, identity, include, manifest, published
from ..repository.base import Base
from ..repository.description import check_new_place
from ..repository.manifest import Manifest, Origin, StoredFile
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sealed import codec
from ..sqlite import database, proof, snapshot
from ..sqlite.database import Source
from ..sqlite.proof import Check
from ..sqlite.snapshot import Progress
from ..system import clock, files, interrupts, owners
from ..system.clock import Deadline, Phases
from ..system.errors import EngineError, SourceCorruptError, Way, doing, explained, meaning
from . import included, preview
from .backup_request import Outcome, Request, requested
from .draft import Draft, Drafting
from .included import Contents

__all__ = ["Outcome", "Request", "requested", "run"]

# Writers that must wait for a snapshot need not wait for a slower compression, nor for a full check. They do where it
# is encrypted: a plain copy in the repository would stay there when the run is killed.
_FAST_COMPRESSIONS = ("none", "zstd")


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Store a backup of the present content, or confirm the newest one when it holds just that.

    With ``dry_run`` the same decisions are made, and nothing stays on the disk.
    """
    with interrupts.Shield() as shield:
        try:
            with doing(f"Cannot back up {request.path}"):
                outcome = _run(request, shield, dry_run=dry_run, progress=progress)
        except (EngineError, KeyboardInterrupt) as failure:
            if not dry_run and Repository.exists(request.repository):
                _record_failure(request, explained(failure))
            raise
    shield.deliver()
    return outcome


def _record_failure(request: Request, error: EngineError) -> None:
    # The audit log must not hide the failure itself.
    with contextlib.suppress(EngineError), doing():
        repository = Repository.open_existing(request.repository)
        # In the log of another database it would look like a failure of that one.
        repository.check_database(name=request.database_name, source=request.path)
        # A message may quote what only the encrypted files may tell: a name, a word of the schema.
        message = error.message if request.encryption.method == "none" else _untold(error)
        repository.record("backup", outcome="failed", code=error.code, message=message)


def _untold(error: EngineError) -> str:
    return f"{meaning(error.code)}; what exactly, only the run itself said"


def _run(request: Request, shield: interrupts.Shield, *, dry_run: bool, progress: Progress | None) -> Outcome:
    source = database.locate(request.path, allow_empty=request.allow_empty)
    beside = included.gather(request.include, source=source.path, deadline=Deadline(request.timeout_seconds))
    compression = codec.choose_compression(request.compression)
    codec.check_level(compression, request.compression_level)
    request.encryption.check()
    if dry_run and not Repository.exists(request.repository):
        check_new_place(request.repository)
        return preview.first(request, source, beside.warnings)
    repository = _open_repository(request, source, dry_run=dry_run)
    with repository.locked(timeout_seconds=request.lock_timeout_seconds, dry_run=dry_run):
        if not dry_run:
            beside.warnings.extend(repository.remove_leftovers())
        backups = published.own(repository.backups())
        settled = dataclasses.replace(request, compression=compression, check=examination.level(request.check, backups))
        job = _Job(settled, beside, repository, backups, shield, dry_run=dry_run)
        return job.run(source, progress)


def _open_repository(request: Request, source: Source, *, dry_run: bool) -> Repository:
    name = request.database_name
    if dry_run:
        repository = Repository.open_existing(request.repository)
        repository.check_database(name=name, source=source.given)
        return repository
    timeout_seconds = request.lock_timeout_seconds
    return Repository.open_or_create(
        request.repository, name=name, source=source.given, timeout_seconds=timeout_seconds
    )


class _Job:
    """One run under the lock of the repository. ``shield`` begins when only the record of what is done is left."""

    def __init__(
        self,
        request: Request,
        beside: Contents,
        repository: Repository,
        backups: list[Backup],
        shield: interrupts.Shield,
        *,
        dry_run: bool,
    ) -> None:
        self.request = request
        self.repository = repository
        self.backups = backups
        self.newest = backups[-1] if backups else None
        self.beside = beside
        # Not before the lock: a run that overtook this one while both waited would seem to be from the future.
        self.now = clock.now()
        self.shield = shield
        self.deadline = Deadline(request.timeout_seconds)
        self.dry_run = dry_run
        self.encrypted = request.encryption.method != "none"
        self.phases = Phases()
        self.standing = identity.Standing(repository.identity_path(), backups)
        self.doubt = ""
        self.anomaly = ""
        self.apart = False
        self.accepted: list[str] = []
        self.keep_logs: Callable[[], None] = lambda: None
        self.warnings = beside.warnings
        self.warnings.extend([*filter(None, [request.encryption.warning()]), *repository.warnings()])

    def run(self, source: Source, progress: Progress | None) -> Outcome:
        files.require_space(self.repository.path, 0)
        with self.repository.staging(f"{clock.to_stamp(self.now)}-{os.getpid()}", self.warnings) as staging:
            with self.phases.phase("read"), base.find(self.repository, self.newest) as found:
                drafting = Drafting(
                    self.request,
                    self.beside.included,
                    found,
                    staging,
                    dry_run=self.dry_run,
                    full_bytes=self._full_bytes(source),
                    progress=progress,
                )
                draft = self._read(source, staging, drafting, progress)
            self._compare(draft)
            if not draft.type and self.newest is not None:
                return self._confirm(self.newest, draft)
            self._warn(draft, found)
            if self.dry_run:
                return self._outcome(draft, None)
            with self.phases.phase("publish"):
                self._accept()
                published = self._publish(draft, drafting, source)
            return self._recorded(draft, published, source)

    def _compare(self, draft: Draft) -> None:
        """Find out whether this is perhaps another database than before; of what is suspect nobody knows."""
        proven = draft.evidence.proof
        if not draft.type and self.newest is not None:
            self.anomaly = self.newest.trusted().anomaly
            self.doubt = (self.anomaly or identity.UNTOLD) if self.newest.apart else ""
        elif proven is not None and not draft.evidence.suspect:
            found = identity.found_in(proven, draft.image)
            self.doubt = self.standing.doubt(found)
            if not self.doubt:
                self.doubt, untelling = self.standing.collapse(found, self.request.suspect_below, self.now)
                self.anomaly = untelling if self.encrypted else self.doubt
        self.apart = bool(self.doubt) and not self.request.force_identity
        if self.apart:
            self.warnings.append(self.standing.warning(self.doubt, suspect=bool(self.anomaly)))
        elif self.doubt:
            self.accepted = [each.id for each in self.standing.apart]

    def _accept(self) -> None:
        """Note beside what was held apart that it is meant, before a newer backup makes it look given up."""
        if self.doubt and not self.apart:
            for each in self.standing.to_accept():
                self.repository.accept(each, self.now)

    def _record_acceptance(self, made: Backup) -> None:
        """``made`` is the backup of the database as it is now, which is meant."""
        if self.doubt and not self.apart:
            self._record("accept", backup=made.id, accepted=self.accepted, outcome="passed")

    def _record(self, event: str, **facts: Any) -> None:
        self.warnings.extend(self.repository.record_done(event, **facts))

    def _full_bytes(self, source: Source) -> int:
        """A lower bound of what a full backup will take: about what the last one took."""
        if self.request.compression == "none":
            return source.status.st_size
        fulls = [each.manifest for each in self.backups if each.manifest and each.manifest.type == "full"]
        return fulls[-1].stored_bytes if fulls else 0

    def _parent(self, draft: Draft) -> Manifest | None:
        return self.newest.manifest if self.newest and draft.type == "incremental" else None

    def _read(self, source: Source, staging: Path, drafting: Drafting, progress: Progress | None) -> Draft:
        deadline = self.deadline

        def work(image: snapshot.Snapshot) -> Draft:
            draft = drafting.draft(image, deadline if image.held else Deadline(None))
            if draft.evidence.suspect and not image.corruption and image.image_bytes < source.status.st_size:
                # What a torn header does not count is perhaps all that there is to repair it with.
                raise SourceCorruptError(f"{proof.first_failure(draft.evidence.checks)}.")
            return draft

        try:
            return snapshot.use(
                source,
                staging,
                work,
                deadline=deadline,
                progress=progress,
                traceless=self.dry_run,
                hasty=self._is_hasty(),
            )
        except SourceCorruptError as error:
            if error.needs_recovery:
                raise
            corruption = error.cause.removeprefix("SQLite says: ").rstrip(".")
            with snapshot.salvage(source, staging, corruption=corruption, deadline=deadline) as image:
                return work(image)

    def _is_hasty(self) -> bool:
        """Whether the image may be stored while writers wait for it."""
        return self.encrypted or (self.request.compression in _FAST_COMPRESSIONS and self.request.check != "full")

    def _warn(self, draft: Draft, found: Base | None) -> None:
        self.warnings.extend(draft.evidence.doubts)
        damage = found.damage if found is not None else self.newest.damage if self.newest is not None else None
        if damage is not None:
            self.warnings.append(f"{damage.message} A new full backup takes its place.")
        if self.request.type == "incremental" and draft.type == "full":
            self.warnings.append(f"a full backup instead of an incremental one: {draft.why_full}")
        if draft.writers_waited_seconds:
            self.warnings.append(
                f"the journal mode made writers wait for {draft.writers_waited_seconds} s; WAL mode would not"
            )
        newest = self.newest.manifest if self.newest else None
        if newest is not None and newest.started > clock.to_text(self.now):
            self.warnings.append(f"the clock went backwards: the newest backup {newest.id} was made later than now")

    def _confirm(self, newest: Backup, draft: Draft) -> Outcome:
        if not self.dry_run:
            timeout_seconds = self.request.lock_timeout_seconds
            self.shield.begin()
            self._accept()
            self._record_acceptance(newest)
            newest = self.repository.confirm(newest, self.now, timeout_seconds=timeout_seconds)
            # What a verification found is for a verification to take back.
            if draft.evidence.checks and not newest.failed:
                outcome = proof.overall(draft.evidence.checks)
                newest = self.repository.note_verification(newest, level=self.request.check, outcome=outcome)
            told = "suspect" if newest.trusted().suspect else "passed"
            self._record("confirm", backup=newest.id, reason=self.request.reason, outcome=told)
        document = newest.trusted()
        return Outcome(
            False,
            newest,
            self.newest,
            0,
            document.type,
            document.parent,
            document.proof.tables if document.proof else {},
            self.phases.seconds,
            self.warnings,
            self._suspicion(newest, document.checks) if document.suspect else None,
            self.apart,
            self.accepted,
        )

    def _publish(self, draft: Draft, drafting: Drafting, source: Source) -> Backup:
        if draft.stored is None:
            raise EngineError("nothing was staged.")
        storage = drafting.storage
        deadline = Deadline(self.request.timeout_seconds)
        included, self.keep_logs = self.beside.store(storage, self.repository, deadline=deadline)
        drafting.write_index(included.included)
        stored = [draft.stored, *included.files]
        if draft.corruption:
            stored.extend(examination.store_sidecars(source, storage, self.deadline))
        stored.extend(examination.store(draft.evidence, included, storage))
        document = self._manifest(draft, stored, included, source)
        if self.encrypted and draft.evidence.proof is not None:
            with doing():
                self.standing.keep(document.id, identity.found_in(draft.evidence.proof, draft.image))
        return self.repository.publish(drafting.directory, document, index=drafting.index, committing=self.shield.begin)

    def _manifest(self, draft: Draft, stored: list[StoredFile], included: include.Stored, source: Source) -> Manifest:
        ownership = owners.ownership(source.status)
        parent = self._parent(draft)
        return Manifest(
            id=self.repository.new_id(self.now, draft.type),
            sequence=max((each.manifest.sequence for each in self.backups if each.manifest), default=0) + 1,
            type=draft.type,
            parent=parent.id if parent else None,
            parent_sha256=parent.image.sha256 if parent else None,
            database=Origin(self.request.database_name, str(source.given), socket.gethostname(), *ownership),
            reason=self.request.reason,
            tags=self.request.tags,
            pinned=self.request.pinned,
            suspect=draft.evidence.suspect,
            started=clock.to_text(self.now),
            finished=clock.to_text(clock.now()),
            image=draft.image,
            proof=None if self.encrypted else draft.evidence.proof,
            files=tuple(stored),
            checks=examination.told(draft.evidence.checks, encrypted=self.encrypted),
            durations=dict(self.phases.seconds),
            versions=manifest.versions(),
            apart=self.apart,
            anomaly=self.anomaly if self.apart else "",
            accepts=self._accepts(),
            repository=self.repository.id,
            origins=() if self.encrypted else included.origins,
        )

    def _accepts(self) -> tuple[str, ...]:
        """What was held apart and is meant: the notes that say so may be lost, what is sealed is not."""
        apart = [each for each in self.backups if each.manifest and each.manifest.apart]
        return tuple(each.id for each in apart if not each.apart or each.id in self.accepted)

    def _outcome(self, draft: Draft, published: Backup | None) -> Outcome:
        parent = self._parent(draft)
        return Outcome(
            True,
            published,
            self.newest,
            draft.changed_pages,
            draft.type,
            parent.id if parent else None,
            draft.evidence.proof.tables if draft.evidence.proof else {},
            self.phases.seconds,
            self.warnings,
            self._suspicion(published, draft.evidence.checks) if draft.evidence.suspect else None,
            self.apart,
            self.accepted,
        )

    def _recorded(self, draft: Draft, published: Backup, source: Source) -> Outcome:
        """What is left to do. The backup is on the disk and listed: to fail now would deny that."""
        document = published.trusted()
        facts: dict[str, Any] = {"why_full": draft.why_full} if draft.why_full else {}
        if document.apart:
            facts["apart"] = self.doubt
        self._record(
            "backup",
            backup=document.id,
            type=document.type,
            reason=document.reason,
            outcome="suspect" if document.suspect else "passed",
            stored_bytes=document.stored_bytes,
            **facts,
        )
        self._record_acceptance(published)
        try:
            self.keep_logs()
            self.repository.settle(published, source.given)
        except EngineError as failure:
            self.warnings.append(failure.message)
        return self._outcome(draft, published)

    def _suspicion(self, suspect: Backup | None, checks: Sequence[Check]) -> SourceCorruptError:
        """``suspect`` is where its bytes are kept, None in check mode."""
        good = next((each.id for each in reversed(self.backups) if each.verified), None)
        kept = f" Its bytes are kept in {suspect.id}, marked suspect." if suspect else ""
        return SourceCorruptError(
            f"{proof.first_failure(checks)}.{kept}",
            action=f"The source {self.request.path} is corrupt",
            hint=f"The newest good backup is {good}." if good else "There is no good backup in this repository.",
            ways=[Way("To restore it", "restore", {"backup": good})] if good else [],
        )
