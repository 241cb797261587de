# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user may read is told as the kernel decides it: each answer is compared with what that user really can."""

from __future__ import annotations

import itertools
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import rights
from support import limits, processes
from support.processes import NOBODY

pytestmark = [
    processes.needs_root,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such users"),
]
STRANGER = 4321
ACCESS_LIST, NONE = "system.posix_acl_access", 2**32 - 1


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        (Path(name) / "srv").mkdir(mode=0o755)
        (Path(name) / "srv" / "agent.db").write_bytes(b"x")
        yield Path(name) / "srv"


def may(path: Path) -> bool:
    """What is told of the user nobody."""
    with limits.within(10):
        try:
            return rights.readable(path, NOBODY).st_ino == path.stat().st_ino
        except PermissionError:
            return False


def can(path: Path) -> bool:
    """What that user really can."""
    child = os.fork()
    if not child:
        try:
            os.setgroups(os.getgrouplist("nobody", NOBODY))
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.close(os.open(path, os.O_RDONLY))
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    return not os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("mode", [0o000, 0o004, 0o040, 0o044, 0o600, 0o604, 0o640])
@pytest.mark.parametrize(("uid", "gid"), [*itertools.product((0, STRANGER), (0, NOBODY, STRANGER))])
def test_mode_of_the_file_decides(place: Path, mode: int, uid: int, gid: int) -> None:
    path = place / "agent.db"
    os.chown(path, uid, gid)
    path.chmod(mode)
    assert may(path) == can(path)


@pytest.mark.parametrize("mode", [0o000, 0o001, 0o010, 0o066, 0o700, 0o701, 0o710, 0o755])
@pytest.mark.parametrize("gid", [0, NOBODY])
def test_so_does_that_of_each_directory(place: Path, mode: int, gid: int) -> None:
    path = place / "agent.db"
    path.chmod(0o644)
    os.chown(place, 0, gid)
    place.chmod(mode)
    assert may(path) == can(path)


def test_owner_may_whatever_the_mode_but_has_to_come_there(place: Path) -> None:
    path = place / "agent.db"
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0)
    assert may(path)
    place.chmod(0o700)
    assert not may(path)


ENTRIES = [
    ((2, 4, NOBODY), (4, 0, NONE), (16, 4, NONE), (32, 0, NONE)),
    ((2, 4, NOBODY), (4, 4, NONE), (16, 0, NONE), (32, 4, NONE)),
    ((2, 0, NOBODY), (4, 4, NONE), (16, 4, NONE), (32, 4, NONE)),
    ((2, 4, STRANGER), (4, 0, NONE), (16, 4, NONE), (32, 0, NONE)),
    ((4, 0, NONE), (8, 4, NOBODY), (16, 4, NONE), (32, 0, NONE)),
    ((4, 4, NONE), (8, 0, NOBODY), (16, 4, NONE), (32, 4, NONE)),
    ((4, 0, NONE), (8, 4, STRANGER), (16, 4, NONE), (32, 4, NONE)),
]


@pytest.mark.parametrize("entries", ENTRIES)
@pytest.mark.parametrize("gid", [0, NOBODY])
def test_access_list_says_more_than_the_mode(place: Path, entries: tuple[tuple[int, int, int], ...], gid: int) -> None:
    path = place / "agent.db"
    os.chown(path, 0, gid)
    content = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in ((1, 6, NONE), *entries))
    try:
        os.setxattr(path, ACCESS_LIST, content)
    except (OSError, AttributeError):
        pytest.skip("this filesystem has no access lists")
    assert may(path) == can(path)


def test_links_are_followed_by_the_rights_of_where_they_lead(place: Path) -> None:
    (place / "closed").mkdir(mode=0o700)
    (place / "closed" / "agent.db").write_bytes(b"x")
    (place / "closed" / "agent.db").chmod(0o644)
    (place / "link").symlink_to(place / "closed" / "agent.db")
    (place / "open").symlink_to("agent.db")
    assert (may(place / "link"), may(place / "open")) == (False, True)
    with pytest.raises(FileNotFoundError):
        rights.readable(place / "gone", NOBODY)
    processes.fifo(place / "fifo")
    assert may(place / "fifo")
