# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import examination
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, proof, script
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import (
    FAILED,
    INCONCLUSIVE,
    PASSED,
    Check,
    Proof,
)
from support import databases

LEVELS = ("quick", "full")


@contextlib.contextmanager
def opened(path: Path, *, mode: str = "ro") -> Iterator[sqlite3.Connection]:
    with contextlib.closing(database.connect(path, mode=mode)) as connection:
        yield connection


def run(path: Path, script: str) -> Path:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)
    return path


def checks_of(path: Path, level: str) -> dict[str, Check]:
    with opened(path) as connection:
        return {each.name: each for each in proof.check_structure(connection, level)}


def has_module(name: str) -> bool:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        return (name,) in connection.execute("PRAGMA module_list").fetchall()


needs_fts5 = pytest.mark.skipif(not has_module("fts5"), reason="this SQLite has no FTS5")
needs_rtree = pytest.mark.skipif(not has_module("rtree"), reason="this SQLite has no R-tree")


# --- outcomes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([], PASSED),
        ([PASSED, PASSED], PASSED),
        ([PASSED, INCONCLUSIVE], INCONCLUSIVE),
        ([INCONCLUSIVE, FAILED, PASSED], FAILED),
    ],
)
def test_one_failure_outweighs_a_doubt_and_a_doubt_all_successes(outcomes: list[str], expected: str) -> None:
    assert proof.overall([Check("a", outcome) for outcome in outcomes]) == expected


# --- the schema ----------------------------------------------------------------------------------------------------

RICH_SCHEMA = """
CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT UNIQUE COLLATE NOCASE);
CREATE TABLE child(parent REFERENCES parent(id) ON DELETE CASCADE, n INT CHECK(n > 0), twice AS (n * 2) STORED);
CREATE TABLE pairs(a, b, PRIMARY KEY(a, b)) WITHOUT ROWID;
CREATE TABLE "odd ""name"" -- ; '"(x);
CREATE INDEX by_n ON child(n DESC) WHERE n > 5;
CREATE VIEW grown AS SELECT * FROM child WHERE n > 5;
CREATE TRIGGER tidy AFTER DELETE ON parent BEGIN DELETE FROM child WHERE parent = OLD.id; END;
INSERT INTO parent(name) VALUES ('one');
"""
SETTINGS = "PRAGMA encoding='UTF-16be'; PRAGMA auto_vacuum=2; PRAGMA user_version=-3; PRAGMA application_id=77;"


def schema_of(path: Path) -> str:
    header = database.read_header(path)
    with opened(path) as connection:
        return script.schema_sql(connection, header)


def test_schema_makes_the_same_database_again(tmp_path: Path) -> None:
    """It is there for people: fed to `sqlite3`, it must give every table, index, view, trigger and setting."""
    first = run(databases.make(tmp_path / "a.db", page_size=8192, setup=SETTINGS, journal_mode="delete"), RICH_SCHEMA)
    schema = schema_of(first)
    second = run(tmp_path / "b.db", schema)
    assert schema_of(second) == schema
    facts = [database.read_header(each) for each in (first, second)]
    assert facts[0]
    assert facts[1]
    assert facts[0].facts() == facts[1].facts()
    assert facts[0].page_size == facts[1].page_size == 8192


def test_schema_names_nothing_of_sqlite_itself(tmp_path: Path) -> None:
    """`CREATE TABLE sqlite_sequence` is refused, and would stop the script."""
    path = run(databases.make(tmp_path / "a.db"), RICH_SCHEMA + "ANALYZE;")
    with opened(path) as connection:
        assert {"sqlite_sequence", "sqlite_stat1"} <= {
            row[0] for row in connection.execute("SELECT name FROM sqlite_master")
        }
    assert "sqlite_" not in schema_of(path)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE item ADD COLUMN more",
        "CREATE INDEX i ON item(name)",
        "DROP TABLE item",
        "PRAGMA user_version=2",
        "PRAGMA application_id=2",
    ],
)
def test_digest_changes_with_the_schema(tmp_path: Path, change: str) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    before = proof.schema_digest(schema_of(path))
    assert proof.schema_digest(schema_of(run(path, change))) != before


def test_digest_does_not_change_with_the_rows(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    before = proof.schema_digest(schema_of(path))
    databases.add(path, "one more")
    assert proof.schema_digest(schema_of(path)) == before


# --- the rows ------------------------------------------------------------------------------------------------------


def rows_of(path: Path) -> dict[str, int]:
    with opened(path) as connection:
        return proof.table_rows(connection)


def test_rows_of_every_table_are_counted(tmp_path: Path) -> None:
    path = run(databases.make(tmp_path / "a.db", rows=12), RICH_SCHEMA + "INSERT INTO pairs VALUES (1, 2), (1, 3);")
    assert rows_of(path) == {"item": 12, "parent": 1, "child": 0, "pairs": 2, 'odd "name" -- ; \'': 0}


NAMES = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), min_size=1).filter(
    lambda name: not name.lower().startswith("sqlite_")
)


@given(NAMES)
def test_table_of_any_name_is_counted(name: str) -> None:
    """A name is data: it must neither break the statement nor become a part of it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(f"CREATE TABLE {proof.quoted(name)}(x)")
        connection.execute(f"INSERT INTO {proof.quoted(name)} VALUES (1), (2)")
        assert proof.table_rows(connection) == {name: 2}


def test_name_that_only_begins_like_that_of_sqlite_is_counted(tmp_path: Path) -> None:
    """In LIKE an underscore stands for any character."""
    path = run(databases.make(tmp_path / "a.db"), "CREATE TABLE sqliteXdata(x); INSERT INTO sqliteXdata VALUES (1);")
    assert rows_of(path)["sqliteXdata"] == 1


@needs_fts5
def test_rows_of_a_virtual_table_are_counted_where_it_keeps_them(tmp_path: Path) -> None:
    path = run(
        databases.make(tmp_path / "a.db"), "CREATE VIRTUAL TABLE f USING fts5(x); INSERT INTO f VALUES ('a'), ('b');"
    )
    assert rows_of(path)["f_content"] == 2
    assert "f" not in rows_of(path)


def expected_rows(path: Path, **tables: int) -> Check:
    with opened(path) as connection:
        (check,) = proof.check_rows(connection, Proof("", tables, {}))
    return check


def test_rows_as_proven_pass(tmp_path: Path) -> None:
    assert expected_rows(databases.make(tmp_path / "a.db"), item=3) == Check("rows", PASSED, "3 rows in 1 tables")


@pytest.mark.parametrize(
    ("tables", "detail"),
    [
        ({"item": 4}, "table item has 3 rows, the manifest says 4"),
        ({"item": 3, "lost": 0}, "table lost has None rows, the manifest says 0"),
        ({}, "table item has 3 rows, the manifest says None"),
    ],
)
def test_other_rows_than_proven_fail(tmp_path: Path, tables: dict[str, int], detail: str) -> None:
    """An image that lost a table passes every integrity_check."""
    assert expected_rows(databases.make(tmp_path / "a.db"), **tables) == Check("rows", FAILED, detail)


# --- structure: good databases -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "names"), [("quick", ["quick_check"]), ("full", ["integrity_check", "foreign_key_check"])]
)
def test_good_database_passes(tmp_path: Path, level: str, names: list[str]) -> None:
    path = run(databases.make(tmp_path / "a.db"), RICH_SCHEMA)
    checks = checks_of(path, level)
    assert {each.outcome for each in checks.values()} == {PASSED}
    assert list(checks) == names


@needs_fts5
@needs_rtree
@pytest.mark.parametrize("level", LEVELS)
def test_full_text_and_spatial_indexes_pass(tmp_path: Path, level: str) -> None:
    script = """
    CREATE VIRTUAL TABLE notes USING fts5(body); INSERT INTO notes VALUES ('hello world');
    CREATE VIRTUAL TABLE "odd name" USING rtree(id, x0, x1); INSERT INTO "odd name" VALUES (1, 0.0, 1.0);
    """
    checks = checks_of(run(databases.make(tmp_path / "a.db"), script), level)
    assert {each.outcome for each in checks.values()} == {PASSED}


def test_orphans_are_reported_and_not_judged(tmp_path: Path) -> None:
    """The application made them; a backup of it is still a good backup."""
    path = run(databases.make(tmp_path / "a.db"), RICH_SCHEMA + "INSERT INTO child(parent, n) VALUES (8, 1), (9, 1);")
    check = checks_of(path, "full")["foreign_key_check"]
    assert check == Check("foreign_key_check", PASSED, "2 rows without their parent, in child")
    assert "foreign_key_check" not in checks_of(path, "quick")


def test_foreign_keys_that_cannot_be_checked_are_said(tmp_path: Path) -> None:
    path = run(databases.make(tmp_path / "a.db"), "CREATE TABLE c(x REFERENCES item(name)); INSERT INTO c VALUES (1);")
    check = checks_of(path, "full")["foreign_key_check"]
    assert check.outcome == PASSED
    assert "not checked: foreign key mismatch" in check.detail


# --- structure: corrupt databases ----------------------------------------------------------------------------------


def with_wrong_index(path: Path, rows: int) -> Path:
    """The index of ``item`` misses as many rows: the pages are fine, the content is not."""
    run(path, "CREATE INDEX by_name ON item(name)")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        hidden = connection.execute("SELECT * FROM sqlite_master WHERE name = 'by_name'").fetchone()
        connection.execute("DELETE FROM sqlite_master WHERE name = 'by_name'")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executemany("INSERT INTO item(name) VALUES (?)", [(f"hidden {n}",) for n in range(rows)])
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", hidden)
    return path


def test_wrong_index_fails_the_full_check(tmp_path: Path) -> None:
    """quick_check does not look at that, and says so by its name."""
    path = with_wrong_index(databases.make(tmp_path / "a.db", journal_mode="delete"), 1)
    check = checks_of(path, "full")["integrity_check"]
    assert check.outcome == FAILED
    assert "missing from index by_name" in check.detail
    assert checks_of(path, "quick")["quick_check"].outcome == PASSED


def test_foreign_keys_of_a_corrupt_database_are_not_checked(tmp_path: Path) -> None:
    """The word "passed" must not stand below a failure, where it means nothing."""
    path = with_wrong_index(databases.make(tmp_path / "a.db", journal_mode="delete"), 1)
    assert "foreign_key_check" not in checks_of(path, "full")


@pytest.mark.parametrize("level", LEVELS)
def test_a_table_that_is_all_key_in_another_order_is_good(tmp_path: Path, level: str) -> None:
    """SQLite 3.40 tells of NULL there, by quick_check only."""
    script = "CREATE TABLE t(a, b, PRIMARY KEY(b, a)) WITHOUT ROWID; INSERT INTO t VALUES (1, 2), (2, 1);"
    checks = checks_of(run(tmp_path / "a.db", script), level)
    assert {each.outcome for each in checks.values()} == {PASSED}


def test_a_null_where_none_may_be_is_a_failure(tmp_path: Path) -> None:
    script = """CREATE TABLE t(a); INSERT INTO t VALUES (NULL); PRAGMA writable_schema=ON;
        UPDATE sqlite_master SET sql = 'CREATE TABLE t(a NOT NULL)'"""
    check = checks_of(run(tmp_path / "a.db", script), "quick")["quick_check"]
    assert (check.outcome, check.detail) == (FAILED, "NULL value in t.a")


def test_many_problems_are_counted_and_not_all_shown(tmp_path: Path) -> None:
    path = with_wrong_index(databases.make(tmp_path / "a.db", journal_mode="delete"), 50)
    detail = checks_of(path, "full")["integrity_check"].detail
    assert detail.count("missing from index") <= 5
    assert int(detail.rsplit("; ", 1)[1].split(" problems in all")[0]) >= 50


@pytest.mark.parametrize("level", LEVELS)
def test_overwritten_page_fails(tmp_path: Path, level: str) -> None:
    path = databases.make(tmp_path / "a.db", rows=3000, journal_mode="delete")
    content = bytearray(path.read_bytes())
    content[4096 * 4 : 4096 * 5] = b"\xff" * 4096
    path.write_bytes(content)
    assert next(iter(checks_of(path, level).values())).outcome == FAILED


@pytest.mark.parametrize("level", LEVELS)
def test_unreadable_schema_fails_every_check_and_raises_nothing(tmp_path: Path, level: str) -> None:
    """Whatever a file holds, the answer is an outcome and never a traceback."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    content = bytearray(path.read_bytes())
    content[100:4096] = b"\xff" * 3996
    path.write_bytes(content)
    assert {each.outcome for each in checks_of(path, level).values()} == {FAILED}
    assert expected_rows(path, item=3).outcome == FAILED
    with opened(path) as connection:
        expectations = proof.check_expectations(
            connection, expect_tables=["item"], assertions=[{"sql": "SELECT count(*) FROM item", "equals": 3}]
        )
    assert [each.outcome for each in expectations] == [FAILED, FAILED]


@needs_fts5
@pytest.mark.parametrize("level", LEVELS)
def test_schema_with_bytes_for_names_is_no_obstacle(tmp_path: Path, level: str) -> None:
    """SQLite takes a BLOB in its schema for a text, so a hostile file may hold some."""
    path = run(databases.make(tmp_path / "a.db"), "CREATE VIRTUAL TABLE f USING fts5(x)")
    run(
        path,
        "PRAGMA writable_schema=ON; UPDATE sqlite_master SET name = CAST(name AS BLOB), sql = CAST(sql AS BLOB);",
    )
    assert {each.outcome for each in checks_of(path, level).values()} == {PASSED}
    assert rows_of(path)["item"] == 3


@pytest.mark.parametrize("level", LEVELS)
def test_full_text_without_its_content_is_odd_and_no_damage(tmp_path: Path, level: str) -> None:
    """The file is whole, says integrity_check; the application dropped the table that the index is of."""
    path = run(
        databases.make(tmp_path / "a.db", journal_mode="delete"),
        "CREATE TABLE docs(id INTEGER PRIMARY KEY, body); CREATE VIRTUAL TABLE f USING fts4(content='docs')",
    )
    run(path, "DROP TABLE docs")
    checks = checks_of(path, level)
    assert {each.outcome for each in checks.values()} == {PASSED}
    expected = "odd content: the virtual table f cannot be used: no such table: main.docs"
    assert checks["virtual table f"].detail == expected
    assert examination.Evidence(tuple(checks.values())).doubts == [expected]


def test_virtual_table_that_lost_its_content_fails(tmp_path: Path) -> None:
    """Damage is no doubt: with the module at hand it must not become inconclusive."""
    if not has_module("rtree"):
        pytest.skip("this SQLite has no R-tree")
    path = run(databases.make(tmp_path / "a.db", journal_mode="delete"), "CREATE VIRTUAL TABLE r USING rtree(id, a, b)")
    run(path, "PRAGMA writable_schema=ON; DELETE FROM sqlite_master WHERE name LIKE 'r\\_%' ESCAPE '\\';")
    assert checks_of(path, "quick")["virtual table r"].outcome == FAILED


# --- structure: what this SQLite cannot judge ----------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS)
def test_missing_module_is_a_doubt_that_names_it(tmp_path: Path, level: str) -> None:
    """quick_check says "ok" to what it skipped; that must not become "verified"."""
    path = databases.with_missing_module(databases.make(tmp_path / "a.db"))
    checks = checks_of(path, level)
    assert checks["virtual table virtual"] == Check(
        "virtual table virtual", INCONCLUSIVE, "unverifiable: needs module nowhere"
    )
    assert proof.overall(list(checks.values())) == INCONCLUSIVE


def test_rows_beside_a_table_of_a_missing_module_are_counted(tmp_path: Path) -> None:
    assert rows_of(databases.with_missing_module(databases.make(tmp_path / "a.db"))) == {"item": 3}


@needs_fts5
def test_missing_tokenizer_is_a_doubt_that_names_it(tmp_path: Path) -> None:
    """An application that brings its own tokenizer has a healthy database: it must not be called corrupt."""
    path = databases.with_missing_module(databases.make(tmp_path / "a.db"), "fts5(x, tokenize='nowhere')")
    check = checks_of(path, "quick")["virtual table virtual"]
    assert check == Check("virtual table virtual", INCONCLUSIVE, "unverifiable: needs tokenizer nowhere")


def with_own_extensions(path: Path) -> Path:
    """A healthy database of an application that brings a collation and a function of its own."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_collation("ours", lambda one, other: (one > other) - (one < other))
        connection.create_function("fine", 1, lambda _value: 1, deterministic=True)
        # The index is narrower than its table, so SQLite would rather count there.
        connection.execute("CREATE TABLE sorted(name TEXT COLLATE ours, more TEXT)")
        connection.execute("CREATE INDEX by_name ON sorted(name)")
        connection.execute("INSERT INTO sorted VALUES ('b', ''), ('a', '')")
        connection.execute("CREATE TABLE checked(x CHECK(fine(x)))")
        connection.execute("INSERT INTO checked VALUES (1)")
    return path


@pytest.mark.parametrize(("level", "name"), [("quick", "quick_check"), ("full", "integrity_check")])
def test_missing_function_is_a_doubt_and_no_corruption(tmp_path: Path, level: str, name: str) -> None:
    """A suspect backup and a failed run for a healthy database would teach people to ignore both."""
    check = checks_of(with_own_extensions(databases.make(tmp_path / "a.db")), level)[name]
    assert check.outcome == INCONCLUSIVE
    assert check.detail.startswith("unverifiable: needs ")


def test_rows_are_counted_without_the_collation_of_an_index(tmp_path: Path) -> None:
    assert rows_of(with_own_extensions(databases.make(tmp_path / "a.db"))) == {"item": 3, "sorted": 2, "checked": 1}


# --- what the operator expects -------------------------------------------------------------------------------------


def expectation(path: Path, sql: str, equals: Any, *, mode: str = "ro") -> Check:
    with opened(path, mode=mode) as connection:
        (check,) = proof.check_expectations(connection, assertions=[{"sql": sql, "equals": equals}])
    return check


def test_expected_tables_and_views_are_found_or_missed(tmp_path: Path) -> None:
    path = run(databases.make(tmp_path / "a.db"), "CREATE VIEW v AS SELECT 1; CREATE INDEX i ON item(name)")
    with opened(path) as connection:
        checks = proof.check_expectations(connection, expect_tables=["item", "v", "lost", "i", "it'em"])
    assert [(each.name, each.outcome) for each in checks] == [
        ("table item", PASSED),
        ("table v", PASSED),
        ("table lost", FAILED),
        ("table i", FAILED),
        ("table it'em", FAILED),
    ]


@pytest.mark.parametrize(
    ("sql", "equals"),
    [
        ("SELECT count(*) FROM item", 3),
        ("SELECT count(*) FROM item", "3"),
        ("SELECT name FROM item WHERE id = 1", "name 0"),
        ("SELECT NULL", None),
        ("SELECT 1.5", 1.5),
        ("SELECT id, name FROM item WHERE id < 3 ORDER BY id", [[1, "name 0"], [2, "name 1"]]),
        ("SELECT id FROM item ORDER BY id", [[1], [2], [3]]),
        ("SELECT id FROM item WHERE id > 99", []),
        ("PRAGMA user_version", 0),
    ],
)
def test_true_assertion_passes(tmp_path: Path, sql: str, equals: Any) -> None:
    assert expectation(databases.make(tmp_path / "a.db"), sql, equals).outcome == PASSED


@pytest.mark.parametrize(
    ("sql", "equals"),
    [
        ("SELECT count(*) FROM item", 4),
        ("SELECT NULL", 0),
        ("SELECT NULL", ""),
        ("SELECT ''", None),
        ("SELECT id FROM item ORDER BY id", [[1], [2]]),
        ("SELECT id FROM item WHERE id > 99", 0),
        ("SELECT 1, 2", 1),
    ],
)
def test_false_assertion_fails(tmp_path: Path, sql: str, equals: Any) -> None:
    assert expectation(databases.make(tmp_path / "a.db"), sql, equals).outcome == FAILED


def test_failed_assertion_says_what_was_expected_and_found(tmp_path: Path) -> None:
    check = expectation(databases.make(tmp_path / "a.db"), "SELECT count(*) FROM item", 4)
    assert (check.name, check.detail) == ("assertion SELECT count(*) FROM item", "expected 4, found 3")


@pytest.mark.parametrize(
    "sql", ["SELECT", "SELECT * FROM lost", "SELECT 1; SELECT 2", "SELECT count(*) FROM item WHERE ?"]
)
def test_assertion_that_is_no_query_fails(tmp_path: Path, sql: str) -> None:
    """A mistake in the assertion must never pass for its success, nor be a traceback."""
    check = expectation(databases.make(tmp_path / "a.db"), sql, [])
    assert check.outcome == FAILED
    assert check.detail.startswith("SQLite says: ")


WRITES = (
    "DELETE FROM item",
    "UPDATE item SET name = 'x'",
    "INSERT INTO item(name) VALUES ('x')",
    "DELETE FROM item RETURNING 1",
    "DROP TABLE item",
    "CREATE TABLE more(x)",
    "PRAGMA user_version=9",
    "VACUUM",
)


@pytest.mark.parametrize("sql", WRITES)
def test_assertion_that_writes_fails_and_changes_nothing(tmp_path: Path, sql: str) -> None:
    """Verifying must never change what it verifies, however the database was opened."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    before = path.read_bytes()
    assert expectation(path, sql, [], mode="rw").outcome == FAILED
    assert path.read_bytes() == before


def test_assertion_cannot_take_the_protection_off_for_the_next_one(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    assertions = [{"sql": sql, "equals": []} for sql in ("PRAGMA query_only=OFF", "DELETE FROM item")]
    with opened(path, mode="rw") as connection:
        checks = proof.check_expectations(connection, assertions=assertions)
    assert checks[1].outcome == FAILED
    assert len(databases.names(path)) == 3


@pytest.mark.parametrize(
    "virtual", ["CREATE VIRTUAL TABLE f USING fts5(body)", "CREATE VIRTUAL TABLE f USING rtree(id, x0, x1)"]
)
def test_schema_with_a_virtual_table_can_be_replayed(tmp_path: Path, virtual: str) -> None:
    """Creating the virtual table creates its own tables; a table that only sounds like one of them is the user's."""
    path = databases.make(tmp_path / "a.db", setup=f"{virtual}; CREATE TABLE f_notes(a); CREATE VIEW item2 AS SELECT 1")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        text = script.schema_sql(connection, None)
    with contextlib.closing(sqlite3.connect(":memory:")) as replayed:
        replayed.executescript(text)
        names = {name for (name,) in replayed.execute("SELECT name FROM sqlite_master")}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert names == {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


@needs_fts5
@pytest.mark.parametrize(
    ("virtual", "own", "left_out"),
    [
        ("page USING fts5(body)", ["page_node", "page_stat", "page_segdir"], ["page_data", "page_content"]),
        ("page USING fts4(body)", ["page_node", "page_config", "page_idx"], ["page_stat", "page_segdir"]),
        ("page USING fts3(body)", ["page_data", "page_rowid"], ["page_content", "page_segments"]),
        # Its rows are in a table of the application, whose name is a usual one.
        ("page USING fts5(body, content='page_content')", ["page_content"], ["page_data", "page_idx"]),
        ("page USING fts4(content=page_content, body)", ["page_content"], ["page_segments"]),
        # Its options say that it has no such tables.
        ("page USING fts3(body, content=x)", ["page_stat", "page_docsize"], ["page_content", "page_segdir"]),
        ("page USING fts4(body, matchinfo=fts3)", ["page_docsize"], ["page_content", "page_stat"]),
        ("page USING fts5(body, columnsize=0)", ["page_docsize"], ["page_content", "page_data"]),
        ("page USING fts5(body /*, content= */)", ["page_node"], ["page_content", "page_data"]),
        # As SQLite reads it, and nothing in a name or a comment misleads.
        ("page/* USING rtree( */uSiNg -- USING rtree\n 'Fts5'(body)", ["page_node"], ["page_data"]),
        ("[a USING rtree(b] USING fts5(body)", ["a USING rtree(b_node"], ["a USING rtree(b_data"]),
    ],
)
def test_schema_has_each_table_that_only_sounds_like_a_part_of_a_virtual_one(
    tmp_path: Path, virtual: str, own: list[str], left_out: list[str]
) -> None:
    tables = "".join(f"CREATE TABLE [{name}](body);" for name in own)
    schema = schema_of(databases.make(tmp_path / "a.db", setup=f"{tables} CREATE VIRTUAL TABLE {virtual};"))
    for name in own:
        assert f"CREATE TABLE [{name}](body);" in schema
    for name in left_out:
        assert name not in schema.replace(virtual, "")


@needs_rtree
def test_schema_leaves_out_the_parts_of_an_r_tree_only(tmp_path: Path) -> None:
    own = "CREATE TABLE page_stat(a); CREATE VIEW page_parent_of AS SELECT 1; CREATE TABLE other_node(a);"
    path = databases.make(tmp_path / "a.db", setup=f"{own} CREATE VIRTUAL TABLE page USING rtree(id, x0, x1);")
    schema = schema_of(path)
    assert {name for name in ("page_stat", "other_node", "page_parent_of") if name in schema} == {
        *("page_stat", "other_node", "page_parent_of")
    }
    assert not [name for name in ("page_node", "page_rowid", "page_parent(") if name in schema]


@needs_fts5
def test_schema_names_a_virtual_table_that_was_renamed_and_vacuumed(tmp_path: Path) -> None:
    setup = "CREATE TABLE new_node(body); CREATE VIRTUAL TABLE old USING fts5(body); ALTER TABLE old RENAME TO new;"
    path = run(databases.make(tmp_path / "a.db", setup=setup, journal_mode="delete"), "VACUUM;")
    schema = schema_of(path)
    assert "CREATE TABLE new_node(body);" in schema
    assert "new_data" not in schema


def test_schema_of_a_hostile_virtual_table_takes_no_time(tmp_path: Path) -> None:
    """The text of a schema can be written by anybody who can write to the database."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete")
    sql = f"CREATE VIRTUAL TABLE IF {'/**/' * 50_000} NOT EXISTS v USING fts5(a)"
    run(path, f"PRAGMA writable_schema=ON; INSERT INTO sqlite_master VALUES ('table', 'v', 'v', 0, '{sql}');")
    begin = time.monotonic()
    assert "NOT EXISTS v USING" in schema_of(path)
    assert time.monotonic() - begin < 5
