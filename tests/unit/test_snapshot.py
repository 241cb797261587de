# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot of a live database: consistent, pinned, and without a trace beside the source."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import database, snapshot
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import (
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
)
from support import agent_db, databases, processes, writer

ACTION = "Cannot test"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The private directory that a snapshot may use."""
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


def _take(path: Path, scratch: Path, **options: object) -> snapshot.Snapshot:
    options.setdefault("deadline", Deadline(30))
    return snapshot.take(database.locate(path, action=ACTION), scratch, action=ACTION, **options)  # type: ignore[arg-type]


def _names(image: snapshot.Snapshot) -> list[str]:
    assert image.connection is not None
    return [name for (name,) in image.connection.execute("SELECT name FROM item ORDER BY id")]


@pytest.mark.parametrize("journal_mode", ["wal", "delete", "truncate", "persist"])
@pytest.mark.parametrize("page_size", [512, 1024, 4096, 32768, 65536])
def test_chunks_are_the_image_that_the_connection_sees(
    tmp_path: Path, scratch: Path, journal_mode: str, page_size: int
) -> None:
    source = databases.make(tmp_path / "a.db", rows=2000, journal_mode=journal_mode, page_size=page_size)
    with _take(source, scratch) as image:
        assert (image.page_size, image.page_count * page_size) == (page_size, image.image_bytes)
        written = tmp_path / "written.db"
        written.write_bytes(b"".join(image.chunks()))
        assert image.read(1, 1) == written.read_bytes()[:page_size]
        assert image.read(image.page_count, 5) == written.read_bytes()[-page_size:]
        assert _names(image) == databases.names(written) == [f"name {n}" for n in range(2000)]
    assert list(scratch.iterdir()) == []


def test_commits_that_are_only_in_the_wal_are_in_the_image(tmp_path: Path, scratch: Path) -> None:
    """Case 3."""
    source = databases.crashed_wal(tmp_path / "a.db")
    with _take(source, scratch) as image:
        assert _names(image)[-1] == "only in wal"


def test_writer_that_commits_without_pause_is_neither_blocked_nor_torn(tmp_path: Path, scratch: Path) -> None:
    """Case 2: in WAL mode. The image holds a prefix of the commits, each of them whole."""
    source = tmp_path / "agent.db"
    agent_db.create(source, runs=200)
    with writer.running_writer(source) as running:
        for _round in range(5):
            written = tmp_path / "written.db"
            last_before = running.last
            with _take(source, scratch) as image:
                written.write_bytes(b"".join(image.chunks()))
            found = writer.commits_in(written)
            assert found.whole
            assert found.last >= last_before
            assert found.total == found.last - found.first + 1
            written.unlink()
    assert running.report is not None
    assert running.report.busy == 0
    assert running.report.commits > 10


_TRY_TO_WRITE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    connection.execute("INSERT INTO item(name) VALUES ('during the copy')")
    print("committed")
except sqlite3.OperationalError as error:
    print(error)
"""


_STAY_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
print(connection.execute("SELECT count(*) FROM item").fetchall(), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(("journal_mode", "answer"), [("delete", "database is locked"), ("wal", "committed")])
def test_writers_wait_in_rollback_mode_only(
    tmp_path: Path, scratch: Path, journal_mode: str, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 1. The lock must hold through the whole copy, so nothing may open and close the source meanwhile."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000, journal_mode=journal_mode)
    answers: list[str] = []

    def on_progress(done: int, _total: int) -> None:
        if done in (1, 5):
            answers.append(processes.python(_TRY_TO_WRITE, source))

    # In a process of its own: in this one, looking at the header would drop its locks.
    with processes.running(_STAY_OPEN, source), _take(source, scratch, progress=on_progress) as image:
        assert answers == [answer, answer]
        assert _names(image) == [f"name {n}" for n in range(2000)]
        assert image.writers_waited == (journal_mode == "delete")
        assert image.pinned_seconds > 0
    assert processes.python(_TRY_TO_WRITE, source) == "committed"


def test_hot_journal_is_refused_and_nothing_is_touched(tmp_path: Path, scratch: Path) -> None:
    """Case 4: rolling back is the application's to do; deleting the journal would destroy the database."""
    source = databases.crashed_journal(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    with pytest.raises(SourceCorruptError, match="needs recovery"):
        _take(source, scratch)
    assert databases.tree(tmp_path) == before


def test_locked_source_is_busy_after_the_deadline(tmp_path: Path, scratch: Path) -> None:
    source = databases.make(tmp_path / "a.db", journal_mode="delete")
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        with pytest.raises(SourceBusyError, match="locked"):
            _take(source, scratch, deadline=Deadline(0.2))
        assert time.monotonic() - begin < 10


def test_copy_that_takes_too_long_is_stopped(tmp_path: Path, scratch: Path) -> None:
    """``Connection.backup`` ignores the busy timeout; only the deadline ends it."""
    source = databases.make(tmp_path / "a.db")
    with pytest.raises(SourceBusyError, match="before the timeout"):
        _take(source, scratch, deadline=Deadline(0))


def test_source_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 28: the first image is of a file that nobody can open any more."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000)
    successor = databases.make(tmp_path / "b.db", rows=5)

    def on_progress(done: int, _total: int) -> None:
        if done == 1 and successor.exists():
            os.replace(successor, source)

    with _take(source, scratch, progress=on_progress) as image:
        assert _names(image) == [f"name {n}" for n in range(5)]


def test_source_that_is_replaced_again_and_again_is_busy(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000)
    content = source.read_bytes()

    def on_progress(done: int, _total: int) -> None:
        if done == 1:
            (tmp_path / "next.db").write_bytes(content)
            os.replace(tmp_path / "next.db", source)

    with pytest.raises(SourceBusyError, match="replaced"):
        _take(source, scratch, progress=on_progress)


def test_source_that_vanishes_while_it_is_read_is_missing(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000)

    def on_progress(done: int, _total: int) -> None:
        if done == 1:
            source.unlink()

    with pytest.raises(SourceMissingError):
        _take(source, scratch, progress=on_progress)


_SNAPSHOT_AS_NOBODY = """
import os, sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine import database, snapshot
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import EngineError
scratch = Path(sys.argv[2])
os.chown(scratch, 65534, 65534)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
try:
    source = database.locate(Path(sys.argv[1]), action="Cannot test")
    with snapshot.take(source, scratch, action="Cannot test", deadline=Deadline(float(sys.argv[3]))) as image:
        print([name for (name,) in image.connection.execute("SELECT name FROM item ORDER BY id")][-1])
except EngineError as error:
    print(error.code)
"""


@processes.needs_root
@pytest.mark.root
@pytest.mark.parametrize("state", ["clean", "crashed", "open", "stale shm"])
def test_another_user_reads_without_leaving_files(state: str) -> None:
    """Cases 5 and 17: a ``-shm`` of another owner would lock the application out of its own database."""
    with processes.open_directory() as directory, contextlib.ExitStack() as stack:
        source, scratch = directory / "a.db", directory / "scratch"
        scratch.mkdir(mode=0o700)
        if state == "crashed":
            databases.crashed_wal(source)
        else:
            databases.make(source)
        if state == "open":
            stack.enter_context(contextlib.closing(databases.open_writer(source))).execute(
                "INSERT INTO item(name) VALUES ('only in wal')"
            )
        if state == "stale shm":
            databases.crashed_wal(source)
            source.with_name("a.db-shm").write_bytes(b"")
        os.chmod(directory, 0o777 if state == "clean" else 0o555)
        before = databases.tree(directory)
        expected = "name 2" if state == "clean" else "only in wal"
        assert processes.python(_SNAPSHOT_AS_NOBODY, source, scratch, 30) == expected
        assert databases.tree(directory) == before


@processes.needs_root
@pytest.mark.root
def test_unreadable_source_is_a_permission_error() -> None:
    with processes.open_directory() as directory:
        source = databases.make(directory / "a.db")
        source.chmod(0o600)
        (directory / "scratch").mkdir()
        assert processes.python(_SNAPSHOT_AS_NOBODY, source, directory / "scratch", 5) == "20"


def test_reading_does_not_change_the_source(tmp_path: Path, scratch: Path) -> None:
    """No write, no checkpoint, no other journal mode: the main file and its ``-wal`` stay as they are."""
    source = databases.crashed_wal(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    with _take(source, scratch):
        pass
    after = databases.tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"a.db-shm"}


def test_idle_wal_database_gets_no_sidecars(tmp_path: Path, scratch: Path) -> None:
    """A read-only connection would create a ``-wal`` and a ``-shm``, and could not remove them."""
    source = databases.make(tmp_path / "a.db")
    databases.settle(source)
    with _take(source, scratch) as image:
        assert _names(image) == ["name 0", "name 1", "name 2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "scratch"]


def test_idle_database_that_is_written_to_while_it_is_read_is_read_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock a checkpoint may change pages under the reader; that must not go unseen."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000)
    databases.settle(source)
    rounds = []

    def on_progress(done: int, _total: int) -> None:
        if done == 2 and not rounds:
            rounds.append(done)
            processes.python(
                "import sqlite3, sys\n"
                "connection = sqlite3.connect(sys.argv[1])\n"
                "connection.execute(\"UPDATE item SET name = 'changed ' || id\")\n"
                "connection.commit()\n"
                "connection.execute('PRAGMA wal_checkpoint(TRUNCATE)')",
                source,
            )

    with _take(source, scratch, progress=on_progress) as image:
        assert rounds
        assert _names(image) == [f"changed {n}" for n in range(1, 2001)]


def test_application_that_comes_and_goes_does_not_prevent_a_backup(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time it closes the database, a checkpoint changes the main file: a reader without a lock never ends."""
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    source = databases.make(tmp_path / "a.db", rows=2000)
    databases.settle(source)
    commits = []

    def on_progress(done: int, _total: int) -> None:
        if done in (1, 3, 5):
            commits.append(processes.python(_TRY_TO_WRITE, source))

    with _take(source, scratch, progress=on_progress) as image:
        assert set(commits) == {"committed"}
        assert len(_names(image)) >= 2000


def test_salvaged_image_is_the_bytes_as_they_are(tmp_path: Path, scratch: Path) -> None:
    """A length that is no multiple of a page, a header that names no page size: nothing is lost."""
    source = databases.make(tmp_path / "a.db")
    content = source.read_bytes()[:16] + b"\xff" * 5000 + b"end"
    source.write_bytes(content)
    located = database.locate(source, action=ACTION)
    with snapshot.salvage(located, scratch, corruption="malformed") as image:
        assert b"".join(image.chunks()) == content
        assert image.connection is None
