# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The values of a row as JSON, exactly: what JSON has no words for is an object with one key. Pure functions."""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# What a reader that has nothing but doubles still reads exactly: https://www.rfc-editor.org/rfc/rfc8259#section-6
LARGEST_NUMBER = 2**53 - 1
_LARGEST = 2**63 - 1
_INTEGER = re.compile(r"-?[1-9][0-9]{0,18}")
_INFINITE = {"Infinity": math.inf, "-Infinity": -math.inf}
CODECS = {"UTF-8": "utf-8", "UTF-16le": "utf-16-le", "UTF-16be": "utf-16-be"}
"""How Python calls the encodings of a database."""


@dataclass(frozen=True)
class RawText:
    """A text that is no text in the encoding of its database: the bytes of it."""

    data: bytes


def text(data: bytes, codec: str = "utf-8") -> str | RawText:
    """The text that a database has as ``data``."""
    try:
        return data.decode(codec)
    except UnicodeDecodeError:
        return RawText(data)


def line(content: Any) -> bytes:
    """One line of JSON, with its end."""
    return _ENCODER.encode(content).encode() + b"\n"


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def jsonable(row: Sequence[Any]) -> list[Any]:
    """A row as JSON can have it."""
    return [each if each.__class__ is str else _jsonable(each) for each in row]


def _jsonable(value: Any) -> Any:
    if isinstance(value, int):
        return value if -LARGEST_NUMBER <= value <= LARGEST_NUMBER else {"int": str(value)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"real": "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, bytes):
        return {"blob": encoded(value)}
    if isinstance(value, RawText):
        return {"text": encoded(value.data)}
    return value


def encoded(data: bytes) -> str:
    """Bytes as base64, https://www.rfc-editor.org/rfc/rfc4648#section-4."""
    return base64.b64encode(data).decode("ascii")


def value_of(found: Any) -> Any:
    """The value that ``jsonable`` made ``found`` of. Raises ``ValueError`` for what it makes of nothing."""
    kind = found.__class__
    if kind is str or found is None:
        return found
    if kind is int and -LARGEST_NUMBER <= found <= LARGEST_NUMBER:
        return found
    if kind is float and math.isfinite(found):
        return found
    if kind is dict and len(found) == 1:
        ((name, given),) = found.items()
        if isinstance(given, str) and name in _READERS:
            return _READERS[name](given)
    raise ValueError("a value is none that a database can hold")


def _integer(given: str) -> int:
    if not _INTEGER.fullmatch(given) or not -_LARGEST - 1 <= int(given) <= _LARGEST:
        raise ValueError("an integer is none of 64 bits")
    return int(given)


def _real(given: str) -> float:
    if given not in _INFINITE:
        raise ValueError("a number is not one that is written so")
    return _INFINITE[given]


def _bytes(given: str) -> bytes:
    try:
        return base64.b64decode(given, validate=True)
    except ValueError:
        raise ValueError("bytes are not in base64") from None


_READERS: dict[str, Callable[[str], Any]] = {
    "int": _integer,
    "real": _real,
    "blob": _bytes,
    "text": lambda given: RawText(_bytes(given)),
}
