# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file with a pin: what was said last is read, and what cannot be read takes no promise back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import pins, seal
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.pins import Pin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from support import databases

NOON = "2025-12-30T12:00:00Z"
DOCUMENT: dict[str, Any] = {"format": 1, "backup": "a-full", "pinned": False, "since": NOON, "until": ""}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "a-full"
    directory.mkdir()
    return directory


@pytest.mark.parametrize("pin", [Pin(True, NOON), Pin(True, NOON, "2026-12-30T12:00:00Z"), Pin(False, NOON)])
def test_pin_is_read_as_it_was_written(place: Path, pin: Pin) -> None:
    assert pins.read(place) is None
    pins.write(place, Pin(True, "2024-12-30T12:00:00Z"))
    pins.write(place, pin)

    assert pins.read(place) == pin
    assert [each.name for each in place.iterdir()] == ["pin.json"]


def test_pin_ends_at_its_end(place: Path) -> None:
    pin = Pin(True, "2025-01-01T00:00:00Z", NOON)

    assert pin.holds(clock.from_text("2025-12-30T11:59:59Z"))
    assert not pin.holds(clock.from_text(NOON))
    assert Pin(True).holds(clock.from_text("9999-01-01"))
    assert not Pin(False).holds(clock.from_text(NOON))


def test_every_flipped_bit_leaves_it_pinned(place: Path) -> None:
    pins.write(place, Pin(False, NOON))
    path = place / "pin.json"
    for number in range(path.stat().st_size):
        databases.flip_bit(path, number)
        found = pins.read(place)
        assert found is not None
        assert found.pinned
        assert "does not match its seal" in found.damage
        databases.flip_bit(path, number)
    assert pins.read(place) == Pin(False, NOON)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"backup": "b-full"},
        {"pinned": "false"},
        {"since": None},
        {"until": "tomorrow"},
        {"until": 5},
        {"until": "9999-12-31T23:59:59-10:00"},
        {"since": "0001-01-01T00:00:00+10:00"},
    ],
)
def test_sealed_nonsense_leaves_it_pinned(place: Path, changes: dict[str, Any]) -> None:
    (place / "pin.json").write_bytes(seal.to_bytes({**DOCUMENT, **changes}))

    found = pins.read(place)

    assert found is not None
    assert found.pinned
    assert str(place / "pin.json") in found.damage


@pytest.mark.parametrize("content", [b"", b"[]", seal.to_bytes({}), b'{"a": 1}'])
def test_anything_else_leaves_it_pinned(place: Path, content: bytes) -> None:
    (place / "pin.json").write_bytes(content)

    found = pins.read(place)

    assert found is not None
    assert found.pinned
    assert found.damage


def test_what_is_no_file_leaves_it_pinned(place: Path) -> None:
    (place / "pin.json").mkdir()

    found = pins.read(place)

    assert found is not None
    assert found.pinned
    assert found.damage


def test_link_to_another_pin_leaves_it_pinned(place: Path, tmp_path: Path) -> None:
    pins.write(place, Pin(False, NOON))
    (place / "pin.json").rename(tmp_path / "elsewhere")
    (place / "pin.json").symlink_to(tmp_path / "elsewhere")

    found = pins.read(place)

    assert found is not None
    assert found.pinned
    assert found.damage
