# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the module `sqlite_backup` takes in a playbook, beside a task that runs the program `sqlite3`.

Both back up the same small database, in turns, in one play; before each of them the database is changed. A callback
plugin takes the time from the start of a task to its result, so Ansible's own start does not count.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import agent_db
import plays
from bench import Bench, tell
from live import LiveDatabase
from measure import RunFailedError
from results import MODULE_TASKS
from tools import Ours, host_python

CALLBACKS = Path(__file__).with_name("callback_plugins")
DATABASE_RUNS = 160  # makes about 1 MiB
MODULE, COMMAND = "sqlite_backup", "command"
PIPELINING = {"defaults": "false", "pipelining": "true"}

Task = dict[str, Any]


def run(bench: Bench) -> None:
    for setting in bench.plan.task_settings:
        folder = bench.folder / "module"
        folder.mkdir()
        agent_db.create(folder / "agent.db", runs=DATABASE_RUNS)
        try:
            with closing(LiveDatabase(folder / "agent.db")) as database:
                bench.results.tasks[setting] = _play(bench, database, folder, PIPELINING[setting])
        except RunFailedError as error:
            tell(f"module failed: {error}")
            bench.results.fail(MODULE_TASKS, Ours.name, str(error))
        finally:
            shutil.rmtree(folder)


def _play(bench: Bench, database: LiveDatabase, folder: Path, pipelining: str) -> tuple[list[float], list[float]]:
    playbook = plays.write_json(folder / "playbook.yml", [_playbook(database.path, folder, bench.plan.tasks)])
    host = {"ansible_connection": "local", "ansible_python_interpreter": host_python()}
    inventory = plays.write_json(folder / "inventory.json", {"all": {"hosts": {"benchmark": host}}})
    command = [*plays.command(), "--inventory", str(inventory), str(playbook)]
    bench.settle([])
    # ansible-core 2.21 makes a socket below TMPDIR, and the name of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="benchmark-") as short:
        bench.run(command, {**_environment(folder, pipelining), "TMPDIR": short})
    taken = [json.loads(line) for line in (folder / "seconds.jsonl").read_text(encoding="utf-8").splitlines()]
    ours, theirs = ([each["seconds"] for each in taken if each["task"] == task] for task in (MODULE, COMMAND))
    tell(f"module, {len(ours)} tasks each, pipelining {pipelining}: {sum(ours):.2f} s, the command {sum(theirs):.2f} s")
    return ours, theirs


def _playbook(database: Path, folder: Path, count: int) -> Task:
    backup = {"path": str(database), "repository": str(folder / "repository")}
    copy = {"argv": ["sqlite3", str(database), f".backup '{folder / 'copy.db'}'"]}
    change = {"argv": ["sqlite3", str(database), 'UPDATE "LearningPattern" SET "timesApplied" = "timesApplied" + 1']}
    ours = {"name": MODULE, "sqliteops.backup.sqlite_backup": backup}
    theirs = {"name": COMMAND, "ansible.builtin.command": copy}
    between = {"name": "change", "ansible.builtin.command": change}
    tasks: list[Task] = []
    for number in range(count):
        first, second = (ours, theirs) if number % 2 else (theirs, ours)
        tasks += [between, first, between, second]
    return {"hosts": "benchmark", "gather_facts": False, "tasks": tasks}


def _environment(folder: Path, pipelining: str) -> dict[str, str]:
    return {
        **plays.prepare(folder, pipelining=pipelining),
        "ANSIBLE_CALLBACKS_ENABLED": "stopwatch",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_HOME": str(folder / "home"),
        "ANSIBLE_REMOTE_TEMP": str(folder / "home" / "remote"),
        "STOPWATCH_FILE": str(folder / "seconds.jsonl"),
    }
