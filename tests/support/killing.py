# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a run with SIGKILL at a chosen line of the engine."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_ENGINE = f"{os.sep}_engine{os.sep}"


def kill_points(work: Callable[[], object]) -> list[int]:
    """The line events at which to kill ``work``: the first and the last time that each line of the engine runs.

    ``work`` is run once, in a child, so that nothing of it stays in this process.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        seen: dict[tuple[str, int], tuple[int, int]] = {}
        count = 0

        def on_line(frame: FrameType) -> None:
            nonlocal count
            count += 1
            where = (frame.f_code.co_filename, frame.f_lineno)
            seen[where] = (seen.get(where, (count, count))[0], count)

        _run_traced(work, on_line)
        points = sorted({point for pair in seen.values() for point in pair})
        with os.fdopen(writer, "w") as file:
            file.write(" ".join(map(str, points)))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        points = [int(word) for word in file.read().split()]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "the run must succeed when it is left alone"
    assert points, "the run must reach the engine"
    return points


def run_killed_at(point: int, work: Callable[[], object]) -> bool:
    """Run ``work`` in a child that is killed at line event ``point``; whether it was killed before it was done."""
    child = os.fork()
    if child == 0:
        count = 0

        def on_line(_frame: FrameType) -> None:
            nonlocal count
            count += 1
            if count == point:
                os.kill(os.getpid(), signal.SIGKILL)

        _run_traced(work, on_line)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"the run ended with {code} instead"
    return code != 0


def _run_traced(work: Callable[[], object], on_line: Callable[[FrameType], None]) -> None:
    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if _ENGINE not in frame.f_code.co_filename:
            return None
        if event == "line":
            on_line(frame)
        return trace

    sys.settrace(trace)
    try:
        work()
    except BaseException:
        sys.settrace(None)
        import traceback

        traceback.print_exc()
        os._exit(1)
    sys.settrace(None)
