# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot: one consistent image of a live database, read under one pinned transaction.

Two ways: the pages as they lie in the database and its write-ahead log, which writes nothing (``DirectSnapshot``),
and a private copy made by SQLite, for whatever is unusual (``CopiedSnapshot``).
"""

from __future__ import annotations

import abc
import contextlib
import io
import mmap
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

from ..system import files, places
from ..system.clock import Deadline
from ..system.errors import SourceBusyError, SourceCorruptError, StorageFailedError, doing
from . import database, ours, pin, wal
from .database import SHM, WAL, Source
from .library import sqlite3
from .pin import Pinned

Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is: pages of a snapshot, bytes of an image."""

Result = TypeVar("Result")

_STEP_BYTES = 4 * 1024 * 1024
_BUSY_SLEEP_SECONDS = 0.02
# How often to look for a moment between two commits. Even thousands of commits a second leave one within a few tries.
_MATCH_ATTEMPTS = 500
# The page at this place is for locks alone, and never written: https://www.sqlite.org/fileformat2.html#the_lock_byte_page
_LOCK_BYTE = 1 << 30
# The change counter, the schema cookie, and who wrote when: https://www.sqlite.org/fileformat2.html#the_database_header
_SET_ANEW = ((24, 28), (40, 44), (92, 100))


class Snapshot(abc.ABC):
    """One image of a database. ``connection`` sees exactly this image; it is None when SQLite cannot open it.

    ``page_size`` is in bytes and 0 for an empty image. ``held`` says whether the source is still pinned, and
    ``writers_waited`` whether its journal mode makes writers wait meanwhile. ``corruption`` says why the image is only
    a copy of the bytes, when it is.
    """

    connection: database.Connection | None
    page_size: int
    page_count: int
    image_bytes: int
    header: database.Header | None
    writers_waited: bool
    held: bool
    corruption: str = ""

    @property
    @abc.abstractmethod
    def pinned_seconds(self) -> float:
        """For how long the source was held, or has been by now."""

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
        self._file: BinaryIO = places.reading(path)
        self.header = database.parse_header(self._file.read(database.HEADER_BYTES))
        self.image_bytes = os.fstat(self._file.fileno()).st_size
        self.page_size = self.header.page_size if self.header else 0
        # A damaged header may name no page size; such an image is still read whole, in pieces of this size.
        self._read_size = self.page_size or 4096
        self.page_count = -(-self.image_bytes // self._read_size)
        self._pinned_seconds = round(pinned_seconds, 3)
        self.writers_waited = writers_waited
        self.held = False
        self.corruption = corruption
        self.connection = None
        self._closed_first = contextlib.ExitStack()
        if not corruption:
            self.connection = self._closed_first.enter_context(ours.looking(path))

    @property
    def pinned_seconds(self) -> float:
        return self._pinned_seconds

    def read(self, first_page: int, count: int) -> bytes:
        self._file.seek((first_page - 1) * self._read_size)
        wanted = max(0, min(count * self._read_size, self.image_bytes - (first_page - 1) * self._read_size))
        data = files.read_exactly(self._file, wanted)
        if len(data) < wanted:
            raise StorageFailedError(
                f"it ends before page {first_page + len(data) // self._read_size}.",
                action=f"Cannot read {self._path}",
                hint="Look at the disk, then run again.",
            )
        return data

    def close(self) -> None:
        self._closed_first.close()
        self._file.close()
        files.remove_file(self._path)


class DirectSnapshot(Snapshot):
    """A snapshot that is read where the database is, under its pinned transaction. It writes nothing.

    Why the pages stand still: a rollback journal lets nobody write to the file while a reader has its shared lock. With
    a write-ahead log, a checkpoint copies nothing into the file that is newer than what the oldest reader sees, and the
    log does not start again from its beginning while a reader uses it (https://www.sqlite.org/wal.html#concurrency).
    """

    def __init__(self, pinned: Pinned, frames: wal.Frames | None, deadline: Deadline) -> None:
        self._pinned = pinned
        self._file = pinned.open()
        self._frames = frames
        self._deadline = deadline
        self.connection = pinned.connection
        (self.page_size,) = pinned.connection.execute("PRAGMA page_size").fetchone()
        (self.page_count,) = pinned.connection.execute("PRAGMA page_count").fetchone()
        self.image_bytes = self.page_size * self.page_count
        self.header = database.parse_header(self.read(1, 1))
        self.held = True
        self.writers_waited = not pinned.idle and frames is None and not (self.header and self.header.wal)

    @property
    def pinned_seconds(self) -> float:
        return 0.0 if self._pinned.idle else round(time.monotonic() - self._pinned.begin, 3)

    def read(self, first_page: int, count: int) -> bytes:
        if self._deadline.passed():
            raise SourceBusyError(
                f"the timeout passed at page {first_page} of {self.page_count}.",
                hint="Raise timeout, or run when the host is less busy.",
            )
        count = min(count, self.page_count - first_page + 1)
        with doing():
            self._file.seek((first_page - 1) * self.page_size)
            data = files.read_exactly(self._file, count * self.page_size)
        logged = self._frames.pages(first_page, count) if self._frames else ()
        if len(data) < count * self.page_size:
            elsewhere = {_LOCK_BYTE // self.page_size + 1, *(page for page, _frame in logged)}
            self._check_elsewhere(range(first_page + len(data) // self.page_size, first_page + count), elsewhere)
            data = data.ljust(count * self.page_size, b"\0")
        return self._merged(data, first_page, logged, self._frames) if logged and self._frames else data

    def _check_elsewhere(self, behind_the_end: range, elsewhere: set[int]) -> None:
        """Raise unless the pages that the file does not have are in the log, or used by nobody."""
        missing = next((page for page in behind_the_end if page not in elsewhere), None)
        if missing is not None:
            raise SourceCorruptError(
                f"the file ends before page {missing}.",
                hint="Verify it, and restore the newest good backup.",
            )

    def _merged(self, data: bytes, first_page: int, logged: Sequence[tuple[int, int]], frames: wal.Frames) -> bytes:
        """``data`` with the newer pages of the log."""
        merged = bytearray(data)
        try:
            for page, frame in logged:
                begin = (page - first_page) * self.page_size
                merged[begin : begin + self.page_size] = frames.read(frame)
        except ValueError as error:
            raise SourceBusyError(f"{error}.", hint="Run again.") from None
        return bytes(merged)

    def close(self) -> None:
        """Nothing is private; the source is released where it was pinned."""


def use(
    source: Source,
    directory: Path,
    work: Callable[[Snapshot], Result],
    *,
    deadline: Deadline,
    progress: Progress | None = None,
    traceless: bool = False,
    hasty: bool = True,
) -> Result:
    """What ``work`` returns for a snapshot of ``source``; it is done again when it was of a file that is gone.

    The pages are read where they are, if that can be done; else, or when writers would have to wait for work that is
    not ``hasty``, SQLite makes a private copy in ``directory`` first. ``traceless`` as for ``pin.read``.
    """
    in_place = source.header is not None and os.name != "nt" and (hasty or source.header.wal)

    def work_in_place(pinned: Pinned) -> tuple[Result] | None:
        with doing():
            image = _open_in_place(pinned, deadline)
        return (work(image),) if image else None

    done = None
    if in_place:
        done = pin.read(source, directory, work_in_place, deadline=deadline, traceless=traceless)
    if done is None:
        with (
            ours.place(directory) as place,
            take(source, place, deadline=deadline, progress=progress, traceless=traceless) as image,
        ):
            done = (work(image),)
    return done[0]


def _open_in_place(pinned: Pinned, deadline: Deadline) -> DirectSnapshot | None:
    """The pinned image where it is; None when the write-ahead log cannot be matched with what SQLite sees."""
    (journal_mode,) = pinned.connection.execute("PRAGMA journal_mode").fetchone()
    frames = None
    if journal_mode == "wal" and not pinned.idle:
        try:
            matched, frames = _match_log(pinned)
        except (OSError, ValueError):
            return None
        if not matched:
            return None
    return DirectSnapshot(pinned, frames, deadline)


def _match_log(pinned: Pinned) -> tuple[bool, wal.Frames | None]:
    """Whether it is known what of the log the pinned transaction sees, and that; None when all is in the file.

    The index is the same before and after the transaction began, so the transaction sees just this commit. When all
    frames were in the file before it began, it may not hold the log, only the file. When they were not afterwards, it
    does hold the log. In between it could be either.
    """
    shared = mmap.mmap(pinned.open(SHM).fileno(), wal.INDEX_BYTES, access=mmap.ACCESS_READ)
    pinned.keep(shared)
    log = pinned.open(WAL)
    for _attempt in range(_MATCH_ATTEMPTS):
        before = wal.parse_index(shared[:])
        pinned.begin_again()
        after = wal.parse_index(shared[:])
        if before is None or after is None or before.header != after.header:
            continue
        if before.backfilled >= before.frames:
            return True, None
        if after.backfilled < after.frames:
            return True, wal.Frames(log.fileno(), after)
    return False, None


def take(
    source: Source,
    directory: Path,
    *,
    deadline: Deadline,
    progress: Progress | None = None,
    traceless: bool = False,
) -> Snapshot:
    """Copy one consistent image of ``source`` into the private ``directory`` with SQLite's backup API.

    ``traceless`` as for ``pin.read``.
    Raises ``SourceBusyError`` past the deadline, ``SourceCorruptError`` when SQLite cannot read the source.
    """
    image = directory / "snapshot.sqlite"
    copy_bytes = source.status.st_size + files.size_of(database.sidecar(source.path, WAL))
    files.require_space(directory, copy_bytes)
    if source.header is None:
        files.write_private(image, b"")
        return CopiedSnapshot(image, pinned_seconds=0.0, writers_waited=False)
    begin = time.monotonic()

    def copy(pinned: Pinned) -> None:
        nonlocal begin
        begin = pinned.begin
        files.remove_file(image)
        files.write_private(image, b"")
        _copy(pinned.connection, image, deadline=deadline, progress=progress)
        if source.header is not None and not source.header.wal:
            with doing():
                _keep_header(pinned, image)

    pin.read(source, directory, copy, deadline=deadline, traceless=traceless)
    return CopiedSnapshot(image, pinned_seconds=time.monotonic() - begin, writers_waited=not source.header.wal)


def _keep_header(pinned: Pinned, image: Path) -> None:
    """Put back what SQLite sets anew in the header of a copy, so that this is the same image as the file itself."""
    header = files.read_exactly(pinned.open(), database.HEADER_BYTES)
    with io.FileIO(places.open_regular(image, os.O_RDWR), "r+") as copy:
        for begin, end in _SET_ANEW:
            copy.seek(begin)
            files.write_all(copy, header[begin:end])


def salvage(source: Source, directory: Path, *, corruption: str, deadline: Deadline) -> Snapshot:
    """The bytes of a source that SQLite cannot read, as they are: better than nothing for whoever repairs it.

    Raises ``SourceBusyError`` past the deadline.
    """
    image = directory / "snapshot.sqlite"
    files.remove_file(image)
    with doing(f"Cannot copy {source.given}"):
        files.copy_private(source.path, image, alone=False, deadline=deadline)
    return CopiedSnapshot(image, pinned_seconds=0.0, writers_waited=False, corruption=corruption)


def _copy(connection: sqlite3.Connection, image: Path, *, deadline: Deadline, progress: Progress | None) -> None:
    """Copy the pinned image in steps; the source's transaction is open, so no commit restarts the copy."""

    def on_step(_status: int, remaining: int, total: int) -> None:
        if deadline.passed():
            raise SourceBusyError(
                f"only {total - remaining} of {total} pages were copied before the timeout.",
                hint="Raise timeout, or run when the database is less busy.",
            )
        if progress is not None:
            progress(total - remaining, total)

    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    with ours.rights(image.parent), contextlib.closing(database.connect(image, mode="rw")) as copy:
        copy.execute("PRAGMA synchronous=OFF")
        copy.execute("PRAGMA journal_mode=OFF")
        connection.backup(copy, pages=max(1, _STEP_BYTES // page_size), progress=on_step, sleep=_BUSY_SLEEP_SECONDS)
    # A WAL database keeps its journal mode in the copy, and closing that may leave an empty -wal beside it.
    for suffix in database.SIDECARS:
        files.remove_file(database.sidecar(image, suffix))
