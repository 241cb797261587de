# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be wrong with a live database, and with what is beside it."""

from __future__ import annotations

import os
import shlex
import shutil
import time
from pathlib import Path

from ..sqlite import database, switch
from ..sqlite.database import SIDECARS, Source
from ..system import files, owners
from ..system.errors import EngineError, RefusedError
from ..system.files import counted, readable
from .findings import OK, OTHERS_WRITE, PROBLEM, WARNING, Checks, Facts, Finding, Request, existing

_TRANSACTION_SECONDS = 0.5


def look_at_source(request: Request) -> tuple[Source | None, Finding]:
    """The database, None when it cannot be backed up, and what there is to say of that."""
    try:
        source = database.locate(request.path, action=f"Cannot back up {request.path}", allow_empty=True)
    except EngineError as error:
        name = "hard links" if isinstance(error, RefusedError) else "source"
        return None, Finding(name, PROBLEM, error.message, error.hint)
    return source, Finding("source", OK, f"{source.path} is a database of {source.status.st_size} bytes.")


def _recovery(facts: Facts, name: str) -> Finding:
    if not _still_needs_recovery(facts.path):
        return Finding(name, OK, "No unfinished transaction has to be taken back.")
    journal = database.sidecar(facts.path, database.JOURNAL)
    return Finding(
        name,
        PROBLEM,
        f"An unfinished transaction is in {journal}.",
        "If nobody is writing right now, start the application, or run: sqlite3 FILE 'SELECT 1' as its owner. "
        "Do not delete the journal.",
    )


def _still_needs_recovery(path: Path) -> bool:
    """A transaction that is being written looks like an unfinished one for a moment."""
    if not database.needs_recovery(path):
        return False
    time.sleep(_TRANSACTION_SECONDS)
    return database.needs_recovery(path)


def _journal_mode(facts: Facts, name: str) -> Finding:
    header = facts.source.header if facts.source else None
    if header is None:
        return Finding(name, OK, "There is nothing to say without content.")
    if header.wal:
        return Finding(name, OK, "It is in WAL mode: backups keep no writer waiting.")
    return Finding(
        name,
        WARNING,
        "It is in rollback mode: who writes has to wait while a backup reads.",
        "If the application allows it: PRAGMA journal_mode=WAL, once.",
    )


def _sidecars(facts: Facts, name: str) -> Finding:
    """A sidecar that a stranger made: the application cannot write to it, and fails with "readonly database"."""
    if not facts.path.exists():
        return Finding(name, OK, "There is no database to have any.")
    owner = os.stat(facts.path)
    for suffix in SIDECARS:
        side = database.sidecar(facts.path, suffix)
        try:
            status = os.stat(side)
        except FileNotFoundError:
            continue
        if status.st_uid != owner.st_uid:
            theirs, ours = owners.ownership(status)[0], owners.ownership(owner)[0]
            return Finding(
                name,
                WARNING if status.st_mode & OTHERS_WRITE else PROBLEM,
                f"{side.name} belongs to {theirs}, the database to {ours}, who may then not be able to write.",
                f"While nobody uses it: chown {shlex.quote(ours)} {shlex.quote(str(side))}",
            )
    return Finding(name, OK, "What is beside the database belongs to its owner.")


def _undo_sets(facts: Facts, name: str) -> Finding:
    if not facts.path.parent.is_dir():
        return Finding(name, OK, "There is no directory to hold any.")
    workplace = database.restoring_directory(facts.path)
    if workplace.exists():
        return Finding(
            name,
            WARNING,
            f"A restore is under way, or was killed and left {workplace}.",
            "If none is under way: restore again, or undo; either puts it in order first.",
        )
    found = switch.undo_sets(facts.path)
    if not found:
        return Finding(name, OK, "No restore left the content before it.")
    taken = readable(sum(map(files.tree_bytes, found)))
    return Finding(
        name,
        WARNING,
        f"{counted(len(found), 'undo set')} of earlier restores, {taken}; the newest is {found[-1]}.",
        "Remove those that nobody will go back to.",
    )


def _restore_space(facts: Facts, name: str) -> Finding:
    directory = existing(facts.path.parent)
    free_bytes, needed_bytes = shutil.disk_usage(directory).free, facts.live_bytes
    detail = f"A restore needs about {readable(needed_bytes)} beside the database; {readable(free_bytes)} are free."
    if free_bytes < needed_bytes:
        return Finding(name, WARNING, detail, f"Free some space in {directory}.")
    return Finding(name, OK, detail)


CHECKS: Checks = {
    "recovery": _recovery,
    "journal mode": _journal_mode,
    "sidecars": _sidecars,
    "undo sets": _undo_sets,
    "restore space": _restore_space,
}
