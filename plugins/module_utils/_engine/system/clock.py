# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time: UTC moments, time zones, durations as operators write them, phases and deadlines."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone, tzinfo
from pathlib import Path

from .errors import ProgramMissingError, UsageError

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_IN_WORDS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
LONGEST_SECONDS = 36525 * 86400
_PART = re.compile(r"(\d+)([smhdw])", re.ASCII)
_DURATION = re.compile(r"(\d+[smhdw])+", re.ASCII)
_NUMBER = re.compile(r"\d+(\.\d+)?", re.ASCII)
_ID_FORMAT = "%Y%m%dT%H%M%SZ"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?: ?([Zz]|[+-]\d\d:?\d\d))?)?", re.ASCII
)

# systemd-timesyncd makes this directory when it starts and the file when it has set the clock once:
# https://www.freedesktop.org/software/systemd/man/latest/systemd-timesyncd.service.html
_TIME_SYNC = Path("/run/systemd/timesync")
_TIME_SYNC_NAME = "synchronized"
# This was written later; an earlier clock is that of a machine that does not know the time.
WRITTEN = datetime(2025, 1, 1, tzinfo=timezone.utc)

# A day later than what Python has: no zone is further from UTC.
_EARLIEST = datetime(1, 1, 2, tzinfo=timezone.utc)


def now() -> datetime:
    """The present moment in UTC, to the second: the resolution of everything that is stored."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def is_set() -> bool | None:
    """Whether the clock was set from the network since the start; None when nobody here tells."""
    if not _TIME_SYNC.is_dir():
        return None
    return (_TIME_SYNC / _TIME_SYNC_NAME).exists()


def to_text(moment: datetime) -> str:
    """``moment`` in RFC 3339, UTC, for example ``2025-12-30T12:00:00Z``."""
    # Not with `strftime`: on Linux its years before 1000 have fewer digits.
    return moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def with_offset(moment: datetime) -> str:
    """``moment`` in RFC 3339, in its own zone, for example ``2025-12-30T13:00:00+01:00``."""
    return re.sub(r"\+00:00$", "Z", moment.isoformat())


def from_text(text: str) -> datetime:
    """The moment that a text of the engine's own names; without a zone it is UTC.

    Raises ``UsageError`` also for one that UTC, or a zone of an operator, has no date for.
    """
    moment = _parsed(text)
    moment = moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    try:
        in_utc = moment.astimezone(timezone.utc)
    except OverflowError:
        raise _unreadable(text) from None
    if in_utc < _EARLIEST:
        raise _unreadable(text)
    return moment


def from_operator(text: str) -> datetime:
    """The moment that a text of an operator names; without a zone the clock of this host is meant.

    When that clock shows a time twice, or leaves it out, it is the earlier of both readings: for a restore the
    later one could be after the damage.
    """
    moment = _parsed(text)
    try:
        if moment.tzinfo is None:
            moment = min(moment.replace(fold=fold).astimezone() for fold in (0, 1))
        moment.astimezone(timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise _unreadable(text) from None
    return moment


def _parsed(text: str) -> datetime:
    # Not with `fromisoformat`: what it takes depends on the Python.
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise _unreadable(text)
    *numbers, fraction, offset = match.groups()
    year, month, day, hour, minute, second = (int(each or 0) for each in numbers)
    microsecond = int(f"{(fraction or '')[:6]:0<6}")
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, _offset(offset))
    except ValueError:
        raise _unreadable(text) from None


def _offset(text: str | None) -> timezone | None:
    if text is None or text in "Zz":
        return timezone.utc if text else None
    hours, minutes = int(text[1:3]), int(text[-2:])
    if minutes > 59:
        raise ValueError(f"no offset: {text}")
    offset = timedelta(hours=hours, minutes=minutes)
    return timezone(-offset if text[0] == "-" else offset)


def _unreadable(text: str) -> UsageError:
    return UsageError(
        f"Cannot read the time {text!r:.60}: it is no date, alone or with a time.",
        hint="Write it like 2025-12-30T12:00:00Z, or like 2025-12-30 12:00 for the clock of this host.",
    )


def to_stamp(moment: datetime) -> str:
    """``moment`` as the first part of a backup's id, for example ``20251230T120000Z``."""
    return moment.astimezone(timezone.utc).strftime(_ID_FORMAT)


def zone(name: str) -> tzinfo:
    """The time zone with this name in the IANA database, for example ``Europe/Berlin``.

    ``UTC`` needs no data on the host; any other name raises ``ProgramMissingError`` where there is none.
    """
    if name == "UTC":
        return timezone.utc
    # Only here: it takes as long to load as a room of the engine.
    import zoneinfo

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        if zoneinfo.available_timezones():
            raise UsageError(
                f"There is no time zone {name!r}.", hint="Write it like Europe/Berlin, or use UTC."
            ) from None
        raise ProgramMissingError(
            f"Cannot use the time zone {name!r}: this host has no time zone data.",
            hint="Install the package tzdata there, or use UTC.",
        ) from None


def parse_duration(text: str) -> float:
    """Seconds in a duration such as ``15m``, ``1h``, ``7d`` or ``1h30m``; a bare number is seconds."""
    compact = text.strip().lower()
    parts = _PART.findall(compact) if _DURATION.fullmatch(compact) else [(compact, "s")]
    if not all(_NUMBER.fullmatch(number) for number, _unit in parts):
        raise UsageError(
            f"Cannot read the duration {text!r:.60}.", hint="Write a number and a unit: 30s, 15m, 1h, 7d, 4w."
        )
    # Of very many digits a float is infinite, where an int would not be made.
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST_SECONDS:
        raise UsageError(f"Cannot use the duration {text!r:.60}: it is more than 100 years.", hint="Use a shorter one.")
    return seconds


def in_words(seconds: float) -> str:
    """``seconds`` in their largest unit and the next one: ``45 s``, ``2 h 5 min``, ``3 d``."""
    rest = int(seconds)
    for place, (unit, unit_seconds) in enumerate(_IN_WORDS):
        if rest >= unit_seconds:
            number, rest = divmod(rest, unit_seconds)
            finer = _IN_WORDS[place + 1 : place + 2]
            parts = [f"{number} {unit}", *(f"{rest // each} {name}" for name, each in finer if rest >= each)]
            return " ".join(parts)
    return "0 s"


class Deadline:
    """A moment on the monotonic clock after which work should stop. ``seconds=None`` never passes."""

    def __init__(self, seconds: float | None) -> None:
        self._end = None if seconds is None else time.monotonic() + seconds

    def remaining_seconds(self, longest: float) -> float:
        """Seconds left, at least 0 and at most ``longest``."""
        if self._end is None:
            return longest
        return max(0.0, min(longest, self._end - time.monotonic()))

    @property
    def seconds(self) -> float | None:
        """Seconds left, None when it never passes."""
        return None if self._end is None else self.remaining_seconds(self._end)

    def passed(self) -> bool:
        return self._end is not None and time.monotonic() >= self._end


class Phases:
    """Wall time of each phase of a run, in seconds, in the order in which they happened."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        begin = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.monotonic() - begin, 3)
