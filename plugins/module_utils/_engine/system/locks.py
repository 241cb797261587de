# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Advisory locks between processes: ``flock(2)``, and ``msvcrt.locking`` on Windows."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from . import files, places
from .errors import MALFORMED, RepositoryLockedError, doing

_POLL_SECONDS = 0.1
_HOLDER_BYTES = 4096

if sys.platform == "win32":
    import msvcrt
    import secrets

    # Windows locks are mandatory: lock bytes far behind the text that names the holder, so that others can read it.
    # It has no shared lock here: a reader takes one byte of the range, whoever wants it alone takes them all.
    _LOCK_OFFSET = 1 << 30
    _LOCK_RANGE_BYTES = 1024

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        first = secrets.randbelow(_LOCK_RANGE_BYTES) if shared else 0
        os.lseek(descriptor, _LOCK_OFFSET + first, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1 if shared else _LOCK_RANGE_BYTES)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int, *, shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def held(path: Path, *, timeout_seconds: float, shared: bool = False) -> Iterator[int]:
    """Hold the lock ``path`` for the block, which gets its descriptor; the file is created 0600 and stays.

    Raises ``RepositoryLockedError``, which names the holder, when ``timeout_seconds`` pass without the lock.
    The kernel releases the lock when the process ends in any way, so a lock is never stale.
    """
    unusable = f"the lock {path} cannot be used"
    with doing(step=unusable):
        descriptor = files.open_private(path)
    try:
        with doing(step=unusable):
            wait(descriptor, path, timeout_seconds=timeout_seconds, shared=shared)
            if not shared:
                _write_holder(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock ``path``, alone or shared, right now. No file is created."""
    with doing(step=f"the lock {path} cannot be used"):
        try:
            descriptor = places.open_regular(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(descriptor, shared=False)
        finally:
            os.close(descriptor)


def wait(descriptor: int, path: Path, *, timeout_seconds: float, shared: bool = False) -> None:
    """Lock the open file ``path`` until its descriptor is closed; raises as ``held``."""
    end = time.monotonic() + timeout_seconds
    while not _try_lock(descriptor, shared=shared):
        if time.monotonic() >= end:
            raise RepositoryLockedError(
                f"{path} is locked by {_read_holder(descriptor)}.",
                hint="Wait until that run ends, or raise lock_timeout.",
            )
        time.sleep(_POLL_SECONDS)


def _write_holder(descriptor: int) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": int(time.time())}
    # On a full disk the lock must still be had: whoever makes room there needs it, too.
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, json.dumps(holder).encode())


def _read_holder(descriptor: int) -> str:
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, _HOLDER_BYTES))
        age_seconds = max(0, int(time.time()) - int(holder["since"]))
        return f"process {int(holder['pid'])} on {holder['host']} for {age_seconds} s"
    except (OSError, *MALFORMED):
        return "another process"
