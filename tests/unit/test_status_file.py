# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import multiprocessing
import os
import stat
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    RefusedError,
    RepositoryLockedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import status_file
from support import limits, processes, watched

pytestmark = pytest.mark.usefixtures("moment")


def write(path: Path, name: str = "agent", configured: Collection[str] = ("agent", "jobs"), **changed: Any) -> None:
    observation = watched.observation(name=name, **changed)
    status_file.write(path, observation, configured=configured, lock_timeout_seconds=0.2)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def names_and_states(path: Path) -> dict[str, str]:
    return {each["name"]: each["state"] for each in read(path)["databases"]}


def test_file_tells_of_a_database(tmp_path: Path) -> None:
    write(tmp_path / "status.json")
    content = read(tmp_path / "status.json")
    (agent,) = content.pop("databases")
    assert content == {"format": 1, "made": "2025-12-30T12:00:00Z", "host": "ci-1", "state": "ok"}
    assert agent["fresh_until"] == watched.observation()["fresh_until"]
    assert agent["last_run"] == {
        "time": "2025-12-30T11:59:00Z",
        "outcome": "success",
        "code": 0,
        "type": "full",
        "seconds": 1.2,
    }
    assert agent["targets"] == [
        {
            "name": "nas",
            "behind_seconds": 12,
            "rpo_seconds": 7200,
            "rpo_met": True,
            "recovery_point": "2025-12-30T11:58:00Z",
            "failed": False,
        }
    ]


def test_everybody_may_read_it_and_nobody_else_may_write_it(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(tmp_path / "status.json")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "status.json").stat().st_mode) == 0o644


def test_no_word_of_a_failure_and_no_path_is_told(tmp_path: Path) -> None:
    """Everybody on the host may read it, and an application may show it to the world."""
    secret = "/srv/secret/agent.db: password"
    write(
        tmp_path / "status.json",
        state="failing",
        reasons=[{"state": "failing", "text": secret, "hint": secret, "way": {"aim": secret, "command": "backup"}}],
        last_failure={"time": "2025-12-30T11:00:00Z", "event": "backup", "code": 10, "message": secret},
        last_drill={"time": "2025-12-30T10:00:00Z", "outcome": "failed", "place": secret, "message": secret},
        latest={"id": "20251230T115900Z-full", "path": secret, "warnings": [secret]},
        targets=[{"name": "nas", "failure": {"message": secret}, "url": secret}],
        user=secret,
    )
    assert "secret" not in (tmp_path / "status.json").read_text(encoding="utf-8")
    (agent,) = read(tmp_path / "status.json")["databases"]
    assert (agent["reasons"], agent["last_failure"]["code"], agent["last_drill"]["outcome"]) == (
        ["failing"],
        10,
        "failed",
    )
    assert agent["targets"][0]["failed"] is True


def test_run_replaces_its_own_entry_and_keeps_the_others(tmp_path: Path) -> None:
    write(tmp_path / "status.json", "jobs", state="degraded")
    write(tmp_path / "status.json")
    write(tmp_path / "status.json", state="failing")
    assert names_and_states(tmp_path / "status.json") == {"agent": "failing", "jobs": "degraded"}
    assert read(tmp_path / "status.json")["state"] == "failing"


def test_database_that_is_no_longer_configured_goes(tmp_path: Path) -> None:
    """Else what was taken out of the configuration would be told of for ever, and as missed before long."""
    write(tmp_path / "status.json", "jobs", state="missed")
    write(tmp_path / "status.json", configured=["agent"])
    assert names_and_states(tmp_path / "status.json") == {"agent": "ok"}
    assert read(tmp_path / "status.json")["state"] == "ok"


def test_worst_state_counts_what_became_old_meanwhile(tmp_path: Path, moment: list[datetime]) -> None:
    """The runs of one database stopped, those of the other go on."""
    write(tmp_path / "status.json", "jobs", fresh_until="2025-12-30T12:59:59Z")
    moment[0] = moment[0].replace(hour=13)
    write(tmp_path / "status.json", fresh_until="2025-12-30T14:00:00Z")
    assert read(tmp_path / "status.json")["state"] == "missed"


def test_nothing_observed_but_a_state_is_an_entry(tmp_path: Path) -> None:
    """Where the repository is gone."""
    observation = {"name": "agent", "host": "ci-1", "state": "missed", "reasons": []}
    status_file.write(tmp_path / "status.json", observation, configured=["agent"], lock_timeout_seconds=0)
    assert names_and_states(tmp_path / "status.json") == {"agent": "missed"}


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"databases": 3}',
        b"[" * 100_000,
        b'{"databases": [3, {}, {"name": 3, "state": "ok"}, {"name": "jobs", "state": "fine"}]}',
        b'{"databases": [{"name": "jobs", "state": []}, {"name": "jobs", "state": "ok", "fresh_until": "soon"}]}',
        b'{"databases": [{"name": "jobs", "state": "ok", "fresh_until": 7}]}',
    ],
)
def test_damaged_file_is_begun_anew(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "status.json").write_bytes(damaged)
    write(tmp_path / "status.json")
    assert names_and_states(tmp_path / "status.json") == {"agent": "ok"}


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_what_is_no_number_of_json_does_not_stay(tmp_path: Path, number: bytes) -> None:
    (tmp_path / "status.json").write_bytes(
        b'{"databases": [{"name": "jobs", "state": "ok", "backups": ' + number + b"}]}"
    )
    write(tmp_path / "status.json", configured=["agent", "jobs"])
    found = json.loads((tmp_path / "status.json").read_bytes(), parse_constant=pytest.fail)
    assert [each["backups"] for each in found["databases"] if each["name"] == "jobs"] == [None]


@pytest.mark.parametrize("planted", ["link", "fifo"])
def test_what_is_in_the_place_of_the_file_is_replaced(tmp_path: Path, planted: str) -> None:
    (tmp_path / "other").write_text("precious", encoding="utf-8")
    path = tmp_path / "status.json"
    if planted == "link":
        path.symlink_to("other")
    else:
        os.mkfifo(path)
    with limits.within(10):
        write(path)
    assert names_and_states(path) == {"agent": "ok"}
    assert (tmp_path / "other").read_text(encoding="utf-8") == "precious"


def test_missing_directory_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no directory") as caught:
        write(tmp_path / "missing" / "status.json")
    assert "correct status_file in watch.json" in caught.value.hint


@pytest.mark.parametrize("planted", ["file", "fifo"])
def test_what_is_no_directory_is_an_error_in_time(tmp_path: Path, planted: str) -> None:
    if planted == "file":
        (tmp_path / "place").touch()
    else:
        os.mkfifo(tmp_path / "place")
    with limits.within(10), pytest.raises(EngineError, match=r"Cannot write .*not a directory"):
        write(tmp_path / "place" / "status.json")


def test_full_disk_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    write(tmp_path / "status.json")
    before = (tmp_path / "status.json").read_bytes()
    with limits.full_disk_after(100), pytest.raises(EngineError, match=r"Cannot write .*too large"):
        write(tmp_path / "status.json", "jobs")
    assert (tmp_path / "status.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == [".status.json.lock", "status.json"]


def test_run_that_cannot_have_the_lock_says_so(tmp_path: Path) -> None:
    with locks.held(tmp_path / ".status.json.lock", timeout_seconds=0):
        with pytest.raises(RepositoryLockedError, match="Cannot write"):
            write(tmp_path / "status.json")


def _write_often(path: Path, name: str, configured: Collection[str]) -> None:
    for _each in range(20):
        observation = watched.observation(name=name)
        status_file.write(path, observation, configured=configured, lock_timeout_seconds=30)


def test_runs_at_the_same_time_lose_nothing_of_each_other(tmp_path: Path) -> None:
    """Each reads the file before it writes it."""
    names = ["a", "b", "c", "d"]
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=_write_often, args=(tmp_path / "status.json", each, names)) for each in names]
    for each in runs:
        each.start()
    for each in runs:
        each.join(60)
    assert [each.exitcode for each in runs] == [0] * 4
    assert list(names_and_states(tmp_path / "status.json")) == names


@pytest.mark.root
@processes.needs_root
def test_root_follows_no_link_of_a_user_to_where_the_file_would_be(tmp_path: Path) -> None:
    """A user who may write above the directory could have any directory of root's written into."""
    with processes.open_directory() as place:
        (place / "theirs").mkdir()
        os.chown(place / "theirs", processes.NOBODY, processes.NOBODY)
        (place / "roots").mkdir()
        (place / "theirs" / "status").symlink_to(place / "roots")
        os.lchown(place / "theirs" / "status", processes.NOBODY, processes.NOBODY)
        with pytest.raises(RefusedError, match="a link on the way belongs to a user"):
            write(place / "theirs" / "status" / "status.json")
        assert not os.listdir(place / "roots")
