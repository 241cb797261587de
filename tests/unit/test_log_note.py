# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the note of logs keeps; what that is good for, and what it tells, is in ``test_log_parts``."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import log_note
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.log_note import Known

ONE = Known(4, "a", "b", "c", "d", "/srv/app.log", is_over=True)


def test_what_was_written_is_read_with_what_was_known_before(tmp_path: Path) -> None:
    note = log_note.read(tmp_path / "logs.json")
    assert (note.known, note.since) == ({}, None)
    note.write({"1:1": ONE}, 7.0)
    second = log_note.read(tmp_path / "logs.json")
    assert (second.known, second.since, second.salt) == ({"1:1": ONE}, 7.0, note.salt)
    later = dataclasses.replace(ONE, end=8)
    second.write({"1:2": later}, 8.0)
    assert log_note.read(tmp_path / "logs.json").known == {"1:1": ONE, "1:2": later}


def test_only_what_was_seen_last_is_kept_of_very_many(tmp_path: Path) -> None:
    note = log_note.read(tmp_path / "logs.json")
    note.known = {f"1:{number}": ONE for number in range(1500)}
    note.write({"1:0": ONE}, 7.0)
    known = log_note.read(tmp_path / "logs.json").known
    assert len(known) == 1000
    assert "1:0" in known
    assert "1:1" not in known


@pytest.mark.parametrize("end", [0, 1, 1024, 3000])
def test_file_is_the_same_by_its_beginning_and_by_what_is_before_the_end(tmp_path: Path, end: int) -> None:
    note = log_note.read(tmp_path / "logs.json")
    content = bytes(number % 251 for number in range(4000))
    path = tmp_path / "app.log"
    path.write_bytes(content)
    with path.open("rb") as file:
        known = Known(end, *note.marks(file, end), "", "")
    for place, is_same in ((0, end == 0), (max(0, end - 1), end == 0), (end, True)):
        path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
        with path.open("rb") as file:
            assert note.is_same(file, known) == is_same
    path.write_bytes(content[: max(0, end - 1)])
    with path.open("rb") as file:
        assert note.is_same(file, known) == (end == 0)
