# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small real service: it writes to its SQLite database all the time, and says at /health whether it works.

    python3 application.py --make 8 /srv/agent/agent.db
    python3 application.py --port 8080 /srv/agent/agent.db

It needs nothing but Python 3.9. It never makes a database that is missing, and ends with SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import sqlite3
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

WORKS = "the application works"
TABLE = "Beat"
_PAUSE_SECONDS = 0.05
_CHUNK_BYTES = 1024 * 1024


def make(path: Path, mebibytes: int) -> None:
    """A database of about that size, in which no two pages are alike."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE {TABLE}(id INTEGER PRIMARY KEY, note TEXT NOT NULL)")
        connection.execute("CREATE TABLE Bulk(content BLOB)")
        chunks = ((_CHUNK_BYTES,) for _number in range(mebibytes))
        connection.executemany("INSERT INTO Bulk VALUES (randomblob(?))", chunks)
        beat(connection)


def beat(connection: sqlite3.Connection) -> None:
    with connection:
        connection.execute(f"INSERT INTO {TABLE}(note) VALUES (strftime('%Y-%m-%dT%H:%M:%fZ'))")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=5)) as connection:
        yield connection


def check(path: Path) -> str:
    """What is wrong with the database that now has this name; empty when it is readable and accepts writes."""
    try:
        with opened(path) as connection:
            connection.execute(f"SELECT count(note) FROM {TABLE}").fetchone()
            (sound,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            beat(connection)
    except sqlite3.Error as error:
        return f"{path}: {error}"
    return "" if sound == "ok" else f"{path}: {sound}"


def write_until(stopped: threading.Event, path: Path) -> None:
    while not stopped.is_set():
        with contextlib.suppress(sqlite3.Error), opened(path) as connection:
            while not stopped.wait(_PAUSE_SECONDS):
                beat(connection)
        stopped.wait(_PAUSE_SECONDS)


def serve(path: Path, port: int) -> None:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wrong = check(path) if self.path == "/health" else "there is only /health"
            self.send_response(503 if wrong else 200)
            self.end_headers()
            self.wfile.write((wrong or WORKS).encode())

        def log_message(self, *_arguments: object) -> None:
            pass

    with opened(path):
        pass  # without a database it ends
    stopped = threading.Event()
    writer = threading.Thread(target=write_until, args=(stopped, path))
    signal.signal(signal.SIGTERM, lambda *_ignored: sys.exit(0))
    with HTTPServer(("127.0.0.1", port), Health) as server:
        writer.start()
        try:
            server.serve_forever(poll_interval=0.05)
        finally:
            stopped.set()
            writer.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("database", type=Path)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--make", type=int, metavar="MIB", help="make a database of this size instead")
    options = parser.parse_args()
    if options.make is None:
        serve(options.database, options.port)
    else:
        make(options.database, options.make)


if __name__ == "__main__":
    main()
