# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs in a row, each of which reads what the one before writes: a filter to write into, or a stream to read from.

The programs' pipes are connected to each other; only the first input and the last output come to Python. Whatever
happens, the programs and the threads that serve them have ended when the filter or the stream is closed.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, BinaryIO, Protocol, Union, cast

from ..system import files, launch
from ..system.errors import EngineError, ProgramMissingError, from_os_error

# A program may say any amount, and some quote the data that they cannot read: the first and the last of it is kept.
_SAID_BYTES = 4096
# How long a program may take to end when there is nothing left to do, and when what it does is lost already.
_GRACE_SECONDS = 10.0
_LOST_SECONDS = 1.0
_WATCH_SECONDS = 0.05
# More than Linux's 64 KiB, so that programs wait for each other less often; its name is in Python since 3.10.
_PIPE_BYTES = 1024 * 1024
_SET_PIPE_SIZE = 1031
# As our child, and as the child of a shell script around a program.
_LOST_READER_CODES = (-signal.SIGPIPE, 128 + signal.SIGPIPE) if hasattr(signal, "SIGPIPE") else ()
_TOO_LARGE_CODES = (-signal.SIGXFSZ, 128 + signal.SIGXFSZ) if hasattr(signal, "SIGXFSZ") else ()
# What a program says that lost its reader, on Linux and on Windows.
_LOST_READER = re.compile("broken pipe|pipe is being closed|pipe has been ended", re.IGNORECASE)
_NOT_FOR_PEOPLE = re.compile(r"\[GNUPG:\]|age: report unexpected")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_WORDS_LENGTH = 300
_DISK_ERRORS = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EROFS, errno.EIO)
_End = Union[int, BinaryIO]


class Sink(Protocol):
    """What can be written into."""

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""

    def close(self) -> None:
        """Pass on what is still held back."""


@dataclass(frozen=True)
class Command:
    """A program that turns its standard input into its standard output.

    ``descriptors`` stay open in it, ``environment`` is added to ours. ``proof`` must be among what it says on its
    standard error: an exit code of 0 without it counts as a failure.
    """

    words: tuple[str, ...]
    descriptors: tuple[int, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    proof: str = ""

    @property
    def name(self) -> str:
        return self.words[0]


class ProgramFailedError(EngineError):
    """``name`` ended with ``exit_code`` (negative: the signal that ended it) and said ``said``."""

    def __init__(self, name: str, exit_code: int, said: str) -> None:
        how = f"was ended by signal {-exit_code}" if exit_code < 0 else f"failed with exit code {exit_code}"
        self.name = name
        self.exit_code = exit_code
        self.said = said
        words = self.words
        super().__init__(f"{name} {how}{': ' if words else ''}{words}.", hint="Run again." if exit_code < 0 else "")

    @property
    def words(self) -> str:
        """What it said as a part of a sentence: without lines for other programs, and never a page of them."""
        lines = [line.strip() for line in self.said.splitlines() if not _NOT_FOR_PEOPLE.match(line)]
        text = "; ".join(_UNPRINTABLE.sub("?", line) for line in lines if line)
        return (text[:_WORDS_LENGTH] + " …" if len(text) > _WORDS_LENGTH else text).rstrip(".")

    def of_the_host(self, step: str = "") -> EngineError | None:
        """The engine's error when it failed for want of space or by a signal; None when it is about the content."""
        refused = self.disk_error()
        if refused:
            return from_os_error(refused, step)
        return EngineError(f"{step}{step and ': '}{self.cause}", hint=self.hint) if self.exit_code < 0 else None

    def disk_error(self) -> OSError | None:
        """What a disk refused to the program; None when that is not why it failed."""
        said = os.strerror(errno.EFBIG) if self.exit_code in _TOO_LARGE_CODES else self.said
        codes = [each for each in _DISK_ERRORS if os.strerror(each).lower() in said.lower()]
        return OSError(codes[0], os.strerror(codes[0])) if codes else None


class _Stage:
    """One running program. What it says is taken off it by a thread, so that it never waits for us there."""

    def __init__(self, command: Command, source: _End, target: _End) -> None:
        self.command = command
        self._first = self._last = b""
        self._given_up = False
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._process = _start(command, source, target)
        try:
            _widen(self._process.stdin)
            _widen(self._process.stdout)
            self._listener.start()
        except BaseException:
            self.end()
            raise

    def _listen(self) -> None:
        while chunk := _piped(self._process.stderr).read(_SAID_BYTES):
            room = _SAID_BYTES - len(self._first)
            self._first += chunk[:room]
            self._last = (self._last + chunk[room:])[-_SAID_BYTES:]

    @property
    def stdin(self) -> BinaryIO:
        return _piped(self._process.stdin)

    @property
    def stdout(self) -> BinaryIO:
        return _piped(self._process.stdout)

    @property
    def said(self) -> str:
        return (self._first + self._last).decode(errors="replace").strip()

    def ended(self, within_seconds: float) -> bool:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(within_seconds)
            return True
        return False

    def settle(self, within_seconds: float) -> None:
        """Wait for its end and its last words; a program that takes longer is killed."""
        if not self.ended(within_seconds):
            self._given_up = True
            self.kill()
            self._process.wait()
        if self._listener.is_alive():
            # Not without limit: a process that it left behind may still hold the pipe.
            self._listener.join(_GRACE_SECONDS)

    @property
    def failure(self) -> ProgramFailedError | None:
        """Why what it wrote must not be taken for whole. It has ended."""
        code = self._process.wait()
        if code == 0 and self.command.proof in self.said:
            return None
        return ProgramFailedError(self.command.name, code, self.said)

    @property
    def failed_for_another(self) -> bool:
        """Whether it failed only because the program behind it did not take what it wrote."""
        code = self._process.wait()
        lost_reader = code in _LOST_READER_CODES or bool(_LOST_READER.search(self.said))
        return code != 0 and (lost_reader or self._given_up)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self.settle(_GRACE_SECONDS)
        # Closed under a thread that reads from it, a pipe's number could be another file's by then.
        stderr = None if self._listener.is_alive() else self._process.stderr
        for stream in filter(None, (self._process.stdin, self._process.stdout, stderr)):
            with contextlib.suppress(OSError):
                stream.close()


def _start(command: Command, source: _End, target: _End) -> subprocess.Popen[bytes]:
    # Messages are compared with what a program says in English.
    environment = {**os.environ, "LC_ALL": "C", **command.environment}
    try:
        return launch.start(
            command.words,
            bufsize=0,
            stdin=source,
            stdout=target,
            stderr=subprocess.PIPE,
            env=environment,
            pass_fds=command.descriptors,
        )
    except FileNotFoundError:
        raise ProgramMissingError(
            "it is not installed.",
            action=f"Cannot run {command.name}",
            hint=f"Install {command.name}, or name another method.",
        ) from None


def _widen(stream: IO[bytes] | None) -> None:
    """Let a pipe hold more, where that can be had; without it everything is only slower."""
    if stream is not None and sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(stream, _SET_PIPE_SIZE, _PIPE_BYTES)


def _piped(stream: IO[bytes] | None) -> BinaryIO:
    """One end of a pipe to a program that was asked for when it was started."""
    if stream is None:
        raise EngineError("A program was started without the pipe that is needed.", action="")
    return cast(BinaryIO, stream)


class _Row:
    """Running programs, the first fed from ``source``, the last writing to ``target``."""

    def __init__(self, commands: Sequence[Command], source: _End, target: _End) -> None:
        self._stages: list[_Stage] = []
        try:
            for command in commands:
                before = self._stages[-1].stdout if self._stages else None
                after = target if len(self._stages) == len(commands) - 1 else subprocess.PIPE
                self._stages.append(_Stage(command, before or source, after))
                if before:
                    # Else the program before would not notice when its reader has ended.
                    before.close()
        except BaseException:
            self.end()
            raise

    @property
    def stdin(self) -> BinaryIO:
        return self._stages[0].stdin

    @functools.cached_property
    def stdout(self) -> io.BufferedReader:
        """In pieces of the size that is asked for, however the last program hands them over."""
        return io.BufferedReader(cast(io.RawIOBase, self._stages[-1].stdout), files.CHUNK_BYTES)

    def ended(self, within_seconds: float) -> bool:
        """Whether the last one has ended."""
        return self._stages[-1].ended(within_seconds)

    def finish(self) -> None:
        """Wait for all of them. Raises ``ProgramFailedError`` for the one that failed first."""
        patience_seconds = _GRACE_SECONDS
        for stage in reversed(self._stages):
            stage.settle(patience_seconds)
            if stage.failure:
                patience_seconds = _LOST_SECONDS
        # Who fails leaves one neighbour without reader and the other with half an input: the first in the row that did
        # not just lose its reader is the one that began.
        for stage in self._stages:
            if stage.failure and not stage.failed_for_another:
                raise stage.failure
        for stage, reader in zip(self._stages, [*self._stages[1:], self._stages[-1]]):
            if stage.failure:
                raise reader.failure or ProgramFailedError(reader.command.name, 0, "it did not read everything")

    def kill(self) -> None:
        for stage in self._stages:
            stage.kill()

    def end(self) -> None:
        """End what still runs, and release everything."""
        self.kill()
        for stage in self._stages:
            stage.end()


class Filter:
    """What is written goes through the programs, and what they make of it to ``sink``, in a thread of its own."""

    def __init__(self, commands: Sequence[Command], sink: Sink) -> None:
        self._sink = sink
        self._failure: OSError | None = None
        self._whole = False
        self._row = _Row(commands, subprocess.PIPE, subprocess.PIPE)
        self._name = " | ".join(command.name for command in commands)
        self._pump = threading.Thread(target=self._run_pump, daemon=True)
        try:
            self._pump.start()
        except BaseException:
            self._row.end()
            raise

    def _run_pump(self) -> None:
        try:
            while chunk := self._row.stdout.read(files.CHUNK_BYTES):
                self._sink.write(chunk)
            self._whole = True
        except OSError as error:
            self._failure = error
        finally:
            if not self._whole:
                # Ends the writer's side too: its next write meets a closed pipe instead of waiting for ever.
                self._row.kill()

    def write(self, data: bytes, /) -> int:
        if not self._pump.is_alive():
            self._fail()
        try:
            files.write_all(self._row.stdin, data)
        except OSError:
            self._fail()
        return len(data)

    def _fail(self) -> None:
        self._finish()
        raise ProgramFailedError(self._name, 0, "it did not read everything")

    def _finish(self) -> None:
        # A program that is gone takes nothing any more, and the pipe is closed all the same.
        with contextlib.suppress(OSError):
            self._row.stdin.close()
        self._pump.join()
        if self._failure:
            raise self._failure
        self._row.finish()
        if not self._whole:
            raise EngineError(f"What {self._name} wrote could not be taken.", action="")

    def close(self) -> None:
        self._finish()
        self._sink.close()

    def end(self) -> None:
        """End the programs if they still run, and release everything. After a failure, and after ``close``."""
        self._row.kill()
        self._pump.join(_GRACE_SECONDS)
        if not self._pump.is_alive():
            self._row.end()


class Stream:
    """What the last program writes. It comes to an end only when all of them say that it is whole."""

    def __init__(self, row: _Row) -> None:
        self._row = row

    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end. Raises ``ProgramFailedError`` there when a program failed."""
        chunk = self._row.stdout.read(size)
        if not chunk and size:
            self._row.finish()
        return chunk


@contextlib.contextmanager
def reading(commands: Sequence[Command], source: BinaryIO) -> Iterator[Stream]:
    """The open file ``source`` as the programs turn it, for a block that may stop reading at any time."""
    row = _Row(commands, source, subprocess.PIPE)
    try:
        yield Stream(row)
    finally:
        row.end()


def output_of(command: Command, source: BinaryIO, *, limit_bytes: int) -> bytes:
    """All that the program makes of ``source``, but no more than ``limit_bytes``."""
    with reading([command], source) as stream:
        output = stream.read(limit_bytes)
        stream.read(1)
    return output


def pour(commands: Sequence[Command], source: BinaryIO, target: BinaryIO, *, limit_bytes: int) -> None:
    """Let the last program write straight into the open file ``target``.

    They are ended as soon as the file is larger than ``limit_bytes``; whether it is, is the caller's to see. Raises
    ``OSError`` when the disk refused something, ``ProgramFailedError`` when a program failed for another reason.
    """
    target.flush()
    row = _Row(commands, source, target)
    try:
        while not row.ended(_WATCH_SECONDS):
            if os.fstat(target.fileno()).st_size > limit_bytes:
                return
        row.finish()
    except ProgramFailedError as error:
        raise error.disk_error() or error from None
    finally:
        row.end()
