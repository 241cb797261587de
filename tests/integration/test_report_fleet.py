# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook report_fleet: many hosts, one page, and red when one database is not well or one host is silent."""

from __future__ import annotations

import json
import shutil
import sys
from typing import Any

import pytest
from integration import fleet as fleets
from integration import harness
from integration.fleet import HOSTS, Fleet
from integration.harness import Run
from integration.home import Home
from integration.place import Place

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp

pytestmark = pytest.mark.thorough

# What a host has where root has no databases, and another user has some.
ELSEWHERE = """#!/bin/sh
case "$*" in
  *--config*) exec {runner} "$@" ;;
esac
echo '{{"results": [], "error": {{"code": 2, "message": "No database is configured."}},
  "also_configured": [{{"directory": "{there}", "user": "ci"}}]}}'
exit 2
"""


class Asked(Fleet):
    """Hosts that are all this one, each with a runner, a configuration and a repository of its own."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, f"{harness.NAMESPACE}.report_fleet", "databases")
        self.real = place.directory / "bin" / "sqlite-backup"
        self.real.parent.mkdir()
        zipapp.install(self.real, cli.main, interpreter=sys.executable)
        for name in HOSTS:
            self.configure(name)
            place.backed_up(repository=self.repository(name))

    def configure(self, name: str) -> None:
        databases = self.directory(name) / "etc" / "databases.d"
        databases.mkdir(parents=True, mode=0o700)
        file = databases / "agent.json"
        given = {"path": str(self.place.database), "repository": str(self.repository(name)), "rpo": "1h"}
        file.write_text(json.dumps(given), encoding="utf-8")
        file.chmod(0o600)
        self.script(name, f'#!/bin/sh\nSQLITE_BACKUP_CONFIG={databases.parent} exec {self.real} "$@"\n')

    def script(self, name: str, text: str) -> None:
        """What runs on a host for the runner."""
        runner = self.directory(name) / "sqlite-backup"
        runner.write_text(text, encoding="utf-8")
        runner.chmod(0o755)

    def ask(self, *flags: str, **more: Any) -> Run:
        variables = {
            "sqlite_fleet_hosts": "fleet",
            "sqlite_fleet_runner_path": f"{self.place.directory}/fleet/{{{{ inventory_hostname }}}}/sqlite-backup",
            "sqlite_fleet_report": str(self.report),
            **more,
        }
        return self.run(variables, *flags)

    def states(self) -> list[tuple[str, str]]:
        return [(each["host"], each["state"]) for each in self.told()]


@pytest.fixture
def fleet(place: Place) -> Asked:
    return Asked(place)


def test_all_is_well_and_nothing_is_changed(fleet: Asked) -> None:
    check = fleet.ask("--check")
    assert check.code == 0, check.output
    assert not fleet.report.with_suffix(".html").exists()

    run = fleet.ask()
    assert run.code == 0, run.output
    assert fleet.states() == [(name, "ok") for name in HOSTS]
    assert "All 3 databases are well backed up." in fleet.page()
    assert oct(fleet.report.with_suffix(".html").stat().st_mode & 0o777) == "0o600"
    rows = [line for line in run.output.splitlines() if "ok " in line and "agent" in line]
    assert [name for name in HOSTS if any(f" {name} " in row for row in rows)] == [*HOSTS]


def test_a_report_counts_from_where_ansible_was_started(fleet: Asked) -> None:
    assert fleet.ask(sqlite_fleet_report="from-here").code == 0
    found = [each.name for each in fleet.place.directory.rglob("from-here.*")]
    assert sorted(found) == ["from-here.html", "from-here.json"]


def test_a_database_that_is_not_well_makes_it_red_and_is_named(fleet: Asked) -> None:
    shutil.rmtree(fleet.repository("ci-1"))
    shutil.rmtree(fleet.repository("ci-2"))
    fleet.place.backed_up_at("2026-01-01T00:00:00Z", repository=fleet.repository("ci-2"))

    run = fleet.ask()

    assert run.code != 0
    assert fleet.states() == [("ci-1", "missed"), ("ci-2", "missed"), ("ci-3", "ok")]
    first, second = run.last_failure.splitlines()
    assert first.startswith("agent on ci-1: missed. There is no verified backup.")
    assert second.startswith("agent on ci-2: missed. The newest verified backup is ")
    assert "1 of 3 databases is well backed up." in fleet.page()


def test_degraded_is_green_unless_that_is_asked_for(fleet: Asked) -> None:
    fleet.place.backed_up(repository=fleet.repository("ci-2"), force=True)
    oldest = min(fleet.repository("ci-2").glob("*Z-*"))
    next(oldest.glob("database*")).unlink()

    run = fleet.ask()
    assert run.code == 0, run.output
    assert fleet.states() == [("ci-2", "degraded"), ("ci-1", "ok"), ("ci-3", "ok")]
    assert any("degraded" in line and "cannot be restored" in line for line in run.output.splitlines())

    red = fleet.ask(sqlite_fleet_degraded="red")
    assert red.code != 0
    assert red.last_failure.startswith("agent on ci-2: degraded. The backup ")


@pytest.mark.skipif(not shutil.which("ssh"), reason="ssh is not installed")
@pytest.mark.parametrize("silent", [HOSTS[:1], HOSTS], ids=["one", "all"])
def test_hosts_that_are_not_reached_make_it_red_and_are_named(
    fleet: Asked, refused: int, silent: tuple[str, ...]
) -> None:
    """The first one, too, which is the one that would write the report; and none may be left out when all are."""
    fleet.silence(refused, *silent)

    run = fleet.ask()

    assert run.code != 0
    assert sorted(fleet.states()) == [(name, "not reached" if name in silent else "ok") for name in HOSTS]
    assert fleets.silent(run) == [f"{name}: not reached" for name in silent]


def test_hosts_that_answer_nonsense_too_late_or_not_at_all(fleet: Asked) -> None:
    """Each of them is in the report, and the others are as they are."""
    fleet.script("ci-1", "#!/bin/sh\necho '{\"results\": [{'\n")
    fleet.script("ci-2", "#!/bin/sh\nexec sleep 20\n")
    (fleet.directory("ci-3") / "sqlite-backup").unlink()

    run = fleet.ask(sqlite_fleet_timeout=3)

    assert run.code != 0
    assert fleet.states() == [(name, "unknown") for name in HOSTS]
    nonsense, late, gone = run.last_failure.splitlines()
    assert nonsense == 'ci-1: unknown. Its answer is no JSON: {"results": [{'
    assert late.startswith("ci-2: unknown. ")
    assert gone.startswith("ci-3: unknown. ")


def test_databases_of_other_users_are_asked_for(fleet: Asked) -> None:
    there = fleet.directory("ci-1") / "etc"
    fleet.script("ci-1", ELSEWHERE.format(runner=fleet.real, there=there))

    run = fleet.ask()

    assert run.code == 0, run.output
    assert fleet.states() == [(name, "ok") for name in HOSTS]
    assert [each.get("config") for each in fleet.told()] == [str(there), None, None]


def test_databases_in_a_home(home: Home) -> None:
    home.set_up()
    home.place.backed_up(repository=home.repository, name="dev")
    there = {"runner_path": "~/.local/bin/sqlite-backup", "config_dir": "~/.config/sqlite-backup"}
    run = home.run("report_fleet", {f"sqlite_fleet_{name}": path for name, path in there.items()})
    assert run.code == 0, run.output
    assert any("ok " in line and " dev " in line for line in run.output.splitlines()), run.output
