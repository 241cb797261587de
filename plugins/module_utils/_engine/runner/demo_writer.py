# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application of the demo: a process that commits to a database without pause, and says what it committed."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from pathlib import Path

from ..sqlite.library import sqlite3

TABLE = "demo_heartbeat"
_PAUSE_SECONDS = 0.002


def main() -> None:
    """Commit numbers, from 1 on, and print each behind its commit; ends with the standard input."""
    threading.Thread(target=_end_with_input, daemon=True).start()
    with contextlib.closing(sqlite3.connect(sys.argv[2], isolation_level=None, timeout=60)) as connection:
        connection.execute(f"CREATE TABLE {TABLE} (number INTEGER PRIMARY KEY, at REAL, padding BLOB)")
        number = 0
        while True:
            number += 1
            connection.execute(f"INSERT INTO {TABLE} VALUES (?, ?, randomblob(200))", (number, time.time()))
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()
            time.sleep(_PAUSE_SECONDS)


def _end_with_input() -> None:
    """Whoever started this is gone, in whatever way."""
    sys.stdin.buffer.read()
    os._exit(0)


def committed(path: Path) -> tuple[int, int]:
    """How many numbers are in the database at ``path``, and the highest."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        count, last = connection.execute(f"SELECT count(*), max(number) FROM {TABLE}").fetchone()
    return count, last or 0
