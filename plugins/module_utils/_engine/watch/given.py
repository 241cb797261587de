# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values from other hosts, read with care: what is not of its type counts as not given, and hides none of the rest."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ..system import clock
from ..system.errors import UsageError

_TOO_MUCH = 1e18
_DEEPEST = 20


class Given:
    """An object of such values."""

    def __init__(self, value: object) -> None:
        self._values: Mapping[Any, Any] = value if isinstance(value, Mapping) else {}

    def __bool__(self) -> bool:
        return bool(self._values)

    def text(self, name: str) -> str:
        value = self._values.get(name)
        return value if isinstance(value, str) else ""

    def number(self, name: str) -> float | None:
        """A number from 0 up, as all that is measured is."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        # What is no number at all (NaN) is not between two others either.
        return float(value) if 0 <= value < _TOO_MUCH else None

    def count(self, name: str) -> int | None:
        number = self.number(name)
        return None if number is None else int(number)

    def flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        return value if isinstance(value, bool) else None

    def moment(self, name: str) -> datetime | None:
        with contextlib.suppress(UsageError):
            return clock.from_text(self.text(name)).astimezone(timezone.utc)
        return None

    def object(self, name: str) -> Given:
        return Given(self._values.get(name))

    def objects(self, name: str) -> list[Given]:
        return [Given(each) for each in self.mappings(name)]

    def mappings(self, name: str) -> list[Mapping[Any, Any]]:
        return [each for each in self._list(name) if isinstance(each, Mapping)]

    def texts(self, name: str) -> list[str]:
        return [each for each in self._list(name) if isinstance(each, str)]

    def numbers(self) -> list[tuple[str, float]]:
        """All that are numbers, with their names."""
        found = [(str(name), self.number(name)) for name in self._values]
        return [(name, number) for name, number in found if number is not None]

    def words(self) -> list[tuple[str, str | bool]]:
        """All that are texts or flags, with their names."""
        return [(str(name), value) for name, value in self._values.items() if isinstance(value, (str, bool))]

    def _list(self, name: str) -> list[Any]:
        value = self._values.get(name)
        return [*value] if isinstance(value, (list, tuple)) else []


def to_json(value: object) -> str:
    """A JSON document of such values, which every reader of JSON can read."""
    return json.dumps(_plain(value, _DEEPEST), indent=2, allow_nan=False) + "\n"


def _plain(value: object, depth: int) -> object:
    """``value`` without what JSON has no word for: half a character, no number, an endless list."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return value if -_TOO_MUCH < value < _TOO_MUCH else None
    if isinstance(value, Mapping) and depth:
        return {_whole(str(name)): _plain(each, depth - 1) for name, each in value.items()}
    if isinstance(value, (list, tuple)) and depth:
        return [_plain(each, depth - 1) for each in value]
    return _whole(value) if isinstance(value, str) else None


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
