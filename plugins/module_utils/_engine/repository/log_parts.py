# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of log files that is new since the previous backup; they are written, rotated and cut meanwhile.

Up to where each was stored is kept on this host, and written after a backup was published: a part may be stored twice,
never not at all. What was lost all the same is told.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..system import files, owners, places
from ..system.clock import Deadline
from ..system.errors import EngineError, SourceBusyError, SourceMissingError, UsageError, doing
from . import log_note
from .include import DIRECTORY, Stored, not_included
from .inclusion import LOGS, Include, is_environment
from .log_note import Known, Note
from .manifest import INCLUDE_ROLE, FileOrigin, StoredFile
from .reading import Storage

_LONGEST_LINE_BYTES = 1024 * 1024
# Nobody ends a line any more that was begun as long ago.
_QUIET_SECONDS = 3600
# Such a log is done with: when it is removed, nobody misses a line.
_DONE_SECONDS = 86400
_ATTEMPTS = 3
# The times of files are not as exact as the clock.
_CLOCK_SECONDS = 2
_PACKED = (".gz", ".xz", ".zst", ".bz2")
_MOST_FILES = 200
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
class New:
    """The bytes of a log that are new, from ``start`` to ``known.end``; ``warning`` says what is wrong with that."""

    start: int
    known: Known
    warning: str = ""


def found(asked: Include) -> list[Log]:
    """The files that ``asked`` names now. Raises ``SourceMissingError`` when there is none."""
    pattern = asked.src
    if pattern is None:
        return []
    names: list[str] = []
    with doing(step=f"cannot look for the logs {pattern}"), contextlib.suppress(FileNotFoundError, NotADirectoryError):
        directory = places.resolved(pattern.parent)
        names = sorted(fnmatch.filter(places.names(directory), pattern.name))
        # Whoever names all files of a directory does not mean its settings.
        names = [each for each in names if not (is_environment(each) or places.is_directory(directory / each))]
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
    """What is stored of logs. ``note`` says up to where each was before, ``seen`` up to where it is now.

    ``met`` are the numbers of the known files that are still there, or of which something else is told.
    """

    storage: Storage
    note: Note
    deadline: Deadline
    begun: float = field(default_factory=time.time)
    stored: list[StoredFile] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    origins: list[FileOrigin] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seen: dict[str, Known] = field(default_factory=dict)
    met: set[str] = field(default_factory=set)

    @property
    def is_opaque(self) -> bool:
        return self.storage.encryption.method != "none"

    def beside(self, others: Stored) -> Stored:
        """With what else was included."""
        return dataclasses.replace(
            others,
            files=(*others.files, *self.stored),
            names={**others.names, **self.names},
            origins=(*others.origins, *self.origins),
            warnings=(*others.warnings, *self.warnings),
        )

    def keep(self) -> None:
        """Once the backup is published."""
        self.note.write(self.seen, self.begun)


def store(
    logs: Sequence[Log], asked: Sequence[Include], place: Path, storage: Storage, *, number: int, deadline: Deadline
) -> Parts:
    """Store the new part of each log that was ``asked`` for; when encrypted under a number, from ``number`` on.

    What cannot be read by the deadline is as what cannot be read.
    """
    parts = Parts(storage, log_note.read(place), deadline)
    for each in logs:
        _store_one(each, parts, number)
    for count, each in enumerate(_renamed(logs, asked, parts)):
        if count == _MOST_FILES:
            parts.warnings.append(
                f"more than {_MOST_FILES} logs were rotated since the previous backup: the others are not stored"
            )
            break
        _store_one(each, parts, number)
    _tell_missed(logs, asked, parts)
    return parts


def _renamed(logs: Sequence[Log], asked: Sequence[Include], parts: Parts) -> Iterator[Log]:
    """The files beside ``logs`` that got another name, as a rotation gives it to them: known ones, and new ones.

    What was rotated twice since the previous backup was never seen under its first name.
    """
    taken = {each.path for each in logs}
    by_digest = {parts.note.digest(each.src): each for each in asked if each.src}
    for directory, first in _directories(asked, parts).items():
        here = [each for each in logs if each.path.parent == directory]
        for name in _names(directory, parts):
            path = directory / name
            try:
                status = os.lstat(path)
            except OSError:
                # Gone meanwhile: the others are still there.
                continue
            number = _number(status)
            known = parts.note.known.get(number)
            log = next((each for each in here if name.startswith(each.path.name)), None)
            is_strange = log is not None and _is_of_now(name, status, parts)
            if path not in taken and number not in parts.seen and (known or is_strange):
                by = log.asked if log else by_digest.get(known.asked if known else "", first)
                yield Log(path, _stored_name(by, name), by, is_over=True, is_strange=is_strange)


def _directories(asked: Sequence[Include], parts: Parts) -> dict[Path, Include]:
    """Where logs may be, and what asked for that first."""
    found: dict[Path, Include] = {}
    for each in asked:
        if each.src is None:
            continue
        try:
            with doing(f"Cannot look for what was rotated of {each.src}"):
                found.setdefault(places.resolved(each.src.parent), each)
        except EngineError as error:
            parts.warnings.append(not_included(error))
    return found


def _names(directory: Path, parts: Parts) -> list[str]:
    try:
        with doing(f"Cannot look for rotated logs in {directory}"), contextlib.suppress(FileNotFoundError):
            names = sorted(places.names(directory))
            if len(names) > _MOST_NAMES:
                parts.warnings.append(
                    f"{directory} has {len(names)} names, and only {_MOST_NAMES} are looked at: what was rotated since "
                    "the previous backup may be missing"
                )
            return names[:_MOST_NAMES]
    except EngineError as error:
        parts.warnings.append(not_included(error))
    return []


def _tell_missed(logs: Sequence[Log], asked: Sequence[Include], parts: Parts) -> None:
    """Warn of what was known and is not found any more, unless it was done with."""
    sources = {parts.note.digest(each.src): each.src for each in asked if each.src}
    here = {parts.note.digest(each.path): each.path for each in logs}
    for number, each in parts.note.known.items():
        if number in parts.met or each.is_missed or each.is_over or each.asked not in sources:
            continue
        if each.is_quiet and each.path not in here:
            continue
        told = each.name or here.get(each.path) or f"a log of {sources[each.asked]}"
        parts.warnings.append(
            f"the file that {told} was at the previous backup is not found any more (compressed, moved or removed): "
            "what was written to it since then is not stored"
        )
        parts.note.known[number] = dataclasses.replace(each, is_missed=True)


def _is_of_now(name: str, status: os.stat_result, parts: Parts) -> bool:
    """Whether it was written to since the previous backup, as far as times can tell; what is packed was before."""
    if parts.note.since is None or not stat.S_ISREG(status.st_mode) or name.endswith(_PACKED):
        return False
    return status.st_mtime >= parts.note.since - _CLOCK_SECONDS


def _number(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


def _store_one(log: Log, parts: Parts, first_number: int, attempts: int = _ATTEMPTS) -> None:
    error = _try(log, parts, first_number)
    if error is None:
        return
    if attempts > 1:
        _store_one(log, parts, first_number, attempts - 1)
        return
    if log.asked.required and not log.is_over:
        raise error
    parts.warnings.append(not_included(error))
    with contextlib.suppress(OSError):
        parts.met.add(_number(os.lstat(log.path)))


def _try(log: Log, parts: Parts, first_number: int) -> EngineError | None:
    """Store the new part of a log; why that cannot be, of which nothing stays."""
    with contextlib.ExitStack() as opened:
        try:
            with doing(f"Cannot include {log.path}"):
                file = opened.enter_context(places.reading(log.path))
                status = os.fstat(file.fileno())
                new = _new(file, status, log, parts)
        except EngineError as error:
            return error
        if new is None:
            return None
        if new.start < new.known.end:
            number = first_number + len(parts.stored)
            path = f"{DIRECTORY}/{number if parts.is_opaque else log.name}"
            chunks = _chunks(file, log.path, new, parts)
            stored = parts.storage.try_to_write(path, INCLUDE_ROLE, chunks, compressed=True)
            if isinstance(stored, EngineError):
                return stored
            given = log.asked.src.parent / log.path.name if log.asked.src else log.path
            whose = owners.ownership(status)
            parts.stored.append(stored)
            parts.names[path] = log.name
            parts.origins.append(
                FileOrigin(path, os.path.abspath(given), False, *whose, LOGS, new.start, new.known.end)
            )
        parts.seen[_number(status)] = new.known
        parts.warnings.extend(filter(None, [new.warning]))
        return None


def _new(file: BinaryIO, status: os.stat_result, log: Log, parts: Parts) -> New | None:
    """What is new of a log, in whole lines; None of what is none. Nothing of what is too much is read."""
    number, size = _number(status), status.st_size
    if number in parts.seen:
        # It was taken under its other name.
        return None
    known, warning = parts.note.known.get(number), ""
    path = parts.note.digest(log.path)
    if known is not None and not parts.note.is_same(file, known):
        if known.path == path and known.end:
            parts.met.add(number)
            warning = (
                f"{log.path} began anew since the previous backup: it is stored from its beginning, "
                "and what it had in between only if another log has it"
            )
        known = None
    if known is None and log.is_over and not log.is_strange:
        return None
    start = known.end if known else 0
    idle_seconds = time.time() - status.st_mtime
    end = size if log.is_over or idle_seconds > _QUIET_SECONDS else _end_of_lines(file, start, size)
    start, too_much = _within_limit(file, start, end, log)
    if known:
        parts.met.add(number)
    now = Known(
        end,
        *parts.note.marks(file, end),
        path,
        parts.note.digest(log.asked.src or log.path),
        "" if parts.is_opaque else str(log.path),
        is_over=end == size and (log.is_over or (known is not None and (known.is_over or known.path != path))),
        is_quiet=end == size and idle_seconds > _DONE_SECONDS,
    )
    return New(start, now, "; ".join(filter(None, [warning, too_much])))


def _within_limit(file: BinaryIO, start: int, end: int, log: Log) -> tuple[int, str]:
    """Where the newest whole lines begin of which there are not too many bytes, and what to say of the others."""
    if end - start <= log.asked.limit_bytes:
        return start, ""
    first = end - log.asked.limit_bytes
    first += log_note.read_at(file, first, min(_LONGEST_LINE_BYTES, log.asked.limit_bytes)).find(b"\n") + 1
    return first, (
        f"{log.path} has {files.readable(end - start)} that are new, of which only the last "
        f"{files.readable(end - first)} are stored: see limit_mib"
    )


def _end_of_lines(file: BinaryIO, start: int, size: int) -> int:
    """Where the last whole line ends; what has no line for long is taken as it is."""
    looked = max(start, size - _LONGEST_LINE_BYTES)
    last = log_note.read_at(file, looked, size - looked).rfind(b"\n")
    if last >= 0:
        return looked + last + 1
    return start if looked == start else size


def _chunks(file: BinaryIO, path: Path, new: New, parts: Parts) -> Iterator[bytes]:
    with doing(f"Cannot include {path}"):
        parts.storage.check_reader(file)
        file.seek(new.start)
        rest = new.known.end - new.start
        while rest and (chunk := file.read(min(rest, files.CHUNK_BYTES))):
            if parts.deadline.passed():
                hint = "Raise timeout, or lower limit_mib."
                raise SourceBusyError("it could not be read before the timeout.", hint=hint)
            rest -= len(chunk)
            yield chunk
        if rest or not parts.note.is_same(file, new.known):
            raise SourceBusyError("it was cut while it was read.", hint="Run the backup again.")
