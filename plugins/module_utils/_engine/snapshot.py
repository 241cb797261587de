# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot: one consistent image of a live database, read under one pinned transaction.

Nothing here writes to the source, checkpoints it or changes its journal mode.
"""

from __future__ import annotations

import abc
import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, TypeVar

from . import database, files, proof
from .clock import Deadline
from .database import JOURNAL, SHM, WAL, Source
from .errors import EngineError, SourceBusyError, SourceCorruptError, SourceMissingError, translated
from .proof import Check

Progress = Callable[[int, int], None]
"""Called with the pages that are done and all pages."""

Result = TypeVar("Result")

_STEP_BYTES = 4 * 1024 * 1024
_BUSY_SECONDS = 3600.0
_BUSY_SLEEP_SECONDS = 0.02
_ATTEMPTS = 5
_SETTLED_SECONDS = 0.05


class Stamp(NamedTuple):
    """What differs in a file when somebody wrote to it, or put another one in its place."""

    inode: int
    size_bytes: int
    changed_ns: int


class Snapshot(abc.ABC):
    """One image of a database. ``connection`` sees exactly this image; it is None when SQLite cannot open it.

    ``page_size`` is in bytes and 0 for an empty image. ``pinned_seconds`` says for how long the source was held,
    ``writers_waited`` whether its journal mode makes writers wait meanwhile. ``corruption`` says why the image is
    only a copy of the bytes, when it is.
    """

    connection: sqlite3.Connection | None
    page_size: int
    page_count: int
    image_bytes: int
    header: database.Header | None
    pinned_seconds: float
    writers_waited: bool
    corruption: str

    @abc.abstractmethod
    def read(self, first_page: int, count: int) -> bytes:
        """The bytes of up to ``count`` pages from ``first_page`` on (the first page is 1)."""

    @abc.abstractmethod
    def close(self) -> None:
        """Release the source and everything private."""

    def chunks(self) -> Iterator[bytes]:
        """The whole image, in order, in pieces of about a megabyte."""
        count = max(1, files.CHUNK_BYTES // max(1, self.page_size))
        for first_page in range(1, self.page_count + 1, count):
            yield self.read(first_page, count)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CopiedSnapshot(Snapshot):
    """A snapshot that is a private copy on the disk, ``path``; closing it removes the copy."""

    def __init__(self, path: Path, *, pinned_seconds: float, writers_waited: bool, corruption: str = "") -> None:
        self._path = path
        self._file: BinaryIO = open(path, "rb", buffering=0)  # noqa: SIM115 - closed with the snapshot
        self.header = database.parse_header(self._file.read(database.HEADER_BYTES))
        self.image_bytes = os.fstat(self._file.fileno()).st_size
        self.page_size = self.header.page_size if self.header else 0
        # A damaged header may name no page size; such an image is still read whole, in pieces of this size.
        self._read_size = self.page_size or 4096
        self.page_count = -(-self.image_bytes // self._read_size)
        self.pinned_seconds = round(pinned_seconds, 3)
        self.writers_waited = writers_waited
        self.corruption = corruption
        self.connection = None if corruption else database.connect(path, immutable=True)

    def read(self, first_page: int, count: int) -> bytes:
        self._file.seek((first_page - 1) * self._read_size)
        wanted = min(count * self._read_size, self.image_bytes - (first_page - 1) * self._read_size)
        pieces = []
        while wanted > 0 and (piece := self._file.read(wanted)):
            pieces.append(piece)
            wanted -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self._file.close()
        files.remove_file(self._path)


def take(
    source: Source,
    directory: Path,
    *,
    action: str,
    deadline: Deadline,
    progress: Progress | None = None,
    traceless: bool = False,
) -> Snapshot:
    """Copy one consistent image of ``source`` into the private ``directory`` with SQLite's backup API.

    ``traceless`` as for ``read``.
    Raises ``SourceBusyError`` past the deadline, ``SourceCorruptError`` when SQLite cannot read the source.
    """
    image = directory / "snapshot.sqlite"
    if source.header is None:
        files.write_private(image, b"")
        return CopiedSnapshot(image, pinned_seconds=0.0, writers_waited=False)
    begin = time.monotonic()

    def copy(connection: sqlite3.Connection) -> None:
        nonlocal begin
        begin = time.monotonic()
        files.remove_file(image)
        files.write_private(image, b"")
        _copy(connection, image, action=action, deadline=deadline, progress=progress)

    read(source, directory, copy, action=action, deadline=deadline, traceless=traceless)
    return CopiedSnapshot(image, pinned_seconds=time.monotonic() - begin, writers_waited=not source.header.wal)


def salvage(source: Source, directory: Path, *, corruption: str) -> Snapshot:
    """The bytes of a source that SQLite cannot read, as they are: better than nothing for whoever repairs it."""
    image = directory / "snapshot.sqlite"
    files.remove_file(image)
    with translated(f"Cannot copy {source.given}"):
        files.copy_private(source.path, image)
    return CopiedSnapshot(image, pinned_seconds=0.0, writers_waited=False, corruption=corruption)


def read(
    source: Source,
    scratch: Path,
    work: Callable[[sqlite3.Connection], Result],
    *,
    action: str,
    deadline: Deadline,
    traceless: bool = False,
) -> Result:
    """What ``work`` returns for a read-only connection to ``source`` with one read transaction open.

    The transaction pins the image: in WAL mode writers go on and the connection never sees what they commit; in
    rollback mode they wait. Until ``work`` ends this process must not open and close the file in any other way
    (see ``database.read_header``). When another file took the place of the source meanwhile, ``work`` is done again.
    ``scratch`` is a private directory, for the rare case of ``_copy_aside``. ``traceless``, for check mode, makes it
    the case whenever SQLite would have to create a sidecar.
    """
    for attempt in range(_ATTEMPTS):
        # Only once without a lock: an application that comes and goes would make every such attempt void.
        idle = attempt == 0 and _is_idle(source)
        in_place = idle or may_open_in_place(source, traceless=traceless)
        before = _stamp(source.path)
        try:
            aside = None if in_place else _copy_aside(source, scratch, action=action, deadline=deadline)
            with _pinned(source, aside, idle=idle, action=action, deadline=deadline) as connection:
                result = work(connection)
        except EngineError:
            if _is_still(before, _stamp(source.path), idle=idle):
                raise
        else:
            if _is_still(before, _stamp(source.path), idle=idle):
                return result
        source = database.locate(source.given, action=action)
    raise SourceBusyError(
        f"{action}: the file was replaced {_ATTEMPTS} times while it was read.",
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

    A source that cannot be read is a failed check; one that only needs recovery is no finding, and raises.
    """
    with tempfile.TemporaryDirectory(prefix="sqlite-examine-") as scratch:
        try:
            return read(source, Path(scratch), work, action=action, deadline=deadline, traceless=traceless)
        except SourceCorruptError as error:
            if database.needs_recovery(source.path):
                raise
            return [Check("readable", proof.FAILED, error.message)]


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
def _pinned(
    source: Source, aside: Path | None, *, idle: bool, action: str, deadline: Deadline
) -> Iterator[sqlite3.Connection]:
    path, mode = (source.path, "ro") if aside is None else (aside, "rw")
    busy_seconds = deadline.remaining_seconds(_BUSY_SECONDS)
    try:
        connection = database.connect(path, mode=mode, immutable=idle, busy_seconds=busy_seconds)
        with contextlib.closing(connection):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield connection
    except sqlite3.Error as error:
        raise database.from_sqlite_error(action, error, source.path) from error
    finally:
        if aside is not None:
            for suffix in ("", *database.SIDECARS):
                files.remove_file(database.sidecar(aside, suffix))


def may_open_in_place(source: Source, *, traceless: bool = False) -> bool:
    """Whether SQLite may open the source where it is without leaving files that its application cannot use.

    Opening a WAL database creates a missing ``-wal`` or ``-shm``. As root SQLite gives them the owner of the
    database; any other user must be that owner, and the directory must be writable.
    """
    wal_exists = os.path.exists(database.sidecar(source.path, WAL))
    if os.name == "nt" or not (wal_exists or (source.header is not None and source.header.wal)):
        return True
    shm = database.sidecar(source.path, SHM)
    if wal_exists and os.access(shm, os.R_OK):
        return True
    return not traceless and os.geteuid() in (0, source.status.st_uid) and os.access(source.path.parent, os.W_OK)


def _copy_aside(source: Source, scratch: Path, *, action: str, deadline: Deadline) -> Path:
    """Copy a WAL database that must not be opened in place, with its ``-wal``, while nobody writes to it."""
    copy = scratch / "aside.sqlite"
    parts = ("", WAL)
    while True:
        before = _stamps(source)
        if all(_is_settled(stamp) for stamp in before if stamp):
            for suffix in parts:
                files.remove_file(database.sidecar(copy, suffix))
                part = database.sidecar(source.path, suffix)
                with translated(action), contextlib.suppress(FileNotFoundError):
                    files.copy_private(part, database.sidecar(copy, suffix))
            if _stamps(source) == before:
                return copy
        if deadline.passed():
            raise SourceBusyError(
                f"{action}: it is written to, and this user may not join its readers.",
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
        raise SourceMissingError(f"Cannot read {path}: it was removed.", hint="Check the path.") from None
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def _copy(
    connection: sqlite3.Connection, image: Path, *, action: str, deadline: Deadline, progress: Progress | None
) -> None:
    """Copy the pinned image in steps; the source's transaction is open, so no commit restarts the copy."""

    def on_step(_status: int, remaining: int, total: int) -> None:
        if deadline.passed():
            raise SourceBusyError(
                f"{action}: only {total - remaining} of {total} pages were copied before the timeout.",
                hint="Raise timeout, or run when the database is less busy.",
            )
        if progress is not None:
            progress(total - remaining, total)

    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    with contextlib.closing(database.connect(image, mode="rw")) as copy:
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute("PRAGMA journal_mode=OFF")
        connection.backup(copy, pages=max(1, _STEP_BYTES // page_size), progress=on_step, sleep=_BUSY_SLEEP_SECONDS)
    # A WAL database keeps its journal mode in the copy, and closing that may leave an empty -wal beside it.
    for suffix in database.SIDECARS:
        files.remove_file(database.sidecar(image, suffix))
