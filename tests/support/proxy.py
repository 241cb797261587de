# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between a client and an object store: it counts requests and bytes, and can cut the cable."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

_CHUNK_BYTES = 65536
_ENDS_HERE = ("connection", "keep-alive", "transfer-encoding", "content-length")


@dataclass(frozen=True)
class Request:
    """``sent`` and ``answered`` are the bytes of the bodies."""

    method: str
    path: str
    sent: int
    answered: int

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and ("list-type=" in self.path or "prefix=" in self.path)


@dataclass
class Proxy:
    """``requests`` are all so far. With ``cut_after`` every connection ends when so many bytes of bodies were sent."""

    port: int
    requests: list[Request] = field(default_factory=list)
    cut_after: int | None = None
    sent: int = 0

    def counted(self) -> list[Request]:
        """The requests since this was asked last."""
        found = list(self.requests)
        self.requests.clear()
        return found


@contextlib.contextmanager
def before(port: int) -> Iterator[Proxy]:
    """A proxy on loopback before the server at ``port``; the host that a request names stays as it is signed."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _forward(self) -> None:
            _forward(self, proxy, port)

        # The names are those of http.server.
        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _forward  # noqa: N815

        def log_message(self, *_arguments: Any) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy = Proxy(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _forward(handler: http.server.BaseHTTPRequestHandler, proxy: Proxy, port: int) -> None:
    body = bytearray()
    left = int(handler.headers.get("Content-Length") or 0)
    while left:
        chunk = handler.rfile.read(min(left, _CHUNK_BYTES))
        left -= len(chunk)
        body += chunk
        proxy.sent += len(chunk)
        if not chunk or (proxy.cut_after is not None and proxy.sent > proxy.cut_after):
            handler.close_connection = True
            with contextlib.suppress(OSError):
                handler.connection.shutdown(socket.SHUT_RDWR)
            return
    upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
        for name, value in handler.headers.items():
            if name.lower() not in ("connection", "expect"):
                upstream.putheader(name, value)
        upstream.endheaders(body)
        answer = upstream.getresponse()
        content = answer.read()
    finally:
        upstream.close()
    proxy.requests.append(Request(handler.command, handler.path, len(body), len(content)))
    handler.send_response_only(answer.status)
    for name, value in answer.getheaders():
        if name.lower() not in _ENDS_HERE:
            handler.send_header(name, value)
    length = answer.getheader("Content-Length") if handler.command == "HEAD" else str(len(content))
    handler.send_header("Content-Length", length or "0")
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content)
