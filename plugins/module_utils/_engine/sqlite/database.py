# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One SQLite file: where it is, what its header says, how it is opened, what its errors mean.

The header is described at https://www.sqlite.org/fileformat2.html#the_database_header.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import sys
import urllib.parse
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system import places
from ..system.errors import (
    EngineError,
    NoSpaceError,
    PermissionDeniedError,
    ProgramMissingError,
    RefusedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
    StorageFailedError,
    doing,
)
from .library import sqlite3
from .workplace import second_names_of

MAGIC = b"SQLite format 3\x00"
HEADER_BYTES = 100
WAL, SHM, JOURNAL = "-wal", "-shm", "-journal"
SIDECARS = (WAL, SHM, JOURNAL)
_ENCODINGS = {1: "UTF-8", 2: "UTF-16le", 3: "UTF-16be"}
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_KNOWN_STARTS = {
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b": "gzip data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"\xfd7zXZ": "xz data",
    b"age-encryption.org": "an age file",
    b"SQLite format 3": "an SQLite file with a damaged header",
    b"** This file contains an SQLite 2": "an SQLite 2 database",
    b"%PDF": "a PDF",
    b"\x7fELF": "a program",
}


@dataclass(frozen=True)
class Header:
    """The fields of a database header that this collection uses; ``page_size`` is in bytes."""

    page_size: int
    page_count: int
    wal: bool
    auto_vacuum: int
    encoding: str
    user_version: int
    application_id: int
    freelist_count: int
    """How many of the pages hold nothing."""
    written_by: int
    """The number of the SQLite that wrote last: 3040001 for 3.40.1."""

    def facts(self) -> dict[str, int | str]:
        """What the proof keeps of the header."""
        return {
            "user_version": self.user_version,
            "application_id": self.application_id,
            "encoding": self.encoding,
            "auto_vacuum": self.auto_vacuum,
            "journal_mode": "wal" if self.wal else "rollback",
            "freelist_count": self.freelist_count,
        }


@dataclass(frozen=True)
class Source:
    """A database that exists: ``given`` as the operator names it, ``path`` with all symbolic links resolved."""

    given: Path
    path: Path
    status: os.stat_result
    header: Header | None
    """None when the file has zero bytes."""


def parse_header(data: bytes) -> Header | None:
    """The header in the first 100 bytes of a file, or None when they are not of SQLite."""
    if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
        return None
    (page_size,) = struct.unpack_from(">H", data, 16)
    (page_count,) = struct.unpack_from(">I", data, 28)
    largest_root, encoding, user_version, incremental, application_id = struct.unpack_from(">IIiIi", data, 52)
    return Header(
        page_size=65536 if page_size == 1 else page_size,
        page_count=page_count,
        # Who reads goes by this number, whatever the one for writers before it says.
        wal=data[19] == 2,
        auto_vacuum=(2 if incremental else 1) if largest_root else 0,
        encoding=_ENCODINGS.get(encoding, "UTF-8"),
        user_version=user_version,
        application_id=application_id,
        freelist_count=struct.unpack_from(">I", data, 36)[0],
        written_by=struct.unpack_from(">I", data, 96)[0],
    )


def read_header(path: Path) -> Header | None:
    """The header of the file ``path``.

    Never call it on a database that this process has open: closing any descriptor of a file drops all POSIX
    locks of the process on it (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    with places.reading(path, alone=False) as file:
        return parse_header(file.read(HEADER_BYTES))


def sidecar(path: Path, suffix: str) -> Path:
    """The file that SQLite keeps beside ``path``: ``-wal``, ``-shm`` or ``-journal``."""
    return path.with_name(path.name + suffix)


def locate(given: Path, *, allow_empty: bool = False) -> Source:
    """Find the database that ``given`` names and look at its header; nothing is opened with SQLite.

    Raises ``SourceMissingError`` for what is missing, empty or no database, ``RefusedError`` for a file with a
    second hard link: its ``-wal`` is found by name, so through another name committed data would be missed.
    """
    given = Path(os.path.abspath(given))
    with doing():
        try:
            path = places.resolved(given)
            kind = os.lstat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise SourceMissingError("the file does not exist.", hint="Check the path.") from None
        if not stat.S_ISREG(kind):
            what = "a directory" if stat.S_ISDIR(kind) else "not a regular file"
            raise SourceMissingError(f"it is {what}.", hint="Name the database file itself.")
        with places.reading(path, alone=False) as file:
            status, start = os.fstat(file.fileno()), file.read(HEADER_BYTES)
    check_sidecars(path)
    if status.st_nlink > 1 and status.st_nlink - _undo_links(path, status) > 1:
        raise RefusedError(
            f"the file has {status.st_nlink} hard links, and SQLite finds its -wal by name.",
            hint=f"Remove the other names (find them with: find DIR -samefile {path}), or name a symbolic link.",
        )
    return Source(given, path, status, _checked_header(start, status, allow_empty=allow_empty))


def check_sidecars(path: Path) -> None:
    """Raise ``RefusedError`` unless each of what lies beside ``path`` is a regular file of its own, or missing.

    SQLite would wait for ever for a fifo, and what a link leads to is not of this database. To be asked first of all
    that is done with a database, since its directory may belong to somebody else.
    """
    for suffix in SIDECARS:
        side = sidecar(path, suffix)
        with doing():
            try:
                status = os.lstat(side)
            except FileNotFoundError:
                continue
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            kind = _KINDS.get(stat.S_IFMT(status.st_mode), f"a file with {status.st_nlink} hard links")
            raise RefusedError(
                f"{side.name} beside it is {kind}, which SQLite never makes.",
                hint="Find out who put it there, and move it away.",
            )


def _undo_links(path: Path, status: os.stat_result) -> int:
    """How many names of this file an interrupted restore of it left behind; those are ours and harmless."""
    count = 0
    for leftover in second_names_of(path):
        with contextlib.suppress(OSError, EngineError), places.at(leftover) as (name, parent):
            count += os.path.samestat(os.stat(name, dir_fd=parent, follow_symlinks=False), status)
    return count


def _checked_header(start: bytes, status: os.stat_result, *, allow_empty: bool) -> Header | None:
    if status.st_size == 0:
        if allow_empty:
            return None
        raise SourceMissingError("the file has zero bytes.", hint="If an empty database is meant, set allow_empty.")
    header = parse_header(start)
    if header is None:
        raise SourceMissingError(
            f"the file is not a database ({_describe(start, status.st_size)}).",
            hint="Name an SQLite 3 database; unpack an archive, export an encrypted database first.",
        )
    return header


def _describe(start: bytes, size_bytes: int) -> str:
    for known, what in _KNOWN_STARTS.items():
        if start.startswith(known):
            return what
    if size_bytes % 512 == 0 and len(set(start)) > HEADER_BYTES // 2:
        return "it looks random: perhaps encrypted, by SQLCipher for one"
    # Never its bytes: a link may have led to what only root may read.
    return "it begins as nothing that is known"


@contextlib.contextmanager
def _decoded() -> Iterator[None]:
    """SQLite quotes names as they are; Python would fail to decode the message, and lose the error."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise sqlite3.DatabaseError(error.object.decode("utf-8", errors="replace")) from None
    except sqlite3.DatabaseError as error:
        if str(error):
            raise
        # Before Python 3.11 such a message is lost. What quotes a name is a schema that cannot be parsed, which is
        # damage and has a class of its own; else it is what this SQLite lacks.
        damaged = not isinstance(error, sqlite3.OperationalError)
        text = "malformed, with a message that is not UTF-8" if damaged else "no such function: its name is not UTF-8"
        raise type(error)(text) from None


class _Cursor(sqlite3.Cursor):
    """One whose errors are SQLite's, whatever bytes are in their messages."""

    def execute(self, *arguments: Any) -> _Cursor:
        with _decoded():
            return super().execute(*arguments)

    def fetchone(self) -> Any:
        with _decoded():
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with _decoded():
            return super().fetchall()

    def __next__(self) -> Any:
        with _decoded():
            return super().__next__()


class Connection(sqlite3.Connection):
    """One whose errors are SQLite's; ``trouble`` is what it cannot parse of the schema, see ``schema.load``."""

    trouble: object = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._cursors: weakref.WeakSet[_Cursor] = weakref.WeakSet()

    def cursor(self, *_factory: Any) -> _Cursor:  # type: ignore[override]
        cursor = super().cursor(_Cursor)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        """Close the file now: a statement that is left, as in the traceback of an error, would keep it open.

        Windows neither removes nor replaces a file that is open.
        """
        for each in list(self._cursors):
            each.close()
        super().close()

    def execute(self, *arguments: Any) -> _Cursor:
        return self.cursor().execute(*arguments)


def _quoted(path: Path) -> str:
    # Not by pathlib, which loads what it needs for that only now, perhaps as a user who may not read Python's library.
    if os.name == "nt":
        # Whole, with its drive or its server: SQLite passes on to Windows what is behind "file:".
        return urllib.parse.quote(os.path.abspath(path), safe="")
    return urllib.parse.quote_from_bytes(os.fsencode(path))


def connect(path: Path, *, mode: str = "ro", immutable: bool = False, busy_seconds: float = 0.0) -> Connection:
    """Open ``path`` in autocommit mode, hardened against a hostile schema.

    ``immutable`` takes no locks and makes no files: for private files that nobody else writes.
    """
    return _opened(f"file:{_quoted(path)}?mode={mode}{'&immutable=1' if immutable else ''}", busy_seconds)


def connect_in_memory() -> Connection:
    """Open an empty database in memory as ``connect`` does."""
    return _opened("file::memory:", 0.0)


def _opened(uri: str, busy_seconds: float) -> Connection:
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=0,
        factory=Connection,
    )
    connection.text_factory = lambda data: data.decode("utf-8", errors="replace")
    try:
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA cell_size_check=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def check_opened(expected: os.stat_result) -> None:
    """Raise ``SourceBusyError`` when SQLite, which opens by name, was led to another file. Only Linux can tell."""
    if sys.platform != "linux":
        return
    for each in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(f"/proc/self/fd/{each}"), expected):
                return
    raise SourceBusyError(
        "another file took its place while it was opened.",
        hint="Find out who renames files there, then run again.",
    )


def attach(connection: sqlite3.Connection, path: Path, name: str, *, mode: str = "ro") -> None:
    """Let ``connection`` use the private file ``path`` as the schema ``name``; with ``ro`` nobody writes it."""
    uri = f"file:{_quoted(path)}?mode={mode}{'&immutable=1' if mode == 'ro' else ''}"
    connection.execute(f"ATTACH ? AS {name}", (uri,))


def needs_recovery(path: Path) -> bool:
    """Whether ``path`` has a rollback journal that was not finished (https://www.sqlite.org/lockingv3.html#hot_journals)."""
    try:
        with places.reading(sidecar(path, JOURNAL)) as journal:
            return journal.read(1) not in (b"", b"\x00")
    except FileNotFoundError:
        return False


def _may_open(path: Path) -> bool:
    """Whether this user has the rights that SQLite needs to read ``path``."""
    there = [each for each in (sidecar(path, suffix) for suffix in ("", *SIDECARS)) if os.path.lexists(each)]
    effective = os.access in os.supports_effective_ids
    wanted = [(path.parent, os.W_OK), *((each, os.R_OK) for each in there)]
    return all(os.access(each, right, effective_ids=effective) for each, right in wanted)


def from_sqlite_error(error: sqlite3.Error, path: Path) -> EngineError:
    """The engine's error for what SQLite said. Its texts are stable: https://www.sqlite.org/rescode.html."""
    text = str(error)
    # First, since this one quotes a name from the schema, which may hold any of the words below.
    if any(words in text for words in ("malformed", "not a database", "unsupported file format")):
        return SourceCorruptError(f"SQLite says: {text}.", hint="Verify it, and restore the newest good backup.")
    if "I/O error" in text or ("unable to open" in text and _may_open(path) and not needs_recovery(path)):
        return StorageFailedError(
            f"SQLite says: {text}.",
            hint="Look at the disks of the database and of the repository, and at the kernel's log, then run again.",
        )
    if any(words in text for words in ("locked", "busy", "interrupted")):
        cause = "the timeout passed" if "interrupted" in text else "another process keeps it locked"
        return SourceBusyError(f"{cause}.", hint="Raise timeout, or find the long transaction.")
    if ("readonly" in text or "unable to open" in text) and needs_recovery(path):
        return SourceCorruptError(
            f"it needs recovery, an unfinished transaction is in {sidecar(path, JOURNAL).name}.",
            hint="Start its application, or run: sqlite3 FILE 'SELECT 1' as its owner. Do not delete the journal.",
            needs_recovery=True,
        )
    if "readonly" in text or "unable to open" in text or "authorization denied" in text:
        return PermissionDeniedError(f"{text}.", hint="Run as the owner of the database, or as root.")
    if "disk is full" in text:
        return NoSpaceError(f"{text}.", hint="Free some space, then run again.")
    if "no such module" in text:
        return ProgramMissingError(f"{text}.", hint="Use a Python whose SQLite has that module.")
    return EngineError(f"SQLite says: {text}.")
