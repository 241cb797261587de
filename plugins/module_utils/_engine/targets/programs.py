# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that carry files: run to their end or to a deadline, and once more when what failed may pass."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, TypeVar

from ..sealed.pipeline import ProgramFailedError
from ..system import launch
from ..system.clock import Deadline
from ..system.errors import ProgramMissingError, RefusedError, TargetUnreachableError

Result = TypeVar("Result")
Hear = Callable[[bytes], None]
"""Takes each line that a program prints, to tell how far it is."""

MOST_OUTPUT_BYTES = 256 * 1024 * 1024
"""More than the names of some million files: what a target lists must not fill the memory."""
_SAID_BYTES = 8192
_READ_BYTES = 65536
_POLL_SECONDS = 0.05
# For the last words of a program that was ended.
_END_SECONDS = 1.0
_LINES = re.compile(rb"[\r\n]+")
# Between the tries of one call: the first wait, and the longest.
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0


class _Ear:
    """Takes what a program prints off it, in a thread, and keeps the last ``keep_bytes`` of that."""

    def __init__(self, stream: IO[bytes], hear: Hear, keep_bytes: int) -> None:
        self.heard = bytearray()
        self.overflowed = False
        self._stream, self._hear, self._keep_bytes = stream, hear, keep_bytes
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        rest = b""
        while chunk := os.read(self._stream.fileno(), _READ_BYTES):
            self.heard += chunk
            if len(self.heard) > self._keep_bytes:
                self.overflowed = True
                del self.heard[: -self._keep_bytes]
            *lines, rest = _LINES.split(rest[-_SAID_BYTES:] + chunk)
            for line in lines:
                self._hear(line)

    def finish(self, within_seconds: float) -> bool:
        """Wait until the program closed its end, though not for ever for what it left behind; whether it did."""
        self._thread.join(within_seconds)
        return not self._thread.is_alive()


class _Running:
    """One program with its own children, fed with ``given``."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], given: bytes, hear: Hear) -> None:
        self._process = _start(words, environment)
        self._family = launch.Family(self._process)
        self._streams = [each for each in (self._process.stdin, self._process.stdout, self._process.stderr) if each]
        self.output = _Ear(self._streams[1], hear, MOST_OUTPUT_BYTES)
        self.words = _Ear(self._streams[2], hear, _SAID_BYTES)
        self._feeder = threading.Thread(target=self._feed, args=(given,), daemon=True)
        self._feeder.start()

    def _feed(self, given: bytes) -> None:
        # One that ends early does not read all of it: its exit code says why.
        with contextlib.suppress(OSError), self._streams[0] as pipe:
            pipe.write(given)

    def ended(self, within_seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_seconds)
            return True
        return False

    @property
    def code(self) -> int:
        return self._process.wait()

    def end(self) -> None:
        """End it and what it started, as the ssh of an rsync, if they still run; release everything."""
        self._family.end()
        self._process.wait()
        # Closed under a thread that reads from it, a pipe's number could be another file's by then.
        for ear, stream in ((self.output, self._streams[1]), (self.words, self._streams[2])):
            if ear.finish(_END_SECONDS):
                stream.close()


def _start(words: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    # Messages are compared with what a program says in English.
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RCLONE_")}
    pipe = subprocess.PIPE
    try:
        return launch.start(
            words,
            bufsize=0,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            env={**ours, "LC_ALL": "C", **environment},
        )
    except FileNotFoundError:
        raise ProgramMissingError(
            f"{words[0]} is not installed.", hint=f"Install {words[0]}, which carries files to this target."
        ) from None


def output_of(
    words: Sequence[str],
    *,
    environment: Mapping[str, str],
    given: bytes = b"",
    deadline: Deadline,
    fine: Sequence[int] = (0,),
    hear: Hear = lambda _line: None,
    watch: Callable[[], None] = lambda: None,
) -> bytes:
    """What the program prints, once it ended with an exit code that is ``fine``; ``given`` is its standard input.

    ``watch`` is called now and then, and ends the program by raising. Raises ``ProgramFailedError`` with what it said
    last, and ``TargetUnreachableError`` when the deadline passes first.
    """
    late = TargetUnreachableError(
        f"{words[0]} had not ended when the timeout of the target passed.",
        hint="What is there stays, and the next run goes on. Raise timeout, or bandwidth.",
    )
    if deadline.passed():
        raise late
    program = _Running(words, environment, given, hear)
    try:
        while not program.ended(_POLL_SECONDS):
            watch()
            if deadline.passed():
                raise late
        for each in (program.output, program.words):
            each.finish(_LONGEST_WAIT_SECONDS)
        watch()
        if program.output.overflowed:
            raise RefusedError(
                f"{words[0]} prints more than {MOST_OUTPUT_BYTES} bytes.",
                hint="Look at what is there: it is not what a repository holds.",
            )
        if program.code not in fine:
            raise ProgramFailedError(words[0], program.code, program.words.heard.decode(errors="replace").strip())
        return bytes(program.output.heard)
    finally:
        program.end()


def persistently(
    work: Callable[[], Result], *, tries: int, deadline: Deadline, may_pass: Callable[[ProgramFailedError], bool]
) -> Result:
    """What ``work`` returns, tried again after longer and longer waits while it fails with what may pass."""
    wait_seconds = _FIRST_WAIT_SECONDS
    for left in range(tries - 1, -1, -1):
        try:
            return work()
        except ProgramFailedError as error:
            if not left or not may_pass(error) or deadline.remaining_seconds(wait_seconds) < wait_seconds:
                raise
        time.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)
    raise AssertionError("there is no try at all")  # pragma: no cover
