# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles let the runner of a Windows host do, under a Windows Python in Wine: it answers what they need."""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.filter.restore_settings import restore_settings
from ansible_collections.sqliteops.backup.plugins.filter.runner_answer import runner_answer
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from support import databases, wine

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

ROWS = "SELECT count(*) FROM item"


class Host:
    def __init__(self, folder: Path) -> None:
        wine.python()
        self.folder = folder
        self.database = databases.make(folder / "agent.db", journal_mode="delete")
        self.repository = folder / "repositories" / "agent"
        zipapp.install(folder / "sqlite-backup.pyz", cli.main)

    def write(self, directory: str, files: dict[str, Any]) -> str:
        for name, content in files.items():
            path = self.folder / directory / name.replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        return wine.seen(self.folder / directory)

    def runner(self, *words: str) -> dict[str, Any]:
        """As the role gets it from win_command."""
        done = wine.run([wine.seen(self.folder / "sqlite-backup.pyz"), *words, "--json"], self.folder)
        return runner_answer({"rc": done.returncode, "stdout": done.stdout, "stderr": done.stderr})

    def rows(self) -> int:
        with contextlib.closing(sqlite3.connect(self.database)) as connection:
            return int(connection.execute(ROWS).fetchone()[0])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_the_steps_of_a_restore(host: Host) -> None:
    rows = host.rows()
    place = {"path": wine.seen(host.database), "repository": wine.seen(host.repository)}
    config = host.write("config", {"databases.d\\agent.json": place})
    made = host.runner("backup", "agent", "--config", config)["backup"]["id"]
    with contextlib.closing(sqlite3.connect(host.database)) as connection:
        connection.execute("DELETE FROM item")
        connection.commit()
    settings = {
        "dest": place["path"],
        "repository": place["repository"],
        "expect_tables": ["item"],
        "health_assertions": [{"sql": ROWS, "equals": rows}],
    }
    described = base64.b64encode((host.repository / "repository.json").read_bytes()).decode()
    told = restore_settings(settings, described)
    end = ["--config", host.write("scratch", told["files"])]
    words = ["restore", told["name"], "--dest", place["path"], "--check", "full", *end]

    planned = host.runner(*words, "--backup", "latest", "--force", "--dry-run")
    listed = host.runner("list", told["name"], *end)

    assert (planned["failed"], planned["restore"]["backup"], planned["restore"]["replaced"]) == (False, made, True)
    assert [(each["id"], each["suspect"]) for each in listed["repository"]["backups"]] == [(made, False)]
    assert "confirmed" in listed["repository"]["backups"][0]
    assert host.rows() == 0

    done = host.runner(*words, "--backup", made)

    assert (done["changed"], host.rows()) == (True, rows)
    assert wine.seen(host.database) in done["restore"]["undo_set"]
    assert host.runner("verify", told["live_name"], "--live", *end)["failed"] is False
    assert host.runner(*words, "--backup", made)["restore"]["replaced"] is False

    undone = host.runner(*words, "--undo")

    assert (undone["failed"], host.rows()) == (False, 0)
    assert host.runner("verify", told["live_name"], "--live", *end)["failed"] is True


def test_metrics_and_the_state(host: Host) -> None:
    place = {"path": wine.seen(host.database), "repository": wine.seen(host.repository)}
    metrics, state = host.folder / "textfile_inputs", host.folder / "watch"
    metrics.mkdir()
    state.mkdir()
    watch = {"textfile_directory": wine.seen(metrics), "status_file": wine.seen(state / "status.json")}
    config = host.write("config", {"databases.d\\agent.json": place, "watch.json": watch})

    for _time in range(2):
        warnings = host.runner("backup", "agent", "--config", config)["warnings"]
        assert [each for each in warnings if "wait" not in each] == []

    (file,) = metrics.iterdir()
    assert file.match("sqlite_backup.*.agent.prom")
    text = file.read_bytes()
    assert b"\ndatabase_backup_info{" in text
    assert b"\r" not in text
    (entry,) = json.loads((state / "status.json").read_text(encoding="utf-8"))["databases"]
    assert (entry["name"], entry["state"]) == ("agent", "ok")
