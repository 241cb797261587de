# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What another user may read, told by owners, modes and access lists, without becoming that user."""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from . import places

_READ, _ENTER = 4, 1
# How Linux stores an access list: a version, then tags, rights and ids. acl(5) says what they mean.
_ACCESS_LIST = "system.posix_acl_access"
_HEAD, _ENTRY = struct.Struct("<I"), struct.Struct("<HHI")
_USER, _OWNING_GROUP, _GROUP, _MASK = 0x02, 0x04, 0x08, 0x10
_HAS_NONE = (errno.ENODATA, errno.EOPNOTSUPP) if sys.platform == "linux" else ()
_ALL = 7


def readable(path: Path, uid: int) -> os.stat_result:
    """The status of the file that ``path`` leads the user ``uid`` to, who owns it or may read it.

    Raises ``PermissionError`` else, and when that cannot be told, another ``OSError`` when there is no such file, and
    ``RefusedError`` when links lead in a circle. Not on Windows.
    """
    groups = _groups_of(uid)

    def enter(directory: int) -> None:
        if not _may(_ENTER, uid, groups, directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    with places.found(path, enter) as descriptor:
        if not may_read(descriptor, uid):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return os.fstat(descriptor)


def may_read(descriptor: int, uid: int) -> bool:
    """Whether the user ``uid`` owns the open file, or may read it. Not on Windows."""
    return os.fstat(descriptor).st_uid == uid or _may(_READ, uid, _groups_of(uid), descriptor)


def _groups_of(uid: int) -> frozenset[int]:
    """None of a user who has no name here: what only a group may do does not count then."""
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid)
            return frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
    return frozenset()


def _may(wanted: int, uid: int, groups: frozenset[int], descriptor: int) -> bool:
    """The check of access in acl(5); without an access list it is that of the mode."""
    status = os.fstat(descriptor)
    owner, group, other = (status.st_mode >> 6, status.st_mode >> 3, status.st_mode)
    if uid in (0, status.st_uid):
        return not uid or bool(owner & wanted)
    # Linux asks no list that lets nobody do anything.
    entries = [*_access_list(descriptor)] if group & _ALL else []
    mask = next((rights for tag, rights, _id in entries if tag == _MASK), _ALL)
    for tag, rights, number in entries:
        if tag == _USER and number == uid:
            return bool(rights & mask & wanted)
    # With an access list the mode has the mask in the place of the group.
    owning = [rights for tag, rights, _id in entries if tag == _OWNING_GROUP] or [group]
    named = [rights for tag, rights, number in entries if tag == _GROUP and number in groups]
    matching = [*(owning if status.st_gid in groups else ()), *named]
    return any(rights & mask & wanted for rights in matching) if matching else bool(other & wanted)


def _access_list(descriptor: int) -> Iterator[tuple[int, int, int]]:
    """Its entries: tag, rights, id; none where there is no list."""
    if not hasattr(os, "getxattr"):
        return
    try:
        # What is only looked at gives them by no other name.
        data = os.getxattr(f"/proc/self/fd/{descriptor}", _ACCESS_LIST)
    except OSError as error:
        if error.errno in _HAS_NONE:
            return
        # Nobody may what cannot be told.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES)) from error
    yield from _ENTRY.iter_unpack(data[_HEAD.size :])
