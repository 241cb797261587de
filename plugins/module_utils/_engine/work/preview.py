# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a first backup would find, where there is no repository yet to copy the source to."""

from __future__ import annotations

from ..sqlite import pin, proof
from ..sqlite.database import Source
from ..sqlite.library import sqlite3
from ..sqlite.proof import Check
from ..system.clock import Deadline
from ..system.errors import SourceCorruptError
from .backup_request import Outcome, Request


def first(request: Request, source: Source, warnings: list[str]) -> Outcome:
    """What a first backup would find: the source is read where it is, since there is no repository to copy it to."""
    checks: list[Check] = []
    page_count = 0

    def examine(connection: sqlite3.Connection) -> list[Check]:
        nonlocal page_count
        (page_count,) = connection.execute("PRAGMA page_count").fetchone()
        return proof.check_structure(connection, "quick" if request.check == "none" else request.check)

    if source.header is not None:
        deadline = Deadline(request.timeout_seconds)
        action = f"Cannot back up {request.path}"
        checks = pin.examine(source, examine, action=action, deadline=deadline, traceless=True)
    corrupt = proof.overall(checks) == proof.FAILED
    cause = proof.first_failure(checks)
    suspicion = SourceCorruptError(f"{cause}.", action=f"The source {request.path} is corrupt") if corrupt else None
    return Outcome(True, None, None, page_count, warnings=warnings, error=suspicion)
