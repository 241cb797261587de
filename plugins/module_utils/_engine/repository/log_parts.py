# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of log files that is new since the previous backup; they are written, rotated and cut meanwhile.

Up to where each was stored is kept on this host by the number of its file, with a digest of its beginning, since a
number is given to other files, too. It is written after a backup was published: a part may be stored
twice, never not at all.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..system import files, owners, places
from ..system.errors import MALFORMED, EngineError, RefusedError, SourceMissingError, UsageError, doing
from .include import DIRECTORY, Stored
from .inclusion import LOGS, Include
from .manifest import INCLUDE_ROLE, FileOrigin, StoredFile, made
from .reading import Storage

_HEAD_BYTES = 1024
_LONGEST_LINE_BYTES = 1024 * 1024
# Nobody ends a line any more that was begun as long ago.
_QUIET_SECONDS = 3600
# The times of files are not as exact as the clock.
_CLOCK_SECONDS = 2
_PACKED = (".gz", ".xz", ".zst", ".bz2")
_MOST_FILES = 200
_MOST_KNOWN = 1000
_MOST_NAMES = 10_000
# What no path of a backup may have in it; and what tells that it was such a character.
_ODD = re.compile(r"[%:\\\x00-\x1f\x7f]")
_LONGEST_NAME_BYTES = 200


@dataclass(frozen=True)
class Log:
    """A log file, as what ``name`` its new part is stored, and what asked for it.

    One that ``is_over`` got another name, and is not written to any more: its last line is whole. One that
    ``is_strange`` was never seen under the name that it had before.
    """

    path: Path
    name: str
    asked: Include
    is_over: bool = False
    is_strange: bool = False


@dataclass(frozen=True)
class Known:
    """Up to where a file was stored, and what its first ``head_bytes`` were."""

    end: int
    head_bytes: int
    head: str


def found(asked: Include) -> list[Log]:
    """The files that ``asked`` names now. Raises ``SourceMissingError`` when there is none."""
    pattern = asked.src
    if pattern is None:
        return []
    names: list[str] = []
    with doing(step=f"cannot look for the logs {pattern}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        directory = places.resolved(pattern.parent)
        names = sorted(fnmatch.filter(places.names(directory), pattern.name))
        names = [each for each in names if not places.is_directory(directory / each)]
    if not names:
        raise SourceMissingError(f"there are no logs {pattern}.", hint="Correct include, or leave them out there.")
    if len(names) > _MOST_FILES:
        raise UsageError(f"{pattern} are {len(names)} files.", hint=f"Name fewer; {_MOST_FILES} are the most.")
    return [Log(directory / each, _stored_name(asked, each), asked) for each in names]


def _stored_name(asked: Include, name: str) -> str:
    """As what a file is stored, whatever its owner calls it; no two of a directory as the same."""
    plain = _ODD.sub(lambda found: f"%{ord(found[0]):02X}", name)
    if len(os.fsencode(plain)) > _LONGEST_NAME_BYTES:
        plain = f"%long-{hashlib.sha256(os.fsencode(name)).hexdigest()}"
    return f"{asked.stored_name}/{plain}"


@dataclass
class Parts:
    """What is stored of logs. ``place`` is where it is kept up to where each was: ``known`` before, ``seen`` now.

    ``since`` is when that was, in seconds, None before the first time.
    """

    storage: Storage
    place: Path
    known: dict[str, Known]
    salt: str
    since: float | None
    begun: float = field(default_factory=time.time)
    stored: list[StoredFile] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    origins: list[FileOrigin] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seen: dict[str, Known] = field(default_factory=dict)

    def beside(self, others: Stored) -> Stored:
        """With what else was included."""
        return Stored((*others.files, *self.stored), {**others.names, **self.names}, (*others.origins, *self.origins))

    def keep(self) -> None:
        """Once the backup is published: what is not seen at the moment may have another name soon."""
        if not self.seen:
            return
        kept = [*{**{name: each for name, each in self.known.items() if name not in self.seen}, **self.seen}.items()]
        content = {
            "salt": self.salt,
            "time": self.begun,
            "files": {name: asdict(each) for name, each in kept[-_MOST_KNOWN:]},
        }
        with doing(f"Cannot note up to where logs are stored in {self.place}"):
            files.own_directory(self.place.parent)
            files.replace_private(self.place, (json.dumps(content) + "\n").encode())

    def digest(self, data: bytes) -> str:
        return hashlib.sha256(self.salt.encode() + data).hexdigest()


def store(logs: Sequence[Log], place: Path, storage: Storage, *, number: int) -> Parts:
    """Store the new part of each log. In an encrypted backup its path is a number, from ``number`` on."""
    parts = Parts(storage, place, *_read(place))
    for each in logs:
        _store_one(each, parts, number)
    for each in _renamed(logs, parts):
        _store_one(each, parts, number)
    return parts


def _read(place: Path) -> tuple[dict[str, Known], str, float | None]:
    """What is kept; nothing when it is not as it was written: then all is new."""
    try:
        content = json.loads(places.read_bytes(place))
        known = {str(name): made(Known, each) for name, each in content["files"].items()}
        return known, str(content["salt"]), float(content["time"])
    except (OSError, RefusedError, *MALFORMED):
        return {}, os.urandom(16).hex(), None


def _renamed(logs: Sequence[Log], parts: Parts) -> Iterator[Log]:
    """The files beside ``logs`` that got another name, as a rotation gives it to them: known ones, and new ones.

    What was rotated twice since the previous backup was never seen under its first name.
    """
    taken = {each.path for each in logs}
    for directory in dict.fromkeys(each.path.parent for each in logs):
        here = [each for each in logs if each.path.parent == directory]
        with contextlib.suppress(OSError, EngineError):
            for name in sorted(places.names(directory))[:_MOST_NAMES]:
                path = directory / name
                status = os.lstat(path)
                number = _number(status)
                log = next((each for each in here if name.startswith(each.path.name)), None)
                is_strange = log is not None and _is_of_now(name, status, parts)
                if path not in taken and number not in parts.seen and (number in parts.known or is_strange):
                    asked = (log or here[0]).asked
                    yield Log(path, _stored_name(asked, name), asked, is_over=True, is_strange=is_strange)


def _is_of_now(name: str, status: os.stat_result, parts: Parts) -> bool:
    """Whether it was written to since the previous backup, as far as times can tell; what is packed was before."""
    if parts.since is None or not stat.S_ISREG(status.st_mode) or name.endswith(_PACKED):
        return False
    return status.st_mtime >= parts.since - _CLOCK_SECONDS


def _number(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _store_one(log: Log, parts: Parts, first_number: int) -> None:
    with contextlib.ExitStack() as opened:
        try:
            with doing(f"Cannot include {log.path}"):
                file = opened.enter_context(places.reading(log.path))
                start, end = _span(file, log, parts)
        except EngineError as error:
            if log.asked.required and not log.is_over:
                raise
            parts.warnings.append(f"not included: {error.message}")
            return
        if start == end:
            return
        number = first_number + len(parts.stored)
        path = f"{DIRECTORY}/{log.name if parts.storage.encryption.method == 'none' else number}"
        given = log.asked.src.parent / log.path.name if log.asked.src else log.path
        ownership = owners.ownership(os.fstat(file.fileno()))
        chunks = _chunks(file, log.path, start, end)
        parts.stored.append(parts.storage.write(path, INCLUDE_ROLE, chunks, compressed=True))
        parts.names[path] = log.name
        parts.origins.append(FileOrigin(path, os.path.abspath(given), False, *ownership, LOGS, start, end))


def _span(file: BinaryIO, log: Log, parts: Parts) -> tuple[int, int]:
    """From where to where a log is new, in whole lines; noted as seen. Nothing of what is too much is read."""
    status = os.fstat(file.fileno())
    number, size = _number(status), status.st_size
    known = parts.known.get(number)
    is_same = known is not None and known.end <= size and known.head == parts.digest(_at(file, 0, known.head_bytes))
    if known is None or not is_same:
        if log.is_over and not log.is_strange:
            return 0, 0
        if known is not None and known.end:
            parts.warnings.append(f"{log.path} began anew since the previous backup: it is stored from its beginning")
        known = Known(0, 0, parts.digest(b""))
    start = known.end
    is_quiet = log.is_over or time.time() - status.st_mtime > _QUIET_SECONDS
    end = size if is_quiet else _end_of_lines(file, start, size)
    if end - start > log.asked.limit_bytes:
        first = end - log.asked.limit_bytes
        line = _at(file, first, min(_LONGEST_LINE_BYTES, log.asked.limit_bytes))
        first += line.find(b"\n") + 1
        parts.warnings.append(
            f"{log.path} has {files.readable(end - start)} that are new, of which only the last "
            f"{files.readable(end - first)} are stored: see limit_mib"
        )
        start = first
    head_bytes = min(end, _HEAD_BYTES)
    parts.seen[number] = Known(end, head_bytes, parts.digest(_at(file, 0, head_bytes)))
    return start, end


def _at(file: BinaryIO, place: int, size: int) -> bytes:
    file.seek(place)
    return files.read_exactly(file, size)


def _end_of_lines(file: BinaryIO, start: int, size: int) -> int:
    """Where the last whole line ends; what has no line for long is taken as it is."""
    looked = max(start, size - _LONGEST_LINE_BYTES)
    last = _at(file, looked, size - looked).rfind(b"\n")
    if last >= 0:
        return looked + last + 1
    return start if looked == start else size


def _chunks(file: BinaryIO, path: Path, start: int, end: int) -> Iterator[bytes]:
    with doing(f"Cannot include {path}"):
        file.seek(start)
        rest = end - start
        while rest and (chunk := file.read(min(rest, files.CHUNK_BYTES))):
            rest -= len(chunk)
            yield chunk
