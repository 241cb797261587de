# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sealed JSON: the last line of a document is the SHA-256 of all before it, so that any other byte anywhere shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def sealed(document: Mapping[str, Any]) -> bytes:
    """``document`` with sorted keys, and the seal as its last line."""
    body = json.dumps(document, indent=2, sort_keys=True).encode().removesuffix(b"\n}")
    return body + mark(body)


def is_whole(data: bytes) -> bool:
    """Whether every byte is as it was sealed."""
    body = data[:-_SEAL_BYTES]
    return data == body + mark(body)


def mark(body: bytes) -> bytes:
    """The seal: the end of a document that begins with ``body``."""
    return b',\n  "seal": "' + hashlib.sha256(body).hexdigest().encode() + b'"\n}\n'


_SEAL_BYTES = len(mark(b""))
