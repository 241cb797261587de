# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what a fleet costs the machine that runs Ansible, and print the tables.

    make fleet

Hosts are provisioned for the first time, and once more when nothing is to change, beside a play that only pings them;
and the module `sqlite_backup` is measured beside a task that runs `sqlite3`. It needs what the part `provision` of the
benchmark needs.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import conditions
import module
import plays
import provision
import report
from bench import Bench, Plan, tell
from fleet_hosts import RELEASE, Fleet
from measure import RunFailedError

PING, FIRST, AGAIN = "ping", "first provisioning", "provisioning again"
THOUSAND, MORE_FORKS = 1000, (5, 25, 50, 100)
SECONDS = 60.0
USAGE_ERROR = 2


@dataclass(frozen=True)
class Measured:
    """One play on ``hosts``, each with so many ``databases``; ``modules`` is how many were run on each."""

    work: str
    hosts: int
    databases: int
    forks: int
    wall_seconds: float
    cpu_seconds: float
    modules: int


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what a fleet costs the machine that runs Ansible.")
    parser.add_argument("--hosts", type=_numbers, default=(1, 10, 50), help="how many, with commas")
    parser.add_argument("--real", type=int, default=10, help="of how many of the hosts there are containers")
    parser.add_argument("--databases", type=_numbers, default=(1, 10), help="of a host, with commas")
    parser.add_argument("--forks", type=_numbers, default=(5, 25), help="of Ansible, with commas")
    parser.add_argument("--tasks", type=int, default=20, help="of which the medians are taken")
    parser.add_argument("--document", type=Path, help="the file to put the tables into, between its two markers")
    return parser.parse_args()


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split(",")}))


def measure_all(fleet: Fleet, options: argparse.Namespace) -> Iterator[Measured]:
    """Every play, the cheap ones first."""
    for hosts, forks in _sizes(options):
        yield _measure(fleet, PING, hosts, 0, forks)
    for databases in options.databases:
        # A host that has several names can be provisioned for the first time only once.
        for hosts in sorted({min(each, fleet.real) for each in options.hosts}):
            fleet.reset()
            yield _measure(fleet, FIRST, hosts, databases, max(options.forks))
        for hosts, forks in _sizes(options):
            yield _measure(fleet, AGAIN, hosts, databases, forks)


def _sizes(options: argparse.Namespace) -> list[tuple[int, int]]:
    """How many hosts with how many forks; more forks than hosts are the same as so many."""
    return [
        (hosts, forks)
        for hosts in options.hosts
        for number, forks in enumerate(options.forks)
        if not number or options.forks[number - 1] < hosts
    ]


def _measure(fleet: Fleet, work: str, hosts: int, databases: int, forks: int) -> Measured:
    usage, modules = fleet.play(hosts, forks, _play(work, databases))
    changed = sum(int(each[2]) for each in provision.recap(usage))
    if (changed > 0) != (work == FIRST):
        raise RunFailedError(f"{work} of {hosts} hosts with {databases} databases changed {changed} times")
    tell(f"{work}, {hosts} hosts, {databases} databases, {forks} forks: {usage.wall_seconds:.1f} s, {modules} modules")
    return Measured(work, hosts, databases, forks, usage.wall_seconds, usage.cpu_seconds, modules)


def _play(work: str, databases: int) -> list[str]:
    """The words of Ansible."""
    if work == PING:
        return ["ping.yml"]
    # Half a day away: no backup begins meanwhile.
    hour = (datetime.now(timezone.utc).hour + 12) % 24
    variables = {
        "sqlite_backup_databases": [
            {"name": f"agent{each}", "path": f"/srv/agent{each}.db", "every": "1d", "active_hours": str(hour)}
            for each in range(databases)
        ],
        "sqlite_backup_scheduler": "systemd",
        # What a package manager takes is not what is measured.
        "sqlite_backup_manage_packages": False,
        "sqlite_backup_defaults": {"compression": "gzip"},
    }
    return ["sqliteops.backup.provision_backups", "--extra-vars", json.dumps(variables)]


def minutes(alone_seconds: float, cpu_seconds: float, *, forks: int, cores: int, hosts: int = THOUSAND) -> float:
    """How long so many hosts take: ``forks`` of them at once, and no faster than the cores of the control node."""
    return hosts * max(alone_seconds / forks, cpu_seconds / cores) / SECONDS


_PLAYS_COLUMNS = (
    "play",
    "hosts",
    "databases of each",
    "forks",
    "modules a host",
    "wall, s",
    "CPU of the control node, s",
    "CPU a host, s",
)


def render(measured: list[Measured], tasks: dict[str, tuple[list[float], list[float]]], facts: dict[str, str]) -> str:
    cores = os.cpu_count() or 1
    parts = [
        report.table(["condition", ""], [[name, value] for name, value in facts.items()]),
        "### Plays",
        report.table([*_PLAYS_COLUMNS], [_row(each) for each in measured]),
        f"### {THOUSAND:,} hosts, computed",
        report.table(
            ["play", "databases of each", *(f"{forks} forks, minutes" for forks in MORE_FORKS)],
            list(_thousand(measured, cores)),
        ),
        "### One task",
        report.table(["Ansible", "`sqlite_backup`, s", "`command` with `sqlite3 .backup`, s", "ratio"], _tasks(tasks)),
    ]
    return "\n\n".join(parts)


def _row(each: Measured) -> list[str]:
    shares = (each.wall_seconds, each.cpu_seconds, each.cpu_seconds / each.hosts)
    databases = str(each.databases) if each.databases else ""
    numbers = (str(each.hosts), databases, str(each.forks), str(each.modules))
    return [each.work, *numbers, *(f"{share:.2f}" for share in shares)]


def _thousand(measured: list[Measured], cores: int) -> Iterator[list[str]]:
    """From the play on one host, and from what each host more costs the control node."""
    for work, databases in dict.fromkeys((each.work, each.databases) for each in measured):
        alike = [each for each in measured if (each.work, each.databases) == (work, databases)]
        one, many = min(alike, key=lambda each: each.hosts), max(alike, key=lambda each: each.hosts)
        more = many.hosts - one.hosts
        cpu_seconds = (many.cpu_seconds - one.cpu_seconds) / more if more else one.cpu_seconds / one.hosts
        times = (minutes(one.wall_seconds / one.hosts, cpu_seconds, forks=forks, cores=cores) for forks in MORE_FORKS)
        yield [work, str(databases) if databases else "", *(f"{time:.1f}" for time in times)]


def _tasks(tasks: dict[str, tuple[list[float], list[float]]]) -> list[list[str]]:
    rows = []
    for setting, (ours, theirs) in tasks.items():
        pairs = [a / b for a, b in zip(ours, theirs)]
        medians = (statistics.median(each) for each in (ours, theirs, pairs))
        rows.append([setting, *(f"{median:.2f}" for median in medians)])
    return rows


def _facts(bench: Bench, fleet: Fleet) -> dict[str, str]:
    known = conditions.machine(bench)
    names = ("date", "commit", "CPU", "memory", "system")
    return {
        **{name: known[name] for name in names},
        "hosts": f"{fleet.real} container(s) of Debian {RELEASE} with systemd, over ssh with pipelining, on the machine"
        " that runs Ansible: they use the same cores, which is in the wall time, and not in the CPU time",
        "more hosts": "are more names for the same containers; each of them can be provisioned for the first time once",
        "databases": "1 MiB each, by systemd, gzip; packages are not managed",
    }


def main() -> int:
    options = _arguments()
    reason = provision.why_left_out()
    if reason:
        tell(f"the hosts cannot be started: {reason}")
        return USAGE_ERROR
    scratch = plays.ROOT / ".build"
    scratch.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=os.path.realpath(scratch)) as folder:
        plan = Plan(0, 0, 1, 0, 0, options.tasks, tuple(module.PIPELINING), (), ())
        bench = Bench(Path(folder), plan)
        fleet = Fleet(bench, max(options.hosts), real=options.real, databases=max(options.databases))
        facts = _facts(bench, fleet)
        module.run(bench)
        try:
            fleet.start()
            measured = list(measure_all(fleet, options))
        except RunFailedError as error:
            tell(str(error))
            return 1
        finally:
            fleet.stop()
    text = render(measured, bench.results.tasks, facts)
    print(text)
    if options.document:
        report.write_into(options.document, text, part="fleet")
    return 0


if __name__ == "__main__":
    sys.exit(main())
