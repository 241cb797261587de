# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_backup on this host, as far as it leaves no trace there; Molecule has hosts of its own.

In the scope `user` all of it runs, in a home of the test and with a crontab of the test. In the scope `system` it runs
in check mode, and what it would write for cron and systemd is looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run, Session
from integration.home import Home
from integration.place import Place, everything, modes, stored

from ansible_collections.sqliteops.backup.plugins.filter.backup_plans import backup_plans
from support import databases

TEMPLATES = harness.ROOT / "roles" / "sqlite_backup" / "templates"
MOST_TASKS = 25


def test_check_run_run_change(home: Home) -> None:
    before = everything(home.path)

    check = home.provision("--check", "--diff")

    assert check.code == 0, check.output
    assert everything(home.path) == before

    run = home.provision()

    assert run.code == 0, run.output
    assert len(_changed(check)) == len(_changed(run)) == 5
    assert len(home.backups()) == 1
    (line,) = home.crontab
    assert line.split()[:5] == [home.minute(), "7", "*", "*", "*"]
    assert line.endswith(f" {home.runner} backup dev --config {home.configuration} --syslog")
    for directory in (home.configuration, home.repository.parent):
        assert modes(directory) == {"file": {"0600"}, "directory": {"0700"}}

    after = everything(home.path)
    again = home.provision()

    assert again.code == 0, again.output
    assert _changed(again) == []
    assert everything(home.path) == after

    made = home.backups()
    databases.add(home.place.database, "later")
    # cron gives a command to the shell, with nearly nothing in the environment.
    command = line.split(maxsplit=5)[5].replace(" --syslog", "")
    subprocess.run(["/bin/sh", "-c", command], env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)

    assert home.backups() != made

    change = home.provision(
        sqlite_backup_every="12h", sqlite_backup_active_hours="0-23", sqlite_backup_defaults={"keep_daily": 30}
    )

    assert change.code == 0, change.output
    assert len(_changed(change)) == 2
    assert home.crontab[0].split()[1:5] == ["0,12", "*", "*", "*"]
    content = json.loads((home.configuration / "databases.d" / "dev.json").read_bytes())
    assert (content["keep_daily"], content["rpo"]) == (30, "1d")


@pytest.mark.slow
def test_applications_add_up_and_go_one_by_one(home: Home) -> None:
    """The database of the second one is missing: it is set up all the same, and fails in the words of the runner."""
    home.set_up()
    missing = {"name": "missing", "path": str(home.place.srv / "missing.db")}

    second = home.provision(sqlite_backup_databases=[missing])

    assert second.code != 0
    assert f"Cannot back up {missing['path']}: the file does not exist." in second.results[-1]["msg"]
    assert "sqlite_backup_first_backup" in second.results[-1]["msg"]
    assert home.configured() == ["dev.json", "missing.json"]
    assert len(home.crontab) == 1

    third = home.provision(sqlite_backup_databases=[home.database, {**missing, "first_backup": False}])

    assert third.code == 0, third.output
    assert (len(home.crontab), len(home.backups())) == (2, 1)

    one_gone = home.provision(sqlite_backup_state="absent")

    assert one_gone.code == 0, one_gone.output
    assert home.configured() == ["missing.json"]
    assert "backup missing" in "".join(home.crontab)
    assert len(home.crontab) == 1
    assert home.runner.exists()

    key = home.configuration / "key.txt"
    key.write_text("secret", encoding="utf-8")
    gone, again = (
        home.provision(sqlite_backup_state="absent", sqlite_backup_databases=[{"name": "missing"}]) for _run in range(2)
    )

    assert (gone.code, again.code) == (0, 0), gone.output
    assert (len(_changed(gone)), _changed(again)) == (3, [])
    assert home.crontab == []
    assert not home.runner.exists()
    assert list(home.configuration.iterdir()) == [key], "a key that is lost loses all backups"
    assert len(home.backups()) == 1


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"sqlite_backup_databases": [{"name": "dev", "path": "/a.db", "evry": "1h"}]}, "evry"),
        ({"sqlite_backup_scheduler": "systemd"}, "sqlite_backup_scheduler is 'systemd'"),
        ({"sqlite_backup_defaults": {"timeout": "1 hour"}}, "dev: timeout is"),
        ({"sqlite_backup_repository_dir": "~/$HOME"}, "sqlite_backup_repository_dir is '"),
    ],
)
def test_nothing_is_changed_by_what_cannot_be(home: Home, variables: dict[str, Any], part: str) -> None:
    before = everything(home.path)

    run = home.provision(**variables)

    assert run.code != 0
    assert part in run.output
    assert everything(home.path) == before


@pytest.mark.thorough
def test_a_configuration_that_would_fail_does_not_replace_one_that_works(home: Home) -> None:
    home.set_up()
    home.place.backed_up(repository=home.repository, name="dev")
    file = home.configuration / "databases.d" / "dev.json"
    before = file.read_bytes()
    moved = {**home.database, "path": str(home.place.srv / "moved.db")}

    # The second run has nothing left to change, and must say it again.
    first, second = (home.provision(sqlite_backup_databases=[moved]) for _run in range(2))

    for run in (first, second):
        assert run.code != 0
        said = run.results[-1]["msg"]
        assert said.startswith(f"dev: error 10: Cannot back up {moved['path']}: the file does not exist.")
        assert "failed to validate" not in said
        assert file.read_bytes() == before
        assert home.crontab == []

    shutil.copy(home.place.database, moved["path"])
    home.place.database.unlink()
    good = home.provision(sqlite_backup_databases=[{**moved, "keep_daily": "9"}])

    assert good.code == 0, good.output
    assert json.loads(file.read_bytes())["keep_daily"] == 9
    assert len(home.crontab) == 1


@pytest.mark.thorough
def test_what_is_not_listed_is_told_or_goes_and_what_is_absent_goes(home: Home) -> None:
    path = {"path": str(home.place.database), "first_backup": "no"}
    kept, other = ({"name": name, **path} for name in ("kept", "other"))
    three = home.provision(sqlite_backup_databases=[home.database, kept, other])

    assert (three.code, len(home.crontab)) == (0, 3), three.output
    assert "[WARNING]" not in three.output
    assert [each.parent.name for each in home.repository.parent.glob("*/*Z-*")] == ["dev"]

    before = everything(home.path)
    listed = [home.database, kept]
    check, warned = (home.provision(*flags, sqlite_backup_databases=listed) for flags in (["--check"], []))

    for run in (check, warned):
        assert (run.code, _changed(run)) == (0, []), run.output
        assert "[WARNING]: localhost: other: configured in" in _unwrapped(run)
    assert everything(home.path) == before

    ignored = home.provision(sqlite_backup_databases=listed, sqlite_backup_unlisted="ignore")

    assert (ignored.code, _changed(ignored)) == (0, []), ignored.output
    assert "[WARNING]" not in ignored.output

    given = {
        "sqlite_backup_databases": [{"name": "dev", "state": "absent"}, kept],
        "sqlite_backup_unlisted": "remove",
    }
    check, removed, again = (home.provision(*flags, **given) for flags in (["--check"], [], []))

    assert [run.code for run in (check, removed, again)] == [0, 0, 0], removed.output
    assert [len(_changed(run)) for run in (check, removed, again)] == [2, 2, 0]
    assert (home.configured(), len(home.crontab), len(home.backups())) == (["kept.json"], 1, 1)
    assert "backup kept" in home.crontab[0]


@pytest.mark.thorough
def test_what_is_probably_not_meant_is_a_warning(home: Home) -> None:
    run = home.run("provision_backups", {"sqlite_backup_database": [home.database], "sqlite_backup_own_variable": 1})

    assert run.code == 0, run.output
    said = _unwrapped(run)
    assert "[WARNING]: localhost: sqlite_backup_databases is empty" in said
    assert "there is no variable sqlite_backup_database. Did you mean sqlite_backup_databases?" in said
    assert "own_variable" not in said


@pytest.mark.slow
def test_each_tag_works_alone(home: Home) -> None:
    def run(tag: str) -> list[str]:
        done = home.provision("--tags", f"sqlite_backup_{tag}")
        assert done.code == 0, done.output
        return _changed(done)

    assert run("packages") == []
    assert not home.configuration.exists()
    assert len(run("runner")) == 2
    assert (home.runner.exists(), home.configured()) == (True, [])
    assert len(run("configuration")) == 1
    assert (home.configured(), home.crontab, home.repository.exists()) == (["dev.json"], [], True)
    assert len(run("schedule")) == 1
    assert (len(home.crontab), home.backups()) == (1, [])
    assert len(run("first")) == 1
    assert len(home.backups()) == 1
    whole = home.provision()
    assert (whole.code, _changed(whole)) == (0, []), whole.output
    gone = home.provision("--tags", "sqlite_backup_schedule", sqlite_backup_state="absent")
    assert (gone.code, home.crontab, home.runner.exists()) == (0, [], False), gone.output


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"sqlite_backup_user": "nobody-of-the-test"}, "sqlite_backup_user is 'nobody-of-the-test'"),
        ({"sqlite_backup_group": "nobody-of-the-test"}, "sqlite_backup_group is 'nobody-of-the-test'"),
    ],
)
def test_a_user_that_does_not_exist_is_told_in_check_mode(place: Place, variables: dict[str, str], part: str) -> None:
    given = {"sqlite_backup_databases": [{"name": "test-of-the-role", "path": str(place.database)}], **variables}

    run = harness.run_playbook(place.directory / "ansible", f"{harness.NAMESPACE}.provision_backups", given, "--check")

    assert run.code != 0
    assert run.results[-1]["msg"].startswith(part)
    assert _changed(run) == []


@pytest.mark.thorough
@pytest.mark.parametrize(("text", "installs"), [("no", False), ("yes", True)])
def test_a_text_that_means_no_installs_nothing(place: Place, text: str, installs: bool) -> None:
    given = {
        "sqlite_backup_databases": [{"name": "test-of-the-role", "path": str(place.database)}],
        "sqlite_backup_config_dir": str(place.directory / "etc"),
        "sqlite_backup_manage_packages": text,
        "__sqlite_backup_missing": ["age"],
    }

    flags = ["--check", "--tags", "sqlite_backup_packages"]
    run = harness.run_playbook(place.directory / "ansible", f"{harness.NAMESPACE}.provision_backups", given, *flags)

    assert run.code == 0, run.output
    assert ("Missing are the packages" in run.output) is installs


def test_backup_now(home: Home) -> None:
    home.set_up()
    made = home.place.backed_up(repository=home.repository, name="dev").name
    databases.add(home.place.database, "later")
    asked = {"reason": "before $HOME 'migration' 42", "pinned": "true"}
    before = stored(home.repository)

    check = home.run("backup_now", asked, "--check")

    assert check.code == 0, check.output
    assert len(_changed(check)) == 1
    assert stored(home.repository) == before

    run, again = home.run("backup_now", asked), home.run("backup_now", {**asked, "names": "dev"})

    assert (run.code, again.code) == (0, 0), run.output
    assert (len(_changed(run)), len(_changed(again))) == (1, 0)
    # Of the last day all stay, also with a developer.
    first, pinned = home.backups()
    manifest = json.loads((home.repository / pinned / "manifest.json").read_text(encoding="utf-8"))
    assert first == made
    assert (manifest["reason"], manifest["pinned"]) == (asked["reason"], True)


@pytest.mark.thorough
def test_backup_now_says_what_failed(home: Home) -> None:
    home.set_up()
    home.place.database.unlink()
    missing, unknown = home.run("backup_now", {}), home.run("backup_now", {"names": "dev,metrics"})
    home.runner.unlink()
    without = home.run("backup_now", {})

    assert all(run.code != 0 and not _changed(run) for run in (missing, unknown, without))
    said = [run.results[-1]["msg"] for run in (missing, unknown, without)]
    assert said[0].startswith(f"dev: Cannot back up {home.place.database}: the file does not exist.")
    assert "No database 'metrics' is configured" in said[1]
    assert f"Cannot run {home.runner}" in said[2]


@pytest.mark.slow
def test_prune_backups(home: Home) -> None:
    home.set_up()
    # Three of one day, of which the last one stays, and one of the last day.
    for moment in ("28T00", "28T01", "28T02", "30T12"):
        home.place.backed_up_at(f"2025-12-{moment}:00:00Z", repository=home.repository, name="dev", force=True)
    before = home.backups()

    check = home.run("prune_backups", {}, "--check")

    assert check.code == 0, check.output
    assert len(_changed(check)) == 1
    assert home.backups() == before
    shown = next(each["results"][0]["msg"] for each in check.results if "results" in each)
    assert [each["id"] for each in shown["removed"]] == before[:2]
    assert [each["id"] for each in shown["kept"]] == before[2:]
    assert "newest" in shown["kept"][1]["reasons"]

    run, again = home.run("prune_backups", {}), home.run("prune_backups", {})

    assert (run.code, again.code) == (0, 0), run.output
    assert (len(_changed(run)), _changed(again)) == (1, [])
    assert home.backups() == before[2:]


def test_a_whole_host_in_check_mode(place: Place) -> None:
    """Nothing is there yet, and nothing is there afterwards; but it is told what would be."""
    variables = {
        "sqlite_backup_scheduler": "systemd",
        "sqlite_backup_config_dir": str(place.directory / "etc"),
        "sqlite_backup_repository_dir": str(place.directory / "backups"),
        "sqlite_backup_runner_path": str(place.directory / "bin" / "runner"),
        "sqlite_backup_databases": [{"name": "test-of-the-role", "path": str(place.database)}],
    }
    folder = place.directory / "ansible"

    run = harness.run_playbook(folder, f"{harness.NAMESPACE}.provision_backups", variables, "--check", "--diff")

    assert run.code == 0, run.output
    assert sorted(each.name for each in place.directory.iterdir()) == ["ansible", "srv"]
    assert [each.name for each in place.srv.iterdir()] == ["agent.db"]
    assert not list(Path("/etc").glob("*/*/sqlite-backup-test-of-the-role*"))
    assert "/etc/systemd/system/sqlite-backup-test-of-the-role.timer" in run.output
    assert f"ExecStart={place.directory}/bin/runner backup test-of-the-role" in run.output
    assert len(_changed(run)) >= 5
    assert len(run.results) <= MOST_TASKS


@pytest.mark.thorough
@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_host_without_a_directory_for_cron_is_no_reason_to_warn(place: Place, state: str) -> None:
    variables = {
        "sqlite_backup_state": state,
        "sqlite_backup_scheduler": "systemd",
        "sqlite_backup_config_dir": str(place.directory / "etc"),
        "sqlite_backup_repository_dir": str(place.directory / "data" / "backups" / "all"),
        "sqlite_backup_runner_path": str(place.directory / "opt" / "tools" / "bin" / "runner"),
        "sqlite_backup_databases": [{"name": "test-of-the-role", "path": str(place.database)}],
        "__sqlite_backup_schedule_directories": [str(place.directory / "cron.d"), "/etc/systemd/system"],
    }
    folder = place.directory / "ansible"

    run = harness.run_playbook(folder, f"{harness.NAMESPACE}.provision_backups", variables, "--check")

    assert run.code == 0, run.output
    assert "Skipped" not in run.output
    assert "Not all paths examined" not in json.dumps(run.results)


@pytest.mark.parametrize("user", ["root", "agent"])
def test_units(ansible: Session, place: Place, user: str) -> None:
    service, timer = _written(ansible, place, user, "service", "timer")
    texts = [path.read_text(encoding="utf-8") for path in (service, timer)]

    assert f"User={user}\n" in texts[0]
    capabilities = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETGID CAP_SETUID" if user == "root" else ""
    assert _settings(texts[0], "CapabilityBoundingSet") == [capabilities]
    assert _settings(texts[0], "ReadOnlyPaths") == ["-/run -/dev/shm -/dev/mqueue"]
    # What only root may do is given back to root alone.
    given_back = ["@chown @setuid"] if user == "root" else []
    assert _settings(texts[0], "SystemCallFilter")[2:] == given_back
    assert _settings(texts[0], "TimeoutStartSec") == ["90180"]
    assert r'''ReadWritePaths="-/backup/100%% \"odd\"" "-/srv/bob's app"''' in texts[0]
    assert "OnCalendar=*-*-* 6,7,8,9:" in texts[1]
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    # It looks whether the program that is run exists.
    service.write_text(texts[0].replace("/opt/sqlite-backup", sys.executable), encoding="utf-8")
    run = subprocess.run(["systemd-analyze", "verify", service, timer], check=False, capture_output=True, text=True)
    assert (run.returncode, [line for line in run.stderr.splitlines() if place.directory.name in line]) == (0, [])


def test_the_unit_of_a_push(ansible: Session, place: Place) -> None:
    push, service = _written(ansible, place, "agent", "push@.service", "service", targets=["nas"])
    texts = [path.read_text(encoding="utf-8") for path in (push, service)]

    assert _settings(texts[0], "ExecStart") == ['/opt/sqlite-backup push test --config "/etc/100%% s"']
    assert _settings(texts[1], "ExecStart") == ['/opt/sqlite-backup backup test --config "/etc/100%% s" --no-push']
    assert _settings(texts[0], "After") == ["network-online.target sqlite-backup-test.service"]
    assert _settings(texts[1], "Wants") == ["sqlite-backup-push@test.service"]
    assert _settings(texts[0], "RestrictAddressFamilies") == ["AF_UNIX AF_INET AF_INET6"]
    assert _settings(texts[0], "PrivateNetwork") == _settings(texts[0], "IPAddressDeny") == []
    assert _settings(texts[0], "ReadWritePaths") == [
        r""""-/backup/100%% \"odd\"" "-/etc/100%% s/seen.d" -/mnt -/media"""
    ]
    assert _settings(texts[0], "TimeoutStartSec") == ["604800"]
    different = {*texts[0].splitlines()} ^ {*texts[1].splitlines()}
    names = {line.partition("=")[0] for line in different if not line.startswith("#")}
    of_the_network = {"RestrictAddressFamilies", "PrivateNetwork", "IPAddressDeny"}
    assert names == {"Description", "Wants", "After", "ExecStart", "TimeoutStartSec", "ReadWritePaths", *of_the_network}


def test_the_file_for_cron(ansible: Session, place: Place) -> None:
    (file,) = _written(ansible, place, "agent", "cron")
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]

    assert lines[:3] == [
        "SHELL=/bin/sh",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        'MAILTO="ops@example.org"',
    ]
    (line,) = lines[3:]
    assert line.split(maxsplit=5)[1:] == [
        "6,7,8,9",
        "*",
        "*",
        "*",
        "agent /opt/sqlite-backup backup test --config '/etc/100\\% s' --syslog",
    ]


@pytest.mark.parametrize(("kind", "targets"), [("cron", []), ("systemd", []), ("systemd", ["nas"])])
def test_the_digests_are_those_of_the_files(ansible: Session, place: Place, kind: str, targets: list[str]) -> None:
    kinds = ["cron"] if kind == "cron" else [*(["push@.service"] if targets else []), "service", "timer"]
    files = _written(ansible, place, "root", *kinds, targets=targets)
    file, config = place.directory / "digests", place.directory / "config.json"
    variables = {**_variables("root"), "__sqlite_backup_plans": _plans(targets), "__sqlite_backup_schedule_kind": kind}
    options = {"src": str(TEMPLATES / "digests.j2"), "dest": str(file), "mode": "0600"}
    content = {"content": "{{ config | to_nice_json }}\n", "dest": str(config), "mode": "0600"}

    results = ansible.run(
        [
            {"ansible.builtin.template": options, "vars": variables},
            {"ansible.builtin.copy": content, "vars": {"config": _plans(targets)[0]["config"]}},
        ]
    )

    assert not any(result["failed"] for result in results), results
    digests = [line.split(" ")[0] for line in file.read_text(encoding="utf-8").splitlines()]
    made = (config, *files)
    assert digests == [hashlib.sha1(each.read_bytes(), usedforsecurity=False).hexdigest() for each in made]


def _settings(unit: str, name: str) -> list[str]:
    """What the lines of a unit file say that set ``name``."""
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def _written(ansible: Session, place: Place, user: str, *kinds: str, targets: Sequence[str] = ()) -> list[Path]:
    """What the templates make of a database whose paths need care."""
    files = [place.directory / f"test.{kind}" for kind in kinds]
    for kind, file in zip(kinds, files, strict=True):
        (plan,) = _plans(targets)
        item = plan if kind == "cron" else [plan, str(file)]
        options = {"src": str(TEMPLATES / f"{kind.rpartition('.')[2]}.j2"), "dest": str(file), "mode": "0644"}
        (result,) = ansible.run([{"ansible.builtin.template": options, "vars": {**_variables(user), "item": item}}])
        assert not result["failed"], result
        assert file.read_text(encoding="utf-8").startswith("#")
    return files


def _plans(targets: Sequence[str] = ()) -> list[dict[str, Any]]:
    database = {"name": "test", "path": "/srv/bob's app/a.db", "repository": '/backup/100% "odd"'}
    return backup_plans(
        [{**database, "active_hours": "6-9", **({"targets": [*targets]} if targets else {})}],
        host="localhost",
        config_dir="/etc/100% s",
        repository_dir="/backup",
        runner_path="/opt/sqlite-backup",
    )


def _variables(user: str) -> dict[str, str]:
    return {
        "sqlite_backup_user": user,
        "sqlite_backup_group": user,
        "sqlite_backup_mailto": "ops@example.org",
        "sqlite_backup_random_delay": "30s",
    }


def _changed(run: Run) -> list[str]:
    """What changed, one entry a task; a handler or a loop is one."""
    return [str(each.get("msg", "")) for each in run.results if each.get("changed")]


def _unwrapped(run: Run) -> str:
    """What was printed, without the line breaks that Ansible puts into a warning."""
    return " ".join(run.output.split())
