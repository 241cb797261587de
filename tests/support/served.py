# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of `sqlite-backup serve` in a process of its own, and clients of every kind."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# One whose databases can be made to hang, with a file beside its configuration: NAME.hangs, or all.hang for all of it.
_SLOW = """
import pathlib, signal, sys, time
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, console, serve, status
real, names = status.observe, config.names
def observe(directory, name):
    if (directory / f"{name}.hangs").exists():
        time.sleep(600)
    return real(directory, name)
def named(directory):
    if (directory / "all.hang").exists():
        time.sleep(600)
    return names(directory)
status.observe, config.names = observe, named
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
serve.run(pathlib.Path(sys.argv[1]), "127.0.0.1:0", console.Console(), reasons=True, seconds=float(sys.argv[2]))
"""


@dataclass(frozen=True)
class Answered:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Server:
    """One that listens on ``port``."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process = process
        self.host, _colon, port = address.rpartition(":")
        self.port = int(port)

    def ask(self, target: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answered:
        connection = http.client.HTTPConnection(self.host.strip("[]"), self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, target, headers=headers or {})
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, names, answer.read().decode())

    def connect(self) -> socket.socket:
        return socket.create_connection((self.host.strip("[]"), self.port), timeout=30)

    def send(self, data: bytes) -> bytes:
        """What comes back for ``data`` as it is."""
        with self.connect() as client:
            client.sendall(data)
            found = b""
            with contextlib.suppress(ConnectionResetError):
                while read := client.recv(1 << 16):
                    found += read
            return found


@contextlib.contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[Server]:
    """The server that ``command`` starts, until the block ends."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line.startswith("listening on http://"), process.communicate(timeout=60)
        yield Server(process, line.split("://")[1].rstrip("/\n"))
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def slow(configuration: Path, seconds: float) -> list[str]:
    """The command for a server whose databases can be made to hang."""
    return [sys.executable, "-c", _SLOW, str(configuration), str(seconds)]
