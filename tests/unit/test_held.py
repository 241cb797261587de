# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What another program holds for a moment on Windows is tried again, in bounded time; then the error says why."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors, files, held, windows


class HeldError(PermissionError):
    """What Windows says, which other systems cannot: its code goes with it."""

    winerror: int | None = None  # type: ignore[assignment]

    def __init__(self, path: Path, winerror: int | None) -> None:
        super().__init__(errno.EACCES, "Access denied", os.fspath(path))
        self.winerror = winerror


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "_PATIENCE_SECONDS", 0.2)


@pytest.mark.parametrize("winerror", [5, 32, 33])
def test_what_is_held_for_a_moment_is_done(tmp_path: Path, winerror: int) -> None:
    tried = []

    def remove(path: Path) -> str:
        tried.append(path)
        if len(tried) < 4:
            raise HeldError(path, winerror)
        return "done"

    assert held.patiently(remove, tmp_path / "a") == "done"
    assert len(tried) == 4


@pytest.mark.parametrize(
    ("winerror", "who", "is_open", "said"),
    [
        (32, ["scan.exe (pid 7)"], True, "it is open in scan.exe (pid 7)"),
        (33, [], False, "it is open in another program"),
        (5, ["scan.exe (pid 7)"], False, "it is open in scan.exe (pid 7)"),
        (5, [], True, "it is open in another program"),
        (5, [], False, "permission denied"),
    ],
)
def test_what_stays_held_fails_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, winerror: int, who: list[str], is_open: bool, said: str
) -> None:
    """Where nobody has it open, it is a matter of rights."""
    monkeypatch.setattr(windows, "holders", lambda _paths: who)
    monkeypatch.setattr(windows, "is_open", lambda _path: is_open)
    path = tmp_path / "a"

    def remove() -> None:
        raise HeldError(path, winerror)

    with pytest.raises(errors.EngineError) as failure, errors.doing("Cannot remove it"):
        held.patiently(remove)
    assert failure.value.message == f"Cannot remove it: {said} ({path})."
    assert failure.value.code == (20 if said == "permission denied" else 11)


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError(2, "gone"), PermissionError(13, "a directory", str(Path(__file__).parent)), OSError(28, "full")],
)
def test_what_does_not_pass_fails_at_once(error: OSError) -> None:
    tried = []

    def remove() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error)):
        held.patiently(remove)
    assert len(tried) == 1


@pytest.mark.parametrize("name", ["replace", "unlink"])
def test_files_are_moved_and_removed_patiently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    real, tried = getattr(os, name), []

    def held_once(path: Path, *others: Path, **options: object) -> None:
        tried.append(path)
        if len(tried) == 1:
            raise HeldError(path, 32)
        real(path, *others, **options)

    (tmp_path / "a").touch()
    monkeypatch.setattr(os, name, held_once)
    if name == "replace":
        files.move_file(tmp_path / "a", tmp_path / "b")
        assert (tmp_path / "b").exists()
    else:
        files.remove_file(tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert len(tried) == 2


@pytest.mark.parametrize(("why", "tries"), [(32, 4), (33, 4), (303, 4), (0, 4), (2, 4)])
def test_file_that_can_be_opened_soon_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int, tries: int
) -> None:
    """open(2) of Windows says no more than that it may not; ``why`` stands for what Windows says when it is asked."""
    real, tried = os.open, []

    def held_first(path: Path, *others: int, **options: int) -> int:
        tried.append(path)
        if len(tried) < tries:
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return real(path, *others, **options)

    (tmp_path / "a").touch()
    monkeypatch.setattr(windows, "why_closed", lambda *_what, **_how: why)
    monkeypatch.setattr(os, "open", held_first)
    os.close(held.opened(tmp_path / "a", os.O_RDONLY))
    assert len(tried) == tries


@pytest.mark.parametrize(("why", "most"), [(5, 1), (None, 1), (0, 6), (2, 6)])
def test_file_that_may_not_be_opened_is_a_missing_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: int | None, most: int
) -> None:
    """As a new one in a directory of others, where Windows would say only that there is none."""
    tried = []

    def deny(path: Path, *_others: int, **_options: int) -> int:
        tried.append(path)
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    monkeypatch.setattr(held, "_PATIENCE_SECONDS", 60)
    monkeypatch.setattr(windows, "why_closed", lambda *_what, **_how: why)
    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(errors.PermissionDeniedError), errors.doing("Cannot open it"):
        held.opened(tmp_path / "a", os.O_RDWR | os.O_CREAT | os.O_EXCL)
    monkeypatch.undo()
    assert len(tried) == most
