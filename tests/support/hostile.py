# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that do to a WAL database whatever an application may do to it, at random and without pause.

They commit, roll back, delete, vacuum and checkpoint in every way, so that each state of the write-ahead log comes up:
growing, copied in part, copied as a whole, started again, cut to nothing. `commits_in` tells how often they committed.

    python3 tests/support/hostile.py a.db SEED
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

BUSY_SECONDS = 0.02
MOST_ROWS = 400
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")


class Hostile:
    """One of them; what it does depends on the seed alone, when it does it does not."""

    def __init__(self, path: str, seed: int) -> None:
        self._random = random.Random(seed)
        self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
        self._connection.execute("PRAGMA synchronous=OFF")
        self._connection.execute(f"PRAGMA wal_autocheckpoint={(5, 50, 1000)[seed % 3]}")
        # So small that a large transaction reaches the log before its commit.
        self._connection.execute("PRAGMA cache_size=10")

    def run(self) -> None:
        parent = os.getppid()
        print("ready", flush=True)
        while os.getppid() == parent:
            with contextlib.suppress(sqlite3.OperationalError):
                self._step()

    def _step(self) -> None:
        dice = self._random.random()
        if dice < 0.75:
            self._transaction()
        elif dice < 0.94:
            self._execute(f"PRAGMA wal_checkpoint({self._random.choice(CHECKPOINTS)})")
        elif dice < 0.96:
            self._execute("VACUUM")
        else:
            time.sleep(self._random.random() * 0.02)

    def _transaction(self) -> None:
        self._execute("BEGIN IMMEDIATE")
        try:
            for _unused in range(self._random.choice((1, 1, 1, 30))):
                self._change()
            self._execute("UPDATE hostile SET commits = commits + 1")
        except sqlite3.OperationalError:
            self._execute("ROLLBACK")
            raise
        self._execute(self._random.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))

    def _change(self) -> None:
        dice = self._random.random()
        if dice < 0.55:
            self._execute("INSERT INTO noise(data) VALUES (randomblob(?))", self._random.randint(1, 6000))
        elif dice < 0.8:
            self._execute("UPDATE noise SET data = randomblob(500) WHERE id % 7 = ?", self._random.randint(0, 6))
        else:
            self._execute("DELETE FROM noise WHERE id % 5 = ?", self._random.randint(0, 4))
        self._execute("DELETE FROM noise WHERE id <= (SELECT max(id) FROM noise) - ?", MOST_ROWS)

    def _execute(self, sql: str, *values: int) -> None:
        self._connection.execute(sql, values).fetchall()


def make(path: Path, *, page_size: int) -> Path:
    """A WAL database for them."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size={page_size}")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE noise(id INTEGER PRIMARY KEY, data)")
        connection.execute("CREATE TABLE hostile(commits)")
        connection.execute("INSERT INTO hostile VALUES (0)")
    return path


def commits_in(connection: sqlite3.Connection) -> int:
    """How many of their transactions were committed."""
    return int(connection.execute("SELECT commits FROM hostile").fetchone()[0])


@contextlib.contextmanager
def running(path: Path, *, seeds: range) -> Iterator[None]:
    """One process for each seed works on ``path`` until the block ends."""
    with contextlib.ExitStack() as stack:
        for seed in seeds:
            command = [sys.executable, __file__, os.fspath(path), str(seed)]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield


if __name__ == "__main__":
    Hostile(sys.argv[1], int(sys.argv[2])).run()
