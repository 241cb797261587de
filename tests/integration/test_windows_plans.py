# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter backup_plans for Windows hosts: paths, triggers, the lines of commands, and every refusal."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible.plugins.filter.core import to_nice_json

from ansible_collections.sqliteops.backup.plugins.filter.backup_plans import backup_plans
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows

AGENT = {"name": "agent", "path": "C:\\Data\\agent.db"}
ROOT = "C:\\ProgramData\\sqlite-backup"
PYTHON = "C:\\Program Files\\Python313\\python.exe"
SETTINGS = {
    "host": "ci-1",
    "config_dir": f"{ROOT}\\config",
    "repository_dir": f"{ROOT}\\repositories",
    "runner_path": f"{ROOT}\\bin\\sqlite-backup.pyz",
    "windows": True,
    "python": PYTHON,
    "home": "~",
}


def test_a_database_with_nothing_but_a_path() -> None:
    plan = _plan()

    # On the host ci-1, as on every other system, `agent` has minute 40.
    assert plan == {
        "name": "agent",
        "state": "present",
        "config_path": f"{ROOT}\\config\\databases.d\\agent.json",
        "tasks": ["agent", "push@agent"],
        "config": {
            "managed_by": "the role sqliteops.backup.sqlite_backup, from its variables",
            "name": "agent",
            "path": "C:\\Data\\agent.db",
            "repository": f"{ROOT}\\repositories\\agent",
            "keep_within": "1d",
            "keep_hourly": 24,
            "keep_daily": 7,
            "keep_weekly": 4,
            "keep_monthly": 12,
            "rpo": "2h",
            "due": {"minute": "40", "hour": "*", "grace": "1h"},
        },
        "digest": _sha1(f"{to_nice_json(plan['config'])}\n".encode()),
        "repository": f"{ROOT}\\repositories\\agent",
        "directories": [f"{ROOT}\\repositories", f"{ROOT}\\repositories\\agent"],
        "command": [PYTHON, SETTINGS["runner_path"], "backup", "agent", "--config", SETTINGS["config_dir"]],
        "try_command": [
            *(PYTHON, SETTINGS["runner_path"], "try", "agent", "--config", SETTINGS["config_dir"]),
            *("--if-backed-up", "--quiet"),
        ],
        "first_backup": True,
        "programs": ["zstd.exe"],
        "scheduled": [
            {
                "name": "agent",
                "action": {
                    "path": PYTHON,
                    "arguments": f"{ROOT}\\bin\\sqlite-backup.pyz backup agent --config {ROOT}\\config",
                },
                "trigger": {
                    "type": "daily",
                    "start_boundary": "2026-01-01T00:40:00",
                    "repetition": {"interval": "PT1H", "stop_at_duration_end": False},
                },
                "limit": "P1DT1H3M",
            }
        ],
    }


@pytest.mark.parametrize(
    ("every", "hours", "start", "interval", "lasts"),
    [
        ("15m", "0-23", "00:10", "PT15M", None),
        ("1h", "0-23", "00:40", "PT1H", None),
        ("15m", "6-22", "06:10", "PT15M", "PT16H52M30S"),
        ("1h", "6-22", "06:40", "PT1H", "PT16H30M"),
        ("1h", "22-4", "22:40", "PT1H", "PT6H30M"),
        ("4h", "6-22", "06:40", "PT4H", "PT18H"),
        ("12h", "0-23", "00:40", "PT12H", "PT18H"),
        ("1m", "7", "07:00", "PT1M", "PT59M30S"),
        ("1h", "7", "07:40", None, None),
        ("1d", "0-23", "00:40", None, None),
    ],
)
def test_triggers(every: str, hours: str, start: str, interval: str | None, lasts: str | None) -> None:
    (task,) = _plan(every=every, active_hours=hours)["scheduled"]

    repetition = {"interval": interval, "stop_at_duration_end": False, **({"duration": lasts} if lasts else {})}
    assert task["trigger"] == {
        "type": "daily",
        "start_boundary": f"2026-01-01T{start}:00",
        **({"repetition": repetition} if interval else {}),
    }


@pytest.mark.parametrize("every", ["1m", "6m", "10m", "15m", "30m", "1h", "3h", "8h", "1d"])
@pytest.mark.parametrize("hours", ["0-23", "6-22", "22-4", "7"])
def test_a_task_runs_when_cron_would(every: str, hours: str) -> None:
    (task,) = _plan(every=every, active_hours=hours)["scheduled"]
    posix = {**SETTINGS, "windows": False, "config_dir": "/c", "repository_dir": "/r", "runner_path": "/s"}
    (other,) = backup_plans([{**AGENT, "path": "/a"}], **{**posix, "every": every, "active_hours": hours})

    assert _runs(task["trigger"]) == {
        (hour, minute) for hour in _numbers(other["hour"], 24) for minute in _numbers(other["minute"], 60)
    }


def test_a_push_begins_later() -> None:
    backup, push = _plan({**AGENT, "targets": ["one"], "every": "10m"})["scheduled"]

    assert backup["action"]["arguments"].endswith(" --no-push")
    assert push["name"] == "push@agent"
    assert push["action"]["arguments"] == f"{ROOT}\\bin\\sqlite-backup.pyz push agent --config {ROOT}\\config"
    # Half of the time until the next backup.
    assert (backup["trigger"]["start_boundary"][-5:], push["trigger"]["start_boundary"][-5:]) == ("00:00", "05:00")
    assert push["limit"] == "P7D"


def test_a_push_may_begin_on_the_next_day() -> None:
    assert windows.trigger([(23, 55)], 600) == {"type": "daily", "start_boundary": "2026-01-01T00:05:00"}


def test_paths_that_need_care() -> None:
    plan = _plan(
        {"name": "agent", "path": "c:/Daten und Öl/agent.db", "repository": "\\\\server\\share\\backups\\agent"},
        runner_path="D:\\My Tools\\sqlite-backup.pyz",
        config_dir="D:\\Config\\",
    )

    assert plan["config"]["path"] == "c:\\Daten und Öl\\agent.db"
    assert plan["directories"] == ["\\\\server\\share\\backups\\agent"]
    assert plan["config_path"] == "D:\\Config\\databases.d\\agent.json"
    arguments = plan["scheduled"][0]["action"]["arguments"]
    assert arguments == '"D:\\My Tools\\sqlite-backup.pyz" backup agent --config D:\\Config'


@pytest.mark.parametrize(
    ("database", "settings", "parts"),
    [
        ({"path": "agent.db"}, {}, ("agent: path", "'agent.db'", "an absolute path of Windows")),
        ({"path": "\\Data\\agent.db"}, {}, ("agent: path", "absolute path of Windows")),
        ({"path": "C:agent.db"}, {}, ("agent: path", "absolute path of Windows")),
        ({"path": "/srv/agent.db"}, {}, ("agent: path", "absolute path of Windows")),
        ({"path": "\\\\?\\C:\\agent.db"}, {}, ("agent: path", "absolute path of Windows")),
        ({"path": "C:\\Data\\agent.db:stream"}, {}, ("agent: path", "absolute path of Windows")),
        ({"path": "C:\\Data\\a|b.db"}, {}, ("agent: path", "absolute path of Windows")),
        ({"repository": "C:\\%TEMP%\\a"}, {}, ("agent: repository", "without % and $")),
        ({}, {"config_dir": "/etc/sqlite-backup"}, ("sqlite_backup_config_dir", "absolute path of Windows")),
        ({}, {"runner_path": "C:\\$HOME\\a.pyz"}, ("sqlite_backup_runner_path", "without % and $")),
        ({}, {"python": "python.exe"}, ("sqlite_backup_python", "absolute path of Windows")),
        ({}, {"scope": "user"}, ("sqlite_backup_scope is 'user'", "system")),
        ({"compression_level": 99}, {}, ("agent", "compression_level")),
        ({"include": [{"src": "notes.txt"}]}, {}, ("include", "absolute path of Windows")),
        *(
            ({"repository": f"D:\\{part}\\x"}, {}, ("agent: repository", repr(part), "takes", "another name"))
            for part in ("B.", "B ", "nul", "NUL.txt", "com1", "LPT\u00b9.a.b", "conin$", "aux .x", "...")
        ),
        ({"repository": "D:\\"}, {}, ("agent: repository", "all of a disk")),
        ({"repository": "\\\\server\\share"}, {}, ("agent: repository", "all of a disk")),
        ({}, {"config_dir": "D:\\"}, ("sqlite_backup_config_dir", "all of a disk")),
        ({"repository": "c:\\data"}, {}, ("agent: repository", "is the directory of", "agent: the database")),
        ({"path": "D:\\App\\db\\a.db", "repository": "D:\\App"}, {}, ("agent: repository", "contains", "the database")),
        ({"path": None, "database_url": "file:C:/Data/agent.db?a=b", "repository": "C:\\Data"}, {}, ("the database",)),
        (
            {"path": None, "database_url": "file:./d/a.db", "chdir": "C:\\Data", "repository": "C:\\Data\\d"},
            {},
            ("the database",),
        ),
        ({"path": None, "env_file": "C:\\Data\\.env", "repository": "C:\\Data"}, {}, ("the database",)),
        ({}, {"config_dir": "C:\\DATA"}, ("sqlite_backup_config_dir", "is the directory of", "the database")),
        ({"repository": f"{ROOT}\\config\\x"}, {}, ("sqlite_backup_config_dir", "contains", "agent: repository")),
        ({"repository": ROOT}, {}, ("agent: repository", "contains", "sqlite_backup_config_dir")),
        ({"repository": f"{ROOT}\\BIN"}, {}, ("agent: repository", "is the directory of", "sqlite_backup_runner_path")),
        ({"repository": "C:\\Program Files"}, {}, ("agent: repository", "contains", "sqlite_backup_python")),
        ({"path": None, "database_url": "file:./agent.db"}, {}, ("database_url", "relative")),
    ],
)
def test_refusals_name_the_variable_its_value_and_what_is_allowed(
    database: dict[str, Any], settings: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(AnsibleFilterError) as raised:
        _plan({**AGENT, **database}, **settings)

    for each in parts:
        assert each in str(raised.value)


@pytest.mark.parametrize(
    ("databases", "said"),
    [
        ([AGENT, {**AGENT, "name": "Agent"}], "name 'Agent' is that of two databases"),
        (
            [{**AGENT, "repository": "D:\\B\\x"}, {**AGENT, "name": "b", "repository": "d:/b/X"}],
            "that of two databases",
        ),
        (
            [{**AGENT, "repository": "D:\\B\\x"}, {**AGENT, "name": "b", "repository": "d:\\b"}],
            "contains the directory",
        ),
        (
            [{**AGENT, "repository": "D:\\B"}, {**AGENT, "name": "b", "repository": "d:\\b\\X"}],
            "is in the directory of",
        ),
    ],
)
def test_names_that_differ_by_case_are_the_same(databases: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(AnsibleFilterError, match=said):
        backup_plans(databases, **SETTINGS)


def test_a_repository_may_be_beside_the_database_and_below_it() -> None:
    assert _plan({**AGENT, "repository": "C:\\Data\\backups"})["directories"] == ["C:\\Data\\backups"]
    assert _plan({**AGENT, "repository": "C:\\Data2"})["directories"] == ["C:\\Data2"]


@pytest.mark.parametrize("url", ["file:C:/Data/agent.db", "sqlite:///C:\\Data\\agent.db"])
def test_a_url_with_a_drive_needs_no_directory(url: str) -> None:
    plan = _plan({"name": "agent", "database_url": url})

    assert plan["config"]["database_url"] == url
    assert "chdir" not in plan["config"]


def test_absent_needs_no_more_than_a_name() -> None:
    assert _plan({"name": "agent"}, state="absent") == {
        "name": "agent",
        "state": "absent",
        "config_path": f"{ROOT}\\config\\databases.d\\agent.json",
        "tasks": ["agent", "push@agent"],
    }


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "PT0S"), (30, "PT30S"), (90, "PT1M30S"), (3600, "PT1H"), (86400, "P1D"), (90180, "P1DT1H3M")],
)
def test_durations_are_as_the_task_scheduler_writes_them(seconds: int, text: str) -> None:
    assert windows.duration(seconds) == text


def test_a_file_to_include_needs_no_name() -> None:
    included = [{"src": r"C:\Data\prisma\schema.prisma"}]
    assert _plan({**AGENT, "include": included})["config"]["include"] == included


def _plan(database: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    (plan,) = backup_plans([database or AGENT], **{**SETTINGS, **settings})
    return plan


def _sha1(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def _numbers(text: str, count: int) -> list[int]:
    return [*range(count)] if text == "*" else [int(each) for each in text.split(",")]


def _runs(trigger: dict[str, Any]) -> set[tuple[int, int]]:
    """Every hour and minute at which the task scheduler begins a run, as its documentation has it."""
    first = dt.datetime.fromisoformat(trigger["start_boundary"])
    repetition = trigger.get("repetition", {"interval": "P1D", "duration": "PT1S"})
    # Without a duration it goes on, and a day shows all of it.
    step, lasts = _timedelta(repetition["interval"]), _timedelta(repetition.get("duration", "P1D"))
    moments = [first + number * step for number in range(24 * 60) if number * step < lasts]
    return {(each.hour, each.minute) for each in moments}


def _timedelta(text: str) -> dt.timedelta:
    match = re.fullmatch(r"P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?)?", text)
    assert match is not None
    days, hours, minutes, seconds = (int(each or 0) for each in match.groups())
    return dt.timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
