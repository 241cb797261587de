# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Be refused for a moment what a test runner usually may: to read every file, to write without end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

from support.processes import NOBODY


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root for the block; nothing changes for any other user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def full_disk_after(size_bytes: int) -> Iterator[None]:
    """No file of this process grows beyond ``size_bytes`` for the block: a write fails as on a full disk (EFBIG)."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """TimeoutError in the block when it takes longer: a test of what must not hang must not hang itself.

    Windows has no such alarm: there it takes as long as any test may.
    """
    if sys.platform == "win32":
        yield
        return

    late = False

    def stop(_signal: int, _frame: FrameType | None) -> None:
        nonlocal late
        late = True
        raise TimeoutError(f"still running after {seconds} s")

    if sys.platform == "win32":
        # It has no alarms; there, a test that hangs has the timeout of all tests.
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # What is tested may have taken it for a silence of somebody else.
    assert not late, f"it took {seconds} s, and went on"
