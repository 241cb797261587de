# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Back up one database: "a proven backup of its present content exists" is what a run makes true."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import sqlite3
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from . import clock, codec, database, files, include, manifest, proof, snapshot
from .clock import Deadline, Phases
from .database import Source
from .errors import BackupDamagedError, EngineError, SourceCorruptError, translated
from .include import Include
from .manifest import Image, Manifest, Origin, StoredFile
from .proof import Check, Proof
from .repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Backup, Repository, check_new_place
from .snapshot import Progress, Snapshot

SCHEMA_NAME = "schema.sql"
IMAGE_NAME = "database.sqlite"


@dataclass(frozen=True)
class Request:
    """What to back up and how; the options of the module ``sqlite_backup`` with the same names.

    ``timeout_seconds`` is the deadline of the snapshot, ``lock_timeout_seconds`` that of waiting for the repository.
    """

    path: Path
    repository: Path
    name: str = ""
    type: str = "auto"
    compression: str = "auto"
    compression_level: int | None = None
    check: str = "quick"
    include: tuple[Include, ...] = ()
    reason: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    timeout_seconds: float | None = None
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    force: bool = False
    allow_empty: bool = False

    @property
    def database_name(self) -> str:
        return self.name or self.path.stem


@dataclass
class Outcome:
    """What a run did, or in check mode would do. ``error`` is set when a backup was stored and is suspect.

    ``backup`` is None only in check mode, for a backup that does not exist yet.
    """

    changed: bool
    backup: Backup | None
    previous: Backup | None
    changed_pages: int
    durations: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: EngineError | None = None


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Store a backup of the present content, or confirm the newest one when it holds just that.

    With ``dry_run`` the same decisions are made, and nothing stays on the disk.
    """
    try:
        return _run(request, dry_run=dry_run, progress=progress)
    except EngineError as error:
        if not dry_run and Repository.exists(request.repository):
            # The audit log must not hide the failure itself.
            with contextlib.suppress(EngineError):
                repository = Repository.open_existing(request.repository, action="Cannot write the audit log")
                repository.record("backup", outcome="failed", code=error.code, message=error.message)
        raise


def _run(request: Request, *, dry_run: bool, progress: Progress | None) -> Outcome:
    action = f"Cannot back up {request.path}"
    source = database.locate(request.path, action=action, allow_empty=request.allow_empty)
    included = include.gather(request.include, source=source.path, action=action)
    codec.check_level(codec.choose_compression(request.compression), request.compression_level)
    if dry_run and not Repository.exists(request.repository):
        check_new_place(request.repository, action=action)
        return _first_preview(request, source, action=action)
    repository = _open_repository(request, source, action=action, dry_run=dry_run)
    started = clock.now()
    with repository.locked(action=action, timeout_seconds=request.lock_timeout_seconds, dry_run=dry_run):
        if not dry_run:
            repository.remove_leftovers()
        backups = repository.backups()
        job = _Job(request, repository, backups, included, action=action, started=started, dry_run=dry_run)
        return job.run(source, progress)


def _open_repository(request: Request, source: Source, *, action: str, dry_run: bool) -> Repository:
    name = request.database_name
    if dry_run:
        repository = Repository.open_existing(request.repository, action=action)
        repository.check_database(name=name, source=source.given, action=action)
        return repository
    timeout_seconds = request.lock_timeout_seconds
    return Repository.open_or_create(
        request.repository, name=name, source=source.given, action=action, timeout_seconds=timeout_seconds
    )


def _first_preview(request: Request, source: Source, *, action: str) -> Outcome:
    """What a first backup would find: the source is read where it is, since there is no repository to copy it to."""
    checks: list[Check] = []
    if source.header is not None:
        level = "quick" if request.check == "none" else request.check
        deadline = Deadline(request.timeout_seconds)
        checks = snapshot.examine(
            source,
            lambda connection: proof.check_structure(connection, level),
            action=action,
            deadline=deadline,
            traceless=True,
        )
    failed = next((each for each in checks if each.outcome == proof.FAILED), None)
    suspicion = SourceCorruptError(f"The source {request.path} is corrupt: {failed.detail}.") if failed else None
    return Outcome(True, None, None, 0, error=suspicion)


class _Job:
    """One run under the lock of the repository."""

    def __init__(
        self,
        request: Request,
        repository: Repository,
        backups: list[Backup],
        included: list[include.Included],
        *,
        action: str,
        started: datetime,
        dry_run: bool,
    ) -> None:
        self.request = request
        self.repository = repository
        self.backups = backups
        self.newest = backups[-1] if backups else None
        self.included = included
        self.action = action
        self.started = started
        self.dry_run = dry_run
        self.phases = Phases()
        self.warnings: list[str] = []

    def run(self, source: Source, progress: Progress | None) -> Outcome:
        needed_bytes = self._needed_bytes(source)
        files.require_space(self.repository.path, needed_bytes, action=self.action)
        identity = self.repository.new_id(self.started, "full", self.backups)
        with self.repository.staging(f"{identity}-{os.getpid()}") as staging:
            with self.phases.phase("snapshot"):
                image = self._take(source, staging, progress)
            with image:
                if self.newest is not None and self._is_unchanged(image):
                    return self._confirm(self.newest)
                if self.dry_run:
                    return Outcome(True, None, self.newest, image.page_count, self.phases.seconds, self.warnings)
                document = self._store(image, identity, staging, source)
                if image.writers_waited:
                    self.warnings.append(
                        f"the journal mode made writers wait for {image.pinned_seconds} s; WAL mode would not"
                    )
            return self._publish(staging, document, source)

    def _needed_bytes(self, source: Source) -> int:
        """A lower bound of what the run will write: the private copy, and about what the last backup took."""
        copy_bytes = source.status.st_size + files.size_of(database.sidecar(source.path, database.WAL))
        last_bytes = self.newest.manifest.stored_bytes if self.newest and self.newest.manifest else 0
        return copy_bytes + (copy_bytes if self.request.compression == "none" else last_bytes)

    def _take(self, source: Source, staging: Path, progress: Progress | None) -> Snapshot:
        deadline = Deadline(self.request.timeout_seconds)
        try:
            return snapshot.take(
                source, staging, action=self.action, deadline=deadline, progress=progress, traceless=self.dry_run
            )
        except SourceCorruptError as error:
            if database.needs_recovery(source.path):
                raise
            return snapshot.salvage(source, staging, corruption=error.message)

    def _is_unchanged(self, image: Snapshot) -> bool:
        """Whether the newest backup holds this image and all that is asked for, with artifacts that are whole."""
        newest = self.newest.manifest if self.newest else None
        if newest is None or self.request.force or newest.image.bytes != image.image_bytes:
            return False
        if (self.request.pinned and not newest.pinned) or not set(self.request.tags) <= set(newest.tags):
            return False
        if bool(image.corruption) != newest.suspect and image.corruption:
            return False
        if include.digests(self.included) != include.stored_digests(newest):
            return False
        digest = hashlib.sha256()
        with self.phases.phase("compare"):
            for chunk in image.chunks():
                digest.update(chunk)
            if digest.hexdigest() != newest.image.sha256:
                return False
            return self._is_whole(newest, self.repository.path / newest.id)

    def _is_whole(self, newest: Manifest, path: Path) -> bool:
        try:
            manifest.check_files(newest, path)
        except BackupDamagedError as error:
            self.warnings.append(f"{error.message} A new backup takes its place.")
            return False
        return True

    def _confirm(self, newest: Backup) -> Outcome:
        if not self.dry_run:
            newest = self.repository.confirm(newest, self.started)
            self.repository.record("confirm", backup=newest.id, reason=self.request.reason, outcome="passed")
        error = self._suspicion(newest) if newest.trusted().suspect else None
        return Outcome(False, newest, self.newest, 0, self.phases.seconds, self.warnings, error)

    def _store(self, image: Snapshot, identity: str, staging: Path, source: Source) -> Manifest:
        with self.phases.phase("check"):
            checks, evidence, schema = self._examine(image)
        with self.phases.phase("store"):
            stored, digest = self._store_image(image, staging)
            stored_files = [stored, *include.store(self.included, staging)]
            if image.corruption:
                stored_files.extend(_store_sidecars(source, staging))
            if schema is not None:
                stored_files.append(_store_bytes(staging, SCHEMA_NAME, manifest.SCHEMA_ROLE, schema.encode()))
        self._warn_of_clock()
        return Manifest(
            id=identity,
            sequence=max((each.manifest.sequence for each in self.backups if each.manifest), default=0) + 1,
            type="full",
            parent=None,
            database=self._origin(source),
            reason=self.request.reason,
            tags=self.request.tags,
            pinned=self.request.pinned,
            suspect=proof.overall(checks) == proof.FAILED,
            started=clock.to_text(self.started),
            finished=clock.to_text(clock.now()),
            image=Image(image.image_bytes, image.page_size, image.page_count, digest),
            proof=evidence,
            files=tuple(stored_files),
            checks=tuple(checks),
            durations=dict(self.phases.seconds),
            versions=manifest.versions(),
        )

    def _origin(self, source: Source) -> Origin:
        owner, group, mode = files.ownership(source.status)
        return Origin(self.request.database_name, str(source.given), socket.gethostname(), owner, group, mode)

    def _examine(self, image: Snapshot) -> tuple[list[Check], Proof | None, str | None]:
        """Check the image and count its rows; what cannot be read makes the backup suspect, never fails the copy."""
        if image.connection is None:
            return [Check("readable", proof.FAILED, image.corruption)], None, None
        wanted = self.request.check
        checks = [] if wanted == "none" else proof.check_structure(image.connection, wanted)
        try:
            schema = proof.schema_sql(image.connection, image.header)
            tables = proof.table_rows(image.connection)
        except sqlite3.DatabaseError as error:
            return [*checks, Check("rows", proof.FAILED, str(error))], None, None
        self.warnings.extend(each.detail for each in checks if each.outcome == proof.INCONCLUSIVE)
        facts = image.header.facts() if image.header else {}
        return checks, Proof(proof.schema_digest(schema), tables, facts), schema

    def _store_image(self, image: Snapshot, staging: Path) -> tuple[StoredFile, str]:
        compression = codec.choose_compression(self.request.compression)
        name = IMAGE_NAME + codec.SUFFIXES[compression]
        digest = hashlib.sha256()
        with codec.ArtifactWriter(
            staging / name, compression=compression, level=self.request.compression_level
        ) as writer:
            for chunk in image.chunks():
                digest.update(chunk)
                writer.write(chunk)
        stored = StoredFile(name, manifest.IMAGE_ROLE, writer.stored_bytes, writer.stored_sha256, compression)
        return stored, digest.hexdigest()

    def _publish(self, staging: Path, document: Manifest, source: Source) -> Outcome:
        with self.phases.phase("publish"):
            published = self.repository.publish(staging, document)
            self.repository.adopt_source(source.given)
        error = self._suspicion(published) if document.suspect else None
        outcome = Outcome(
            True, published, self.newest, document.image.page_count, self.phases.seconds, self.warnings, error
        )
        try:
            self.repository.record(
                "backup",
                backup=document.id,
                type=document.type,
                reason=document.reason,
                outcome="suspect" if document.suspect else "passed",
                stored_bytes=document.stored_bytes,
            )
        except EngineError as failure:
            # The backup is on the disk and listed: failing now would deny that.
            outcome.warnings.append(failure.message)
        return outcome

    def _suspicion(self, suspect: Backup) -> SourceCorruptError:
        found = next((each for each in suspect.trusted().checks if each.outcome == proof.FAILED), None)
        good = next((each.id for each in reversed(self.backups) if each.verified), None)
        return SourceCorruptError(
            f"The source {self.request.path} is corrupt: {found.detail if found else 'unreadable'}."
            f" Its bytes are kept in {suspect.id}, marked suspect.",
            hint=f"The newest good backup is {good}." if good else "There is no good backup in this repository.",
        )

    def _warn_of_clock(self) -> None:
        newest = self.newest.manifest if self.newest else None
        if newest is not None and newest.started > clock.to_text(self.started):
            self.warnings.append(f"the clock went backwards: the newest backup {newest.id} was made later than now")


def _store_sidecars(source: Source, staging: Path) -> list[StoredFile]:
    """What is beside a source that SQLite cannot read belongs to its bytes: commits may be in there."""
    stored = []
    for suffix in (database.WAL, database.JOURNAL):
        side = database.sidecar(source.path, suffix)
        if files.size_of(side):
            with translated(f"Cannot copy {side}"):
                stored.append(_store_bytes(staging, IMAGE_NAME + suffix, manifest.SIDECAR_ROLE, side.read_bytes()))
    return stored


def _store_bytes(staging: Path, name: str, role: str, content: bytes) -> StoredFile:
    """Store small content as an artifact of its own."""
    with codec.ArtifactWriter(staging / name) as writer:
        writer.write(content)
    return StoredFile(name, role, writer.stored_bytes, writer.stored_sha256)
