# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_monitoring: in a home of the test, and what it would write on a host."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from integration import monitoring
from integration.harness import Run
from integration.home import Home
from integration.place import Place, everything

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import watch_config

SECRET = "0b7a3f6e-a-secret"
PING = {"name": "hc", "type": "ping", "url": f"https://hc-ping.com/{SECRET}/{{database}}"}
NOTIFY = [PING, {"name": "pager", "type": "command", "command": ["/usr/local/bin/page", "x"], "when": ["failure"]}]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root")


def changed(run: Run) -> int:
    assert run.code == 0, run.output
    return sum(bool(each.get("changed")) for each in run.results)


def in_home(home: Home, *flags: str, tasks_from: str = "main", **more: Any) -> Run:
    given = {f"sqlite_monitoring_{name}": value for name, value in more.items()}
    variables = {"sqlite_monitoring_scope": "user", **given}
    return monitoring.apply(home.place.directory / "ansible", variables, *flags, tasks_from=tasks_from)


def test_check_run_run_absent(home: Home) -> None:
    home.set_up()
    watch = home.configuration / "watch.json"
    state = home.path / ".local" / "state" / "sqlite-backup"
    before = everything(home.path)
    given = {"notify": NOTIFY, "timeout": "9s", "audit_file": "~/log/audit.jsonl", "textfile_directory": "~/metrics"}

    check = in_home(home, "--check", "--diff", **given)
    assert everything(home.path) == before
    assert changed(check) == changed(in_home(home, **given)) == 4

    assert watch.stat().st_mode & 0o777 == 0o600
    found = watch_config.load(home.configuration)
    assert found.timeout_seconds == 9
    assert found.textfile_directory == home.path / "metrics"
    assert found.status_file == state / "status.json"
    assert found.audit_file == home.path / "log" / "audit.jsonl"
    assert [(each.name, each.url, each.moments) for each in found.receivers] == [
        ("hc", PING["url"], watch_config.MOMENTS),
        ("pager", "", ("failure",)),
    ]
    assert [path.stat().st_mode & 0o777 for path in (state, home.path / "log", home.path / "metrics")] == [
        0o755,
        0o700,
        0o755,
    ]

    assert changed(in_home(home, **given)) == 0
    told = home.path / "metrics" / f"sqlite_backup.{getpass.getuser()}.dev.prom"
    others = home.path / "metrics" / "sqlite_backup.somebody.dev.prom"
    for each in (told, others, state / "status.json", state / ".status.json.lock"):
        each.touch()
    assert changed(in_home(home, "--check", state="absent", **given)) == 2
    assert watch.exists()
    assert changed(in_home(home, state="absent", **given)) == 2
    assert [each.exists() for each in (watch, told, others, state)] == [False, False, True, False]
    assert changed(in_home(home, state="absent", **given)) == 0


@pytest.mark.thorough
def test_no_secret_is_shown(home: Home) -> None:
    home.set_up()
    good = in_home(home, "--diff", "-vvv", notify=NOTIFY)
    assert SECRET in (home.configuration / "watch.json").read_text(encoding="utf-8")
    bad = in_home(home, "--diff", "-vvv", notify=[PING, {**PING, "type": "webhook"}])
    assert bad.code != 0
    mistyped = in_home(home, "--diff", "-vvv", notify=[{**PING, "databses": []}])
    assert mistyped.code != 0
    for run in (good, bad, mistyped):
        assert SECRET not in run.output
        assert SECRET not in json.dumps(run.results)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("entry", "variables", "part"),
    [
        ("main", {"timeout": "soon"}, "sqlite_monitoring: timeout"),
        ("main", {"notify": [PING, PING]}, "sqlite_monitoring: notify[0].name: 'hc' is there twice"),
        ("main", {"notify": [{**PING, "url": "hc-ping.com"}]}, "notify[0].url: it is no http or https URL"),
        ("main", {"notify": [{**PING, "when": ["fail"]}]}, "notify[0].when: there is no 'fail'"),
        ("main", {"status_file": "status.json"}, "sqlite_monitoring_status_file is 'status.json'"),
        ("main", {"audit_file": "/srv/$HOME/audit"}, "sqlite_monitoring_audit_file is '/srv/$HOME/audit'"),
        ("main", {"otlp_endpoint": "collector"}, "sqlite_monitoring: otlp.endpoint"),
        ("main", {"audit_weeks": 123456}, "sqlite_monitoring_audit_weeks is '123456'"),
        ("server", {"rules_dir": "/etc", "alert_max_age": "soon"}, "sqlite_monitoring_alert_max_age is 'soon'"),
        ("server", {"rules_dir": "/etc", "alert_remember": "0s"}, "sqlite_monitoring_alert_remember is '0s'"),
        ("server", {"rules_dir": "/etc", "alert_min_free_percent": 100}, "alert_min_free_percent is '100'"),
        ("server", {}, "sqlite_monitoring_rules_dir and sqlite_monitoring_dashboard_dir are both empty"),
    ],
)
def test_nothing_is_changed_by_what_cannot_be(home: Home, entry: str, variables: dict[str, Any], part: str) -> None:
    before = everything(home.path)
    run = in_home(home, tasks_from=entry, **variables)
    assert run.code != 0
    assert part in " ".join(run.output.split())
    assert everything(home.path) == before


@pytest.mark.thorough
def test_what_is_mistyped_is_a_warning(home: Home) -> None:
    run = in_home(home, "--check", notfy=[], hosts="ci")
    assert run.code == 0, run.output
    assert "Did you mean sqlite_monitoring_notify" in " ".join(run.output.split())
    assert "sqlite_monitoring_hosts" not in run.output


@pytest.mark.thorough
def test_rules_and_dashboard_come_and_go(tmp_path: Path) -> None:
    directory = tmp_path / "server"
    directory.mkdir()
    given = {f"sqlite_monitoring_{name}_dir": str(directory) for name in ("rules", "dashboard")}

    def run(*flags: str, **more: Any) -> Run:
        return monitoring.apply(tmp_path / "ansible", {**given, **more}, *flags, tasks_from="server")

    assert changed(run("--check")) == changed(run()) == 2
    names = {each.name for each in directory.iterdir()}
    assert names == {monitoring.RULES_NAME, monitoring.DASHBOARD_NAME}
    assert json.loads((directory / monitoring.DASHBOARD_NAME).read_text(encoding="utf-8")) == monitoring.dashboard()
    assert changed(run()) == 0
    assert changed(run("--check", sqlite_monitoring_state="absent")) == 2
    assert changed(run(sqlite_monitoring_state="absent")) == 2
    assert [*directory.iterdir()] == []


def on_a_host(place: Place, *flags: str, **more: Any) -> Run:
    """What the role does in the scope `system`, with its files in the test's own place."""
    root = place.directory / "root"
    paths = {"textfile_directory": "textfile", "status_file": "state/status.json", "config_dir": "etc/sqlite-backup"}
    variables = {
        **{f"sqlite_monitoring_{name}": str(root / path) for name, path in paths.items()},
        **{name if name.startswith("sqlite_") else f"sqlite_monitoring_{name}": each for name, each in more.items()},
        "__sqlite_monitoring_units": str(root / "units"),
        "__sqlite_monitoring_logrotate": str(root / "logrotate"),
        "__sqlite_monitoring_has_systemd": True,
    }
    (root / "etc").mkdir(parents=True, exist_ok=True)
    return monitoring.apply(place.directory / "ansible", variables, *flags)


def settings_of(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if "=" in line and line[0] != "#"]
    return dict(line.split("=", 1) for line in lines)


@needs_root
@pytest.mark.thorough
def test_a_whole_host(place: Place) -> None:
    root = place.directory / "root"
    audit = f'{root}/50% "odd"/audit.jsonl'
    before = {*everything(root)} if root.exists() else {"."}
    check = on_a_host(place, "--check", "--diff", audit_file=audit)
    assert {*everything(root)} <= {*before, ".", "etc"}
    assert changed(check) == changed(on_a_host(place, audit_file=audit))
    assert changed(on_a_host(place, audit_file=audit)) == 0

    files = [
        f"{unit}.service.d/watch.conf" for unit in ("sqlite-backup-", "sqlite-backup-push@", "sqlite-restore-drill")
    ]
    for each in files:
        assert settings_of(root / "units" / each) == {
            "ReadWritePaths": f'-{root}/state "-{root}/50%% \\"odd\\"" -{root}/textfile'
        }
    assert f'"{audit}" {{\n    weekly\n    rotate 52\n' in (root / "logrotate").read_text(encoding="utf-8")
    assert (root / "etc" / "sqlite-backup").stat().st_mode & 0o777 == 0o700

    # What is told over a network needs one.
    changed(on_a_host(place, audit_weeks=4, notify=NOTIFY))
    for each in files:
        assert settings_of(root / "units" / each) == {
            "ReadWritePaths": f"-{root}/state -{root}/textfile",
            "PrivateNetwork": "false",
            "IPAddressDeny": "",
            "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6",
        }
    assert not (root / "logrotate").exists()
    changed(on_a_host(place, state="absent"))
    left = {name for name, entry in everything(root).items() if entry[0] == "file"}
    assert left == set()


@needs_root
@pytest.mark.thorough
def test_the_audit_file_is_rotated(place: Place) -> None:
    """By the real program; the next line goes into a new file."""
    if not shutil.which("logrotate"):
        pytest.skip("logrotate is not installed")
    root = place.directory / "root"
    audit = root / "log" / "audit.jsonl"
    on_a_host(place, audit_file=str(audit))
    audit.write_text("one\n", encoding="utf-8")
    rotate = ["logrotate", "--force", "--state", str(root / "rotated"), str(root / "logrotate")]
    (root / "logrotate").chmod(0o644)
    subprocess.run(rotate, check=True, capture_output=True)
    assert sorted(each.name for each in audit.parent.iterdir()) == ["audit.jsonl.1"]


@needs_root
@pytest.mark.slow
def test_a_python_with_the_sdk_is_made(place: Place) -> None:
    root = place.directory / "root"
    # Nothing is fetched for a test: pip is there already.
    given = {"otlp_endpoint": "http://127.0.0.1:4318", "otlp_directory": f"{root}/otlp", "otlp_packages": ["pip"]}
    given["__sqlite_backup_packages"] = []
    check = on_a_host(place, "--check", **given)
    assert check.code == 0, check.output
    run = on_a_host(place, **given)
    assert changed(run)
    collector = watch_config.load(root / "etc" / "sqlite-backup").collector
    assert collector is not None
    assert collector.python is not None
    assert subprocess.run([collector.python, "-c", "import pip"], check=False).returncode == 0
    assert changed(on_a_host(place, **given)) == 0
    # With another list it is installed anew.
    assert changed(on_a_host(place, **{**given, "otlp_packages": ["pip", "pip>1"]})) == 1
    changed(on_a_host(place, state="absent", **given))
    assert not (root / "otlp").exists()


@needs_root
@pytest.mark.thorough
def test_the_group_is_that_of_the_backups(place: Place) -> None:
    watch = place.directory / "root" / "etc" / "sqlite-backup" / "watch.json"
    changed(on_a_host(place, sqlite_backup_user="root", sqlite_backup_group="nogroup"))
    assert watch.group() == "nogroup"


@needs_root
@pytest.mark.thorough
def test_another_user_in_check_mode(place: Place) -> None:
    """There is no such group here yet."""
    run = on_a_host(place, "--check", user="nobody", group="nogroup")
    assert run.code == 0, run.output
    missing = on_a_host(place, "--check", user="nobody-of-that-name", group="nogroup")
    assert missing.code != 0
    assert "sqlite_monitoring_user is 'nobody-of-that-name': there is none of that name" in " ".join(
        missing.output.split()
    )
