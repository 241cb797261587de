# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values as JSON: every one comes back as it was, and nothing else is taken for one."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import values
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.values import RawText

VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(blacklist_categories=("Cs",))),
    st.binary(max_size=40),
    st.binary(min_size=1, max_size=8).map(lambda data: values.text(data + b"\xff")),
)


@given(st.lists(VALUES, max_size=6))
def test_every_value_comes_back(row: list[Any]) -> None:
    line = values.line(values.jsonable(row))

    found = [values.value_of(each) for each in json.loads(line)]

    assert [(type(each), each) for each in found] == [(type(each), each) for each in row]
    signs = [[math.copysign(1, each) for each in some if isinstance(each, float)] for some in (found, row)]
    assert signs[0] == signs[1]
    assert line.count(b"\n") == 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**53 - 1, "9007199254740991"),
        (2**53, '{"int":"9007199254740992"}'),
        (-(2**63), '{"int":"-9223372036854775808"}'),
        (1.0, "1.0"),
        (-0.0, "-0.0"),
        (1e22, "1e+22"),
        (-math.inf, '{"real":"-Infinity"}'),
        (b"\0\xff", '{"blob":"AP8="}'),
        (RawText(b"a\xff"), '{"text":"Yf8="}'),
        ("a\0\n\u2028ü", '"a\\u0000\\n\u2028ü"'),
        (None, "null"),
    ],
)
def test_how_values_are_written(value: Any, text: str) -> None:
    assert values.line(values.jsonable([value])).decode() == f"[{text}]\n"


@pytest.mark.parametrize(
    "found",
    [
        True,
        2**53,
        {"int": "9223372036854775808"},
        {"int": "01"},
        {"int": "-0"},
        {"int": 1},
        {"real": "NaN"},
        {"real": "1.5"},
        {"blob": "not base64!"},
        {"blob": "AP8"},
        {"what": "x"},
        {"int": "9007199254740993", "blob": ""},
        {},
        [],
        math.inf,
    ],
)
def test_nothing_else_is_a_value(found: Any) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        values.value_of(found)


def test_a_text_that_is_none_in_its_encoding() -> None:
    assert values.text("ü".encode("utf-16-le"), "utf-16-le") == "ü"
    assert values.text(b"\x00\xd8", "utf-16-le") == RawText(b"\x00\xd8")
    assert values.text(b"\xed\xa0\x80") == RawText(b"\xed\xa0\x80")
