# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forecast of retention, compared with what comes when backups are made and pruned in that rhythm."""

from __future__ import annotations

import dataclasses
import random
import zoneinfo
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import forecast, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.forecast import Forecast
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.retention import Entry, Policy
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock

NOW = datetime(2026, 3, 27, 10, 20, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)
NOTHING = Policy(0, 0, 0, 0, 0, 0, 0)
needs_zones = pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")


def full(moment: datetime, order: int, **facts: object) -> Entry:
    entry = Entry(f"{clock.to_stamp(moment)}-{order}", order, moment, verified=True, sequence=order + 1)
    return dataclasses.replace(entry, **facts)


def foretold(
    entries: Sequence[Entry], policy: Policy, *, every: timedelta = HOUR, now: datetime = NOW
) -> dict[str, Forecast]:
    decisions = retention.plan(entries, policy, now=now)
    return forecast.forecast(decisions, policy, now=now, every_seconds=every.total_seconds())


def hourly(count: int, **facts: object) -> list[Entry]:
    """Full backups of so many hours, the newest 20 minutes old."""
    newest = NOW - timedelta(minutes=20)
    return [full(newest - (count - 1 - order) * HOUR, order, **facts) for order in range(count)]


def run_for(
    entries: Sequence[Entry], policy: Policy, every: timedelta, runs: int
) -> tuple[dict[str, datetime], datetime]:
    """When each of ``entries`` went in so many runs that back up and prune, and when the last run was."""
    left, gone = list(entries), {}
    order = max(each.order for each in entries)
    moment = max(each.started for each in entries)
    while moment <= NOW:
        moment += every
    for _run in range(runs):
        order += 1
        left.append(full(moment, order))
        pins = [dataclasses.replace(each, pinned=_is_pinned(each, moment)) for each in left]
        decisions = retention.plan(pins, policy, now=moment)
        for each in decisions:
            if not each.kept:
                gone[each.entry.id] = moment
        kept = {each.entry.id for each in decisions if each.kept}
        left = [each for each in left if each.id in kept]
        moment += every
    return {each.id: gone[each.id] for each in entries if each.id in gone}, moment - every


def _is_pinned(entry: Entry, moment: datetime) -> bool:
    return entry.pinned and (entry.pinned_until is None or moment < entry.pinned_until)


def made_up(rng: random.Random) -> list[Entry]:
    """Chains and full backups of some weeks, with gaps; some do not count, some are pinned."""
    moment = NOW - timedelta(seconds=rng.randrange(7200))
    entries: list[Entry] = []
    times = []
    for _each in range(rng.randrange(3, 60)):
        times.append(moment)
        moment -= timedelta(seconds=rng.choice((600, 3600, 7200, 86400, 300_000)) + rng.randrange(900))
    for order, each in enumerate(reversed(times)):
        entry = full(each.replace(microsecond=0), order)
        if rng.random() < 0.15:
            entries.append(dataclasses.replace(entry, counts=False, verified=False, suspect=True))
            continue
        if order and not entries[-1].suspect and rng.random() < 0.5:
            entry = dataclasses.replace(entry, type="incremental", parent=entries[-1].id)
        if rng.random() < 0.08:
            end = rng.choice((None, NOW + timedelta(hours=rng.randrange(1, 300))))
            entry = dataclasses.replace(entry, pinned=True, pinned_until=end)
        entry = dataclasses.replace(entry, counts=rng.random() > 0.05, verified=rng.random() > 0.2)
        entries.append(entry)
    return entries


def policy_of(rng: random.Random, zone: str) -> Policy:
    counts = [rng.choice((0, 0, 1, 2, rng.randrange(30))) for _each in range(6)]
    within = rng.choice((0, 0, 3600, 86400, rng.randrange(1, 500_000)))
    suspect = rng.choice((0, 86400, 604800, rng.randrange(1, 2_000_000)))
    policy = Policy(*counts, keep_within_seconds=within, timezone=zone, keep_suspect_seconds=suspect)
    return policy if any((*counts, within)) else dataclasses.replace(policy, keep_daily=3)


@pytest.mark.thorough
@pytest.mark.parametrize("zone", ["UTC", pytest.param("Europe/Berlin", marks=needs_zones)])
@pytest.mark.parametrize("seed", range(25))
def test_forecast_is_what_comes(zone: str, seed: int) -> None:
    rng = random.Random(f"{zone} {seed}")
    entries, policy = made_up(rng), policy_of(rng, zone)
    every = rng.choice((timedelta(minutes=15), HOUR, timedelta(minutes=90), timedelta(hours=5), timedelta(days=1)))

    gone, last = run_for(entries, policy, every, runs=150)
    found = foretold(entries, policy, every=every)

    assert found.keys() == {each.id for each in entries}
    for each in entries:
        told = found[each.id]
        if each.id in gone:
            assert told == Forecast(gone[each.id]), (each.id, policy)
        else:
            assert told.stays or (told.goes is not None and told.goes > last), (each.id, policy)


@needs_zones
@pytest.mark.parametrize("day", ["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z"])
def test_forecast_minds_the_night_in_which_the_clocks_change(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock.from_text(day)
    monkeypatch.setitem(globals(), "NOW", now)
    policy = dataclasses.replace(NOTHING, keep_hourly=20, keep_daily=3, timezone="Europe/Berlin")
    entries = hourly(20)

    gone, _last = run_for(entries, policy, HOUR, runs=80)

    assert len(gone) == len(entries)
    found = foretold(entries, policy, now=now)
    assert {each.id: found[each.id].goes for each in entries} == gone


def test_forecast_by_hand() -> None:
    """Friday, 10:20; the newest is of 10:00, so the next one comes at 11:00."""
    entries = hourly(30)
    policy = dataclasses.replace(NOTHING, keep_hourly=2, keep_daily=2)

    found = foretold(entries, policy)

    goes = {each.id[:13]: found[each.id].goes for each in entries}
    # Of today: pushed out of the hours at 12:00, and of the day by the next backup.
    assert goes["20260327T1000"] == clock.from_text("2026-03-27T12:00:00Z")
    assert goes["20260327T0900"] == clock.from_text("2026-03-27T11:00:00Z")
    # Of yesterday: until the day after today begins.
    assert goes["20260326T2300"] == clock.from_text("2026-03-28T00:00:00Z")
    # Nothing keeps it now.
    assert goes["20260326T2200"] == clock.from_text("2026-03-27T11:00:00Z")


def test_what_has_no_end_says_why() -> None:
    entries = hourly(4)
    entries[0] = dataclasses.replace(entries[0], pinned=True)
    entries[1] = dataclasses.replace(entries[1], damaged=True)
    entries[3] = dataclasses.replace(entries[3], started=NOW + HOUR)

    found = foretold(entries, dataclasses.replace(NOTHING, keep_last=1))

    assert [found[each.id].stays for each in entries] == ["pinned", "damaged", "", "future-dated"]
    assert [found[each.id].goes is None for each in entries] == [True, True, False, True]


def test_base_of_a_pinned_one_stays_as_long() -> None:
    base, child, newest = hourly(3)
    child = dataclasses.replace(child, type="incremental", parent=base.id, pinned=True)
    until = NOW + 5 * HOUR
    policy = dataclasses.replace(NOTHING, keep_last=1)

    forever = foretold([base, child, newest], policy)
    bounded = foretold([base, dataclasses.replace(child, pinned_until=until), newest], policy)

    assert forever[base.id] == Forecast(None, f"needed by {child.id}")
    assert bounded[base.id] == bounded[child.id] == Forecast(clock.from_text("2026-03-27T16:00:00Z"))


def test_schedule_that_stopped_goes_on_from_now() -> None:
    entries = [full(NOW - timedelta(days=40, minutes=5), 0)]

    found = foretold(entries, dataclasses.replace(NOTHING, keep_within_seconds=3600))

    assert found[entries[0].id] == Forecast(NOW + timedelta(minutes=55))


@pytest.mark.parametrize(
    "policy",
    [
        dataclasses.replace(NOTHING, keep_hourly=10**9),
        dataclasses.replace(NOTHING, keep_last=10**18),
        dataclasses.replace(NOTHING, keep_within_seconds=1e30),
    ],
)
def test_what_is_too_far_away_is_not_foretold(policy: Policy) -> None:
    found = foretold(hourly(3), policy)

    assert all(each.goes is None and each.stays for each in found.values())


def test_calendar_ends_with_the_year_9999() -> None:
    entries = [full(NOW - timedelta(days=400), 0), full(NOW - timedelta(minutes=20), 1)]

    found = foretold(entries, dataclasses.replace(NOTHING, keep_yearly=9000))

    assert found[entries[0].id] == Forecast(None, "yearly")


def test_no_backups_have_no_forecast() -> None:
    assert foretold([], Policy()) == {}
