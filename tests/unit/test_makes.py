# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tables belong to a virtual one: those that its module makes, and never those of somebody else."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import makes
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.makes import Made


def learned(script: str) -> Made:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(script)
        rows = connection.execute("SELECT name, sql, rootpage FROM sqlite_master WHERE type = 'table'").fetchall()
        names = {name for name, _sql, root in rows if root}
        return makes.learned(connection, [(name, sql) for name, sql, root in rows if not root], names)


# What somebody may call a table beside these, whatever it has in it.
USUAL = ("content", "segments", "segdir", "docsize", "stat", "data", "idx", "config", "node", "parent", "rowid")


@pytest.mark.parametrize(
    "virtual",
    [
        *("fts3(a)", "fts4(a)", "fts4(a, matchinfo=fts3)", "fts5(a)", "fts5(a, columnsize=0)", "fts5(a, content='')"),
        *(
            "fts4(a, content='')",
            "fts5(a, content='t')",
            "fts4(content='t')",
            "rtree(i, a, b, +c)",
            "rtree_i32(i, a, b)",
        ),
        *("fts4(a, languageid=l)", "dbstat", "fts5(a, c='')"),
    ],
)
def test_the_tables_that_were_there_before_are_of_somebody_else(virtual: str) -> None:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(f"CREATE TABLE t(a, b); CREATE VIRTUAL TABLE f USING {virtual}")
        its = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'f\\_%' ESCAPE '\\'")
        }
    its = {each for each in its if not each.startswith("f_content_")}
    others = [f"CREATE TABLE f_{part}(x)" for part in USUAL if f"f_{part}" not in its]

    made = learned(f"CREATE TABLE t(a, b); CREATE VIRTUAL TABLE f USING {virtual}; {'; '.join(others)}")

    assert (made.by, made.failed) == (dict.fromkeys(its, "f"), {})
    assert others


def test_a_table_that_is_made_only_when_it_is_needed() -> None:
    script = "CREATE VIRTUAL TABLE f USING fts3(a); INSERT INTO f(f) VALUES ('automerge=4')"

    assert set(learned(script).by) == {"f_content", "f_segments", "f_segdir", "f_stat"}


def test_a_renamed_one_has_its_tables() -> None:
    made = learned("CREATE TABLE new_node(a); CREATE VIRTUAL TABLE old USING fts5(a); ALTER TABLE old RENAME TO new")

    assert set(made.by) == {f"new_{part}" for part in ("data", "idx", "content", "docsize", "config")}


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE f USING fts5(a, tokenize=nowhere)' WHERE name = 'f'",
        "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE f USING fts5(a); DROP TABLE f' WHERE name = 'f'",
        "UPDATE sqlite_master SET sql = 'CREATE VIRTUAL TABLE f USING fts5(rank)' WHERE name = 'f'",
    ],
)
def test_what_cannot_be_learned_leaves_nothing_out(change: str) -> None:
    made = learned(f"CREATE VIRTUAL TABLE f USING fts5(a); PRAGMA writable_schema=ON; {change}")

    assert (made.by, list(made.failed)) == ({}, ["f"])


@pytest.mark.parametrize("sql", ["CREATE VIRTUAL TABLE g USING fts5(a)", "CREATE VIRTUAL TABLE f USING nowhere(a)", ""])
def test_what_is_not_as_it_says_makes_nothing(sql: str) -> None:
    script = "CREATE VIRTUAL TABLE f USING fts5(a); PRAGMA writable_schema=ON; UPDATE sqlite_master SET sql = '%s'"

    assert learned(f"{script % sql} WHERE name = 'f'") == Made()
