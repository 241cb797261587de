# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import processes
from support import databases, limits
from support import processes as others

needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="this system has no /proc")
OPEN_FILE = "import sys; file = open(sys.argv[1], 'rb'); print('open', flush=True); sys.stdin.read()"
# Opens the database, runs the statements and stays.
USE_DATABASE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2:]:
    connection.execute(statement).fetchall()
print("used", flush=True)
sys.stdin.read()
"""
READ = "SELECT count(*) FROM item"
UNNAMED = ["a process that cannot be named"]


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process can be looked at: another system than Linux, another container, another user."""
    monkeypatch.setattr(processes, "_by_descriptors", lambda _path: [])


def name_of_python() -> str:
    return Path(sys.executable).name[:15]  # the kernel keeps that many characters


@needs_proc
@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_process_that_has_the_database_open_is_named(tmp_path: Path, journal_mode: str) -> None:
    """Replacing the file under an application loses everything that it writes from then on."""
    path = databases.make(tmp_path / "a.db", journal_mode=journal_mode)
    with others.running(USE_DATABASE, path, READ) as user:
        assert processes.users_of(path) == [f"{name_of_python()} (pid {user.pid})"]


@needs_proc
@pytest.mark.parametrize("suffix", ["-wal", "-shm", "-journal"])
def test_process_that_has_only_a_sidecar_open_is_named(tmp_path: Path, suffix: str) -> None:
    path = databases.make(tmp_path / "a.db")
    beside = path.with_name(path.name + suffix)
    beside.write_bytes(b"")
    with others.running(OPEN_FILE, beside) as user:
        assert processes.users_of(path) == [f"{name_of_python()} (pid {user.pid})"]


@needs_proc
def test_every_process_is_named(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with others.running(USE_DATABASE, path, READ) as one, others.running(OPEN_FILE, path) as other:
        assert processes.users_of(path) == sorted(f"{name_of_python()} (pid {pid})" for pid in (one.pid, other.pid))


@needs_proc
def test_file_is_known_by_any_name(tmp_path: Path) -> None:
    """The application may have come to it by a link, or have opened it before it was renamed."""
    path = databases.make(tmp_path / "before.db")
    (tmp_path / "link.db").symlink_to(path)
    with others.running(OPEN_FILE, tmp_path / "link.db"):
        path.rename(tmp_path / "a.db")
        assert len(processes.users_of(tmp_path / "a.db")) == 1


@pytest.mark.parametrize("name", databases.ODD_NAMES)
def test_database_with_an_odd_name_is_watched_too(tmp_path: Path, name: str) -> None:
    path = databases.make(tmp_path / name)
    with others.running(USE_DATABASE, path, READ):
        assert len(processes.users_of(path)) == 1


def test_process_that_is_gone_is_not_reported(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with others.running(USE_DATABASE, path, READ):
        pass
    assert processes.users_of(path) == []


def test_own_use_that_is_over_is_not_reported(tmp_path: Path) -> None:
    """A restore looks at the database before it replaces it, and must not stop itself."""
    path = databases.make(tmp_path / "a.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(READ)
    assert processes.users_of(path) == []


def test_own_open_file_is_not_reported(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with path.open("rb"):
        assert processes.users_of(path) == []


def test_process_that_uses_another_file_there_is_not_reported(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with others.running(USE_DATABASE, databases.make(tmp_path / "b.db"), READ):
        assert processes.users_of(path) == []


def test_missing_database_has_no_users(tmp_path: Path) -> None:
    assert processes.users_of(tmp_path / "a.db") == []
    assert not list(tmp_path.iterdir())


# --- the locks, where processes cannot be seen ---------------------------------------------------------------------


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(
    ("journal_mode", "statements"),
    [
        ("wal", [READ]),
        ("delete", ["BEGIN", READ]),
        ("delete", ["BEGIN IMMEDIATE"]),
        ("delete", ["BEGIN EXCLUSIVE"]),
    ],
)
def test_lock_of_a_process_that_cannot_be_seen_is_found(
    tmp_path: Path, journal_mode: str, statements: list[str]
) -> None:
    """In another container the application is invisible, its locks are not."""
    path = databases.make(tmp_path / "a.db", journal_mode=journal_mode)
    with others.running(USE_DATABASE, path, *statements):
        assert processes.users_of(path) == UNNAMED
    assert processes.users_of(path) == []


@pytest.mark.root
@others.needs_root
@needs_proc
def test_process_of_another_user_is_found_by_its_lock() -> None:
    with others.open_directory() as place:
        path = databases.make(place / "a.db")
        path.chmod(0o666)
        with others.running(USE_DATABASE, path, READ), limits.unprivileged():
            assert processes.users_of(path) == UNNAMED


@pytest.mark.usefixtures("blind")
def test_looking_for_locks_changes_nothing(tmp_path: Path) -> None:
    """The probe must leave neither a lock nor a byte: the application goes on."""
    path = databases.make(tmp_path / "a.db")
    before = databases.tree(tmp_path)
    assert processes.users_of(path) == []
    assert databases.tree(tmp_path) == before
    databases.add(path, "later")
