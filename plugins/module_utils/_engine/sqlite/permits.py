# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What SQLite may do for a statement or a schema of somebody else's: read, and what the caller allows beside that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Optional

from .database import Connection
from .library import sqlite3
from .proof import quoted

# What reads, by the numbers of https://www.sqlite.org/c3ref/c_alter_table.html
_READS = {"SQLITE_READ", "SQLITE_SELECT", "SQLITE_FUNCTION", "SQLITE_RECURSIVE"}
# The shell of SQLite has some of them, and an application's SQLite may.
_FORBIDDEN = ("load_extension", "readfile", "writefile", "edit", "fts3_tokenizer")
# The columns of a table; and what a full-text table asks for before it reads.
_HARMLESS_PRAGMAS = ("table_xinfo", "index_list", "data_version")
MODULE_ACTIONS = {
    *("SQLITE_CREATE_TABLE", "SQLITE_CREATE_INDEX", "SQLITE_INSERT", "SQLITE_UPDATE", "SQLITE_DELETE"),
    *("SQLITE_PRAGMA", "SQLITE_ALTER_TABLE", "SQLITE_DROP_TABLE"),
}
"""What a module does with the tables that it makes for itself."""

Authorizer = Callable[[int, Optional[str], Optional[str], Optional[str], Optional[str]], int]
More = Callable[[int, Optional[str], Optional[str]], bool]
"""Whether an action is allowed, too: its number, what it is about, and in which schema."""


def numbers(names: set[str]) -> set[int]:
    """The numbers of actions."""
    return {getattr(sqlite3, each) for each in names}


def reading(more: More = lambda _action, _what, _where: False, *, endless: bool = True) -> Authorizer:
    """For ``set_authorizer``: what reads is allowed, and ``more``; without ``endless`` no query calls itself."""
    reads = numbers(_READS) - (set() if endless else {sqlite3.SQLITE_RECURSIVE})

    def judge(action: int, one: str | None, two: str | None, where: str | None, _inside: str | None) -> int:
        if action == sqlite3.SQLITE_FUNCTION:
            allowed = str(two).lower() not in _FORBIDDEN
        elif action == sqlite3.SQLITE_PRAGMA:
            allowed = one in _HARMLESS_PRAGMAS or more(action, one, where)
        else:
            allowed = action in reads or more(action, one, where)
        return int(sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY)

    return judge


def begin_virtual_tables(connection: Connection) -> None:
    """Let each virtual table declare itself, which is more than reading; one that cannot is of no use to a query."""
    names = connection.execute(
        "SELECT CAST(name AS TEXT) FROM main.sqlite_master WHERE type = 'table' AND rootpage = 0 AND name IS NOT NULL"
    ).fetchall()
    for (name,) in names:
        with contextlib.suppress(sqlite3.Error, ValueError):
            connection.execute(f"SELECT 1 FROM main.{quoted(name)} LIMIT 0")
