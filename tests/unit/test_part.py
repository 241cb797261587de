# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a database in a file of its own, whatever the schema holds and whatever the query asks for."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import part, permits
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.part import Part
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    ProgramMissingError,
    SourceBusyError,
    UsageError,
)
from support import databases

Taken = Callable[..., Part]


def made(path: Path, script: str) -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("own", 1, abs, deterministic=True)
        connection.create_collation("own", lambda a, b: (a > b) - (a < b))
        connection.executescript(script)
    return path


@pytest.fixture
def take(tmp_path: Path) -> Callable[[str], Part]:
    """A part of the database that a script makes, still empty."""

    def empty(script: str, *, deadline: Deadline | None = None) -> Part:
        return Part(made(tmp_path / "image.db", script), tmp_path / "part.db", deadline=deadline)

    return empty


@pytest.fixture
def rows(tmp_path: Path) -> Callable[[str], list[Any]]:
    def answer(sql: str) -> list[Any]:
        with contextlib.closing(sqlite3.connect(tmp_path / "part.db")) as connection:
            return connection.execute(sql).fetchall()

    return answer


Rows = Callable[[str], list[Any]]


def test_a_table_with_its_rows_and_its_indexes(take: Taken, rows: Rows) -> None:
    taken = take(
        "CREATE TABLE t(k TEXT PRIMARY KEY, v CHECK (v > 0)); CREATE UNIQUE INDEX i ON t(v); CREATE TABLE u(a);"
        "CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u; END; CREATE VIEW w AS SELECT 1;"
        "INSERT INTO t VALUES ('a', 1), ('b', 2), (NULL, 3); PRAGMA user_version = 7;"
    )

    taken.add_tables(["t"])

    assert (taken.rows, taken.left_out) == ({"t": 3}, [])
    assert rows("PRAGMA integrity_check") == [("ok",)]
    assert rows("SELECT * FROM t ORDER BY v") == [("a", 1), ("b", 2), (None, 3)]
    assert rows("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type") == [
        ("index", "i", "CREATE UNIQUE INDEX i ON t(v)"),
        ("table", "t", "CREATE TABLE t(k TEXT PRIMARY KEY, v CHECK (v > 0))"),
    ]


@pytest.mark.parametrize(
    ("schema", "query", "expected"),
    [
        ("CREATE TABLE t(v)", "SELECT rowid, v FROM t", [(7, 1), (9, 2)]),
        ("CREATE TABLE t(v, rowid)", "SELECT oid, _rowid_, v FROM t", [(7, 7, 1), (9, 9, 2)]),
        ("CREATE TABLE t(v, rowid, oid, _rowid_)", "SELECT v FROM t", [(1,), (2,)]),
        ("CREATE TABLE t(v PRIMARY KEY) WITHOUT ROWID", "SELECT v FROM t", [(1,), (2,)]),
        ("CREATE TABLE t(v INT, b AS (v + 1) STORED, c AS (v + 2))", "SELECT v, b, c FROM t", [(1, 2, 3), (2, 3, 4)]),
        ("CREATE TABLE t(v, rowid AS (5))", "SELECT oid, v, rowid FROM t", [(7, 1, 5), (9, 2, 5)]),
    ],
)
def test_rowids_stay_as_far_as_there_are_any(
    take: Taken, rows: Rows, schema: str, query: str, expected: list[Any]
) -> None:
    script = f"{schema}; INSERT INTO t(v) VALUES (1);"
    for old, new in (("1", "7"), ("2", "9")):
        if "_rowid_" not in schema and "WITHOUT" not in schema:
            script += f"UPDATE t SET _rowid_ = {new} WHERE v = {old};"
        script += "INSERT INTO t(v) VALUES (2);" if old == "1" else ""

    take(script).add_tables(["t"])

    assert rows(query) == expected


def test_what_was_counted_up_goes_on_from_there(take: Taken, rows: Rows) -> None:
    script = "CREATE TABLE {0}(id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO {0}(v) VALUES (1), (2), (3);"
    taken = take("".join(script.format(each) for each in "tu") + "DELETE FROM t WHERE id > 1; DELETE FROM u;")

    taken.add_tables(["t", "u"])

    assert rows("SELECT * FROM sqlite_sequence ORDER BY name") == [("t", 3), ("u", 3)]
    assert taken.rows == {"t": 1, "u": 0}


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 37), reason="this SQLite has no STRICT tables")
def test_a_strict_table_stays_one(take: Taken, rows: Rows) -> None:
    take("CREATE TABLE t(a INT, b ANY) STRICT; INSERT INTO t VALUES (1, '1');").add_tables(["t"])

    assert rows("SELECT typeof(b), sql LIKE '%STRICT' FROM t, sqlite_master") == [("text", 1)]


def test_rows_that_break_a_rule_are_copied_too(take: Taken, rows: Rows) -> None:
    taken = take(
        "CREATE TABLE p(k PRIMARY KEY); CREATE TABLE t(v CHECK (v > 0) REFERENCES p(k));"
        "PRAGMA ignore_check_constraints=ON; INSERT INTO t VALUES (-1);"
    )

    taken.add_tables(["t"])

    assert rows("SELECT v FROM t") == [(-1,)]


def test_values_are_the_very_same(take: Taken, rows: Rows) -> None:
    take(
        'CREATE TABLE \'odd "; name\'("a b" TEXT, b, c REAL);'
        "INSERT INTO 'odd \"; name' VALUES (CAST(x'ff00fe' AS TEXT), x'00', 1), (NULL, 1.0, 1e300);"
    ).add_tables(['odd "; name'])

    assert rows('SELECT hex("a b"), typeof("a b"), b, c FROM "odd ""; name"') == [
        ("FF00FE", "text", b"\x00", 1.0),
        ("", "null", 1.0, 1e300),
    ]


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_other_encodings(take: Taken, rows: Rows, encoding: str) -> None:
    take(f"PRAGMA encoding='{encoding}'; CREATE TABLE ä(ü); INSERT INTO ä VALUES ('数');").add_tables(["ä"])

    assert rows("SELECT ü FROM ä") == [("数",)]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "there is no table 'nowhere'"),
        ("w", "'w' is a view"),
        ("f", "'f' is a virtual table"),
    ],
)
def test_what_is_no_table_is_not_taken(take: Taken, name: str, told: str) -> None:
    taken = take("CREATE TABLE t(a); CREATE VIEW w AS SELECT 1; CREATE VIRTUAL TABLE f USING fts5(a);")

    with pytest.raises(UsageError, match=told):
        taken.add_tables(["t", name])


def test_what_only_the_application_can_make(take: Taken, rows: Rows) -> None:
    taken = take(
        "CREATE TABLE t(a); CREATE INDEX i ON t(own(a)); CREATE TABLE u(a, b AS (own(a)) STORED, CHECK (own(a)));"
    )

    taken.add_tables(["t"])

    assert taken.left_out == ["the index i of t is left out: no such function: own"]
    with pytest.raises(ProgramMissingError, match="no such function: own"):
        taken.add_tables(["u"])


# --- what a query yields -------------------------------------------------------------------------------------------

ITEMS = "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT); INSERT INTO item(name) VALUES ('a'), ('b'), ('c');"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM item WHERE id > 1 ORDER BY id DESC", [(3, "c"), (2, "b")]),
        ("SELECT * FROM item WHERE id = 1;", [(1, "a")]),
        ("SELECT * FROM item WHERE id = 1 -- only that", [(1, "a")]),
        (
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT i FROM n",
            [(1,), (2,), (3,)],
        ),
        ("VALUES (1, 'x')", [(1, "x")]),
        ("SELECT * FROM w", [("a",)]),
        ("SELECT * FROM f WHERE f MATCH 'word'", [("a word",)]),
        ("SELECT count(*) FROM sqlite_master WHERE type = 'view'", [(1,)]),
        ("SELECT json_extract('[5]', '$[0]')", [(5,)]),
    ],
)
def test_the_rows_of_a_query(take: Taken, rows: Rows, query: str, expected: list[Any]) -> None:
    taken = take(
        ITEMS + "CREATE VIEW w AS SELECT name FROM item WHERE id = 1; CREATE VIRTUAL TABLE f USING fts5(x);"
        "INSERT INTO f VALUES ('a word');"
    )

    taken.add_query(query, 'it"em')

    assert rows('SELECT * FROM "it""em"') == expected
    assert taken.rows == {'it"em': len(expected)}


@pytest.mark.parametrize(
    "query",
    [
        "DELETE FROM item",
        "SELECT 1; DELETE FROM item",
        "ATTACH 'x' AS y",
        "PRAGMA journal_mode=WAL",
        "SELECT load_extension('x')",
        "SELECT writefile('x', 'y')",
        "SELECT * FROM pragma_database_list",
        "SELECT * FROM nowhere",
        "SELECT",
        "",
        "SELECT 'a\0b'",
        "WITH x AS (SELECT 1) DELETE FROM item",
    ],
)
def test_what_does_not_read_is_refused(take: Taken, tmp_path: Path, query: str) -> None:
    taken = take(ITEMS)
    before = databases.tree(tmp_path)

    with pytest.raises(UsageError):
        taken.add_query(query, "result")

    assert {name: digest for name, digest in databases.tree(tmp_path).items() if name != "part.db"} == before


@pytest.mark.parametrize(
    ("action", "one", "two", "where", "allowed"),
    [
        (sqlite3.SQLITE_READ, "item", "name", "main", True),
        (sqlite3.SQLITE_FUNCTION, None, "count", None, True),
        (sqlite3.SQLITE_FUNCTION, None, "Load_Extension", None, False),
        (sqlite3.SQLITE_FUNCTION, None, "writefile", None, False),
        (sqlite3.SQLITE_INSERT, "result", None, "part", True),
        (sqlite3.SQLITE_INSERT, "item", None, "main", False),
        (sqlite3.SQLITE_PRAGMA, "data_version", None, "main", True),
        (sqlite3.SQLITE_PRAGMA, "writable_schema", "1", "main", False),
        (sqlite3.SQLITE_ATTACH, "x", None, None, False),
        (sqlite3.SQLITE_DROP_TABLE, "result", None, "part", False),
    ],
)
def test_only_the_new_file_is_written(
    action: int, one: str | None, two: str | None, where: str | None, allowed: bool
) -> None:
    """Also with functions that an SQLite of another kind has."""
    judged = permits.reading(part._is_in_part)(action, one, two, where, None)
    assert (judged == sqlite3.SQLITE_OK) is allowed


def test_a_query_without_end_is_ended(take: Taken) -> None:
    taken = take(ITEMS, deadline=Deadline(0.3))

    with pytest.raises(SourceBusyError, match="the timeout passed"):
        taken.add_query(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n", "result"
        )


def test_a_schema_that_no_sqlite_writes(tmp_path: Path) -> None:
    image = made(tmp_path / "image.db", "CREATE TABLE t(a); INSERT INTO t VALUES (1);")
    with contextlib.closing(sqlite3.connect(image, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE TEMP TABLE t(a)'")

    with pytest.raises(EngineError):
        Part(image, tmp_path / "part.db").add_tables(["t"])
