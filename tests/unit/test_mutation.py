# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mutation testing of the code: what is changed, and which tests are asked."""

from __future__ import annotations

import ast

import pytest

from support import mutation

SOURCE = b'''
LIMIT = 3

def check(path: "str | None", *, alone: bool = True) -> int:
    """A d\xc3\xb6cstring."""
    text = f"{path or 1}"
    if os.name == "nt":
        sync(path)
    elif not path and alone:
        raise ValueError(f"it is {path == 1}")
    with held(path), opened(path) as self.file:
        self.size = O_READ | O_GUARD
        sync(path)
    return [each for each in text if each < 5]
'''
CHANGES = [
    'check(path: "str | None", *, alone: bool = (False))',
    "elif True:",
    "elif False:",
    "elif (alone):",
    "elif (not path):",
    "elif (path) and alone:",
    "pass",
    'with __import__("contextlib").nullcontext(), opened(path)',
    "pass",
    "self.size = (O_READ)",
    "self.size = (O_GUARD)",
    "pass",
    "return [each for each in text if True]",
    "return [each for each in text if (each <= 5)]",
    "return [each for each in text if each < (6)]",
]


def test_each_guard_is_taken_away_and_each_comparison_turned() -> None:
    found = mutation.mutants("room", SOURCE)
    assert len(found) == len(CHANGES)
    for each, change in zip(found, CHANGES):
        ast.parse(each.mutated)
        assert len(each.mutated.splitlines()) == len(SOURCE.splitlines())
        assert change in each.row.replace("\\|", "|")
        assert each.row.startswith("| `room.check` | `")


@pytest.mark.parametrize("room", mutation.ROOMS)
def test_every_room_has_tests_that_are_asked(room: str) -> None:
    assert mutation.mutants(room, mutation.engine_file(mutation.ROOT, room).read_bytes())
    paths = mutation.tests_of(mutation.ROOT, room)
    assert paths
    assert all(each.is_file() for each in paths)


def test_same_seed_takes_the_same_mutants() -> None:
    chosen = mutation.sample("locks", 5, 1)
    assert len(set(chosen)) == 5
    assert chosen == mutation.sample("locks", 5, 1) != mutation.sample("locks", 5, 2)
    everything = mutation.mutants("locks", mutation.engine_file(mutation.ROOT, "locks").read_bytes())
    assert set(mutation.sample("locks", 0, 1)) == set(everything)


def test_every_survivor_that_is_listed_is_a_mutant_with_a_reason() -> None:
    """Once the code is another one, its line says nothing any more."""
    rooms = {room: mutation.engine_file(mutation.ROOT, room).read_bytes() for room in mutation.ROOMS}
    rows = {each.row for room, source in rooms.items() for each in mutation.mutants(room, source)}
    lines = mutation.KNOWN.read_text(encoding="utf-8").splitlines()
    listed = [line.rpartition("` | ") for line in lines if line.startswith("| `") and "` → `" in line]
    assert listed
    assert [row for row, _mark, _reason in listed if f"{row}` |" not in rows] == []
    assert [row for row, _mark, reason in listed if len(reason.strip(" |")) < 10] == []


@pytest.mark.parametrize(("room", "code"), [("locks", 1), ("notes", 0)])
def test_room_whose_tests_fail_without_a_mutant_is_told_with_what_was_found_in_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], room: str, code: int
) -> None:
    monkeypatch.setattr(mutation, "_survivors", lambda _place, chosen: None if chosen[0].room == "locks" else [])
    monkeypatch.setattr("sys.argv", ["mutation.py", "--rooms", f"seal,{room}"])
    assert mutation.main() == code
    said = capsys.readouterr().out
    assert "seal: 3 of 3 noticed" in said
    assert ("locks: a test fails without any mutant" in said) == (code == 1)
