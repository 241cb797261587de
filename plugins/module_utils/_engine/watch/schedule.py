# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a run is due: at minutes of some hours, each day, by the clock of this host, as cron and systemd have it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..system.errors import UsageError

_DAYS_BACK = 2


@dataclass(frozen=True)
class Schedule:
    """A run is due at each of the ``minutes`` of each of the ``hours``; its backup is there ``grace`` later."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    grace: timedelta

    def last_due(self, now: datetime) -> datetime | None:
        """The newest moment at which a run was due whose backup should be there; None when that is days ago."""
        return next((each for each in self._backwards(now - self.grace) if each <= now - self.grace), None)

    def _backwards(self, moment: datetime) -> Iterator[datetime]:
        """The due moments of the day of ``moment`` and of those before, the newest first.

        One that the clock leaves out in spring is not asked for, and of one that it shows twice only the first.
        """
        local = moment.astimezone().replace(tzinfo=None)
        for days in range(_DAYS_BACK + 1):
            day = (local - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
            for hour in sorted(self.hours, reverse=True):
                for minute in sorted(self.minutes, reverse=True):
                    shown = day.replace(hour=hour, minute=minute)
                    due = shown.astimezone(moment.tzinfo)
                    if due.astimezone().replace(tzinfo=None) == shown:
                        yield due


def parse(minute: str, hour: str, grace_seconds: float) -> Schedule:
    """The schedule of two fields of crontab(5), each a list of numbers or ``*``; raises ``UsageError`` for others."""
    return Schedule(_numbers("minute", minute, 60), _numbers("hour", hour, 24), timedelta(seconds=grace_seconds))


def _numbers(name: str, text: str, count: int) -> tuple[int, ...]:
    if text == "*":
        return tuple(range(count))
    numbers = tuple(int(each) for each in text.split(",") if re.fullmatch(r"[0-9]{1,2}", each))
    if len(numbers) != len(text.split(",")) or max(numbers) >= count:
        raise UsageError(
            f"Cannot use the {name} {text!r:.60} of a schedule.",
            hint=f"Write numbers below {count} with commas between, or *.",
        )
    return numbers
