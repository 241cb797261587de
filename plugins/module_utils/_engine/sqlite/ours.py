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
    with owners.acting_in(directory) as harmless:
        pass
    if harmless and (as_owner or places.if_of_others(directory) is None):
        yield directory
        return
    with scratch.directory() as roots:
        yield roots


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
    with contextlib.ExitStack() as stack:
        try:
            with owners.acting_in(path.parent) as harmless:
                # Nothing is locked, and nothing beside it looked at: what is open now is all that will be.
                connection = stack.enter_context(contextlib.closing(database.connect(path, immutable=True)))
                if not harmless:
                    database.check_opened(status)
                schema.load_of_copy(connection, database.parse_header(start))
        except sqlite3.Error as error:
            raise database.from_sqlite_error(error, path) from error
        yield connection
