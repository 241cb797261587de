# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a run with SIGKILL at chosen lines of the engine: one for each state of the disk that it goes through."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

_ENGINE = f"{os.sep}_engine{os.sep}"
# Run for every name that is opened, so often that the count of a line there is another one in each run.
_PASSED_OVER = f"{_ENGINE}places.py"


@dataclass(frozen=True)
class KillPoint:
    """The ``nth`` time that a line of the engine is about to run."""

    file: str
    line: int
    nth: int


def kill_points(work: Callable[[], object], directory: Path) -> list[KillPoint]:
    """The points of ``work`` at which ``directory`` is another one on the disk than at the point before.

    A kill at any line in between would leave just the same. ``work`` is run once, in a child, so that nothing of it
    stays in this process.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        counts: Counter[tuple[str, int]] = Counter()
        points = []
        state = None

        def on_line(frame: FrameType) -> None:
            nonlocal state
            where = _where(frame)
            counts[where] += 1
            if state != (state := _state(directory)):
                points.append([*where, counts[where]])

        _run_traced(work, on_line)
        with os.fdopen(writer, "w") as file:
            json.dump(points, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        text = file.read()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the run must succeed when it is left alone"
    return [KillPoint(*point) for point in json.loads(text)]


def _state(directory: Path) -> list[tuple[str, int, int, int, int]]:
    """What tells one state of a directory from another: names, and for each its inode, links, size and change time."""
    state = []
    for parent, _directories, names in os.walk(directory):
        for name in [".", *names]:
            path = os.path.join(parent, name)
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                state.append((path, status.st_ino, status.st_nlink, status.st_size, status.st_mtime_ns))
    return sorted(state)


def run_killed_at(point: KillPoint, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed at ``point``; whether it was killed before it was done."""
    child = os.fork()
    if child == 0:
        seen = 0

        def on_line(frame: FrameType) -> None:
            nonlocal seen
            if _where(frame) == (point.file, point.line):
                seen += 1
                if seen == point.nth:
                    os.kill(os.getpid(), signal.SIGKILL)

        _run_traced(work, on_line)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the run ended with {code} instead"
    return code != 0


def run_killed_after(function: Callable[..., Any], nth: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed when ``os.<function>`` was called ``nth`` times; whether it was."""
    child = os.fork()
    if child == 0:
        calls = 0

        def called(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            result = function(*arguments, **options)
            calls += 1
            if calls == nth:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        setattr(os, function.__name__, called)
        _run_traced(work, lambda _frame: None)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the run ended with {code} instead"
    return code != 0


def _where(frame: FrameType) -> tuple[str, int]:
    return frame.f_code.co_filename, frame.f_lineno


def _run_traced(work: Callable[[], object], on_line: Callable[[FrameType], None]) -> None:
    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if _ENGINE not in frame.f_code.co_filename or frame.f_code.co_filename.endswith(_PASSED_OVER):
            return None
        if event == "line":
            on_line(frame)
        return trace

    sys.settrace(trace)
    try:
        work()
    except BaseException:  # noqa: BLE001 - nothing may get from the child into the test
        sys.settrace(None)
        traceback.print_exc()
        os._exit(1)
    sys.settrace(None)
