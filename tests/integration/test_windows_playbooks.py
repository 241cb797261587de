# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks with a Windows host: each works there, or says at once what to do instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.windows_host import NAME, Played, WindowsHost

pytestmark = pytest.mark.thorough

PYTHON = r"C:\Program Files\Python313\python.exe"
RUNNER = r"C:\ProgramData\sqlite-backup\bin\sqlite-backup.pyz"
CONFIG = r"C:\ProgramData\sqlite-backup\config"
TARGET = {"url": "s3://backups"}


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    return WindowsHost(tmp_path)


def play(host: WindowsHost, name: str, *flags: str, **variables: Any) -> Played:
    return host.run(f"{harness.NAMESPACE}.{name}", variables, *flags)


@pytest.mark.parametrize(
    ("name", "variables", "instead"),
    [
        ("backup_databases", {"sqlite_backup_databases": [{}]}, "back them up with backup_now"),
        (
            "push_offsite",
            {"sqlite_push_target": TARGET, "sqlite_push_repositories": [{}]},
            "sqlite_backup_command: push",
        ),
        ("verify_backups", {"sqlite_verify_repositories": [{}]}, "sqlite_backup_command: verify"),
        ("drill_restores", {"sqlite_restore_drill_databases": [{}]}, "Leave sqlite_restore_drill_databases away"),
        ("recover_server", {"sqlite_backup_databases": [{}]}, "sqlite_restore and sqlite_restore_target"),
    ],
)
def test_what_needs_modules_on_the_host_is_refused(
    host: WindowsHost, name: str, variables: dict[str, Any], instead: str
) -> None:
    failed = play(host, name, **variables)

    said = [str(each.get("msg")) for each in failed.run.results if each["failed"]]
    assert said[0].startswith(f"{NAME} is a Windows host, and the modules of this collection do not run there.")
    assert instead in said[0]
    assert failed.sent == []


@pytest.mark.parametrize(("command", "words"), [("push", ["--dry-run"]), ("verify", [])])
def test_what_is_said_to_do_instead(host: WindowsHost, command: str, words: list[str]) -> None:
    argv = [PYTHON, RUNNER, command, "--config", CONFIG, "--json"]
    answer = {"rc": 0, "stdout": json.dumps({"error": None, "results": [{"name": "agent", "error": None}]})}
    for more in ([], words):
        host.answer("win_command", answer, argv=[*argv, *more, "--all"])
    variables = {"sqlite_backup_command": command}

    done = host.role("sqlite_backup", variables, tasks_from="run")
    check = host.role("sqlite_backup", variables, "--check", tasks_from="run")

    assert (done.run.code, check.run.code) == (0, 0), done.run.output
    assert done.of("win_command") == [{"argv": [*argv, "--all"]}]
    assert check.of("win_command") == [{"argv": [*argv, *words, "--all"]}]


def test_prune_backups(host: WindowsHost) -> None:
    argv = [PYTHON, RUNNER, "prune", "--config", CONFIG, "--json", "--all"]
    host.answer("win_command", {"rc": 0, "stdout": json.dumps({"error": None, "results": []})}, argv=argv)

    done = play(host, "prune_backups")

    assert done.run.code == 0, done.run.output
    assert done.of("win_command") == [{"argv": argv}]


def test_report_fleet(host: WindowsHost, tmp_path: Path) -> None:
    argv = [PYTHON, RUNNER, "status", "--all", "--json", "--config", CONFIG]
    status = {"state": "healthy", "reasons": [], "made": "2025-12-30T12:00:00Z", "recovery_point": None}
    results = [{"name": "agent", "error": None, "warnings": [], "status": status}]
    host.answer(
        "win_command", {"rc": 0, "stdout": json.dumps({"code": 0, "error": None, "results": results})}, argv=argv
    )

    done = play(host, "report_fleet", sqlite_fleet_report=str(tmp_path / "fleet"))

    assert done.of("win_command") == [{"argv": argv}]
    (row,) = json.loads((tmp_path / "fleet.json").read_text(encoding="utf-8"))["databases"]
    assert (row["host"], row["name"]) == (NAME, "agent")


def test_restore_database_refuses_before_it_asks_the_host(host: WindowsHost) -> None:
    failed = play(host, "restore_database", sqlite_restore_dest="/srv/agent.db", sqlite_restore_repository="C:\\a")

    assert "Allowed is an absolute path of Windows" in failed.run.last_failure
    assert failed.sent == []
