# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one run stores: nothing, the pages that changed, or all of them; and that a restore of it is exact."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import NoSpaceError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import draft, verify
from support import databases, sites
from support.keys import ZSTD
from support.sites import PAGE_SIZE, Site, assert_full, assert_incremental, sha256, stored_pages

# Backups of one test follow each other at once; the clock stands still.
pytestmark = pytest.mark.usefixtures("moment", "nothing_is_small")


# --- what changed --------------------------------------------------------------------------------------------------


def test_first_backup_is_full(site: Site) -> None:
    outcome = site.back_up()
    assert outcome.backup is not None
    document = outcome.backup.trusted()
    assert_full(site, document, "there is no backup to build on")
    assert (outcome.type, outcome.parent, outcome.changed_pages) == ("full", None, document.image.page_count)


@pytest.mark.parametrize("kind", ["auto", "incremental"])
def test_one_changed_page_is_all_that_is_stored(site: Site, kind: str) -> None:
    first = site.stored()
    site.change(1)
    outcome = site.back_up(type=kind)
    assert (outcome.type, outcome.parent, outcome.changed_pages) == ("incremental", first.id, 1)
    assert outcome.backup is not None
    assert_incremental(site, outcome.backup.trusted(), 1)
    assert outcome.warnings == []
    assert outcome.backup.verified


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("compression", ["gzip", ZSTD])
@pytest.mark.parametrize("after", ["full", "incremental"])
def test_nothing_changed_stores_nothing(tmp_path: Path, journal_mode: str, compression: str, after: str) -> None:
    site = Site(tmp_path, journal_mode=journal_mode)
    site.stored(compression=compression)
    if after == "incremental":
        site.change(1)
        site.stored(compression=compression)
    databases.settle(site.database)
    before = site.tree()
    outcome = site.back_up(compression=compression)
    assert (outcome.changed, outcome.type, outcome.changed_pages) == (False, after, 0)
    assert outcome.parent == (site.ids()[0] if after == "incremental" else None)
    made = {name for name in set(site.tree()) - set(before) if not name.startswith("repository/.locks")}
    assert made == {f"repository/{site.ids()[-1]}/checks.json"}
    changed = {name for name, entry in before.items() if site.tree()[name] != entry and entry[2]}
    assert changed <= {"repository/history.jsonl", "repository/.lock"}


def _append(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO page(content) SELECT content FROM page WHERE id <= 10")


def _delete(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM page WHERE id > 30")
    connection.execute("VACUUM")


def _new_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE other(id INTEGER PRIMARY KEY, name TEXT)")
    connection.execute("INSERT INTO other(name) SELECT name FROM item")


def _new_version(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA user_version = 42")


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("change", [_append, _delete, _new_table, _new_version])
def test_just_the_pages_that_differ_are_stored(
    tmp_path: Path, journal_mode: str, change: Callable[[sqlite3.Connection], None]
) -> None:
    """Whether the database grows, shrinks or stays: what is stored is what differs from the backup before."""
    site = Site(tmp_path, journal_mode=journal_mode)
    before = site.restored(site.stored().id)
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        change(connection)
    outcome = site.back_up(type="incremental")
    after = site.restored()
    assert outcome.backup is not None
    assert outcome.type == "incremental"
    assert outcome.changed_pages == sites.differing_pages(before, after) > 0
    assert stored_pages(site, outcome.backup.trusted()) == outcome.changed_pages
    assert outcome.tables == (outcome.backup.trusted().proof or pytest.fail("no proof")).tables
    if journal_mode == "wal":
        assert after == site.settled()


@pytest.mark.parametrize(("more", "kind"), [(0, "incremental"), (1, "full")])
def test_more_than_half_of_the_pages_are_stored_as_a_full_backup(site: Site, more: int, kind: str) -> None:
    half = site.stored().image.page_count // 2
    site.change(half + more)
    outcome = site.back_up()
    assert (outcome.type, outcome.warnings) == (kind, [])
    assert outcome.backup is not None
    if kind == "full":
        assert_full(site, outcome.backup.trusted(), "more than half of the pages changed")
        assert outcome.changed_pages == outcome.backup.trusted().image.page_count
        assert [path.name for path in outcome.backup.path.glob("database*")] == ["database.sqlite.gz"]
    else:
        assert_incremental(site, outcome.backup.trusted(), half)


def test_type_incremental_stores_however_many_pages_changed(site: Site) -> None:
    site.stored()
    site.change(sites.ROWS)
    assert_incremental(site, site.stored(type="incremental"), sites.ROWS)


def test_every_link_of_a_chain_restores_to_what_was_there(site: Site) -> None:
    contents = {site.stored().id: site.settled()}
    for rows in ([1, 2], [2, 3], [40], [1]):
        site.change(rows)
        contents[site.stored().id] = site.settled()
    assert [each.manifest.type for each in site.open().backups() if each.manifest] == ["full"] + ["incremental"] * 4
    assert {wanted: site.restored(wanted) for wanted in contents} == contents
    result = verify.verify_backups(site.open(), "all", verify.Expectations("full"))
    assert (result.outcome, result.error) == ("passed", None)


def test_page_that_gets_its_old_content_back_is_stored_again(site: Site) -> None:
    """Compared is with the newest backup, not with the full one."""
    site.change([1], "old")
    site.stored()
    site.change([1], "new")
    site.stored()
    site.change([1], "old")
    assert_incremental(site, site.stored(), 1)


@pytest.mark.parametrize("state", ["settled", "crashed", "open"])
def test_image_of_a_wal_database_is_its_settled_file(site: Site, state: str) -> None:
    """Byte for byte what SQLite itself makes of the database and its log, for a full backup and for an incremental."""
    with contextlib.ExitStack() as stack:
        for number, kind in enumerate(("full", "incremental"), start=1):
            if state == "settled":
                site.change([number])
            else:
                writer = stack.enter_context(contextlib.closing(databases.open_writer(site.database)))
                writer.execute("UPDATE page SET content = 'in the log' WHERE id = ?", (number,))
                if state == "crashed":
                    databases.copy_live(site.database, site.directory / "crashed.db")
                    site.database = site.directory / "crashed.db"
            document = site.stored(name="agent")
            assert document.type == kind
            assert document.image.sha256 == sha256(site.settled())
            assert site.restored(document.id, force_identity=True) == site.settled()


def test_database_that_is_written_to_while_it_is_read_is_read_again(site: Site) -> None:
    """An idle database is read without a lock: what was staged of the first reading must not get into the backup."""
    site.stored()
    databases.settle(site.database)
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("UPDATE page SET content = 'first' WHERE id = 1")
    databases.settle(site.database)
    calls = []

    def write(_done: int, _total: int) -> None:
        if not calls:
            site.change([2, 3])
        calls.append(1)

    outcome = site.back_up(progress=write)
    assert len(calls) > 1
    assert outcome.backup is not None
    assert_incremental(site, outcome.backup.trusted(), 3)
    site.change([4])
    assert_incremental(site, site.stored(), 1)


def test_unchanged_database_that_must_be_read_again_is_still_unchanged(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index was read to its end by then."""
    monkeypatch.setattr(base, "SMALL_BYTES", 1 << 30)
    site.stored()
    compare = draft.is_image_of

    def touch(*arguments: Any) -> bool:
        site.database.touch()
        return compare(*arguments)

    monkeypatch.setattr(draft, "is_image_of", touch)
    assert not site.back_up().changed


# --- when a full backup is due -------------------------------------------------------------------------------------


def test_changed_page_size_needs_a_full_backup(tmp_path: Path) -> None:
    site = Site(tmp_path, journal_mode="delete")
    site.stored(compression="none")
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA page_size = 1024")
        connection.execute("VACUUM")
    document = site.stored(compression="none")
    assert document.image.page_size == 1024 != PAGE_SIZE
    assert_full(site, document, "the page size changed")


@pytest.mark.parametrize(("less", "kind"), [(1, "incremental"), (0, "full")])
def test_full_backup_is_due_when_the_newest_full_one_is_old(
    site: Site, moment: list[datetime], less: int, kind: str
) -> None:
    """The age is that of the full backup, however new the incrementals on it are."""
    (noon,) = moment
    site.stored()
    for hours in (1, 23):
        moment[0] = noon + timedelta(hours=hours)
        site.change(1)
        assert site.stored(full_every_seconds=86400).type == "incremental"
    moment[0] = noon + timedelta(seconds=86400 - less)
    site.change(1)
    document = site.stored(full_every_seconds=86400)
    if kind == "full":
        assert_full(site, document, "the full backup is too old")
    else:
        assert_incremental(site, document, 1)


def test_age_does_not_matter_when_an_incremental_is_asked_for(site: Site, moment: list[datetime]) -> None:
    site.stored()
    moment[0] += timedelta(days=400)
    site.change(1)
    assert_incremental(site, site.stored(type="incremental"), 1)


def test_old_full_backup_of_unchanged_content_is_confirmed(site: Site, moment: list[datetime]) -> None:
    site.stored()
    moment[0] += timedelta(days=400)
    assert not site.back_up().changed


@pytest.mark.parametrize("kind", ["auto", "incremental"])
@pytest.mark.parametrize("max_chain", [0, 1, 2])
def test_chain_has_no_more_links_than_allowed(site: Site, kind: str, max_chain: int) -> None:
    site.stored()
    for _link in range(max_chain):
        site.change(1)
        assert site.stored(type=kind, max_chain=max_chain).type == "incremental"
    site.change(1)
    outcome = site.back_up(type=kind, max_chain=max_chain)
    assert outcome.backup is not None
    assert_full(site, outcome.backup.trusted(), f"the chain has {max_chain} incremental backups")
    assert any("the chain has" in each for each in outcome.warnings) == (kind == "incremental")


@pytest.mark.parametrize("kind", ["auto", "incremental"])
@pytest.mark.parametrize(("more", "expected"), [(0, "incremental"), (1, "full")])
def test_small_database_is_always_stored_full(
    site: Site, monkeypatch: pytest.MonkeyPatch, kind: str, more: int, expected: str
) -> None:
    monkeypatch.setattr(base, "SMALL_BYTES", site.stored().image.bytes + more)
    site.change(1)
    document = site.stored(type=kind)
    assert document.type == expected
    if expected == "full":
        assert_full(site, document, "the database is small")


def test_small_is_under_16_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert base.SMALL_BYTES == 16 * 1024 * 1024


def test_type_full_is_a_full_backup_behind_any_chain(site: Site) -> None:
    site.stored()
    site.change(1)
    site.stored()
    site.change(1)
    assert_full(site, site.stored(type="full"), "a full backup is asked for")
    site.change(1)
    assert_incremental(site, site.stored(), 1)


def test_type_full_stores_what_is_only_there_as_an_incremental(site: Site) -> None:
    """Who asks for a full backup wants one that needs no other; where that exists, it is confirmed."""
    site.stored()
    assert not site.back_up(type="full").changed
    site.change(1)
    site.stored()
    assert_full(site, site.stored(type="full"), "a full backup is asked for")
    assert not site.back_up(type="full").changed


def test_compression_may_change_within_a_chain(site: Site) -> None:
    contents = {site.stored(compression="xz").id: site.settled()}
    compressions = ["none", "gzip", *(["zstd"] if shutil.which("zstd") else []), "xz"]
    for compression in compressions:
        site.change(1)
        document = site.stored(compression=compression)
        assert (document.type, document.content_file.compression) == ("incremental", compression)
        contents[document.id] = site.settled()
    assert not site.back_up(compression="none").changed
    assert {wanted: site.restored(wanted) for wanted in contents} == contents


@pytest.mark.parametrize("reason", ["first", "no index", "small", "chain"])
def test_incremental_that_cannot_be_is_a_full_backup_with_a_warning(
    site: Site, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    options: dict[str, Any] = {"type": "incremental"}
    if reason != "first":
        site.stored()
        site.change(1)
    if reason == "no index":
        site.index().unlink()
    if reason == "small":
        monkeypatch.setattr(base, "SMALL_BYTES", 1 << 30)
    if reason == "chain":
        options["max_chain"] = 0
    outcome = site.back_up(**options)
    assert (outcome.type, outcome.error) == ("full", None)
    (warning,) = outcome.warnings
    assert warning == f"a full backup instead of an incremental one: {site.history()[-1]['why_full']}"


@pytest.mark.parametrize("wanted", [{"force": True}, {"pinned": True}, {"tags": ("release",)}])
def test_what_the_newest_backup_lacks_is_an_incremental_without_pages(site: Site, wanted: dict[str, Any]) -> None:
    first = site.stored()
    outcome = site.back_up(**wanted)
    assert (outcome.changed, outcome.type, outcome.parent, outcome.changed_pages) == (True, "incremental", first.id, 0)
    assert outcome.backup is not None
    document = outcome.backup.trusted()
    assert_incremental(site, document, 0)
    assert (document.pinned, document.tags) == (wanted.get("pinned", False), wanted.get("tags", ()))
    assert site.back_up(**wanted).changed == wanted.get("force", False)


def test_changed_include_is_an_incremental_without_pages(site: Site, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    include = (Include(notes, "notes.txt"),)
    notes.write_text("first")
    site.stored(include=include)
    assert not site.back_up(include=include).changed
    notes.write_text("second")
    document = site.stored(include=include)
    assert_incremental(site, document, 0)
    assert (site.repository / document.id / "files/notes.txt").read_text() == "second"
    assert not site.back_up(include=include).changed
    assert_incremental(site, site.stored(include=()), 0)


# --- a clock that goes backwards -----------------------------------------------------------------------------------


def test_clock_that_goes_backwards_still_builds_on_the_newest(site: Site, moment: list[datetime]) -> None:
    """Case 14: the sequence orders the chain, and latest is what was stored last."""
    site.stored()
    moment[0] -= timedelta(days=3)
    site.change(1)
    outcome = site.back_up()
    assert outcome.backup is not None
    assert outcome.warnings == [
        "the clock went backwards: the newest backup 20251230T120000Z-full was made later than now"
    ]
    assert site.ids() == ["20251230T120000Z-full", "20251227T120000Z-incremental"]
    assert_incremental(site, outcome.backup.trusted(), 1)
    moment[0] += timedelta(days=1)
    site.change([2])
    assert_incremental(site, site.stored(), 1)
    assert site.ids()[-1] == "20251228T120000Z-incremental"
    assert [each.trusted().sequence for each in site.open().backups()] == [1, 2, 3]
    assert site.restored() == site.settled()


def test_run_that_was_overtaken_sees_no_clock_that_goes_backwards(site: Site, moment: list[datetime]) -> None:
    """Runs that wait for the repository do not get it in the order in which they came."""
    site.stored()
    site.change(1)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with locks.held(site.repository / ".lock", timeout_seconds=0, action="Test"):
            waiting = pool.submit(site.back_up, lock_timeout_seconds=30)
            time.sleep(0.2)
            moment[0] += timedelta(hours=1)
        assert waiting.result().warnings == []
    assert site.ids()[-1] == "20251230T130000Z-incremental"


def test_ids_in_one_second_do_not_meet_whatever_their_type(site: Site) -> None:
    site.stored()
    site.change(1)
    site.stored()
    site.change(1)
    site.stored(type="full")
    assert site.ids() == ["20251230T120000Z-full", "20251230T120001Z-incremental", "20251230T120002Z-full"]


# --- room ----------------------------------------------------------------------------------------------------------


def test_incremental_needs_no_room_for_a_full_backup(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    first = site.stored(compression="none")
    site.change(1)
    free_bytes = 1024 * 1024 + first.stored_bytes // 2
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(free_bytes, 0, free_bytes))  # type: ignore[attr-defined]
    for dry_run in (True, False):
        before = site.ids()
        with pytest.raises(NoSpaceError, match="bytes are needed"):
            site.back_up(compression="none", type="full", dry_run=dry_run)
        assert site.ids() == before
    assert site.back_up(compression="none").type == "incremental"


# --- what is told -------------------------------------------------------------------------------------------------


def test_audit_log_tells_the_type_of_each_backup(site: Site) -> None:
    site.stored()
    site.change(1)
    site.stored()
    site.back_up()
    lines = [json.loads(line) for line in (site.repository / "history.jsonl").read_text().splitlines()]
    assert [(each["event"], each.get("type")) for each in lines] == [
        ("backup", "full"),
        ("backup", "incremental"),
        ("confirm", None),
    ]


def test_durations_are_those_of_the_two_phases(site: Site) -> None:
    outcome = site.back_up()
    assert list(outcome.durations) == ["read", "publish"]
    assert outcome.backup is not None
    assert set(outcome.backup.trusted().durations) == {"read"}
