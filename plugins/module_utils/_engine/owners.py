# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a file belongs to: told by name, looked up by name, and handed over to the owner of a directory."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import UsageError

# From a filesystem without owners, and for an owner that is unknown in this container.
CANNOT_BE_GIVEN = (errno.EPERM, errno.EACCES, errno.EINVAL)


@contextlib.contextmanager
def foreign_directory(path: Path) -> Iterator[int | None]:
    """A descriptor of ``path`` for the block, when root is to create something there for another user; else None.

    Only what was created through this descriptor may be handed over: with a link in the place of the file or of the
    directory, any file of the host would become that user's.
    """
    if sys.platform == "win32" or os.geteuid() != 0 or os.stat(path).st_uid == 0:
        yield None
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def hand_over(created: int, directory: int | None) -> None:
    """Give what was just created to the owner of ``directory``, if that is a foreign one; both are descriptors."""
    if directory is None:
        return
    status = os.fstat(directory)
    try:
        os.chown(created, status.st_uid, status.st_gid)
    except OSError as error:
        if error.errno not in CANNOT_BE_GIVEN:
            raise


def first_stranger(directory: Path) -> Path | None:
    """The first of what is below ``directory`` that belongs to somebody else; what vanishes meanwhile is left out."""
    if not directory.is_dir():
        return None
    owner = os.stat(directory).st_uid
    for parent, directories, names in os.walk(directory):
        for path in (Path(parent, name) for name in sorted([*directories, *names])):
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_uid != owner:
                    return path
    return None


def ownership(status: os.stat_result) -> tuple[str, str, str]:
    """Owner and group by name (by number where there is no name) and the octal mode; empty texts on Windows."""
    if sys.platform == "win32":
        return "", "", ""
    import grp
    import pwd

    owner, group = str(status.st_uid), str(status.st_gid)
    with contextlib.suppress(KeyError):
        owner = pwd.getpwuid(status.st_uid).pw_name
    with contextlib.suppress(KeyError):
        group = grp.getgrgid(status.st_gid).gr_name
    return owner, group, f"{stat.S_IMODE(status.st_mode):04o}"


def numeric_owner(owner: str) -> int:
    """The user id for a name or number; -1, which chown(2) takes as "as it is", for an empty text."""
    if not owner or sys.platform == "win32":
        return -1
    import pwd

    return _numeric(owner, lambda name: pwd.getpwnam(name).pw_uid, "user")


def numeric_group(group: str) -> int:
    """The group id for a name or number; -1 for an empty text."""
    if not group or sys.platform == "win32":
        return -1
    import grp

    return _numeric(group, lambda name: grp.getgrnam(name).gr_gid, "group")


def _numeric(name: str, look_up: Callable[[str], int], kind: str) -> int:
    try:
        return look_up(name)
    except KeyError:
        if name.isdigit():
            return int(name)
        raise UsageError(
            f"The {kind} {name!r} does not exist on this host.", hint=f"Create the {kind} first."
        ) from None
