# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From names to descriptors, in directories in which somebody else may put anything under any name at any time.

Nobody but root needs that: the kernel keeps all others within their own rights.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import sys
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from . import held, windows
from .errors import RefusedError

windows.allow_long_paths()

BINARY = getattr(os, "O_BINARY", 0)
_GUARDED = BINARY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
# Directories in one another; more than any program makes, and less than what exhausts this one.
_DEEPEST = 200
_LONGEST_NOTE_BYTES = 256 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
# Opens a link itself, and a fifo without waiting; only Linux has it.
_OPENS_LINKS = getattr(os, "O_PATH", 0)
# As many as Linux follows: https://www.man7.org/linux/man-pages/man7/path_resolution.7.html
_MOST_LINKS = 40


@contextlib.contextmanager
def at(path: Path) -> Iterator[tuple[Path | str, int | None]]:
    """What names ``path`` for the calls of the system: for root its last name, and a descriptor of its directory."""
    with directory(path.parent) as parent:
        try:
            yield path if parent is None else path.name, parent
        except OSError as error:
            if error.filename == path.name:
                # A message must say where that is.
                error.filename = os.fspath(path)
            raise


def open_regular(path: Path, flags: int = os.O_RDONLY, *, alone: bool = True) -> int:
    """A descriptor of the regular file ``path``, opened without following a link and without waiting for a fifo.

    Raises ``RefusedError`` for anything else, and when ``alone`` for a file that has other names, too: what a hostile
    owner of the directory could have put there to have another file read or written.
    """
    try:
        with at(path) as (name, parent):
            descriptor = held.opened(name, flags | _GUARDED, dir_fd=parent)
    except OSError as error:
        # Windows opens no directory, and does not say why.
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR) or (os.name == "nt" and os.path.isdir(path)):
            raise _refusal(path) from error
        raise
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or (alone and status.st_nlink > 1):
        os.close(descriptor)
        raise _refusal(path)
    return descriptor


def _refusal(path: Path) -> RefusedError:
    return RefusedError(
        "it is a link, or not a regular file, or has more names than this one.",
        action=f"Cannot use {path}",
        hint="Name a regular file with one name. If nobody meant this one, find out who put it there.",
    )


def reading(path: Path, *, alone: bool = True) -> BinaryIO:
    """The regular file ``path`` for reading, unbuffered; raises as ``open_regular``."""
    return io.FileIO(open_regular(path, alone=alone), "rb", closefd=True)


def read_bytes(path: Path, *, limit_bytes: int = _LONGEST_NOTE_BYTES) -> bytes:
    """The content of a small regular file; ``OSError`` when it has more than ``limit_bytes``."""
    data = b""
    with reading(path, alone=False) as file:
        # Not all at once: Windows would make room for the most that there could be.
        while len(data) <= limit_bytes and (piece := file.read(_PIECE_BYTES)):
            data += piece
    if len(data) > limit_bytes:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), os.fspath(path))
    return data


def names(path: Path) -> list[str]:
    """The names in the directory ``path``."""
    with directory(path) as known:
        return os.listdir(path if known is None else known)


def regular_files(top: Path, *, passed_over: Collection[str] = (), most_names: int = sys.maxsize) -> list[Path]:
    """The regular files below the directory ``top``; links, and what is not a file, are left out.

    Directories with a name of ``passed_over`` are not entered. Raises ``RefusedError`` when there are more names.
    """
    found: list[Path] = []
    rest = [top]
    count = 0
    while rest:
        here = rest.pop()
        if len(here.parts) - len(top.parts) > _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), os.fspath(here))
        with directory(here) as known, os.scandir(here if known is None else known) as entries:
            for entry in entries:
                count += 1
                if count > most_names:
                    raise RefusedError(f"there are more than {most_names} names below {top}.", hint="Name less.")
                if entry.is_dir(follow_symlinks=False) and not is_junction(entry):
                    if entry.name not in passed_over:
                        rest.append(here / entry.name)
                elif entry.is_file(follow_symlinks=False):
                    found.append(here / entry.name)
    return sorted(found)


def is_directory(path: Path) -> bool:
    """Whether ``path`` is a directory, and no link or junction to one."""
    try:
        return windows.is_directory(os.lstat(path))
    except OSError:
        return False


def if_of_others(path: Path) -> os.stat_result | None:
    """The status of the directory ``path`` when others than root can change what names on the way, or in it, lead to.

    What is above the first directory of theirs only root can change, so nobody can hide that there is one. None else,
    and for whoever is not root: the kernel keeps the rules then.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        return None
    with _way(Path(os.getcwd(), path)) as way:
        if not way.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        way.check_leaders(path)
        return os.fstat(way.here) if way.is_of_others else None


def is_junction(entry: os.DirEntry[str]) -> bool:
    """Whether this is a link of Windows to another directory, which looks like one."""
    return sys.platform == "win32" and windows.is_surrogate(entry.stat(follow_symlinks=False))


def walk(top: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """As ``os.walk``, which up to Python 3.11 goes through the junctions of Windows."""
    for parent, directories, names in os.walk(top):
        yield Path(parent), list(directories), names
        directories[:] = [each for each in directories if is_directory(Path(parent, each))]


@contextlib.contextmanager
def directory(path: Path) -> Iterator[int | None]:
    """A descriptor of the directory ``path`` for the block, when this is root; else None, and names must do.

    Whoever may write to a directory on the way can put a link in the place of the next one at any time. So root follows
    a link of another user only to what belongs to that same user. Raises ``RefusedError`` else.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        yield None
        return
    descriptor = _walk(Path(os.getcwd(), path))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def resolved(path: Path) -> Path:
    """``path`` without links, which root follows as ``directory`` does; the file itself may be missing.

    Whoever resolves a name in another way after a look at it may be led elsewhere.
    """
    if sys.platform == "win32":
        return windows.resolved(path)
    if os.geteuid() != 0:
        return Path(os.path.realpath(path))
    with _way(Path(os.getcwd(), path)) as way:
        way.check_leaders(path)
        return Path("/", *way.names)


def _walk(path: Path) -> int:
    """A descriptor of the directory ``path``."""
    with _way(path) as way:
        if not way.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        found = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=way.here)
        try:
            way.check_leaders(path)
        except RefusedError:
            os.close(found)
            raise
        return found


class _Way:
    """Where a walk is: a descriptor ``here``, the ``names`` that led to it, none of them a link.

    ``leaders`` are the users but root whose links were followed. Where the last name is missing, ``here`` is its
    directory. ``is_of_others`` when others than root can change one of the directories.
    """

    def __init__(self, anchor: str) -> None:
        self.here = _open_directory(anchor)
        self.names: list[str] = []
        self.leaders: set[int] = set()
        self.links = 0
        self.exists = True
        self.is_of_others = False
        # Who owns that has everything. In a namespace without the host's root it is nobody, like all that is root's.
        self._trusted = {0, os.fstat(self.here).st_uid}

    def enter(self, name: str, following: int) -> None:
        os.close(self.here)
        self.here = following
        status = os.fstat(following)
        shared = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX
        if stat.S_ISDIR(status.st_mode) and (shared or status.st_uid not in self._trusted):
            self.is_of_others = True
        self.names = self.names[:-1] if name == ".." else [*self.names, name]

    def follow(self, name: str, link: int, path: Path) -> list[str]:
        """The names in the target of the link ``name``, last one first; ``link`` is a descriptor of it."""
        self.leaders |= {os.fstat(link).st_uid} - {0}
        target = os.readlink("" if _OPENS_LINKS else name, dir_fd=link if _OPENS_LINKS else self.here)
        self.links += 1
        if self.links > _MOST_LINKS:
            raise _led_astray(path)
        if target.startswith("/"):
            os.close(self.here)
            self.here = _open_directory("/")
            self.names = []
        return [each for each in target.split("/")[::-1] if each not in ("", ".")]

    def check_leaders(self, path: Path) -> None:
        """Raise ``RefusedError`` unless what was found belongs to everybody who led here."""
        if self.leaders - {os.fstat(self.here).st_uid}:
            raise _led_astray(path)


@contextlib.contextmanager
def found(path: Path, passing: Callable[[int], None]) -> Iterator[int]:
    """A descriptor of what ``path`` leads to, to look at and not to read, for the block; not on Windows.

    ``passing`` gets a descriptor of each directory on the way, before a name in it is looked up, and may raise. Links
    of anybody are followed.
    """
    with _way(Path(os.getcwd(), path), passing) as way:
        if not way.exists:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
        yield way.here


@contextlib.contextmanager
def _way(path: Path, passing: Callable[[int], None] = lambda _here: None) -> Iterator[_Way]:
    """Go to ``path`` one name at a time, as openat2(2) does it, with a say in which links are followed."""
    rest = list(path.parts[:0:-1])
    way = _Way(path.anchor)
    try:
        while rest:
            name = rest.pop()
            passing(way.here)
            try:
                following = _step(name, way.here)
            except FileNotFoundError:
                if rest:
                    raise
                way.exists = False
                way.names.append(name)
                break
            if stat.S_ISLNK(os.fstat(following).st_mode):
                try:
                    rest.extend(way.follow(name, following, path))
                finally:
                    os.close(following)
            else:
                way.enter(name, following)
        yield way
    except OSError as error:
        error.filename = os.fspath(path)
        raise
    finally:
        os.close(way.here)


def _open_directory(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY)


def _step(name: str, here: int) -> int:
    """A descriptor of what ``name`` is in ``here``, a link included where there are such descriptors."""
    if _OPENS_LINKS:
        return os.open(name, _OPENS_LINKS | os.O_NOFOLLOW, dir_fd=here)
    # macOS has another word for it; elsewhere a link is refused by O_NOFOLLOW.
    flags = os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_SYMLINK", os.O_NOFOLLOW)
    return os.open(name, flags, dir_fd=here)


def _led_astray(path: Path) -> RefusedError:
    return RefusedError(
        "a link on the way belongs to a user, and leads to nowhere or to what is not that user's.",
        action=f"Cannot use {path}",
        hint="Root follows no such link. Find out who made it, or name the place that is meant.",
    )
