# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot while others write, checkpoint, come, go and replace: still one image, byte for byte.

The oracle is always SQLite itself, which copies what the very same transaction sees.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, snapshot
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.pin import Pinned
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.snapshot import (
    CopiedSnapshot,
    DirectSnapshot,
    Snapshot,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from support import agent_db, databases, hostile, processes, writer

ADD = "INSERT INTO item(name) VALUES ('meanwhile')"
CHANGE = "UPDATE item SET name = 'changed ' || name"
CHECKPOINTS = ("PASSIVE", "FULL", "RESTART", "TRUNCATE")

Result = TypeVar("Result")
Sql = Callable[[str], Any]


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The private directory that a snapshot may use."""
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


def use(path: Path, scratch: Path, work: Callable[[Snapshot], Result], **options: Any) -> Result:
    options.setdefault("deadline", Deadline(30))
    return snapshot.use(database.locate(path), scratch, work, **options)


def take(path: Path, scratch: Path, **options: Any) -> Snapshot:
    options.setdefault("deadline", Deadline(30))
    return snapshot.take(database.locate(path), scratch, **options)


def names(image: Snapshot) -> list[str]:
    assert image.connection is not None
    return [name for (name,) in image.connection.execute("SELECT name FROM item ORDER BY id")]


def way_of(image: Snapshot) -> str:
    """Where its pages come from."""
    if isinstance(image, DirectSnapshot):
        return "log" if image._frames else "file"
    return "copy"


def assert_is_what_sqlite_sees(read: bytes, image: Snapshot) -> None:
    assert image.connection is not None
    assert databases.masked(read) == databases.masked(databases.image_of(image.connection))


# --- others at the worst moment ------------------------------------------------------------------------------------

# What the application did before, and where the pages must come from when nothing happens meanwhile.
STATES = {
    "log": ([CHANGE], "log"),
    "log that is in the file": ([CHANGE, "PRAGMA wal_checkpoint(PASSIVE)"], "file"),
    "empty log": ([CHANGE, "PRAGMA wal_checkpoint(TRUNCATE)"], "file"),
}
EVENTS = {
    "nothing": [],
    "commit": [ADD],
    "checkpoint": ["PRAGMA wal_checkpoint(PASSIVE)"],
    "log that starts again": ["PRAGMA wal_checkpoint(RESTART)", CHANGE],
    "log that is cut": ["PRAGMA wal_checkpoint(TRUNCATE)", ADD],
}


def trouble(application: Sql) -> None:
    """All that may happen to a database while somebody reads it: none of it may reach that reader."""
    for sql in (CHANGE, "PRAGMA wal_checkpoint(PASSIVE)", ADD, "PRAGMA wal_checkpoint(TRUNCATE)", CHANGE, CHANGE):
        application(sql)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("moment", ["before the transaction begins", "before it reads", "when it has begun"])
def test_image_is_that_of_the_transaction_whatever_happens_while_it_begins(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, state: str, event: str, moment: str
) -> None:
    """Between the look at the index before and the one after, others may do anything."""
    path = databases.make(tmp_path / "a.db", rows=300, page_size=512)
    before, way = STATES[state]
    begins = []

    def begin_again(pinned: Pinned) -> None:
        begins.append(pinned)
        happens = EVENTS[event] if len(begins) == 1 else []
        for each in happens if moment == "before the transaction begins" else []:
            application(each)
        pinned.connection.execute("ROLLBACK")
        for each in happens if moment == "before it reads" else []:
            application(each)
        pinned.connection.execute("BEGIN")
        pinned.connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        for each in happens if moment == "when it has begun" else []:
            application(each)

    def work(image: Snapshot) -> None:
        first = b"".join(image.chunks())
        assert_is_what_sqlite_sees(first, image)
        trouble(application)
        assert b"".join(image.chunks()) == first
        assert_is_what_sqlite_sees(first, image)
        assert way_of(image) != "copy"
        if event == "nothing":
            assert (way_of(image), len(begins)) == (way, 1)

    with processes.application(path) as application:
        for sql in before:
            application(sql)
        monkeypatch.setattr(Pinned, "begin_again", begin_again)
        use(path, scratch, work)
    assert 1 <= len(begins) <= 3


def test_writer_that_is_always_faster_is_left_to_sqlite(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When there is never a moment between two commits, a copy is made: it needs no such moment."""
    monkeypatch.setattr(snapshot, "_MATCH_ATTEMPTS", 5)
    path = databases.make(tmp_path / "a.db")
    begin_again, begins = Pinned.begin_again, []

    def begin_late(pinned: Pinned) -> None:
        begins.append(pinned)
        begin_again(pinned)
        application(ADD)

    def work(image: Snapshot) -> list[str]:
        assert isinstance(image, CopiedSnapshot)
        assert_is_what_sqlite_sees(b"".join(image.chunks()), image)
        return names(image)

    with processes.application(path) as application:
        monkeypatch.setattr(Pinned, "begin_again", begin_late)
        assert use(path, scratch, work) == ["name 0", "name 1", "name 2", *["meanwhile"] * 5]
    assert len(begins) == 5
    assert os.listdir(scratch) == []


# --- others without pause ------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("seconds", "page_size"),
    [(2.0, 512), *(pytest.param(15.0, size, marks=pytest.mark.slow) for size in (512, 4096, 65536))],
)
def test_hostile_processes_never_tear_an_image(tmp_path: Path, scratch: Path, seconds: float, page_size: int) -> None:
    """Case 2: everything that SQLite lets others do, at random. Two readings differ in nothing, nor from a copy."""
    path = hostile.make(tmp_path / "a.db", page_size=page_size)
    pick = random.Random(page_size)
    ways: Counter[str] = Counter()
    seen = set()

    def work(image: Snapshot) -> None:
        first = b"".join(image.chunks())
        time.sleep(pick.random() ** 3 * 0.03)
        second = b"".join(image.chunks())
        assert first == second
        assert_is_what_sqlite_sees(first, image)
        assert image.connection is not None
        seen.add(hostile.commits_in(image.connection))
        ways[way_of(image)] += 1

    with hostile.running(path, seeds=range(2)):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            use(path, scratch, work)
    rounds = sum(ways.values())
    assert min(ways["log"], ways["file"]) >= seconds, ways
    assert ways["copy"] <= rounds // 20
    assert len(seen) > rounds // 4


@pytest.mark.parametrize("direct", [True, False])
def test_writer_that_commits_without_pause_is_neither_blocked_nor_torn(
    tmp_path: Path, scratch: Path, direct: bool
) -> None:
    """Case 2: the image holds a prefix of the commits, each of them whole."""
    path, written = tmp_path / "agent.db", tmp_path / "written.db"
    agent_db.create(path, runs=200)

    def work(image: Snapshot) -> None:
        written.write_bytes(b"".join(image.chunks()))

    with writer.running_writer(path) as running:
        for _round in range(5):
            last_before = running.last
            if direct:
                use(path, scratch, work)
            else:
                with take(path, scratch) as image:
                    work(image)
            found = writer.commits_in(written)
            assert found.whole
            assert found.last is not None
            assert found.last >= last_before
            assert found.total == found.last - (found.first or 0) + 1
    assert running.report is not None
    assert running.report.busy == 0
    assert running.report.commits > 10


# --- who waits -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("journal_mode", "answer"), [("delete", "database is locked"), ("wal", [])])
def test_writers_wait_for_direct_reading_in_rollback_mode_only(
    tmp_path: Path, scratch: Path, journal_mode: str, answer: object
) -> None:
    """Case 1: the lock must hold from the first page to the last."""
    path = databases.make(tmp_path / "a.db", rows=2000, journal_mode=journal_mode)
    with processes.application(path) as application:

        def work(image: Snapshot) -> None:
            pages = []
            for first_page in range(1, image.page_count + 1):
                pages.append(image.read(first_page, 1))
                if first_page in (1, 5, image.page_count):
                    assert application(CHANGE) == answer
            assert_is_what_sqlite_sees(b"".join(pages), image)
            assert names(image) == [f"name {n}" for n in range(2000)]
            assert image.writers_waited == (journal_mode == "delete")
            assert image.pinned_seconds > 0

        use(path, scratch, work)
        assert application(ADD) == []


@pytest.mark.parametrize(("journal_mode", "answer"), [("delete", "database is locked"), ("wal", [])])
def test_writers_wait_for_the_copy_in_rollback_mode_only(
    tmp_path: Path, scratch: Path, journal_mode: str, answer: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 1: and only for the copy, not for the work on it."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    path = databases.make(tmp_path / "a.db", rows=2000, journal_mode=journal_mode)
    answers = []
    with processes.application(path) as application:

        def on_progress(done: int, _total: int) -> None:
            if done in (1, 5):
                answers.append(application(CHANGE))

        with take(path, scratch, progress=on_progress) as image:
            assert answers == [answer, answer]
            assert application(ADD) == []
            assert names(image) == [f"name {n}" for n in range(2000)]
            assert image.writers_waited == (journal_mode == "delete")
            assert image.pinned_seconds > 0


# --- a source that becomes another one -----------------------------------------------------------------------------


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_source_that_is_replaced_while_its_pages_are_read_is_read_again(
    tmp_path: Path, scratch: Path, journal_mode: str
) -> None:
    """Case 28: the first image is of a file that nobody can open any more."""
    path = databases.make(tmp_path / "a.db", rows=2000, journal_mode=journal_mode)
    successor = databases.make(tmp_path / "b.db", rows=5, page_size=1024, journal_mode=journal_mode)
    rounds = []

    def work(image: Snapshot) -> list[str]:
        rounds.append(image.page_size)
        image.read(1, 3)
        if successor.exists():
            os.replace(successor, path)
        assert_is_what_sqlite_sees(b"".join(image.chunks()), image)
        return names(image)

    assert use(path, scratch, work) == [f"name {n}" for n in range(5)]
    assert rounds == [4096, 1024]


def test_source_that_is_replaced_while_it_is_copied_is_copied_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 28."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    path = databases.make(tmp_path / "a.db", rows=2000)
    successor = databases.make(tmp_path / "b.db", rows=5)

    def on_progress(done: int, _total: int) -> None:
        if done == 1 and successor.exists():
            os.replace(successor, path)

    with take(path, scratch, progress=on_progress) as image:
        assert names(image) == [f"name {n}" for n in range(5)]


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_idle_database_that_is_written_to_is_read_again(tmp_path: Path, scratch: Path, checkpoint: str) -> None:
    """Without a lock the first reading may be of two commits at once."""
    path = databases.make(tmp_path / "a.db", rows=2000)
    databases.settle(path)
    readings = []

    def work(image: Snapshot) -> list[str]:
        first = image.read(1, 5)
        if not readings:
            with processes.application(path) as application:
                application(CHANGE)
                application(f"PRAGMA wal_checkpoint({checkpoint})")
        readings.append(first + image.read(6, image.page_count))
        return names(image)

    assert use(path, scratch, work) == [f"changed name {n}" for n in range(2000)]
    torn, whole = readings
    assert torn != whole
    assert whole[:100] == path.read_bytes()[:100]


def test_idle_database_that_is_written_to_while_it_is_copied_is_copied_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    path = databases.make(tmp_path / "a.db", rows=2000)
    databases.settle(path)
    rounds = []

    def on_progress(done: int, _total: int) -> None:
        if done == 2 and not rounds:
            rounds.append(done)
            with processes.application(path) as application:
                application(CHANGE)
                application("PRAGMA wal_checkpoint(TRUNCATE)")

    with take(path, scratch, progress=on_progress) as image:
        assert rounds
        assert names(image) == [f"changed name {n}" for n in range(2000)]
