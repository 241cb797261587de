# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import Image
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import info
from support import databases, manifests

NOW = datetime(2025, 6, 1, 12, 0, 0, tzinfo=timezone.utc)
HOUR_SECONDS = 3600


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """An empty repository, at noon."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    return Repository.open_or_create(tmp_path / "repository", name="agent", source=tmp_path / "agent.db")


def publish(repository: Repository, *, hours_ago: float, sequence: int, kind: str = "full", **changes: Any) -> Backup:
    """A backup of that age; only what a listing reads of it is there."""
    started = NOW - timedelta(hours=hours_ago)
    identity = f"{clock.to_stamp(started)}-{kind}"
    document = manifests.example(id=identity, started=clock.to_text(started), sequence=sequence, **changes)
    with repository.staging(identity, []) as staging:
        manifests.write_files(document, staging)
        return repository.publish(staging, document)


def described(repository: Repository, *, rpo_seconds: float | None = None) -> dict[str, Any]:
    return info.describe_repository(repository, rpo_seconds=rpo_seconds)


UNVERIFIED: dict[str, Any] = {"checks": ()}
SUSPECT: dict[str, Any] = {"suspect": True, "proof": None, "checks": (Check("readable", "failed"),)}


def test_empty_repository_is_described(repository: Repository, tmp_path: Path) -> None:
    assert described(repository, rpo_seconds=60) == {
        "name": "agent",
        "path": str(tmp_path / "repository"),
        "source": str(tmp_path / "agent.db"),
        "backups": [],
        "latest": None,
        "state": "missed",
        "reasons": [
            {
                "state": "missed",
                "text": "There is no verified backup.",
                "hint": "Make a backup, and see whether its schedule runs.",
                "way": None,
            }
        ],
        "age_seconds": None,
        "rpo_met": False,
        "last_failure": None,
        "total_bytes": 0,
        "warnings": [],
        "last_drill": None,
    }


def test_backup_is_described_by_plain_values(repository: Repository) -> None:
    image = Image(81920, 8192, 10, "a" * 64)
    published = publish(repository, hours_ago=2, sequence=7, image=image, pinned=True, tags=("a", "b"))
    assert described(repository)["backups"] == [
        {
            "id": "20250601T100000Z-full",
            "path": str(published.path),
            "damage": "",
            "type": "full",
            "parent": None,
            "created": "2025-06-01T10:00:00Z",
            "reason": "before migration 42",
            "tags": ["a", "b"],
            "pinned": True,
            "pinned_since": "2025-06-01T10:00:00Z",
            "pinned_until": None,
            "suspect": False,
            "doubts": [],
            "stored_bytes": 125,
            "database_bytes": 81920,
            "page_size": 8192,
            "page_count": 10,
            "sha256": "a" * 64,
            "encryption": "none",
            "tables": {"item": 3},
            "verified": True,
            "proven": None,
            "apart": False,
            "held": "",
            "foreign": False,
            "confirmed": None,
        }
    ]


def test_backup_without_a_proof_has_no_tables(repository: Repository) -> None:
    publish(repository, hours_ago=1, sequence=1, **SUSPECT)
    (backup,) = described(repository)["backups"]
    assert (backup["tables"], backup["suspect"], backup["verified"]) == ({}, True, False)


def test_damaged_backup_is_listed_with_what_is_wrong(repository: Repository) -> None:
    """Leaving it out would make a loss look like a backup that was never made."""
    published = publish(repository, hours_ago=1, sequence=1)
    databases.flip_bit(published.path / "manifest.json", 40)
    (backup,) = described(repository)["backups"]
    assert set(backup) == {"id", "path", "damage"}
    assert "does not match its seal" in backup["damage"]


def test_damaged_backup_counts_neither_for_the_age_nor_for_the_bytes(repository: Repository) -> None:
    publish(repository, hours_ago=5, sequence=1)
    newest = publish(repository, hours_ago=1, sequence=2)
    databases.flip_bit(newest.path / "manifest.json", 40)
    found = described(repository)
    assert found["latest"]["id"] == newest.id
    assert (found["age_seconds"], found["total_bytes"]) == (5 * HOUR_SECONDS, 125)


def test_backups_come_oldest_first_and_their_bytes_add_up(repository: Repository) -> None:
    for sequence, hours_ago in ((2, 3), (1, 8), (3, 2)):
        publish(repository, hours_ago=hours_ago, sequence=sequence)
    found = described(repository)
    assert [each["created"][11:13] for each in found["backups"]] == ["04", "09", "10"]
    assert found["latest"] == found["backups"][-1]
    assert found["total_bytes"] == 3 * 125


@pytest.mark.parametrize("changes", [UNVERIFIED, SUSPECT])
def test_age_is_that_of_the_newest_verified_backup(repository: Repository, changes: dict[str, Any]) -> None:
    """What nobody has checked, or what is known to be corrupt, brings nothing back."""
    publish(repository, hours_ago=6, sequence=1)
    publish(repository, hours_ago=1, sequence=2, **changes)
    assert described(repository)["age_seconds"] == 6 * HOUR_SECONDS


def test_backup_that_failed_its_last_verification_no_longer_counts(repository: Repository) -> None:
    publish(repository, hours_ago=6, sequence=1)
    newest = publish(repository, hours_ago=1, sequence=2)
    repository.note_verification(newest, level="full", outcome="failed")
    assert described(repository)["age_seconds"] == 6 * HOUR_SECONDS


def test_confirmation_makes_the_backup_current(repository: Repository) -> None:
    """Nothing changed since: a restore now brings back the data of an hour ago."""
    backup = publish(repository, hours_ago=6, sequence=1)
    repository.confirm(backup, NOW - timedelta(hours=1))
    found = described(repository)
    assert found["age_seconds"] == HOUR_SECONDS
    assert found["latest"]["confirmed"] == "2025-06-01T11:00:00Z"


@pytest.mark.parametrize(
    ("rpo_seconds", "met"), [(None, None), (2 * HOUR_SECONDS, True), (2 * HOUR_SECONDS - 1, False), (0, False)]
)
def test_objective_is_met_up_to_its_last_second(
    repository: Repository, rpo_seconds: float | None, *, met: bool | None
) -> None:
    publish(repository, hours_ago=2, sequence=1)
    assert described(repository, rpo_seconds=rpo_seconds)["rpo_met"] is met


def test_objective_is_missed_without_any_verified_backup(repository: Repository) -> None:
    """No backup at all is the worst age, not an unknown one."""
    publish(repository, hours_ago=1, sequence=1, **UNVERIFIED)
    found = described(repository, rpo_seconds=10 * HOUR_SECONDS)
    assert (found["age_seconds"], found["rpo_met"]) == (None, False)


def test_backup_from_when_the_clock_was_ahead_does_not_hide_that_none_came_since(repository: Repository) -> None:
    """It would look fresh until its date comes, while the backups stopped long ago."""
    publish(repository, hours_ago=-48, sequence=1)
    publish(repository, hours_ago=5, sequence=2)
    assert described(repository)["age_seconds"] == 5 * HOUR_SECONDS


@pytest.mark.parametrize(("seconds_ahead", "age_seconds"), [(30, 0), (3600, None)])
def test_backup_from_the_future_counts_only_within_what_clocks_differ(
    repository: Repository, seconds_ahead: int, age_seconds: int | None
) -> None:
    """As 0 seconds old it would keep the status good for months without a run."""
    publish(repository, hours_ago=-seconds_ahead / 3600, sequence=1)
    found = described(repository, rpo_seconds=60)
    assert (found["age_seconds"], found["rpo_met"]) == (age_seconds, age_seconds == 0)


@pytest.mark.parametrize("damage", ["missing", "empty", "longer", "a directory"])
def test_backup_without_its_image_is_damaged_and_no_longer_counts(repository: Repository, damage: str) -> None:
    """Its name and manifest alone bring nothing back."""
    publish(repository, hours_ago=5, sequence=1)
    image = publish(repository, hours_ago=1, sequence=2).path / "database.sqlite.gz"
    content = image.read_bytes()
    image.unlink()
    if damage == "a directory":
        image.mkdir()
    elif damage != "missing":
        image.write_bytes(b"" if damage == "empty" else content + b"x")
    found = described(repository)
    assert found["age_seconds"] == 5 * HOUR_SECONDS
    assert [bool(each["damage"]) for each in found["backups"]] == [False, True]
    assert [each["verified"] for each in found["backups"]] == [True, False]


def test_incremental_without_its_full_backup_no_longer_counts(repository: Repository) -> None:
    """The newest one looks whole, and no restore can read it."""
    full = publish(repository, hours_ago=5, sequence=1)
    parent = full.id
    for sequence in (2, 3):
        parent = publish(
            repository, hours_ago=5 - sequence, sequence=sequence, kind="incremental", type="incremental", parent=parent
        ).id
    assert described(repository)["age_seconds"] == 2 * HOUR_SECONDS
    (full.path / "database.sqlite.gz").unlink()
    found = described(repository)
    assert found["age_seconds"] is None
    assert all(each["damage"] for each in found["backups"])


def test_last_drill_is_the_newest_one(repository: Repository) -> None:
    for event, outcome in (("drill", "failed"), ("drill", "passed"), ("backup", "passed")):
        repository.record(event, outcome=outcome)
    last = described(repository)["last_drill"]
    assert last["outcome"] == "passed"


def test_description_is_json(repository: Repository) -> None:
    """A module returns it as it is."""
    publish(repository, hours_ago=2, sequence=1)
    databases.flip_bit(publish(repository, hours_ago=1, sequence=2).path / "manifest.json", 9)
    repository.record("drill", outcome="passed")
    found = described(repository, rpo_seconds=1)
    assert json.loads(json.dumps(found)) == found
