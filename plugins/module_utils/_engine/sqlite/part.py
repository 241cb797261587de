# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a database in a file of its own: whole tables, or what a query yields. The database is only read."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..system import confined
from ..system.clock import Deadline
from ..system.errors import EngineError, ProgramMissingError, UsageError
from . import database, permits, schema, tables
from .library import sqlite3
from .proof import quoted

_PART = "part"
# Of SQLite's virtual machine, between two looks at the deadline.
_STEPS = 100_000
# As SQLite stores it, whatever was written: https://www.sqlite.org/schematab.html#interpretation_of_the_schema_table
_MAKES = re.compile(r"(CREATE TABLE |CREATE (?:UNIQUE )?INDEX )")
# What may be done to the new file, by the numbers of https://www.sqlite.org/c3ref/c_alter_table.html
_WRITES = {*("SQLITE_CREATE_TABLE", "SQLITE_CREATE_INDEX", "SQLITE_INSERT", "SQLITE_UPDATE"), "SQLITE_REINDEX"}


class Part:
    """The new file ``path``, filled out of the private file ``image``, which nobody writes.

    ``rows`` are those of each of its tables, ``left_out`` says what could not be made in it.
    """

    def __init__(self, image: Path, path: Path, *, deadline: Deadline | None = None) -> None:
        self._image = image
        self._path = path
        self._deadline = deadline or Deadline(None)
        self.rows: dict[str, int] = {}
        self.left_out: list[str] = []

    def add_tables(self, names: Sequence[str]) -> None:
        """Copy whole tables: their schema, their rows, their indexes. Raises ``UsageError`` for what is no table."""
        with self._connection() as connection:
            found = [_definition(connection, each) for each in dict.fromkeys(names)]
            for name, sql in found:
                try:
                    connection.execute(_in_part(sql))
                    self.rows[name] = _copy_rows(connection, name)
                except sqlite3.OperationalError as error:
                    _check_lack(error, name)
                    raise
                _copy_sequence(connection, name)
                self._add_indexes(connection, name)

    def add_query(self, sql: str, name: str) -> None:
        """Store what one SELECT yields as the table ``name``. Raises ``UsageError`` for anything but a SELECT."""
        with self._connection() as connection:
            try:
                connection.execute(f"CREATE TABLE {_PART}.{quoted(name)} AS {sql}")
            except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
                raise _of_query(error, self._image) from error
            self.rows[name] = _count(connection, name)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[database.Connection]:
        """The image as ``main``, so that a query finds its tables, and the new file beside it."""
        header = database.read_header(self._image)
        try:
            with (
                confined.bounded(self._deadline.seconds),
                contextlib.closing(database.connect(self._image, immutable=True)) as connection,
            ):
                schema.load(connection, header)
                database.attach(connection, self._path, _PART, mode="rwc")
                for setting in (f"{_PART}.journal_mode=OFF", f"{_PART}.synchronous=OFF", "temp_store=FILE"):
                    connection.execute(f"PRAGMA {setting}").fetchall()
                # What is in the table is copied, also what its constraints would not let in today.
                connection.execute("PRAGMA ignore_check_constraints=ON")
                connection.execute("PRAGMA foreign_keys=OFF")
                connection.set_progress_handler(self._deadline.passed, _STEPS)
                permits.begin_virtual_tables(connection)
                connection.set_authorizer(permits.reading(_is_in_part))
                yield connection
        except sqlite3.Error as error:
            raise database.from_sqlite_error(error, self._image) from error

    def _add_indexes(self, connection: database.Connection, name: str) -> None:
        indexes = connection.execute(
            "SELECT CAST(name AS TEXT), CAST(sql AS TEXT) FROM main.sqlite_master "
            "WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL ORDER BY rowid",
            (name,),
        ).fetchall()
        for index, sql in indexes:
            try:
                connection.execute(_in_part(sql))
            except (sqlite3.OperationalError, UsageError) as error:
                if isinstance(error, sqlite3.OperationalError) and not str(error).startswith(("no such", "unsafe")):
                    raise
                self.left_out.append(f"the index {index} of {name} is left out: {error}")


def _is_in_part(action: int, _what: str | None, where: str | None) -> bool:
    """Whatever a query or a schema says: the new file is filled, nothing else is done beside reading."""
    return where == _PART and action in permits.numbers(_WRITES)


def _in_part(sql: str) -> str:
    """The statement that makes in the new file what ``sql`` made in the old one."""
    found = _MAKES.match(sql)
    if found is None:
        raise UsageError(f"its schema is not one that SQLite writes: {sql!r:.60}.", hint="Use a query instead.")
    return f"{found[1]}{_PART}.{sql[found.end() :]}"


def _definition(connection: database.Connection, name: str) -> tuple[str, str]:
    """A table that is there, with the SQL that makes it."""
    found = connection.execute(
        "SELECT CAST(name AS TEXT), CAST(sql AS TEXT), type, rootpage FROM main.sqlite_master "
        "WHERE name = ? AND type IN ('table', 'view')",
        (name,),
    ).fetchone()
    if found is None:
        raise UsageError(f"there is no table {name!r} in it.", hint="Its tables: " + _told(connection))
    if found[2] == "view" or not found[3] or not found[1]:
        kind = "view" if found[2] == "view" else "virtual table"
        raise UsageError(f"{name!r} is a {kind}.", hint="Take its rows with a query.")
    return found[0], found[1]


def _told(connection: database.Connection) -> str:
    rows = connection.execute(
        "SELECT CAST(name AS TEXT) FROM main.sqlite_master WHERE type = 'table' AND rootpage > 0 "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return f"{', '.join(name for (name,) in rows) or 'none'}."


def _copy_rows(connection: database.Connection, name: str) -> int:
    """Copy the rows, with their rowids where they have any that can be named; how many there are."""
    stored = [quoted(each) for each, _type in tables.columns(connection, name)]
    rowid = tables.rowid_of(connection, name)
    chosen = ", ".join([*([rowid] if rowid else []), *stored])
    connection.execute(
        f"INSERT INTO {_PART}.{quoted(name)} ({chosen}) SELECT {chosen} FROM main.{quoted(name)} NOT INDEXED"
    )
    return _count(connection, name)


def _count(connection: database.Connection, name: str) -> int:
    return int(connection.execute(f"SELECT count(*) FROM {_PART}.{quoted(name)}").fetchone()[0])


def _copy_sequence(connection: database.Connection, name: str) -> None:
    """Let ``AUTOINCREMENT`` go on behind the highest number that was ever given."""
    counted = "SELECT 1 FROM {}.sqlite_master WHERE name = 'sqlite_sequence'"
    if not all(connection.execute(counted.format(each)).fetchone() for each in ("main", _PART)):
        return
    found = connection.execute("SELECT seq FROM main.sqlite_sequence WHERE name = ?", (name,)).fetchone()
    if found is None:
        return
    done = connection.execute(f"UPDATE {_PART}.sqlite_sequence SET seq = ? WHERE name = ?", (*found, name))
    if not done.rowcount:
        connection.execute(f"INSERT INTO {_PART}.sqlite_sequence VALUES (?, ?)", (name, *found))


def _check_lack(error: sqlite3.Error, name: str) -> None:
    """Raise ``ProgramMissingError`` when ``error`` tells of a table that only its application's SQLite can make."""
    if str(error).startswith(("no such", "unsafe use", "unknown")):
        raise ProgramMissingError(
            f"the table {name!r} cannot be made by this SQLite: {error}.", hint="Take its rows with a query."
        ) from error


def _of_query(error: Exception, image: Path) -> EngineError:
    """What is wrong with a query, unless it is the time, the disk, or the image."""
    text = str(error)
    if isinstance(error, sqlite3.Error):
        known = database.from_sqlite_error(error, image)
        if known.code != EngineError.code and "prohibited" not in text and "authorized" not in text:
            return known
    return UsageError(f"the query is not one that reads: {text}.", hint="Give one SELECT, without another behind it.")
