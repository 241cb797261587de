# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of a database as a script of SQL, for people and for ``sqlite3``."""

from __future__ import annotations

from . import makes
from .database import Header
from .library import sqlite3


def schema_sql(connection: sqlite3.Connection, header: Header | None) -> str:
    """The schema as an SQL script, with the settings of the file that no other statement carries."""
    lines = []
    if header is not None:
        lines = [
            f"PRAGMA encoding = '{header.encoding}';",
            f"PRAGMA page_size = {header.page_size};",
            f"PRAGMA auto_vacuum = {header.auto_vacuum};",
            f"PRAGMA application_id = {header.application_id};",
            f"PRAGMA user_version = {header.user_version};",
        ]
    rows = connection.execute(
        "SELECT name, sql, type = 'table', rootpage FROM sqlite_master "
        "WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY rowid"
    ).fetchall()
    virtual = [(name, sql) for name, sql, table, root in rows if table and not root]
    # Creating a virtual table creates these with it.
    made = makes.learned(connection, virtual, {name for name, _sql, table, root in rows if table and root}).by
    told = (sql for name, sql, table, root in rows if not (table and root and name in made))
    return "\n".join([*lines, *(f"{sql};" for sql in told), ""])
