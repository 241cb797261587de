# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_restore_drill: in a home of the test, and what it would write for cron and systemd on a host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run
from integration.home import Home
from integration.place import Place, everything

from support import databases

DAYS = ["sun", "wed"]
SCRATCH = "/var/tmp/drills"  # noqa: S108 - nothing is written there


def apply(place: Place, variables: dict[str, Any], *flags: str) -> Run:
    folder = place.directory / "ansible"
    folder.mkdir(exist_ok=True)
    play = {"hosts": "localhost", "gather_facts": False, "roles": [f"{harness.NAMESPACE}.sqlite_restore_drill"]}
    playbook = folder / "playbook.json"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    return harness.run_playbook(folder, str(playbook), variables, *flags)


def changed(run: Run) -> int:
    assert run.code == 0, run.output
    return sum(bool(each.get("changed")) for each in run.results)


def in_home(home: Home, *flags: str, **more: Any) -> Run:
    return apply(home.place, {"sqlite_restore_drill_scope": "user", **more}, *flags)


def report_of(home: Home) -> Path:
    return home.path / "drills" / "report.html"


def test_check_run_run_absent(home: Home) -> None:
    home.set_up()
    before = everything(home.path)
    given = {"sqlite_restore_drill_report": "~/drills/report.html", "sqlite_restore_drill_weekdays": DAYS}

    check = in_home(home, "--check", "--diff", **given)
    assert everything(home.path) == before
    assert changed(check) == changed(in_home(home, **given)) == 2

    (line,) = home.crontab
    minute, hour, *days, path, command = line.split(" ", 6)
    assert 0 <= int(minute) < 60
    assert [hour, *days] == ["4", "*", "*", "0,3"]
    assert path.startswith("PATH=")
    words = [home.runner, "drill", "--all", "--config", home.configuration, "--report", report_of(home), "--syslog"]
    assert command == " ".join(map(str, words))
    assert report_of(home).parent.stat().st_mode & 0o777 == 0o700

    assert changed(in_home(home, **given)) == 0
    assert changed(in_home(home, "--check", sqlite_restore_drill_state="absent")) == 1
    assert changed(in_home(home, sqlite_restore_drill_state="absent")) == 1
    assert home.crontab == []
    assert changed(in_home(home, sqlite_restore_drill_state="absent")) == 0


def test_drills_now_and_what_did_not_pass_is_named(home: Home) -> None:
    home.set_up()
    backup = home.place.backed_up(repository=home.repository)
    given = {"sqlite_restore_drill_report": str(report_of(home)), "sqlite_restore_drill_now": True}

    good = in_home(home, **given)
    assert good.code == 0, good.output
    assert json.loads(report_of(home).with_suffix(".json").read_text())["drills"][0]["outcome"] == "passed"

    databases.flip_bit(backup / "database.sqlite.gz", 30)
    bad = in_home(home, **given)
    assert bad.code != 0
    assert "dev on localhost: failed." in bad.output
    assert "1 drill passed" in report_of(home).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"sqlite_restore_drill_scheduler": "systemd"}, "sqlite_restore_drill_scheduler is 'systemd'"),
        ({"sqlite_restore_drill_hour": 24}, "sqlite_restore_drill_hour is '24'"),
        ({"sqlite_restore_drill_weekdays": []}, "sqlite_restore_drill_weekdays is []"),
        ({"sqlite_restore_drill_names": ["--all"]}, "sqlite_restore_drill_names is ['--all']"),
        ({"sqlite_restore_drill_report": "drills.html"}, "sqlite_restore_drill_report is 'drills.html'"),
        ({"sqlite_restore_drill_report": "/srv/drills"}, "sqlite_restore_drill_report is '/srv/drills'"),
    ],
)
def test_nothing_is_changed_by_what_cannot_be(home: Home, variables: dict[str, Any], part: str) -> None:
    before = everything(home.path)
    run = in_home(home, **variables)
    assert run.code != 0
    assert part in " ".join(run.output.split())
    assert "llowed" in run.output
    assert everything(home.path) == before


def test_what_is_mistyped_is_a_warning(home: Home) -> None:
    run = in_home(home, "--check", sqlite_restore_drill_weekday="mon", sqlite_restore_drill_hosts="ci")
    assert run.code == 0, run.output
    assert "Did you mean sqlite_restore_drill_weekdays" in " ".join(run.output.split())
    assert "sqlite_restore_drill_hosts" not in run.output


def on_a_host(place: Place, scheduler: str, *flags: str, **more: Any) -> Run:
    """What the role does in the scope `system`, with the directories of the schedule in the test's own place."""
    files = place.directory / "etc"
    files.mkdir(exist_ok=True)
    variables = {
        "sqlite_restore_drill_scheduler": scheduler,
        "sqlite_restore_drill_config_dir": str(place.directory / "configuration"),
        "sqlite_restore_drill_runner_path": str(place.directory / "50% odd" / "runner"),
        "__sqlite_restore_drill_cron_file": str(files / "cron"),
        "__sqlite_restore_drill_service": str(files / "drill.service"),
        "__sqlite_restore_drill_timer": str(files / "drill.timer"),
    }
    return apply(place, {**variables, **more}, *flags)


def configure(place: Place, **more: Any) -> None:
    directory = place.directory / "configuration" / "databases.d"
    directory.mkdir(parents=True)
    for name in ("agent", "metrics"):
        content = {"path": f"/srv/{name}.db", "repository": f'/backups/{name} 100% "\\odd"', **more}
        (directory / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_a_whole_host_in_check_mode(place: Place) -> None:
    """On a fresh one: nothing is configured yet."""
    before = everything(place.directory)
    run = on_a_host(place, "systemd", "--check", "--diff", sqlite_restore_drill_report="/var/lib/drills/all.html")
    # The directory, and the units.
    assert changed(run) == 2
    assert "ExecStart=" in run.output
    written = {name for name in {*everything(place.directory)} - {*before} if name.partition("/")[0] != "ansible"}
    assert written <= {"etc"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root")
def test_the_file_for_cron(place: Place) -> None:
    configure(place)
    given = {"sqlite_restore_drill_names": ["agent"], "sqlite_restore_drill_backup": "due"}
    assert changed(on_a_host(place, "cron", sqlite_restore_drill_mailto="ops@example.org", **given)) == 1
    assert changed(on_a_host(place, "cron", sqlite_restore_drill_mailto="ops@example.org", **given)) == 0
    text = (place.directory / "etc" / "cron").read_text(encoding="utf-8")
    assert 'MAILTO="ops@example.org"\n' in text
    line = text.splitlines()[-1]
    assert line.split()[1:6] == ["4", "*", "*", "0", "root"]
    runner, configuration = place.directory / "50\\% odd" / "runner", place.directory / "configuration"
    assert line.endswith(f"root '{runner}' drill agent --config {configuration} --backup due --syslog")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root")
@pytest.mark.parametrize("target", ["", "nas"])
def test_the_units(place: Place, target: str) -> None:
    configure(place, drill={"scratch_dir": SCRATCH})
    given = {"sqlite_restore_drill_target": target, "sqlite_restore_drill_report": f"{place.directory}/r/all.html"}
    run = on_a_host(place, "systemd", **given, sqlite_restore_drill_weekdays=DAYS)
    # Here no systemd runs them.
    service, timer = (place.directory / "etc" / f"drill.{kind}" for kind in ("service", "timer"))
    assert service.exists(), run.output
    text = service.read_text(encoding="utf-8")
    settings = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    runner = str(place.directory / "50%% odd" / "runner")
    words = [runner, "drill", "--all", "--config", str(place.directory / "configuration")]
    words += ["--target", target] if target else []
    quoted = " ".join(f'"{each}"' for each in [*words, "--report", f"{place.directory}/r/all.html"])
    assert settings["ExecStart"] == quoted
    paths = [r"/backups/agent 100%% \"\\odd\"", r"/backups/metrics 100%% \"\\odd\"", SCRATCH, f"{place.directory}/r"]
    paths.append(f"{place.directory}/configuration/seen.d")
    assert settings["ReadWritePaths"] == " ".join(f'"-{each}"' for each in sorted(paths))
    assert settings["PrivateTmp"] == "false"
    assert ("PrivateNetwork" in settings) is not bool(target)
    assert settings["ProtectSystem"] == "strict"
    assert "CAP_DAC_OVERRIDE" in settings["CapabilityBoundingSet"]
    assert "OnCalendar=Sun,Wed *-*-* 4:" in timer.read_text(encoding="utf-8")
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    service.write_text(text.replace(runner, sys.executable), encoding="utf-8")
    run_it = ["systemd-analyze", "verify", service, timer]
    found = subprocess.run(run_it, check=False, capture_output=True, text=True)
    assert (found.returncode, [line for line in found.stderr.splitlines() if "drill" in line]) == (0, [])
