# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The benchmark still runs from its first line to its last, and its arithmetic is right. Its figures are not tested."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BENCHMARK = ROOT / "tests" / "benchmark"
MARKED = "before\n<!-- results: begin -->\nold\n<!-- results: end -->\nafter\n"
RUN_SECONDS = 120
MEBIBYTE = 1 << 20
PAGES_OF_A_COMMIT = 40  # at the most; a change ends with the commit that reaches its share

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of the benchmark; they are not a package."""
    for folder in (ROOT / "tests" / "support", BENCHMARK):
        monkeypatch.syspath_prepend(folder)
    names = {path.stem for path in BENCHMARK.glob("*.py")}

    def load_module(name: str) -> ModuleType:
        for each in names:
            monkeypatch.delitem(sys.modules, each, raising=False)
        return importlib.import_module(name)

    yield load_module
    for each in names:
        sys.modules.pop(each, None)


def broken(folder: Path, name: str) -> Path:
    """A directory with a program that fails."""
    program = folder / "programs" / name
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'it is | broken' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    return program.parent


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("zstd") and shutil.which("sqlite3")), reason="needs zstd and sqlite3")
def test_a_short_run_with_one_peer_that_works_and_one_that_fails(tmp_path: Path) -> None:
    document, scratch = tmp_path / "benchmark.md", tmp_path / "scratch"
    document.write_text(MARKED, encoding="utf-8")
    command = [sys.executable, str(BENCHMARK / "run.py"), "--size", "20M", "--rounds", "1", "--brief"]
    command += ["--only", "pipeline,restic", "--scratch", str(scratch), "--document", str(document)]
    env = {**os.environ, "PATH": f"{broken(tmp_path, 'restic')}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    assert document.read_text(encoding="utf-8").split("<!--")[0] == "before\n"
    assert done.stdout.strip() in document.read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    failed = [row for row in rows if any(cell.startswith("failed") for cell in row)]
    assert [row[:3] for row in failed] == [
        ["full backup", "restic", "failed: it is / broken"],
        ["restic", "failed: it is / broken", ""],
    ]
    measured = {(row[0], row[1]) for row in rows if len(row) == 9}
    for work in ("full backup", "verify (full)", "restore", "incremental, 0.5 % changed", "nothing changed"):
        assert {(work, "sqliteops.backup"), (work, ".backup + zstd")} <= measured
    verdicts = [row[3] for row in rows if len(row) == 4 and row[0] not in ("what", "---")]
    # Without restic and borg, what a day takes beside them has no verdict; nor has what takes hosts.
    assert (len(verdicts), verdicts.count("")) == (14, 4)
    assert set(verdicts) <= {"met", "**missed**", ""}
    assert "**borg**" in done.stdout
    assert "Left out: not asked for." in done.stdout
    assert list(scratch.iterdir()) == []


def test_ratios_are_of_pairs_and_a_failure_hides_the_rest(load: Any) -> None:
    results = load("results")
    usage = sys.modules["measure"].Usage
    measured = results.Results()
    for number, (ours, theirs) in enumerate([(1.0, 2.0), (9.0, 9.0), (4.0, 2.0)], start=1):
        for tool, seconds in (("a", ours), ("b", theirs)):
            measured.add("w", tool, number, results.Sample(usage(seconds, 0.0, 0, 0, ""), 0))
    assert measured.median("w", "a", results.wall) == 4.0
    assert measured.ratio(("w", "a"), ("w", "b")) == results.Ratio(1.0, 0.5, 2.0)
    measured.fail("w", "b", "stuck")
    assert measured.ratio(("w", "a"), ("w", "b")) is None
    assert measured.median("w", "b", results.wall) is None
    assert measured.why_not(("w", "a"), ("w", "b")) == "failed: stuck"


def test_the_length_of_a_chain_begins_at_its_last_full_backup(load: Any) -> None:
    day = load("results").Day
    assert day(types=["full", "incremental", "incremental"]).links == 2
    assert day(types=["full", "incremental", "full"]).links == 0


def test_a_change_touches_its_share_of_the_pages_and_is_the_same_in_each_copy(load: Any, tmp_path: Path) -> None:
    live = load("live")
    pristine = tmp_path / "pristine.db"
    importlib.import_module("agent_db").create(pristine, runs=500)
    first, second = (live.measure_changes(pristine, tmp_path / name, (0.02, 0.1)) for name in ("a", "b"))
    assert first == second
    for share, change in first.items():
        assert share * change.of_pages - 1 <= change.pages <= share * change.of_pages + PAGES_OF_A_COMMIT
        assert 0 < change.compressed_bytes < change.pages * live.PAGE_BYTES


def test_the_whole_tree_is_measured(load: Any, tmp_path: Path) -> None:
    measure = load("measure")
    work = "b = bytearray(60 << 20); open('f', 'wb').write(b[:5 << 20]); import time; time.sleep(0.2)"
    usage = measure.run(
        ["bash", "-c", '"$0" -c "$1" & "$0" -c "$1"; wait', sys.executable, work],
        env=os.environ,
        cwd=tmp_path,
        limit_seconds=30,
    )
    assert 120 * MEBIBYTE < usage.memory_bytes < 220 * MEBIBYTE
    assert usage.written_bytes >= 5 * MEBIBYTE
    assert usage.wall_seconds > 0.2
    assert usage.cpu_seconds > 0


def test_a_run_that_hangs_is_ended_with_its_children(load: Any, tmp_path: Path) -> None:
    measure = load("measure")
    with pytest.raises(measure.RunFailedError, match="time limit"):
        measure.run(["bash", "-c", "sleep 60 & sleep 60"], env=os.environ, cwd=tmp_path, limit_seconds=0.2)


def test_many_hosts_take_as_long_as_forks_or_cores_allow(load: Any) -> None:
    fleet = load("fleet")
    assert fleet.minutes(6.0, 0.3, forks=5, cores=2) == 20.0
    assert fleet.minutes(6.0, 0.3, forks=100, cores=2) == 2.5


def test_the_tables_of_a_fleet(load: Any, tmp_path: Path) -> None:
    fleet = load("fleet")
    plays = [
        fleet.Measured(fleet.PING, 1, 0, 5, wall_seconds=1.5, cpu_seconds=1.0, modules=1),
        fleet.Measured(fleet.PING, 11, 0, 5, wall_seconds=6.0, cpu_seconds=4.0, modules=1),
    ]

    text = fleet.render(plays, {"pipelining": ([0.5, 0.7], [0.25, 0.35])}, {"a": "b"})

    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    assert ["ping", "11", "", "5", "1", "6.00", "4.00", "0.36"] in rows
    # Each host more takes 0.3 s of CPU.
    times = [fleet.minutes(1.5, 0.3, forks=forks, cores=os.cpu_count() or 1) for forks in (5, 25, 50, 100)]
    assert ["ping", "", *(f"{time:.1f}" for time in times)] in rows
    assert ["pipelining", "0.60", "0.30", "2.00"] in rows
    document = tmp_path / "benchmark.md"
    document.write_text(f"{MARKED}<!-- fleet: begin -->\nold\n<!-- fleet: end -->\n", encoding="utf-8")
    sys.modules["report"].write_into(document, text, part="fleet")
    assert document.read_text(encoding="utf-8") == f"{MARKED}<!-- fleet: begin -->\n\n{text}\n\n<!-- fleet: end -->\n"


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("zstd") and shutil.which("sqlite3")), reason="needs zstd and sqlite3")
@pytest.mark.skipif(not shutil.which("rclone", path=os.path.dirname(sys.executable)), reason="needs a new rclone")
def test_a_short_run_of_uploads_with_a_peer_that_fails(tmp_path: Path) -> None:
    document, scratch = tmp_path / "benchmark.md", tmp_path / "scratch"
    document.write_text(MARKED.replace("results", "offsite"), encoding="utf-8")
    env = {**os.environ, "PATH": f"{broken(tmp_path, 'restic')}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, str(BENCHMARK / "offsite.py"), "--size", "20M", "--only", "ours", "restic"]
    command += ["--scratch", str(scratch), "--document", str(document)]

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=RUN_SECONDS)

    assert done.returncode == 0, done.stderr
    marked = f"before\n<!-- offsite: begin -->\n\n{done.stdout}\n<!-- offsite: end -->\nafter\n"
    assert document.read_text(encoding="utf-8") == marked
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]
    assert [row[3] for row in rows if row[0].startswith("push ")] == ["met"] * 3
    # The pages, the schema and the manifest.
    counts = [row[1:5] for row in rows if row[0] == "sqliteops.backup" and len(row) == 8]
    assert counts == [
        ["first upload", "3", "1", "0"],
        ["an hour", "3", "1", "0"],
        ["nothing changed", "0", "1", "0"],
    ]
    months = [row for row in rows if row[0] == "sqliteops.backup" and len(row) == 9]
    assert [row[4:6] for row in months] == [["2,160", "720"]]
    assert "encrypted. Failed: it is / broken.\n" in done.stdout
    assert "aws s3 cp` of that file. Left out: not asked for.\n" in done.stdout
    assert list(scratch.iterdir()) == []


def traffic(offsite: Any, sent: int, *requests: tuple[str, str]) -> Any:
    """Of requests by method and path, which together sent so much."""
    request = sys.modules["proxy"].Request
    made = [request(method, path, 0, 10) for method, path in requests]
    return offsite.traffic([request("PUT", "/b/sent", sent, 0), *made] if sent else made, 1.0, 0.5)


def test_requests_are_counted_by_what_they_cost(load: Any) -> None:
    offsite = load("offsite")
    asked = [("GET", "/b?list-type=2&prefix=a"), ("GET", "/b/a"), ("HEAD", "/b/a"), ("POST", "/b/a?uploads")]

    found = traffic(offsite, 5, *asked, ("DELETE", "/b/a"))

    assert found.requests == {"PUT, POST": 2, "listings": 1, "other GET": 1, "HEAD": 1, "DELETE": 1}
    assert (found.sent, found.received) == (5, 50)


def test_an_hour_is_the_median_and_a_month_repeats_what_is_sent_whole(load: Any) -> None:
    offsite = load("offsite")
    kinds = sys.modules["offsite_tools"]
    listing = ("GET", "/b?prefix=")
    hours = [traffic(offsite, sent, *[listing] * count) for sent, count in ((7, 1), (9, 3), (8, 2))]
    sent = offsite.Sent(first=traffic(offsite, 1000, listing), hours=hours, nothing=traffic(offsite, 0, listing))

    assert (sent.hour.sent, sent.hour.requests["listings"], sent.hour.upload_seconds) == (8, 2, 0.5)
    months = {kind: offsite.month(kind, sent) for kind in kinds.KINDS}
    assert {kind.__name__: (each.sent, each.requests["listings"]) for kind, each in months.items()} == {
        "Push": (30 * 1000 + 690 * 8, 30 + 690 * 2),
        "LitestreamStore": (30 * 1000 + 690 * 8, 30 + 690 * 2),
        "ResticStore": (1000 + 719 * 8, 1 + 719 * 2),
        "Copy": (720 * 8, 720 * 2),
    }


@pytest.mark.parametrize(
    ("sent_bytes", "listings", "still", "verdicts"),
    [
        (8, 1, [("GET", "/b?prefix=")], ["met", "met", "met"]),
        (9, 1, [("GET", "/b?prefix=")], ["**missed**", "met", "met"]),
        (8, 2, [("GET", "/b?prefix="), ("HEAD", "/b/a")], ["met", "**missed**", "**missed**"]),
    ],
)
def test_a_push_that_sends_or_asks_too_much_misses_its_bounds(
    load: Any, sent_bytes: int, listings: int, still: list[tuple[str, str]], verdicts: list[str]
) -> None:
    offsite = load("offsite")
    hour = traffic(offsite, sent_bytes, *[("GET", "/b?prefix=")] * listings)
    first, nothing = traffic(offsite, 100), traffic(offsite, 0, *still)
    sent = offsite.Sent(first, [hour] * 3, nothing, own_bytes=[100, 8, 8, 8, 0], failure="")

    assert [each.verdict for each in offsite.bounds(sent)] == verdicts
    assert [each.verdict for each in offsite.bounds(offsite.Sent())] == ["", "", ""]


def test_recovery_is_computed_by_the_rate_and_a_drill_is_bound_round_by_round(load: Any) -> None:
    recovery = load("recovery")
    times = recovery.Times(database_bytes=1 << 30)
    for restore, verify, drill in ((2.0, 4.0, 6.0), (1.0, 4.0, 8.0), (3.0, 4.0, 7.0)):
        for what, seconds in ((recovery.LOCAL, restore), (recovery.VERIFY, verify), (recovery.DRILL, drill)):
            times.add(what, seconds)

    assert recovery.computed(times, recovery.LOCAL, 10) == 20.0
    (bound,) = recovery.bounds(times)
    assert (bound.measured, bound.met) == ("1.00 (1.00 to 1.60)", True)
    assert recovery.bounds(recovery.Times())[0].met is None
