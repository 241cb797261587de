# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log of a repository: a line an event, each with the digest of the line before it.

So a line that was changed or taken away shows: what follows does not fit any more. A file that has grown long gets a
number and stays; the next line goes into a new one.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system import clock, files, locks, places, who
from ..system.clock import Deadline
from ..system.errors import MALFORMED, EngineError, RefusedError, doing

NAME = "history.jsonl"
LONGEST_BYTES = 1024 * 1024
UNKNOWN = "the last line that this host knows of is not there any more: it was changed or removed"
CHANGED = "a line before the last one that this host knows of was changed or removed"
_NUMBERED = re.compile(r"history\.([0-9]{6})\.jsonl")
_PREVIOUS = "previous"
_LOCK_SECONDS = 5.0
_LONGEST_LINE_BYTES = 1024 * 1024
# No file grows that long; one that did would be read into memory.
_LIMIT_BYTES = 64 * 1024 * 1024

Echo = Callable[[Mapping[str, Any]], None]
_echoes: list[Echo] = []


def echo_to(*echoes: Echo) -> None:
    """From now on let each of ``echoes``, instead of those before, have every event that this process writes down."""
    _echoes[:] = echoes


def append(repository: Path, event: str, facts: Mapping[str, Any]) -> list[str]:
    """Add one line to the audit log in the directory ``repository``; what no echo took, as warnings."""
    path = repository / NAME
    with doing(f"Cannot write the audit log {path}"):
        if sys.platform == "win32" and files.size_of(path) >= LONGEST_BYTES:
            # What is open keeps its name there, also when another run writes to it just now.
            with contextlib.suppress(OSError):
                os.rename(path, _next(repository))
        with _held(path) as file:
            if sys.platform != "win32" and file.seek(0, os.SEEK_END) >= LONGEST_BYTES:
                files.move_file(path, _next(repository))
                with _held(path) as fresh:
                    line = _append(repository, fresh, event, facts)
            else:
                line = _append(repository, file, event, facts)
    return _echoed({"repository": str(repository), **line})


@contextlib.contextmanager
def _held(path: Path) -> Iterator[io.FileIO]:
    """The file that has the name ``path`` now, made when there is none, with its lock: one line at a time."""
    deadline = Deadline(_LOCK_SECONDS)
    while not deadline.passed():
        descriptor = files.open_private(path, os.O_APPEND)
        with io.FileIO(descriptor, "r+", closefd=True) as file:
            locks.wait(descriptor, path, timeout_seconds=_LOCK_SECONDS)
            # While this waited, another run may have given it a number.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.lstat(path)):
                    yield file
                    return
    raise RefusedError("it is replaced all the time.", hint="Find out who does that.")


def _append(repository: Path, file: io.FileIO, event: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    previous = _last_line(file) or _last_numbered_line(repository)
    line = {"time": clock.to_text(clock.now()), "event": event, **who.describe(), **facts}
    line[_PREVIOUS] = digest(previous) if previous else ""
    files.append_to(file, json.dumps(line, sort_keys=True))
    return line


def _next(repository: Path) -> Path:
    """The name for the file that has grown long."""
    number = max((int(match[1]) for match in _matches(repository)), default=0) + 1
    return repository / f"history.{number:06}.jsonl"


def _matches(repository: Path) -> list[re.Match[str]]:
    found = [match for name in places.names(repository) if (match := _NUMBERED.fullmatch(name))]
    return sorted(found, key=lambda each: each[0])


def parts(repository: Path) -> list[Path]:
    """The files of the audit log, oldest first."""
    with doing(f"Cannot list {repository}"):
        names = [match[0] for match in _matches(repository)]
    return [repository / each for each in (*names, NAME)]


def digest(line: bytes) -> str:
    """What the line behind ``line``, which has no newline at its end, must have as ``previous``."""
    return hashlib.sha256(line).hexdigest()


def _last_line(file: io.FileIO) -> bytes:
    """The last line of a log, which a crash may have cut short; empty when there is none."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LONGEST_LINE_BYTES))
    return file.readall().rstrip(b"\n").rpartition(b"\n")[2]


def _last_numbered_line(repository: Path) -> bytes:
    numbered = _matches(repository)
    if not numbered:
        return b""
    with io.FileIO(places.open_regular(repository / numbered[-1][0]), "rb") as file:
        return _last_line(file)


def _echoed(line: Mapping[str, Any]) -> list[str]:
    wrong = []
    for echo in _echoes:
        try:
            echo(line)
        except (EngineError, OSError) as error:
            wrong.append(f"the audit log has a line that did not get further: {error}")
    return wrong


@dataclass(frozen=True)
class Known:
    """Up to where somebody knows a log: the digest of a ``line``, and the one of it and ``all`` lines before it.

    A line that was cut short says nothing of the one before it, and breaks no chain: so ``all`` tells more.
    """

    line: str = ""
    all: str = ""

    def and_then(self, line: bytes) -> Known:
        """What is known when ``line`` is the next one."""
        found = digest(line)
        return Known(found, digest(f"{self.all} {found}".encode()))


NOTHING = Known()


def continued(repository: Path, known: Known = NOTHING) -> Known | None:
    """What is to be known now; None when the line that is known is gone, or one behind it does not follow."""
    paths = parts(repository)
    # As a rule it is in one of the last two; of an earlier version there is no digest of all lines to go on from.
    for some in (paths[-2:], paths) if known.all else (paths,):
        lines = [line for path in some for line in _raw(path)]
        if not known.line:
            return _followed(NOTHING, lines)
        # From the end: as a rule it is one of the last.
        place = next((each for each in reversed(range(len(lines))) if digest(lines[each]) == known.line), None)
        if place is not None:
            return _followed(known, lines[place + 1 :]) if known.all else _followed(NOTHING, lines)
    return None


def _followed(known: Known, lines: list[bytes]) -> Known | None:
    """What is known behind ``lines``; None when one of them does not follow."""
    for line in lines:
        event = _event(line)
        # A line that a crash cut short says nothing; the one behind it has its digest.
        if known.line and event is not None and event.get(_PREVIOUS) != known.line:
            return None
        known = known.and_then(line)
    return known


def events(repository: Path) -> list[dict[str, Any]]:
    """The newer events, those of the last two files, oldest first; a line that a crash cut short is left out."""
    found = (_event(line) for path in parts(repository)[-2:] for line in _raw(path))
    return [each for each in found if each is not None]


def _raw(path: Path) -> list[bytes]:
    with doing(f"Cannot read the audit log {path}"), contextlib.suppress(FileNotFoundError):
        return [line for line in places.read_bytes(path, limit_bytes=_LIMIT_BYTES).split(b"\n") if line]
    return []


def _event(line: bytes) -> dict[str, Any] | None:
    """None of a line that is none."""
    with contextlib.suppress(*MALFORMED):
        event = json.loads(line.decode("utf-8", errors="replace"))
        return event if isinstance(event, dict) else None
    return None


@dataclass
class Chain:
    """What the lines of an audit log say of each other. ``breaks`` are sentences; ``torn`` counts lines cut short.

    ``bare`` counts lines at the beginning from before there were digests. ``first`` and ``last`` are times, RFC 3339.
    """

    lines: int = 0
    bare: int = 0
    torn: int = 0
    first: str = ""
    last: str = ""
    breaks: list[str] = field(default_factory=list)


def examine(repository: Path, known: Known = NOTHING) -> Chain:
    """Follow the digests from the first line to the last. What is ``known`` must be there as it was."""
    chain, before, chained, wrong, here = Chain(), b"", False, UNKNOWN if known.line else "", NOTHING
    for path in parts(repository):
        for number, line in enumerate(_raw(path), 1):
            event = _event(line)
            place = f"line {number} of {path.name}"
            if event is None:
                chain.torn += 1
            elif _PREVIOUS in event:
                chained = True
                if event[_PREVIOUS] != (digest(before) if before else ""):
                    what = "is not the first, though it says so" if not event[_PREVIOUS] else "does not follow"
                    chain.breaks.append(
                        f"{place} ({event.get('time')}) {what}: what was before it was changed or removed"
                    )
            elif chained:
                chain.breaks.append(f"{place} ({event.get('time')}) has no digest, though lines before it have one")
            else:
                chain.bare += 1
            chain.lines += 1
            if event is not None:
                chain.first, chain.last = chain.first or str(event.get("time")), str(event.get("time"))
            before, here = line, here.and_then(line)
            if wrong and here.line == known.line:
                wrong = "" if known.all in ("", here.all) else CHANGED
    if wrong:
        chain.breaks.append(wrong)
    return chain
