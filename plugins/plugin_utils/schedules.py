# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""At which minutes of the day a database is backed up, whatever keeps the schedule: cron, systemd or Windows."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError

HOUR_SECONDS = 3600
DAY_SECONDS = 86400
_DAY_MINUTES = 1440

_HOURS = re.compile(r"(\d{1,2})(?:-(\d{1,2}))?")
_ALLOWED_EVERY = (
    "a number of minutes that divides an hour (1m, 5m, 10m, 15m, 20m, 30m), a number of hours that divides a day "
    "(1h, 2h, 3h, 4h, 6h, 8h, 12h), or 1d"
)
_ALLOWED_HOURS = "hours from 0 to 23, such as 6-22, 22-4 across midnight, or 7"


@dataclass(frozen=True)
class Schedule:
    """The ``minutes`` of the ``hours``, each day."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]

    @property
    def cron_minute(self) -> str:
        return "*" if len(self.minutes) == 60 else ",".join(map(str, self.minutes))

    @property
    def cron_hour(self) -> str:
        return "*" if len(self.hours) == 24 else ",".join(map(str, sorted(self.hours)))

    @property
    def on_calendar(self) -> str:
        """The same for systemd, see systemd.time(7)."""
        return f"*-*-* {self.cron_hour}:{self.cron_minute}:00"

    @property
    def longest_gap_seconds(self) -> int:
        """The longest time between one run and the next."""
        runs = sorted(60 * hour + minute for hour in self.hours for minute in self.minutes)
        gaps = [(after - before) % _DAY_MINUTES for before, after in zip(runs, [*runs[1:], runs[0]], strict=True)]
        return 60 * (max(gaps) or _DAY_MINUTES)

    @property
    def runs(self) -> list[tuple[int, int]]:
        """Each hour and minute, from the first of the window on."""
        return [(hour, minute) for hour in self.hours for minute in self.minutes]


def every_seconds(every: str, where: str) -> int:
    """How long it is from one run to the next; ``where`` is the variable that says ``every``."""
    try:
        seconds = int(clock.parse_duration(every))
    except UsageError:
        seconds = 0
    divides_hour = seconds >= 60 and seconds % 60 == 0 and HOUR_SECONDS % seconds == 0
    divides_day = seconds >= HOUR_SECONDS and seconds % HOUR_SECONDS == 0 and DAY_SECONDS % seconds == 0
    if not divides_hour and not divides_day:
        raise UsageError(f"{where} is {every!r}. Allowed is {_ALLOWED_EVERY}.")
    return seconds


def hours(active_hours: str, where: str) -> tuple[int, ...]:
    """Every hour of the window, from its first to its last; it may go across midnight."""
    match = _HOURS.fullmatch(active_hours.strip())
    first, last = (int(match[1]), int(match[2] or match[1])) if match else (24, 24)
    if max(first, last) > 23:
        raise UsageError(f"{where} is {active_hours!r}. Allowed are {_ALLOWED_HOURS}.")
    return tuple(hour % 24 for hour in range(first, (last if last >= first else last + 24) + 1))


def spread(of: str, step_seconds: int, active: tuple[int, ...]) -> Schedule:
    """A run each ``step_seconds`` in the hours that are ``active``, at minutes that follow from what it is ``of``."""
    # Unlike hash(), the same in every process: the minutes of a database stay what they are.
    seed = int.from_bytes(hashlib.sha256(of.encode(errors="replace")).digest()[:8], "big")
    if step_seconds < HOUR_SECONDS:
        step = step_seconds // 60
        return Schedule(tuple(range(seed % step, 60, step)), active)
    return Schedule((seed % 60,), active[:: step_seconds // HOUR_SECONDS])


def rpo_seconds(step_seconds: int, schedule: Schedule) -> int:
    """The age of the newest backup that is worth a call: one run was missed, at the worst time of the day.

    Where the schedule pauses, an hour is granted at least: so much longer is the night in which the clocks go back.
    """
    gap_seconds = schedule.longest_gap_seconds
    return gap_seconds + (step_seconds if gap_seconds == step_seconds else max(step_seconds, HOUR_SECONDS))


def duration(seconds: int) -> str:
    """As the runner reads it, in whole minutes."""
    days, rest = divmod(seconds, DAY_SECONDS)
    parts = ((days, "d"), (rest // HOUR_SECONDS, "h"), (rest % HOUR_SECONDS // 60, "m"))
    return "".join(f"{number}{unit}" for number, unit in parts if number)
