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
import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from . import held, owners, pieces, places, windows
from .clock import Deadline
from .errors import EngineError, NoSpaceError, RefusedError, StorageFailedError, doing

CHUNK_BYTES = pieces.BYTES
PRIVATE_FILE_MODE = 0o600
PUBLIC_FILE_MODE = 0o644
# On Windows a directory has the rights of the one around it; 0700 would let in who runs this, and administrators alone:
# https://docs.python.org/3/library/os.html#os.mkdir
_DIRECTORY_MODE = 0o777 if os.name == "nt" else owners.PRIVATE_DIRECTORY_MODE
# Writing a small file takes less; whoever left a new content that long ago was killed.
_LONG_WRITTEN_SECONDS = 3600
_SPACE_MARGIN_BYTES = 1024 * 1024
_UNITS = ("KiB", "MiB", "GiB", "TiB")


def create_private(path: Path) -> BinaryIO:
    """Create ``path`` with mode 0600 for writing; ``FileExistsError`` when it is there."""
    return io.FileIO(_create(path, 0), "r+", closefd=True)


def open_private(path: Path, flags: int = 0) -> int:
    """A descriptor of ``path`` for reading and writing, with more ``flags`` of open(2); created 0600 when missing.

    Raises ``RefusedError`` as ``places.open_regular`` does.
    """
    try:
        return _create(path, flags)
    except FileExistsError:
        return places.open_regular(path, os.O_RDWR | flags)


def _create(path: Path, flags: int) -> int:
    with places.at(path) as (name, parent):
        flags |= os.O_CREAT | os.O_EXCL | os.O_RDWR | places.BINARY
        descriptor = held.opened(name, flags, PRIVATE_FILE_MODE, dir_fd=parent)
        try:
            owners.hand_over(descriptor, parent)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def make_private_directory(path: Path) -> None:
    """Create ``path``, and what is missing above it, as ``create_directory``; the new names survive a crash."""
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
    """Create ``path`` with mode 0700, on Windows as the one around it; ``FileExistsError`` when it is there."""
    with places.at(path) as (name, parent):
        held.patiently(os.mkdir, name, _DIRECTORY_MODE, dir_fd=parent)
        if parent is None:
            return
        descriptor = os.open(path.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
        try:
            # With something in it, it is not the one that was made here.
            if not os.listdir(descriptor):
                owners.hand_over(descriptor, parent)
        finally:
            os.close(descriptor)


def own_directory(path: Path) -> None:
    """Make the private working directory ``path``, or take over what is there already.

    Taken over is only a real directory, private, of the user who runs or of the owner of the directory around it.
    Raises ``RefusedError`` else.
    """
    with contextlib.suppress(FileExistsError):
        create_directory(path)
        sync_directory(path.parent)
        return
    with places.at(path) as (name, parent):
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        around = os.stat(path.parent) if parent is None else os.fstat(parent)
    # Windows has no such owners and modes: there the rights are those of the directory around it.
    closed = os.name == "nt" or (status.st_uid in (os.geteuid(), around.st_uid) and not status.st_mode & 0o022)
    if not windows.is_directory(status) or not closed:
        raise RefusedError(
            "it is there already, and is not a directory of this user that is closed to others.",
            action=f"Cannot work in {path}",
            hint="Find out who put it there, and move it away.",
        )


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
    descriptor = places.open_regular(path, os.O_RDWR, alone=False)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Flush the names in ``path`` to the disk; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    with places.directory(path) as known:
        descriptor = os.open(path, os.O_RDONLY) if known is None else os.dup(known)
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
    remove_file(temporary)
    write_private(temporary, data)
    move_file(temporary, path)


def temporary_name(name: str) -> str:
    """What ``replace_private`` calls the new content of ``name`` until it is whole."""
    return f".{name}.new"


def replace_public(path: Path, data: bytes) -> None:
    """Put ``data`` in place of ``path`` for everybody to read: old content or new, never a part of either.

    Others may do the same at the same time: the last one counts. The directory must be there.
    """
    left = (path.parent / each for each in places.names(path.parent) if each.startswith(f".{path.name}."))
    for each in left:
        with contextlib.suppress(OSError):
            if each.suffix == ".new" and time.time() - os.lstat(each).st_mtime > _LONG_WRITTEN_SECONDS:
                remove_file(each)
    temporary = path.with_name(temporary_name(f"{path.name}.{secrets.token_hex(8)}"))
    try:
        with create_private(temporary) as file:
            write_all(file, data)
            # Whatever the umask leaves of a mode; Windows learns it from the directory.
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), PUBLIC_FILE_MODE)
            os.fsync(file.fileno())
        move_file(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            remove_file(temporary)
        raise


def append_line(path: Path, line: str) -> None:
    """Append one line to the private file ``path``, see ``append_to``."""
    with io.FileIO(open_private(path, os.O_APPEND), "r+", closefd=True) as file:
        append_to(file, line)


def append_to(file: io.FileIO, line: str) -> None:
    """Append one line, durably; one that an earlier crash cut short stays alone on its own line."""
    size = file.seek(0, os.SEEK_END)
    torn = b""
    if size:
        file.seek(size - 1)
        torn = b"" if file.read(1) == b"\n" else b"\n"
    write_all(file, torn + line.encode() + b"\n")
    os.fsync(file.fileno())


def publish_directory(staging: Path, final: Path, *, committing: Callable[[], None] = lambda: None) -> None:
    """Give the finished directory ``staging`` its final name, durably. All its files are on the disk before.

    ``committing`` is called when only that is left.
    """
    for directory, _names, files in places.walk(staging):
        for name in files:
            sync_file(directory / name)
        sync_directory(directory)
    committing()
    move_directory(staging, final)


def move_file(source: Path, dest: Path) -> None:
    """Rename ``source`` over ``dest`` on the same filesystem, durably."""
    with places.at(source) as (old, old_parent), places.at(dest) as (new, new_parent):
        held.replace(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
    sync_directory(dest.parent)


def move_file_to_free_name(source: Path, dest: Path) -> None:
    """Rename ``source`` to ``dest``, durably; ``FileExistsError`` when something is there, whenever it came."""
    with places.at(source) as (old, old_parent), places.at(dest) as (new, new_parent):
        try:
            held.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
        except FileExistsError:
            raise
        except (OSError, NotImplementedError):
            # No hard links here. Windows itself replaces nothing; elsewhere a look before must do.
            with contextlib.suppress(FileNotFoundError):
                os.stat(new, dir_fd=new_parent, follow_symlinks=False)
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fspath(dest)) from None
            held.patiently(os.rename, old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
        else:
            held.unlink(old, dir_fd=old_parent)
    sync_directory(dest.parent)


def move_directory(source: Path, dest: Path) -> None:
    """Rename ``source`` to ``dest``, where nothing is yet, durably."""
    with places.at(source) as (old, old_parent), places.at(dest) as (new, new_parent):
        held.patiently(os.rename, old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
    sync_directory(dest.parent)


def remove_file(path: Path) -> None:
    """Remove ``path`` if it is there, durably."""
    with contextlib.suppress(FileNotFoundError):
        with places.at(path) as (name, parent):
            held.unlink(name, dir_fd=parent)
        sync_directory(path.parent)


def remove_tree(path: Path) -> None:
    """Remove a directory of ours with everything in it; one that is gone already is fine.

    Of a link in its place, only the link.
    """
    with doing(f"Cannot remove {path}"), contextlib.suppress(FileNotFoundError), places.at(path) as (name, parent):
        try:
            held.remove_tree(name, dir_fd=parent)
        except RecursionError as error:
            raise RefusedError("what is there is nested too deeply.", hint="Look, and remove it.") from error


def tidied(path: Path) -> list[str]:
    """As ``remove_tree``, of what is of no use any more when it is known what became of the work.

    What went wrong is a warning.
    """
    try:
        remove_tree(path)
    except EngineError as failure:
        return [f"{path} is of no use any more, and could not be removed: {failure}"]
    return []


def copy_private(source: Path, dest: Path, *, alone: bool = True, deadline: Deadline | None = None) -> None:
    """Copy ``source`` into the new private file ``dest``, flushed, and compare; ``alone`` as for ``open_regular``.

    Raises ``StorageFailedError`` when what was written is not what was read, else as ``require_space`` and ``pieces``.
    """
    with places.reading(source, alone=alone) as reader:
        require_space(dest.parent, os.fstat(reader.fileno()).st_size)
        with create_private(dest) as writer:
            read = hashlib.sha256()
            for piece in pieces.of(reader, deadline=deadline):
                write_all(writer, piece)
                read.update(piece)
            os.fsync(writer.fileno())
            writer.seek(0)
            if digest_of(writer) != read.hexdigest():
                raise StorageFailedError(
                    f"{dest} does not hold what was written to it.",
                    action=f"Cannot copy {source}",
                    hint="Look at the disk and its quota, then run again.",
                )


def digest_of(file: BinaryIO, kind: str = "sha256") -> str:
    """The digest of what follows in an open regular file, in hexadecimal; ``kind`` is a name that hashlib knows."""
    # What others made: it tells one file from another, and need not be safe against people.
    digest = hashlib.new(kind, usedforsecurity=False)
    for piece in pieces.of(file):
        digest.update(piece)
    return digest.hexdigest()


def link_or_copy(source: Path, dest: Path) -> None:
    """A second name for ``source``, or a copy where ``held.link`` makes none."""
    try:
        with places.at(source) as (old, old_parent), places.at(dest) as (new, new_parent):
            held.link(old, new, src_dir_fd=old_parent, dst_dir_fd=new_parent)
    except (OSError, NotImplementedError):
        copy_private(source, dest, alone=False)
        owners.copy_attributes(source, dest)


def sha256_file(path: Path) -> str:
    """The SHA-256 of the content of ``path``, in hexadecimal."""
    with places.reading(path, alone=False) as file:
        return digest_of(file)


def holds(path: Path, size_bytes: int, sha256: str) -> bool:
    """Whether the regular file ``path`` has just this content; one of another size is not read."""
    with places.reading(path, alone=False) as file:
        return os.fstat(file.fileno()).st_size == size_bytes and digest_of(file) == sha256


def size_of(path: Path) -> int:
    """Bytes in ``path``; 0 when it is missing, and of what a link leads to."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return 0
    return status.st_size if stat.S_ISREG(status.st_mode) else 0


def counted(number: int, word: str) -> str:
    """``1 backup``, ``2 backups``: for words whose plural ends so."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def readable(size_bytes: int) -> str:
    """Bytes as people read them: ``512 B``, ``1.2 MiB``."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    power = min(len(_UNITS), (size_bytes.bit_length() - 1) // 10)
    return f"{size_bytes / 1024**power:.1f} {_UNITS[power - 1]}"


def tree_bytes(directory: Path) -> int:
    """Bytes in all files below ``directory``; what goes away meanwhile, and what a link leads to, is left out."""
    total_bytes = 0
    if not places.is_directory(directory):
        return 0
    for parent, _directories, names in places.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total_bytes += os.lstat(parent / name).st_size
    return total_bytes


def require_space(directory: Path, needed_bytes: int) -> None:
    """Raise ``NoSpaceError`` unless the filesystem of ``directory`` has room for ``needed_bytes``."""
    existing = next(each for each in (directory, *directory.parents) if each.is_dir())
    free_bytes = shutil.disk_usage(existing).free
    if free_bytes < needed_bytes + _SPACE_MARGIN_BYTES:
        raise NoSpaceError(
            f"{needed_bytes + _SPACE_MARGIN_BYTES} bytes are needed in {existing}, {free_bytes} are free.",
            hint="Free some space there, or use a directory on a larger filesystem.",
        )
