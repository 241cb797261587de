# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts whose Python is too old, or lacks SQLite: each module says so, with the code that is documented."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import ansible.release
import pytest
from integration.harness import Result, Session
from integration.place import Place, everything

from support import pythons

OLDEST_OF_ANSIBLE = tuple(map(int, ansible.release.__version__.split(".")[:2])) < (2, 20)
# Unlike it, the Python without SQLite that Ansible is told to use hands its environment down.
RUNS_THE_RUNNER = f"{sys.executable} -I"


def tasks(place: Place) -> dict[str, dict[str, Any]]:
    repository = {"repository": str(place.repository)}
    target = {"target": {"url": f"file://{place.directory}/copies"}}
    return {
        "sqlite_backup": {"path": str(place.database), **repository},
        "sqlite_backup_info": repository,
        "sqlite_backup_pin": {**repository, "backup": "latest"},
        "sqlite_backup_prune": repository,
        "sqlite_backup_runner": {"path": str(place.directory / "sqlite-backup"), "interpreter": RUNS_THE_RUNNER},
        "sqlite_export": {**repository, "dest": str(place.directory / "agent.jsonl")},
        "sqlite_import": {"src": str(place.directory / "agent.jsonl"), "dest": str(place.directory / "moved.db")},
        "sqlite_discover_info": {"paths": [str(place.srv)]},
        "sqlite_offsite_pull": {**repository, **target},
        "sqlite_offsite_push": {**repository, **target},
        "sqlite_restore": {"dest": str(place.database), **repository},
        "sqlite_restore_drill": repository,
        "sqlite_verify": repository,
    }


def run(ansible: Session, place: Place, module: str, interpreter: str) -> Result:
    return ansible.task(module, tasks(place)[module], vars={"ansible_python_interpreter": interpreter})


def test_every_module_is_tried(place: Place) -> None:
    modules = Path(__file__).parents[2] / "plugins" / "modules"
    assert sorted(tasks(place)) == sorted(each.stem for each in modules.glob("*.py"))


@pytest.mark.thorough
def test_no_sqlite(ansible: Session, place: Place, tmp_path: Path) -> None:
    interpreter = str(pythons.without("_sqlite3", tmp_path))
    before = everything(place.directory)

    for module in set(tasks(place)) - {"sqlite_backup_runner"}:
        result = run(ansible, place, module, interpreter)
        assert result["failed"]
        assert result.get("exception") in (None, "(traceback unavailable)"), module
        assert (result["error"]["code"], result["error"]["class"]) == (19, "ProgramMissingError"), module
        assert "has no SQLite module (No module named '_sqlite3')" in result["msg"]
        assert "ansible_python_interpreter" in result["error"]["hint"]
        assert result["msg"].endswith(result["error"]["hint"])
    assert everything(place.directory) == before


def test_runner_is_installed_without_it(ansible: Session, place: Place, tmp_path: Path) -> None:
    """What counts is the Python that will run the runner."""
    without = pythons.without("_sqlite3", tmp_path)

    first = run(ansible, place, "sqlite_backup_runner", str(without))
    again = run(ansible, place, "sqlite_backup_runner", sys.executable)

    assert (first["failed"], first["changed"]) == (False, True)
    assert (again["failed"], again["changed"]) == (False, False)
    assert first["sha256"] == again["sha256"]


@pytest.mark.skipif(not OLDEST_OF_ANSIBLE, reason="this ansible-core refuses Python 3.8 by itself")
@pytest.mark.parametrize("interpreter", pythons.of("3.8"))
def test_too_old(ansible: Session, place: Place, interpreter: str) -> None:
    before = everything(place.directory)

    for module in tasks(place):
        result = run(ansible, place, module, interpreter)
        assert result["failed"]
        assert result.get("exception") in (None, "(traceback unavailable)"), module
        assert (result["error"]["code"], result["error"]["class"]) == (19, "ProgramMissingError"), module
        assert "Cannot run: this Python 3.8." in result["msg"]
        assert "is too old." in result["msg"]
        assert "3.9 or newer" in result["error"]["hint"]
        assert result["msg"].endswith(result["error"]["hint"])
    assert everything(place.directory) == before
