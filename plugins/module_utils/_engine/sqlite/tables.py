# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One table: the columns whose values are stored, and by which name its rowid can be had."""

from __future__ import annotations

from collections.abc import Sequence

from .library import sqlite3
from .proof import quoted

_ROWIDS = ("rowid", "_rowid_", "oid")


def columns(connection: sqlite3.Connection, name: str, *, hidden: Sequence[int] = (0,)) -> list[tuple[str, str]]:
    """Name and declared type of each column that is stored; ``hidden`` are numbers of ``PRAGMA table_xinfo``."""
    rows = connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})")
    return [(each[1], each[2]) for each in rows if each[6] in hidden]


def never_null(connection: sqlite3.Connection, name: str) -> set[str]:
    """The columns that hold no NULL, unless they did so before that was said."""
    return {each[1] for each in connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})") if each[3]}


def rowid_of(connection: sqlite3.Connection, name: str) -> str:
    """How the rowid of a table can be named; empty when it has none, or none that can be named."""
    rows = connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})")
    taken = {each[1].lower() for each in rows}
    free = next((each for each in _ROWIDS if each not in taken), "")
    try:
        connection.execute(f"SELECT {free or 'NULL'} FROM main.{quoted(name)} LIMIT 0")
    except sqlite3.OperationalError as error:
        if not str(error).startswith("no such column"):
            raise
        return ""
    return free


def has_its_rowid_as_column(connection: sqlite3.Connection, name: str) -> bool:
    """Whether a column is the rowid: an ``INTEGER PRIMARY KEY``, which needs no index of its own.

    https://www.sqlite.org/lang_createtable.html#rowids_and_the_integer_primary_key
    """
    keys = [each for each in connection.execute(f"PRAGMA main.table_xinfo({quoted(name)})") if each[5]]
    indexes = connection.execute(f"PRAGMA main.index_list({quoted(name)})").fetchall()
    return len(keys) == 1 and not any(each[3] == "pk" for each in indexes)
