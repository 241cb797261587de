# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a restore replaces: what forbids it, and the room that it takes."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import image
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, processes
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    NoSpaceError,
    RefusedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import destination
from support import databases, jobs
from support import processes as others
from support.restores import Restores

MARGIN_BYTES = files._SPACE_MARGIN_BYTES


def free(monkeypatch: pytest.MonkeyPatch, size_bytes: int) -> None:
    """Let this be free on every disk."""
    usage = shutil.disk_usage("/")._replace(free=size_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)


def sized(path: Path, size_bytes: int) -> None:
    path.touch()
    os.truncate(path, size_bytes)


# --- room ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sidecars", "needed_bytes"),
    [
        ({}, 1000),
        # The old main file stays, under a second name. To fold a log takes a copy of both, and the log itself is saved.
        ({"-wal": 70}, 1000 + 5000 + 2 * 70),
        ({"-journal": 7}, 1000 + 5000 + 2 * 7),
        ({"-wal": 70, "-journal": 7}, 1000 + 5000 + 2 * 77),
        ({"-wal": 0}, 1000),
        ({"-shm": 32768}, 1000),
    ],
)
def test_room_is_needed_for_what_comes_and_for_what_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sidecars: dict[str, int], needed_bytes: int
) -> None:
    dest = tmp_path / "agent.db"
    sized(dest, 5000)
    for suffix, size_bytes in sidecars.items():
        sized(database.sidecar(dest, suffix), size_bytes)
    free(monkeypatch, needed_bytes + MARGIN_BYTES)
    destination.require_space(dest, 1000)
    free(monkeypatch, needed_bytes + MARGIN_BYTES - 1)
    with pytest.raises(NoSpaceError, match=f"{needed_bytes + MARGIN_BYTES} bytes are needed"):
        destination.require_space(dest, 1000)


def test_facts_count_the_log(tmp_path: Path) -> None:
    dest = tmp_path / "agent.db"
    sized(dest, 5000)
    for suffix, size_bytes in (("-wal", 70), ("-journal", 7), ("-shm", 32768)):
        sized(database.sidecar(dest, suffix), size_bytes)
    assert destination.facts(dest) == {"exists": True, "bytes": 5077}
    dest.unlink()
    assert destination.facts(dest) == {"exists": False, "bytes": 77}


def folding(restores: Restores) -> int:
    main, log = restores.dest.stat().st_size, restores.beside("-wal").stat().st_size
    return main + 2 * log + MARGIN_BYTES


def test_restore_asks_for_room_before_anything_is_written(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    restores.put("a log")
    before = databases.tree(restores.dest.parent)
    free(monkeypatch, folding(restores) + restores.origin.stat().st_size - 1)
    with pytest.raises(NoSpaceError):
        restores.restore()
    assert databases.tree(restores.dest.parent) == before
    free(monkeypatch, folding(restores) + restores.origin.stat().st_size)
    assert restores.restore().changed


def test_undo_asks_for_room_for_the_database_and_to_fold_its_log(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = restores.put("a log")
    coming_bytes = restores.dest.stat().st_size + restores.beside("-wal").stat().st_size
    needed_bytes = coming_bytes + folding(restores)
    restores.restore()
    before = databases.tree(restores.dest.parent)
    free(monkeypatch, needed_bytes - 1)
    with pytest.raises(NoSpaceError):
        restores.undo()
    assert databases.tree(restores.dest.parent) == before
    free(monkeypatch, needed_bytes)
    restores.undo()
    assert restores.content() == was


# --- what forbids it -------------------------------------------------------------------------------------------------


def test_link_to_nowhere_is_refused(restores: Restores) -> None:
    """To make what it names could be to make it in the wrong place, such as below a mount that is missing."""
    restores.dest.symlink_to(restores.dest.with_name("gone.db"))
    with pytest.raises(RefusedError, match="is a link to .*gone.db, which does not exist"):
        restores.restore()
    assert os.listdir(restores.dest.parent) == ["agent.db"]


def test_directory_is_no_destination(restores: Restores) -> None:
    restores.dest.mkdir()
    with pytest.raises(UsageError, match="is not a regular file"):
        restores.restore()


@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("kind", ["link", "second name"])
def test_sidecar_that_is_of_something_else_is_refused(restores: Restores, suffix: str, kind: str) -> None:
    """To save it would be to give its content to whoever reads the undo set; to remove it, to lose it."""
    was = restores.put("a closed database")
    other = restores.origin.with_name("other")
    other.write_bytes(b"precious")
    if kind == "link":
        restores.beside(suffix).symlink_to(other)
    else:
        os.link(other, restores.beside(suffix))
    for work in (restores.restore, restores.undo):
        with pytest.raises(RefusedError, match="which SQLite never makes"):
            work()
    restores.beside(suffix).unlink()
    assert (other.read_bytes(), restores.content()) == (b"precious", was)


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_image_beside_a_log_is_not_what_is_wanted(restores: Restores, suffix: str) -> None:
    """An application would find what the log adds to it."""
    restores.restore()
    restores.beside(suffix).write_bytes(b"something")
    assert restores.restore().changed
    assert not restores.beside(suffix).exists()


def test_file_of_the_same_size_is_not_taken_for_the_image(restores: Restores) -> None:
    restores.restore()
    databases.flip_bit(restores.dest, restores.dest.stat().st_size - 1)
    assert restores.restore().changed
    assert restores.content() == jobs.NEW


@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.parametrize(
    ("work", "first_step"), [("restore", (image, "write_image")), ("undo", (files, "copy_private"))]
)
def test_database_in_use_is_refused_before_anything_is_written(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, work: str, first_step: tuple[object, str], *, dry_run: bool
) -> None:
    """In check mode, too, which says what a run would do."""
    restores.put("a log")
    if work == "undo":
        restores.restore()
    monkeypatch.setattr(processes, "users_of", lambda _path: ["agent (pid 1)"])
    before = databases.tree(restores.dest.parent)
    with monkeypatch.context() as patch:
        patch.setattr(*first_step, lambda *_arguments, **_options: pytest.fail("it was begun"))
        with pytest.raises(RefusedError, match=r"open in agent \(pid 1\)"):
            getattr(restores, work)(dry_run=dry_run)
    assert databases.tree(restores.dest.parent) == before
    assert getattr(restores, work)(force=True, dry_run=dry_run).changed


@pytest.mark.root
@others.needs_root
@pytest.mark.parametrize("place", [others.NOBODY, 4321, 0, None])
@pytest.mark.parametrize("repository", [others.NOBODY, 0])
def test_path_that_a_user_tells_is_believed_where_that_user_rules(
    tmp_path: Path, repository: int, place: int | None
) -> None:
    """Else it would be the user's choice which file root replaces. What root wrote down is believed."""
    told = tmp_path / "place" / "agent.db"
    (tmp_path / "repository").mkdir()
    os.chown(tmp_path / "repository", repository, repository)
    if place is not None:
        told.parent.mkdir()
        os.chown(told.parent, place, place)
    refused = pytest.raises(RefusedError, match=f"says that the database was {told}")
    with contextlib.nullcontext() if repository in (0, place) else refused:
        assert destination.told_by(tmp_path / "repository", str(told)) == told


# --- what changes meanwhile ------------------------------------------------------------------------------------------


def replace(path: Path) -> bytes:
    """Let another application's database be there all at once; its content."""
    other = databases.make(path.with_name("other.db"), setup="PRAGMA application_id=77", journal_mode="delete")
    other.replace(path)
    return path.read_bytes()


def test_database_that_came_while_the_image_was_staged_is_in_the_undo_set(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores.put("a closed database")
    write_image = image.write_image
    came = []

    def write(*arguments: object, **options: object) -> image.Written:
        came.append(replace(restores.dest))
        return write_image(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(image, "write_image", write)
    restores.restore()
    (undo_set,) = restores.undo_sets()
    assert (undo_set / "agent.db").read_bytes() == came[0]


def test_undo_brings_back_what_its_set_held_when_it_was_copied(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What takes the place of the saved file afterwards has another header, and never comes to the live database."""
    was = restores.put("a log")
    restores.restore()
    (undo_set,) = restores.undo_sets()
    copy_private = files.copy_private

    def copy(source: Path, dest: Path, **options: bool) -> None:
        copy_private(source, dest, **options)
        if source.parent == undo_set and source.name == "agent.db":
            replace(undo_set / "agent.db")

    monkeypatch.setattr(files, "copy_private", copy)
    restores.undo()
    assert restores.content() == was
