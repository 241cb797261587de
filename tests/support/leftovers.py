# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run of programs may leave behind: nothing."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import limits

_AGENT_SECONDS = 5.0


def commands() -> Iterator[tuple[int, bytes]]:
    """Every process that runs now, with its words; those that have ended have none."""
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit():
                yield int(name), Path("/proc", name, "cmdline").read_bytes()


def children() -> dict[str, int]:
    """The processes that this one started and that still run, by the name of their program."""
    found = {}
    for number, _words in commands():
        with contextlib.suppress(OSError):
            name, fields = Path("/proc", str(number), "stat").read_text().split("(", 1)[1].rsplit(")", 1)
            state, parent = fields.split()[:2]
            if int(parent) == os.getpid() and state != "Z":
                found[name] = number
    return found


def _agents(directory: str) -> list[bytes]:
    return [words for _number, words in commands() if os.fsencode(directory) in words]


@contextlib.contextmanager
def nothing_left(seconds: float) -> Iterator[Path]:
    """A directory for temporary files, for a block that must end in time and leave nothing.

    No descriptor, thread, child process, temporary file or agent stays, however a block ends: a runner may write
    thousands of artifacts. Windows tells of threads and files only; it removes no file that is open.
    """
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory() as name:
        tempfile.tempdir = name
        try:
            counted = _open_ones()
            with limits.within(seconds):
                yield Path(name)
            end = time.monotonic() + _AGENT_SECONDS
            # A thread that has done its work may still be about to end, on a machine that is busy.
            while _open_ones() != counted and time.monotonic() < end:
                # What a traceback holds may not have gone by then.
                gc.collect()
                time.sleep(0.01)
            assert _open_ones() == counted
            assert not os.listdir(name)
            if sys.platform == "win32":
                return
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            while _agents(name) and time.monotonic() < end:
                time.sleep(0.01)
            assert not _agents(name)
        finally:
            tempfile.tempdir = before


def _open_ones() -> tuple[set[str], int]:
    """The descriptors, and how many threads there are."""
    return set() if sys.platform == "win32" else set(os.listdir("/proc/self/fd")), threading.active_count()
