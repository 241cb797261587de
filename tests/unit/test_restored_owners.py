# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom the files of a database belong to before, during and after a restore and an undo."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files, owners
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import StorageFailedError
from support import databases, jobs, limits, processes
from support.restores import Restores

UID, GID = 4321, 8765
LOGS = [("a log", "-wal"), ("a journal", "-journal")]


def access(path: Path) -> tuple[int, int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid, status.st_mode & 0o7777


def give(restores: Restores, *, mode: int = 0o640) -> None:
    """Let every file of the database be another user's, in a directory of root's."""
    for each in restores.dest.parent.glob("agent.db*"):
        os.chown(each, UID, GID)
        each.chmod(mode)


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize(("old", "suffix"), LOGS)
def test_log_keeps_its_owner_through_restore_and_undo(restores: Restores, old: str, suffix: str) -> None:
    """The application could not open the database beside a log that it may not read."""
    was = restores.put(old)
    give(restores)
    restores.restore()
    (undo_set,) = restores.undo_sets()
    assert access(restores.dest) == (UID, GID, 0o640)
    assert {access(each) for each in undo_set.iterdir()} == {(UID, GID, 0o640)}
    assert sorted(each.name for each in undo_set.iterdir()) == ["agent.db", f"agent.db{suffix}"]
    restores.undo()
    assert access(restores.dest) == access(restores.beside(suffix)) == (UID, GID, 0o640)
    assert restores.content() == was


def seen_while(restores: Restores, work: str) -> list[tuple[int, int, int]]:
    """Owner, group and mode of whatever gets a live name while a database with a log is replaced, or comes back."""
    if work == "undo":
        restores.restore()
    found = []
    move = files.move_file

    def moved(source: Path, dest: Path) -> None:
        move(source, dest)
        if dest.parent == restores.dest.parent:
            found.append(access(dest))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "move_file", moved)
        getattr(restores, work)()
    # The old main file with its log folded into it, and the new one; the way back has the log between them.
    assert len(found) == (2 if work == "restore" else 3)
    return found


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize(("old", "suffix"), LOGS)
@pytest.mark.parametrize("work", ["restore", "undo"])
def test_whatever_gets_the_live_name_has_its_owner(restores: Restores, old: str, suffix: str, work: str) -> None:
    """After a kill the application goes on with what is there, the copy with its log folded into it, for one."""
    restores.put(old)
    give(restores)
    assert set(seen_while(restores, work)) == {(UID, GID, 0o640)}


@pytest.mark.parametrize("work", ["restore", "undo"])
def test_whatever_gets_the_live_name_has_its_mode(restores: Restores, work: str) -> None:
    restores.put("a log")
    for each in restores.dest.parent.iterdir():
        each.chmod(0o640)
    assert {mode for _uid, _gid, mode in seen_while(restores, work)} == {0o640}


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("old", ["a closed database", "a log", "the log alone"])
def test_undo_set_in_a_directory_of_roots_belongs_to_the_owner_of_its_content(restores: Restores, old: str) -> None:
    """The application removes it when it is of no use any more."""
    restores.put("a log" if old == "the log alone" else old)
    give(restores)
    if old == "the log alone":
        restores.dest.unlink()
    restores.restore()
    (undo_set,) = restores.undo_sets()
    assert access(undo_set) == (UID, GID, 0o700)


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize(("uid", "gid", "mode"), [(processes.NOBODY, GID, 0o600), (UID, 0, 0o664)])
@pytest.mark.parametrize("foreign", ["", "-wal"])
def test_user_is_told_of_each_file_that_an_undo_cannot_give_its_owner_or_its_group(
    foreign: str, uid: int, gid: int, mode: int
) -> None:
    """Be it the database or its log."""
    with processes.open_directory() as place:
        restores = Restores(place)
        restores.put("a log")
        for each in (restores.dest.parent, *restores.dest.parent.iterdir()):
            os.chown(each, processes.NOBODY, processes.NOBODY)
        for each in (restores.repository, *restores.repository.rglob("*")):
            os.chown(each, processes.NOBODY, processes.NOBODY)
        with limits.unprivileged():
            restores.restore()
        saved = restores.undo_sets()[0] / f"agent.db{foreign}"
        os.chown(saved, uid, gid)
        saved.chmod(0o664)
        with limits.unprivileged():
            outcome = restores.undo()
        assert access(restores.beside(foreign))[::2] == (processes.NOBODY, mode)
    assert len(outcome.warnings) == 1
    assert "could not be given to" in outcome.warnings[0]


@pytest.mark.skipif(not hasattr(os, "fchmod"), reason="Windows has no such modes")
@pytest.mark.parametrize(
    ("old", "wanted"), [("a closed database", {}), ("a closed database", {"mode": "0604"}), ("nothing", {})]
)
def test_mode_is_flushed_before_the_switch(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str, wanted: dict[str, str]
) -> None:
    """After a power failure the application must be able to open what was restored."""
    restores.put(old)
    events: list[tuple[str, int]] = []
    fchmod = os.fchmod

    def change(descriptor: int, mode: int) -> None:
        fchmod(descriptor, mode)
        events.append(("mode", os.fstat(descriptor).st_ino))

    monkeypatch.setattr(os, "fchmod", change)
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(("flush", os.fstat(descriptor).st_ino)))
    restores.restore(**wanted)
    number = restores.dest.stat().st_ino
    of_restored = [event for event, inode in events if inode == number]
    assert "mode" in of_restored
    assert of_restored[-1] == "flush"


# --- after a deletion: what the backup tells -------------------------------------------------------------------------


def told(restores: Restores, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The newest backup tells of this mode, and of the present user and group."""
    owner, group, _mode, uid, gid = owners.ownership(restores.origin.stat())
    with monkeypatch.context() as patch:
        patch.setattr(owners, "ownership", lambda _status: (owner, group, mode, uid, gid))
        restores.back_up("newest")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
@pytest.mark.parametrize(
    ("mode", "expected"), [("4755", 0o755), ("2755", 0o755), ("6664", 0o664), ("1640", 0o640), ("7777", 0o777)]
)
def test_mode_in_a_backup_lets_nobody_run_the_file_as_its_owner(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, mode: str, expected: int
) -> None:
    """A manifest is only a file, and a database is never run."""
    told(restores, monkeypatch, mode)
    restores.restore()
    assert access(restores.dest)[2] == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_mode_of_the_old_file_lets_nobody_run_the_new_one_as_its_owner(restores: Restores) -> None:
    restores.put("a log")
    restores.dest.chmod(0o6755)
    restores.restore()
    assert access(restores.dest)[2] == 0o755


# --- a disk that fails -----------------------------------------------------------------------------------------------


def fail(*_arguments: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("old", ["a log", "nothing"])
def test_disk_that_fails_when_a_restored_file_is_given_away_is_told(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    """It is no missing right, and no reason to go on."""
    was = restores.put(old)
    os.chown(restores.origin, UID, GID)
    restores.back_up("newest")
    give(restores)
    before = databases.tree(restores.dest.parent)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchown", fail)
        with pytest.raises(StorageFailedError, match="cannot set owner and mode: input/output error"):
            restores.restore()
    assert restores.content() == was
    assert databases.tree(restores.dest.parent) == before


@pytest.mark.root
@processes.needs_root
def test_disk_that_fails_when_an_undo_gives_a_file_away_is_told(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores.put("a log")
    give(restores)
    restores.restore()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fchown", fail)
        with pytest.raises(StorageFailedError, match="Cannot undo .*: cannot copy .*: input/output error"):
            restores.undo()
    assert restores.content() == jobs.NEW


@pytest.mark.root
@processes.needs_root
def test_disk_that_fails_when_root_hands_over_what_it_made_is_told(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(restores.dest.parent, UID, GID)
    monkeypatch.setattr(os, "chown", fail)
    with pytest.raises(StorageFailedError, match="cannot prepare in"):
        restores.restore()
    assert restores.content() == "missing"


@pytest.mark.root
@processes.needs_root
def test_undo_set_that_cannot_be_given_away_is_kept_by_root(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container root may lack that right; the content is saved all the same."""
    was = restores.put("a log")
    give(restores)

    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    with monkeypatch.context() as patch:
        patch.setattr(os, "chown", refuse)
        restores.restore()
    restores.undo()
    assert restores.content() == was
