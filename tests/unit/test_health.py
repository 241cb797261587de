# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `status` says of a host to which something happened: from good to bad ok, degraded, failing, missed."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import health
from support import databases
from support.hosts import Host

CODES = {"ok": 0, "degraded": 3, "missed": 30, "failing": 31}


def status(host: Host) -> dict[str, Any]:
    """The facts; the state, the code and the reasons must tell the same."""
    found = host.run("status", "agent", "--json").result
    assert CODES[found["state"]] == (found["error"]["code"] if found["error"] else 0)
    assert found["state"] == (found["reasons"][0]["state"] if found["reasons"] else "ok")
    return found


def image(host: Host, place: int = -1) -> Path:
    return next((host.repository() / host.ids()[place]).glob("database.*"))


@pytest.fixture
def watched(host: Host, nothing_is_small: None, moment: list[datetime]) -> Host:
    """A host with an RPO of a day and one backup."""
    host.add("agent", rpo="1d")
    assert host.run("backup", "agent").code == 0
    return host


def test_all_is_well(watched: Host) -> None:
    assert (status(watched)["state"], status(watched)["reasons"]) == ("ok", [])


@pytest.mark.parametrize("harm", [os.unlink, lambda path: os.truncate(path, 0), lambda path: os.truncate(path, 1)])
def test_image_of_the_only_backup_is_gone(watched: Host, harm: Callable[[Path], None]) -> None:
    harm(image(watched))
    found = status(watched)
    assert found["state"] == "missed"
    assert [each["state"] for each in found["reasons"]] == ["missed", "degraded"]
    assert watched.ids()[0] in found["error"]["message"]


@pytest.mark.parametrize("harm", [os.unlink, lambda path: shutil.rmtree(path.parent)])
def test_full_backup_below_the_newest_is_gone(watched: Host, harm: Callable[[Path], None]) -> None:
    watched.change()
    assert watched.run("backup", "agent").code == 0
    assert watched.ids()[-1].endswith("-incremental")
    harm(image(watched, 0))
    assert status(watched)["state"] == "missed"


@pytest.mark.parametrize("name", ["manifest.json", "database.sqlite.gz"])
def test_newest_backup_that_is_damaged_has_a_good_one_behind_it_after_what_is_advised(
    watched: Host, moment: list[datetime], name: str
) -> None:
    watched.change()
    moment[0] += timedelta(hours=1)
    assert watched.run("backup", "agent", "--type", "full").code == 0
    os.truncate(watched.repository() / watched.ids()[-1] / name, 20)
    hint = status(watched)["error"]["hint"].splitlines()
    assert hint[-1].startswith("To have a good one first: ")
    moment[0] += timedelta(minutes=1)
    assert watched.run(*shlex.split(hint[-1].partition(": ")[2])[1:], "--json").result["stored"]
    assert watched.run("restore", "agent").code == 0


def test_older_backup_that_is_damaged_degrades(watched: Host, moment: list[datetime]) -> None:
    watched.change()
    moment[0] += timedelta(hours=1)
    assert watched.run("backup", "agent", "--type", "full").code == 0
    databases.flip_bit(watched.repository() / watched.ids()[0] / "manifest.json", 60)
    found = status(watched)
    assert found["state"] == "degraded"
    assert found["rpo_met"]
    assert watched.ids()[0] in found["error"]["message"]
    assert "does not match its seal" in found["error"]["message"]


def test_backup_that_failed_a_verification_degrades(watched: Host, moment: list[datetime]) -> None:
    artifact = image(watched)
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    assert watched.run("verify", "agent").code == 13
    assert status(watched)["state"] == "missed"
    moment[0] += timedelta(hours=1)
    assert watched.run("backup", "agent", "--no-prune", "--type", "full").code == 0
    found = status(watched)
    assert (found["state"], found["rpo_met"]) == ("degraded", True)
    assert "failed its verification at the level quick" in found["error"]["message"]


@pytest.mark.parametrize("loss", [os.unlink, lambda path: path.write_text("{"), lambda path: path.write_text("[]")])
def test_lost_note_of_a_failed_verification_is_remembered(watched: Host, loss: Callable[[Path], object]) -> None:
    artifact = image(watched)
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    assert watched.run("verify", "agent").code == 13
    loss(artifact.parent / "checks.json")
    found = status(watched)
    assert found["state"] == "degraded"
    assert "audit log" in found["error"]["message"]


def test_note_that_a_later_look_took_back_is_not_missed(watched: Host, moment: list[datetime]) -> None:
    artifact = image(watched)
    content = artifact.read_bytes()
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    assert watched.run("verify", "agent").code == 13
    artifact.write_bytes(content)
    moment[0] += timedelta(minutes=1)
    assert watched.run("verify", "agent").code == 0
    assert status(watched)["state"] == "ok"
    (artifact.parent / "checks.json").unlink()
    assert status(watched)["state"] == "ok"


@pytest.mark.parametrize(("harm", "code"), [(os.unlink, 10), (lambda path: path.write_bytes(b"no database" * 99), 10)])
def test_last_run_failed(watched: Host, harm: Callable[[Path], object], code: int) -> None:
    content = watched.database().read_bytes()
    harm(watched.database())
    assert watched.run("backup", "agent").code == code
    found = status(watched)
    assert (found["state"], found["rpo_met"]) == ("failing", True)
    watched.database().write_bytes(content)
    databases.settle(watched.database())
    assert watched.run("backup", "agent").code == 0
    assert status(watched)["state"] == "ok"


def test_corrupt_database_is_failing(watched: Host) -> None:
    content = watched.database().read_bytes()
    watched.database().write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))
    assert watched.run("backup", "agent").code == 12
    assert status(watched)["state"] == "failing"


DUE = {"minute": "0", "hour": "*", "grace": "1h"}


@pytest.fixture
def scheduled(watched: Host) -> Host:
    """Hourly, configured a day ago, and the last backup was made at noon."""
    file = watched.config / "databases.d" / "agent.json"
    watched.add("agent", rpo="1d", due=DUE)
    os.utime(file, (0, clock.from_text("2025-12-29T12:00:00Z").timestamp()))
    return watched


def test_run_that_never_began_is_failing(scheduled: Host, moment: list[datetime]) -> None:
    """The timer is stopped: nothing fails, and the RPO is not over for long."""
    moment[0] += timedelta(minutes=119, seconds=59)
    assert status(scheduled)["state"] == "ok"
    moment[0] += timedelta(seconds=1)
    found = status(scheduled)
    assert (found["state"], found["rpo_met"]) == ("failing", True)
    assert "was due at" in found["error"]["message"]
    assert scheduled.run("backup", "agent").code == 0
    assert status(scheduled)["state"] == "ok"


def test_run_that_came_and_failed_did_come(scheduled: Host, moment: list[datetime]) -> None:
    content = scheduled.database().read_bytes()
    scheduled.database().unlink()
    moment[0] += timedelta(hours=2)
    assert scheduled.run("backup", "agent").code == 10
    scheduled.database().write_bytes(content)
    found = status(scheduled)
    assert [each["text"][:18] for each in found["reasons"]] == ["The last backup fa"]


def test_nothing_was_due_before_the_schedule_was_there(scheduled: Host, moment: list[datetime]) -> None:
    """A database that was daily until now is not late by an hour."""
    moment[0] += timedelta(hours=20)
    file = scheduled.config / "databases.d" / "agent.json"
    os.utime(file, (0, moment[0].timestamp()))
    moment[0] += timedelta(minutes=59)
    assert status(scheduled)["state"] == "ok"
    moment[0] += timedelta(minutes=61)
    assert status(scheduled)["state"] == "failing"


@pytest.mark.parametrize("wrong", [{"minute": "x"}, {"hour": "25"}, {"grace": "soon"}, {"day": "1"}, {"minute": None}])
def test_schedule_that_is_none_is_refused(watched: Host, wrong: dict[str, Any]) -> None:
    watched.add("agent", due={**DUE, **wrong})
    assert watched.run("status", "agent").code == 2


def test_prune_that_failed_degrades(watched: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    watched.add("agent", rpo="1d", keep_hourly=0, keep_daily=0, keep_weekly=0, keep_monthly=0, keep_within="0s")
    assert watched.run("prune", "agent").code == 18
    found = status(watched)
    assert (found["state"], found["reasons"][0]["text"][:22]) == ("degraded", "The last prune failed:")


def test_prune_that_failed_is_over_when_one_succeeds(watched: Host, moment: list[datetime]) -> None:
    """The message of the last one is not what is to be done now: the lock that it met is gone."""
    with Repository.open_existing(watched.repository()).locked(timeout_seconds=0):
        assert watched.run("prune", "agent").code == 15
    assert "another run" not in status(watched)["error"]["hint"].lower()
    for _again in range(2):
        watched.change()
        moment[0] += timedelta(hours=1)
        assert watched.run("backup", "agent", "--no-prune", "--type", "full").code == 0
    with Repository.open_existing(watched.repository()).locked(timeout_seconds=0):
        assert watched.run("prune", "agent").code == 15
    watched.add("agent", rpo="1d", keep_last=1, keep_within="0s", keep_hourly=0, keep_daily=0, keep_weekly=0)
    moment[0] += timedelta(minutes=1)
    assert status(watched)["state"] == "degraded"
    assert watched.run("prune", "agent").code == 0
    assert status(watched)["state"] == "ok"


def test_nobody_read_what_is_stored_for_long(watched: Host, moment: list[datetime]) -> None:
    """Without an RPO, or a long one, an old backup may be as it should be, if it is still there."""
    watched.add("agent", rpo="365d")
    moment[0] += timedelta(days=30)
    assert status(watched)["state"] == "ok"
    moment[0] += timedelta(seconds=1)
    found = status(watched)
    assert (found["state"], found["rpo_met"]) == ("degraded", True)
    assert "verify agent --backup " in found["error"]["hint"]
    assert watched.run("verify", "agent").code == 0
    assert status(watched)["state"] == "ok"


def test_run_that_confirms_reads_what_is_stored(watched: Host, moment: list[datetime]) -> None:
    """That an unchanged database is confirmed counts as such a look: it is one."""
    for _month in range(12):
        moment[0] += timedelta(days=25)
        assert watched.run("backup", "agent").code == 0
        assert status(watched)["state"] == "ok"
    assert len(watched.ids()) == 1
    artifact = image(watched)
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    moment[0] += timedelta(hours=1)
    assert watched.run("backup", "agent", "--json").result["stored"]


@pytest.mark.parametrize("ahead", ["made", "confirmed"])
def test_time_from_the_future_is_not_now(watched: Host, moment: list[datetime], ahead: str) -> None:
    """A clock that was ahead for a moment must not keep the status good for the days in which no backup comes."""
    begin = moment[0]
    if ahead == "made":
        watched.change()
    moment[0] = begin + timedelta(days=300)
    assert watched.run("backup", "agent").code == 0
    moment[0] = begin + timedelta(hours=1)
    found = status(watched)
    assert (found["state"], found["age_seconds"]) == ("degraded", 3600)
    assert "still to come" in found["error"]["message"]
    moment[0] = begin + timedelta(days=2)
    assert status(watched)["state"] == "missed"


def test_damaged_pin_degrades(watched: Host) -> None:
    assert watched.run("pin", "agent", "--backup", watched.ids()[0]).code == 0
    assert status(watched)["state"] == "ok"
    databases.flip_bit(watched.repository() / watched.ids()[0] / "pin.json", 20)
    assert status(watched)["state"] == "degraded"


def test_old_pin_is_worth_a_word(watched: Host, moment: list[datetime]) -> None:
    assert watched.run("pin", "agent", "--backup", watched.ids()[0]).code == 0
    moment[0] += timedelta(days=365)
    assert watched.run("backup", "agent").code == 0
    assert status(watched)["reasons"] == []
    moment[0] += timedelta(hours=1)
    found = status(watched)
    assert (found["state"], [each["state"] for each in found["reasons"]]) == ("ok", ["ok"])
    assert watched.ids()[0] in found["warnings"][0]
    assert watched.run("pin", "agent", "--backup", watched.ids()[0], "--until", "2027-06-01").code == 0
    assert status(watched)["reasons"] == []


def test_backup_of_another_repository_degrades(watched: Host, moment: list[datetime]) -> None:
    """What was copied here is no part of the repository, and counts for nothing."""
    watched.add("other")
    moment[0] += timedelta(hours=1)
    assert watched.run("backup", "other").code == 0
    shutil.copytree(
        watched.repository("other") / watched.ids("other")[0], watched.repository() / watched.ids("other")[0]
    )
    found = status(watched)
    assert (found["state"], found["age_seconds"]) == ("degraded", 3600)
    assert "foreign" in found["error"]["message"].lower()


def test_database_that_began_anew_degrades(watched: Host, moment: list[datetime]) -> None:
    """Its backups are held apart: the age is that of the newest one of the database that was."""
    moment[0] += timedelta(hours=1)
    watched.database().unlink()
    databases.make(watched.database(), setup="CREATE TABLE other(a)")
    with contextlib.closing(sqlite3.connect(watched.database())) as connection:
        connection.execute("DROP TABLE item")
    databases.settle(watched.database())
    assert watched.run("backup", "agent").code == 0
    found = status(watched)
    assert (found["state"], found["age_seconds"]) == ("degraded", 3600)
    assert "held apart" in found["error"]["message"]
    assert watched.run("backup", "agent", "--force-identity").code == 0
    assert status(watched)["state"] == "ok"


@pytest.mark.parametrize("line", [b"5\n", b"[1]\n", b"\xff\xfe{\n", b'{"event": 7, "backup": [1], "code": {}}\n', b"{"])
def test_line_of_the_audit_log_that_is_none_is_passed_over(watched: Host, line: bytes) -> None:
    with (watched.repository() / "history.jsonl").open("ab") as file:
        file.write(line)
    assert status(watched)["state"] == "ok"
    assert watched.run("list").code == 0


@pytest.mark.parametrize(
    "line",
    [
        b'{"event": "verify", "backup": {"a": 1}, "code": 13, "level": ["full"], "time": 5}\n',
        b'{"event": ["backup"], "outcome": "failed", "message": {"x": 1}}\n',
        b'{"event": "drill", "outcome": "failed"}\n',
    ],
)
def test_odd_failure_in_the_audit_log_is_no_traceback(watched: Host, line: bytes) -> None:
    with (watched.repository() / "history.jsonl").open("ab") as file:
        file.write(line)
    assert watched.run("status").code in CODES.values()


@pytest.mark.parametrize("when", ["never", "2025-13-01T00:00:00Z"])
def test_time_that_is_none_in_a_note_is_no_note(watched: Host, when: str) -> None:
    note = f'{{"confirmed": "", "verifications": [{{"time": "{when}", "level": "full", "outcome": "passed"}}]}}'
    (watched.repository() / watched.ids()[0] / "checks.json").write_text(note)
    assert status(watched)["state"] == "ok"
    assert watched.run("backup", "agent").code == 0


def test_what_was_found_current_by_a_clock_that_was_ahead_is_forgotten(watched: Host, moment: list[datetime]) -> None:
    """Beside an older backup nobody could change that."""
    moment[0] += timedelta(days=300)
    assert watched.run("backup", "agent").code == 0
    moment[0] -= timedelta(days=300)
    assert status(watched)["state"] == "degraded"
    watched.change()
    assert watched.run("backup", "agent").code == 0
    assert status(watched)["state"] == "ok"


def test_backup_from_a_time_to_come_is_named_to_be_removed(host: Host, moment: list[datetime]) -> None:
    """It stays, whatever retention says, and newer ones do not change that."""
    moment[0] += timedelta(days=300)
    assert host.run("backup", "agent").code == 0
    moment[0] -= timedelta(days=300)
    ahead = host.repository() / host.ids()[0]
    assert str(ahead) not in status(host)["reasons"][0]["hint"]
    host.change()
    assert host.run("backup", "agent").code == 0
    found = status(host)
    assert found["state"] == "degraded"
    assert f"remove {ahead}" in found["reasons"][0]["hint"]
    shutil.rmtree(ahead)
    assert status(host)["state"] == "ok"


def test_code_of_many_databases_is_that_of_the_worst(watched: Host, moment: list[datetime]) -> None:
    """Degraded comes first by name; a database without a backup must not be hidden by it."""
    watched.add("second", rpo="1d")
    assert watched.run("backup", "second").code == 0
    moment[0] += timedelta(days=300)
    assert watched.run("backup", "agent").code == 0
    moment[0] = clock.from_text("2025-12-30T12:00:00Z") + timedelta(hours=1)
    assert watched.run("status").code == CODES["degraded"]
    watched.database("second").unlink()
    assert watched.run("backup", "second").code == 10
    assert watched.run("status").code == CODES["failing"]
    watched.add("third")
    said = watched.run("status")
    assert said.code == CODES["missed"]
    assert [line.split()[1] for line in said.out.splitlines()[1:]] == ["DEGRADED", "FAILING", "MISSED"]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 10**400, -1, [[]], {"a": "b"}, "7"])
def test_what_the_owner_of_a_log_wrote_of_a_failure_is_not_handed_on(wrong: object) -> None:
    event = {"event": "backup", "outcome": "failed", "time": wrong, "code": wrong, "message": "x"}
    found = health.last_failure([event])
    assert found
    time = wrong if isinstance(wrong, str) else None
    assert found == {"event": "backup", "time": time, "code": None, "message": "x"}
