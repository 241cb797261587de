# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Retention: what the rules keep, worked out by hand and by the real restic, and the promises that never break."""

from __future__ import annotations

import dataclasses
import random
import shutil
import zoneinfo
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.retention import (
    Decision,
    Entry,
    Policy,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError, UsageError
from support import restic

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
RULES = (*COUNTS, "within")
NOTHING = Policy(0, 0, 0, 0, 0, 0, 0)
LAST = dataclasses.replace(NOTHING, keep_last=1)
BERLIN = "Europe/Berlin"
needs_zones = pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")


def keep(**counts: Any) -> Policy:
    """A policy with just these rules: ``keep(daily=2)``; of ``within`` the seconds."""
    zone = counts.pop("timezone", "UTC")
    return dataclasses.replace(NOTHING, timezone=zone, **{field_of(word): count for word, count in counts.items()})


def field_of(word: str) -> str:
    return "keep_within_seconds" if word == "within" else f"keep_{word}"


def history(*moments: str, **common: Any) -> list[Entry]:
    """Full backups, oldest first, begun at these moments; each moment is the id, too."""
    return [Entry(each, order, clock.from_text(each), **common) for order, each in enumerate(moments)]


def changed(entries: Sequence[Entry], identity: str, **changes: Any) -> list[Entry]:
    """``entries`` with one of them changed."""
    assert any(each.id == identity for each in entries)
    return [dataclasses.replace(each, **changes) if each.id == identity else each for each in entries]


def chain(*moments: str) -> list[Entry]:
    """A full backup, and incrementals that build on it one after the other."""
    entries = history(*moments)
    return [
        dataclasses.replace(each, type="incremental", parent=entries[each.order - 1].id) if each.order else each
        for each in entries
    ]


def kept(entries: Sequence[Entry], policy: Policy, *, in_use: Collection[str] = ()) -> dict[str, list[str]]:
    """The id of each backup that stays, oldest first, with its reasons."""
    decisions = retention.plan(entries, policy, now=NOW, in_use=in_use)
    assert sorted(each.entry.id for each in decisions) == sorted(each.id for each in entries)
    return {each.entry.id: list(each.reasons) for each in reversed(decisions) if each.kept}


def rules_keep(entries: Sequence[Entry], policy: Policy) -> list[str]:
    """What the rules alone keep."""
    return [identity for identity, reasons in kept(entries, policy).items() if set(reasons) & set(RULES)]


# --- the rules, worked out by hand ---------------------------------------------------------------------------------

BUSY_DAYS = history(
    "2025-03-01T10:00:00Z",
    "2025-03-01T10:30:00Z",
    "2025-03-01T11:15:00Z",
    "2025-03-03T14:05:00Z",
    "2025-03-03T14:59:59Z",
    "2025-03-03T15:00:00Z",
)
# The 30th of December 2024 is the Monday of the first ISO week of 2025.
AROUND_NEW_YEAR = history(
    "2024-12-28T12:00:00Z",
    "2024-12-29T12:00:00Z",
    "2024-12-30T12:00:00Z",
    "2025-01-05T12:00:00Z",
    "2025-01-06T12:00:00Z",
)


@pytest.mark.parametrize(
    ("entries", "policy", "expected"),
    [
        (BUSY_DAYS, keep(last=1), ["2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(last=2), ["2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(last=6), [each.id for each in BUSY_DAYS]),
        (BUSY_DAYS, keep(last=99), [each.id for each in BUSY_DAYS]),
        # The newest of each hour; 15:00:00 begins an hour, 14:59:59 ends one. Two days without backups do not count.
        (BUSY_DAYS, keep(hourly=2), ["2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(hourly=3), ["2025-03-01T11:15:00Z", "2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        (
            BUSY_DAYS,
            keep(hourly=24),
            ["2025-03-01T10:30:00Z", "2025-03-01T11:15:00Z", "2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"],
        ),
        (BUSY_DAYS, keep(daily=1), ["2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(daily=2), ["2025-03-01T11:15:00Z", "2025-03-03T15:00:00Z"]),
        # The 1st of March 2025 is a Saturday, the 3rd a Monday.
        (BUSY_DAYS, keep(weekly=2), ["2025-03-01T11:15:00Z", "2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(monthly=5), ["2025-03-03T15:00:00Z"]),
        (AROUND_NEW_YEAR, keep(weekly=1), ["2025-01-06T12:00:00Z"]),
        (
            AROUND_NEW_YEAR,
            keep(weekly=3),
            ["2024-12-29T12:00:00Z", "2025-01-05T12:00:00Z", "2025-01-06T12:00:00Z"],
        ),
        (AROUND_NEW_YEAR, keep(monthly=2), ["2024-12-30T12:00:00Z", "2025-01-06T12:00:00Z"]),
        (AROUND_NEW_YEAR, keep(yearly=9), ["2024-12-30T12:00:00Z", "2025-01-06T12:00:00Z"]),
        # 14:05:00 is 55 minutes older than the newest; what is just as old as the rule says goes.
        (BUSY_DAYS, keep(within=1), ["2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(within=3300), ["2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(within=3301), ["2025-03-03T14:05:00Z", "2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        (BUSY_DAYS, keep(within=1e30), [each.id for each in BUSY_DAYS]),
        (BUSY_DAYS, keep(within=2, daily=2), [BUSY_DAYS[2].id, "2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
        # Each rule looks for itself; what two of them keep counts for both.
        (BUSY_DAYS, keep(last=2, daily=2), ["2025-03-01T11:15:00Z", "2025-03-03T14:59:59Z", "2025-03-03T15:00:00Z"]),
    ],
)
def test_rules_keep_the_newest_of_the_newest_periods(
    entries: Sequence[Entry], policy: Policy, expected: Sequence[str]
) -> None:
    assert rules_keep(entries, policy) == expected


@pytest.mark.parametrize(
    ("word", "first", "second"),
    [
        ("hourly", "2025-03-01T12:00:00Z", "2025-03-02T12:00:00Z"),
        ("hourly", "2025-02-01T12:00:00Z", "2025-03-01T12:00:00Z"),
        ("hourly", "2024-03-01T12:00:00Z", "2025-03-01T12:00:00Z"),
        ("daily", "2025-02-01T12:00:00Z", "2025-03-01T12:00:00Z"),
        ("daily", "2024-03-01T12:00:00Z", "2025-03-01T12:00:00Z"),
        ("weekly", "2024-03-11T12:00:00Z", "2025-03-10T12:00:00Z"),
        ("monthly", "2024-03-01T12:00:00Z", "2025-03-01T12:00:00Z"),
    ],
)
def test_period_of_the_same_name_is_another_one(word: str, first: str, second: str) -> None:
    """Noon of another day, the 11th week of another year."""
    assert rules_keep(history(first, second), keep(**{word: 2})) == [first, second]


def test_two_years_of_hourly_backups_by_the_default_policy() -> None:
    """The example of docs/retention.md: 42 backups are left of 17,533."""
    begin, end = datetime(2023, 12, 31, tzinfo=timezone.utc), datetime(2025, 12, 30, 12, tzinfo=timezone.utc)
    hours = int((end - begin).total_seconds()) // 3600 + 1
    entries = history(*(clock.to_text(begin + timedelta(hours=number)) for number in range(hours)))

    found = kept(entries, Policy())

    yesterday = [f"2025-12-29T{hour:02}:00:00Z" for hour in range(13, 24)]
    today = [f"2025-12-30T{hour:02}:00:00Z" for hour in range(13)]
    days = [f"2025-12-{day}T23:00:00Z" for day in (24, 25, 26, 27, 28)]
    weeks = ["2025-12-14T23:00:00Z", "2025-12-21T23:00:00Z"]
    ends = "01-31 02-28 03-31 04-30 05-31 06-30 07-31 08-31 09-30 10-31 11-30"
    months = [f"2025-{day}T23:00:00Z" for day in ends.split()]
    assert list(found) == [*months, *weeks, *days, *yesterday, *today]
    assert len(found) == 42
    assert found["2025-12-30T12:00:00Z"] == ["within", "hourly", "daily", "weekly", "monthly", "newest"]
    assert found["2025-12-29T23:00:00Z"] == ["within", "hourly", "daily"]
    assert found["2025-12-28T23:00:00Z"] == ["daily", "weekly"]
    assert found["2025-12-21T23:00:00Z"] == ["weekly"]
    assert found["2025-02-28T23:00:00Z"] == ["monthly"]


@pytest.mark.parametrize(("minutes", "within", "left"), [(60, 24, 42), (15, 96, 114), (5, 288, 306), (1, 1440, 1458)])
def test_what_a_day_of_backups_costs_by_the_default_policy(minutes: int, within: int, left: int) -> None:
    """The numbers of docs/retention.md, after two years of a backup a day and two days of more."""
    end = datetime(2025, 12, 30, 12, tzinfo=timezone.utc)
    days = [datetime(2025, 12, 28, tzinfo=timezone.utc) - timedelta(days=day, minutes=1) for day in range(730)]
    often = [end - timedelta(minutes=number) for number in range(0, 2 * 1440, minutes)]
    entries = history(*map(clock.to_text, sorted({*days, *often})))

    found = kept(entries, Policy())

    assert len([identity for identity, reasons in found.items() if "within" in reasons]) == within
    assert len(found) == left
    without = kept(entries, dataclasses.replace(Policy(), keep_within_seconds=0))
    assert len([identity for identity, reasons in without.items() if "hourly" in reasons]) == 24
    assert len(without) == 42


def test_full_backup_stands_for_its_period_rather_than_a_newer_incremental() -> None:
    """An incremental would keep the full one as well, and all in between."""
    first = chain("2025-03-01T00:00:00Z", "2025-03-01T12:00:00Z", "2025-03-01T18:00:00Z")
    second = [dataclasses.replace(each, order=each.order + 3) for each in history("2025-03-02T00:00:00Z")]
    assert kept([*first, *second], keep(daily=2)) == {
        "2025-03-01T00:00:00Z": ["daily"],
        "2025-03-02T00:00:00Z": ["daily", "newest"],
    }


def test_newest_incremental_stands_for_a_period_without_a_full_backup() -> None:
    entries = chain("2025-03-01T23:00:00Z", "2025-03-02T01:00:00Z", "2025-03-02T02:00:00Z", "2025-03-03T01:00:00Z")
    assert kept(entries, keep(daily=2)) == {
        "2025-03-01T23:00:00Z": ["needed by 2025-03-02T01:00:00Z"],
        "2025-03-02T01:00:00Z": ["needed by 2025-03-02T02:00:00Z"],
        "2025-03-02T02:00:00Z": ["daily", "needed by 2025-03-03T01:00:00Z"],
        "2025-03-03T01:00:00Z": ["daily", "newest"],
    }


def test_within_is_counted_from_the_newest_backup_and_not_from_now() -> None:
    """Who comes back after weeks finds all that led to the last state."""
    entries = history("2024-01-01T09:00:00Z", "2024-01-02T09:00:00Z", "2024-01-02T09:30:00Z", "2024-01-02T10:00:00Z")
    assert kept(entries, keep(within=3600)) == {
        "2024-01-02T09:30:00Z": ["within"],
        "2024-01-02T10:00:00Z": ["within", "newest"],
    }


@pytest.mark.parametrize(
    "useless",
    [
        Entry("useless", 9, clock.from_text("2025-03-03T20:00:00Z"), counts=False),
        Entry("useless", 9, clock.from_text("2025-03-03T20:00:00Z"), damaged=True),
        Entry("useless", 9, clock.from_text("2025-03-03T20:00:00Z"), type="incremental", parent="gone"),
        Entry("useless", 9, NOW + timedelta(hours=1)),
    ],
    ids=["suspect", "damaged", "without its base", "future-dated"],
)
def test_within_is_neither_counted_from_what_does_not_count_nor_keeps_it(useless: Entry) -> None:
    """Else a disk that fails for a day would cost every good restore point of the day before."""
    found = kept([*BUSY_DAYS, useless], keep(within=3600))
    assert found.pop("useless")[0] in ("newest", "damaged")
    assert found == {
        "2025-03-03T14:05:00Z": ["within"],
        "2025-03-03T14:59:59Z": ["within"],
        "2025-03-03T15:00:00Z": ["within", *(["newest"] if useless.damaged else [])],
    }
    if useless.started < NOW:
        older = dataclasses.replace(useless, order=-1, started=clock.from_text("2025-03-03T14:30:00Z"))
        assert "within" not in kept([older, *BUSY_DAYS], keep(within=3600)).get("useless", [])


def test_within_is_counted_from_the_latest_moment_where_a_clock_went_backwards() -> None:
    """So does restic; the newest stays in any case."""
    entries = history("2025-03-05T11:00:00Z", "2025-03-05T12:00:00Z", "2025-03-02T12:00:00Z", "2025-03-02T13:00:00Z")
    assert kept(entries, keep(within=3601)) == {
        "2025-03-05T11:00:00Z": ["within"],
        "2025-03-05T12:00:00Z": ["within"],
        "2025-03-02T13:00:00Z": ["newest"],
    }


def test_within_keeps_incrementals_with_what_they_build_on() -> None:
    entries = chain("2025-03-01T00:00:00Z", "2025-03-01T12:00:00Z", "2025-03-01T18:00:00Z")
    assert kept(entries, keep(within=7200)) == {
        "2025-03-01T00:00:00Z": ["needed by 2025-03-01T12:00:00Z"],
        "2025-03-01T12:00:00Z": ["needed by 2025-03-01T18:00:00Z"],
        "2025-03-01T18:00:00Z": ["within", "newest"],
    }


# --- the calendar --------------------------------------------------------------------------------------------------


@needs_zones
def test_periods_are_those_of_the_time_zone() -> None:
    """In Berlin the year 2025 began while it was 23:00 UTC."""
    entries = history("2024-12-31T22:30:00Z", "2024-12-31T23:30:00Z", "2025-01-01T12:00:00Z")
    assert rules_keep(entries, keep(yearly=2)) == ["2024-12-31T23:30:00Z", "2025-01-01T12:00:00Z"]
    assert rules_keep(entries, keep(yearly=2, timezone=BERLIN)) == ["2024-12-31T22:30:00Z", "2025-01-01T12:00:00Z"]


@needs_zones
def test_hour_that_the_clocks_go_back_is_one_hour() -> None:
    """On 26 October 2025 in Berlin 00:30 and 01:30 UTC were both 02:30; so is it in restic (case 14)."""
    entries = history("2025-10-25T23:30:00Z", "2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z")
    assert rules_keep(entries, keep(hourly=2, timezone=BERLIN)) == ["2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z"]
    assert rules_keep(entries, keep(hourly=3, timezone=BERLIN)) == [
        "2025-10-25T23:30:00Z",
        "2025-10-26T01:30:00Z",
        "2025-10-26T02:30:00Z",
    ]
    assert rules_keep(entries, keep(hourly=4)) == [each.id for each in entries]


@needs_zones
def test_hour_that_the_clocks_leave_out_takes_no_place() -> None:
    """On 30 March 2025 in Berlin 03:00 followed 01:59 (case 14)."""
    entries = history("2025-03-29T23:30:00Z", "2025-03-30T00:30:00Z", "2025-03-30T01:30:00Z")
    assert rules_keep(entries, keep(hourly=2, timezone=BERLIN)) == ["2025-03-30T00:30:00Z", "2025-03-30T01:30:00Z"]
    assert rules_keep(entries, keep(daily=1, timezone=BERLIN)) == ["2025-03-30T01:30:00Z"]


@needs_zones
def test_day_of_25_hours_is_one_day() -> None:
    entries = history("2025-10-25T21:59:59Z", "2025-10-25T22:00:00Z", "2025-10-26T22:59:59Z", "2025-10-26T23:00:00Z")
    assert rules_keep(entries, keep(daily=3, timezone=BERLIN)) == [
        "2025-10-25T21:59:59Z",
        "2025-10-26T22:59:59Z",
        "2025-10-26T23:00:00Z",
    ]


def test_clock_that_went_backwards_hides_nothing() -> None:
    """The newest is the one made last; the days are those of the calendar all the same (case 14)."""
    entries = history("2025-03-04T12:00:00Z", "2025-03-05T12:00:00Z", "2025-03-02T12:00:00Z", "2025-03-02T13:00:00Z")
    assert kept(entries, keep(last=1)) == {"2025-03-02T13:00:00Z": ["last", "newest"]}
    assert kept(entries, keep(daily=2)) == {
        "2025-03-04T12:00:00Z": ["daily"],
        "2025-03-05T12:00:00Z": ["daily"],
        "2025-03-02T13:00:00Z": ["newest"],
    }


def test_future_dated_backup_takes_nobodys_place_and_stays() -> None:
    """A clock that was ahead for an hour must not cost the newest real backups (case 14)."""
    entries = history("2025-12-30T12:00:00Z", "2025-12-31T12:00:00Z", "2026-01-01T00:00:01Z", "2031-01-01T00:00:00Z")
    assert kept(entries, keep(daily=1)) == {
        "2025-12-31T12:00:00Z": ["daily"],
        "2026-01-01T00:00:01Z": ["future-dated"],
        "2031-01-01T00:00:00Z": ["newest", "future-dated"],
    }


def test_backup_of_this_very_second_is_not_future_dated() -> None:
    assert kept(history("2026-01-01T00:00:00Z"), LAST) == {"2026-01-01T00:00:00Z": ["last", "newest"]}


# --- the promises --------------------------------------------------------------------------------------------------

THREE = history("2025-03-01T12:00:00Z", "2025-03-02T12:00:00Z", "2025-03-03T12:00:00Z")
FIRST, SECOND, THIRD = (each.id for each in THREE)
DAYS = [f"2025-03-0{day}T12:00:00Z" for day in range(1, 8)]
LATER = NOW + timedelta(days=1)


def test_empty_repository_needs_no_decision() -> None:
    assert retention.plan([], Policy(), now=NOW) == []


def test_newest_stays_though_it_does_not_count() -> None:
    """With a corrupt source the newest backup is a suspect one; the newest good one stays as well."""
    entries = changed(changed(THREE, THIRD, counts=False), SECOND, verified=True)
    assert kept(entries, keep(daily=1)) == {SECOND: ["daily", "newest verified"], THIRD: ["newest"]}


def test_newest_verified_stays_however_old_it_is() -> None:
    """Newer ones that nobody checked might not be restorable."""
    assert kept(changed(THREE, FIRST, verified=True), LAST) == {
        FIRST: ["newest verified"],
        THIRD: ["last", "newest"],
    }


def test_only_the_newest_of_the_verified_is_promised() -> None:
    entries = changed(changed(THREE, FIRST, verified=True), SECOND, verified=True)
    assert list(kept(entries, LAST)) == [SECOND, THIRD]


def test_verified_incremental_that_lost_its_parent_is_not_the_newest_verified() -> None:
    """It cannot be restored, whatever was found when it was made."""
    entries = changed(changed(THREE, FIRST, verified=True), SECOND, verified=True, type="incremental", parent="gone")
    assert kept(entries, LAST) == {FIRST: ["newest verified"], THIRD: ["last", "newest"]}


def test_pinned_stays_and_counts() -> None:
    assert kept(changed(THREE, FIRST, pinned=True), LAST)[FIRST] == ["pinned"]
    assert kept(changed(THREE, SECOND, pinned=True), keep(daily=2)) == {
        SECOND: ["daily", "pinned"],
        THIRD: ["daily", "newest"],
    }


def test_backup_in_use_stays_with_its_chain() -> None:
    entries = [*chain(FIRST, SECOND), dataclasses.replace(THREE[2])]
    assert kept(entries, LAST) == {THIRD: ["last", "newest"]}
    assert kept(entries, LAST, in_use={SECOND}) == {
        FIRST: [f"needed by {SECOND}"],
        SECOND: ["in use"],
        THIRD: ["last", "newest"],
    }


def test_suspect_backup_takes_nobodys_place() -> None:
    assert kept(changed(THREE, SECOND, counts=False), keep(last=2)) == {FIRST: ["last"], THIRD: ["last", "newest"]}
    assert kept(changed(THREE, SECOND, counts=False), keep(daily=2)) == {FIRST: ["daily"], THIRD: ["daily", "newest"]}


def test_suspect_backup_stays_when_it_is_pinned() -> None:
    assert kept(changed(THREE, FIRST, counts=False, pinned=True), LAST)[FIRST] == ["pinned"]


def test_first_suspect_backup_of_a_database_that_is_still_corrupt_stays() -> None:
    """It lost the least, and the newest is what there is now; those between them are neither."""
    entries = history(*DAYS)
    row = [dataclasses.replace(each, counts=False, suspect=each.order > 0) for each in entries]
    assert kept([*entries[:1], *row[1:]], LAST) == {
        DAYS[0]: ["last"],
        DAYS[1]: ["first suspect"],
        DAYS[-1]: ["newest"],
    }


def test_old_suspect_backups_go_once_the_database_is_good_again() -> None:
    entries = changed(changed(THREE, FIRST, counts=False, suspect=True), SECOND, counts=False, suspect=True)
    assert kept(entries, LAST) == {THIRD: ["last", "newest"]}


DAY = 86400
STRETCH = history(
    "2025-12-20T12:00:00Z",
    "2025-12-26T00:00:00Z",
    "2025-12-27T00:00:00Z",
    "2025-12-28T00:00:00Z",
    "2025-12-28T12:00:00Z",
    "2025-12-29T00:00:00Z",
    "2025-12-31T00:00:00Z",
)


def corrupt(*places: int) -> list[Entry]:
    """``STRETCH`` with the backups at these places suspect."""
    numbered = [dataclasses.replace(each, sequence=each.order + 1) for each in STRETCH]
    return [
        dataclasses.replace(each, counts=False, suspect=True) if each.order in places else each for each in numbered
    ]


def test_first_and_newest_suspect_backup_of_a_stretch_stay_some_days_after_the_next_good_one() -> None:
    """Somebody must have the time to look at what became of the database."""
    entries = corrupt(1, 2, 3, 5)
    policy = dataclasses.replace(LAST, keep_suspect_seconds=7 * DAY)

    assert kept(entries, policy) == {
        STRETCH[1].id: ["suspect"],
        STRETCH[3].id: ["suspect"],
        STRETCH[5].id: ["suspect"],
        STRETCH[6].id: ["last", "newest"],
    }


@pytest.mark.parametrize(
    ("seconds", "stay"),
    [(0, ()), (3 * 86400, ()), (3 * 86400 + 1, (5,)), (6 * 86400, (3, 5)), (6.5 * 86400, (1, 3, 5))],
)
def test_suspect_backup_stays_as_long_as_the_policy_says(seconds: float, stay: tuple[int, ...]) -> None:
    """Counted from when it was made, to now: no later backup makes it older."""
    found = kept(corrupt(1, 2, 3, 5), dataclasses.replace(LAST, keep_suspect_seconds=seconds))

    assert [each for each in found if found[each] == ["suspect"]] == [STRETCH[place].id for place in stay]


def test_suspect_backups_take_nobodys_place_while_they_stay() -> None:
    found = kept(corrupt(4, 5, 6), keep(last=2))

    assert found == {
        STRETCH[2].id: ["last"],
        STRETCH[3].id: ["last"],
        STRETCH[4].id: ["suspect", "first suspect"],
        STRETCH[6].id: ["suspect", "newest"],
    }


def test_suspect_backups_of_two_times_stay_apart_when_the_good_one_between_them_is_gone() -> None:
    """Side by side, the newest of the one and the first of the other must not look like two in the middle."""
    policy = dataclasses.replace(LAST, keep_suspect_seconds=7 * DAY)
    left = [each for each in corrupt(1, 2, 4, 5) if each.order != 3]

    assert [each for each, reasons in kept(left, policy).items() if "suspect" in reasons] == [
        STRETCH[place].id for place in (1, 2, 4, 5)
    ]


def test_policy_of_suspect_backups_alone_keeps_nothing() -> None:
    with pytest.raises(RefusedError):
        plan(THREE, dataclasses.replace(NOTHING, keep_suspect_seconds=DAY))
    with pytest.raises(UsageError, match="keep_suspect -1"):
        plan(THREE, dataclasses.replace(LAST, keep_suspect_seconds=-1))


def after_suspect(entries: Sequence[Entry], in_use: Collection[str] = ()) -> list[str]:
    """The ids of what goes after a suspect backup, the newest first."""
    decisions = retention.plan_after_suspect(entries, now=NOW, in_use=in_use)
    assert sorted(each.entry.id for each in decisions) == sorted(each.id for each in entries)
    assert all(each.reasons for each in decisions)
    return [each.entry.id for each in decisions if not each.kept]


def suspects(count: int, *, before: int = 1) -> list[Entry]:
    """Good backups, and behind them so many suspect ones."""
    entries = history(*DAYS[: before + count])
    return [dataclasses.replace(each, counts=False, suspect=True) if each.order >= before else each for each in entries]


def test_after_a_suspect_backup_only_those_between_the_first_and_the_newest_go() -> None:
    for count in range(3):
        assert after_suspect(suspects(count)) == []
        assert after_suspect(suspects(count, before=3)) == []
    assert after_suspect(suspects(3)) == [DAYS[2]]
    assert after_suspect(suspects(5, before=0)) == [DAYS[3], DAYS[2], DAYS[1]]


@pytest.mark.parametrize(
    "change", [{"suspect": False, "counts": True}, {"suspect": False}, {"suspect": False, "damaged": True}]
)
def test_after_a_suspect_backup_those_before_another_one_stay(change: dict[str, Any]) -> None:
    """Only those since then are known to be of the same trouble."""
    entries = suspects(6, before=0)
    assert after_suspect(changed(entries, DAYS[2], **change)) == [DAYS[4]]


def test_after_a_suspect_backup_what_is_promised_stays() -> None:
    entries = suspects(6, before=0)
    assert after_suspect(changed(entries, DAYS[2], pinned=True)) == [DAYS[4], DAYS[3], DAYS[1]]
    assert after_suspect(changed(entries, DAYS[2], started=LATER)) == [DAYS[4], DAYS[3], DAYS[1]]
    assert after_suspect(entries, in_use={DAYS[2]}) == [DAYS[4], DAYS[3], DAYS[1]]
    needy = changed(entries, DAYS[3], type="incremental", parent=DAYS[2], pinned=True)
    assert after_suspect(needy) == [DAYS[4], DAYS[1]]


def test_while_the_newest_backup_is_held_apart_nothing_goes() -> None:
    """Whatever the policy: the new database must not push out the old one before somebody says that it is meant."""
    entries = changed(changed(history(*DAYS), DAYS[-1], apart=True), DAYS[-2], apart=True)
    entries = changed(entries, DAYS[2], counts=False)
    found = kept(entries, LAST)
    assert list(found) == DAYS
    assert {reasons[0] for reasons in found.values()} == {retention.UNTOLD}
    assert found[DAYS[-1]] == [retention.UNTOLD, "newest"]


@pytest.mark.parametrize("change", [{"suspect": True, "counts": False}, {"damaged": True}])
def test_what_says_nothing_of_its_database_ends_no_doubt(change: dict[str, Any]) -> None:
    """The new database is corrupt as well; of its copies those that pile up go."""
    entries = changed(history(*DAYS), DAYS[3], apart=True)
    for each in DAYS[4:]:
        entries = changed(entries, each, **change)
    gone = DAYS[5:6] if "suspect" in change else []
    assert [each for each in DAYS if each not in kept(entries, LAST)] == gone


def test_what_was_held_apart_takes_nobodys_place_once_the_old_database_is_back() -> None:
    entries = changed(changed(history(*DAYS), DAYS[4], apart=True), DAYS[5], apart=True, pinned=True)
    assert kept(entries, keep(last=2)) == {
        DAYS[3]: ["last"],
        DAYS[5]: ["pinned"],
        DAYS[6]: ["last", "newest"],
    }
    decisions = retention.plan(entries, LAST, now=NOW)
    assert {each.entry.id: each.reasons for each in decisions}[DAYS[4]] == (retention.APART,)


def test_what_builds_on_a_backup_that_was_held_apart_counts() -> None:
    """Its pages are as good as any; it stays for as long as it is needed."""
    entries = changed(chain(FIRST, SECOND, THIRD), SECOND, apart=True)
    assert kept(entries, LAST) == {
        FIRST: [f"needed by {SECOND}"],
        SECOND: [f"needed by {THIRD}"],
        THIRD: ["last", "newest"],
    }


def test_reason_of_what_goes_says_whether_it_counted() -> None:
    decisions = retention.plan(changed(THREE, FIRST, counts=False), LAST, now=NOW)
    assert [(each.entry.id, each.kept, each.reasons) for each in decisions[1:]] == [
        (SECOND, False, (retention.UNWANTED,)),
        (FIRST, False, (retention.USELESS,)),
    ]


def test_damaged_backup_takes_nobodys_place_and_stays() -> None:
    """Its manifest cannot be read: it may be pinned, and its time may be any."""
    entries = changed(THREE, SECOND, damaged=True)
    assert kept(entries, keep(last=2)) == {FIRST: ["last"], SECOND: ["damaged"], THIRD: ["last", "newest"]}
    assert kept(changed(THREE, FIRST, damaged=True), LAST)[FIRST] == ["damaged"]


def test_newest_that_can_be_read_stays_before_a_damaged_one() -> None:
    """Where a damaged backup stands in the order is a guess."""
    assert kept(changed(changed(THREE, THIRD, damaged=True), SECOND, counts=False), LAST) == {
        FIRST: ["last"],
        SECOND: ["newest"],
        THIRD: ["damaged"],
    }


def test_what_builds_on_a_damaged_one_stays_and_takes_nobodys_place() -> None:
    """Its parent may be repaired, or may only have been unreadable for a moment."""
    built = chain("2025-03-01T12:00:00Z", "2025-03-01T13:00:00Z", "2025-03-01T14:00:00Z")
    entries = changed([*built, Entry(THIRD, 3, clock.from_text(THIRD))], FIRST, damaged=True)
    assert kept(entries, keep(daily=5)) == {
        "2025-03-01T12:00:00Z": ["damaged", "needed by 2025-03-01T13:00:00Z"],
        "2025-03-01T13:00:00Z": ["builds on a damaged one", "needed by 2025-03-01T14:00:00Z"],
        "2025-03-01T14:00:00Z": ["builds on a damaged one"],
        THIRD: ["daily", "newest"],
    }


def test_damaged_incremental_keeps_all_that_it_may_build_on() -> None:
    """Its place in the order goes by the clock, which may have gone back: it may be newer than all others."""
    others = [*THREE, *history("2025-04-01T12:00:00Z", "2025-04-02T12:00:00Z")]
    entries = [dataclasses.replace(each, order=2 * place) for place, each in enumerate(others)]
    lost = Entry("lost", -1, NOW, type="incremental", damaged=True)
    doubt = "perhaps needed by lost"
    for order in (-1, 3, 99):
        assert (
            kept([*entries, dataclasses.replace(lost, order=order)], LAST)
            == {  # type: ignore[arg-type]
                **{each.id: [doubt] for each in entries[:-1]},
                "lost": ["damaged"],
                entries[-1].id: ["last", "newest", doubt],
            }
        )
    assert list(kept([*entries, dataclasses.replace(lost, type="full")], LAST)) == ["lost", entries[-1].id]


def test_what_is_newer_than_a_child_of_a_damaged_incremental_is_not_its_base() -> None:
    """Else nothing would ever go again."""
    first, lost, child, later = chain(FIRST, SECOND, THIRD, "2025-04-01T12:00:00Z")
    ends = history(*(f"2025-05-0{day}T12:00:00Z" for day in range(1, 4)))
    ends = [dataclasses.replace(each, order=each.order + 4) for each in ends]
    entries = [first, dataclasses.replace(lost, damaged=True, parent=None), child, later, *ends]
    assert kept(entries, LAST) == {
        FIRST: [f"perhaps needed by {SECOND}"],
        SECOND: ["damaged", f"needed by {THIRD}"],
        THIRD: ["builds on a damaged one", f"needed by {later.id}"],
        later.id: ["builds on a damaged one"],
        ends[-1].id: ["last", "newest"],
    }


def test_chain_between_a_damaged_incremental_and_its_full_backup_stays() -> None:
    entries = [*chain(FIRST, SECOND), Entry("lost", 9, NOW, type="incremental", damaged=True)]
    assert kept([*entries, dataclasses.replace(THREE[2], order=3)], LAST) == {
        FIRST: ["perhaps needed by lost", f"needed by {SECOND}"],
        SECOND: ["perhaps needed by lost"],
        THIRD: ["last", "newest", "perhaps needed by lost"],
        "lost": ["damaged"],
    }


def test_chain_without_its_full_backup_takes_nobodys_place() -> None:
    """It cannot be restored; to keep it instead of one that can would lose a day."""
    lost = chain("2025-03-02T10:00:00Z", "2025-03-02T11:00:00Z", "2025-03-02T12:00:00Z")[1:]
    first, last = history("2025-03-01T12:00:00Z", "2025-03-03T12:00:00Z")
    entries = [first, *(dataclasses.replace(each, order=each.order + 1) for each in lost)]
    entries.append(dataclasses.replace(last, order=9))
    assert kept(entries, keep(last=2, daily=2)) == {
        "2025-03-01T12:00:00Z": ["last", "daily"],
        "2025-03-03T12:00:00Z": ["last", "daily", "newest"],
    }


def test_chain_on_a_failed_backup_takes_nobodys_place() -> None:
    entries = changed(chain(FIRST, SECOND, THIRD), FIRST, counts=False)
    assert kept(entries, keep(last=3)) == {
        FIRST: [f"needed by {SECOND}"],
        SECOND: [f"needed by {THIRD}"],
        THIRD: ["newest"],
    }


def test_two_chains_on_one_backup_keep_it_for_both() -> None:
    entries = changed(changed(THREE, SECOND, type="incremental", parent=FIRST), THIRD, type="incremental", parent=FIRST)
    assert kept(entries, keep(last=2))[FIRST] == [f"needed by {THIRD}", f"needed by {SECOND}"]


def test_chain_that_runs_in_a_circle_ends() -> None:
    """No run makes one, a person may."""
    entries = changed(chain(FIRST, SECOND, THIRD), FIRST, type="incremental", parent=THIRD)
    assert kept(entries, LAST)[THIRD] == ["newest", f"needed by {FIRST}"]


def test_decisions_do_not_depend_on_the_order_of_the_list() -> None:
    assert retention.plan(THREE[::-1], LAST, now=NOW) == retention.plan(THREE, LAST, now=NOW)


# --- refusals ------------------------------------------------------------------------------------------------------


def test_empty_policy_is_refused() -> None:
    """Whoever turns every rule off has forgotten something (case 25)."""
    with pytest.raises(RefusedError, match="keeps nothing") as caught:
        retention.plan([], NOTHING, now=NOW)
    assert "keep_last, keep_hourly, keep_daily" in caught.value.hint
    assert caught.value.hint.endswith("keep_within.")


@pytest.mark.parametrize("word", RULES)
def test_each_rule_alone_is_a_policy(word: str) -> None:
    assert kept(THREE, keep(**{word: 1}))[THIRD] == [word, "newest"]


@pytest.mark.parametrize("word", RULES)
def test_negative_count_is_a_mistake(word: str) -> None:
    """To restic -1 means all: it must not pass for anything here."""
    with pytest.raises(UsageError, match=f"keep_{word} -1"):
        retention.plan(THREE, keep(**{"last": 1, word: -1}), now=NOW)


@needs_zones
def test_unknown_time_zone_is_a_mistake() -> None:
    with pytest.raises(UsageError, match="Europe/Nowhere"):
        retention.plan([], keep(last=1, timezone="Europe/Nowhere"), now=NOW)


# --- the promises, for any history ---------------------------------------------------------------------------------

ZONES = ["UTC", BERLIN, "America/St_Johns", "Asia/Kolkata"] if zoneinfo.available_timezones() else ["UTC"]
POLICIES = st.builds(
    Policy,
    *(st.integers(0, 4) for _rule in COUNTS),
    keep_within_seconds=st.sampled_from([0, 0, 1, 3600, 3660, 86400, 1e9]),
    timezone=st.sampled_from(ZONES),
).filter(lambda policy: any(getattr(policy, field_of(word)) for word in RULES))
# A few minutes to a few months on, or back; around NOW, so that some are future-dated.
STEPS = st.sampled_from([1, 20, 60, 61, 600, 1440, 1500, 10080, 45000, -30, -1440])


@st.composite
def histories(draw: st.DrawFn) -> list[Entry]:
    """Up to 24 backups, some of which are everything that a backup can be."""
    moment = NOW - timedelta(minutes=draw(st.integers(0, 200_000)))
    entries: list[Entry] = []
    for order in range(draw(st.integers(1, 24))):
        moment += timedelta(minutes=draw(STEPS))
        kind = draw(st.sampled_from(["full", "incremental", "incremental"])) if entries else "full"
        parents = [each.id for each in entries[-3:]] + ["gone"]
        entries.append(
            Entry(
                f"{order}",
                order,
                moment,
                type=kind,
                parent=None if kind == "full" else draw(st.sampled_from(parents)),
                pinned=draw(st.integers(0, 9)) == 0,
                counts=(counts := draw(st.integers(0, 6)) > 0),
                verified=counts and draw(st.booleans()),
                damaged=(damaged := draw(st.integers(0, 12)) == 0),
                suspect=not counts and not damaged and draw(st.booleans()),
            )
        )
    return draw(st.permutations(entries))


IN_USE = st.sets(st.sampled_from([str(number) for number in range(24)]), max_size=3)


def plan(entries: Sequence[Entry], policy: Policy, in_use: Collection[str] = ()) -> list[Decision]:
    return retention.plan(entries, policy, now=NOW, in_use=in_use)


def staying(decisions: Sequence[Decision]) -> list[Entry]:
    return [each.entry for each in decisions if each.kept]


def chain_of(entry: Entry, entries: Sequence[Entry]) -> list[Entry] | None:
    """``entry`` and all that it builds on; None when some of it is missing, damaged or bad."""
    by_id = {each.id: each for each in entries}
    links = [entry]
    while links[-1].type != "full":
        parent = by_id.get(links[-1].parent or "")
        if parent is None:
            return None
        links.append(parent)
    return None if any(each.damaged or not each.counts for each in links) else links


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_newest_and_newest_verified_are_never_removed(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str]
) -> None:
    stay = staying(plan(entries, policy, in_use))
    assert max(entries, key=lambda each: each.order) in stay
    verified = [each for each in entries if each.verified and chain_of(each, entries)]
    if verified:
        assert max(verified, key=lambda each: each.order) in stay


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_nothing_that_is_protected_is_removed(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str]
) -> None:
    for each in plan(entries, policy, in_use):
        entry = each.entry
        if entry.damaged or entry.pinned or entry.started > NOW or entry.id in in_use:
            assert each.kept
        assert each.reasons


@given(histories(), st.integers(1, 12), IN_USE)
@pytest.mark.slow
def test_after_a_suspect_backup_nothing_but_suspect_ones_is_removed(
    entries: Sequence[Entry], row: int, in_use: Collection[str]
) -> None:
    newest = [each.id for each in sorted(entries, key=lambda each: each.order)[-row:] if not each.damaged]
    entries = [
        dataclasses.replace(each, counts=False, verified=False, suspect=True) if each.id in newest else each
        for each in entries
    ]
    decisions = retention.plan_after_suspect(entries, now=NOW, in_use=in_use)
    gone = [each.entry for each in decisions if not each.kept]
    assert all(each.suspect and not each.pinned and each.id not in in_use for each in gone)
    assert max(each.order for each in entries) not in {each.order for each in gone}
    left = staying(decisions)
    assert {each.parent for each in left if not each.damaged}.isdisjoint(each.id for each in gone)
    assert all(each.kept for each in retention.plan_after_suspect(left, now=NOW, in_use=in_use))


@given(histories(), POLICIES, st.integers(1, 12))
@pytest.mark.slow
def test_what_is_held_apart_removes_nothing_but_suspect_ones(
    entries: Sequence[Entry], policy: Policy, row: int
) -> None:
    """And no rule keeps it once the old database is back."""
    whole = [each for each in entries if not each.damaged and not each.suspect]
    newest = [each.id for each in sorted(whole, key=lambda each: each.order)[-row:]]
    apart = [dataclasses.replace(each, apart=each.id in newest, verified=False) for each in entries]
    if newest:
        assert all(each.kept or each.entry.suspect for each in plan(apart, policy))
    back = [*apart, Entry("back", 99, NOW)]
    assert not [each for each in plan(back, policy) if each.entry.apart and set(each.reasons) & set(RULES)]


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_no_incremental_is_kept_without_its_chain(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str]
) -> None:
    stay = staying(plan(entries, policy, in_use))
    there, left = {each.id for each in entries}, {each.id for each in stay}
    for each in stay:
        if not each.damaged and each.parent in there:
            assert each.parent in left


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_no_damaged_incremental_loses_its_parent(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str]
) -> None:
    """Even though nobody knows any more which one that is, and where the damaged one stands in the order."""
    first = min(each.order for each in entries)
    moved = [dataclasses.replace(each, order=first - 1, parent=None) if each.damaged else each for each in entries]
    left = {each.id for each in staying(plan(moved, policy, in_use))}
    there = {each.id for each in entries}
    for each in entries:
        if each.damaged and each.type != "full" and each.parent in there:
            assert each.parent in left


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_no_incremental_loses_its_parent_while_backups_are_removed(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str]
) -> None:
    """They go in the order of the plan, and the run may be killed after each."""
    decisions = plan(entries, policy, in_use)
    left = {each.entry.id: each.entry for each in decisions}
    for gone in [each.entry for each in decisions if not each.kept]:
        del left[gone.id]
        assert not [each.id for each in left.values() if not each.damaged and each.parent == gone.id]


@given(histories(), POLICIES, IN_USE)
@pytest.mark.slow
def test_pruning_twice_changes_nothing(entries: Sequence[Entry], policy: Policy, in_use: Collection[str]) -> None:
    stay = staying(plan(entries, policy, in_use))
    again = plan(stay, policy, in_use)
    assert all(each.kept for each in again)


@given(histories(), POLICIES, IN_USE, st.sampled_from(RULES), st.integers(1, 3))
@pytest.mark.slow
def test_a_more_generous_policy_never_keeps_less(
    entries: Sequence[Entry], policy: Policy, in_use: Collection[str], word: str, more: int
) -> None:
    name = field_of(word)
    generous: Policy = dataclasses.replace(policy, **{name: getattr(policy, name) + more})
    less, all_of_it = plan(entries, policy, in_use), plan(entries, generous, in_use)
    assert {each.id for each in staying(less)} <= {each.id for each in staying(all_of_it)}


@given(histories(), POLICIES)
@pytest.mark.slow
def test_what_does_not_count_is_as_good_as_absent_to_the_rules(entries: Sequence[Entry], policy: Policy) -> None:
    def ruled(decisions: Sequence[Decision]) -> dict[str, list[str]]:
        found = {each.entry.id: [word for word in each.reasons if word in RULES] for each in decisions}
        return {identity: words for identity, words in found.items() if words}

    countable = [each for each in entries if chain_of(each, entries)]
    # The future ones may be built upon, so they are here, too.
    assert ruled(plan(entries, policy)) == ruled(plan(countable, policy))
    assert set(ruled(plan(entries, policy))) <= {each.id for each in countable if each.started <= NOW}


@given(histories(), POLICIES)
def test_each_rule_keeps_as_many_as_it_says_or_all_periods_there_are(entries: Sequence[Entry], policy: Policy) -> None:
    decisions = plan(entries, policy)
    countable = [each for each in entries if chain_of(each, entries) and each.started <= NOW]
    for word in COUNTS:
        ruled = [each for each in decisions if word in each.reasons]
        assert len(ruled) <= getattr(policy, f"keep_{word}")
        if countable and getattr(policy, f"keep_{word}"):
            assert ruled


@given(histories(), POLICIES)
@pytest.mark.slow
def test_within_keeps_all_that_is_younger_and_nothing_else(entries: Sequence[Entry], policy: Policy) -> None:
    countable = [each for each in entries if chain_of(each, entries) and each.started <= NOW]
    latest = max((each.started for each in countable), default=NOW)
    young = {each.id for each in countable if (latest - each.started).total_seconds() < policy.keep_within_seconds}
    assert {each.entry.id for each in plan(entries, policy) if "within" in each.reasons} == young


# --- the real restic -----------------------------------------------------------------------------------------------

needs_restic = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")
# Minutes from one snapshot to the next, the way that years fill up: many close together, few far apart.
GAPS = [7, 20, 45, 60, 90, 300, 700, 1440, 2000, 4000, 10080, 15000, 44000, 200_000, 530_000]
# Around both changes of the clocks, in the hour that Berlin has twice, around a year that ends within a week.
TRICKY = [
    "2024-12-29T23:30:00Z", "2024-12-30T00:30:00Z", "2024-12-31T22:59:59Z", "2024-12-31T23:00:00Z",
    "2025-03-30T00:59:59Z", "2025-03-30T01:00:00Z", "2025-10-25T23:50:00Z", "2025-10-26T00:10:00Z",
    "2025-10-26T00:50:00Z", "2025-10-26T01:10:00Z", "2025-10-26T02:10:00Z",
]  # fmt: skip
SNAPSHOTS, QUESTIONS = 30, 28
TAGS = [f"tag{number}" for number in range(QUESTIONS)]


def _moments(pick: random.Random) -> list[datetime]:
    moments = {clock.from_text(each) for each in TRICKY}
    moment = datetime(2025, 12, 31, 22, 10, tzinfo=timezone.utc)
    while len(moments) < SNAPSHOTS:
        moments.add(moment)
        moment -= timedelta(minutes=pick.choice(GAPS))
        if moment.year < 2019:
            moment = datetime(2025, pick.randint(1, 12), pick.randint(1, 28), pick.randint(0, 23), tzinfo=timezone.utc)
    return sorted(moments)


def _snapshot(pick: random.Random, moment: datetime, zone: str) -> restic.Snapshot:
    local = moment.astimezone(clock.zone(zone))
    # Of an hour that comes twice restic cannot be told which one is meant, but what the clocks differed from UTC.
    offset = local.utcoffset() or timedelta()
    where = f"Etc/GMT-{int(offset.total_seconds()) // 3600}" if zone == BERLIN and local.hour == 2 else zone
    tags = tuple(each for each in TAGS if pick.random() < 0.5)
    return restic.Snapshot(local, where, f"host{pick.randrange(4)}", f"path{pick.randrange(2)}", tags)


def _counts(pick: random.Random, moments: Sequence[datetime]) -> dict[str, int]:
    counts = {word: pick.choice([0, 0, 1, 2, 3, 6]) for word in COUNTS}
    # In whole hours up to one of the snapshots, of which some are exactly so old, or an hour more.
    hours = (moments[-1] - pick.choice(moments)) // timedelta(hours=1) + pick.randint(0, 1)
    counts["within"] = pick.choice([0, 3600 * hours])
    return {**counts, pick.choice(COUNTS): pick.randint(1, 4)}


@needs_restic
@needs_zones
@pytest.mark.slow
@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_rules_decide_as_the_real_restic_does(tmp_path: Path, zone: str) -> None:
    """Each question is of other snapshots, and each group of an answer is a history of its own."""
    pick = random.Random(f"retention {zone}")
    real = restic.Restic(tmp_path)
    moments = _moments(pick)
    real.add([_snapshot(pick, moment, zone) for moment in moments])
    grouped_by = ["host,paths", "host", "host,paths", "paths"] * QUESTIONS
    questions = [restic.Forget(_counts(pick, moments), tag, group) for tag, group in zip(TAGS, grouped_by)]
    # Since 0.16 restic keeps the oldest snapshot, too, while a rule has counts left.
    keeps_oldest = real.version() >= (0, 16)

    histories_seen = set()
    for question, groups in zip(questions, real.forget(questions)):
        policy = keep(**question.keep, timezone=zone)
        for group in groups:
            everything = group.kept | group.removed
            assert everything <= set(moments)
            histories_seen.add(everything)
            entries = history(*map(clock.to_text, sorted(everything)))
            ours = {each.entry.started for each in retention.plan(entries, policy, now=NOW) if each.kept}
            excused = {min(everything)} - ours if keeps_oldest else set()
            assert ours == group.kept - excused, f"{question} of {sorted(everything)}"
    assert len(histories_seen) > 70
