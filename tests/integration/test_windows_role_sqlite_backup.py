# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_backup with a Windows host that is not there: what the controller would send to it.

Every argument is checked against the documentation of its module, see `windows_host`. What PowerShell and the task
scheduler make of it is not seen here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.windows_host import NAME, Played, WindowsHost

from support import windows_rules

ROOT = "C:\\ProgramData\\sqlite-backup"
CONFIGURATION = f"{ROOT}\\config"
RUNNER = f"{ROOT}\\bin\\sqlite-backup.pyz"
PYTHON = "C:\\Program Files\\Python313\\python.exe"
AGENT = {"name": "agent", "path": "C:\\Data\\agent.db"}
SYSTEM, ADMINISTRATORS = "S-1-5-18", "S-1-5-32-544"
FULL = {"rights": "FullControl", "type": "allow", "state": "present"}
READ = {"rights": "ReadAndExecute", "type": "allow", "state": "present"}
WRITE = {"rights": "Modify", "type": "allow", "state": "present"}
BACKED_UP = f"{ROOT}\\repositories\\agent\\20260101T000000Z-0123456789ab"
# Those that change nothing when they are sent with the same arguments again, as their documentation has it.
IDEMPOTENT = {
    "win_acl",
    "win_acl_inheritance",
    "win_copy",
    "win_file",
    "win_owner",
    "win_package",
    "win_scheduled_task",
    "win_user_right",
}


@dataclass(frozen=True)
class Fresh:
    check: Played
    first: Played
    again: Played


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    return _host(tmp_path)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """A host on which nothing was, by the playbook: in check mode, then really, then once more."""
    host = _host(tmp_path_factory.mktemp("windows"))
    given = {"sqlite_backup_databases": [AGENT]}
    check, first = (host.run("sqliteops.backup.provision_backups", given, *flags) for flags in (("--check",), ()))
    _answer_as_it_should_be(host, first)
    return Fresh(check, first, host.run("sqliteops.backup.provision_backups", given))


def test_a_fresh_host_in_check_mode(fresh: Fresh) -> None:
    check = fresh.check

    assert check.run.code == 0, check.run.output
    assert check.copied == {}
    # Those only look.
    assert {each.name for each in check.sent if not each.check} == {"win_command", "win_powershell"}
    assert _words(check) == []
    told = {each.rpartition(" : ")[2] for each in check.run.changed}
    assert {"Make the directories", "Copy the runner to the host", "Configure the databases"} < told


def test_a_fresh_host(fresh: Fresh) -> None:
    first = fresh.first

    assert first.run.code == 0, first.run.output
    assert {*first.copied} == {RUNNER, f"{CONFIGURATION}\\databases.d\\agent.json"}
    content = _configured(first)
    assert content["path"] == "C:\\Data\\agent.db"
    assert content["repository"] == f"{ROOT}\\repositories\\agent"
    assert _words(first) == [_command("try", "--if-backed-up", "--quiet"), _command("backup")]
    (tried,) = (each["stdin"] for each in first.of("win_command") if "stdin" in each)
    assert json.loads(tried) == content


def test_a_second_run_has_nothing_to_do(fresh: Fresh) -> None:
    again = fresh.again

    assert again.run.code == 0, again.run.output
    assert again.run.changed == []
    assert again.copied == {}
    assert _words(again) == []
    # All the others only look.
    looks = {"setup", "win_command", "win_find", "win_powershell", "win_scheduled_task_stat", "win_stat"}
    assert {each.name for each in again.sent} - IDEMPOTENT == looks


def test_the_runner_is_the_one_of_the_collection(fresh: Fresh, tmp_path: Path) -> None:
    archive = tmp_path / "runner.zip"
    archive.write_bytes(fresh.first.copied[RUNNER])

    with zipfile.ZipFile(archive) as runner:
        assert "__main__.py" in runner.namelist()


def test_only_the_system_and_administrators_may_enter(fresh: Fresh) -> None:
    played = fresh.first

    made = [each["path"] for each in played.of("win_file")]
    below = ["bin", "config", "config\\databases.d", "config\\seen.d", "repositories", "repositories\\agent"]
    assert sorted(made) == [ROOT, *(f"{ROOT}\\{each}" for each in below)]
    assert played.of("win_owner") == [{"path": ROOT, "user": ADMINISTRATORS}]
    assert played.of("win_acl") == [{"path": ROOT, "user": who, **FULL} for who in (SYSTEM, ADMINISTRATORS)]
    assert played.of("win_acl_inheritance") == [{"path": ROOT, "state": "absent", "reorganize": False}]
    # Looked at, made, looked at again, and only then taken. Nobody who is to enter is without access for a moment, and
    # nothing is put there before the others are out and it was looked at once more.
    wanted = {"win_powershell", "win_file", "win_owner", "win_acl", "win_acl_inheritance", "win_copy"}
    names = [name for name, _same in itertools.groupby(each.name for each in played.sent if each.name in wanted)]
    taken = ["win_powershell", "win_owner", "win_acl", "win_acl_inheritance", "win_powershell", "win_file", "win_copy"]
    assert names[:9] == ["win_powershell", "win_file", *taken]


@pytest.mark.thorough
def test_places_elsewhere_have_their_own_rules(host: WindowsHost) -> None:
    elsewhere = {**AGENT, "repository": "E:\\only\\this"}
    variables = {
        "sqlite_backup_repository_dir": "D:\\Backups",
        "sqlite_backup_config_dir": "D:\\Configuration",
        "sqlite_backup_runner_path": "D:\\Tools\\sqlite-backup.pyz",
    }

    played = _provision(host, databases=[elsewhere, {**AGENT, "name": "other"}], **variables)

    guarded = ["D:\\Configuration", "E:\\only\\this", "D:\\Backups"]
    assert [each["path"] for each in played.of("win_acl_inheritance")] == guarded
    assert [each["path"] for each in played.of("win_acl")] == [path for path in guarded for _rule in range(2)]
    before, *_others, after = (each["parameters"] for each in played.of("win_powershell"))
    assert before["Names"] == guarded
    # An operator's rule for others in them would let these read the backups.
    assert sorted(after["Below"]) == sorted(guarded)
    executed = [
        PYTHON,
        "C:\\Program Files\\Python313\\Lib\\site-packages",
        "D:\\Tools",
        variables["sqlite_backup_runner_path"],
    ]
    for each in (before, after):
        assert {*guarded, *executed} <= {*each["Path"]}
        assert each["Program"] == ["zstd.exe"]
    made = {each["path"] for each in played.of("win_file")}
    assert made == {
        *guarded,
        "D:\\Tools",
        "D:\\Configuration\\databases.d",
        "D:\\Configuration\\seen.d",
        "D:\\Backups\\other",
    }


@pytest.mark.thorough
def test_an_account_gets_one_rule_for_a_directory(host: WindowsHost) -> None:
    """Of two for one account Windows makes one, and to set the other one again would be a change each time."""
    variables = {"sqlite_backup_repository_dir": "D:\\Backups", "sqlite_backup_account": "EXAMPLE\\backup$"}

    played = _provision(host, **variables)

    rules = [(each["path"], each["user"]) for each in played.of("win_acl")]
    assert sorted(set(rules)) == sorted(rules)
    given = [(each["path"], each["rights"]) for each in played.of("win_acl") if each["user"] == "EXAMPLE\\backup$"]
    assert given == [
        (ROOT, "ReadAndExecute"),
        (f"{CONFIGURATION}\\seen.d", "Modify"),
        ("D:\\Backups", "Modify"),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_link_in_the_place_of_a_directory_is_refused(host: WindowsHost, state: str) -> None:
    """Rules for it would be rules for what it leads to, which may be Windows itself."""
    host.tell({"path": ROOT, "kind": "link"})

    played = _provision(host, sqlite_backup_state=state)

    assert played.run.code != 0
    assert f"{ROOT}: a link" in played.run.last_failure
    assert {each.name for each in played.sent} == {"setup", "win_powershell"}


@pytest.mark.parametrize(
    ("path", "sddl"),
    [
        (ROOT, windows_rules.IN_PROGRAM_DATA.replace("O:BA", f"O:{windows_rules.SOMEBODY}")),
        (ROOT, windows_rules.IN_PROGRAM_DATA),
        ("C:\\Program Files\\Python313\\DLLs", windows_rules.IN_CLIENT_DRIVE),
        ("C:\\Program Files", windows_rules.IN_CLIENT_DATA_DRIVE),
    ],
)
def test_what_somebody_else_can_change_is_not_touched(host: WindowsHost, path: str, sddl: str) -> None:
    host.tell(windows_rules.fact(path, sddl))

    played = _provision(host)

    assert played.run.code != 0
    assert f"{path}: " in played.run.last_failure
    assert "Nothing of it was changed." in played.run.last_failure
    assert {each.name for each in played.sent} == {"setup", "win_powershell"}


@pytest.mark.thorough
def test_the_owner_of_what_somebody_made_meanwhile_is_not_changed(host: WindowsHost) -> None:
    stranger = windows_rules.fact(ROOT, windows_rules.IN_PROGRAM_DATA.replace("O:BA", f"O:{windows_rules.SOMEBODY}"))
    first = {"current": windows_rules.CONNECTED, "account": SYSTEM}
    above = [{"path": path, "kind": "absent"} for path in ("C:\\ProgramData", "C:\\", CONFIGURATION)]
    host.answer(
        "win_powershell",
        {"output": [json.dumps(each) for each in (first, stranger, *above)]},
        parameters={"Names": [], "Below": [], "Program": []},
    )

    played = _provision(host)

    assert f"{ROOT}: belongs to {windows_rules.SOMEBODY}" in played.run.last_failure
    assert [each["path"] for each in played.of("win_file")] == [ROOT]
    assert not {"win_owner", "win_acl", "win_acl_inheritance", "win_copy"} & {each.name for each in played.sent}


@pytest.mark.thorough
def test_a_directory_of_another_application_is_not_taken(host: WindowsHost) -> None:
    host.tell(
        windows_rules.fact("D:\\App", windows_rules.IN_PROGRAM_FILES),
        windows_rules.fact("D:\\", windows_rules.SERVER_DATA_DRIVE),
        {"path": "D:\\App", "names": ["app.exe"]},
    )

    played = _provision(host, databases=[{**AGENT, "repository": "D:\\App"}])

    assert "D:\\App: holds what is not of this role: app.exe" in played.run.last_failure
    assert {each.name for each in played.sent} == {"setup", "win_powershell"}


@pytest.mark.thorough
def test_a_name_that_differs_by_case_is_the_same(host: WindowsHost, fresh: Fresh) -> None:
    """What was just made as `agent` must not be removed as `Agent`, which is the same file and the same task."""
    _answer_as_it_should_be(host, fresh.first)
    here = f"{CONFIGURATION}\\databases.d\\Agent.json"
    host.answer("win_find", {"files": [{"path": here, "isdir": False, "checksum": ""}]}, paths=[CONFIGURATION])
    host.answer("win_scheduled_task_stat", {"folder_exists": True, "folder_task_names": ["Agent"]})

    played = _provision(host, sqlite_backup_unlisted="remove")

    assert played.run.code == 0, played.run.output
    assert [
        each for name in ("win_file", "win_scheduled_task") for each in played.of(name) if each["state"] == "absent"
    ] == []

    gone = _provision(host, sqlite_backup_state="absent")

    assert [each["name"] for each in gone.of("win_scheduled_task")] == ["agent"]
    assert f"{CONFIGURATION}\\databases.d\\agent.json" in [each["path"] for each in gone.of("win_file")]


def test_an_account_with_a_password(host: WindowsHost) -> None:
    secret = "correct horse"
    account = "EXAMPLE\\backup"

    played = _provision(host, sqlite_backup_account=account, sqlite_backup_account_password=secret)

    assert played.of("win_acl") == [
        {"path": ROOT, "user": SYSTEM, **FULL},
        {"path": ROOT, "user": ADMINISTRATORS, **FULL},
        {"path": ROOT, "user": account, **READ},
        {"path": f"{CONFIGURATION}\\seen.d", "user": account, **WRITE},
        {"path": f"{ROOT}\\repositories", "user": account, **WRITE},
    ]
    assert played.of("win_user_right") == [{"name": "SeBatchLogonRight", "users": [account], "action": "add"}]
    (task,) = played.of("win_scheduled_task")
    principal = {key: task[key] for key in ("username", "logon_type", "password", "update_password", "run_level")}
    assert principal == {
        "username": account,
        "logon_type": "password",
        "password": secret,
        "update_password": False,
        "run_level": "limited",
    }
    assert all(each.no_log for each in played.sent if each.name == "win_scheduled_task")
    assert secret not in played.run.output
    assert secret not in json.dumps(played.run.results)


@pytest.mark.thorough
def test_accounts_without_a_password(host: WindowsHost) -> None:
    accounts = {
        "SYSTEM": (SYSTEM, "service_account"),
        "NT AUTHORITY\\LOCAL SERVICE": ("S-1-5-19", "service_account"),
        "network service": ("S-1-5-20", "service_account"),
        "EXAMPLE\\backup$": ("EXAMPLE\\backup$", "password"),
    }
    role = {"name": "sqliteops.backup.sqlite_backup"}
    tasks = [{"ansible.builtin.import_role": role, "vars": {"sqlite_backup_account": each}} for each in accounts]

    played = host.play(
        [{"hosts": NAME, "gather_facts": False, "tasks": tasks}],
        {"sqlite_backup_databases": [AGENT]},
        "--tags",
        "sqlite_backup_schedule",
    )

    sent = played.of("win_scheduled_task")
    assert [(each["username"], each["logon_type"]) for each in sent] == [*accounts.values()]
    assert not any("password" in each for each in sent)


@pytest.mark.thorough
def test_an_account_that_needs_a_password_is_refused(host: WindowsHost) -> None:
    played = _provision(host, sqlite_backup_account="EXAMPLE\\backup")

    assert played.run.code != 0
    assert "sqlite_backup_account_password is empty" in played.run.last_failure
    assert {each.name for each in played.sent} == {"setup"}


def test_the_task_of_a_database(fresh: Fresh) -> None:
    (given,) = fresh.first.of("win_scheduled_task")
    task = dict(given)
    minute = int(_configured(fresh.first)["due"]["minute"])
    repetition = {"interval": "PT1H", "stop_at_duration_end": False}
    start = f"2026-01-01T00:{minute:02}:00"
    assert task.pop("triggers") == [{"type": "daily", "start_boundary": start, "repetition": repetition}]
    assert task.pop("actions") == [
        {
            "path": PYTHON,
            "arguments": f"{RUNNER} backup agent --config {CONFIGURATION}",
        }
    ]
    assert task.pop("description")
    assert task == {
        "name": "agent",
        "path": "\\sqlite-backup",
        "state": "present",
        "enabled": True,
        "username": SYSTEM,
        "logon_type": "service_account",
        "update_password": False,
        "run_level": "limited",
        "allow_demand_start": True,
        "allow_hard_terminate": True,
        "disallow_start_if_on_batteries": False,
        "stop_if_going_on_batteries": False,
        # An hour to read, three minutes for the locks, and a day for all else.
        "execution_time_limit": "P1DT1H3M",
        "multiple_instances": 2,
        "start_when_available": True,
    }


@pytest.mark.thorough
def test_a_push_has_a_task_of_its_own(host: WindowsHost) -> None:
    host.answer("win_scheduled_task_stat", {"folder_exists": True, "folder_task_names": ["agent", "push@other"]})
    with_targets = {**AGENT, "targets": ["one", "two"], "active_hours": "6-22"}

    played = _provision(host, "--tags", "sqlite_backup_schedule", databases=[with_targets, {**AGENT, "name": "other"}])

    gone, backup, push, other = played.of("win_scheduled_task")
    assert gone == {"name": "push@other", "path": "\\sqlite-backup", "state": "absent"}
    assert [each["name"] for each in (backup, push, other)] == ["agent", "push@agent", "other"]
    assert backup["actions"][0]["arguments"] == f"{RUNNER} backup agent --config {CONFIGURATION} --no-push"
    assert push["actions"][0]["arguments"] == f"{RUNNER} push agent --config {CONFIGURATION}"
    assert push["execution_time_limit"] == "P14D"
    begins = [dt.datetime.fromisoformat(each["triggers"][0]["start_boundary"]) for each in (backup, push)]
    assert begins[0].hour == 6
    assert begins[1] - begins[0] == dt.timedelta(minutes=10)
    for each in (backup, push):
        assert each["triggers"][0]["repetition"] == {
            "interval": "PT1H",
            "duration": "PT16H30M",
            "stop_at_duration_end": False,
        }


@pytest.mark.thorough
def test_a_refused_configuration_does_not_take_its_place(host: WindowsHost) -> None:
    said = {"rc": 2, "stdout": "", "stderr": "agent: there is no database C:\\Data\\agent.db.\n", "changed": True}
    host.answer("win_command", said, argv=_command("try", "--if-backed-up", "--quiet"))

    played = _provision(host)

    assert played.run.code != 0
    assert "there is no database C:\\Data\\agent.db" in played.run.last_failure
    assert [*played.copied] == [RUNNER]
    assert played.of("win_scheduled_task") == []


@pytest.mark.thorough
def test_a_first_backup_that_fails_is_told(host: WindowsHost) -> None:
    host.answer("win_command", {"rc": 10, "stdout": "", "stderr": "no disk"}, argv=_command("backup"))

    played = _provision(host)

    assert played.run.code != 0
    assert played.run.last_failure.startswith("no disk")


@pytest.mark.thorough
def test_what_somebody_put_there_in_the_meantime_is_refused(host: WindowsHost) -> None:
    stranger = windows_rules.IN_OURS.replace("O:BA", f"O:{windows_rules.SOMEBODY}")
    path = f"{CONFIGURATION}\\databases.d\\other.json"
    host.tell(windows_rules.fact(path, stranger, "file", below=CONFIGURATION))

    played = _provision(host)

    assert played.run.code != 0
    assert f"{path}: belongs to {windows_rules.SOMEBODY}" in played.run.last_failure
    assert played.of("win_copy") == []
    look = played.of("win_powershell")[-1]["parameters"]
    assert {*look["Below"]} == {CONFIGURATION, f"{ROOT}\\repositories", f"{ROOT}\\bin"}
    assert look["Account"] == SYSTEM
    # Nothing is made where somebody else may have put a link.
    assert [each["path"] for each in played.of("win_file")] == [ROOT]


@pytest.mark.thorough
def test_python_is_missing(host: WindowsHost) -> None:
    variables = {"sqlite_backup_python": "D:\\Python\\python.exe"}
    argv = ["D:\\Python\\python.exe", "-c", "import sqlite3, sys; sys.exit(sys.version_info < (3, 9))"]
    host.answer("win_command", {"failed": True, "rc": 2, "msg": "not found"}, argv=argv)

    for flags in ((), ("--check",)):
        played = _provision(host, *flags, **variables)

        assert played.run.code != 0
        assert "D:\\Python\\python.exe is not there" in played.run.last_failure
        assert played.of("win_package") == played.of("win_file") == []


@pytest.mark.thorough
def test_python_is_installed(host: WindowsHost) -> None:
    package = {"path": "https://mirror.example/python-3.13.9-amd64.exe", "checksum": "00" * 32}
    variables = {"sqlite_backup_python": "D:\\Python\\python.exe", "sqlite_backup_python_package": package}

    only = ("--tags", "sqlite_backup_packages")
    check, played = (_provision(host, *only, *flags, **variables) for flags in (("--check",), ()))

    assert (check.run.code, played.run.code) == (0, 0), played.run.output
    for each in (check, played):
        assert each.of("win_package") == [
            {
                "path": package["path"],
                "checksum": package["checksum"],
                "checksum_algorithm": "sha256",
                "arguments": "/quiet InstallAllUsers=1 Include_launcher=0 Include_test=0 Shortcuts=0",
                "creates_path": "D:\\Python\\python.exe",
                "state": "present",
            }
        ]


@pytest.mark.thorough
def test_databases_that_are_not_listed_are_named_or_removed(host: WindowsHost, fresh: Fresh) -> None:
    _answer_as_it_should_be(host, fresh.first)
    other = {**AGENT, "name": "other"}

    warned = _provision(host, "--tags", "sqlite_backup_schedule", databases=[other])

    assert "agent: configured in C:\\ProgramData\\sqlite-backup\\config\\databases.d" in _told(warned)

    removed = _provision(host, databases=[other], sqlite_backup_unlisted="remove")

    assert {"name": "agent", "path": "\\sqlite-backup", "state": "absent"} in removed.of("win_scheduled_task")
    gone = [each["path"] for each in removed.of("win_file") if each["state"] == "absent"]
    assert gone == [f"{CONFIGURATION}\\databases.d\\agent.json"]


def test_taken_away(host: WindowsHost, fresh: Fresh) -> None:
    _answer_as_it_should_be(host, fresh.first)

    played = _provision(host, sqlite_backup_state="absent")

    assert played.run.code == 0, played.run.output
    assert played.of("win_scheduled_task") == [{"name": "agent", "path": "\\sqlite-backup", "state": "absent"}]
    gone = [each["path"] for each in played.of("win_file")]
    assert gone == [
        f"{CONFIGURATION}\\databases.d\\agent.json",
        f"{CONFIGURATION}\\databases.d",
        f"{CONFIGURATION}\\seen.d",
        CONFIGURATION,
        RUNNER,
    ]
    assert {each["state"] for each in played.of("win_file")} == {"absent"}


@pytest.mark.thorough
def test_what_others_have_there_stays(host: WindowsHost, fresh: Fresh) -> None:
    _answer_as_it_should_be(host, fresh.first, "databases.d\\other.json", "key.txt")

    played = _provision(host, sqlite_backup_state="absent")

    assert [each["path"] for each in played.of("win_file")] == [f"{CONFIGURATION}\\databases.d\\agent.json"]


@pytest.mark.thorough
def test_taken_away_where_nothing_is(host: WindowsHost) -> None:
    played = _provision(host, sqlite_backup_state="absent")

    assert played.run.code == 0, played.run.output
    assert [each["path"] for each in played.of("win_file")] == [RUNNER]
    assert played.of("win_scheduled_task") == []


def test_back_up_now(host: WindowsHost) -> None:
    results = [{"name": "agent", "error": None, "changed": True, "backup": {"id": "1", "type": "full"}}]
    answer = {"rc": 0, "stdout": json.dumps({"changed": True, "results": results, "error": None}), "stderr": ""}
    words = ["--json", "--all", "--reason=before migration 42", "--pinned"]
    host.answer("win_command", answer, argv=_command("backup", *words, name=()))

    played = host.run("sqliteops.backup.backup_now", {"reason": "before migration 42", "pinned": True})

    assert played.run.code == 0, played.run.output
    assert [each["argv"] for each in played.of("win_command")] == [_command("backup", *words, name=())]
    assert '"type": "full"' in _told(played)


@pytest.mark.thorough
@pytest.mark.parametrize("step", ["prepare", "verify", "cleanup"])
def test_the_molecule_scenario_sends_what_the_modules_know(host: WindowsHost, step: str) -> None:
    scenario = harness.ROOT / "extensions" / "molecule" / "windows"
    host.answer("win_powershell", {"output": [ADMINISTRATORS, SYSTEM, SYSTEM]}, parameters={"Path": ROOT})
    task = {"state": {"status": "TASK_STATE_READY", "last_task_result": 0}}
    settings = {"multiple_instances": 2, "start_when_available": True}
    host.answer("win_scheduled_task_stat", {**task, "settings": settings}, name="molecule")
    host.answer("win_command", {"rc": 0, "stdout": "42\r\n", "stderr": ""})
    database = {"name": "molecule", "path": "C:\\ProgramData\\sqlite-backup-molecule\\molecule.db"}

    played = host.run(
        str(scenario / f"{step}.yml"), {"sqlite_backup_python": PYTHON, "sqlite_backup_databases": [database]}
    )

    assert played.run.code == 0, played.run.output
    assert played.sent != []


def _host(folder: Path) -> WindowsHost:
    made = WindowsHost(folder)
    made.answer("win_stat", {"stat": {"exists": True}}, path=PYTHON)
    return made


def _provision(host: WindowsHost, *flags: str, databases: Any = (AGENT,), **variables: Any) -> Played:
    return host.role("sqlite_backup", {"sqlite_backup_databases": list(databases), **variables}, *flags)


def _command(verb: str, *words: str, name: tuple[str, ...] = ("agent",)) -> list[str]:
    return [PYTHON, RUNNER, verb, *name, "--config", CONFIGURATION, *words]


def _words(played: Played) -> list[list[str]]:
    """The commands that the runner gets; in check mode the module does nothing."""
    commands = (each.arguments["argv"] for each in played.sent if each.name == "win_command" and not each.check)
    return [argv for argv in commands if RUNNER in argv]


def _configured(played: Played) -> dict[str, Any]:
    content = played.copied[f"{CONFIGURATION}\\databases.d\\agent.json"]
    return dict(json.loads(content))


def _told(played: Played) -> str:
    return json.dumps(played.run.results, ensure_ascii=False).replace("\\\\", "\\")


def _answer_as_it_should_be(host: WindowsHost, first: Played, *more: str) -> None:
    """From now on the host is as ``first`` left it, with ``more`` files in the directory of the configuration."""
    texts = {path: data for path, data in first.copied.items() if path.endswith(".json")}
    here = {path: hashlib.sha1(data, usedforsecurity=False).hexdigest() for path, data in texts.items()}
    here |= dict.fromkeys((f"{CONFIGURATION}\\{each}" for each in more), "")
    directories = [f"{CONFIGURATION}\\databases.d", f"{CONFIGURATION}\\seen.d"]
    files = [{"path": path, "isdir": False, "checksum": checksum} for path, checksum in here.items()]
    files += [{"path": path, "isdir": True, "checksum": None} for path in directories]
    host.answer("win_find", {"files": files}, paths=[CONFIGURATION])
    host.answer("win_find", {"files": [{"path": BACKED_UP}]}, file_type="directory")
    host.tell(*(windows_rules.fact(path, windows_rules.OURS) for path in (ROOT, CONFIGURATION)))
    names = [each["name"] for each in first.of("win_scheduled_task")]
    host.answer("win_scheduled_task_stat", {"folder_exists": True, "folder_task_names": names})
