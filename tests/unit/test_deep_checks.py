# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a deep look finds: it stays found, and at least once a week somebody looks."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import SourceCorruptError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, prune, verify
from support import databases


@pytest.fixture(params=["wal", "delete"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = databases.make(tmp_path / "agent.db", journal_mode=request.param, rows=50)
    databases.settle(path)
    return path


def backed_up(path: Path) -> backup.Outcome:
    return backup.run(backup.Request(path, path.parent / "repository", compression="none"))


def newest(path: Path) -> Backup:
    return Repository.open_existing(path.parent / "repository", action="Test").backups()[-1]


def verified(path: Path, level: str) -> str:
    repository = Repository.open_existing(path.parent / "repository", action="Test")
    return verify.verify_backups(repository, "latest", verify.Expectations(level)).outcome


def test_what_a_deep_look_found_stays_found(path: Path) -> None:
    databases.lose_an_entry(path)
    backed_up(path)
    assert newest(path).verified
    assert verified(path, "full") == "failed"
    assert verified(path, "quick") == "passed"
    assert not newest(path).verified
    assert newest(path).failed == "full"
    again = backed_up(path)
    assert isinstance(again.error, SourceCorruptError)
    assert not newest(path).verified


def test_it_stays_found_whatever_is_noted_later(path: Path) -> None:
    backed_up(path)
    repository = Repository.open_existing(path.parent / "repository", action="Test")
    repository.note_verification(newest(path), level="full", outcome="failed")
    for _each in range(60):
        repository.note_verification(newest(path), level="quick", outcome="passed")
    assert newest(path).failed == "full"
    repository.note_verification(newest(path), level="full", outcome="passed")
    assert newest(path).verified


def test_what_failed_once_does_not_count_as_kept(path: Path) -> None:
    for name in ("first", "second"):
        databases.add(path, name)
        backed_up(path)
    repository = Repository.open_existing(path.parent / "repository", action="Test")
    repository.note_verification(newest(path), level="full", outcome="failed")
    repository.note_verification(newest(path), level="quick", outcome="passed")
    policy = retention.Policy(keep_last=1, keep_within_seconds=0)
    outcome = prune.run(prune.Request(repository.path, policy), dry_run=True)
    assert outcome.removed == []


def test_unchanged_database_is_looked_into_once_a_week(path: Path, moment: list[datetime]) -> None:
    backed_up(path)
    looks = []
    for _day in range(20):
        moment[0] += timedelta(days=1)
        assert not backed_up(path).changed
        looks.append(len(newest(path).verifications))
    assert looks[-1] in (2, 3)
    assert newest(path).verified
    assert {each["level"] for each in newest(path).verifications} == {"full"}


def test_damage_of_an_unchanged_database_is_found_within_a_week(path: Path, moment: list[datetime]) -> None:
    backed_up(path)
    databases.lose_an_entry(path)
    found = []
    for _day in range(8):
        moment[0] += timedelta(days=1)
        found.append(backed_up(path).error is not None)
    assert any(found)
