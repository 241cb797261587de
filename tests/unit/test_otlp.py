# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of watch/otlp.py and watch/exporter.py: the real SDK sends, and a real receiver decodes what it was sent."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    ProgramMissingError,
    RefusedError,
    TargetUnreachableError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import metrics, otlp
from support import collector, observations, receivers, watched
from support.collector import Collector

SECOND = 1_000_000_000
START = 1795849195
"""2026-11-28T06:59:55Z, by `date -u -d`."""
RUN = watched.run(
    seconds=2.5,
    started="2026-11-28T06:59:55Z",
    id="0b0c5c0e-8d2b-4f8e-9a51-0d5f3f8f4c11",
    durations={"read": 0.25, "check": 0.5, "publish": 0.125},
    backup="20261128T065955Z-full",
)
FAILED = {
    **RUN,
    "outcome": "failure",
    "code": 12,
    "class": "SourceCorruptError",
    "message": "Cannot back up /srv/secret.db: row 7 of users is damaged.",
    "durations": {},
    "backup": None,
    "type": None,
}


def told(**changed: Any) -> dict[str, Any]:
    return observations.full(counted_since="2026-11-01T00:00:00Z", **changed)


@contextlib.contextmanager
def sender(endpoint: str, **changed: Any) -> Iterator[otlp.Sender]:
    options = {"headers_file": None, "python": collector.PYTHON, "timeout_seconds": 5.0, **changed}
    found = otlp.Sender(endpoint, **options)
    try:
        yield found
    finally:
        found.close()


def send(endpoint: str, run: dict[str, Any] | None = None, **changed: Any) -> None:
    with sender(endpoint, **changed) as found:
        found.tell(told(), run or RUN)


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Collector]:
    with collector.running(tmp_path) as found:
        yield found


def attributes(given: list[dict[str, Any]]) -> dict[str, Any]:
    """As protobuf has them in JSON, where 64 bits are a text."""
    found = {}
    for each in given:
        ((kind, value),) = each["value"].items()
        found[each["key"]] = int(value) if kind == "intValue" else value
    return found


def number(point: dict[str, Any]) -> float:
    return float(point["asInt"] if "asInt" in point else point["asDouble"])


def points(metric: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (metric.get("sum") or metric["gauge"])["dataPoints"]
    return found


# --- what is sent -----------------------------------------------------------------------------------------------------


@collector.needs_sdk
def test_metrics_arrive_as_they_are_written_for_prometheus(receiver: Collector) -> None:
    send(receiver.url)
    (request,) = receiver.received("/v1/metrics")
    (resource,) = request["body"]["resourceMetrics"]
    (scope,) = resource["scopeMetrics"]
    arrived = {
        (metric["name"], metric["description"], frozenset(attributes(point["attributes"]).items())): number(point)
        for metric in scope["metrics"]
        for point in points(metric)
    }
    sent = {
        (family.name, family.help, frozenset(sample.labels.items())): float(sample.value)
        for family in metrics.families(told())
        for sample in family.samples
    }
    assert arrived == sent
    known = attributes(resource["resource"]["attributes"])
    assert (known["service.name"], known["host.name"], known["service.version"]) == ("sqlite-backup", "ci-1", "1.0.0")


@collector.needs_sdk
def test_counters_are_sums_since_they_began_and_all_else_is_a_gauge(receiver: Collector) -> None:
    """A start that moves with each run would make every backend count all runs anew."""
    send(receiver.url)
    (request,) = receiver.received("/v1/metrics")
    found = request["body"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    sums = {each["name"] for each in found if "sum" in each}
    assert sums == {"database_backup_success_total", "database_backup_failure_total"}
    for each in found:
        for point in points(each):
            assert int(point["timeUnixNano"]) == (START + 5) * SECOND
            if "sum" in each:
                assert int(point["startTimeUnixNano"]) == 1793491200 * SECOND
        if "sum" in each:
            assert each["sum"]["isMonotonic"]
            assert each["sum"]["aggregationTemporality"] == "AGGREGATION_TEMPORALITY_CUMULATIVE"
    units = {each["name"].removeprefix("database_backup_"): each["unit"] for each in found}
    assert (units["rto_seconds"], units["free_bytes"], units["backups"]) == ("s", "By", "1")


def spans(receiver: Collector) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The run of the only trace, and its phases in their order."""
    (request,) = receiver.received("/v1/traces")
    (resource,) = request["body"]["resourceSpans"]
    assert attributes(resource["resource"]["attributes"])["service.name"] == "sqlite-backup"
    found = resource["scopeSpans"][0]["spans"]
    (root,) = [each for each in found if "parentSpanId" not in each]
    return root, sorted((each for each in found if each is not root), key=lambda each: int(each["startTimeUnixNano"]))


def times(span: dict[str, Any]) -> tuple[float, float]:
    """When it began and ended, in seconds after the run began."""
    begin, end = (int(span[f"{each}TimeUnixNano"]) - START * SECOND for each in ("start", "end"))
    return begin / SECOND, end / SECOND


@collector.needs_sdk
def test_a_run_is_a_trace_with_its_phases(receiver: Collector) -> None:
    send(receiver.url)
    root, phases = spans(receiver)
    assert root["name"] == "backup"
    assert times(root) == (0, 2.5)
    assert [(each["name"], *times(each)) for each in phases] == [
        ("read", 0, 0.25),
        ("check", 0.25, 0.75),
        ("publish", 0.75, 0.875),
    ]
    assert {(each["traceId"], each["parentSpanId"]) for each in phases} == {(root["traceId"], root["spanId"])}
    assert root["status"] == {"code": "STATUS_CODE_OK"}
    assert attributes(root["attributes"]) == {
        "database": "agent",
        "host": "ci-1",
        "command": "backup",
        "code": 0,
        "backup": "20261128T065955Z-full",
        "type": "full",
        "run": RUN["id"],
    }


@collector.needs_sdk
def test_a_failure_is_told_by_its_class_and_without_a_word_of_the_data(receiver: Collector) -> None:
    send(receiver.url, FAILED)
    root, phases = spans(receiver)
    assert (phases, root["status"]) == ([], {"code": "STATUS_CODE_ERROR", "message": "SourceCorruptError"})
    assert attributes(root["attributes"])["code"] == 12
    assert "secret.db" not in receiver.log.read_text()


@collector.needs_sdk
def test_nothing_known_is_told_as_well(receiver: Collector) -> None:
    with sender(receiver.url) as found:
        found.tell(observations.empty(), FAILED)
    (request,) = receiver.received("/v1/metrics")
    found_metrics = request["body"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    assert {each["name"] for each in found_metrics} == {each.name for each in metrics.families(observations.empty())}


@collector.needs_sdk
def test_headers_come_from_a_private_file(receiver: Collector, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("# of the collector\n\nAuthorization: Bearer a:b c \nX-Scope-OrgID:7\n")
    file.chmod(0o600)
    send(receiver.url, headers_file=file)
    for path in ("/v1/metrics", "/v1/traces"):
        (request,) = receiver.received(path)
        assert request["headers"]["authorization"] == "Bearer a:b c"
        assert request["headers"]["x-scope-orgid"] == "7"
    file.chmod(0o644)
    with pytest.raises(RefusedError, match="can be read by others"):
        send(receiver.url, headers_file=file)


@collector.needs_sdk
def test_the_secret_is_seen_by_nobody_who_looks_at_processes(receiver: Collector, tmp_path: Path) -> None:
    file = tmp_path / "headers"
    file.write_text("Authorization: secret-of-the-collector\n")
    file.chmod(0o600)
    with sender(receiver.url, headers_file=file) as found:
        found.tell(told(), RUN)
        process = found._process
        assert process is not None
        for each in ("cmdline", "environ"):
            seen = Path(f"/proc/{process.pid}/{each}")
            assert not seen.exists() or b"secret-of" not in seen.read_bytes()


@collector.needs_sdk
def test_the_environment_says_nothing_of_what_is_sent_and_where(
    receiver: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-environment=1")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other")
    send(receiver.url)
    root, _phases = spans(receiver)
    assert root["name"] == "backup"
    assert "x-environment" not in receiver.log.read_text()


@collector.needs_sdk
def test_the_runner_sends_out_of_its_one_file(receiver: Collector, tmp_path: Path) -> None:
    """There the engine is no folder."""
    runner = tmp_path / "sqlite-backup"
    runner.write_bytes(zipapp.build(cli.main))
    code = (
        "import json, pathlib, sys; sys.path.insert(0, sys.argv[1]); from _engine.watch import otlp\n"
        "found = otlp.Sender(sys.argv[2], headers_file=None, python=pathlib.Path(sys.argv[3]), timeout_seconds=5.0)\n"
        "found.tell(*json.loads(sys.argv[4])); found.close()"
    )
    import json

    command = [sys.executable, "-I", "-c", code, runner.name, receiver.url, str(collector.PYTHON)]
    subprocess.run([*command, json.dumps([told(), RUN])], check=True, cwd=tmp_path, timeout=60)
    assert spans(receiver)[0]["name"] == "backup"


# --- what goes wrong --------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@collector.needs_sdk
def test_collector_that_is_down_is_told_at_once() -> None:
    with sender(f"http://user:secret@127.0.0.1:{free_port()}/secret?key=secret", timeout_seconds=30.0) as found:
        begin = time.monotonic()
        with pytest.raises(TargetUnreachableError, match="the collector 127.0.0.1:[0-9]+ did not take it") as caught:
            found.tell(told(), RUN)
    assert "cannot be reached" in caught.value.message
    assert "secret" not in str(caught.value)
    assert time.monotonic() - begin < 10


@collector.needs_sdk
@pytest.mark.parametrize(
    ("answer", "said"),
    [("500", "it answers with 500"), ("401", "it answers with 401"), ("404", "404"), ("503", "503")],
)
def test_collector_that_refuses_is_told(tmp_path: Path, answer: str, said: str) -> None:
    with collector.running(tmp_path, answer) as receiver:
        begin = time.monotonic()
        with pytest.raises(TargetUnreachableError, match=said):
            send(receiver.url, timeout_seconds=1.0)
    assert time.monotonic() - begin < 10


@pytest.mark.slow
@collector.needs_sdk
def test_an_answer_without_an_end_takes_no_more_than_a_gigabyte() -> None:
    resource = pytest.importorskip("resource")
    # Of all children that this process had.
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    with receivers.receiver(receivers.endless) as receiver, receivers.took(60), pytest.raises(EngineError):
        send(receiver.url, timeout_seconds=5.0)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 1.1 * (1 << 20))


@collector.needs_sdk
def test_collector_that_sends_elsewhere_did_not_take_it(tmp_path: Path) -> None:
    with collector.running(tmp_path, "302") as receiver, pytest.raises(TargetUnreachableError, match="302"):
        send(receiver.url)


@collector.needs_sdk
def test_collector_that_hangs_is_left_after_the_timeout(tmp_path: Path) -> None:
    with collector.running(tmp_path, "hang") as receiver:
        begin = time.monotonic()
        with pytest.raises(TargetUnreachableError, match="does not answer in time"):
            send(receiver.url, timeout_seconds=0.5)
    assert 0.5 <= time.monotonic() - begin < 15


def test_python_without_the_sdk_is_told_with_what_to_install(tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    with pytest.raises(ProgramMissingError, match=r"bare/bin/python lacks the SDK of OpenTelemetry \(No module") as it:
        send("http://127.0.0.1:9", python=bare / "bin" / "python")
    assert all(each in it.value.hint for each in (*otlp.PACKAGES, "otlp.python", "sqlite_monitoring"))


@pytest.mark.parametrize(
    ("python", "said"), [("/nowhere/python", "cannot be run"), ("/bin/true", "does not answer as a Python")]
)
def test_what_is_no_python_is_told(python: str, said: str) -> None:
    with pytest.raises(ProgramMissingError, match=f"{re.escape(str(python))} .*{said}"):
        send("http://127.0.0.1:9", python=Path(python))


@pytest.mark.parametrize("answer", ["", "[1", "[]", "7"])
def test_what_answers_nonsense_is_no_python(tmp_path: Path, answer: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nread line\necho '{answer}'\n")
    program.chmod(0o700)
    with pytest.raises(ProgramMissingError, match="does not answer as a Python"):
        send("http://127.0.0.1:9", python=program)


# --- processes --------------------------------------------------------------------------------------------------------


def ended(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    state = Path(f"/proc/{process_id}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"


def soon(process_id: int) -> bool:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if ended(process_id):
            return True
        time.sleep(0.05)
    return False


_PARENT = """
import pathlib, sys, time
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import otlp
found = otlp.Sender("http://127.0.0.1:9", headers_file=None, python=pathlib.Path(sys.argv[1]), timeout_seconds=5.0)
print(found._process.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_it_ends_when_the_runner_is_killed() -> None:
    command = [sys.executable, "-c", _PARENT, sys.executable]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    assert soon(child)


def test_close_ends_it_whatever_it_does(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    with sender("http://127.0.0.1:9", python=program) as found:
        process = found._process
        assert process is not None
        time.sleep(0.1)
    assert process.returncode == -9


@collector.needs_sdk
def test_it_ends_by_itself_when_nobody_ends_it(tmp_path: Path) -> None:
    """The name of the collector is asked for without a timeout, and the runner may be gone."""
    with collector.running(tmp_path, "hang") as receiver:
        found = otlp.Sender(receiver.url, headers_file=None, python=collector.PYTHON, timeout_seconds=0.2)
        with contextlib.suppress(EngineError):
            found.tell(told(), RUN)
        process = found._process
        assert process is not None
        assert process.wait(20) in (0, 1)
        found.close()
