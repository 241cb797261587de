# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The proof of an image: its schema, its rows, and the checks that it passed.

``integrity_check: ok`` alone proves nothing, since an empty database passes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..system import confined
from ..system.errors import NoSpaceError, StorageFailedError
from . import schema
from .database import Header
from .library import sqlite3

PASSED, FAILED, INCONCLUSIVE = "passed", "failed", "inconclusive"
_GONE = re.compile(r"no such table: main\.(.+)", re.DOTALL)
ODD = "odd content: "
"""What the detail of a check begins with that passed, and that somebody should know of."""
_SHOWN_PROBLEMS = 5
# What a check may take in a child that works beside another user, and that much more for a large database.
_CHECK_SECONDS = 600.0
_SLOWEST_BYTES_A_SECOND = 1024 * 1024
# What SQLite says when a disk failed or memory is short.
_NO_VERDICT = ("disk I/O error", "out of memory", "unable to open")
_LOOK = "Look at the disks, at the memory, and at the kernel's log, then run again."
# A page that could not be had, and the codes with which that is the database's fault: SQLITE_CORRUPT, SQLITE_NOTADB.
_UNREAD = re.compile(r"unable to get the page\. error code=(\d+)")
_VERDICTS = (11, 26)
_UNUSED = re.compile(r"\*\*\* in database main \*\*\*|Page \d+ is never used")
# What an application can add to its own SQLite, and this one may lack: it makes a check impossible, not failed.
_MISSING = re.compile(r"(?:no such|unknown) (module|tokenizer|collation sequence|function): (.+)", re.DOTALL)


# What a check is about: the file as a whole, something in it that the schema names, or what an operator expects.
WHOLE, OBJECT, EXPECTATION = "whole", "object", "expectation"


@dataclass(frozen=True)
class Check:
    """One thing that was checked: ``outcome`` is passed, failed or inconclusive, ``detail`` is for a person.

    ``kind`` says what it is about, and is not stored: the name of a ``WHOLE`` one tells nothing of the content.
    """

    name: str
    outcome: str
    detail: str = ""
    kind: str = field(default=OBJECT, compare=False)

    def to_json(self) -> dict[str, str]:
        return {"name": self.name, "outcome": self.outcome, "detail": self.detail}


@dataclass(frozen=True)
class Proof:
    """What an image must contain: the digest of its schema, the rows of each table, the fields of its header.

    ``uncounted`` are the tables whose rows the SQLite that made the proof could not count; older proofs have none.
    """

    schema_sha256: str
    tables: dict[str, int]
    header: dict[str, int | str]
    uncounted: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def whole(name: str, outcome: str, detail: str = "") -> Check:
    """A check whose name may be told of an encrypted database, too."""
    return Check(name, outcome, detail, WHOLE)


def overall(checks: Sequence[Check]) -> str:
    """The outcome of all checks together: one failure fails, one doubt makes it inconclusive."""
    outcomes = {check.outcome for check in checks}
    return next((outcome for outcome in (FAILED, INCONCLUSIVE) if outcome in outcomes), PASSED)


def quoted(name: str) -> str:
    """``name`` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def schema_digest(schema: str) -> str:
    return hashlib.sha256(schema.encode()).hexdigest()


def of_image(connection: sqlite3.Connection, schema: str, header: Header | None) -> Proof:
    """The proof of the image that is open, whose schema is ``schema``."""
    rows = table_rows(connection)
    return Proof(
        schema_digest(schema),
        {name: count for name, count in rows.items() if count is not None},
        header.facts() if header else {},
        tuple(name for name, count in rows.items() if count is None),
    )


def table_rows(connection: sqlite3.Connection) -> dict[str, int | None]:
    """Rows of every ordinary table; virtual tables keep their rows in ordinary ones, SQLite's own are left out.

    None are those of a table that this SQLite cannot parse or order: that says nothing against the database.
    """
    names = connection.execute(
        "SELECT CAST(name AS TEXT) FROM sqlite_master WHERE type = 'table' AND rootpage > 0 "
        "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    ).fetchall()
    return {name: count_rows(connection, name) for (name,) in names}


def count_rows(connection: sqlite3.Connection, name: str) -> int | None:
    """Rows of a table; None when this SQLite cannot parse or order it."""
    # SQLite counts in the smallest index, whose order this SQLite may not know; the table has the same rows.
    for unindexed in ("", " NOT INDEXED"):
        try:
            return int(connection.execute(f"SELECT count(*) FROM {quoted(name)}{unindexed}").fetchone()[0])
        except sqlite3.OperationalError as error:
            if not str(error).startswith("no such"):
                raise
    return None


def check_schema(connection: sqlite3.Connection) -> list[Check]:
    """A check for what could not be parsed of the schema, if there is any."""
    trouble = schema.trouble(connection)
    return [whole("schema", FAILED if trouble.damage else INCONCLUSIVE, trouble.text)] if trouble else []


def check_structure(connection: sqlite3.Connection, level: str) -> list[Check]:
    """``quick``: quick_check. ``full``: integrity_check, and foreign_key_check, which is reported, not judged."""
    pragma = "quick_check" if level == "quick" else "integrity_check"
    with confined.bounded(_allowed_seconds(connection)):
        checks = [_check_pragma(connection, pragma), *_check_virtual_tables(connection)]
        if level == "full" and overall(checks) == PASSED:
            checks.append(_check_foreign_keys(connection))
    return checks


def _allowed_seconds(connection: sqlite3.Connection) -> float:
    """What a look at all of an image may take."""
    return _CHECK_SECONDS + _image_bytes(connection) / _SLOWEST_BYTES_A_SECOND


def _image_bytes(connection: sqlite3.Connection) -> int:
    try:
        (page_count,) = connection.execute("PRAGMA page_count").fetchone()
        (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    except sqlite3.DatabaseError:
        # The check will say what is wrong with it.
        return 0
    return int(page_count * page_size)


def _check_pragma(connection: sqlite3.Connection, pragma: str) -> Check:
    unparsed = check_schema(connection)
    if overall(unparsed) == FAILED:
        return whole(pragma, FAILED, unparsed[0].detail)
    try:
        # A page that the disk did not give is a problem in SQLite's list like any other: what is not there when it is
        # looked at again was none of the database.
        problems = _problems(connection, pragma)
        if problems:
            problems = _problems(connection, "integrity_check" if _is_doubtful(problems) else pragma)
    except sqlite3.DatabaseError as error:
        if lack := _lack(error):
            return whole(pragma, INCONCLUSIVE, lack)
        problems = [judge(error)]
    if not problems:
        return whole(pragma, INCONCLUSIVE, unparsed[0].detail) if unparsed else whole(pragma, PASSED)
    shown = "; ".join(problems[:_SHOWN_PROBLEMS])
    return whole(
        pragma, FAILED, f"{shown}; {len(problems)} problems in all" if len(problems) > _SHOWN_PROBLEMS else shown
    )


def _is_doubtful(problems: Sequence[str]) -> bool:
    """Whether these may be none: quick_check of SQLite 3.40 sees NULL in good tables WITHOUT ROWID that are all key."""
    return all(each.startswith("NULL value in ") for each in problems)


def _problems(connection: sqlite3.Connection, pragma: str) -> list[str]:
    """What the check lists; raises ``StorageFailedError`` when that tells of a disk."""
    problems = [line for row in connection.execute(f"PRAGMA {pragma}") for line in str(row[0]).splitlines()]
    if schema.trouble(connection) is not None:
        # By what could not be parsed.
        problems = [each for each in problems if not _UNUSED.fullmatch(each)]
    for each in problems:
        code = _UNREAD.search(each)
        if code and int(code[1]) & 0xFF not in _VERDICTS:
            raise StorageFailedError(f"SQLite says: {each}.", action="Cannot check the database", hint=_LOOK)
    return [] if problems in ([], ["ok"]) else problems


def judge(error: sqlite3.Error) -> str:
    """What ``error`` says about the database. Raises when it says something about a disk, or about this host."""
    text = str(error)
    if "interrupted" in text:
        raise error
    if "disk is full" in text:
        raise NoSpaceError(
            f"{text}.", action="Cannot check the database", hint="Free some space, then run again."
        ) from error
    # Elsewhere in the text it is a name that is quoted.
    if text.startswith(_NO_VERDICT):
        raise StorageFailedError(f"SQLite says: {text}.", action="Cannot check the database", hint=_LOOK) from error
    return text


def _lack(error: sqlite3.Error) -> str:
    """What this SQLite would need, when that is what ``error`` says; else an empty text."""
    missing = _MISSING.match(str(error))
    return f"unverifiable: needs {missing[1]} {missing[2]}" if missing else ""


def _check_virtual_tables(connection: sqlite3.Connection) -> list[Check]:
    """One inconclusive check for each virtual table that needs a module or tokenizer that this SQLite does not have."""
    checks = []
    try:
        names = connection.execute(
            "SELECT CAST(name AS TEXT) FROM sqlite_master WHERE type = 'table' AND rootpage = 0 AND name IS NOT NULL"
        ).fetchall()
    except sqlite3.DatabaseError as error:
        return [whole("schema", FAILED, judge(error))]
    for (name,) in names:
        try:
            connection.execute(f"SELECT 1 FROM {quoted(name)} LIMIT 0").fetchall()
        except sqlite3.Error as error:
            checks.append(_judge_virtual_table(name, error))
    return checks


def _judge_virtual_table(name: str, error: sqlite3.Error) -> Check:
    """What keeps a virtual table from being used is damage, a lack of this SQLite, or odd content in a whole file."""
    checked = f"virtual table {name}"
    if lack := _lack(error):
        return Check(checked, INCONCLUSIVE, lack)
    text = judge(error)
    gone = _GONE.fullmatch(text)
    # Its own tables begin with its name; another one may be dropped by whoever likes.
    if gone and not gone[1].startswith(f"{name}_"):
        return Check(checked, PASSED, f"{ODD}the virtual table {name} cannot be used: {text}")
    return Check(checked, FAILED, text)


def _check_foreign_keys(connection: sqlite3.Connection) -> Check:
    try:
        orphans = connection.execute("PRAGMA foreign_key_check").fetchall()
    except sqlite3.Error as error:
        return whole("foreign_key_check", PASSED, f"not checked: {judge(error)}")
    if not orphans:
        return whole("foreign_key_check", PASSED)
    tables = sorted({str(row[0]) for row in orphans})
    return whole("foreign_key_check", PASSED, f"{len(orphans)} rows without their parent, in {', '.join(tables)}")


def check_rows(connection: sqlite3.Connection, proof: Proof) -> list[Check]:
    """The schema and the rows of every table against the proof."""
    try:
        rows = table_rows(connection)
    except sqlite3.DatabaseError as error:
        return [whole("rows", FAILED, judge(error))]
    # What one of the two could not count is not a difference.
    uncounted = [name for name, count in rows.items() if count is None]
    names = {*rows, *proof.tables} - {*proof.uncounted, *uncounted}
    different = [name for name in names if rows.get(name) != proof.tables.get(name)]
    if different:
        name = min(different)
        found, expected = rows.get(name), proof.tables.get(name)
        return [whole("rows", FAILED, f"table {name} has {found} rows, the manifest says {expected}")]
    unparsed = check_schema(connection)
    if unparsed:
        return [whole("rows", INCONCLUSIVE, unparsed[0].detail)]
    if uncounted:
        return [whole("rows", INCONCLUSIVE, f"unverifiable: the rows of {', '.join(uncounted)} cannot be counted here")]
    counts = [rows[name] or 0 for name in names]
    unknown = f", the manifest does not have those of {', '.join(proof.uncounted)}" if proof.uncounted else ""
    return [whole("rows", PASSED, f"{sum(counts)} rows in {len(counts)} tables{unknown}")]


def check_expectations(
    connection: sqlite3.Connection, *, expect_tables: Sequence[str] = (), assertions: Sequence[Mapping[str, Any]] = ()
) -> list[Check]:
    """The tables that must exist, and SQL whose result must equal what the operator gave.

    A result of one row and one column is compared as a value, anything else as a list of rows. Values are equal too
    when they are written the same, since a template may turn numbers into text.
    """
    # What an assertion reads may be a view of somebody else's, which has no end.
    with confined.bounded(_allowed_seconds(connection)):
        checks = [_check_table(connection, table) for table in expect_tables]
        checks.extend(_check_assertion(connection, str(each["sql"]), each["equals"]) for each in assertions)
    return checks


def _expected(name: str, outcome: str, detail: str = "") -> Check:
    return Check(name, outcome, detail, EXPECTATION)


def _check_table(connection: sqlite3.Connection, table: str) -> Check:
    name = f"table {table}"
    query = "SELECT 1 FROM sqlite_master WHERE name = ? AND type IN ('table', 'view')"
    try:
        found = connection.execute(query, (table,)).fetchone() is not None
    except sqlite3.DatabaseError as error:
        return _expected(name, FAILED, f"SQLite says: {judge(error)}")
    return _expected(name, PASSED) if found else _expected(name, FAILED, "the table does not exist")


def _check_assertion(connection: sqlite3.Connection, sql: str, expected: Any) -> Check:
    name = f"assertion {sql}"
    try:
        connection.execute("PRAGMA query_only=ON")
        rows = [list(row) for row in connection.execute(sql)]
    except (sqlite3.Error, sqlite3.Warning) as error:
        return _expected(name, FAILED, f"SQLite says: {error}")
    found: Any = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else rows
    if found == expected or str(found) == str(expected):
        return _expected(name, PASSED, f"{found!r}")
    return _expected(name, FAILED, f"expected {expected!r}, found {found!r}")


def first_failure(checks: Sequence[Check]) -> str:
    """What the first failed check says, in one line."""
    detail = next((each.detail for each in checks if each.outcome == FAILED), "")
    return "; ".join(detail.splitlines()).rstrip(".") or "it cannot be read"
