# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that is backed up: live, in WAL mode, with the changes of a busy service between the measurements."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3
import struct
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import agent_db

PAGE_BYTES = 4096
# SQLite's default: once the -wal has this many pages, a commit moves them into the database, and it is used again.
AUTOCHECKPOINT_PAGES = 1000
_UPDATES = (
    'UPDATE "LearningPattern" SET "timesApplied" = "timesApplied" + 1, "lastUsedAt" = "lastUsedAt" + 1 WHERE rowid = ?',
    'UPDATE "LearningPattern" SET "successRate" = round(1 - "successRate", 4) WHERE rowid = ?',
    """UPDATE "ErrorFact" SET "status" = iif("status" = 'open', 'resolved', 'open') WHERE rowid = ?""",
)


class LiveDatabase:
    """A database that an application has open, in WAL mode, with `synchronous = normal`.

    The connection stays open, so no backup tool is ever the last one to close the database and nothing is checkpointed
    behind the scenes: the -wal stays as the last commits left it. The same changes are made in the same order to every
    copy of a database.
    """

    def __init__(self, path: Path, *, autocheckpoint_pages: int = AUTOCHECKPOINT_PAGES) -> None:
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None)
        for pragma in (f"wal_autocheckpoint = {autocheckpoint_pages:d}", "synchronous = normal"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._wal = _Wal(path.with_name(f"{path.name}-wal"))
        self._changes = 0
        self._count("AgentRun")  # the first read makes the -wal

    def close(self) -> None:
        self._connection.close()

    @property
    def files(self) -> list[Path]:
        """What a backup reads."""
        return [self.path, self._wal.path]

    @property
    def page_count(self) -> int:
        return int(self._value("PRAGMA page_count"))

    def newest(self) -> tuple[object, ...]:
        """Something that tells this content from that of an hour ago."""
        return newest(self._connection)

    def change(self, share: float) -> None:
        """Commit what a busy service would, until `share` of the pages has changed, all over the file.

        Each commit adds one agent run, whose random keys go anywhere in the indexes, and updates older rows at random.
        """
        self._changes += 1
        pick = random.Random(self._changes)
        generator = agent_db.Generator(1000 + self._changes, first_run=self._count("AgentRun"))
        last = [self._count("LearningPattern"), self._count("LearningPattern"), self._count("ErrorFact")]
        wanted, changed = share * self.page_count, set(self._wal.new_pages())
        changed.clear()
        while len(changed) < wanted:
            self._connection.execute("BEGIN")
            for statement, rows in zip(agent_db.INSERTS, generator.batch(1)):
                self._connection.executemany(statement, rows)
            for statement, rowid in zip(_UPDATES, last):
                self._connection.execute(statement, (pick.randint(1, rowid),))
            self._connection.execute("COMMIT")
            changed.update(self._wal.new_pages())

    def _count(self, table: str) -> int:
        return int(self._value(f'SELECT max(rowid) FROM "{table}"'))

    def _value(self, statement: str) -> int:
        (value,) = self._connection.execute(statement).fetchone()
        return int(value)


def newest(connection: sqlite3.Connection) -> tuple[object, ...]:
    """The number of agent runs, the newest of them, and how often patterns were applied."""
    row: tuple[object, ...] = connection.execute(
        'SELECT (SELECT count(*) FROM "AgentRun"), (SELECT max("id") FROM "AgentRun"),'
        ' (SELECT sum("timesApplied") FROM "LearningPattern")'
    ).fetchone()
    return row


class _Wal:
    """Which pages the latest commits wrote. The format: https://www.sqlite.org/fileformat2.html#walformat."""

    _HEADER_BYTES, _FRAME_HEADER_BYTES = 32, 24
    _FRAME_BYTES = _FRAME_HEADER_BYTES + PAGE_BYTES

    def __init__(self, path: Path) -> None:
        self.path = path
        self._salts = b""
        self._frame = 0

    def new_pages(self) -> Iterator[int]:
        """The numbers of the pages in the frames that were added since the last call."""
        with self.path.open("rb", buffering=0) as file:
            salts = file.read(self._HEADER_BYTES)[16:24]
            if salts != self._salts:
                # All of it had been checkpointed, and the commit began at the top again.
                self._salts, self._frame = salts, 0
            for frame in itertools.count(self._frame):
                file.seek(self._HEADER_BYTES + frame * self._FRAME_BYTES)
                header = file.read(self._FRAME_HEADER_BYTES)
                if len(header) < self._FRAME_HEADER_BYTES or header[8:16] != salts:
                    return
                self._frame = frame + 1
                yield struct.unpack(">I", header[:4])[0]


@dataclass(frozen=True)
class Change:
    """What one change did to the image of the database."""

    pages: int
    of_pages: int
    compressed_bytes: int


def measure_changes(pristine: Path, folder: Path, shares: tuple[float, ...]) -> dict[float, Change]:
    """Make the changes on a copy, one after the other; of each the pages that differ, and their size by `zstd -3`."""
    folder.mkdir()
    shutil.copyfile(pristine, folder / "changed.db")
    measured = {}
    live = LiveDatabase(folder / "changed.db")
    with closing(live):
        before, after = folder / "before", folder / "after"
        _write_image(live.path, before)
        for share in shares:
            live.change(share)
            _write_image(live.path, after)
            measured[share] = _compare(before, after)
            after.replace(before)
    shutil.rmtree(folder)
    return measured


def _write_image(source: Path, dest: Path) -> None:
    with closing(sqlite3.connect(source)) as reader, closing(sqlite3.connect(dest)) as writer:
        writer.execute("PRAGMA synchronous = off")
        reader.backup(writer)


def _compare(before: Path, after: Path) -> Change:
    pages = 0
    with before.open("rb") as old, after.open("rb") as new, after.with_name("compressed").open("w+b") as compressed:
        command = ["zstd", "-q", "-c", "-3"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=compressed) as process:
            assert process.stdin is not None
            while page := new.read(PAGE_BYTES):
                if page != old.read(PAGE_BYTES):
                    pages += 1
                    process.stdin.write(page)
        if process.returncode != 0:
            raise RuntimeError("zstd failed")
        return Change(pages, after.stat().st_size // PAGE_BYTES, compressed.seek(0, 2))


def warm(paths: list[Path]) -> None:
    """Read every file once, so that each run finds them in the page cache.

    Another process does it: this one has the database open, and would lose SQLite's locks with the first descriptor of
    it that it closes (https://www.sqlite.org/howtocorrupt.html, 2.2).
    """
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        command = ["find", *existing, "-type", "f", "-exec", "cat", "{}", "+"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def folder_bytes(folder: Path) -> int:
    """The sizes of all files below `folder`."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
