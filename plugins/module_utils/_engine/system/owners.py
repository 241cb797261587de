# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom a file belongs to, and who may do what with it: told, looked up by name, copied, handed over."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from . import places, windows
from .errors import UsageError

PRIVATE_DIRECTORY_MODE = 0o700
# From a filesystem without owners, and for an owner that is unknown in this container.
CANNOT_BE_GIVEN = (errno.EPERM, errno.EACCES, errno.EINVAL)
# The number after it is the -1 of chown(2).
_LAST_ID = 2**32 - 2
_ACCESS_LIST = "system.posix_acl_access"
_NUMBER = re.compile(r"[0-9]{1,10}")


def hand_over(created: int, directory: int | None) -> None:
    """Give what was just created to the owner of ``directory``, if root made it for another user; both descriptors."""
    if directory is None:
        return
    status = os.fstat(directory)
    if status.st_uid == 0:
        return
    try:
        os.chown(created, status.st_uid, status.st_gid)
    except OSError as error:
        if error.errno not in CANNOT_BE_GIVEN:
            raise


@contextlib.contextmanager
def acting_as_owner(path: Path) -> Iterator[None]:
    """Let root open by name in the block what SQLite opens by name, with no more rights than the owner of ``path``.

    Where that user may not come, as in the volumes of containers, root stays root; so it does without CAP_SETUID.
    """
    if sys.platform == "win32" or os.geteuid() != 0:
        yield
        return
    with places.at(path) as (name, parent):
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    with _acting_as(status, path):
        yield


@contextlib.contextmanager
def acting_in(directory: Path) -> Iterator[bool]:
    """Let root open by name in the block what is in ``directory``, where others can change names, as its owner.

    These are the rights of the whole process: no other thread may use a file meanwhile. Yields whether no name there
    can lead to what only root may use: that is so, or only root can change names, or this is not root. Else root is
    root in the block: in the volumes of containers, where the owner may not come, or where a directory of root's lies
    in one of others.
    """
    status = places.if_of_others(directory)
    if status is None:
        yield True
    else:
        with _acting_as(status, directory / "any"):
            yield os.geteuid() != 0


@contextlib.contextmanager
def _acting_as(status: os.stat_result, path: Path) -> Iterator[None]:
    """Have the rights of the owner in ``status`` for the block; root stays root if that one cannot come to ``path``."""
    before = os.getegid(), os.getgroups()
    try:
        try:
            _become(status)
            if not _may_come(path):
                os.seteuid(0)
        except OSError as error:
            if error.errno not in CANNOT_BE_GIVEN:
                raise
            os.seteuid(0)
        yield
    finally:
        os.seteuid(0)
        os.setegid(before[0])
        os.setgroups(before[1])


def _become(status: os.stat_result) -> None:
    if sys.platform == "win32" or status.st_uid == 0:
        return
    import pwd

    gid, groups = status.st_gid, [status.st_gid]
    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(status.st_uid)
        gid, groups = user.pw_gid, os.getgrouplist(user.pw_name, user.pw_gid)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(status.st_uid)


def _may_come(path: Path) -> bool:
    """Whether the present user comes to ``path``, as far as that is up to directories of root's."""
    for each in reversed(path.parents):
        if not os.access(each, os.X_OK, effective_ids=True):
            # What users close themselves is not a reason to go there with more rights than theirs.
            return os.stat(each, follow_symlinks=False).st_uid != 0
    return True


def copy_attributes(source: Path, dest: Path, *, with_group: bool = True) -> tuple[bool, bool]:
    """Give ``dest`` the owner, group, mode and extended attributes (ACL, SELinux context) of ``source``.

    What only root may set is left out for other users. All of it is flushed to the disk: after a power failure nobody
    is locked out. Says whether ``dest`` has the owner and the group now. With ``with_group`` False it counts as having
    it: the caller gives it another one.
    """
    # Windows flushes nothing that is open for reading alone.
    with places.reading(source, alone=False) as old, io.FileIO(places.open_regular(dest, os.O_RDWR), "r+") as new:
        status = os.fstat(old.fileno())
        right = give(dest, status.st_uid, status.st_gid if with_group else -1)
        # All that Windows makes of a mode goes with the name: see ``held.replace``.
        if hasattr(os, "fchmod"):
            os.fchmod(new.fileno(), rights(status.st_mode, group=right[1]))
        if hasattr(os, "listxattr"):
            with contextlib.suppress(OSError):
                for name in os.listxattr(old.fileno()):
                    # It tells what the group may do, too.
                    if name == _ACCESS_LIST and not right[1]:
                        continue
                    with contextlib.suppress(OSError):
                        os.setxattr(new.fileno(), name, os.getxattr(old.fileno(), name))
        os.fsync(new.fileno())
    return right


def rights(mode: int, *, group: bool) -> int:
    """What of ``mode`` a file may get; ``group`` says whether it has the group that the mode was made for.

    Beside another group only the rights of the owner mean what they meant. Never what would let others run it as its
    owner.
    """
    return mode & (0o777 if group else 0o700)


def change_owner(path: Path, uid: int, gid: int) -> None:
    """Give the regular file ``path`` to others; -1 is "as it is". Nothing is done when they have it already."""
    with places.reading(path) as file:
        status = os.fstat(file.fileno())
        if hasattr(os, "fchown") and (uid not in (-1, status.st_uid) or gid not in (-1, status.st_gid)):
            os.fchown(file.fileno(), uid, gid)


def give(path: Path, uid: int | None, gid: int | None) -> tuple[bool, bool]:
    """Give the regular file ``path`` to others as far as that is possible; whether it ``has`` owner and group now."""
    # The group first: who gives a file away may not change it any more.
    for change in ((-1, gid), (uid, -1)):
        if None not in change:
            try:
                change_owner(path, *change)
            except OSError as error:
                if error.errno not in CANNOT_BE_GIVEN:
                    raise
    return has(path, uid, gid)


def has(path: Path, uid: int | None, gid: int | None) -> tuple[bool, bool]:
    """Whether ``path`` has this owner, and this group; -1 is any, None is one that it cannot have."""
    status = os.stat(path, follow_symlinks=False)
    return uid in (-1, status.st_uid), gid in (-1, status.st_gid)


def change_mode(path: Path, mode: int) -> None:
    """Give the regular file ``path`` this mode; on Windows it can be written to afterwards."""
    with places.reading(path) as file:
        if hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        else:
            windows.unprotect(path)


def make_private(path: Path) -> None:
    """Take the rights of all others on the directory ``path`` away."""
    with places.directory(path) as known:
        os.chmod(path if known is None else known, PRIVATE_DIRECTORY_MODE)


def give_directory(path: Path, like: os.stat_result) -> None:
    """Give the directory ``path`` to the owner and group of ``like``, as far as this user may."""
    if hasattr(os, "fchown"):
        with places.directory(path) as known, contextlib.suppress(PermissionError):
            os.chown(path if known is None else known, like.st_uid, like.st_gid)


def other_owner(directory: Path) -> os.stat_result | None:
    """The status of ``directory`` when this is root and it belongs to another user; else None."""
    with places.directory(directory) as known:
        status = None if known is None else os.fstat(known)
    return status if status is not None and status.st_uid else None


def first_stranger(directory: Path) -> Path | None:
    """The first of what is below ``directory`` that belongs to somebody else; what vanishes meanwhile is left out."""
    if not directory.is_dir():
        return None
    owner = os.stat(directory).st_uid
    for parent, directories, names in places.walk(directory):
        for path in (parent / name for name in sorted([*directories, *names])):
            with contextlib.suppress(FileNotFoundError):
                if os.lstat(path).st_uid != owner:
                    return path
    return None


def ownership(status: os.stat_result) -> tuple[str, str, str, int | None, int | None]:
    """Owner and group by name (by number where there is no name), the octal mode, and the numbers of both.

    On Windows empty texts and None.
    """
    if sys.platform == "win32":
        return "", "", "", None, None
    owner, group = name_of_user(status.st_uid), _name_of_group(status.st_gid)
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    return owner or str(status.st_uid), group or str(status.st_gid), mode, status.st_uid, status.st_gid


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


def local_owner(owner: str, number: int | None) -> int | None:
    """The user id here of a user who had this name and number on another host; None when that user is not known here.

    A number that has a name here is that of somebody else.
    """
    return _local(owner, number, numeric_owner, name_of_user)


def local_group(group: str, number: int | None) -> int | None:
    """The same for a group."""
    return _local(group, number, numeric_group, _name_of_group)


def _local(
    name: str, number: int | None, look_up: Callable[[str], int], name_of: Callable[[int], str | None]
) -> int | None:
    try:
        return look_up(name) if name else None
    except UsageError:
        return number if number is not None and number <= _LAST_ID and name_of(number) is None else None


def name_of_user(number: int) -> str | None:
    """The name of the user with this number; None where it has none."""
    if sys.platform != "win32":
        import pwd

        with contextlib.suppress(KeyError):
            return pwd.getpwuid(number).pw_name
    return None


def _name_of_group(number: int) -> str | None:
    if sys.platform != "win32":
        import grp

        with contextlib.suppress(KeyError):
            return grp.getgrgid(number).gr_name
    return None


def _numeric(name: str, look_up: Callable[[str], int], kind: str) -> int:
    try:
        return look_up(name)
    except (KeyError, ValueError):
        if _NUMBER.fullmatch(name) and int(name) <= _LAST_ID:
            return int(name)
        raise UsageError(
            f"The {kind} {name!r} does not exist on this host.", action="", hint=f"Create the {kind} first."
        ) from None
