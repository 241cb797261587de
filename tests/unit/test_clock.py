# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import time
import zoneinfo
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    ProgramMissingError,
    UsageError,
)

NOON = datetime(2025, 12, 30, 12, 0, 0, tzinfo=timezone.utc)
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
MOMENTS = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001
SECONDS = MOMENTS.map(lambda moment: moment.replace(microsecond=0))


def test_now_is_the_present_in_utc_to_the_second() -> None:
    before = time.time()
    moment = clock.now()
    assert moment.utcoffset() == timedelta(0)
    assert moment.microsecond == 0
    assert before - 1 < moment.timestamp() <= time.time()


@given(SECONDS)
def test_text_names_the_same_moment_again(moment: datetime) -> None:
    """A manifest's time must not move with the time zone of the host that reads it."""
    text = clock.to_text(moment)
    assert text.endswith("Z")
    assert clock.from_text(text) == moment


@given(SECONDS, SECONDS)
def test_texts_and_stamps_sort_like_their_moments(one: datetime, other: datetime) -> None:
    """Ids and times are compared as texts, whatever zone the hosts were in."""
    for write in (clock.to_text, clock.to_stamp):
        assert (write(one) < write(other)) == (one < other)


@given(MOMENTS)
def test_every_form_that_python_writes_is_read(moment: datetime) -> None:
    assert clock.from_text(moment.isoformat()) == moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-12-30T12:00:00Z", NOON),
        ("2025-12-30T12:00:00z", NOON),
        ("2025-12-30 12:00:00Z", NOON),
        (" 2025-12-30T12:00:00Z\n", NOON),
        ("2025-12-30T13:30:00+01:30", NOON),
        ("2025-12-30T04:00:00-08:00", NOON),
        ("2025-12-30T12:00:00", NOON),
        ("2025-12-30", NOON.replace(hour=0)),
        ("2025-12-30T12:00:00.5Z", NOON.replace(microsecond=500_000)),
        ("2025-12-30T12:00:00.25+00:00", NOON.replace(microsecond=250_000)),
        ("2025-12-30T12:00:00.000001Z", NOON.replace(microsecond=1)),
        ("2025-12-30T12:00:00.123456789Z", NOON.replace(microsecond=123_456)),
        ("2025-12-30t12:00Z", NOON),
        ("2025-12-30 13:30+0130", NOON),
        ("2025-12-30 12:00:00.5 +00:00", NOON.replace(microsecond=500_000)),
    ],
)
def test_time_is_read_as_rfc_3339_on_every_python(text: str, moment: datetime) -> None:
    """What Python 3.13 reads, 3.9 must read too: other programs write one to nine digits behind the second."""
    assert clock.from_text(text) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "yesterday", "12:00", "2025-13-01T00:00:00Z", "2025-12-30T25:00:00Z", "latest", "2025-12-30T12", "2025-12",
        "2025-12-30Z", "20251230", "20251230T120000Z", "2025-W01-1", "2025-364", "2025-12-30T1200", "2025-12-30_12:00",
        "2025-12-30T12:00:00+25:00", "2025-12-30T24:00", "2025-12-30T12:00:00+01:60", "0000-01-01",
        "2025-12-30T12:00:00+01", "2025-12-30T12:00:00+01:00:30", "٢٠٢٥-12-30", "2025-12-30T",
        "2025-12-30T12:00.5", "2025-12-30T12:00:60Z", "2025-12-30 12:00\n12:00",
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [clock.from_text, clock.from_operator])
def test_text_that_is_no_time_is_a_usage_error(read: Callable[[str], datetime], text: str) -> None:
    """A misread time would choose another backup; and what one Python reads, each must."""
    with pytest.raises(UsageError, match="it is no date"):
        read(text)


# --- the times that an operator gives ------------------------------------------------------------------------------

# As tzset(3) has it, which needs no time zone data: one hour ahead, two from the end of March to the end of October.
BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (BERLIN, "2026-01-01 10:00", "2026-01-01T10:00:00+01:00"),
        (BERLIN, "2026-07-01T10:00:30", "2026-07-01T10:00:30+02:00"),
        (BERLIN, "2026-07-01 10:00:00.25", "2026-07-01T10:00:00.250000+02:00"),
        (BERLIN, "2026-07-01", "2026-07-01T00:00:00+02:00"),
        (NEW_YORK, "2026-01-01 10:00", "2026-01-01T10:00:00-05:00"),
        ("UTC0", "2026-01-01 10:00", "2026-01-01T10:00:00Z"),
        (BERLIN, "2026-07-01T10:00:00Z", "2026-07-01T10:00:00Z"),
        (BERLIN, "2026-07-01T10:00:00-0330", "2026-07-01T10:00:00-03:30"),
    ],
)
def test_time_of_an_operator_without_a_zone_is_of_this_host(
    local_zone: Callable[[str], None], name: str, text: str, told: str
) -> None:
    """As UTC it would restore another hour than the one on the operator's clock."""
    local_zone(name)
    moment = clock.from_operator(text)
    assert clock.with_offset(moment) == told
    assert clock.from_text(told) == moment


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (BERLIN, "2026-10-25 02:30", "2026-10-25T02:30:00+02:00"),
        (NEW_YORK, "2026-11-01 01:30", "2026-11-01T01:30:00-04:00"),
        (BERLIN, "2026-03-29 02:30", "2026-03-29T01:30:00+01:00"),
        (NEW_YORK, "2026-03-08 02:30", "2026-03-08T01:30:00-05:00"),
        (BERLIN, "2026-10-25 01:59:59", "2026-10-25T01:59:59+02:00"),
        (BERLIN, "2026-10-25 03:00", "2026-10-25T03:00:00+01:00"),
        (BERLIN, "2026-03-29 01:59:59", "2026-03-29T01:59:59+01:00"),
        (BERLIN, "2026-03-29 03:00", "2026-03-29T03:00:00+02:00"),
    ],
)
def test_of_an_hour_that_clocks_repeat_or_leave_out_the_earlier_moment_is_meant(
    local_zone: Callable[[str], None], name: str, text: str, told: str
) -> None:
    """The later one could bring back what went wrong in between."""
    local_zone(name)
    assert clock.with_offset(clock.from_operator(text)) == told


def test_time_of_the_engine_is_utc_in_every_zone(local_zone: Callable[[str], None]) -> None:
    local_zone(BERLIN)
    assert clock.from_text("2025-12-30T12:00:00") == NOON
    assert clock.to_text(NOON) == "2025-12-30T12:00:00Z"


@pytest.mark.parametrize("text", ["0001-01-01", "9999-12-31 23:59", "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
@pytest.mark.parametrize("name", [BERLIN, NEW_YORK])
def test_time_at_the_end_of_the_calendar_is_a_moment_or_a_usage_error(
    local_zone: Callable[[str], None], name: str, text: str
) -> None:
    local_zone(name)
    with contextlib.suppress(UsageError):
        clock.to_text(clock.from_operator(text))


@pytest.mark.parametrize(
    "text", ["0001-01-01", "0001-01-01T23:59:59Z", "0001-01-02T00:00:00+14:00", "9999-12-31T23:59:59-00:01"]
)
def test_time_that_some_zone_has_no_date_for_is_a_usage_error(text: str) -> None:
    """Whoever owns a repository may have written it, and it is shown in UTC and counted in any zone."""
    with pytest.raises(UsageError, match="it is no date"):
        clock.from_text(text)


@pytest.mark.parametrize("text", ["0001-01-02T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_first_and_last_time_of_the_engine_are_read(text: str) -> None:
    assert clock.to_text(clock.from_text(text)) == text


def test_stamp_is_in_utc() -> None:
    """A host whose clock goes back for winter must not give the same id twice."""
    assert clock.to_stamp(NOON.astimezone(timezone(timedelta(hours=2)))) == "20251230T120000Z"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("90", 90), ("1.5", 1.5), ("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("4w", 2_419_200),
        ("1h30m", 5400), (" 1H ", 3600),
    ],
)  # fmt: skip
def test_duration_is_read(text: str, seconds: float) -> None:
    assert clock.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-5m", "1.5h", "5 minutes", "1h-30m", "5y", "inf", "nan", "1e3", "5m5"])
def test_text_that_is_no_duration_is_a_usage_error(text: str) -> None:
    """A misread retention or deadline must not pass silently."""
    with pytest.raises(UsageError, match="duration"):
        clock.parse_duration(text)


@pytest.mark.parametrize("text", ["36525d", "5217w", "3155760000", f"{'0' * 5000}1h"])
def test_duration_of_a_hundred_years_is_read(text: str) -> None:
    assert 0 < clock.parse_duration(text) <= clock.LONGEST_SECONDS


@pytest.mark.parametrize(
    "text",
    [
        "36526d",
        "36525d1s",
        "3155760000.1",
        *("9" * digits + unit for digits in (12, 400, 5000) for unit in ("", "s", "w")),
    ],
)
def test_duration_without_sense_is_a_usage_error(text: str) -> None:
    """None is a number that the arithmetic behind it cannot take, and none fills a screen."""
    with pytest.raises(UsageError, match="more than 100 years") as caught:
        clock.parse_duration(text)
    assert len(caught.value.message) < 150


def test_digits_of_another_script_are_no_duration() -> None:
    with pytest.raises(UsageError, match="Cannot read the duration"):
        clock.parse_duration("\N{ARABIC-INDIC DIGIT THREE}h")


@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from("smhdw")), min_size=1, max_size=5))
def test_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    whole = clock.parse_duration("".join(f"{number}{unit}" for number, unit in parts))
    assert whole == sum(clock.parse_duration(f"{number}{unit}") for number, unit in parts)


def test_deadline_without_seconds_never_passes() -> None:
    deadline = clock.Deadline(None)
    assert not deadline.passed()
    assert deadline.remaining_seconds(5.0) == 5.0


def test_deadline_passes_with_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the system's time must neither end a backup nor make it endless."""
    present = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: present[0])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    deadline = clock.Deadline(10)
    present[0] = 1004.0
    assert (deadline.passed(), deadline.remaining_seconds(60), deadline.remaining_seconds(2)) == (False, 6, 2)
    present[0] = 1010.0
    assert (deadline.passed(), deadline.remaining_seconds(60)) == (True, 0)
    present[0] = 1020.0
    assert (deadline.passed(), deadline.remaining_seconds(60)) == (True, 0)


def test_phases_keep_their_order_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    present = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: present[0])
    phases = clock.Phases()
    for name, seconds in (("snapshot", 2.0), ("check", 0.25), ("snapshot", 0.5)):
        with phases.phase(name):
            present[0] += seconds
    assert list(phases.seconds.items()) == [("snapshot", 2.5), ("check", 0.25)]


def test_phase_that_fails_is_timed_too() -> None:
    """The time until a failure is what its report needs most."""
    phases = clock.Phases()
    with pytest.raises(ZeroDivisionError), phases.phase("check"):
        raise ZeroDivisionError
    assert list(phases.seconds) == ["check"]


# --- time zones ----------------------------------------------------------------------------------------------------

needs_zones = pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")


@needs_zones
def test_zone_knows_its_summer() -> None:
    berlin = clock.zone("Europe/Berlin")
    assert NOON.astimezone(berlin).hour == 13
    assert NOON.replace(month=7).astimezone(berlin).hour == 14


@pytest.mark.usefixtures("no_zone_data")
def test_utc_needs_no_data_on_the_host() -> None:
    assert NOON.astimezone(clock.zone("UTC")) == NOON


@pytest.mark.usefixtures("no_zone_data")
def test_zone_on_a_host_without_data_is_a_missing_program() -> None:
    """The name may be right: what helps is a package, not another name."""
    with pytest.raises(ProgramMissingError, match=r"'Europe/Berlin'.*tzdata"):
        clock.zone("Europe/Berlin")


@needs_zones
@pytest.mark.parametrize(
    "name",
    ["", ".", "Europe", "Europe/Nowhere", "Europe/Berlin ", "/etc/passwd", "../x", "a\0b", "zone.tab", "x" * 300],
)
def test_unknown_zone_is_a_mistake_that_is_named(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        clock.zone(name)
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (86400 + 59, "1 d"),
        (400 * 86400 + 3 * 3600, "400 d 3 h"),
    ],
)
def test_seconds_in_words(seconds: float, text: str) -> None:
    assert clock.in_words(seconds) == text


def test_whether_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = tmp_path / "timesync"
    monkeypatch.setattr(clock, "_TIME_SYNC", directory)
    assert clock.is_set() is None
    directory.mkdir()
    assert clock.is_set() is False
    (directory / "synchronized").touch()
    assert clock.is_set() is True
