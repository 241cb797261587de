# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database is a copy only where a backup or a restore puts it, and where nobody could hide what is another user's."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import description
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import search
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.search import Found, Reached, Wanted
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import discover
from support import databases, limits, processes
from support.ground import Ground
from support.sites import Site

UNDO = "agent.db.before-restore.20251230T120000Z"
BACKUP = "20251230T120000Z-full"


def find(top: Path) -> Found:
    with limits.within(30):
        found = search.find(Wanted(top, discover.REPOSITORIES), Deadline(None), Reached())
    assert found is not None
    return found


def names(top: Path) -> set[str]:
    return {each.path.relative_to(top).as_posix() for each in find(top).databases}


def made(path: Path) -> Path:
    """A database at ``path``, in private directories."""
    for each in reversed(path.parents):
        each.mkdir(mode=0o700, exist_ok=True)
    return databases.make(path, journal_mode="delete")


def repository(place: Path) -> Path:
    """A repository that has only the file that says so."""
    place.mkdir(mode=0o700)
    description.write(place, description.new("agent", Path("/srv/agent.db")))
    return place


@pytest.mark.parametrize(
    "name",
    [
        f"{UNDO}-mine/agent.db",
        f"{UNDO}/other.db",
        f"{UNDO}/deep/agent.db",
        ".agent.db.restoring/other.db",
        ".agent.db.restoring/mine/agent.db",
        "agent.db.restoring/undo/agent.db",
        "agent.db.before-restore.yesterday/agent.db",
        "repository/agent.db",
        "repository/sub/database.sqlite",
        f"repository/{BACKUP}/agent.db",
        f"repository/{BACKUP}/deep/database.sqlite",
        f"repository/deep/{BACKUP}/database.sqlite",
        f"elsewhere/{BACKUP}/database.sqlite",
    ],
)
def test_database_that_only_lies_beside_copies_is_one(tmp_path: Path, name: str) -> None:
    repository(tmp_path / "repository")
    made(tmp_path / name)
    assert names(tmp_path) == {name}


@pytest.mark.parametrize(
    "name",
    [
        f"{UNDO}/agent.db",
        ".agent.db.restoring/undo/agent.db",
        ".agent.db.restoring/restored",
        ".agent.db.restoring/new/main",
        "sqlite-backup-scratch-x/deep/a.db",
        f"repository/{BACKUP}/database.sqlite",
        f"repository/{BACKUP}/files/deep/other.db",
        "repository/.staging-20251230T120000Z-7/backup/database.sqlite",
    ],
)
def test_copy_is_none(tmp_path: Path, name: str) -> None:
    repository(tmp_path / "repository")
    made(tmp_path / name)
    found = find(tmp_path)
    assert (found.databases, found.copies, found.doubtful) == ([], 1, [])
    assert Path(name.split("/", maxsplit=1)[0]) in {
        each.relative_to(tmp_path) for each in (*found.repositories, *found.kept)
    }


def _as_link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to(file.with_name("real"))


def _as_fifo(file: Path) -> None:
    file.unlink()
    processes.fifo(file)


def _as_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


WRONG: dict[str, Callable[[Path], object]] = {
    "another program's": lambda file: file.write_text("{}"),
    "no JSON": lambda file: file.write_text("[" * 60000),
    "a list": lambda file: file.write_text("[]"),
    "a newer format": lambda file: file.write_bytes(file.read_bytes().replace(b'"format": 1', b'"format": 2')),
    "damaged": lambda file: databases.flip_bit(file, 99),
    "long": lambda file: file.write_bytes(b" " * 70000 + file.read_bytes()),
    "a directory": _as_directory,
}
if sys.platform != "win32":
    WRONG.update({"a link": _as_link, "a fifo": _as_fifo})


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_file_of_that_name_makes_no_repository(tmp_path: Path, wrong: Callable[[Path], object]) -> None:
    place = repository(tmp_path / "repository")
    made(place / BACKUP / "database.sqlite")
    assert names(place) == set()
    wrong(place / description.NAME)
    assert names(place) == {f"{BACKUP}/database.sqlite"}
    assert find(place).repositories == []


def test_repository_of_an_earlier_version_is_one(tmp_path: Path) -> None:
    place = repository(tmp_path / "repository")
    (place / description.NAME).write_text('{"format": 1, "name": "a", "source": "/a", "created": "2025"}')
    made(place / BACKUP / "database.sqlite")
    assert names(place) == set()


# --- who could have made it so -------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize("name", ["repository", "repository/repository.json", f"repository/{BACKUP}", UNDO])
@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_nothing_is_a_copy_where_others_write(tmp_path: Path, name: str, mode: int) -> None:
    repository(tmp_path / "repository")
    for each in (f"repository/{BACKUP}/database.sqlite", f"{UNDO}/agent.db"):
        made(tmp_path / each)
    (tmp_path / name).chmod(mode)
    found = find(tmp_path)
    assert found.copies == 1
    assert [each.path for each in found.databases] == found.doubtful
    assert len(found.doubtful) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
@pytest.mark.parametrize(("mode", "copies"), [(0o777, 0), (0o1777, 1), (0o770, 1)])
def test_who_may_rename_everything_may_have_named_it(tmp_path: Path, mode: int, copies: int) -> None:
    (tmp_path / "srv").mkdir()
    made(tmp_path / "srv" / UNDO / "agent.db")
    (tmp_path / "srv").chmod(mode)
    assert find(tmp_path).copies == copies


@processes.needs_root
@pytest.mark.parametrize(
    "trick",
    [
        # What root has there moves to where a copy would be.
        "os.rename(theirs / 'app', theirs / 'agent.db.before-restore.20251230T120000Z')",
        "work = theirs / '.agent.db.restoring'; work.mkdir(0o700); os.rename(theirs / 'app', work / 'undo')",
        "os.rename(theirs / 'app', theirs / 'repository' / '20251230T120000Z-full')",
        "os.rename(theirs / 'app', theirs / 'sqlite-backup-scratch-x')",
    ],
)
def test_user_hides_nothing_of_somebody_else(ground: Ground, trick: str) -> None:
    place = repository(ground.theirs / "repository")
    (ground.theirs / "app").mkdir(mode=0o700)
    for name in ("agent.db", "database.sqlite"):
        made(ground.theirs / "app" / name)
    for each in (place, place / description.NAME, ground.database):
        os.chown(each, processes.NOBODY, processes.NOBODY)
    # To move a directory to another one takes the right to write to it.
    (ground.theirs / "app").chmod(0o703)
    ground.play(trick)
    next(each.parent for each in ground.theirs.rglob("database.sqlite")).chmod(0o700)
    found = find(ground.theirs)
    assert {each.path.name for each in found.databases if not each.status.st_uid} == {"agent.db", "database.sqlite"}
    assert found.copies == 0
    assert found.doubtful


@processes.needs_root
def test_what_a_user_has_of_his_own_is_a_copy(ground: Ground) -> None:
    place = repository(ground.theirs / "repository")
    for name in (f"repository/{BACKUP}/database.sqlite", f"{UNDO}/agent.db"):
        made(ground.theirs / name)
    ground.give(ground.theirs)
    found = find(ground.theirs)
    assert ([each.path for each in found.databases], found.copies) == ([ground.database], 2)
    shutil.rmtree(place)
    assert find(ground.theirs).copies == 1


@processes.needs_root
def test_real_restore_of_a_user_leaves_copies(ground: Ground) -> None:
    ground.back_up()
    ground.change()
    assert ground.restore().undo_set
    found = find(ground.place)
    assert [each.path for each in found.databases] == [ground.database]
    assert (found.copies, found.doubtful) == (2, [])


def test_real_repository_that_stores_plain_is_one(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.back_up(compression="none")
    found = find(tmp_path)
    assert ([each.path for each in found.databases], found.copies) == ([site.database], 1)
