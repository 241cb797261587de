# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two backups, or between a backup and the database itself."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository.repository import Repository
from ..sealed import encryption
from ..sealed.encryption import Keys
from ..sqlite import database, difference, snapshot
from ..sqlite.difference import Differences
from ..sqlite.snapshot import Progress
from ..system import clock, options, scratch
from ..system.clock import Deadline
from ..system.errors import UsageError, doing
from ..system.options import Options
from . import staged

LIVE = "live"


@dataclass(frozen=True)
class Request:
    """``before`` and ``after`` are each an id, ``latest`` or ``live``; no ``tables`` are all of them."""

    repository: Path
    path: Path
    before: str
    after: str
    tables: Sequence[str]
    keys: Keys
    timeout_seconds: float | None
    lock_timeout_seconds: float


def requested(given: Options, *, path: Path) -> Request:
    return Request(
        repository=Path(given["repository"]),
        path=path,
        before=given["before"],
        after=given["after"],
        tables=given["tables"],
        keys=encryption.keys(given),
        timeout_seconds=options.timeout(given),
        lock_timeout_seconds=clock.parse_duration(given["lock_timeout"]),
    )


@dataclass
class Outcome:
    """``before`` and ``after`` say what was compared, and from when each is."""

    before: dict[str, str]
    after: dict[str, str]
    differences: Differences
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {"before": self.before, "after": self.after, **self.differences.to_json()}


def run(request: Request, *, progress: Progress | None = None) -> Outcome:
    """Restore both into scratch, and let SQLite compare them there; nothing else is written."""
    with doing(f"Cannot compare {request.before} with {request.after}"):
        if request.before == request.after:
            raise UsageError("they are the same.", hint="Name two backups, or one and live.")
        repository = Repository.open_existing(request.repository)
        with scratch.directory() as place, contextlib.ExitStack() as stack:
            comparing = _Comparing(request, repository, place, stack)
            before, told_before = comparing.side(request.before, progress)
            after, told_after = comparing.side(request.after, progress)
            deadline = Deadline(request.timeout_seconds)
            found = difference.between(before, after, place, tables=request.tables, deadline=deadline)
    return Outcome(told_before, told_after, found, comparing.warnings)


class _Comparing:
    """The two files in the directory ``place``, which go with the ``stack``."""

    def __init__(self, request: Request, repository: Repository, place: Path, stack: contextlib.ExitStack) -> None:
        self._request = request
        self._repository = repository
        self._place = place
        self._stack = stack
        self.warnings = repository.warnings()

    def side(self, wanted: str, progress: Progress | None) -> tuple[Path, dict[str, str]]:
        """The file of one side, and what it is."""
        return self._live(progress) if wanted == LIVE else self._backup(wanted, progress)

    def _backup(self, wanted: str, progress: Progress | None) -> tuple[Path, dict[str, str]]:
        request, backup = self._request, self._repository.find(wanted)
        document = backup.trusted()
        self.warnings.extend(staged.warnings(backup))
        path = self._place / f"{backup.id}.sqlite"
        staged.write(
            self._repository,
            backup,
            path,
            request.keys,
            lock_timeout_seconds=request.lock_timeout_seconds,
            progress=progress,
        )
        return path, {"backup": backup.id, "created": document.started}

    def _live(self, progress: Progress | None) -> tuple[Path, dict[str, str]]:
        """A copy of the live database, so that nobody waits while it is compared."""
        with doing(f"Cannot read {self._request.path}"):
            source = database.locate(self._request.path, allow_empty=True)
            created = clock.to_text(clock.now())
            deadline = Deadline(self._request.timeout_seconds)
            self._stack.enter_context(snapshot.take(source, self._place, deadline=deadline, progress=progress))
        return self._place / "snapshot.sqlite", {"backup": LIVE, "created": created}
