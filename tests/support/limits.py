# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Be refused for a moment what a test runner usually may: to read every file, to write without end."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65534


@contextlib.contextmanager
def open_place() -> Iterator[Path]:
    """A temporary directory that every user can enter; the one of a test belongs to who runs it."""
    place = Path(tempfile.mkdtemp(prefix="sqliteops-test-"))
    try:
        place.chmod(0o755)
        yield place
    finally:
        for directory, _names, _files in os.walk(place):
            os.chmod(directory, 0o700)
        shutil.rmtree(place)


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
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
