# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_monitoring for a Windows host: metrics for windows_exporter, the state, and who is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration.windows_host import Played, WindowsHost

from support import windows_rules

pytestmark = pytest.mark.thorough

ROOT = r"C:\ProgramData\sqlite-backup"
METRICS = r"C:\Program Files\windows_exporter\textfile_inputs"
WATCH = rf"{ROOT}\config\watch.json"
SECRET = "https://hc-ping.com/never-to-be-shown"
NOTIFY = [
    {"name": "healthchecks", "type": "ping", "url": SECRET},
    {"name": "pager", "type": "command", "command": [r"C:\Tools\page.exe", "sqlite"], "when": ["failure"]},
]


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    made = WindowsHost(tmp_path)
    made.answer("win_stat", {"stat": {"exists": True, "isdir": True}}, path=METRICS)
    made.tell(windows_rules.fact(METRICS, windows_rules.IN_PROGRAM_FILES))
    return made


def monitoring(host: WindowsHost, *flags: str, **variables: Any) -> Played:
    return host.role(
        "sqlite_monitoring", {f"sqlite_monitoring_{name}": value for name, value in variables.items()}, *flags
    )


def test_what_a_fresh_host_gets(host: WindowsHost) -> None:
    done = monitoring(host, notify=NOTIFY, audit_file=r"D:\logs\audit.jsonl")

    assert done.run.code == 0, done.run.output
    assert {path: json.loads(content) for path, content in done.copied.items()} == {
        WATCH: {
            "managed_by": "the role sqliteops.backup.sqlite_monitoring, from its variables",
            "textfile_directory": METRICS,
            "status_file": rf"{ROOT}\watch\status.json",
            "timeout": "5s",
            "notify": NOTIFY,
            "audit": {"syslog": False, "file": r"D:\logs\audit.jsonl"},
        }
    }
    made = [each["path"] for each in done.of("win_file")]
    assert {ROOT, rf"{ROOT}\config", rf"{ROOT}\watch", r"D:\logs"} <= {*made}
    reader = {"path": rf"{ROOT}\watch", "user": "S-1-5-32-545", "rights": "ReadAndExecute"}
    assert [each for each in done.of("win_acl") if each["user"] == "S-1-5-32-545"] == [
        {**reader, "type": "allow", "state": "present"}
    ]
    # What was done is for nobody else, so its directory gets rules of its own.
    assert [each["path"] for each in done.of("win_acl_inheritance")] == [ROOT, r"D:\logs"]
    assert SECRET not in done.run.output
    assert [each.no_log for each in done.sent if each.arguments.get("dest") == WATCH] == [True]


def test_a_state_elsewhere_is_for_everybody_only_in_a_directory_of_the_role(host: WindowsHost) -> None:
    done = monitoring(host, status_file=r"D:\state\status.json")

    assert done.run.code == 0, done.run.output
    assert r"D:\state" in [each["path"] for each in done.of("win_acl_inheritance")]
    assert [each["path"] for each in done.of("win_acl") if each["user"] == "S-1-5-32-545"] == [r"D:\state"]

    host.tell(windows_rules.fact(r"D:\others", windows_rules.IN_PROGRAM_FILES))
    again = monitoring(host, status_file=r"D:\others\status.json")

    assert again.run.code == 0, again.run.output
    assert r"D:\others" not in [each["path"] for name in ("win_acl", "win_acl_inheritance") for each in again.of(name)]


def test_metrics_are_not_written_where_others_write(host: WindowsHost) -> None:
    host.tell(windows_rules.fact(METRICS, windows_rules.IN_CLIENT_DRIVE))

    failed = monitoring(host)

    assert f"{METRICS}: can be changed by Authenticated Users" in failed.run.last_failure
    assert {each.name for each in failed.sent} == {"win_stat", "win_powershell"}


def test_the_account_may_write_what_its_runs_tell(host: WindowsHost) -> None:
    account = {"sqlite_backup_account": r"EXAMPLE\backup$"}

    done = host.role("sqlite_monitoring", account)

    assert done.run.code == 0, done.run.output
    writable = [each["path"] for each in done.of("win_acl") if each["rights"] == "Modify"]
    assert writable == [rf"{ROOT}\watch", METRICS]


def test_a_second_run_changes_nothing(host: WindowsHost) -> None:
    monitoring(host, notify=NOTIFY)
    again = monitoring(host, notify=NOTIFY)

    assert again.run.code == 0, again.run.output
    assert (again.run.changed, again.copied) == ([], {})


def test_check_mode_copies_nothing(host: WindowsHost) -> None:
    check = monitoring(host, "--check", notify=NOTIFY)

    assert check.run.code == 0, check.run.output
    assert check.copied == {}
    assert {each.name for each in check.sent if not each.check} <= {"win_powershell"}
    assert SECRET not in check.run.output


def test_without_windows_exporter_nothing_is_configured(host: WindowsHost) -> None:
    host.answer("win_stat", {"stat": {"exists": False}}, path=METRICS)

    failed = monitoring(host)

    assert "Install windows_exporter with its collector textfile" in failed.run.last_failure
    assert [each.name for each in failed.sent] == ["win_stat"]

    done = monitoring(host, textfile_directory="")

    assert done.run.code == 0, done.run.output
    assert "textfile_directory" not in json.loads(done.copied[WATCH])


def test_absent(host: WindowsHost) -> None:
    metrics = rf"{METRICS}\sqlite_backup.SYSTEM.agent.prom"
    host.answer("win_find", {"files": [{"path": metrics}]}, paths=[METRICS], patterns=["sqlite_backup.*.prom"])

    done = monitoring(host, state="absent")

    assert done.run.code == 0, done.run.output
    assert [(each["path"], each["state"]) for each in done.of("win_file")] == [
        (WATCH, "absent"),
        (rf"{ROOT}\watch\status.json", "absent"),
        (rf"{ROOT}\watch\.status.json.lock", "absent"),
        (metrics, "absent"),
    ]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"serve": True}, "sqlite-backup serve does not run on Windows."),
        ({"audit_syslog": True}, "Allowed there is sqlite_monitoring_audit_syslog: false"),
        ({"otlp_endpoint": "http://127.0.0.1:4318"}, "The role makes no virtual environment on a Windows host."),
        ({"status_file": "/var/lib/status.json"}, "Allowed is an absolute path of Windows"),
        ({"status_file": rf"{ROOT}\config\status.json"}, "is the directory of sqlite_monitoring_config_dir"),
        ({"status_file": rf"{ROOT}\config\a\status.json"}, "is in the directory of sqlite_monitoring_config_dir"),
        ({"status_file": rf"{ROOT}\status.json"}, "contains the directory of sqlite_monitoring_config_dir"),
        ({"status_file": rf"{ROOT}\repositories\status.json"}, "the directory of sqlite_backup_repository_dir"),
        ({"status_file": r"D:\status.json"}, "all of a disk"),
        ({"audit_file": r"D:\audit.jsonl"}, "all of a disk"),
        ({"audit_file": rf"{ROOT}\watch\audit.jsonl"}, "the directory of sqlite_monitoring_audit_file"),
        ({"audit_file": rf"{ROOT}\watch\a\audit.jsonl"}, "the directory of sqlite_monitoring_audit_file"),
        ({"audit_file": rf"{METRICS}\audit.jsonl"}, "the directory of sqlite_monitoring_textfile_directory"),
        ({"notify": [{**NOTIFY[1], "command": ["page.exe"]}]}, "its program has no absolute path"),
    ],
)
def test_what_a_windows_host_cannot_do_is_refused(host: WindowsHost, variables: dict[str, Any], said: str) -> None:
    failed = monitoring(host, **variables)

    assert said in failed.run.last_failure
    assert failed.sent == []


def test_a_python_with_the_sdk_is_enough_for_a_collector(host: WindowsHost) -> None:
    done = monitoring(host, otlp_endpoint="http://127.0.0.1:4318", otlp_python=r"C:\otlp\Scripts\python.exe")

    assert done.run.code == 0, done.run.output
    wanted = {"endpoint": "http://127.0.0.1:4318", "python": r"C:\otlp\Scripts\python.exe"}
    assert json.loads(done.copied[WATCH])["otlp"] == wanted


def test_the_entry_point_server_is_for_other_hosts(host: WindowsHost) -> None:
    variables = {"sqlite_monitoring_rules_dir": "/etc/prometheus/rules"}

    failed = host.role("sqlite_monitoring", variables, tasks_from="server")

    assert "It writes nothing on a Windows host." in failed.run.last_failure
    assert failed.sent == []
