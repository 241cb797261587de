# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time: UTC moments, time zones, durations as operators write them, phases and deadlines."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from datetime import datetime, timezone, tzinfo

from .errors import ProgramMissingError, UsageError

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_ID_FORMAT = "%Y%m%dT%H%M%SZ"


def now() -> datetime:
    """The present moment in UTC, to the second: the resolution of everything that is stored."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def to_text(moment: datetime) -> str:
    """``moment`` in RFC 3339, UTC, for example ``2025-12-30T12:00:00Z``."""
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def from_text(text: str) -> datetime:
    """The moment that an RFC 3339 text names; a text without a zone is UTC."""
    plain = re.sub(r"[zZ]$", "+00:00", text.strip())
    # Before 3.11 `fromisoformat` takes three or six digits of a fraction only, RFC 3339 allows any number.
    plain = re.sub(r"\.(\d{1,6})\d*", lambda fraction: f".{fraction[1]:0<6}", plain, count=1)
    try:
        moment = datetime.fromisoformat(plain)
    except ValueError:
        raise UsageError(
            f"Cannot read the time {text!r}: it is not RFC 3339.", hint="Write it like 2025-12-30T12:00:00Z."
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


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
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    if not re.fullmatch(r"(\d+[smhdw])+", compact):
        raise UsageError(f"Cannot read the duration {text!r}.", hint="Write a number and a unit: 30s, 15m, 1h, 7d, 4w.")
    return float(sum(int(number) * _UNIT_SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhdw])", compact)))


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
