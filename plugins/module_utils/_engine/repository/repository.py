# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository: a directory with the backups of exactly one database. Its layout is in docs/format.md.

What a repository lists is what was published whole: a backup is staged in a directory that nobody reads and gets
its name by one rename.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..system import clock, files, locks, owners, places
from ..system.errors import BackupNotFoundError, EngineError, RefusedError, doing, explained, sentence
from . import audit, description, manifest, notes, pins, published
from .description import LOCK_NAME, Description, check_new_place
from .manifest import Manifest
from .pins import Pin
from .published import Backup

DEFAULT_LOCK_TIMEOUT_SECONDS = 60.0
_INDEX_NAME = ".index"
_LOCKS_NAME = ".locks"


class Repository:
    """A repository that exists. Open one with ``open_existing``, or make it with ``open_or_create``."""

    def __init__(self, path: Path, described: Description) -> None:
        self.path = path
        self.described = described
        self.renewed = ""
        """What was wrong with the file that describes it, when this run wrote it anew; empty else."""

    @property
    def id(self) -> str:
        """Random; empty in a repository of an earlier version until the next backup."""
        return self.described.id

    @property
    def name(self) -> str:
        return self.described.name

    @property
    def source(self) -> str:
        return self.described.source

    @property
    def created(self) -> str:
        return self.described.created

    @property
    def doubt(self) -> str:
        """What is wrong with the file that describes this repository, a sentence; empty when nothing is."""
        return self.described.doubt

    def warnings(self, backups: Sequence[Backup] = ()) -> list[str]:
        """What an operator should know: of the file that describes it, and of foreign ones among ``backups``."""
        return [*filter(None, (self.doubt, self.renewed)), *published.told_of_foreign(backups)]

    @classmethod
    def open_existing(cls, path: Path) -> Repository:
        """Raises ``BackupNotFoundError`` when ``path`` holds no repository.

        Where the file that describes it is damaged or missing, the manifests do, and ``doubt`` says so.
        """
        return cls(path, description.found(path))

    @classmethod
    def exists(cls, path: Path) -> bool:
        return description.exists(path)

    @classmethod
    def open_or_create(
        cls, path: Path, *, name: str, source: Path, timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    ) -> Repository:
        """The repository at ``path``; a missing or empty directory becomes one, mode 0700.

        The file that describes it is written anew where that is due.
        """
        if not cls.exists(path):
            check_new_place(path)
            with doing(step=f"cannot make the repository {path}"):
                files.make_private_directory(path)
                with locks.held(path / LOCK_NAME, timeout_seconds=timeout_seconds):
                    if not cls.exists(path):
                        description.write(path, description.new(name, source))
        repository = cls.open_existing(path)
        repository.check_database(name=name, source=source)
        repository.make_private()
        if not repository.described.is_due:
            return repository
        with repository.locked(timeout_seconds=timeout_seconds):
            # Another run may have done it meanwhile.
            repository = cls.open_existing(path)
            repository.check_database(name=name, source=source)
            repository.renew()
        return repository

    def renew(self) -> None:
        """Write anew what describes this repository, where that is due; needs the lock."""
        if self.described.is_due:
            if self.doubt:
                self.renewed = f"{self.path / description.NAME} was damaged or missing: it is written anew."
            self._describe(self.described.renewed())

    def _describe(self, described: Description) -> None:
        with doing(f"Cannot write to the repository {self.path}"):
            description.write(self.path, described)
        self.described = described

    def check_database(self, *, name: str, source: Path) -> None:
        """Raise ``RefusedError`` when this repository belongs to another database.

        A database that moved is welcome: its old path is gone. Two that exist at once would mix their backups.
        """
        if name != self.name:
            raise RefusedError(
                f"{self.path} holds the backups of {self.name!r}, not of {name!r}.",
                hint="Use a repository of its own for each database. If it only got another name, name it "
                f"{self.name!r} again.",
            )
        other = Path(self.source)
        if str(source) != self.source and other.exists() and not (source.exists() and other.samefile(source)):
            raise RefusedError(
                f"{self.path} holds the backups of {self.source}, which still exists.",
                hint=f"Use a repository of its own for each database. If it moved to {source}, move the old file away.",
            )

    def make_private(self) -> None:
        """Take the rights of all others away, should somebody have made the directory before."""
        mode = stat.S_IMODE(os.stat(self.path).st_mode)
        if os.name != "nt" and mode & 0o077:
            with doing(step=f"cannot make {self.path} private"):
                owners.make_private(self.path)

    def backups(self) -> list[Backup]:
        """Every published backup, oldest first: by sequence, since a clock may go backwards."""
        with doing(f"Cannot list the repository {self.path}"):
            return published.in_order([self._told_apart(each) for each in published.listed(self.path)])

    def load(self, identity: str) -> Backup | None:
        """The published backup with this id; None when there is none."""
        found = published.load(self.path / identity) if published.ID.fullmatch(identity) else None
        return None if found is None else self._told_apart(found)

    def _told_apart(self, backup: Backup) -> Backup:
        if backup.manifest is None or not self.described.is_foreign(backup.manifest):
            return backup
        return dataclasses.replace(backup, foreign=True)

    def find(self, wanted: str, *, among: Sequence[Backup] | None = None) -> Backup:
        """The backup with the id ``wanted``, or for ``latest`` the newest one that is neither suspect nor foreign."""
        backups = self.backups() if among is None else among
        newest = published.newest(backups)
        if wanted == "latest" and newest is not None:
            return newest
        for each in backups:
            if each.id == wanted:
                return each
        if wanted == "latest":
            hint = " ".join(map(sentence, published.told_of_foreign(backups))) or "Make a backup first."
            raise BackupNotFoundError(f"{self.path} holds no backup of its own yet.", hint=hint)
        told = f"The newest is {newest.id}." if newest else "There is none yet."
        raise BackupNotFoundError(f"there is no backup {wanted!r} in {self.path}.", hint=told)

    def new_id(self, moment: datetime, kind: str) -> str:
        """An id that nothing here has, of any type: ``moment``, or the next second that is free."""
        with doing(f"Cannot list the repository {self.path}"):
            taken = {name.split("-")[0] for name in os.listdir(self.path) if published.ID.fullmatch(name)}
        while clock.to_stamp(moment) in taken:
            moment += timedelta(seconds=1)
        return f"{clock.to_stamp(moment)}-{kind}"

    @contextlib.contextmanager
    def locked(self, *, timeout_seconds: float, dry_run: bool = False) -> Iterator[None]:
        """Hold the repository: for whoever publishes or removes. In check mode it is only kept from changing."""
        with locks.held(self.path / LOCK_NAME, timeout_seconds=timeout_seconds, shared=dry_run):
            yield

    def remove_leftovers(self) -> list[str]:
        """Remove what killed runs left behind; needs the lock, so no run that lives is met. What stays is a warning."""
        beginning = description.STAGING_PREFIX
        left = [Path(each.path) for each in os.scandir(self.path) if each.name.startswith(beginning)]
        warnings = [each for path in left for each in files.tidied(path)]
        for name in self._locks():
            if not os.path.lexists(self.path / name):
                self._remove_traces(name)
        return warnings

    def remove(self, backup: Backup) -> None:
        """Remove ``backup``: its name first, durably, so that it is never listed in part. Needs the lock.

        Raises ``RepositoryLockedError`` when somebody reads it.
        """
        doomed = self.path / f"{description.STAGING_PREFIX}removed-{backup.id}"
        alone = locks.held(self._lock_file(backup.id), timeout_seconds=0)
        with alone, doing(step=f"cannot remove {backup.path}"):
            files.move_file(backup.path, doomed)
        # From here on a reader that comes too late finds no such backup, whatever becomes of its lock.
        files.remove_tree(doomed)
        self._remove_traces(backup.id)

    def _remove_traces(self, identity: str) -> None:
        """Remove what is kept for a backup outside its directory; what resists is left to the next run."""
        for directory in (_INDEX_NAME, _LOCKS_NAME):
            with contextlib.suppress(OSError, EngineError):
                files.remove_file(self.path / directory / identity)

    def in_use(self) -> set[str]:
        """The ids of the backups that somebody reads right now."""
        with doing(f"Cannot see which backups of {self.path} are in use"):
            return {name for name in self._locks() if locks.is_held(self.path / _LOCKS_NAME / name)}

    def _locks(self) -> list[str]:
        """The ids of which there is a lock, held or not."""
        directory = self.path / _LOCKS_NAME
        with doing(f"Cannot list {directory}"):
            names = os.listdir(directory) if places.is_directory(directory) else []
            return [each for each in names if published.ID.fullmatch(each)]

    @contextlib.contextmanager
    def reading(self, backup: Backup, *, timeout_seconds: float, dry_run: bool = False) -> Iterator[None]:
        """Keep ``backup`` from being removed while it is read.

        A repository on a read-only medium needs no lock, and check mode makes no file for one. Raises
        ``BackupNotFoundError`` when the backup was removed since it was listed.
        """
        with contextlib.ExitStack() as stack:
            if self.writable and not dry_run:
                lock = self._lock_file(backup.id)
                stack.enter_context(locks.held(lock, timeout_seconds=timeout_seconds, shared=True))
            # Only now: a prune may have been faster than the lock.
            if not os.path.isdir(backup.path):
                raise BackupNotFoundError(
                    f"the backup {backup.id} was removed meanwhile.",
                    hint="Choose another one, or set pinned for a backup that must stay.",
                )
            yield

    @contextlib.contextmanager
    def alone(self, work: str, *, timeout_seconds: float) -> Iterator[None]:
        """Hold what only one run at a time may do here, beside backups: ``work`` is the name of its lock."""
        with locks.held(self._lock_file(work), timeout_seconds=timeout_seconds):
            yield

    @property
    def writable(self) -> bool:
        return os.access(self.path, os.W_OK)

    def _lock_file(self, name: str) -> Path:
        directory = self.path / _LOCKS_NAME
        with doing(f"Cannot write to the repository {self.path}"):
            files.own_directory(directory)
        return directory / name

    @contextlib.contextmanager
    def staging(self, name: str, warnings: list[str]) -> Iterator[Path]:
        """A private directory for work in progress, for the block; needs the lock. That it stays is a warning."""
        directory = self.path / f"{description.STAGING_PREFIX}{name}"
        try:
            files.create_directory(directory)
            try:
                yield directory
            finally:
                warnings.extend(files.tidied(directory))
        except OSError:
            # Any other failure is that of the block.
            with doing(f"Cannot write to the repository {self.path}"):
                raise

    def index_path(self, identity: str) -> Path:
        """Where the page index of a backup is. Only that of the newest backup is of use."""
        return self.path / _INDEX_NAME / identity

    def identity_path(self) -> Path:
        """Where it is kept which database encrypted backups are of."""
        return self.path / _INDEX_NAME / "identity.json"

    def logs_path(self) -> Path:
        """Where it is kept up to where logs were stored."""
        return self.path / _INDEX_NAME / "logs.json"

    def publish(
        self,
        staging: Path,
        document: Manifest,
        *,
        index: Path | None = None,
        sealed: bytes | None = None,
        committing: Callable[[], None] = lambda: None,
    ) -> Backup:
        """Make the staged backup visible: manifest last, everything flushed, then ``committing``, then one rename.

        Its page ``index``, if there is one at that path, gets its place first. Without it the next backup is a full
        one, no worse. ``sealed`` are the bytes of a manifest that was written elsewhere.
        """
        with doing(f"Cannot publish the backup {document.id} in {self.path}"):
            if index is not None and index.exists():
                place = self.index_path(document.id)
                files.own_directory(place.parent)
                files.move_file(index, place)
            files.write_private(staging / manifest.MANIFEST_NAME, sealed or manifest.to_bytes(document))
            files.publish_directory(staging, self.path / document.id, committing=committing)
        return Backup(document.id, self.path / document.id, document)

    def settle(self, newest: Backup, source: Path) -> None:
        """After ``newest`` was published: remember that the database lives at ``source`` now, drop older indexes."""
        if str(source) != self.source and not self.doubt:
            self._describe(dataclasses.replace(self.described, source=str(source)))
        directory = self.path / _INDEX_NAME
        with doing(f"Cannot write to the repository {self.path}"):
            for name in os.listdir(directory) if places.is_directory(directory) else []:
                if name != newest.id and published.ID.fullmatch(name):
                    files.remove_file(directory / name)

    def confirm(
        self, backup: Backup, moment: datetime, *, timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    ) -> Backup:
        """Note that the source still equals ``backup`` at ``moment``."""
        confirmed = clock.to_text(moment)
        return self._note(backup, lambda noted: dataclasses.replace(noted, confirmed=confirmed), timeout_seconds)

    def accept(self, backup: Backup, moment: datetime) -> Backup:
        """Note that the database of ``backup``, which is held apart, is meant."""
        accepted = clock.to_text(moment)
        return self._note(backup, lambda noted: dataclasses.replace(noted, accepted=accepted))

    def note_verification(self, backup: Backup, *, level: str, outcome: str) -> Backup:
        """Note a verification beside the sealed manifest; a read-only medium takes no notes."""
        if not self.writable:
            return backup
        entry = {"time": clock.to_text(clock.now()), "level": level, "outcome": outcome}

        def add(noted: Backup) -> Backup:
            return dataclasses.replace(noted, verifications=[*noted.verifications, entry])

        return self._note(backup, add)

    def note_pin(self, backup: Backup, pin: Pin) -> Backup:
        """Write down beside the sealed manifest what holds for ``backup`` from now on; needs the lock."""
        with doing(step=f"cannot write {backup.path / pins.NAME}"):
            pins.write(backup.path, pin)
        return dataclasses.replace(backup, pin=pin)

    def _note(
        self,
        backup: Backup,
        change: Callable[[Backup], Backup],
        timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
    ) -> Backup:
        """Change what is noted beside the manifest; the lock keeps two runs from losing each other's notes."""
        lock = self._lock_file("checks")
        with doing(f"Cannot note the check of {backup.id}"), locks.held(lock, timeout_seconds=timeout_seconds):
            confirmed, verifications, accepted = notes.read_checks(backup.path, to_change=True)
            known = dataclasses.replace(backup, confirmed=confirmed, verifications=verifications, accepted=accepted)
            noted = change(known)
            try:
                notes.write_checks(
                    backup.path,
                    confirmed=noted.confirmed,
                    verifications=noted.verifications,
                    accepted=noted.accepted,
                )
            except FileNotFoundError:
                # Removed since it was read: there is nothing left to note this beside.
                if os.path.isdir(backup.path):
                    raise
        return noted

    def record(self, event: str, **facts: Any) -> list[str]:
        """Add one line to the audit log; a read-only medium keeps the log that it has. Warnings, if there are any."""
        return audit.append(self.path, event, facts) if self.writable else []

    def record_done(self, event: str, **facts: Any) -> list[str]:
        """As ``record``, of what is done: to fail now would deny that, so what went wrong is a warning."""
        try:
            return self.record(event, **facts)
        except EngineError as failure:
            return [failure.message]

    def record_failed(self, event: str, failure: BaseException, **facts: Any) -> None:
        """As ``record``, of what ``failure`` ended: what the audit log does not take must not hide that."""
        error = explained(failure)
        with contextlib.suppress(EngineError), doing():
            self.record(event, **facts, outcome="failed", code=error.code, message=error.message)

    def history(self) -> list[dict[str, Any]]:
        """The newer events of the audit log, oldest first; a line that a crash cut short is left out."""
        return audit.events(self.path)
