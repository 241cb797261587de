# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, and the arithmetic on it: medians over the rounds, and ratios of runs of the same round."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from measure import Usage

FULL = "full backup"
VERIFY = "verify (full)"
RESTORE = "restore"
SMALL = "incremental, 0.5 % changed"
LARGE = "incremental, 5 % changed"
NOTHING = "nothing changed"
CHAIN_FIRST = "restore of the full backup that the chain begins with"
CHAIN_LAST = "restore of the last of a day's backups"
EXPORT = "export as text"
IMPORT = "database out of that text"
LISTING = "list the backups"
MODULE_TASKS = "tasks of the module"
PROVISION = "provision again"

ROUND_WORKS = (FULL, VERIFY, RESTORE, SMALL, LARGE, NOTHING)
SHARES = {SMALL: 0.005, LARGE: 0.05}


@dataclass(frozen=True)
class Sample:
    """One measured run; `stored_bytes` is by how much it made the tool's repository larger."""

    usage: Usage
    stored_bytes: int

    @property
    def answer(self) -> dict[str, Any]:
        """What the engine answered; other tools answer nothing of use."""
        try:
            answer: dict[str, Any] = json.loads(self.usage.output)
        except ValueError:
            return {}
        return answer

    @property
    def summary(self) -> str:
        """One line about the run, for whoever waits; the engine tells what its phases took."""
        phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.answer.get("durations", {}).items())
        return f"{self.usage.wall_seconds:.2f} s" + (f" ({phases})" if phases else "")


@dataclass(frozen=True)
class Ratio:
    """The median of the ratios of pairs of runs, and the smallest and the largest of them."""

    median: float
    low: float
    high: float


def wall(sample: Sample) -> float:
    return sample.usage.wall_seconds


@dataclass
class Day:
    """The sizes of a repository over a day: after the first backup, and after each of the hourly ones."""

    bytes_after: list[int] = field(default_factory=list)
    hourly_wall_seconds: float = 0.0
    types: list[str] = field(default_factory=list)  # full or incremental, as the engine says; others say nothing
    failure: str = ""

    @property
    def links(self) -> int:
        """How many incrementals lie between the last backup and the full one that it builds on."""
        return next((links for links, kind in enumerate(reversed(self.types)) if kind == "full"), len(self.types))


@dataclass
class Provision:
    """Runs that had nothing to do on ``hosts``, in turns with plays that gather facts: the seconds of both, in pairs.

    ``tasks`` ran on the host with the most of them, ``skipped`` did not.
    """

    hosts: int
    tasks: int = 0
    skipped: int = 0
    seconds: list[tuple[float, float]] = field(default_factory=list)


@dataclass
class Results:
    """Samples by work, tool and round; a failure takes the place of all samples of that work and tool."""

    samples: dict[tuple[str, str], dict[int, Sample]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    days: dict[str, Day] = field(default_factory=dict)
    # Seconds of each task in the order in which they ran, by setting of Ansible: those of the module, of the command.
    tasks: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    provision: Provision | None = None

    def add(self, work: str, tool: str, number: int, sample: Sample) -> None:
        self.samples.setdefault((work, tool), {})[number] = sample

    def fail(self, work: str, tool: str, why: str) -> None:
        self.failures.setdefault((work, tool), why)

    def of(self, work: str, tool: str) -> list[Sample]:
        """The samples in the order of the rounds; none when one of them failed."""
        if (work, tool) in self.failures:
            return []
        return [sample for _number, sample in sorted(self.samples.get((work, tool), {}).items())]

    def median(self, work: str, tool: str, value: Callable[[Sample], float]) -> float | None:
        samples = self.of(work, tool)
        return statistics.median(map(value, samples)) if samples else None

    def why_not(self, *keys: tuple[str, str]) -> str:
        """Why there is no figure that needs all of these."""
        failed = [f"failed: {self.failures[key]}" for key in keys if key in self.failures]
        return failed[0] if failed else "not measured"

    def ratio(self, above: tuple[str, str], below: tuple[str, str]) -> Ratio | None:
        """How the wall times of two works compare, pair by pair: each pair is of one round."""
        if not self.of(*above) or not self.of(*below):
            return None
        first, second = self.samples[above], self.samples[below]
        return ratio_of([(wall(first[number]), wall(second[number])) for number in sorted(first) if number in second])


def ratio_of(pairs: list[tuple[float, float]]) -> Ratio | None:
    ratios = [above / below for above, below in pairs]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None
