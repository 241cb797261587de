# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure how long it takes until a lost database is back, and print the tables.

    make benchmark-recovery SIZE=1G

It comes from the repository on the host, from another host by rsync and ssh, and from an object store; both are on
loopback. A drill is measured beside the restore and the full verification that it consists of.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import agent_db
import conditions
import live
import report
import servers
from bench import GIBIBYTE, Bench, Plan, parse_size, tell
from bounds import MEBIBYTE, Bound
from live import LiveDatabase
from measure import RunFailedError
from tools import Command, Ours, missing_programs

ROUNDS = 3
SPACE_FACTOR = 8
USAGE_ERROR = 2
DRILL_RATIO = 1.2
COMPUTED_GIB = (10, 100)

LOCAL, SSH, S3 = "the repository on the host", "another host, rsync and ssh", "an object store, rclone and S3"
VERIFY, DRILL = "full verification", "drill"


class Recovering(Ours):
    """What brings a database back: the repository is ``repository``, of which targets have copies."""

    needs = (*Ours.needs, "rclone", "rsync", "sshd")

    def push(self, target: Path) -> Command:
        return self._command("push", self.repository, target)

    def pull(self, target: Path, repository: Path) -> Command:
        return self._command("pull", repository, target)

    def restore_from(self, repository: Path, dest: Path) -> Command:
        return self._command("restore", repository, "latest", dest)

    def drill(self) -> Command:
        return self._command("drill", self.repository)


@dataclass
class Times:
    """Seconds of each round, by what was done; a pull is a part of the recovery that begins with it."""

    whole: dict[str, list[float]] = field(default_factory=dict)
    fetching: dict[str, list[float]] = field(default_factory=dict)
    database_bytes: int = 0
    stored_bytes: int = 0

    def add(self, what: str, seconds: float, fetching: float = 0.0) -> None:
        self.whole.setdefault(what, []).append(seconds)
        self.fetching.setdefault(what, []).append(fetching)
        tell(f"{what}: {seconds:.2f} s")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure how long it takes until a lost database is back.")
    parser.add_argument("--size", type=parse_size, default=GIBIBYTE, help="of the database, such as 64M or 1G")
    parser.add_argument("--document", type=Path, help="the file to put the tables into, between its two markers")
    parser.add_argument("--scratch", type=Path, default=conditions.ROOT / ".build", help="where to work")
    return parser.parse_args()


class _Run:
    """All rounds, each with every way back once."""

    def __init__(self, bench: Bench, tool: Recovering, database: LiveDatabase, targets: dict[str, Path]) -> None:
        self._bench = bench
        self._tool = tool
        self._database = database
        self._targets = targets
        self._new = bench.folder / "new-host"
        self.times = Times()

    def run(self) -> Times:
        self._bench.measure(self._tool, self._tool.backup(), self._database)
        for target in self._targets.values():
            self._bench.measure(self._tool, self._tool.push(target), self._database)
        self.times.database_bytes = self._database.path.stat().st_size
        self.times.stored_bytes = live.folder_bytes(self._tool.repository)
        for number in range(1, ROUNDS + 1):
            tell(f"round {number} of {ROUNDS}")
            self.times.add(LOCAL, self._seconds(self._tool.restore_from(self._tool.repository, self._lost())))
            for what, target in self._targets.items():
                self._fetch(what, target)
            self.times.add(VERIFY, self._seconds(self._tool.verify()))
            self.times.add(DRILL, self._seconds(self._tool.drill()))
        return self.times

    def _fetch(self, what: str, target: Path) -> None:
        dest, repository = self._lost(), self._new / "repository"
        fetching = self._seconds(self._tool.pull(target, repository))
        self.times.add(what, fetching + self._seconds(self._tool.restore_from(repository, dest)), fetching)

    def _lost(self) -> Path:
        """Where a database comes back to: a host that has nothing."""
        shutil.rmtree(self._new, ignore_errors=True)
        self._new.mkdir()
        return self._new / "agent.db"

    def _seconds(self, command: Command) -> float:
        self._tool.scratch.mkdir(exist_ok=True)
        return self._bench.measure(self._tool, command, self._database).usage.wall_seconds


def bounds(times: Times) -> list[Bound]:
    """A drill against the restore and the verification of the same round."""
    row = ("drill ÷ (restore + full verification)", f"≤ {DRILL_RATIO}")
    rounds = list(zip(*(times.whole.get(each, []) for each in (LOCAL, VERIFY, DRILL))))
    if not rounds:
        return [Bound(*row, "not measured")]
    ratios = sorted(drill / (restore + verify) for restore, verify, drill in rounds)
    middle = statistics.median(ratios)
    return [Bound(*row, f"{middle:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})", middle <= DRILL_RATIO)]


def computed(times: Times, what: str, gibibytes: int) -> float:
    """Seconds for a larger database, at the rate that was measured."""
    return statistics.median(times.whole[what]) * gibibytes * GIBIBYTE / times.database_bytes


def render(times: Times, facts: dict[str, str]) -> str:
    far = [f"{each} GiB, computed" for each in COMPUTED_GIB]
    columns = ["from", "wall, s", "least to most, s", "of it fetching, s", "MiB a second", *far]
    return "\n\n".join(
        [
            report.table(["condition", ""], [[name, value] for name, value in facts.items()]),
            *report.section("From lost to restored", list(_ways(times)), tuple(columns)),
            *report.section("A drill", list(_parts(times)), ("work", "wall, s", "least to most, s")),
            *report.section(
                "Bounds of a drill",
                [[each.what, each.bound, each.measured, each.verdict] for each in bounds(times)],
                ("what", "bound", "measured (least to most)", ""),
            ),
        ]
    )


def _ways(times: Times) -> Iterator[list[str]]:
    for what in (LOCAL, SSH, S3):
        fetching = statistics.median(times.fetching[what])
        rate = times.database_bytes / MEBIBYTE / statistics.median(times.whole[what])
        far = (_readable(computed(times, what, each)) for each in COMPUTED_GIB)
        yield [what, *_spread(times.whole[what]), f"{fetching:.2f}" if fetching else "", f"{rate:,.0f}", *far]


def _parts(times: Times) -> Iterator[list[str]]:
    for title, what in (("restore", LOCAL), (VERIFY, VERIFY), (DRILL, DRILL)):
        yield [title, *_spread(times.whole[what])]


def _spread(seconds: list[float]) -> tuple[str, str]:
    return f"{statistics.median(seconds):.2f}", f"{min(seconds):.2f} to {max(seconds):.2f}"


def _readable(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _facts(bench: Bench) -> dict[str, str]:
    return {
        **conditions.machine(bench),
        "targets": "sshd and `rclone serve s3` on loopback, on the same disk and the same cores: a network is slower,"
        " and adds the bytes of the backup divided by its rate",
        "rounds": f"medians of {ROUNDS}; each command is a new process, into a place that is empty",
    }


def _measure_all(bench: Bench) -> Times:
    with ExitStack() as stack:
        found = {
            SSH: stack.enter_context(servers.sshd(bench.folder)),
            S3: stack.enter_context(servers.s3(bench.folder)),
        }
        targets = {what: bench.folder / f"target-{number}.json" for number, what in enumerate(found)}
        for what, path in targets.items():
            path.write_text(json.dumps(found[what].options()), encoding="utf-8")
        database = stack.enter_context(closing(bench.open_copy(bench.folder / "database", Recovering)))
        tool = bench.install(Recovering, database, bench.folder / "tool")
        assert isinstance(tool, Recovering)
        return _Run(bench, tool, database, targets).run()


def main() -> int:
    options = _arguments()
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    missing = missing_programs(Recovering)
    if missing:
        tell(f"not installed: {', '.join(missing)}")
        return USAGE_ERROR
    options.scratch.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(options.scratch).free < SPACE_FACTOR * options.size:
        tell(f"{options.scratch} has not {SPACE_FACTOR * options.size >> 20} MiB free; use --scratch or a smaller SIZE")
        return USAGE_ERROR
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=os.path.realpath(options.scratch)) as folder:
        bench = Bench(Path(folder), Plan(options.size, options.size, 1, ROUNDS, 0, 0, (), (Recovering,), ()))
        tell(f"making a database of {options.size >> 20} MiB")
        agent_db.fill_to(bench.pristine, options.size, page_size=live.PAGE_BYTES)
        facts = _facts(bench)
        try:
            times = _measure_all(bench)
        except RunFailedError as error:
            tell(str(error))
            return 1
    size, stored = times.database_bytes / MEBIBYTE, times.stored_bytes / MEBIBYTE
    facts["database"] = f"{size:,.0f} MiB, one full backup of {stored:,.0f} MiB"
    text = render(times, facts)
    print(text)
    if options.document:
        report.write_into(options.document, text, part="recovery")
    return 0


if __name__ == "__main__":
    sys.exit(main())
