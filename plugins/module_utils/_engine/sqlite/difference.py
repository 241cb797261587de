# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What differs between two SQLite files: fields of the header, the schema, the rows of each table.

SQLite does all of it with both files attached, so memory does not grow with them. Nothing of their schemas runs: no
view, no trigger, no virtual table, whose rows are in ordinary ones.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ..system import confined
from ..system.clock import Deadline
from ..system.errors import UsageError
from . import database, proof
from .library import sqlite3
from .proof import quoted

ADDED, REMOVED, CHANGED, SAME, UNKNOWN = "added", "removed", "changed", "same", "unknown"
SIDES = ("before", "after")
BY_KEY, BY_ROWID, BY_ROWS = "primary key", "rowid", "whole rows"
# Of SQLite's virtual machine, between two looks at the deadline.
_STEPS = 100_000
_ROWIDS = ("rowid", "_rowid_", "oid")
# What `PRAGMA table_xinfo` calls a column whose values are stored: an ordinary one, a generated one that is kept.
_STORED = (0, 3)


@dataclass
class Table:
    """How a table differs. ``by`` says what a row was known by; counts are None when they are not known.

    The rows were compared in the columns that both have. ``trouble`` says why they could not be.
    """

    name: str
    change: str = SAME
    by: str = ""
    rows_before: int | None = None
    rows_after: int | None = None
    added: int | None = None
    removed: int | None = None
    changed: int | None = None
    columns_added: list[str] = field(default_factory=list)
    columns_removed: list[str] = field(default_factory=list)
    trouble: str = ""


@dataclass(frozen=True)
class Object:
    """A table, index, view or trigger that differs, with the SQL that makes it on each side."""

    type: str
    name: str
    change: str
    before: str | None
    after: str | None


@dataclass
class Differences:
    """``header`` are the fields that differ, each with its two values; ``schema`` the objects that do; all tables."""

    header: dict[str, list[Any]]
    schema: list[Object]
    tables: list[Table]

    @property
    def identical(self) -> bool:
        return not self.header and not self.schema and all(each.change == SAME for each in self.tables)

    def to_json(self) -> dict[str, Any]:
        return {"identical": self.identical, **asdict(self)}


class _Column(NamedTuple):
    name: str
    type: str
    key: int
    stored: bool


class _Unusable(Exception):  # noqa: N818 - it says why, and is no failure
    """Why rows cannot be told apart by what is said to be their key."""


def between(
    before: Path, after: Path, place: Path, *, tables: Sequence[str] = (), deadline: Deadline | None = None
) -> Differences:
    """What differs between two private files that nobody writes; with ``tables`` only in those, and what is theirs.

    ``place`` is a private directory. Raises ``UsageError`` for a table that is in neither.
    """
    deadline = deadline or Deadline(None)
    try:
        with confined.bounded(deadline.seconds), contextlib.closing(_opened(before, after, place)) as connection:
            connection.set_progress_handler(deadline.passed, _STEPS)
            return _differences(connection, _header(before, after), tables)
    except sqlite3.Error as error:
        raise database.from_sqlite_error(error, after) from error


def _header(before: Path, after: Path) -> dict[str, list[Any]]:
    facts = [header.facts() if (header := database.read_header(each)) else {} for each in (before, after)]
    fields = sorted({*facts[0], *facts[1]})
    return {each: [one.get(each) for one in facts] for each in fields if facts[0].get(each) != facts[1].get(each)}


def _opened(before: Path, after: Path, place: Path) -> database.Connection:
    """A connection to a new scratch database, with both files attached as they are called in ``SIDES``."""
    headers = [database.read_header(each) for each in (before, after)]
    encodings = list(dict.fromkeys(each.encoding for each in headers if each))
    if len(encodings) > 1:
        raise UsageError(
            f"their texts are encoded as {' and '.join(encodings)}, and SQLite attaches only what is encoded alike.",
            hint="Restore both to files of their own, and compare what `sqlite3 FILE .dump` prints.",
        )
    connection = database.connect(place / "comparing.sqlite", mode="rwc")
    try:
        for statement in (
            f"encoding='{encodings[0] if encodings else 'UTF-8'}'",
            "journal_mode=OFF",
            "synchronous=OFF",
            "temp_store=FILE",
            # Of SQLite's own functions none does harm, and others are not there: see the room `schema`.
            "trusted_schema=ON",
            # What cannot be parsed of a schema is left out, and the rest can be compared.
            "writable_schema=ON",
        ):
            connection.execute(f"PRAGMA {statement}").fetchall()
        connection.text_factory = lambda data: data.decode("utf-8", errors="surrogateescape")
        for side, path in zip(SIDES, (before, after)):
            database.attach(connection, path, side)
        connection.set_authorizer(_without_views)
    except BaseException:
        connection.close()
        raise
    return connection


def _without_views(_action: int, _one: object, _two: object, _database: object, inside: object) -> int:
    """A schema can call a view a table; what is done for a view or a trigger is not done."""
    return int(sqlite3.SQLITE_OK if inside is None else sqlite3.SQLITE_DENY)


def _differences(connection: database.Connection, header: dict[str, list[Any]], wanted: Sequence[str]) -> Differences:
    objects = [_objects(connection, side) for side in SIDES]
    names = [[name for (kind, name), entry in side.items() if kind == "table" and entry.stored] for side in objects]
    every = sorted({*names[0], *names[1]})
    missing = sorted({*wanted} - {*every})
    if missing:
        raise UsageError(
            f"there is no table {missing[0]!r} in either of them.", hint="Name a table, not a view or a virtual table."
        )
    chosen = [each for each in every if not wanted or each in wanted]
    schema = [
        _object(key, *(side.get(key) for side in objects))
        for key in sorted({*objects[0], *objects[1]})
        if not wanted or any(side[key].table in wanted for side in objects if key in side)
    ]
    tables = [_table(connection, each, [each in side for side in names]) for each in chosen]
    return Differences(header, [each for each in schema if each.change != SAME], tables)


class _Entry(NamedTuple):
    table: str
    sql: str | None
    stored: bool


def _objects(connection: database.Connection, side: str) -> dict[tuple[str, str], _Entry]:
    """What the schema of a side names, without SQLite's own."""
    rows = connection.execute(
        "SELECT CAST(type AS TEXT), CAST(name AS TEXT), CAST(tbl_name AS TEXT), CAST(sql AS TEXT), rootpage "
        f"FROM {side}.sqlite_master WHERE type IS NOT NULL AND name IS NOT NULL"
    )
    return {
        (kind, name): _Entry(table or "", sql, isinstance(root, int) and root > 0)
        for kind, name, table, sql, root in rows
        if not name.lower().startswith("sqlite_")
    }


def _object(key: tuple[str, str], before: _Entry | None, after: _Entry | None) -> Object:
    sql = [None if each is None or each.sql is None else _shown(each.sql) for each in (before, after)]
    change = ADDED if before is None else REMOVED if after is None else SAME if before.sql == after.sql else CHANGED
    return Object(_shown(key[0]), _shown(key[1]), change, *sql)


def _shown(text: str) -> str:
    """``text``, of which some bytes may not be UTF-8, as text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _table(connection: database.Connection, name: str, there: Sequence[bool]) -> Table:
    found = Table(_shown(name), CHANGED if all(there) else ADDED if there[1] else REMOVED)
    try:
        _check_can_be_named(name)
        found.rows_before, found.rows_after = (
            _count(connection, side, name) if is_there else None for side, is_there in zip(SIDES, there)
        )
        if all(there):
            _compare(connection, name, found)
        else:
            found.added, found.removed = found.rows_after or 0, found.rows_before or 0
            found.changed = 0
    except _Unusable as error:
        found.trouble = str(error)
    except sqlite3.DatabaseError as error:
        # Raises what says something of a disk, or of the time that passed.
        found.trouble = _shown(proof.judge(error))
    if found.trouble:
        found.change = UNKNOWN if all(there) else found.change
        found.added = found.removed = found.changed = None
    elif all(there):
        unlike = (found.added, found.removed, found.changed, found.columns_added, found.columns_removed)
        found.change = CHANGED if any(unlike) else SAME
    return found


def _check_can_be_named(*names: str) -> None:
    for each in names:
        if _shown(each) != each or "\0" in each:
            raise _Unusable(f"the name {_shown(each)!r} cannot be written in SQL")


def _count(connection: database.Connection, side: str, name: str) -> int:
    # Not in an index, whose order this SQLite may not know.
    return int(connection.execute(f"SELECT count(*) FROM {side}.{quoted(name)} NOT INDEXED").fetchone()[0])


def _compare(connection: database.Connection, name: str, found: Table) -> None:
    """The rows that both sides have of a table, and the columns that only one of them has."""
    columns = [_columns(connection, side, name) for side in SIDES]
    stored = [[each.name for each in side if each.stored] for side in columns]
    found.columns_removed = [_shown(each) for each in stored[0] if each not in stored[1]]
    found.columns_added = [_shown(each) for each in stored[1] if each not in stored[0]]
    common = [each for each in stored[0] if each in stored[1]]
    if not common:
        raise _Unusable("the two have no column in common")
    _check_can_be_named(*common)
    try:
        found.by, key = _key(connection, name, columns)
        matched, found.changed = _matched(connection, name, key, common)
        found.added, found.removed = _rest(found, matched)
    except (_Unusable, sqlite3.OperationalError) as error:
        if isinstance(error, sqlite3.OperationalError) and not str(error).startswith("no such collation"):
            raise
        found.by = BY_ROWS
        found.added, found.removed = _unmatched(connection, name, common)
        found.changed = 0


def _rest(found: Table, matched: int) -> tuple[int, int]:
    """How many rows of the later side, and of the earlier one, are not ``matched``."""
    rest = (found.rows_after or 0) - matched, (found.rows_before or 0) - matched
    if min(rest) < 0:
        raise _Unusable("two rows of a damaged table have the same key")
    return rest


def _columns(connection: database.Connection, side: str, name: str) -> list[_Column]:
    rows = connection.execute(f"PRAGMA {side}.table_xinfo({quoted(name)})")
    return [_Column(column, kind, key, hidden in _STORED) for _n, column, kind, _null, _default, key, hidden in rows]


def _key(connection: database.Connection, name: str, columns: Sequence[Sequence[_Column]]) -> tuple[str, Sequence[str]]:
    """What tells one row from another, which must be the same on both sides. Raises ``_Unusable``."""
    keys = [sorted((each for each in side if each.key), key=lambda each: each.key) for side in columns]
    if [(each.name, each.type.lower()) for each in keys[0]] != [(each.name, each.type.lower()) for each in keys[1]]:
        raise _Unusable
    names = [each.name for each in keys[0]]
    if not names:
        taken = {each.name.lower() for side in columns for each in side}
        free = [each for each in _ROWIDS if each not in taken]
        if not free:
            raise _Unusable
        return BY_ROWID, free[:1]
    orders = [_collations(connection, side, name) for side in SIDES]
    if orders[0] != orders[1] or any(_has_null(connection, side, name, names) for side in SIDES):
        raise _Unusable
    return BY_KEY, names


def _collations(connection: database.Connection, side: str, name: str) -> list[tuple[str, str]]:
    """The columns of the index of a primary key, each with its order; empty for one that is the rowid."""
    indexes = connection.execute(f"PRAGMA {side}.index_list({quoted(name)})").fetchall()
    found: list[tuple[str, str]] = []
    for index in (each[1] for each in indexes if each[3] == "pk"):
        rows = connection.execute(f"PRAGMA {side}.index_xinfo({quoted(index)})").fetchall()
        found.extend((str(each[2]), str(each[4])) for each in rows if each[5])
    return found


def _has_null(connection: database.Connection, side: str, name: str, key: Sequence[str]) -> bool:
    """Whether a key has no value, which SQLite allows, and then more than one row may have that key."""
    nulls = " OR ".join(f"{quoted(each)} IS NULL" for each in key)
    return connection.execute(f"SELECT 1 FROM {side}.{quoted(name)} WHERE {nulls} LIMIT 1").fetchone() is not None


def _matched(connection: database.Connection, name: str, key: Sequence[str], common: Sequence[str]) -> tuple[int, int]:
    """How many rows both sides have by their key, and how many of these differ."""
    same = " AND ".join(f"b.{_named(each)} = a.{_named(each)}" for each in key)
    # A row value, since an expression of many parts may be nested too deeply.
    one, other = (", ".join(_exactly(side, common)) for side in "ab")
    matched, changed = connection.execute(
        f"SELECT count(*), count(CASE WHEN ({one}) IS NOT ({other}) THEN 1 END) "
        f"FROM before.{quoted(name)} AS a CROSS JOIN after.{quoted(name)} AS b ON {same}"
    ).fetchone()
    return int(matched), int(changed)


def _named(column: str) -> str:
    # In quotes a name that is no column would be a text.
    return column if column in _ROWIDS else quoted(column)


def _exactly(side: str, columns: Sequence[str]) -> Iterator[str]:
    """Expressions that are equal only for equal values: 1, 1.0 and '1' differ, as do 'a' and 'A'."""
    for each in columns:
        yield f"(+{side}.{quoted(each)}) COLLATE BINARY"
        yield f"typeof({side}.{quoted(each)})"


def _unmatched(connection: database.Connection, name: str, common: Sequence[str]) -> tuple[int, int]:
    """How many whole rows only the later side has, and only the earlier one, each as often as it is there."""
    own = [f"v{number}" for number in range(len(common))]
    connection.execute(f"CREATE TABLE main.compared({', '.join(own)}, n)")
    try:
        values = ", ".join(f"+{quoted(each)}" for each in common)
        for side, sign in zip(SIDES, (-1, 1)):
            connection.execute(
                f"INSERT INTO main.compared SELECT {values}, {sign} FROM {side}.{quoted(name)} NOT INDEXED"
            )
        groups = ", ".join(f"{each}, typeof({each})" for each in own)
        query = f"SELECT sum(n) FROM main.compared GROUP BY {groups} HAVING sum(n) <> 0"
        added = removed = 0
        for (count,) in connection.execute(query):
            added, removed = added + max(count, 0), removed + max(-count, 0)
    finally:
        connection.execute("DROP TABLE main.compared")
    return added, removed
