# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real databases, real backups, and what becomes of them by bytes that change: from a seed, the same in every run."""

from __future__ import annotations

import contextlib
import json
import os
import random
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import examination, seal
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import databases
from support.sites import Site

SEED = 20251230
NAME = "agent.db"
_SCHEMA = """
CREATE TABLE run(id INTEGER PRIMARY KEY, name TEXT NOT NULL, data BLOB, parent REFERENCES run);
CREATE TABLE fact(kind TEXT, key TEXT, value, PRIMARY KEY(kind, key)) WITHOUT ROWID;
CREATE INDEX run_by_name ON run(name, id DESC);
CREATE VIEW long AS SELECT name FROM run WHERE length(data) > 50;
CREATE TRIGGER noted AFTER DELETE ON run BEGIN INSERT OR REPLACE INTO fact VALUES ('gone', old.id, old.name); END;
"""


def _fill(path: Path, page_size: int, setup: str = "") -> sqlite3.Connection:
    """A database with tables, overflowing rows, an index, free pages; its open connection."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA page_size={page_size}")
    connection.executescript(setup + _SCHEMA)
    chance = random.Random(page_size)
    connection.execute("BEGIN")
    for number in range(60):
        data = chance.randbytes(chance.choice((0, 40, 3 * page_size if number % 20 == 0 else 90)))
        connection.execute("INSERT INTO run(name, data) VALUES (?, ?)", (f"run {number}", data))
        connection.execute("INSERT INTO fact VALUES ('k', ?, ?)", (number, number * 1.5))
    connection.execute("COMMIT")
    connection.execute("DELETE FROM run WHERE id % 7 = 0")
    return connection


def _closed(page_size: int, setup: str = "") -> Callable[[Path], None]:
    return lambda directory: _fill(directory / NAME, page_size, setup).close()


def _in_use(page_size: int, suffixes: tuple[str, ...]) -> Callable[[Path], None]:
    """A copy of a database in WAL mode while a process has commits in the log."""

    def make(directory: Path) -> None:
        origin = directory / "origin.db"
        with contextlib.closing(_fill(origin, page_size)) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            for number in range(5):
                connection.execute("UPDATE run SET name = name || ? WHERE id % 5 = ?", (f" {number}", number))
            for suffix in suffixes:
                content = origin.with_name(origin.name + suffix).read_bytes()
                (directory / f"{NAME}{suffix}").write_bytes(content)
        origin.unlink()

    return make


def _with_journal(directory: Path) -> None:
    databases.crashed_journal(directory / NAME)


LIVE: dict[str, Callable[[Path], None]] = {
    **{f"pages of {size} bytes": _closed(size) for size in (512, 1024, 4096, 65536)},
    "auto_vacuum": _closed(1024, "PRAGMA auto_vacuum=FULL;"),
    "UTF-16": _closed(1024, "PRAGMA encoding='UTF-16le';"),
    "a log": _in_use(1024, ("", "-wal")),
    "a log and its index": _in_use(4096, ("", "-wal", "-shm")),
    "a hot journal": _with_journal,
}
"""Databases by what is special about them; each makes its files in an empty directory."""


def mutate(chance: random.Random, path: Path) -> None:
    """Change some bytes of the file, most likely near its beginning, where its header is."""
    content = bytearray(path.read_bytes())
    for _round in range(chance.choice((1, 1, 1, 2, 5))):
        if content:
            chance.choice(_MUTATIONS)(chance, content)
    path.write_bytes(content)


def _place(chance: random.Random, content: bytearray) -> int:
    return chance.randrange(min(len(content), chance.choice((100, 200, 1024, len(content), len(content)))))


def _flip_bit(chance: random.Random, content: bytearray) -> None:
    content[_place(chance, content)] ^= 1 << chance.randrange(8)


def _put_number(chance: random.Random, content: bytearray) -> None:
    """A number at a limit, in one, two or four bytes."""
    form, values = chance.choice(
        (
            ("B", (0, 1, 127, 128, 255)),
            (">H", (0, 1, 511, 0x7FFF, 0x8000, 0xFFFF)),
            (">I", (0, 1, 2, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
        )
    )
    place = _place(chance, content)
    data = struct.pack(form, chance.choice(values))
    content[place : place + len(data)] = data[: len(content) - place]


def _put_noise(chance: random.Random, content: bytearray) -> None:
    place = _place(chance, content)
    length = min(chance.choice((2, 8, 64, 512)), len(content) - place)
    content[place : place + length] = chance.randbytes(length)


def _clear(chance: random.Random, content: bytearray) -> None:
    place = _place(chance, content)
    length = min(chance.choice((8, 512, 4096)), len(content) - place)
    content[place : place + length] = bytes(length)


def _exchange(chance: random.Random, content: bytearray) -> None:
    """Two pieces, as when a disk writes a sector to the wrong place."""
    size = chance.choice((16, 512, 1024))
    if len(content) >= 2 * size:
        one, other = (size * chance.randrange(len(content) // size) for _side in range(2))
        content[one : one + size], content[other : other + size] = (
            content[other : other + size],
            content[one : one + size],
        )


def _cut(chance: random.Random, content: bytearray) -> None:
    del content[_place(chance, content) :]


def _lengthen(chance: random.Random, content: bytearray) -> None:
    content += bytes(chance.choice((1, 100, 512))) + chance.randbytes(chance.choice((0, 512)))


_MUTATIONS = (_flip_bit, _flip_bit, _put_number, _put_number, _put_noise, _clear, _exchange, _cut, _lengthen)


def make_repository(directory: Path) -> None:
    """A database, a full backup of it and an incremental one, noted and looked at once; nothing is compressed."""
    site = Site(directory)
    for rows in (2, 3):
        site.change(rows, "mutant")
        site.stored(compression="none", type="auto")
    assert site.verified("full") == ("passed", 0)
    assert [each.manifest.type for each in site.open().backups() if each.manifest] == ["full", "incremental"]


def forge(chance: random.Random, path: Path) -> None:
    """Give one value of a JSON document another one, of any type; what is sealed is sealed again."""
    document = json.loads(path.read_bytes())
    holder: Any = document
    sealed = "seal" in document
    while True:
        key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        if isinstance(holder[key], (dict, list)) and holder[key] and chance.random() < 0.8:
            holder = holder[key]
            continue
        if chance.random() < 0.1:
            del holder[key]
        else:
            holder[key] = chance.choice(_FORGERIES)
        break
    document.pop("seal", None)
    path.write_bytes(seal.to_bytes(document) if sealed else json.dumps(document, indent=2, sort_keys=True).encode())


_FORGERIES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2**31, 2**63, 10**400, 1.5, 1e400, float("nan")),
    *("", "x", "/", "..", "../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", "x" * 5000, "incremental", "full"),
    *("none", "zstd", "gzip", "age", "2025-12-30T12:00:00Z", "9999-99-99T99:99:99Z", "0" * 64, "image", "pages"),
    *([], {}, [None], [[]], {"": {}}, ["x"], {"path": "x"}),
)


def stored_files(repository: Path) -> list[Path]:
    return sorted(each for each in repository.rglob("*") if each.is_file() and ".locks" not in each.parts)


def back_up(database: Path, repository: Path, check: str) -> bool:
    """Store what ``database`` holds, and whether all of it could be checked; raises as well when it is suspect."""
    request = backup.Request(database, repository, compression="none", check=check, lock_timeout_seconds=0)
    outcome = backup.run(request)
    if outcome.error is not None:
        raise outcome.error
    return outcome.backup is not None and not examination.doubts(outcome.backup.trusted().checks)


def said_by_sqlite(database: Path, check: str) -> str:
    """The content as SQLite alone reads it, of a copy of all files; empty when it finds anything wrong."""
    copy = database.with_name("oracle") / database.name
    copy.parent.mkdir()
    for suffix in ("", "-wal", "-shm", "-journal"):
        part = database.with_name(database.name + suffix)
        if part.exists():
            copy.with_name(copy.name + suffix).write_bytes(part.read_bytes())
    return content_of(copy, check)


def content_of(path: Path, check: str) -> str:
    """All rows of all tables of a database that passes the check; else empty."""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            # Such bytes are no text, and are compared all the same.
            connection.text_factory = bytes
            pragma = "quick_check" if check == "quick" else "integrity_check"
            if connection.execute(f"PRAGMA {pragma}").fetchall() != [(b"ok",)]:
                return ""
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
            rows = []
            for (name,) in names:
                quoted = name.decode().replace('"', '""')
                rows.append((name, connection.execute(f'SELECT * FROM "{quoted}"').fetchall()))
            return repr(rows) + os.fsdecode(b"".join(name for (name,) in names))
    except sqlite3.Error:
        return ""
    except UnicodeDecodeError:
        # Python cannot hand over a column of such a name; nothing is wrong with it.
        return "a name that is no text"
