# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tables a virtual table made for itself: learned from its module, never guessed from a name.

Its SQL, and nothing else of the schema, is run in an empty database in memory; what is there then belongs to it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from ..system.clock import Deadline
from . import permits, tables, virtual
from .library import sqlite3
from .proof import quoted

MODULES = (*virtual.FULL_TEXT, "rtree", "rtree_i32", "geopoly")
"""Those whose rows are had by reading the virtual table, and come back by writing into it."""
# What a module does to make its tables.
_OWN = permits.MODULE_ACTIONS | {"SQLITE_CREATE_VTABLE"}
# It takes a thousandth of that.
_SECONDS = 10.0
_STEPS = 100_000


@dataclass
class Made:
    """``by`` has the tables that virtual ones made, and who; ``failed`` why nothing could be learned of a table."""

    by: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


def learned(connection: sqlite3.Connection, schema: Iterable[tuple[str, str]], names: set[str]) -> Made:
    """For the virtual tables of a ``schema``, by name and SQL, which of the ordinary tables ``names`` are theirs."""
    made = Made()
    for name, sql in schema:
        found = virtual.parsed(sql)
        if found.module not in MODULES or found.name != name:
            continue
        try:
            makes = _makes(sql, found, _content(connection, found))
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            made.failed[name] = str(error)
            continue
        for each, columns in makes.items():
            # Columns that this SQLite cannot tell are no others.
            if each in names and _columns(connection, each) in ([], columns):
                made.by[each] = name
    return made


def _makes(sql: str, found: virtual.Virtual, content: list[str]) -> dict[str, list[str]]:
    """The tables that it makes, also those that it makes only when they are needed, and their columns."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as nothing:
        other = (virtual.full_text(found).content or "") if content else ""
        if content:
            nothing.execute(f"CREATE TABLE {quoted(other)}({', '.join(map(quoted, content))})")
        deadline, own = Deadline(_SECONDS), permits.numbers(_OWN)
        nothing.set_progress_handler(deadline.passed, _STEPS)
        nothing.set_authorizer(
            permits.reading(lambda action, _what, where: action in own and where in ("main", None), endless=False)
        )
        nothing.execute(sql)
        if found.module == "fts3":
            # https://www.sqlite.org/fts3.html#the_automerge_N_command
            nothing.execute(f"INSERT INTO {quoted(found.name)}({quoted(found.name)}) VALUES ('automerge=8')")
        made = nothing.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0").fetchall()
        return {name: _columns(nothing, name) for (name,) in made if name != other or not content}


def _columns(connection: sqlite3.Connection, name: str) -> list[str]:
    return [each for each, _type in tables.columns(connection, name, hidden=range(4))]


def _content(connection: sqlite3.Connection, found: virtual.Virtual) -> list[str]:
    """The columns of another table, which FTS4 takes for its own when it is given none."""
    content = virtual.full_text(found).content if found.module == "fts4" else None
    return [each for each, _type in tables.columns(connection, content, hidden=(0, 2, 3))] if content else []
