# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The schema of a database, as far as this SQLite can parse it; what it cannot is damage, or of a newer SQLite."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass

from .database import Connection, Header
from .library import sqlite3

_MALFORMED = "malformed database schema"
# Some releases hold their own JSON functions for unsafe, and so all indexes and columns that are made with them.
_JSON = re.compile(r"unsafe use of (?:json\w*|->>?)\(\)")
# What an application's SQLite has, and this one lacks or may not run, whichever release wrote it.
_LACKING = re.compile(r"no such (?:function|module|collation sequence)|unsafe use of")


@dataclass(frozen=True)
class Trouble:
    """What this SQLite cannot parse; ``damage`` says that whoever wrote it could not either."""

    text: str
    damage: bool


def load(connection: Connection, header: Header | None) -> None:
    """Load the schema in the open transaction; what cannot be parsed of it is left out and noted, see ``trouble``.

    ``header`` is that of the database. Raises ``sqlite3.DatabaseError`` when it cannot be read.
    """
    text = _refused(connection)
    if _JSON.search(text):
        # Of SQLite's own functions none does harm; others are not there.
        connection.execute("PRAGMA trusted_schema=ON")
        text = _refused(connection)
    if text:
        # A schema that is not whole counts as loaded then: https://www.sqlite.org/pragma.html#pragma_writable_schema
        connection.execute("PRAGMA writable_schema=ON")
        _refused(connection)
        connection.trouble = _judged(text, header)


def load_of_copy(connection: Connection, header: Header | None) -> None:
    """The same for an image of ours; what cannot be read of it is left to its check, which tells what that means."""
    with contextlib.suppress(sqlite3.DatabaseError):
        load(connection, header)


def trouble(connection: sqlite3.Connection) -> Trouble | None:
    """What ``load`` could not parse."""
    found = connection.trouble if isinstance(connection, Connection) else None
    return found if isinstance(found, Trouble) else None


def _refused(connection: sqlite3.Connection) -> str:
    """What SQLite says against the schema; empty when it parsed it."""
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if not str(error).startswith(_MALFORMED):
            raise
        return str(error)
    return ""


def _judged(text: str, header: Header | None) -> Trouble:
    written_by = header.written_by if header else 0
    newer = written_by > _number(sqlite3.sqlite_version)
    if newer or _LACKING.search(text):
        writer = f", and SQLite {_version(written_by)} wrote it" if newer else ""
        return Trouble(f"unverifiable: this is SQLite {sqlite3.sqlite_version}{writer}: {text}", damage=False)
    return Trouble(text, damage=True)


def _number(version: str) -> int:
    """A version as it stands in a header: 3.40.1 as 3040001."""
    major, minor, patch = (int(each) for each in version.split("."))
    return major * 1_000_000 + minor * 1000 + patch


def _version(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
