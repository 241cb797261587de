# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The seal: made as docs/format.md says, and broken by any other bit."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import seal
from support import manifests

DOCUMENTS: list[dict[str, Any]] = [
    {"name": "agent"},
    {"zebra": 1, "seals": "x", "name": 'a",\n  "seal": "', "bytes": "\udcff"},
    {"list": [{"a": None}, []], "number": 1.5},
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_document_is_sealed_as_the_format_says(document: dict[str, Any]) -> None:
    assert seal.to_bytes(document) == manifests.sealed(document)
    assert seal.is_right(seal.to_bytes(document))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_any_other_bit_is_seen(document: dict[str, Any]) -> None:
    data = seal.to_bytes(document)
    for place in range(len(data)):
        for bit in range(8):
            assert not seal.is_right(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])


@pytest.mark.parametrize("data", [b"", b"{}", b"\n}\n", seal.to_bytes({"a": 1})[:-1], seal.to_bytes({"a": 1}) + b"\n"])
def test_what_has_no_seal_at_its_end_is_not_right(data: bytes) -> None:
    assert not seal.is_right(data)
