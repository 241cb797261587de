# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A journal that names a super-journal: SQLite would remove whatever file has that name."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

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
    assert len(databases.names(path)) == 500
