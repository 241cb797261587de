# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of runner/telling.py and runner/sinks.py: others are told of a run, and can neither fail nor delay it."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import counts, sinks, status, telling
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.sinks import Sink
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
from support.hosts import Host

Tell = Callable[[Any, Any], None]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """What was told, each as a document with observation and run: sinks work in a process of their own."""
    place = tmp_path / "told"
    place.mkdir()
    return lambda: [json.loads(each.read_text()) for each in sorted(place.iterdir())]


@pytest.fixture
def sink(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Configure sinks by what they do; without any, one writes down what it is told."""

    def write(observation: Any, run: Any) -> None:
        file = tmp_path / "told" / f"{time.monotonic_ns():020}"
        file.write_text(json.dumps({"observation": observation, "run": run}))

    def configure(**tells: Tell) -> None:
        found = [Sink(name, tell) for name, tell in (tells or {"written": write}).items()]
        monkeypatch.setattr(sinks, "ending", lambda *_args: found)

    return configure


def watch(host: Host, content: object) -> None:
    file = host.config / "watch.json"
    file.write_text(json.dumps(content) if not isinstance(content, str) else content)
    file.chmod(0o600)


def test_the_end_of_each_told_command_is_told(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]]
) -> None:
    sink()
    host.run("backup", "agent")
    host.run("verify", "agent")
    host.run("drill", "agent")
    host.run("prune", "agent")
    host.run("list", "agent")
    host.run("status", "agent")
    host.run("backup", "agent", "--dry-run")
    runs = [each["run"] for each in told()]
    assert [each["command"] for each in runs] == ["backup", "verify", "drill", "prune"]
    assert {(each["phase"], each["outcome"], each["code"]) for each in runs} == {("end", "success", 0)}
    assert len({each["id"] for each in runs}) == 4
    first = runs[0]
    assert (first["backup"], first["type"], first["message"]) == (host.ids()[0], "full", "")
    assert first["durations"].keys() >= {"read", "publish"}
    assert first["seconds"] >= sum(first["durations"].values()) * 0.5


def test_what_is_observed_is_what_status_answers(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]]
) -> None:
    sink()
    host.add("agent", rpo="1h", rto="15m")
    host.run("backup", "agent")
    (observation,) = [each["observation"] for each in told()]
    status = host.run("status", "agent", "--json").result
    differing = {"made", "free_bytes", "age_seconds", "recovery_point", "fresh_until", "error", "warnings", "user"}
    assert {**observation, **dict.fromkeys(differing)} == {**status, **dict.fromkeys(differing)}
    assert observation["counts"]["success"]["full"] == 1
    assert (observation["state"], observation["rpo_seconds"], observation["rto_seconds"]) == ("ok", 3600.0, 900.0)
    assert observation["fresh_until"] > observation["recovery_point"]
    assert 0 < observation["free_bytes"] <= observation["filesystem_bytes"]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users have no numbers here")
def test_the_user_is_who_runs_whatever_the_environment_says(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`su` keeps the variables: a run by hand would be told as that of another user."""
    import pwd

    sink()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "nobody")
    host.run("backup", "agent")
    (only,) = told()
    assert only["observation"]["user"] == pwd.getpwuid(os.getuid()).pw_name


def test_a_failure_is_told_with_what_is_known(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]]
) -> None:
    sink()
    host.run("backup", "agent")
    host.database().rename(host.database().with_name("away"))
    host.run("backup", "agent")
    last = told()[-1]
    assert (last["run"]["outcome"], last["run"]["code"], last["run"]["class"]) == ("failure", 10, "SourceMissingError")
    assert last["run"]["backup"] is None
    assert last["observation"]["state"] == "failing"
    assert last["observation"]["counts"]["failure"]["auto"] == 1


def test_a_configuration_that_is_wrong_is_told_as_failing(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]]
) -> None:
    sink()
    host.configure("agent", {"path": "/x"})
    assert host.run("backup", "agent").code == 2
    (only,) = told()
    assert (only["observation"]["name"], only["observation"]["state"]) == ("agent", "failing")
    assert "repository" in only["observation"]["reasons"][0]["text"]
    assert only["observation"]["counts"]["failure"]["auto"] == 1


def test_who_cannot_be_told_is_a_warning_and_the_others_are_told(host: Host, sink: Callable[..., None]) -> None:
    heard = host.directory / "heard"

    def fails(_observation: Any, _run: Any) -> None:
        raise OSError("nobody answers")

    sink(first=fails, second=lambda *_: heard.touch())
    said = host.run("backup", "agent", "--json")
    assert (said.code, heard.exists()) == (0, True)
    assert said.result["warnings"] == ["first could not be told of this run: nobody answers"]


def test_who_hangs_delays_a_run_by_no_more_than_the_timeout(host: Host, sink: Callable[..., None]) -> None:
    watch(host, {"timeout": "1s"})
    sink(slow=lambda *_: time.sleep(60))
    begin = time.monotonic()
    said = host.run("backup", "agent", "--json")
    assert time.monotonic() - begin < 6
    assert said.code == 0
    assert said.result["warnings"] == ["slow could not be told of this run: it did not end in time"]


def test_the_start_is_told_before_the_end_and_without_waiting(
    host: Host, monkeypatch: pytest.MonkeyPatch, sink: Callable[..., None]
) -> None:
    log = host.directory / "log"

    def write(text: str) -> None:
        with log.open("a") as file:
            file.write(f"{text}\n")

    def begins() -> None:
        time.sleep(0.3)
        write("start")

    monkeypatch.setattr(sinks, "starting", lambda *_args: {"a": begins})
    sink(a=lambda *_: write("end"))
    assert host.run("backup", "agent").code == 0
    assert log.read_text().split() == ["start", "end"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "it is not JSON"),
        ({"textfile_dir": "/x"}, "textfile_dir: there is no such key"),
        ({"timeout": 5}, "timeout is 5"),
    ],
)
def test_a_broken_configuration_of_what_is_told_is_a_warning(host: Host, content: object, told: str) -> None:
    watch(host, content)
    said = host.run("backup", "agent", "--json")
    assert said.code == 0
    (warning,) = said.result["warnings"]
    assert warning.startswith("nobody could be told of this run: watch")
    assert told in warning


def test_a_signal_while_others_are_told_stops_the_next_database_and_denies_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, sink: Callable[..., None]
) -> None:
    host.add("orders")
    sink(a=lambda *_: None)

    def interrupt(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(telling.status, "observe", interrupt)
    said = host.run("backup", "--all", "--json")
    assert said.code == 130
    assert [(each["name"], each["error"]) for each in said.document["results"]] == [("agent", None)]
    assert host.ids()
    assert host.run("backup", "orders").code == 0


@pytest.mark.parametrize("builder", ["ending", "starting"])
def test_what_cannot_even_begin_to_tell_does_not_keep_the_work_from_beginning(
    host: Host, monkeypatch: pytest.MonkeyPatch, builder: str
) -> None:
    def broken(*_args: object) -> None:
        raise OSError("too many processes")

    monkeypatch.setattr(sinks, builder, broken)
    said = host.run("backup", "agent", "--json")
    assert said.code == 0
    assert "too many processes" in said.result["warnings"][0]


def test_doctor_says_that_a_broken_configuration_lets_nobody_hear(host: Host) -> None:
    host.run("backup", "agent")
    assert "Nobody is told" not in host.run("doctor", "agent").out
    watch(host, "{")
    said = host.run("doctor", "agent", "--json").result
    (found,) = [each for each in said["findings"] if each["name"] == "who is told"]
    assert (found["outcome"], said["error"]) == ("warning", None)
    assert "it is not JSON" in found["detail"]


def test_who_hears_neither_of_the_start_nor_of_the_end_is_named_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, sink: Callable[..., None]
) -> None:
    def fails(*_args: object) -> None:
        raise OSError("nobody answers")

    monkeypatch.setattr(sinks, "starting", lambda *_args: {"chat": fails})
    sink(chat=fails)
    warnings = host.run("backup", "agent", "--json").result["warnings"]
    assert warnings == ["chat could not be told of this run: nobody answers"]


def test_every_sink_is_closed_whatever_happens(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []
    found = [Sink(name, lambda *_: None, lambda name=name: closed.append(name)) for name in "ab"]  # type: ignore[misc]
    monkeypatch.setattr(sinks, "ending", lambda *_args: found)

    def broken(*_args: object) -> None:
        raise RuntimeError("nothing works")

    monkeypatch.setattr(telling.Telling, "_observed", broken)
    said = host.run("backup", "agent", "--json")
    assert (said.code, closed) == (0, ["a", "b"])
    assert "nothing works" in said.result["warnings"][0]


def test_who_cannot_be_told_of_the_start_does_not_keep_a_run_from_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(host, {"notify": [{"name": "ada", "type": "command", "command": ["/bin/true"]}]})

    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(os, "fork", fork)
    before = len(os.listdir("/dev/fd"))
    said = host.run("backup", "agent")
    assert said.code == 0
    assert "not everybody was told that this run began: " in said.err
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.parametrize(
    "content",
    [{"otlp": {"endpoint": "http://127.0.0.1:9", "python": "/x\ud800"}}, {"audit": {"file": "/x\ud800"}}],
)
def test_half_a_character_is_a_warning(host: Host, content: object) -> None:
    watch(host, content)
    said = host.run("backup", "agent")
    assert said.code == 0
    assert "nobody could be told of this run" in said.err


def test_a_run_that_cannot_be_counted_is_told(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    sink()
    monkeypatch.setattr(counts, "add", lambda *_args, **_more: 1 / 0)
    said = host.run("backup", "agent")
    assert (said.code, len(told())) == (0, 1)
    assert "ZeroDivisionError" in said.err


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 1)() != 0, reason="needs root")
@pytest.mark.parametrize("wrong", ["hangs", "is killed", "breaks"])
def test_what_cannot_be_looked_at_is_told_as_failing(
    host: Host, sink: Callable[..., None], told: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    sink()
    hostile = host.directory / "hostile"
    hostile.mkdir()
    os.chown(hostile, 65534, 65534)
    host.add("orders", path=hostile / "orders.db")
    monkeypatch.setattr(telling, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(confined, "_GRACE_SECONDS", 0.2)
    does = {
        "hangs": lambda *_args: time.sleep(30),
        "is killed": lambda *_args: os.kill(os.getpid(), signal.SIGKILL),
        "breaks": lambda *_args: 1 / 0,
    }
    with monkeypatch.context() as patch:
        patch.setattr(status, "observe", does[wrong])
        began = time.monotonic()
        host.run("backup", "orders")
        assert time.monotonic() - began < 10
    (one,) = told()
    assert one["observation"]["state"] == "failing"
    assert one["observation"]["name"] == "orders"
