# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands that look for what was lost do with one configured database; as in `commands`."""

from __future__ import annotations

from ..sealed import encryption
from ..sqlite.snapshot import Progress
from ..system import clock
from ..work import compare, extract, find_good, verify
from . import seen
from .config import Database
from .result import Asked, Result


def find_good_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """The newest backup that is as the configuration expects it, and what is wrong with the newer ones."""
    keys = encryption.keys(settings.options)
    found = find_good.run(
        seen.opened(settings, "Cannot find a good backup"),
        verify.expected({**settings.options, "level": asked["level"]}),
        keys=keys,
        lock_timeout_seconds=clock.parse_duration(settings.options["lock_timeout"]),
        progress=progress,
    )
    warnings = [*filter(None, [keys.warning()]), *found.warnings]
    return Result(settings.name, None, warnings, {"good": found.to_json()})


def compare_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """What differs between two backups, or between a backup and the database itself; that is no failure."""
    seen.opened(settings, "Cannot compare the backups")
    given = {**settings.options, **{name: asked[name] for name in ("before", "after", "tables")}}
    request = compare.requested(given, path=settings.path)
    outcome = compare.run(request, progress=progress)
    warnings = [*filter(None, [request.keys.warning()]), *outcome.warnings]
    return Result(settings.name, None, warnings, {"comparison": outcome.to_json()})


def extract_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Take a part of a backup out of it, into a new file."""
    seen.opened(settings, "Cannot extract from a backup")
    given = {**settings.options, **{each: asked[each] for each in ("backup", "into", "tables", "query", "name")}}
    request = extract.requested(given)
    outcome = extract.run(request, progress=progress)
    warnings = [*filter(None, [request.keys.warning()]), *outcome.warnings]
    return Result(settings.name, None, warnings, {"changed": True, "extraction": outcome.to_json()})
