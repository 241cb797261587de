# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A read transaction on a live database: pinned, and without a trace beside it.

Nothing here writes to the source, checkpoints it or changes its journal mode.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from ..system import confined, files, owners, places, scratch
from ..system.clock import Deadline
from ..system.errors import (
    EngineError,
    NoSpaceError,
    RefusedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
    StorageFailedError,
    doing,
)
from . import database, ours, processes, proof, schema
from .database import JOURNAL, SHM, WAL, Source
from .library import sqlite3
from .proof import Check

Result = TypeVar("Result")

_BUSY_SECONDS = 3600.0
_BUSY_SLEEP_SECONDS = 0.02
_ATTEMPTS = 5
# Of SQLite's virtual machine, between two looks at the deadline.
_STEPS = 100_000
_SETTLED_SECONDS = 0.05
_STILL_SECONDS = 0.5


class Stamp(NamedTuple):
    """What differs in a file when somebody wrote to it, or put another one in its place."""

    inode: int
    size_bytes: int
    changed_ns: int


@dataclass(frozen=True)
class Pinned:
    """A read-only ``connection`` to the file ``path`` with a read transaction open since ``begin`` (monotonic, s).

    ``path`` is the source, or a private copy of it. ``idle``: nobody uses it, and no lock is held.
    """

    connection: database.Connection
    path: Path
    idle: bool
    begin: float
    _closed_last: contextlib.ExitStack

    def begin_again(self) -> None:
        """End the transaction and begin the next one, which sees what was committed meanwhile."""
        with owners.acting_as_owner(self.path):
            self.connection.execute("ROLLBACK")
            _begin(self.connection)

    def open(self, suffix: str = "") -> BinaryIO:
        """The pinned file, or a sidecar of it, for reading; see ``keep``."""
        file = places.reading(database.sidecar(self.path, suffix), alone=bool(suffix))
        self.keep(file)
        return file

    def keep(self, resource: contextlib.AbstractContextManager[object]) -> None:
        """Close ``resource`` only when SQLite is done.

        When a process closes any descriptor of a file, all of its locks on that file are gone, SQLite's too
        (https://www.sqlite.org/howtocorrupt.html, section 2.2).
        """
        self._closed_last.enter_context(resource)


def read(
    source: Source,
    place: Path,
    work: Callable[[Pinned], Result],
    *,
    deadline: Deadline,
    traceless: bool = False,
) -> Result:
    """What ``work`` returns for ``source``, pinned.

    In WAL mode writers go on and the connection never sees what they commit; in rollback mode they wait. Until
    ``work`` ends this process must not open and close the file in any other way (see ``Pinned.keep``). When another
    file took the place of the source meanwhile, somebody wrote to an idle one, or it seems corrupt, ``work`` is done
    again.
    ``place`` is a private directory, for the rare case of ``_copy_aside``. ``traceless``, for check mode, makes it
    the case whenever SQLite would have to create a sidecar.
    """
    unable = doubted = False
    for attempt in range(_ATTEMPTS):
        began = False

        def begun(pinned: Pinned) -> Result:
            nonlocal began
            began = True
            return work(pinned)

        _check_log_is_beside(source)
        # First of all: a write after it must show, also one right after the look at whether the source is idle.
        before = _stamp(source.path)
        # Only once without a lock: an application that comes and goes would make every such attempt void.
        idle = attempt == 0 and _is_idle(source)
        in_place = idle or (not unable and may_open_in_place(source, traceless=traceless))
        try:
            with (
                contextlib.nullcontext() if in_place else _copied_aside(source, place, deadline=deadline) as aside,
                _pinned(source, aside, idle=idle, deadline=deadline) as pinned,
            ):
                result = begun(pinned)
        except (NoSpaceError, StorageFailedError):
            # A -shm cannot be made on a full disk; read without one, such a database can still be backed up.
            if began or not in_place:
                raise
            unable = True
        except EngineError as error:
            if isinstance(error, SourceCorruptError) and not error.needs_recovery and not doubted:
                # A page that the disk did not give can look like damage: that is believed when it is found again.
                doubted = True
            elif _is_still(before, _stamp(source.path), idle=idle):
                raise
        else:
            if _is_still(before, _stamp(source.path), idle=idle):
                return result
        source = database.locate(source.given)
    raise SourceBusyError(
        f"the file was replaced {_ATTEMPTS} times while it was read.",
        hint="Find what replaces it, and back up when that is done.",
    )


def examine(
    source: Source,
    work: Callable[[sqlite3.Connection], list[Check]],
    *,
    action: str,
    deadline: Deadline,
    traceless: bool = False,
) -> list[Check]:
    """What ``work`` finds in ``source`` where it is, as ``read`` does it.

    A source that cannot be read is a failed check, which tells the ``action``; one that only needs recovery is no
    finding, and raises.
    """
    with scratch.directory() as place:

        def look(pinned: Pinned) -> list[Check]:
            pinned.connection.set_progress_handler(deadline.passed, _STEPS)
            return work(pinned.connection)

        try:
            with doing(action):
                return read(source, place, look, deadline=deadline, traceless=traceless)
        except SourceCorruptError as error:
            if error.needs_recovery:
                raise
            return [proof.whole("readable", proof.FAILED, error.message)]


def _check_log_is_beside(source: Source) -> None:
    """Raise ``RefusedError`` when somebody uses the database in WAL mode, with a log that is not beside this name.

    So it is when a single file was mounted out of a container, or somebody removed the log: what is in it would be
    missed. For an instant it is so whenever an application begins or ends.
    """
    log = database.sidecar(source.path, WAL)
    since = time.monotonic()
    while source.header is not None and source.header.wal and not os.path.lexists(log):
        if not processes.is_locked(source.path):
            return
        if time.monotonic() - since > _STILL_SECONDS:
            raise RefusedError(
                f"an application uses it in WAL mode, and {log.name}, which would hold its last commits, is "
                "not beside it.",
                hint="Back it up where its directory is: mount the directory into the container, not the single file.",
            )
        time.sleep(_BUSY_SLEEP_SECONDS)


def _is_still(before: Stamp, after: Stamp, *, idle: bool) -> bool:
    """Whether the path still names the file that was read, and an idle one was not written to."""
    return before == after if idle else before.inode == after.inode


def _is_idle(source: Source) -> bool:
    """Whether ``source`` is in WAL mode with nobody using it, so that it can be read without locks and sidecars.

    Opening it as usual would create a ``-wal`` and a ``-shm`` that a read-only connection cannot remove. Who starts to
    write meanwhile changes the main file only by a checkpoint, and that shows in its stamp. A file that was written
    to just now may not show it.
    """
    if source.header is None or not source.header.wal or os.path.exists(database.sidecar(source.path, WAL)):
        return False
    if not _is_settled(_stamp(source.path)):
        time.sleep(_SETTLED_SECONDS)
    return _is_settled(_stamp(source.path))


def _is_settled(stamp: Stamp) -> bool:
    """Whether a write after now will show in the stamp; a time in the future, by a wrong clock, shows it as well."""
    return abs(time.time() - stamp.changed_ns / 1e9) > _SETTLED_SECONDS


@contextlib.contextmanager
def _pinned(source: Source, aside: Path | None, *, idle: bool, deadline: Deadline) -> Iterator[Pinned]:
    path, mode = (source.path, "ro") if aside is None else (aside, "rw")
    busy_seconds = deadline.remaining_seconds(_BUSY_SECONDS)
    try:
        with (
            confined.bounded(deadline.seconds),
            contextlib.ExitStack() as closed_last,
            contextlib.ExitStack() as closed_first,
        ):
            with owners.acting_as_owner(path):
                connection = database.connect(path, mode=mode, immutable=idle, busy_seconds=busy_seconds)
                closed_first.enter_context(contextlib.closing(connection))
                _check_opened(path)
                _begin_when_settled(connection, source, deadline)
            schema.load(connection, source.header)
            begin = time.monotonic()
            yield Pinned(connection, path, idle, begin, closed_last)
    except sqlite3.Error as error:
        raise database.from_sqlite_error(error, source.path) from error
    finally:
        if aside is not None:
            for suffix in ("", *database.SIDECARS):
                files.remove_file(database.sidecar(aside, suffix))


def _check_opened(path: Path) -> None:
    """Raise ``SourceBusyError`` when SQLite was led to another file than the one that has this name."""
    with contextlib.suppress(FileNotFoundError):
        with places.at(path) as (name, parent):
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        database.check_opened(status)


def _begin_when_settled(connection: sqlite3.Connection, source: Source, deadline: Deadline) -> None:
    """Begin the transaction; a journal that only looks as if it had to be taken back is looked at again.

    It does for an instant when one writer has just ended and the next one begins, above all with
    ``journal_mode=PERSIST``, where the journal never goes. When nothing moves any more, it is what it looks like.
    """
    seen: list[Stamp | None] = []
    since = 0.0
    while True:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            return _begin(connection)
        except sqlite3.OperationalError as error:
            if not any(words in str(error) for words in ("readonly", "unable to open")) or deadline.passed():
                raise
            stamps = _stamps(source)
            if stamps != seen:
                seen, since = stamps, time.monotonic()
            elif time.monotonic() - since > _STILL_SECONDS:
                raise
        time.sleep(_BUSY_SLEEP_SECONDS)


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN")
    # A deferred transaction begins with the first read; this one needs nothing of the schema.
    connection.execute("PRAGMA user_version").fetchone()


def may_open_in_place(source: Source, *, traceless: bool = False) -> bool:
    """Whether SQLite may open the source where it is without leaving files that its application cannot use.

    Opening a WAL database creates a missing ``-wal`` or ``-shm``. As root SQLite gives them the owner of the
    database; any other user must be that owner, and the directory must be writable.
    """
    wal_exists = os.path.exists(database.sidecar(source.path, WAL))
    if not (wal_exists or (source.header is not None and source.header.wal)):
        return True
    shm = database.sidecar(source.path, SHM)
    if os.name == "nt":
        # There what is made gets the rights of its directory.
        return not traceless or (wal_exists and os.path.exists(shm))
    with owners.acting_as_owner(source.path):
        if wal_exists and os.access(shm, os.R_OK, effective_ids=True):
            return True
        writable = os.access(source.path.parent, os.W_OK, effective_ids=True)
        return not traceless and os.geteuid() in (0, source.status.st_uid) and writable


@contextlib.contextmanager
def _copied_aside(source: Source, place: Path, *, deadline: Deadline) -> Iterator[Path]:
    """A copy, see ``_copy_aside``. SQLite writes to it whatever is done meanwhile, with the rights of who runs this."""
    with contextlib.ExitStack() as stack:
        private = stack.enter_context(ours.place(place, as_owner=False))
        yield _copy_aside(source, private, deadline=deadline)


def _copy_aside(source: Source, place: Path, *, deadline: Deadline) -> Path:
    """Copy a WAL database that must not be opened in place, with its ``-wal``, while nobody writes to it."""
    copy = place / "aside.sqlite"
    parts = ("", WAL)
    while True:
        before = _stamps(source)
        if all(_is_settled(stamp) for stamp in before if stamp):
            for suffix in parts:
                files.remove_file(database.sidecar(copy, suffix))
                part = database.sidecar(source.path, suffix)
                with doing(), contextlib.suppress(FileNotFoundError):
                    aside = database.sidecar(copy, suffix)
                    files.copy_private(part, aside, alone=bool(suffix), deadline=deadline)
            if _stamps(source) == before:
                return copy
        if deadline.passed():
            raise SourceBusyError(
                "it is written to, and this user may not join its readers.",
                hint="Run as the owner of the database, or as root.",
            )
        time.sleep(_BUSY_SLEEP_SECONDS)


def _stamps(source: Source) -> list[Stamp | None]:
    """The stamps of the database, its ``-wal`` and its ``-journal``."""
    stamps: list[Stamp | None] = [_stamp(source.path)]
    for suffix in (WAL, JOURNAL):
        try:
            stamps.append(_stamp(database.sidecar(source.path, suffix)))
        except SourceMissingError:
            stamps.append(None)
    return stamps


def _stamp(path: Path) -> Stamp:
    """The stamp of ``path``. A stat by name opens nothing, so it drops no lock."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise SourceMissingError("it was removed.", action=f"Cannot read {path}", hint="Check the path.") from None
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)
