# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what it costs a run to tell others of it, and print the tables.

    make benchmark-telling

Runs that tell nobody and runs that tell take turns, of a small database whose repository holds 100 backups. Each run is
a new process of the runner, and finds nothing changed: the shortest run there is.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(1, str(Path(__file__).resolve().parents[2] / "plugins" / "module_utils"))

import agent_db
import conditions
import report
from bench import Bench, Plan, tell
from bounds import Bound
from measure import RunFailedError
from tools import engine_command

BACKUPS, ROUNDS = 100, 31
BOUND_MILLISECONDS = 50
SDK = conditions.ROOT / ".build" / "otlp" / "bin" / "python"
FILES, WEBHOOK, ALL = "metrics and status.json", "a webhook", "metrics, status.json and a webhook"
COLLECTOR = "a collector of OpenTelemetry"


class _Receiver(http.server.BaseHTTPRequestHandler):
    """Takes everything at once."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.server.took += 1  # type: ignore[attr-defined]

    def log_message(self, *_arguments: object) -> None:
        pass


@contextlib.contextmanager
def _receiver() -> Iterator[http.server.ThreadingHTTPServer]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Receiver) as server:
        server.took = 0  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@dataclass(frozen=True)
class Cost:
    """Milliseconds of one run; of the processor, those of all its processes."""

    wall: float
    cpu: float


@dataclass
class Host:
    """The runner as it is installed, and the configuration of one database."""

    folder: Path
    environment: dict[str, str]
    url: str

    def __post_init__(self) -> None:
        self.config = self.folder / "etc"
        (self.config / "databases.d").mkdir(parents=True, mode=0o700)
        (self.folder / "textfiles").mkdir()
        self._write(
            "databases.d/agent.json", {"path": str(self.folder / "agent.db"), "repository": str(self.repository)}
        )

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    def install(self) -> None:
        from _engine.runner import cli, zipapp

        agent_db.create(self.folder / "agent.db", runs=1)
        zipapp.install(self.folder / "sqlite-backup", cli.main)

    def tell(self, *whom: str) -> None:
        """Configure who is told."""
        hook = {"name": "hook", "type": "webhook", "url": f"{self.url}/hook"}
        kinds: dict[str, dict[str, Any]] = {
            FILES: {
                "textfile_directory": str(self.folder / "textfiles"),
                "status_file": str(self.folder / "status.json"),
            },
            WEBHOOK: {"notify": [{**hook, "when": ["success", "failure"]}]},
            COLLECTOR: {"otlp": {"endpoint": self.url, "python": str(SDK)}},
        }
        watch: dict[str, Any] = {}
        for each in whom:
            watch.update(kinds[each])
        self._write("watch.json", watch)

    def _write(self, name: str, content: object) -> None:
        file = self.config / name
        file.write_text(json.dumps(content), encoding="utf-8")
        file.chmod(0o600)

    def run(self) -> Cost:
        """One run. Raises RunFailedError when it fails, or could not tell."""
        program, config = str(self.folder / "sqlite-backup"), str(self.config)
        words = [program, "backup", "--config", config, "agent", "--no-prune", "--json"]
        begin, before = time.perf_counter(), _cpu_seconds()
        done = subprocess.run(words, env=self.environment, capture_output=True, check=False)
        wall, cpu = time.perf_counter() - begin, _cpu_seconds() - before
        warnings = [] if done.returncode else json.loads(done.stdout)["results"][0]["warnings"]
        if done.returncode or warnings:
            raise RunFailedError(str(warnings or done.stderr.decode()))
        return Cost(1000 * wall, 1000 * cpu)


def _cpu_seconds() -> float:
    """Of all processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


Pairs = dict[str, list[tuple[Cost, Cost]]]
"""A run that told nobody, and the one right behind it that told, by whom it told."""


def measure(host: Host, server: Any) -> Pairs:
    pairs: Pairs = {}
    whoms = {FILES: (FILES,), WEBHOOK: (WEBHOOK,), ALL: (FILES, WEBHOOK)}
    if SDK.exists():
        whoms[COLLECTOR] = (COLLECTOR,)
    for number in range(ROUNDS):
        for name, whom in whoms.items():
            host.tell()
            silent = host.run()
            host.tell(*whom)
            took = server.took
            told = host.run()
            if server.took == took and name != FILES:
                raise RunFailedError(f"nothing came to {name}")
            # The first run compiles and reads what the others find in memory.
            if number:
                pairs.setdefault(name, []).append((silent, told))
    return pairs


def render(pairs: Pairs, facts: dict[str, str]) -> str:
    silent = [before for each in pairs.values() for before, _told in each]
    rows = [["nobody", *_medians(silent), "", "", ""]]
    for name, each in pairs.items():
        more = _more(each)
        low, middle, high = statistics.quantiles(more, n=4)
        spread = (f"{middle:.0f}", f"{low:.0f} to {high:.0f}")
        more_cpu = statistics.median(told.cpu - before.cpu for before, told in each)
        rows.append([name, *_medians([told for _before, told in each]), *spread, f"{more_cpu:.0f}"])
    columns = ("who is told", "wall, ms", "CPU, ms", "more wall, ms", "the middle half, ms", "more CPU, ms")
    bounds = [[each.what, each.bound, each.measured, each.verdict] for each in [_bound(pairs)]]
    return "\n\n".join(
        [
            report.table(["condition", ""], [[name, value] for name, value in facts.items()]),
            *report.section("What telling costs a run", rows, columns),
            *report.section("Bounds of telling", bounds, ("what", "bound", "measured", "")),
        ]
    )


def _medians(runs: list[Cost]) -> tuple[str, str]:
    return f"{statistics.median(each.wall for each in runs):.0f}", f"{statistics.median(each.cpu for each in runs):.0f}"


def _more(pairs: list[tuple[Cost, Cost]]) -> list[float]:
    """By how many milliseconds each run that told took longer than the one before it."""
    return [told.wall - silent.wall for silent, told in pairs]


def _bound(pairs: Pairs) -> Bound:
    middle = statistics.median(_more(pairs[ALL]))
    return Bound(ALL, f"≤ {BOUND_MILLISECONDS} ms", f"{middle:.0f} ms", middle <= BOUND_MILLISECONDS)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what it costs a run to tell others of it.")
    parser.add_argument("--document", type=Path, help="the file to put the tables into, between its two markers")
    parser.add_argument("--scratch", type=Path, default=conditions.ROOT / ".build", help="where to work")
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=os.path.realpath(options.scratch)) as folder:
        bench = Bench(Path(folder), Plan(0, 0, ROUNDS, 0, BACKUPS, 0, (), (), ()))
        facts = conditions.machine(bench)
        try:
            with _receiver() as server:
                host = Host(bench.folder / "host", bench.environment(), f"http://127.0.0.1:{server.server_port}")
                host.install()
                host.run()
                bench.run(engine_command(bench.environment(), "multiply", host.repository, str(BACKUPS)))
                pairs = measure(host, server)
        except RunFailedError as error:
            tell(str(error))
            return 1
    facts.pop("programs")
    facts["rounds"] = f"medians of {ROUNDS - 1}; {BACKUPS} backups in the repository; the receivers are on loopback"
    if os.nice(0):
        facts["priority"] = f"nice {os.nice(0)}, against what else the machine does"
    text = render(pairs, facts)
    print(text)
    if options.document:
        report.write_into(options.document, text, part="telling")
    return 0


if __name__ == "__main__":
    sys.exit(main())
