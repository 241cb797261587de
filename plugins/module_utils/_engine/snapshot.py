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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from . import database, files
from .clock import Deadline
from .database import JOURNAL, SHM, WAL, Source
from .errors import SourceBusyError, SourceMissingError, translated

Progress = Callable[[int, int], None]
"""Called with the pages that are done and all pages."""

_STEP_BYTES = 4 * 1024 * 1024
_BUSY_SECONDS = 3600.0
_BUSY_SLEEP_SECONDS = 0.02
_ATTEMPTS = 5
_SETTLED_SECONDS = 0.05


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

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class CopiedSnapshot(Snapshot):
    """A snapshot that is a private copy on the disk, ``path``; closing it removes the copy."""

    def __init__(self, path: Path, *, pinned_seconds: float, writers_waited: bool, corruption: str = "") -> None:
        self._path = path
        self._file: BinaryIO = open(path, "rb", buffering=0)  # type: ignore[assignment]
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
    source: Source, directory: Path, *, action: str, deadline: Deadline, progress: Progress | None = None
) -> Snapshot:
    """Copy one consistent image of ``source`` into the private ``directory`` with SQLite's backup API.

    Raises ``SourceBusyError`` past the deadline, ``SourceCorruptError`` when SQLite cannot read the source.
    """
    image = directory / "snapshot.sqlite"
    for _attempt in range(_ATTEMPTS):
        files.write_private(image, b"")
        begin = time.monotonic()
        if source.header is not None:
            with pinned(source, directory, action=action, deadline=deadline) as connection:
                _copy(connection, image, action=action, deadline=deadline, progress=progress)
        if _is_still(source):
            writers_waited = source.header is not None and not source.header.wal
            return CopiedSnapshot(image, pinned_seconds=time.monotonic() - begin, writers_waited=writers_waited)
        files.remove_file(image)
        source = database.locate(source.given, action=action)
    raise SourceBusyError(
        f"{action}: the file was replaced by another one {_ATTEMPTS} times while it was read.",
        hint="Find what replaces it, and back up when that is done.",
    )


def salvage(source: Source, directory: Path, *, corruption: str) -> Snapshot:
    """The bytes of a source that SQLite cannot read, as they are: better than nothing for whoever repairs it."""
    image = directory / "snapshot.sqlite"
    files.remove_file(image)
    with translated(f"Cannot copy {source.given}"):
        files.copy_private(source.path, image)
    return CopiedSnapshot(image, pinned_seconds=0.0, writers_waited=False, corruption=corruption)


def _is_still(source: Source) -> bool:
    """Whether the path still names the file that was read (a stat by name opens nothing, so it drops no lock)."""
    try:
        status = os.stat(source.given)
    except FileNotFoundError:
        return False
    return (status.st_dev, status.st_ino) == source.file_id


@contextlib.contextmanager
def pinned(source: Source, scratch: Path, *, action: str, deadline: Deadline) -> Iterator[sqlite3.Connection]:
    """A read-only connection to ``source`` with one read transaction open, for the block.

    The transaction pins the image: in WAL mode writers go on and the connection never sees what they commit; in
    rollback mode they wait. Until the block ends this process must not open and close the file in any other way
    (see ``database.read_header``). ``scratch`` is a private directory, for the rare case of ``_copy_aside``.
    """
    in_place = may_open_in_place(source)
    path = source.path if in_place else _copy_aside(source, scratch, action=action, deadline=deadline)
    try:
        with _connected(path, in_place=in_place, action=action, deadline=deadline, given=source.path) as connection:
            yield connection
    finally:
        if not in_place:
            for suffix in ("", *database.SIDECARS):
                files.remove_file(database.sidecar(path, suffix))


@contextlib.contextmanager
def _connected(
    path: Path, *, in_place: bool, action: str, deadline: Deadline, given: Path
) -> Iterator[sqlite3.Connection]:
    try:
        busy_seconds = deadline.remaining_seconds(_BUSY_SECONDS)
        connection = database.connect(path, mode="ro" if in_place else "rw", busy_seconds=busy_seconds)
        with contextlib.closing(connection):
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            yield connection
    except sqlite3.Error as error:
        raise database.from_sqlite_error(action, error, given) from error


def may_open_in_place(source: Source) -> bool:
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
    return os.geteuid() in (0, source.status.st_uid) and os.access(source.path.parent, os.W_OK)


def _copy_aside(source: Source, scratch: Path, *, action: str, deadline: Deadline) -> Path:
    """Copy a WAL database that must not be opened in place, with its ``-wal``, while nobody writes to it."""
    copy = scratch / "aside.sqlite"
    parts = ("", WAL)
    while True:
        before = _stamps(source)
        if time.time() - max(stamp[1] for stamp in before if stamp) / 1e9 > _SETTLED_SECONDS:
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


def _stamps(source: Source) -> list[tuple[int, int, int] | None]:
    """Size, change time and inode of the database and its sidecars: what differs when somebody wrote."""
    stamps: list[tuple[int, int, int] | None] = []
    for suffix in ("", WAL, JOURNAL):
        try:
            status = os.stat(database.sidecar(source.path, suffix))
            stamps.append((status.st_size, status.st_mtime_ns, status.st_ino))
        except FileNotFoundError:
            stamps.append(None)
    if stamps[0] is None:
        raise SourceMissingError(f"Cannot read {source.given}: it was removed.", hint="Check the path.")
    return stamps


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
        connection.backup(
            copy, pages=max(1, _STEP_BYTES // page_size), progress=on_step, sleep=_BUSY_SLEEP_SECONDS
        )
    # A WAL database keeps its journal mode in the copy, and closing that may leave an empty -wal beside it.
    for suffix in database.SIDECARS:
        files.remove_file(database.sidecar(image, suffix))

