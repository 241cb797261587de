# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import schedule


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("minute", "hour", "grace_minutes", "now", "due"),
    [
        ("7", "*", 0, "2025-06-02 10:07", "2025-06-02 10:07"),
        ("7", "*", 0, "2025-06-02 10:06", "2025-06-02 09:07"),
        ("7", "*", 60, "2025-06-02 10:07", "2025-06-02 09:07"),
        ("7", "*", 60, "2025-06-02 10:06", "2025-06-02 08:07"),
        ("48,3,18,33", "*", 15, "2025-06-02 10:20", "2025-06-02 10:03"),
        ("*", "*", 0, "2025-06-02 00:00", "2025-06-02 00:00"),
        ("30", "6,22", 60, "2025-06-02 05:00", "2025-06-01 22:30"),
        ("30", "6,22", 60, "2025-06-02 07:29", "2025-06-01 22:30"),
        ("30", "6,22", 60, "2025-06-02 07:30", "2025-06-02 06:30"),
        ("0", "3", 720, "2025-06-02 14:59", "2025-06-01 03:00"),
        ("59", "23", 1440, "2025-06-02 23:58", "2025-05-31 23:59"),
    ],
)
def test_last_due_moment(minute: str, hour: str, grace_minutes: int, now: str, due: str) -> None:
    assert schedule.parse(minute, hour, 60 * grace_minutes).last_due(utc(now)) == utc(due)


@pytest.mark.thorough
def test_each_moment_of_a_year_comes_once_and_in_order(local_zone: Callable[[str], None]) -> None:
    """Hourly, in a zone with two changes of the clock a year: never more than two hours between two, none missing."""
    local_zone("Europe/Berlin")
    hourly = schedule.parse("20", "*", 0)
    found = {hourly.last_due(utc("2025-01-01 00:00") + timedelta(minutes=15 * each)) for each in range(4 * 24 * 365)}
    moments = sorted(each for each in found if each)
    gaps = {after - before for before, after in zip(moments, moments[1:])}
    assert gaps == {timedelta(hours=1), timedelta(hours=2)}
    assert len(moments) == 365 * 24


def test_moment_that_the_clock_leaves_out_is_not_asked_for(local_zone: Callable[[str], None]) -> None:
    """In that night cron may begin an hour later, and a timer not at all."""
    local_zone("Europe/Berlin")
    nightly = schedule.parse("30", "2", 0)
    assert nightly.last_due(utc("2025-03-30 12:00")) == utc("2025-03-29 01:30")
    assert nightly.last_due(utc("2025-03-31 12:00")) == utc("2025-03-31 00:30")


def test_moment_that_the_clock_shows_twice_is_the_first(local_zone: Callable[[str], None]) -> None:
    local_zone("Europe/Berlin")
    nightly = schedule.parse("30", "2", 0)
    assert nightly.last_due(utc("2025-10-26 12:00")) == utc("2025-10-26 00:30")


@pytest.mark.parametrize(
    ("minute", "hour"), [("", "*"), ("60", "*"), ("1", "24"), ("1,", "2"), ("-1", "2"), ("*/5", "1")]
)
def test_what_is_no_field_is_refused(minute: str, hour: str) -> None:
    with pytest.raises(UsageError, match="of a schedule"):
        schedule.parse(minute, hour, 0)
