# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two backups, or a backup and the database: from the command line down to SQLite."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support import databases, keys
from support.hosts import Host

pytestmark = pytest.mark.usefixtures("moment")


def test_the_newest_backup_and_the_live_database(host: Host) -> None:
    host.run("backup", "agent")
    before = databases.tree(host.directory)

    said = host.run("compare", "agent", "--json").result["comparison"]

    assert said["identical"]
    assert (said["before"]["backup"], said["after"]["backup"]) == (host.ids()[0], "live")
    assert {name for name in databases.tree(host.directory) if not name.endswith(".lock")} - {*before} <= {
        f"backups/agent/.locks/{host.ids()[0]}"
    }

    host.change(text="new")
    found = host.run("compare", "agent", "--json").result["comparison"]

    assert not found["identical"]
    (table,) = found["tables"]
    assert (table["name"], table["added"], table["removed"], table["changed"]) == ("item", 1, 0, 0)


def test_what_a_writer_has_not_checkpointed_is_there(host: Host) -> None:
    host.run("backup", "agent")
    with contextlib.closing(databases.open_writer(host.database())) as writer:
        writer.execute("INSERT INTO item(name) VALUES ('in the log')")

        found = host.run("compare", "agent", "latest", "live", "--json").result["comparison"]

    assert found["tables"][0]["added"] == 1


def test_two_backups_as_a_table(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(hours=1)
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.executescript("DELETE FROM item WHERE id = 1; PRAGMA user_version = 3; CREATE TABLE t(a);")
    databases.settle(host.database())
    host.run("backup", "agent")
    first, second = host.ids()

    said = host.run("compare", "agent", first, second)

    assert said.code == 0
    assert said.out.splitlines() == [
        f"agent: {first} and {second} differ in 2 tables of 2",
        "TABLE           ROWS BEFORE  ROWS AFTER  ADDED  REMOVED  CHANGED  KNOWN BY",
        "item   changed            3           2      0        1        0  primary key",
        "t      added                          0      0        0        0",
        "SCHEMA  NAME          CHANGE",
        "table   t             added",
        "header  user_version  0 -> 3",
    ]


def test_only_one_table(host: Host) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.execute("CREATE TABLE other(a)")
    databases.settle(host.database())
    host.run("backup", "agent")
    host.change()

    assert "hold the same: 1 table" in host.run("compare", "agent", "--table", "other").out
    said = host.run("compare", "agent", "--table", "nowhere")
    assert (said.code, "there is no table 'nowhere'" in said.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["latest", "latest"], 2, "they are the same"),
        (["a", "b", "c"], 2, "There are two sides to compare"),
        (["20200101T000000Z-full"], 22, "there is no backup '20200101T000000Z-full'"),
    ],
)
def test_what_cannot_be_compared(host: Host, words: list[str], code: int, told: str) -> None:
    host.run("backup", "agent")

    said = host.run("compare", "agent", *words)

    assert (said.code, told in said.err) == (code, True), said.err


def test_a_damaged_backup_is_not_compared(host: Host) -> None:
    host.run("backup", "agent")
    (artifact,) = (host.repository() / host.ids()[0]).glob("database.sqlite*")
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"?")

    assert host.run("compare", "agent").code == 13


def test_a_database_that_is_gone(host: Host) -> None:
    host.run("backup", "agent")
    host.database().unlink()

    said = host.run("compare", "agent")

    assert (said.code, f"Cannot read {host.database()}" in said.err) == (10, True)


@keys.needs_age
def test_encrypted_backups_need_their_key(host: Host) -> None:
    encryption = {"method": "age", "recipients": [keys.age_recipient()]}
    host.add("agent", encryption=encryption)
    host.run("backup", "agent")

    assert host.run("compare", "agent").code == 14

    host.add("agent", encryption=encryption, identity_file=str(keys.age_identity()))
    assert "hold the same" in host.run("compare", "agent").out


def test_no_scratch_is_left(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    host.run("backup", "agent")

    assert host.run("compare", "agent").code == 0
    assert host.run("compare", "agent", "--table", "nowhere").code == 2
    assert not list((tmp_path / "scratch").iterdir())
