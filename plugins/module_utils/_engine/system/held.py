# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that another program holds: Windows lets nobody rename, remove or open them, often only for a moment.

A virus scanner, a search index or a copy looks at each new file. What fails for that is tried again for a while. Where
such a program lets others remove it, its name stays until that program has closed it, and so does the directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from . import windows

Result = TypeVar("Result")

_PATIENCE_SECONDS = 5.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.01, 0.5
_PASSING = (
    windows.ACCESS_DENIED,
    windows.SHARING_VIOLATION,
    windows.LOCK_VIOLATION,
    windows.DIRECTORY_NOT_EMPTY,
    windows.DELETE_PENDING,
)
_PASSING_TO_OPEN = (
    windows.OPENED,
    windows.FILE_NOT_FOUND,
    windows.SHARING_VIOLATION,
    windows.LOCK_VIOLATION,
    windows.DELETE_PENDING,
)
_MOST_FREED = 5
# These may as well be a matter of rights, and of what somebody put there.
_UNCERTAIN = (windows.ACCESS_DENIED, windows.DIRECTORY_NOT_EMPTY)


def patiently(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """What a ``call`` of the system returns, tried again while another program holds the file.

    After five seconds raises ``OSError`` with EBUSY, which names the program if Windows does.
    """
    return _tried(lambda: call(*arguments, **options), lambda error: getattr(error, "winerror", None) in _PASSING)


def opened(name: Path | str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    """A descriptor as ``os.open`` gives it, see ``patiently``."""
    writing = bool(flags & (os.O_WRONLY | os.O_RDWR))
    freed = 0

    def may_pass(error: OSError) -> bool:
        """open(2) of Windows keeps to itself why, and by now it may be free: then it is a matter of rights at last."""
        nonlocal freed
        why = windows.why_closed(Path(name), writing=writing) if isinstance(error, PermissionError) else None
        freed += why in (windows.OPENED, windows.FILE_NOT_FOUND)
        return why in _PASSING_TO_OPEN and freed <= _MOST_FREED

    return _tried(lambda: os.open(name, flags, mode, dir_fd=dir_fd), may_pass)


def replace(old: Path | str, new: Path | str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    """As ``os.replace``, see ``patiently``. On Windows ``new`` stays read-only when it was."""
    with _unprotected(new) as was_protected:
        patiently(os.replace, old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
    if was_protected:
        windows.protect(Path(new))


def link(old: Path | str, new: Path | str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
    """As ``os.link``, of a link its own. ``OSError`` where there are none, and on Windows for what is read-only.

    There all names of a file are read-only or none is: one of them could not go without the others being written to.
    """
    if windows.is_protected(Path(old)):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fspath(old))
    os.link(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)


def unlink(name: Path | str, *, dir_fd: int | None = None) -> None:
    """As ``os.unlink``, see ``patiently``; on Windows also what is read-only."""
    with _unprotected(name):
        patiently(os.unlink, name, dir_fd=dir_fd)


def rmdir(name: Path | str, *, dir_fd: int | None = None) -> None:
    """As ``os.rmdir``, see ``patiently``: also while what was in it goes; on Windows also what is read-only."""
    with _unprotected(name):
        patiently(os.rmdir, name, dir_fd=dir_fd)


def remove_tree(name: Path | str, *, dir_fd: int | None = None) -> None:
    """Remove a directory with all that is in it; ``FileNotFoundError`` without one. Of a link only that goes.

    Windows has only names for that. What vanishes there meanwhile is fine: it was not more than held.
    """
    if not windows.is_directory(os.stat(name, dir_fd=dir_fd, follow_symlinks=False)):
        unlink(name, dir_fd=dir_fd)
    elif os.name == "nt":
        for each in os.listdir(name):
            with contextlib.suppress(FileNotFoundError):
                remove_tree(Path(name, each))
        rmdir(name)
    elif dir_fd is None:
        shutil.rmtree(name)
    else:
        _remove_below(str(name), dir_fd)
        os.rmdir(name, dir_fd=dir_fd)


def _remove_below(name: str, parent: int) -> None:
    """Remove all that is in a directory, whatever becomes of its name meanwhile; links go, not what they lead to."""
    for _path, directories, names, here in os.fwalk(name, topdown=False, dir_fd=parent, follow_symlinks=False):
        for each in names:
            os.unlink(each, dir_fd=here)
        for each in directories:
            if stat.S_ISDIR(os.stat(each, dir_fd=here, follow_symlinks=False).st_mode):
                os.rmdir(each, dir_fd=here)
            else:
                os.unlink(each, dir_fd=here)


@contextlib.contextmanager
def _unprotected(name: Path | str) -> Iterator[bool]:
    """Without the read-only attribute for the block, and for good when that works; whether there was one."""
    was_protected = windows.unprotect(Path(name))
    try:
        yield was_protected
    except BaseException:
        if was_protected:
            windows.protect(Path(name))
        raise


def _tried(call: Callable[[], Result], may_pass: Callable[[OSError], bool]) -> Result:
    end, wait_seconds = time.monotonic() + _PATIENCE_SECONDS, _FIRST_WAIT_SECONDS
    while True:
        try:
            return call()
        except OSError as error:
            if not may_pass(error):
                raise
            if time.monotonic() >= end:
                raise _explained(error) from error
        time.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)


def _explained(error: OSError) -> OSError:
    """That it is held, and by whom; ``error`` itself where it may as well be something else."""
    paths = [Path(each) for each in (error.filename, error.filename2) if isinstance(each, (str, os.PathLike))]
    who = ", ".join(windows.holders(paths))
    certain = getattr(error, "winerror", None) not in _UNCERTAIN
    if not who and not certain and not any(map(windows.is_open, paths)):
        return error
    return OSError(errno.EBUSY, f"it is open in {who or 'another program'}", error.filename, None, error.filename2)
