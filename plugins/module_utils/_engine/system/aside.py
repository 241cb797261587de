# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Work beside a run that must not hold it up: it has until a deadline, then it is ended wherever it is.

In a forked child, so that not even a name server that never answers stays behind. Without fork(2), in a thread.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping

# Behind the deadline of the jobs, for what the child itself does.
_GRACE_SECONDS = 1.0
LATE = "it did not end in time"

Job = Callable[[], None]


class Aside:
    """``jobs`` by their names, all at the same time, from now on; each has ``seconds``, and may raise anything."""

    def __init__(self, jobs: Mapping[str, Job], seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._child = 0
        if sys.platform == "win32":
            self._running = _started(jobs)
            return
        for stream in (sys.stdout, sys.stderr):
            # Else both processes write what is in it.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        self._names = list(jobs)
        self._pipe, writing = os.pipe()
        try:
            self._child = os.fork()
        except OSError:
            os.close(self._pipe)
            os.close(writing)
            raise
        if not self._child:
            os.close(self._pipe)
            _work(jobs, self._end, writing)
        os.close(writing)

    def wait(self) -> dict[str, str]:
        """What went wrong, by the names of the jobs; empty when all went well. Waits until the deadline at most."""
        if sys.platform == "win32":
            return _collected(self._running, self._end)
        try:
            answer = self._answer()
        finally:
            os.close(self._pipe)
            self._stop()
        return answer if answer is not None else dict.fromkeys(self._names, LATE)

    def _answer(self) -> dict[str, str] | None:
        answer = b""
        while select.select([self._pipe], [], [], max(0.0, self._end + _GRACE_SECONDS - time.monotonic()))[0]:
            part = os.read(self._pipe, 65536)
            if not part:
                return dict(pickle.loads(answer)) if answer else None  # noqa: S301 - of our own child
            answer += part
        return None

    def _stop(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child, signal.SIGKILL)
        os.kill(self._child, signal.SIGKILL)
        os.waitpid(self._child, 0)


def _work(jobs: Mapping[str, Job], end: float, writing: int) -> None:
    """In the child: do the jobs, send what went wrong, and end, whatever still runs."""
    try:
        # What is typed at a terminal is for the run, which ends this one.
        os.setpgid(0, 0)
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_DFL)
        answer = pickle.dumps(_collected(_started(jobs), end))
        with open(writing, "wb") as pipe:
            pipe.write(answer)
    finally:
        if os.getpgrp() == os.getpid():
            # With all that a job has started: nobody else ends it when the run was killed meanwhile.
            os.killpg(0, signal.SIGKILL)
        os._exit(0)


def _started(jobs: Mapping[str, Job]) -> dict[str, tuple[threading.Thread, list[str]]]:
    running = {}
    for name, job in jobs.items():
        wrong: list[str] = []
        thread = threading.Thread(target=_attempt, args=(job, wrong), daemon=True)
        thread.start()
        running[name] = (thread, wrong)
    return running


def _attempt(job: Job, wrong: list[str]) -> None:
    try:
        job()
    except Exception as error:  # noqa: BLE001 - it is told, and must not end the others
        wrong.append(str(error) or type(error).__name__)


def _collected(running: Mapping[str, tuple[threading.Thread, list[str]]], end: float) -> dict[str, str]:
    found = {}
    for name, (thread, wrong) in running.items():
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            found[name] = LATE
        elif wrong:
            found[name] = wrong[0]
    return found
