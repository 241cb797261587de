# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which files below a directory are SQLite databases, by their first bytes.

What cannot be one is not opened: it must be a regular file of at least 512 bytes, in whole units of 512 (every size of
a database is a multiple of its page size: https://www.sqlite.org/fileformat.html). No link is followed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..system import places
from ..system.clock import Deadline
from . import kept
from .database import JOURNAL, MAGIC, WAL
from .kept import Form, Keeper

_UNIT_BYTES = 512
_DEEPEST = 200
# What the system shows as files and are none.
_OF_THE_SYSTEM = ("/proc", "/sys")
_FLAGS = os.O_RDONLY | places.BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_NO_TIME = getattr(os, "O_NOATIME", 0)
_HAS_DESCRIPTORS = os.scandir in os.supports_fd and os.open in os.supports_dir_fd
# More than what says that a directory is a repository ever has.
_LONGEST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Wanted:
    """``form`` tells repositories of backups; ``exclude`` are paths with ``*`` and ``?``."""

    top: Path
    form: Form
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
    """What a search found. ``complete`` says whether it came to its end, ``files`` how many files were looked at.

    ``copies`` is the number of databases that were left out, since they are copies in the ``repositories`` or in what
    restores have ``kept``. Those in ``doubtful`` have the place of a copy, where somebody could hide what is not his:
    they are databases. ``elsewhere`` are the places on other filesystems, with device and inode.
    """

    databases: list[File] = field(default_factory=list)
    repositories: list[Path] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)
    copies: int = 0
    doubtful: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)
    elsewhere: dict[Path, tuple[int, int]] = field(default_factory=dict)
    files: int = 0
    complete: bool = True


@dataclass
class Reached:
    """Where searches have been: directories by device and inode, and databases by those of theirs and a name."""

    directories: set[tuple[int, int]] = field(default_factory=set)
    databases: set[tuple[int, int, str]] = field(default_factory=set)


@dataclass(frozen=True)
class _Directory:
    """One that is being looked at: its path, a descriptor of it (else its path), and whose copies may be in it."""

    path: str
    at: int | str
    status: os.stat_result
    keepers: tuple[Keeper, ...] = ()

    @property
    def number(self) -> tuple[int, int]:
        return self.status.st_dev, self.status.st_ino


def find(wanted: Wanted, deadline: Deadline, reached: Reached) -> Found | None:
    """The databases below ``wanted.top``, or that file; None when another search ``reached`` it, and looked there.

    Raises ``OSError`` when it cannot be looked at.
    """
    top = places.resolved(wanted.top)
    search = _Search(wanted, deadline, reached)
    if {*map(str, (top, *top.parents))} & {*_OF_THE_SYSTEM}:
        return search.found
    mode = os.lstat(top).st_mode
    is_directory = stat.S_ISDIR(mode)
    if not is_directory and not stat.S_ISREG(mode):
        return search.found
    place = top if is_directory else top.parent
    with places.directory(place) as known, search.opened(str(place) if known is None else ".", known) as at:
        here = _Directory(str(place), at, os.stat(at))
        if is_directory:
            if here.number in reached.directories:
                return None
            search.device = here.status.st_dev
            search.walk(here, 0)
        else:
            if (*here.number, top.name) in reached.databases:
                return None
            search.found.files = 1
            search.look(top.name, here, frozenset(os.listdir(at)))
    return search.found


class _Search:
    def __init__(self, wanted: Wanted, deadline: Deadline, reached: Reached) -> None:
        self.wanted = wanted
        self.deadline = deadline
        self.reached = reached
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

    def walk(self, here: _Directory, depth: int) -> None:
        with os.scandir(here.at) as entries:
            known = list(entries)
        names = frozenset(each.name for each in known)
        if self.wanted.form.name in names:
            here = self._as_repository(here)
        inside = []
        for entry in known:
            try:
                if entry.is_dir(follow_symlinks=False):
                    inside.append(entry)
                elif entry.is_file(follow_symlinks=False):
                    self.found.files += 1
                    size = entry.stat(follow_symlinks=False).st_size
                    if size and not size % _UNIT_BYTES:
                        self.look(entry.name, here, names)
            except FileNotFoundError:
                continue
        if not here.keepers:
            # What is named itself is looked at for what it is, not for where it lies.
            self.reached.directories.add(here.number)
        for entry in sorted(inside, key=lambda each: each.name):
            if self._is_over():
                return
            self._enter(entry, here, depth + 1)

    def _as_repository(self, here: _Directory) -> _Directory:
        """``here`` with what it keeps, if it is a repository of backups."""
        form = self.wanted.form
        try:
            descriptor = _open(form.name, _FLAGS, here.at)
        except OSError:
            return here
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or not form.is_right(os.read(descriptor, _LONGEST_BYTES)):
                return here
        except OSError:
            return here
        finally:
            os.close(descriptor)
        self.found.repositories.append(Path(here.path))
        keeper = kept.repository(here.path, here.status, status, form)
        return dataclasses.replace(here, keepers=(*here.keepers, keeper))

    def _is_over(self) -> bool:
        if self.deadline.passed() or len(self.found.databases) >= self.wanted.limit:
            self.found.complete = False
        return not self.found.complete

    def _is_excluded(self, path: str) -> bool:
        return self._excluded is not None and self._excluded.match(os.path.normcase(path)) is not None

    def _enter(self, entry: os.DirEntry[str], around: _Directory, depth: int) -> None:
        path = os.path.join(around.path, entry.name)
        if path in _OF_THE_SYSTEM or self._is_excluded(path) or places.is_junction(entry):
            return
        try:
            with self.opened(entry.name, around.at) as inside:
                status = os.stat(inside)
                here = _Directory(path, inside, status, tuple(each.entered(status) for each in around.keepers))
                if status.st_dev != self.device and not self.wanted.cross_filesystems:
                    self.found.elsewhere[Path(path)] = here.number
                elif depth > _DEEPEST:
                    self.found.unreadable.append(Path(path))
                else:
                    self.walk(self._as_kept(here, around), depth)
        except FileNotFoundError:
            return
        except OSError:
            # Closed to us, or a link by now.
            self.found.unreadable.append(Path(path))

    def _as_kept(self, here: _Directory, around: _Directory) -> _Directory:
        """``here`` with what it keeps, if a restore made it."""
        keeper = kept.of_restore(here.path, here.status, around.status)
        if keeper is None:
            return here
        self.found.kept.append(Path(here.path))
        return dataclasses.replace(here, keepers=(*here.keepers, keeper))

    def look(self, name: str, here: _Directory, names: frozenset[str]) -> None:
        """Note the file ``name`` in ``here`` when it begins as a database does."""
        path = os.path.join(here.path, name)
        if self._is_excluded(path) or self._is_over():
            return
        try:
            descriptor = _open(name, _FLAGS, here.at)
        except FileNotFoundError:
            return
        except OSError:
            self.found.unreadable.append(Path(path))
            return
        try:
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode) and os.read(descriptor, len(MAGIC)) == MAGIC:
                self._note(File(Path(path), status, name + WAL in names, name + JOURNAL in names), here)
        except OSError:
            self.found.unreadable.append(Path(path))
        finally:
            os.close(descriptor)

    def _note(self, file: File, here: _Directory) -> None:
        keepers = [each for each in here.keepers if each.has(str(file.path))]
        if any(each.may_hide(file.status) for each in keepers):
            self.found.copies += 1
            return
        if keepers:
            self.found.doubtful.append(file.path)
        self.found.databases.append(file)
        self.reached.databases.add((*here.number, file.path.name))


def _open(name: str, flags: int, parent: int | str | None) -> int:
    if isinstance(parent, str):
        return os.open(os.path.join(parent, name), flags)
    try:
        return os.open(name, flags | _NO_TIME, dir_fd=parent)
    except PermissionError:
        # Only the owner of a file may leave no trace of the reading.
        return os.open(name, flags, dir_fd=parent)
