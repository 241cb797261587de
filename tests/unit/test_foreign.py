# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of another repository that were copied into this one: seen, and taken for nothing else than they are."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import chain, manifest, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import wording
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    RefusedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import doctor, info, prune, restore, verify
from support import manifests
from support.sites import Site

LAST = retention.Policy(1, keep_hourly=0, keep_daily=0, keep_weekly=0, keep_monthly=0, keep_within_seconds=0)


@pytest.fixture
def other(site: Site, tmp_path: Path, moment: list[datetime]) -> Site:
    """A site of the same name with an older full backup and two incrementals; their sequence is that of a long life."""
    directory = tmp_path / "other"
    directory.mkdir()
    other = Site(directory)
    for rows in (1, 2, 3):
        other.change(rows, "other")
        other.stored()
        moment[0] += timedelta(minutes=1)
    for each in other.open().backups():
        path = each.path / "manifest.json"
        document = json.loads(path.read_bytes())
        path.write_bytes(manifests.sealed({**document, "sequence": document["sequence"] + 1000}))
    return other


@pytest.fixture
def merged(site: Site, other: Site, moment: list[datetime]) -> Site:
    """A site with a full backup and an incremental, into which all backups of the other one were copied."""
    site.change(3, "own")
    site.stored()
    site.change(4, "own")
    moment[0] += timedelta(minutes=1)
    site.stored()
    for identity in other.ids():
        shutil.copytree(other.repository / identity, site.repository / identity)
    moment[0] += timedelta(minutes=1)
    return site


def own(site: Site) -> list[str]:
    return [each.id for each in site.open().backups() if not each.foreign]


def foreign(site: Site) -> list[str]:
    return [each.id for each in site.open().backups() if each.foreign]


def test_foreign_backups_are_listed_as_such(merged: Site, other: Site) -> None:
    assert foreign(merged) == other.ids()
    described = info.describe_repository(merged.open())
    assert [each["foreign"] for each in described["backups"]] == [True, True, True, False, False]
    assert [each["verified"] for each in described["backups"]] == [False, False, False, True, True]
    assert described["latest"]["id"] == own(merged)[-1]
    (warning,) = described["warnings"]
    assert all(each in warning for each in other.ids())
    states = [line.split("  ") for line in wording.listed(described)[2:]]
    assert ["foreign" in line for line in states] == [True, True, True, False, False]


def test_age_is_not_that_of_a_foreign_backup(merged: Site, moment: list[datetime]) -> None:
    for identity in own(merged):
        shutil.rmtree(merged.repository / identity)
    described = info.describe_repository(merged.open(), rpo_seconds=86400.0)
    assert (described["age_seconds"], described["rpo_met"], described["latest"]) == (None, False, None)


def test_newest_is_never_a_foreign_one(merged: Site, moment: list[datetime]) -> None:
    assert merged.restored() == merged.settled()
    assert merged.restored(before=moment[0]) == merged.settled()
    outcome = restore.run(restore.Request(merged.repository, dest=merged.directory / "new.db"), dry_run=True)
    assert outcome.backup == own(merged)[-1]
    assert [foreign(merged)[0] in each for each in outcome.warnings] == [True]
    found = verify.verify_backups(merged.open(), "latest", verify.Expectations())
    assert found.error is None
    assert own(merged)[-1] in merged.history()[-1]["backup"]


def test_foreign_backup_is_restored_only_when_that_is_meant(merged: Site, other: Site) -> None:
    for identity in foreign(merged):
        with pytest.raises(RefusedError, match="another repository") as refusal:
            merged.restored(identity)
        assert "force_identity" in refusal.value.hint
        assert merged.restored(identity, force_identity=True) == other.restored(identity)


def test_repository_with_nothing_but_foreign_backups_has_none(merged: Site, moment: list[datetime]) -> None:
    for identity in own(merged):
        shutil.rmtree(merged.repository / identity)
    for work in (
        merged.restored,
        lambda: merged.restored(before=moment[0]),
        lambda: verify.verify_backups(merged.open(), "all", verify.Expectations()),
        lambda: verify.verify_backups(merged.open(), "latest", verify.Expectations()),
    ):
        with pytest.raises(BackupNotFoundError):
            work()
    document = merged.stored()
    assert (document.type, document.sequence) == ("full", 1)


def test_next_backup_builds_on_its_own_and_counts_on(merged: Site) -> None:
    before = own(merged)
    merged.change()
    document = merged.stored()
    assert (document.type, document.parent, document.sequence) == ("incremental", before[-1], 3)
    assert merged.restored() == merged.settled()


def test_unchanged_database_confirms_its_own_newest(merged: Site) -> None:
    outcome = merged.back_up()
    assert outcome.backup is not None
    assert (outcome.changed, outcome.backup.id) == (False, own(merged)[-1])


def test_database_that_equals_a_foreign_backup_is_stored(merged: Site, other: Site) -> None:
    merged.database.write_bytes(other.settled())
    assert merged.back_up().changed


def test_id_of_a_foreign_backup_is_taken(merged: Site, moment: list[datetime]) -> None:
    moment[0] = clock.from_text("2025-12-30T12:01:00Z")
    assert clock.to_stamp(moment[0]) in foreign(merged)[1]
    merged.change()
    assert merged.stored(type="full").id == "20251230T120101Z-full"


def test_retention_neither_counts_nor_removes_foreign_backups(merged: Site, moment: list[datetime]) -> None:
    strangers = foreign(merged)
    merged.change()
    newest = merged.stored(type="full").id
    outcome = prune.run(prune.Request(merged.repository, LAST))
    kept = {each["id"]: each["reasons"] for each in outcome.kept}
    assert {kept.pop(each)[0] for each in strangers} == {"foreign"}
    assert list(kept) == [newest]
    assert foreign(merged) == strangers
    assert any(strangers[0] in each for each in outcome.warnings)


def test_suspects_of_a_corrupt_database_are_pruned_beside_foreign_ones(merged: Site, moment: list[datetime]) -> None:
    merged.corrupt()
    for _round in range(3):
        moment[0] += timedelta(minutes=1)
        assert merged.back_up(force=True).error is not None
    strangers = foreign(merged)
    outcome = prune.run(prune.Request(merged.repository, after_suspect=True))
    assert len(outcome.removed) == 1
    assert foreign(merged) == strangers


def test_verification_of_all_leaves_foreign_ones_out_and_names_them(merged: Site) -> None:
    found = verify.verify_backups(merged.open(), "all", verify.Expectations("full"))
    assert {each.name.split(":")[0] for each in found.checks} == set(own(merged))
    assert any(foreign(merged)[0] in each for each in found.warnings)


def test_foreign_backup_that_is_named_is_verified(merged: Site) -> None:
    for identity in foreign(merged):
        found = verify.verify_backups(merged.open(), identity, verify.Expectations("full"))
        assert (found.error, found.outcome) == (None, "passed")
    assert not any(each.verified for each in merged.open().backups() if each.foreign)


def test_full_backup_of_another_repository_is_no_parent(merged: Site, moment: list[datetime]) -> None:
    """With the very same image: a copy of the database on another host gives just that."""
    full, incremental = own(merged)
    path = merged.repository / full / "manifest.json"
    path.write_bytes(manifests.sealed({**json.loads(path.read_bytes()), "repository": "ab" * 16}))
    listed = {each.id: each for each in merged.open().backups()}
    assert listed[full].foreign
    assert listed[incremental].lack == f"it builds on {full}, which is of another repository"
    with pytest.raises(BackupDamagedError, match="another repository"):
        chain.links(merged.open(), listed[incremental])
    merged.change()
    document = merged.stored()
    assert (document.type, document.parent) == ("full", None)


def test_damaged_backup_keeps_its_place_beside_foreign_ones(merged: Site) -> None:
    """It must not become the newest for as long as a foreign sequence is greater."""
    path = merged.repository / own(merged)[0] / "manifest.json"
    path.write_bytes(b"{")
    assert [each.manifest is None for each in merged.open().backups()] == [False, False, False, True, False]


def test_copy_of_a_whole_repository_has_no_foreign_ones(merged: Site, other: Site) -> None:
    copy = other.copied_to(merged.directory / "elsewhere")
    assert foreign(copy) == []
    assert copy.verified("full") == ("passed", 0)


def test_backups_of_earlier_versions_are_not_foreign(merged: Site) -> None:
    for each in merged.open().backups():
        document = json.loads(manifest.to_bytes(each.trusted()))
        del document["repository"]
        (each.path / "manifest.json").write_bytes(manifests.sealed(document))
    assert foreign(merged) == []


def test_doctor_names_foreign_backups(merged: Site) -> None:
    found = doctor.examine(doctor.Request(merged.database, merged.repository))
    (finding,) = [each for each in found if each.name == "foreign backups"]
    assert (finding.outcome, foreign(merged)[0] in finding.detail) == ("warning", True)


def test_prune_that_waited_for_the_run_that_gave_the_id_takes_nothing_for_foreign(
    site: Site, moment: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked at a repository of an earlier version, which has no id."""
    site.stored()
    path = site.repository / "repository.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({key: content[key] for key in ("created", "format", "name", "source")}))
    for each in site.open().backups():
        document = json.loads((each.path / "manifest.json").read_bytes())
        (each.path / "manifest.json").write_bytes(manifests.sealed({**document, "repository": ""}))
    locked = Repository.locked

    def late(self: Repository, **options: Any) -> Any:
        monkeypatch.setattr(Repository, "locked", locked)
        moment[0] += timedelta(minutes=1)
        site.change(4)
        site.stored(type="full")
        return locked(self, **options)

    monkeypatch.setattr(Repository, "locked", late)
    outcome = prune.run(prune.Request(site.repository, LAST))
    assert [each["id"] for each in outcome.kept] == site.ids()[-1:]
    assert outcome.warnings == []
