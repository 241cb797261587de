# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A sealed document: every byte of it counts."""

from __future__ import annotations

import hashlib
import json

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import seal

DOCUMENT = {"b": "ä", "a": [1, 2]}


def test_sealed_document_is_json_and_whole() -> None:
    data = seal.sealed(DOCUMENT)

    assert seal.is_whole(data)
    before, _comma, last = data.rpartition(b',\n  "seal": "')
    assert last == hashlib.sha256(before).hexdigest().encode() + b'"\n}\n'
    assert json.loads(data) == {**DOCUMENT, "seal": hashlib.sha256(before).hexdigest()}


def test_any_other_byte_shows() -> None:
    data = seal.sealed(DOCUMENT)
    for place in range(len(data)):
        assert not seal.is_whole(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert not seal.is_whole(data[:place])
    assert not seal.is_whole(data + b"\n")
