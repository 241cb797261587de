# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each command does with one configured database."""

from __future__ import annotations

import contextlib
import re
import shlex
import sqlite3
import zoneinfo
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.result import Result, attempt
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    RepositoryLockedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import doctor, prune
from support import databases, keys, processes
from support.hosts import Host, Said

NO_RULE = {"keep_within": "0s", "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}


def everything(host: Host) -> dict[str, str]:
    """All files below the host; a lock is taken also by who only looks."""
    return {name: digest for name, digest in databases.tree(host.directory).items() if not name.endswith(".lock")}


def corrupt(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))


def test_lost_environment_file_keeps_nobody_from_the_backups(host: Host) -> None:
    """It is lost with the server, and what is in the repository does not need it."""
    env = host.directory / ".env"
    env.write_text("DATABASE_URL=file:./agent.db?connection_limit=1\n")
    given = {"env_file": str(env), "chdir": str(host.directory), "repository": str(host.repository())}
    host.configure("agent", given)
    assert host.run("backup", "agent").code == 0

    env.unlink()
    assert [host.run(*words).code for words in (("list",), ("status",), ("verify", "agent"))] == [0, 0, 0]
    said = host.run("backup", "agent")
    assert (said.code, "env: the file does not exist" in said.err) == (10, True)
    assert host.run("restore", "agent").code == 10
    assert host.run("restore", "agent", "--dest", host.directory / "new.db").code == 0


# --- backup --------------------------------------------------------------------------------------------------------


def test_a_backup_is_stored_then_confirmed(host: Host) -> None:
    first = host.run("backup", "agent", "--reason", "why", "--tag", "a", "--json").result

    assert (first["changed"], first["stored"]) == (True, True)
    assert (first["backup"]["reason"], first["backup"]["tags"]) == ("why", ["a"])

    second = host.run("backup", "agent", "--json").result

    assert (second["changed"], second["stored"]) == (False, False)
    assert second["backup"]["id"] == first["backup"]["id"]
    assert second["backup"]["confirmed"]
    assert "agent: unchanged" in host.run("backup", "agent").out


def test_options_of_the_command_line_add_to_the_configuration(host: Host) -> None:
    host.add("agent", tags=["always"], type="full")

    made = host.run("backup", "agent", "--tag", "b", "--pinned", "--type", "incremental", "--json").result["backup"]

    assert made["tags"] == ["always", "b"]
    assert made["pinned"]


def test_force_stores_what_is_unchanged(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(hours=2)

    assert host.run("backup", "agent", "--force", "--json").result["stored"]
    assert len(host.ids()) == 2


def test_old_backups_go_after_a_new_one(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **NO_RULE, keep_last=2)
    for hour in range(4):
        host.change(text=f"hour {hour}")
        moment[0] += timedelta(hours=1)
        said = host.run("backup", "agent", "--json")

    assert len(host.ids()) == 2
    assert [each["reasons"] for each in said.result["pruned"]["kept"]] == [
        ["last"],
        ["last", "newest", "newest verified"],
    ]
    assert len(said.result["pruned"]["removed"]) == 1


def test_no_prune_keeps_them(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **NO_RULE, keep_last=1)
    for hour in range(3):
        host.change(text=f"hour {hour}")
        moment[0] += timedelta(hours=1)
        result = host.run("backup", "agent", "--no-prune", "--json").result

    assert len(host.ids()) == 3
    assert result["pruned"] is None


def test_time_alone_lets_old_backups_go(host: Host, moment: list[datetime]) -> None:
    """Nothing new is stored, and yet something changed."""
    host.add("agent", keep_last=9)
    host.run("backup", "agent")
    moment[0] += timedelta(minutes=1)
    host.run("backup", "agent", "--force")
    host.add("agent", keep_within="0s")

    result = host.run("backup", "agent", "--json").result

    assert (result["stored"], result["changed"]) == (False, True)
    assert len(result["pruned"]["removed"]) == 1
    assert set(result["pruned"]) == {"kept", "removed", "freed_bytes"}


def test_damage_that_is_noticed_within_the_day_costs_no_more_than_the_schedule_says(
    host: Host, moment: list[datetime]
) -> None:
    """A backup every 15 minutes; what goes wrong at 10:20 is noticed at 11:10."""
    moment[0] = moment[0].replace(hour=6)
    while (moment[0].hour, moment[0].minute) < (11, 15):
        host.change(text="damage" if (moment[0].hour, moment[0].minute) == (10, 30) else f"{moment[0]}")
        assert host.run("backup", "agent").code == 0
        moment[0] += timedelta(minutes=15)
    moment[0] = moment[0].replace(hour=11, minute=10)

    dest = host.directory / "found.db"
    restored = host.run("restore", "agent", "--before", "2025-12-30T10:20:00Z", "--dest", dest, "--json")

    assert restored.code == 0
    assert restored.result["restore"]["backup"] == "20251230T101500Z-full"
    names = databases.names(dest)
    assert "2025-12-30 10:15:00+00:00" in names
    assert "damage" not in names


def test_backup_before_something_dangerous_outlives_the_next_runs(host: Host, moment: list[datetime]) -> None:
    """It is not pinned, and the schedule comes twice within the same hour."""
    host.run("backup", "agent")
    moment[0] += timedelta(minutes=5)
    host.change(text="by hand")
    made = host.run("backup", "agent", "--reason", "before migration 42", "--json").result["backup"]["id"]
    for minute in (15, 30):
        moment[0] = moment[0].replace(minute=minute)
        host.change(text=f"migrated {minute}")
        kept = host.run("backup", "agent", "--json").result["pruned"]["kept"]

    assert len(host.ids()) == 4
    assert {each["id"]: each["reasons"] for each in kept}[made] == ["within"]


def test_within_alone_is_a_policy_and_removes_what_is_older(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **{**NO_RULE, "keep_within": "2h"})
    for hour in range(4):
        host.change(text=f"hour {hour}")
        assert host.run("backup", "agent").code == 0
        moment[0] += timedelta(hours=1)

    assert host.ids() == ["20251230T140000Z-full", "20251230T150000Z-full"]
    assert host.run("doctor", "agent").code == 0


def test_a_suspect_backup_is_told_and_nothing_is_pruned(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **NO_RULE, keep_last=1)
    host.run("backup", "agent", "--no-prune")
    moment[0] += timedelta(hours=1)
    host.change()
    host.run("backup", "agent", "--no-prune")
    moment[0] += timedelta(hours=1)
    corrupt(host.database())
    databases.settle(host.database())

    said = host.run("backup", "agent", "--json")

    assert said.code == 12
    assert said.result["backup"]["suspect"]
    assert said.result["backup"]["id"] == host.ids()[-1]
    assert said.result["pruned"] is None
    assert len(host.ids()) == 3


def still_corrupt(host: Host, moment: list[datetime], *words: str) -> Said:
    """What a run says of a corrupt database that has changed, an hour later."""
    moment[0] += timedelta(hours=1)
    with host.database().open("r+b") as file:
        file.seek(-8, 2)
        file.write(moment[0].strftime("%d%H%M%S").encode())
    databases.settle(host.database())
    return host.run("backup", "agent", "--json", *words)


def test_suspect_backups_of_a_database_that_stays_corrupt_do_not_pile_up(host: Host, moment: list[datetime]) -> None:
    host.add("agent", keep_hourly=0, keep_daily=0, keep_weekly=0, keep_monthly=0, keep_last=1)
    host.run("backup", "agent", "--no-prune")
    moment[0] += timedelta(hours=1)
    host.change()
    host.run("backup", "agent", "--no-prune")
    good = host.ids()
    corrupt(host.database())
    said = [still_corrupt(host, moment) for _each in range(5)]

    assert [each.code for each in said] == [12] * 5
    made = [each.result["backup"]["id"] for each in said]
    assert len(set(made)) == 5
    assert host.ids() == [*good, made[0], made[-1]]
    assert said[1].result["pruned"] is None
    assert [each["id"] for each in said[-1].result["pruned"]["removed"]] == [made[-2]]
    assert host.history()[-1]["removed"] == [made[-2]]
    assert status(host)["last_failure"]["code"] == 12


def test_suspect_backups_pile_up_where_nothing_is_to_be_pruned(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    corrupt(host.database())
    for _each in range(4):
        assert still_corrupt(host, moment, "--no-prune").code == 12
    assert len(host.ids()) == 5

    assert still_corrupt(host, moment, "--dry-run").code == 12
    assert len(host.ids()) == 5


def test_pinned_suspect_backup_stays(host: Host, moment: list[datetime]) -> None:
    corrupt(host.database())
    made = [still_corrupt(host, moment, *words).result["backup"]["id"] for words in ([], ["--pinned"], [], [])]

    assert host.ids() == [made[0], made[1], made[3]]


def test_suspect_backups_go_whatever_the_policy_is(host: Host, moment: list[datetime]) -> None:
    """One that keeps nothing is refused by a prune, and no reason to fill the disk."""
    host.add("agent", keep_hourly=0, keep_daily=0, keep_weekly=0, keep_monthly=0)
    corrupt(host.database())
    assert [still_corrupt(host, moment).code for _each in range(4)] == [12] * 4
    assert len(host.ids()) == 2


def test_suspect_backup_that_cannot_be_removed_is_a_warning(
    host: Host, moment: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """That the database is corrupt is what the run must end with."""

    def fail(*_arguments: object, **_options: object) -> Any:
        raise RepositoryLockedError("It is locked.", hint="Wait.")

    corrupt(host.database())
    monkeypatch.setattr(prune, "run", fail)
    said = still_corrupt(host, moment)

    assert said.code == 12
    assert any("could not be removed: It is locked." in each for each in said.result["warnings"])


@pytest.mark.parametrize(
    "failure", [RepositoryLockedError("It is locked.", hint="Wait."), ValueError("surprise"), OSError(28, "full")]
)
def test_a_prune_that_fails_does_not_make_the_backup_bad(
    host: Host, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_arguments: object, **_options: object) -> Any:
        raise failure

    monkeypatch.setattr(prune, "run", fail)

    said = host.run("backup", "agent")
    result = host.run("backup", "agent", "--json").result

    assert said.code == 3
    (made,) = host.ids()
    assert f"agent: stored {made}" in said.out
    assert f"error 3: The backup {made} is good, but old ones could not be removed: " in said.err
    assert result["error"]["class"] == "PartialError"
    assert result["backup"]["id"] == made


def test_a_policy_that_keeps_nothing_does_not_stop_backups(host: Host) -> None:
    host.add("agent", **NO_RULE)

    said = host.run("backup", "agent")

    assert said.code == 3
    assert "policy that keeps nothing" in said.err
    assert host.ids()


# --- dry run -------------------------------------------------------------------------------------------------------


def test_dry_run_of_a_first_backup_writes_nothing(host: Host) -> None:
    before = everything(host)

    said = host.run("backup", "agent", "--dry-run")

    assert (said.code, said.out) == (0, "agent: would store a new full backup\n")
    assert everything(host) == before
    assert not host.repository().exists()


def test_dry_run_says_what_would_be_done_and_writes_nothing(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **NO_RULE, keep_last=1)
    for hour in range(2):
        host.change(text=f"hour {hour}")
        moment[0] += timedelta(hours=1)
        host.run("backup", "agent", "--no-prune")
    before = everything(host)

    unchanged = host.run("backup", "agent", "--dry-run")
    pruned = host.run("prune", "agent", "--dry-run")
    assert everything(host) == before
    host.change()
    before = everything(host)
    backed_up = host.run("backup", "agent", "--dry-run", "--json")
    restored = host.run("restore", "agent", "--dry-run")

    assert "would be confirmed; would remove 1 backup" in unchanged.out
    assert "would remove 1 backup" in pruned.out
    assert f"{host.ids()[0]}  would go" in pruned.out
    assert (backed_up.result["stored"], "id" in backed_up.result["backup"]) == (True, False)
    assert f"would put {host.ids()[1]} in place" in restored.out
    assert everything(host) == before


# --- list, prune, verify -------------------------------------------------------------------------------------------


def test_list_shows_every_backup_with_its_age_and_reason(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent", "--pinned", "--reason", "before\nmigration 42")
    moment[0] += timedelta(hours=26, minutes=3)
    host.change()
    host.run("backup", "agent")

    title, head, first, second = host.run("list").out.splitlines()

    assert title.startswith(f"agent: 2 backups of {host.database()} in {host.repository()}")
    assert head.split() == ["BACKUP", "AGE", "STORED", "DATABASE", "STATE", "PROVEN", "KEPT", "BY", "GOES", "REASON"]
    assert first.split()[:3] == [host.ids()[0], "1", "d"]
    assert re.search(r"verified, pinned  never   hourly, daily, pinned  +never  +before\\nmigration 42$", first)
    assert second.split()[:3] == [host.ids()[1], "0", "s"]


def test_list_tells_why_each_backup_stays_and_when_it_goes(host: Host, moment: list[datetime]) -> None:
    """Tuesday, 30 December; backups of the days before, and two of today."""
    host.add("agent", **{**NO_RULE, "keep_daily": 2}, keep_last=1)
    for day, hour in ((28, 12), (29, 12), (30, 9), (30, 10)):
        moment[0] = datetime(2025, 12, day, hour, tzinfo=timezone.utc)
        host.change()
        host.run("backup", "agent", "--no-prune")
    oldest, older, old, newest = host.ids()
    host.run("pin", "agent", "--backup", oldest, "--until", "2025-12-31T00:00:00Z")
    pruned = host.run("prune", "agent", "--dry-run", "--json").result

    listed = host.run("list", "--json").result["repository"]["backups"]

    assert {each["id"]: (each["reasons"], each["goes"], each["stays"]) for each in listed} == {
        oldest: (["pinned"], "2025-12-31T00:00:00Z", ""),
        older: (["daily"], "2025-12-31T00:00:00Z", ""),
        old: ([], "2025-12-30T11:00:00Z", ""),
        newest: (["last", "daily", "newest", "newest verified"], "2025-12-30T11:00:00Z", ""),
    }
    assert [{"id": each["id"], "reasons": each["reasons"]} for each in listed if each["reasons"]] == pruned["kept"]
    lines = host.run("list").out.splitlines()
    assert [re.split("  +", each)[6:8] for each in lines[2:]] == [
        ["pinned", "in 14 h"],
        ["daily", "in 14 h"],
        ["nothing", "next run"],
        ["last, daily, newest, newest verified", "in 1 h"],
    ]


def test_list_works_without_a_policy_that_can_be_used(host: Host) -> None:
    host.run("backup", "agent")
    host.add("agent", timezone="Europe/Nowhere")

    said = host.run("list", "--json")

    assert said.code == 0
    (backup,) = said.result["repository"]["backups"]
    assert (backup["reasons"], backup["goes"], backup["stays"]) == (None, None, "")
    assert "Europe/Nowhere" in said.result["warnings"][0]
    assert host.run("list").out.splitlines()[-1].split()[-2:] == ["?", "?"]


def test_list_knows_what_is_in_use(host: Host) -> None:
    host.run("backup", "agent")
    repository = Repository.open_existing(host.repository())
    with repository.reading(repository.backups()[0], timeout_seconds=0):
        assert "in use" in host.run("list", "--json").result["repository"]["latest"]["reasons"]


def test_list_warns_of_a_damaged_pin(host: Host) -> None:
    host.run("backup", "agent")
    (identity,) = host.ids()
    host.run("pin", "agent", "--backup", identity)
    databases.flip_bit(host.repository() / identity / "pin.json", 20)

    said = host.run("list", "--json").result

    assert f"{identity} counts as pinned" in said["warnings"][0]
    assert said["repository"]["latest"]["stays"] == "pinned"


def test_list_shows_damaged_ones(host: Host) -> None:
    host.run("backup", "agent")
    (host.repository() / host.ids()[0] / "manifest.json").write_text("{")

    said = host.run("list")

    assert said.code == 0
    assert "damaged" in said.out


def test_list_without_a_repository_is_not_found(host: Host) -> None:
    said = host.run("list")

    assert said.code == 22
    assert "there is no repository at" in said.err


def test_pin_and_unpin_say_what_they_did(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    (identity,) = host.ids()
    words = ("agent", "--backup", identity)
    end = "2026-01-01T00:00:00Z"

    said = [
        host.run("pin", *words, "--until", end, "--dry-run").out,
        host.run("pin", *words, "--until", end).out,
        host.run("pin", *words, "--until", end).out,
        host.run("pin", *words).out,
        host.run("unpin", *words, "--dry-run").out,
        host.run("unpin", *words).out,
        host.run("unpin", *words).out,
    ]

    assert said == [
        f"agent: would pin {identity} until {end}\n",
        f"agent: pinned {identity} until {end}\n",
        f"agent: {identity} already is pinned until {end}, nothing was done\n",
        f"agent: pinned {identity}\n",
        f"agent: would unpin {identity}\n",
        f"agent: unpinned {identity}\n",
        f"agent: {identity} already is not pinned, nothing was done\n",
    ]
    made = host.run("pin", *words, "--until", "2026-01-01T01:00:00+01:00", "--json").result
    assert made["changed"]
    assert made["pin"] == {"id": identity, "pinned": True, "since": clock.to_text(moment[0]), "until": end}
    assert not host.run("pin", *words, "--until", end, "--json").result["changed"]


def test_unpinned_backup_of_a_guard_goes_with_the_next_prune(host: Host, moment: list[datetime]) -> None:
    host.add("agent", **NO_RULE, keep_last=1)
    host.run("guard", "agent", "--reason", "try", "--", "true")
    (made,) = host.ids()
    moment[0] += timedelta(hours=1)
    host.change()
    host.run("backup", "agent")
    assert made in host.ids()

    assert host.run("unpin", "agent", "--backup", made).code == 0
    host.run("prune", "agent")

    assert made not in host.ids()


def test_verify_finds_damage(host: Host) -> None:
    host.run("backup", "agent")
    assert host.run("verify", "agent", "--level", "full").code == 0
    (artifact,) = (host.repository() / host.ids()[0]).glob("database.*")
    databases.flip_bit(artifact, artifact.stat().st_size // 2)

    said = host.run("verify", "agent", "--backup", "all")

    assert said.code == 13
    assert said.out.startswith("agent: failed\n")
    assert "error 13" in said.err


def test_verify_looks_for_what_is_configured(host: Host) -> None:
    host.run("backup", "agent")
    good = {"sql": "SELECT count(*) FROM item", "equals": 3}
    host.add("agent", expect_tables=["item"], assertions=[good])
    assert host.run("verify", "agent").code == 0
    assert host.run("verify", "agent", "--live").code == 0
    host.add("agent", assertions=[{**good, "equals": 4}])

    assert host.run("verify", "agent").code == 17
    assert host.run("verify", "agent", "--live", "--json").result["verification"]["outcome"] == "failed"


def test_verify_of_a_backup_and_of_the_live_database_are_two_questions(host: Host) -> None:
    host.run("backup", "agent")

    said = host.run("verify", "agent", "--live", "--backup", host.ids()[0])

    assert (said.code, said.out) == (2, "")


def test_verify_live_needs_no_repository(host: Host) -> None:
    assert host.run("verify", "agent", "--live").code == 0
    corrupt(host.database())
    assert host.run("verify", "agent", "--live").code == 12


# --- restore -------------------------------------------------------------------------------------------------------


def test_restore_puts_the_newest_backup_in_place_and_undo_takes_it_back(host: Host) -> None:
    host.run("backup", "agent")
    host.change(text="a mistake")

    said = host.run("restore", "agent")

    assert databases.names(host.database()) == ["name 0", "name 1", "name 2"]
    put, back = said.out.splitlines()
    assert put.startswith(f"agent: put {host.ids()[0]} in place as {host.database()}; what it replaced is in ")
    assert "--undo" in back
    assert f"--config {host.config}" in back
    databases.settle(host.database())
    assert host.run("restore", "agent", "--undo").code == 0
    assert databases.names(host.database())[-1] == "a mistake"


def test_restore_with_files_knows_their_places_from_the_configuration(host: Host) -> None:
    conf = host.directory / "etc-of-the-application" / "agent.conf"
    conf.parent.mkdir()
    conf.write_text("port=80\n")
    host.add("agent", include=[{"src": str(conf)}])
    host.run("backup", "agent")
    conf.unlink()

    assert f"  would put agent.conf back as {conf}" in host.run("restore", "agent", "--with-files", "--dry-run").out
    assert not conf.exists()
    said = host.run("restore", "agent", "--with-files")

    assert conf.read_text() == "port=80\n"
    assert said.out.splitlines() == [
        f"agent: {host.database()} already is {host.ids()[0]}",
        f"  put agent.conf back as {conf}",
    ]


def test_restore_to_look_at_writes_no_file_to_its_place(host: Host) -> None:
    conf, look = host.directory / "agent.conf", host.directory / "look"
    conf.write_text("port=80\n")
    host.add("agent", include=[{"src": str(conf)}])
    host.run("backup", "agent")
    conf.unlink()
    look.mkdir()

    host.run("restore", "agent", "--with-files", "--dest", look / "agent.db")
    host.run("restore", "agent", "--files-to", look / "files", "--dest", look / "agent.db")

    assert not conf.exists()
    assert (look / "agent.conf").read_text() == (look / "files" / "agent.conf").read_text() == "port=80\n"


def test_restore_of_what_is_there_already_changes_nothing(host: Host) -> None:
    host.run("backup", "agent")

    assert not host.run("restore", "agent", "--json").result["changed"]
    assert "nothing was done" in host.run("restore", "agent").out


def test_restore_goes_to_where_the_database_is_configured_now(host: Host) -> None:
    """The database moved since the backup: to bring its old place back to life would help nobody."""
    host.run("backup", "agent")
    moved = host.directory / "moved" / "agent.db"
    moved.parent.mkdir()
    host.database().unlink()
    host.add("agent", path=moved, make=False)

    assert host.run("restore", "agent").code == 0
    assert databases.names(moved) == ["name 0", "name 1", "name 2"]
    assert not host.database().exists()


def test_restore_chooses_by_time_and_to_another_place(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(hours=2)
    host.change()
    host.run("backup", "agent")
    dest = host.directory / "look" / "agent.db"
    dest.parent.mkdir()

    said = host.run("restore", "agent", "--before", "2025-12-30T13:00:00Z", "--dest", dest, "--check", "full", "--json")

    assert said.result["restore"]["backup"] == host.ids()[0]
    assert said.result["restore"]["not_after"] == "2025-12-30T13:00:00Z"
    assert databases.names(dest) == ["name 0", "name 1", "name 2"]


def test_restore_by_the_clock_of_the_host_says_which_moment_was_meant(
    host: Host, moment: list[datetime], local_zone: Callable[[str], None]
) -> None:
    """Taken as UTC, it would be the backup of the next hours, with what went wrong in them."""
    local_zone("CET-1CEST,M3.5.0,M10.5.0/3")
    host.run("backup", "agent")
    moment[0] += timedelta(hours=1)
    host.change()
    host.run("backup", "agent")
    words = ("restore", "agent", "--before", "2025-12-30 13:30")

    planned, done, again = host.run(*words, "--dry-run"), host.run(*words), host.run(*words)
    early = host.run("restore", "agent", "--before", "2025-12-30 10:00")

    told = f"{host.ids()[0]}, the newest from 2025-12-30T13:30:00+01:00 or earlier,"
    assert f"agent: would put {told} in place as" in planned.out
    assert f"agent: put {told} in place as" in done.out
    assert f"already is {told} nothing was done" in again.out
    assert early.code == 22
    assert "from 2025-12-30T10:00:00+01:00 or earlier" in early.err


def test_restore_over_an_open_database_is_refused_unless_forced(host: Host) -> None:
    host.run("backup", "agent")
    host.change()

    with processes.application(host.database()):
        said = host.run("restore", "agent")
        assert said.code == 18
        assert "the database is open in" in said.err
        assert host.run("restore", "agent", "--force").code == 0


def test_another_name_needs_force_identity(host: Host) -> None:
    host.run("backup", "agent")
    dest = databases.make(host.directory / "orders.db", rows=7)

    assert host.run("restore", "agent", "--dest", dest).code == 18
    assert host.run("restore", "agent", "--dest", dest, "--force-identity").code == 0


@keys.needs_age
def test_keys_of_the_configuration_decrypt(host: Host) -> None:
    identity = keys.age_identity()
    recipient = keys.file_with("recipient", keys.age_recipient())
    encryption = {"method": "age", "recipients": [str(recipient)]}
    host.add("agent", encryption=encryption, identity_file=str(identity))
    content = host.database().read_bytes()
    assert host.run("backup", "agent").code == 0
    assert host.run("verify", "agent", "--level", "full").code == 0
    host.database().unlink()
    assert host.run("restore", "agent").code == 0
    assert host.database().read_bytes() == content
    host.add("agent", encryption=encryption)
    assert host.run("verify", "agent", "--level", "full").code == 14
    assert host.run("list").code == 0


# --- status --------------------------------------------------------------------------------------------------------


def status(host: Host) -> dict[str, Any]:
    return host.run("status", "--json").result


def test_status_without_any_backup_is_missed(host: Host) -> None:
    result = status(host)

    assert result["error"]["code"] == 30
    assert (result["age_seconds"], result["rpo_met"], result["backups"]) == (None, False, 0)
    assert "MISSED" in host.run("status").out


def test_status_meets_and_misses_the_rpo(host: Host, moment: list[datetime]) -> None:
    host.add("agent", rpo="1h")
    host.run("backup", "agent")
    moment[0] += timedelta(minutes=60)

    good = status(host)
    moment[0] += timedelta(seconds=1)
    late = host.run("status")

    assert (good["error"], good["age_seconds"], good["rpo_met"], good["backups"]) == (None, 3600, True, 1)
    assert good["total_bytes"] > 0
    assert late.code == 30
    assert "agent: error 30: The newest verified backup is 1 h old, more than the RPO of 1 h." in late.err
    host.run("backup", "agent")
    assert host.run("status").code == 0, "an unchanged database is confirmed as of now"


def test_status_without_an_rpo_is_content_with_any_verified_backup(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(days=30)

    assert (status(host)["error"], status(host)["rpo_met"]) == (None, None)


def test_an_unverified_backup_is_none(host: Host) -> None:
    host.add("agent", check="none")
    host.run("backup", "agent")
    assert status(host)["error"]["code"] == 30
    host.run("verify", "agent", "--level", "full")
    assert status(host)["error"] is None


def test_status_tells_the_last_failure_until_a_backup_succeeds(host: Host, moment: list[datetime]) -> None:
    content = host.database().read_bytes()
    host.run("backup", "agent")
    assert status(host)["last_failure"] is None
    host.database().unlink()
    moment[0] += timedelta(minutes=5)
    host.run("backup", "agent")

    failed = status(host)["last_failure"]
    table = host.run("status").out

    assert (failed["time"], failed["event"], failed["code"]) == ("2025-12-30T12:05:00Z", "backup", 10)
    assert "failed at 2025-12-30T12:05:00Z: Cannot back up" in table
    host.database().write_bytes(content)
    databases.settle(host.database())
    host.run("backup", "agent")
    assert status(host)["last_failure"] is None


def test_status_tells_of_a_suspect_backup_and_of_a_failed_verification(host: Host) -> None:
    host.run("backup", "agent")
    (artifact,) = (host.repository() / host.ids()[0]).glob("database.*")
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    host.run("verify", "agent")
    assert status(host)["last_failure"]["message"] == f"{host.ids()[0]} failed its verification"
    corrupt(host.database())
    host.run("backup", "agent")

    failed = status(host)["last_failure"]

    assert failed["code"] == 12
    assert failed["message"] == f"the database was corrupt, its bytes are kept in {host.ids()[-1]}"


def test_status_of_a_damaged_repository_is_its_damage(host: Host) -> None:
    """Without any manifest that could tell what it is."""
    host.run("backup", "agent")
    (host.repository() / "repository.json").write_text("{")
    (host.repository() / host.ids()[0] / "manifest.json").write_text("{")

    said = host.run("status")

    assert said.code == 13
    assert "ERROR" in said.out


# --- doctor --------------------------------------------------------------------------------------------------------


def test_doctor_finds_a_problem(host: Host) -> None:
    host.add("orders")
    host.run("backup", "--all")
    databases.crashed_journal(host.directory / "hot.db")
    host.add("hot", path=host.directory / "hot.db")

    said = host.run("doctor")

    assert said.code == 17
    assert "hot: error 17: hot has a problem: An unfinished transaction is in" in said.err
    assert "hot: 1 problem, " in said.out
    findings = host.run("doctor", "agent", "--json").result["findings"]
    assert {each["outcome"] for each in findings} <= {"ok", "note", "warning"}
    assert all(each["hint"] for each in findings if each["outcome"] not in ("ok", "note"))


def test_doctor_shows_the_worst_first(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    hints = {"ok": "", "problem": "Do it.", "note": "", "warning": "Do it."}
    found = [doctor.Finding(each, each, f"It is {each}.", hint) for each, hint in hints.items()]
    monkeypatch.setattr(doctor, "examine", lambda _request: found)

    lines = host.run("doctor").out.splitlines()

    assert lines[0] == "agent: 1 problem, 1 warning, 3 notes, 5 ok"
    first_words = [line.split()[0] for line in lines[2:]]
    told = ["problem", "->", "warning", "->", "note", "targets", "drills", "ok", "same", "retention", "audit", "who"]
    assert first_words == told


@pytest.mark.parametrize(
    ("wrong", "detail", "hint"),
    [
        ({"timezone": "Europe/Nowhere"}, "no time zone 'Europe/Nowhere'", "Europe/Berlin"),
        (NO_RULE, "keeps nothing", "keep_last"),
    ],
)
def test_doctor_finds_what_lets_every_run_fail_after_the_backup(
    host: Host, wrong: dict[str, Any], detail: str, hint: str
) -> None:
    if "timezone" in wrong and not zoneinfo.available_timezones():
        detail, hint = "this host has no time zone data", "tzdata"
    host.add("agent", **wrong)
    assert host.run("backup", "agent").code == 3

    said = host.run("doctor", "agent", "--json")

    assert said.code == 17
    (found,) = [each for each in said.result["findings"] if each["outcome"] == "problem"]
    assert found["name"] == "retention"
    assert detail in found["detail"]
    assert hint in found["hint"]


@pytest.mark.usefixtures("no_zone_data")
def test_doctor_finds_that_a_time_zone_needs_data(host: Host) -> None:
    host.add("agent", timezone="Europe/Berlin")
    assert host.run("backup", "agent").code == 3

    found = {each["name"]: each for each in host.run("doctor", "agent", "--json").result["findings"]}

    assert found["retention"]["outcome"] == "problem"
    assert "tzdata" in found["retention"]["hint"]


def test_doctor_has_nothing_against_the_usual_policy(host: Host) -> None:
    found = {each["name"]: each for each in host.run("doctor", "agent", "--json").result["findings"]}
    assert found["retention"]["outcome"] == "ok"


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(EngineError("x"), 1), (PermissionError(13, "denied"), 20), (MemoryError(), 1), (KeyboardInterrupt(), 130)],
)
def test_every_failure_becomes_a_result(error: BaseException, code: int) -> None:
    def work() -> Result:
        raise error

    assert attempt("agent", work).code == code


def test_database_that_cannot_be_checked_here_is_current_and_says_what_was_not_looked_at(host: Host) -> None:
    """Else every schedule would be blamed for a collation that only the application has."""
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.create_collation("ours", lambda one, other: (one > other) - (one < other))
        connection.execute("CREATE TABLE sorted(name TEXT COLLATE ours)")
        connection.execute("CREATE INDEX by_name ON sorted(name)")
        connection.execute("INSERT INTO sorted VALUES ('b'), ('a')")
    databases.settle(host.database())
    assert host.run("backup", "agent").code == 0
    said = host.run("status", "agent")
    assert said.code == 0
    assert "unverifiable: needs collation sequence ours" in said.err


# --- what status says of a run that failed -------------------------------------------------------------------------


@pytest.mark.parametrize("known", [True, False])
def test_status_of_a_database_whose_file_is_missing_says_so(host: Host, moment: list[datetime], known: bool) -> None:
    """Whether its schedule runs is not the question."""
    host.add("agent", rpo="1h")
    if known:
        host.run("backup", "agent")
    host.database().unlink()
    moment[0] += timedelta(hours=2)
    host.run("backup", "agent")

    said = host.run("status")

    assert said.code == 30
    assert f"There is no file {host.database()}: check path in {host.config}/databases.d/agent.json" in said.err
    assert "schedule" not in said.err
    assert ("If the file is lost, restore it: " in said.err) == known


def test_status_of_a_missing_file_says_so_before_the_rpo_is_over(host: Host) -> None:
    host.add("agent", rpo="1h")
    host.run("backup", "agent")
    host.database().unlink()
    host.run("backup", "agent")

    said = host.run("status")

    assert said.code == 31
    assert f"There is no file {host.database()}" in said.err
    command = shlex.split(said.err.partition("restore it: ")[2].splitlines()[0])
    assert host.run(*command[1:]).code == 0
    assert host.database().exists()


def test_status_says_what_to_do_about_the_last_failure(host: Host, moment: list[datetime]) -> None:
    host.add("agent", rpo="1h")
    host.run("backup", "agent")
    corrupt(host.database())
    databases.settle(host.database())
    moment[0] += timedelta(minutes=30)
    host.run("backup", "agent")
    failing = host.run("status")
    moment[0] += timedelta(hours=2)
    missed = host.run("status")

    assert (failing.code, missed.code) == (31, 30)
    assert "  Restore, or let the application recover it.\n" in failing.err
    assert "  Restore, or let the application recover it.\n" in missed.err


@keys.needs_age
def test_last_run_of_an_encrypted_database_is_a_sentence(host: Host, moment: list[datetime]) -> None:
    """The audit log may not quote the message; a class name told nobody anything."""
    recipient = keys.file_with("recipient", keys.age_recipient())
    host.add("agent", encryption={"method": "age", "recipients": [str(recipient)]})
    host.run("backup", "agent")
    host.database().write_bytes(b"no database at all" * 100)
    moment[0] += timedelta(minutes=5)
    assert host.run("backup", "agent").code == 10

    (line,) = host.run("status").out.splitlines()[1:]

    told = "source missing or not a database; what exactly, only the run itself said"
    assert line.endswith(f"failed at 2025-12-30T12:05:00Z: {told}")
    assert host.history()[-1]["message"] == told


def test_class_name_in_the_log_of_an_earlier_version_is_told_in_words(host: Host) -> None:
    host.run("backup", "agent")
    repository = Repository.open_existing(host.repository())
    repository.record("backup", outcome="failed", code=2, message="UsageError")

    said = host.run("status")

    assert "UsageError" not in said.out + said.err
    assert "usage or configuration" in said.out
    assert "The last backup failed: usage or configuration." in said.err


def test_what_is_one_is_told_as_one(host: Host) -> None:
    databases.make(host.directory / "one.db", rows=1)
    databases.settle(host.directory / "one.db")
    host.add("one")

    assert ", 1 row in 1 table, " in host.run("backup", "one").out
    assert "1 backup of " in host.run("list", "one").out
    assert "1 files" not in host.run("verify", "one").out
