# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a killed restore left beside a database, and undo sets: put in order, and nothing of others is touched."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import switch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError
from support import databases, jobs
from support.restores import UNDOABLE, Restores


def settle(restores: Restores) -> None:
    switch.settle(restores.dest, timeout_seconds=0)


def leave(restores: Restores, *, linked: bool) -> Path:
    """What a restore left that was killed when it had saved the old database, whose main file is linked, or copied."""
    saved = restores.workplace / "undo"
    saved.mkdir(parents=True, mode=0o700)
    for each in restores.dest.parent.glob("agent.db*"):
        if linked and each == restores.dest:
            os.link(each, saved / each.name)
        else:
            shutil.copy(each, saved / each.name)
    return saved


# --- the workplace ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("work", ["restore", "undo"])
def test_workplace_that_holds_what_no_restore_makes_is_left_alone(restores: Restores, work: str) -> None:
    was = restores.put("a closed database")
    if work == "undo":
        restores.restore()
        was = jobs.NEW
    restores.workplace.mkdir(mode=0o700)
    (restores.workplace / "thesis").write_bytes(b"precious")
    with pytest.raises(RefusedError, match="holds 'thesis', which no restore makes"):
        getattr(restores, work)()
    assert (restores.workplace / "thesis").read_bytes() == b"precious"
    assert restores.content() == was


@pytest.mark.parametrize("step", ["removes it", "makes it anew"])
def test_workplace_that_another_run_takes_before_it_is_locked_is_locked_anew(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Else two runs would have a lock each, on two files."""
    real = locks.held
    calls = []

    @contextlib.contextmanager
    def held(path: Path, **options: Any) -> Iterator[int]:
        calls.append(path)
        if len(calls) == 1 and step == "removes it":
            path.parent.rmdir()
        with real(path, **options) as descriptor:
            if len(calls) == 1:
                path.unlink()
                path.touch(mode=0o600)
            yield descriptor

    monkeypatch.setattr(locks, "held", held)
    with switch.workplace(restores.dest, timeout_seconds=0, warnings=[]) as directory:
        assert locks.is_held(directory / "lock")
    assert len(calls) == 2


def test_restore_that_changes_nothing_clears_what_a_killed_one_left(restores: Restores) -> None:
    restores.restore()
    restores.workplace.mkdir(mode=0o700)
    (restores.workplace / "restored").write_bytes(b"half of it")
    (restores.workplace / "saving").mkdir()
    assert not restores.restore().changed
    assert restores.content() == jobs.NEW
    assert not restores.workplace.exists()


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("old", UNDOABLE)
def test_saved_files_that_are_live_are_no_undo_set(restores: Restores, old: str, *, linked: bool) -> None:
    """An undo to it would change nothing, and hide an older set that is worth something."""
    restores.put(old)
    before = databases.tree(restores.dest.parent)
    leave(restores, linked=linked)
    settle(restores)
    assert databases.tree(restores.dest.parent) == before
    assert not restores.workplace.exists()


def test_saved_log_that_is_live_beside_a_database_that_was_deleted_is_no_undo_set(restores: Restores) -> None:
    restores.put("a log")
    restores.dest.unlink()
    before = databases.tree(restores.dest.parent)
    leave(restores, linked=False)
    settle(restores)
    assert databases.tree(restores.dest.parent) == before
    assert not restores.workplace.exists()


def test_index_of_a_log_is_nothing_to_miss(restores: Restores) -> None:
    """Whoever opens the database makes it anew, and whoever closes it last removes it."""
    restores.put("a closed database")
    saved = leave(restores, linked=True)
    (saved / "agent.db-shm").write_bytes(b"\0" * 32768)
    settle(restores)
    assert restores.undo_sets() == []


@pytest.mark.parametrize("missing", ["", "-wal"])
def test_saved_files_that_are_not_live_any_more_become_an_undo_set(restores: Restores, missing: str) -> None:
    was = restores.put("a log")
    saved = leave(restores, linked=True)
    before = databases.tree(saved)
    restores.beside(missing).unlink()
    settle(restores)
    assert [databases.tree(each) for each in restores.undo_sets()] == [before]
    restores.undo()
    assert restores.content() == was


def test_link_that_is_broken_keeps_the_mode_and_takes_the_place_of_a_copy_that_was_cut_short(
    restores: Restores,
) -> None:
    restores.put("a log")
    restores.dest.chmod(0o640)
    saved = leave(restores, linked=True)
    (saved / "agent.db.copy").write_bytes(b"half of it")
    before = restores.dest.read_bytes()
    restores.beside("-wal").unlink()
    settle(restores)
    (undo_set,) = restores.undo_sets()
    assert sorted(databases.tree(undo_set)) == ["agent.db", "agent.db-wal"]
    status = (undo_set / "agent.db").stat()
    assert (status.st_mode & 0o7777, status.st_nlink) == (0o640, 1)
    assert (undo_set / "agent.db").read_bytes() == before


# --- undo sets -------------------------------------------------------------------------------------------------------


def test_undo_takes_the_newest_set(restores: Restores) -> None:
    restores.put("a log")
    restores.restore()
    databases.add(restores.dest, "since")
    restores.restore()
    assert len(restores.undo_sets()) == 2
    restores.undo()
    assert restores.content() == [*jobs.NEW, "since"]


def test_file_with_the_name_of_an_undo_set_is_none(restores: Restores) -> None:
    was = restores.put("a log")
    restores.restore()
    stranger = restores.dest.with_name("agent.db.before-restore.99991231T235959Z")
    stranger.write_bytes(b"precious")
    restores.undo()
    assert restores.content() == was
    assert stranger.read_bytes() == b"precious"


def test_undo_set_without_a_database_is_refused_and_kept(restores: Restores) -> None:
    """The database was deleted, and only its log was there: to undo would be to delete what was restored."""
    restores.put("a log")
    restores.dest.unlink()
    restores.restore()
    (undo_set,) = restores.undo_sets()
    kept = databases.tree(undo_set)
    assert list(kept) == ["agent.db-wal"]
    with pytest.raises(RefusedError, match="holds only \\['agent.db-wal'\\]"):
        restores.undo()
    assert restores.content() == jobs.NEW
    assert databases.tree(undo_set) == kept


def test_undo_set_that_cannot_be_removed_is_a_warning(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is back, and that must not be denied."""
    was = restores.put("a log")
    restores.restore()
    (undo_set,) = restores.undo_sets()
    real = switch.files.remove_tree

    def remove(path: Path) -> None:
        if path == undo_set:
            raise RefusedError("it is nested too deeply.")
        real(path)

    monkeypatch.setattr(switch.files, "remove_tree", remove)
    outcome = restores.undo()
    assert restores.content() == was
    assert len(outcome.warnings) == 1
    assert f"{undo_set} is of no use any more, and could not be removed" in outcome.warnings[0]


def test_stale_index_of_a_log_is_beside_neither_content(restores: Restores) -> None:
    """It tells where pages are in a log that is gone."""
    was = restores.put("a log")
    restores.beside("-shm").write_bytes(b"\xff" * 32768)
    restores.restore()
    assert not restores.beside("-shm").exists()
    assert restores.content() == jobs.NEW
    restores.beside("-shm").write_bytes(b"\xff" * 32768)
    restores.undo()
    assert not restores.beside("-shm").exists()
    assert restores.content() == was
