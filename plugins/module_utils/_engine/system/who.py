# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who runs this, and from where, as far as the system tells."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import socket
import sys
from typing import Any

from . import owners, windows

_NOBODY = 2**32 - 1
_LONGEST_LINE = 32
_ADDRESS = re.compile(r"[0-9a-fA-F:.]{2,45}(%[0-9A-Za-z._-]{1,15})?")


@functools.lru_cache(maxsize=1)
def describe() -> dict[str, Any]:
    """``user``, ``host`` and ``pid``, and where they are known ``sudo_user``, ``login`` and ``from``.

    ``login`` is who logged in, which no later change of the user changes (proc_pid_loginuid(5)); ``from`` the address
    that an ssh session came from, or what started this otherwise. Windows tells none of these.
    """
    found: dict[str, str] = {}
    if sys.platform != "win32":
        found = {"sudo_user": os.environ.get("SUDO_USER", ""), "login": _login(), "from": _origin()}
    known = {"user": user(), "host": socket.gethostname(), "pid": os.getpid()}
    return {**known, **{name: text for name, text in found.items() if text}}


def user() -> str:
    """The name of the user that this runs as, or its number: not what the environment says, which anybody can set."""
    if sys.platform == "win32":
        return windows.user_name() or "unknown"
    return owners.name_of_user(os.getuid()) or str(os.getuid())


def _login() -> str:
    with contextlib.suppress(OSError, ValueError, ImportError, KeyError):
        import pwd

        with open("/proc/self/loginuid", encoding="ascii") as file:
            number = int(file.read())
        return pwd.getpwuid(number).pw_name if number != _NOBODY else ""
    return ""


def _origin() -> str:
    """Sudo takes the address of the session away, so it is asked of those who started this, too."""
    process = os.getpid()
    for _each in range(_LONGEST_LINE):
        with contextlib.suppress(OSError):
            address = _ssh_address(process)
            if address:
                return address
        process = _parent(process)
        if process <= 1:
            break
    return "systemd" if os.environ.get("INVOCATION_ID") else ""


def _ssh_address(process: int) -> str:
    """Empty for what is none: whoever made that process may have written there what he likes."""
    with open(f"/proc/{process}/environ", "rb") as file:
        values = dict(each.partition(b"=")[::2] for each in file.read().split(b"\0"))
    given = values.get(b"SSH_CONNECTION", b"").decode("ascii", "replace").split()
    return given[0] if given and _ADDRESS.fullmatch(given[0]) else ""


def _parent(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{process}/stat", "rb") as file:
        # Behind the name, in which anything may stand.
        return int(file.read().rpartition(b")")[2].split()[1])
    return 0
