# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small service: it writes to its SQLite database all the time, and says over HTTP how it is.

    service.py /srv/agent/agent.db 8080

``GET /health`` answers 200 when the last write went well a moment ago and all rows can be counted, and else 503 with
the reason. A database that is missing is not made: the service ends.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAUSE_SECONDS = 0.2
FRESH_SECONDS = 3.0
TABLE = "CREATE TABLE IF NOT EXISTS Heartbeat(id INTEGER PRIMARY KEY, at TEXT NOT NULL)"
BEAT = "INSERT INTO Heartbeat(at) VALUES (strftime('%Y-%m-%dT%H:%M:%fZ'))"


class Service:
    def __init__(self, path: str) -> None:
        self.path = path
        self.written = 0.0
        self.failure = "nothing was written yet"

    def connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(f"file:{self.path}?mode=rw", uri=True, timeout=5, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        return connection

    def write(self) -> None:
        """Write for ever; a failure is told by ``/health``, and tried again."""
        while True:
            try:
                with closing(self.connect()) as connection:
                    connection.execute(TABLE)
                    while True:
                        connection.execute(BEAT)
                        self.written = time.monotonic()
                        time.sleep(PAUSE_SECONDS)
            except sqlite3.Error as error:
                self.failure = str(error)
                time.sleep(PAUSE_SECONDS)

    def health(self) -> tuple[int, dict[str, object]]:
        if time.monotonic() - self.written > FRESH_SECONDS:
            return 503, {"error": self.failure}
        try:
            with closing(self.connect()) as connection:
                return 200, {"beats": connection.execute("SELECT count(*) FROM Heartbeat").fetchone()[0]}
        except sqlite3.Error as error:
            return 503, {"error": str(error)}


def main(path: str, port: str) -> None:
    service = Service(path)
    service.connect().close()
    threading.Thread(target=service.write, daemon=True).start()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, told = service.health() if self.path == "/health" else (404, {})
            body = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            """The journal needs no line for each question."""

    ThreadingHTTPServer(("", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
