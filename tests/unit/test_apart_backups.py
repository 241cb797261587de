# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that began anew under the same name: its backups are held apart, and push out none of the old ones."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import notes, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.retention import Policy
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, places
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    RefusedError,
    SourceMissingError,
    StorageFailedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import health
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import info, prune, restore
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.backup import Outcome
from support import databases, keys
from support.hosts import Host
from support.keys import AGE
from support.sites import Site, assert_incremental

HOUR = timedelta(hours=1)
PLAIN: dict[str, Any] = {}
# One restore point an hour, and nothing else: what a new backup displaces goes at once.
POLICY = Policy(0, 2, 0, 0, 0, 0, 0)


@pytest.fixture(params=["plain", AGE])
def options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A backup in plain, and one that this host cannot read."""
    return PLAIN if request.param == "plain" else {"encryption": keys.scheme(request.param)[0]}


def start_over(site: Site, sql: str = "CREATE TABLE other(a); INSERT INTO other VALUES (1)") -> None:
    """The database under the same name is a new one, with just this in it."""
    for suffix in ("", "-wal", "-shm"):
        site.database.with_name(site.database.name + suffix).unlink(missing_ok=True)
    site.database.touch()
    if sql:
        with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
            connection.executescript(f"PRAGMA page_size=512; PRAGMA journal_mode=WAL; {sql}")
    databases.settle(site.database)


def execute(site: Site, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.executescript(sql)
    databases.settle(site.database)


def prune_all(site: Site, *, dry_run: bool = False) -> prune.Outcome:
    return prune.run(prune.Request(site.repository, POLICY), dry_run=dry_run)


def ids(outcome: prune.Outcome) -> list[str]:
    return [each["id"] for each in outcome.removed]


def assert_apart(site: Site, outcome: Outcome, good: str) -> None:
    assert (outcome.error, outcome.apart, outcome.accepted) == (None, True, [])
    assert outcome.backup is not None
    assert (outcome.backup.apart, outcome.backup.verified) == (True, False)
    (warning,) = [each for each in outcome.warnings if "another one" in each]
    assert f"restore {good}" in warning
    assert "force_identity" in warning
    assert site.listed()[-1]["apart"]


# --- what is another database --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (start_over, "none of the tables is left"),
        (lambda site: start_over(site, "CREATE TABLE x(a); DROP TABLE x"), "none of the tables is left"),
        (lambda site: start_over(site, ""), "none of the tables is left"),
        (lambda site: execute(site, "PRAGMA application_id=7"), "application_id"),
    ],
    ids=["other tables", "no table", "no byte", "application_id"],
)
def test_another_database_is_stored_and_held_apart(
    site: Site, options: dict[str, Any], change: Callable[[Site], None], doubt: str
) -> None:
    good = site.stored(**options).id
    change(site)
    foretold = site.back_up(dry_run=True, allow_empty=True, **options)
    outcome = site.back_up(allow_empty=True, **options)
    assert outcome.changed
    assert doubt in str(outcome.warnings)
    assert_apart(site, outcome, good)
    assert (foretold.apart, foretold.warnings) == (True, outcome.warnings)
    assert outcome.backup is not None
    assert outcome.backup.trusted().apart
    assert site.history()[-1]["apart"]
    # Unchanged, it is nothing new, and still not meant.
    again = site.back_up(allow_empty=True, **options)
    # Of a file of zero bytes it is not known for whom the newest backup is encrypted.
    assert again.changed == bool(options and not site.database.stat().st_size)
    assert_apart(site, again, good)
    # And what changes in it makes it no other.
    if site.database.stat().st_size:
        execute(site, "CREATE TABLE more(a)")
        assert_apart(site, site.back_up(**options), good)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE page RENAME TO leaf",
        "DROP TABLE item; CREATE TABLE other(a)",
        "DELETE FROM page; DELETE FROM item",
        "PRAGMA user_version=7",
        "CREATE TABLE more(a)",
        "",
    ],
)
def test_same_database_is_not_held_apart(site: Site, options: dict[str, Any], sql: str) -> None:
    site.stored(**options)
    execute(site, sql)
    outcome = site.back_up(force=True, **options)
    assert (outcome.apart, [each for each in outcome.warnings if "another" in each]) == (False, [])


def test_empty_database_that_gets_its_first_tables_is_not_held_apart(site: Site, options: dict[str, Any]) -> None:
    start_over(site, "")
    with pytest.raises(SourceMissingError):
        site.back_up(**options)
    site.stored(allow_empty=True, **options)
    start_over(site, "PRAGMA application_id=7; CREATE TABLE first(a)")
    outcome = site.back_up(**options)
    assert (outcome.apart, outcome.warnings) == (False, [])


@pytest.mark.parametrize("before", ["plain", AGE])
@pytest.mark.parametrize("after", ["plain", AGE])
def test_new_encryption_hides_nothing(site: Site, before: str, after: str) -> None:
    site.stored(encryption=keys.scheme(before)[0])
    start_over(site)
    assert site.back_up(encryption=keys.scheme(after)[0]).apart


def test_suspect_backups_say_nothing_about_it(site: Site, options: dict[str, Any]) -> None:
    """Neither a copy of a corrupt database, nor one that SQLite cannot open, makes another one accepted."""
    good = site.stored(**options).id
    before = site.database.read_bytes()
    for broken in (before[:-512] + b"\x00\xff" * 256, before[:16] + b"\x00\x03" + before[18:]):
        site.database.write_bytes(broken)
        outcome = site.back_up(force_identity=True, **options)
        assert outcome.error is not None
        assert (outcome.apart, outcome.accepted) == (False, [])
    start_over(site)
    assert_apart(site, site.back_up(**options), good)


def test_suspect_backup_is_not_held_apart(site: Site, options: dict[str, Any]) -> None:
    """Its tables may be gone because it is corrupt: it is the one and not the other."""
    site.stored(**options)
    start_over(
        site,
        "CREATE TABLE other(a); INSERT INTO other VALUES (NULL); PRAGMA writable_schema=ON;"
        "UPDATE sqlite_master SET sql='CREATE TABLE other(a NOT NULL)'",
    )
    outcome = site.back_up(**options)
    assert outcome.error is not None
    assert outcome.tables == {"other": 1}
    assert (outcome.apart, site.listed()[-1]["suspect"], site.listed()[-1]["apart"]) == (False, True, False)


def test_incremental_is_held_apart_and_built_on(site: Site) -> None:
    """The old database, once it is back, may build on what was held apart, which then stays for its sake."""
    first = site.stored()
    execute(site, "PRAGMA application_id=7")
    outcome = site.back_up()
    assert (outcome.type, outcome.apart) == ("incremental", True)
    execute(site, "PRAGMA application_id=0")
    back = site.stored()
    assert_incremental(site, back, 1)
    assert not back.apart
    assert ids(prune_all(site)) == []
    assert site.ids()[0] == first.id
    assert site.verified("full") == ("passed", 0)


# --- the story -----------------------------------------------------------------------------------------------------


def hourly(site: Site, moment: list[datetime], runs: int, **options: Any) -> list[str]:
    """So many full backups, each an hour after the last, of a database that changes, and each followed by a prune."""
    stored = []
    for _run in range(runs):
        moment[0] += HOUR
        execute(site, f"PRAGMA user_version={int(moment[0].timestamp()) % 1_000_000}")
        outcome = site.back_up(type="full", **options)
        assert outcome.changed
        assert outcome.backup is not None
        stored.append(outcome.backup.id)
        prune_all(site)
    return stored


def test_application_that_starts_over_pushes_out_no_backup(
    site: Site, moment: list[datetime], options: dict[str, Any]
) -> None:
    """One backup an hour, a new database after the tenth: until somebody says that it is meant, nothing goes."""
    old = hourly(site, moment, 10, **options)
    assert site.ids() == old[-2:]
    start_over(site)
    apart = hourly(site, moment, 5, **options)
    assert site.ids() == [*old[-2:], *apart]
    outcome = prune_all(site)
    assert not outcome.changed
    assert {retention.UNTOLD} <= set(outcome.kept[0]["reasons"])
    assert "newest verified" in next(each["reasons"] for each in outcome.kept if each["id"] == old[-1])
    assert all(each in str(outcome.warnings) for each in apart)
    with pytest.raises(RefusedError, match="held apart") as refused:
        site.restored()
    assert old[-1] in refused.value.hint
    # Said on a database that is as it was: no new backup is needed.
    accepted = site.back_up(force_identity=True, **options)
    assert (accepted.changed, accepted.accepted, accepted.apart, accepted.warnings) == (False, apart, False, [])
    assert site.history()[-2]["event"] == "accept"
    assert [each["apart"] for each in site.listed()] == [False] * 7
    assert all(each["verified"] for each in site.listed())
    assert ids(prune_all(site)) == [*old[-2:], *apart[:-2]]
    assert hourly(site, moment, 2, **options) == site.ids()
    # Once more there is nothing to accept.
    events = len(site.history())
    again = site.back_up(force_identity=True, **options)
    assert (again.changed, again.accepted) == (False, [])
    assert [each["event"] for each in site.history()[events:]] == ["confirm"]


def test_backup_of_a_run_that_says_so_is_not_held_apart(
    site: Site, moment: list[datetime], options: dict[str, Any]
) -> None:
    site.stored(**options)
    start_over(site)
    (apart,) = hourly(site, moment, 1, **options)
    execute(site, "CREATE TABLE more(a)")
    moment[0] += HOUR
    before = site.tree()
    foretold = site.back_up(dry_run=True, force_identity=True, **options)
    changed = {name for name, entry in before.items() if site.tree().get(name) != entry and entry[2]}
    assert changed <= {"repository/.lock"}
    outcome = site.back_up(force_identity=True, **options)
    for each in (foretold, outcome):
        assert (each.changed, each.apart, each.accepted, each.warnings) == (True, False, [apart], [])
    assert [each["apart"] for each in site.listed()] == [False, False, False]
    moment[0] += HOUR
    execute(site, "CREATE TABLE most(a)")
    assert not site.back_up(**options).apart


def test_first_run_of_another_database_may_say_so(site: Site, options: dict[str, Any]) -> None:
    site.stored(**options)
    start_over(site)
    outcome = site.back_up(force_identity=True, **options)
    assert (outcome.changed, outcome.apart, outcome.accepted, outcome.warnings) == (True, False, [], [])
    assert "accept" in [each["event"] for each in site.history()]
    execute(site, "CREATE TABLE more(a)")
    assert not site.back_up(**options).apart


def test_when_the_old_database_is_back_the_policy_goes_on(site: Site, moment: list[datetime]) -> None:
    old = hourly(site, moment, 3)
    content = site.settled()
    start_over(site)
    apart = hourly(site, moment, 3)
    start_over(site, "")
    site.database.write_bytes(content)
    databases.settle(site.database)
    # To say that it is meant is to say it of the database as it is: of what was apart it says nothing.
    moment[0] += HOUR
    back = site.back_up(force_identity=True)
    assert (back.changed, back.apart, back.accepted) == (True, False, [])
    assert back.backup is not None
    outcome = prune_all(site)
    assert ids(outcome) == [old[1], *apart]
    assert all(each in str(outcome.warnings) for each in apart)
    assert site.ids() == [old[2], back.backup.id]


@pytest.mark.parametrize("noted", [0, 1])
def test_run_that_says_so_and_is_cut_short_gives_nothing_up(
    site: Site, moment: list[datetime], monkeypatch: pytest.MonkeyPatch, noted: int
) -> None:
    """Behind a newer backup one that is still apart would seem to be of a database that is gone."""
    hourly(site, moment, 1)
    start_over(site)
    hourly(site, moment, 2)
    execute(site, "CREATE TABLE more(a)")
    moment[0] += HOUR
    write_checks, written = notes.write_checks, []

    def cut(directory: Path, **noted_there: Any) -> None:
        if len(written) == noted:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        write_checks(directory, **noted_there)
        written.append(directory.name)

    with monkeypatch.context() as patched:
        patched.setattr(notes, "write_checks", cut)
        with pytest.raises(StorageFailedError):
            site.back_up(force_identity=True)
    assert [each["apart"] for each in site.listed()] == [False, *([not noted] * 2)]
    moment[0] += HOUR
    site.stored(force_identity=True)
    assert [each["apart"] for each in site.listed()] == [False] * 4
    assert not prune.run(prune.Request(site.repository, Policy(keep_last=4))).changed


def test_run_that_cannot_read_what_it_would_accept_says_nothing(
    site: Site, moment: list[datetime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be left apart behind a newer backup, and go."""
    hourly(site, moment, 1)
    start_over(site)
    unread = hourly(site, moment, 2)[-1]
    moment[0] += HOUR
    read = places.read_bytes

    def broken(path: Path) -> bytes:
        if path.parent.name == unread and path.name == "manifest.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(places, "read_bytes", broken)
        with pytest.raises(StorageFailedError, match=unread):
            site.back_up(force_identity=True)
    assert [each["apart"] for each in site.listed()] == [False, True, True]
    site.back_up(force_identity=True)
    assert [each["apart"] for each in site.listed()] == [False] * 3


def test_what_was_held_apart_is_no_trouble_once_the_old_database_is_back(site: Site, moment: list[datetime]) -> None:
    """Nobody could take that back: to say that the database is meant says nothing of it any more."""
    hourly(site, moment, 1)
    content = site.settled()
    start_over(site)
    moment[0] += HOUR
    apart = site.stored(pinned=True).id
    assert info.describe_repository(site.open())["state"] == health.DEGRADED
    start_over(site, "")
    site.database.write_bytes(content)
    databases.settle(site.database)
    hourly(site, moment, 1)
    assert apart in site.ids()
    assert info.describe_repository(site.open())["state"] == health.OK


def test_lost_note_is_on_the_safe_side(site: Site, moment: list[datetime]) -> None:
    old = hourly(site, moment, 2)
    start_over(site)
    (apart,) = hourly(site, moment, 1)
    site.back_up(force_identity=True)
    (site.repository / apart / "checks.json").unlink()
    assert ids(prune_all(site)) == []
    assert_apart(site, site.back_up(), old[-1])


def test_note_that_is_lost_later_is_not_missed(site: Site, moment: list[datetime], options: dict[str, Any]) -> None:
    """Behind a newer backup it would look as if the old database was back, and a prune would remove what was meant."""
    hourly(site, moment, 2, **options)
    start_over(site)
    apart = hourly(site, moment, 2, **options)
    site.back_up(force_identity=True, **options)
    newer = hourly(site, moment, 1, **options)
    for each in apart:
        (site.repository / each / "checks.json").unlink(missing_ok=True)
    assert [each["apart"] for each in site.listed() if each["id"] in (*apart, *newer)].count(True) == 0
    later = hourly(site, moment, 1, **options)
    assert site.ids()[-2:] == [*newer, *later]


# --- restore -------------------------------------------------------------------------------------------------------


def test_it_is_restored_by_its_id_alone(site: Site, moment: list[datetime]) -> None:
    """Also where the database already is just that: who restores ``latest`` must not go on as if all was well."""
    good = site.stored().id
    start_over(site)
    (apart,) = hourly(site, moment, 1)
    for wanted in ({"backup": "latest"}, {"backup": "latest", "before": moment[0]}):
        for dest in (site.directory / "elsewhere.db", site.database):
            with pytest.raises(RefusedError, match=apart) as refused:
                restore.run(restore.Request(site.repository, dest=dest, force=True, force_identity=True, **wanted))
            assert good in refused.value.hint
    assert site.restored(apart) == site.settled()
    assert site.restored(before=clock.now() - HOUR) == site.restored(good)
    site.back_up(force_identity=True)
    assert site.restored() == site.settled()


# --- the runner ----------------------------------------------------------------------------------------------------


def test_runner_says_it_and_can_be_told(host: Host) -> None:
    good = host.run("backup", "agent", "--json").result["backup"]
    assert (good["apart"], good["accepted"]) == (False, [])
    host.database().unlink()
    databases.make(host.database(), setup="PRAGMA application_id=7")
    databases.settle(host.database())
    said = host.run("backup", "agent")
    assert said.code == 0
    assert ", apart (" in said.out
    assert "force_identity" in said.err
    assert good["id"] in said.err
    assert "apart" in host.run("list", "agent").out
    result = host.run("backup", "agent", "--json").result
    assert (result["backup"]["apart"], result["stored"], result["changed"]) == (True, False, False)
    (apart,) = host.ids()[1:]
    assert host.run("restore", "agent").code == 18
    foretold = host.run("backup", "agent", "--force-identity", "--dry-run")
    assert "would accept 1 backup" in foretold.out
    told = host.run("backup", "agent", "--force-identity", "--json").result
    assert (told["stored"], told["changed"], told["backup"]["apart"]) == (False, True, False)
    assert told["backup"]["accepted"] == [apart]
    assert "apart" not in host.run("list", "agent").out
    assert not host.run("backup", "agent", "--force-identity", "--json").result["changed"]


def test_configuration_cannot_say_it_for_ever(host: Host) -> None:
    host.add("agent", force_identity=True)
    assert host.run("backup", "agent").code == 2
