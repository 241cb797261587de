# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases are found by their first bytes; nothing else is opened, followed, waited for or left changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import search
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.search import Found, Reached, Wanted
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import discover
from support import databases, limits, processes
from support.ground import Ground
from support.sites import Site


def find(top: Path, *, seconds: float | None = None, **wanted: Any) -> Found:
    with limits.within(30):
        found = search.find(Wanted(top, discover.REPOSITORIES, **wanted), Deadline(seconds), Reached())
    assert found is not None
    return found


def found_in(top: Path, **wanted: Any) -> list[str]:
    return sorted(each.path.relative_to(top).as_posix() for each in find(top, **wanted).databases)


SHM = Path("/dev/shm")  # noqa: S108
opened: list[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if opened is not None and event == "open" and isinstance(arguments[0], str):
        opened.append(os.path.basename(arguments[0]))


sys.addaudithook(_note)


@contextlib.contextmanager
def noting() -> Iterator[list[str]]:
    """The names that are opened in the block."""
    global opened  # noqa: PLW0603 - a hook stays for ever
    opened = []
    try:
        yield opened
    finally:
        opened = None


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
def test_every_database_is_found_whatever_its_name(tmp_path: Path, page_size: int) -> None:
    for name in databases.ODD_NAMES:
        databases.make(tmp_path / name, page_size=page_size)
    (tmp_path / "deep").mkdir()
    databases.make(tmp_path / "deep" / "agent", page_size=page_size)
    assert found_in(tmp_path) == sorted([*databases.ODD_NAMES, "deep/agent"])


def test_nothing_is_opened_that_cannot_be_a_database(tmp_path: Path) -> None:
    databases.make(tmp_path / "agent.db")
    contents = {"empty": b"", "short": search.MAGIC, "odd": search.MAGIC + b"x" * 600, "text": b"x" * 512}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    with noting() as names:
        found = find(tmp_path)
    assert [each.path.name for each in found.databases] == ["agent.db"]
    assert found.files == 5
    assert {*names} & {*contents, "agent.db"} == {"agent.db", "text"}


def test_sidecars_are_told(tmp_path: Path) -> None:
    databases.make(tmp_path / "plain.db", journal_mode="delete")
    databases.make(tmp_path / "wal.db")
    (tmp_path / "wal.db-wal").touch()
    (tmp_path / "plain.db-journal").touch()
    told = {each.path.name: (each.wal, each.journal) for each in find(tmp_path).databases}
    assert told == {"plain.db": (False, True), "wal.db": (True, False)}


def test_a_file_can_be_named_itself(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "agent.db")
    databases.make(tmp_path / "other.db")
    assert [each.path for each in find(path).databases] == [path]


def test_links_fifos_and_sockets_are_left_alone(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    databases.make(real / "agent.db")
    top = tmp_path / "top"
    top.mkdir()
    (top / "file").symlink_to(real / "agent.db")
    (top / "directory").symlink_to(real)
    (top / "round").symlink_to(top)
    processes.fifo(top / "fifo")
    assert find(top) == Found(files=0)
    assert find(top / "fifo") == Found(files=0)
    (tmp_path / "named").symlink_to(real)
    assert [each.path.name for each in find(tmp_path / "named").databases] == ["agent.db"]


def test_backups_and_what_a_restore_keeps_are_no_databases(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.back_up(compression="none")
    for name in (".agent.db.restoring/undo", "agent.db.before-restore.20251230T120000Z", "sqlite-backup-scratch-x"):
        (tmp_path / name).mkdir(mode=0o700, parents=True)
        shutil.copy(site.database, tmp_path / name / "agent.db")
    (tmp_path / ".agent.db.restoring").chmod(0o700)
    found = find(tmp_path)
    assert [each.path for each in found.databases] == [site.database]
    assert (found.repositories, found.copies, found.doubtful) == ([site.repository], 4, [])
    assert len(found.kept) == 3


@pytest.mark.parametrize("pattern", ["{}/skip", "*/skip", "*/sk?p/*", "*/skip/agent.db"])
def test_what_is_excluded_is_not_looked_at(tmp_path: Path, pattern: str) -> None:
    for name in ("skip", "skipped"):
        (tmp_path / name).mkdir()
        databases.make(tmp_path / name / "agent.db")
    assert found_in(tmp_path, exclude=[pattern.format(tmp_path)]) == ["skipped/agent.db"]


def test_limit_and_deadline_end_it_and_that_is_told(tmp_path: Path) -> None:
    for number in range(5):
        databases.make(tmp_path / f"{number}.db")
    assert find(tmp_path).complete
    found = find(tmp_path, limit=2)
    assert (len(found.databases), found.complete) == (2, False)
    (tmp_path / "deep").mkdir()
    assert not find(tmp_path, seconds=0).complete


def test_what_is_closed_is_told(tmp_path: Path) -> None:
    with processes.open_directory() as place:
        databases.make(place / "agent.db").chmod(0o600)
        (place / "closed").mkdir()
        (place / "closed").chmod(0)
        with limits.unprivileged():
            found = find(place)
        assert (found.databases, [each.name for each in found.unreadable]) == ([], ["agent.db", "closed"])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows shows no such files")
def test_what_the_system_shows_as_files_is_not_looked_at() -> None:
    for place in ("/proc", "/sys", "/proc/self"):
        assert find(Path(place)) == Found()
    others = [f"/{each.name}" for each in Path("/").iterdir() if each.name != "proc"]
    with limits.within(10):
        assert find(Path("/"), exclude=others, cross_filesystems=True).databases == []


@pytest.mark.skipif(sys.platform == "win32" or not SHM.is_mount(), reason="no other filesystem is mounted here")
def test_other_filesystems_are_left_out_unless_they_are_asked_for() -> None:
    others = [f"/dev/{each.name}" for each in Path("/dev").iterdir() if each.name != "shm"]
    with tempfile.TemporaryDirectory(dir=SHM) as directory:
        database = databases.make(Path(directory) / "agent.db")
        assert SHM in find(Path("/dev"), exclude=others).elsewhere
        there = find(Path("/dev"), exclude=others, cross_filesystems=True)
        assert database in [each.path for each in there.databases]


def test_reading_leaves_no_trace(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "agent.db")
    os.utime(path, (1, 2))
    find(tmp_path)
    if sys.platform == "linux":
        assert path.stat().st_atime == 1
    assert path.stat().st_mtime == 2
    assert {each.name for each in tmp_path.iterdir()} == {"agent.db"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_writer_keeps_its_locks(tmp_path: Path) -> None:
    """A process that closes any descriptor of a file loses its locks on it: whoever looks must be another one."""
    path = databases.make(tmp_path / "agent.db", journal_mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        child = os.fork()
        if not child:
            find(tmp_path)
            os._exit(0)
        os.waitpid(child, 0)
        with contextlib.closing(sqlite3.connect(path, timeout=0)) as other:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")


@pytest.mark.slow
def test_many_files_take_seconds(tmp_path: Path) -> None:
    for directory in range(200):
        (tmp_path / str(directory)).mkdir()
        for number in range(100):
            (tmp_path / str(directory) / f"{number}.txt").write_bytes(b"x" * (number * 7 + 1))
    databases.make(tmp_path / "7" / "agent.db")
    begin = time.monotonic()
    with noting() as names:
        assert found_in(tmp_path) == ["7/agent.db"]
    assert time.monotonic() - begin < 10
    assert not [each for each in names if each.endswith(".txt") and (int(each[:-4]) * 7 + 1) % 512]


# --- several paths -------------------------------------------------------------------------------------------------


def reached(*tops: Path, **wanted: Any) -> list[list[str] | None]:
    """The names of the databases that a search of each path finds after those before it; None where they were."""
    known, answers = Reached(), []
    for top in tops:
        found = search.find(Wanted(top, discover.REPOSITORIES, **wanted), Deadline(None), known)
        answers.append(None if found is None else [each.path.name for each in found.databases])
    return answers


def test_what_was_reached_is_not_looked_at_again(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "deep" / "agent.db") if (tmp_path / "deep").mkdir() is None else tmp_path
    assert reached(tmp_path, tmp_path, tmp_path / "deep", path) == [["agent.db"], None, None, None]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets not everybody make links")
def test_what_only_a_link_leads_to_was_not_reached(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    path = databases.make(tmp_path / "data" / "agent.db")
    top = tmp_path / "srv"
    top.mkdir()
    (top / "app").symlink_to(tmp_path / "data")
    (top / "file").symlink_to(path)
    assert reached(top, top / "app", tmp_path / "data", top / "file") == [[], ["agent.db"], None, None]
    assert reached(top, top / "file") == [[], ["agent.db"]]


def test_what_was_left_out_was_not_reached(tmp_path: Path) -> None:
    """A place that is excluded, a repository, and a file of a size that no database has."""
    site = Site(tmp_path)
    site.back_up(compression="none")
    (tmp_path / "skip").mkdir()
    databases.make(tmp_path / "skip" / "other.db")
    (tmp_path / "torn").write_bytes(search.MAGIC + b"x" * 600)
    (backup,) = site.repository.glob("*-full")
    answers = reached(tmp_path, tmp_path / "skip", backup, tmp_path / "torn", exclude=[f"{tmp_path}/skip"])
    assert answers == [["agent.db"], ["other.db"], ["database.sqlite"], ["torn"]]


# --- root in somebody else's directory -----------------------------------------------------------------------------


@processes.needs_root
@pytest.mark.parametrize(
    "trick",
    [
        "exchange(theirs / 'a', theirs / 'link')",
        "exchange(theirs / 'a' / 'f.db', theirs / 'a' / 'fifo')",
        "exchange(theirs / 'a' / 'f.db', theirs / 'a' / 'link')",
    ],
)
def test_names_that_change_places_lead_nowhere(ground: Ground, trick: str) -> None:
    """Neither into what is root's, nor to where it waits for ever."""
    databases.make(ground.roots / "hidden.db")
    before = ground.state()
    ground.play(
        "(theirs / 'a').mkdir(); os.symlink(roots, theirs / 'link'); os.mkfifo(theirs / 'a' / 'fifo'); "
        "(theirs / 'a' / 'f.db').write_bytes(b'x' * 512); os.symlink(roots / 'hidden.db', theirs / 'a' / 'link')"
    )
    with ground.playing(trick):
        for _time in range(300):
            assert "hidden.db" not in {each.path.name for each in find(ground.theirs).databases}
    # What a link names is that of the link, were it followed.
    inside = {(each.status.st_dev, each.status.st_ino) for each in find(ground.theirs).databases}
    hidden = (ground.roots / "hidden.db").stat()
    assert (hidden.st_dev, hidden.st_ino) not in inside
    assert ground.state() == before


@processes.needs_root
def test_directories_that_are_too_deep_are_told(ground: Ground) -> None:
    ground.play("os.mkdir(theirs / 'd'); os.chdir(theirs / 'd'); [(os.mkdir('d'), os.chdir('d')) for _ in range(300)]")
    found = find(ground.theirs)
    assert len(found.unreadable) == 1
    assert ground.database in [each.path for each in found.databases]
