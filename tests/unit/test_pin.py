# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The read transaction on a live database: what it holds, what it sees, and that it leaves no trace."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, pin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    NoSpaceError,
    RefusedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
)
from support import databases, processes

WRITE = "UPDATE item SET name = 'changed ' || id"
ADD = "INSERT INTO item(name) VALUES ('meanwhile')"

Result = TypeVar("Result")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The private directory that a reader may use."""
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


def read(path: Path, scratch: Path, work: Callable[[pin.Pinned], Result], **options: Any) -> Result:
    options.setdefault("deadline", Deadline(30))
    return pin.read(database.locate(path), scratch, work, **options)


@contextlib.contextmanager
def touched(path: Path) -> Iterator[None]:
    """A file that is written to without pause, as far as its stamp tells."""
    end = threading.Event()

    def touch() -> None:
        while not end.wait(0.005):
            os.utime(path)

    thread = threading.Thread(target=touch)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def names(pinned: pin.Pinned) -> list[str]:
    return [name for (name,) in pinned.connection.execute("SELECT name FROM item ORDER BY id")]


# --- what is held --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("journal_mode", "answer"), [("delete", "database is locked"), ("wal", [])])
def test_transaction_holds_to_the_end_though_the_file_is_opened_beside_it(
    tmp_path: Path, scratch: Path, journal_mode: str, answer: object
) -> None:
    """Case 1. Closing any descriptor of a file drops all locks of the process on it, SQLite's too."""
    path = databases.make(tmp_path / "a.db", journal_mode=journal_mode)
    with processes.application(path) as application:

        def work(pinned: pin.Pinned) -> list[str]:
            answers = [application(ADD)]
            for suffix in ("", "-wal", "-shm") if journal_mode == "wal" else ("", ""):
                assert pinned.open(suffix).read(1)
                answers.append(application(ADD))
            assert answers == [answer] * len(answers)
            return names(pinned)

        assert read(path, scratch, work) == ["name 0", "name 1", "name 2"]
        assert application(ADD) == []


def test_log_does_not_start_again_though_its_index_is_opened_beside_it(tmp_path: Path, scratch: Path) -> None:
    """In WAL mode the locks are on the ``-shm``; without them the frames that are being read would be overwritten."""
    path = databases.make(tmp_path / "a.db")
    with processes.application(path) as application:
        application(ADD)

        def work(pinned: pin.Pinned) -> None:
            pinned.open("-shm").read(1)
            pinned.open("-wal").read(1)
            assert application("PRAGMA wal_checkpoint(RESTART)")[0][0] == 1

        read(path, scratch, work)
        assert application("PRAGMA wal_checkpoint(RESTART)")[0][0] == 0


@pytest.mark.parametrize(("journal_mode", "suffix"), [("delete", ""), ("wal", "-shm")])
def test_lock_is_gone_when_a_file_is_closed_early(
    tmp_path: Path, scratch: Path, journal_mode: str, suffix: str
) -> None:
    """The trap itself: if this system had it no longer, the two tests above would show nothing."""
    path = databases.make(tmp_path / "a.db", journal_mode=journal_mode)
    with processes.application(path) as application:
        application(ADD)

        def work(pinned: pin.Pinned) -> None:
            database.sidecar(pinned.path, suffix).read_bytes()
            if journal_mode == "delete":
                assert application(ADD) == []
            else:
                assert application("PRAGMA wal_checkpoint(RESTART)")[0][0] == 0

        read(path, scratch, work)


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_kept_is_closed_behind_the_connection(tmp_path: Path, scratch: Path, fails: bool) -> None:
    """The other way round, the last moments of a transaction would go without a lock."""
    path = databases.make(tmp_path / "a.db")
    states: list[str] = []

    def work(pinned: pin.Pinned) -> None:
        def look() -> None:
            states.append("file closed" if file.closed else "file open")
            with pytest.raises(sqlite3.ProgrammingError, match="closed"):
                pinned.connection.execute("SELECT 1")
            states.append("connection closed")

        file = pinned.open()
        pinned.keep(contextlib.closing(types.SimpleNamespace(close=look)))
        if fails:
            raise SourceBusyError("on purpose")

    with pytest.raises(SourceBusyError, match="on purpose") if fails else contextlib.nullcontext():
        read(path, scratch, work)
    assert states == ["file open", "connection closed"]


def test_pinned_transaction_sees_one_commit_until_it_begins_again(tmp_path: Path, scratch: Path) -> None:
    """Cases 2 and 3: newer commits change nothing, though the reader looks again and again."""
    path = databases.make(tmp_path / "a.db", rows=1)
    with processes.application(path) as application:
        application("INSERT INTO item(name) VALUES ('only in the log')")

        def work(pinned: pin.Pinned) -> None:
            for _round in range(3):
                application(ADD)
                assert names(pinned) == ["name 0", "only in the log"]
            pinned.begin_again()
            application(ADD)
            assert names(pinned) == ["name 0", "only in the log", *["meanwhile"] * 3]

        read(path, scratch, work)


def test_transaction_that_begins_again_is_pinned_before_its_first_read(tmp_path: Path, scratch: Path) -> None:
    """BEGIN alone pins nothing."""
    path = databases.make(tmp_path / "a.db", rows=1)
    with processes.application(path) as application:

        def work(pinned: pin.Pinned) -> list[str]:
            pinned.begin_again()
            application(ADD)
            return names(pinned)

        assert read(path, scratch, work) == ["name 0"]


def test_begin_is_when_the_transaction_began(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    before = time.monotonic()
    begin = read(path, scratch, lambda pinned: pinned.begin)
    assert before <= begin <= time.monotonic()


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_hot_journal_is_refused_and_nothing_is_touched(tmp_path: Path, scratch: Path) -> None:
    """Case 4: rolling back is the application's to do; deleting the journal would destroy the database."""
    path = databases.crashed_journal(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    with pytest.raises(SourceCorruptError, match="needs recovery"):
        read(path, scratch, names)
    assert databases.tree(tmp_path) == before


def test_locked_source_is_busy_after_the_deadline(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    with processes.application(path) as application:
        application("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        with pytest.raises(SourceBusyError, match="locked"):
            read(path, scratch, names, deadline=Deadline(0.2))
        assert 0.2 <= time.monotonic() - begin < 10


def test_lock_that_is_released_in_time_is_waited_for(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete", rows=1)
    with processes.application(path) as application:
        application("BEGIN EXCLUSIVE")
        application(ADD)
        later = threading.Timer(0.2, application, ["COMMIT"])
        later.start()
        assert read(path, scratch, names) == ["name 0", "meanwhile"]
        later.join()


def test_failure_of_the_work_is_what_is_raised(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    rounds = []

    def work(pinned: pin.Pinned) -> None:
        rounds.append(pinned)
        raise SourceBusyError("on purpose")

    with pytest.raises(SourceBusyError, match="on purpose"):
        read(path, scratch, work)
    assert len(rounds) == 1


@pytest.mark.parametrize("times", [1, 2])
def test_damage_is_believed_when_it_is_found_again(tmp_path: Path, scratch: Path, times: int) -> None:
    """A page that the disk did not give looks like it."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    rounds = []

    def work(pinned: pin.Pinned) -> list[str]:
        rounds.append(pinned)
        if len(rounds) <= times:
            raise SourceCorruptError("on purpose")
        return names(pinned)

    with pytest.raises(SourceCorruptError, match="on purpose") if times == 2 else contextlib.nullcontext():
        assert read(path, scratch, work) == ["name 0", "name 1", "name 2"]
    assert len(rounds) == 2


def test_index_that_cannot_be_made_on_a_full_disk_is_done_without(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all then a backup is wanted."""
    path = databases.crashed_wal(tmp_path / "a.db")
    connect = database.connect

    def full(opened: Path, **options: Any) -> database.Connection:
        if opened == path:
            raise sqlite3.OperationalError("database or disk is full")
        return connect(opened, **options)

    monkeypatch.setattr(database, "connect", full)
    assert read(path, scratch, lambda pinned: (pinned.path.parent, names(pinned)[-1])) == (scratch, "only in wal")


@pytest.mark.parametrize("traceless", [False, True])
def test_disk_that_is_too_full_for_the_work_is_told_at_once(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, *, traceless: bool
) -> None:
    """Be it for what is done with the snapshot, or for the copy that it takes."""
    path = databases.crashed_wal(tmp_path / "a.db")
    rounds = []

    def full(*_arguments: object, **_options: object) -> None:
        rounds.append(1)
        raise NoSpaceError("on purpose")

    if traceless:
        monkeypatch.setattr(files, "copy_private", full)
    with pytest.raises(NoSpaceError, match="on purpose"):
        read(path, scratch, full, traceless=traceless)
    assert rounds == [1]


# --- a source that changes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("fails", [False, True])
def test_source_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, scratch: Path, journal_mode: str, fails: bool
) -> None:
    """Case 28: what was found is of a file that nobody can open any more; so is what went wrong with it."""
    path = databases.make(tmp_path / "a.db", rows=9, journal_mode=journal_mode)
    successor = databases.make(tmp_path / "b.db", rows=2, journal_mode=journal_mode)

    def work(pinned: pin.Pinned) -> list[str]:
        found = names(pinned)
        if successor.exists():
            os.replace(successor, path)
            if fails:
                raise SourceCorruptError("on purpose")
        return found

    assert read(path, scratch, work) == ["name 0", "name 1"]


def test_source_that_is_replaced_again_and_again_is_busy(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    content = path.read_bytes()
    rounds = []

    def work(pinned: pin.Pinned) -> None:
        rounds.append(pinned)
        (tmp_path / "next.db").write_bytes(content)
        os.replace(tmp_path / "next.db", path)

    with pytest.raises(SourceBusyError, match="replaced 5 times"):
        read(path, scratch, work)
    assert len(rounds) == 5


def test_source_that_vanishes_while_it_is_read_is_missing(tmp_path: Path, scratch: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with pytest.raises(SourceMissingError):
        read(path, scratch, lambda _pinned: path.unlink())


def test_idle_database_that_is_written_to_while_it_is_read_is_read_again(tmp_path: Path, scratch: Path) -> None:
    """Without a lock a checkpoint may change pages under the reader; the second time there is one."""
    path = databases.make(tmp_path / "a.db", rows=2)
    databases.settle(path)
    rounds = []

    def work(pinned: pin.Pinned) -> list[str]:
        rounds.append(pinned.idle)
        if len(rounds) == 1:
            with processes.application(path) as application:
                application(WRITE)
                application("PRAGMA wal_checkpoint(TRUNCATE)")
        return names(pinned)

    assert read(path, scratch, work) == ["changed 1", "changed 2"]
    assert rounds == [True, False]


def test_write_between_the_look_at_an_idle_database_and_its_reading_is_seen(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a filesystem ticks every few milliseconds: what is written within a tick has the same stamp."""
    path = databases.make(tmp_path / "a.db", rows=2)
    databases.settle(path)
    is_idle, rounds = pin._is_idle, []

    def look(source: database.Source) -> bool:
        answer = is_idle(source)
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("UPDATE item SET name = 'first page of a commit'")
        return answer

    def work(pinned: pin.Pinned) -> list[str]:
        rounds.append(pinned.idle)
        if pinned.idle:
            stamp = path.stat()
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
                other.execute("UPDATE item SET name = 'second page of a commit'")
            os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
        return names(pinned)

    monkeypatch.setattr(pin, "_is_idle", look)
    read(path, scratch, work)
    assert rounds == [True, False]


def test_application_that_comes_and_goes_does_not_void_what_is_read_under_a_lock(tmp_path: Path, scratch: Path) -> None:
    """Each time it closes the database, a checkpoint changes the main file: a reader without a lock never ends."""
    path = databases.make(tmp_path / "a.db", rows=2)
    databases.settle(path)
    rounds = []

    def work(pinned: pin.Pinned) -> list[str]:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute(ADD)
            other.execute("PRAGMA wal_checkpoint(PASSIVE)")
        rounds.append(pinned.idle)
        return names(pinned)

    assert read(path, scratch, work) == ["name 0", "name 1", "meanwhile"]
    assert rounds == [True, False]


# --- no trace ------------------------------------------------------------------------------------------------------


def _mounted_alone(path: Path, place: Path) -> Path:
    """The file ``path`` under another name, as it comes out of a container."""
    alone = place / "alone.db"
    alone.touch()
    if subprocess.run(["mount", "--bind", path, alone], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount a file")
    return alone


@pytest.mark.root
@pytest.mark.parametrize("mounted", [True, False])
def test_log_that_is_elsewhere_is_not_done_without(tmp_path: Path, scratch: Path, mounted: bool) -> None:
    """What is in it would be missed: here all rows but one."""
    path = databases.make(tmp_path / "agent.db", rows=1)
    with processes.application(path) as execute:
        execute("INSERT INTO item(name) VALUES ('in the log')")
        alone = path
        if mounted:
            alone = _mounted_alone(path, tmp_path)
        else:
            path.with_name("agent.db-wal").unlink()
        try:
            with pytest.raises(RefusedError, match="-wal, which would hold its last commits, is not beside it"):
                read(alone, scratch, names)
        finally:
            if mounted:
                subprocess.run(["umount", alone], check=True)


def test_idle_wal_database_gets_no_sidecars(tmp_path: Path, scratch: Path) -> None:
    """A read-only connection would create a ``-wal`` and a ``-shm``, and could not remove them."""
    path = databases.make(tmp_path / "a.db")
    databases.settle(path)
    assert read(path, scratch, lambda pinned: (pinned.idle, names(pinned))) == (True, ["name 0", "name 1", "name 2"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.db", "scratch"]


@pytest.mark.parametrize("seconds", [0, 3600])
def test_database_that_was_written_to_just_now_is_given_a_moment(tmp_path: Path, scratch: Path, seconds: int) -> None:
    """The next write could leave the same time in its stamp; one with a time in the future could not."""
    path = databases.make(tmp_path / "a.db")
    os.utime(path, (time.time() + seconds, time.time() + seconds))
    begin = time.monotonic()
    assert read(path, scratch, lambda pinned: pinned.idle)
    assert (time.monotonic() - begin >= 0.05) == (seconds == 0)


def test_database_that_is_written_to_again_is_not_idle(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = databases.make(tmp_path / "a.db")
    os.utime(path)
    monkeypatch.setattr(pin.time, "sleep", lambda _seconds: os.utime(path))
    assert not read(path, scratch, lambda pinned: pinned.idle)


def test_database_in_use_is_read_where_it_is(tmp_path: Path, scratch: Path) -> None:
    """A copy would take room, and wait for a moment in which nobody writes."""
    path = databases.make(tmp_path / "a.db")
    with processes.application(path):
        assert read(path, scratch, lambda pinned: pinned.path) == path


def test_database_with_a_log_is_not_idle(tmp_path: Path, scratch: Path) -> None:
    path = databases.crashed_wal(tmp_path / "a.db")
    databases.settle(path)
    assert read(path, scratch, lambda pinned: (pinned.idle, names(pinned)[-1])) == (False, "only in wal")


def test_reading_does_not_change_the_source(tmp_path: Path, scratch: Path) -> None:
    """No write, no checkpoint, no other journal mode: the main file and its ``-wal`` stay as they are."""
    path = databases.crashed_wal(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    read(path, scratch, names)
    after = databases.tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) <= {"a.db-shm"}


@pytest.mark.parametrize("state", ["idle", "crashed", "rollback"])
def test_traceless_reading_leaves_nothing_at_all(tmp_path: Path, scratch: Path, state: str) -> None:
    """In check mode not even a ``-shm`` may appear; a database that needs one is copied aside."""
    if state == "crashed":
        path = databases.crashed_wal(tmp_path / "a.db")
    else:
        path = databases.make(tmp_path / "a.db", journal_mode="wal" if state == "idle" else "delete")
    databases.settle(path)
    before = databases.tree(tmp_path)

    def work(pinned: pin.Pinned) -> None:
        assert (pinned.path == path) == (state != "crashed")
        assert names(pinned)[-1] == ("only in wal" if state == "crashed" else "name 2")
        inside = {name for name in databases.tree(scratch) if name != "aside.sqlite-shm"}
        assert inside == ({"aside.sqlite", "aside.sqlite-wal"} if state == "crashed" else set())
        assert pinned.path.parent != scratch or pinned.path.stat().st_mode & 0o077 == 0

    read(path, scratch, work, traceless=True)
    assert databases.tree(tmp_path) == before


def test_copy_aside_is_made_only_while_nobody_writes(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of two files that change is no database."""
    # On a machine under load who writes without a pause has pauses.
    monkeypatch.setattr(pin, "_SETTLED_SECONDS", 1.0)
    path = databases.crashed_wal(tmp_path / "a.db")
    begin = time.monotonic()
    with touched(database.sidecar(path, "-wal")), pytest.raises(SourceBusyError, match="it is written to"):
        read(path, scratch, names, traceless=True, deadline=Deadline(0.3))
    assert time.monotonic() - begin >= 0.3
    assert list(scratch.iterdir()) == []
    assert read(path, scratch, names, traceless=True)[-1] == "only in wal"


@pytest.mark.parametrize("journal_mode", ["persist", "delete"])
def test_journal_that_looks_hot_for_an_instant_is_looked_at_again(
    tmp_path: Path, scratch: Path, journal_mode: str
) -> None:
    """Between two writers it may; a backup must neither fail for that, nor call the database corrupt."""
    path = databases.make(tmp_path / "a.db", journal_mode=journal_mode)
    journal = databases.crashed_journal(tmp_path / "other.db").with_name("other.db-journal").read_bytes()
    before = path.read_bytes()

    def write() -> None:
        for number in range(10):
            database.sidecar(path, "-journal").write_bytes(journal + bytes(number))
            time.sleep(0.1)
        database.sidecar(path, "-journal").write_bytes(b"")

    writer = threading.Thread(target=write)
    writer.start()
    while not files.size_of(database.sidecar(path, "-journal")):
        time.sleep(0.001)
    assert read(path, scratch, names) == ["name 0", "name 1", "name 2"]
    writer.join()
    assert path.read_bytes() == before


def test_copy_aside_of_which_one_part_is_too_old_is_made_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint between the two parts: in the old main file and the new ``-wal`` the last commit is missing."""
    path = databases.crashed_wal(tmp_path / "a.db")
    copied = []
    copy_private = files.copy_private

    def copy(source: Path, dest: Path, **options: bool) -> None:
        copy_private(source, dest, **options)
        if not copied:
            assert databases.names(path)[-1] == "only in wal"
            assert not database.sidecar(path, "-wal").exists()
        copied.append(dest.name)

    monkeypatch.setattr(files, "copy_private", copy)
    assert read(path, scratch, names, traceless=True)[-1] == "only in wal"
    assert copied == ["aside.sqlite", "aside.sqlite"]


def test_copy_aside_beside_which_a_journal_appears_is_made_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its application took it out of WAL mode meanwhile, and what is in the main file may be half of a commit."""
    path = databases.crashed_wal(tmp_path / "a.db")
    journal = database.sidecar(path, "-journal")
    copied = []
    copy_private = files.copy_private

    def copy(source: Path, dest: Path, **options: bool) -> None:
        copy_private(source, dest, **options)
        if not copied:
            journal.write_bytes(bytes(512))
            databases.settle(journal)
        copied.append(dest.name)

    monkeypatch.setattr(files, "copy_private", copy)
    assert read(path, scratch, names, traceless=True)[-1] == "only in wal"
    assert copied == 2 * ["aside.sqlite", "aside.sqlite-wal"]


@pytest.mark.parametrize(
    ("state", "traceless", "windows", "expected"),
    [
        ("rollback", True, False, True),
        ("idle", False, False, True),
        ("idle", True, False, False),
        ("crashed", False, False, True),
        ("crashed", True, False, False),
        ("open", True, False, True),
        ("crashed", False, True, True),
        ("crashed", True, True, False),
        ("open", True, True, True),
    ],
)
def test_only_what_leaves_no_sidecar_is_opened_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, traceless: bool, windows: bool, expected: bool
) -> None:
    """On Windows a new file belongs to whom its directory gives it, so an application can use it."""
    if state == "crashed":
        path = databases.crashed_wal(tmp_path / "a.db")
    else:
        path = databases.make(tmp_path / "a.db", journal_mode="delete" if state == "rollback" else "wal")
    if windows:
        monkeypatch.setattr(pin, "os", types.SimpleNamespace(**{**vars(os), "name": "nt"}))
    with processes.application(path) if state == "open" else contextlib.nullcontext():
        source = database.locate(path)
        assert pin.may_open_in_place(source, traceless=traceless) == expected


_BECOME_NOBODY = """
import os, sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, pin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError

def become_nobody():
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
"""

_READ_AS_NOBODY = f"""{_BECOME_NOBODY}
scratch = Path(sys.argv[2])
os.chown(scratch, 65534, 65534)
become_nobody()

def work(pinned):
    return [name for (name,) in pinned.connection.execute("SELECT name FROM item ORDER BY id")][-1]

try:
    source = database.locate(Path(sys.argv[1]))
    print(pin.read(source, scratch, work, deadline=Deadline(float(sys.argv[3]))))
except EngineError as error:
    print(error.code)
"""

_MAY_NOBODY_OPEN = f"""{_BECOME_NOBODY}
become_nobody()
print(pin.may_open_in_place(database.locate(Path(sys.argv[1]))))
"""


@processes.needs_root
@pytest.mark.root
@pytest.mark.parametrize(
    ("owner", "mode", "expected"), [(65534, 0o777, "True"), (0, 0o777, "False"), (65534, 0o555, "False")]
)
def test_sidecar_is_created_only_by_the_owner_who_may(owner: int, mode: int, expected: str) -> None:
    """Case 17: a ``-wal`` that belongs to somebody else is one that the application cannot write to."""
    with processes.open_directory() as directory:
        path = databases.make(directory / "a.db")
        os.chown(path, owner, owner)
        os.chmod(directory, mode)
        assert processes.python(_MAY_NOBODY_OPEN, path) == expected


@processes.needs_root
@pytest.mark.root
@pytest.mark.parametrize("owner", [0, processes.NOBODY])
def test_root_opens_in_place_what_the_owner_of_the_database_may(owner: int) -> None:
    """SQLite is given no more rights than that, and could not make a sidecar in a directory of root's."""
    with processes.open_directory() as directory:
        path = databases.make(directory / "a.db")
        os.chown(path, processes.NOBODY, processes.NOBODY)
        os.chown(directory, owner, owner)
        assert pin.may_open_in_place(database.locate(path)) == (owner != 0)


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
        assert processes.python(_READ_AS_NOBODY, source, scratch, 30) == expected
        assert databases.tree(directory) == before


@processes.needs_root
@pytest.mark.root
def test_unreadable_source_is_a_permission_error() -> None:
    with processes.open_directory() as directory:
        source = databases.make(directory / "a.db")
        source.chmod(0o600)
        (directory / "scratch").mkdir()
        assert processes.python(_READ_AS_NOBODY, source, directory / "scratch", 5) == "20"


# --- looking at it -------------------------------------------------------------------------------------------------


def examine(path: Path, work: Callable[[sqlite3.Connection], list[Check]]) -> list[Check]:
    return pin.examine(database.locate(path), work, action="Cannot test", deadline=Deadline(30), traceless=True)


def test_what_an_examination_finds_is_handed_on(tmp_path: Path) -> None:
    path = databases.crashed_wal(tmp_path / "a.db")
    before = databases.tree(tmp_path)

    def work(connection: sqlite3.Connection) -> list[Check]:
        return [Check("rows", "passed", str(connection.execute("SELECT count(*) FROM item").fetchone()[0]))]

    assert examine(path, work) == [Check("rows", "passed", "4")]
    assert databases.tree(tmp_path) == before


def test_source_that_cannot_be_read_is_a_failed_check(tmp_path: Path) -> None:
    """Case 10: a verification says what it found, it does not end without an answer."""
    path = databases.make(tmp_path / "a.db")
    path.write_bytes(path.read_bytes()[:4096])
    (check,) = examine(path, lambda _connection: [])
    assert (check.name, check.outcome) == ("readable", "failed")
    assert "malformed" in check.detail


def test_source_that_needs_recovery_is_no_finding(tmp_path: Path) -> None:
    """Case 4: nothing is known against it until its application has rolled back."""
    path = databases.crashed_journal(tmp_path / "a.db")
    with pytest.raises(EngineError, match="needs recovery") as caught:
        examine(path, lambda _connection: [])
    assert caught.value.code == 12


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only /proc tells which files are open")
def test_other_file_than_the_one_with_the_name_is_noticed(tmp_path: Path) -> None:
    """SQLite opens by name, and whoever owns the directory may rename at that moment."""
    path = databases.make(tmp_path / "a.db")
    with path.open("rb"):
        pin._check_opened(path)
    with databases.make(tmp_path / "other.db").open("rb"), pytest.raises(SourceBusyError, match="took its place"):
        pin._check_opened(path)
