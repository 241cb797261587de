# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seal of a JSON document: its last key, the SHA-256 of all bytes before it. It finds damage, no forgery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """``document`` as it is stored: JSON with sorted keys, and the seal behind them."""
    body = json.dumps(document, indent=2, sort_keys=True).encode().removesuffix(b"\n}")
    return body + _end(body)


def is_right(data: bytes) -> bool:
    """Whether every byte of a stored document is as it was written."""
    body = data[:-_END_BYTES]
    return data == body + _end(body)


def _end(body: bytes) -> bytes:
    """The end of a document that begins with ``body``."""
    return b',\n  "seal": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


_END_BYTES = len(_end(b""))
