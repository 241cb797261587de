# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files, owners, places, windows
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    NoSpaceError,
    PermissionDeniedError,
    RefusedError,
    StorageFailedError,
)
from support import databases, limits, processes

KIB, MIB, GIB = 1024, 1024**2, 1024**3


@pytest.fixture
def open_umask() -> Iterator[None]:
    """The worst case: whatever is created without a mode of its own is open to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def no_chmod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mode that is set afterwards comes too late: the file was open to others for a moment."""

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("the mode must be there from the start")

    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "fchmod", refuse)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def inode_of(path: Path) -> int:
    return path.stat().st_ino


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What is flushed and renamed, in order, by inode: what a power failure at any moment leaves follows from it."""
    events: list[tuple[str, int]] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(("flush", os.fstat(descriptor).st_ino))

    def record_rename(source: Path, dest: Path, *, src_dir_fd: int | None, dst_dir_fd: int | None) -> None:
        events.append(("rename", os.stat(source, dir_fd=src_dir_fd).st_ino))
        rename(source, dest, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    def record_replace(source: Path, dest: Path, *, src_dir_fd: int | None, dst_dir_fd: int | None) -> None:
        events.append(("rename", os.stat(source, dir_fd=src_dir_fd).st_ino))
        replace(source, dest, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    monkeypatch.setattr(os, "replace", record_replace)
    return events


# --- creation ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("open_umask", "no_chmod")
def test_private_file_is_private_from_its_first_byte(tmp_path: Path) -> None:
    """Nobody else may read a backup, not even for the moment between two system calls."""
    with files.create_private(tmp_path / "a"):
        assert mode_of(tmp_path / "a") == 0o600


@pytest.mark.usefixtures("open_umask", "no_chmod")
def test_private_directories_are_private_from_the_start(tmp_path: Path) -> None:
    files.make_private_directory(tmp_path / "a" / "b")
    assert [mode_of(tmp_path / "a"), mode_of(tmp_path / "a" / "b")] == [0o700, 0o700]


def test_directories_have_on_windows_the_rights_of_the_one_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There 0700 keeps the service out whose database is prepared in such a directory, and then moved."""
    modes, mkdir = [], os.mkdir

    def recorded(path: Path | str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        modes.append(mode)
        mkdir(path, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", recorded)
    files.make_private_directory(tmp_path / "a")
    files.own_directory(tmp_path / "b")
    assert modes == 2 * [0o777 if os.name == "nt" else 0o700]


@pytest.mark.usefixtures("open_umask", "no_chmod")
def test_written_replaced_appended_and_copied_files_are_private(tmp_path: Path) -> None:
    files.write_private(tmp_path / "written", b"x")
    files.replace_private(tmp_path / "replaced", b"x")
    files.append_line(tmp_path / "appended", "x")
    files.copy_private(tmp_path / "written", tmp_path / "copied")
    assert {each.name: mode_of(each) for each in tmp_path.iterdir()} == dict.fromkeys(
        ("written", "replaced", "appended", "copied"), 0o600
    )


def test_private_file_never_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        files.create_private(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"precious"


def test_private_file_is_not_written_through_a_symbolic_link(tmp_path: Path) -> None:
    """Whoever may write to the directory must not choose where our bytes go."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.create_private(tmp_path / "link")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("name", databases.ODD_NAMES)
def test_odd_names_are_created_written_and_published(tmp_path: Path, name: str) -> None:
    files.make_private_directory(tmp_path / f"{name}.staging")
    files.write_private(tmp_path / f"{name}.staging" / name, b"content")
    files.publish_directory(tmp_path / f"{name}.staging", tmp_path / name)
    files.replace_private(tmp_path / name / name, b"newer")
    assert (tmp_path / name / name).read_bytes() == b"newer"
    assert os.listdir(tmp_path) == [name]


def test_existing_directory_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(mode=0o750)
    files.make_private_directory(tmp_path / "a")
    assert mode_of(tmp_path / "a") == 0o750


@pytest.mark.parametrize("planted", ["file", "link", "open to all"])
def test_working_directory_that_somebody_else_may_have_made_is_refused(tmp_path: Path, planted: str) -> None:
    """Whoever may write there could put anything under the names that are used in it."""
    place = tmp_path / "work"
    if planted == "file":
        place.touch(mode=0o600)
    elif planted == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.mkdir()
        place.chmod(0o722)
    with pytest.raises(RefusedError, match=f"Cannot work in {re.escape(str(place))}"):
        files.own_directory(place)


def test_name_of_a_new_working_directory_is_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    files.own_directory(tmp_path / "work")
    assert journal == [("flush", inode_of(tmp_path))]


@processes.needs_root
@pytest.mark.root
def test_working_directory_of_a_user_is_taken_over_only_in_that_users_directory() -> None:
    with processes.open_directory() as place:
        (place / "work").mkdir(mode=0o700)
        os.chown(place / "work", processes.NOBODY, processes.NOBODY)
        with pytest.raises(RefusedError, match="Cannot work in"):
            files.own_directory(place / "work")
        os.chown(place, processes.NOBODY, processes.NOBODY)
        files.own_directory(place / "work")


def test_working_directory_of_ones_own_is_taken_over(tmp_path: Path) -> None:
    files.own_directory(tmp_path / "work")
    (tmp_path / "work" / "left").touch()
    files.own_directory(tmp_path / "work")
    assert (tmp_path / "work" / "left").exists()


@processes.needs_root
@pytest.mark.root
@pytest.mark.parametrize("swapped", [False, True])
def test_only_the_directory_that_was_made_is_given_away(monkeypatch: pytest.MonkeyPatch, *, swapped: bool) -> None:
    """The owner of the directory around it may rename one of root's to its name."""
    mkdir = os.mkdir
    with processes.open_directory() as place:
        os.chown(place, processes.NOBODY, processes.NOBODY)

        def make(name: str, mode: int, **options: int | None) -> None:
            mkdir(name, mode, **options)
            if swapped:
                (place / "new" / "of root").touch()

        monkeypatch.setattr(os, "mkdir", make)
        files.create_directory(place / "new")
        monkeypatch.undo()
        assert (place / "new").stat().st_uid == (0 if swapped else processes.NOBODY)


def test_any_user_can_flush_a_directory() -> None:
    with processes.open_directory() as place, limits.unprivileged():
        files.sync_directory(place)


def test_file_in_the_place_of_a_directory_is_an_error(tmp_path: Path) -> None:
    """Saying nothing would let the next step fail for a reason that nobody understands."""
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(FileExistsError):
        files.make_private_directory(tmp_path / "a")


def test_names_of_new_directories_are_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    """Without that a power failure loses the directory and everything in it."""
    files.make_private_directory(tmp_path / "a" / "b")
    assert journal == [("flush", inode_of(tmp_path)), ("flush", inode_of(tmp_path / "a"))]


# --- writing -------------------------------------------------------------------------------------------------------


class Reluctant(io.RawIOBase):
    """Takes three bytes at a time, as a pipe or a disk that is nearly full may do."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, data: Any, /) -> int:
        taken = bytes(data[:3])
        self.content += taken
        return len(taken)


@pytest.mark.parametrize("data", [b"", b"12", b"1234567890", memoryview(b"1234567890")])
def test_every_byte_is_written_to_a_file_that_takes_few(data: bytes) -> None:
    """A short write must not become a short backup."""
    file = Reluctant()
    files.write_all(file, data)  # type: ignore[arg-type]
    assert file.content == bytes(data)


class Dribbling(io.RawIOBase):
    """Gives three bytes at a time, as a network filesystem may do."""

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, size: int = -1, /) -> bytes:
        piece, self.content = self.content[: min(size, 3)], self.content[min(size, 3) :]
        return piece


@pytest.mark.parametrize("size", [0, 1, 3, 4, 9, 10])
def test_every_byte_is_read_from_a_file_that_gives_few(size: int) -> None:
    """A short read must not become a short backup."""
    file = Dribbling(b"1234567890")
    assert files.read_exactly(file, size) == b"1234567890"[:size]  # type: ignore[arg-type]
    assert file.content == b"1234567890"[size:]


def test_end_of_the_file_is_no_failure_to_read() -> None:
    assert files.read_exactly(Dribbling(b"1234567890"), 100) == b"1234567890"  # type: ignore[arg-type]


def test_written_file_is_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    files.write_private(tmp_path / "a", b"x")
    assert journal == [("flush", inode_of(tmp_path / "a"))]


def test_replacement_is_flushed_before_it_gets_the_name(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    """Otherwise a power failure leaves the name with an empty file: neither the old content nor the new."""
    (tmp_path / "a").write_bytes(b"old")
    files.replace_private(tmp_path / "a", b"new")
    new = inode_of(tmp_path / "a")
    assert journal == [("flush", new), ("rename", new), ("flush", inode_of(tmp_path))]


def test_replacement_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not cost what was there."""
    (tmp_path / "a").write_bytes(b"old")

    def fail(*_arguments: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files, "write_all", fail)
    with pytest.raises(OSError, match="full"):
        files.replace_private(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_replacement_gets_by_what_a_killed_run_left(tmp_path: Path) -> None:
    (tmp_path / files.temporary_name("a")).write_bytes(b"half")
    files.replace_private(tmp_path / "a", b"whole")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"whole"}


def test_replacement_breaks_a_hard_link(tmp_path: Path) -> None:
    """A second name, kept by somebody as a copy, must not change with the file."""
    (tmp_path / "a").write_bytes(b"old")
    os.link(tmp_path / "a", tmp_path / "kept")
    files.replace_private(tmp_path / "a", b"new")
    assert (tmp_path / "kept").read_bytes() == b"old"


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_public_file_can_be_read_by_everybody_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """Its readers, as node_exporter, are other users; the files of root's are private by its umask."""
    before = os.umask(umask)
    try:
        files.replace_public(tmp_path / "a", b"old")
        files.replace_public(tmp_path / "a", b"new")
    finally:
        os.umask(before)
    assert (mode_of(tmp_path / "a"), (tmp_path / "a").read_bytes()) == (0o644, b"new")
    assert os.listdir(tmp_path) == ["a"]


def test_public_file_is_flushed_before_it_gets_the_name(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    files.replace_public(tmp_path / "a", b"new")
    new = inode_of(tmp_path / "a")
    assert journal == [("flush", new), ("rename", new), ("flush", inode_of(tmp_path))]


@pytest.mark.parametrize("planted", ["link", "fifo"])
def test_public_file_takes_the_place_of_what_somebody_put_there(tmp_path: Path, planted: str) -> None:
    """Whoever may write to the directory must not choose where the bytes go, nor make the writer wait."""
    (tmp_path / "precious").write_bytes(b"precious")
    if planted == "link":
        (tmp_path / "a").symlink_to("precious")
    else:
        os.mkfifo(tmp_path / "a")
    with limits.within(10):
        files.replace_public(tmp_path / "a", b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"new", "precious": b"precious"}
    assert stat.S_ISREG((tmp_path / "a").lstat().st_mode)


def test_public_file_that_cannot_be_written_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    """A directory that is looked at by a program must not fill with parts of files."""
    files.replace_public(tmp_path / "a", b"old")
    with limits.full_disk_after(1), pytest.raises(OSError, match="File too large"):
        files.replace_public(tmp_path / "a", b"new")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"old"}


def test_two_that_write_the_same_public_file_never_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup and a verification of one database may end at the same moment."""
    real, others = files.write_all, [b"other"]

    def interrupted(file: Any, data: bytes) -> None:
        if others:
            files.replace_public(tmp_path / "a", others.pop())
            assert (tmp_path / "a").read_bytes() == b"other"
        real(file, data)

    monkeypatch.setattr(files, "write_all", interrupted)
    files.replace_public(tmp_path / "a", b"this")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == {"a": b"this"}


def test_new_public_content_of_a_killed_run_goes_after_an_hour(tmp_path: Path) -> None:
    """Before, somebody may still be writing it."""
    for name, age_seconds in ((".a.old.new", 4000), (".a.young.new", 10), (".ab.old.new", 4000)):
        (tmp_path / name).write_bytes(b"half")
        os.utime(tmp_path / name, (time.time() - age_seconds,) * 2)
    files.replace_public(tmp_path / "a", b"whole")
    assert set(os.listdir(tmp_path)) == {"a", ".a.young.new", ".ab.old.new"}


def test_lines_are_appended_in_order(tmp_path: Path) -> None:
    for line in ("one", "two", "drei ü"):
        files.append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "one\ntwo\ndrei ü\n"


def test_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    """A crash in the middle of one line must not spoil the next one as well."""
    (tmp_path / "log").write_bytes(b'{"event": "a"}\n{"eve')
    files.append_line(tmp_path / "log", '{"event": "b"}')
    assert (tmp_path / "log").read_bytes().split(b"\n") == [b'{"event": "a"}', b'{"eve', b'{"event": "b"}', b""]


def test_appended_line_is_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    files.append_line(tmp_path / "log", "one")
    assert journal == [("flush", inode_of(tmp_path / "log"))]


# --- publishing, moving, removing ----------------------------------------------------------------------------------


def test_everything_is_flushed_before_a_directory_gets_its_name(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    """What a repository lists must be on the disk whole, after a power failure at any instant."""
    staging = tmp_path / "staging"
    (staging / "files" / "deep").mkdir(parents=True)
    for name in ("image", "files/env", "files/deep/log"):
        (staging / name).write_bytes(b"x")
    inside = {inode_of(each) for each in (staging, *staging.rglob("*"))}
    files.publish_directory(staging, tmp_path / "final")
    renamed = journal.index(("rename", inode_of(tmp_path / "final")))
    assert {inode for event, inode in journal[:renamed] if event == "flush"} == inside
    assert journal[renamed + 1 :] == [("flush", inode_of(tmp_path))]
    assert not staging.exists()


def test_publishing_never_replaces_a_backup(tmp_path: Path) -> None:
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "manifest.json").write_bytes(b"precious")
    (tmp_path / "staging").mkdir()
    with pytest.raises(OSError, match="not empty|exists"):
        files.publish_directory(tmp_path / "staging", tmp_path / "final")
    assert (tmp_path / "final" / "manifest.json").read_bytes() == b"precious"


def test_moved_file_is_durable(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    files.move_file(tmp_path / "a", tmp_path / "b")
    assert journal == [("rename", inode_of(tmp_path / "b")), ("flush", inode_of(tmp_path))]
    assert (tmp_path / "b").read_bytes() == b"new"


def test_moved_directory_is_durable(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    (tmp_path / "a").mkdir()
    files.move_directory(tmp_path / "a", tmp_path / "b")
    assert journal == [("rename", inode_of(tmp_path / "b")), ("flush", inode_of(tmp_path))]


def test_who_publishes_is_told_when_only_the_name_is_left(tmp_path: Path) -> None:
    (tmp_path / "staging").mkdir()
    seen = []

    def look() -> None:
        seen.append((tmp_path / "final").exists())

    files.publish_directory(tmp_path / "staging", tmp_path / "final", committing=look)
    assert (seen, (tmp_path / "final").exists()) == ([False], True)


def test_removed_file_is_durably_gone(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    """A -wal that comes back after a power failure would undo a restore."""
    (tmp_path / "a").write_bytes(b"x")
    files.remove_file(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert journal == [("flush", inode_of(tmp_path))]


def test_removing_what_is_gone_is_no_error(tmp_path: Path) -> None:
    files.remove_file(tmp_path / "a")
    files.remove_tree(tmp_path / "b")


def test_tree_that_is_nested_too_deeply_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever may write to the directory decides how deep it is."""

    def walk(*_arguments: object, **_options: object) -> None:
        raise RecursionError

    (tmp_path / "deep").mkdir()
    monkeypatch.setattr(files.os, "fwalk", walk, raising=False)
    monkeypatch.setattr(files.shutil, "rmtree", walk)
    monkeypatch.setattr(files.os, "listdir", walk)
    with pytest.raises(
        RefusedError, match=f"^Cannot remove {re.escape(str(tmp_path / 'deep'))}: what is there is nested too deeply"
    ):
        files.remove_tree(tmp_path / "deep")


def test_tree_is_removed_and_what_it_links_to_stays(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_bytes(b"x")
    (tmp_path / "ours" / "deep").mkdir(parents=True)
    (tmp_path / "ours" / "link").symlink_to(tmp_path / "precious")
    files.remove_tree(tmp_path / "ours")
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a", "precious"]


def test_link_in_the_place_of_a_tree_is_removed_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    """Somebody may have moved a backup to another disk; that must not stop every later run."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "a").write_bytes(b"x")
    (tmp_path / "ours").symlink_to(tmp_path / "precious")
    assert files.tree_bytes(tmp_path / "ours") == 0
    files.remove_tree(tmp_path / "ours")
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a", "precious"]


def test_bytes_of_a_tree_are_those_of_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "ours" / "deep").mkdir(parents=True)
    (tmp_path / "ours" / "a").write_bytes(b"x" * 1000)
    (tmp_path / "ours" / "deep" / "b").write_bytes(b"x" * 234)
    (tmp_path / "ours" / "empty").touch()
    assert files.tree_bytes(tmp_path / "ours") == 1234
    assert files.tree_bytes(tmp_path / "missing") == 0


def test_tree_that_cannot_be_removed_is_an_error() -> None:
    """Silence would leave a staging directory to fill the disk."""
    with processes.open_directory() as place:
        (place / "a" / "b").mkdir(parents=True)
        place.chmod(0o555)
        (place / "a").chmod(0o555)
        with limits.unprivileged(), pytest.raises(PermissionDeniedError, match="Cannot remove"):
            files.remove_tree(place / "a")


# --- copies and attributes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, files.CHUNK_BYTES - 1, files.CHUNK_BYTES, 2 * files.CHUNK_BYTES + 1])
def test_copy_and_digest_are_of_every_byte(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "a").write_bytes(content[:size])
    files.copy_private(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == content[:size]
    assert files.sha256_file(tmp_path / "b") == hashlib.sha256(content[:size]).hexdigest()


def test_copy_is_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    (tmp_path / "a").write_bytes(b"x")
    files.copy_private(tmp_path / "a", tmp_path / "b")
    assert journal == [("flush", inode_of(tmp_path / "b"))]


def test_copy_that_the_disk_does_not_hold_is_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a quota some filesystems take what they are given, and keep zeros."""
    (tmp_path / "a").write_bytes(b"content")
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (tmp_path / "b").write_bytes(bytes(7)))
    with pytest.raises(
        StorageFailedError,
        match=f"Cannot copy {re.escape(str(tmp_path / 'a'))}: {re.escape(str(tmp_path / 'b'))} does not hold",
    ):
        files.copy_private(tmp_path / "a", tmp_path / "b")


def test_second_name_is_of_a_link_and_not_of_what_it_leads_to(tmp_path: Path) -> None:
    """Somebody else may have put it there."""
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "a").symlink_to(tmp_path / "secret")
    with contextlib.suppress(RefusedError):
        files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_second_name_costs_no_space(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert inode_of(tmp_path / "a") == inode_of(tmp_path / "b")


def test_copy_stands_in_where_no_second_name_is_possible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On FAT, some network filesystems and under fs.protected_hardlinks a restore must still keep the old content."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0o640)
    files.link_or_copy(tmp_path / "a", tmp_path / "b")
    assert inode_of(tmp_path / "a") != inode_of(tmp_path / "b")
    assert ((tmp_path / "b").read_bytes(), mode_of(tmp_path / "b")) == (b"x", 0o640)


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o444])
def test_mode_is_that_of_the_old_file(tmp_path: Path, mode: int) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "old").chmod(mode)
    owners.copy_attributes(tmp_path / "old", tmp_path / "new")
    assert mode_of(tmp_path / "new") == mode


def test_attributes_are_flushed(tmp_path: Path, journal: list[tuple[str, int]]) -> None:
    """After a power failure the file would be root's alone."""
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"x")
    owners.copy_attributes(tmp_path / "old", tmp_path / "new")
    assert journal == [("flush", inode_of(tmp_path / "new"))]


def test_extended_attributes_are_those_of_the_old_file(tmp_path: Path) -> None:
    """An ACL or a security context that gets lost locks the application out."""
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"x")
    try:
        os.setxattr(tmp_path / "old", "user.label", b"kept")
    except (OSError, AttributeError):
        pytest.skip("this filesystem has no extended attributes")
    owners.copy_attributes(tmp_path / "old", tmp_path / "new")
    assert os.getxattr(tmp_path / "new", "user.label") == b"kept"


@pytest.mark.root
@processes.needs_root
def test_owner_is_that_of_the_old_file(tmp_path: Path) -> None:
    """A restored database that belongs to root stops its application."""
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(b"x")
    os.chown(tmp_path / "old", 4321, 8765)
    (tmp_path / "old").chmod(0o4750)
    owners.copy_attributes(tmp_path / "old", tmp_path / "new")
    status = (tmp_path / "new").stat()
    # No database is run, so what lets others run it as its owner is none of its own doing.
    assert (status.st_uid, status.st_gid, mode_of(tmp_path / "new")) == (4321, 8765, 0o750)


FOREIGN_GROUP = 8765


@contextlib.contextmanager
def old_and_new(gid: int, mode: int) -> Iterator[tuple[Path, Path]]:
    """A file of nobody's with this group, and a new one to take its place."""
    with processes.open_directory() as place:
        old, new = place / "old", place / "new"
        for each in (old, new):
            each.write_bytes(b"x")
        os.chown(old, processes.NOBODY, gid)
        old.chmod(mode)
        new.chmod(0o600)
        os.chown(new, processes.NOBODY, processes.NOBODY)
        yield old, new


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("mode", [0o640, 0o664, 0o644, 0o604])
@pytest.mark.parametrize("gid", [0, processes.NOBODY, FOREIGN_GROUP])
def test_rights_of_a_group_go_to_no_other_one(gid: int, mode: int) -> None:
    """Who is not root restores with what he may do. The groups here are root's, his own, and one that he is not in."""
    with old_and_new(gid, mode) as (old, new):
        with limits.unprivileged():
            right = owners.copy_attributes(old, new)
        status = new.stat()
    given = gid != FOREIGN_GROUP
    assert right == (True, given)
    assert (status.st_uid, status.st_gid) == (processes.NOBODY, gid if given else processes.NOBODY)
    assert stat.S_IMODE(status.st_mode) == (mode if given else 0o600)


@pytest.mark.root
@processes.needs_root
def test_caller_that_gives_the_group_gets_the_mode() -> None:
    with old_and_new(FOREIGN_GROUP, 0o640) as (old, new):
        assert owners.copy_attributes(old, new, with_group=False) == (True, True)
        assert (new.stat().st_gid, mode_of(new)) == (processes.NOBODY, 0o640)


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """An ACL as Linux stores it, of tags, rights and ids."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *each) for each in entries)


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("gid", [processes.NOBODY, FOREIGN_GROUP])
def test_access_list_opens_no_file_to_another_group(gid: int) -> None:
    name, nobody = "system.posix_acl_access", 2**32 - 1
    content = access_list((1, 6, nobody), (2, 6, 4321), (4, 4, nobody), (16, 6, nobody), (32, 0, nobody))
    with old_and_new(gid, 0o600) as (old, new):
        try:
            os.setxattr(old, name, content)
        except (OSError, AttributeError):
            pytest.skip("this filesystem has no access lists")
        with limits.unprivileged():
            owners.copy_attributes(old, new)
        assert (name in os.listxattr(new), mode_of(new)) == ((False, 0o600) if gid == FOREIGN_GROUP else (True, 0o660))


# --- space ---------------------------------------------------------------------------------------------------------


def test_size_of_a_missing_file_is_zero(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert (files.size_of(tmp_path / "a"), files.size_of(tmp_path / "b")) == (3, 0)


def test_size_of_what_a_link_leads_to_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert files.size_of(tmp_path / "b") == 0


def test_too_little_space_is_said_before_the_first_byte(tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError, match=f".* bytes are needed in {re.escape(str(tmp_path))}, .* are free"):
        files.require_space(tmp_path, 1 << 62)


def test_enough_space_is_no_error(tmp_path: Path) -> None:
    files.require_space(tmp_path, 1)


def test_directory_that_is_not_there_yet_counts_as_its_parent(tmp_path: Path) -> None:
    files.require_space(tmp_path / "a" / "b", 1)
    with pytest.raises(NoSpaceError, match=f"needed in {re.escape(str(tmp_path))},"):
        files.require_space(tmp_path / "a" / "b", 1 << 62)


@pytest.mark.parametrize(("needed_bytes", "enough"), [(9 << 20, True), ((9 << 20) + 1, False)])
def test_some_space_stays_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed_bytes: int, *, enough: bool
) -> None:
    """A backup that fills the disk to the last byte takes it from the application."""
    usage = shutil.disk_usage(tmp_path)._replace(free=10 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    if enough:
        files.require_space(tmp_path, needed_bytes)
    else:
        with pytest.raises(NoSpaceError):
            files.require_space(tmp_path, needed_bytes)


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KIB, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (MIB - 1, "1024.0 KiB"),
        (MIB, "1.0 MiB"),
        (5 * GIB // 2, "2.5 GiB"),
        (3 * 1024 * GIB, "3.0 TiB"),
        (5000 * 1024 * GIB, "5000.0 TiB"),
    ],
)
def test_size_as_people_read_it(size_bytes: int, text: str) -> None:
    assert files.readable(size_bytes) == text


@pytest.fixture
def junction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that stands for a junction to another one: Wine makes none, and other systems have none."""
    path = tmp_path / "ours" / "junction"
    path.mkdir(parents=True)
    (path / "precious").write_bytes(b"x" * 1000)
    (path.parent / "own").write_bytes(b"x")
    # Windows tells no number of it while it lists.
    os.utime(path, (1, 1))
    known = windows.is_surrogate
    monkeypatch.setattr(windows, "is_surrogate", lambda status: status.st_mtime == 1 or known(status))
    return path


def test_no_walk_goes_through_a_junction(junction: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(files, "sync_file", flushed.append)
    assert files.tree_bytes(junction.parent) == 1
    assert files.tree_bytes(junction) == 0
    assert not places.is_directory(junction)
    if sys.platform == "win32":
        assert places.regular_files(junction.parent) == [junction.parent / "own"]
    files.publish_directory(junction.parent, junction.parent.with_name("published"))
    assert flushed == [junction.parent / "own"]


def test_junction_is_no_working_directory(junction: Path) -> None:
    with pytest.raises(RefusedError, match="is there already"):
        files.own_directory(junction)


@processes.needs_root
@pytest.mark.root
def test_stranger_is_not_looked_for_behind_a_junction(junction: Path) -> None:
    os.chown(junction / "precious", processes.NOBODY, processes.NOBODY)
    assert owners.first_stranger(junction.parent) is None
