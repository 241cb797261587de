# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of a repository for whoever watches it: moments, sizes, numbers. Pure, but for the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..sqlite.proof import PASSED
from ..system import clock
from ..system.errors import EngineError
from . import recovery

_TYPES = ("full", "incremental")
Event = Mapping[str, Any]


def of(backups: Sequence[Backup], events: Sequence[Event], *, rto_seconds: float | None = None) -> dict[str, Any]:
    """The figures as an observation has them; ``backups`` and ``events`` oldest first. None is what is not known."""
    own = [each for each in published.own(backups) if each.manifest is not None]
    newest = own[-1].trusted() if own else None
    of_type = {each: [one.trusted() for one in own if one.trusted().type == each] for each in _TYPES}
    return {
        "last_verified": _last_verified(events),
        "last_success": _last_success(own),
        "sizes": {each: found[-1].stored_bytes for each, found in of_type.items() if found},
        "numbers": {each: len(found) for each, found in of_type.items()},
        "suspect_backups": sum(each.suspect or each.apart for each in own),
        "suspect": bool(own) and (own[-1].suspect or own[-1].apart),
        "database_bytes": newest.image.bytes if newest else None,
        "encryption": newest.encryption if newest else None,
        "outlook": _outlook(own, events, rto_seconds),
    }


def _last_verified(events: Sequence[Event]) -> str | None:
    """When a stored backup was last read and proven, as a verification or a drill says."""
    return _newest(
        str(each.get("time"))
        for each in events
        if each.get("event") in ("verify", recovery.DRILL)
        and each.get("outcome", PASSED) == PASSED
        and not each.get("code")
    )


def _newest(texts: Any) -> str | None:
    found = []
    for each in texts:
        try:
            found.append(clock.from_text(each))
        except EngineError:
            continue
    return clock.to_text(max(found)) if found else None


def _last_success(own: Sequence[Backup]) -> str | None:
    moments: list[datetime] = [moment for each in own if not each.corrupt for moment in each.moments]
    return clock.to_text(max(moments)) if moments else None


def _outlook(own: Sequence[Backup], events: Sequence[Event], rto_seconds: float | None) -> dict[str, Any] | None:
    drills = [each for each in recovery.past(events) if each.outcome == PASSED]
    last = drills[-1] if drills else None
    if last is None or not last.rto_seconds or not last.database_bytes:
        return None
    found = recovery.outlook(own, last.database_bytes, last.rto_seconds, rto_seconds)
    return None if found is None else vars(found)
