# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill: a restore from nothing that is proven, timed, written down, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError, UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import recovery
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import content, drill
from support import databases, keys
from support.hosts import Host
from support.offsite import Offsite
from support.sites import ROWS, Site


def drilled(site: Site, **options: Any) -> drill.Drill:
    """The only drill that is asked for."""
    (found,) = drill.run(drill.Request(**{"repository": site.repository, "lock_timeout_seconds": 0, **options}))
    return found


def expecting(rows: int) -> content.Expectations:
    return content.Expectations("full", ["page"], [{"sql": "SELECT count(*) FROM page", "equals": rows}])


def last_event(site: Site) -> dict[str, Any]:
    return [each for each in site.history() if each["event"] == "drill"][-1]


@pytest.fixture
def chain(site: Site) -> Site:
    """A full backup and an incremental on it."""
    site.stored()
    site.change()
    site.stored()
    return site


def test_newest_backup_is_restored_proven_and_timed(chain: Site) -> None:
    found = drilled(chain, expectations=expecting(ROWS), rto_seconds=600, rpo_seconds=600)
    assert (found.outcome, found.error, found.backup) == ("passed", None, chain.ids()[-1])
    assert found.database_bytes == chain.database.stat().st_size
    assert found.rto_seconds is not None
    assert found.rto_seconds >= sum(found.durations.values()) * 0.99
    assert {"stage", "switch", "prove"} <= {*found.durations}
    assert (found.rto_met, found.rpo_met) == (True, True)
    assert {each.name for each in found.checks} >= {"restore", "rows", "integrity_check", "table page"}
    manifests = [each.trusted() for each in chain.open().backups()]
    assert found.stored_bytes == sum(each.stored_bytes for each in manifests)


def test_result_is_written_down_once(chain: Site) -> None:
    before = len(chain.history())
    found = drilled(chain, rto_seconds=600)
    assert len(chain.history()) == before + 1
    event = last_event(chain)
    assert (event["backup"], event["outcome"], event["rto_met"]) == (chain.ids()[-1], "passed", True)
    assert event["rto_seconds"] == found.rto_seconds
    (last,) = found.history
    assert (last.backup, last.rto_seconds, last.database_bytes) == (
        found.backup,
        found.rto_seconds,
        found.database_bytes,
    )
    full, newest = chain.open().backups()
    assert (full.proven, bool(newest.proven)) == ("", True)
    assert newest.verified


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_nothing_is_left_behind(chain: Site, tmp_path: Path, outcome: str) -> None:
    place = tmp_path / "scratch"
    place.mkdir(mode=0o700)
    before = databases.tree(chain.directory)
    rows = ROWS if outcome == "passed" else 1
    assert drilled(chain, scratch_dir=place, expectations=expecting(rows)).outcome == outcome
    assert not [*place.iterdir()]
    after = databases.tree(chain.directory)
    changed = {name for name in {*before, *after} if before.get(name) != after.get(name)}
    assert {Path(name).name for name in changed} <= {"history.jsonl", "checks.json", chain.ids()[-1], "checks"}


def test_value_is_json(chain: Site) -> None:
    told = drilled(chain).to_json()
    assert json.loads(json.dumps(told)) == told
    assert told["from"] == str(chain.repository)


def test_damaged_artifact_fails_the_drill(chain: Site) -> None:
    artifact = next((chain.repository / chain.ids()[0]).glob("database.sqlite*"))
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    found = drilled(chain)
    assert found.error is not None
    assert (found.outcome, found.error.code, found.rto_seconds) == ("failed", 13, None)
    assert chain.open().backups()[-1].failed == "full"
    assert (last_event(chain)["outcome"], last_event(chain)["code"]) == ("failed", 13)
    assert any(each.startswith("restore: ") for each in found.not_proven)
    assert not any("byte for byte" in each for each in found.proven)


def test_other_rows_than_expected_fail_the_drill_and_not_the_backup(chain: Site) -> None:
    found = drilled(chain, expectations=expecting(ROWS + 1))
    assert found.error is not None
    assert (found.outcome, found.error.code) == ("failed", 17)
    assert f"expected {ROWS + 1}, found {ROWS}" in found.error.message
    newest = chain.open().backups()[-1]
    assert not newest.failed
    assert newest.verifications[-1]["outcome"] == "unexpected"


def test_rto_of_zero_fails_the_drill(chain: Site) -> None:
    found = drilled(chain, rto_seconds=0)
    assert found.error is not None
    assert (found.outcome, found.error.code, found.rto_met) == ("failed", 30, False)
    assert "more than the RTO of" in found.error.message
    assert chain.open().backups()[-1].proven


def test_data_that_is_too_old_fails_the_drill(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.stored()
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    found = drilled(site, rpo_seconds=3600)
    assert found.error is not None
    assert (found.outcome, found.error.code, found.rpo_met) == ("failed", 30, False)
    assert "2 h" in found.error.message


def test_wrong_key_fails_the_drill_and_says_nothing_of_the_backup(site: Site) -> None:
    encryption, _own = keys.scheme("gpg-passphrase")
    site.stored(encryption=encryption)
    found = drilled(site, keys=keys.wrong_keys("gpg-passphrase"))
    assert found.error is not None
    assert (found.outcome, found.error.code) == ("failed", 14)
    assert not site.open().backups()[-1].verifications


def test_own_key_passes(site: Site) -> None:
    encryption, own = keys.scheme("gpg-passphrase")
    site.stored(encryption=encryption)
    assert drilled(site, keys=own).outcome == "passed"


def test_audit_log_tells_nothing_of_what_is_encrypted(site: Site) -> None:
    encryption, own = keys.scheme("gpg-passphrase")
    site.stored(encryption=encryption)
    found = drilled(site, keys=own, expectations=expecting(ROWS + 1))
    assert "page" in str(found.error)
    log = (site.repository / "history.jsonl").read_text(encoding="utf-8")
    assert "page" not in log
    assert last_event(site)["message"].startswith("proof or assertion failed")
    assert drilled(site, keys=own, rto_seconds=0).error is not None
    assert "more than the RTO" in last_event(site)["message"]


def test_suspect_backup_is_refused_as_by_a_restore(site: Site) -> None:
    site.corrupt()
    site.back_up()
    found = drilled(site, backup=site.ids()[0])
    assert found.error is not None
    assert (found.outcome, found.error.code) == ("failed", 18)


def test_repository_without_a_backup_fails_the_drill(site: Site) -> None:
    site.stored()
    site.change()
    for each in site.open().backups():
        site.open().remove(each)
    found = drilled(site)
    assert found.error is not None
    assert (found.outcome, found.error.code, found.backup) == ("failed", 22, "")


def test_check_mode_chooses_and_restores_nothing(chain: Site) -> None:
    before = databases.tree(chain.directory)
    (found,) = drill.run(drill.Request(repository=chain.repository), dry_run=True)
    assert (found.backup, found.outcome, found.checks) == (chain.ids()[-1], "", [])
    assert databases.tree(chain.directory) == before


def test_random_one_is_any_that_a_restore_takes(chain: Site) -> None:
    site = chain
    site.corrupt()
    site.back_up()
    found = {drilled(site, backup="random").backup for _time in range(20)}
    assert found == {each.id for each in site.open().backups() if not each.suspect}


@pytest.mark.thorough
def test_all_are_proven_within_the_time(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Weekly drills over four weeks, while new backups come and old ones go."""
    start = clock.now()
    moment = start
    monkeypatch.setattr(clock, "now", lambda: moment)
    kept_for = timedelta(days=40)
    proven_once: dict[str, Any] = {}
    for day in range(60):
        moment = start + timedelta(days=day)
        site.change()
        site.stored(type="full")
        if day % 7 == 6:
            drills = drill.run(drill.Request(repository=site.repository, backup="due"))
            assert {each.outcome for each in drills} == {"passed"}
            assert drills[0].backup == site.ids()[-1]
            proven_once.update({each.backup: moment for each in drills})
        for each in site.open().backups():
            born = clock.from_text(each.trusted().started)
            last = proven_once.get(each.id, born)
            assert moment - last <= timedelta(weeks=4), f"{each.id} waited too long on day {day}"
            if moment - born > kept_for:
                site.open().remove(each)
    assert len(proven_once) > 20


def test_damaged_one_is_told_each_time_and_takes_no_turn(chain: Site) -> None:
    site = chain
    site.change()
    site.stored(type="full")
    databases.flip_bit(site.repository / site.ids()[0] / "manifest.json", 9)
    found = drill.run(drill.Request(repository=site.repository, backup="due", every_seconds=1, prove_within_seconds=9))
    assert found[0].backup == site.ids()[-1]
    assert {each.backup: each.outcome for each in found}[site.ids()[0]] == "failed"


def test_one_that_retention_removes_meanwhile_is_not_missed(chain: Site) -> None:
    site = chain
    site.change()
    site.stored(type="full")
    doomed = site.ids()[1]

    def remove(_done: int, _total: int) -> None:
        for each in site.open().backups():
            if each.id == doomed:
                site.open().remove(each)

    request = drill.Request(repository=site.repository, backup="due", every_seconds=1, prove_within_seconds=1)
    found = drill.run(request, progress=remove)
    assert [each.backup for each in found] == [site.ids()[-1], site.ids()[0]]
    assert {each.outcome for each in found} == {"passed"}
    assert {each["outcome"] for each in site.history() if each["event"] == "drill"} == {"passed"}


def test_one_that_goes_wrong_in_a_way_of_its_own_keeps_no_other_from_its_turn(
    chain: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter([MemoryError("no memory")])
    right = content.opened

    def check(*given: Any, **named: Any) -> Any:
        for each in calls:
            raise each
        return right(*given, **named)

    monkeypatch.setattr(content, "opened", check)
    request = drill.Request(repository=chain.repository, backup="due", every_seconds=1, prove_within_seconds=1)
    found = drill.run(request)
    assert [each.outcome for each in found] == ["failed", "passed"]
    assert not chain.open().backups()[-1].failed


def test_growth_tells_when_the_rto_will_be_missed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.stored()
    later = clock.now() + timedelta(days=10)
    monkeypatch.setattr(clock, "now", lambda: later)
    before = site.database.stat().st_size
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute("CREATE TABLE more(content TEXT)")
        connection.executemany("INSERT INTO more VALUES (?)", [("x" * 400,)] * 40)
        connection.commit()
    databases.settle(site.database)
    site.stored(type="full")
    size = site.database.stat().st_size
    found = drilled(site, rto_seconds=600)
    assert found.outlook is not None
    assert found.outlook.growth_bytes_per_day == pytest.approx((size - before) / 10, abs=1)
    assert found.outlook.database_bytes == pytest.approx(size + 9 * (size - before), abs=100)
    factor = found.outlook.database_bytes / size
    assert found.rto_seconds is not None
    assert found.outlook.rto_seconds == pytest.approx(found.rto_seconds * factor, abs=0.01)
    for allowed, met in ((2.1 * factor, True), (1.9 * factor, False), (None, None)):
        told = recovery.outlook(site.open().backups(), size, 2.0, allowed)
        assert told is not None
        assert told.rto_met is met


def test_log_of_somebody_else_is_no_more_than_words(chain: Site) -> None:
    lines = [
        {
            "event": "drill",
            "time": "2025-01-01T00:00:00Z",
            "outcome": "passed",
            "database_bytes": True,
            "backup": "../x",
        },
        {"event": "drill", "time": "9999-99-99", "outcome": "passed"},
        {"event": "drill", "time": {"a": 1}, "outcome": ["passed"]},
        {
            "event": "drill",
            "time": "2025-01-01T00:00:00Z",
            "outcome": "failed",
            "rto_seconds": 1e308,
            "target": "x" * 9999,
        },
        {"event": "drill", "time": "2025-01-01T00:00:00Z", "outcome": "passed", "database_bytes": True, "rto_met": 1},
    ]
    with (chain.repository / "history.jsonl").open("a", encoding="utf-8") as log:
        log.writelines(json.dumps(each) + "\n" for each in lines)
    found = drilled(chain)
    assert found.outcome == "passed"
    long, odd, last = found.history
    assert (long.rto_seconds, len(long.place)) == (None, 500)
    assert (odd.database_bytes, odd.rto_met) == (None, None)
    assert last.backup == found.backup


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root has others' repositories")
def test_nothing_is_said_of_owners_that_a_scratch_place_cannot_have(chain: Site) -> None:
    for each in (chain.repository, *chain.repository.rglob("*")):
        os.chown(each, 65534, 65534)
    assert drilled(chain).warnings == []


def test_scratch_that_others_can_change_is_refused(chain: Site, tmp_path: Path) -> None:
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    with pytest.raises(RefusedError, match="others can change what is in"):
        drilled(chain, scratch_dir=place)
    if os.geteuid() == 0:
        place.chmod(0o700)
        os.chown(place, 65534, 65534)
        with pytest.raises(RefusedError, match="others can change what is in"):
            drilled(chain, scratch_dir=place)


def test_usual_place_is_among_the_temporary_files(chain: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path / "gone"))
    found = drilled(chain)
    assert found.outcome == "failed"
    assert "gone" in str(found.error)


def test_nothing_to_read_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="neither repository nor target is given"):
        drill.run(drill.Request(repository=None))


@pytest.mark.thorough
class TestTarget:
    """A drill of the copy elsewhere begins with nothing."""

    @staticmethod
    def request(offsite: Offsite, **options: Any) -> drill.Request:
        there = address.requested(offsite.server.options())
        return drill.Request(**{"repository": offsite.site.repository, "target": there, "called": "nas", **options})

    def test_what_is_there_is_fetched_and_timed(self, offsite: Offsite) -> None:
        offsite.push()
        (found,) = drill.run(self.request(offsite))
        assert (found.outcome, found.backup) == ("passed", offsite.site.ids()[-1])
        assert "fetch" in found.durations
        assert found.place == offsite.server.options()["url"]
        event = last_event(offsite.site)
        assert (event["target"], event["outcome"]) == ("nas", "passed")
        # What was proven is the copy, not the one in the repository.
        assert not offsite.site.open().backups()[-1].proven

    def test_no_repository_is_needed_here(self, offsite: Offsite, tmp_path: Path) -> None:
        offsite.push()
        for repository in (None, tmp_path / "none"):
            (found,) = drill.run(self.request(offsite, repository=repository, backup="random"))
            assert (found.outcome, found.name) == ("passed", "agent")
        assert not (tmp_path / "none").exists()

    def test_damage_there_fails(self, offsite: Offsite) -> None:
        offsite.push()
        artifact = next(offsite.files.glob("*-full/database.sqlite.gz"))
        databases.flip_bit(artifact, 9)
        (found,) = drill.run(self.request(offsite))
        assert found.error is not None
        assert (found.outcome, found.error.code) == ("failed", 13)

    def test_target_that_is_gone_fails(self, offsite: Offsite) -> None:
        (found,) = drill.run(self.request(offsite))
        assert found.error is not None
        assert (found.outcome, found.error.code in (21, 22)) == ("failed", True)

    def test_check_mode_fetches_nothing(self, offsite: Offsite) -> None:
        offsite.push()
        (found,) = drill.run(self.request(offsite), dry_run=True)
        assert (found.backup, found.outcome) == (offsite.site.ids()[-1], "")


def test_runner_tells_what_was_found(host: Host) -> None:
    host.run("backup", "agent")
    said = host.run("drill", "agent", "--json")
    assert (said.code, said.document["command"]) == (0, "drill")
    (told,) = said.result["drills"]
    assert (told["outcome"], told["backup"]) == ("passed", host.ids()[-1])
    words = told["command"].split()
    assert words[:2] == ["sqlite-backup", "drill"]
    assert host.run(*words[1:-2]).code == 0
    text = host.run("drill", "agent")
    assert text.out.startswith("agent: 1 drill, none failed\n")
    assert host.run("drill", "agent", "--dry-run").out == f"agent: would restore {host.ids()[-1]} for trial\n"


def test_runner_goes_by_the_configuration(host: Host) -> None:
    assertion = {"sql": "SELECT count(*) FROM item", "equals": 4}
    host.add("agent", rto="0s", drill={"backup": "due", "every": "1d"}, assertions=[assertion])
    host.run("backup", "agent", "--type", "full")
    host.change()
    host.run("backup", "agent", "--type", "full")
    said = host.run("drill", "agent", "--json")
    assert said.code == 17, "the older one has three rows; too slow is the lesser failure"
    assert [each["error"]["code"] for each in said.result["drills"]] == [30, 17]
    assert host.run("drill", "agent", "--backup", "latest").code == 30


def test_report_is_written_whatever_came_of_the_drills(host: Host, tmp_path: Path) -> None:
    host.run("backup", "agent")
    host.add("gone", make=False)
    page = tmp_path / "drills.html"
    assert host.run("drill", "--all", "--report", page).code == 22
    report = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    assert [(each["name"], each["outcome"]) for each in report["drills"]] == [("gone", "failed"), ("agent", "passed")]
    assert "</html>" in page.read_text(encoding="utf-8")
    assert {each.stat().st_mode & 0o777 for each in (page, page.with_suffix(".json"))} == {0o600}
    assert host.run("drill", "agent", "--report", page).code == 0
    assert len(json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))["drills"]) == 1


def test_report_that_cannot_be_written_is_told(host: Host, tmp_path: Path) -> None:
    host.run("backup", "agent")
    said = host.run("drill", "agent", "--report", tmp_path / "drills.txt")
    assert (said.code, "does not end with .html" in said.err) == (2, True)
    missing = host.run("drill", "agent", "--report", tmp_path / "none" / "drills.html")
    assert missing.code != 0
    assert "Cannot write the report" in missing.err
    assert [each["event"] for each in host.history()].count("drill") == 2


def test_status_tells_of_a_drill_that_failed_or_never_came(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add("agent", drill={"every": "1d"})
    host.run("backup", "agent")
    assert host.run("status", "agent").code == 0
    assert host.run("drill", "agent").code == 0
    assert host.run("status", "agent", "--json").result["last_drill"]["outcome"] == "passed"
    later = clock.now() + timedelta(days=2, hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        late = host.run("status", "agent")
        assert (late.code, "There was no drill since" in late.err) == (3, True)
    with (host.repository() / "history.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps({"event": "drill", "time": "2999-01-01T00:00:00Z", "outcome": "passed"}) + "\n")
    with monkeypatch.context() as patch:
        patch.setattr(clock, "now", lambda: later)
        assert "There was no drill since" in host.run("status", "agent").err
    host.add("agent", rto="0s")
    assert host.run("drill", "agent").code == 30
    failed = host.run("status", "agent")
    assert (failed.code, "The last drill, of " in failed.err) == (3, True)
    assert re.search(r"LAST DRILL +LAST RUN\n.* FAILED \d s ago +good", failed.out)


def test_doctor_says_when_no_drill_was_made(host: Host) -> None:
    host.run("backup", "agent")
    told = {each["name"]: each for each in host.run("doctor", "agent", "--json").result["findings"]}
    assert (told["drills"]["outcome"], "No drill has shown yet" in told["drills"]["detail"]) == ("note", True)
    host.run("drill", "agent")
    told = {each["name"]: each for each in host.run("doctor", "agent", "--json").result["findings"]}
    assert (told["drills"]["outcome"], "passed" in told["drills"]["detail"]) == ("ok", True)


def test_due_at_a_target_is_a_mistake(host: Host) -> None:
    host.run("backup", "agent")
    host.add_target("nas", url="file:///mnt/copies")
    said = host.run("drill", "agent", "--backup", "due", "--target", "nas")
    assert (said.code, "what is due at a target is not known" in said.err) == (2, True)
