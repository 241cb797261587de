# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which other processes use a database right now."""

from __future__ import annotations

import contextlib
import os
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..system import places, windows
from ..system.errors import RefusedError
from . import database

# The bytes that SQLite locks in a database file, PENDING_BYTE and what follows: https://www.sqlite.org/src/file/src/os.h
_LOCK_FIRST_BYTE = 0x40000000
_LOCK_BYTES = 512
# Behind PENDING_BYTE and RESERVED_BYTE.
_SHARED_FIRST = 2
# F_OFD_SETLK of Linux, a lock of the open file instead of the process: https://www.man7.org/linux/man-pages/man2/fcntl.2.html
_SET_OPEN_FILE_LOCK = 37
_LOCK_FORMAT = "hhqqi4x"
# A virus scanner, or a search index, has a file for less.
_MOMENT_SECONDS, _POLL_SECONDS = 1.0, 0.05

STOP_FIRST = "Stop the application first; " + (
    "Windows replaces no file that is open."
    if sys.platform == "win32"
    else "with force its later writes go to the replaced file and are lost."
)


def users_of(path: Path) -> list[str]:
    """The other processes that have ``path`` or a sidecar of it open, as "name (pid 123)".

    Linux tells by ``/proc``, as far as this user may look, and Windows by its Restart Manager; elsewhere, and behind
    that, a process that holds any lock of SQLite on the file is found, on Windows one that has it open at all, without
    its name. Call it only when this process has the database closed.
    """
    found = _by_descriptors(path)
    if not found and _stays_open(path):
        found = ["a process that cannot be named"]
    if not found and is_locked(path):
        found = ["a process that cannot be named"]
    return found


def _stays_open(path: Path) -> bool:
    """Whether somebody has ``path`` open, and not only for a moment, as who looks at each file; only Windows tells."""
    end = time.monotonic() + _MOMENT_SECONDS
    while windows.is_open(path):
        if time.monotonic() >= end:
            return True
        time.sleep(_POLL_SECONDS)
    return False


def _by_descriptors(path: Path) -> list[str]:
    if sys.platform == "win32":
        sidecars = (database.sidecar(path, suffix) for suffix in ("", *database.SIDECARS))
        return windows.holders([each for each in sidecars if os.path.exists(each)])
    identities = set()
    for suffix in ("", *database.SIDECARS):
        with contextlib.suppress(OSError):
            status = os.stat(database.sidecar(path, suffix))
            identities.add((status.st_dev, status.st_ino))
    with contextlib.suppress(OSError):
        others = [each for each in Path("/proc").iterdir() if each.name.isdigit() and int(each.name) != os.getpid()]
        return sorted(f"{_name_of(each)} (pid {each.name})" for each in others if _has_open(each, identities))
    return []


def _has_open(process: Path, identities: set[tuple[int, int]]) -> bool:
    with contextlib.suppress(OSError):
        for descriptor in os.scandir(process / "fd"):
            with contextlib.suppress(OSError):
                status = os.stat(descriptor.path)
                if (status.st_dev, status.st_ino) in identities:
                    return True
    return False


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text(errors="replace").strip()
    except OSError:
        return "process"


def is_locked(path: Path) -> bool:
    """Whether anybody holds a lock of SQLite on ``path``: who uses it in WAL mode does, an idle rollback one does not.

    Call it only when this process has the database closed.
    """
    try:
        descriptor = places.open_regular(path, os.O_RDWR, alone=False)
    except (OSError, RefusedError):
        return False
    try:
        if sys.platform == "win32":
            _try_shared_bytes(descriptor)
            return False
        import fcntl

        if sys.platform == "linux":
            # Only asked for: whoever comes just now must not be refused.
            found = fcntl.fcntl(descriptor, fcntl.F_GETLK, _wanted_lock(fcntl.F_WRLCK))
            return bool(struct.unpack(_LOCK_FORMAT, found)[0] != fcntl.F_UNLCK)
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, _LOCK_BYTES, _LOCK_FIRST_BYTE)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _try_shared_bytes(descriptor: int) -> None:
    """Lock what every reader of SQLite locks, for an instant; ``OSError`` when somebody has it."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(descriptor, _LOCK_FIRST_BYTE + _SHARED_FIRST, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, _LOCK_BYTES - _SHARED_FIRST)
        os.lseek(descriptor, _LOCK_FIRST_BYTE + _SHARED_FIRST, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, _LOCK_BYTES - _SHARED_FIRST)


@contextlib.contextmanager
def kept_out(path: Path, *, force: bool) -> Iterator[None]:
    """Nobody can begin to use the database ``path`` while the block runs, where this system has such a lock.

    Raises ``RefusedError`` when somebody uses it already, unless ``force``.
    """
    users = [] if force or not path.exists() else users_of(path)
    if users:
        raise RefusedError(
            f"the database is open in {', '.join(users)}.",
            action=f"Cannot replace {path}",
            hint=STOP_FIRST,
        )
    with contextlib.ExitStack() as stack:
        if not force and path.exists():
            _lock_out(stack, path)
            # Who came between the look and the lock has it open, and waits for the lock.
            users = _by_descriptors(path)
            if users:
                raise RefusedError(
                    f"{', '.join(users)} opened the database just now.",
                    action=f"Cannot replace {path}",
                    hint="Keep the application from starting, then run again.",
                )
        yield


def _lock_out(stack: contextlib.ExitStack, path: Path) -> None:
    """Hold SQLite's exclusive lock for as long as ``stack``: of the open file, so that no other close drops it."""
    if sys.platform != "linux":
        return
    import fcntl

    with contextlib.suppress(OSError, RefusedError):
        descriptor = places.open_regular(path, os.O_RDWR, alone=False)
        stack.callback(os.close, descriptor)
        fcntl.fcntl(descriptor, _SET_OPEN_FILE_LOCK, _wanted_lock(fcntl.F_WRLCK))


def _wanted_lock(kind: int) -> bytes:
    """All bytes that SQLite locks, as Linux has it: flock in fcntl(2)."""
    return struct.pack(_LOCK_FORMAT, kind, os.SEEK_SET, _LOCK_FIRST_BYTE, _LOCK_BYTES, 0)
