# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that commits to a database without pause, and counts each time it was told that the database is busy.

One transaction is one numbered commit: an agent run, its fix attempt and its metrics in a database that
`agent_db.py` made, one row of a table of its own (`_demo_heartbeat`) in any other. `commits_in` reads back which of
them a database holds, and whether each is there whole.

    python3 tests/support/writer.py agent.db --journal commits.txt

SIGTERM or SIGINT stop it; it then prints one line: {"commits": 812, "busy": 0, "first": 1, "last": 812}.
It may be killed at any time. It also stops when its parent process is gone, so none is ever left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar, Union

METRIC = "writer.commit"
OTHER_ROWS = (("AgentRun", "w"), ("FixAttempt", "w"), ("Metric", "x"))  # one each a commit; how their ids begin
HEARTBEAT = "_demo_heartbeat"
START_SECONDS = 30.0
STOP_SECONDS = 30.0
BUSY_PAUSE_SECONDS = 0.001

AnyPath = Union[str, "os.PathLike[str]"]
Insert = Callable[[sqlite3.Connection, int], None]
Result = TypeVar("Result")


class Report(NamedTuple):
    """What a writer did; `first` and `last` are None when it committed nothing."""

    commits: int
    busy: int
    first: int | None
    last: int | None


class Commits(NamedTuple):
    """The numbered commits that a database holds; `whole` means: none is missing in between, none is there in part."""

    total: int
    first: int | None
    last: int | None
    last_at: float | None  # Unix time of the last one, in seconds
    whole: bool


# --- the process ---------------------------------------------------------------------------------------------------


class StoppedError(Exception):
    """Asked to stop, or out of time, while the database was busy."""


class Writer:
    """Commits to one database; `_busy` counts refusals, which are tried again until they succeed."""

    def __init__(self, path: AnyPath, *, journal: Path | None, pause: float, seconds: float) -> None:
        # timeout=0: a writer that waits would hide that something blocked it.
        self._connection = sqlite3.connect(os.fspath(path), timeout=0, isolation_level=None)
        self._journal = None if journal is None else os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._pause = pause
        self._deadline = time.monotonic() + seconds
        self._parent = os.getppid()
        self._stopping = False
        self._busy = 0

    def stop(self, *_signal: object) -> None:
        self._stopping = True

    def run(self) -> Report:
        before = counter = 0
        with suppress(StoppedError):
            self._retry(self._set_up)
            insert = self._choose()
            before = counter = self._retry(lambda: commits_in(self._connection).last) or 0
            while self._going():
                self._retry(partial(self._transaction, insert, counter + 1))
                counter += 1
                self._note(counter)
                time.sleep(self._pause)
        self._connection.close()
        first, last = (before + 1, counter) if counter > before else (None, None)
        return Report(counter - before, self._busy, first, last)

    def _going(self) -> bool:
        return not self._stopping and time.monotonic() < self._deadline and os.getppid() == self._parent

    def _set_up(self) -> None:
        self._connection.execute("PRAGMA foreign_keys = on")
        # With a WAL this is as safe against a killed process, and commits faster than a disk can sync: the harder test.
        self._connection.execute("PRAGMA synchronous = normal")

    def _choose(self) -> Insert:
        """Try a whole run and take it back: other applications have tables of these names too."""
        try:
            self._retry(lambda: self._transaction(_insert_run, 0, end="ROLLBACK"))
        except (sqlite3.OperationalError, sqlite3.IntegrityError):
            columns = "counter INTEGER PRIMARY KEY, beaten_at INTEGER NOT NULL"
            self._retry(lambda: self._connection.execute(f"CREATE TABLE IF NOT EXISTS {HEARTBEAT} ({columns})"))
            return _insert_heartbeat
        return _insert_run

    def _transaction(self, insert: Insert, counter: int, *, end: str = "COMMIT") -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            insert(self._connection, counter)
            self._connection.execute(end)
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def _retry(self, action: Callable[[], Result]) -> Result:
        while self._going():
            try:
                return action()
            except sqlite3.OperationalError as error:
                # The message, because Python 3.9 and 3.10 have no `sqlite_errorcode`.
                if str(error) != "database is locked":
                    raise
                self._busy += 1
                time.sleep(BUSY_PAUSE_SECONDS)
        raise StoppedError

    def _note(self, counter: int) -> None:
        if self._journal is not None:
            os.write(self._journal, b"%d\n" % counter)  # one system call: a killed writer leaves no half line


def _insert_run(connection: sqlite3.Connection, counter: int) -> None:
    now = int(time.time() * 1000)
    run = f"w{counter:024d}"
    sha = hashlib.sha256(run.encode()).hexdigest()[:40]  # a random key: each commit touches pages all over an index
    state = json.dumps({"iteration": 1, "phase": "working", "log": f"[{now}] commit {counter} of the writer"})
    rows = (
        ("AgentRun", (run, "demo/writer", "main", sha, "working", state, now, now)),
        ("FixAttempt", (run, run, 0, "edit", 1, 1200, '["src/cart/total.ts"]', None, now)),
        ("Metric", (run, run, METRIC, counter, "{}", now)),
        ("Metric", (f"x{run[1:]}", run, "run.tokens", 4096, "{}", now)),
    )
    for table, row in rows:
        connection.execute(f'INSERT INTO "{table}" VALUES ({", ".join("?" * len(row))})', row)


def _insert_heartbeat(connection: sqlite3.Connection, counter: int) -> None:
    connection.execute(f"INSERT INTO {HEARTBEAT} VALUES (?, ?)", (counter, int(time.time() * 1000)))


# --- reading back --------------------------------------------------------------------------------------------------


def commits_in(database: AnyPath | sqlite3.Connection) -> Commits:
    """Which commits are in a database that `agent_db.py` made or that a writer has written to."""
    if isinstance(database, sqlite3.Connection):
        return _read_commits(database)
    with reading(database) as connection:
        return _read_commits(connection)


@contextmanager
def reading(database: AnyPath) -> Iterator[sqlite3.Connection]:
    """Read one moment of a database, and leave nothing beside it.

    A read-only connection makes a new -wal and -shm as well, and they stay. Without a -wal nobody has a WAL database
    open, so it is read as immutable then.
    """
    path = Path(database).absolute()
    immutable = is_wal_database(path) and not Path(f"{path}-wal").exists()
    uri = f"{path.as_uri()}?{'immutable=1' if immutable else 'mode=ro'}"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # now it is pinned
        yield connection


def is_wal_database(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(20)[18:] == b"\x02\x02"  # https://www.sqlite.org/fileformat2.html, "file format version"


def _read_commits(connection: sqlite3.Connection) -> Commits:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if HEARTBEAT in tables:
        query = f"SELECT count(*), min(counter), max(counter), max(beaten_at) FROM {HEARTBEAT}"
        others: tuple[str, ...] = ()
    elif {"AgentRun", "FixAttempt", "Metric"} <= tables:
        number = "CAST(value AS INTEGER)"
        query = f"SELECT count(*), min({number}), max({number}), max(recordedAt) FROM Metric WHERE name = '{METRIC}'"
        others = tuple(f"{table} WHERE id GLOB '{first}[0-9]*'" for table, first in OTHER_ROWS)
    else:
        return Commits(0, None, None, None, whole=True)
    total, first, last, milliseconds = connection.execute(query).fetchone()
    together = all(connection.execute(f"SELECT count(*) FROM {part}").fetchone()[0] == total for part in others)
    whole = together and (total == 0 or last - first + 1 == total)
    return Commits(total, first, last, milliseconds / 1000 if total else None, whole)


def last_in_journal(journal: AnyPath) -> int:
    """The newest commit noted in a writer's journal, 0 when there is none yet."""
    try:
        with Path(journal).open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 64))
            lines = stream.read().split(b"\n")[:-1]
    except FileNotFoundError:
        return 0
    return int(lines[-1]) if lines else 0


# --- for tests -----------------------------------------------------------------------------------------------------


class RunningWriter:
    """A writer in a process of its own; `report` is there once it was stopped, not when it was killed."""

    def __init__(self, path: AnyPath, *, journal: Path, pause: float = 0.0) -> None:
        self.journal = journal
        self.report: Report | None = None
        command = [sys.executable, __file__, f"--journal={journal}", f"--pause={pause}", "--", os.fspath(path)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @property
    def last(self) -> int:
        """The newest commit so far."""
        return last_in_journal(self.journal)

    def wait_for_commit(self, after: int = 0) -> int:
        """Wait until it has committed once more than `after`; returns the newest commit."""
        deadline = time.monotonic() + START_SECONDS
        while self.last <= after:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"The writer does not commit: {self.process.communicate()[1].strip() or 'no error'}")
            time.sleep(0.005)
        return self.last

    def stop(self) -> Report:
        self.process.terminate()
        output, errors = self.process.communicate(timeout=STOP_SECONDS)
        if self.process.returncode != 0:
            raise RuntimeError(f"The writer failed with exit code {self.process.returncode}: {errors.strip()}")
        self.report = Report(**json.loads(output))
        return self.report

    def kill(self) -> int:
        """SIGKILL: the database keeps its -wal as a crash leaves it. Returns the newest commit."""
        self.process.kill()
        self.process.communicate()
        return self.last


@contextmanager
def running_writer(path: AnyPath, *, journal: AnyPath | None = None, pause: float = 0.0) -> Iterator[RunningWriter]:
    """Commits run from before the block begins until it ends; after it, `.report` says what happened.

    Raises RuntimeError when the writer does not come to its first commit, or fails.
    """
    # Not beside the database: tests look at what is there.
    with tempfile.TemporaryDirectory(prefix="sqliteops-writer-") as scratch:
        notes = Path(scratch, "journal") if journal is None else Path(journal)
        before = last_in_journal(notes)
        writer = RunningWriter(path, journal=notes, pause=pause)
        try:
            writer.wait_for_commit(before)
            yield writer
            if writer.process.poll() is None:
                writer.stop()
        finally:
            writer.kill()


def main() -> int:
    parser = argparse.ArgumentParser(description="Commit to a database without pause until SIGTERM.")
    parser.add_argument("path", type=Path, help="a database that exists")
    parser.add_argument("--journal", type=Path, help="append the number of each commit to this file, after the commit")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds between two commits (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=600.0, help="stop after this time (default: %(default)s)")
    options = parser.parse_args()
    if not options.path.exists():
        parser.error(f"{options.path} does not exist")
    writer = Writer(options.path, journal=options.journal, pause=options.pause, seconds=options.seconds)
    signal.signal(signal.SIGTERM, writer.stop)
    signal.signal(signal.SIGINT, writer.stop)
    print(json.dumps(writer.run()._asdict()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
