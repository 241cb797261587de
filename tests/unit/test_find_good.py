# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last good backup: what is passed over for it, why, and what takes it."""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from support import databases, keys
from support.hosts import Host

ALL_THERE = [{"sql": "SELECT count(*) >= 3 FROM item", "equals": 1}]


@pytest.fixture
def three(host: Host, moment: list[datetime]) -> Host:
    """A host with three backups, an hour apart."""
    for number in range(3):
        host.run("backup", "agent", "--type", "full")
        moment[0] += timedelta(hours=1)
        if number < 2:
            host.change(text=f"number {number}")
    return host


def run_sql(host: Host, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.execute(sql)
    databases.settle(host.database())


def damage(host: Host, identity: str) -> None:
    (artifact,) = (host.repository() / identity).glob("database.sqlite*")
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"?")


def good(host: Host, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = host.run("find-good", "agent", "--json", *words).result["good"]
    return found


def test_the_newest_when_it_passes(three: Host) -> None:
    found = good(three)

    assert (found["backup"], found["newer"]) == (three.ids()[-1], [])
    assert {"integrity_check", "rows"} <= {each["name"] for each in found["checks"]}
    assert three.run("find-good", "agent").out == f"agent: {three.ids()[-1]} is the newest good backup, 1 h old\n"


def test_each_newer_one_says_what_it_failed_on(three: Host, moment: list[datetime]) -> None:
    three.configure("agent", {**options(three), "assertions": ALL_THERE})
    run_sql(three, "DELETE FROM item")
    assert three.run("backup", "agent", "--type", "full").code == 0
    ids = three.ids()
    damage(three, ids[2])

    found = good(three)

    assert found["backup"] == ids[1]
    (emptied, damaged) = found["newer"]
    assert (emptied["backup"], "failed assertion SELECT count(*)" in emptied["reason"]) == (ids[3], True)
    assert (damaged["backup"], "SHA-256" in damaged["reason"]) == (ids[2], True), damaged
    noted = {each["id"]: each["verified"] for each in three.run("list", "--json").result["repository"]["backups"]}
    assert not noted[ids[2]]


def options(host: Host) -> dict[str, Any]:
    content = {"path": str(host.database()), "repository": str(host.repository())}
    return {**content, "lock_timeout": "0s", "compression": "gzip"}


def test_a_quick_look_takes_what_a_full_one_does_not(three: Host) -> None:
    """The content is not looked into then."""
    three.configure("agent", {**options(three), "expect_tables": []})

    assert {each["name"] for each in good(three, "--level", "quick")["checks"]} == {"artifacts"}


def test_a_suspect_one_fails_as_such(three: Host) -> None:
    content = three.database().read_bytes()
    three.database().write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))
    assert three.run("backup", "agent").code == 12

    found = good(three)

    assert found["backup"] == three.ids()[2]
    assert "corrupt" in found["newer"][0]["reason"]


def test_one_that_is_held_apart_is_passed_over(three: Host) -> None:
    three.database().unlink()
    with contextlib.closing(sqlite3.connect(three.database(), isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other(a)")
    three.run("backup", "agent")

    found = good(three)

    assert found["backup"] == three.ids()[2]
    assert "held apart" in found["newer"][0]["reason"]


def test_nothing_good_says_what_is_wrong_with_the_newest(three: Host) -> None:
    for each in three.ids():
        damage(three, each)

    said = three.run("find-good", "agent")

    assert said.code == 22
    assert f"none of 3 backups passes; the newest, {three.ids()[-1]}: " in said.err


def test_no_backup_is_none(host: Host) -> None:
    host.run("backup", "agent")
    (host.repository() / host.ids()[0]).rename(host.directory / "away")

    said = host.run("find-good", "agent")

    assert (said.code, "it holds no backup of its own" in said.err) == (22, True), said.err


@keys.needs_age
def test_a_key_that_is_missing_ends_the_search(three: Host, moment: list[datetime]) -> None:
    """The newest is not bad for that: an older one would cost what is in it."""
    encryption = {"method": "age", "recipients": [keys.age_recipient()]}
    three.configure("agent", {**options(three), "encryption": encryption})
    three.change()
    assert three.run("backup", "agent", "--type", "full").code == 0

    assert three.run("find-good", "agent").code == 14


# --- who takes it --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_process_is_looked_at")
def test_restore_takes_just_that_one_and_says_why(three: Host) -> None:
    damage(three, three.ids()[2])
    run_sql(three, "DELETE FROM item")

    would = three.run("restore", "agent", "--backup", "latest_good", "--dry-run", "--json").result
    assert would["restore"]["backup"] == three.ids()[1]
    assert not three.run("list", "--json").result["repository"]["backups"][2]["damage"]

    said = three.run("restore", "agent", "--backup", "latest_good", "--json").result

    assert (said["changed"], said["restore"]["backup"]) == (True, three.ids()[1])
    (warning,) = [each for each in said["warnings"] if "is taken" in each]
    assert warning.startswith(f"{three.ids()[1]} is taken, not {three.ids()[2]}: ")
    assert databases.names(three.database())[-1] == "number 0"


@pytest.mark.usefixtures("no_process_is_looked_at")
def test_what_is_not_expected_can_be_ignored(three: Host) -> None:
    three.configure("agent", {**options(three), "expect_tables": ["nowhere"]})

    assert three.run("restore", "agent", "--backup", "latest_good").code == 22
    assert three.run("restore", "agent", "--backup", "latest_good", "--ignore-expectations", "--dry-run").code == 0


def test_restore_takes_one_choice(three: Host) -> None:
    said = three.run("restore", "agent", "--backup", "latest_good", "--before", "2025-12-30")

    assert (said.code, "both backup and before are given" in said.err) == (2, True)


def test_extract_takes_it_too(three: Host, tmp_path: Path) -> None:
    damage(three, three.ids()[2])

    said = three.run("extract", "agent", "--backup", "latest_good", "--into", tmp_path / "part.db", "--table", "item")

    assert (said.code, f"out of {three.ids()[1]} into" in said.out) == (0, True), said.err
    assert f"{three.ids()[1]} is taken, not {three.ids()[2]}: " in said.err
