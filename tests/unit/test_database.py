# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import gzip
import os
import random
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.workplace import workplace_of
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors
from support import databases, limits, processes


def located(path: Path, *, allow_empty: bool = False) -> database.Source:
    return database.locate(path, allow_empty=allow_empty)


def pragma(path: Path, name: str) -> object:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"PRAGMA {name}").fetchone()[0]


# --- the header ----------------------------------------------------------------------------------------------------


def assert_header_is_what_sqlite_says(path: Path) -> None:
    header = database.read_header(path)
    assert header
    for name in ("page_size", "page_count", "auto_vacuum", "encoding", "user_version", "application_id"):
        assert getattr(header, name) == pragma(path, name), name
    assert header.wal == (pragma(path, "journal_mode") == "wal")


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
@pytest.mark.parametrize("page_size", [512, 1024, 4096, 32768, 65536])
def test_page_size_and_journal_mode_are_what_sqlite_says(tmp_path: Path, page_size: int, journal_mode: str) -> None:
    """64 KiB do not fit into the two bytes of the header: they are written as 1."""
    path = databases.make(tmp_path / "a.db", page_size=page_size, journal_mode=journal_mode, rows=200)
    assert pragma(path, "page_size") == page_size
    assert_header_is_what_sqlite_says(path)


@pytest.mark.parametrize(
    "setup",
    [
        "PRAGMA auto_vacuum=full",
        "PRAGMA auto_vacuum=incremental",
        "PRAGMA encoding='UTF-8'",
        "PRAGMA encoding='UTF-16le'",
        "PRAGMA encoding='UTF-16be'",
        "PRAGMA user_version=2147483647",
        "PRAGMA user_version=-5",
        "PRAGMA application_id=1196444487",
        "PRAGMA application_id=-2147483648",
    ],
)
def test_settings_are_what_sqlite_says(tmp_path: Path, setup: str) -> None:
    """A dump of SQL text loses these; the proof must not."""
    name, value = setup[7:].split("=")
    path = databases.make(tmp_path / "a.db", setup=setup)
    assert str(pragma(path, name)) in {value.strip("'"), {"full": "1", "incremental": "2"}.get(value)}
    assert_header_is_what_sqlite_says(path)


def test_facts_name_every_setting(tmp_path: Path) -> None:
    setup = "PRAGMA encoding='UTF-16le'; PRAGMA auto_vacuum=2; PRAGMA user_version=-5; PRAGMA application_id=7"
    header = database.read_header(databases.make(tmp_path / "a.db", setup=setup))
    assert header
    assert header.facts() == {
        "user_version": -5,
        "application_id": 7,
        "encoding": "UTF-16le",
        "auto_vacuum": 2,
        "journal_mode": "wal",
        "freelist_count": 0,
    }


@given(st.binary(max_size=120))
def test_any_bytes_without_the_magic_are_no_header(data: bytes) -> None:
    assert database.parse_header(data) is None


@given(st.binary(min_size=84, max_size=84))
def test_any_bytes_behind_the_magic_are_read(rest: bytes) -> None:
    """A damaged or hostile header must not become a traceback."""
    header = database.parse_header(database.MAGIC + rest)
    assert header
    assert header.page_size == 65536 or header.page_size == int.from_bytes(rest[:2], "big")


def test_header_that_is_cut_short_is_none(tmp_path: Path) -> None:
    whole = databases.make(tmp_path / "a.db").read_bytes()
    assert database.parse_header(whole[:99]) is None
    assert database.parse_header(whole[:100]) is not None


# --- finding the source --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", databases.ODD_NAMES)
def test_database_with_an_odd_name_is_found_and_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    path = databases.make(tmp_path / name / name)
    assert located(path).path == path
    with contextlib.closing(database.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (3,)


def test_database_with_an_odd_name_is_opened_and_no_other(tmp_path: Path) -> None:
    """What SQLite takes for a query or a fragment of a URI must stay a part of the name."""
    databases.make(tmp_path / "a", rows=1)
    for name in ("a?mode=rwc", "a#b", "a%62"):
        with contextlib.closing(database.connect(databases.make(tmp_path / name, rows=2))) as connection:
            assert connection.execute("SELECT count(*) FROM item").fetchone() == (2,)


def test_missing_database_is_said_and_not_made(tmp_path: Path) -> None:
    """`sqlite3` would create an empty one, and the backup of that would be empty and fine."""
    with pytest.raises(errors.SourceMissingError, match="the file does not exist"):
        located(tmp_path / "a.db")
    with pytest.raises(sqlite3.OperationalError):
        database.connect(tmp_path / "a.db").execute("SELECT 1 FROM sqlite_master")
    assert not list(tmp_path.iterdir())


def test_empty_file_is_refused_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.db").touch()
    with pytest.raises(errors.SourceMissingError, match="zero bytes.*allow_empty"):
        located(tmp_path / "a.db")
    assert located(tmp_path / "a.db", allow_empty=True).header is None


def test_directory_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(errors.SourceMissingError, match="it is a directory"):
        located(tmp_path)


def test_pipe_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    """Opening a FIFO blocks until somebody writes to it: the run would hang for ever."""
    os.mkfifo(tmp_path / "a.db")
    code = (
        "import sys; from pathlib import Path\n"
        "from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database\n"
        "from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors\n"
        "try: database.locate(Path(sys.argv[1]))\n"
        "except errors.SourceMissingError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.db")]
    run = subprocess.run(command, timeout=20, capture_output=True, text=True, check=True)
    assert "it is not a regular file" in run.stdout


def test_file_of_another_user_is_a_missing_permission() -> None:
    """To say "not a database" would send the operator looking in the wrong place."""
    with processes.open_directory() as place:
        path = databases.make(place / "a.db")
        path.chmod(0)
        with limits.unprivileged(), pytest.raises(errors.PermissionDeniedError, match="permission denied"):
            located(path)


def zipped(content: bytes, path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("agent.db", content)
    return path.read_bytes()


def test_archive_is_named_as_what_it_is(tmp_path: Path) -> None:
    """The message is what saves the operator a search."""
    path = tmp_path / "a.db"
    zipped(b"x", path)
    with pytest.raises(errors.SourceMissingError, match="not a database .a zip archive.*unpack") as caught:
        located(path)
    assert caught.value.code == 10
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(errors.SourceMissingError, match="gzip data"):
        located(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"** This file contains an SQLite 2.1 database **" + bytes(2000), "an SQLite 2 database"),
        (b"%PDF-1.7 " + bytes(2000), "a PDF"),
        (b"\x7fELF" + bytes(2000), "a program"),
        (b"age-encryption.org/v1\n" + bytes(2000), "an age file"),
        (b"hello, world", "it begins as nothing that is known"),
    ],
)
def test_file_that_is_no_database_is_described(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "a.db").write_bytes(content)
    with pytest.raises(errors.SourceMissingError) as caught:
        located(tmp_path / "a.db")
    assert what in caught.value.message


def test_database_that_is_cut_within_its_header_is_described(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(errors.SourceMissingError, match="damaged header"):
        located(path)


@pytest.mark.parametrize("seed", range(20))
def test_encrypted_database_is_recognized(tmp_path: Path, seed: int) -> None:
    """SQLCipher encrypts the header too: such a file is nothing but random pages."""
    (tmp_path / "a.db").write_bytes(random.Random(seed).randbytes(8192))
    with pytest.raises(errors.SourceMissingError, match="perhaps encrypted, by SQLCipher"):
        located(tmp_path / "a.db")


def test_text_of_whole_pages_is_not_taken_for_encrypted(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"just a log line\n" * 256)
    with pytest.raises(errors.SourceMissingError) as caught:
        located(tmp_path / "a.db")
    assert "encrypted," not in caught.value.message


def test_symbolic_link_is_followed_to_where_the_wal_is(tmp_path: Path) -> None:
    """SQLite keeps the -wal beside the file itself, not beside the link."""
    path = databases.make(tmp_path / "real.db")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "one").symlink_to(path)
    (tmp_path / "two").symlink_to(tmp_path / "other" / "one")
    source = located(tmp_path / "two")
    assert (source.given, source.path) == (tmp_path / "two", path)
    assert (source.status.st_dev, source.status.st_ino) == (path.stat().st_dev, path.stat().st_ino)


def test_hard_link_is_refused(tmp_path: Path) -> None:
    """Through the other name the -wal is not found: what was committed last would be missing from the backup."""
    path = databases.make(tmp_path / "a.db")
    os.link(path, tmp_path / "b.db")
    for each in (path, tmp_path / "b.db"):
        with pytest.raises(errors.RefusedError, match="2 hard links.*find DIR -samefile"):
            located(each)


def test_second_name_that_an_interrupted_restore_left_is_no_obstacle(tmp_path: Path) -> None:
    """It is ours and nobody opens it; refusing would stop the backups until somebody cleans up."""
    path = databases.make(tmp_path / "a.db")
    leftovers = workplace_of(path) / "undo"
    leftovers.mkdir(parents=True)
    os.link(path, leftovers / "a.db")
    assert located(path).path == path
    os.link(path, tmp_path / "b.db")
    with pytest.raises(errors.RefusedError):
        located(path)


def test_relative_path_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = databases.make(tmp_path / "a.db")
    monkeypatch.chdir(tmp_path)
    assert located(Path("a.db")).given == path


def test_looking_leaves_no_trace(tmp_path: Path) -> None:
    databases.make(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    located(tmp_path / "a.db")
    assert databases.tree(tmp_path) == before


# --- opening -------------------------------------------------------------------------------------------------------


def test_read_only_connection_cannot_write(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with contextlib.closing(database.connect(path)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("DELETE FROM item")
    assert len(databases.names(path)) == 3


def test_immutable_connection_leaves_nothing_beside_the_file(tmp_path: Path) -> None:
    """A -wal or -shm beside a staged image would be published, or restored, with it."""
    path = databases.make(tmp_path / "a.db")
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (3,)
        assert [each.name for each in tmp_path.iterdir()] == ["a.db"]


def test_connection_is_hardened(tmp_path: Path) -> None:
    """The schema of a backup may come from anywhere."""
    with contextlib.closing(database.connect(databases.make(tmp_path / "a.db"))) as connection:
        assert connection.execute("PRAGMA trusted_schema").fetchone() == (0,)
        assert connection.execute("PRAGMA cell_size_check").fetchone() == (1,)


def test_text_that_is_no_utf8_is_read(tmp_path: Path) -> None:
    """SQLite stores any bytes as text; one such value must not stop a backup."""
    path = databases.make(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE item SET name = CAST(x'6180ff' AS TEXT)")
    with contextlib.closing(database.connect(path)) as connection:
        assert connection.execute("SELECT DISTINCT name FROM item").fetchone() == ("a\ufffd\ufffd",)


# --- recovery and errors -------------------------------------------------------------------------------------------


def test_unfinished_transaction_needs_recovery_until_it_is_rolled_back(tmp_path: Path) -> None:
    path = databases.crashed_journal(tmp_path / "a.db")
    assert database.needs_recovery(path)
    assert databases.names(path)[0] == "name 0"
    assert not database.needs_recovery(path)


@pytest.mark.parametrize("journal_mode", ["delete", "truncate", "persist", "wal"])
def test_finished_transaction_needs_no_recovery(tmp_path: Path, journal_mode: str) -> None:
    """Some journal modes leave the file there; it must not stop the backups."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode={journal_mode}")
        with connection:
            connection.execute("DELETE FROM item")
        assert database.sidecar(path, database.JOURNAL).exists() == (journal_mode in {"truncate", "persist"})
        assert not database.needs_recovery(path)


def failure_of(path: Path, sql: str, *, mode: str = "ro") -> errors.EngineError:
    """The engine's error for what SQLite says to ``sql`` on ``path``."""
    try:
        with contextlib.closing(database.connect(path, mode=mode)) as connection:
            connection.execute(sql).fetchall()
    except sqlite3.Error as error:
        return database.from_sqlite_error(error, path)
    raise AssertionError(f"{sql} did not fail")


READ = "SELECT count(*) FROM item"


def test_locked_database_is_busy(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    with contextlib.closing(databases.open_writer(path)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert (failure_of(path, READ)).__class__ is errors.SourceBusyError


def test_hot_journal_is_a_source_that_needs_recovery(tmp_path: Path) -> None:
    """The hint must keep the operator from deleting the journal, which would corrupt the database."""
    path = databases.crashed_journal(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    error = failure_of(path, READ)
    assert (error).__class__ is errors.SourceCorruptError
    assert "needs recovery" in error.message
    assert "Do not delete the journal" in error.hint
    assert databases.tree(tmp_path) == before


@pytest.mark.parametrize("crashed", [False, True])
def test_file_that_cannot_be_opened_needs_recovery_or_the_disk_fails(tmp_path: Path, *, crashed: bool) -> None:
    path = (databases.crashed_journal if crashed else databases.make)(tmp_path / "a.db")
    error = database.from_sqlite_error(sqlite3.OperationalError("unable to open database file"), path)
    assert error.__class__ is (errors.SourceCorruptError if crashed else errors.StorageFailedError)
    assert ("needs recovery" in error.message) == crashed


def test_message_that_is_no_utf8_does_not_hide_an_error_between_two_rows(tmp_path: Path) -> None:
    """SQLite quotes what is in the database as it is."""
    with contextlib.closing(database.connect(databases.make(tmp_path / "a.db"))) as connection:
        path = "CASE id WHEN 3 THEN CAST(x'24ff' AS TEXT) ELSE '$' END"
        rows = connection.execute(f"SELECT json_extract('{{}}', {path}) FROM item")
        with pytest.raises(sqlite3.DatabaseError):
            list(rows)


def test_file_that_may_not_be_read_is_a_missing_permission() -> None:
    with processes.open_directory() as place:
        path = databases.make(place / "a.db")
        path.chmod(0)
        with limits.unprivileged():
            assert (failure_of(path, READ)).__class__ is errors.PermissionDeniedError


def test_overwritten_file_is_corrupt(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    path.write_bytes(bytes(8192 - 7) + b"garbage")
    assert (failure_of(path, READ)).__class__ is errors.SourceCorruptError


def test_overwritten_page_is_corrupt(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete", rows=2000)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    assert (failure_of(path, READ)).__class__ is errors.SourceCorruptError


@pytest.mark.parametrize("word", ["locked", "busy", "readonly", "unable to open", "disk is full"])
def test_name_in_a_damaged_schema_does_not_mislead(tmp_path: Path, word: str) -> None:
    """SQLite quotes the name of the broken table: "malformed database schema (locked)" is no lock."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        row = ("table", word, word, 2, "CREATE TABLE broken(")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
    assert (failure_of(path, READ)).__class__ is errors.SourceCorruptError


def test_full_disk_is_told_as_such(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    with contextlib.closing(database.connect(path, mode="rw")) as connection:
        connection.execute("PRAGMA max_page_count=1")
        with pytest.raises(sqlite3.Error) as caught:
            connection.execute("INSERT INTO item(name) VALUES (hex(zeroblob(1000000)))")
    assert (database.from_sqlite_error(caught.value, path)).__class__ is errors.NoSpaceError


def test_missing_module_is_a_missing_program(tmp_path: Path) -> None:
    path = databases.with_missing_module(databases.make(tmp_path / "a.db"))
    error = failure_of(path, "SELECT * FROM virtual")
    assert (error).__class__ is errors.ProgramMissingError
    assert "no such module: nowhere" in error.message


def test_any_other_error_keeps_the_words_of_sqlite(tmp_path: Path) -> None:
    error = failure_of(databases.make(tmp_path / "a.db"), "SELECT * FROM missing")
    assert (error).__class__ is errors.EngineError
    assert error.message == "SQLite says: no such table: missing."


def test_closed_connection_keeps_no_file_open_whatever_failed(tmp_path: Path) -> None:
    """The traceback of an error names the statement; Windows would neither remove nor replace the file."""
    path = tmp_path / "a.db"
    path.write_bytes(b"x" * 8192)
    connection = database.connect(path)
    with pytest.raises(sqlite3.DatabaseError):
        connection.execute("SELECT count(*) FROM sqlite_master")
    cursor = connection.execute("PRAGMA trusted_schema")
    connection.close()
    if sys.platform == "linux":
        opened = {os.readlink(each.path) for each in os.scandir("/proc/self/fd") if os.path.lexists(each)}
        assert str(path) not in opened
    path.replace(tmp_path / "b.db")
    assert cursor is not None
