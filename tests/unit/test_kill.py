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
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import (
    backup,
    base,
    pages,
    prune,
    restore,
    verify,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.encryption import NO_KEYS, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.retention import Policy
from support import databases, keys, killing, words
from support.sites import Site

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


def _site(directory: Path) -> Site:
    """The site that is in ``directory``."""
    return Site(directory, existing=True)


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


def _stages(site: Site, listed: int) -> set[str]:
    """How far a backup came that was killed: what of it is on the disk, ``listed`` backups being there before."""
    found = set()
    for staging in site.repository.glob(".staging-*"):
        found.add("begun")
        found.update(path.name.partition(".")[0] for path in staging.glob("backup/*"))
        found.update("index" for _path in staging.glob("index"))
    ids = [path.name for path in site.repository.glob("*Z-*")]
    indexes = {path.name for path in site.repository.glob(".index/*")}
    found.update(["index in place"] if indexes - set(ids) else [])
    found.update(["published"] if len(ids) > listed else [])
    found.update(["old index"] if len(ids) > listed and len(indexes) > 1 else [])
    return found


def _assert_indexes_are_right(site: Site, good: Keys) -> None:
    """Whichever index would be used is of the backup whose name it has."""
    for each in site.open().backups():
        document = each.trusted()
        with pages.open_index(site.repository / ".index" / each.id, document.image.page_count) as index:
            if index is not None and index.facts["image_sha256"] == document.image.sha256:
                image = site.restored(each.id, good)
                assert index.read(document.image.page_count) == pages.digests(image, document.image.page_size)


def _assert_next_backup_is_right(site: Site, good: Keys, **options: Any) -> None:
    """The next run cleans up, and what it stores restores exactly."""
    site.change([7])
    site.stored(**options)
    assert site.restored(keys=good) == site.settled()
    assert not list(site.repository.glob(".staging*"))
    assert [path.name for path in site.repository.glob(".index/*")] == site.ids()[-1:]


@pytest.mark.usefixtures("nothing_is_small")
def test_killed_incremental_leaves_a_whole_chain(tmp_path: Path) -> None:
    reached = set()

    def prepare(directory: Path) -> None:
        site = Site(directory)
        site.stored()
        site.change([1])
        site.stored()
        site.change([2, 3])

    for directory in _each_kill(tmp_path, prepare, lambda path: _site(path).stored()):
        site = _site(directory)
        reached |= _stages(site, 2)
        assert len(_assert_repository_is_whole(site.repository)) in (2, 3)
        _assert_indexes_are_right(site, NO_KEYS)
        _assert_next_backup_is_right(site, NO_KEYS)
        assert site.verified("full") == ("passed", 0)
        assert site.ids()[-1].endswith("-incremental")
    assert reached == {"begun", "database", "index", "schema", "manifest", "index in place", "published", "old index"}


@keys.needs_age
@pytest.mark.usefixtures("nothing_is_small")
@pytest.mark.parametrize(
    ("journal_mode", "compression", "first"),
    [
        ("delete", "gzip", True),
        pytest.param("wal", "zstd", False, marks=keys.needs_zstd),
    ],
)
def test_killed_encrypted_backup_leaves_nothing_in_plain(
    tmp_path: Path, journal_mode: str, compression: str, first: bool
) -> None:
    """Not even in the staging directory, where what was killed stays until the next run."""
    encryption, good = keys.scheme("age")
    reached = set()

    def options(site: Site) -> dict[str, Any]:
        return {"encryption": encryption, "compression": compression, "include": words.include(site.database)}

    def prepare(directory: Path) -> None:
        site = Site(directory, journal_mode=journal_mode)
        words.put_into(site.database)
        if not first:
            site.stored(**options(site))
            site.change(40)

    def work(directory: Path) -> None:
        site = _site(directory)
        assert site.stored(**options(site)).type == "full"

    for directory in _each_kill(tmp_path, prepare, work):
        site = _site(directory)
        assert words.readable(site.repository) == []
        if (site.repository / "repository.json").exists():
            reached |= _stages(site, 0 if first else 1)
            assert site.ids() == [] or site.verified("full", good) == ("passed", 0)
            _assert_indexes_are_right(site, good)
        _assert_next_backup_is_right(site, good, **options(site))
        assert words.readable(site.repository) == []
    expected = {"begun", "database", "index", "schema", "proof", "files", "manifest", "index in place", "published"}
    assert reached == expected | (set() if first else {"old index"})


@pytest.mark.usefixtures("nothing_is_small")
def test_killed_full_backup_that_replaces_a_damaged_chain(tmp_path: Path) -> None:
    """The damaged link stays damaged, what was good stays good, and the next run stores a full backup again."""

    def prepare(directory: Path) -> None:
        site = Site(directory)
        site.stored()
        site.change([1])
        damaged = site.repository / site.stored().id / "database.pages.gz"
        databases.flip_bit(damaged, damaged.stat().st_size // 2)
        site.change([2])

    for directory in _each_kill(tmp_path, prepare, lambda path: _site(path).stored()):
        site = _site(directory)
        first, damaged, *others = site.ids()
        for wanted, code in ((first, 0), (damaged, 13), *((each, 0) for each in others)):
            result = verify.verify_backups(site.open(), wanted, verify.Expectations("full"), dry_run=True)
            assert (result.error.code if result.error else 0) == code
        _assert_next_backup_is_right(site, NO_KEYS)
        kinds = [each.manifest.type for each in site.open().backups() if each.manifest]
        assert kinds == ["full", "incremental", "full", *(["incremental"] if others else [])]


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


def _prune(directory: Path) -> prune.Outcome:
    return prune.run(prune.Request(directory / "repository", Policy(1, 0, 0, 0, 0, 0)))


def _prepare_prune(directory: Path) -> None:
    """A full backup, another one with two incrementals on it, and one to keep; the lock of each was used once."""
    databases.make(directory / "agent.db", rows=2000, page_size=512)
    for kind in ("full", "full", "incremental", "incremental", "full"):
        databases.add(directory / "agent.db", kind)
        stored = _back_up(directory, type=kind).backup
        assert stored is not None
        assert stored.trusted().type == kind
    repository = Repository.open_existing(directory / "repository", action="Test")
    for each in repository.backups():
        with repository.reading(each, action="Test", timeout_seconds=1):
            pass


def _assert_prune_can_be_repeated(directory: Path) -> int:
    """What is listed after the kill can be restored, chains too; the next run finishes. How many there were."""
    repository = directory / "repository"
    listed = _assert_repository_is_whole(repository)
    _prune(directory)
    assert _assert_repository_is_whole(repository) == listed[-1:]
    assert not list(repository.glob(".staging*"))
    assert {each.name for each in (repository / ".locks").iterdir()} <= {"checks", listed[-1]}
    return len(listed)


def test_killed_prune_leaves_whole_backups_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "SMALL_BYTES", 0)
    left = {_assert_prune_can_be_repeated(directory) for directory in _each_kill(tmp_path, _prepare_prune, _prune)}
    assert left == {1, 2, 3, 4, 5}


def test_prune_killed_between_two_files_of_a_backup_leaves_whole_backups_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside the one line that removes a directory, too."""
    monkeypatch.setattr(base, "SMALL_BYTES", 0)
    template, trial = tmp_path / "template", tmp_path / "trial"
    template.mkdir()
    _prepare_prune(template)
    killed = 0
    while True:
        shutil.copytree(template, trial)
        if not killing.run_killed_after(os.unlink, killed + 1, lambda: _prune(trial)):
            break
        killed += 1
        _assert_prune_can_be_repeated(trial)
        shutil.rmtree(trial)
    # Of each of the four: the manifest, the content, the schema, and the lock.
    assert killed >= 16
