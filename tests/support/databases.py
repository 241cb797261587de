# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small real databases for tests, and ways to look at them that do not use the engine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import sys
import tempfile
from pathlib import Path


def make(path: Path, *, rows: int = 3, journal_mode: str = "wal", page_size: int = 4096, setup: str = "") -> Path:
    """A closed database with the table ``item(id, name)`` and as many rows; ``setup`` is SQL that runs first."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.executescript(setup)
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("BEGIN")
        connection.execute("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        connection.executemany("INSERT INTO item(name) VALUES (?)", [(f"name {n}",) for n in range(rows)])
        connection.execute("COMMIT")
    return path


def with_missing_module(path: Path, declaration: str = "nowhere(a, b)") -> Path:
    """Declare the virtual table ``virtual`` of a module that no SQLite has, as its application would have loaded it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        sql = f"CREATE VIRTUAL TABLE virtual USING {declaration}"
        connection.execute("INSERT INTO sqlite_master VALUES ('table', 'virtual', 'virtual', 0, ?)", (sql,))
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        connection.execute(f"PRAGMA schema_version={version + 1}")
    return path


def open_writer(path: Path) -> sqlite3.Connection:
    """A connection in autocommit mode that never checkpoints by itself."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint=0")
    return connection


def add(path: Path, name: str) -> None:
    """Commit one more row."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO item(name) VALUES (?)", (name,))


def names(path: Path) -> list[str]:
    """Every name, by a connection of its own that may write what recovery needs: as the application would see it."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]


def tree(directory: Path) -> dict[str, str]:
    """Every file below ``directory`` with the digest of its bytes: to see that nothing was touched."""
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def image_of(connection: sqlite3.Connection) -> bytes:
    """What ``connection`` sees, as SQLite's backup interface copies it: within a transaction, what that sees."""
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory, "copy.db")
        with contextlib.closing(sqlite3.connect(copy)) as other:
            other.execute("PRAGMA synchronous=OFF")
            connection.backup(other)
        return copy.read_bytes()


def masked(image: bytes) -> bytes:
    """``image`` without what the backup interface sets anew: change counter, schema cookie, version fields."""
    content = bytearray(image)
    for begin, end in ((24, 28), (40, 44), (92, 100)):
        content[begin:end] = bytes(end - begin)
    return bytes(content)


def flip_bit(path: Path, position: int) -> None:
    """Flip one bit of the byte at ``position``."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def copy_live(source: Path, dest: Path) -> None:
    """Copy the files of a database as a crash would leave them: no process has the copy open."""
    for suffix in ("", "-wal", "-journal"):
        part = source.with_name(source.name + suffix)
        if part.exists():
            dest.with_name(dest.name + suffix).write_bytes(part.read_bytes())


def crashed_wal(path: Path, *, rows: int = 3) -> Path:
    """A database whose last commit, the name "only in wal", is nowhere but in its ``-wal``."""
    origin = make(path.with_name(f"origin-of-{path.name}"), rows=rows)
    with contextlib.closing(open_writer(origin)) as connection:
        connection.execute("INSERT INTO item(name) VALUES ('only in wal')")
        copy_live(origin, path)
    origin.unlink()
    assert path.with_name(f"{path.name}-wal").stat().st_size > 0
    return path


def crashed_journal(path: Path, *, rows: int = 500) -> Path:
    """A database with a hot rollback journal: half of a big update is in the main file, and was never committed."""
    origin = make(path.with_name(f"origin-of-{path.name}"), rows=rows, journal_mode="delete", page_size=512)
    with contextlib.closing(open_writer(origin)) as connection:
        connection.execute("PRAGMA cache_size=5")
        connection.execute("BEGIN")
        connection.execute("UPDATE item SET name = 'never committed ' || id")
        copy_live(origin, path)
    origin.unlink()
    journal = path.with_name(f"{path.name}-journal")
    assert journal.read_bytes()[:1] not in (b"", b"\x00")
    return path


# What a path may hold and careless code trips over: in a shell, in an SQL string, in a URI, as an option, in UTF-8.
ODD_NAMES = (
    (
        "with space",
        "quote'\"s",
        "new\nline",
        "what?#100%41&x=1",
        "-dash",
        "dätä 数据",
        os.fsdecode(b"raw\xff\xfe"),
    )
    if sys.platform != "win32"
    else ("with space", "quote's", "#100%41&x=1", "-dash", "dätä 数据")
)


def lose_an_entry(path: Path) -> None:
    """An index lacks one row of its table: quick_check does not look, integrity_check does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX IF NOT EXISTS by_name ON item(name)")
        connection.execute("PRAGMA writable_schema=ON")
        change = "UPDATE sqlite_master SET sql = 'CREATE INDEX by_name ON item(name)' || ? WHERE name = 'by_name'"
        connection.execute(change, (" WHERE id < 0",))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO item(name) VALUES ('lost')")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(change, ("",))
    settle(path)


def settle(path: Path) -> None:
    """Let a database look as if it was last written to some time ago."""
    past = path.stat().st_mtime - 60
    os.utime(path, (past, past))
