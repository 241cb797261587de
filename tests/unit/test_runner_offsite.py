# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner and the targets of a database: what goes there by itself, what comes back, and who is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from support import leftovers, servers
from support.hosts import Host

pytestmark = pytest.mark.thorough

SECRET = "the-key-of-the-object-store"


@pytest.fixture
def there(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the copy of ``agent`` is, at its target ``nas``."""
    servers.use_rclone(monkeypatch)
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed")
    with servers.remote(host.directory) as server:
        host.add_target("nas", **server.target, retries=0)
        host.add("agent", targets=["nas"])
        yield server.files / "agent"


def whole(there: Path) -> list[str]:
    return sorted(each.parent.name for each in there.glob("*/manifest.json"))


def cut(host: Host, **changed: Any) -> str:
    """Let the target be out of reach; what its file held before."""
    file = host.config / "targets.d" / "nas.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), "url": "rclone://nowhere/host", **changed}))
    return before


def mend(host: Host, before: str) -> None:
    (host.config / "targets.d" / "nas.json").write_text(before)


def test_backup_goes_to_its_target(host: Host, there: Path) -> None:
    done = host.run("backup", "agent", "--json")
    assert done.code == 0
    assert whole(there) == host.ids()
    (target,) = done.result["targets"]
    assert (target["name"], target["target"]["newest"]) == ("nas", host.ids()[-1])
    host.change()
    assert host.run("backup", "agent").code == 0
    assert whole(there) == host.ids()


def test_nothing_is_pushed_when_that_is_said(host: Host, there: Path) -> None:
    assert host.run("backup", "agent", "--no-push").code == 0
    assert host.run("backup", "agent", "--dry-run").code == 0
    assert not there.exists()


def test_failing_target_leaves_the_backup_good_and_the_next_run_heals(host: Host, there: Path) -> None:
    before = cut(host)
    done = host.run("backup", "agent")
    assert done.code == 3
    assert "is good, but the target nas failed" in done.err
    assert len(host.ids()) == 1
    mend(host, before)
    assert host.run("backup", "agent").code == 0
    assert whole(there) == host.ids()


@pytest.mark.parametrize(
    "content",
    ['{"url": "nonsense"}', "{", '{"url": "rclone://a/b", "colour": 1}', '{"url": "s3://bucket/a", "keep_last": 0}'],
)
def test_wrong_target_leaves_the_backup_good(host: Host, there: Path, content: str) -> None:
    (host.config / "targets.d" / "nas.json").write_text(content)
    done = host.run("backup", "agent")
    assert done.code == 3
    assert "nas" in done.err
    assert len(host.ids()) == 1


def test_wrong_target_takes_no_other_with_it(host: Host, there: Path) -> None:
    (host.config / "targets.d" / "wrong.json").write_text("{")
    host.add("agent", targets=["wrong", "nas"])
    assert host.run("backup", "agent").code == 3
    assert whole(there) == host.ids()
    host.change()
    host.run("backup", "agent", "--no-push")
    assert host.run("push", "agent").code == 2
    assert whole(there) == host.ids()


def test_unknown_target_is_named(host: Host, there: Path) -> None:
    host.add("agent", targets=["nass"])
    done = host.run("push", "agent")
    assert done.code == 2
    assert "Did you mean nas?" in done.err


def test_status_tells_how_far_behind_a_target_is(host: Host, there: Path, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    told = host.run("status", "agent", "--json").result["targets"]
    nas = {"name": "nas", "newest": host.ids()[-1], "behind_seconds": 0, "recovery_point": "2025-12-30T12:00:00Z"}
    assert told == [{**nas, "rpo_seconds": None, "rpo_met": None, "failure": None}]
    moment[0] += timedelta(hours=2)
    host.change()
    cut(host)
    assert host.run("backup", "agent").code == 3
    moment[0] += timedelta(hours=1)
    said = host.run("status", "agent")
    assert said.code == 3
    assert "The last push to nas failed" in said.err
    assert "nas 3 h FAILED" in said.out


@pytest.mark.parametrize("newest", ["99999999T999999Z-full", "nonsense", 5, {"a": "b"}])
def test_status_bears_whatever_the_owner_of_the_log_writes(host: Host, there: Path, newest: Any) -> None:
    host.run("backup", "agent")
    event = {"event": "push", "target": "nas", "backup": newest, "outcome": "passed"}
    with (host.repository() / "history.jsonl").open("a") as file:
        file.write(f"{json.dumps(event)}\n")
    done = host.run("status", "agent", "--json")
    assert done.code != 1
    assert done.result["targets"][0]["behind_seconds"] is None


def test_target_that_holds_nothing_any_more_is_told(host: Host, there: Path) -> None:
    """What a later push has found counts, and not what an earlier one sent."""
    host.run("backup", "agent")
    shutil.rmtree(there)
    next((host.repository() / host.ids()[0]).glob("database*")).unlink()
    assert host.run("push", "agent").code == 0
    assert host.run("status", "agent", "--json").result["targets"][0]["newest"] is None


def test_target_that_is_too_far_behind_misses_its_rpo(host: Host, there: Path, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    before = cut(host, rpo="90m")
    host.change()
    moment[0] += timedelta(hours=2)
    host.run("backup", "agent")
    done = host.run("status", "agent")
    assert done.code == 30
    assert "The target nas is 2 h behind, its RPO is 1 h 30 min." in done.err
    mend(host, before)
    host.run("push", "agent")
    assert host.run("status", "agent").code == 0


def test_unchanged_database_is_current_at_its_target_as_well(host: Host, there: Path, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(hours=2)
    host.run("backup", "agent")
    assert host.run("status", "agent", "--json").result["targets"][0]["behind_seconds"] == 0


def test_target_without_anything_is_told(host: Host, there: Path) -> None:
    host.run("backup", "agent", "--no-push")
    done = host.run("status", "agent")
    assert done.code == 3
    assert "Nothing was pushed to the target nas yet" in done.err


def test_list_of_a_target(host: Host, there: Path) -> None:
    host.run("backup", "agent")
    host.change()
    host.run("backup", "agent")
    first, second = host.ids()
    (there / second / "manifest.json").unlink()
    shutil.rmtree(host.repository() / first)
    found = host.run("list", "agent", "--target", "nas", "--json").result["target"]["backups"]
    assert [(each["id"], each["whole"], each["here"]) for each in found] == [
        (first, True, False),
        (second, False, True),
    ]
    assert "1 backup at rclone://offsite/host/agent" in host.run("list", "agent", "--target", "nas").out


@pytest.mark.parametrize("level", ["quick", "full"])
def test_verify_fetches_and_proves(host: Host, there: Path, level: str) -> None:
    host.run("backup", "agent")
    assert host.run("verify", "agent", "--target", "nas", "--level", level).code == 0
    image = next(there.glob("*/database.sqlite*"))
    image.write_bytes(image.read_bytes()[::-1])
    assert host.run("verify", "agent", "--target", "nas", "--level", level).code == 13
    assert host.run("verify", "agent").code == 0


@pytest.mark.parametrize("wanted", ["latest", "all"])
def test_verify_fails_for_what_is_not_whole_there(host: Host, there: Path, wanted: str) -> None:
    """An older one that is sound says nothing of it."""
    for _run in range(2):
        host.run("backup", "agent")
        host.change()
    damaged = host.ids()[-1]
    next((there / damaged).glob("database*")).unlink()
    done = host.run("verify", "agent", "--target", "nas", "--backup", wanted, "--json")
    assert done.code == 13
    assert done.result["verification"]["outcome"] == "failed"
    assert damaged in done.result["error"]["message"]
    assert host.history()[-1]["outcome"] == "failed"


def test_lost_host_comes_back_from_its_target(host: Host, there: Path) -> None:
    host.change(text="what must not be lost")
    host.run("backup", "agent")
    before = host.database().read_bytes()
    shutil.rmtree(host.repository())
    shutil.rmtree(host.config / "seen.d")
    host.database().unlink()
    assert host.run("pull", "agent").code == 0
    assert host.run("restore", "agent").code == 0
    assert host.database().read_bytes() == before
    assert host.history()[0]["event"] == "pull"


def test_prune_of_a_target_goes_by_its_own_rules(host: Host, there: Path, moment: list[datetime]) -> None:
    file = host.config / "targets.d" / "nas.json"
    for _day in range(3):
        host.run("backup", "agent")
        host.change()
        moment[0] += timedelta(days=1)
    assert len(whole(there)) == 3
    assert host.run("prune", "agent", "--target", "nas").code == 18
    file.write_text(json.dumps({**json.loads(file.read_text()), "keep_last": 1}))
    planned = host.run("prune", "agent", "--target", "nas", "--dry-run", "--json").result
    assert len(whole(there)) == 3
    done = host.run("prune", "agent", "--target", "nas", "--json").result
    assert (planned["kept"], planned["removed"]) == (done["kept"], done["removed"])
    assert whole(there) == host.ids()[-1:]
    assert [each.name for each in there.iterdir()] == host.ids()[-1:]
    assert len(host.ids()) == 3


def test_what_a_target_would_not_keep_does_not_go_there(host: Host, there: Path, moment: list[datetime]) -> None:
    """Else each run would send again what the one before it removed."""
    file = host.config / "targets.d" / "nas.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "keep_daily": 2}))
    for _hour in range(5):
        host.run("backup", "agent")
        assert whole(there) == host.ids()[-1:]
        host.change()
        moment[0] += timedelta(hours=1)
    assert not host.run("push", "agent", "--json").result["changed"]


def test_prune_on_another_host_needs_no_repository(host: Host, there: Path, moment: list[datetime]) -> None:
    for _day in range(2):
        host.run("backup", "agent")
        host.change()
        moment[0] += timedelta(days=1)
    newest = host.ids()[-1]
    shutil.rmtree(host.repository())
    file = host.config / "targets.d" / "nas.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "keep_last": 1}))
    assert host.run("prune", "agent", "--target", "nas").code == 0
    assert whole(there) == [newest]
    assert not host.repository().exists()


def test_another_push_that_goes_on_is_no_failure(host: Host, there: Path) -> None:
    host.run("backup", "agent")
    host.change()
    with locks.held(host.repository() / ".locks" / "push-nas", timeout_seconds=0):
        done = host.run("backup", "agent")
    assert done.code == 0
    assert "another push to nas goes on" in done.err
    assert len(whole(there)) == 1


def test_guard_and_trial_push_nothing(host: Host, there: Path) -> None:
    host.run("backup", "agent", "--no-push")
    host.change()
    assert host.run("guard", "agent", "--reason", "test", "--", "true").code == 0
    assert not there.exists()


def test_doctor_tries_what_may_be_done_there(host: Host, there: Path) -> None:
    host.run("backup", "agent")
    (found,) = [each for each in host.run("doctor", "agent", "--json").result["findings"] if "target" in each["name"]]
    assert found["outcome"] == "ok"
    assert whole(there) == [each.name for each in there.iterdir()]
    cut(host)
    (found,) = [each for each in host.run("doctor", "agent", "--json").result["findings"] if "target" in each["name"]]
    assert found["outcome"] == "problem"


def test_doctor_notes_that_there_is_no_copy_elsewhere(host: Host) -> None:
    host.run("backup", "agent")
    (found,) = [each for each in host.run("doctor", "agent", "--json").result["findings"] if "target" in each["name"]]
    assert found["outcome"] == "note"
    assert "no copy elsewhere" in found["detail"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"url": f"s3://key:{SECRET}@bucket/x"}, "password"),
        ({"options": {"secret_access_key": SECRET}}, "options: secret_access_key is secret"),
        ({"url": "s3://bucket/../x"}, ".."),
        ({"url": "ftp://host/x"}, "not one of a target"),
        ({"url": "ssh://host"}, "host and path"),
        ({"bandwidth": "fast"}, "bandwidth"),
        ({"keep_daily": -1}, "keep_daily"),
        ({"retries": -1}, "retries"),
    ],
)
def test_wrong_value_is_named_and_no_secret_is(host: Host, there: Path, changed: dict[str, Any], told: str) -> None:
    file = host.config / "targets.d" / "nas.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    done = host.run("push", "agent")
    assert done.code == 2
    assert told in done.err
    assert SECRET not in done.err
    assert "targets.d/nas.json" in done.err or "retries" in done.err


def test_credentials_that_others_can_read_are_refused(host: Host, there: Path) -> None:
    host.run("backup", "agent", "--no-push")
    (host.directory / "rclone.conf").chmod(0o644)
    done = host.run("push", "agent")
    assert done.code == 18
    assert "chmod 0600" in done.err


@pytest.mark.thorough
def test_push_that_is_killed_goes_on_in_the_next_run(host: Host, there: Path) -> None:
    """Slowly, so that it is killed where it is sending."""
    (host.directory / "large.bin").write_bytes(os.urandom(3_000_000))
    include = [{"src": str(host.directory / "large.bin")}]
    host.add("agent", targets=["nas"], include=include, compression="none")
    host.run("backup", "agent", "--no-push")
    file = host.config / "targets.d" / "nas.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "bandwidth": "500K"}))
    process = subprocess.Popen(host.command("push", "agent"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 30
        while not list(there.rglob("large.bin*")) and time.monotonic() < end:
            time.sleep(0.05)
    finally:
        process.kill()
        process.communicate()
        for number, words in leftovers.commands():
            # The program that it had started, as a reboot would.
            if b"rclone" in words and str(host.directory).encode() in words:
                os.kill(number, signal.SIGKILL)
    assert whole(there) == []
    mend(host, json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "bandwidth"}))
    assert host.run("push", "agent").code == 0
    assert whole(there) == host.ids()
    sent = next(there.rglob("large.bin")).read_bytes()
    assert sent == (host.directory / "large.bin").read_bytes()
