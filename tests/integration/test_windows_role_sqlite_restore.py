# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_restore for a Windows host: what is sent to it, in which order, and what becomes of each failure."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from integration.windows_host import Played, WindowsHost

pytestmark = pytest.mark.thorough

PYTHON = r"C:\Program Files\Python313\python.exe"
RUNNER = r"C:\ProgramData\sqlite-backup\bin\sqlite-backup.pyz"
SCRATCH = r"C:\Temp\sqlite-restore.x1"
DEST = r"C:\srv\agent.db"
REPOSITORY = r"C:\ProgramData\sqlite-backup\repositories\agent"
BACKUP = "20251230T120000Z-full"
UNDO_SET = rf"{DEST}.before-restore.20251230T121500Z"
VARIABLES = {
    "sqlite_backup_python": PYTHON,
    "sqlite_restore_dest": DEST,
    "sqlite_restore_repository": REPOSITORY,
    "sqlite_restore_services": ["AgentWeb", "Agent"],
    "sqlite_restore_health_retries": 2,
    "sqlite_restore_health_delay": 0,
}
END = ["--config", SCRATCH, "--json"]
RESTORE = [PYTHON, RUNNER, "restore", "agent", "--dest", DEST, "--check", "full", *END]
DRY = [*RESTORE, "--backup", "latest", "--force", "--dry-run"]
REAL = [*RESTORE, "--backup", BACKUP]
UNDO = [*RESTORE, "--undo"]
LIST = [PYTHON, RUNNER, "list", "agent", *END]


def told(**facts: Any) -> dict[str, Any]:
    """As win_command gives back what the runner answers."""
    results = [{"name": "agent", "error": None, "warnings": [], **facts}]
    return {
        "rc": 0,
        "stdout": json.dumps({"code": 0, "error": None, "results": results}),
        "stderr": "",
        "changed": True,
    }


def refused(message: str, code: int = 13) -> dict[str, Any]:
    error = {"code": code, "class": "BackupDamagedError", "message": message, "hint": f"See.\nx: y --config {SCRATCH}"}
    answer = {"code": code, "error": None, "results": [{"name": "agent", "error": error, "warnings": []}]}
    return {"rc": code, "stdout": json.dumps(answer), "stderr": "", "changed": True, "failed": True, "msg": "non-zero"}


def restored(*, replaced: bool = True, **more: Any) -> dict[str, Any]:
    facts = {"backup": BACKUP, "undo_set": UNDO_SET if replaced else "", "replaced": replaced, **more}
    return told(changed=replaced, restore=facts)


class Host:
    """One whose services run, and whose runner would restore, and does."""

    def __init__(self, folder: Path) -> None:
        self.windows = WindowsHost(folder)
        self.windows.answer("win_tempfile", {"path": SCRATCH, "state": "directory", "changed": True})
        described = json.dumps({"name": "agent", "source": DEST}).encode()
        self.windows.answer("slurp", {"content": base64.b64encode(described).decode(), "encoding": "base64"})
        self.runner(DRY, restored())
        self.runner(REAL, restored())
        self.runner(UNDO, restored(backup=""))
        backup = {"id": BACKUP, "suspect": False, "confirmed": "2025-12-30T12:30:00Z"}
        self.runner(LIST, told(repository={"backups": [backup]}))
        self.services("started", "stopped", "started")

    def runner(self, argv: list[str], answer: dict[str, Any]) -> None:
        self.windows.answer("win_command", answer, argv=argv)

    def services(self, *states: str) -> None:
        """What each of them tells, one time after the other; at last always the last."""
        for number, state in reversed([*enumerate(states, 1)]):
            for name in ("Agent", "AgentWeb"):
                answer = {"exists": True, "services": [{"name": name, "state": state}]}
                self.windows.answer("win_service_info", answer, times=number < len(states), name=name)

    def restore(self, *flags: str, **more: Any) -> Played:
        return self.windows.role("sqlite_restore", {**VARIABLES, **more}, *flags)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def steps(played: Played) -> list[str]:
    """What happened to the services and the database, in short."""
    found = []
    for each in played.sent:
        given = each.arguments
        if each.name == "win_service":
            found.append(f"{given['state']} {given['name']}")
        elif each.name == "win_shell":
            found.append(given["_raw_params"])
        elif each.name == "win_command" and "--dry-run" not in given["argv"]:
            found.append("undo" if "--undo" in given["argv"] else given["argv"][2])
    return found


def message(played: Played) -> str:
    assert played.run.code != 0, played.run.output
    return played.run.last_failure


def changed(played: Played) -> list[str]:
    return [each.rpartition(" : ")[2] for each in played.run.changed]


def fact(played: Played, name: str) -> Any:
    return [each["ansible_facts"][name] for each in played.run.results if name in each.get("ansible_facts", {})][-1]


def test_services_are_stopped_and_started_around_the_restore(host: Host) -> None:
    done = host.restore()

    assert done.run.code == 0, done.run.output
    assert steps(done) == ["list", "stopped AgentWeb", "stopped Agent", "restore", "started Agent", "started AgentWeb"]
    commands = [each["argv"] for each in done.of("win_command")]
    assert commands == [DRY, LIST, REAL]
    plan = fact(done, "sqlite_restore_plan")
    assert (plan["changes"], plan["backup"], plan["stops"]) == (True, BACKUP, ["AgentWeb", "Agent"])
    assert plan["covers"] == "2025-12-30T12:30:00Z"
    assert fact(done, "sqlite_restore_result")["restore"]["undo_set"] == UNDO_SET
    assert changed(done) == ["Stop the services", "Restore the database", "Start the services"]
    assert done.of("win_file")[-1] == {"path": SCRATCH, "state": "absent"}


def test_the_runner_is_told_of_this_restore_alone(host: Host) -> None:
    more = {
        "sqlite_restore_expect_tables": ["AgentRun"],
        "sqlite_restore_assertions": [{"sql": "SELECT 1", "equals": 1}],
        "sqlite_restore_health_assertions": [{"sql": "SELECT 2", "equals": 2}],
        "sqlite_restore_identity_file": "C:/keys/agent.identity",
        "sqlite_restore_lock_timeout": "5m",
    }

    done = host.restore(**more)

    assert done.run.code == 0, done.run.output
    files = {path: json.loads(content) for path, content in done.copied.items()}
    shared = {"repository": REPOSITORY, "lock_timeout": "5m", "path": DEST}
    assert files == {
        rf"{SCRATCH}\databases.d\agent.json": {
            **shared,
            "expect_tables": ["AgentRun"],
            "assertions": [{"sql": "SELECT 1", "equals": 1}],
            "identity_file": r"C:\keys\agent.identity",
            "targets": [],
        },
        rf"{SCRATCH}\databases.d\agent-live.json": {**shared, "assertions": [{"sql": "SELECT 2", "equals": 2}]},
    }
    assert done.of("win_command")[-1]["argv"] == [PYTHON, RUNNER, "verify", "agent-live", "--live", *END]


def test_a_database_that_is_as_the_backup_is_left_alone(host: Host) -> None:
    host.services("started")
    host.runner(DRY, restored(replaced=False))
    host.runner(REAL, restored(replaced=False))
    for name in ("Agent", "AgentWeb"):
        host.windows.answer("win_service", {"changed": False, "state": "started"}, name=name)

    done = host.restore()

    assert done.run.code == 0, done.run.output
    assert steps(done) == ["list", "restore", "started Agent", "started AgentWeb"]
    assert changed(done) == []


def test_check_mode_stops_and_changes_nothing(host: Host) -> None:
    check = host.restore("--check")

    assert check.run.code == 0, check.run.output
    assert steps(check) == ["list"]
    assert changed(check) == ["Find out which backup takes the place of what is there"]
    plan = fact(check, "sqlite_restore_plan")
    assert (plan["changes"], plan["stops"]) == (True, ["AgentWeb", "Agent"])
    assert fact(check, "sqlite_restore_result")["restore"]["backup"] == BACKUP
    assert check.of("win_file")[-1] == {"path": SCRATCH, "state": "absent"}


def test_a_refused_restore_starts_the_services_again(host: Host) -> None:
    host.runner(REAL, refused("Cannot restore: the image is damaged."))

    failed = host.restore()

    assert message(failed) == (
        rf"Cannot restore {DEST}. Restore the database: Cannot restore: the image is damaged. See. "
        "The database is as it was. The application runs."
    )
    assert steps(failed)[1:] == ["stopped AgentWeb", "stopped Agent", "restore", "started Agent", "started AgentWeb"]
    assert failed.of("win_file")[-1] == {"path": SCRATCH, "state": "absent"}


def test_nothing_is_stopped_when_there_is_no_good_backup(host: Host) -> None:
    host.services("started")
    host.runner(DRY, refused("Cannot restore: there is no backup."))

    failed = host.restore()

    assert "Cannot restore: there is no backup." in message(failed)
    assert steps(failed) == ["started Agent", "started AgentWeb"]


def test_what_was_there_is_put_back_when_the_application_is_not_well(host: Host) -> None:
    host.services("started", "stopped", "started", "stopped", "started")
    url = "http://127.0.0.1:8080/health"
    host.windows.answer("win_uri", {"failed": True, "msg": "status 500", "status_code": 500}, url=url)

    failed = host.restore(sqlite_restore_health_url=url)

    assert "status 500" in message(failed)
    assert message(failed).endswith("What was there before is back. The application runs.")
    around = ["started Agent", "started AgentWeb"]
    stop = ["stopped AgentWeb", "stopped Agent"]
    assert steps(failed)[1:] == [*stop, "restore", *around, *stop, "undo", *around]
    asked = {"url": url, "return_content": True, "url_timeout": 10, "use_proxy": False}
    assert failed.of("win_uri") == [asked] * 3


def test_an_undo_that_fails_names_where_the_old_content_is(host: Host) -> None:
    host.services("started", "stopped", "started")
    host.runner(UNDO, refused("Cannot undo: it is open.", 17))
    host.windows.answer("win_uri", {"content": "broken", "status_code": 200})

    failed = host.restore(sqlite_restore_health_url="http://127.0.0.1/", sqlite_restore_health_text="well")

    assert "Putting back what was there before failed, too: Cannot undo: it is open." in message(failed)
    assert rf"It is in {UNDO_SET}. When the cause is mended" in message(failed)
    assert steps(failed)[-3:] == ["undo", "started Agent", "started AgentWeb"]


def test_a_service_that_does_not_start_is_told(host: Host) -> None:
    host.runner(REAL, refused("Cannot restore: the image is damaged."))
    host.windows.answer("win_service", {"failed": True, "msg": "logon failure"}, name="Agent", state="started")
    host.services("started", "stopped")

    failed = host.restore()

    assert "The database is as it was. The application does not run: Agent: logon failure." in message(failed)
    assert steps(failed)[-1] == "started AgentWeb"


def test_a_service_that_is_not_there(host: Host) -> None:
    host.windows.answer("win_service_info", {"exists": False, "services": []}, name="Agent")

    failed = host.restore()

    assert "This host has no service Agent." in message(failed)
    assert "restore" not in steps(failed)


def test_commands_instead_of_services(host: Host) -> None:
    host.windows.answer("win_shell", {"rc": 0}, times=1, _raw_params="runs")
    commands = {f"sqlite_restore_{each}_command": each for each in ("stop", "start")}
    runs = {"sqlite_restore_services": [], "sqlite_restore_running_command": "runs", **commands}
    stopped = {"rc": 1, "failed": True, "msg": "non-zero return code"}
    for answer in ({"rc": 0}, stopped, stopped, {"rc": 0}):
        host.windows.answer("win_shell", answer, times=1, _raw_params="runs")
    host.windows._answers[:4] = reversed(host.windows._answers[:4])

    done = host.restore(sqlite_restore_health_command="well", **runs)

    assert done.run.code == 0, done.run.output
    assert steps(done) == ["runs", "list", "stop", "runs", "restore", "runs", "start", "runs", "well"]
    assert fact(done, "sqlite_restore_plan")["stops"] == ["the application"]


def test_a_backup_that_comes_from_a_target(host: Host) -> None:
    pull = [PYTHON, RUNNER, "pull", "agent", "--backup", "latest", *END]
    host.runner(pull, told(changed=True, pull={"transferred": [{"id": BACKUP}], "target": {"newest": BACKUP}}))
    target = {"url": "s3://backups/ci-1/agent", "credentials_file": r"C:\keys\s3", "options": {"region": "eu"}}

    done = host.restore(sqlite_restore_target=target)

    assert done.run.code == 0, done.run.output
    assert [each["argv"] for each in done.of("win_command")] == [pull, DRY, LIST, REAL]
    written = json.loads(done.copied[rf"{SCRATCH}\targets.d\source.json"])
    assert written == {"url": "s3://backups/ci-1", "credentials_file": r"C:\keys\s3", "options": {"region": "eu"}}
    assert json.loads(done.copied[rf"{SCRATCH}\databases.d\agent.json"])["targets"] == ["source"]


def test_an_undo(host: Host) -> None:
    undo = [each if each != "agent" else "database" for each in UNDO]
    host.runner([*undo, "--force", "--dry-run"], restored(backup=""))
    host.runner(undo, restored(backup=""))

    done = host.restore(sqlite_restore_undo=True, sqlite_restore_repository="")

    assert done.run.code == 0, done.run.output
    assert [each["argv"] for each in done.of("win_command")] == [[*undo, "--force", "--dry-run"], undo]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sqlite_restore_owner": "agent"}, "sqlite_restore_owner is set. A file of a Windows host has none"),
        ({"sqlite_restore_mode": "0600"}, "sqlite_restore_mode is set."),
        ({"sqlite_restore_services_scope": "user"}, "are for systemd"),
        (
            {"sqlite_restore_dest": "/srv/agent.db"},
            "sqlite_restore_dest is '/srv/agent.db'. Allowed is an absolute path",
        ),
        ({"sqlite_restore_target": {"url": "ssh://nas/agent"}}, "its url begins with ssh:"),
        ({"sqlite_restore_target": {"url": "s3://backups"}}, "the last part of its url"),
    ],
)
def test_what_a_windows_host_cannot_do_is_refused(host: Host, more: dict[str, Any], said: str) -> None:
    failed = host.restore(**more)

    assert said in message(failed)
    assert failed.sent == []
