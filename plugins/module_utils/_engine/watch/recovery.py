# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a restore is known to work: what drills found, as the audit log tells, and how long one would take later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..sqlite.proof import FAILED, INCONCLUSIVE, PASSED
from ..system import clock
from ..system.errors import EngineError

DRILL = "drill"
OUTLOOK_DAYS = 90
Event = Mapping[str, Any]

_KEPT = 200
_LONGEST = 500
# With less between the first and the last there is no growth to see.
_LEAST_SPAN = timedelta(days=1)
_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Past:
    """One drill as the audit log has it. ``time`` is RFC 3339; None is what is not known of it.

    ``place`` is the target that it read, empty for the repository itself.
    """

    time: str
    backup: str
    outcome: str
    rto_seconds: float | None
    rto_met: bool | None
    database_bytes: int | None
    place: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """For programs, as the runner and the modules answer."""
        return asdict(self)


def past(events: Sequence[Event]) -> list[Past]:
    """The newest drills in an audit log, oldest first. Whoever owns the log can have written anything there."""
    found = [_read(each) for each in events if each.get("event") == DRILL]
    return [each for each in found if each is not None][-_KEPT:]


def _read(event: Event) -> Past | None:
    time, backup, outcome = str(event.get("time")), str(event.get("backup") or ""), event.get("outcome")
    try:
        clock.from_text(time)
    except EngineError:
        return None
    if outcome not in (PASSED, FAILED, INCONCLUSIVE) or (backup and not published.ID.fullmatch(backup)):
        return None
    seconds, met, size = (event.get(name) for name in ("rto_seconds", "rto_met", "database_bytes"))
    seconds, size = (None if isinstance(each, bool) else each for each in (seconds, size))
    return Past(
        time,
        backup,
        str(outcome),
        float(seconds) if isinstance(seconds, (int, float)) and 0 <= seconds <= clock.LONGEST_SECONDS else None,
        met if isinstance(met, bool) else None,
        size if isinstance(size, int) and 0 <= size < 1 << 48 else None,
        str(event.get("target") or "")[:_LONGEST],
        str(event.get("message") or "")[:_LONGEST],
    )


@dataclass(frozen=True)
class Outlook:
    """A restore in ``days``, if the database goes on to grow as it did, and a byte takes as long as it took now."""

    days: int
    growth_bytes_per_day: int
    database_bytes: int
    rto_seconds: float
    rto_met: bool | None


def outlook(
    backups: Sequence[Backup], database_bytes: int, rto_seconds: float, objective_seconds: float | None
) -> Outlook | None:
    """What is to be expected of a database that takes ``rto_seconds`` now; None when its growth is not known."""
    growth = growth_bytes_per_day(backups)
    if growth is None or not database_bytes:
        return None
    later_bytes = database_bytes + int(max(0.0, growth) * OUTLOOK_DAYS)
    later_seconds = round(rto_seconds * later_bytes / database_bytes, 3)
    met = None if objective_seconds is None else later_seconds <= objective_seconds
    return Outlook(OUTLOOK_DAYS, round(growth), later_bytes, later_seconds, met)


def growth_bytes_per_day(backups: Sequence[Backup]) -> float | None:
    """The slope of the line through the sizes of ``backups`` over time; None when they are too close to each other."""
    known = [each.manifest for each in published.own(backups) if each.manifest and not each.manifest.suspect]
    points = [(clock.from_text(each.started), float(each.image.bytes)) for each in known]
    if not points or max(points)[0] - min(points)[0] < _LEAST_SPAN:
        return None
    first = min(points)[0]
    days = [(moment - first).total_seconds() / _DAY_SECONDS for moment, _size in points]
    sizes = [size for _moment, size in points]
    middle, usual = sum(days) / len(days), sum(sizes) / len(sizes)
    spread = sum((day - middle) ** 2 for day in days)
    return sum((day - middle) * (size - usual) for day, size in zip(days, sizes)) / spread


def told(drills: Sequence[Past], backups: Sequence[Backup], every_seconds: float | None) -> Iterator[tuple[str, str]]:
    """What is not well about drills, as a sentence and what to do: one failed, or none came when ``every`` says so."""
    last = drills[-1] if drills else None
    if last is not None and last.outcome == FAILED:
        hint = "See what it says, mend that, then make another drill: until one passes a restore may fail, too."
        yield f"The last drill, of {last.backup or 'no backup'}, failed: {last.message.rstrip('.')}.", hint
    if every_seconds is None:
        return
    own = [each for each in published.own(backups) if each.moments]
    # One that is still to come, as after a clock that was ahead, says nothing.
    came = [moment for moment in (clock.from_text(each.time) for each in drills) if moment <= clock.now()]
    since = came[-1] if came else min(own[0].moments) if own else None
    # One that is late by less than its own interval may be on its way.
    if since is not None and _passed(since) > 2 * every_seconds:
        told = f"no drill since {clock.to_text(since)}" if came else "no drill yet"
        yield f"There was {told}.", "Make one, and see whether their schedule runs."


def _passed(since: datetime) -> float:
    return (clock.now() - since).total_seconds()
