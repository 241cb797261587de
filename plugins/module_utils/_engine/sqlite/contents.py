# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database consists of: the settings of its file, its schema, the rows of its tables, one at a time.

Tables come first, then what is made when their rows are there. A virtual table is its definition and what only it has:
its rows; those of a full-text table over another table, and the tables in which a virtual one keeps its rows, are made
again. Each thing of the schema is told, or left out by its name.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..system.errors import EngineError, ProgramMissingError, RefusedError, SourceCorruptError, UsageError
from . import makes, permits, proof, schema, tables, values, virtual
from .database import Connection, Header
from .library import sqlite3
from .proof import quoted

TABLE, INDEX, VIRTUAL, MADE, VIEW, TRIGGER, INTERNAL = (
    *("table", "index", "virtual", "made", "view", "trigger"),
    "internal",
)
ORDER = (TABLE, INDEX, VIRTUAL, MADE, VIEW, TRIGGER, INTERNAL)
SEQUENCE = "sqlite_sequence"
STATISTICS = "sqlite_stat1"
LEFT_OUT = ("sqlite_stat2", "sqlite_stat3", "sqlite_stat4")
"""Statistics of SQLite's own that ``ANALYZE`` makes again."""
_OLD_FULL_TEXT = ("fts3", "fts4")
_TREES = ("rtree", "rtree_i32")
# Of SQLite's virtual machine, between two looks at the deadline.
STEPS = 100_000
# https://www.sqlite.org/limits.html#max_column
_MOST_COLUMNS = 2000
AUTOMERGE = "automerge"
# https://www.sqlite.org/fts3.html#the_automerge_N_command is kept in this row, and this many levels are of a language.
_AUTOMERGE_ID = 2
_LEVELS = 1024
_LACKS = ("no such", "unsafe", "unknown")
_WITHOUT = "Name the other tables, and take this one out of a backup."


@dataclass(frozen=True)
class Object:
    """Something of the schema. ``rows`` are those that are to be written down; None when it has none of its own.

    ``rowid`` is how the rowid is named, where each row begins with it; ``columns`` have a name and a declared type.
    ``settings`` are those of a full-text table.
    """

    type: str
    name: str
    table: str
    sql: str
    columns: tuple[tuple[str, str], ...] = ()
    rowid: str = ""
    rows: int | None = None
    settings: tuple[tuple[str, Any], ...] = ()


def full_text(found: Object) -> virtual.FullText | None:
    """The options of a full-text table; None for anything else."""
    told = virtual.parsed(found.sql) if found.type == VIRTUAL else None
    return virtual.full_text(told) if told and told.module in virtual.FULL_TEXT else None


def module(found: Object) -> str:
    """The module of a virtual table."""
    return virtual.parsed(found.sql).module


def has_rows(found: Object) -> bool:
    """Whether a table or virtual table has rows that nothing else has."""
    options = full_text(found)
    return found.type != VIRTUAL or (module(found) in makes.MODULES and (options is None or options.content is None))


def content_of(found: Object, objects: Sequence[Object]) -> Object | None:
    """The table or view that has the texts of a full-text table, when that is one of ``objects``."""
    options = full_text(found)
    name = options.content.lower() if options and options.content else None
    known = (TABLE, VIRTUAL, VIEW)
    return next((each for each in objects if each.type in known and each.name.lower() == name), None)


class Contents:
    """What is in the database that is open, in a transaction or as a private file; with ``names`` only these tables.

    ``count`` is how many things its schema has, as SQLite counts them. ``left_out`` are those of them that are not
    told; what another one left out, of which this may be made, is to be ``given``. Raises ``UsageError`` for a name
    that is no table. From then on the connection only reads.
    """

    def __init__(
        self,
        connection: Connection,
        header: Header | None,
        names: Sequence[str] = (),
        *,
        given: Sequence[str] | None = None,
    ) -> None:
        self._connection = connection
        self._made = makes.Made()
        self._nulls: set[tuple[str, str]] = set()
        self._apart: tuple[Object, Object] | None = None
        self.count = 0
        self.left_out: tuple[str, ...] = ()
        self._codec = values.CODECS[header.encoding if header else "UTF-8"]
        self.names = tuple(dict.fromkeys(names))
        self.settings = _settings(header)
        trouble = schema.trouble(connection)
        self.warnings = [f"not all of its schema can be read: {trouble.text}"] if trouble else []
        permits.begin_virtual_tables(connection)
        connection.set_authorizer(permits.reading())
        connection.text_factory = values.text
        self._cursor: sqlite3.Cursor | None = None
        self.objects = self._objects()
        if given is not None:
            self.left_out = tuple(given)

    def close(self) -> None:
        """End what was not read to its end: until then the file stays open, whoever closes the connection."""
        if self._cursor is not None:
            self._cursor.close()

    def check_is_whole(self) -> None:
        """Raise unless a database can be made of what is told, as far as that can be seen."""
        if self._apart is not None:
            found, texts = self._apart
            only = " That is a view, which comes only with all tables." if texts.type == VIEW else ""
            raise UsageError(
                f"the texts of {found.name!r} are in {texts.name!r}, which was not named.{only}",
                hint=f"Leave out {found.name}." if only else f"Name {texts.name}, too.",
            )
        if len(self.objects) != self.count:
            raise RefusedError(
                f"its schema has {self.count} parts, and only {len(self.objects)} of them can be told.",
                hint="Name the tables to take, and report this.",
            )

    def rows(self, table: Object) -> Iterator[tuple[Any, ...]]:
        """The rows of a table in the order of their keys; a text that is none in its encoding is ``RawText``."""
        words = [*([table.rowid] if table.rowid else []), *(quoted(each) for each, _type in table.columns)]
        if self._codec != "utf-8":
            words = [_as_bytes(each) for each in words]
        order = f"ORDER BY {table.rowid or quoted(table.columns[0][0])}" if table.type == VIRTUAL else "NOT INDEXED"
        only = self.names if table.name == SEQUENCE else ()
        where = f" WHERE {_named(only)}" if only else ""
        query = f"SELECT {', '.join(words)} FROM main.{quoted(table.name)} {order}{where}"
        # One of SQLite's own: ours looks at each row for a message that is not UTF-8, and no name here is.
        self._cursor = sqlite3.Connection.cursor(self._connection)
        found = self._cursor.execute(query, only)
        count = 0
        never = tables.never_null(self._connection, table.name) if table.type == TABLE else set()
        places = [place for place, (name, _type) in enumerate(table.columns, bool(table.rowid)) if name in never]
        # Of one place it would give no tuple.
        kept = operator.itemgetter(*places, places[0]) if places else None
        for row in found:
            count += 1
            if kept is not None and None in kept(row):
                self._note_nulls(table, row, never)
            yield row if self._codec == "utf-8" else tuple(_from_bytes(each, self._codec) for each in row)
        if count != table.rows:
            raise SourceCorruptError(
                f"the table {table.name!r} has {count} rows, and {table.rows} by its index.",
                hint="Verify it, and restore the newest good backup.",
            )

    def _note_nulls(self, table: Object, row: Sequence[Any], never: set[str]) -> None:
        for (name, _type), value in zip(table.columns, row[bool(table.rowid) :]):
            if value is None and name in never and (table.name, name) not in self._nulls:
                self._nulls.add((table.name, name))
                self.warnings.append(
                    f"the column {name} of {table.name} is NOT NULL and holds NULL: no import takes that. Give these "
                    "rows a value in the database, then export again"
                )

    def _objects(self) -> list[Object]:
        found = [_checked(*row) for row in self._connection.execute(_SCHEMA)]
        virtuals = [(name, sql) for kind, name, _table, sql, root in found if kind == TABLE and not root]
        ordinary = {name for kind, name, _table, _sql, root in found if kind == TABLE and root}
        self._made = makes.learned(self._connection, virtuals, ordinary)
        told = [each for row in found if (each := self._object(*row)) is not None]
        self.count = len(found) - len(self.left_out)
        if self.names:
            told = self._chosen(told)
            self.count, self.left_out = len(told), ()
        described = [self._described(each) for of in ORDER for each in told if each.type == of]
        for each in described:
            self._look_at_texts(each, described)
        return described

    def _object(self, kind: str, name: str, table: str, sql: str, root: Any) -> Object | None:
        if kind == TABLE and name in self._made.by:
            return Object(MADE, name, self._made.by[name], "")
        if kind == TABLE and name in (SEQUENCE, STATISTICS):
            return Object(INTERNAL, name, name, "")
        if kind == TABLE and name in LEFT_OUT:
            self.left_out += (name,)
            if not self.names:
                self.warnings.append(f"{name} is left out: ANALYZE makes such statistics again")
            return None
        return Object(VIRTUAL if kind == TABLE and not root else kind, name, table, sql)

    def _chosen(self, told: Sequence[Object]) -> list[Object]:
        known = [each.name for each in told if each.type in (TABLE, VIRTUAL)]
        for name in self.names:
            if name not in known:
                raise UsageError(
                    f"there is no table {name!r} in it.", hint=f"Its tables: {', '.join(sorted(known)) or 'none'}."
                )
        counted = any("autoincrement" in each.sql.lower() for each in told if each.name in self.names)
        theirs = {*self.names, *(name for name, of in self._made.by.items() if of in self.names)}
        wanted = [each for each in told if each.table in theirs and each.type in (TABLE, INDEX, VIRTUAL, MADE)]
        apart = ((each, content_of(each, told)) for each in wanted)
        self._apart = next(((each, texts) for each, texts in apart if texts is not None and texts not in wanted), None)
        return wanted + [each for each in told if each.name == SEQUENCE and counted]

    def _described(self, found: Object) -> Object:
        if found.type not in (TABLE, VIRTUAL, INTERNAL):
            return found
        try:
            if found.type == VIRTUAL:
                self._check_is_known(found)
            found = dataclasses.replace(found, settings=self._settings_of(found))
            if not has_rows(found):
                return found
            columns, rowid = layout(self._connection, found)
            if rowid and len(columns) >= _MOST_COLUMNS:
                raise RefusedError(
                    f"the table {found.name!r} has so many columns that no query can take its rowid, too.",
                    hint="Name the other tables, and take this one out of a backup.",
                )
            count = self._count(found)
        except sqlite3.OperationalError as error:
            if not str(error).startswith(_LACKS):
                raise
            raise _unreadable(found, str(error)) from error
        return dataclasses.replace(found, columns=columns, rowid=rowid, rows=count)

    def _check_is_known(self, found: Object) -> None:
        """Raises for a virtual table of which nobody here knows what is in it."""
        said = self._made.failed.get(found.name)
        if said is not None:
            raise _unreadable(found, said)
        options = full_text(found)
        if options and options.unknown:
            raise RefusedError(
                f"the virtual table {found.name!r} has the option {options.unknown[0]!r}, and what that keeps cannot "
                "be written down.",
                hint=_WITHOUT,
            )

    def _look_at_texts(self, found: Object, objects: Sequence[Object]) -> None:
        """Warn of what comes back otherwise in the index of a table whose texts are not its own."""
        options = full_text(found)
        if options is None or options.content is None:
            return
        if not options.content:
            self.warnings.append(f"{found.name} has no texts, only an index of them, which is left out")
            return
        texts = content_of(found, objects)
        if texts is None and self._apart is None:
            self.warnings.append(
                f"the texts of {found.name} are in {options.content}, which is not there: its index is left out"
            )
        elif texts is not None and self._is_of_other_rows(found, texts, options):
            self.warnings.append(
                f"the index of {found.name} is not of just the rows of {texts.name}: an import makes it of all of them"
            )

    def _is_of_other_rows(self, found: Object, texts: Object, options: virtual.FullText) -> bool:
        sizes = f"{found.name}_docsize"
        if sizes not in self._made.by:
            return False
        one, key = quoted(sizes), "docid" if module(found) in _OLD_FULL_TEXT else "id"
        two, row = quoted(texts.name), quoted(options.content_rowid)
        query = (
            f"SELECT (SELECT count(*) FROM main.{one}), (SELECT count(*) FROM main.{two}), "
            f"(SELECT count(*) FROM main.{one} WHERE {key} IN (SELECT {row} FROM main.{two}))"
        )
        try:
            return len(set(self._connection.execute(query).fetchone())) > 1
        except sqlite3.OperationalError as error:
            if not str(error).startswith(_LACKS):
                raise
            # Whoever tries to make it again says so.
            return False

    def _count(self, found: Object) -> int:
        if found.name == SEQUENCE and self.names:
            query = f"SELECT count(*) FROM main.{SEQUENCE} WHERE {_named(self.names)}"
            return int(self._connection.execute(query, self.names).fetchone()[0])
        count = proof.count_rows(self._connection, found.name)
        if count is None:
            raise sqlite3.OperationalError("unknown order of its rows")
        return count

    def _settings_of(self, found: Object) -> tuple[tuple[str, Any], ...]:
        """What was set for a full-text table by commands: https://www.sqlite.org/fts5.html#configuration_options."""
        if found.type != VIRTUAL:
            return ()
        if module(found) == "fts5":
            rows = self._connection.execute(
                f"SELECT k, v FROM main.{quoted(found.name + '_config')} WHERE k <> 'version' ORDER BY k"
            )
            return tuple((str(name), value) for name, value in rows)
        if module(found) not in _OLD_FULL_TEXT:
            return ()
        self._check_languages(found)
        stat = f"{found.name}_stat"
        query = f"SELECT value FROM main.{quoted(stat)} WHERE id = {_AUTOMERGE_ID}"
        value = self._connection.execute(query).fetchone() if stat in self._made.by else None
        return ((AUTOMERGE, value[0]),) if value and isinstance(value[0], int) else ()

    def _check_languages(self, found: Object) -> None:
        """A row can be indexed for a language that the table does not keep."""
        options = full_text(found)
        if options is None or options.has_languages:
            return
        query = f"SELECT max(level) FROM main.{quoted(found.name + '_segdir')}"
        (level,) = self._connection.execute(query).fetchone()
        if isinstance(level, int) and level >= _LEVELS * options.indexes:
            raise RefusedError(f"rows of {found.name!r} have languages that it does not keep.", hint=_WITHOUT)


_SCHEMA = (
    "SELECT CAST(type AS TEXT), CAST(name AS TEXT), CAST(tbl_name AS TEXT), CAST(sql AS TEXT), rootpage "
    "FROM main.sqlite_master WHERE sql IS NOT NULL AND name IS NOT NULL ORDER BY rowid"
)


def layout(connection: Connection, found: Object) -> tuple[tuple[tuple[str, str], ...], str]:
    """The columns of a row as it is written down, and how its rowid is named, if that stands before them."""
    if found.type != VIRTUAL:
        own = tables.has_its_rowid_as_column(connection, found.name)
        return tuple(tables.columns(connection, found.name)), "" if own else tables.rowid_of(connection, found.name)
    columns = tables.columns(connection, found.name)
    options = full_text(found)
    if options and options.has_languages:
        # The last of those that are hidden: https://www.sqlite.org/fts3.html#the_languageid_option
        columns.extend(tables.columns(connection, found.name, hidden=(1,))[-1:])
    return tuple(columns), "" if module(found) in _TREES else "rowid"


def _unreadable(found: Object, said: str) -> EngineError:
    if not said.startswith(_LACKS) or said.startswith("no such table"):
        return RefusedError(f"the table {found.name!r} cannot be read: {said}.", hint=_WITHOUT)
    return ProgramMissingError(
        f"the table {found.name!r} cannot be read by this SQLite: {said}.",
        hint="Use a Python whose SQLite has that, or name the tables to take.",
    )


def _settings(header: Header | None) -> dict[str, Any]:
    """What a file is set to; without a header, as SQLite would begin it."""
    if header is None:
        header = Header(
            4096,
            0,
            wal=False,
            auto_vacuum=0,
            encoding="UTF-8",
            user_version=0,
            application_id=0,
            freelist_count=0,
            written_by=0,
        )
    facts = header.facts()
    names = ("encoding", "auto_vacuum", "journal_mode", "user_version", "application_id")
    return {"page_size": header.page_size, **{name: facts[name] for name in names}}


def _checked(kind: Any, name: Any, table: Any, sql: Any, root: Any) -> tuple[str, str, str, str, Any]:
    told = (kind, name, table, sql)
    if not all(isinstance(each, str) for each in told) or kind not in (TABLE, INDEX, VIEW, TRIGGER):
        raise UsageError("its schema has a text that is not UTF-8.", hint="Rename what has such a name first.")
    return kind, name, table, sql, root


def _named(names: Sequence[str]) -> str:
    return f"name IN ({', '.join('?' * len(names))})"


def _as_bytes(word: str) -> str:
    """A text by its bytes, which SQLite would else turn into UTF-8; and so that it is known, bytes by their digits."""
    return f"CASE typeof({word}) WHEN 'text' THEN CAST({word} AS BLOB) WHEN 'blob' THEN hex({word}) ELSE {word} END"


def _from_bytes(value: Any, codec: str) -> Any:
    if isinstance(value, bytes):
        return values.text(value, codec)
    return bytes.fromhex(value) if isinstance(value, str) else value
