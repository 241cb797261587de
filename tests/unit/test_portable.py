# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database as lines, and a database out of them: equal whatever it holds; and what is wrong with lines of others."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import shutil
import sqlite3
import tempfile
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import (
    contents,
    database,
    portable,
    rebuilt,
    schema,
    values,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.contents import Contents
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    NoSpaceError,
    ProgramMissingError,
    RefusedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
    UsageError,
)
from support import agent_db, databases

CHINOOK = Path(__file__).resolve().parents[1] / "support" / "chinook.sqlite.gz"
ENCODINGS = ("UTF-8", "UTF-16le", "UTF-16be")
ODD = """
CREATE TABLE plain(x);
CREATE TABLE counted(id INTEGER PRIMARY KEY AUTOINCREMENT, y TEXT COLLATE NOCASE UNIQUE, z AS (y || '!'), q REAL,
  s TEXT GENERATED ALWAYS AS (upper(y)) STORED, CHECK (q IS NULL OR q >= 0));
CREATE TABLE "we""ird' n"(a, "sel;ect" DEFAULT 'x', PRIMARY KEY(a)) WITHOUT ROWID;
CREATE TABLE strict(i INT, t TEXT, b BLOB, r REAL, a ANY) STRICT;
CREATE TABLE named(rowid TEXT, _rowid_ TEXT, oid TEXT);
CREATE TABLE key(a TEXT PRIMARY KEY, b REFERENCES counted(id));
CREATE TABLE "order by"("INTEGER" INTEGER PRIMARY KEY DESC);
CREATE INDEX part ON counted(y) WHERE q IS NOT NULL;
CREATE INDEX expression ON plain(typeof(x));
CREATE VIEW seen AS SELECT * FROM plain JOIN counted;
CREATE TRIGGER follows AFTER INSERT ON plain BEGIN INSERT INTO counted(y) VALUES (new.x); END;
CREATE TRIGGER instead INSTEAD OF INSERT ON seen BEGIN SELECT raise(ABORT, 'no'); END;
CREATE VIRTUAL TABLE words USING fts5(t, u UNINDEXED, tokenize='porter');
CREATE VIRTUAL TABLE over USING fts5(y, content='counted', content_rowid='id');
CREATE VIRTUAL TABLE spoken USING fts4(y, languageid="tongue");
CREATE VIRTUAL TABLE boxes USING rtree(id, x0, x1, +note);
CREATE VIRTUAL TABLE terms USING fts5vocab('words', 'row');
INSERT INTO words VALUES ('hello worlds', x'00ff'); INSERT INTO words(rowid, t) VALUES (77, 'x y z');
INSERT INTO words(words, rank) VALUES ('automerge', 4); DELETE FROM words WHERE rowid = 1;
INSERT INTO spoken(y, tongue) VALUES ('abc', 5);
INSERT INTO boxes VALUES (5, 0.1, 0.2, 'note'), (1, 1, 2, NULL);
INSERT INTO named VALUES ('a', 'b', 'c'); INSERT INTO "order by" VALUES (9), (3);
INSERT INTO "we""ird' n" VALUES ('k', 1), (2, 'x'); INSERT INTO strict VALUES (1, '2', x'03', 4, '5');
INSERT INTO key(rowid, a) VALUES (100, 'hundred'), (7, 'seven');
INSERT INTO counted(id, y, q) VALUES (3, 'three', 3), (90, 'ninety', NULL); DELETE FROM counted WHERE id = 90;
INSERT INTO over(over) VALUES ('rebuild');
PRAGMA user_version = -7; PRAGMA application_id = 99;
"""


def lines_of(path: Path, names: Sequence[str] = ()) -> tuple[bytes, list[str]]:
    header = database.read_header(path)
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        schema.load(connection, header)
        source = Contents(connection, header, names)
        return b"".join(portable.Lines(source)), source.warnings


def build(data: bytes, path: Path, deadline: float | None = None) -> portable.Export:
    path.unlink(missing_ok=True)
    path.touch()
    export = portable.Export(io.BytesIO(data))
    rebuilt.build(export, path, deadline=Deadline(deadline))
    return export


def check_round_trip(path: Path, names: Sequence[str] = ()) -> Path:
    """The new database tells the same lines, passes its check, and has the same rows by a query of its own."""
    data, _warnings = lines_of(path, names)
    other = path.with_name("other.db")

    export = build(data, other)

    again, _warnings = lines_of(other, names)
    assert again == data
    assert data.splitlines()[-1] == values.line({"end": True, "rows": export.rows, "sha256": export.sha256})[:-1]
    with contextlib.closing(sqlite3.connect(other)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return other


def make(path: Path, script: str, *, page_size: int = 4096, encoding: str = "UTF-8", vacuum: int = 0) -> Path:
    path.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for setting in (f"page_size={page_size}", f"encoding='{encoding}'", f"auto_vacuum={vacuum}", "synchronous=OFF"):
            connection.execute(f"PRAGMA {setting}")
        connection.executescript(script)
    return path


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_kind_of_table_and_value(tmp_path: Path, encoding: str) -> None:
    path = make(tmp_path / "odd.db", ODD, encoding=encoding, page_size=1024, vacuum=1)
    rows = [None, 2**63 - 1, -(2**63), 2**53, 1.0, -0.0, float("inf"), float("-inf"), float("nan"), b"\0\xff", b"", ""]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("DROP TRIGGER follows")
        connection.executemany(
            "INSERT INTO plain VALUES (?)", [(each,) for each in (*rows, "a\0b", "\ufeffü\U0010ffff")]
        )
        connection.execute("INSERT INTO plain VALUES (CAST(x'ff61' AS TEXT)), (CAST(x'00d86100' AS TEXT))")
        connection.execute("DELETE FROM plain WHERE rowid = 3")
        connection.execute("ANALYZE")
        connection.execute("PRAGMA journal_mode=WAL")

    other = check_round_trip(path)

    queries = (
        "SELECT rowid, typeof(x), CASE typeof(x) WHEN 'text' THEN hex(CAST(x AS BLOB)) ELSE quote(x) END FROM plain",
        "SELECT *, z, s FROM counted",
        'SELECT * FROM "we""ird\' n"',
        "SELECT rowid, * FROM key",
        "SELECT rowid, * FROM words WHERE words MATCH 'y'",
        "SELECT rowid FROM over WHERE over MATCH 'three'",
        "SELECT y, tongue FROM spoken",
        "SELECT * FROM boxes WHERE x0 > 0.5",
        "SELECT * FROM terms",
        "SELECT * FROM sqlite_sequence",
        "SELECT * FROM sqlite_stat1 ORDER BY tbl, idx",
        "SELECT k, v FROM words_config ORDER BY k",
        "SELECT type, name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name",
        *(f"PRAGMA {each}" for each in ("user_version", "application_id", "auto_vacuum", "page_size", "encoding")),
        "PRAGMA journal_mode",
    )
    found = []
    for each in (path, other):
        with contextlib.closing(sqlite3.connect(each)) as connection:
            found.append([connection.execute(query).fetchall() for query in queries])
    assert found[0] == found[1]


KINDS = ("(a, b)", "(a INTEGER PRIMARY KEY, b)", "(a PRIMARY KEY, b) WITHOUT ROWID", "(a INT, b TEXT)", "(a REAL, b)")


@settings(max_examples=60, deadline=None)
@given(
    page_size=st.sampled_from([512, 1024, 4096, 65536]),
    encoding=st.sampled_from(ENCODINGS),
    vacuum=st.integers(0, 2),
    kind=st.sampled_from(KINDS),
    rows=st.lists(
        st.tuples(
            st.integers(-(2**63), 2**63 - 1),
            st.one_of(
                st.none(),
                st.integers(-(2**63), 2**63 - 1),
                st.floats(),
                st.text(st.characters(blacklist_categories=("Cs",))),
                st.binary(max_size=3000),
                st.binary(max_size=20).map(lambda data: ("text", data)),
            ),
        ),
        max_size=20,
        unique_by=lambda row: (row[0], float(row[0])),
    ),
)
def test_any_rows_come_back(page_size: int, encoding: str, vacuum: int, kind: str, rows: list[tuple[int, Any]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = make(
            Path(directory, "any.db"), f"CREATE TABLE t{kind}", page_size=page_size, encoding=encoding, vacuum=vacuum
        )
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("BEGIN")
            for key, value in rows:
                is_raw = isinstance(value, tuple)
                word = "CAST(substr(?, 1) AS TEXT)" if is_raw else "?"
                connection.execute(f"INSERT INTO t VALUES (?, {word})", (key, value[1] if is_raw else value))
            connection.execute("COMMIT")

        check_round_trip(path)


def test_the_example_database(tmp_path: Path) -> None:
    agent_db.create(tmp_path / "agent.db", runs=20)

    check_round_trip(tmp_path / "agent.db")


def test_a_real_database(tmp_path: Path) -> None:
    """Chinook: the sample database of a shop, with keys of two columns, numbers and texts in many languages."""
    (tmp_path / "chinook.db").write_bytes(gzip.decompress(CHINOOK.read_bytes()))

    other = check_round_trip(tmp_path / "chinook.db")

    # The rows themselves, by a query that has nothing to do with the export.
    with contextlib.closing(sqlite3.connect(other)) as connection:
        connection.execute("ATTACH ? AS old", (str(tmp_path / "chinook.db"),))
        tables = [name for (name,) in connection.execute("SELECT name FROM old.sqlite_master WHERE type = 'table'")]
        assert "Track" in tables
        for name in tables:
            for one, two in (("main", "old"), ("old", "main")):
                only = f'SELECT rowid, * FROM {one}."{name}" EXCEPT SELECT rowid, * FROM {two}."{name}"'
                assert connection.execute(only).fetchall() == []


@pytest.mark.parametrize("content", ["", "PRAGMA user_version=3; CREATE TABLE t(a); DROP TABLE t"])
def test_a_database_without_a_table(tmp_path: Path, content: str) -> None:
    check_round_trip(make(tmp_path / "empty.db", content))


def test_some_tables_with_what_is_theirs(tmp_path: Path) -> None:
    path = make(tmp_path / "odd.db", ODD)

    other = check_round_trip(path, ["counted", "words"])

    with contextlib.closing(sqlite3.connect(other)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE sql NOT NULL AND name NOT GLOB 'words_*'")
        assert {name for (name,) in names} == {"counted", "part", "words", "sqlite_sequence"}
        assert connection.execute("SELECT * FROM sqlite_sequence").fetchall() == [("counted", 90)]


@pytest.mark.parametrize(
    "script",
    [
        "CREATE TABLE gone(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO gone VALUES (7); DROP TABLE gone",
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO t VALUES (7); DELETE FROM sqlite_sequence",
        "CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO sqlite_sequence VALUES ('nowhere', 'text')",
    ],
)
def test_the_numbers_of_autoincrement_are_those_that_were_there(tmp_path: Path, script: str) -> None:
    check_round_trip(
        make(tmp_path / "a.db", f"{script}; CREATE TABLE t2(a DEFAULT 'autoincrement'); CREATE TABLE counted0(a)")
    )
    check_round_trip(tmp_path / "a.db", ["t2"])


def test_an_index_without_texts_is_left_out_with_a_word(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db", "CREATE VIRTUAL TABLE bare USING fts5(x, content=''); INSERT INTO bare VALUES ('a b')"
    )

    _data, warnings = lines_of(path)
    other = check_round_trip(path)

    assert warnings == ["bare has no texts, only an index of them, which is left out"]
    with contextlib.closing(sqlite3.connect(other)) as connection:
        assert connection.execute("SELECT rowid FROM bare WHERE bare MATCH 'a'").fetchall() == []


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("others", ["", "DROP TABLE t"])
def test_a_virtual_table_of_an_unknown_module_is_written_down(tmp_path: Path, encoding: str, others: str) -> None:
    path = databases.with_missing_module(make(tmp_path / "a.db", f"CREATE TABLE t(a); {others}", encoding=encoding))

    other = check_round_trip(path)

    with contextlib.closing(sqlite3.connect(other)) as connection:
        query = "SELECT sql FROM sqlite_master WHERE name = 'virtual'"
        assert connection.execute(query).fetchall() == [("CREATE VIRTUAL TABLE virtual USING nowhere(a, b)",)]


def test_an_index_that_tells_other_rows_is_damage(tmp_path: Path) -> None:
    """SQLite counts in an index, where that is the smaller one."""
    wide = f"'{'x' * 900}'"
    script = f"CREATE TABLE t(a, b); INSERT INTO t VALUES (1, {wide}), (2, {wide}); CREATE INDEX i ON t(a);"
    path = make(tmp_path / "a.db", script)
    change = "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE INDEX i ON t(a)%s' WHERE name = 'i'"
    for more in (change % " WHERE a < 0", f"INSERT INTO t VALUES (3, {wide})", change % ""):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.executescript(more)

    with pytest.raises(SourceCorruptError, match="has 3 rows, and 2 by its index"):
        lines_of(path)


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE abcd(x)")
    path.write_bytes(path.read_bytes().replace(b"abcd", b"ab\xffd"))

    with pytest.raises(UsageError, match="not UTF-8"):
        lines_of(path)


def test_a_row_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(2000))")
    data, _warnings = lines_of(path)
    monkeypatch.setattr(portable, "LONGEST_LINE_BYTES", 1000)

    with pytest.raises(RefusedError, match=r"a row of 't' takes 2\.6 KiB, which is too long"):
        lines_of(path)
    monkeypatch.setattr(files, "CHUNK_BYTES", 100)
    with pytest.raises(BackupDamagedError, match="a line of it is too long"):
        build(data, tmp_path / "other.db")


def test_a_row_of_too_many_values(tmp_path: Path) -> None:
    columns = ", ".join(f"c{number}" for number in range(2000))
    path = make(tmp_path / "a.db", f"CREATE TABLE t({columns}); INSERT INTO t(c0) VALUES (1)")

    with pytest.raises(RefusedError, match="the table 't' has so many columns"):
        lines_of(path)


# What somebody else may have written.

SETTINGS = {"page_size": 4096, "encoding": "UTF-8", "auto_vacuum": 0, "journal_mode": "rollback"}
FIRST = {"sqlite_export": 2, **SETTINGS, "user_version": 0, "application_id": 0}


def sealed(*told: object) -> bytes:
    """Lines with the right end, and with the number of the parts of the schema in the first, unless that has one."""
    lines = [each if isinstance(each, bytes) else values.line(each) for each in told]
    if isinstance(told[0], dict):
        parts = sum(each.startswith(b'{"type"') for each in lines)
        lines[0] = values.line({**told[0], "objects": told[0].get("objects", parts)})
    data = b"".join(lines)
    rows = sum(isinstance(each, list) or (isinstance(each, bytes) and each.startswith(b"[")) for each in told)
    return data + values.line({"end": True, "rows": rows, "sha256": hashlib.sha256(data).hexdigest()})


def table(sql: str, name: str = "t", rows: int = 0, columns: Any = (("a", ""),), **more: Any) -> dict[str, Any]:
    return {"type": "table", "name": name, "sql": sql, "rowid": True, "columns": columns, "rows": rows, **more}


GOOD = (table("CREATE TABLE t(a)", rows=1), {"rows_of": "t"}, [1, "x"])
FULL_TEXT = (
    b'{"type":"virtual","name":"t","sql":"CREATE VIRTUAL TABLE t USING fts5(a)","rowid":true,"columns":[["a",""]],'
    b'"rows":0,"settings":[["rank","\\ud800"]]}\n'
)


def test_what_the_others_are_compared_with_is_taken(tmp_path: Path) -> None:
    assert build(sealed(FIRST, *GOOD), tmp_path / "a.db").rows == 1


@pytest.mark.parametrize("place", range(0, 380, 7))
def test_a_file_that_was_cut_is_told(tmp_path: Path, place: int) -> None:
    data = sealed(FIRST, *GOOD)

    with pytest.raises((BackupDamagedError, SourceMissingError)):
        build(data[: len(data) - 1 - place], tmp_path / "a.db")


def test_each_changed_byte_is_told(tmp_path: Path) -> None:
    data = sealed(FIRST, *GOOD)
    for place in range(0, len(data), 5):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises((BackupDamagedError, SourceMissingError, ProgramMissingError)):
            build(bytes(changed), tmp_path / "a.db")


@pytest.mark.parametrize(
    "told",
    [
        ({**FIRST, "page_size": 1000},),
        ({**FIRST, "page_size": True},),
        ({**FIRST, "encoding": "x'; ATTACH 'y' AS z"},),
        ({**FIRST, "user_version": "1; DROP TABLE x"},),
        ({**FIRST, "user_version": 2**31},),
        ({**FIRST, "more": 1},),
        ({**FIRST, "tables": "t"},),
        ({**FIRST, "left_out": "sqlite_stat4"},),
        ({**FIRST, "left_out": ["t"]},),
        ({**FIRST, "objects": 2}, *GOOD),
        ({**FIRST, "objects": 0}, *GOOD),
        ({**FIRST, "objects": None},),
        (FIRST, GOOD[0], {"type": "made", "name": "t_data", "table": "t"}, *GOOD[1:]),
        (FIRST, {"type": "virtual", "name": "v", "sql": "CREATE VIRTUAL TABLE v USING rtree(i, a, b)"}),
        (FIRST, table("CREATE TABLE t(a); DROP TABLE t")),
        (FIRST, table("CREATE TABLE other(a)")),
        (FIRST, table("CREATE TABLE t(a, b)")),
        (FIRST, table("CREATE TEMP TABLE t(a)")),
        (FIRST, table("CREATE TABLE IF NOT EXISTS t(a)")),
        (FIRST, table("CREATE TABLE t AS SELECT 1 AS a")),
        (FIRST, table("CREATE TABLE t AS WITH RECURSIVE x(a) AS (SELECT 1 UNION ALL SELECT a FROM x) SELECT a FROM x")),
        (FIRST, table("CREATE TABLE sqlite_x(a)", name="sqlite_x")),
        (FIRST, table("ATTACH 'other.db' AS t")),
        (FIRST, table("PRAGMA writable_schema=ON")),
        (FIRST, table("CREATE TABLE t(a CHECK (load_extension(a)))")),
        (FIRST, table("CREATE TABLE t(a)", columns=[["a"]])),
        (FIRST, table("CREATE TABLE t(a)", columns=1)),
        (FIRST, table("CREATE TABLE t(a)", rows=-1)),
        (FIRST, table("CREATE TABLE t(a)", rows=2), *GOOD[1:]),
        (FIRST, table("CREATE TABLE t(a)", rows=0), *GOOD[1:]),
        (FIRST, table("CREATE TABLE t(a)", rowid=False), {"rows_of": "t"}),
        (FIRST, *GOOD[:2], [1, "x", 3]),
        (FIRST, *GOOD[:2], [1, {"what": "x"}]),
        (FIRST, *GOOD[:2], ["one", "x"]),
        (FIRST, *GOOD[:2], b'[1,"\\ud800"]\n'),
        (FIRST, *GOOD[:2], b'[1,"\\uDFFF"]\n'),
        (FIRST, FULL_TEXT, {"rows_of": "t"}),
        (FIRST, {"rows_of": "t"}),
        (FIRST, {"type": "trigger", "name": "t", "sql": "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; END"}),
        (FIRST, {"type": "view", "name": "v", "sql": "CREATE VIEW v AS SELECT 1"}, GOOD[0], *GOOD[1:]),
        (FIRST, {"type": "view", "name": "v", "sql": "CREATE TEMP VIEW v AS SELECT 1"}),
        (FIRST, {"type": "virtual", "name": "v", "sql": "CREATE VIRTUAL TABLE w USING nowhere(a)"}),
        (FIRST, {"type": "virtual", "name": "v", "sql": "CREATE VIRTUAL TABLE v USING nowhere(a); DROP TABLE v"}),
        (FIRST, {"type": "virtual", "name": "v", "sql": "CREATE TABLE v(a)"}),
        (FIRST, {"type": "virtual", "name": "v", "sql": "CREATE VIRTUAL TABLE v USING fts5(a); DROP TABLE v"}),
        (FIRST, {"type": "internal", "name": "sqlite_master", "rowid": False, "columns": [], "rows": 0}),
        (FIRST, {"type": "internal", "name": "t", "rowid": False, "columns": [["a", ""]], "rows": 0}),
        (FIRST, {"type": "what", "name": "t"}),
        (FIRST, [1]),
    ],
)
def test_what_others_wrote_is_refused(tmp_path: Path, told: tuple[object, ...]) -> None:
    path = tmp_path / "a.db"
    rows_of = [{"rows_of": each["name"]} for each in told if isinstance(each, dict) and each.get("rows") == 0]

    with pytest.raises(BackupDamagedError):
        build(sealed(*told, *rows_of), path, deadline=60)

    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"", "no export"),
        (b"SQLite format 3\0\n", "no export"),
        (b'{"sqlite_export":1,' + b"[" * 100_000 + b"\n", "no line of an export"),
        (b'{"sqlite_export":NaN}\n', "no line of an export"),
        (b'{"sqlite_export":1}\n', "its format is 1, and not 2.*Make the export again"),
        (b'{"sqlite_export":3}\n', "its format is 3, and not 2.*Update the collection"),
    ],
)
def test_what_is_no_export(tmp_path: Path, line: bytes, told: str) -> None:
    with pytest.raises((SourceMissingError, BackupDamagedError, ProgramMissingError), match=told):
        build(line, tmp_path / "a.db")


@pytest.mark.parametrize("piece", [b"[],", b'"",', b'{"a":"b"},', b"0,", b'"\\"\\\\",'])
def test_a_line_of_millions_of_values_is_not_made_into_them(tmp_path: Path, piece: bytes) -> None:
    line = b'{"type":"table","columns":[' + piece * (8_000_000 // len(piece)) + b"0]}\n"
    tracemalloc.start()
    try:
        with pytest.raises(BackupDamagedError, match="line 2: that is no line of an export"):
            build(sealed(FIRST, line), tmp_path / "a.db")
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_a_module_that_is_not_there_is_named(tmp_path: Path) -> None:
    told = {"type": "virtual", "name": "v", "sql": "CREATE VIRTUAL TABLE v USING fts5(a, tokenize='nowhere')"}

    with pytest.raises((ProgramMissingError, BackupDamagedError), match="nowhere|no such tokenizer"):
        build(
            sealed(FIRST, {**told, "rowid": True, "columns": [["a", ""]], "rows": 0}, {"rows_of": "v"}), tmp_path / "a"
        )


def test_a_trigger_does_not_run_and_a_foreign_key_is_not_asked(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db", "CREATE TABLE p(a PRIMARY KEY); CREATE TABLE c(a REFERENCES p(a)); INSERT INTO c VALUES (7)"
    )
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON c BEGIN DELETE FROM c; END")

    check_round_trip(path)


def test_a_row_that_breaks_a_check_of_today_comes_back(tmp_path: Path) -> None:
    path = make(
        tmp_path / "a.db",
        "PRAGMA ignore_check_constraints=ON; CREATE TABLE t(a CHECK (a > 0)); INSERT INTO t VALUES (-1)",
    )
    data, _warnings = lines_of(path)

    build(data, tmp_path / "other.db")

    assert lines_of(tmp_path / "other.db")[0] == data


def test_it_ends_at_its_deadline(tmp_path: Path) -> None:
    rows = 3000
    data = sealed(FIRST, table("CREATE TABLE t(a)", rows=rows), {"rows_of": "t"}, *([n + 1, n] for n in range(rows)))

    with pytest.raises(SourceBusyError):
        build(data, tmp_path / "a.db", deadline=0.0)


def test_a_small_file_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=17 * 1024 * 1024))
    big = [1, {"blob": values.encoded(bytes(2_000_000))}]
    told = table("CREATE TABLE t(a)", rows=2)

    with pytest.raises(NoSpaceError):
        build(sealed(FIRST, told, {"rows_of": "t"}, big, [2, *big[1:]]), tmp_path / "a.db")


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Batches, not tables: the longest list of rows that is ever held is one of them."""
    rows = 5_000
    data = sealed(FIRST, table("CREATE TABLE t(a)", rows=rows), {"rows_of": "t"}, *([n, n] for n in range(1, rows + 1)))

    (found,) = ([len(each) for each in batches] for _table, batches in portable.Export(io.BytesIO(data)).tables())

    assert (sum(found), max(found)) == (rows, 1000)


def test_the_parts_are_in_their_order(tmp_path: Path) -> None:
    data, _warnings = lines_of(make(tmp_path / "odd.db", ODD))

    kinds = [told["type"] for line in data.splitlines() if line.startswith(b'{"type"') and (told := json.loads(line))]

    assert list(dict.fromkeys(kinds)) == list(contents.ORDER)


# Virtual tables, and tables that only sound like theirs.

VIRTUAL = (
    *("fts3(a)", "fts3(a, content='x')", "fts4(a)", "fts4(a, matchinfo=fts3)", "fts4(a, languageid=__langid)"),
    *("fts5(a)", "fts5(a, columnsize=0)", "fts5(a, detail=none)", "fts5(a /*, content= */)", "rtree(i, a, b)"),
    *("fts5(a, tokenize=\"unicode61 separators ',content=x'\")", "fts5(a, content='t')", "fts5(a, c=t)", "dbstat"),
    *("fts4(content='t')", "fts4(a, content='t', languageid='l', b)"),
)
USUAL = (
    "content",
    "segments",
    "segdir",
    "docsize",
    "stat",
    "data",
    "idx",
    "config",
    "node",
    "parent",
    "rowid",
    "other",
)
FILLED = {
    "fts3": "INSERT INTO f(rowid, a) VALUES (-5, 'hello'), (7, NULL)",
    "fts4": "INSERT INTO f(rowid, a) VALUES (-5, 'hello'), (7, x'00')",
    "fts5": "INSERT INTO f(rowid, a) VALUES (-5, 'hello'), (7, 1.5)",
    "rtree": "INSERT INTO f VALUES (1, 2, 3)",
    "dbstat": "SELECT 1",
}


def everything(path: Path) -> dict[str, Any]:
    """The whole schema, and the rows of what no module keeps for itself, by queries of their own."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        schema = connection.execute("SELECT type, name, tbl_name FROM sqlite_master ORDER BY type, name").fetchall()
        ordinary = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql LIKE '%mine%' ORDER BY name"
        ).fetchall()
        rows = {name: connection.execute(f"SELECT rowid, * FROM {name}").fetchall() for (name,) in ordinary}
        return {"schema": schema, **rows}


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(VIRTUAL), st.sets(st.sampled_from(USUAL)), st.integers(-(2**63), 2**63 - 1))
def test_tables_that_sound_like_those_of_a_virtual_one(virtual: str, parts: set[str], rowid: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = make(
            Path(directory, "any.db"),
            "CREATE TABLE t(mine, a, b, l); INSERT INTO t VALUES ('m', 'hello', 2, 3);"
            f"CREATE VIRTUAL TABLE f USING {virtual};"
            + (FILLED[virtual.partition("(")[0]] if "=t" not in virtual.replace("'", "") else "SELECT 1"),
        )
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for part in sorted(parts):
                with contextlib.suppress(sqlite3.OperationalError):
                    connection.execute(f"CREATE TABLE f_{part}(mine)")
                    connection.execute(f"CREATE INDEX mine_{part} ON f_{part}(mine)")
                    connection.execute(f"INSERT INTO f_{part}(rowid, mine) VALUES ({rowid}, 'mine')")

        other = check_round_trip(path)

        assert everything(other) == everything(path)


def test_an_index_and_a_trigger_on_what_a_module_keeps(tmp_path: Path) -> None:
    script = """CREATE VIRTUAL TABLE f USING fts5(a); INSERT INTO f VALUES ('x'); CREATE INDEX i ON f_content(c0);
    CREATE TABLE log(mine); CREATE TRIGGER r AFTER INSERT ON f_content BEGIN INSERT INTO log VALUES (new.id); END"""
    path = make(tmp_path / "a.db", script)

    assert everything(check_round_trip(path)) == everything(path)
    names = {each[1] for each in everything(check_round_trip(path, ["f"]))["schema"]}
    assert {"f", "i", "f_content"} <= names
    assert "log" not in names


@pytest.mark.parametrize(
    ("virtual", "more", "query"),
    [
        ("fts4(a, languageid=__langid)", "INSERT INTO f(a, __langid) VALUES ('hello', 7)", "SELECT a, __langid FROM f"),
        (
            "fts4(a, languageid='L')",
            "INSERT INTO f(a, l) VALUES ('hello', 7)",
            "SELECT a, L FROM f WHERE f MATCH 'hello' AND L = 7",
        ),
        ("fts4(a)", "INSERT INTO f(f) VALUES ('automerge=5')", "SELECT value FROM f_stat WHERE id = 2"),
        ("fts3(a)", "INSERT INTO f(f) VALUES ('automerge=5')", "SELECT value FROM f_stat WHERE id = 2"),
        ("fts3(a, content='x')", "INSERT INTO f VALUES ('hello', 'you')", "SELECT * FROM f"),
        ("fts4(content='v')", "INSERT INTO f(f) VALUES ('rebuild')", "SELECT docid FROM f WHERE f MATCH 'seen'"),
    ],
)
def test_what_a_full_text_table_has_beside_its_texts(tmp_path: Path, virtual: str, more: str, query: str) -> None:
    script = f"CREATE VIEW v AS SELECT 1 AS rowid, 'seen' AS a; CREATE VIRTUAL TABLE f USING {virtual}; {more};"
    path = make(tmp_path / "a.db", script)

    other = check_round_trip(path)

    found = []
    for each in (path, other):
        with contextlib.closing(sqlite3.connect(each)) as connection:
            found.append(connection.execute(query).fetchall())
    assert found[0] == found[1] != []


@pytest.mark.parametrize(
    ("script", "error", "told"),
    [
        ("CREATE VIRTUAL TABLE f USING fts4(a, compress=upper, uncompress=lower)", RefusedError, "option 'compress'"),
        (
            "CREATE VIRTUAL TABLE f USING fts4(a); INSERT INTO f(a, __langid) VALUES ('x', 1)",
            RefusedError,
            "rows of 'f' have languages that it does not keep",
        ),
        (
            "CREATE TABLE t(a); CREATE VIRTUAL TABLE f USING fts4(content=t); DROP TABLE t",
            RefusedError,
            "the table 'f' cannot be read: .*no such table",
        ),
        (
            (
                "CREATE VIRTUAL TABLE f USING fts5(a); PRAGMA writable_schema=ON; UPDATE sqlite_master "
                "SET sql = 'CREATE VIRTUAL TABLE f USING fts5(a, tokenize=nowhere)' WHERE name = 'f'"
            ),
            ProgramMissingError,
            "the table 'f' cannot be read by this SQLite: no such tokenizer",
        ),
    ],
)
def test_what_cannot_be_written_down_is_refused(tmp_path: Path, script: str, error: type[Exception], told: str) -> None:
    path = make(tmp_path / "a.db", f"CREATE TABLE good(a); {script}")

    with pytest.raises(error, match=told):
        lines_of(path)

    check_round_trip(path, ["good"])


@pytest.mark.parametrize(
    ("of", "hint"), [("t", "Name t, too"), ("v", "comes only with all tables. Leave out f"), ("T", "Name t, too")]
)
def test_the_texts_come_with_their_index_or_not_at_all(tmp_path: Path, of: str, hint: str) -> None:
    script = (
        "CREATE TABLE t(a); CREATE VIEW v AS SELECT rowid, a FROM t; CREATE VIRTUAL TABLE f USING fts5(a, content=%s)"
    )
    path = make(tmp_path / "a.db", script % of)

    with pytest.raises(UsageError) as raised:
        lines_of(path, ["f"])

    assert hint in str(raised.value)
    check_round_trip(path, ["t"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("INSERT INTO f(f) VALUES ('rebuild')", []),
        ("DROP TABLE t", ["the texts of f are in t, which is not there: its index is left out"]),
        ("SELECT 1", ["the index of f is not of just the rows of t: an import makes it of all of them"]),
        (
            "INSERT INTO f(f) VALUES ('rebuild'); DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (3, 'z')",
            ["the index of f is not of just the rows of t: an import makes it of all of them"],
        ),
    ],
)
@pytest.mark.parametrize("virtual", ["fts5(a, content='t', content_rowid=id)", "fts4(a, content='t')"])
def test_an_index_of_other_rows_is_told(tmp_path: Path, virtual: str, change: str, told: list[str]) -> None:
    script = "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES (1, 'x'), (2, 'y')"
    path = make(tmp_path / "a.db", f"{script}; CREATE VIRTUAL TABLE f USING {virtual}; {change}")

    assert lines_of(path)[1] == told
    check_round_trip(path)


def test_a_null_where_none_may_be_is_told(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t(a, b, c); INSERT INTO t VALUES (1, NULL, 2), (NULL, NULL, 2)")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = 'CREATE TABLE t(a, b NOT NULL, c NOT NULL)'"
        )

    data, warnings = lines_of(path)

    assert len(warnings) == 1
    assert warnings[0].startswith("the column b of t is NOT NULL and holds NULL: no import takes that")
    with pytest.raises(rebuilt.UnbuiltError, match="NOT NULL constraint failed: t.b"):
        build(data, tmp_path / "other.db")


def test_statistics_that_are_left_out_are_named(tmp_path: Path) -> None:
    path = make(tmp_path / "a.db", "CREATE TABLE t(a); CREATE INDEX i ON t(a); INSERT INTO t VALUES (1); ANALYZE")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "CREATE TABLE stat4(tbl, idx, neq, nlt, ndlt, sample); PRAGMA writable_schema=ON;"
            "UPDATE sqlite_master SET name = 'sqlite_stat4', tbl_name = 'sqlite_stat4',"
            "sql = 'CREATE TABLE sqlite_stat4(tbl, idx, neq, nlt, ndlt, sample)' WHERE name = 'stat4'"
        )

    data, warnings = lines_of(path)
    export = build(data, tmp_path / "other.db")

    assert warnings == ["sqlite_stat4 is left out: ANALYZE makes such statistics again"]
    assert export.left_out == ("sqlite_stat4",)


def said_of(script: str, path: Path) -> str:
    make(path, script)
    header = database.read_header(path)
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        schema.load(connection, header)
        return rebuilt.rehearse(Contents(connection, header), seconds=60)


def test_what_an_import_takes_passes_a_rehearsal(tmp_path: Path) -> None:
    assert said_of(ODD, tmp_path / "a.db") == ""


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            (
                "CREATE VIEW v AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3) "
                "SELECT n AS rowid, 'w' || n AS a FROM c; CREATE VIRTUAL TABLE f USING fts5(a, content='v')"
            ),
            "SQLite refuses what it tells",
        ),
        (
            (
                "CREATE TABLE t(a); CREATE VIEW v AS SELECT 1; PRAGMA writable_schema=ON;"
                "UPDATE sqlite_master SET sql = 'CREATE TEMP VIEW v AS SELECT 1' WHERE name = 'v'"
            ),
            "the view 'v' is not what its SQL makes",
        ),
    ],
)
def test_a_rehearsal_says_what_an_import_would(tmp_path: Path, script: str, told: str) -> None:
    assert told in said_of(script, tmp_path / "a.db")
    data, _warnings = lines_of(tmp_path / "a.db")

    with pytest.raises(BackupDamagedError, match=told):
        build(data, tmp_path / "other.db")


def test_a_rehearsal_names_what_this_sqlite_lacks(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("ours", 1, lambda value: value, deterministic=True)
        connection.executescript("CREATE TABLE t(a); INSERT INTO t VALUES (1); CREATE INDEX i ON t(ours(a))")
    header = database.read_header(path)
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        schema.load(connection, header)
        said = rebuilt.rehearse(Contents(connection, header), seconds=60)

    assert "no such function: ours" in said
