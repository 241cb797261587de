# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two SQLite files, whatever their schemas hold."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import difference
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.difference import Differences, Table
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    SourceBusyError,
    SourceCorruptError,
    UsageError,
)

Compare = Callable[..., Differences]


def made(path: Path, script: str) -> Path:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(script)
    return path


@pytest.fixture
def compare(tmp_path: Path) -> Compare:
    """The differences of a database made by the SQL ``before`` and one made by ``after``."""

    def differences(before: str, after: str, *tables: str, common: str = "") -> Differences:
        sides = [made(tmp_path / f"{name}.db", common + sql) for name, sql in (("old", before), ("new", after))]
        place = tmp_path / "place"
        place.mkdir()
        return difference.between(sides[0], sides[1], place, tables=tables)

    return differences


def only(found: Differences) -> Table:
    (table,) = found.tables
    return table


def numbers(table: Table) -> tuple[int | None, ...]:
    return table.added, table.removed, table.changed


def test_two_alike_are_identical(compare: Compare) -> None:
    found = compare("", "", common="CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(v) VALUES (1), (NULL);")

    assert found.identical
    assert (only(found).change, numbers(only(found)), only(found).rows_before) == ("same", (0, 0, 0), 2)


KEYED = "VALUES (1, 'a'), (2, 'b'), (3, 'c');"
OTHER = "VALUES (2, 'b'), (3, 'other'), (4, 'd'), (5, 'e');"


@pytest.mark.parametrize(
    "columns",
    [
        "(k INTEGER PRIMARY KEY, v)",
        "(k INT PRIMARY KEY, v)",
        "(k PRIMARY KEY, v) WITHOUT ROWID",
        "(k, v, PRIMARY KEY (k DESC)) WITHOUT ROWID",
        "(k TEXT COLLATE NOCASE PRIMARY KEY, v)",
        '("rowid" INTEGER PRIMARY KEY, "we""ird; --" TEXT)',
    ],
)
def test_rows_are_known_by_their_key(compare: Compare, columns: str) -> None:
    found = compare(f"INSERT INTO t {KEYED}", f"INSERT INTO t {OTHER}", common=f"CREATE TABLE t{columns};")

    assert numbers(only(found)) == (2, 1, 1)
    assert (only(found).by, only(found).rows_before, only(found).rows_after) == ("primary key", 3, 4)


def test_rows_of_a_table_without_a_key_are_known_by_their_rowid(compare: Compare) -> None:
    found = compare("", "UPDATE t SET v = 9 WHERE k = 1; DELETE FROM t WHERE k = 2;",
                    common=f"CREATE TABLE t(k, v); INSERT INTO t {KEYED}")  # fmt: skip

    assert (only(found).by, numbers(only(found))) == ("rowid", (0, 1, 1))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("CREATE TABLE t(rowid, oid, _rowid_);", "CREATE TABLE t(rowid, oid, _rowid_);"),
        ("CREATE TABLE t(a PRIMARY KEY, b, c);", "CREATE TABLE t(a, b PRIMARY KEY, c);"),
        ("CREATE TABLE t(a PRIMARY KEY, b, c);", "CREATE TABLE t(a COLLATE NOCASE PRIMARY KEY, b, c);"),
        ("CREATE TABLE t(a TEXT PRIMARY KEY, b, c);", "CREATE TABLE t(a BLOB PRIMARY KEY, b, c);"),
        ("CREATE TABLE t(a TEXT PRIMARY KEY, b, c);INSERT INTO t VALUES (NULL, 8, 8);",
         "CREATE TABLE t(a TEXT PRIMARY KEY, b, c); INSERT INTO t VALUES (NULL, 8, 8), (NULL, 9, 9);"),
    ],
)  # fmt: skip
def test_whole_rows_are_compared_where_no_key_tells_them_apart(compare: Compare, before: str, after: str) -> None:
    more = 1 if "NULL" in after else 0
    found = compare(
        f"{before} INSERT INTO t VALUES ('1', 2, 3), ('4', 5, NULL);",
        f"{after} INSERT INTO t VALUES ('4', 5, NULL), ('1', 2, 4), ('7', 7, 7);",
    )

    assert (only(found).by, numbers(only(found))) == ("whole rows", (2 + more, 1, 0))


def test_a_row_counts_as_often_as_it_is_there(compare: Compare) -> None:
    found = compare(
        "INSERT INTO t VALUES (1, 1, NULL), (1, 1, NULL), (1, 1, NULL);",
        "INSERT INTO t VALUES (1, 1, NULL), (1.0, 1, NULL);",
        common="CREATE TABLE t(rowid, oid, _rowid_);",
    )

    assert numbers(only(found)) == (1, 2, 0)


@pytest.mark.parametrize("columns", ["(k INTEGER PRIMARY KEY, v{})", "(v{} , rowid, oid, _rowid_)"])
@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("1", "1.0", ""),
        ("1", "'1'", ""),
        ("'a'", "x'61'", ""),
        ("'a'", "'A'", " TEXT COLLATE NOCASE"),
        ("'a'", "'a '", " TEXT COLLATE RTRIM"),
        ("NULL", "0", ""),
        ("NULL", "''", ""),
        ("'a' || char(0) || 'b'", "'a' || char(0) || 'c'", ""),
    ],
)
def test_values_that_are_only_similar_differ(compare: Compare, columns: str, one: str, other: str, kind: str) -> None:
    found = compare(
        f"INSERT INTO t(v) VALUES ({one});",
        f"INSERT INTO t(v) VALUES ({other});",
        common=f"CREATE TABLE t{columns.format(kind)};",
    )

    assert numbers(only(found)) == ((0, 0, 1) if columns.startswith("(k") else (1, 1, 0))


def test_the_case_of_a_key_is_a_change_of_its_row(compare: Compare) -> None:
    common = "CREATE TABLE t(k TEXT COLLATE NOCASE PRIMARY KEY);"

    found = compare("INSERT INTO t VALUES ('a');", "INSERT INTO t VALUES ('A');", common=common)

    assert numbers(only(found)) == (0, 0, 1)


def test_a_migration_shows_in_schema_and_columns_not_in_every_row(compare: Compare) -> None:
    found = compare(
        "CREATE INDEX i ON t(v); CREATE VIEW w AS SELECT 1;",
        "ALTER TABLE t ADD COLUMN n DEFAULT 5; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END;"
        "UPDATE t SET v = 9 WHERE k = 1; PRAGMA user_version = 7; PRAGMA application_id = 8; CREATE TABLE u(a);",
        common=f"CREATE TABLE t(k INTEGER PRIMARY KEY, v); INSERT INTO t {KEYED}",
    )

    table, added = found.tables
    assert (table.change, numbers(table), table.columns_added) == ("changed", (0, 0, 1), ["n"])
    assert (added.name, added.change, added.rows_after) == ("u", "added", 0)
    assert found.header == {"user_version": [0, 7], "application_id": [0, 8]}
    assert [(each.type, each.name, each.change) for each in found.schema] == [
        ("index", "i", "removed"),
        ("table", "t", "changed"),
        ("table", "u", "added"),
        ("trigger", "g", "added"),
        ("view", "w", "removed"),
    ]
    assert found.schema[0].before == "CREATE INDEX i ON t(v)"
    assert not found.identical


def test_a_column_that_went_is_named(compare: Compare) -> None:
    found = compare(
        "CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 2);", "CREATE TABLE t(a); INSERT INTO t VALUES (1);"
    )

    assert (only(found).columns_removed, numbers(only(found)), only(found).change) == (["b"], (0, 0, 0), "changed")


def test_tables_without_a_common_column_cannot_be_compared(compare: Compare) -> None:
    found = compare("CREATE TABLE t(a);", "CREATE TABLE t(b);")

    assert (only(found).change, only(found).trouble) == ("unknown", "the two have no column in common")
    assert numbers(only(found)) == (None, None, None)


def test_only_the_tables_that_are_asked_for(compare: Compare) -> None:
    found = compare("", "CREATE INDEX i ON a(x); CREATE INDEX j ON b(x); INSERT INTO b VALUES (1);", "a",
                    common="CREATE TABLE a(x); CREATE TABLE b(x);")  # fmt: skip

    assert [each.name for each in found.tables] == ["a"]
    assert [each.name for each in found.schema] == ["i"]


def test_a_table_that_is_in_neither_is_a_mistake(compare: Compare) -> None:
    with pytest.raises(UsageError, match="there is no table 'nowhere' in either of them"):
        compare("", "", "nowhere", common="CREATE TABLE a(x);")


def test_generated_columns_count_where_they_are_stored(compare: Compare) -> None:
    common = "CREATE TABLE t(k INTEGER PRIMARY KEY, a, v AS (abs(a)) VIRTUAL, s AS (abs(a)) STORED);"

    found = compare("INSERT INTO t(a) VALUES (-9223372036854775807);", "INSERT INTO t(a) VALUES (3);", common=common)

    assert numbers(only(found)) == (0, 0, 1)


def test_what_is_computed_anew_is_not_looked_at(tmp_path: Path) -> None:
    """It may need a function that only the application has."""
    sides = [tmp_path / "a.db", tmp_path / "b.db"]
    for each in sides:
        with contextlib.closing(sqlite3.connect(each, isolation_level=None)) as connection:
            connection.create_function("own", 1, abs, deterministic=True)
            connection.execute("CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT, v AS (own(a)))")
            connection.execute("INSERT INTO t VALUES (1)")

    found = difference.between(sides[0], sides[1], tmp_path)

    assert (only(found).name, only(found).change) == ("t", "same")


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-16be"])
def test_other_encodings(compare: Compare, encoding: str) -> None:
    common = f"PRAGMA encoding='{encoding}'; CREATE TABLE 'ä\"' (k TEXT PRIMARY KEY, v);"

    found = compare("INSERT INTO 'ä\"' VALUES ('ü', 1);", "INSERT INTO 'ä\"' VALUES ('ü', 2);", common=common)

    assert (only(found).name, numbers(only(found))) == ('ä"', (0, 0, 1))


def test_an_empty_database_beside_one_in_utf_16(compare: Compare, tmp_path: Path) -> None:
    found = compare("", "PRAGMA encoding='UTF-16le'; CREATE TABLE t(a); INSERT INTO t VALUES ('ü');")

    assert (tmp_path / "old.db").stat().st_size == 0
    assert (only(found).change, only(found).added) == ("added", 1)


def test_two_encodings_are_told_and_not_compared(compare: Compare) -> None:
    with pytest.raises(UsageError, match="encoded as UTF-8 and UTF-16le"):
        compare("CREATE TABLE t(a);", "PRAGMA encoding='UTF-16le'; CREATE TABLE t(a);")


def test_a_table_as_wide_as_they_come(compare: Compare) -> None:
    columns = ", ".join(f"c{number}" for number in range(900))

    found = compare("INSERT INTO t(c899) VALUES (1);", "INSERT INTO t(c899) VALUES (2);",
                    common=f"CREATE TABLE t(k INTEGER PRIMARY KEY, {columns});")  # fmt: skip

    assert numbers(only(found)) == (0, 0, 1)


def declare(path: Path, kind: str, name: bytes, root: str, sql: str) -> None:
    """Write a line into the schema that no SQLite would."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            f"INSERT INTO sqlite_master VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), {root}, ?)",
            (kind, name, name, sql),
        )
        version = connection.execute("PRAGMA schema_version").fetchone()[0]
        connection.execute(f"PRAGMA schema_version={version + 1}")


@pytest.mark.parametrize(
    ("lines", "trouble"),
    [
        ([("view", b"v", "0", "CREATE VIEW v AS SELECT abs(-9223372036854775807 - 1) AS a"),
          ("table", b"v", "2", "CREATE TABLE other(a)")], "not authorized|prohibited"),
        ([("table", b"v", "2", "CREATE VIEW v AS SELECT 1 AS a")], "no such table|not authorized|prohibited"),
        ([("table", b"x", "2", "CREATE TABLE nonsense")], "no such table"),
        ([("table", b"\xff", "2", 'CREATE TABLE "x"(a)')], "cannot be written in SQL"),
        ([("table", b"a\0b", "2", "CREATE TABLE q(a)")], "cannot be written in SQL"),
    ],
)  # fmt: skip
def test_a_hostile_schema_is_told_and_the_rest_is_compared(
    tmp_path: Path, lines: list[tuple[str, bytes, str, str]], trouble: str
) -> None:
    sides = [made(tmp_path / f"{each}.db", "CREATE TABLE good(a); INSERT INTO good VALUES (1);") for each in "ab"]
    made(sides[1], "INSERT INTO good VALUES (2);")
    for each in sides:
        for line in lines:
            declare(each, *line)

    found = difference.between(sides[0], sides[1], tmp_path)

    tables = {each.name: each for each in found.tables}
    assert numbers(tables.pop("good")) == (1, 0, 0)
    (odd,) = tables.values()
    assert odd.change == "unknown"
    assert re.search(trouble, odd.trouble), odd.trouble


def test_virtual_tables_are_compared_by_their_own_tables(compare: Compare) -> None:
    common = "CREATE VIRTUAL TABLE f USING fts5(a);"

    found = compare("", "INSERT INTO f VALUES ('word');", common=common)

    changed = {each.name for each in found.tables if each.change != "same"}
    assert "f" not in {each.name for each in found.tables}
    assert {"f_content", "f_docsize"} <= changed


def test_an_order_that_only_the_application_knows(tmp_path: Path) -> None:
    sides = [tmp_path / "a.db", tmp_path / "b.db"]
    for number, each in enumerate(sides):
        with contextlib.closing(sqlite3.connect(each, isolation_level=None)) as connection:
            connection.create_collation("own", lambda a, b: (a > b) - (a < b))
            connection.execute("CREATE TABLE t(k TEXT COLLATE own PRIMARY KEY, v)")
            connection.execute("INSERT INTO t VALUES ('a', ?)", (number,))

    found = difference.between(sides[0], sides[1], tmp_path)

    assert (only(found).by, numbers(only(found))) == ("whole rows", (1, 1, 0))


def test_nothing_is_written_to_either(compare: Compare, tmp_path: Path) -> None:
    compare("PRAGMA journal_mode=WAL; CREATE TABLE t(a);", "CREATE TABLE t(a);")

    assert sorted(each.name for each in tmp_path.iterdir()) == ["new.db", "old.db", "place"]


def test_it_ends_at_its_deadline(tmp_path: Path) -> None:
    script = (
        "CREATE TABLE t(k, v); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000) "
        "INSERT INTO t SELECT i, i FROM n;"
    )
    sides = [made(tmp_path / f"{each}.db", script) for each in "ab"]

    with pytest.raises(SourceBusyError, match="the timeout passed"):
        difference.between(sides[0], sides[1], tmp_path, deadline=Deadline(0.0))


def test_what_is_no_database_is_damage(tmp_path: Path) -> None:
    good, bad = made(tmp_path / "good.db", "CREATE TABLE t(a);"), tmp_path / "bad.db"
    bad.write_bytes(good.read_bytes()[:100] + b"\xff" * 4000)

    with pytest.raises(SourceCorruptError):
        difference.between(good, bad, tmp_path)
