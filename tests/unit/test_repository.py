# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository: what it lists, in which order, and what it never hides."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import time
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import description, manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files, held, locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    RepositoryLockedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import databases, processes


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with three backups."""
    source = databases.make(tmp_path / "agent.db")
    for _round in range(3):
        backup.run(backup.Request(path=source, repository=tmp_path / "repository", compression="none", force=True))
    return Repository.open_existing(tmp_path / "repository")


def _reopened(repository: Repository) -> Repository:
    return Repository.open_existing(repository.path)


def test_directory_without_a_manifest_is_not_a_backup(repository: Repository) -> None:
    (repository.path / "20300101T000000Z-full").mkdir()
    (repository.path / "20300101T000000Z-full" / "database.sqlite").write_bytes(b"half")
    (repository.path / "notes").mkdir()
    assert len(repository.backups()) == 3


@pytest.mark.parametrize("damage", ["flipped", "empty", "renamed"])
def test_damaged_manifest_is_listed_and_never_hidden(repository: Repository, damage: str) -> None:
    """A restore of "latest" must not quietly take an older one."""
    newest = repository.backups()[-1]
    path = newest.path / "manifest.json"
    if damage == "flipped":
        databases.flip_bit(path, path.read_bytes().index(b'"sequence"') + 12)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        newest.path.rename(newest.path.with_name("20300101T000000Z-full"))
    found = repository.find("latest")
    assert found.manifest is None
    assert not found.verified
    with pytest.raises(BackupDamagedError):
        found.trusted()
    assert len(repository.backups()) == 3


def test_backup_of_a_newer_format_is_a_usage_error_not_damage(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = repository.backups()[-1]
    with monkeypatch.context() as patch:
        patch.setattr(manifest, "FORMAT", 99)
        newer = manifest.to_bytes(newest.trusted())
    (newest.path / "manifest.json").write_bytes(newer)
    with pytest.raises(UsageError, match="Update the collection"):
        repository.find("latest").trusted()


def test_damaged_description_says_what_to_do(repository: Repository) -> None:
    for each in repository.backups():
        (each.path / "manifest.json").write_text("{")
    (repository.path / "repository.json").write_text("{")
    with pytest.raises(BackupDamagedError, match=r"repository\.json"):
        _reopened(repository)


def test_missing_repository_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BackupNotFoundError, match="no repository"):
        Repository.open_existing(tmp_path / "missing")


def test_notes_beside_a_manifest_keep_what_others_noted(repository: Repository) -> None:
    newest = repository.backups()[-1]
    repository.note_verification(newest, level="quick", outcome="passed")
    # This run still knows the backup as it was before the first note.
    repository.note_verification(newest, level="full", outcome="failed")
    noted = repository.backups()[-1]
    assert [each["outcome"] for each in noted.verifications] == ["passed", "failed"]
    assert not noted.verified


def test_damaged_notes_count_as_none(repository: Repository) -> None:
    newest = repository.backups()[-1]
    for content in (b"", b"[]", b'{"confirmed": 5}', b'{"confirmed": "x", "verifications": []}', b"\xff"):
        (newest.path / "checks.json").write_bytes(content)
        assert repository.backups()[-1].confirmed == ""
        assert repository.backups()[-1].verified


def test_reader_holds_a_backup_against_its_removal(repository: Repository) -> None:
    newest = repository.backups()[-1]
    lock = repository.path / ".locks" / newest.id
    with repository.reading(newest, timeout_seconds=1):
        with repository.reading(newest, timeout_seconds=1):
            pass
        with pytest.raises(RepositoryLockedError), locks.held(lock, timeout_seconds=0):
            pytest.fail("a remover got the lock of a reader")
    with locks.held(lock, timeout_seconds=0):
        pass


@pytest.mark.parametrize("dry_run", [False, True])
def test_reader_that_comes_after_the_removal_is_told_so(repository: Repository, *, dry_run: bool) -> None:
    """A prune may be faster than the lock; without this the backup would be called damaged."""
    oldest = repository.backups()[0]
    repository.remove(oldest)
    with pytest.raises(BackupNotFoundError, match=f"{oldest.id} was removed meanwhile"):
        with repository.reading(oldest, timeout_seconds=1, dry_run=dry_run):
            pytest.fail("it is gone")


def test_reader_that_waited_for_the_removal_is_told_so(repository: Repository) -> None:
    """It opened the lock before it was removed, and gets it after that."""
    oldest = repository.backups()[0]
    lock = repository.path / ".locks" / oldest.id
    lock.parent.mkdir(exist_ok=True)
    with contextlib.ExitStack() as remover, pytest.MonkeyPatch.context() as patch:
        remover.enter_context(locks.held(lock, timeout_seconds=0))

        def finish(_seconds: float) -> None:
            oldest.path.rename(repository.path / f".staging-removed-{oldest.id}")
            lock.unlink()
            remover.close()

        patch.setattr(time, "sleep", finish)
        with pytest.raises(BackupNotFoundError, match="was removed meanwhile"):
            with repository.reading(oldest, timeout_seconds=60):
                pytest.fail("it is gone")


def test_removed_backup_leaves_nothing(repository: Repository) -> None:
    oldest, *others = repository.backups()
    repository.note_verification(oldest, level="quick", outcome="passed")
    (repository.path / ".index").mkdir(exist_ok=True)
    (repository.path / ".index" / oldest.id).touch()
    with repository.reading(oldest, timeout_seconds=1):
        pass
    repository.remove(oldest)
    assert [each.id for each in repository.backups()] == [each.id for each in others]
    assert not list(repository.path.rglob(f"*{oldest.id}*"))


def test_backup_that_is_read_is_not_removed(repository: Repository) -> None:
    oldest = repository.backups()[0]
    before = databases.tree(oldest.path)
    with repository.reading(oldest, timeout_seconds=1):
        assert repository.in_use() == {oldest.id}
        with pytest.raises(RepositoryLockedError):
            repository.remove(oldest)
    assert databases.tree(oldest.path) == before
    assert repository.in_use() == set()


def test_name_of_a_removed_backup_is_off_the_disk_before_its_files(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure must not bring back a directory that lost some of its files."""
    oldest = repository.backups()[0]
    events: list[str] = []
    fsync, replace, remove_tree = os.fsync, os.replace, files.remove_tree
    root = os.stat(repository.path).st_ino

    def record_fsync(descriptor: int) -> None:
        fsync(descriptor)
        if os.fstat(descriptor).st_ino == root:
            events.append("flush")

    def record_replace(source: Path, dest: Path, **directories: int | None) -> None:
        replace(source, dest, **directories)
        events.append("rename")

    def record_remove(path: Path) -> None:
        events.append("remove")
        remove_tree(path)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    monkeypatch.setattr(files, "remove_tree", record_remove)
    repository.remove(oldest)
    assert events[events.index("rename") :] == ["rename", "flush", "remove"]


def test_what_a_killed_removal_left_is_removed(repository: Repository) -> None:
    oldest, second, third = repository.backups()
    for each in (oldest, second):
        with repository.reading(each, timeout_seconds=1):
            pass
    repository.note_verification(third, level="quick", outcome="passed")
    oldest.path.rename(repository.path / f".staging-removed-{oldest.id}")
    repository.remove_leftovers()
    assert not list(repository.path.rglob(f"*{oldest.id}*"))
    assert sorted(each.name for each in (repository.path / ".locks").iterdir()) == sorted([second.id, "checks"])


def test_verification_of_a_backup_that_is_removed_meanwhile_is_no_failure(repository: Repository) -> None:
    """It is noted after the reading has ended."""
    oldest = repository.backups()[0]
    repository.remove(oldest)
    repository.note_verification(oldest, level="quick", outcome="passed")
    assert len(repository.backups()) == 2


def test_note_that_cannot_be_written_is_a_failure(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    def lose(_path: Path, _data: bytes) -> None:
        raise FileNotFoundError(2, "gone")

    monkeypatch.setattr(files, "replace_private", lose)
    with pytest.raises(EngineError, match="Cannot note the check"):
        repository.note_verification(repository.backups()[0], level="quick", outcome="passed")


def test_line_of_the_audit_log_that_a_crash_cut_short_harms_no_other(repository: Repository) -> None:
    with open(repository.path / "history.jsonl", "ab") as log:
        log.write(b'{"event": "torn')
    repository.record("after", outcome="passed")
    assert [event["event"] for event in repository.history()][-2:] == ["backup", "after"]


def test_repository_that_is_gone_is_an_error(repository: Repository) -> None:
    """Its disk may have been unmounted under the run."""
    repository.path.rename(repository.path.with_name("gone"))
    with pytest.raises(EngineError, match=f"Cannot write to the repository {re.escape(str(repository.path))}"):
        with repository.staging("test", []):
            pytest.fail("there is nothing to stage in")
    with pytest.raises(EngineError, match=f"Cannot list the repository {re.escape(str(repository.path))}"):
        repository.new_id(clock.now(), "full")


def test_backup_that_is_not_there_is_told_with_the_newest(repository: Repository) -> None:
    newest = repository.backups()[-1]
    with pytest.raises(BackupNotFoundError) as caught:
        repository.find("20200101T000000Z-full")
    assert caught.value.hint == f"The newest is {newest.id}."


def test_backup_is_found_among_those_that_were_listed(repository: Repository) -> None:
    """A list that is read again may be another one."""
    first, second, _third = repository.backups()
    assert repository.find("latest", among=[first, second]).id == second.id


def test_description_that_is_in_doubt_is_not_written_for_a_database_that_moved(repository: Repository) -> None:
    """What it should say is only told by the manifests."""
    (repository.path / "repository.json").write_text("{")
    doubted = _reopened(repository)
    assert doubted.doubt
    doubted.settle(doubted.backups()[-1], repository.path.with_name("moved.db"))
    assert (repository.path / "repository.json").read_text() == "{"


def test_staging_that_throws_leaves_nothing(repository: Repository) -> None:
    with pytest.raises(ValueError, match="on purpose"), repository.staging("test", []) as directory:
        (directory / "half").write_text("half")
        raise ValueError("on purpose")
    assert not list(repository.path.glob(".staging*"))


def test_staging_that_stays_is_a_warning(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published from it is published."""

    def fail(*_where: object, **_options: object) -> None:
        raise OSError(errno.EIO, "on purpose")

    warnings: list[str] = []
    with repository.staging("test", warnings) as directory:
        monkeypatch.setattr(held, "remove_tree", fail)
    assert [str(directory) in each for each in warnings] == [True]
    assert repository.remove_leftovers() == warnings
    monkeypatch.undo()
    assert repository.remove_leftovers() == []
    assert not directory.exists()


@pytest.mark.slow
def test_ten_thousand_backups_are_listed(repository: Repository) -> None:
    """In their order; the time is the benchmark's to judge."""
    template = repository.backups()[-1].trusted()
    for number in range(10_000):
        identity = f"2020{number // 86400 + 101:04}T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-full"
        directory = repository.path / identity
        directory.mkdir()
        document = dataclasses.replace(template, id=identity, sequence=100_000 - number)
        (directory / "manifest.json").write_bytes(manifest.to_bytes(document))
    listed = repository.backups()
    assert len(listed) == 10_003
    sequences = [each.trusted().sequence for each in listed]
    assert sequences == sorted(sequences)


def test_repository_that_another_run_makes_meanwhile_is_no_stranger(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 15: two first runs at once, and this one looked just before the other one was done."""
    looks = iter([False])
    exists = Repository.exists
    monkeypatch.setattr(Repository, "exists", lambda path: next(looks, None) is None and exists(path))
    source = Path(repository.source)
    opened = Repository.open_or_create(repository.path, name=repository.name, source=source)
    assert opened.backups() == repository.backups()


_FIRST_RUN = """
import sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
path, source = map(Path, sys.argv[1:])
print("ready", flush=True)
sys.stdin.readline()
print(Repository.open_or_create(path, name="agent", source=source).id)
"""


def test_first_runs_of_many_processes_make_one_repository(tmp_path: Path) -> None:
    """Case 15: with two ids the backups of one run would be foreign to the other."""
    source = databases.make(tmp_path / "agent.db")
    for number in range(3):
        path = tmp_path / f"repository{number}"
        with contextlib.ExitStack() as stack:
            runs = [stack.enter_context(processes.running(_FIRST_RUN, path, source)) for _run in range(4)]
            for each in runs:
                assert each.stdin is not None
                each.stdin.write("\n")
                each.stdin.flush()
            told = {(each.communicate(timeout=60)[0].strip(), each.returncode) for each in runs}
        assert told == {(Repository.open_existing(path).id, 0)}


def test_repository_that_another_process_makes_while_this_one_waits_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = databases.make(tmp_path / "agent.db")
    path = tmp_path / "repository"
    path.mkdir(mode=0o700)
    with contextlib.ExitStack() as other:
        other.enter_context(locks.held(path / ".lock", timeout_seconds=0))

        def finish(_seconds: float) -> None:
            description.write(path, description.new("agent", source))
            other.close()

        monkeypatch.setattr(time, "sleep", finish)
        opened = Repository.open_or_create(path, name="agent", source=source, timeout_seconds=60)
    assert opened.id == Repository.open_existing(path).id
    assert opened.created
