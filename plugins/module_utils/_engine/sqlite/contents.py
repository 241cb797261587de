# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database consists of: the settings of its file, its schema, the rows of its tables, one at a time.

Tables come first, then what is made when their rows are there. A virtual table is its definition and what only it has:
its rows; those of a full-text table over another table, and the tables in which a virtual one keeps its rows, are made
again.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..system.errors import ProgramMissingError, RefusedError, SourceCorruptError, UsageError
from . import permits, proof, schema, tables, values
from .database import Connection, Header
from .library import sqlite3
from .proof import quoted

TABLE, INDEX, VIRTUAL, VIEW, TRIGGER, INTERNAL = "table", "index", "virtual", "view", "trigger", "internal"
ORDER = (TABLE, INDEX, VIRTUAL, VIEW, TRIGGER, INTERNAL)
SEQUENCE = "sqlite_sequence"
STATISTICS = "sqlite_stat1"
FULL_TEXT = ("fts3", "fts4", "fts5")
_TREES = ("rtree", "rtree_i32")
MODULES = (*FULL_TEXT, *_TREES, "geopoly")
"""Those whose rows are had by reading the virtual table, and come back by writing into it."""
# Of SQLite's virtual machine, between two looks at the deadline.
STEPS = 100_000
# https://www.sqlite.org/limits.html#max_column
_MOST_COLUMNS = 2000
_CONTENT = re.compile(r"[(,]\s*content\s*=\s*(\"\"|''|``|\[\])?", re.IGNORECASE)
# Where nothing is said, the hidden column has this name: https://www.sqlite.org/fts3.html#the_languageid_option
_NO_LANGUAGE = "__langid"


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


def module(sql: str) -> str:
    """The module of a virtual table."""
    return proof.module_of(sql)[1]


def is_elsewhere(sql: str) -> bool:
    """Whether the texts of a full-text table are in another table, or nowhere."""
    return module(sql) in FULL_TEXT and _CONTENT.search(sql) is not None


def is_nowhere(sql: str) -> bool:
    """Whether a full-text table keeps no text: its index cannot be read, and not be made again."""
    found = _CONTENT.search(sql)
    return is_elsewhere(sql) and found is not None and found[1] is not None


class Contents:
    """What is in the database that is open, in a transaction or as a private file; with ``names`` only these tables.

    Raises ``UsageError`` for a name that is no table. From then on the connection only reads.
    """

    def __init__(self, connection: Connection, header: Header | None, names: Sequence[str] = ()) -> None:
        self._connection = connection
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

    def close(self) -> None:
        """End what was not read to its end: until then the file stays open, whoever closes the connection."""
        if self._cursor is not None:
            self._cursor.close()

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
        for row in found:
            count += 1
            yield row if self._codec == "utf-8" else tuple(_from_bytes(each, self._codec) for each in row)
        if count != table.rows:
            raise SourceCorruptError(
                f"the table {table.name!r} has {count} rows, and {table.rows} by its index.",
                hint="Verify it, and restore the newest good backup.",
            )

    def _objects(self) -> list[Object]:
        found = [_checked(*row) for row in self._connection.execute(_SCHEMA)]
        virtual = {name: sql for kind, name, _table, sql, root in found if kind == "table" and not root}
        shadows = {f"{name}_{part}" for name, sql in virtual.items() for part in proof.shadow_parts(sql)}
        told = []
        for kind, name, table, sql, root in found:
            if kind == "table" and name in shadows and root:
                continue
            if table in shadows and table not in virtual and kind == INDEX:
                continue
            if name.lower().startswith("sqlite_"):
                told.extend(self._internal(name, kind))
                continue
            of = VIRTUAL if kind == "table" and not root else kind
            told.append(Object(of, name, table, sql))
        if self.names:
            told = self._chosen(told)
        return [self._described(each) for of in ORDER for each in told if each.type == of]

    def _internal(self, name: str, kind: str) -> list[Object]:
        if kind != "table" or (self.names and name != SEQUENCE):
            return []
        if name in (SEQUENCE, STATISTICS):
            return [Object(INTERNAL, name, name, "")]
        self.warnings.append(f"{name} is left out: ANALYZE makes such statistics again")
        return []

    def _chosen(self, told: Sequence[Object]) -> list[Object]:
        known = [each.name for each in told if each.type in (TABLE, VIRTUAL)]
        for name in self.names:
            if name not in known:
                raise UsageError(
                    f"there is no table {name!r} in it.", hint=f"Its tables: {', '.join(sorted(known)) or 'none'}."
                )
        counted = any("autoincrement" in each.sql.lower() for each in told if each.name in self.names)
        wanted = [each for each in told if each.table in self.names and each.type in (TABLE, INDEX, VIRTUAL)]
        return wanted + [each for each in told if each.name == SEQUENCE and counted]

    def _described(self, found: Object) -> Object:
        if found.type not in (TABLE, VIRTUAL, INTERNAL):
            return found
        if found.type == VIRTUAL and (module(found.sql) not in MODULES or is_elsewhere(found.sql)):
            if is_nowhere(found.sql):
                self.warnings.append(f"{found.name} has no texts, only an index of them, which is left out")
            return dataclasses.replace(found, settings=self._settings_of(found))
        try:
            columns, rowid = layout(self._connection, found)
            if rowid and len(columns) >= _MOST_COLUMNS:
                raise RefusedError(
                    f"the table {found.name!r} has so many columns that no query can take its rowid, too.",
                    hint="Name the other tables, and take this one out of a backup.",
                )
            count = self._count(found)
        except sqlite3.OperationalError as error:
            if not str(error).startswith(("no such", "unsafe", "unknown")):
                raise
            raise ProgramMissingError(
                f"the table {found.name!r} cannot be read by this SQLite: {error}.",
                hint="Use a Python whose SQLite has that, or name the tables to take.",
            ) from error
        return dataclasses.replace(found, columns=columns, rowid=rowid, rows=count, settings=self._settings_of(found))

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
        if module(found.sql) != "fts5":
            return ()
        rows = self._connection.execute(
            f"SELECT k, v FROM main.{quoted(found.name + '_config')} WHERE k <> 'version' ORDER BY k"
        )
        return tuple((str(name), value) for name, value in rows)


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
    if module(found.sql) in ("fts3", "fts4"):
        language = tables.columns(connection, found.name, hidden=(1,))[-1:]
        columns.extend(each for each in language if each[0] != _NO_LANGUAGE)
    return tuple(columns), "" if module(found.sql) in _TREES else "rowid"


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
