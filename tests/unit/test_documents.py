# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A table for people and for seed scripts: what each value becomes, and names that no table can lead astray with."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import contents, database, documents
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.documents import Documents


def told(path: Path, script: str, kind: str, table: str = "t") -> tuple[str, list[str]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(script)
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        source = contents.Contents(connection, database.read_header(path), [table])
        made = Documents(source)
        text = b"".join(getattr(made, kind)(source.objects[0])).decode()
        return text, made.warnings


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("BOOLEAN", "1", True),
        ("BOOLEAN", "0", False),
        ("BOOLEAN", "2", 2),
        ("BOOLEAN", "NULL", None),
        ("DATETIME", "1767096000123", "2025-12-30T12:00:00.123Z"),
        ("DATETIME", "-1", "1969-12-31T23:59:59.999Z"),
        ("DATETIME", "'2025-12-30 12:00:00'", "2025-12-30T12:00:00Z"),
        ("DATETIME", "'2025-12-30T12:00:00.123+00:00'", "2025-12-30T12:00:00.123+00:00"),
        ("DATETIME", "9223372036854775807", "9223372036854775807"),
        ("BIGINT", "7", "7"),
        ("BIGINT", "-9223372036854775808", "-9223372036854775808"),
        ("INTEGER", "7", 7),
        ("INTEGER", "9007199254740993", "9007199254740993"),
        ("DECIMAL", "1.5", "1.5"),
        ("DECIMAL(10,2)", "3", "3"),
        ("REAL", "3", 3.0),
        ("REAL", "9e999", "Infinity"),
        ("BLOB", "x'00ff'", "AP8="),
        ("JSONB", "'{\"a\": [1, null]}'", {"a": [1, None]}),
        ("JSONB", "'no json'", "no json"),
        ("JSONB", "'NaN'", "NaN"),
        ("JSONB", "'[1e999]'", "[1e999]"),
        ("JSONB", "'[\"\\ud800\"]'", '["\\ud800"]'),
        ("TEXT", "'1'", "1"),
        ("TEXT", "CAST(x'61ff' AS TEXT)", "a\ufffd"),
    ],
)
def test_the_values_of_a_document(tmp_path: Path, column: str, value: str, expected: Any) -> None:
    text, warnings = told(tmp_path / "a.db", f"CREATE TABLE t(a {column}); INSERT INTO t VALUES ({value})", "json")

    (row,) = json.loads(text)
    assert (type(row["a"]), row["a"]) == (type(expected), expected)
    assert bool(warnings) == (expected in ("Infinity", "a\ufffd"))


def test_a_document_is_an_array_whatever_is_in_the_table(tmp_path: Path) -> None:
    empty, _warnings = told(tmp_path / "a.db", "CREATE TABLE t(a)", "json")
    full, _warnings = told(tmp_path / "a.db", "INSERT INTO t VALUES (1), (2)", "json")

    assert (empty, full) == ("[]\n", '[\n{"a":1},\n{"a":2}\n]\n')


def test_a_table_reads_back_from_csv(tmp_path: Path) -> None:
    script = "CREATE TABLE t(a, \"b\"\"c\"); INSERT INTO t VALUES ('x,\"y\"\r\nz', 1), (NULL, -0.5), ('', x'ff')"

    text, _warnings = told(tmp_path / "a.db", script, "csv")

    assert list(csv.reader(io.StringIO(text, newline=""))) == [
        ["a", 'b"c'],
        ['x,"y"\r\nz', "1"],
        ["", "-0.5"],
        ["", "/w=="],
    ]
    assert '\r\n"","/w=="\r\n' in text, "an empty text is not what no value is"


def test_a_rowid_that_nobody_gave_is_not_shown(tmp_path: Path) -> None:
    assert told(tmp_path / "a.db", "CREATE TABLE t(a); INSERT INTO t VALUES (5)", "csv")[0] == '"a"\r\n5\r\n'


@pytest.mark.parametrize(
    ("table", "name"),
    [
        ("AgentRun", "AgentRun.json"),
        ("../etc/passwd", "%2E.%2Fetc%2Fpasswd.json"),
        ("a\\b:c", "a%5Cb%3Ac.json"),
        ("Tabelle ü", "Tabelle%20%C3%BC.json"),
        ("NUL", "%4EUL.json"),
        ("com1.x", "%63om1.x.json"),
        ("nullable", "nullable.json"),
        ("", "%20.json"),
    ],
)
def test_a_file_has_a_name_that_leads_nowhere(table: str, name: str) -> None:
    assert documents.file_name(table) == name


def test_a_long_name_is_cut_and_stays_the_only_one() -> None:
    names = ["漢" * 40, "漢" * 41, "x" * 5000, "x" * 5001, "%" * 100, "x" * 200]

    found = [documents.file_name(each) for each in names]

    assert len(set(found)) == len(names)
    # A file that is encrypted has two endings more, and one that is being written a dot and one more.
    assert max(map(len, found)) < 255 - len(".zst.age" + "." + ".new")
    assert found[-1] == "x" * 200 + ".json"
