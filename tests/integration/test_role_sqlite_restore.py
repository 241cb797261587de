# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_restore with an application that is a real process; Molecule has services of systemd."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Result, Run
from integration.place import Place, everything, opened_by_another

from ansible_collections.sqliteops.backup.plugins.filter.restore_failures import restore_failures
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import push
from support import application, databases, servers

pytestmark = pytest.mark.thorough

_SECONDS = 20.0
_LOST = "DELETE FROM Bulk"
_KEPT = "SELECT count(*) FROM Bulk"


class Application:
    """It serves a database of its own, which has a backup; ``play`` is what an operator's inventory would have."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.database = place.srv / "application.db"
        application.make(self.database, 1)
        databases.settle(self.database)
        self.backup = place.backed_up(path=self.database).name
        self._port = servers.free_port()
        self._pid = place.directory / "pid"
        # A step that is to fail, or to hang, has a file of that name here.
        self._faults = place.directory / "faults"
        self._faults.mkdir()
        self.log = place.directory / "log"
        serve = f"{sys.executable} {application.__file__} --port {self._port} {self.database}"
        alive = f"test -e /proc/$(cat {self._pid})/exe"
        self.play: dict[str, Any] = {
            "sqlite_restore_dest": str(self.database),
            "sqlite_restore_repository": str(place.repository),
            "sqlite_restore_stop_command": self._line(
                "stop", f"kill $(cat {self._pid}); while {alive}; do sleep .05; done"
            ),
            "sqlite_restore_start_command": self._line(
                "start", f"{{ {serve} >/dev/null 2>>{self.log}.errors & }}; echo $! >{self._pid}"
            ),
            "sqlite_restore_running_command": alive,
            "sqlite_restore_health_url": f"http://127.0.0.1:{self._port}/health",
            "sqlite_restore_health_text": application.WORKS,
            "sqlite_restore_health_command": self._line("health", "true"),
            "sqlite_restore_health_assertions": [{"sql": "SELECT count(*) > 0 FROM Beat", "equals": 1}],
            "sqlite_restore_health_retries": 25,
            "sqlite_restore_health_delay": "0.2",
        }

    def _line(self, name: str, line: str) -> str:
        """It is logged, and fails or hangs when that is asked for; a hanging one has done its work before."""
        fault, log = self._faults / name, f"echo {name} >>{self.log}"
        once = f"test ! -e {fault}.once || {{ rm {fault}.once; echo {name} is broken >&2; exit 7; }}"
        always = f"test ! -e {fault} || {{ echo {name} is broken >&2; exit 7; }}"
        return f"{log}; {once}; {always}; {line}; while test -e {fault}.hang; do sleep .05; done"

    def fault(self, name: str) -> Path:
        path = self._faults / name
        path.touch()
        return path

    def command(self, name: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["sh", "-c", self.play[f"sqlite_restore_{name}_command"]], check=False)

    def start(self) -> None:
        assert self.command("start").returncode == 0
        _wait(self.works)

    def stop(self) -> None:
        if self.runs():
            os.kill(self.pid, signal.SIGKILL)
            _wait(lambda: not self.runs())

    @property
    def pid(self) -> int:
        return int(self._pid.read_text())

    def runs(self) -> bool:
        return self._pid.exists() and Path(f"/proc/{self.pid}/exe").exists()

    def works(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_SECONDS)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        return False

    def lose(self) -> None:
        """What the backup has is gone, and the application does not notice."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=_SECONDS)) as connection:
            connection.execute(_LOST)
            connection.commit()

    def kept(self) -> int:
        with contextlib.closing(sqlite3.connect(self.database, timeout=_SECONDS)) as connection:
            (found,) = connection.execute(_KEPT).fetchone()
        return int(found)

    def steps(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []

    def restore(self, *flags: str, **more: Any) -> Run:
        return harness.run_playbook(*self._playbook(more), *flags)

    def begin(self, **more: Any) -> Any:
        return harness.start_playbook(*self._playbook(more))

    def _playbook(self, more: dict[str, Any]) -> tuple[Path, str, dict[str, Any]]:
        variables = {f"sqlite_restore_{name}": value for name, value in more.items()}
        folder = self.place.directory / "ansible"
        return folder, f"{harness.NAMESPACE}.restore_database", {**self.play, **variables}

    def undo_sets(self) -> list[Path]:
        return sorted(self.database.parent.glob("*.before-restore.*"))


@pytest.fixture
def app(place: Place) -> Iterator[Application]:
    if not Path("/proc/self/exe").exists():
        pytest.skip("without /proc nobody knows who has a database open")
    made = Application(place)
    made.start()
    yield made
    made.stop()


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + _SECONDS
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def fact(run: Run, name: str) -> Any:
    found = [each["ansible_facts"][name] for each in run.results if name in each.get("ansible_facts", {})]
    return found[-1]


def changed(run: Run) -> list[Result]:
    assert run.code == 0, run.output
    return [each for each in run.results if each.get("changed")]


def message(run: Run) -> str:
    """What the last task of a run that failed tells."""
    assert run.code != 0, run.output
    assert run.results[-1]["failed"]
    return str(run.results[-1]["msg"])


def test_check_run_run_undo(app: Application) -> None:
    app.lose()
    pid = app.pid
    check = app.restore("--check")

    assert len(changed(check)) == 1
    plan = fact(check, "sqlite_restore_plan")
    assert (plan["changes"], plan["backup"], plan["stops"]) == (True, app.backup, ["the application"])
    assert plan["dest"] == str(app.database)
    day, moment = app.backup.split("T")
    assert plan["covers"].replace("-", "").replace(":", "") == f"{day}T{moment.split('-')[0]}"
    assert 0 <= int(plan["lost_seconds"]) < 600
    assert (app.pid, app.kept(), app.undo_sets()) == (pid, 0, [])
    assert app.steps() == ["start"]

    run = app.restore()

    assert {each["item"]["item"] for each in _items(run) if each.get("changed")} == {"the application"}
    assert fact(run, "sqlite_restore_result")["changed"]
    assert (app.kept(), app.works(), app.pid != pid) == (1, True, True)
    assert app.steps() == ["start", "stop", "start", "health"]
    (undo_set,) = app.undo_sets()
    assert (undo_set / app.database.name).exists()

    undo = app.restore(undo=True)

    assert fact(undo, "sqlite_restore_result")["changed"]
    assert (app.kept(), app.works()) == (0, True)


def test_what_is_there_already_changes_nothing_and_stops_nothing(app: Application) -> None:
    app.stop()
    databases.settle(app.database)
    app.place.backed_up(path=app.database)
    before = everything(app.database.parent)
    idle = {
        "start_command": "true",
        "running_command": "true",
        "stop_command": "false",
        "health_url": "",
        "health_text": "",
    }

    for flags in (["--check"], [], []):
        run = app.restore(*flags, **idle)
        assert changed(run) == []
        assert fact(run, "sqlite_restore_plan")["stops"] == []
    assert everything(app.database.parent) == before


def _items(run: Run) -> Iterator[Result]:
    for each in run.results:
        yield from (item for item in each.get("results", []) if isinstance(item.get("item"), dict))


# A file that lets a step fail, what else is asked for, what the message says, and what was done to the application.
FAULTS: dict[str, tuple[str, dict[str, Any], str, list[str]]] = {
    "stop": ("stop", {}, "the application: exit code 7: stop is broken.", ["stop"]),
    "staging": ("", {"expect_tables": ["Missing"]}, "Missing", ["stop", "start"]),
    "start": ("start.once", {}, "the application: exit code 7: start is broken.", ["stop", "start", "stop", "start"]),
    "address": (
        "",
        {"health_text": "something else", "health_retries": 2},
        "answers with status 200",
        ["stop", "start", "stop", "start"],
    ),
    "command": (
        "health",
        {"health_retries": 1},
        "exit code 7: health is broken.",
        ["stop", "start", "health", "health", "stop", "start"],
    ),
    "assertion": (
        "",
        {"health_assertions": [{"sql": "SELECT 1", "equals": 2}], "health_retries": 1},
        "SELECT 1",
        ["stop", "start", "health", "stop", "start"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_all_is_as_it_was_and_the_application_runs(fault: str, app: Application) -> None:
    app.lose()
    name, more, told, steps = FAULTS[fault]
    if name:
        app.fault(name)

    _all_is_as_it_was(app, message(app.restore(**more)), told, steps)


def test_a_damaged_backup_stops_nothing(app: Application) -> None:
    app.lose()
    (file,) = (app.place.repository / app.backup).glob("database.*")
    databases.flip_bit(file, file.stat().st_size // 2)

    _all_is_as_it_was(app, message(app.restore()), "is damaged", [])


def test_a_database_that_another_process_has_open_is_left_alone(app: Application) -> None:
    app.lose()
    with opened_by_another(app.database, "SELECT count(*) FROM Beat") as process:
        _all_is_as_it_was(app, message(app.restore()), f"(pid {process})", ["stop", "start"])


def _all_is_as_it_was(app: Application, said: str, told: str, steps: list[str]) -> None:
    assert said.startswith(f"Cannot restore {app.database}. ")
    assert told in said
    put_back = steps.count("start") > 1
    assert ("What was there before is back." if put_back else "The database is as it was.") in said
    assert said.endswith("The application runs.")
    assert (app.works(), app.kept()) == (True, 0)
    assert app.steps() == ["start", *steps]
    assert "Traceback" not in said


def test_putting_back_fails_too(app: Application) -> None:
    """The restored database stays, the application runs, and the undo set is named and can be brought back."""
    app.lose()
    stop, start = app.play["sqlite_restore_stop_command"], app.play["sqlite_restore_start_command"]
    once = app.fault("stopped")
    more = {
        # The second time it stops nothing, so the database is open.
        "stop_command": f"test -e {once} || {{ echo cannot stop it >&2; exit 5; }}; rm {once}; {stop}",
        "start_command": start,
        "health_command": "echo no health >&2; exit 9",
        "health_retries": 1,
    }
    said = message(app.restore(**more))

    (undo_set,) = app.undo_sets()
    assert "exit code 9: no health." in said
    assert "Putting back what was there before failed, too: the application: exit code 5: cannot stop it." in said
    assert "the database is open in" in said
    assert f"It is in {undo_set}." in said
    assert said.endswith("The application runs.")
    assert (app.works(), app.kept()) == (True, 1)

    assert app.restore(undo=True).code == 0
    assert (app.works(), app.kept()) == (True, 0)


def test_an_application_that_cannot_be_started_is_named(app: Application) -> None:
    app.lose()
    app.fault("start")
    said = message(app.restore(health_retries=1))

    assert "What was there before is back." in said
    assert said.endswith(
        "The application does not run: the application: exit code 7: start is broken. the application: exit code 1."
    )
    assert not app.runs()

    (app.place.directory / "faults" / "start").unlink()
    assert app.restore().code == 0
    assert (app.works(), app.kept()) == (True, 1)


def test_a_deleted_database_comes_back_and_stays(app: Application) -> None:
    app.stop()
    for each in app.database.parent.glob(f"{app.database.name}*"):
        each.unlink()
    said = message(app.restore(health_command="exit 9", health_retries=1))

    assert "Nothing was there before, so the restored database stays." in said
    assert (app.works(), app.kept()) == (True, 1)


@pytest.mark.parametrize("step", ["stop", "start"])
def test_the_next_run_heals_what_a_killed_one_left(step: str, app: Application) -> None:
    app.lose()
    hang = app.fault(f"{step}.hang")
    steps = {"stop": ["start", "stop"], "start": ["start", "stop", "start"]}[step]
    if step == "start":
        # It hangs before the application is there.
        app.play["sqlite_restore_start_command"] = (
            f"echo start >>{app.log}; while test -e {hang}; do sleep .05; done; test ! -e {hang}.killed || exit 1; "
            + app.play["sqlite_restore_start_command"].split("; ", 1)[1]
        )
    process = app.begin()
    _wait(lambda: app.steps() == steps and (step == "start" or not app.runs()))
    os.kill(process.process.pid, signal.SIGKILL)
    process.stop()
    killed = app.fault(f"{step}.hang.killed")
    hang.unlink()
    time.sleep(0.5)
    assert not app.runs()
    killed.unlink()

    assert app.restore().code == 0
    assert (app.works(), app.kept()) == (True, 1)


def test_a_target_brings_the_backup_to_a_host_that_has_none(app: Application, tmp_path: Path, monkeypatch: Any) -> None:
    servers.use_rclone(monkeypatch)
    with servers.remote(tmp_path) as server:
        request = push.Request(app.place.repository, address.requested(server.options()), lock_timeout_seconds=0)
        push.run(request)
        app.lose()
        lost = app.place.repository.rename(tmp_path / "lost")
        more = {"target": server.options()}

        check = app.restore("--check", **more)
        assert fact(check, "sqlite_restore_plan")["backup"] == app.backup
        assert not app.place.repository.exists()
        assert lost.exists()
        assert app.steps() == ["start"]

        assert app.restore(**more).code == 0
    assert (app.works(), app.kept()) == (True, 1)


def test_on_a_fresh_host_without_backups_nothing_is_done(place: Place) -> None:
    untouched = everything(place.srv)
    variables = {
        "sqlite_restore_dest": str(place.srv / "agent.db"),
        "sqlite_restore_repository": str(place.directory / "missing"),
    }
    for flags in (["--check"], []):
        run = harness.run_playbook(
            place.directory / "ansible", f"{harness.NAMESPACE}.restore_database", variables, *flags
        )
        assert "missing" in message(run)
        assert "The database is as it was." in message(run)
        assert everything(place.srv) == untouched


def test_variables_that_make_no_sense_are_told_before_anything_is_done(app: Application) -> None:
    run = app.restore(befor="2025-12-30", services="agent.service", repository="", start_command="")

    said = message(run)
    assert "there is no variable sqlite_restore_befor. Did you mean sqlite_restore_before?" in said
    assert "sqlite_restore_services and sqlite_restore_stop_command are both set." in said
    assert "sqlite_restore_repository is empty." in said
    assert "Set all three." in said
    assert app.steps() == ["start"]


def test_a_suspect_backup_is_refused_while_the_application_runs(app: Application) -> None:
    app.stop()
    databases.settle(app.database)
    databases.flip_bit(app.database, 4096)  # what kind of page the second one is
    with contextlib.suppress(EngineError):
        app.place.backed_up(path=app.database)
    (suspect,) = {*app.place.backups()} - {app.backup}
    assert app.command("start").returncode == 0

    said = message(app.restore(backup=suspect))

    assert f"{suspect} is suspect" in said
    assert "stop" not in app.steps()


def test_failures_are_one_text() -> None:
    loop = {
        "failed": True,
        "msg": "One or more items failed",
        "results": [
            {"item": "a.service", "rc": 0},
            {"item": "b.service", "failed": True, "rc": 5, "stderr": "not loaded.\n"},
            {"item": {"item": "c.service"}, "failed": True, "msg": "Timed out"},
        ],
    }
    assert restore_failures([loop, {"rc": 0}]) == "b.service: exit code 5: not loaded. c.service: Timed out."
    assert restore_failures([{}]) == ""
    assert json.dumps(restore_failures([{"failed": True, "rc": 1, "stderr": "x" * 9999}])).count("x") < 600
