# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of runner/counts.py: how many runs there were, also where no repository can tell."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import counts
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import places
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from support.hosts import Host

LAST = {
    "time": "2025-12-30T12:00:00Z",
    "outcome": "success",
    "code": 0,
    "type": "full",
    "seconds": 1.5,
    "changed_bytes": 4096,
}
NONE = {"success": {"full": 0, "incremental": 0, "unchanged": 0}, "failure": {"auto": 0, "full": 0, "incremental": 0}}


def counted(host: Host) -> dict[str, Any]:
    found: dict[str, Any] = host.run("status", "agent", "--json").result["counts"]
    return found


def test_before_the_first_run_all_is_zero(tmp_path: Path) -> None:
    nothing = {"counts": NONE, "counted_since": None, "durations": {}, "last_run": None}
    assert counts.read(tmp_path, "agent") == nothing


def test_counts_tell_since_when_they_count(tmp_path: Path) -> None:
    """Who adds up increases must see when they began anew."""
    for time in ("2025-12-30T12:00:00Z", "2025-12-30T13:00:00Z"):
        counts.add(tmp_path, "agent", good=True, kind="full", last={**LAST, "time": time})
    assert counts.read(tmp_path, "agent")["counted_since"] == "2025-12-30T12:00:00Z"


def test_runs_are_counted_by_what_they_stored_and_failures_by_what_was_asked_for(host: Host) -> None:
    host.run("backup", "agent")
    host.run("backup", "agent")
    host.change()
    host.run("backup", "agent", "--type", "full")
    host.database().rename(host.database().with_name("away"))
    assert host.run("backup", "agent").code == 10
    assert host.run("backup", "agent", "--type", "incremental").code == 10
    assert counted(host) == {
        "success": {"full": 2, "incremental": 0, "unchanged": 1},
        "failure": {"auto": 1, "full": 0, "incremental": 1},
    }
    last = host.run("status", "agent", "--json").result["last_run"]
    assert (last["outcome"], last["code"], last["type"]) == ("failure", 10, None)


def test_a_guarded_command_that_fails_does_not_undo_its_backup(host: Host) -> None:
    assert host.run("guard", "agent", "--reason", "test", "--", "false").code == 1
    assert counted(host)["success"]["full"] == 1
    last = host.run("status", "agent", "--json").result["last_run"]
    assert (last["outcome"], last["code"], last["type"]) == ("success", 0, "full")


def test_what_writes_nothing_is_not_counted(host: Host) -> None:
    host.run("backup", "agent")
    for words in (("backup", "agent", "--dry-run"), ("verify", "agent"), ("prune", "agent"), ("status", "agent")):
        host.run(*words)
    assert counted(host)["success"] == {"full": 1, "incremental": 0, "unchanged": 0}


def test_a_repository_that_is_gone_takes_no_count_with_it(host: Host) -> None:
    host.run("backup", "agent")
    shutil.rmtree(host.repository())
    assert host.run("backup", "agent").code == 23
    assert counts.read(host.config, "agent")["counts"] == {
        "success": {**NONE["success"], "full": 1},
        "failure": {**NONE["failure"], "auto": 1},
    }


ENDLESS = '{"counts": {"success": {"full": 1e999}}}'


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"counts": 3}', '{"counts": {"success": {"full": "x"}}}', ENDLESS]
)
def test_a_damaged_file_counts_from_the_beginning(tmp_path: Path, content: str) -> None:
    file = counts.file_of(tmp_path, "agent")
    file.parent.mkdir()
    file.write_text(content)
    assert counts.read(tmp_path, "agent")["counts"] == NONE
    counts.add(tmp_path, "agent", good=True, kind="full", last=LAST)
    assert counts.read(tmp_path, "agent")["counts"]["success"]["full"] == 1


def test_a_disk_that_does_not_give_the_counts_now_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts.add(tmp_path, "agent", good=True, kind="full", last=LAST)

    def broken(*_args: object, **_more: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(places, "read_bytes", broken)
        with pytest.raises(EngineError, match="Cannot count the runs of agent"):
            counts.add(tmp_path, "agent", good=True, kind="full", last=LAST)
        assert counts.read(tmp_path, "agent")["counts"] == NONE
    assert counts.read(tmp_path, "agent")["counts"]["success"]["full"] == 1


def test_the_last_run_and_the_durations_are_kept(tmp_path: Path) -> None:
    counts.add(tmp_path, "agent", good=True, kind="full", last=LAST)
    failed = {**LAST, "outcome": "failure", "code": 16, "type": None, "seconds": 0.1}
    counts.add(tmp_path, "agent", good=False, kind="auto", last=failed)
    found = counts.read(tmp_path, "agent")
    assert found["last_run"] == failed
    assert found["durations"] == {"full": 1.5}
    json.dumps(found)


def test_runs_at_the_same_time_lose_no_count(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from {counts.__name__.rpartition(".")[0]} import counts
for each in range(20):
    counts.add(Path(sys.argv[1]), "agent", good=True, kind="unchanged", last={LAST!r})
"""
    workers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _each in range(4)]
    assert [each.wait() for each in workers] == [0, 0, 0, 0]
    assert counts.read(tmp_path, "agent")["counts"]["success"]["unchanged"] == 80


def test_where_nothing_can_be_written_that_is_an_error_of_the_engine(tmp_path: Path) -> None:
    (tmp_path / "seen.d").write_text("in the way")
    with pytest.raises(EngineError, match="seen.d"):
        counts.add(tmp_path, "agent", good=True, kind="full", last=LAST)


def test_a_count_that_cannot_be_written_does_not_fail_the_backup(host: Host) -> None:
    counts.file_of(host.config, "agent").mkdir(parents=True)
    said = host.run("backup", "agent")
    assert said.code == 0
    assert "Cannot count the runs of agent" in said.err
