# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a database out of an export: made beside its place, proven to have the same content, then switched."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository.repository import Repository
from ..sealed import encryption, recognized
from ..sealed.encryption import Keys
from ..sqlite import contents, database, ours, pin, portable, proof, rebuilt, switch
from ..sqlite.contents import Contents
from ..sqlite.database import Connection, Header
from ..sqlite.library import sqlite3
from ..sqlite.proof import Check
from ..system import clock, confined, files, interrupts, options, owners, scratch
from ..system.clock import Deadline
from ..system.errors import (
    EngineError,
    ProofFailedError,
    RefusedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
    StorageFailedError,
    UsageError,
    doing,
)
from ..system.options import Options
from . import destination


@dataclass(frozen=True)
class Request:
    """Which export, in the file ``source``, and where the database is to be. ``force`` lets it replace another one.

    In the audit log of ``repository``, if there is one, the import gets a line.
    """

    source: Path
    dest: Path
    repository: Path | None
    keys: Keys
    force: bool
    timeout_seconds: float | None
    lock_timeout_seconds: float


def requested(given: Options, *, dest: Path) -> Request:
    return Request(
        source=Path(given["src"]),
        dest=dest,
        repository=options.path(given, "repository"),
        keys=encryption.keys(given),
        force=given["force"],
        timeout_seconds=options.timeout(given),
        lock_timeout_seconds=clock.parse_duration(given["lock_timeout"]),
    )


@dataclass
class Outcome:
    """What an import did, or in check mode would do; ``sha256`` is that of the content, as the export tells it."""

    changed: bool
    dest: Path
    sha256: str
    tables: dict[str, int]
    undo_set: str = ""
    checks: list[Check] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    before: dict[str, int | bool] = field(default_factory=dict)
    after: dict[str, int | bool] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "dest": str(self.dest),
            "sha256": self.sha256,
            "tables": self.tables,
            "undo_set": self.undo_set,
            "checks": [each.to_json() for each in self.checks],
        }


def run(request: Request, *, dry_run: bool = False) -> Outcome:
    """Make ``dest`` hold the content of the export. What is there is not touched before the new file is proven."""
    with doing(f"Cannot import {request.source} to {request.dest}"):
        if request.source.exists() and not request.source.is_file():
            raise UsageError(f"{request.source} is not a regular file.", hint="Name the file that an export wrote.")
        importing = _Importing(request, destination.checked(request.dest))
        outcome = importing.run(dry_run=dry_run)
        if outcome.changed and not dry_run:
            outcome.warnings.extend(_recorded(request, outcome))
        return outcome


def _recorded(request: Request, outcome: Outcome) -> list[str]:
    if request.repository is None or not Repository.exists(request.repository):
        return []
    try:
        repository = Repository.open_existing(request.repository)
    except EngineError as error:
        return [error.message]
    facts = {"dest": str(outcome.dest), "undo_set": outcome.undo_set, "sha256": outcome.sha256}
    return repository.record_done("import", outcome="passed", **facts)


class _Importing:
    """One import. The export is read to its end before anything is decided, and once more for what is built."""

    def __init__(self, request: Request, dest: Path) -> None:
        self._request = request
        self._dest = dest
        self._deadline = Deadline(request.timeout_seconds)

    def run(self, *, dry_run: bool) -> Outcome:
        dest = self._dest
        there = any(os.path.lexists(database.sidecar(dest, suffix)) for suffix in ("", *database.SIDECARS))
        if not there and not dry_run:
            return self._built(destination.facts(dest))
        told = self._read()
        outcome = _outcome(told, dest, changed=not there or not self._holds(told))
        outcome.before = outcome.after = destination.facts(dest)
        if outcome.changed and there:
            self._check_may_be_replaced()
        if not outcome.changed and not dry_run:
            switch.settle(dest, timeout_seconds=self._request.lock_timeout_seconds)
        if dry_run or not outcome.changed:
            return outcome
        return self._built(outcome.before)

    def _read(self) -> portable.Export:
        """All of the export, so that it is known to be whole."""
        with recognized.opened(self._request.source, self._request.keys) as stream:
            export = portable.Export(stream)
            for _table, batches in export.tables():
                for _batch in batches:
                    if self._deadline.passed():
                        raise SourceBusyError("the timeout passed.", hint="Raise timeout.")
        return export

    def _holds(self, export: portable.Export) -> bool:
        """Whether the database that is there has the same content."""
        with contextlib.suppress(SourceMissingError, SourceCorruptError), doing(f"Cannot read {self._dest}"):
            source = database.locate(self._dest)
            with scratch.directory() as place:
                found = pin.read(
                    source,
                    place,
                    lambda pinned: _digest(pinned.connection, source.header, export, self._deadline),
                    deadline=self._deadline,
                )
                return found == export.sha256
        return False

    def _check_may_be_replaced(self) -> None:
        if not self._request.force:
            raise RefusedError(
                f"{self._dest} exists, and holds something else.",
                hint="Name another file, or give force to replace it.",
            )
        destination.check_not_in_use(self._dest)

    def _built(self, before: dict[str, int | bool]) -> Outcome:
        dest, warnings = self._dest, list[str]()
        place = switch.workplace(dest, timeout_seconds=self._request.lock_timeout_seconds, warnings=warnings)
        with interrupts.Shield() as shield, place as directory:
            made = directory / "restored"
            outcome = self._made(made)
            if dest.exists():
                owners.copy_attributes(dest, made)
            files.sync_file(made)
            shield.begin()
            size_bytes = files.size_of(made)
            undo_set = switch.install(dest, made, directory, check=lambda: _check_installed(dest, size_bytes))
        outcome.undo_set = str(undo_set or "")
        outcome.before, outcome.after = before, destination.facts(dest)
        outcome.warnings.extend([*warnings, *_doubts(outcome.checks)])
        if shield.caught:
            outcome.warnings.append("a signal to stop came when everything was done already")
        return outcome

    def _made(self, path: Path) -> Outcome:
        """Make the new file ``path``, and prove it."""
        with ours.place(path.parent) as place:
            made = place / path.name
            files.write_private(made, b"")
            with recognized.opened(self._request.source, self._request.keys) as stream:
                export = portable.Export(stream)
                self._rebuild(export, made)
            outcome = _outcome(export, self._dest, changed=True)
            outcome.checks = self._prove(made, export)
            if made != path:
                files.copy_private(made, path)
        return outcome

    def _rebuild(self, export: portable.Export, made: Path) -> None:
        try:
            rebuilt.build(export, made, deadline=self._deadline)
        except rebuilt.UnbuiltError as error:
            # Raises for a file that is damaged.
            self._read()
            raise RefusedError(error.cause, hint=_TOLD) from error

    def _prove(self, made: Path, export: portable.Export) -> list[Check]:
        """Raises unless the new file is sound, and tells the same content as the export, line by line."""
        header = database.read_header(made)
        try:
            with ours.looking(made) as connection:
                checks = proof.check_structure(connection, "quick")
                found = _digest(connection, header, export, self._deadline)
        except sqlite3.Error as error:
            raise database.from_sqlite_error(error, made) from error
        if proof.overall(checks) == proof.FAILED:
            raise ProofFailedError(f"what was built fails: {proof.first_failure(checks)}.", hint=_NOT_TOUCHED)
        if found != export.sha256:
            raise ProofFailedError("what was built does not have the content that the export tells.", hint=_NOT_TOUCHED)
        return [*checks, proof.whole("content", proof.PASSED, f"SHA-256 {found}")]


_NOT_TOUCHED = "Nothing was changed. Make the export again; if it came from somebody else, ask where it is from."


def _outcome(export: portable.Export, dest: Path, *, changed: bool) -> Outcome:
    tables = {
        each.name: each.rows for each in export.objects if each.rows is not None and each.type != contents.INTERNAL
    }
    return Outcome(changed, dest, export.sha256, tables)


_TOLD = (
    "The file is whole: it tells what its database held. Mend that there, or export with the tables to take. If it "
    "came from somebody else, ask where it is from."
)


def _digest(connection: Connection, header: Header | None, export: portable.Export, deadline: Deadline) -> str:
    """The digest that such an export of this database has at its end."""
    with confined.bounded(deadline.seconds):
        connection.set_progress_handler(deadline.passed, contents.STEPS)
        with contextlib.closing(Contents(connection, header, export.names, given=export.left_out)) as source:
            lines = portable.Lines(source)
            for _piece in lines:
                pass
    return lines.sha256


def _check_installed(dest: Path, size_bytes: int) -> None:
    if files.size_of(dest) != size_bytes:
        raise StorageFailedError("the file in place has another size.", hint="The old content was put back.")


def _doubts(checks: list[Check]) -> list[str]:
    told = (each for each in checks if each.outcome == proof.INCONCLUSIVE or each.detail.startswith(proof.ODD))
    return [f"{each.name}: {each.detail}" for each in told]
