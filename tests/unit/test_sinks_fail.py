# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each way of telling others is killed: the backup is made all the same, on time, and says what could not be told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import processes, receivers, servers
from support.hosts import Host, Said

TIMEOUT_SECONDS = 1.0
# What a start and an end that nobody answers may take, and what a busy machine adds.
MOST_SECONDS = 2 * (TIMEOUT_SECONDS + 1.0) + 15.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks at processes in /proc")


class Broken(NamedTuple):
    """What is configured, and what the warning must say."""

    watch: Any
    warning: str


Breaking = Callable[[Path, contextlib.ExitStack], Broken]


def _webhook(answer: receivers.Answer, warning: str) -> Breaking:
    def configure(_place: Path, stack: contextlib.ExitStack) -> Broken:
        url = stack.enter_context(receivers.receiver(answer)).url
        return Broken(_receiver(type="webhook", url=f"{url}/secret"), f"the receiver chat could not be told {warning}")

    return configure


def _ping(answer: receivers.Answer, warning: str) -> Breaking:
    def configure(_place: Path, stack: contextlib.ExitStack) -> Broken:
        url = stack.enter_context(receivers.receiver(answer)).url
        return Broken(_receiver(type="ping", url=f"{url}/secret"), f"the receiver chat could not be told {warning}")

    return configure


def _down(_place: Path, _stack: contextlib.ExitStack) -> Broken:
    url = f"http://127.0.0.1:{servers.free_port()}/secret"
    return Broken(_receiver(type="webhook", url=url), "could not be reached: connection refused")


def _command(script: str, warning: str) -> Breaking:
    return lambda _place, _stack: Broken(_receiver(type="command", command=["/bin/sh", "-c", script]), warning)


def _receiver(**receiver: Any) -> dict[str, Any]:
    return {"notify": [{"name": "chat", **receiver}]}


def _watch(content: Any, warning: str) -> Breaking:
    return lambda _place, _stack: Broken(content, warning)


def _full_disk(stack: contextlib.ExitStack) -> Path:
    disk: Path = stack.enter_context(processes.small_disk(64 * 1024))
    (disk / "filler").write_bytes(b"\0" * (64 * 1024))
    return disk


def _status_on_a_full_disk(_place: Path, stack: contextlib.ExitStack) -> Broken:
    path = _full_disk(stack) / "status.json"
    return Broken({"status_file": str(path)}, f"status_file could not be told .*Cannot write {path}.*no space left")


def _status_in(make: Callable[[Path], object], warning: str) -> Breaking:
    def configure(place: Path, _stack: contextlib.ExitStack) -> Broken:
        make(place / "public")
        path = place / "public" / "status.json"
        return Broken({"status_file": str(path)}, f"status_file could not be told .*{path.parent}.*{warning}")

    return configure


def _link_of_a_user(path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to make the link of another user")
    (path.parent / "roots").mkdir()
    path.symlink_to(path.parent / "roots")
    os.lchown(path, processes.NOBODY, processes.NOBODY)


BREAKING: dict[str, Breaking] = {
    "webhook is down": _down,
    "webhook never answers": _webhook(receivers.never, ".*127.0.0.1:[0-9]+ did not answer within 0.8 s"),
    "webhook trickles": _webhook(receivers.trickle, ".*127.0.0.1:[0-9]+ did not answer within 0.8 s"),
    "webhook answers 500": _webhook(receivers.status(500), ".*answered 500"),
    "webhook answers nonsense": _webhook(receivers.nonsense, ".*did not answer as http asks for"),
    "ping never answers": _ping(receivers.never, ".*127.0.0.1:[0-9]+ did not answer within 0.8 s"),
    "ping is led in a circle": _ping(receivers.status(302, Location="/again"), ".*answered 302"),
    "command hangs": _command("sleep 60", "the receiver chat .*/bin/sh did not end within 0.8 s"),
    "command ignores SIGTERM": _command(
        "trap '' TERM; while :; do sleep 0.1; done", ".*/bin/sh did not end within 0.8 s"
    ),
    "command waits for a child": _command("sleep 60 & wait", ".*/bin/sh did not end within 0.8 s"),
    "command fails": _command("echo out; echo err >&2; exit 7", ".*/bin/sh ended with the exit code 7"),
    "status.json on a full disk": _status_on_a_full_disk,
    "directory of status.json is missing": _status_in(lambda _path: None, "there is no directory"),
    "directory of status.json is a fifo": _status_in(processes.fifo, "not a directory"),
    "directory of status.json is a link of a user": _status_in(_link_of_a_user, "a link on the way belongs to a user"),
    "watch.json is no JSON": _watch("{", "nobody could be told of this run: "),
    "watch.json has an unknown key": _watch({"notfy": []}, "nobody could be told of this run: .*notfy"),
}


@pytest.fixture
def stack() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as found:
        yield found


def configure(host: Host, watch: Any) -> None:
    if isinstance(watch, dict) and "notfy" not in watch:
        watch = {"timeout": f"{TIMEOUT_SECONDS:.0f}s", **watch}
    servers.secret_file(host.config / "watch.json", watch if isinstance(watch, str) else json.dumps(watch))


def alive(mark: str) -> list[str]:
    """The processes that a run with this mark in its environment left behind; a zombie has none, but a parent."""
    found = []
    for each in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if each.name.isdigit() and f"MARK={mark}".encode() in (each / "environ").read_bytes().split(b"\0"):
                found.append((each / "cmdline").read_text(encoding="utf-8"))
    return found


def measured(host: Host, *words: str) -> tuple[Said, float]:
    """A run in a process of its own, which leaves no other one behind, and what it took."""
    mark = uuid.uuid4().hex
    began = time.monotonic()
    said = host.run_apart(*words, env={**os.environ, "MARK": mark})
    seconds = time.monotonic() - began
    end = time.monotonic() + 2
    while alive(mark) and time.monotonic() < end:
        time.sleep(0.05)
    assert alive(mark) == []
    return said, seconds


@pytest.mark.thorough
@pytest.mark.parametrize("name", BREAKING)
def test_backup_is_made_on_time_and_says_what_could_not_be_told(
    host: Host, tmp_path: Path, stack: contextlib.ExitStack, name: str
) -> None:
    _said, plain_seconds = measured(host, "backup", "agent", "--json")
    host.change()
    broken = BREAKING[name](tmp_path, stack)
    configure(host, broken.watch)
    said, seconds = measured(host, "backup", "agent", "--json")
    assert (said.code, said.err) == (0, "")
    result = said.result
    assert len(host.ids()) == 2
    assert result["backup"]["id"] == host.ids()[-1]
    assert result["error"] is None
    text = "\n".join(result["warnings"])
    assert re.search(broken.warning, text, re.IGNORECASE | re.DOTALL), text
    assert "secret" not in text
    assert seconds < plain_seconds + MOST_SECONDS, (plain_seconds, seconds)


@pytest.mark.thorough
def test_all_that_hang_at_once_take_no_longer_than_one(host: Host, stack: contextlib.ExitStack) -> None:
    """And who answers is told beside them."""
    _said, plain_seconds = measured(host, "backup", "agent", "--json")
    host.change()
    good, bad = stack.enter_context(receivers.receiver()), stack.enter_context(receivers.receiver(receivers.never))
    told = [{"name": f"hangs-{number}", "type": "ping", "url": f"{bad.url}/{number}"} for number in range(5)]
    told.extend({"name": f"sleeps-{number}", "type": "command", "command": ["/bin/sleep", "60"]} for number in range(5))
    told.append({"name": "good", "type": "webhook", "url": good.url})
    configure(host, {"notify": told, "status_file": str(host.directory / "missing" / "status.json")})
    said, seconds = measured(host, "backup", "agent", "--json")
    assert said.code == 0
    assert {each.split(" could not be told")[0] for each in said.result["warnings"]} == {
        *(f"the receiver {each['name']}" for each in told[:-1]),
        "status_file",
    }
    assert [each.document["phase"] for each in good.requests] == ["start", "end"]
    assert seconds < plain_seconds + MOST_SECONDS, (plain_seconds, seconds)


def test_receivers_that_answer_hear_start_and_end_in_order(host: Host, stack: contextlib.ExitStack) -> None:
    slow_start = receivers.status(200)

    def answer(handler: Any) -> None:
        if "/start" in handler.path:
            time.sleep(0.5)
            answered.append("start")
        else:
            answered.append("end")
        slow_start(handler)

    answered: list[str] = []
    receiver = stack.enter_context(receivers.receiver(answer))
    configure(
        host, {"timeout": "5s", "notify": [{"name": "hc", "type": "ping", "url": f"{receiver.url}/{{database}}"}]}
    )
    said, _seconds = measured(host, "backup", "agent", "--json")
    assert said.result["warnings"] == []
    assert answered == ["start", "end"]
    start, end = receiver.requests
    assert (start.path.partition("?")[0], end.path.partition("?")[0]) == ("/agent/start", "/agent")
    assert start.path.partition("?rid=")[2] == end.path.partition("?rid=")[2]


def test_a_failed_backup_is_told_with_its_code(host: Host, stack: contextlib.ExitStack) -> None:
    receiver = stack.enter_context(receivers.receiver())
    host.database().unlink()
    configure(
        host,
        {
            "notify": [
                {"name": "hc", "type": "ping", "url": f"{receiver.url}/hc", "when": ["failure"]},
                {"name": "chat", "type": "webhook", "url": f"{receiver.url}/chat", "when": ["success"]},
                {"name": "ops", "type": "webhook", "url": f"{receiver.url}/ops", "when": ["failure"]},
                {"name": "jobs", "type": "webhook", "url": f"{receiver.url}/jobs", "databases": ["jobs"]},
                {"name": "drills", "type": "webhook", "url": f"{receiver.url}/drills", "commands": ["drill"]},
            ]
        },
    )
    assert measured(host, "backup", "agent")[0].code == 10
    asked = sorted(each.partition("?")[0] for each in receiver.asked)
    assert asked == ["GET /hc/10", "POST /ops"]
    told = next(each.document for each in receiver.requests if each.method == "POST")
    assert (told["outcome"], told["code"], told["class"], told["state"]) == (
        *("failure", 10, "SourceMissingError", "missed"),
    )
    assert str(host.directory) not in json.dumps(told)


def test_status_file_tells_of_the_configured_databases(host: Host) -> None:
    host.add("jobs", rpo="1h")
    (host.directory / "public").mkdir()
    path = host.directory / "public" / "status.json"
    configure(host, {"status_file": str(path)})
    host.run("backup", "jobs")
    host.run("backup", "agent")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert [(each["name"], each["state"]) for each in content["databases"]] == [("agent", "ok"), ("jobs", "ok")]
    assert content["databases"][1]["fresh_until"] > content["made"]
    assert str(host.directory) not in path.read_text(encoding="utf-8")
