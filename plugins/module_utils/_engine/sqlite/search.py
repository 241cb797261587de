# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files below a directory are SQLite databases, by their first bytes.

What cannot be one is not opened: it must be a regular file of at least 512 bytes, in whole units of 512 (every size of
a database is a multiple of its page size: https://www.sqlite.org/fileformat.html). No link is followed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..system import places, scratch
from ..system.clock import Deadline
from .database import JOURNAL, MAGIC, WAL

_UNIT_BYTES = 512
_DEEPEST = 200
# What the system shows as files and are none.
_OF_THE_SYSTEM = ("/proc", "/sys")
_FLAGS = os.O_RDONLY | places.BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NO_TIME = getattr(os, "O_NOATIME", 0)
_HAS_DESCRIPTORS = os.scandir in os.supports_fd and os.open in os.supports_dir_fd
_REPARSE_POINT = getattr(stat, "FILE_ATTRIBUTE_REPARSE_POINT", 0)
# What a restore keeps beside a database.
_OWN = re.compile(rf"\..+\.restoring|.+\.before-restore\.\d{{8}}T\d{{6}}Z.*|{re.escape(scratch.PREFIX)}.*", re.DOTALL)


@dataclass(frozen=True)
class Wanted:
    """``repository_file`` is what a directory of backups holds; ``exclude`` are paths with ``*`` and ``?``."""

    top: Path
    repository_file: str = ""
    exclude: Sequence[str] = ()
    cross_filesystems: bool = False
    limit: int = 1000


@dataclass(frozen=True)
class File:
    """A database: its path, its size, and whether a log or a rollback journal is beside it."""

    path: Path
    status: os.stat_result
    wal: bool
    journal: bool


@dataclass
class Found:
    """What a search found. ``complete`` says whether everything was looked at, ``files`` how many files that were."""

    databases: list[File] = field(default_factory=list)
    repositories: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    elsewhere: list[Path] = field(default_factory=list)
    files: int = 0
    complete: bool = True


def find(wanted: Wanted, deadline: Deadline) -> Found:
    """The databases below ``wanted.top``, or that file; raises ``OSError`` when it cannot be looked at."""
    top = places.resolved(wanted.top)
    search = _Search(wanted, deadline)
    if {*map(str, (top, *top.parents))} & {*_OF_THE_SYSTEM}:
        return search.found
    if not stat.S_ISDIR(os.lstat(top).st_mode):
        with search.opened(str(top.parent), None) as here:
            search.look(top.name, str(top), here, frozenset(os.listdir(here)))
        search.found.files = 1
    else:
        with search.opened(str(top), None) as here:
            search.device = os.stat(here).st_dev
            search.walk(str(top), here, 0)
    return search.found


class _Search:
    def __init__(self, wanted: Wanted, deadline: Deadline) -> None:
        self.wanted = wanted
        self.deadline = deadline
        self.found = Found()
        self.device = 0
        patterns = [fnmatch.translate(os.path.normcase(each)) for each in wanted.exclude]
        self._excluded = re.compile("|".join(patterns)) if patterns else None

    @contextlib.contextmanager
    def opened(self, name: str, parent: int | str | None) -> Iterator[int | str]:
        """A descriptor of the directory ``name`` in ``parent``; where there is no such thing, its path."""
        if not _HAS_DESCRIPTORS:
            yield os.path.join(parent, name) if isinstance(parent, str) else name
            return
        descriptor = _open(name, _FLAGS | _DIRECTORY, parent)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def walk(self, path: str, here: int | str, depth: int) -> None:
        with os.scandir(here) as entries:
            known = list(entries)
        names = frozenset(each.name for each in known)
        if self.wanted.repository_file in names:
            self.found.repositories.append(Path(path))
            return
        inside = []
        for entry in known:
            try:
                if entry.is_dir(follow_symlinks=False):
                    inside.append(entry)
                elif entry.is_file(follow_symlinks=False):
                    self.found.files += 1
                    size = entry.stat(follow_symlinks=False).st_size
                    if size and not size % _UNIT_BYTES:
                        self.look(entry.name, os.path.join(path, entry.name), here, names)
            except FileNotFoundError:
                continue
        for entry in sorted(inside, key=lambda each: each.name):
            if self._is_over():
                return
            self._enter(entry, os.path.join(path, entry.name), here, depth + 1)

    def _is_over(self) -> bool:
        if self.deadline.passed() or len(self.found.databases) >= self.wanted.limit:
            self.found.complete = False
        return not self.found.complete

    def _is_excluded(self, path: str) -> bool:
        return self._excluded is not None and self._excluded.match(os.path.normcase(path)) is not None

    def _enter(self, entry: os.DirEntry[str], path: str, here: int | str, depth: int) -> None:
        if path in _OF_THE_SYSTEM or self._is_excluded(path) or _is_junction(entry):
            return
        if _OWN.fullmatch(entry.name):
            self.found.kept.append(Path(path))
            return
        try:
            with self.opened(entry.name, here) as inside:
                if os.stat(inside).st_dev != self.device and not self.wanted.cross_filesystems:
                    self.found.elsewhere.append(Path(path))
                elif depth > _DEEPEST:
                    self.found.unreadable.append(Path(path))
                else:
                    self.walk(path, inside, depth)
        except FileNotFoundError:
            return
        except OSError:
            # Closed to us, or a link by now.
            self.found.unreadable.append(Path(path))

    def look(self, name: str, path: str, here: int | str, names: frozenset[str]) -> None:
        """Note the file ``name`` in ``here`` when it begins as a database does."""
        if self._is_excluded(path) or self._is_over():
            return
        try:
            descriptor = _open(name, _FLAGS, here)
        except FileNotFoundError:
            return
        except OSError:
            self.found.unreadable.append(Path(path))
            return
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and os.read(descriptor, len(MAGIC)) == MAGIC:
                found = File(Path(path), status, name + WAL in names, name + JOURNAL in names)
                self.found.databases.append(found)
        except OSError:
            self.found.unreadable.append(Path(path))
        finally:
            os.close(descriptor)


def _is_junction(entry: os.DirEntry[str]) -> bool:
    """A link of Windows to another directory."""
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0) if sys.platform == "win32" else 0
    return bool(attributes & _REPARSE_POINT)


def _open(name: str, flags: int, parent: int | str | None) -> int:
    if isinstance(parent, str):
        return os.open(os.path.join(parent, name), flags)
    try:
        return os.open(name, flags | _NO_TIME, dir_fd=parent)
    except PermissionError:
        # Only the owner of a file may leave no trace of the reading.
        return os.open(name, flags, dir_fd=parent)
