# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A log is folded into a copy before it goes: a disk that fails is not a verdict, and what cannot be folded is kept."""

from __future__ import annotations

import contextlib
import functools
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, switch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    NoSpaceError,
    StorageFailedError,
)
from support import databases, jobs, limits
from support.restores import Restores

FAILURES = [("disk I/O error", StorageFailedError), ("database or disk is full", NoSpaceError)]


@contextlib.contextmanager
def folding_says(text: str) -> Iterator[None]:
    """SQLite says this whenever it opens a copy to fold a log into it."""
    real = database.connect

    def connect(path: Path, **options: Any) -> database.Connection:
        if options.get("mode") == "rw":
            raise sqlite3.OperationalError(text)
        return real(path, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(database, "connect", connect)
        yield


def with_finished_journal(path: Path) -> None:
    """A database of an application that leaves its journals there, without their header."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=PERSIST")
        connection.execute("CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        connection.execute("INSERT INTO item(name) VALUES ('first')")
        connection.execute("UPDATE item SET name = 'second'")
    assert database.sidecar(path, "-journal").stat().st_size


@pytest.mark.parametrize("old", ["a log", "a journal"])
@pytest.mark.parametrize(("text", "expected"), FAILURES)
def test_disk_that_fails_while_a_log_is_folded_changes_nothing(
    restores: Restores, old: str, text: str, expected: type[EngineError]
) -> None:
    """It says nothing of the database: to go on without the log would lose what is in it."""
    was = restores.put(old)
    before = databases.tree(restores.dest.parent)
    with folding_says(text), pytest.raises(expected, match="Cannot fold the log"):
        restores.restore()
    assert databases.tree(restores.dest.parent) == before
    assert restores.content() == was


@pytest.mark.parametrize(("text", "expected"), FAILURES)
def test_disk_that_fails_while_an_undo_folds_changes_nothing(
    restores: Restores, text: str, expected: type[EngineError]
) -> None:
    was = restores.put("a log")
    restores.restore()
    before = databases.tree(restores.dest.parent)
    with folding_says(text), pytest.raises(expected, match="Cannot fold the log"):
        restores.undo()
    assert databases.tree(restores.dest.parent) == before
    restores.undo()
    assert restores.content() == was


@pytest.mark.parametrize("old", ["a log", "a journal"])
def test_log_that_sqlite_cannot_fold_is_in_the_undo_set(restores: Restores, old: str) -> None:
    """Damage is no reason to refuse a restore."""
    restores.put(old)
    before = databases.tree(restores.dest.parent)
    with folding_says("database disk image is malformed"):
        restores.restore()
    assert restores.content() == jobs.NEW
    (undo_set,) = restores.undo_sets()
    assert databases.tree(undo_set) == before
    with folding_says("database disk image is malformed"):
        restores.undo()
    after = databases.tree(restores.dest.parent)
    assert {name: after[name] for name in before} == before


def test_disk_that_is_full_at_the_checkpoint_is_no_verdict(tmp_path: Path) -> None:
    """SQLite checkpoints when it closes a database, too, and says nothing when that fails."""
    path = databases.make(tmp_path / "origin.db", rows=2000)
    with contextlib.closing(databases.open_writer(path)) as connection:
        connection.execute("INSERT INTO item(name) VALUES (hex(zeroblob(5000)))")
        databases.copy_live(path, tmp_path / "agent.db")
    main_bytes = (tmp_path / "agent.db").stat().st_size
    assert (tmp_path / "agent.db-wal").stat().st_size < main_bytes
    with limits.full_disk_after(main_bytes), pytest.raises(StorageFailedError, match="Cannot fold the log"):
        switch._folded(tmp_path / "agent.db", tmp_path / "scratch")


@pytest.mark.parametrize("old", ["a log", "a journal"])
def test_schema_that_this_sqlite_cannot_parse_is_no_reason_not_to_fold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    """A newer one may have written it. Without its log the old content would be another one until the switch."""
    known, newer = b"CREATE TABLE later(a)", b"CREATE TABLE later((("
    monkeypatch.setattr(databases, "make", functools.partial(databases.make, setup=known.decode()))
    jobs.OLD[old](tmp_path / "agent.db")
    for each in tmp_path.iterdir():
        each.write_bytes(each.read_bytes().replace(known, newer))
    folded = switch._folded(tmp_path / "agent.db", tmp_path / "scratch")
    assert folded is not None
    assert list((tmp_path / "scratch").iterdir()) == [folded]
    with contextlib.closing(sqlite3.connect(folded)) as connection:
        with pytest.raises(sqlite3.DatabaseError, match="malformed database schema"):
            connection.execute("SELECT name FROM item")
        connection.execute("PRAGMA writable_schema=ON")
        found = [name for (name,) in connection.execute("SELECT name FROM item ORDER BY id")]
    assert found == jobs.expected(old)


def test_copy_that_still_has_a_sidecar_is_not_folded(tmp_path: Path) -> None:
    path = tmp_path / "agent.db"
    with_finished_journal(path)
    assert switch._folded(path, tmp_path / "scratch") is None


def test_finished_journal_comes_back_with_its_database(restores: Restores) -> None:
    with_finished_journal(restores.dest)
    before = databases.tree(restores.dest.parent)
    restores.restore()
    assert restores.content() == jobs.NEW
    assert not restores.beside("-journal").exists()
    restores.undo()
    after = databases.tree(restores.dest.parent)
    assert {name: after[name] for name in before} == before
    assert restores.content() == ["second"]


def test_index_of_a_log_is_not_made_while_it_is_folded(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk SQLite would say that the disk fails."""
    restores.put("a log")
    seen: list[str] = []
    real = database.connect

    class Connection(database.Connection):
        def execute(self, *arguments: Any) -> Any:
            done = super().execute(*arguments)
            seen.extend(each.name for each in restores.workplace.rglob("*-shm") if each.parent.name == "old")
            return done

    def connect(path: Path, **options: Any) -> database.Connection:
        with monkeypatch.context() as patch:
            patch.setattr(database, "Connection", Connection)
            return real(path, **options)

    monkeypatch.setattr(database, "connect", connect)
    restores.restore()
    assert seen == []
    restores.undo()
