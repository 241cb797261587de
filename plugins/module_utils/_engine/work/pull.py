# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pull: bring backups from a target into a repository, a new one included. What comes is hostile until proven."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import description, manifest, published
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..sqlite.snapshot import Progress
from ..system import files, locks, options, owners, places
from ..system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    ProofFailedError,
    RefusedError,
    TargetUnreachableError,
    doing,
)
from ..system.options import Options
from ..targets import address, target
from ..targets.address import Address
from ..watch import offsite
from . import copies
from .copies import Copies, Room


@dataclass(frozen=True)
class Request:
    """What to fetch from where; the options of the module ``sqlite_offsite_pull``.

    ``backup`` is ``latest``, ``all`` or an id, whose chain comes with it. ``name`` is that of the database, empty for
    any. ``called`` is what the audit log calls the target.
    """

    repository: Path
    target: Address
    backup: str = "latest"
    name: str = ""
    called: str = ""
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS


def requested(given: Options) -> Request:
    with doing("Cannot use the target"):
        there = address.requested(given["target"])
    return Request(
        repository=Path(given["repository"]),
        target=there,
        backup=given["backup"],
        name=options.text(given, "name"),
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
    )


@dataclass
class Outcome(copies.Transfer):
    """What came from the target; ``chosen`` is the backup that was asked for.

    ``missed`` says of each one that was wanted and stays there, by its id, what is wrong with it.
    """

    chosen: str = ""
    missed: dict[str, str] = field(default_factory=dict)


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Publish here what the target has, and this repository has not; each backup only when every byte is proven."""
    outcome = Outcome(request.target.url)
    with doing(f"Cannot pull from {request.target.url} into {request.repository}"):
        if not Repository.exists(request.repository):
            description.check_new_place(request.repository)
        try:
            _Job(request, outcome, progress).run(dry_run=dry_run)
        except (EngineError, KeyboardInterrupt) as failure:
            if not dry_run and Repository.exists(request.repository):
                # One that cannot be opened must not hide the failure itself.
                with contextlib.suppress(EngineError), doing():
                    repository = Repository.open_existing(request.repository)
                    repository.record_failed(offsite.PULL, failure, **outcome.facts(request.called, outcome.chosen))
            raise
        if not dry_run:
            repository = Repository.open_existing(request.repository)
            facts = outcome.facts(request.called, outcome.chosen)
            outcome.warnings.extend(repository.record_done(offsite.PULL, **facts, outcome="passed"))
    return outcome


class _Job:
    """One run. ``here`` are the ids of the backups that the repository has already."""

    def __init__(self, request: Request, outcome: Outcome, progress: Progress | None) -> None:
        self.request = request
        self.outcome = outcome
        self.progress = progress
        self.target = target.at(request.target)
        self.known = Repository.open_existing(request.repository) if Repository.exists(request.repository) else None
        self.here = {each.id: each for each in self.known.backups()} if self.known else {}
        self.outcome.before = sorted(self.here)
        self.told: description.Description

    def run(self, *, dry_run: bool) -> None:
        there = copies.listed(self.target)
        if not there.whole:
            raise BackupNotFoundError("there is no backup.", hint="See whether the URL is right, or push first.")
        with contextlib.ExitStack() as stack:
            if dry_run:
                room = stack.enter_context(copies.elsewhere())
            else:
                files.make_private_directory(self.request.repository)
                room = stack.enter_context(copies.workroom(self.request.repository))
            found = self._own(self._found(there, room))
            due = [each for each in self._chosen(found) if each.id not in self.here]
            self._note_newest(found)
            if dry_run:
                self.outcome.transferred.extend(map(_told, due))
            elif due:
                self._fetch(due, room)

    def _found(self, there: Copies, room: Room) -> list[Backup]:
        """What is whole at the target, oldest first; the manifests of what is here, too, are not fetched again."""
        unknown = [each for each in there.whole if each not in self.here]
        fetched = copies.manifests(self.target, there, unknown, room.path / "manifests")
        both = [each for each in self.here.values() if each.id in there.whole and not each.foreign]
        return published.by_sequence([*fetched, *both])

    def _own(self, found: Sequence[Backup]) -> list[Backup]:
        """Those of one and the same repository, which is this one when it exists; of the wanted database."""
        # Where those of several databases lie together, the name says which ones are meant.
        named = [each for each in found if each.manifest and each.manifest.database.name == self.request.name]
        told = description.told_by(named or found, Path(self.request.target.url), wrong="not needed")
        if told is None:
            raise BackupDamagedError("no manifest there can be trusted.", hint="Look at what is there.")
        self.told = told
        identity = self.known.id if self.known is not None and self.known.id else told.id
        if told.undecided and self.known is None:
            raise RefusedError(
                "there are backups of several repositories.", hint="Move the backups of all others away there."
            )
        own = [each for each in found if each.manifest is None or each.manifest.repository in ("", identity)]
        wrong = [each for each in own if each.manifest and self._is_of_other(each)]
        if wrong or not any(each.manifest for each in own):
            raise RefusedError(
                f"it holds the backups of another database, {told.name!r}.",
                hint="Name the URL, or the repository, that is meant.",
            )
        return own

    def _is_of_other(self, backup: Backup) -> bool:
        wanted = self.request.name or (self.known.name if self.known else "")
        return bool(wanted) and backup.trusted().database.name != wanted

    def _chosen(self, found: Sequence[Backup]) -> list[Backup]:
        """What is asked for, with all that it builds on, the base first."""
        by_id = {each.id: each for each in found}
        if self.request.backup == "all":
            # One that is damaged there must not keep the others from coming.
            wanted = [each for each in found if _is_whole(each)]
            self._note_missed(found)
            if not wanted:
                raise _none_whole()
        else:
            wanted = [self._one(found)]
        self.outcome.chosen = wanted[-1].id if wanted else ""
        chosen: dict[str, Backup] = {}
        for each in wanted:
            chosen.update({link.id: link for link in self._chain(each, by_id)})
        return list(chosen.values())

    def _one(self, found: Sequence[Backup]) -> Backup:
        if self.request.backup == "latest":
            newest = published.newest([each for each in found if _is_whole(each)])
            if newest is None:
                raise _none_whole()
            self.outcome.warnings.extend(published.passed_over(found, newest))
            self._note_missed(found[found.index(newest) + 1 :])
            return newest
        for each in found:
            if each.id == self.request.backup:
                return each
        raise BackupNotFoundError(f"there is no backup {self.request.backup!r}.", hint=f"The newest is {found[-1].id}.")

    def _note_missed(self, found: Sequence[Backup]) -> None:
        for each in (each for each in found if not _is_whole(each)):
            wrong = str(each.lack or each.damage)
            if each.id in self.here:
                again = "move it away, and pull again"
                self.outcome.warnings.append(f"{each.id} is here already, and damaged; {again}: {wrong}")
            else:
                self.outcome.missed[each.id] = wrong
                self.outcome.warnings.append(f"{each.id} stays there: {wrong}")

    def _chain(self, backup: Backup, there: Mapping[str, Backup]) -> list[Backup]:
        found = [backup]
        while (parent := _sound(found[-1]).parent) is not None:
            previous = self.here.get(parent) or there.get(parent)
            if previous is None:
                raise BackupDamagedError(f"{backup.id} builds on {parent}, which is missing.", hint="Use another one.")
            wrong = published.wrong_parent(dataclasses.replace(previous, foreign=False), found[-1])
            if wrong or _sound(previous).sequence >= _sound(found[-1]).sequence:
                raise BackupDamagedError(f"{backup.id} builds on {parent}, which {wrong or 'is damaged'}.")
            found.append(previous)
        return found[::-1]

    def _note_newest(self, found: Sequence[Backup]) -> None:
        newest = published.newest([each for each in found if _is_whole(each)])
        if newest is not None:
            self.outcome.newest = newest.id
            self.outcome.behind_seconds = offsite.age_seconds(self.here.get(newest.id, newest))

    def _fetch(self, due: Sequence[Backup], room: Room) -> None:
        total_bytes = sum(each.trusted().stored_bytes for each in due)
        files.require_space(room.path, total_bytes)
        if not room.is_inside:
            files.require_space(self.request.repository, total_bytes)
        if self.known is None:
            self._begin()
        done_bytes = 0
        for each in due:
            place = room.path / "files"
            files.create_directory(place)
            with self._room_for(room, total_bytes - done_bytes):
                self.target.get(copies.names_of(each), place, copies.bounded(place, each.trusted().stored_bytes))
            self._publish(each, place / each.id, room)
            files.remove_tree(place)
            self.outcome.transferred.append(_told(each))
            done_bytes += each.trusted().stored_bytes
            if self.progress is not None:
                self.progress(done_bytes, total_bytes)

    @contextlib.contextmanager
    def _room_for(self, room: Room, needed_bytes: int) -> Iterator[None]:
        """Tell a disk that became full here from a target that fails."""
        try:
            yield
        except TargetUnreachableError:
            files.require_space(room.path, needed_bytes)
            raise

    def _begin(self) -> None:
        """Make this directory the repository that the manifests tell of."""
        path = self.request.repository
        with locks.held(path / description.LOCK_NAME, timeout_seconds=self.request.lock_timeout_seconds):
            if not Repository.exists(path):
                description.write(path, self.told.renewed())

    def _publish(self, backup: Backup, fetched: Path, room: Room) -> None:
        """Give ``backup`` its place when all that was ``fetched`` is as its manifest says."""
        document = backup.trusted()
        repository = Repository.open_existing(self.request.repository)
        with repository.locked(timeout_seconds=self.request.lock_timeout_seconds):
            self.outcome.warnings.extend(repository.remove_leftovers())
            if repository.load(backup.id) is not None:
                raise ProofFailedError(f"a backup {backup.id} was made here meanwhile.", hint="Run again.")
            if document.parent is not None and repository.load(document.parent) is None:
                raise ProofFailedError(f"{document.parent} was removed here meanwhile.", hint="Run again.")
            with repository.staging(backup.id, self.outcome.warnings) as staging:
                for each in document.files:
                    dest = staging / each.path
                    files.make_private_directory(dest.parent)
                    with doing(step=f"cannot take {each.path} of {backup.id}"):
                        _take(fetched / each.path, dest, inside=room.is_inside)
                manifest.check_files(document, staging)
                # Byte by byte: a later version may have written more than this one knows.
                sealed = places.read_bytes(backup.path / manifest.MANIFEST_NAME)
                repository.publish(staging, document, sealed=sealed)


def _is_whole(backup: Backup) -> bool:
    """As far as names, sizes and its manifest tell."""
    return backup.manifest is not None and not backup.lack


def _none_whole() -> BackupDamagedError:
    return BackupDamagedError("no backup there is whole.", hint="Look at what is there.")


def _sound(backup: Backup) -> manifest.Manifest:
    """The manifest of a backup that is all there; raises what is wrong with it."""
    document = backup.trusted()
    if backup.lack:
        raise BackupDamagedError(f"{backup.id} is not whole: {backup.lack}.", hint="Use another backup.")
    return document


def _take(fetched: Path, dest: Path, *, inside: bool) -> None:
    """Put a file that came into the repository: under another name, or as a copy of the owner's."""
    if not inside:
        files.copy_private(fetched, dest)
        return
    owners.change_mode(fetched, files.PRIVATE_FILE_MODE)
    files.move_file(fetched, dest)


def _told(backup: Backup) -> dict[str, Any]:
    document = backup.trusted()
    size_bytes = document.stored_bytes + files.size_of(backup.path / manifest.MANIFEST_NAME)
    return {"id": backup.id, "files": len(document.files) + 1, "bytes": size_bytes}
