# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SQL of virtual tables: read as SQLite reads it, which is asked in each test."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import virtual

# What SQLite may take for an option, a column, or for nothing at all; many are refused, which says something as well.
WORDS = (
    *("a", "b UNINDEXED", '"content"', "content", "content TEXT", "content=''", "content='t'", "content=t", "content"),
    *('content=""', "content=[]", "content = 't'", "CONTENT='T'", "content= t", "c=''", "cont=t", "contentx='t'"),
    *("'content'='t'", "a /*, content='t' */", "/* content='t', */ a", "a -- , content='t'\n", "prefix='1,2'"),
    *("tokenize=porter", "tokenize='porter'", "tokenize=\"unicode61 separators ',content=t'\"", "content_rowid=a"),
    *('tokenize=unicode61 "separators=,content=t"', "columnsize=0", "col=0", "detail=none", "matchinfo=fts3"),
    *("languageid=l", "languageid='l'", "languageid = 'l'", "notindexed=a", "order=desc", "b CHECK (content='t', 1)"),
    *('x"content"=t', "[content]=''", "`content`=t", "a content=''"),
)


def tables_of(sql: str) -> dict[str, list[str]] | None:
    """The tables that SQLite makes for a virtual one, and their columns; None when it refuses it."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t(a, b)")
        try:
            connection.execute(sql)
        except sqlite3.Error:
            return None
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE rootpage > 0")]
        return {name: [row[1] for row in connection.execute(f"PRAGMA table_info('{name}')")] for name in names}


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(virtual.FULL_TEXT), st.lists(st.sampled_from(WORDS), min_size=1, max_size=3))
def test_where_the_texts_are_is_read_as_the_modules_read_it(module: str, words: list[str]) -> None:
    sql = f"CREATE VIRTUAL TABLE f USING {module}({', '.join(words)})"
    tables = tables_of(sql)
    assume(tables is not None)
    assert tables is not None

    found = virtual.parsed(sql)
    options = virtual.full_text(found)

    assert (found.name, found.module) == ("f", module)
    assert ("f_content" in tables) == (options.content is None)
    assert options.content is None or options.content.strip().lower() in ("t", "")
    if options.content is None:
        assert ("langid" in tables["f_content"]) == options.has_languages
    assert not options.unknown


def test_each_of_these_words_alone() -> None:
    texts = [f"CREATE VIRTUAL TABLE f USING {module}(a, {word})" for module in virtual.FULL_TEXT for word in WORDS]
    taken = {sql: tables for sql in texts if (tables := tables_of(sql)) is not None}

    read = {sql: virtual.full_text(virtual.parsed(sql)).content is None for sql in taken}

    assert read == {sql: "f_content" in tables for sql, tables in taken.items()}
    assert set(read.values()) == {True, False}


@pytest.mark.parametrize(
    ("sql", "name", "module", "arguments"),
    [
        ("CREATE VIRTUAL TABLE f USING dbstat", "f", "dbstat", ()),
        ("CREATE VIRTUAL TABLE f USING x()", "f", "x", ("",)),
        ("CREATE VIRTUAL TABLE f USING x(a,(b,c)),d", "f", "x", ("a", "(b,c)")),
        ('CREATE VIRTUAL TABLE "a""b" USING [X](\'(\', "),")', 'a"b', "x", ("'('", '"),"')),
        ("create/**/virtual table`f`using'FTS5'( a /* ) */ , b -- )\n )", "f", "fts5", ("a", "b")),
        ("CREATE TABLE f(a)", "", "", ()),
        ("CREATE VIRTUAL TABLE f", "", "", ()),
        ("", "", "", ()),
    ],
)
def test_the_parts_of_the_sql(sql: str, name: str, module: str, arguments: tuple[str, ...]) -> None:
    assert virtual.parsed(sql) == virtual.Virtual(name, module, arguments)


@pytest.mark.parametrize(
    ("arguments", "unknown"),
    [
        ("fts5(a, locale=1)", ("locale",)),
        ("fts5(a, l=1)", ("locale",)),
        ("fts5(a, content='', contentless_unindexed=1)", ("contentless_unindexed",)),
        ("fts5(a, tomorrow=1)", ("tomorrow",)),
        ("fts4(a, compress=x, uncompress=y)", ("compress", "uncompress")),
        ("fts4(a, tokenize=porter)", ()),
        ("fts3(a, compress=x)", ()),
    ],
)
def test_an_option_that_is_not_known_is_told(arguments: str, unknown: tuple[str, ...]) -> None:
    found = virtual.parsed(f"CREATE VIRTUAL TABLE f USING {arguments}")

    assert virtual.full_text(found).unknown == unknown


@pytest.mark.parametrize("piece", ["[", '"', "'", "`", "/*", "--", "(", ",", '""', "x ", "''\""])
def test_a_hostile_text_is_read_once(piece: str) -> None:
    """It would take hours, were it begun again at each of its quotes."""
    found = virtual.parsed("CREATE VIRTUAL TABLE f USING fts5(" + piece * 300_000)

    assert (found.name, found.module) == ("f", "fts5")
