# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever others do to a file that is read, there is an end to it."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined, files, pieces
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    NoSpaceError,
    SourceBusyError,
    StorageFailedError,
)

ENDLESS_BYTES = 1 << 42


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    """A file that would be read for an hour, and takes no room."""
    path = tmp_path / "holes"
    path.touch()
    os.truncate(path, ENDLESS_BYTES)
    return path


@pytest.fixture
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a child beside another user has when its time is over."""
    monkeypatch.setattr(pieces, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(confined, "_inside", True)


@pytest.mark.parametrize("size", [0, 1, pieces.BYTES - 1, pieces.BYTES, 2 * pieces.BYTES + 1])
def test_pieces_are_the_file(tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    with io.FileIO(tmp_path / "a") as file:
        assert b"".join(pieces.of(file, deadline=Deadline(None))) == content
    with io.FileIO(tmp_path / "a") as file:
        file.seek(size // 2)
        assert b"".join(pieces.of(file, most_bytes=1)) == content[size // 2 :][:1]
        assert b"".join(pieces.of(file)) == content[size // 2 + 1 :]


def test_file_that_grows_as_fast_as_it_is_read_ends(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w+b", buffering=0) as file, open(tmp_path / "a", "ab", buffering=0) as other:
        other.write(bytes(3 * pieces.BYTES))
        found = 0
        for piece in pieces.of(file):
            other.write(bytes(2 * len(piece)))
            found += len(piece)
    assert found == 3 * pieces.BYTES


def test_file_that_is_cut_short_meanwhile_ends(tmp_path: Path) -> None:
    with open(tmp_path / "a", "w+b", buffering=0) as file:
        os.truncate(tmp_path / "a", 5 * pieces.BYTES)
        stream = pieces.of(file)
        next(stream)
        os.truncate(tmp_path / "a", 2 * pieces.BYTES)
        assert [len(each) for each in stream] == [pieces.BYTES]


def test_file_of_holes_ends_at_the_deadline(holes: Path) -> None:
    with (
        io.FileIO(holes) as file,
        pytest.raises(SourceBusyError, match=f"of {ENDLESS_BYTES} bytes were left") as caught,
    ):
        list(pieces.of(file, deadline=Deadline(0.0)))
    assert "holes" in caught.value.hint


@pytest.mark.usefixtures("_no_patience")
@pytest.mark.parametrize(
    "use",
    [files.sha256_file, lambda path: files.holds(path, ENDLESS_BYTES, "0" * 64)],
    ids=["sha256_file", "holds"],
)
def test_file_of_holes_beside_another_user_ends(holes: Path, use: Callable[[Path], object]) -> None:
    with pytest.raises(StorageFailedError, match="bytes were left"):
        use(holes)


@pytest.mark.usefixtures("_no_patience")
def test_file_that_takes_as_much_on_the_disk_as_it_has_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(os.urandom(3 * pieces.BYTES))
    with io.FileIO(tmp_path / "a") as file:
        assert sum(map(len, pieces.of(file))) == 3 * pieces.BYTES


def test_file_of_another_size_is_not_read(holes: Path) -> None:
    assert not files.holds(holes, 5, "0" * 64)


def test_copy_of_a_file_of_holes_is_not_begun_without_room_for_it(holes: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSpaceError):
        files.copy_private(holes, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_copy_ends_at_its_deadline(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(5))
    with pytest.raises(EngineError, match="the timeout passed"):
        files.copy_private(tmp_path / "a", tmp_path / "copy", deadline=Deadline(0.0))
