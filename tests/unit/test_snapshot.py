# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The snapshot of a live database: which bytes it gives, where it reads them, and when it makes a copy instead.

What others do to the database meanwhile is in test_snapshot_meanwhile.py.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, snapshot, wal
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.pin import Pinned
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.snapshot import (
    CopiedSnapshot,
    DirectSnapshot,
    Snapshot,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    SourceBusyError,
    SourceCorruptError,
    StorageFailedError,
)
from support import databases, processes

LOCK_BYTE = 1 << 30
ADD = "INSERT INTO item(name) VALUES ('in the log')"

Result = TypeVar("Result")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The private directory that a snapshot may use."""
    directory = tmp_path / "scratch"
    directory.mkdir(mode=0o700)
    return directory


def take(path: Path, scratch: Path, **options: Any) -> Snapshot:
    options.setdefault("deadline", Deadline(30))
    return snapshot.take(database.locate(path), scratch, **options)


def use(path: Path, scratch: Path, work: Callable[[Snapshot], Result], **options: Any) -> Result:
    options.setdefault("deadline", Deadline(30))
    return snapshot.use(database.locate(path), scratch, work, **options)


def names(image: Snapshot) -> list[str]:
    assert image.connection is not None
    return [name for (name,) in image.connection.execute("SELECT name FROM item ORDER BY id")]


def content(image: Snapshot) -> bytes:
    """All of the image, after a look at whether it is what its own connection sees."""
    assert image.connection is not None
    read = b"".join(image.chunks())
    assert len(read) == image.image_bytes == image.page_size * image.page_count
    assert databases.masked(read) == databases.masked(databases.image_of(image.connection))
    return read


def reads_log(image: Snapshot) -> bool:
    """Whether pages are taken from the write-ahead log, in an image that is read where it is."""
    assert isinstance(image, DirectSnapshot)
    return image._frames is not None


# The states of a database that is read where it is, and what its application did before.
STATES = {
    "idle": None,
    "log": (ADD, "UPDATE item SET name = 'changed' WHERE id % 500 = 0"),
    "half of the log": (ADD, "PRAGMA wal_checkpoint(PASSIVE)", "UPDATE item SET name = 'changed' WHERE id % 500 = 0"),
    "log that is in the file": (ADD, "PRAGMA wal_checkpoint(PASSIVE)"),
    "log that started again": (ADD, "PRAGMA wal_checkpoint(RESTART)", ADD),
    "empty log": (ADD, "PRAGMA wal_checkpoint(TRUNCATE)"),
    "delete": (ADD,),
    "truncate": ("PRAGMA journal_mode=TRUNCATE", ADD),
    "persist": ("PRAGMA journal_mode=PERSIST", ADD),
}
WITH_LOG = ("log", "half of the log", "log that started again")
ROLLBACK = ("delete", "truncate", "persist")


@contextlib.contextmanager
def in_state(path: Path, state: str, **options: Any) -> Iterator[Path]:
    """A database in this state, for the block; in all but the first another process has it open."""
    databases.make(path, journal_mode="delete" if state in ROLLBACK else "wal", **options)
    done = STATES[state]
    if done is None:
        databases.settle(path)
        yield path
        return
    with processes.application(path) as application:
        for sql in done:
            application(sql)
        yield path


# --- read where it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("state", STATES)
def test_pages_are_read_where_they_are(tmp_path: Path, scratch: Path, state: str, page_size: int) -> None:
    """Cases 3 and 21: byte for byte the image that SQLite sees, and nothing is written for it."""
    with in_state(tmp_path / "a.db", state, rows=2000, page_size=page_size) as path:

        def work(image: Snapshot) -> None:
            read = content(image)
            assert reads_log(image) == (state in WITH_LOG)
            assert image.page_size == page_size
            assert image.header == database.parse_header(read)
            assert image.read(1, 1) == read[:page_size]
            assert image.read(2, 3) == read[page_size : 4 * page_size]
            assert image.read(image.page_count, 5) == read[-page_size:]
            assert image.held
            assert not image.corruption
            assert image.writers_waited == (state in ROLLBACK)
            assert (image.pinned_seconds > 0) == (state != "idle")
            assert os.listdir(scratch) == []

        before = set(os.listdir(tmp_path))
        use(path, scratch, work)
        assert set(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("page_size", [1024, 2048, 8192, 16384, 32768])
@pytest.mark.parametrize("state", ["log", "delete"])
def test_every_page_size_is_read(tmp_path: Path, scratch: Path, state: str, page_size: int) -> None:
    with in_state(tmp_path / "a.db", state, rows=300, page_size=page_size) as path:
        assert len(use(path, scratch, content)) % page_size == 0


@pytest.mark.parametrize("state", ["idle", "log", "log that is in the file", "delete"])
@pytest.mark.parametrize(
    "setup",
    [
        "PRAGMA auto_vacuum=FULL",
        "PRAGMA auto_vacuum=INCREMENTAL",
        "PRAGMA encoding='UTF-16le'",
        "PRAGMA encoding='UTF-16be'",
        "CREATE TABLE x(a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO x VALUES (1, 2)",
    ],
)
def test_every_kind_of_database_is_read(tmp_path: Path, scratch: Path, state: str, setup: str) -> None:
    """Case 21."""
    with in_state(tmp_path / "a.db", state, setup=setup) as path:
        copy = tmp_path / "copy.db"
        copy.write_bytes(use(path, scratch, content))
    assert databases.names(copy)[:3] == ["name 0", "name 1", "name 2"]


def test_database_whose_file_is_shorter_than_its_pages(tmp_path: Path, scratch: Path) -> None:
    """What was added since the last checkpoint is only in the log, behind the end of the file."""
    path = databases.make(tmp_path / "a.db")
    with processes.application(path) as application:
        application("CREATE TABLE big(x)")
        application("INSERT INTO big VALUES (zeroblob(3000000))")

        def work(image: Snapshot) -> None:
            assert os.stat(path).st_size < image.image_bytes - 2_900_000
            content(image)

        use(path, scratch, work)


def test_another_users_log_is_read_where_it_was_copied_to(tmp_path: Path, scratch: Path) -> None:
    """Where no sidecar may be made, the two files are copied, and the image is read there."""
    path = databases.crashed_wal(tmp_path / "a.db")
    before = databases.tree(tmp_path)

    def work(image: Snapshot) -> None:
        assert reads_log(image)
        assert content(image)
        assert names(image)[-1] == "only in wal"

    use(path, scratch, work, traceless=True)
    assert databases.tree(tmp_path) == before


@pytest.mark.parametrize("state", ["delete", "log that is in the file"])
def test_source_that_ends_too_early_is_corrupt(tmp_path: Path, scratch: Path, state: str) -> None:
    """One byte is enough: half an image must not pass for a whole one."""
    with in_state(tmp_path / "a.db", state, rows=2000) as path:

        def work(image: Snapshot) -> None:
            content(image)
            os.truncate(path, image.image_bytes - 1)
            assert len(image.read(1, image.page_count - 1)) == image.image_bytes - 4096
            with pytest.raises(SourceCorruptError, match=f"ends before page {image.page_count}\\."):
                image.read(image.page_count, 1)
            for _chunk in image.chunks():
                pass

        with pytest.raises(SourceCorruptError, match="ends before page"):
            use(path, scratch, work)


def test_page_that_is_neither_in_the_file_nor_in_the_log_is_corrupt(tmp_path: Path, scratch: Path) -> None:
    """SQLite would take it for zeros: with other pages in the log, that must not go unseen either."""
    path = databases.make(tmp_path / "a.db", rows=2000)
    with processes.application(path) as application:
        application("UPDATE item SET name = 'x' WHERE id IN (1, 2000)")
        application("INSERT INTO item(name) VALUES ('" + "long " * 2000 + "')")

        def work(image: Snapshot) -> None:
            content(image)
            assert os.stat(path).st_size < image.image_bytes
            os.truncate(path, 9 * 4096 - 1)
            assert image.read(1, 8)
            assert len(image.read(image.page_count, 1)) == 4096
            with pytest.raises(SourceCorruptError, match="ends before page 9"):
                image.read(1, image.page_count)

        use(path, scratch, work)


def test_log_that_ends_too_early_is_no_page(tmp_path: Path, scratch: Path) -> None:
    with in_state(tmp_path / "a.db", "log", rows=2000) as path:

        def work(image: Snapshot) -> None:
            content(image)
            os.truncate(database.sidecar(path, "-wal"), 32 + 4120)
            for _chunk in image.chunks():
                pass

        with pytest.raises(SourceBusyError, match="the -wal is shorter"):
            use(path, scratch, work)


@pytest.mark.parametrize("state", ["idle", "log", "delete"])
def test_deadline_holds_while_pages_are_read(tmp_path: Path, scratch: Path, state: str) -> None:
    """Whoever waits for the database must not wait for ever."""
    with in_state(tmp_path / "a.db", state, rows=2000) as path:
        deadline = Deadline(None)

        def work(image: Snapshot) -> None:
            image.read(1, 1)
            deadline._end = 0.0
            image.read(2, 1)

        with pytest.raises(SourceBusyError, match="the timeout passed at page 2 of"):
            use(path, scratch, work, deadline=deadline)


@pytest.mark.parametrize("state", ["log", "delete"])
def test_failure_of_the_work_is_what_is_raised(tmp_path: Path, scratch: Path, state: str) -> None:
    """It is not a reason to try a copy."""
    rounds = []

    def work(image: Snapshot) -> None:
        rounds.append(image)
        raise ZeroDivisionError

    with in_state(tmp_path / "a.db", state) as path, pytest.raises(ZeroDivisionError):
        use(path, scratch, work)
    assert len(rounds) == 1


def up_to_one_gib(path: Path, *, page_size: int, journal_mode: str) -> Path:
    """A database whose last pages are two before the lock-byte page; most of it is a hole that takes no room."""
    databases.make(path, page_size=page_size, journal_mode=journal_mode)
    page_count = LOCK_BYTE // page_size - 2
    with open(path, "r+b") as file:
        file.seek(28)
        file.write(struct.pack(">I", page_count))
        file.truncate(page_count * page_size)
    return path


@contextlib.contextmanager
def over_one_gib(path: Path, *, page_size: int, journal_mode: str) -> Iterator[Callable[[str], Any]]:
    """The application of a database that just grew over 1 GiB, in WAL mode in its log alone."""
    up_to_one_gib(path, page_size=page_size, journal_mode=journal_mode)
    with processes.application(path) as application:
        for number in range(12):
            name = f"name {number}, " + "x" * page_size
            assert application(f"INSERT INTO item(name) VALUES ('{name}')") == []
        assert (os.stat(path).st_size < LOCK_BYTE) == (journal_mode == "wal")
        yield application


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_lock_byte_page_is_passed_over(tmp_path: Path, scratch: Path, page_size: int, journal_mode: str) -> None:
    """Case 21: the page at 1 GiB is never in the log, and perhaps not in the file, where nothing was written yet."""
    path = tmp_path / "a.db"
    lock_page = LOCK_BYTE // page_size + 1

    def work(image: Snapshot) -> bytes:
        assert reads_log(image) == (journal_mode == "wal")
        assert image.page_count > lock_page + 5
        assert image.read(lock_page, 1) == bytes(page_size)
        return image.read(lock_page - 3, 9)

    with over_one_gib(path, page_size=page_size, journal_mode=journal_mode) as application:
        found = use(path, scratch, work)
        application("PRAGMA wal_checkpoint(TRUNCATE)")
        with open(path, "rb") as file:
            file.seek(LOCK_BYTE - 3 * page_size)
            assert found == file.read(9 * page_size)
    assert found.count(b"x" * (page_size // 2)) > 5


@pytest.mark.slow
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_database_over_one_gib_is_read_as_a_whole(tmp_path: Path, scratch: Path, journal_mode: str) -> None:
    copy = tmp_path / "copy.db"

    def work(image: Snapshot) -> None:
        with open(copy, "wb") as file:
            for chunk in image.chunks():
                if chunk == bytes(len(chunk)):
                    file.seek(len(chunk), os.SEEK_CUR)
                else:
                    file.write(chunk)
            assert file.tell() == image.image_bytes > LOCK_BYTE

    with over_one_gib(tmp_path / "a.db", page_size=4096, journal_mode=journal_mode) as application:
        use(tmp_path / "a.db", scratch, work)
        rows = application("SELECT name FROM item ORDER BY id")
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT name FROM item ORDER BY id").fetchall() == [tuple(row) for row in rows]


# --- copied instead ------------------------------------------------------------------------------------------------


def assert_copied(path: Path, scratch: Path, **options: Any) -> None:
    """The image is a private copy with the right content, which goes away again."""

    def work(image: Snapshot) -> None:
        assert isinstance(image, CopiedSnapshot)
        assert len(os.listdir(scratch)) == 1
        assert not image.held
        content(image)
        assert names(image)[-1] == "in the log"

    use(path, scratch, work, **options)
    assert os.listdir(scratch) == []


def test_rollback_mode_is_copied_for_work_that_takes_its_time(tmp_path: Path, scratch: Path) -> None:
    """Writers wait for the copy, not for a slow compression. In WAL mode they wait for neither."""
    with in_state(tmp_path / "a.db", "delete") as path:
        assert_copied(path, scratch, hasty=False)
        assert use(path, scratch, reads_log) is False
    with in_state(tmp_path / "b.db", "log") as path:
        assert use(path, scratch, reads_log, hasty=False)


@pytest.mark.parametrize("state", ["log", "delete"])
def test_windows_has_no_direct_reading(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Its locks are on the bytes themselves: they would keep the reader out as well."""
    with in_state(tmp_path / "a.db", state) as path:
        monkeypatch.setattr(snapshot, "os", types.SimpleNamespace(**{**vars(os), "name": "nt"}))
        assert_copied(path, scratch)


@pytest.mark.parametrize("problem", ["refused", "empty", "no -wal", "another -wal"])
def test_log_that_cannot_be_understood_is_left_to_sqlite(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    """An odd filesystem, a newer SQLite: what is unusual takes longer, and never goes wrong."""
    open_ = Pinned.open
    (scratch.parent / "strange").write_bytes(b"" if problem == "empty" else bytes(1000))

    def opened(pinned: Pinned, suffix: str = "") -> BinaryIO:
        if suffix == "-shm" and problem == "refused":
            raise PermissionError(13, "on purpose")
        if suffix == "-wal" and problem == "no -wal":
            raise FileNotFoundError(2, "on purpose")
        if suffix == {"empty": "-shm", "another -wal": "-wal"}.get(problem):
            file = open(scratch.parent / "strange", "rb", buffering=0)  # noqa: SIM115 - kept with the pinned source
            pinned.keep(file)
            return file
        return open_(pinned, suffix)

    monkeypatch.setattr(Pinned, "open", opened)
    with in_state(tmp_path / "a.db", "log") as path:
        assert_copied(path, scratch)


def test_log_whose_index_is_never_whole_is_left_to_sqlite(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wal, "parse_index", lambda _data: None)
    with in_state(tmp_path / "a.db", "log") as path:
        assert_copied(path, scratch)


def test_index_that_is_being_written_is_looked_at_again(
    tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, looks = wal.parse_index, []

    def parse_later(data: bytes) -> wal.Index | None:
        looks.append(data)
        return None if len(looks) in (1, 4) else parse(data)

    monkeypatch.setattr(wal, "parse_index", parse_later)
    with in_state(tmp_path / "a.db", "log") as path:
        assert use(path, scratch, reads_log)
    assert len(looks) == 6


def test_empty_source_is_an_empty_image(tmp_path: Path, scratch: Path) -> None:
    """Case 7."""
    path = tmp_path / "a.db"
    path.write_bytes(b"")
    source = database.locate(path, allow_empty=True)

    def work(image: Snapshot) -> None:
        assert (image.page_size, image.page_count, image.image_bytes, list(image.chunks())) == (0, 0, 0, [])

    snapshot.use(source, scratch, work, deadline=Deadline(30))
    assert os.listdir(scratch) == []


@pytest.mark.parametrize(("state", "page_size"), [*((state, 4096) for state in STATES), ("log", 512), ("log", 65536)])
def test_copy_is_the_image_that_its_connection_sees(tmp_path: Path, scratch: Path, state: str, page_size: int) -> None:
    with in_state(tmp_path / "a.db", state, rows=2000, page_size=page_size) as path:
        with take(path, scratch) as image:
            read = content(image)
            assert image.page_size == page_size
            assert image.read(1, 1) == read[:page_size]
            assert image.read(image.page_count, 5) == read[-page_size:]
            copied = names(image)
        assert os.listdir(scratch) == []
        assert use(path, scratch, names) == copied


def test_copy_that_takes_too_long_is_stopped(tmp_path: Path, scratch: Path) -> None:
    """``Connection.backup`` ignores the busy timeout; only the deadline ends it."""
    path = databases.make(tmp_path / "a.db")
    with pytest.raises(SourceBusyError, match="before the timeout"):
        take(path, scratch, deadline=Deadline(0))


def test_progress_of_a_copy_is_told(tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "_STEP_BYTES", 4096)
    path = databases.make(tmp_path / "a.db", rows=500)
    told: list[tuple[int, int]] = []
    with take(path, scratch, progress=lambda done, total: told.append((done, total))) as image:
        assert told == [(done, image.page_count) for done in range(1, image.page_count + 1)]


def test_salvaged_image_is_the_bytes_as_they_are(tmp_path: Path, scratch: Path) -> None:
    """A length that is no multiple of a page, a header that names no page size: nothing is lost."""
    path = databases.make(tmp_path / "a.db")
    damaged = path.read_bytes()[:16] + b"\xff" * 5000 + b"end"
    path.write_bytes(damaged)
    located = database.locate(path)
    with snapshot.salvage(located, scratch, corruption="malformed", deadline=Deadline(None)) as image:
        assert b"".join(image.chunks()) == damaged
        assert image.connection is None
        assert image.corruption == "malformed"
    assert os.listdir(scratch) == []


def test_salvage_ends_at_the_deadline(tmp_path: Path, scratch: Path) -> None:
    """What SQLite cannot read may be of holes, as long as its owner likes."""
    source = database.locate(databases.make(tmp_path / "a.db"))
    with pytest.raises(SourceBusyError, match="timeout passed"):
        snapshot.salvage(source, scratch, corruption="malformed", deadline=Deadline(0.0))


def test_salvage_begins_anew_where_a_copy_came_half_way(tmp_path: Path, scratch: Path) -> None:
    """What SQLite had copied until it met the damage is neither in the way nor in the image."""
    path = databases.make(tmp_path / "a.db")
    (scratch / "snapshot.sqlite").write_bytes(b"half" * 100_000)
    with snapshot.salvage(database.locate(path), scratch, corruption="malformed", deadline=Deadline(None)) as image:
        assert b"".join(image.chunks()) == path.read_bytes()


@pytest.mark.parametrize("lost_bytes", [1, 4096, 6000])
def test_private_copy_that_lost_its_end_is_no_image(tmp_path: Path, scratch: Path, lost_bytes: int) -> None:
    """A disk may take back what it was given; half an image must not pass for a whole one."""
    path = databases.make(tmp_path / "a.db", rows=2000)
    with take(path, scratch) as image:
        os.truncate(scratch / "snapshot.sqlite", image.image_bytes - lost_bytes)
        last = image.page_count - (lost_bytes - 1) // 4096
        with pytest.raises(StorageFailedError, match=f"ends before page {last}\\."):
            for _chunk in image.chunks():
                pass


@pytest.mark.parametrize("copied", [False, True])
def test_image_is_whole_where_a_file_gives_few_bytes_at_once(tmp_path: Path, scratch: Path, *, copied: bool) -> None:
    path = databases.make(tmp_path / "a.db", rows=200, journal_mode="delete")

    def work(image: Snapshot) -> bytes:
        assert isinstance(image, (CopiedSnapshot, DirectSnapshot))
        file = image._file
        image._file = types.SimpleNamespace(  # type: ignore[assignment]
            seek=file.seek, read=lambda size: file.read(min(size, 1000)), close=file.close
        )
        return b"".join(image.chunks())

    if copied:
        with take(path, scratch) as image:
            assert work(image) == path.read_bytes()
    else:
        assert use(path, scratch, work) == path.read_bytes()
