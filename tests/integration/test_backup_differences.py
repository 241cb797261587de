# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role asks a host, and what it makes of the answers: each drift is seen, and nothing else."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from integration import harness

from ansible_collections.sqliteops.backup.plugins.filter.backup_differences import backup_answers, backup_differences
from ansible_collections.sqliteops.backup.plugins.filter.backup_plans import backup_plans

LOOK = harness.ROOT / "roles" / "sqlite_backup" / "files" / "look.sh"
PLANS = backup_plans(
    [{"name": "agent", "path": "/srv/agent.db"}, {"name": "metrics", "path": "/srv/metrics.db"}],
    host="ci-1",
    config_dir="/etc/sqlite-backup",
    repository_dir="/var/backups/sqlite",
    runner_path="/usr/local/bin/sqlite-backup",
)
AGENT = PLANS[0]
CONFIG = str(AGENT["config_path"])
SERVICE, TIMER = AGENT["units"]
(CRON,) = AGENT["schedule_files"]["cron"]
REPOSITORY = str(AGENT["repository"])
TIMERS = "timers=sqlite-backup-agent.timer sqlite-backup-metrics.timer"
CRONTAB = "crontab=sqlite-backup "
NOTHING: dict[str, list[str]] = {key: [] for key in ("directories", "files", "timers", "crontab", "first_backups")}
APP_ID, APP_GROUP_ID = 1001, 1002

Wishes = dict[str, Any]
Drift = Callable[[Wishes], None]


def wishes(schedule: str) -> Wishes:
    """A host on which all is as it should be, of the user `app`."""
    paths = [plan["config_path"] for plan in PLANS]
    if schedule != "crontab":
        wanted = (plan["units"] if schedule == "systemd" else plan["schedule_files"][schedule] for plan in PLANS)
        paths += [path for each in wanted for path in each]
    directories = ["/etc/sqlite-backup", *(plan["repository"] for plan in PLANS)]
    jobs = [f"{plan['minute']} {plan['hour']} * * * {plan['crontab_command']}" for plan in PLANS]
    return {
        "answers": {
            "user=app": [str(APP_ID)],
            "group=staff": [str(APP_GROUP_ID)],
            "path=/usr/local/bin": ["drwxrwsr-x 0 50"],
            **{f"path={each}": [f"drwx------+ {APP_ID} {APP_GROUP_ID}"] for each in directories},
            **{f"repository={plan['repository']}": ["backups"] for plan in PLANS},
            TIMERS: [TIMERS.removeprefix("timers="), "enabled enabled ", "active active "],
            CRONTAB: [
                line
                for plan, job in zip(PLANS, jobs, strict=True)
                for line in (f"#Ansible: sqlite-backup {plan['name']}", job)
            ],
        },
        "files": [
            {
                "path": path,
                "isreg": True,
                "checksum": f"sha1-of-{path}",
                "mode": "0600" if path in paths[:2] else "0644",
                "uid": APP_ID if path in paths[:2] else 0,
                "gid": APP_GROUP_ID if path in paths[:2] else 0,
            }
            for path in paths
        ],
        "digests": "".join(f"sha1-of-{path} {path}\n" for path in paths),
        "directories": directories,
        "shared_directories": ["/usr/local/bin"],
        "schedule": schedule,
        "owner": "app",
        "group": "staff",
    }


def answered(question: str, *lines: str) -> Drift:
    """That question has another answer, or none."""

    def drift(given: Wishes) -> None:
        given["answers"][question] = [*lines]
        if not lines:
            del given["answers"][question]

    return drift


def found(path: str, **facts: Any) -> Drift:
    """Something else is found of that file; without facts, nothing."""

    def drift(given: Wishes) -> None:
        (file,) = (each for each in given["files"] if each["path"] == path)
        file.update(facts)
        if not facts:
            given["files"].remove(file)

    return drift


DIRECTORY = {"directories": [REPOSITORY]}
CONFIGURED = {"files": [CONFIG]}
TIMED = {"timers": [TIMER]}
JOB = f"{AGENT['minute']} {AGENT['hour']} * * * {AGENT['crontab_command']}"
OF_ALL = [
    (answered(f"path={REPOSITORY}"), DIRECTORY),
    (answered(f"path={REPOSITORY}", f"drwxr-x--- {APP_ID} {APP_GROUP_ID}"), DIRECTORY),
    (answered(f"path={REPOSITORY}", f"-rwx------ {APP_ID} {APP_GROUP_ID}"), DIRECTORY),
    (answered(f"path={REPOSITORY}", f"drwx------ 0 {APP_GROUP_ID}"), DIRECTORY),
    (answered(f"path={REPOSITORY}", f"drwx------ {APP_ID} 0"), DIRECTORY),
    (answered("path=/usr/local/bin"), {"directories": ["/usr/local/bin"]}),
    (answered("path=/usr/local/bin", "-rw-r--r-- 0 0"), {"directories": ["/usr/local/bin"]}),
    (answered(f"repository={REPOSITORY}"), {"first_backups": ["agent"]}),
    (found(CONFIG), CONFIGURED),
    (found(CONFIG, mode="0640"), CONFIGURED),
    (found(CONFIG, uid=0), CONFIGURED),
    (found(CONFIG, gid=0), CONFIGURED),
    (found(CONFIG, checksum="other"), CONFIGURED),
    (found(CONFIG, isreg=False), CONFIGURED),
]
OF_SYSTEMD = [
    (found(SERVICE), {"files": [SERVICE], **TIMED}),
    (found(TIMER, mode="0600"), {"files": [TIMER], **TIMED}),
    (found(TIMER, uid=APP_ID), {"files": [TIMER], **TIMED}),
    (found(TIMER, gid=APP_GROUP_ID), {"files": [TIMER], **TIMED}),
    (found(TIMER, checksum="other"), {"files": [TIMER], **TIMED}),
    (found(TIMER, isreg=False), {"files": [TIMER], **TIMED}),
    (answered(TIMERS, "sqlite-backup-metrics.timer", "enabled", "active"), TIMED),
    (answered(TIMERS, TIMERS.removeprefix("timers="), "disabled enabled", "active active"), TIMED),
    (answered(TIMERS, TIMERS.removeprefix("timers="), "enabled enabled", "inactive active"), TIMED),
    # Which of them is said to be enabled cannot be told.
    (
        answered(TIMERS, TIMERS.removeprefix("timers="), "enabled", "active active"),
        {"timers": [plan["units"][1] for plan in PLANS]},
    ),
]
OF_CRON = [(found(CRON, mode="0600"), {"files": [CRON]}), (found(CRON), {"files": [CRON]})]
OF_CRONTABS = [
    (answered(CRONTAB), {"crontab": ["agent", "metrics"]}),
    (answered(CRONTAB, "#Ansible: sqlite-backup agent", JOB), {"crontab": ["metrics"]}),
    (answered(CRONTAB, "#Ansible: sqlite-backup agent"), {"crontab": ["agent", "metrics"]}),
    (answered(CRONTAB, "#Ansible: sqlite-backup agent", f"#{JOB}"), {"crontab": ["agent", "metrics"]}),
    (
        answered(CRONTAB, "#Ansible: sqlite-backup agent", "", "#Ansible: sqlite-backup agent", JOB),
        {"crontab": ["agent", "metrics"]},
    ),
]
DRIFTS = [
    *((schedule, *each) for schedule in ("systemd", "cron", "crontab") for each in OF_ALL),
    *(("systemd", *each) for each in OF_SYSTEMD),
    *(("cron", *each) for each in OF_CRON),
    *(("crontab", *each) for each in OF_CRONTABS),
]


@pytest.mark.parametrize(("schedule", "drift", "expected"), DRIFTS)
def test_each_drift_is_seen_and_nothing_else(schedule: str, drift: Drift, expected: Mapping[str, list[str]]) -> None:
    given = wishes(schedule)
    assert backup_differences(PLANS, **copy.deepcopy(given)) == NOTHING

    drift(given)

    assert backup_differences(PLANS, **given) == {**NOTHING, **expected}


def test_a_fresh_host_lacks_everything() -> None:
    for schedule in ("systemd", "cron", "crontab"):
        given = {**wishes(schedule), "answers": {}, "files": []}
        differs = backup_differences(PLANS, **given)
        assert differs["directories"] == [*given["shared_directories"], *given["directories"]]
        assert differs["files"] == [line.split()[1] for line in given["digests"].splitlines()]
        assert differs["first_backups"] == ["agent", "metrics"]
        assert [len(differs["timers"]), len(differs["crontab"])] == [
            2 * (schedule == each) for each in ("systemd", "crontab")
        ]


def test_a_first_backup_that_is_not_wanted_is_not_missed() -> None:
    given = wishes("cron")
    answered(f"repository={REPOSITORY}")(given)
    assert backup_differences([{**AGENT, "first_backup": False}], **given)["first_backups"] == []


def test_root_needs_no_answer_and_a_user_owns_what_is_there() -> None:
    of_root = {**wishes("cron"), "owner": "root", "group": "root", "directories": ["/etc/sqlite-backup"]}
    of_root["answers"] = {"path=/usr/local/bin": ["drwxr-xr-x 0 0"], "path=/etc/sqlite-backup": ["drwx------ 0 0"]}
    of_whom = {**wishes("crontab"), "owner": "", "group": ""}
    assert backup_differences([], **{**of_root, "digests": ""}) == NOTHING
    assert backup_differences(PLANS, **of_whom) == NOTHING


def test_the_look_tells_what_is_there(tmp_path: Path) -> None:
    """With paths that a shell or a pattern could take for something else."""
    repository = tmp_path / "a * $HOME 'b'\n[c]"
    (repository / "20260101T000000Z-1").mkdir(parents=True)
    repository.chmod(0o700)
    empty, link, file = tmp_path / "empty", tmp_path / "link", tmp_path / "file"
    (empty / "20260101T000000Z-1").mkdir(parents=True)
    link.symlink_to(repository)
    file.touch(mode=0o600)
    (repository / "20260101T000000Z-1" / "manifest.json").touch()
    owner = f"{os.getuid()} {os.getgid()}"

    answers = look(
        tmp_path,
        *(f"path={each}" for each in (repository, link, file, tmp_path / "none")),
        *(f"repository={each}" for each in (repository, link, empty, tmp_path / "none")),
        "user=root",
        "user=nobody of the test",
        "group=root",
    )

    assert answers == {
        f"path={repository}": [f"drwx------ {owner}"],
        f"path={link}": [f"drwx------ {owner}"],
        f"path={file}": [f"-rw------- {owner}"],
        f"repository={repository}": ["backups"],
        f"repository={link}": ["backups"],
        "user=root": ["0"],
        "group=root": ["0"],
    }


def test_the_look_tells_nothing_of_the_lines_of_the_user(tmp_path: Path) -> None:
    # U+2028 is no end of a line to a shell.
    lines = ["0 1 * * * secret", "#Ansible: other", "1 2 * * * secret", "#Ansible: sqlite-backup a", "job \u2028x"]
    program(tmp_path, "crontab", f"cat <<'END'\n{chr(10).join([*lines, 'secret', '#Ansible: sqlite-backup b'])}\nEND")

    answers = look(tmp_path, CRONTAB)

    assert answers == {CRONTAB: ["#Ansible: sqlite-backup a", "job \u2028x", "#Ansible: sqlite-backup b"]}


def test_the_look_is_no_failure_where_programs_are_missing(tmp_path: Path) -> None:
    assert look(tmp_path, "user=root", CRONTAB, TIMERS, path="/nonexistent") == {}


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    file.chmod(0o755)


def look(programs: Path, *questions: str, path: str | None = None) -> dict[str, list[str]]:
    """What look.sh answers, with these programs before those of the system."""
    done = subprocess.run(
        ["/bin/sh", "-c", LOOK.read_text(encoding="utf-8"), "sh", *questions],
        env={"PATH": path or f"{programs}{os.pathsep}{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    )
    return backup_answers(done.stdout, questions)
