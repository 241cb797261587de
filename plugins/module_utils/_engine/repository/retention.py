# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: from backups and a policy to decisions, each with its reasons. Nothing here reads or writes.

The rules are those of ``restic forget``: newest first, a rule keeps one backup in each of the newest periods that have
one, and a period without any does not count; one rule keeps all that is about as new as the newest. What is promised on
top is in docs/retention.md.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, tzinfo

from ..system import clock
from ..system.errors import RefusedError, UsageError

FULL = "full"
UNWANTED = "no rule keeps it"
STILL_CORRUPT = "nothing else goes while the database is corrupt"
UNTOLD = "nothing goes until it is said that what is held apart is meant"
FOREIGN = "foreign"
USELESS = "suspect, failed its verification, or without what it builds on"
APART = "held apart, and what was before is back"

_Key = tuple[int, ...]


KEEP_WITHIN, KEEP_SUSPECT = "1d", "7d"
COUNTS = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")
"""The rules that are a number of backups."""


@dataclass(frozen=True)
class Policy:
    """How many backups each rule keeps, or for how long; 0 turns a rule off. Periods begin and end in ``timezone``.

    ``keep_suspect_seconds`` is no rule that keeps a good backup.
    """

    keep_last: int = 0
    keep_hourly: int = 24
    keep_daily: int = 7
    keep_weekly: int = 4
    keep_monthly: int = 12
    keep_yearly: int = 0
    keep_within_seconds: float = clock.parse_duration(KEEP_WITHIN)
    timezone: str = "UTC"
    keep_suspect_seconds: float = clock.parse_duration(KEEP_SUSPECT)


@dataclass(frozen=True)
class Entry:
    """What retention knows of one backup.

    ``order`` is its place in the repository, greater is newer: a clock may go backwards, this does not. ``counts`` is
    False for a suspect backup and for one that failed its verification. ``sequence`` is the number that it was made
    with, 0 when that is not known. One that is ``apart`` is perhaps of another
    database: it counts for no rule, and others can build on it. Of a ``damaged`` one, whose manifest cannot be read,
    only ``id``, ``order`` and ``type`` are looked at; of a ``foreign`` one, of another repository, nothing.
    """

    id: str
    order: int
    started: datetime
    type: str = FULL
    parent: str | None = None
    pinned: bool = False
    pinned_until: datetime | None = None
    counts: bool = True
    verified: bool = False
    damaged: bool = False
    suspect: bool = False
    apart: bool = False
    foreign: bool = False
    sequence: int = 0


@dataclass(frozen=True)
class Decision:
    """Whether ``entry`` stays, and every reason for that; of one that goes, why nothing keeps it."""

    entry: Entry
    kept: bool
    reasons: tuple[str, ...]


def _hour(local: datetime) -> _Key:
    return local.year, local.month, local.day, local.hour


def _day(local: datetime) -> _Key:
    return local.year, local.month, local.day


def _week(local: datetime) -> _Key:
    """The ISO 8601 week; the year is the one that the week belongs to."""
    return tuple(local.isocalendar()[:2])


def _month(local: datetime) -> _Key:
    return local.year, local.month


def _year(local: datetime) -> _Key:
    return (local.year,)


PERIODS: tuple[tuple[str, Callable[[datetime], _Key]], ...] = (
    ("hourly", _hour),
    ("daily", _day),
    ("weekly", _week),
    ("monthly", _month),
    ("yearly", _year),
)


def check(policy: Policy) -> tzinfo:
    """The time zone of ``policy``. Raises unless the policy keeps something and can be carried out on this host."""
    check_rules(policy)
    return clock.zone(policy.timezone)


def check_rules(policy: Policy) -> None:
    """Raise unless the policy keeps something, whatever the host."""
    keeps = [each.name for each in fields(policy) if each.name.startswith("keep_")]
    counts = {name.removesuffix("_seconds"): getattr(policy, name) for name in keeps}
    for name, count in counts.items():
        if count < 0:
            raise UsageError("it is negative.", action=f"Cannot use {name} {count!r:.20}", hint="0 turns a rule off.")
    del counts["keep_suspect"]
    if not any(counts.values()):
        raise RefusedError(
            "Cannot prune by a policy that keeps nothing.", action="", hint=f"Set at least one of {', '.join(counts)}."
        )


def plan(
    entries: Iterable[Entry], policy: Policy, *, now: datetime, in_use: Collection[str] = frozenset()
) -> list[Decision]:
    """Decide on every backup of a repository, the newest first; ``in_use`` are the ids that somebody reads.

    Newest first is also the order in which to remove: at no moment has an incremental lost what it builds on.
    """
    zone = check(policy)
    newest_first, foreign = _sorted(entries)
    if _is_apart(newest_first):
        return _without_surplus(newest_first, UNTOLD, now, in_use) + foreign
    whole = _restorable(newest_first)
    counting = [each for each in newest_first if each.id in whole and each.started <= now and not each.apart]
    kept = [*_by_rules(counting, policy, zone), *_to_look_at(newest_first, policy, now)]
    return _decided(newest_first, kept, whole, now, in_use) + foreign


def plan_after_suspect(
    entries: Iterable[Entry], *, now: datetime, in_use: Collection[str] = frozenset()
) -> list[Decision]:
    """As ``plan``, of a database that is corrupt: only what piles up of it goes, and no policy is asked."""
    newest_first, foreign = _sorted(entries)
    return _without_surplus(newest_first, STILL_CORRUPT, now, in_use) + foreign


def _without_surplus(newest_first: Sequence[Entry], why: str, now: datetime, in_use: Collection[str]) -> list[Decision]:
    """Keep all, and say why, but what piles up of a database that is corrupt."""
    surplus = {each.id for each in _suspects(newest_first)[1:-1]}
    kept = [(why, each) for each in newest_first if each.id not in surplus]
    return _decided(newest_first, kept, _restorable(newest_first), now, in_use)


def _sorted(entries: Iterable[Entry]) -> tuple[list[Entry], list[Decision]]:
    """Those of this repository, newest first, and the decisions on foreign ones: they stay, and count for nothing."""
    newest_first = sorted(entries, key=lambda each: each.order, reverse=True)
    foreign = [Decision(each, kept=True, reasons=(FOREIGN,)) for each in newest_first if each.foreign]
    return [each for each in newest_first if not each.foreign], foreign


def _is_apart(newest_first: Sequence[Entry]) -> bool:
    """Whether the newest backup that tells which database it is of is held apart."""
    return next((each.apart for each in newest_first if not each.suspect and not each.damaged), False)


def _decided(
    newest_first: Sequence[Entry],
    kept: Iterable[tuple[str, Entry]],
    whole: Collection[str],
    now: datetime,
    in_use: Collection[str],
) -> list[Decision]:
    """The decisions by what is ``kept``, with the reason, by what is promised, and by what all of that builds on."""
    reasons: dict[str, list[str]] = {each.id: [] for each in newest_first}
    for word, each in (*kept, *_by_promises(newest_first, whole, now, in_use)):
        reasons[each.id].append(word)
    _add_needs(newest_first, reasons)
    return [_decide(each, reasons[each.id], whole) for each in newest_first]


def _suspects(newest_first: Sequence[Entry]) -> list[Entry]:
    """The suspect backups that are newer than all others: those of a database that is still corrupt."""
    return list(itertools.takewhile(lambda each: each.suspect, newest_first))


def _decide(entry: Entry, reasons: Sequence[str], whole: Collection[str]) -> Decision:
    if reasons:
        return Decision(entry, kept=True, reasons=tuple(reasons))
    if entry.apart:
        return Decision(entry, kept=False, reasons=(APART,))
    return Decision(entry, kept=False, reasons=(UNWANTED if entry.id in whole else USELESS,))


def _restorable(newest_first: Sequence[Entry]) -> set[str]:
    """The backups that a restore can be made from: they are good, and so is all that they build on."""
    whole: set[str] = set()
    for each in reversed(newest_first):
        if each.counts and not each.damaged and (each.type == FULL or each.parent in whole):
            whole.add(each.id)
    return whole


def _by_rules(newest_first: Sequence[Entry], policy: Policy, zone: tzinfo) -> list[tuple[str, Entry]]:
    """What the rules of the policy keep of the backups that count."""
    kept = [("last", each) for each in newest_first[: policy.keep_last]]
    kept.extend(("within", each) for each in _within(newest_first, policy.keep_within_seconds))
    for word, key in PERIODS:
        periods: dict[_Key, list[Entry]] = {}
        for each in newest_first:
            periods.setdefault(key(each.started.astimezone(zone)), []).append(each)
        # By the calendar: the order of the backups is another one where a clock went backwards.
        newest = sorted(periods, reverse=True)[: getattr(policy, f"keep_{word}")]
        kept.extend((word, _best(periods[each])) for each in newest)
    return kept


def _within(entries: Sequence[Entry], seconds: float) -> list[Entry]:
    """What is younger than that, seen from the latest one: when no backups are made any more, they all stay."""
    latest = max((each.started for each in entries), default=None)
    return [each for each in entries if latest and (latest - each.started).total_seconds() < seconds]


def _to_look_at(newest_first: Sequence[Entry], policy: Policy, now: datetime) -> list[tuple[str, Entry]]:
    """The suspect backups that are young, without those that are certainly between others of one and the same time.

    Whether a good one was between two of them once, which is removed, nobody knows but by their numbers.
    """
    current = _suspects(newest_first)
    numbers = {each.sequence for each in newest_first if each.suspect}
    between = {each.id for each in current[1:-1]}
    between.update(
        each.id for each in newest_first if each.sequence and {each.sequence - 1, each.sequence + 1} <= numbers
    )
    return [
        ("suspect", each)
        for each in newest_first
        if each.suspect
        and each.id not in between
        and (now - each.started).total_seconds() < policy.keep_suspect_seconds
    ]


def _best(newest_first: Sequence[Entry]) -> Entry:
    """A full backup needs no other one to be kept, so it stands for its period."""
    return next((each for each in newest_first if each.type == FULL), newest_first[0])


def _by_promises(
    newest_first: Sequence[Entry], whole: Collection[str], now: datetime, in_use: Collection[str]
) -> list[tuple[str, Entry]]:
    """What stays whatever the policy says."""
    readable = [each for each in newest_first if not each.damaged]
    kept = [("newest", each) for each in readable[:1]]
    kept.extend([("newest verified", each) for each in readable if each.verified and each.id in whole][:1])
    # It lost the least; those between it and the newest are neither the one nor the other.
    kept.extend(("first suspect", each) for each in _suspects(newest_first)[1:][-1:])
    kept.extend(("pinned", each) for each in readable if each.pinned)
    kept.extend(("future-dated", each) for each in readable if each.started > now)
    kept.extend(("in use", each) for each in newest_first if each.id in in_use)
    # What it was, whether it is pinned and whether it can be repaired, only a person can find out.
    kept.extend(("damaged", each) for each in newest_first if each.damaged)
    damaged = {each.id for each in newest_first if each.damaged}
    for each in reversed(readable):
        if each.type != FULL and each.parent in damaged:
            damaged.add(each.id)
            kept.append(("builds on a damaged one", each))
    kept.extend(_by_doubt(newest_first))
    return kept


def _by_doubt(newest_first: Sequence[Entry]) -> list[tuple[str, Entry]]:
    """What a damaged incremental may build on: it no longer says that, and no clock tells it.

    That can be every backup but those that are no older than one that builds on it.
    """
    kept: list[tuple[str, Entry]] = []
    for damaged in (each for each in newest_first if each.damaged and each.type != FULL):
        older = newest_first
        for place, each in enumerate(newest_first):
            if not each.damaged and each.type != FULL and each.parent == damaged.id:
                older = newest_first[place + 1 :]
        kept.extend((f"perhaps needed by {damaged.id}", each) for each in older if not each.damaged)
    return kept


def _add_needs(newest_first: Sequence[Entry], reasons: dict[str, list[str]]) -> None:
    """Keep what a kept incremental builds on, all the way down to its full backup."""
    bases = _bases(newest_first)
    kept = [each.id for each in newest_first if reasons[each.id]]
    for child in kept:
        base = bases.get(child)
        if base is None:
            continue
        if not reasons[base]:
            kept.append(base)
        reasons[base].append(f"needed by {child}")


def _bases(newest_first: Sequence[Entry]) -> dict[str, str]:
    """What each incremental builds on, where that is still there; a damaged one no longer says it."""
    ids = {each.id for each in newest_first}
    return {
        each.id: each.parent
        for each in newest_first
        if each.type != FULL and not each.damaged and each.parent is not None and each.parent in ids
    }
