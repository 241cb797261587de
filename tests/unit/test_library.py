# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner on a Python that lacks a module: one clear answer to whatever is asked, and help all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import library
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import ProgramMissingError
from support import pythons

pytestmark = pytest.mark.thorough

VERSION = ".".join(map(str, sys.version_info[:3]))


@pytest.fixture
def runner(tmp_path: Path) -> Path:
    path = tmp_path / "sqlite-backup"
    path.write_bytes(zipapp.build(cli.main))
    return path


def run(runner: Path, lacking: str, *words: str) -> subprocess.CompletedProcess[str]:
    program = pythons.without(lacking, runner.parent)
    return subprocess.run([str(program), str(runner), *words], capture_output=True, text=True, check=False)


def test_here_it_is_there() -> None:
    assert not library.is_missing()
    library.require()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["backup", "--help"], ["restore", "--help"]])
def test_help_needs_no_sqlite(runner: Path, words: list[str]) -> None:
    ended = run(runner, "_sqlite3", *words)

    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("usage: sqlite-backup" if "--help" in words else "sqlite-backup ")


def test_version_tells_that_it_is_missing(runner: Path) -> None:
    said = run(runner, "_sqlite3", "--version").stdout

    assert said == f"sqlite-backup {manifest.COLLECTION_VERSION} (Python {VERSION}, SQLite missing)\n"


@pytest.mark.parametrize("lacking", ["_sqlite3", "sqlite3"])
@pytest.mark.parametrize("command", ["backup", "list", "verify", "prune", "status", "doctor"])
def test_whatever_needs_it_says_so_in_one_line(runner: Path, command: str, lacking: str) -> None:
    ended = run(runner, lacking, command, "agent", "--config", str(runner.parent))

    assert ended.returncode == 19
    assert ended.stdout == ""
    message, hint = ended.stderr.splitlines()
    assert message.startswith(f"sqlite-backup: error 19: Cannot run: this Python {VERSION} (")
    assert message.endswith(f") has no SQLite module (No module named '{lacking}').")
    assert "libpython3-stdlib" in hint
    assert f"py{sys.version_info[0]}{sys.version_info[1]}-sqlite3" in hint


def test_programs_get_their_document(runner: Path) -> None:
    ended = run(runner, "_sqlite3", "backup", "--all", "--json")

    assert (ended.returncode, ended.stderr) == (19, "")
    document = json.loads(ended.stdout)
    assert (document["command"], document["code"], document["results"]) == ("backup", 19, [])
    assert document["error"]["class"] == "ProgramMissingError"
    assert "has no SQLite module" in document["error"]["message"]
    assert document["error"]["hint"]


def test_a_wrong_command_line_is_told_first(runner: Path) -> None:
    assert run(runner, "_sqlite3", "bakcup").returncode == 2


@pytest.mark.parametrize("json_asked", [False, True])
def test_another_part_of_python_is_missing(runner: Path, json_asked: bool) -> None:
    """As in python3-minimal of Debian."""
    ended = run(runner, "lzma", "status", *["--json"] * json_asked)

    said = json.loads(ended.stdout)["error"]["message"] if json_asked else ended.stderr.splitlines()[0]
    assert ended.returncode == 19
    assert said.endswith(") lacks something: No module named 'lzma'.")


def test_what_is_wanted_of_a_missing_module_fails_clearly() -> None:
    absent = library._Absent()

    with pytest.raises(ProgramMissingError, match="no SQLite module"):
        absent.connect  # noqa: B018 - this asks for it
    assert not hasattr(absent, "__wrapped__")
