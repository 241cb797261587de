# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other processes for tests: another user, a holder of a lock, a small disk."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534

needs_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root to become another user"
)


def fifo(path: Path) -> None:
    """Make one, where the platform has them."""
    os.mkfifo(path)


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A temporary directory that every user may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def python(code: str, *arguments: object) -> str:
    """Run ``code`` in a Python of its own, with the engine importable; what it printed. Its failure is one here."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@contextlib.contextmanager
def running(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A Python that runs ``code``, from its first printed line on until the block ends."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


_SQL = """
import json, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("PRAGMA synchronous=OFF")
connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
print("ready", flush=True)
for line in sys.stdin:
    try:
        answer = connection.execute(json.loads(line)).fetchall()
    except sqlite3.OperationalError as error:
        answer = str(error)
    print(json.dumps(answer), flush=True)
"""


@contextlib.contextmanager
def application(path: Path) -> Iterator[Callable[[str], Any]]:
    """Another process that has the database ``path`` open; call it with SQL, for the rows or for what SQLite complains.

    It waits for nobody, and checkpoints only when it is told to.
    """
    with running(_SQL, path) as process:

        def execute(sql: str) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(sql) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield execute


@contextlib.contextmanager
def small_disk(size_bytes: int) -> Iterator[Path]:
    """A filesystem of this size; skips the test where none can be mounted."""
    if shutil.which("mount") is None or not hasattr(os, "geteuid") or os.geteuid() != 0:
        pytest.skip("needs root to mount a small filesystem")
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", name]
        if subprocess.run(mount, check=False, capture_output=True).returncode != 0:
            pytest.skip("a small filesystem cannot be mounted here")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "--lazy", name], check=True)
