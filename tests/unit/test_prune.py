# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pruning real repositories: only what is not kept goes, whole, and never while somebody reads it."""

from __future__ import annotations

import dataclasses
import shutil
import socket
import zoneinfo
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.retention import Policy
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupNotFoundError,
    EngineError,
    RefusedError,
    RepositoryLockedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, prune, verify
from support import databases, manifests, processes

NOTHING = Policy(0, 0, 0, 0, 0, 0, 0)
HOLD_READING = """
import pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
repository = Repository.open_existing(pathlib.Path(sys.argv[1]))
backup = repository.find(sys.argv[2])
with repository.reading(backup, timeout_seconds=0):
    print("reading", flush=True)
    sys.stdin.read()
"""
HOLD_REPOSITORY = """
import pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
repository = Repository.open_existing(pathlib.Path(sys.argv[1]))
with repository.locked(timeout_seconds=0):
    print("locked", flush=True)
    sys.stdin.read()
"""
# Backs up, or restores, as often as it can until it is killed, and prints a line each time. Every fourth is a full one.
BUSY = """
import pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore
from support import databases
base.SMALL_BYTES = 0
directory = pathlib.Path(sys.argv[2])
source, repository = directory / "agent.db", directory / "repository"
while True:
    if sys.argv[1] == "backup":
        databases.add(source, "one more")
        backup.run(backup.Request(source, repository, compression="none", max_chain=3))
    else:
        restore.run(restore.Request(repository, dest=directory / "restored" / "agent.db"))
    print("done", flush=True)
"""


class Place:
    """A database and its repository, at a time of its own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.source = databases.make(directory / "agent.db")
        self.path = directory / "repository"
        self._patch = monkeypatch

    def at(self, moment: str) -> None:
        self._patch.setattr(clock, "now", lambda: clock.from_text(moment))

    def back_up(self, *moments: str, **options: Any) -> list[str]:
        """A backup at each of these moments; their ids."""
        stored = []
        for moment in moments:
            self.at(moment)
            request = {"path": self.source, "repository": self.path, "compression": "none", "force": True, **options}
            published = backup.run(backup.Request(**request)).backup
            assert published is not None
            stored.append(published.id)
        return stored

    @property
    def repository(self) -> Repository:
        return Repository.open_existing(self.path)

    def ids(self) -> list[str]:
        return [each.id for each in self.repository.backups()]

    def publish(self, identity: str, sequence: int, **changes: Any) -> str:
        """A backup that no engine made; only what a listing reads of it is there."""
        started = f"{identity[:4]}-{identity[4:6]}-{identity[6:11]}:{identity[11:13]}:{identity[13:16]}"
        kind = identity.rsplit("-", maxsplit=1)[1]
        document = manifests.example(id=identity, sequence=sequence, type=kind, started=started, **changes)
        with self.repository.staging(identity, []) as staging:
            manifests.write_files(document, staging)
            self.repository.publish(staging, document)
        return identity

    def run(self, *, dry_run: bool = False, timezone: str = "UTC", **counts: int) -> prune.Outcome:
        """Prune by these rules alone: ``run(daily=2)``."""
        rules = {f"keep_{word}": count for word, count in counts.items()}
        policy = dataclasses.replace(NOTHING, timezone=timezone, **rules)
        return prune.run(prune.Request(self.path, policy, lock_timeout_seconds=0), dry_run=dry_run)

    def events(self) -> list[dict[str, Any]]:
        return [event for event in self.repository.history() if event["event"] == "prune"]

    def assert_whole(self) -> None:
        """Every listed backup can be restored, and nothing is left over."""
        result = verify.verify_backups(self.repository, "all", verify.Expectations("full"), dry_run=True)
        assert result.error is None
        assert not list(self.path.glob(".staging*"))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def kept(outcome: prune.Outcome) -> dict[str, list[str]]:
    return {each["id"]: each["reasons"] for each in outcome.kept}


def removed(outcome: prune.Outcome) -> list[str]:
    return [each["id"] for each in outcome.removed]


DAYS = ("2025-03-01T12:00:00Z", "2025-03-02T12:00:00Z", "2025-03-03T12:00:00Z", "2025-03-04T12:00:00Z")


# --- what goes -----------------------------------------------------------------------------------------------------


def test_what_no_rule_keeps_is_removed_with_all_its_files(place: Place) -> None:
    first, second, third, last = place.back_up(*DAYS)
    disk_bytes = files.tree_bytes(place.path)

    outcome = place.run(daily=2)

    assert outcome.changed
    assert kept(outcome) == {third: ["daily"], last: ["daily", "newest", "newest verified"]}
    assert removed(outcome) == [first, second]
    assert (outcome.before, outcome.after) == ([first, second, third, last], [third, last])
    assert place.ids() == [third, last]
    assert not list(place.path.rglob(f"*{first}*"))
    assert outcome.freed_bytes == sum(each["bytes"] for each in outcome.removed) > 2 * place.source.stat().st_size
    (place.path / "history.jsonl").unlink()
    assert disk_bytes - outcome.freed_bytes >= files.tree_bytes(place.path)
    assert outcome.warnings == []
    place.assert_whole()


def test_bytes_are_those_of_every_file(place: Place) -> None:
    """The manifest and the notes take room as well."""
    first, _last = place.back_up(*DAYS[:2])
    place.repository.note_verification(place.repository.backups()[0], level="quick", outcome="passed")
    expected = sum(each.stat().st_size for each in (place.path / first).rglob("*") if each.is_file())
    assert place.run(last=1).removed == [{"id": first, "bytes": expected}]


def test_pruning_twice_changes_nothing(place: Place) -> None:
    place.back_up(*DAYS)
    first = place.run(daily=2)
    before = databases.tree(place.path)

    second = place.run(daily=2)

    assert not second.changed
    assert (second.kept, second.removed, second.freed_bytes) == (first.kept, [], 0)
    assert databases.tree(place.path).keys() == before.keys()
    assert len(place.events()) == 1


def test_check_mode_shows_the_plan_and_writes_nothing(place: Place) -> None:
    place.back_up(*DAYS)
    (place.path / ".staging-leftover").mkdir()
    before = sorted((str(each), each.lstat().st_mtime_ns) for each in [place.path, *place.path.rglob("*")])

    plan = place.run(daily=2, dry_run=True)

    assert sorted((str(each), each.lstat().st_mtime_ns) for each in [place.path, *place.path.rglob("*")]) == before
    assert plan == place.run(daily=2)
    assert plan.changed


def test_removal_begins_with_the_newest(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run which is killed leaves no incremental without what it builds on."""
    ids = place.back_up(*DAYS)
    order = []
    remove = Repository.remove

    def record(self: Repository, doomed: Any) -> None:
        order.append(doomed.id)
        remove(self, doomed)

    monkeypatch.setattr(Repository, "remove", record)
    place.run(last=1)
    assert order == [ids[2], ids[1], ids[0]]


def test_chain_goes_and_stays_as_one(place: Place) -> None:
    (full,) = place.back_up("2025-03-01T00:00:00Z")
    chain = [
        place.publish("20250301T010000Z-incremental", 2, parent=full),
        place.publish("20250301T020000Z-incremental", 3, parent="20250301T010000Z-incremental"),
        place.publish("20250301T030000Z-incremental", 4, parent="20250301T020000Z-incremental"),
    ]
    newest = place.publish("20250302T000000Z-full", 5)
    place.at("2025-03-02T00:00:00Z")

    partly = place.run(last=3)
    assert removed(partly) == []
    assert kept(partly)[chain[0]] == [f"needed by {chain[1]}"]
    assert kept(partly)[full] == [f"needed by {chain[0]}"]

    assert removed(place.run(daily=2)) == chain
    assert place.ids() == [full, newest]


def test_incremental_whose_parent_is_missing_goes(place: Place) -> None:
    place.back_up(*DAYS[:2])
    orphan = place.publish("20250302T130000Z-incremental", 3, parent="20250302T125900Z-incremental")
    (newest,) = place.back_up(DAYS[2])
    outcome = place.run(last=3)
    assert removed(outcome) == [orphan]
    assert len(kept(outcome)) == 3
    assert outcome.warnings
    assert orphan in outcome.warnings[0]
    assert newest in kept(outcome)


# --- what stays ----------------------------------------------------------------------------------------------------


def test_pinned_backup_stays(place: Place) -> None:
    (pinned,) = place.back_up(DAYS[0], pinned=True)
    place.back_up(*DAYS[1:])
    assert kept(place.run(last=1))[pinned] == ["pinned"]


def test_newest_verified_backup_stays(place: Place) -> None:
    (good,) = place.back_up(DAYS[0])
    unchecked = place.back_up(*DAYS[1:], check="none")
    assert kept(place.run(last=1)) == {good: ["newest verified"], unchecked[-1]: ["last", "newest"]}


def test_suspect_backups_take_nobodys_place(place: Place) -> None:
    good = place.back_up(*DAYS[:2])
    suspect = {"suspect": True, "proof": None, "checks": (Check("readable", "failed"),)}
    first = place.publish("20250303T120000Z-full", 3, **suspect)
    old = place.publish("20250303T130000Z-full", 4, **suspect)
    newest = place.publish("20250304T120000Z-full", 5, **suspect)
    place.at(DAYS[3])
    outcome = place.run(daily=2)
    assert kept(outcome) == {
        good[0]: ["daily"],
        good[1]: ["daily", "newest verified"],
        first: ["suspect", "first suspect"],
        newest: ["suspect", "newest"],
    }
    assert removed(outcome) == [old]
    assert old in outcome.warnings[0]


def test_suspect_backups_do_not_go_with_the_next_good_one(place: Place) -> None:
    (good,) = place.back_up(DAYS[0])
    suspect = {"suspect": True, "proof": None, "checks": (Check("readable", "failed"),)}
    made = [place.publish(f"20250303T1{hour}0000Z-full", 4 + hour, **suspect) for hour in range(3)]
    place.back_up(DAYS[3])
    outcome = place.run(last=1)
    assert removed(outcome) == [good, made[1]]
    place.at("2025-03-11T00:00:00Z")
    assert made[0] in removed(place.run(last=1))


@pytest.mark.parametrize(
    ("outcomes", "counts"), [(["failed"], False), (["failed", "passed"], True), (["inconclusive"], True)]
)
def test_backup_counts_by_its_newest_verification(place: Place, outcomes: list[str], *, counts: bool) -> None:
    """One that could not be verified here is not known to be bad."""
    first, second, _third = place.back_up(*DAYS[:3])
    for outcome in outcomes:
        place.repository.note_verification(place.repository.backups()[1], level="full", outcome=outcome)
    assert removed(place.run(last=2)) == ([first] if counts else [second])


@pytest.mark.parametrize("damage", ["flipped", "newer format"])
def test_backup_with_an_unreadable_manifest_stays(place: Place, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    """Nobody knows whether it is pinned, or why it cannot be read."""
    bad, *others = place.back_up(*DAYS)
    path = place.path / bad / "manifest.json"
    if damage == "flipped":
        databases.flip_bit(path, 40)
    else:
        with monkeypatch.context() as patch:
            patch.setattr(manifest, "FORMAT", 99)
            path.write_bytes(manifest.to_bytes(place.repository.backups()[0].trusted()))
    outcome = place.run(last=1)
    assert kept(outcome) == {bad: ["damaged"], others[-1]: ["last", "newest", "newest verified"]}
    (warning,) = outcome.warnings
    assert bad in warning
    assert "look" in warning


@pytest.mark.parametrize("clock_went_back", [False, True])
def test_damaged_incremental_keeps_its_base_whatever_the_clock_was(place: Place, clock_went_back: bool) -> None:
    """It could be repaired by a copy of its manifest; without its base it would be lost."""
    (full,) = place.back_up("2025-03-05T12:00:00Z")
    day = "03" if clock_went_back else "06"
    lost = place.publish(f"202503{day}T120000Z-incremental", 2, parent=full)
    (newest,) = place.back_up("2025-03-07T12:00:00Z")
    databases.flip_bit(place.path / lost / "manifest.json", 40)
    outcome = place.run(last=1)
    assert removed(outcome) == []
    assert kept(outcome)[full] == [f"perhaps needed by {lost}"]
    assert f"{lost} stays, with all that it may build on, until somebody looks at it" in outcome.warnings[0]

    # When somebody has looked at it and removed it, all goes on.
    shutil.rmtree(place.path / lost)
    assert removed(place.run(last=1)) == [full]
    assert place.ids() == [newest]


def test_backup_in_use_stays_with_what_it_builds_on(place: Place) -> None:
    """A restore that takes hours must find all its files to the end."""
    (full,) = place.back_up(DAYS[0])
    incremental = place.publish("20250301T130000Z-incremental", 2, parent=full)
    (newest,) = place.back_up(DAYS[1])
    with processes.running(HOLD_READING, place.path, incremental) as reader:
        outcome = place.run(last=1)
        assert kept(outcome) == {
            full: [f"needed by {incremental}"],
            incremental: ["in use"],
            newest: ["last", "newest", "newest verified"],
        }
        assert kept(place.run(last=1, dry_run=True)) == kept(outcome)
        reader.kill()
        reader.wait()
    assert removed(place.run(last=1)) == [full, incremental]


def test_backup_that_somebody_begins_to_read_meanwhile_stays_with_what_it_builds_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, full = place.back_up("2025-02-28T12:00:00Z", DAYS[0])
    incremental = place.publish("20250301T130000Z-incremental", 3, parent=full)
    second = place.publish("20250301T140000Z-full", 4)
    (newest,) = place.back_up(DAYS[1])
    with processes.running(HOLD_READING, place.path, incremental):
        monkeypatch.setattr(Repository, "in_use", lambda _self: set())
        outcome = place.run(last=1)
    assert removed(outcome) == [oldest, second]
    assert list(kept(outcome)) == [full, incremental, newest]
    assert kept(outcome)[incremental] == ["in use"]
    assert place.ids() == [full, incremental, newest] == outcome.after


# --- the clock (case 14) -------------------------------------------------------------------------------------------


def test_clock_that_went_backwards_costs_no_backup(place: Place) -> None:
    early = place.back_up("2025-03-05T12:00:00Z", "2025-03-06T12:00:00Z")
    late = place.back_up("2025-03-02T12:00:00Z", "2025-03-02T13:00:00Z")
    place.at("2025-03-07T00:00:00Z")
    outcome = place.run(daily=2)
    assert kept(outcome) == {
        early[0]: ["daily"],
        early[1]: ["daily"],
        late[1]: ["newest", "newest verified"],
    }
    assert removed(outcome) == [late[0]]


def test_future_dated_backup_stays_and_takes_nobodys_place(place: Place) -> None:
    first, second = place.back_up(*DAYS[:2])
    (future,) = place.back_up("2031-01-01T00:00:00Z")
    (last,) = place.back_up(DAYS[2])
    outcome = place.run(last=2)
    assert kept(outcome) == {
        second: ["last"],
        future: ["future-dated"],
        last: ["last", "newest", "newest verified"],
    }
    assert removed(outcome) == [first]
    (warning,) = outcome.warnings
    assert future in warning
    assert "clock" in warning


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")
def test_hour_that_comes_twice_keeps_its_newest(place: Place) -> None:
    """On 26 October 2025 in Berlin 00:30 and 01:30 UTC were both 02:30."""
    ids = place.back_up("2025-10-25T23:30:00Z", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z")
    assert removed(place.run(hourly=3, timezone="Europe/Berlin", dry_run=True)) == [ids[1]]
    assert removed(place.run(hourly=3)) == [ids[0]]


def test_moment_of_the_plan_is_after_the_wait_for_the_lock(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup that was made while this run waited is no future-dated one."""
    place.back_up(DAYS[0])
    locked = Repository.locked

    def slowly(self: Repository, **options: Any) -> Any:
        monkeypatch.setattr(Repository, "locked", locked)
        place.back_up(DAYS[1])
        return locked(self, **options)

    monkeypatch.setattr(Repository, "locked", slowly)
    outcome = place.run(last=1)
    assert (outcome.before[:1], outcome.after) == (removed(outcome), place.ids())
    assert outcome.warnings == []


# --- nothing to keep (case 25) -------------------------------------------------------------------------------------


def test_repository_without_a_backup_is_left_alone(place: Place) -> None:
    (only,) = place.back_up(DAYS[0])
    shutil.rmtree(place.path / only)
    outcome = place.run(last=1)
    assert (outcome.changed, outcome.kept, outcome.removed) == (False, [], [])


def test_the_only_backup_stays_however_old_it_is(place: Place) -> None:
    (only,) = place.back_up("2001-01-01T00:00:00Z")
    place.at("2025-03-01T00:00:00Z")
    assert list(kept(place.run(hourly=1))) == [only]


def test_newest_stays_where_no_backup_is_good(place: Place) -> None:
    ids = place.back_up(*DAYS)
    for each in place.repository.backups():
        place.repository.note_verification(each, level="quick", outcome="failed")
    assert kept(place.run(last=4)) == {ids[-1]: ["newest"]}


def test_empty_policy_is_refused_and_nothing_is_touched(place: Place) -> None:
    ids = place.back_up(*DAYS)
    with pytest.raises(RefusedError):
        place.run()
    assert place.ids() == ids
    (event,) = place.events()
    assert (event["outcome"], event["code"], event["removed"]) == ("failed", 18, [])


def test_bad_policy_does_not_wait_for_a_lock(place: Place) -> None:
    place.back_up(DAYS[0])
    with processes.running(HOLD_REPOSITORY, place.path), pytest.raises(UsageError):
        place.run(last=-1)


def test_missing_repository_is_not_found_and_not_made(place: Place) -> None:
    with pytest.raises(BackupNotFoundError):
        place.run(last=1)
    assert not place.path.exists()


# --- other runs (case 15) ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dry_run", [False, True])
def test_repository_that_another_run_holds_is_an_error_that_names_it(place: Place, *, dry_run: bool) -> None:
    place.back_up(*DAYS)
    with processes.running(HOLD_REPOSITORY, place.path) as holder:
        with pytest.raises(RepositoryLockedError, match=f"process {holder.pid} on {socket.gethostname()}"):
            place.run(last=1, dry_run=dry_run)
    assert len(place.ids()) == len(DAYS)
    assert [event["code"] for event in place.events()] == ([] if dry_run else [15])


def test_plans_may_be_made_at_the_same_time(place: Place) -> None:
    place.back_up(*DAYS)
    with place.repository.locked(timeout_seconds=0, dry_run=True):
        assert place.run(last=1, dry_run=True).changed


@pytest.mark.slow
def test_prune_among_backups_and_restores_harms_neither(tmp_path: Path) -> None:
    """Each process does what it does as often as it can; none may fail, and what is listed at the end is whole."""
    databases.make(tmp_path / "agent.db", rows=2000, page_size=512)
    (tmp_path / "restored").mkdir()
    repository, rounds, gone = tmp_path / "repository", 0, 0
    backup.run(backup.Request(tmp_path / "agent.db", repository, compression="none"))
    request = prune.Request(repository, dataclasses.replace(NOTHING, keep_last=6))
    with processes.running(BUSY, "backup", tmp_path) as writer, processes.running(BUSY, "restore", tmp_path) as reader:
        while gone < 30 and rounds < 3000:
            gone += len(prune.run(request).removed)
            rounds += 1
            assert writer.poll() is None, "a backup failed"
            assert reader.poll() is None, "a restore failed"
    assert gone >= 30
    assert any("incremental" in each["id"] for each in prune.run(request).kept)
    opened = Repository.open_existing(repository)
    with opened.locked(timeout_seconds=10):
        opened.remove_leftovers()
    assert verify.verify_backups(opened, "all", verify.Expectations("full")).error is None


# --- what others left, and what goes wrong -------------------------------------------------------------------------


def test_leftovers_of_killed_runs_are_removed(place: Place) -> None:
    place.back_up(DAYS[0])
    (place.path / ".staging-removed-20250101T000000Z-full").mkdir()
    (place.path / ".staging-removed-20250101T000000Z-full" / "manifest.json").touch()
    assert not place.run(last=1).changed
    assert not list(place.path.glob(".staging*"))


def test_run_that_removed_something_is_one_line_in_the_audit_log(place: Place) -> None:
    first, second, third, _last = place.back_up(*DAYS)
    outcome = place.run(last=1)
    (event,) = place.events()
    assert event["removed"] == [first, second, third]
    assert event["freed_bytes"] == outcome.freed_bytes
    assert event["outcome"] == "passed"


def test_failure_half_way_tells_what_was_removed_before_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, last = place.back_up(*DAYS)
    whole_bytes = files.tree_bytes(place.path / third)
    remove_tree = files.remove_tree

    def resist(path: Path) -> None:
        if path.name.endswith(second):
            raise EngineError("Cannot remove it: it resists.")
        remove_tree(path)

    with monkeypatch.context() as patch:
        patch.setattr(files, "remove_tree", resist)
        with pytest.raises(EngineError, match="it resists"):
            place.run(last=1)

    assert place.ids() == [first, last]
    (event,) = place.events()
    assert (event["outcome"], event["code"]) == ("failed", 1)
    assert event["removed"] == [third, second]
    assert 0 < event["freed_bytes"] == whole_bytes
    assert "it resists" in event["message"]
    assert removed(place.run(last=1)) == [first]
    place.assert_whole()


def test_audit_log_that_cannot_be_written_is_a_warning(place: Place) -> None:
    """The backups are gone: to call that a failure would deny it."""
    first, _last = place.back_up(*DAYS[:2])
    (place.path / "history.jsonl").unlink()
    (place.path / "history.jsonl").mkdir()
    outcome = place.run(last=1)
    assert removed(outcome) == [first]
    (warning,) = outcome.warnings
    assert "history.jsonl" in warning


def test_audit_log_that_cannot_be_written_does_not_hide_a_failure(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.back_up(*DAYS[:2])
    (place.path / "history.jsonl").unlink()
    (place.path / "history.jsonl").mkdir()

    def resist(_path: Path) -> None:
        raise EngineError("Cannot remove it: it resists.")

    monkeypatch.setattr(files, "remove_tree", resist)
    with pytest.raises(EngineError, match="it resists"):
        place.run(last=1)


def test_backup_that_was_moved_to_another_disk_loses_its_link_only(place: Place) -> None:
    first, _last = place.back_up(*DAYS[:2])
    elsewhere = place.directory / "elsewhere"
    (place.path / first).rename(elsewhere)
    (place.path / first).symlink_to(elsewhere, target_is_directory=True)
    assert place.run(last=1).removed == [{"id": first, "bytes": 0}]
    assert (elsewhere / "manifest.json").exists()
    assert len(place.ids()) == 1


@pytest.mark.root
def test_full_disk_can_be_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what somebody does who needs room (case 8)."""
    with processes.small_disk(4 * 1024 * 1024) as disk:
        (tmp_path / "app").mkdir()
        place = Place(tmp_path / "app", monkeypatch)
        place.path = disk / "repository"
        ids = place.back_up(*DAYS)
        (disk / "filler").write_bytes(b"\0" * shutil.disk_usage(disk).free)
        assert shutil.disk_usage(disk).free == 0
        assert removed(place.run(last=1)) == ids[:3]
        place.assert_whole()
        assert place.events()
