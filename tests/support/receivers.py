# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A receiver of pings and webhooks on loopback, that answers well, badly, slowly or never."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[http.server.BaseHTTPRequestHandler], None]


@dataclass
class Receiver:
    """Where it listens, and what it was asked, in order."""

    url: str
    requests: list[Request] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return self.url.partition("://")[2]

    @property
    def asked(self) -> list[str]:
        return [f"{each.method} {each.path}" for each in self.requests]


def status(code: int, **headers: str) -> Answer:
    """An answer of this code at once."""

    def answer(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in {**headers, "Content-Length": "2"}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(b"OK")

    return answer


def never(handler: http.server.BaseHTTPRequestHandler) -> None:
    """No answer."""
    ending = handler.server.ending  # type: ignore[attr-defined]
    ending.wait(60)


def trickle(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A byte now and then, and never the end of the first line."""
    ending = handler.server.ending  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        handler.wfile.write(b"HTTP/1.1 200 ")
        while not ending.wait(0.1):
            handler.wfile.write(b"x")


def trickled_head(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A good first line, and then a byte now and then."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    trickle(handler)


def cut(handler: http.server.BaseHTTPRequestHandler) -> None:
    """An answer that ends before its end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "2000")
    handler.end_headers()
    handler.wfile.write(b"x" * 1000)


def endless(handler: http.server.BaseHTTPRequestHandler) -> None:
    """A good answer that never ends, as fast as it is read."""
    ending, part = handler.server.ending, b"x" * (1 << 20)  # type: ignore[attr-defined]
    with contextlib.suppress(OSError):
        handler.send_response(200)
        handler.end_headers()
        while not ending.is_set():
            handler.wfile.write(part)


def nonsense(handler: http.server.BaseHTTPRequestHandler) -> None:
    """What is no HTTP."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


@contextlib.contextmanager
def receiver(answer: Answer | None = None, *, certificate: Path | None = None) -> Iterator[Receiver]:
    """One that gives ``answer``, 200 by default, to each request; with a ``certificate``, over TLS."""
    answer = answer or status(200)

    class Handler(http.server.BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            found.requests.append(Request(self.command, self.path, dict(self.headers), body))
            answer(self)

        do_GET = do_POST = handle_any  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Receiver(f"http{'s' if certificate else ''}://127.0.0.1:{server.server_address[1]}")
    server.ending = found.ending  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.ending.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@contextlib.contextmanager
def took(most_seconds: float) -> Iterator[None]:
    """A block that ends in time."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < most_seconds


def certificate(directory: Path) -> Path:
    """A key and a certificate for 127.0.0.1, in one file, that nobody knows."""
    key, found = directory / "key.pem", directory / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    words += ["-keyout", str(key), "-out", str(found), "-days", "2", "-subj", "/CN=127.0.0.1"]
    words += ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(words, check=True, capture_output=True)
    both = directory / "both.pem"
    both.write_bytes(key.read_bytes() + found.read_bytes())
    return both
