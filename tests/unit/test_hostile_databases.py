# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases made to confuse whoever reads them: every byte is kept, and no answer is a traceback (case 30)."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    RefusedError,
    SourceCorruptError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, doctor, restore, verify
from support import corpus, databases

LOOK = verify.Expectations("full", [], [])


def _name_that_is_no_text(path: Path) -> None:
    """A column and a table whose names are no UTF-8, in a schema that SQLite then quotes."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        sql = "CAST(x'" + b"CREATE TABLE t\xff(a\xfe, b COLLATE c\xfd) oops\xfc".hex() + "' AS TEXT)"
        connection.execute(f"INSERT INTO sqlite_master VALUES ('table', 't', 't', 2, {sql})")


def _bytes_at(offset: int, data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[offset : offset + len(data)] = data
        path.write_bytes(content)

    return write


def _fewer_pages_than_there_are(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[28:32] = struct.pack(">I", 2)
    # So that SQLite believes it: https://www.sqlite.org/fileformat2.html#in_header_database_size
    content[92:96] = content[24:28]
    path.write_bytes(content)


MADE: dict[str, Callable[[Path], None]] = {
    "a name that is no text": _name_that_is_no_text,
    "a schema format of the future": _bytes_at(44, struct.pack(">I", 9)),
    "fewer pages in the header than in the file": _fewer_pages_than_there_are,
}


@pytest.fixture(params=[*corpus.DATABASES, *MADE])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "srv" / "a.db"
    path.parent.mkdir()
    if request.param in MADE:
        databases.make(path, rows=3000, journal_mode="delete", page_size=512)
        MADE[request.param](path)
    else:
        path.write_bytes(corpus.DATABASES[request.param])
    return path


def _backed_up(path: Path) -> backup.Outcome:
    return backup.run(backup.Request(path, path.parents[1] / "repository", compression="none"))


def test_every_byte_of_a_hostile_database_is_kept_and_nothing_lies_beside_it(hostile: Path) -> None:
    content = hostile.read_bytes()
    outcome = _backed_up(hostile)
    assert isinstance(outcome.error, SourceCorruptError)
    assert outcome.backup is not None
    assert outcome.backup.trusted().suspect
    assert (outcome.backup.path / "database.sqlite").read_bytes() == content
    assert [each.name for each in hostile.parent.iterdir()] == ["a.db"]
    again = _backed_up(hostile)
    assert (again.changed, type(again.error)) == (False, SourceCorruptError)
    assert hostile.read_bytes() == content


def test_message_says_the_cause_once_in_one_sentence(hostile: Path) -> None:
    error = _backed_up(hostile).error
    assert error is not None
    assert "Cannot back up" not in error.message
    assert ".." not in error.message
    assert "\n" not in error.message


def test_every_other_answer_about_a_hostile_database_is_one_of_the_documented_ones(hostile: Path) -> None:
    found = verify.verify_database(hostile, LOOK)
    assert isinstance(found.error, SourceCorruptError)
    assert doctor.examine(doctor.Request(hostile, hostile.parents[1] / "repository"))
    _backed_up(hostile)
    request = restore.Request(hostile.parents[1] / "repository", dest=hostile.parent / "a-copy.db", force_identity=True)
    with pytest.raises(RefusedError, match="suspect"):
        restore.run(request)
    assert [each.name for each in hostile.parent.iterdir()] == ["a.db"]


def test_database_that_is_read_without_a_log_whatever_it_says_to_writers_gets_none(tmp_path: Path) -> None:
    """Which of the two numbers counts decides whether SQLite leaves a -wal and a -shm there."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    _bytes_at(18, b"\x02\x01")(path)
    verify.verify_database(path, LOOK)
    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]
