# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook drill_restores: many hosts, one report, and red when one drill does not pass or one host is silent."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
from integration import fleet as fleets
from integration import harness
from integration.fleet import HOSTS, Fleet
from integration.harness import Run
from integration.home import Home
from integration.place import Place

from support import databases

pytestmark = pytest.mark.thorough


class Drilled(Fleet):
    """Hosts that are all this one, each with a repository of its own."""

    def __init__(self, place: Place) -> None:
        super().__init__(place, f"{harness.NAMESPACE}.drill_restores", "drills")
        self.backups = {name: place.backed_up(repository=self.repository(name)) for name in HOSTS}

    def drill(self, *flags: str, **more: Any) -> Run:
        repository = f"{self.place.directory}/fleet/{{{{ inventory_hostname }}}}/agent"
        variables = {
            "sqlite_restore_drill_hosts": "fleet",
            "sqlite_restore_drill_databases": [{"repository": repository, "rto": "15m", "rpo": "1h"}],
            "sqlite_restore_drill_reports": str(self.report),
            **more,
        }
        return self.run(variables, *flags)

    def outcomes(self) -> dict[str, str]:
        """The outcome of each host."""
        return {each["host"]: each["outcome"] for each in self.told()}


@pytest.fixture
def fleet(place: Place) -> Drilled:
    return Drilled(place)


def test_all_pass(fleet: Drilled) -> None:
    check = fleet.drill("--check")
    assert check.code == 0, check.output
    assert not fleet.report.with_suffix(".html").exists()
    assert "not made" in check.output

    run = fleet.drill()
    assert run.code == 0, run.output
    assert fleet.outcomes() == dict.fromkeys(HOSTS, "passed")
    assert "All 3 databases came back from their backups." in fleet.page()
    assert "RTO 15 min, met" in fleet.page()
    rows = [line for line in run.output.splitlines() if "passed" in line and "agent" in line]
    assert [name for name in HOSTS if any(f" {name} " in row and "15 min" in row for row in rows)] == [*HOSTS]


def test_a_report_counts_from_where_ansible_was_started(fleet: Drilled) -> None:
    assert fleet.drill(sqlite_restore_drill_reports="from-here").code == 0
    found = [each.name for each in fleet.place.directory.rglob("from-here.*")]
    assert sorted(found) == ["from-here.html", "from-here.json"]


def test_one_damaged_backup_makes_it_red_and_is_named(fleet: Drilled) -> None:
    databases.flip_bit(fleet.backups["ci-2"] / "database.sqlite.gz", 30)

    run = fleet.drill()

    assert run.code != 0
    assert fleet.outcomes() == {"ci-2": "failed", "ci-1": "passed", "ci-3": "passed"}
    assert run.last_failure.startswith("agent on ci-2: failed.")
    assert "ci-1" not in run.last_failure
    assert "2 of 3 drills passed." in fleet.page()


@pytest.mark.skipif(not shutil.which("ssh"), reason="ssh is not installed")
@pytest.mark.parametrize("silent", [HOSTS[:1], HOSTS], ids=["one", "all"])
def test_hosts_that_are_not_reached_make_it_red_and_are_named(
    fleet: Drilled, refused: int, silent: tuple[str, ...]
) -> None:
    """The first one, too, which is the one that would write the report; and none may be left out when all are."""
    fleet.silence(refused, *silent)

    run = fleet.drill()

    assert run.code != 0
    assert fleet.outcomes() == {name: "not reached" if name in silent else "passed" for name in HOSTS}
    assert fleets.silent(run) == [f"{name}: not reached" for name in silent]
    assert fleet.drill("--check").code != 0


def test_configured_databases_of_a_host(home: Home) -> None:
    """Without a list the runner of each host does it, with all that it knows of its databases."""
    home.set_up()
    backup = home.place.backed_up(repository=home.repository)
    report = home.place.directory / "drills"

    def drill(*flags: str) -> Run:
        given = {"sqlite_restore_drill_scope": "user", "sqlite_restore_drill_reports": str(report)}
        return home.run("drill_restores", given, *flags)

    check = drill("--check")
    assert check.code == 0, check.output
    assert backup.name in check.output
    assert not report.with_suffix(".json").exists()

    run = drill()
    assert run.code == 0, run.output
    (told,) = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))["drills"]
    assert (told["outcome"], told["name"], told["host"]) == ("passed", "dev", "localhost")

    databases.flip_bit(backup / "database.sqlite.gz", 30)
    assert "dev on localhost: failed." in drill().last_failure
    home.runner.unlink()
    gone = drill()
    assert gone.code != 0
    assert gone.last_failure.startswith("localhost: failed.")
