# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands that write and read text do with one configured database; as in `commands`."""

from __future__ import annotations

from pathlib import Path

from ..sqlite.snapshot import Progress
from ..work import export, load
from . import seen
from .config import Database
from .result import Asked, Result

_PLAIN = {"compression": "none", "compression_level": None, "encryption": None}


def export_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Write the database, or a backup of it, as text; stored as its backups are, unless ``plain`` is asked for."""
    if asked["backup"] != export.LIVE:
        seen.opened(settings, "Cannot export a backup")
    given = {**settings.options, **{each: asked[each] for each in ("backup", "tables", "format", "force")}}
    request = export.requested(
        {**given, "dest": asked["into"], **(_PLAIN if asked["plain"] else {})}, path=settings.path
    )
    outcome = export.run(request, dry_run=asked["dry_run"], progress=progress)
    warnings = [*filter(None, [request.keys.warning(), request.encryption.warning()]), *outcome.warnings]
    return Result(settings.name, None, warnings, {"changed": outcome.changed, "export": outcome.to_json()})


def import_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Build a database out of an export, in the place of the configured one or elsewhere."""
    del progress
    given = {**settings.options, "src": asked["src"], "force": asked["force"]}
    dest = settings.path if asked["dest"] is None else Path(asked["dest"])
    request = load.requested(given, dest=dest)
    outcome = load.run(request, dry_run=asked["dry_run"])
    warnings = [*filter(None, [request.keys.warning()]), *outcome.warnings]
    return Result(settings.name, None, warnings, {"changed": outcome.changed, "import": outcome.to_json()})
