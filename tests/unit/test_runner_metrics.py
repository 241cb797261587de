# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Metrics of real runs: what the runner tells Prometheus and OpenTelemetry is what it did, and nothing of it hurts."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import parser

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import who
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import textfile
from support import collector, processes, servers
from support.hosts import Host

Watch = Callable[..., Path]


@pytest.fixture
def watch(host: Host) -> Watch:
    """Have metrics written, and ``more`` in watch.json; the directory that they are written to."""

    def configure(**more: Any) -> Path:
        place = host.directory / "textfiles"
        place.mkdir(exist_ok=True)
        file = host.config / "watch.json"
        file.write_text(json.dumps({"textfile_directory": str(place), **more}))
        file.chmod(0o600)
        return place

    return configure


def names(place: Path) -> list[str]:
    return sorted(each.name for each in place.iterdir())


def file_name(database: str = "agent") -> str:
    return textfile.file_name(who.user(), database)


def read(place: Path, database: str = "agent") -> dict[str, float]:
    """The samples of a database, by name and the values of their own labels."""
    families = parser.text_string_to_metric_families((place / file_name(database)).read_text(encoding="utf-8"))
    found = {}
    for each in (sample for family in families for sample in family.samples):
        assert each.labels["database"] == database
        own = [value for label, value in each.labels.items() if label not in ("database", "user")]
        found[" ".join([each.name.removeprefix("database_backup_"), *own])] = each.value
    return found


def test_every_kind_of_run_is_counted_and_counts_survive(host: Host, watch: Watch) -> None:
    place = watch()
    before = int(time.time())
    assert host.run("backup", "agent").code == 0
    assert host.run("backup", "agent").code == 0
    host.change()
    assert host.run("backup", "agent", "--type", "full").code == 0
    found = read(place)
    counted = {name: value for name, value in found.items() if "_total" in name}
    assert counted == {
        "success_total full": 2,
        "success_total incremental": 0,
        "success_total unchanged": 1,
        "failure_total auto": 0,
        "failure_total full": 0,
        "failure_total incremental": 0,
    }
    assert before <= found["last_success_timestamp_seconds"] <= time.time()
    assert before <= found["recovery_point_timestamp_seconds"] <= time.time()
    assert (found["last_run_code"], found["state ok"], found["backups full"]) == (0, 1, 2)
    stored = [each["stored_bytes"] for each in host.run("list", "agent", "--json").result["repository"]["backups"]]
    assert (found["size_bytes full"], found["stored_bytes"]) == (stored[-1], sum(stored))
    assert found["database_bytes"] == host.database().stat().st_size
    assert 0 < found["duration_seconds full"] < 60


def test_a_failing_run_counts_and_is_told(host: Host, watch: Watch) -> None:
    place = watch()
    host.run("backup", "agent")
    success = read(place)["last_success_timestamp_seconds"]
    host.database().rename(host.database().with_name("away"))
    assert host.run("backup", "agent", "--type", "incremental").code == 10
    found = read(place)
    assert (found["success_total full"], found["failure_total incremental"], found["last_run_code"]) == (1, 1, 10)
    assert (found["state failing"], found["state ok"]) == (1, 0)
    assert found["last_success_timestamp_seconds"] == success


def test_a_database_that_never_was_backed_up_is_told(host: Host, watch: Watch) -> None:
    """That its first backup fails is what somebody must hear of."""
    place = watch()
    host.database().unlink()
    assert host.run("backup", "agent").code == 10
    found = read(place)
    assert (found["failure_total auto"], found["state missed"], found["last_run_code"]) == (1, 1, 10)
    assert "recovery_point_timestamp_seconds" not in found


def test_counts_survive_the_repository(host: Host, watch: Watch) -> None:
    """A counter that goes back to zero hides what happened since."""
    place = watch()
    host.run("backup", "agent")
    shutil.rmtree(host.repository())
    assert host.run("backup", "agent").code == 23
    found = read(place)
    assert (found["success_total full"], found["failure_total auto"]) == (1, 1)


def test_what_only_tries_writes_nothing(host: Host, watch: Watch) -> None:
    place = watch()
    assert host.run("backup", "agent", "--dry-run").code == 0
    host.run("backup", "agent")
    before = (place / file_name()).stat()
    for words in (("backup", "--dry-run"), ("prune", "--dry-run"), ("restore", "--dry-run"), ("status",), ("list",)):
        host.run(words[0], "agent", *words[1:])
    after = (place / file_name()).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_drill_and_a_verification_are_told(host: Host, watch: Watch) -> None:
    place = watch()
    host.add("agent", rpo="1h", rto="15m")
    host.run("backup", "agent")
    assert not {"last_drill_success", "rto_seconds", "last_verified_timestamp_seconds"} & read(place).keys()
    assert host.run("verify", "agent").code == 0
    assert time.time() - read(place)["last_verified_timestamp_seconds"] < 60
    assert host.run("drill", "agent").code == 0
    found = read(place)
    assert (found["last_drill_success"], found["rpo_objective_seconds"], found["rto_objective_seconds"]) == (
        1,
        3600,
        900,
    )
    assert 0 < found["rto_seconds"] < 60
    assert time.time() - found["last_drill_timestamp_seconds"] < 60


def test_a_target_is_told(host: Host, watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    place = watch()
    servers.use_rclone(monkeypatch)
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed")
    with servers.remote(host.directory) as server:
        host.add_target("nas", **server.target, retries=0, rpo="2h")
        host.add("agent", targets=["nas"])
        assert host.run("backup", "agent").code == 0
        found = read(place)
        host.add_target("nas", **{**server.target, "url": "rclone://nowhere/host"}, retries=0)
        host.change()
        assert host.run("backup", "agent").code == 3
    assert (found["target_success nas"], found["target_rpo_objective_seconds nas"]) == (1, 7200)
    point = found["target_recovery_point_timestamp_seconds nas"]
    assert abs(point - found["recovery_point_timestamp_seconds"]) < 60
    later = read(place)
    assert later["target_success nas"] == 0
    assert abs(later["target_recovery_point_timestamp_seconds nas"] - point) < 3
    assert later["success_total full"] == 2


def test_each_database_has_its_file_and_one_that_is_configured_no_more_has_none(host: Host, watch: Watch) -> None:
    place = watch()
    host.add("other")
    host.run("backup", "--all")
    assert names(place) == sorted([file_name(), file_name("other")])
    (host.config / "databases.d" / "other.json").unlink()
    host.run("backup", "agent")
    assert names(place) == [file_name()]


def test_a_configuration_that_is_wrong_keeps_its_file(host: Host, watch: Watch) -> None:
    """It says that something is wrong; gone, nobody would miss it."""
    place = watch()
    host.add("other")
    host.run("backup", "--all")
    host.configure("other", "{")
    host.run("backup", "agent")
    assert names(place) == sorted([file_name(), file_name("other")])


def test_without_the_directory_the_backup_is_made_and_says_so(host: Host, watch: Watch) -> None:
    place = watch()
    place.rmdir()
    said = host.run("backup", "agent", "--json")
    assert (said.code, len(host.ids()), place.exists()) == (0, 1, False)
    (warning,) = said.result["warnings"]
    assert warning.startswith(
        f"node_exporter could not be told of this run: Cannot write metrics: {place} is not a dir"
    )


def test_a_full_disk_under_the_metrics_fails_no_backup(host: Host, watch: Watch) -> None:
    with processes.small_disk(16384) as disk:
        filler = disk / "filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        watch(textfile_directory=str(disk))
        said = host.run("backup", "agent", "--json")
        assert (said.code, names(disk)) == (0, ["filler"])
        (warning,) = said.result["warnings"]
        assert "node_exporter could not be told" in warning
        assert "no space left" in warning


# --- OpenTelemetry ----------------------------------------------------------------------------------------------------


@collector.needs_sdk
def test_a_run_reaches_the_collector_with_its_phases(host: Host, watch: Watch, tmp_path: Path) -> None:
    with collector.running(tmp_path) as receiver:
        watch(otlp={"endpoint": receiver.url, "python": str(collector.PYTHON)})
        said = host.run("backup", "agent", "--json")
        host.change()
        host.run("backup", "agent")
        assert (said.code, said.result["warnings"]) == (0, [])
        traces, metrics = receiver.received("/v1/traces"), receiver.received("/v1/metrics")
    assert (len(traces), len(metrics)) == (2, 2)
    spans = traces[0]["body"]["resourceSpans"][0]["scopeSpans"][0]["spans"]
    (root,) = [each for each in spans if "parentSpanId" not in each]
    assert root["name"] == "backup"
    assert {each["name"] for each in spans if each is not root} == said.result["backup"]["durations"].keys()
    sums = [
        (int(point["startTimeUnixNano"]), int(point["asInt"]))
        for request in metrics
        for each in request["body"]["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
        for point in each.get("sum", {}).get("dataPoints", ())
        if each["name"] == "database_backup_success_total"
        and {"key": "type", "value": {"stringValue": "full"}} in point["attributes"]
    ]
    assert [value for _start, value in sums] == [1, 2]
    assert len({start for start, _value in sums}) == 1, "a counter that begins anew is counted twice"


@collector.needs_sdk
@pytest.mark.parametrize("answer", ["hang", "500"])
def test_a_collector_that_takes_nothing_delays_a_backup_by_no_more_than_the_timeout(
    host: Host, watch: Watch, tmp_path: Path, answer: str
) -> None:
    with collector.running(tmp_path, answer) as receiver:
        place = watch(otlp={"endpoint": receiver.url, "python": str(collector.PYTHON)}, timeout="2s")
        begin = time.monotonic()
        said = host.run("backup", "agent", "--json")
        assert time.monotonic() - begin < 12
    assert (said.code, len(host.ids()), names(place)) == (0, 1, [file_name()])
    (warning,) = said.result["warnings"]
    # On a busy machine the time may be over before the SDK is loaded.
    said_by = ("the collector 127.0.0.1:", "it did not end in time")
    assert warning.startswith(tuple(f"OpenTelemetry could not be told of this run: {each}" for each in said_by))


def test_a_python_without_opentelemetry_is_a_warning(host: Host, watch: Watch) -> None:
    watch(otlp={"endpoint": "http://127.0.0.1:9", "python": "/nowhere/python"})
    said = host.run("backup", "agent", "--json")
    assert said.code == 0
    (warning,) = said.result["warnings"]
    assert warning.startswith("OpenTelemetry could not be told of this run: /nowhere/python cannot be run. Install")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_nothing_is_left_running(host: Host, watch: Watch) -> None:
    program = host.directory / "program"
    program.write_text("#!/bin/sh\nexec sleep 601\n")
    program.chmod(0o700)
    watch(otlp={"endpoint": "http://127.0.0.1:9", "python": str(program)}, timeout="1s")
    host.run("backup", "agent")
    running = [each for each in Path("/proc").iterdir() if each.name.isdigit() and _is(each, b"sleep\x00601\x00")]
    assert running == []


def _is(process: Path, words: bytes) -> bool:
    try:
        return (process / "cmdline").read_bytes() == words and process.stat().st_uid == os.getuid()
    except OSError:
        return False
