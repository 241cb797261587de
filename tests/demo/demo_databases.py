# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The demo's databases: make, copy, ruin and examine them, with nothing but Python's own sqlite3."""

from __future__ import annotations

import hashlib
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import writer  # from tests/support, where demo.py has pointed Python to
from ansible_run import DemoError

SAMPLES = 20_000
GARBAGE = b"This was a database until something wrote over it. "
# The copy, two backups, a restore beside the old file, and what the writer adds.
FREE_SPACE_FACTOR = 6


def make_metrics(path: Path) -> None:
    """Make a second, smaller database that nothing writes to."""
    numbers = random.Random(1)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("CREATE TABLE Sample (id INTEGER PRIMARY KEY, name TEXT NOT NULL, value REAL NOT NULL)")
        rows = [(f"queue_{number % 7}.length", numbers.random() * 100) for number in range(SAMPLES)]
        with connection:
            connection.executemany("INSERT INTO Sample (name, value) VALUES (?, ?)", rows)


def copy(source: Path, dest: Path) -> str:
    """Copy a database as it is at one moment, also while it is in use; returns its journal mode.

    The source is only read. The copy gets a WAL, because the demo's writer must never have to wait.
    """
    source = source.resolve()
    if not source.is_file():
        raise DemoError(f"Cannot copy {source}: there is no such file.")
    needed = source.stat().st_size * FREE_SPACE_FACTOR
    if shutil.disk_usage(dest.parent).free < needed:
        raise DemoError(f"Not enough space in {dest.parent} for work with {source}: set TMPDIR to a larger place.")
    before = _state(source)
    try:
        with writer.reading(source) as original, closing(sqlite3.connect(dest)) as connection:
            original.backup(connection)
            (mode,) = original.execute("PRAGMA journal_mode").fetchone()
            connection.execute("PRAGMA journal_mode = wal")
    except sqlite3.Error as error:
        raise DemoError(f"Cannot copy {source}: {error}.") from error
    if not before[-1] and _state(source) != before:
        raise DemoError(f"{source} was opened by another process while it was copied: start the demo again.")
    return str(mode)


def _state(path: Path) -> tuple[int, int, bool]:
    return path.stat().st_mtime_ns, path.stat().st_size, Path(f"{path}-wal").exists()


def delete(path: Path) -> None:
    for file in files_of(path):
        file.unlink()


def ruin(path: Path) -> int:
    """Leave the -wal of a process that was killed, then write garbage over the database itself.

    Returns how many commits that process had made.
    """
    with writer.running_writer(path) as late:
        commits = late.kill()
    length = path.stat().st_size
    path.write_bytes((GARBAGE * (length // len(GARBAGE) + 1))[:length])
    return commits


def files_of(path: Path) -> list[Path]:
    """The database and what SQLite keeps beside it, as far as there."""
    return [file for file in (Path(f"{path}{end}") for end in ("", "-wal", "-shm", "-journal")) if file.exists()]


def digest(path: Path) -> str:
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


def digests(path: Path) -> dict[str, str]:
    return {file.name: digest(file) for file in files_of(path)}


def integrity(path: Path) -> str:
    """`ok`, or the first thing that SQLite finds wrong."""
    try:
        with writer.reading(path) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return found.splitlines()[-1]  # a headline may come before it


def rows_per_table(path: Path, tables: list[str]) -> dict[str, int]:
    quoted = {table: '"' + table.replace('"', '""') + '"' for table in tables}
    with writer.reading(path) as connection:
        return {
            table: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for table, name in quoted.items()
        }


def tables(path: Path) -> set[str]:
    with writer.reading(path) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
