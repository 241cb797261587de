# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A power failure, and a disk that fails, at any instant of a restore or an undo: the old content or the new, whole.

A kill leaves all that was written; of a power failure only what was flushed is certain.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import jobs, power
from support.restores import UNDOABLE, Restores

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there no directory is flushed")


def states_of(work: Callable[[], object], top: Path, *, linking: bool = True) -> list[power.State]:
    """All that a power failure could leave; whatever gets a name is whole by then, and has its mode for good."""
    for each in top.glob("agent.db*"):
        if each.is_file():
            each.chmod(0o640)
    disk = power.Disk(top)
    with pytest.MonkeyPatch.context() as patch:
        if not linking:
            patch.setattr(os, "link", refuse)
        disk.watch(patch)
        work()
    disk.close()
    assert disk.early == []
    return disk.states


def refuse(*_arguments: object, **_options: object) -> None:
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


def after(state: power.State, dest: Path) -> object:
    """What an application finds when the power is back."""
    shutil.rmtree(dest.parent)
    power.write(state, dest.parent)
    return jobs.content(dest)


@pytest.mark.parametrize("old", jobs.OLD)
def test_power_failure_leaves_the_old_content_or_the_new(restores: Restores, old: str) -> None:
    """The next restore succeeds, and what was replaced is one undo away."""
    dest, was = restores.dest, restores.put(old)
    states = states_of(restores.restore, dest.parent)
    assert len(states) > 8
    for state in states:
        assert after(state, dest) in (was, jobs.NEW)
        restores.restore()
        assert restores.content() == jobs.NEW
        if old in UNDOABLE:
            restores.undo()
            assert restores.content() == was
    assert after(states[-1], dest) == jobs.NEW


@pytest.mark.parametrize("old", UNDOABLE)
def test_power_failure_in_an_undo_leaves_the_old_content_or_the_new(restores: Restores, old: str) -> None:
    """The other one is one undo away."""
    dest, was = restores.dest, restores.put(old)
    restores.restore()
    states = states_of(restores.undo, dest.parent)
    assert len(states) > 8
    for state in states:
        found = after(state, dest)
        assert found in (was, jobs.NEW)
        restores.undo()
        assert restores.content() == (jobs.NEW if found == was else was)
    assert after(states[-1], dest) == was


@pytest.mark.parametrize("work", ["restore", "undo"])
def test_copies_where_no_second_name_is_possible_are_whole_before_they_get_a_name(
    restores: Restores, work: str
) -> None:
    """``states_of`` sees it."""
    dest, was = restores.dest, restores.put("a log")
    if work == "undo":
        restores.restore()
    states = states_of(getattr(restores, work), dest.parent, linking=False)
    assert after(states[-1], dest) == (was if work == "undo" else jobs.NEW)


# --- a flush that fails ----------------------------------------------------------------------------------------------


def failing(patch: pytest.MonkeyPatch, nth: int) -> list[int]:
    """Let the nth flush fail; the list is empty while it did not come to that."""
    calls: list[int] = []
    failed: list[int] = []

    def fsync(_descriptor: int) -> None:
        calls.append(1)
        if len(calls) == nth:
            failed.append(nth)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    patch.setattr(os, "fsync", fsync)
    return failed


def each_failure(work: Callable[[], restore.Outcome], dest: Path) -> list[tuple[int, object, list[str]]]:
    """The code, the content and the warnings when the first flush fails, the second one, and so on."""
    found, template = [], dest.parent.with_name("template")
    shutil.copytree(dest.parent, template)
    for nth in range(1, 200):
        warnings: list[str] = []
        with pytest.MonkeyPatch.context() as patch:
            failed = failing(patch, nth)
            try:
                code, warnings = 0, work().warnings
            except EngineError as error:
                code = error.code
        if not failed:
            return found
        found.append((code, jobs.content(dest), warnings))
        shutil.rmtree(dest.parent)
        shutil.copytree(template, dest.parent)
    pytest.fail("there was no end of flushes")


@pytest.mark.parametrize("old", jobs.OLD)
def test_flush_that_fails_is_a_failed_disk_and_changes_nothing(restores: Restores, old: str) -> None:
    """Unless all was done by then: a restore that succeeded is not called failed."""
    dest, was = restores.dest, restores.put(old)
    found = each_failure(restores.restore, dest)
    assert len(found) > 5
    for code, content, warnings in found:
        assert (code, content) in ((23, was), (0, jobs.NEW))
        assert bool(warnings) == (code == 0)
    assert found[0][0] == 23


@pytest.mark.parametrize("old", UNDOABLE)
def test_flush_that_fails_in_an_undo_is_a_failed_disk_and_changes_nothing(restores: Restores, old: str) -> None:
    dest, was = restores.dest, restores.put(old)
    restores.restore()
    found = each_failure(restores.undo, dest)
    assert len(found) > 5
    for code, content, warnings in found:
        assert (code, content) in ((23, jobs.NEW), (0, was))
        assert bool(warnings) == (code == 0)


def test_flush_that_fails_while_a_killed_restore_is_put_in_order_is_a_failed_disk(restores: Restores) -> None:
    """The next one puts it in order."""
    dest, was = restores.dest, restores.put("a log")
    states = states_of(restores.restore, dest.parent)
    killed = [each for each in states if ".agent.db.restoring/undo/agent.db-wal" in each]
    assert after(killed[-1], dest) == jobs.NEW
    found = each_failure(restores.restore, dest)
    assert [(code, content) for code, content, _warnings in found] == [(23, jobs.NEW)] * len(found)
    assert found
    restores.restore()
    restores.undo()
    assert restores.content() == was
