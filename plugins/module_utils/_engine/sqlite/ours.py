# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of ours that SQLite opens by name, in directories where somebody else may change what the names lead to.

SQLite follows links, and removes journals, logs and what a journal names. So root lets it do that with the rights of
the directory's owner, as long as the connection is there. Where these cannot be had, what is written lies in a
directory of root's, and of what is only read it is made sure that SQLite opened just that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ..system import owners, places, scratch
from ..system.errors import RefusedError
from . import database, schema
from .library import sqlite3


@contextlib.contextmanager
def place(directory: Path, *, as_owner: bool = True) -> Iterator[Path]:
    """Where SQLite may write to what is meant for ``directory``: there, or in scratch, for the block.

    It is to be done with the ``rights`` there; without ``as_owner`` also as root.
    """
    with contextlib.ExitStack() as stack:
        is_there = _is_harmless(directory) and (as_owner or places.if_of_others(directory) is None)
        yield directory if is_there else stack.enter_context(scratch.directory())


def _is_harmless(directory: Path) -> bool:
    with owners.acting_in(directory) as harmless:
        return harmless


@contextlib.contextmanager
def rights(directory: Path) -> Iterator[None]:
    """Let SQLite open by name, and write, in the block what lies in ``directory``, which is a ``place``.

    These are the rights of the whole process: no other thread may use a file meanwhile.
    """
    with owners.acting_in(directory) as harmless:
        if not harmless:
            raise RefusedError(
                f"others can change what is in {directory}, and root cannot work there with their rights.",
                hint="Find out who changed its owner or mode, then run again.",
            )
        yield


@contextlib.contextmanager
def looking(path: Path) -> Iterator[database.Connection]:
    """A connection to the file ``path``, which nobody writes to, with its schema; begun where no other thread runs."""
    with places.reading(path, alone=False) as file:
        status, start = os.fstat(file.fileno()), file.read(database.HEADER_BYTES)
    try:
        connection = _connected(path, status, database.parse_header(start))
    except sqlite3.Error as error:
        raise database.from_sqlite_error(error, path) from error
    with contextlib.closing(connection):
        yield connection


def _connected(path: Path, status: os.stat_result, header: database.Header | None) -> database.Connection:
    with owners.acting_in(path.parent) as harmless:
        # Nothing is locked, and nothing beside it looked at: what is open now is all that will be.
        connection = database.connect(path, immutable=True)
        try:
            if not harmless:
                database.check_opened(status)
            schema.load_of_copy(connection, header)
        except BaseException:
            connection.close()
            raise
    return connection
