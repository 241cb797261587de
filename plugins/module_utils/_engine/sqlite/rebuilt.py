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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system import confined, places
from ..system.clock import Deadline
from ..system.errors import BackupDamagedError, EngineError, ProgramMissingError, SourceBusyError
from . import contents, database, makes, ours, permits, values
from .contents import Contents, Object
from .library import sqlite3
from .portable import Export
from .proof import quoted
from .virtual import parsed

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
_OWN = permits.MODULE_ACTIONS | {"SQLITE_TRANSACTION", "SQLITE_ANALYZE"}
# What a rehearsal may take: it makes no rows, and the longest schema.
_REHEARSAL_SECONDS = 60.0
_REHEARSAL_BYTES = 256 * 1024 * 1024
# Where in the header stands that the file has a log: https://www.sqlite.org/fileformat2.html#file_format_version_numbers
_VERSIONS_AT = 18
_UNTRUE = "Make the export again. If it came from somebody else, ask where it is from."
_TABLES = (contents.TABLE, contents.VIRTUAL, contents.MADE, contents.INTERNAL)
_LACKS = ("no such module", "no such tokenizer", "no such collation", "no such function", "unknown", "unsafe")

# What SQLite would not turn into UTF-16 as it is.
_CHANGED = re.compile("[\ufffe\uffff]")
# Bytes that are bound would be taken for UTF-8; those that a function gives are in the encoding of the database.
_AS_TEXT = "CAST(substr(?, 1) AS TEXT)"


class UnbuiltError(BackupDamagedError):
    """SQLite refuses what the export tells; that can be so of a whole one, too."""


def build(export: Export, path: Path, *, deadline: Deadline) -> None:
    """Fill the empty private file ``path``. That it is right is the caller's to prove."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(confined.bounded(deadline.seconds))
        stack.enter_context(_explained(path))
        # SQLite opens by name; what it has when this ends needs no name any more.
        with ours.rights(path.parent):
            connection = stack.enter_context(contextlib.closing(database.connect(path, mode="rw")))
            made = _Rebuilt(connection, export.settings, export.objects, deadline)
            made.prepare(shutil.disk_usage(path.parent).free - _MARGIN_BYTES)
        made.run(export.tables())
    if export.settings["journal_mode"] == "wal":
        with open(places.open_regular(path, os.O_RDWR), "r+b") as file:
            file.seek(_VERSIONS_AT)
            file.write(b"\2\2")


def rehearse(source: Contents, *, seconds: float | None) -> str:
    """Build, in memory, all but the rows of what an export is to tell; what an import says against it, if anything.

    Only what comes of rows is not known then.
    """
    deadline = Deadline(min(_REHEARSAL_SECONDS, _REHEARSAL_SECONDS if seconds is None else seconds))
    nothing: list[list[list[Any]]] = []
    try:
        with (
            confined.bounded(deadline.seconds),
            _explained(Path()),
            contextlib.closing(database.connect_in_memory()) as connection,
        ):
            made = _Rebuilt(connection, source.settings, source.objects, deadline)
            made.prepare(_REHEARSAL_BYTES)
            made.run((each, nothing) for each in source.objects if each.rows is not None)
    except EngineError as error:
        return error.cause
    return ""


class _Rebuilt:
    """The steps of it, in one transaction: tables and rows first, and last what would act on rows that come."""

    def __init__(
        self,
        connection: database.Connection,
        settings: Mapping[str, Any],
        objects: Sequence[Object],
        deadline: Deadline,
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._objects = objects
        self._deadline = deadline
        self._codec = values.CODECS[settings["encoding"]]
        self._allowed: set[int] = set()
        self._readable = False
        connection.set_progress_handler(deadline.passed, contents.STEPS)

    def run(self, tables: Iterable[tuple[Object, Iterable[list[list[Any]]]]]) -> None:
        self._connection.set_authorizer(permits.reading(self._is_allowed, endless=False))
        with self._doing_ourselves():
            self._connection.execute("BEGIN")
            # Only with its first table SQLite notes the encoding in the file.
            self._connection.execute("CREATE TABLE main.first(a)")
            self._connection.execute("DROP TABLE main.first")
        self._make_all(self._of(contents.TABLE))
        for table, batches in tables:
            if table.type != contents.TABLE:
                self._make_what_reads()
            self._fill(table, batches)
        self._make_what_reads()
        for each in self._of(contents.VIRTUAL):
            if contents.content_of(each, self._objects):
                self._command(each.name, "rebuild")
        self._make_all(self._of(contents.TRIGGER))
        self._check_all()
        for name in ("application_id", "user_version"):
            self._own(f"PRAGMA {name}={self._settings[name]}")
        self._own("COMMIT")

    def prepare(self, most_bytes: int) -> None:
        """Make the settings, and have the file locked for good, so that nothing beside it is ever looked at.

        It never takes more than ``most_bytes``.
        """
        settings = self._settings
        page_size = settings["page_size"]
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
            f"max_page_count={max(1, most_bytes // page_size)}",
        ):
            self._connection.execute(f"PRAGMA {setting}").fetchall()
        # With the first read comes the look for a journal, and the lock that stays.
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchall()

    def _make_all(self, objects: Iterable[Object]) -> None:
        for each in objects:
            self._make(each)

    def _make_what_reads(self) -> None:
        """What is made best when the ordinary rows are there; once."""
        if not self._readable:
            self._readable = True
            made = {each.name for each in self._of(contents.MADE)}
            indexes = self._of(contents.INDEX)
            self._make_all(each for each in indexes if each.table not in made)
            self._make_all(self._of(contents.VIEW))
            self._make_all(self._of(contents.VIRTUAL))
            self._make_all(each for each in indexes if each.table in made)
            if any(each.name == contents.STATISTICS for each in self._of(contents.INTERNAL)):
                self._own("ANALYZE sqlite_master")

    def _of(self, kind: str) -> list[Object]:
        return [each for each in self._objects if each.type == kind]

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
        if each.type == contents.VIRTUAL and contents.module(each) not in makes.MODULES:
            return self._declare(each)
        start, actions = _MAKES[each.type]
        if not each.sql.startswith(start):
            raise _untrue(each)
        virtual = each.type == contents.VIRTUAL
        if virtual and parsed(each.sql).name != each.name:
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
            if name == contents.AUTOMERGE and contents.module(each) != "fts5":
                self._command(each.name, f"{name}={value}")
            else:
                self._command(each.name, name, value)
        return None

    def _check_all(self) -> None:
        """See that all is there that was told, and nothing else, by what SQLite says."""
        rows = self._own("SELECT type, name FROM main.sqlite_master WHERE sql IS NOT NULL")
        told = [("table" if each.type in _TABLES else each.type, each.name) for each in self._objects]
        different = {each for each in rows if each[1] not in contents.LEFT_OUT} ^ set(told)
        if different:
            kind, name = min(different)
            cause = f"its schema and what was made of it differ in the {kind} {name!r:.100}."
            raise BackupDamagedError(cause, hint=_UNTRUE)

    def _declare(self, each: Object) -> None:
        """Write down a virtual table of a module that has no rows of its own, or that this SQLite may not have."""
        if parsed(each.sql).name != each.name or not _is_one_statement(each.sql):
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

    def _fill(self, table: Object, batches: Iterable[list[list[Any]]]) -> None:
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
        taken = {each.name.lower() for each in self._objects}
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


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What SQLite says of what it is to make at ``path``, as the engine's error."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise UnbuiltError(f"its rows do not fit its schema: {error}.", hint=_UNTRUE) from error
    except sqlite3.Error as error:
        text = str(error)
        if text.startswith(_LACKS):
            hint = "Use a Python whose SQLite has that."
            raise ProgramMissingError(f"this SQLite cannot make it: {text}.", hint=hint) from error
        known = database.from_sqlite_error(error, path)
        if known.code not in (1, 12, 20):
            raise known from error
        raise UnbuiltError(f"SQLite refuses what it tells: {text}.", hint=_UNTRUE) from error
