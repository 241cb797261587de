# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of system/aside.py: work beside a run that must not hold it up."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.aside import LATE, Aside


def _fails() -> None:
    raise ValueError("no such place")


def _hangs() -> None:
    time.sleep(60)


def test_all_is_done_at_the_same_time_and_nothing_is_told_of_what_went_well(tmp_path: Path) -> None:
    def touch(name: str) -> None:
        time.sleep(0.4)
        (tmp_path / name).touch()

    begin = time.monotonic()
    assert Aside({"a": lambda: touch("a"), "b": lambda: touch("b"), "c": lambda: touch("c")}, 5).wait() == {}
    assert time.monotonic() - begin < 1.1
    assert {each.name for each in tmp_path.iterdir()} == {"a", "b", "c"}


def test_what_fails_is_told_and_does_not_stop_the_others(tmp_path: Path) -> None:
    good = tmp_path / "good"
    assert Aside({"bad": _fails, "good": good.touch}, 5).wait() == {"bad": "no such place"}
    assert good.exists()


def test_what_is_late_is_ended_and_the_others_are_told_of_as_they_were() -> None:
    begin = time.monotonic()
    assert Aside({"late": _hangs, "bad": _fails, "good": lambda: None}, 0.3).wait() == {
        "late": LATE,
        "bad": "no such place",
    }
    assert time.monotonic() - begin < 1.2


@pytest.mark.skipif(os.name == "nt", reason="there are no signals to stop a process")
def test_a_job_that_stops_the_whole_process_is_late() -> None:
    begin = time.monotonic()
    assert Aside({"stops": lambda: os.kill(os.getpid(), 19), "good": lambda: None}, 0.2).wait() == {
        "stops": LATE,
        "good": LATE,
    }
    assert time.monotonic() - begin < 3


@pytest.mark.skipif(os.name == "nt", reason="there is no child")
def test_no_child_is_left_behind_and_no_file_stays_open() -> None:
    before = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    for jobs in ({"good": lambda: None}, {"bad": _fails}, {"late": _hangs}):
        Aside(jobs, 0.1).wait()
    after = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    assert after == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_work_goes_on_before_anybody_waits(tmp_path: Path) -> None:
    running = Aside({"a": (tmp_path / "a").touch}, 5)
    end = time.monotonic() + 4
    while not (tmp_path / "a").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert (tmp_path / "a").exists()
    assert running.wait() == {}


@pytest.mark.skipif(os.name == "nt", reason="there is no child")
def test_what_a_job_started_ends_also_when_the_run_was_killed(tmp_path: Path) -> None:
    started = tmp_path / "started"

    def job() -> None:
        process = subprocess.Popen(["/bin/sleep", "60"])
        started.with_suffix(".new").write_text(str(process.pid))
        started.with_suffix(".new").replace(started)
        process.wait()

    run = os.fork()
    if not run:
        Aside({"starts": job}, 1.0)
        time.sleep(60)
        os._exit(0)
    _wait_for(started.exists)
    os.kill(run, signal.SIGKILL)
    os.waitpid(run, 0)
    process = Path("/proc") / started.read_text()
    assert process.exists()
    _wait_for(lambda: not process.exists() or ") Z " in (process / "stat").read_text())


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
