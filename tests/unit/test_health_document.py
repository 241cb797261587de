# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples of docs/health.md run as they are there, and tell what the runner's own file says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import status_file
from support import servers, watched
from support.guides import Guide
from support.hosts import Host

GUIDE = Guide(Path(__file__).resolve().parents[2] / "docs" / "health.md")
EXAMPLES = {"javascript": "example.js", "python": "example.py"}

Ask = Callable[[str], tuple[int, dict[str, Any]]]


def block(language: str) -> str:
    (found,) = [each.text for each in GUIDE.blocks if each.language == language]
    return found


def program(language: str) -> tuple[str, dict[str, str]]:
    """What runs an example, and its environment."""
    if language == "python":
        return sys.executable, {}
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    return "node", {"NODE_PATH": os.path.dirname(servers.store("node_modules", "express"))}


@pytest.fixture
def status(tmp_path: Path) -> Path:
    return tmp_path / "status.json"


@pytest.fixture(params=EXAMPLES)
def ask(request: pytest.FixtureRequest, tmp_path: Path, status: Path) -> Iterator[Ask]:
    """The example of a language, listening; what it answers at a path."""
    name, environment = program(request.param)
    script = tmp_path / EXAMPLES[request.param]
    script.write_text(block(request.param), encoding="utf-8")
    port = servers.free_port()
    words = ["env", f"PORT={port}", f"BACKUP_STATUS_FILE={status}", *(f"{k}={v}" for k, v in environment.items())]
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def asked(path: str) -> tuple[int, dict[str, Any]]:
        try:
            with opener.open(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    with servers.running([*words, name, str(script)], port, tmp_path / "example.log"):
        yield asked


def told(path: Path, **changed: Any) -> None:
    now = clock.now()
    moments = {"recovery_point": clock.to_text(now), "fresh_until": clock.to_text(now + timedelta(hours=1))}
    observation = watched.observation(**{**moments, **changed})
    status_file.write(path, observation, configured=["agent"], lock_timeout_seconds=5)


def check(ask: Ask, state: str, code: int) -> None:
    assert ask("/health/backups")[0] == code
    assert ask("/health/backups")[1]["state"] == state
    answered, content = ask("/health")
    assert (answered, content["status"], content["backups"]["state"]) == (200, "ok", state)


def test_runner_and_example_understand_each_other(ask: Ask, host: Host, status: Path) -> None:
    host.add("agent", rpo="1h")
    servers.secret_file(host.config / "watch.json", json.dumps({"status_file": str(status)}))
    assert host.run("backup", "agent").code == 0
    check(ask, "ok", 200)
    point = ask("/health")[1]["backups"]["recovery_point"]
    assert abs(datetime.now(timezone.utc) - clock.from_text(point)) < timedelta(minutes=5)


@pytest.mark.parametrize(("state", "code"), [("ok", 200), ("degraded", 200), ("failing", 503), ("missed", 503)])
def test_each_state_is_told(ask: Ask, status: Path, state: str, code: int) -> None:
    told(status, state=state)
    check(ask, state, code)


def test_backups_that_stopped_are_missed_though_the_last_one_was_good(ask: Ask, status: Path) -> None:
    told(status, state="ok", fresh_until=clock.to_text(clock.now() - timedelta(seconds=2)))
    check(ask, "missed", 503)


def test_without_an_objective_the_last_state_counts(ask: Ask, status: Path) -> None:
    told(status, fresh_until=None)
    check(ask, "ok", 200)


@pytest.mark.parametrize("content", [None, "", '{"format": 1, "databases": [', '{"databases": []}'])
def test_what_is_not_known_is_not_good(ask: Ask, status: Path, content: str | None) -> None:
    if content is not None:
        status.write_text(content, encoding="utf-8")
    check(ask, "unknown", 503)


def test_reader_never_finds_a_part_of_the_file(ask: Ask, status: Path) -> None:
    """The file is written again and again, longer and shorter, while the example reads it."""
    told(status)
    child = os.fork()
    if not child:
        with contextlib.suppress(BaseException):
            end = time.monotonic() + 60
            while time.monotonic() < end:
                told(status, targets=[{"name": "x" * 100_000, "failure": None}])
                told(status)
        os._exit(0)
    try:
        assert {ask("/health/backups")[1]["state"] for _each in range(150)} == {"ok"}
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_table_has_every_key() -> None:
    cells = [line.split("|")[1] for line in GUIDE.section("## The file").splitlines() if line.startswith("| `")]
    named = [name.strip("` ") for cell in cells for name in cell.split(",")]
    assert sorted(named) == sorted(status_file.entry(watched.observation()))


def test_sample_is_a_part_of_what_is_written(status: Path, moment: list[datetime]) -> None:
    status_file.write(status, watched.observation(), configured=["agent"], lock_timeout_seconds=5)
    written = json.loads(status.read_text(encoding="utf-8"))
    sample = json.loads(next(each.text for each in GUIDE.blocks if '"format"' in each.text))
    (database,) = sample.pop("databases")
    database.pop("…")
    (whole,) = written.pop("databases")
    assert sample == written
    assert {name: whole[name] for name in database} == database
