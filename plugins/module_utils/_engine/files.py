# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that survive a crash and that only their owner can read: creation, publishing, copying, free space.

Every file and directory gets its mode when it is created, never afterwards. Whatever must survive a power
failure is flushed together with the directory that names it (fsync(2), rename(2)). What root creates in the
directory of another user belongs to that user, who could not go on in a repository with files of root.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import stat
from pathlib import Path
from typing import BinaryIO

from . import owners
from .errors import NoSpaceError, translated

CHUNK_BYTES = 1024 * 1024
PRIVATE_FILE_MODE = 0o600
PRIVATE_DIRECTORY_MODE = 0o700
_SPACE_MARGIN_BYTES = 1024 * 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")
_BINARY = getattr(os, "O_BINARY", 0)


def create_private(path: Path) -> BinaryIO:
    """Create ``path`` with mode 0600 for writing; ``FileExistsError`` when it is there."""
    return io.FileIO(_create(path, 0), "r+", closefd=True)


def open_private(path: Path, flags: int = 0) -> int:
    """A descriptor of ``path`` for reading and writing, with more ``flags`` of open(2); created 0600 when missing."""
    try:
        return _create(path, flags)
    except FileExistsError:
        return os.open(path, os.O_CREAT | os.O_RDWR | _BINARY | flags, PRIVATE_FILE_MODE)


def _create(path: Path, flags: int) -> int:
    with owners.foreign_directory(path.parent) as parent:
        name = path if parent is None else path.name
        flags |= os.O_CREAT | os.O_EXCL | os.O_RDWR | _BINARY
        descriptor = os.open(name, flags, PRIVATE_FILE_MODE, dir_fd=parent)
        try:
            owners.hand_over(descriptor, parent)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def make_private_directory(path: Path) -> None:
    """Create ``path``, and what is missing above it, with mode 0700; the new names survive a crash."""
    missing = [path, *path.parents]
    missing = missing[: next(index for index, each in enumerate(missing) if each.is_dir())]
    for each in reversed(missing):
        try:
            create_directory(each)
        except FileExistsError:
            # Made by another run meanwhile; a file in its place is an error.
            if not each.is_dir():
                raise
        sync_directory(each.parent)


def create_directory(path: Path) -> None:
    """Create ``path`` with mode 0700; ``FileExistsError`` when it is there."""
    with owners.foreign_directory(path.parent) as parent:
        os.mkdir(path if parent is None else path.name, PRIVATE_DIRECTORY_MODE, dir_fd=parent)
        if parent is None:
            return
        descriptor = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            # With something in it, it is not the one that was made here.
            if not os.listdir(descriptor):
                owners.hand_over(descriptor, parent)
        finally:
            os.close(descriptor)


def write_all(file: BinaryIO, data: bytes | bytearray | memoryview) -> None:
    """Write every byte of ``data``: a raw file may take fewer than it is given."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def read_exactly(file: BinaryIO, size: int) -> bytes:
    """The next ``size`` bytes, fewer at the end of the file: a raw file may give fewer at once."""
    data = file.read(size)
    while len(data) < size and (piece := file.read(size - len(data))):
        data += piece
    return data


def sync_file(path: Path) -> None:
    """Flush the content of ``path`` to the disk."""
    descriptor = os.open(path, os.O_RDWR | _BINARY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush the names in ``path`` to the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, data: bytes) -> None:
    """Create the private file ``path`` with this content, flushed to the disk."""
    with create_private(path) as file:
        write_all(file, data)
        os.fsync(file.fileno())


def replace_private(path: Path, data: bytes) -> None:
    """Put ``data`` in place of ``path``: old content or new, never a part of either. One at a time, under a lock."""
    temporary = path.with_name(temporary_name(path.name))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    write_private(temporary, data)
    os.replace(temporary, path)
    sync_directory(path.parent)


def temporary_name(name: str) -> str:
    """What ``replace_private`` calls the new content of ``name`` until it is whole."""
    return f".{name}.new"


def append_line(path: Path, line: str) -> None:
    """Append one line to a private file; a line that an earlier crash cut short stays alone on its own line."""
    descriptor = open_private(path, os.O_APPEND)
    with io.FileIO(descriptor, "r+", closefd=True) as file:
        size = file.seek(0, os.SEEK_END)
        torn = b""
        if size:
            file.seek(size - 1)
            torn = b"" if file.read(1) == b"\n" else b"\n"
        write_all(file, torn + line.encode() + b"\n")
        os.fsync(descriptor)


def publish_directory(staging: Path, final: Path) -> None:
    """Give the finished directory ``staging`` its final name, durably. All its files are on the disk before."""
    for directory, _names, files in os.walk(staging):
        for name in files:
            sync_file(Path(directory, name))
        sync_directory(Path(directory))
    os.rename(staging, final)
    sync_directory(final.parent)


def move_file(source: Path, dest: Path) -> None:
    """Rename ``source`` over ``dest`` on the same filesystem, durably."""
    os.replace(source, dest)
    sync_directory(dest.parent)


def remove_file(path: Path) -> None:
    """Remove ``path`` if it is there, durably."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours with everything in it; one that is gone already is fine.

    Of a symbolic link in its place, only the link.
    """
    if path.is_symlink():
        with translated(f"Cannot remove {path}"):
            path.unlink()
    shutil.rmtree(path, ignore_errors=True)
    if path.exists():
        with translated(f"Cannot remove {path}"):
            shutil.rmtree(path)


def copy_private(source: Path, dest: Path) -> None:
    """Copy the bytes of ``source`` into the new private file ``dest``, flushed to the disk."""
    with open(source, "rb") as reader, create_private(dest) as writer:
        shutil.copyfileobj(reader, writer, CHUNK_BYTES)
        os.fsync(writer.fileno())


def link_or_copy(source: Path, dest: Path) -> None:
    """A second name for ``source``, or a copy where the filesystem knows no hard links."""
    try:
        os.link(source, dest)
    except OSError:
        copy_private(source, dest)
        copy_attributes(source, dest)


def copy_attributes(source: Path, dest: Path) -> None:
    """Give ``dest`` the owner, group, mode and extended attributes (ACL, SELinux context) of ``source``.

    What only root may set is left out for other users, as cp(1) does it.
    """
    status = os.stat(source)
    if hasattr(os, "chown"):
        with contextlib.suppress(PermissionError):
            os.chown(dest, status.st_uid, status.st_gid)
    os.chmod(dest, stat.S_IMODE(status.st_mode))
    if hasattr(os, "listxattr"):
        with contextlib.suppress(OSError):
            for name in os.listxattr(source):
                with contextlib.suppress(OSError):
                    os.setxattr(dest, name, os.getxattr(source, name))


def sha256_file(path: Path) -> str:
    """The SHA-256 of the content of ``path``, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes in ``path``; 0 when it is missing."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def readable(size_bytes: int) -> str:
    """Bytes as people read them: ``512 B``, ``1.2 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min(len(_UNITS), (size_bytes.bit_length() - 1) // 10)
    return f"{size_bytes / 1024**power:.1f} {_UNITS[power - 1]}"


def tree_bytes(directory: Path) -> int:
    """Bytes in all files below ``directory``; what goes away meanwhile, and what a link leads to, is left out."""
    total_bytes = 0
    if directory.is_symlink():
        return 0
    for parent, _directories, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total_bytes += os.lstat(os.path.join(parent, name)).st_size
    return total_bytes


def require_space(directory: Path, needed_bytes: int, *, action: str) -> None:
    """Raise ``NoSpaceError`` unless the filesystem of ``directory`` has room for ``needed_bytes``."""
    existing = next(each for each in (directory, *directory.parents) if each.is_dir())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes + _SPACE_MARGIN_BYTES:
        raise NoSpaceError(
            f"{action}: {needed_bytes + _SPACE_MARGIN_BYTES} bytes are needed in {existing}, {free_bytes} are free.",
            hint="Free some space there, or use a directory on a larger filesystem.",
        )
