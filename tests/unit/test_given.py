# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values from elsewhere: what is not of its type is as good as missing."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given as examples
from hypothesis import strategies

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import given
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given

ODD = [None, True, -1, math.nan, math.inf, 10**400, "1", "<b>", [], {}, [[]], {"a": {}}, b"x", object()]


@pytest.mark.parametrize("value", ODD)
def test_no_number_is_made_of_anything_else(value: object) -> None:
    assert Given({"x": value}).number("x") is None
    assert Given({"x": value}).numbers() == []


@pytest.mark.parametrize("value", [*ODD, 5])
def test_everything_else_is_missing_too(value: object) -> None:
    values = Given({"x": value})
    assert values.text("x") == (value if isinstance(value, str) else "")
    assert values.flag("x") is (True if value is True else None)
    assert values.moment("x") is None
    assert values.texts("x") == []
    assert values.mappings("x") == []
    assert bool(values.object("x")) is (value == {"a": {}})
    assert not Given(value).text("x")


def test_what_is_right_is_there() -> None:
    values = Given({"n": 1.5, "t": "x", "f": False, "m": "2026-01-05T13:00:00+01:00", "l": ["a", 1, {"t": "y"}]})
    assert values.number("n") == 1.5
    assert values.count("n") == 1
    assert values.flag("f") is False
    assert str(values.moment("m")) == "2026-01-05 12:00:00+00:00"
    assert values.texts("l") == ["a"]
    assert [each.text("t") for each in values.objects("l")] == ["y"]
    assert values.numbers() == [("n", 1.5)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": [1, 1.5, True, None, "x"]}, {"a": [1, 1.5, True, None, "x"]}),
        ([math.nan, math.inf, 10**400, object()], [None, None, None, None]),
        ({"\udcff": "a\ud83d"}, {"\\udcff": "a\\ud83d"}),
        ((1, 2), [1, 2]),
        ({1: 2}, {"1": 2}),
    ],
)
def test_document_holds_what_json_has_words_for(value: object, told: object) -> None:
    text = given.to_json(value)
    assert json.loads(text) == told
    assert text.isascii()


def test_document_ends_where_values_hold_themselves() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert json.loads(given.to_json(endless))


@examples(
    strategies.recursive(
        strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
        lambda inner: strategies.lists(inner) | strategies.dictionaries(strategies.text(), inner),
    )
)
def test_every_document_can_be_read(value: object) -> None:
    def refused(word: str) -> object:
        raise ValueError(word)

    json.loads(given.to_json(value).encode("utf-8"), parse_constant=refused)
