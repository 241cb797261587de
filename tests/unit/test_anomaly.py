# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of repository/anomaly.py and work/acknowledge.py: what collapsed is suspect, and the good backups stay."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from datetime import datetime, timedelta
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import anomaly
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.anomaly import Size
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from support import databases, keys, servers
from support.hosts import Host
from support.keys import AGE

MIB = 1024 * 1024
FULL = Size({"run": 1000, "fact": 500}, 10 * MIB)


@pytest.mark.parametrize(
    ("recent", "now", "told"),
    [
        ([FULL], FULL, ""),
        ([], Size(), ""),
        ([FULL], Size({"run": 200, "fact": 100}, 2 * MIB), ""),
        ([FULL], Size({"run": 199, "fact": 500}, 9 * MIB), "the table run has 199 rows, it had 1000"),
        ([FULL], Size({"run": 0, "fact": 0}, MIB), "the table run has 0 rows, it had 1000, and there are 1 more"),
        ([FULL], Size({"fact": 500}, 9 * MIB), "the table run is gone, which had 1000 rows"),
        # It has another name now.
        ([FULL], Size({"runs": 1000, "fact": 500}, 9 * MIB), ""),
        ([FULL], Size({"runs": 10, "fact": 500}, 9 * MIB), "the table run is gone, which had 1000 rows"),
        # What is emptied all the time, and what was never much.
        ([FULL, Size({"run": 50, "fact": 500}, MIB)], Size({"run": 0, "fact": 500}, MIB), ""),
        ([Size({"run": 99})], Size({"run": 0}), ""),
        # A table that came meanwhile has no past to speak of.
        ([Size({"fact": 500}), FULL], Size({"run": 0, "fact": 500}), ""),
        ([FULL], Size({"run": 1000, "fact": 500}, 2 * MIB - 1), "it holds 2.0 MiB, it held 10.0 MiB"),
        ([FULL, Size(FULL.rows)], Size(FULL.rows, 2 * MIB), ""),
        ([Size({}, MIB - 1)], Size({}, 0), ""),
        ([FULL], Size(FULL.rows, None), ""),
        # A new name is that of one table only.
        ([Size({"a": 1000, "b": 900})], Size({"c": 1000}), "the table b is gone, which had 900 rows"),
        ([Size({"a": 1000, "b": 900})], Size({"c": 1000, "d": 900}), ""),
        ([Size({"a": 1000, "b": 100})], Size({"c": 50}), "the table a is gone, which had 1000 rows"),
        # The index of a virtual table is merged as its module likes; its rows are not.
        ([Size({"f_data": 602, "f_idx": 600, "f_config": 1})], Size({"f_data": 4, "f_idx": 2, "f_config": 1}), ""),
        ([Size({"f_segments": 300, "f_segdir": 200})], Size({"f_segments": 1, "f_segdir": 1}), ""),
        ([Size({"r_node": 300, "r_parent": 299, "r_rowid": 500})], Size({"r_rowid": 400}), ""),
        (
            [Size({"my_data": 602, "my_idx": 600})],
            Size({"my_data": 4, "my_idx": 600}),
            "the table my_data has 4 rows, it had 602",
        ),
        (
            [Size({"f_data": 602, "f_idx": 600, "f_config": 1, "f_docsize": 500})],
            Size({"f_data": 4, "f_idx": 2, "f_config": 1, "f_docsize": 0}),
            "the table f_docsize has 0 rows, it had 500",
        ),
        # Rows that nobody could count are not gone.
        ([FULL], Size({"fact": 500}, 9 * MIB, frozenset({"run"})), ""),
    ],
)
def test_what_has_less_than_a_fifth_of_its_least_collapsed(recent: list[Size], now: Size, told: str) -> None:
    assert anomaly.collapse(recent, now, 20) == told
    assert anomaly.collapse(recent, now, 0) == ""


def test_what_is_told_to_others_says_nothing_of_the_content() -> None:
    told = anomaly.collapse([FULL], Size({"run": 0, "fact": 500}), 20, named=False)
    assert told == "a table has far fewer rows than before"
    told = anomaly.collapse([FULL], Size({}), 20, named=False)
    assert told == "tables have far fewer rows than before"


@pytest.fixture(params=["plain", AGE])
def host(request: pytest.FixtureRequest, host: Host, moment: list[datetime]) -> Host:
    """A host with 1000 rows in a table, and a backup of them; once without and once with encryption."""
    options = (
        {}
        if request.param == "plain"
        else {
            "encryption": {"method": "age", "recipients": [keys.age_recipient()]},
            "identity_file": str(keys.age_identity()),
        }
    )
    host.add("agent", keep_within="0s", keep_hourly=1, keep_daily=0, keep_weekly=0, keep_monthly=0, **options)
    execute(host, "CREATE TABLE kept(a); INSERT INTO kept VALUES (1);")
    fill(host)
    assert host.run("backup", "agent").code == 0
    return host


def execute(host: Host, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.executescript(sql)
    databases.settle(host.database())


def fill(host: Host) -> None:
    count = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
    execute(host, f"CREATE TABLE IF NOT EXISTS fact(a); INSERT INTO fact {count} SELECT i FROM n;")


def newest(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.run("list", "agent", "--json").result["repository"]["backups"][-1]
    return found


def test_an_emptied_table_makes_the_backup_suspect(host: Host) -> None:
    good = host.ids()[-1]
    execute(host, "DELETE FROM fact")
    said = host.run("backup", "agent")
    assert said.code == 0
    assert "the backup is suspect" in said.err
    assert f"restore {good}" in said.err
    assert (newest(host)["suspect"], newest(host)["apart"], newest(host)["verified"]) == (True, True, False)
    assert "suspect" in host.run("list", "agent").out
    status = host.run("status", "agent")
    assert status.code == 3
    assert "acknowledge agent" in status.err
    restored = host.run("restore", "agent", "--dest", host.directory / "there.db")
    assert restored.code == 0
    assert f"put {good}" in restored.out
    assert host.ids()[-1] in restored.err


def test_an_encrypted_backup_tells_nobody_which_table(host: Host) -> None:
    execute(host, "DELETE FROM fact")
    assert "the table fact has 0 rows" in host.run("backup", "agent").err
    encrypted = newest(host)["encryption"] != "none"
    manifest = (host.repository() / host.ids()[-1] / "manifest.json").read_text()
    assert ("table fact" in manifest) != encrypted
    assert newest(host)["held"] == (
        "a table has far fewer rows than before" if encrypted else "the table fact has 0 rows, it had 1000"
    )


def test_nothing_old_goes_until_it_is_acknowledged(host: Host, moment: list[datetime]) -> None:
    good = host.ids()[-1]
    execute(host, "DELETE FROM fact")
    for _each in range(3):
        moment[0] += timedelta(hours=1)
        host.change()
        assert host.run("backup", "agent").code == 0
    assert good in host.ids()
    assert len(host.ids()) == 4
    assert host.run("acknowledge", "agent", "--dry-run", "--json").result["accepted"] == host.ids()[1:]
    assert newest(host)["suspect"]
    said = host.run("acknowledge", "agent")
    assert said.code == 0
    assert "accepted 3 backups" in said.out
    assert [each["event"] for each in host.history()][-1] == "accept"
    assert (newest(host)["suspect"], newest(host)["verified"]) == (False, True)
    assert host.run("acknowledge", "agent", "--json").result["changed"] is False
    moment[0] += timedelta(hours=1)
    host.change()
    said = host.run("backup", "agent")
    assert "suspect" not in said.err
    assert good not in host.ids()


def test_what_is_meant_is_what_later_backups_are_compared_with(host: Host, moment: list[datetime]) -> None:
    execute(host, "DROP TABLE fact; DROP TABLE kept; DROP TABLE IF EXISTS item; CREATE TABLE other(a);")
    execute(
        host, "INSERT INTO other SELECT value FROM json_each('[' || replace(hex(zeroblob(499)), '00', '1,') || '1]')"
    )
    assert "perhaps another" in host.run("backup", "agent").err
    assert host.run("acknowledge", "agent").code == 0
    execute(host, "DELETE FROM other")
    moment[0] += timedelta(hours=1)
    assert "the table other has 0 rows, it had 500" in host.run("backup", "agent").err


def test_when_the_rows_are_back_all_is_well(host: Host, moment: list[datetime]) -> None:
    execute(host, "DELETE FROM fact")
    host.run("backup", "agent")
    held = host.ids()[-1]
    fill(host)
    moment[0] += timedelta(hours=1)
    said = host.run("backup", "agent")
    assert "suspect" not in said.err
    assert newest(host)["suspect"] is False
    assert host.run("status", "agent").code == 0
    # Nobody said that it is meant: it counts for no rule, and goes.
    assert held not in host.ids()


def test_a_run_that_finds_nothing_changed_says_it_again(host: Host) -> None:
    execute(host, "DELETE FROM fact")
    host.run("backup", "agent")
    said = host.run("backup", "agent")
    assert "unchanged" in said.out
    assert "the backup is suspect" in said.err
    assert host.run("backup", "agent", "--force-identity", "--json").result["backup"]["accepted"] == host.ids()[-1:]
    assert "suspect" not in host.run("backup", "agent").err


def test_a_suspect_backup_of_what_collapsed_goes_to_the_targets(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.use_rclone(monkeypatch)
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed")
    execute(host, "DELETE FROM fact")
    host.run("backup", "agent")
    with servers.remote(host.directory) as server:
        host.add_target("nas", **server.target, retries=0)
        assert host.run("push", "agent", "--target", "nas").code == 0
        assert (server.files / "agent" / host.ids()[-1] / "manifest.json").exists()


def test_what_is_in_a_repository_of_an_earlier_version_is_compared_as_far_as_it_tells(host: Host) -> None:
    """Its host knows no rows of encrypted backups, and its proofs no free pages."""
    path = Repository.open_existing(host.repository()).identity_path()
    if path.exists():
        content = json.loads(path.read_text())
        for each in content.values():
            del each["rows"], each["used_bytes"]
        path.write_text(json.dumps(content))
        execute(host, "DELETE FROM fact")
        assert "suspect" not in host.run("backup", "agent").err


def test_the_percentage_is_the_operators(host: Host) -> None:
    execute(host, "DELETE FROM fact WHERE a > 500")
    assert "suspect" not in host.run("backup", "agent").err
    host.add("agent", suspect_below=100)
    execute(host, "DELETE FROM fact WHERE a > 499")
    assert "it had 500" in host.run("backup", "agent").err


def test_what_a_vacuum_gives_back_is_no_loss(host: Host) -> None:
    execute(host, "CREATE TABLE big(a); INSERT INTO big VALUES (zeroblob(3000000)); DELETE FROM big;")
    host.run("backup", "agent", "--type", "full")
    execute(host, "VACUUM")
    assert "suspect" not in host.run("backup", "agent").err


def test_bytes_that_are_gone_are_missed(host: Host) -> None:
    execute(host, "CREATE TABLE big(a); INSERT INTO big VALUES (zeroblob(3000000));")
    host.run("backup", "agent", "--type", "full")
    execute(host, "UPDATE big SET a = NULL")
    assert "it holds" in host.run("backup", "agent").err
