# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows tells by its own interfaces, here by a library that stands for its Restart Manager."""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import windows


class Manager:
    """The Restart Manager, which tells of these processes: number, name, service. ``grows``: of one more each time."""

    def __init__(self, processes: list[tuple[int, str, str]], *, refuses: str = "", grows: bool = False) -> None:
        self.processes = processes
        self.asked: list[str] = []
        self.ended = 0
        self._refuses, self._grows = refuses, grows

    def RmStartSession(self, session: Any, _flags: int, _key: Any) -> int:  # noqa: N802
        session._obj.value = 3
        return 5 if self._refuses == "start" else 0

    def RmRegisterResources(self, _session: Any, count: int, names: Any, *_others: object) -> int:  # noqa: N802
        self.asked = [names[number] for number in range(count)]
        return 5 if self._refuses == "register" else 0

    def RmGetList(self, _session: Any, needed: Any, count: Any, found: Any, _reasons: Any) -> int:  # noqa: N802
        if self._refuses == "list":
            return 5
        if self._grows:
            self.processes = [*self.processes, (99, "more", "")]
        needed._obj.value = len(self.processes)
        if count._obj.value < len(self.processes):
            return 234
        for place, (number, name, service) in enumerate(self.processes):
            found[place].process, found[place].name, found[place].service = number, name, service
        count._obj.value = len(self.processes)
        return 0

    def RmEndSession(self, _session: Any) -> int:  # noqa: N802
        self.ended += 1
        return 0


def test_who_has_a_file_open_is_named(tmp_path: Path) -> None:
    manager = Manager([(7, "Agent", "AgentService"), (os.getpid(), "python", ""), (5, "", "")])
    found = windows.users_by(manager, [tmp_path / "a.db", tmp_path / "a.db-wal"])
    assert found == ["Agent (service AgentService, pid 7)", "process (pid 5)"]
    assert manager.asked == [str(tmp_path / "a.db"), str(tmp_path / "a.db-wal")]
    assert manager.ended == 1


def test_nobody_has_it_open(tmp_path: Path) -> None:
    assert windows.users_by(Manager([]), [tmp_path]) == []


@pytest.mark.parametrize("refuses", ["start", "register", "list"])
def test_what_it_does_not_tell_is_not_known(tmp_path: Path, refuses: str) -> None:
    manager = Manager([(7, "Agent", "")], refuses=refuses)
    assert windows.users_by(manager, [tmp_path]) == []
    assert manager.ended == (refuses != "start")


def test_more_and_more_of_them_do_not_hold_it_up(tmp_path: Path) -> None:
    assert windows.users_by(Manager([(7, "Agent", "")], grows=True), [tmp_path]) == []


def test_the_answer_has_the_layout_of_windows() -> None:
    """RM_PROCESS_INFO has 668 bytes there, where a character has two."""
    characters = (windows._NAME_LENGTH + windows._SERVICE_LENGTH) * (ctypes.sizeof(ctypes.c_wchar) - 2)
    assert ctypes.sizeof(windows.process_info()) - characters == 668


class Status:
    """What lstat tells of a directory on Windows, where no test may make junctions in Wine."""

    st_mode = stat.S_IFDIR | 0o777

    def __init__(self, tag: int) -> None:
        self.st_reparse_tag = tag


@pytest.mark.parametrize(
    ("tag", "real"),
    [(0, True), (0xA0000003, False), (0xA000000C, False), (0x80000013, True), (0x9000101A, True)],
    ids=["plain", "junction", "link", "deduplicated", "in a cloud"],
)
def test_what_stands_for_another_directory_is_none(tag: int, real: bool) -> None:
    """By its tag: https://learn.microsoft.com/windows/win32/fileio/reparse-point-tags."""
    status: Any = Status(tag)
    assert windows.is_directory(status) is real
    assert windows.is_surrogate(status) is not real


def test_directories_and_links_of_other_systems_are_told_apart(tmp_path: Path) -> None:
    assert windows.is_directory(os.lstat(tmp_path))
    (tmp_path / "file").touch()
    assert not windows.is_directory(os.lstat(tmp_path / "file"))
    assert not windows.is_surrogate(os.lstat(tmp_path / "file"))


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the size is that of 64 bits")
def test_the_limits_of_a_job_have_the_layout_of_windows() -> None:
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION: times, flags, sizes, ..., with what C leaves free between them."""
    limits = windows.job_limits()
    assert ctypes.sizeof(limits) == 64 + 6 * 8 + 4 * 8
    assert bytes(limits)[16:20] == (0x2000).to_bytes(4, "little")


@pytest.mark.skipif(sys.platform != "win32", reason="needs Windows")
def test_who_runs_this_is_told_by_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    name = windows.user_name()
    assert name
    monkeypatch.setenv("USERNAME", "mallory")
    assert windows.user_name() == name
