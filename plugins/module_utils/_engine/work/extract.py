# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a backup in a new file: some tables, or what a query yields. The live database is not touched."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository.published import Backup
from ..repository.repository import Repository
from ..sealed import encryption
from ..sealed.encryption import Keys
from ..sqlite import database
from ..sqlite.part import Part
from ..sqlite.snapshot import Progress
from ..system import clock, files, options, places, scratch
from ..system.clock import Deadline
from ..system.errors import RefusedError, UsageError, doing
from ..system.options import Options
from . import content, destination, find_good, staged
from .content import Expectations


@dataclass(frozen=True)
class Request:
    """What to take into the new file ``into``: ``tables``, or what a ``query`` yields, as the table ``name``.

    ``backup`` is an id, ``latest`` or ``latest_good``.
    """

    repository: Path
    backup: str
    into: Path
    tables: Sequence[str]
    query: str
    name: str
    keys: Keys
    timeout_seconds: float | None
    lock_timeout_seconds: float
    expectations: Expectations


def requested(given: Options) -> Request:
    return Request(
        repository=Path(given["repository"]),
        backup=given["backup"],
        into=Path(given["into"]),
        tables=given["tables"],
        query=options.text(given, "query"),
        name=options.text(given, "name"),
        keys=encryption.keys(given),
        timeout_seconds=options.timeout(given),
        lock_timeout_seconds=clock.parse_duration(given["lock_timeout"]),
        expectations=content.expected(given, "full"),
    )


@dataclass
class Outcome:
    """The file, and how many rows each of its tables has."""

    backup: Backup
    into: Path
    bytes: int
    rows: dict[str, int]
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "backup": self.backup.id,
            "created": self.backup.trusted().started,
            "into": str(self.into),
            "bytes": self.bytes,
            "tables": self.rows,
        }


def run(request: Request, *, progress: Progress | None = None) -> Outcome:
    """Restore the backup into scratch, take the part there, and put it in place when it is whole."""
    with doing("Cannot extract"):
        _check(request)
        repository = Repository.open_existing(request.repository)
        identity, newer = find_good.resolved(
            repository,
            request.backup,
            request.expectations,
            keys=request.keys,
            lock_timeout_seconds=request.lock_timeout_seconds,
            progress=progress,
        )
        backup = repository.find(identity)
    with doing(f"Cannot extract from {backup.id} into {request.into}"):
        backup.trusted()
        into = _new_file(request.into, request.repository)
        with scratch.directory() as place:
            image, made = place / "restored.sqlite", place / "part.sqlite"
            staged.write(
                repository,
                backup,
                image,
                request.keys,
                lock_timeout_seconds=request.lock_timeout_seconds,
                progress=progress,
            )
            part = _part(request, image, made)
            _deliver(made, into)
        outcome = Outcome(backup, into, files.size_of(into), part.rows)
    outcome.warnings.extend([*newer, *repository.warnings(), *staged.warnings(backup), *part.left_out])
    # Not their names, which are content: a backup may be encrypted.
    facts = {"backup": backup.id, "dest": str(into), "tables": len(part.rows), "rows": sum(part.rows.values())}
    outcome.warnings.extend(repository.record_done("extract", outcome="passed", **facts))
    return outcome


def _check(request: Request) -> None:
    if bool(request.tables) == bool(request.query):
        raise UsageError(
            f"{'both tables and a query' if request.query else 'neither a table nor a query'} are given.",
            hint="Name tables, or give one query.",
        )
    if request.name and not request.query:
        raise UsageError("a name is given, but no query.", hint="A table keeps the name that it has.")


def _new_file(into: Path, repository: Path) -> Path:
    """Where the new file will be. Raises ``RefusedError`` when something is there, or would belong to it."""
    path = destination.checked(into)
    if path.is_relative_to(places.resolved(repository)):
        raise RefusedError("that is inside the repository.", hint="Name a file in another directory.")
    for there in (*(database.sidecar(path, suffix) for suffix in ("", *database.SIDECARS)), _arriving(path)):
        _check_free(there)
    return path


def _check_free(path: Path) -> None:
    if os.path.lexists(path):
        raise RefusedError(
            f"{path} exists, and nothing is overwritten.", hint="Name another file, or remove what a killed run left."
        )


def _arriving(into: Path) -> Path:
    """What the new file is called until it is whole."""
    return into.with_name(files.temporary_name(into.name))


def _part(request: Request, image: Path, made: Path) -> Part:
    files.write_private(made, b"")
    part = Part(image, made, deadline=Deadline(request.timeout_seconds))
    if request.query:
        part.add_query(request.query, request.name or "result")
    else:
        part.add_tables(request.tables)
    return part


def _deliver(made: Path, into: Path) -> None:
    """Copy the finished file to its directory, flushed and compared, and give it its name only then."""
    files.require_space(into.parent, files.size_of(made))
    arriving = _arriving(into)
    with doing(step=f"cannot write {into}"):
        try:
            files.copy_private(made, arriving)
            _check_free(into)
            files.move_file(arriving, into)
        except FileExistsError:
            raise
        except BaseException:
            files.remove_file(arriving)
            raise
