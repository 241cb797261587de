# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child process for what root does beside another user: whatever that user's files do to it, it ends alone, in time.

A schema can keep SQLite in one function for hours, where nothing interrupts it; a file that is cut short while it is
mapped into memory ends the process.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from . import owners
from .errors import EngineError, SourceBusyError, StorageFailedError, explained

Result = TypeVar("Result")

# What may pass behind a deadline before that is not waited for any more: it is looked at now and then.
_GRACE_SECONDS = 10.0
_inside = False


def is_inside() -> bool:
    """Whether this is such a child, or a part of its work."""
    return _inside


def run(work: Callable[[], Result], *beside: Path | None) -> Result:
    """What ``work`` returns or raises; in a child when this is root and one of ``beside`` is in another's directory.

    Raises ``SourceBusyError`` when the child did not end by its deadline, see ``bounded``, and ``StorageFailedError``
    when something else ended it.
    """
    if sys.platform == "win32" or _inside or not any(_is_of_others(each) for each in beside if each is not None):
        return work()
    child, reading = begun(work)
    result: Result = came(*_await(child, reading))
    return result


def begun(work: Callable[[], Any]) -> tuple[int, int]:
    """``work`` in a child, whoever this is: its process, and where to read its answer for ``came``. Needs fork(2)."""
    for stream in (sys.stdout, sys.stderr):
        # Else both processes write what is in it.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        _work(work, writing)
    os.close(writing)
    return child, reading


def came(answer: bytes, status: int) -> Any:
    """What the work in a child returned or raised, from all that could be read and the status that it ended with."""
    if os.WIFSIGNALED(status):
        raise _killed(os.WTERMSIG(status))
    try:
        done, value = pickle.loads(answer)  # noqa: S301 - of our own child
    except (EOFError, pickle.UnpicklingError):
        hint = "The memory may be too small for what is read: see the log."
        raise StorageFailedError("The work ended without an answer.", action="", hint=hint) from None
    if not done:
        raise value
    return value


def _is_of_others(path: Path) -> bool:
    with contextlib.suppress(OSError, EngineError):
        return owners.other_owner(path.parent) is not None
    return False


def _work(work: Callable[[], Any], writing: int) -> NoReturn:
    """In the child: send what became of ``work``, and end."""
    global _inside  # noqa: PLW0603 - the whole process is
    _inside = True
    code = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        try:
            answer = pickle.dumps((True, work()))
        except BaseException as error:  # noqa: BLE001 - it is the parent's
            answer = pickle.dumps((False, explained(error)))
        with open(writing, "wb") as pipe:
            pipe.write(answer)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        code = 0
    finally:
        os._exit(code)


def _await(child: int, reading: int) -> tuple[bytes, int]:
    """The answer of the child and the status that it ended with; a signal to stop is passed on to it."""
    answer, stop = b"", signal.SIGTERM
    with open(reading, "rb") as pipe:
        while True:
            try:
                answer = answer or pipe.read()
                return answer, os.waitpid(child, 0)[1]
            except KeyboardInterrupt:
                os.kill(child, stop)
                # Asked again, it may be where nothing interrupts it.
                stop = signal.SIGKILL
            except BaseException:
                os.kill(child, signal.SIGKILL)
                raise


def _killed(number: int) -> EngineError:
    if number == signal.SIGALRM:
        return SourceBusyError(
            "The timeout passed in a step of SQLite that nothing can interrupt.",
            action="",
            hint="Look at the schema of the database: a generated column, an index on an expression, a check.",
        )
    return StorageFailedError(
        f"The work was ended by the signal {signal.Signals(number).name}.",
        action="",
        hint="A file was cut short while it was read, the memory is too small, or somebody killed it: see the log.",
    )


@contextlib.contextmanager
def bounded(seconds: float | None) -> Iterator[None]:
    """In a child, a block that ends ``seconds`` from now, and a little, whatever it does; None is for ever.

    Within another one, the sooner end is the one that counts.
    """
    if not _inside or seconds is None:
        yield
        return
    end = time.monotonic() + seconds + _GRACE_SECONDS
    before = signal.getitimer(signal.ITIMER_REAL)[0]
    outer_end = time.monotonic() + before if before else float("inf")
    _alarm_at(min(end, outer_end))
    try:
        yield
    finally:
        _alarm_at(outer_end)


def _alarm_at(end: float) -> None:
    # Zero would be no alarm at all.
    signal.setitimer(signal.ITIMER_REAL, 0 if end == float("inf") else max(end - time.monotonic(), 0.001))
