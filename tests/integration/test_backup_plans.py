# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter backup_plans: schedules, configurations, what goes into files of cron and systemd, and every refusal."""

from __future__ import annotations

import glob
import json
import shlex
import shutil
import subprocess
import sys
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.filter import backup_plans as module
from ansible_collections.sqliteops.backup.plugins.filter.backup_plans import backup_plans, backup_problems
from ansible_collections.sqliteops.backup.plugins.filter.backup_warnings import backup_unknown, backup_warnings
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.plugin_utils import values

AGENT = {"name": "agent", "path": "/srv/agent/agent.db"}
SETTINGS = {
    "host": "ci-1",
    "config_dir": "/etc/sqlite-backup",
    "repository_dir": "/var/backups/sqlite",
    "runner_path": "/usr/local/bin/sqlite-backup",
}
NO_RULE = dict.fromkeys(("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly"), 0)
EVERY_MINUTES = [1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30, 60, 120, 180, 240, 360, 480, 720, 1440]


def test_a_database_with_nothing_but_a_path() -> None:
    plan = _plan()

    assert plan["config"] == {
        "managed_by": "the role sqliteops.backup.sqlite_backup, from its variables",
        "name": "agent",
        "path": "/srv/agent/agent.db",
        "repository": "/var/backups/sqlite/agent",
        "keep_within": "1d",
        "keep_hourly": 24,
        "keep_daily": 7,
        "keep_weekly": 4,
        "keep_monthly": 12,
        "rpo": "2h",
        "due": {"minute": plan["minute"], "hour": "*", "grace": "1h"},
    }
    command = "/usr/local/bin/sqlite-backup backup agent --config /etc/sqlite-backup"
    assert plan == {
        "name": "agent",
        "state": "present",
        "config": plan["config"],
        "config_path": "/etc/sqlite-backup/databases.d/agent.json",
        "path": "/srv/agent/agent.db",
        "repository": "/var/backups/sqlite/agent",
        "directories": ["/var/backups/sqlite", "/var/backups/sqlite/agent"],
        "any_backup": "/var/backups/sqlite/agent/*Z-*/manifest.json",
        "minute": plan["minute"],
        "hour": "*",
        "on_calendar": f"*-*-* *:{plan['minute']}:00",
        "random_delay": "30s",
        "command": command.split(),
        "try_command": [*command.replace(" backup ", " try ").split(), "--if-backed-up", "--quiet"],
        "cron_command": f"{command} --syslog",
        "crontab_command": f'PATH="/usr/local/bin:/opt/homebrew/bin:$PATH" {command} --syslog',
        "systemd_command": command,
        "push_command": command.replace(" backup ", " push "),
        "schedule_files": {
            "cron": ["/etc/cron.d/sqlite-backup-agent"],
            "systemd": [
                "/etc/systemd/system/sqlite-backup-push@agent.service",
                "/etc/systemd/system/sqlite-backup-agent.service",
                "/etc/systemd/system/sqlite-backup-agent.timer",
            ],
        },
        "read_write_paths": ["-/var/backups/sqlite/agent", "-/srv/agent", "-/etc/sqlite-backup/seen.d"],
        "units": [
            "/etc/systemd/system/sqlite-backup-agent.service",
            "/etc/systemd/system/sqlite-backup-agent.timer",
        ],
        "run_seconds": 90_180,
        "push_seconds": 0,
        "push_write_paths": ["-/var/backups/sqlite/agent", "-/etc/sqlite-backup/seen.d", "-/mnt", "-/media"],
        "private_tmp": True,
        "programs": ["zstd"],
        "first_backup": True,
    }
    assert 0 <= int(plan["minute"]) < 60


def test_an_upload_delays_no_backup() -> None:
    plan = _plan({**AGENT, "targets": ["nas", "cloud"]})

    assert plan["config"]["targets"] == ["nas", "cloud"]
    assert plan["units"] == plan["schedule_files"]["systemd"]
    assert plan["units"][0] == "/etc/systemd/system/sqlite-backup-push@agent.service"
    # Neither the service nor the first backup waits for it; cron starts the next run whatever goes on.
    assert plan["command"][-1] == "--no-push"
    assert plan["systemd_command"] == " ".join(plan["command"])
    assert "--no-push" not in plan["cron_command"] + plan["crontab_command"] + plan["push_command"]
    assert plan["push_seconds"] == 2 * 7 * 86400


def test_what_is_configured_is_what_the_runner_understands(tmp_path: Path) -> None:
    database = {
        **AGENT,
        "profile": "development",
        "every": "1h",
        "active_hours": "6-22",
        "first_backup": False,
        "include": [{"src": "/srv/agent/.env", "redact": True}],
        "encryption": {"method": "gpg", "passphrase_file": "/root/passphrase"},
        "assertions": [{"sql": "SELECT NULL", "equals": None}],
    }
    plan = _plan(database, defaults={"compression": "none", "tags": ["ci"]})
    file = tmp_path / config.DATABASES_NAME / "agent.json"
    file.parent.mkdir(mode=0o700)
    file.write_text(json.dumps(plan["config"]), encoding="utf-8")
    file.chmod(0o600)

    loaded = config.load(tmp_path, "agent")

    assert loaded.options["keep_hourly"] == 0
    assert loaded.options["assertions"] == [{"sql": "SELECT NULL", "equals": None}]
    assert (loaded.options["tags"], loaded.options["rpo"]) == (["ci"], "9h")
    assert plan["programs"] == ["gpg"]
    assert plan["first_backup"] is False


def test_the_database_has_the_last_word_then_the_defaults_then_the_profile() -> None:
    defaults = {"keep_daily": 30, "keep_hourly": 48, "keep_within": "6h", "rpo": "1d"}
    plan = _plan({**AGENT, "keep_daily": 90}, defaults=defaults)

    kept = {key: value for key, value in plan["config"].items() if key.startswith("keep_")}
    weeks = {"keep_weekly": 4, "keep_monthly": 12}
    assert kept == {"keep_within": "6h", "keep_daily": 90, "keep_hourly": 48, **weeks}
    assert plan["config"]["rpo"] == "1d"


def test_what_a_template_made_a_text_gets_its_type_back() -> None:
    """Until ansible-core 2.18 every `{{ 7 }}` inside of a dictionary is one."""
    texts = {
        "keep_daily": "7",
        "keep_within": 0,
        "allow_empty": "True",
        "first_backup": "no",
        "include": [{"src": "/a", "redact": "1"}],
    }
    plan = _plan({**AGENT, **texts, "compression_level": None}, first_backup="True")

    assert plan["config"]["keep_daily"] == 7
    assert plan["config"]["keep_within"] == "0"
    assert plan["config"]["allow_empty"] is True
    assert plan["config"]["include"] == [{"src": "/a", "redact": True}]
    assert plan["first_backup"] is False
    assert "compression_level" not in plan["config"]


@pytest.mark.parametrize("minutes", EVERY_MINUTES)
def test_every_and_active_hours_hold(minutes: int) -> None:
    for window, hours in (("0-23", 24), ("6-22", 17), ("22-4", 7), ("7", 1), ("5-4", 24)):
        every = f"{minutes}m" if minutes < 60 else f"{minutes // 60}h" if minutes < 1440 else "1d"
        plan = _plan({**AGENT, "every": every, "active_hours": window})
        first = int(window.partition("-")[0])

        runs = _runs(plan)

        offsets = [(60 * hour + minute - 60 * first) % 1440 for hour, minute in runs]
        assert all(offset < 60 * hours for offset in offsets), window
        steps = {later - earlier for earlier, later in zip(sorted(offsets), sorted(offsets)[1:], strict=False)}
        assert steps <= {minutes}, window
        assert len(runs) == max(1, -(-60 * hours // minutes)), window


@pytest.mark.parametrize(
    ("every", "active_hours", "rpo"),
    [
        ("1h", "0-23", "2h"),
        ("15m", "0-23", "30m"),
        ("1m", "0-23", "2m"),
        ("12h", "0-23", "1d"),
        ("1d", "7", "2d"),
        ("1h", "6-22", "9h"),  # from 22:mm to 6:mm, and one more
        ("15m", "6-22", "8h15m"),  # from 22:45 to 6:00, and an hour: the clocks may go back in that night
        ("4h", "6-22", "12h"),
        ("1h", "7", "1d1h"),
    ],
)
def test_rpo_is_met_when_one_run_is_missed_and_at_night(every: str, active_hours: str, rpo: str) -> None:
    plan = _plan({**AGENT, "every": every, "active_hours": active_hours})

    assert plan["config"]["rpo"] == rpo
    assert clock.parse_duration(rpo) >= 2 * clock.parse_duration(every)


@pytest.mark.parametrize(
    ("every", "random_delay", "grace"),
    [
        ("15m", "30s", "15m"),
        ("1h", "30s", "1h"),
        ("2h", "0s", "1h"),
        ("2h", "30s", "1h1m"),
        ("12h", "30s", "6h1m"),
        ("1d", "1h", "13h"),
        ("1d", "20h", "1d"),
    ],
)
def test_missing_run_is_one_whose_backup_is_not_there_before_the_next_one(
    every: str, random_delay: str, grace: str
) -> None:
    assert _plan({**AGENT, "every": every}, random_delay=random_delay)["config"]["due"]["grace"] == grace


def test_minutes_stay_and_differ() -> None:
    assert _plan({**AGENT, "every": "20m"})["minute"] == "0,20,40"
    assert _plan()["minute"] == "40"
    hosts = {_plan(host=f"ci-{number}")["minute"] for number in range(500)}
    names = {_plan({**AGENT, "name": f"db{number}"})["minute"] for number in range(500)}
    assert hosts == names == {str(minute) for minute in range(60)}
    # In another process, hash() of the same text would be another number.
    script = f"from {module.__name__} import backup_plans as p; print(p([{AGENT!r}], **{SETTINGS!r})[0]['minute'])"
    command = [sys.executable, "-c", script]
    assert {subprocess.check_output(command, text=True).strip() for _run in range(2)} == {"40"}


def test_cron_and_systemd_agree() -> None:
    plan = _plan({**AGENT, "every": "6h", "active_hours": "22-20"})
    assert (plan["minute"], plan["hour"], plan["on_calendar"]) == ("40", "4,10,16,22", "*-*-* 4,10,16,22:40:00")
    plan = _plan({**AGENT, "every": "1m"})
    assert (plan["minute"], plan["hour"], plan["on_calendar"]) == ("*", "*", "*-*-* *:*:00")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_understands_every_schedule() -> None:
    calendars = {
        _plan({**AGENT, "every": f"{minutes}m" if minutes < 1440 else "1d", "active_hours": window})["on_calendar"]
        for minutes in EVERY_MINUTES
        for window in ("0-23", "6-22", "22-4", "7")
    }
    subprocess.run(["systemd-analyze", "calendar", *calendars], check=True, capture_output=True)


def test_home() -> None:
    settings = {"home": "/home/dev", "config_dir": "~/.config/s", "repository_dir": "~/r/", "runner_path": "~/bin/s"}
    plan = _plan({"name": "dev", "path": "~/dev.db"}, **settings, scope="user", profile="development")

    assert plan["command"] == ["/home/dev/bin/s", "backup", "dev", "--config", "/home/dev/.config/s"]
    assert plan["config_path"] == "/home/dev/.config/s/databases.d/dev.json"
    assert plan["config"]["path"] == "/home/dev/dev.db"
    assert plan["directories"] == ["/home/dev/r", "/home/dev/r/dev"]
    assert (plan["hour"], plan["config"]["rpo"]) == ("7", "2d")


@pytest.mark.parametrize(("chdir", "writable"), [(None, "/srv/agent"), ("/srv/agent/prisma", "/srv/agent/prisma")])
def test_database_that_only_the_host_can_find(chdir: str | None, writable: str) -> None:
    plan = _plan({"name": "agent", "env_file": "/srv/agent/.env", "env_key": "DB", "chdir": chdir})

    assert plan["path"] == ""
    assert (plan["config"]["env_file"], plan["config"]["env_key"]) == ("/srv/agent/.env", "DB")
    assert f"-{writable}" in plan["read_write_paths"]


def test_paths_that_need_care() -> None:
    database = {
        "name": "odd",
        "database_url": "file:./my db# 100%25.db?connection_limit=1",
        "chdir": '/srv/bob\'s "app"\n100%',
        "repository": "/backup/[x]//odd/",
    }
    plan = _plan(database, config_dir="/etc/100% HOME/s", runner_path="/opt/it's/s")

    assert plan["config_path"] == "/etc/100% HOME/s/databases.d/odd.json"
    assert plan["repository"] == "/backup/[x]/odd"
    assert plan["directories"] == ["/backup/[x]/odd"]
    assert glob.escape("/backup/[x]/odd") + "/*Z-*/manifest.json" == plan["any_backup"]
    # cron ends the command at a % without a backslash before it, and takes that backslash away.
    line = plan["cron_command"]
    assert "\n" not in line
    assert line.count("%") == line.count(r"\%") == 1
    assert shlex.split(line.replace(r"\%", "%")) == [*plan["command"], "--syslog"]
    assert plan["systemd_command"] == '"/opt/it\'s/s" backup odd --config "/etc/100%% HOME/s"'
    assert plan["read_write_paths"] == [
        '"-/backup/[x]/odd"',
        r'"-/srv/bob' + r"'s \"app\"\x0a100%%" + '"',
        '"-/etc/100%% HOME/s/seen.d"',
    ]


@given(word=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_a_word_for_systemd_is_one_word_on_one_line(word: str) -> None:
    quoted = values.for_systemd(word)

    assert "\n" not in quoted
    unquoted = quoted[1:-1] if quoted.startswith('"') else quoted
    assert unquoted.replace("%%", "").count("%") == 0
    assert _unescaped(unquoted.replace("%%", "%")) == word


@pytest.mark.parametrize(
    ("path", "repository", "private"),
    [
        ("srv/a.db", "var/backups/a", True),
        ("tmp/a.db", "var/backups/a", False),
        ("var/tmp/x/a.db", "var/backups/a", False),
        ("srv/a.db", "tmp/a", False),
        ("tmpfs/a.db", "var/backups/a", True),
    ],
)
def test_a_service_sees_databases_in_tmp(path: str, repository: str, private: bool) -> None:
    assert _plan({"name": "a", "path": f"/{path}", "repository": f"/{repository}"})["private_tmp"] is private


def test_absent_needs_no_more_than_a_name() -> None:
    (plan,) = backup_plans([{"name": "agent"}], **SETTINGS, state="absent")

    assert plan["config_path"] == "/etc/sqlite-backup/databases.d/agent.json"
    assert plan["schedule_files"] == _plan()["schedule_files"]
    assert "config" not in plan


@pytest.mark.parametrize(
    ("database", "settings", "parts"),
    [
        ({"every": "7m"}, {}, ("agent: every is '7m'", "15m", "12h", "1d")),
        ({"every": "90m"}, {}, ("agent: every is '90m'",)),
        ({"every": "5h"}, {}, ("agent: every is '5h'",)),
        ({"every": "2d"}, {}, ("agent: every is '2d'",)),
        ({"every": "30s"}, {}, ("agent: every is '30s'",)),
        ({"every": "0m"}, {}, ("agent: every is '0m'",)),
        ({"every": "often"}, {}, ("agent: every is 'often'",)),
        ({}, {"every": "7m"}, ("sqlite_backup_every is '7m'", "15m")),
        ({"active_hours": "6-24"}, {}, ("agent: active_hours is '6-24'", "0 to 23", "22-4")),
        ({"active_hours": "6-"}, {}, ("agent: active_hours is '6-'",)),
        ({}, {"active_hours": "night"}, ("sqlite_backup_active_hours is 'night'", "6-22")),
        ({"profile": "staging"}, {}, ("agent: profile is 'staging'", "production and development")),
        ({}, {"profile": "staging"}, ("sqlite_backup_profile is 'staging'", "production and development")),
        ({"name": "../agent"}, {}, ("name is '../agent'", "letters, digits")),
        ({"name": ""}, {}, ("name is ''",)),
        ({"path": "agent.db"}, {}, ("agent: path is 'agent.db'", "absolute")),
        ({"path": "~/agent.db"}, {}, ("agent: path is '~/agent.db'", "absolute")),
        ({"path": None}, {}, ("agent: exactly one of path, database_url and env_file",)),
        ({"database_url": "file:/a.db"}, {}, ("agent: exactly one of path, database_url and env_file",)),
        ({"env_file": "/a/.env"}, {}, ("agent: exactly one of path, database_url and env_file",)),
        ({"path": None, "database_url": "file:a.db"}, {}, ("agent: database_url: ", "relative")),
        ({"repository": "backups"}, {}, ("agent: repository is 'backups'", "absolute")),
        ({"keep_dayly": 7}, {}, ("agent: there is no key keep_dayly", "keep_daily")),
        ({}, {"defaults": {"compresion": "zstd"}}, ("there is no key compresion", "compression")),
        ({"include": [{"source": "/a"}]}, {}, ("agent: include: there is no key source", "src")),
        ({"keep_daily": "many"}, {}, ("agent: keep_daily is 'many'", "whole number")),
        ({"allow_empty": "perhaps"}, {}, ("agent: allow_empty is 'perhaps'", "true and false")),
        ({"timeout": "long"}, {}, ('agent: timeout is "long"', "15m")),
        ({"timeout": "1 hour"}, {}, ('agent: timeout is "1 hour"', "15m")),
        ({"rpo": "often"}, {}, ('agent: rpo is "often"',)),
        ({"type": "fast"}, {}, ('agent: type is "fast"', "incremental")),
        ({"compression_level": 99}, {}, ("agent: compression_level: ", "level 99", "1 to 19")),
        ({"encryption": {"method": "age"}}, {}, ("agent: encryption: ", "age needs recipients")),
        ({"encryption": "age"}, {}, ("agent: encryption is 'age'", "dictionary")),
        ({}, {"defaults": {"timezone": "Europe/Berlim"}}, ("agent: timezone: ", "'Europe/Berlim'")),
        ({"keep_daily": -1}, {}, ("agent: keep_daily: ", "negative")),
        ({"keep_within": 0, **NO_RULE}, {}, ("agent: keep_*: ", "keeps nothing")),
        ({"include": [{"src": "/a", "name": "../a"}]}, {}, ("agent: include: ", "'../a'")),
        ({"repository": "/backup/$HOME"}, {}, ("agent: repository is '/backup/$HOME'", "without $")),
        ({"repository": "/"}, {}, ("agent: repository is '/'", "all of a disk")),
        ({"repository": "//"}, {}, ("all of a disk",)),
        (
            {"path": "/srv/a/x.db", "repository": "/srv/a"},
            {},
            ("agent: repository", "is the directory of", "the database"),
        ),
        ({"path": "/srv/a/x.db", "repository": "/srv"}, {}, ("agent: repository", "contains", "the database")),
        (
            {"path": "/srv/a/x.db"},
            {"repository_dir": "/srv"},
            ("sqlite_backup_repository_dir", "contains", "the database"),
        ),
        ({"path": "/srv/a/x.db"}, {"config_dir": "/srv/a"}, ("sqlite_backup_config_dir", "is the directory of")),
        ({"repository": "/etc/sqlite-backup"}, {}, ("is the directory of", "sqlite_backup_config_dir")),
        ({"repository": "/usr/local"}, {}, ("agent: repository", "contains", "sqlite_backup_runner_path")),
        ({}, {"repository_dir": "/$X"}, ("sqlite_backup_repository_dir is '/$X'", "without $")),
        ({}, {"config_dir": "/$X"}, ("sqlite_backup_config_dir is '/$X'", "without $")),
        ({}, {"runner_path": "/$X"}, ("sqlite_backup_runner_path is '/$X'", "without $")),
        ({}, {"random_delay": "5minuets"}, ("sqlite_backup_random_delay is '5minuets'", "5m")),
        ({"state": "gone"}, {}, ("agent: state is 'gone'", "present and absent")),
        ({"first_backup": "perhaps"}, {}, ("agent: first_backup is 'perhaps'", "true and false")),
        ({}, {"config_dir": "etc"}, ("sqlite_backup_config_dir is 'etc'", "absolute")),
        ({}, {"config_dir": "/etc/a\nb"}, ("sqlite_backup_config_dir is '/etc/a\\nb'", "control characters")),
        ({}, {"runner_path": "sqlite-backup"}, ("sqlite_backup_runner_path is 'sqlite-backup'", "absolute")),
        ({}, {"scope": "user", "scheduler": "systemd"}, ("sqlite_backup_scheduler is 'systemd'", "cron")),
        ({}, {"colour": "red"}, ("colour",)),
        ({"name": None}, {}, ("name is ''", "letters, digits")),
        ({5: 6}, {}, ("agent: there is no key 5",)),
        ({"encryption": {None: 6}}, {}, ("agent: encryption: there is no key None",)),
        ({"tags": 5}, {}, ("agent: tags is 5", "a list")),
        ({"tags": {"a": "b"}}, {}, ("agent: tags is {'a': 'b'}", "a list")),
        ({"tags": ["a", None]}, {}, ("agent: tags has the item None", "texts")),
        ({"expect_tables": [["a"]]}, {}, ("agent: expect_tables has the item ['a']", "texts")),
        ({"include": [None]}, {}, ("agent: include is None", "dictionary")),
        ({}, {"defaults": None}, ("sqlite_backup_defaults is None", "dictionary")),
        ({}, {"defaults": ["zstd"]}, ("sqlite_backup_defaults is ['zstd']", "dictionary")),
    ],
)
def test_refusals_name_the_variable_its_value_and_what_is_allowed(
    database: dict[str, Any], settings: dict[str, Any], parts: tuple[str, ...]
) -> None:
    with pytest.raises(AnsibleFilterError) as refusal:
        _plan({**AGENT, **database}, **settings)

    assert [part for part in parts if part not in str(refusal.value)] == []


@pytest.mark.parametrize(
    ("databases", "parts"),
    [
        (None, ("sqlite_backup_databases is None", "a list")),
        ("agent", ("sqlite_backup_databases is 'agent'", "a list")),
        (AGENT, ("sqlite_backup_databases is {", "a list")),
        (["agent"], ("an item is 'agent'", "dictionary")),
        ([None], ("an item is None", "dictionary")),
        ([[AGENT]], ("an item is [", "dictionary")),
    ],
)
def test_what_is_no_list_of_dictionaries_is_told(databases: Any, parts: tuple[str, ...]) -> None:
    (problem,) = module.backup_problems(databases, **SETTINGS)

    assert all(part in problem for part in parts)
    with pytest.raises(AnsibleFilterError):
        module.backup_plans(databases, **SETTINGS)


def test_host_whose_name_is_no_text_has_a_schedule_all_the_same() -> None:
    assert _plan(host="\udcff")["minute"].isdigit()


def test_every_database_at_fault_is_told() -> None:
    wrong = [
        {"name": "a", "path": "/a", "every": "7m"},
        AGENT,
        {"name": "b"},
        {"name": "c", "path": "/c", "check": "x"},
    ]

    problems = backup_problems(wrong, **SETTINGS)

    assert [each.split(":")[1] for each in problems] == [" a", " b", " c"]
    assert backup_problems([AGENT], **SETTINGS) == []


def test_a_controller_without_time_zones_leaves_them_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoneinfo, "available_timezones", set)

    assert _plan({**AGENT, "timezone": "Mars/Olympus"})["config"]["timezone"] == "Mars/Olympus"


def test_a_path_that_the_role_does_not_make_may_hold_a_dollar() -> None:
    assert _plan({"name": "a", "path": "/srv/$HOME/a.db"})["config"]["path"] == "/srv/$HOME/a.db"


@pytest.mark.parametrize(("text", "value"), [("no", False), ("False", False), ("n", False), ("0", False), ("y", True)])
def test_a_text_that_means_no_is_no(text: str, value: bool) -> None:
    assert _plan({**AGENT, "first_backup": text})["first_backup"] is value
    assert _plan(first_backup=text)["first_backup"] is value
    assert _plan({**AGENT, "allow_empty": text})["config"]["allow_empty"] is value


def test_a_text_is_a_list_with_commas() -> None:
    assert _plan({**AGENT, "tags": "ci, nightly"})["config"]["tags"] == ["ci", "nightly"]


def test_a_delay_is_in_seconds() -> None:
    assert [_plan(random_delay=each)["random_delay"] for each in ("30s", "5m", 90)] == ["30s", "300s", "90s"]


def test_one_database_may_go() -> None:
    going = {"name": "agent", "state": "absent", "evry": "never"}
    (gone, stays) = backup_plans([going, {"name": "b", "path": "/b"}], **SETTINGS)

    assert (gone["state"], stays["state"]) == ("absent", "present")
    assert gone == _plan(state="absent")


def test_a_mistyped_variable_is_told() -> None:
    known = ["sqlite_backup_databases", "sqlite_backup_every", "sqlite_backup_user", "sqlite_backup_unlisted"]
    names = ["sqlite_backup_database", "sqlite_backups_databases", "sqlite_backup_hosts", "sqlite_backup_secret_store"]

    assert backup_unknown([*names, *known], known) == [
        "there is no variable sqlite_backup_database. Did you mean sqlite_backup_databases?",
        "there is no variable sqlite_backups_databases. Did you mean sqlite_backup_databases?",
    ]


def test_warnings_name_the_host(capsys: pytest.CaptureFixture[str]) -> None:
    assert backup_warnings(["the disk is small"], "ci-1") == ["ci-1: the disk is small"]
    assert "ci-1: the disk is small" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("second", "parts"),
    [
        ({"name": "agent", "repository": "/backup/other"}, ("name 'agent'",)),
        (
            {"name": "other", "repository": "/var/backups/sqlite/agent/x"},
            ("other: repository", "is in the directory of"),
        ),
        (
            {"name": "other", "repository": "/var/backups/sqlite"},
            ("other: repository", "contains", "agent: repository"),
        ),
        ({"name": "other", "repository": "/var/backups/sqlite/x/../agent/"}, ("/var/backups/sqlite/agent", "other")),
    ],
)
def test_names_and_repositories_differ(second: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(AnsibleFilterError) as refusal:
        backup_plans([AGENT, {**AGENT, **second}], **SETTINGS)

    assert [part for part in parts if part not in str(refusal.value)] == []


def _plan(database: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
    (plan,) = backup_plans([database or AGENT], **{**SETTINGS, **settings})
    return plan


def _runs(plan: dict[str, Any]) -> set[tuple[int, int]]:
    """Hour and minute of each run of a day, as cron reads the fields."""
    hours = range(24) if plan["hour"] == "*" else map(int, plan["hour"].split(","))
    minutes = list(range(60)) if plan["minute"] == "*" else [int(each) for each in plan["minute"].split(",")]
    return {(hour, minute) for hour in hours for minute in minutes}


def _unescaped(text: str) -> str:
    """What systemd reads, by "Quoting" in systemd.syntax(7)."""
    found, rest = "", text
    while rest:
        if rest.startswith("\\x"):
            found, rest = found + chr(int(rest[2:4], 16)), rest[4:]
        elif rest.startswith("\\"):
            found, rest = found + rest[1], rest[2:]
        else:
            found, rest = found + rest[0], rest[1:]
    return found
