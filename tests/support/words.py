# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words that a database and a file beside it say, and that nobody may read anywhere in an encrypted backup."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from support import databases

WORDS = {
    "table": "ZanzibarLedger",
    "column": "quokka_total",
    "row": "platypus omelette",
    "index": "marmoset_by_total",
    "view": "NarwhalReport",
    "comment": "aardvark in the schema",
    "include": "wombat-plans.txt",
    "include content": "the wombat digs at midnight",
}


def put_into(database: Path) -> None:
    """Say the words in ``database``, and in a file beside it."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.executescript(
            f"""
            CREATE TABLE {WORDS["table"]}(id INTEGER PRIMARY KEY, {WORDS["column"]} TEXT /* {WORDS["comment"]} */);
            CREATE INDEX {WORDS["index"]} ON {WORDS["table"]}({WORDS["column"]});
            CREATE VIEW {WORDS["view"]} AS SELECT * FROM {WORDS["table"]};
            INSERT INTO {WORDS["table"]}({WORDS["column"]}) VALUES ('{WORDS["row"]}');
            """
        )
    databases.settle(database)
    database.with_name(WORDS["include"]).write_text(WORDS["include content"], encoding="utf-8")


def include(database: Path) -> tuple[Include, ...]:
    """The file beside ``database``."""
    return (Include(database.with_name(WORDS["include"])),)


def readable(directory: Path, words: Mapping[str, str] | None = None) -> list[str]:
    """Where below ``directory`` a word is in the name or in the bytes of a file; SQLite may use UTF-16."""
    found = []
    for path in directory.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for what, word in (words or WORDS).items():
            if word in path.name or any(word.encode(each) in content for each in ("utf-8", "utf-16-le", "utf-16-be")):
                found.append(f"{what} in {path.relative_to(directory)}")
    return found
