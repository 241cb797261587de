# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The repository: what it lists, in which order, and what it never hides."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import backup, locks, manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    RepositoryLockedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import Repository
from support import databases


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with three backups."""
    source = databases.make(tmp_path / "agent.db")
    for _round in range(3):
        backup.run(backup.Request(path=source, repository=tmp_path / "repository", compression="none", force=True))
    return Repository.open_existing(tmp_path / "repository", action="Test")


def _reopened(repository: Repository) -> Repository:
    return Repository.open_existing(repository.path, action="Test")


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
    found = repository.find("latest", action="Test")
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
        repository.find("latest", action="Test").trusted()


def test_damaged_description_says_what_to_do(repository: Repository) -> None:
    (repository.path / "repository.json").write_text("{")
    with pytest.raises(BackupDamagedError, match=r"repository\.json"):
        _reopened(repository)


def test_missing_repository_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(BackupNotFoundError, match="no repository"):
        Repository.open_existing(tmp_path / "missing", action="Test")


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
    with repository.reading(newest, action="Test", timeout_seconds=1):
        with repository.reading(newest, action="Test", timeout_seconds=1):
            pass
        with pytest.raises(RepositoryLockedError), locks.held(lock, timeout_seconds=0, action="Test"):
            pytest.fail("a remover got the lock of a reader")
    with locks.held(lock, timeout_seconds=0, action="Test"):
        pass


def test_line_of_the_audit_log_that_a_crash_cut_short_harms_no_other(repository: Repository) -> None:
    with open(repository.path / "history.jsonl", "ab") as log:
        log.write(b'{"event": "torn')
    repository.record("after", outcome="passed")
    assert [event["event"] for event in repository.history()][-2:] == ["backup", "after"]


def test_staging_that_throws_leaves_nothing(repository: Repository) -> None:
    with pytest.raises(ValueError, match="on purpose"), repository.staging("test") as directory:
        (directory / "half").write_text("half")
        raise ValueError("on purpose")
    assert not list(repository.path.glob(".staging*"))


@pytest.mark.slow
def test_ten_thousand_backups_are_listed(repository: Repository) -> None:
    """The time is the benchmark's to judge; here it only must not explode, and the order must hold."""
    template = repository.backups()[-1].trusted()
    for number in range(10_000):
        identity = f"2020{number // 86400 + 101:04}T{number // 3600:02}{number // 60 % 60:02}{number % 60:02}Z-full"
        directory = repository.path / identity
        directory.mkdir()
        document = dataclasses.replace(template, id=identity, sequence=100_000 - number)
        (directory / "manifest.json").write_bytes(manifest.to_bytes(document))
    begin = time.monotonic()
    listed = repository.backups()
    assert time.monotonic() - begin < 30
    assert len(listed) == 10_003
    sequences = [each.trusted().sequence for each in listed]
    assert sequences == sorted(sequences)
