# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``serve``: answers over HTTP on how well the databases are backed up, until it is told to stop.

This process looks; a child answers, with threads, which a process that forks must not have. So a client can hold up
other clients only, and a disk that hangs only what is known of its databases.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any, NoReturn

from ..system import clock
from ..system.errors import EngineError, ProgramMissingError, UsageError
from . import server
from .console import Console
from .looks import LOOK_SECONDS, Looks
from .server import LENGTH, Line

_BACKLOG = 128
# For all else that an answer takes.
_GRACE_SECONDS = 2.0


def run(directory: Path, listen: str, console: Console, *, reasons: bool = False, seconds: float = LOOK_SECONDS) -> int:
    """Answer at the address ``listen`` until a signal comes; raises ``UsageError`` for one that cannot be had."""
    if sys.platform == "win32":
        raise ProgramMissingError("serve needs fork(2), which Windows does not have.", hint="Use status --json.")
    listening = _listening(listen)
    host, port = listening.getsockname()[:2]
    ours, theirs = socket.socketpair()
    console.say(f"listening on http://{f'[{host}]' if ':' in host else host}:{port}/")
    child = os.fork()
    if not child:
        _answer(listening, Line(theirs, seconds + _GRACE_SECONDS), ours, is_own=reasons and _is_loopback(host))
    # A look that hangs must not hold the address when this is over.
    listening.close()
    theirs.close()
    looks = Looks(directory, in_child=ours.close, seconds=seconds)
    try:
        _notify_ready()
        while ours.recv(1):
            told = json.dumps(_looked(looks)).encode()
            ours.sendall(struct.pack(LENGTH, len(told)) + told)
    except KeyboardInterrupt:
        return 0
    finally:
        looks.close()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise EngineError("What answers over HTTP has ended by itself.", action="")


def _looked(looks: Looks) -> dict[str, Any]:
    host = socket.gethostname()
    try:
        seen: dict[str, Any] = {"databases": looks.all(), "error": None}
    except EngineError as error:
        seen = {"databases": [], "error": {"message": error.message, "hint": error.hint}}
    return {"made": clock.to_text(clock.now()), "host": host, **seen}


def _answer(listening: socket.socket, line: Line, other_end: socket.socket, *, is_own: bool) -> NoReturn:
    """In the child."""
    try:
        other_end.close()
        # The other one decides: Ctrl-C reaches both.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for each in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        server.forever(listening, line, is_own=is_own)
    finally:
        os._exit(1)


def _listening(text: str) -> socket.socket:
    host, _colon, port = text.rpartition(":")
    action = f"Cannot listen on {text!r:.80}"
    inner = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    family = socket.AF_INET6 if inner != host else socket.AF_INET
    address = "127.0.0.1" if inner == "localhost" else inner
    try:
        socket.inet_pton(family, address)
        number = int(port) if port.isascii() and port.isdigit() else -1
    except OSError:
        number = -1
    if not 0 <= number < 1 << 16:
        raise UsageError("it is no address.", action=action, hint="Write 127.0.0.1:9187, or [::1]:9187.")
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, number))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        hint = "Name a free port, with --listen, on an address of this host."
        raise UsageError(f"{error.strerror or error}.", action=action, hint=hint) from None
    return listening


def _is_loopback(host: str) -> bool:
    return host == "::1" or host.startswith("127.")


def _notify_ready() -> None:
    """Tell systemd, where it waits for that: sd_notify(3)."""
    place = os.environ.get("NOTIFY_SOCKET", "")
    if place.startswith(("/", "@")):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
            told.sendto(b"READY=1", place.replace("@", "\0", 1) if place.startswith("@") else place)
