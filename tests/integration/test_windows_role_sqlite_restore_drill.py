# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_restore_drill and the playbook drill_restores for a Windows host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.windows_host import Played, WindowsHost

from support import windows_rules

pytestmark = pytest.mark.thorough

PYTHON = r"C:\Program Files\Python313\python.exe"
RUNNER = r"C:\ProgramData\sqlite-backup\bin\sqlite-backup.pyz"
CONFIG = r"C:\ProgramData\sqlite-backup\config"
DRILL = [PYTHON, RUNNER, "drill", "--all", "--config", CONFIG]
REPORTS = r"C:\inetpub\Restore drills"
REPORT = rf"{REPORTS}\index.html"
ROOT = r"C:\ProgramData\sqlite-backup"


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    return WindowsHost(tmp_path)


def drills(host: WindowsHost, *flags: str, **variables: Any) -> Played:
    return host.role(
        "sqlite_restore_drill",
        {f"sqlite_restore_drill_{name}": value for name, value in variables.items()},
        *flags,
    )


def answered(outcome: str, error: Any = None) -> dict[str, Any]:
    drill = {"name": "agent", "host": "WIN-1", "backup": "20251230T120000Z-full", "outcome": outcome, "error": error}
    results = [{"name": "agent", "error": error, "warnings": [], "drills": [drill]}]
    return {"rc": 0, "stdout": json.dumps({"code": 0, "error": None, "results": results}), "stderr": ""}


def test_the_scheduled_task(host: WindowsHost) -> None:
    done = drills(host, weekdays=["wed", "sun"], hour=5, report=REPORT, names=["agent", "metrics"])

    assert done.run.code == 0, done.run.output
    (task,) = done.of("win_scheduled_task")
    (trigger,) = task.pop("triggers")
    assert trigger.pop("start_boundary").startswith("2026-01-01T05:")
    assert trigger == {"type": "weekly", "days_of_week": "sunday,wednesday", "weeks_interval": 1}
    words = f'{RUNNER} drill agent metrics --config {CONFIG} --report "{REPORT}"'
    assert task.pop("actions") == [{"path": PYTHON, "arguments": words}]
    wanted = {
        "name": "restore drills",
        "path": "\\sqlite-backup",
        "state": "present",
        "username": "S-1-5-18",
        "logon_type": "service_account",
        "execution_time_limit": "PT12H",
        "start_when_available": True,
        "multiple_instances": 2,
        "allow_hard_terminate": True,
    }
    assert {name: task[name] for name in wanted} == wanted
    assert [each["path"] for each in done.of("win_file")] == [ROOT, REPORTS]
    assert [each["path"] for each in done.of("win_acl_inheritance")] == [ROOT, REPORTS]
    rules = [(each["user"], each["rights"]) for each in done.of("win_acl") if each["path"] == REPORTS]
    assert rules == [("S-1-5-18", "FullControl"), ("S-1-5-32-544", "FullControl")]


def test_a_directory_that_is_there_keeps_its_rules_when_nobody_else_writes_there(host: WindowsHost) -> None:
    host.tell(windows_rules.fact(REPORTS, windows_rules.IN_PROGRAM_FILES))

    done = drills(host, report=REPORT)

    assert done.run.code == 0, done.run.output
    assert REPORTS not in [each["path"] for name in ("win_acl", "win_acl_inheritance") for each in done.of(name)]


def test_a_directory_in_which_others_write_gets_no_report(host: WindowsHost) -> None:
    """A link there would lead the system to write wherever its owner wants."""
    host.tell(windows_rules.fact(REPORTS, windows_rules.IN_CLIENT_DRIVE))

    failed = drills(host, report=REPORT)

    assert f"{REPORTS}: can be changed by Authenticated Users" in failed.run.last_failure
    assert {each.name for each in failed.sent} == {"setup", "win_powershell"}


@pytest.mark.parametrize(
    "report", [r"C:\index.html", rf"{CONFIG}\index.html", rf"{CONFIG}\a\b.html", rf"{ROOT}\a.html"]
)
def test_a_report_is_among_nothing_else(host: WindowsHost, report: str) -> None:
    failed = drills(host, report=report)

    assert "Allowed is a directory for nothing else." in failed.run.last_failure
    assert {each.name for each in failed.sent} <= {"setup"}


def test_a_backslash_at_the_end_of_a_word_does_not_swallow_the_next(host: WindowsHost) -> None:
    done = drills(host, config_dir="D:\\My backups\\", names=["agent"])

    (task,) = done.of("win_scheduled_task")
    assert task["actions"][0]["arguments"] == f'{RUNNER} drill agent --config "D:\\My backups\\\\"'


def test_a_second_run_changes_nothing(host: WindowsHost) -> None:
    first = drills(host, report=REPORT)
    again = drills(host, report=REPORT)

    assert again.run.code == 0, again.run.output
    assert first.of("win_scheduled_task") == again.of("win_scheduled_task")
    assert again.run.changed == []


def test_check_mode_makes_no_drill(host: WindowsHost) -> None:
    check = drills(host, "--check", report=REPORT, now=True)

    assert check.run.code == 0, check.run.output
    assert check.of("win_command") == []
    assert len(check.of("win_scheduled_task")) == 1
    assert {each.name for each in check.sent if not each.check} <= {"setup", "win_powershell"}


def test_a_password_is_not_shown(host: WindowsHost) -> None:
    account = {"sqlite_backup_account": r"EXAMPLE\backup", "sqlite_backup_account_password": "never-to-be-shown"}

    done = host.role("sqlite_restore_drill", {**account, "sqlite_restore_drill_report": REPORT})

    assert done.run.code == 0, done.run.output
    (task,) = done.of("win_scheduled_task")
    assert (task["username"], task["logon_type"]) == (r"EXAMPLE\backup", "password")
    assert "never-to-be-shown" not in done.run.output
    rules = [(each["path"], each["rights"]) for each in done.of("win_acl") if each["user"] == r"EXAMPLE\backup"]
    assert rules == [(ROOT, "ReadAndExecute"), (REPORTS, "Modify")]


def test_absent(host: WindowsHost) -> None:
    done = drills(host, state="absent")

    assert done.run.code == 0, done.run.output
    assert [(each.name, each.arguments) for each in done.sent if each.name != "setup"] == [
        ("win_scheduled_task", {"name": "restore drills", "path": "\\sqlite-backup", "state": "absent"})
    ]


def test_drills_now(host: WindowsHost) -> None:
    host.answer("win_command", answered("passed"), argv=[*DRILL, "--json"])
    passed = drills(host, now=True)

    assert passed.run.code == 0, passed.run.output
    assert passed.of("win_command") == [{"argv": [*DRILL, "--json"]}]

    error = {"code": 13, "class": "BackupDamagedError", "message": "Cannot restore: it is damaged.", "hint": ""}
    host.answer("win_command", {**answered("failed", error), "rc": 13, "failed": True}, argv=[*DRILL, "--json"])
    failed = drills(host, now=True)

    assert failed.run.code != 0
    assert "it is damaged" in failed.run.last_failure


def test_the_playbook(host: WindowsHost) -> None:
    host.answer("win_command", answered("passed"), argv=[*DRILL, "--json"])

    done = host.run(f"{harness.NAMESPACE}.drill_restores", {})

    assert done.run.code == 0, done.run.output
    assert done.of("win_command") == [{"argv": [*DRILL, "--json"]}]


@pytest.mark.parametrize("report", ["/srv/drills.html", r"C:\drills.txt", r"\drills.html", "drills.html"])
def test_a_report_that_is_none(host: WindowsHost, report: str) -> None:
    failed = drills(host, report=report)

    assert "Allowed is an absolute path that ends with .html." in failed.run.last_failure
