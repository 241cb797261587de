# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore a database: stage beside it, prove, then switch; and undo that."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..repository import chain, choice, examination, image
from ..repository.manifest import Manifest
from ..repository.published import Backup
from ..repository.repository import Repository
from ..sqlite import database, proof, switch
from ..sqlite.library import sqlite3
from ..sqlite.proof import Check, Proof
from ..sqlite.snapshot import Progress
from ..system import clock, confined, files, interrupts, owners, places
from ..system.clock import Phases
from ..system.errors import (
    EngineError,
    ProofFailedError,
    RefusedError,
    StorageFailedError,
    UsageError,
    doing,
)
from . import content, destination, extras, find_good, verify
from .content import Expectations
from .restore_request import Outcome, Request, requested

__all__ = ["Outcome", "Request", "requested", "run", "undo"]

_LOOK_SECONDS = 60.0
_ALL_THE_SAME = ", or restore this one without expect_tables and assertions (--ignore-expectations)"


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Make ``dest`` hold exactly the chosen backup. Until that is proven, the live database is not touched."""
    with doing("Cannot restore"):
        if request.repository is None:
            raise UsageError("no repository is given.", hint="Set repository.")
        repository = Repository.open_existing(request.repository)
    chosen = _chosen(repository, request, dry_run=dry_run, progress=progress)
    backup, document = chosen.backup, chosen.backup.trusted()
    with doing(f"Cannot restore {backup.id}"):
        named = request.dest or destination.told_by(request.repository, document.database.source)
        dest = destination.checked(named)
    with doing(f"Cannot restore {backup.id} to {dest}"):
        request = dataclasses.replace(request, dest=named)
        return _run(request, repository, chosen, dest, dry_run=dry_run, progress=progress)


def _chosen(repository: Repository, request: Request, *, dry_run: bool, progress: Progress | None) -> choice.Chosen:
    identity = request.backup
    newer: list[str] = []
    # With both, the choice says that one of them is too much.
    if not request.before:
        identity, newer = find_good.resolved(
            repository,
            request.backup,
            request.expectations,
            keys=request.keys,
            dry_run=dry_run,
            lock_timeout_seconds=request.lock_timeout_seconds,
            progress=progress,
        )
    wanted = choice.Wanted(identity, request.before, request.force, request.force_identity)
    chosen = choice.choose(repository, wanted)
    return dataclasses.replace(chosen, warnings=[*newer, *chosen.warnings])


def _run(
    request: Request,
    repository: Repository,
    chosen: choice.Chosen,
    dest: Path,
    *,
    dry_run: bool,
    progress: Progress | None,
) -> Outcome:
    backup, document = chosen.backup, chosen.backup.trusted()
    phases = Phases()
    timeout_seconds = request.lock_timeout_seconds
    with repository.reading(backup, timeout_seconds=timeout_seconds, dry_run=dry_run):
        with phases.phase("check_artifacts"), chosen.naming_another():
            links = chain.links(repository, backup)
            chain.check_artifacts(links)
        expected = examination.proof_of(backup, request.keys)
        with phases.phase("compare"):
            found = extras.plan(request, backup)
            same = destination.holds(dest, document)
        outcome = Outcome(not same, dest, backup.id, sha256=document.image.sha256, durations=phases.seconds)
        outcome.warnings.extend(chosen.warnings)
        outcome.not_after = clock.with_offset(request.before) if request.before else ""
        outcome.before, outcome.after = destination.facts(dest), {"exists": True, "bytes": document.image.bytes}
        if same:
            outcome.checks.extend(_check_present(dest, request.expected))
            if not dry_run:
                switch.settle(dest, timeout_seconds=timeout_seconds)
            outcome.changed = _adjust_attributes(dest, request, dry_run=dry_run)
        else:
            _check_switch_is_safe(request, links, expected, dest)
            if not dry_run:
                _replace(repository, _Staging(request, links, expected, dest), outcome, phases, progress)
        _put_back(found, request, backup, outcome, dry_run=dry_run)
    return outcome


def _put_back(
    found: Sequence[extras.Extra], request: Request, backup: Backup, outcome: Outcome, *, dry_run: bool
) -> None:
    """The included files, behind the database, without which they are of no use."""
    outcome.replaced = outcome.changed
    done = found if dry_run else extras.put_back(found, request, backup)
    outcome.files.extend(each.to_json() for each in done)
    outcome.warnings.extend(warning for each in done for warning in each.warnings)
    outcome.changed = outcome.changed or any(each.missing for each in done)


def _replace(
    repository: Repository, staging: _Staging, outcome: Outcome, phases: Phases, progress: Progress | None
) -> None:
    """Stage, prove, switch."""
    request, dest = staging.request, staging.dest
    workplace = switch.workplace(dest, timeout_seconds=request.lock_timeout_seconds, warnings=outcome.warnings)
    # From the switch on a signal comes too late: it must not make a restore that is complete look interrupted.
    with interrupts.Shield() as shield, workplace as directory:
        with phases.phase("stage"):
            written = image.write_image(staging.links, directory / "restored", request.keys, progress=progress)
        with phases.phase("check"):
            outcome.checks.extend(staging.prove(written))
            outcome.warnings.extend(staging.prepare(written.path))
        shield.begin()
        with phases.phase("switch"):
            undo_set = switch.install(
                dest,
                written.path,
                directory,
                check=lambda: _compare_installed(dest, staging.document),
                force=request.force,
            )
        outcome.undo_set = str(undo_set or "")
        if not request.rehearsal:
            facts = {"dest": str(dest), "undo_set": outcome.undo_set, "backup": outcome.backup}
            _record(repository, outcome, "restore", **facts)
    outcome.warnings.extend(_too_late(shield))


def _too_late(shield: interrupts.Shield) -> list[str]:
    return ["a signal to stop came when everything was done already"] if shield.caught else []


def undo(request: Request, *, dry_run: bool = False) -> Outcome:
    """Bring back what the last restore of ``dest`` replaced; what is there now becomes the new undo set."""
    with doing("Cannot undo a restore"):
        dest = _undo_dest(request)
    with doing(f"Cannot undo the restore of {dest}"):
        return _undo(request, dest, dry_run=dry_run)


def _undo(request: Request, dest: Path, *, dry_run: bool) -> Outcome:
    phases = Phases()
    outcome = Outcome(True, dest, durations=phases.seconds)
    with interrupts.Shield() as shield, contextlib.ExitStack() as stack:
        if not dry_run:
            workplace = switch.workplace(dest, timeout_seconds=request.lock_timeout_seconds, warnings=outcome.warnings)
            directory = stack.enter_context(workplace)
        undo_set = switch.newest_undo_set(dest)
        if not (undo_set / dest.name).exists():
            raise RefusedError(
                f"{undo_set} holds only {sorted(places.names(undo_set))}.",
                hint="There was no database before that restore; remove it by hand if that is meant.",
            )
        if not request.force:
            destination.check_not_in_use(dest)
        outcome.before, outcome.after = destination.facts(dest), destination.facts(undo_set / dest.name)
        folding_bytes = destination.folding_bytes(undo_set / dest.name)
        destination.require_space(dest, int(outcome.after["bytes"]) + folding_bytes)
        if dry_run:
            return outcome
        with phases.phase("copy"), doing(step=f"cannot copy {undo_set}"):
            copy, right = switch.copy_of_undo_set(undo_set, dest, directory)
        outcome.warnings.extend(_not_given(*_owner_and_group(undo_set / dest.name), right, request))
        shield.begin()
        with phases.phase("switch"):
            saved = switch.install(dest, copy, directory, check=lambda: None, force=request.force)
        outcome.undo_set = str(saved or "")
        outcome.warnings.extend(files.tidied(undo_set))
        _record_undo(request, outcome)
    outcome.warnings.extend(_too_late(shield))
    return outcome


def _record_undo(request: Request, outcome: Outcome) -> None:
    if request.repository is not None and Repository.exists(request.repository):
        try:
            with doing(f"Cannot undo the restore of {outcome.dest}"):
                repository = Repository.open_existing(request.repository)
        except EngineError as error:
            outcome.warnings.append(error.message)
            return
        outcome.warnings.extend(repository.warnings())
        _record(repository, outcome, "undo", dest=str(outcome.dest), undo_set=outcome.undo_set)


def _record(repository: Repository, outcome: Outcome, event: str, **facts: str) -> None:
    outcome.warnings.extend(repository.record_done(event, outcome="passed", **facts))


def _undo_dest(request: Request) -> Path:
    if request.dest is not None:
        return destination.checked(request.dest)
    if request.repository is None:
        raise UsageError("neither dest nor repository is given.", hint="Set dest.")
    repository = Repository.open_existing(request.repository)
    told = destination.told_by(request.repository, repository.source)
    return destination.checked(told)


def _check_switch_is_safe(request: Request, links: Sequence[Backup], expected: Proof | None, dest: Path) -> None:
    if request.repository is not None and dest.is_relative_to(places.resolved(request.repository)):
        raise RefusedError("that is inside the repository.", hint="Restore to another directory.")
    if dest.exists() and not request.force_identity:
        destination.check_identity(dest, links[-1].trusted(), expected)
    if not request.force:
        destination.check_not_in_use(dest)
    destination.require_space(dest, image.needed_bytes(links))


@dataclass(frozen=True)
class _Staging:
    """The image beside ``dest``, which is proven there and gets the attributes that it will need."""

    request: Request
    links: Sequence[Backup]
    expected: Proof | None
    dest: Path

    @property
    def document(self) -> Manifest:
        return self.links[-1].trusted()

    def prove(self, written: image.Written) -> Sequence[Check]:
        """Raises unless the image is the right one, and as it is expected to be."""
        with self._opened(written.path) as check:
            found = image.prove(self.links[-1], written, check)
        failed = sorted((each for each in found if each.outcome == proof.FAILED), key=_is_expectation)
        if failed:
            also = _ALL_THE_SAME if _is_expectation(failed[0]) else ""
            raise ProofFailedError(
                f"the restored image fails {failed[0].name}: {failed[0].detail}.",
                hint=f"The live database was not touched. Choose another backup{also}.",
            )
        return [proof.whole("image", proof.PASSED, f"SHA-256 {self.document.image.sha256}"), *found]

    def prepare(self, staged: Path) -> Sequence[str]:
        """Give the image the attributes that it will need; afterwards only the switch is left. Says what it lacks."""
        warnings: Sequence[str] = ()
        with doing(step="cannot set owner and mode"):
            if self.dest.exists():
                right = owners.copy_attributes(self.dest, staged, with_group=not self.request.group)
                warnings = _not_given(*_owner_and_group(self.dest), right, self.request)
            else:
                warnings = self._apply_origin(staged)
            _apply_wanted(staged, self.request)
            files.sync_file(staged)
        return warnings

    def _apply_origin(self, staged: Path) -> Sequence[str]:
        """Owner, group and mode as they were when the backup was made; says what this user or host cannot give."""
        origin, request = self.document.database, self.request
        right = destination.give_back(
            staged,
            origin,
            repository=request.repository,
            directory=self.dest.parent,
            with_owner=not request.owner,
            with_group=not request.group,
        )
        return _not_given(origin.owner, origin.group, right, request)

    def _opened(self, staged: Path) -> contextlib.AbstractContextManager[Callable[[], Sequence[Check]]]:
        """What makes the checks of the image."""
        expected, document = self.request.expected, self.document
        known = document.suspect or not document.image.bytes or (expected.level == "quick" and _has_passed(document))
        if known and not expected.about_content:
            return contextlib.nullcontext(list)
        return content.opened(staged, expected, self.expected, structure=not known)


def _is_expectation(check: Check) -> bool:
    return check.kind == proof.EXPECTATION


def _owner_and_group(path: Path) -> tuple[str, str]:
    return owners.ownership(os.stat(path, follow_symlinks=False))[:2]


def _not_given(owner: str, group: str, right: tuple[bool, bool], request: Request) -> list[str]:
    """What became of a file that does not have the owner or the group that it should have."""
    if (right[0] or request.owner) and (right[1] or request.group):
        return []
    warning = f"the file could not be given to {owner}:{group}, to whom it belonged"
    return [warning if right[1] or request.mode else f"{warning}, so nobody but its owner may use it"]


def _has_passed(document: Manifest) -> bool:
    """Whether the very bytes of this image passed the quick check, or a deeper one, when they were backed up."""
    return any(
        each.name in ("quick_check", "integrity_check") and each.outcome == proof.PASSED for each in document.checks
    )


def _check_present(dest: Path, expected: Expectations) -> Sequence[Check]:
    """Raise when what is there already is not what is expected of it."""
    if not expected.about_content:
        return []
    found = verify.verify_database(dest, expected)
    if found.error is not None:
        raise found.error
    return found.checks


def _compare_installed(dest: Path, document: Manifest) -> None:
    """Open the live database again: it must have the size of the image and SQLite must be able to read it."""
    try:
        with places.reading(dest) as file:
            status = os.fstat(file.fileno())
        if status.st_size != document.image.bytes:
            raise ProofFailedError("the file in place has another size.", hint="The old content was put back.")
        if document.image.bytes and not document.suspect:
            with contextlib.ExitStack() as stack:
                # By its name: whoever owns the directory may put a fifo there.
                stack.enter_context(confined.bounded(_LOOK_SECONDS))
                stack.enter_context(owners.acting_as_owner(dest))
                connection = stack.enter_context(contextlib.closing(database.connect(dest, immutable=True)))
                database.check_opened(status)
                _read_twice(connection)
    except OSError:
        with doing(step="cannot read the file in place"):
            raise
    except sqlite3.Error as error:
        failure = database.from_sqlite_error(error, dest)
        cause = f"the file in place: {failure.cause}"
        if isinstance(failure, StorageFailedError):
            raise StorageFailedError(cause, hint=failure.hint) from error
        raise ProofFailedError(cause, hint="The old content was put back.") from error


def _read_twice(connection: sqlite3.Connection) -> None:
    """Read the header; what a disk did not give can look like damage, which is believed when it is found again."""
    try:
        connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.DatabaseError:
        connection.execute("PRAGMA user_version").fetchone()


def _apply_wanted(staged: Path, request: Request) -> None:
    owners.change_owner(staged, owners.numeric_owner(request.owner), owners.numeric_group(request.group))
    if request.mode:
        owners.change_mode(staged, int(request.mode, 8))


def _adjust_attributes(dest: Path, request: Request, *, dry_run: bool) -> bool:
    """Give a database that is right already the owner and mode that are asked for; whether they were others."""
    before = os.stat(dest)
    uid, gid = owners.numeric_owner(request.owner), owners.numeric_group(request.group)
    wrong_owner = uid not in (-1, before.st_uid) or gid not in (-1, before.st_gid)
    wrong_mode = bool(request.mode) and int(request.mode, 8) != before.st_mode & 0o7777
    if (wrong_owner or wrong_mode) and not dry_run:
        with doing(f"Cannot set owner and mode of {dest}"):
            _apply_wanted(dest, request)
    return wrong_owner or wrong_mode
