# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory for plain copies: private, gone after the block, and after a kill gone with the next run."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import held, scratch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError
from support import processes

LONG_AGO = time.time() - 3600


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(path: Path) -> Path:
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def leftover(top: Path) -> Path:
    """As a run makes it that is killed then."""
    path = scratch._made(top)
    (path / "lock").touch()
    (path / "restored.sqlite").write_text("in plain")
    return age(path)


def test_it_is_private_and_goes_with_the_block(top: Path) -> None:
    with scratch.directory() as path:
        (path / "restored.sqlite").write_text("in plain")
        assert path.stat().st_mode & 0o077 == 0
    assert list(top.iterdir()) == []


def test_what_a_killed_run_left_goes(top: Path) -> None:
    leftover(top)
    with scratch.directory() as path:
        assert list(top.iterdir()) == [path]


def test_what_another_run_works_in_stays(top: Path) -> None:
    with scratch.directory() as first:
        age(first)
        with scratch.directory():
            pass
        assert first.is_dir()


def test_what_was_made_just_now_stays(top: Path) -> None:
    """Its run has not locked it yet."""
    path = leftover(top)
    os.utime(path)
    with scratch.directory():
        pass
    assert path.is_dir()


@processes.needs_root
@pytest.mark.root
def test_what_belongs_to_another_user_stays(top: Path) -> None:
    path = leftover(top)
    os.chown(path, processes.NOBODY, processes.NOBODY)
    with scratch.directory():
        pass
    assert (path / "restored.sqlite").exists()


@pytest.mark.skipif(sys.platform != "win32", reason="needs the rights of Windows, where all owners look alike")
@pytest.mark.parametrize("name", ["sqlite-backup-scratch-killed", "sqlite-backup-scratch-0123456789abcdef"])
def test_what_others_may_enter_stays(top: Path, name: str) -> None:
    """Anybody could have made that among the temporary files, and put a junction in it meanwhile."""
    (top / name / "deep").mkdir(parents=True)
    (top / name / "deep" / "file").touch()
    age(top / name)
    with scratch.directory():
        pass
    assert (top / name / "deep" / "file").exists()


def test_a_link_in_the_place_of_a_leftover_leads_nowhere(top: Path) -> None:
    place = top / "mine"
    place.mkdir()
    (place / "file").touch()
    link = top / "sqlite-backup-scratch-link"
    link.symlink_to(place)
    os.utime(link, (LONG_AGO, LONG_AGO), follow_symlinks=False)
    with scratch.directory():
        pass
    assert (place / "file").exists()


def test_leftover_that_cannot_be_looked_at_stops_no_run(top: Path) -> None:
    path = leftover(top)
    (path / "lock").unlink()
    (path / "lock").mkdir()
    age(path)
    with scratch.directory():
        assert path.is_dir()


def test_directory_that_somebody_else_removed_is_no_failure(top: Path) -> None:
    """Some hosts clear their temporary files while programs run."""
    with scratch.directory() as path:
        shutil.rmtree(path)


@processes.needs_root
@pytest.mark.root
def test_root_makes_it_where_nobody_else_can_put_something_in_its_place(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable of a user's, as after sudo, can say otherwise."""
    theirs = top / "theirs"
    theirs.mkdir()
    os.chown(theirs, processes.NOBODY, processes.NOBODY)
    monkeypatch.setattr(tempfile, "tempdir", str(theirs))
    monkeypatch.setattr(scratch, "_USUAL", (str(top),))
    with scratch.directory() as path:
        assert path.parent == top
    monkeypatch.setattr(scratch, "_USUAL", (str(theirs),))
    with pytest.raises(RefusedError, match="others than root can change") as caught, scratch.directory():
        pass
    assert caught.value.code == 18


def test_it_is_where_it_is_wanted(top: Path) -> None:
    (top / "roomy").mkdir()
    with scratch.directory(top / "roomy") as path:
        assert path.parent == top / "roomy"


def test_what_cannot_be_removed_fails_no_run(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_where: object, **_options: object) -> None:
        raise OSError(errno.EIO, "on purpose")

    with scratch.directory() as path:
        monkeypatch.setattr(held, "remove_tree", fail)
    assert path.is_dir()
    assert path.parent == top
