# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run one command, and measure it with all its children. Linux only: the figures are those of /proc."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_MILLISECONDS = 20
_KIBIBYTE = 1024
_TOLD_CHARACTERS = 120


class RunFailedError(Exception):
    """The command failed or took too long; the message is short enough for a cell of a table."""


@dataclass(frozen=True)
class Usage:
    """What one command and its children took.

    `memory_bytes` is the largest sum of the resident memory of all living processes of the tree, looked at every
    20 ms (VmRSS of /proc/PID/status), or the peak of the largest of them (VmHWM), whichever is more. `written_bytes` is
    what the tree made dirty in files (`write_bytes` of /proc/PID/io), temporary files that it removed again included.
    """

    wall_seconds: float
    cpu_seconds: float
    memory_bytes: int
    written_bytes: int
    output: str


def run(command: Sequence[str], *, env: Mapping[str, str], cwd: Path, limit_seconds: float) -> Usage:
    """Run `command` to its end; raises RunFailedError when it fails or is not done after `limit_seconds`."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as complaints:
        begin = time.monotonic()
        # A session of its own, so that what is left of it can be ended together.
        process = subprocess.Popen(
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=complaints,
            start_new_session=True,
        )
        try:
            peak_bytes = _watch(process.pid, begin + limit_seconds)
            wall_seconds = time.monotonic() - begin
            # Between the end of a process and its reaping, these are final and include its children.
            written_bytes = _written_bytes(process.pid)
        finally:
            _end_group(process.pid)
            _pid, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RunFailedError(_told(complaints.fileno()) or f"exit code {process.returncode}")
        return Usage(
            wall_seconds=wall_seconds,
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            memory_bytes=peak_bytes,
            written_bytes=written_bytes,
            output=_text(output.fileno()),
        )


def _watch(process_id: int, end: float) -> int:
    """Wait for the end of a process; the largest memory of its tree in bytes.

    `ru_maxrss` would be no help: it begins with the memory of the process that started it.
    """
    peak_bytes = 0
    descriptor = os.pidfd_open(process_id)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        while not poller.poll(_SAMPLE_MILLISECONDS):
            memory = [_memory_bytes(each) for each in _tree(process_id)]
            peak_bytes = max(peak_bytes, sum(now for now, _peak in memory), *(peak for _now, peak in memory))
            if time.monotonic() > end:
                raise RunFailedError("not done within its time limit")
    finally:
        os.close(descriptor)
    return peak_bytes


def _tree(process_id: int) -> Iterator[int]:
    yield process_id
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text(encoding="ascii").split():
                yield from _tree(int(child))


def _memory_bytes(process_id: int) -> tuple[int, int]:
    """What a process holds now, and the most that it ever held; nothing of one that has ended."""
    try:
        status = Path(f"/proc/{process_id}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0, 0
    found = dict(re.findall(r"^(VmRSS|VmHWM):\s*(\d+) kB", status, re.MULTILINE))
    return int(found.get("VmRSS", 0)) * _KIBIBYTE, int(found.get("VmHWM", 0)) * _KIBIBYTE


def _written_bytes(process_id: int) -> int:
    facts = dict(line.split(": ") for line in Path(f"/proc/{process_id}/io").read_text(encoding="ascii").splitlines())
    return int(facts["write_bytes"])


def _end_group(process_id: int) -> None:
    """End what a command left running. It is not reaped yet, so its number cannot be that of another group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)


def _text(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    with open(descriptor, encoding="utf-8", errors="replace", closefd=False) as stream:
        return stream.read()


def _told(descriptor: int) -> str:
    """The last line that is not empty, without what would break a table."""
    lines = [line.strip() for line in _text(descriptor).splitlines() if line.strip()]
    return lines[-1].replace("|", "/")[:_TOLD_CHARACTERS] if lines else ""
