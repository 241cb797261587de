# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The HTTP server of ``serve``: a bounded number of clients, each for a bounded time, and one look for all who ask.

What a request says is never part of an answer.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
import socketserver
import struct
import threading
import time
from http import server as http
from typing import Any

from ..system import clock
from ..watch import page, served
from ..watch.served import Answer, Seen

LENGTH = "!I"

_FRESH_SECONDS = 5.0
_REQUEST_SECONDS = 5.0
_MOST_CLIENTS = 100
_LARGEST_REQUEST_BYTES = 16 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": f"{page.policy()}; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Line:
    """The line to the process that looks; ``seconds`` is how long its answer may take."""

    def __init__(self, line: socket.socket, seconds: float) -> None:
        self._line = line
        self._seconds = seconds
        self._lock = threading.Lock()
        self._owed = False
        self._buffer = b""
        self._known: Seen = {}
        self._until = 0.0

    def seen(self) -> Seen:
        """What was seen in the last seconds: whoever asks while somebody looks gets what that one gets."""
        if not self._lock.acquire(timeout=self._seconds):
            return self._nothing()
        try:
            if time.monotonic() >= self._until:
                self._known = self._asked()
                self._until = time.monotonic() + _FRESH_SECONDS
            return self._known
        finally:
            self._lock.release()

    def _asked(self) -> Seen:
        end = time.monotonic() + self._seconds
        try:
            if not self._owed:
                self._line.sendall(b"?")
                self._owed = True
            size = struct.calcsize(LENGTH)
            self._receive(size, end)
            size += struct.unpack(LENGTH, self._buffer[:size])[0]
            self._receive(size, end)
        except OSError:
            # What is owed still comes one day, and is taken then.
            return self._nothing()
        told, self._buffer, self._owed = self._buffer[:size], self._buffer[size:], False
        return served.seen(told[struct.calcsize(LENGTH) :])

    def _receive(self, count: int, end: float) -> None:
        """Until so many bytes are there. Raises ``OSError`` when they do not come by ``end``."""
        while len(self._buffer) < count:
            self._line.settimeout(max(0.001, end - time.monotonic()))
            read = self._line.recv(1 << 16)
            if not read:
                raise ConnectionError("the process that looks has ended")
            self._buffer += read

    def _nothing(self) -> Seen:
        message = f"The state could not be found out in {self._seconds:g} s."
        made, host = clock.to_text(clock.now()), socket.gethostname()
        return {"made": made, "host": host, "databases": [], "error": {"message": message, "hint": ""}}


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True

    def __init__(self, listening: socket.socket, line: Line, *, is_own: bool) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.line, self.is_own = line, is_own
        self._parent = os.getppid()
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:
        # Who comes now waits in the queue of the kernel: each of the others has its time only.
        self._free.acquire()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def service_actions(self) -> None:
        if os.getppid() != self._parent:
            os._exit(1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to speak of."""


class _Handler(http.BaseHTTPRequestHandler):
    server: _Server
    # Until something else is known of it.
    requestline = ""
    command = ""

    def handle(self) -> None:
        """One request, whose head must come in time and be small; nothing else is read."""
        self.close_connection = True
        self.rfile = io.BytesIO(self._head())
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline or not self.parse_request():
            return
        self.connection.settimeout(_REQUEST_SECONDS)
        if self.command not in ("GET", "HEAD"):
            self._send(served.refused(405, allow="GET, HEAD"))
            return
        self._send(served.answer(self.path, self.server.line.seen, is_open=self._is_from_here()))

    def _is_from_here(self) -> bool:
        """Whether it is this host that asks, and for itself: not for others, and not for a page of somebody else."""
        is_passed_on = any(self.headers.get(each) for each in ("Forwarded", "Via", "X-Forwarded-For"))
        return self.server.is_own and not is_passed_on and served.is_local(self.headers.get("Host"))

    def _head(self) -> bytes:
        """The request up to its empty line, or less when the time or the place for it is over."""
        end, head = time.monotonic() + _REQUEST_SECONDS, b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in head and b"\n\n" not in head:
                self.connection.settimeout(max(0.001, end - time.monotonic()))
                read = self.connection.recv(4096)
                head += read
                if not read or len(head) > _LARGEST_REQUEST_BYTES:
                    break
            else:
                return head
        self._send(served.refused(431 if len(head) > _LARGEST_REQUEST_BYTES else 408))
        return b""

    def _send(self, answer: Answer) -> None:
        body = answer.body.encode()
        # Also where the request names none, or a wrong one.
        self.request_version = self.protocol_version
        self.send_response(answer.status)
        for name, value in {**_HEADERS, **answer.headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """What http.server finds wrong with a request, without its words, which hold those of the request."""
        self._send(served.refused(int(code)))

    def version_string(self) -> str:
        return "sqlite-backup"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - as its parent has it
        """Nobody reads it, and it would be in the words of whoever asks."""


def forever(listening: socket.socket, line: Line, *, is_own: bool) -> None:
    """Answer until the process ends; ``is_own`` says that nobody but this host can ask."""
    _Server(listening, line, is_own=is_own).serve_forever()
