# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A new database, made of what an export tells. That is data from outside: it makes this one file, and does no more."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..system import confined, owners, places
from ..system.clock import Deadline
from ..system.errors import BackupDamagedError, ProgramMissingError, SourceBusyError
from . import contents, database, permits, proof, values
from .contents import Object
from .library import sqlite3
from .portable import Export
from .proof import quoted

# What is left of a disk, whatever comes.
_MARGIN_BYTES = 16 * 1024 * 1024
_MAKES = {
    # With the indexes of its keys, and the one table that counts for all.
    contents.TABLE: ("CREATE TABLE ", {"SQLITE_CREATE_TABLE", "SQLITE_CREATE_INDEX"}),
    contents.INDEX: ("CREATE ", {"SQLITE_CREATE_INDEX", "SQLITE_REINDEX"}),
    contents.VIRTUAL: ("CREATE VIRTUAL TABLE ", {"SQLITE_CREATE_VTABLE"}),
    contents.VIEW: ("CREATE VIEW ", {"SQLITE_CREATE_VIEW"}),
    contents.TRIGGER: ("CREATE TRIGGER ", {"SQLITE_CREATE_TRIGGER"}),
}
# What a module does with its own tables, and this room with the file.
_OWN = {
    *("SQLITE_CREATE_TABLE", "SQLITE_CREATE_INDEX", "SQLITE_INSERT", "SQLITE_UPDATE", "SQLITE_DELETE"),
    *("SQLITE_TRANSACTION", "SQLITE_PRAGMA", "SQLITE_ANALYZE", "SQLITE_ALTER_TABLE", "SQLITE_DROP_TABLE"),
}
# Where in the header stands that the file has a log: https://www.sqlite.org/fileformat2.html#file_format_version_numbers
_VERSIONS_AT = 18
_UNTRUE = "Make the export again. If it came from somebody else, ask where it is from."
_LACKS = ("no such module", "no such tokenizer", "no such collation", "no such function", "unknown", "unsafe")

# What SQLite would not turn into UTF-16 as it is.
_CHANGED = re.compile("[\ufffe\uffff]")
# Bytes that are bound would be taken for UTF-8; those that a function gives are in the encoding of the database.
_AS_TEXT = "CAST(substr(?, 1) AS TEXT)"


def build(export: Export, path: Path, *, deadline: Deadline) -> None:
    """Fill the empty private file ``path``. That it is right is the caller's to prove."""
    try:
        with (
            confined.bounded(deadline.seconds),
            contextlib.closing(database.connect(path, mode="rw")) as connection,
        ):
            connection.set_progress_handler(deadline.passed, contents.STEPS)
            _Rebuilt(connection, export, path, deadline).run()
    except sqlite3.IntegrityError as error:
        raise BackupDamagedError(f"its rows do not fit its schema: {error}.", hint=_UNTRUE) from error
    except sqlite3.Error as error:
        raise _explained(error, path) from error
    if export.settings["journal_mode"] == "wal":
        with open(places.open_regular(path, os.O_RDWR), "r+b") as file:
            file.seek(_VERSIONS_AT)
            file.write(b"\2\2")


class _Rebuilt:
    """The steps of it, in one transaction: tables and rows first, and last what would act on rows that come."""

    def __init__(self, connection: database.Connection, export: Export, path: Path, deadline: Deadline) -> None:
        self._connection = connection
        self._export = export
        self._path = path
        self._deadline = deadline
        self._codec = values.CODECS[export.settings["encoding"]]
        self._allowed: set[int] = set()
        self._readable = False

    def run(self) -> None:
        # SQLite opens by name, here for the first time; what it then has needs no name any more.
        with owners.acting_as_owner(self._path):
            self._prepare()
        self._connection.set_authorizer(permits.reading(self._is_allowed, endless=False))
        with self._doing_ourselves():
            self._connection.execute("BEGIN")
            # Only with its first table SQLite notes the encoding in the file.
            self._connection.execute("CREATE TABLE main.first(a)")
            self._connection.execute("DROP TABLE main.first")
        self._make_all(contents.TABLE)
        for table, batches in self._export.tables():
            if table.type != contents.TABLE:
                self._make_what_reads()
            self._fill(table, batches)
        self._make_what_reads()
        for each in self._of(contents.VIRTUAL):
            if contents.is_elsewhere(each.sql) and not contents.is_nowhere(each.sql):
                self._command(each.name, "rebuild")
        self._make_all(contents.TRIGGER)
        for name in ("application_id", "user_version"):
            self._own(f"PRAGMA {name}={self._export.settings[name]}")
        self._own("COMMIT")

    def _prepare(self) -> None:
        settings = self._export.settings
        page_size = settings["page_size"]
        free_bytes = shutil.disk_usage(self._path.parent).free - _MARGIN_BYTES
        for setting in (
            f"page_size={page_size}",
            f"encoding='{settings['encoding']}'",
            f"auto_vacuum={settings['auto_vacuum']}",
            "journal_mode=OFF",
            "synchronous=OFF",
            "locking_mode=EXCLUSIVE",
            "temp_store=FILE",
            "foreign_keys=OFF",
            # What was in a table is put there, also what its constraints would not let in today.
            "ignore_check_constraints=ON",
            # Of SQLite's own functions none does harm, and others are not there.
            "trusted_schema=ON",
            # A file that is made of a small one may be of any size.
            f"max_page_count={max(1, free_bytes // page_size)}",
        ):
            self._connection.execute(f"PRAGMA {setting}").fetchall()

    def _make_all(self, *kinds: str) -> None:
        for kind in kinds:
            for each in self._of(kind):
                self._make(each)

    def _make_what_reads(self) -> None:
        """What is made best when the ordinary rows are there; once."""
        if not self._readable:
            self._readable = True
            self._make_all(contents.INDEX, contents.VIRTUAL, contents.VIEW)
            if any(each.name == contents.STATISTICS for each in self._of(contents.INTERNAL)):
                self._own("ANALYZE sqlite_master")

    def _of(self, kind: str) -> list[Object]:
        return [each for each in self._export.objects if each.type == kind]

    def _is_allowed(self, action: int, what: str | None, where: str | None) -> bool:
        if action in (sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE) and what == "sqlite_master":
            return where == "main"
        return action in self._allowed and where in ("main", None)

    @contextlib.contextmanager
    def _allowing(self, names: set[str]) -> Iterator[None]:
        self._allowed = permits.numbers(names)
        try:
            yield
        finally:
            self._allowed = set()

    def _doing_ourselves(self) -> contextlib.AbstractContextManager[None]:
        return self._allowing(_OWN)

    def _own(self, sql: str, *parameters: Any) -> list[Any]:
        """A statement of ours."""
        with self._doing_ourselves():
            return self._connection.execute(sql, parameters).fetchall()

    def _make(self, each: Object) -> None:
        """Let SQLite make one thing of the schema, and see that it is just that."""
        if each.type == contents.VIRTUAL and contents.module(each.sql) not in contents.MODULES:
            return self._declare(each)
        start, actions = _MAKES[each.type]
        if not each.sql.startswith(start):
            raise _untrue(each)
        virtual = each.type == contents.VIRTUAL
        if virtual and proof.module_of(each.sql)[0] != each.name:
            raise _untrue(each)
        with self._allowing(actions | (_OWN if virtual else set())):
            try:
                self._connection.execute(each.sql)
            except (sqlite3.Warning, sqlite3.ProgrammingError, ValueError) as error:
                raise _untrue(each) from error
        kind = "table" if virtual else each.type
        query = "SELECT sql, tbl_name FROM main.sqlite_master WHERE type = ? AND name = ?"
        if self._connection.execute(query, (kind, each.name)).fetchall() != [(each.sql, each.table)]:
            raise _untrue(each)
        if each.rows is not None and contents.layout(self._connection, each)[0] != each.columns:
            raise _untrue(each)
        for name, value in each.settings:
            self._command(each.name, name, value)
        return None

    def _declare(self, each: Object) -> None:
        """Write down a virtual table of a module that has no rows of its own, or that this SQLite may not have."""
        if proof.module_of(each.sql)[0] != each.name or not _is_one_statement(each.sql):
            raise _untrue(each)
        self._own("PRAGMA writable_schema=ON")
        self._own(
            "INSERT INTO main.sqlite_master(type, name, tbl_name, rootpage, sql) VALUES ('table', ?, ?, 0, ?)",
            *(each.name, each.name, each.sql),
        )
        self._own("PRAGMA writable_schema=OFF")

    def _command(self, name: str, *words: Any) -> None:
        """Tell a full-text table something: https://www.sqlite.org/fts5.html#special_insert_commands."""
        columns = f"{quoted(name)}, rank" if len(words) > 1 else quoted(name)
        self._own(f"INSERT INTO main.{quoted(name)}({columns}) VALUES ({', '.join('?' * len(words))})", *words)

    def _fill(self, table: Object, batches: Iterator[list[list[Any]]]) -> None:
        if table.type == contents.INTERNAL:
            if table.name == contents.SEQUENCE and not self._has(table):
                self._make_sequence()
            if not self._has(table):
                raise _untrue(table)
            self._own(f"DELETE FROM main.{table.name}")
        rowid = contents.layout(self._connection, table)[1]
        if bool(rowid) != bool(table.rowid):
            raise _untrue(table)
        names = [*([rowid] if rowid else []), *(quoted(name) for name, _type in table.columns)]
        statement = f"INSERT INTO main.{quoted(table.name)}({', '.join(names)}) VALUES "
        for batch in batches:
            # A row takes too few steps for SQLite to ask.
            if self._deadline.passed():
                raise SourceBusyError("the timeout passed.", hint="Raise timeout.")
            self._insert(statement, batch)

    def _make_sequence(self) -> None:
        """Make SQLite's own table of numbers where nothing needs it: it stays when the last such table is dropped."""
        taken = {each.name.lower() for each in self._export.objects}
        free = next(name for number in itertools.count() if (name := f"counted{number}") not in taken)
        self._own(f"CREATE TABLE main.{free}(a INTEGER PRIMARY KEY AUTOINCREMENT)")
        self._own(f"DROP TABLE main.{free}")

    def _insert(self, statement: str, batch: list[list[Any]]) -> None:
        """A text is bound as the bytes that the database has, where SQLite would else change it."""
        rows = batch if self._codec == "utf-8" else ([_bound(each, self._codec) for each in row] for row in batch)
        for raw, some in itertools.groupby(rows, _places_of_raw):
            words = (_AS_TEXT if place in raw else "?" for place in range(len(batch[0])))
            with self._doing_ourselves():
                self._connection.executemany(
                    f"{statement}({', '.join(words)})",
                    map(_without_marks if raw else list, some),
                )

    def _has(self, table: Object) -> bool:
        query = "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = ?"
        ours = table.name in (contents.SEQUENCE, contents.STATISTICS)
        return ours and self._connection.execute(query, (table.name,)).fetchone() is not None


def _bound(value: Any, codec: str) -> Any:
    if isinstance(value, str) and _CHANGED.search(value):
        return values.RawText(value.encode(codec))
    return value


def _without_marks(row: Sequence[Any]) -> list[Any]:
    return [each.data if isinstance(each, values.RawText) else each for each in row]


def _places_of_raw(row: Sequence[Any]) -> tuple[int, ...]:
    if values.RawText not in map(type, row):
        return ()
    return tuple(place for place, each in enumerate(row) if isinstance(each, values.RawText))


def _is_one_statement(sql: str) -> bool:
    """Whether SQLite can read ``sql`` to its end as one statement; whether it could do it is another thing."""
    with contextlib.closing(sqlite3.connect(":memory:")) as nothing:
        nothing.set_authorizer(lambda *_words: int(sqlite3.SQLITE_OK))
        try:
            nothing.execute(f"EXPLAIN {sql}")
        except (sqlite3.Error, sqlite3.Warning, ValueError):
            return False
    return True


def _untrue(each: Object) -> BackupDamagedError:
    return BackupDamagedError(f"the {each.type} {each.name!r:.100} is not what its SQL makes.", hint=_UNTRUE)


def _explained(error: sqlite3.Error, path: Path) -> Exception:
    text = str(error)
    if text.startswith(_LACKS):
        return ProgramMissingError(f"this SQLite cannot make it: {text}.", hint="Use a Python whose SQLite has that.")
    known = database.from_sqlite_error(error, path)
    if known.code not in (1, 12, 20):
        return known
    return BackupDamagedError(f"SQLite refuses what it tells: {text}.", hint=_UNTRUE)
