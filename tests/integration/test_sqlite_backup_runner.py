# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_backup_runner: check, run, check, run, change, broken; and what it installed does its work."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration.harness import Result, Session
from integration.place import Place, error_code, everything

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.modules import sqlite_backup_runner

MODULE = "sqlite_backup_runner"


@pytest.fixture
def path(place: Place) -> Path:
    """Where the runner goes."""
    directory = place.directory / "bin"
    directory.mkdir()
    return directory / "sqlite-backup"


def test_check_run_check_run(ansible: Session, path: Path) -> None:
    before = everything(path.parent)

    check = _run(ansible, path, check_mode=True)

    assert everything(path.parent) == before
    assert check["changed"]

    run = _run(ansible, path)

    assert run["changed"]
    assert _answer(run) == _answer(check)
    content = path.read_bytes()
    assert (run["version"], run["sha256"]) == (manifest.COLLECTION_VERSION, hashlib.sha256(content).hexdigest())
    assert run["path"] == str(path)
    assert run["diff"] == {
        "before_header": str(path),
        "after_header": str(path),
        "before": {"version": None, "sha256": None},
        "after": {"version": run["version"], "sha256": run["sha256"]},
    }
    assert everything(path.parent)[path.name][:2] == ("file", 0o755)
    # Ansible brings what a module imports: no room may be missing, and each must be just as it is here.
    assert content == zipapp.build(cli.main, sys.executable)

    after = everything(path.parent)
    for check_mode in (True, False):
        again = _run(ansible, path, check_mode=check_mode)
        assert not again["changed"]
        assert again["diff"]["before"] == again["diff"]["after"] == run["diff"]["after"]
        assert everything(path.parent) == after


def test_another_version_another_mode_another_interpreter(ansible: Session, path: Path) -> None:
    new = _run(ansible, path)
    old = path.read_bytes().replace(manifest.COLLECTION_VERSION.encode(), b"0.0.9")
    path.write_bytes(old)

    for check_mode in (True, False):
        changed = _run(ansible, path, check_mode=check_mode)
        assert changed["changed"]
        assert changed["diff"]["before"] == {"version": "0.0.9", "sha256": hashlib.sha256(old).hexdigest()}
        assert changed["diff"]["after"] == new["diff"]["after"]

    path.chmod(0o700)
    assert _run(ansible, path)["changed"]
    assert path.stat().st_mode & 0o777 == 0o755

    other = _run(ansible, path, interpreter=f"{sys.executable} -I")
    assert other["changed"]
    assert other["sha256"] != new["sha256"]
    assert path.read_bytes().startswith(f"#!{sys.executable} -I\n".encode())


def test_default_is_that_of_the_engine() -> None:
    """The module cannot take it from there: a Python that is too old loads the module alone."""
    assert sqlite_backup_runner.ARGUMENT_SPEC["interpreter"]["default"] == zipapp.DEFAULT_INTERPRETER


def test_absent(ansible: Session, path: Path) -> None:
    present = _run(ansible, path)

    for check_mode in (True, False):
        assert path.exists()
        gone = _run(ansible, path, state="absent", check_mode=check_mode)
        assert gone["changed"]
        assert (gone["version"], gone["sha256"]) == (None, None)
        assert gone["diff"]["before"] == present["diff"]["after"]
    assert list(path.parent.iterdir()) == []

    for check_mode in (True, False):
        assert not _run(ansible, path, state="absent", check_mode=check_mode)["changed"]


@pytest.mark.slow
def test_refusals(ansible: Session, place: Place, path: Path) -> None:
    script = path.with_name("own-script")
    script.write_text("#!/bin/sh\necho precious\n")
    refusals: list[tuple[int, dict[str, Any]]] = [
        (18, {"path": str(script)}),
        (18, {"path": str(script), "state": "absent"}),
        (18, {"path": str(place.database)}),
        (2, {"path": str(path.parent)}),
        (2, {"path": str(path), "interpreter": "python3"}),
    ]
    only_for_real: list[tuple[int, dict[str, Any]]] = [
        (2, {"path": str(path.parent / "missing" / path.name)}),
        (19, {"path": str(path), "interpreter": "/usr/bin/env no-such-python"}),
    ]
    before = everything(place.directory)

    for code, options in refusals:
        for check_mode in (True, False):
            assert error_code(ansible.task(MODULE, options, check_mode=check_mode)) == code, options
    for code, options in only_for_real:
        assert error_code(ansible.task(MODULE, options)) == code, options
        planned = ansible.task(MODULE, options, check_mode=True)
        assert planned["changed"]
        assert not planned["failed"]
        assert len(planned["warnings"]) == 1

    assert everything(place.directory) == before


def test_what_is_installed_makes_a_backup(ansible: Session, place: Place, path: Path) -> None:
    _run(ansible, path)
    databases = place.directory / "etc" / "databases.d"
    databases.mkdir(parents=True)
    settings = {"path": str(place.database), "repository": str(place.repository), "compression": "gzip"}
    (databases / "agent.json").write_text(json.dumps(settings))
    (databases / "agent.json").chmod(0o600)

    told = _execute(path, "backup", "agent", "--config", str(databases.parent), "--json")

    (result,) = json.loads(told)["results"]
    assert result["error"] is None
    assert [result["backup"]["id"]] == place.backups()
    verified = ansible.task("sqlite_verify", {"repository": str(place.repository), "level": "full"})
    assert verified["verification"]["outcome"] == "passed"


@pytest.mark.thorough
def test_what_is_installed_explains_itself(ansible: Session, path: Path) -> None:
    _run(ansible, path)

    shown = _execute(path, "--help")
    for command in ("backup", "list", "verify", "restore", "prune", "status", "doctor", "guard"):
        assert command in shown
        assert "--config" in _execute(path, command, "--help")


def _execute(path: Path, *arguments: str) -> str:
    """As cron does it: hardly an environment, and nothing of Ansible or of this checkout."""
    return subprocess.run(
        [str(path), *arguments], env={"PATH": "/usr/bin:/bin"}, cwd="/", check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def _answer(result: Result) -> dict[str, Any]:
    return {key: result[key] for key in ("changed", "path", "version", "sha256", "diff")}


def _run(ansible: Session, path: Path, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"path": str(path), "interpreter": sys.executable, **options}
    result = ansible.task(MODULE, given, check_mode=check_mode, diff=True)
    assert not result["failed"], result
    assert "warnings" not in result
    return result
