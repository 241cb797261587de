# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database whose pages a test can change one by one, and the repository of its backups, in one directory."""

from __future__ import annotations

import contextlib
import copy
import gzip
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import Manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, info, restore, verify
from support import databases

PAGE_SIZE = 512
ROWS = 40
# A row and its header fill a page, so that no two rows share one.
_ROW_CHARACTERS = 400


class Site:
    """``database`` holds ``ROWS`` rows of a page each; gzip, so that no test depends on a program."""

    def __init__(self, directory: Path, *, existing: bool = False, **options: Any) -> None:
        self.directory = directory
        self.repository = directory / "repository"
        self.database = directory / "agent.db"
        if not existing:
            make(self.database, **options)

    def copied_to(self, directory: Path) -> Site:
        """The same database and backups below a directory that does not exist yet, to read and to damage there."""
        shutil.copytree(self.directory, directory)
        site = copy.copy(self)
        site.directory = directory
        site.repository = directory / self.repository.name
        site.database = directory / self.database.name
        return site

    def back_up(self, *, dry_run: bool = False, progress: Any = None, **options: Any) -> backup.Outcome:
        wanted = {"path": self.database, "repository": self.repository, "compression": "gzip", **options}
        return backup.run(backup.Request(**wanted), dry_run=dry_run, progress=progress)

    def stored(self, **options: Any) -> Manifest:
        """The manifest of a new backup, which must have been made, of a sound database."""
        outcome = self.back_up(**options)
        assert outcome.error is None
        assert outcome.changed
        assert outcome.backup is not None
        return outcome.backup.trusted()

    def change(self, rows: int | Iterable[int] = 1, text: str = "") -> None:
        """Write other content of the same length into so many rows, or into just these: as many pages differ."""
        numbers = range(1, rows + 1) if isinstance(rows, int) else rows
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN")
            for number in numbers:
                content = (text or os.urandom(8).hex()).ljust(_ROW_CHARACTERS, "-")
                connection.execute("UPDATE page SET content = ? WHERE id = ?", (content, number))
            connection.execute("COMMIT")
        # Else a run waits until it can tell an idle database from one that was written to just now.
        databases.settle(self.database)

    def corrupt(self) -> bytes:
        """Overwrite a page that holds rows, so that quick_check fails; the whole content before."""
        before = self.database.read_bytes()
        self.database.write_bytes(before[:-PAGE_SIZE] + b"\x00\xff" * (PAGE_SIZE // 2))
        return before

    def open(self) -> Repository:
        return Repository.open_existing(self.repository)

    def ids(self) -> list[str]:
        """Every backup, the oldest first."""
        return [each.id for each in self.open().backups()]

    def history(self) -> list[dict[str, Any]]:
        return self.open().history()

    def index(self) -> Path:
        """The page index, which exists only for the newest backup."""
        (path,) = (self.repository / ".index").glob("*Z-*")
        assert path.name == self.ids()[-1]
        return path

    def settled(self) -> bytes:
        """The content of the database in one file, as SQLite itself brings its log back into a copy.

        On Windows the engine never reads it directly, so there it is what SQLite's backup interface copies.
        """
        scratch = self.directory / "settled.db"
        databases.copy_live(self.database, scratch)
        with contextlib.closing(sqlite3.connect(scratch, isolation_level=None)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            content = databases.image_of(connection) if sys.platform == "win32" else scratch.read_bytes()
        scratch.unlink()
        return content

    def restored(self, wanted: str = "latest", keys: Keys = NO_KEYS, **options: Any) -> bytes:
        """What a restore of this backup to a new place comes to."""
        with tempfile.TemporaryDirectory() as scratch:
            dest = Path(scratch, self.database.name)
            request = {"repository": self.repository, "backup": wanted, "dest": dest, "keys": keys, "check": "full"}
            restore.run(restore.Request(**{**request, **options}))
            return dest.read_bytes()

    def verified(self, level: str, keys: Keys = NO_KEYS) -> tuple[str, int]:
        """The outcome for all backups, and the code of the error."""
        result = verify.verify_backups(self.open(), "all", verify.Expectations(level), keys=keys)
        return result.outcome, result.error.code if result.error else 0

    def listed(self, keys: Keys = NO_KEYS) -> list[dict[str, Any]]:
        """Every backup as it is listed."""
        found: list[dict[str, Any]] = info.describe_repository(self.open(), keys=keys)["backups"]
        return found

    def tree(self) -> dict[str, tuple[int, int, str]]:
        """Every file and directory below, with its inode, the time of its last change, and the digest of a file."""
        return {path.relative_to(self.directory).as_posix(): _entry(path) for path in self.directory.rglob("*")}


def _entry(path: Path) -> tuple[int, int, str]:
    status = path.stat()
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return status.st_ino, status.st_mtime_ns, digest


def make(path: Path, *, rows: int = ROWS, journal_mode: str = "wal", page_size: int = PAGE_SIZE) -> Path:
    """A closed database with the table ``page(id, content)``, whose rows have a page each, and the table ``item``."""
    create = "CREATE TABLE page(id INTEGER PRIMARY KEY, content TEXT NOT NULL)"
    databases.make(path, journal_mode=journal_mode, page_size=page_size, setup=create)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        contents = ((f"page {number} ".ljust(_ROW_CHARACTERS, "-"),) for number in range(1, rows + 1))
        connection.executemany("INSERT INTO page(content) VALUES (?)", contents)
        connection.execute("COMMIT")
    databases.settle(path)
    return path


def differing_pages(before: bytes, after: bytes, page_size: int = PAGE_SIZE) -> int:
    """How many pages of ``after`` are new or other than in ``before``."""
    places = range(0, len(after), page_size)
    return sum(1 for place in places if before[place : place + page_size] != after[place : place + page_size])


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def assert_incremental(site: Site, document: Manifest, changed_pages: int) -> None:
    """The newest backup, ``document``, builds on the one before, stores so many pages, and restores exactly."""
    assert (document.type, document.parent) == ("incremental", site.ids()[-2])
    assert [each.role for each in document.files][:1] == ["pages"]
    assert "why_full" not in site.history()[-1]
    assert document.image.sha256 == sha256(site.settled())
    assert site.restored(document.id) == site.settled()
    assert stored_pages(site, document) == changed_pages


def assert_full(site: Site, document: Manifest, why: str) -> None:
    """The newest backup, ``document``, needs no other; the audit log says ``why``; it restores exactly."""
    assert (document.type, document.parent) == ("full", None)
    assert [each.role for each in document.files][:1] == ["image"]
    assert why in site.history()[-1]["why_full"]
    assert site.restored(document.id) == site.settled()


def stored_pages(site: Site, document: Manifest) -> int:
    """The records in the stream of changed pages, which is compressed with gzip."""
    stream = gzip.decompress((site.repository / document.id / document.content_file.path).read_bytes())
    record = 4 + document.image.page_size
    assert (len(stream) - 28) % record == 0
    return (len(stream) - 28) // record
