# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Do to a database, a repository or a disk what happens to them in real life.

hurt.py corrupt PATH   overwrite a page, as a disk or a careless program does
hurt.py crash PATH     commit, so that only the -wal has it, and lose the -shm, as when the machine goes down
hurt.py journal PATH   die within a transaction whose pages are written already: a hot journal stays
hurt.py fill PATH      write a file until its disk is full
hurt.py lock PATH      hold a repository's lock until killed, as a run that hangs
"""

from __future__ import annotations

import errno
import os
import sqlite3
import sys
import time
from pathlib import Path

RUNNER = "/usr/local/bin/sqlite-backup"
PAGE_BYTES = 4096
CRASH_MARK = "before the crash at "


def corrupt(path: Path) -> None:
    """The page in the middle: far behind what opening a database looks at."""
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // PAGE_BYTES // 2 * PAGE_BYTES)
        stream.write(b"\xff" * PAGE_BYTES)


def crash(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute('UPDATE "AgentRun" SET status = ?', (f"{CRASH_MARK}{time.time()}",))
    Path(f"{path}-shm").unlink()
    os._exit(0)  # a connection that is closed would clean up


def journal(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")  # pages, so that they are written before the commit
    connection.execute("BEGIN IMMEDIATE")
    connection.execute('UPDATE "AgentRun" SET state = state || state, status = ?', (f"{CRASH_MARK}{time.time()}",))
    os._exit(0)


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(bytes(PAGE_BYTES))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def lock(path: Path) -> None:
    sys.path.insert(0, RUNNER)
    from _engine.system import locks

    with locks.held(path / ".lock", timeout_seconds=60):
        time.sleep(3600)


def recover(path: Path) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    query = 'SELECT count(*), count(iif(status GLOB ?, 1, NULL)) FROM "AgentRun"'
    (runs, marked) = connection.execute(query, (f"{CRASH_MARK}*",)).fetchone()
    print({runs: "committed", 0: "rolled back"}.get(marked, f"{marked} of {runs}"))


HURT = {"corrupt": corrupt, "crash": crash, "journal": journal, "fill": fill, "lock": lock, "recover": recover}

if __name__ == "__main__":
    HURT[sys.argv[1]](Path(sys.argv[2]))
