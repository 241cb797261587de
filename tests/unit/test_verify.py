# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verification: damage is always found, doubt is never called good, and nothing is written to what is looked at."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    ProgramMissingError,
    ProofFailedError,
    SourceCorruptError,
    SourceMissingError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, verify
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.verify import Expectations
from support import databases, manifests


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return databases.make(tmp_path / "agent.db", rows=500)


@pytest.fixture
def repository(source: Path) -> Repository:
    path = source.parent / "repository"
    backup.run(backup.Request(path=source, repository=path, compression="gzip"))
    return Repository.open_existing(path)


def _checks(result: verify.Verification) -> dict[str, str]:
    return {each.name: each.outcome for each in result.checks}


def test_quick_and_full_check_a_backup(repository: Repository) -> None:
    quick = verify.verify_backups(repository, "latest", Expectations("quick"))
    assert (quick.outcome, quick.error, _checks(quick)) == ("passed", None, {"artifacts": "passed"})
    full = verify.verify_backups(repository, "latest", Expectations("full"))
    assert set(_checks(full)) == {"artifacts", "image", "rows", "integrity_check", "foreign_key_check"}
    assert full.outcome == "passed"


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("name", ["database.sqlite.gz", "schema.sql", "manifest.json"])
def test_a_flipped_bit_anywhere_is_found(repository: Repository, name: str, level: str) -> None:
    """Case 11."""
    artifact = repository.backups()[-1].path / name
    good = artifact.read_bytes()
    for position in range(0, len(good), max(1, len(good) // 50)):
        databases.flip_bit(artifact, position)
        result = verify.verify_backups(repository, "latest", Expectations(level))
        assert isinstance(result.error, BackupDamagedError)
        assert result.outcome == "failed"
        artifact.write_bytes(good)
    assert verify.verify_backups(repository, "latest", Expectations(level)).error is None


def test_one_damaged_backup_among_all_is_named(repository: Repository, source: Path) -> None:
    databases.add(source, "new")
    backup.run(backup.Request(path=source, repository=repository.path, compression="gzip"))
    first, second = repository.backups()
    databases.flip_bit(first.path / "database.sqlite.gz", 30)
    result = verify.verify_backups(repository, "all", Expectations())
    assert _checks(result) == {f"{first.id}: artifacts": "failed", f"{second.id}: artifacts": "passed"}
    assert first.id in str(result.error)
    assert [each.verified for each in repository.backups()] == [False, True]


@pytest.mark.parametrize("damaged", [False, True])
def test_audit_log_that_cannot_be_written_hides_nothing_of_what_was_found(
    repository: Repository, source: Path, *, damaged: bool
) -> None:
    databases.add(source, "later")
    backup.run(backup.Request(path=source, repository=repository.path, compression="gzip"))
    if damaged:
        databases.flip_bit(repository.backups()[0].path / "schema.sql", 3)
    (repository.path / "history.jsonl").unlink()
    (repository.path / "history.jsonl").mkdir()
    result = verify.verify_backups(repository, "all", Expectations("quick"))
    assert isinstance(result.error, BackupDamagedError if damaged else type(None))
    assert [bool(each.verifications) for each in repository.backups()] == [True, True]
    (warning,) = result.warnings
    assert "history.jsonl" in warning


def test_rows_are_compared_with_the_proof_by_full_only(repository: Repository) -> None:
    """The bytes are those of the manifest; that they hold the rows that were counted is for a full check to say."""
    manifests.reseal(repository.backups()[-1], rows=501)
    assert verify.verify_backups(repository, "latest", Expectations("quick")).outcome == "passed"
    result = verify.verify_backups(repository, "latest", Expectations("full"))
    assert isinstance(result.error, BackupDamagedError)
    assert "table item has 500 rows, the manifest says 501" in result.error.message
    assert repository.backups()[-1].failed == "full"


def test_check_mode_notes_nothing(repository: Repository) -> None:
    before = databases.tree(repository.path)
    verify.verify_backups(repository, "all", Expectations("full"), dry_run=True)
    after = databases.tree(repository.path)
    assert {name for name in after if after[name] != before.get(name)} <= {f".locks/{repository.backups()[0].id}"}


def test_backup_without_checks_counts_as_verified_after_one(source: Path) -> None:
    path = source.parent / "repository"
    outcome = backup.run(backup.Request(path=source, repository=path, check="none"))
    assert outcome.backup is not None
    assert not outcome.backup.verified
    repository = Repository.open_existing(path)
    verify.verify_backups(repository, "latest", Expectations("full"))
    assert repository.backups()[-1].verified


def test_empty_repository_proves_nothing(repository: Repository) -> None:
    import shutil

    shutil.rmtree(repository.backups()[0].path)
    for wanted in ("all", "latest"):
        with pytest.raises(BackupNotFoundError):
            verify.verify_backups(repository, wanted, Expectations())


@pytest.mark.parametrize("level", ["quick", "full"])
def test_live_database_is_verified_where_it_is(source: Path, level: str) -> None:
    databases.crashed_wal(source)
    before = databases.tree(source.parent)
    result = verify.verify_database(
        source, Expectations(level, ["item"], [{"sql": "SELECT count(*) FROM item", "equals": 4}])
    )
    assert result.outcome == "passed"
    after = databases.tree(source.parent)
    assert {name: after[name] for name in before} == before


def test_corrupt_live_database_fails(source: Path) -> None:
    content = bytearray(source.read_bytes())
    content[4096:8192] = b"\x00\xff" * 2048
    source.write_bytes(content)
    for level in ("quick", "full"):
        result = verify.verify_database(source, Expectations(level))
        assert isinstance(result.error, SourceCorruptError)


def test_index_that_lacks_a_row_is_found_by_full_only(source: Path) -> None:
    """quick_check does not compare indexes with their tables: that is what full is for."""
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("CREATE INDEX by_name ON item(name)")
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'by_name'").fetchone()
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = NULL, type = 'table' WHERE name = 'gone'")
        connection.execute("DELETE FROM sqlite_master WHERE name = 'by_name'")
        connection.execute("PRAGMA writable_schema=RESET")
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("INSERT INTO item(name) VALUES('not in the index')")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "INSERT INTO sqlite_master(type, name, tbl_name, rootpage, sql) VALUES('index', 'by_name', 'item', ?, ?)",
            (root, "CREATE INDEX by_name ON item(name)"),
        )
    assert verify.verify_database(source, Expectations("quick")).outcome == "passed"
    assert verify.verify_database(source, Expectations("full")).outcome == "failed"


def test_missing_file_is_no_verification(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError):
        verify.verify_database(tmp_path / "missing.db", Expectations())


def test_hot_journal_needs_recovery_before_it_can_be_verified(tmp_path: Path) -> None:
    source = databases.crashed_journal(tmp_path / "agent.db")
    before = databases.tree(tmp_path)
    with pytest.raises(SourceCorruptError, match="needs recovery"):
        verify.verify_database(source, Expectations())
    assert databases.tree(tmp_path) == before


def test_failed_expectations_have_a_code_of_their_own(repository: Repository) -> None:
    """The backup is whole, its content is not what the operator knows it must be."""
    for expected in (
        Expectations(expect_tables=["AgentRun"]),
        Expectations(assertions=[{"sql": "SELECT count(*) FROM item", "equals": 501}]),
        Expectations(assertions=[{"sql": "SELECT nonsense", "equals": 1}]),
    ):
        result = verify.verify_backups(repository, "latest", expected)
        assert isinstance(result.error, ProofFailedError)


def test_missing_module_is_doubt_not_success(source: Path) -> None:
    """Case 22."""
    databases.with_missing_module(source, "not_here(a)")
    result = verify.verify_database(source, Expectations("full"))
    assert result.outcome == "inconclusive"
    assert isinstance(result.error, ProgramMissingError)
    assert "unverifiable: needs module not_here" in str(result.error)


def test_whole_backup_that_is_not_what_was_expected_is_neither_verified_nor_failed(repository: Repository) -> None:
    """A slip in an assertion must not make every backup one that retention does not count."""
    expected = Expectations("full", assertions=[{"sql": "SELECT count(*) FROM item", "equals": 99}])
    assert verify.verify_backups(repository, "all", expected).outcome == "failed"
    for each in repository.backups():
        assert each.verifications[-1]["outcome"] == "unexpected"
        assert not each.verified


def test_backup_that_is_removed_before_its_turn_is_left_out(
    repository: Repository, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    databases.add(source, "new")
    backup.run(backup.Request(path=source, repository=repository.path, compression="gzip"))
    listed = first, second = repository.backups()
    repository.remove(first)
    monkeypatch.setattr(repository, "backups", lambda: [*listed])
    result = verify.verify_backups(repository, "all", Expectations())
    assert _checks(result) == {f"{second.id}: artifacts": "passed"}
    with pytest.raises(BackupNotFoundError):
        verify.verify_backups(repository, first.id, Expectations())
