# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What could make a backup or a restore of one database fail, or be of no use, one day. Looks, and writes nothing."""

from __future__ import annotations

import os
from pathlib import Path

from ..system.errors import from_os_error
from . import findings_host, findings_live, findings_stored
from .findings import NOTE, OK, PROBLEM, WARNING, Checks, Facts, Finding, Request

__all__ = ["NOTE", "OK", "PROBLEM", "WARNING", "Finding", "Request", "examine"]

_CHECKS: Checks = {**findings_stored.CHECKS, **findings_live.CHECKS, **findings_host.CHECKS}


def examine(request: Request, *, mounts: str | None = None) -> list[Finding]:
    """Every hazard, and what was looked at and is fine. ``mounts`` as for ``mounts.filesystem_of``."""
    source, source_finding = findings_live.look_at_source(request)
    listed, repository_finding = findings_stored.look_at_repository(request)
    facts = Facts(request, Path(os.path.realpath(request.path)), source, listed, mounts)
    found = [source_finding, repository_finding]
    for name, check in _CHECKS.items():
        try:
            found.append(check(facts, name))
        except OSError as error:
            failure = from_os_error(f"Cannot look at {name}", error)
            found.append(Finding(name, PROBLEM, failure.message, failure.hint or "Look at it, then run again."))
    return found
