# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a directory: one small live database, the repository of its backups, and what happens to both."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from integration.harness import Result

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import databases

_OPEN_DATABASE = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2]).fetchall()
"""
_HOLD_LOCK = """
import contextlib, pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
stack = contextlib.ExitStack()
stack.enter_context(locks.held(pathlib.Path(sys.argv[1]), timeout_seconds=10, action="Cannot lock"))
"""
_COMMIT_AND_CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("INSERT INTO item(name) VALUES (?)", (sys.argv[2],))
os._exit(0)
"""

LARGE_BYTES = 16 * 1024 * 1024

Entry = tuple[str, int, int, str]


class Place:
    """``srv`` is where the application lives, ``repository`` where its backups go."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.srv = directory / "srv"
        self.srv.mkdir()
        self.repository = directory / "backups" / "agent"
        self.database = databases.make(self.srv / "agent.db")
        self.database.chmod(0o640)

    def grow(self) -> None:
        """Make the database as large as one must be to get incremental backups."""
        with contextlib.closing(sqlite3.connect(self.database, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("CREATE TABLE large(content BLOB)")
            connection.execute("INSERT INTO large VALUES (zeroblob(?))", (LARGE_BYTES,))
        databases.settle(self.database)

    def options(self, **more: Any) -> dict[str, Any]:
        """The options of a backup of the database; gzip, so that no test depends on a program."""
        return {"path": str(self.database), "repository": str(self.repository), "compression": "gzip", **more}

    def backed_up(self, **more: Any) -> Path:
        """A backup that the engine made without Ansible; its directory."""
        request = {"path": self.database, "repository": self.repository, "compression": "gzip", **more}
        outcome = backup.run(backup.Request(**request))
        assert outcome.backup is not None
        return outcome.backup.path

    def backed_up_at(self, moment: str, **more: Any) -> Path:
        """The same, made at another time."""
        with mock.patch.object(clock, "now", return_value=clock.from_text(moment)):
            return self.backed_up(**more)

    def backups(self) -> list[str]:
        return sorted(each.name for each in self.repository.glob("*Z-*"))


def commit_and_crash(database: Path, name: str) -> None:
    """Commit a row that only the -wal holds, as an application does that is killed."""
    subprocess.run([sys.executable, "-c", _COMMIT_AND_CRASH, str(database), name], check=True)
    assert wal_of(database).stat().st_size > 0


def change_manifest(backup: Path) -> None:
    """Change the manifest so that it is complete and well-formed, and only its seal tells."""
    manifest = backup / "manifest.json"
    text = manifest.read_text(encoding="utf-8")
    assert '"pinned": false' in text
    manifest.write_text(text.replace('"pinned": false', '"pinned": true'), encoding="utf-8")


def wal_of(database: Path) -> Path:
    return database.with_name(f"{database.name}-wal")


def names_in(database: Path, scratch: Path) -> list[str]:
    """Every name in a copy of ``database`` and its -wal: to look at it changes nothing."""
    scratch.mkdir()
    for each in (database, wal_of(database)):
        if each.exists():
            shutil.copy(each, scratch)
    return databases.names(scratch / database.name)


@contextlib.contextmanager
def _process(script: str, *arguments: str) -> Iterator[int]:
    """Another process that has run ``script`` and waits; its id."""
    command = [sys.executable, "-c", f"{script}\nprint(flush=True)\nsys.stdin.read()", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        yield process.pid
        process.stdin.close()


def opened_by_another(database: Path, sql: str = "SELECT count(*) FROM item") -> contextlib.AbstractContextManager[int]:
    """Another process has the database open, for the block."""
    return _process(_OPEN_DATABASE, str(database), sql)


def locked_by_another(lock: Path) -> contextlib.AbstractContextManager[int]:
    """Another process holds a lock of the repository, for the block."""
    return _process(_HOLD_LOCK, str(lock))


def error_code(result: Result) -> int:
    """The code of a failed task, which must explain itself and show no traceback."""
    assert result["failed"], result
    error = result["error"]
    assert set(error) == {"code", "class", "hint"}
    assert result["msg"].endswith(error["hint"])
    assert "Traceback" not in str(result)
    assert "File " not in str(result.get("exception", ""))
    return int(error["code"])


def everything(directory: Path) -> dict[str, Entry]:
    """Every file and directory: kind, mode, time of its last change in nanoseconds, digest of its content."""
    return {str(path.relative_to(directory)): _entry(path) for path in [directory, *directory.rglob("*")]}


def stored(repository: Path) -> dict[str, Entry]:
    """What a repository keeps: every file but the locks, which whoever reads holds, too."""
    entries = everything(repository)
    return {name: entry for name, entry in entries.items() if entry[0] == "file" and not name.startswith(".lock")}


def _entry(path: Path) -> Entry:
    status = path.lstat()
    if path.is_symlink():
        return "link", 0, status.st_mtime_ns, os.readlink(path)
    if path.is_dir():
        return "directory", stat.S_IMODE(status.st_mode), status.st_mtime_ns, ""
    return "file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()


def modes(directory: Path) -> dict[str, set[str]]:
    """The modes of all files and of all directories, that of ``directory`` itself among them."""
    found: dict[str, set[str]] = {"file": set(), "directory": set()}
    for kind, mode, _time, _content in everything(directory).values():
        found[kind].add(f"{mode:04o}")
    return found
