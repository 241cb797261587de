# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook drill_restores: many hosts, one report, and red when one drill does not pass or one host is silent."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run
from integration.home import Home
from integration.place import Place

from support import databases

pytestmark = pytest.mark.thorough

HOSTS = ("ci-1", "ci-2", "ci-3")


class Fleet:
    """Hosts that are all this one, each with a repository of its own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.backups = {name: place.backed_up(repository=self.repository(name)) for name in HOSTS}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.hosts: dict[str, dict[str, Any]] = dict.fromkeys(HOSTS, local)

    def repository(self, name: str) -> Path:
        return self.place.directory / "fleet" / name / "agent"

    @property
    def report(self) -> Path:
        return self.place.directory / "report" / "drills"

    def drill(self, *flags: str, **more: Any) -> Run:
        folder = self.place.directory / "ansible"
        folder.mkdir(exist_ok=True)
        self.report.parent.mkdir(exist_ok=True)
        inventory = folder / "fleet.json"
        inventory.write_text(json.dumps({"fleet": {"hosts": self.hosts}}), encoding="utf-8")
        repository = f"{self.place.directory}/fleet/{{{{ inventory_hostname }}}}/agent"
        variables = {
            "sqlite_restore_drill_hosts": "fleet",
            "sqlite_restore_drill_databases": [{"repository": repository, "rto": "15m", "rpo": "1h"}],
            "sqlite_restore_drill_reports": str(self.report),
            **more,
        }
        playbook = f"{harness.NAMESPACE}.drill_restores"
        return harness.run_playbook(folder, playbook, variables, "--inventory", str(inventory), *flags)

    def told(self) -> dict[str, str]:
        """The outcome of each host, as the document says, the worst first."""
        document = json.loads(self.report.with_suffix(".json").read_text(encoding="utf-8"))
        assert all(each["host"] in self.page() for each in document["drills"])
        return {each["host"]: each["outcome"] for each in document["drills"]}

    def page(self) -> str:
        return self.report.with_suffix(".html").read_text(encoding="utf-8")


@pytest.fixture
def fleet(place: Place) -> Fleet:
    return Fleet(place)


@pytest.fixture
def refused() -> Iterator[int]:
    """A port on which nobody answers while it is held."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def last_failure(run: Run) -> str:
    return str([each for each in run.results if each.get("failed")][-1].get("msg"))


def test_all_pass(fleet: Fleet) -> None:
    check = fleet.drill("--check")
    assert check.code == 0, check.output
    assert not fleet.report.with_suffix(".html").exists()
    assert "not made" in check.output

    run = fleet.drill()
    assert run.code == 0, run.output
    assert fleet.told() == dict.fromkeys(HOSTS, "passed")
    assert "All 3 databases came back from their backups." in fleet.page()
    assert "RTO 15 min, met" in fleet.page()
    rows = [line for line in run.output.splitlines() if "passed" in line and "agent" in line]
    assert [name for name in HOSTS if any(f" {name} " in row and "15 min" in row for row in rows)] == [*HOSTS]


def test_one_damaged_backup_makes_it_red_and_is_named(fleet: Fleet) -> None:
    databases.flip_bit(fleet.backups["ci-2"] / "database.sqlite.gz", 30)

    run = fleet.drill()

    assert run.code != 0
    assert fleet.told() == {"ci-2": "failed", "ci-1": "passed", "ci-3": "passed"}
    assert last_failure(run).startswith("agent on ci-2: failed.")
    assert "ci-1" not in last_failure(run)
    assert "2 of 3 drills passed." in fleet.page()


@pytest.mark.skipif(not shutil.which("ssh"), reason="ssh is not installed")
@pytest.mark.parametrize("silent", [HOSTS[:1], HOSTS], ids=["one", "all"])
def test_hosts_that_are_not_reached_make_it_red_and_are_named(
    fleet: Fleet, refused: int, silent: tuple[str, ...]
) -> None:
    """The first one, too, which is the one that would write the report; and none may be left out when all are."""
    ssh = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": refused}
    fleet.hosts.update(dict.fromkeys(silent, ssh))

    run = fleet.drill()

    assert run.code != 0
    assert fleet.told() == {name: "not reached" if name in silent else "passed" for name in HOSTS}
    assert [line.partition(".")[0] for line in last_failure(run).splitlines()] == [f"{n}: not reached" for n in silent]
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
    assert "dev on localhost: failed." in last_failure(drill())
    home.runner.unlink()
    gone = drill()
    assert gone.code != 0
    assert last_failure(gone).startswith("localhost: failed.")
