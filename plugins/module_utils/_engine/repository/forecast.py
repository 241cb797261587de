# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When each backup of a repository would go, if a full one came in a fixed rhythm from now on. Nothing here reads.

Each rule keeps the newest of something, so what will push a backup out are later ones: how many that takes follows from
its place, and when they come from the rhythm and the calendar. A test compares it with runs of ``retention.plan``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from ..system import clock
from . import retention
from .retention import Decision, Entry, Policy

RHYTHM_SECONDS = 3600.0
"""As often as the finest calendar rule looks."""
_MOST_PERIODS = 20_000
_NEEDED = "needed by "
# With the next backup they are over, or at least are no longer reasons for this one.
_UNTIL_THE_NEXT = ("newest", "newest verified", "first suspect", "in use")


@dataclass(frozen=True)
class Forecast:
    """``goes`` is the run that would remove the backup; None when nobody can say, and ``stays`` is the reason then."""

    goes: datetime | None
    stays: str = ""


def forecast(
    decisions: Sequence[Decision], policy: Policy, *, now: datetime, every_seconds: float = RHYTHM_SECONDS
) -> dict[str, Forecast]:
    """By id, for what ``retention.plan`` decided ``now``; the runs are so far apart, counted from the newest backup."""
    runs = _Runs(decisions, now, timedelta(seconds=every_seconds))
    ends = _ends_by_rules(decisions, policy, runs)
    found: dict[str, Forecast] = {}
    # Newest first: what builds on a backup is known before it.
    for each in decisions:
        found[each.entry.id] = _latest(
            each, {reason: _end(reason, each, found, ends, runs) for reason in each.reasons}, runs
        )
    return found


def _latest(decision: Decision, ends: Mapping[str, datetime | None], runs: _Runs) -> Forecast:
    """What comes of the ends of all reasons."""
    if not decision.kept:
        return Forecast(runs.first)
    for reason, end in ends.items():
        if end is None:
            return Forecast(None, reason)
    return Forecast(max(filter(None, ends.values())))


def _end(
    reason: str,
    decision: Decision,
    found: Mapping[str, Forecast],
    by_rules: Mapping[tuple[str, str], datetime | None],
    runs: _Runs,
) -> datetime | None:
    """The run at which ``reason`` is none any more; None when nobody can say."""
    if reason in _UNTIL_THE_NEXT:
        return runs.first
    if reason == "pinned":
        return runs.at(decision.entry.pinned_until) if decision.entry.pinned_until else None
    if reason.startswith(_NEEDED):
        child = found.get(reason.removeprefix(_NEEDED))
        return child.goes if child else None
    return by_rules.get((reason, decision.entry.id))


class _Runs:
    """The moments of the backups to come."""

    def __init__(self, decisions: Sequence[Decision], now: datetime, every: timedelta) -> None:
        past = [each.entry.started for each in decisions if not each.entry.damaged and each.entry.started <= now]
        newest = max(past, default=now)
        self.every = every
        self.first = newest + ((now - newest) // every + 1) * every

    def at(self, moment: datetime) -> datetime | None:
        """The first run at ``moment`` or later; None beyond the calendar."""
        try:
            return self.first + max(0, -((self.first - moment) // self.every)) * self.every
        except OverflowError:
            return None

    def after(self, number: int) -> datetime | None:
        """The run with this number, from 1."""
        try:
            return self.first + (number - 1) * self.every
        except OverflowError:
            return None


def _ends_by_rules(
    decisions: Sequence[Decision], policy: Policy, runs: _Runs
) -> Mapping[tuple[str, str], datetime | None]:
    """When each rule lets go of each backup that it keeps now, by rule and id."""
    zone = retention.check(policy)
    ends: dict[tuple[str, str], datetime | None] = {}
    for place, each in enumerate(_kept_by("last", decisions)):
        ends["last", each.id] = runs.after(policy.keep_last - place)
    for word, seconds in (("within", policy.keep_within_seconds), ("suspect", policy.keep_suspect_seconds)):
        for each in _kept_by(word, decisions):
            try:
                ends[word, each.id] = runs.at(each.started + timedelta(seconds=seconds))
            except OverflowError:
                ends[word, each.id] = None
    for word, key in retention.PERIODS:
        keys = {each.id: key(each.started.astimezone(zone)) for each in _kept_by(word, decisions)}
        count = getattr(policy, f"keep_{word}")
        newest = max(keys.values(), default=())
        begins = _begins(word, key, zone, newest, runs, count) if keys else []
        for place, identity in enumerate(sorted(keys, key=lambda each: keys[each], reverse=True)):
            needed = count - place
            ends[word, identity] = begins[needed - 1] if needed <= len(begins) else None
            if place == 0 and key(runs.first.astimezone(zone)) <= newest:
                # The next backup is of the same period, and stands for it.
                ends[word, identity] = runs.first
    return ends


def _kept_by(word: str, decisions: Sequence[Decision]) -> list[Entry]:
    return [each.entry for each in decisions if each.kept and word in each.reasons]


def _begins(
    word: str,
    key: Callable[[datetime], tuple[int, ...]],
    zone: tzinfo,
    newest: tuple[int, ...],
    runs: _Runs,
    count: int,
) -> list[datetime]:
    """The first run in each of the periods that follow the ``newest`` one, as many as are needed."""
    found: list[datetime] = []
    moment: datetime | None = runs.first
    while moment is not None and len(found) < min(count, _MOST_PERIODS):
        local = moment.astimezone(zone)
        if key(local) > newest:
            found.append(moment)
            newest = key(local)
        try:
            following = runs.at(_NEXT[word](local))
            moment = max(following, moment + runs.every) if following else None
        except (OverflowError, ValueError):
            moment = None
    return found


def _midnight(local: datetime) -> datetime:
    return local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)


def _next_month(local: datetime) -> datetime:
    return _midnight(local).replace(year=local.year + local.month // 12, month=local.month % 12 + 1, day=1)


# When the period behind the one that a moment is in begins: with a zone of its own, a sum is one by the clock there.
_NEXT: Mapping[str, Callable[[datetime], datetime]] = {
    "hourly": lambda local: local.replace(minute=0, second=0, microsecond=0, fold=0) + timedelta(hours=1),
    "daily": lambda local: _midnight(local) + timedelta(days=1),
    "weekly": lambda local: _midnight(local) + timedelta(days=7 - local.weekday()),
    "monthly": _next_month,
    "yearly": lambda local: _midnight(local).replace(year=local.year + 1, month=1, day=1),
}


def as_facts(found: Forecast) -> dict[str, str | None]:
    """As plain values."""
    return {"goes": clock.to_text(found.goes) if found.goes else None, "stays": found.stays}
