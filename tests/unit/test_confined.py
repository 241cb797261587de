# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user's files can do to root's process, they do to a child of it, and not for ever."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    CancelledError,
    EngineError,
    SourceBusyError,
    SourceCorruptError,
    StorageFailedError,
)
from support import databases, limits, processes
from support.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.thorough, processes.needs_root]

# A minute of one call of a function, for every row.
ENDLESS = "instr(hex(zeroblob(20000000)), hex(zeroblob(10000000)) || '1')"


@pytest.fixture
def theirs() -> Iterator[Path]:
    with processes.open_directory() as place:
        os.chown(place, processes.NOBODY, processes.NOBODY)
        yield place / "agent.db"


def test_what_the_work_returns_comes_back(theirs: Path) -> None:
    assert confined.run(lambda: (os.getpid(), "done"), theirs) != (os.getpid(), "done")
    assert confined.run(lambda: "done", theirs) == "done"


def test_nobody_needs_a_child_beside_root_alone(tmp_path: Path) -> None:
    assert confined.run(os.getpid, tmp_path / "agent.db", None) == os.getpid()


def test_what_ends_in_time_goes_on_behind_its_bound(theirs: Path) -> None:
    def work() -> str:
        with confined.bounded(60.0), confined.bounded(50.0):
            time.sleep(0.05)
        time.sleep(0.05)
        return "done"

    assert confined.run(work, theirs) == "done"


_SAYS = """
import sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
sys.stdout = open(1, "w", closefd=False)
print("before")
confined.run(lambda: print("within"), Path(sys.argv[1]))
print("behind")
"""


def test_what_the_work_says_is_said_once(theirs: Path) -> None:
    assert processes.python(_SAYS, theirs).split() == ["before", "within", "behind"]


def test_nobody_needs_a_standard_output(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service may have none."""
    monkeypatch.setattr(sys, "stdout", None)
    assert confined.run(lambda: "done", theirs) == "done"


def fail() -> None:
    raise SourceCorruptError("Cannot read.", hint="Look.", needs_recovery=True)


def test_an_error_comes_back_whole(theirs: Path) -> None:
    with pytest.raises(SourceCorruptError) as caught:
        confined.run(fail, theirs)
    assert (caught.value.message, caught.value.hint, caught.value.needs_recovery) == ("Cannot read.", "Look.", True)


def stop() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (lambda: 1 // 0, EngineError),
        (stop, CancelledError),
        (lambda: os.kill(os.getpid(), signal.SIGBUS), StorageFailedError),
        (lambda: os.kill(os.getpid(), signal.SIGALRM), SourceBusyError),
    ],
)
def test_whatever_ends_the_child_is_an_error(
    theirs: Path, work: Callable[[], object], expected: type[EngineError]
) -> None:
    with pytest.raises(EngineError) as caught:
        confined.run(work, theirs)
    assert caught.type is expected


def test_a_signal_to_stop_is_passed_on_and_the_second_one_kills(theirs: Path) -> None:
    """The first may find the child where nothing interrupts it."""

    def endless() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        for pause in (0.3, 0.3):
            time.sleep(pause)
            os.kill(os.getppid(), signal.SIGINT)
        time.sleep(60)

    with limits.within(20), pytest.raises(StorageFailedError, match="SIGKILL"):
        confined.run(endless, theirs)


def entangled(path: Path) -> None:
    """A database whose check does not end."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode=delete")
        connection.execute("CREATE TABLE t(x, y INT GENERATED ALWAYS AS (1) VIRTUAL NOT NULL)")
        connection.execute("INSERT INTO t(x) VALUES (1), (2)")
        connection.execute("PRAGMA writable_schema=1")
        sql = f"CREATE TABLE t(x, y INT GENERATED ALWAYS AS ({ENDLESS}) VIRTUAL NOT NULL)"
        connection.execute("UPDATE sqlite_master SET sql = ?", (sql,))
    databases.settle(path)


@pytest.fixture
def host(theirs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host on which the first database is a user's, whose check does not end, and the second one is root's."""
    monkeypatch.setattr(confined, "_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(proof, "_CHECK_SECONDS", 1.0)
    host = Host(tmp_path, capsys, bare=True)
    entangled(theirs)
    os.chown(theirs, processes.NOBODY, processes.NOBODY)
    host.add("first", path=theirs, timeout="1s")
    host.add("second")
    return host


@pytest.mark.parametrize("words", [("backup", "--all"), ("verify", "--live", "--all")])
def test_a_check_without_an_end_leaves_the_next_database_its_turn(host: Host, words: tuple[str, ...]) -> None:
    with limits.within(20):
        said = host.run(*words, "--json")
    codes = [each["error"]["code"] if each["error"] else 0 for each in said.document["results"]]
    assert codes == [11, 0]


def test_a_file_that_is_cut_short_under_the_reader_ends_only_its_own_run(host: Host, theirs: Path) -> None:
    """SQLite maps the -shm into memory, and the system ends whoever looks at a page behind its end."""
    theirs.unlink()
    databases.make(theirs)
    with processes.application(theirs) as execute:
        execute("INSERT INTO item(name) VALUES ('later')")
        for suffix in ("", "-wal", "-shm"):
            os.chown(f"{theirs}{suffix}", processes.NOBODY, processes.NOBODY)
        with processes.running(_CUT, f"{theirs}-shm"):
            said = [host.run("verify", "--live", "--all", "--json") for each in range(10)]
    codes = [each["error"]["code"] if each["error"] else 0 for one in said for each in one.document["results"]]
    assert set(codes[1::2]) == {0}
    assert set(codes[::2]) <= {0, 11, 12, 23}


_CUT = """
import os, sys
content = open(sys.argv[1], "rb").read()
file = os.open(sys.argv[1], os.O_RDWR)
print("ready", flush=True)
while True:
    os.ftruncate(file, 0)
    os.pwrite(file, content, 0)
"""


@pytest.mark.parametrize("answer", [b"", b"\x80\x04", b"nothing"])
def test_a_child_without_an_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(StorageFailedError, match="ended without an answer"):
        confined.came(answer, 1 << 8)
