# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL in every state of the disk that a run goes through (case 9): old or new, whole, and cleaned up later."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import backup, restore, verify
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import Repository
from support import databases, killing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork(2) to kill a process at a chosen line"),
]

OLD = ["name 0", "name 1", "name 2"]


def _back_up(directory: Path, **options: object) -> backup.Outcome:
    request = {"path": directory / "agent.db", "repository": directory / "repository", "compression": "gzip", **options}
    return backup.run(backup.Request(**request))  # type: ignore[arg-type]


def _content(database: Path) -> object:
    """What an application would find: the names, the raw bytes of no database, or that the file is missing."""
    if not database.exists():
        return "missing"
    scratch = database.parent / "looked at"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    databases.copy_live(database, scratch / "copy.db")
    try:
        return databases.names(scratch / "copy.db")
    except sqlite3.DatabaseError:
        return database.read_bytes()
    finally:
        shutil.rmtree(scratch)


def _assert_repository_is_whole(path: Path) -> list[str]:
    """Every listed backup passes a full verification, and everything is private."""
    if not Repository.exists(path):
        return []
    repository = Repository.open_existing(path, action="Test")
    listed = [each.id for each in repository.backups()]
    if listed:
        result = verify.verify_backups(repository, "all", verify.Expectations("full"), dry_run=True)
        assert result.error is None
    for each in path.rglob("*"):
        assert each.stat().st_mode & 0o077 == 0, each
    return listed


def _each_kill(tmp_path: Path, prepare: Callable[[Path], object], work: Callable[[Path], object]) -> Iterator[Path]:
    """A directory as ``prepare`` made it, after ``work`` was killed there; once for each state."""
    trial, template = tmp_path / "trial", tmp_path / "template"
    trial.mkdir()
    prepare(trial)
    shutil.copytree(trial, template)
    points = killing.kill_points(lambda: work(trial), trial)
    killed = 0
    for point in points:
        shutil.rmtree(trial)
        shutil.copytree(template, trial)
        if killing.run_killed_at(point, lambda: work(trial)):
            killed += 1
            yield trial
    # A state that comes and goes in a thread beside, as a file that grows, may be missed now and then.
    assert killed > max(10, 0.8 * len(points))


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_killed_backup_leaves_whole_backups_only(tmp_path: Path, compression: str) -> None:
    if compression == "zstd" and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")

    def prepare(directory: Path) -> None:
        databases.make(directory / "agent.db")
        _back_up(directory)
        databases.crashed_wal(directory / "agent.db")

    for directory in _each_kill(tmp_path, prepare, lambda path: _back_up(path, compression=compression)):
        source = databases.tree(directory)["agent.db"]
        before = _assert_repository_is_whole(directory / "repository")
        assert len(before) in (1, 2)
        after = _back_up(directory)
        assert after.backup is not None
        assert _assert_repository_is_whole(directory / "repository") == [before[0], after.backup.id]
        assert not list((directory / "repository").glob(".staging*"))
        assert databases.tree(directory)["agent.db"] == source


def test_killed_first_backup_can_be_repeated(tmp_path: Path) -> None:
    for directory in _each_kill(tmp_path, lambda path: databases.make(path / "agent.db"), _back_up):
        assert len(_assert_repository_is_whole(directory / "repository")) <= 1
        _back_up(directory)
        assert len(_assert_repository_is_whole(directory / "repository")) == 1


def _old_clean(path: Path) -> None:
    databases.make(path)


def _old_in_wal(path: Path) -> None:
    databases.crashed_wal(path)


def _old_with_journal(path: Path) -> None:
    databases.crashed_journal(path)


def _old_garbage(path: Path) -> None:
    databases.crashed_wal(path)
    path.write_bytes(b"garbage" * 1000)


def _old_missing(path: Path) -> None:
    """Nothing is there."""


OLD_DATABASES = [_old_clean, _old_in_wal, _old_with_journal, _old_garbage, _old_missing]


def _restore(directory: Path, **options: object) -> restore.Outcome:
    request = {"repository": directory / "repository", "dest": directory / "agent.db", **options}
    return restore.run(restore.Request(**request))  # type: ignore[arg-type]


def _undo(directory: Path) -> restore.Outcome:
    return restore.undo(restore.Request(repository=None, dest=directory / "agent.db"))


def _prepare_restore(directory: Path, old: Callable[[Path], None]) -> None:
    """A repository whose newest backup has the name "new", and ``old`` where it will be restored."""
    databases.make(directory / "agent.db", rows=0)
    databases.add(directory / "agent.db", "new")
    _back_up(directory)
    (directory / "agent.db").unlink()
    old(directory / "agent.db")


@pytest.mark.parametrize("old", OLD_DATABASES, ids=lambda old: old.__name__.lstrip("_"))
def test_killed_restore_leaves_old_or_new_content(tmp_path: Path, old: Callable[[Path], None]) -> None:
    was: list[object] = []

    def prepare(directory: Path) -> None:
        _prepare_restore(directory, old)
        was.append(_content(directory / "agent.db"))

    for directory in _each_kill(tmp_path, prepare, _restore):
        assert _content(directory / "agent.db") in (was[0], ["new"])
        _restore(directory)
        assert _content(directory / "agent.db") == ["new"]
        assert not (directory / ".agent.db.restoring").exists()
        assert databases.tree(directory)["repository/repository.json"]
        if was[0] != "missing":
            _undo(directory)
            assert _content(directory / "agent.db") == was[0]


@pytest.mark.parametrize("old", OLD_DATABASES[:4], ids=lambda old: old.__name__.lstrip("_"))
def test_killed_undo_leaves_old_or_new_content(tmp_path: Path, old: Callable[[Path], None]) -> None:
    was: list[object] = []

    def prepare(directory: Path) -> None:
        _prepare_restore(directory, old)
        was.append(_content(directory / "agent.db"))
        _restore(directory)

    for directory in _each_kill(tmp_path, prepare, _undo):
        now = _content(directory / "agent.db")
        assert now in (was[0], ["new"])
        # Whatever is live, the other content is one undo away.
        _undo(directory)
        assert _content(directory / "agent.db") == (["new"] if now == was[0] else was[0])


def test_backup_after_a_killed_restore_is_not_refused(tmp_path: Path) -> None:
    """A killed restore may leave a second hard link to the live database in its workplace."""
    refused = []
    for directory in _each_kill(tmp_path, lambda path: _prepare_restore(path, _old_clean), _restore):
        shutil.rmtree(directory / "repository")
        with contextlib.suppress(FileNotFoundError):
            _back_up(directory)
        if not (directory / "repository").exists():
            refused.append(directory.name)
    assert refused == []
