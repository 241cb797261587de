# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that names a super-journal: SQLite would remove whatever file has that name."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import journal
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore
from support import databases

MAGIC = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
PAGE_BYTES = 512
# The page with the lock bytes, which no journal has: https://www.sqlite.org/fileformat2.html#the_rollback_journal
NO_PAGE = 0x40000000 // PAGE_BYTES + 1


def tie(journal: Path, to: Path) -> None:
    """Let a journal name a super-journal, as SQLite ends one in a transaction over several databases."""
    name = str(to).encode()
    record = struct.pack(">I", NO_PAGE) + name + struct.pack(">II", len(name), sum(name)) + MAGIC
    journal.write_bytes(journal.read_bytes() + record)


def hot(directory: Path, name: str = "agent.db") -> tuple[Path, Path]:
    """A database with a hot journal, and that journal."""
    path = databases.crashed_journal(directory / name)
    return path, path.with_name(f"{name}-journal")


def as_sqlite_sees(path: Path, to: Path) -> list[str]:
    """What an application would find, by the files of a database and its super-journal ``to``."""
    shutil.copy(to, to.with_name("kept")) if to.exists() else None
    databases.copy_live(path, path.with_name("looked at.db"))
    found = databases.names(path.with_name("looked at.db"))
    shutil.move(to.with_name("kept"), to) if to.with_name("kept").exists() else None
    return found


@pytest.mark.parametrize("undone", [False, True])
def test_file_that_a_journal_names_stays(tmp_path: Path, undone: bool) -> None:
    path, journal = hot(tmp_path)
    victim = tmp_path / "victim"
    victim.write_text("of somebody else")
    good = databases.make(tmp_path / "good.db")
    backup.run(backup.Request(good, tmp_path / "repository", compression="none"))
    tie(journal, victim)
    request = restore.Request(tmp_path / "repository", dest=path, force_identity=True)
    restore.run(request)
    if undone:
        restore.undo(request)
    assert victim.read_text() == "of somebody else"


@pytest.mark.parametrize("exists", [False, True])
def test_what_is_brought_back_is_what_an_application_would_have_found(tmp_path: Path, exists: bool) -> None:
    """A transaction whose super-journal is gone was committed; one whose super-journal is there was not."""
    path, journal = hot(tmp_path)
    to = tmp_path / "agent.db-mj01"
    tie(journal, to)
    if exists:
        to.write_bytes(str(journal).encode() + b"\0")
    try:
        expected = as_sqlite_sees(path, to)
    except AssertionError:
        assert not exists
        expected = []
    good = databases.make(tmp_path / "good.db")
    backup.run(backup.Request(good, tmp_path / "repository", compression="none"))
    request = restore.Request(tmp_path / "repository", dest=path, force_identity=True)
    restore.run(request)
    restore.undo(request)
    assert to.exists() == exists
    if expected:
        assert databases.names(path) == expected


def test_ordinary_journal_is_left_as_it_is(tmp_path: Path) -> None:
    path, _journal = hot(tmp_path)
    good = databases.make(tmp_path / "good.db")
    backup.run(backup.Request(good, tmp_path / "repository", compression="none"))
    request = restore.Request(tmp_path / "repository", dest=path, force_identity=True)
    restore.run(request)
    restore.undo(request)
    assert databases.names(path) == [f"name {number}" for number in range(500)]


def plain(tmp_path: Path, content: bytes, name: Path | None = None) -> bytes:
    """What becomes of a journal with this content, that names a super-journal or none."""
    copy = tmp_path / "copy-journal"
    copy.write_bytes(content)
    if name is not None:
        tie(copy, name)
    journal.make_plain(copy, copy)
    return copy.read_bytes()


@pytest.mark.parametrize("content", [b"", b"pages" * 100])
def test_name_alone_is_cut_off_while_its_super_journal_is_there(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mj").touch()
    assert plain(tmp_path, content, tmp_path / "mj") == content


def test_journal_whose_super_journal_is_gone_or_a_directory_is_of_no_use(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for name in (tmp_path / "gone", tmp_path / "directory", tmp_path / "no" / "such"):
        assert plain(tmp_path, b"pages", name) == b""


@pytest.mark.parametrize(
    "content",
    [
        *(b"x" * size for size in (0, 1, 15, 16, 19, 20, 21, 500)),
        *(bytes(size) + struct.pack(">II", 1, 0) + MAGIC for size in (0, 3, 4)),
        bytes(9) + struct.pack(">II", 0, 0) + MAGIC,
        bytes(9) + struct.pack(">II", 6, 0) + MAGIC,
        bytes(5000) + struct.pack(">II", 4097, 0) + MAGIC,
        bytes(9) + struct.pack(">II", 2, 0) + MAGIC[:-1] + b"x",
    ],
    ids=len,
)
def test_journal_that_names_none_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    """Whatever its length, and whatever it ends with: a record that has no room in it is none."""
    assert plain(tmp_path, content) == content
