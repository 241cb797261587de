# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure the engine beside other tools on this machine, and print the tables.

    make benchmark SIZE=1G ROUNDS=3
    make benchmark SIZE=1G DAY_SIZE=256M
    make benchmark SIZE=64M ONLY=ours,pipeline,rounds

ONLY names tools (ours, pipeline, dump, restic, borg, litestream), parts (rounds, day, module, listing, provision,
portable), or
both; ours is always in. It needs Linux, and fifteen times the database's size on the disk, below `.build/`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))

import agent_db
import bounds
import conditions
import day
import listing
import live
import module
import portable
import provision
import report
import rounds
from bench import GIBIBYTE, Bench, Plan, parse_size, tell
from results import SHARES
from tools import SHORT_NAMES, TOOLS, Ours, Tool, missing_programs

ROOT = Path(__file__).resolve().parents[2]
PARTS = {
    "rounds": rounds.run,
    "day": day.run,
    "module": module.run,
    "listing": listing.run,
    "portable": portable.run,
    "provision": provision.run,
}
SPACE_FACTOR = 15
USAGE_ERROR, INTERRUPTED = 2, 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the engine beside other tools.")
    parser.add_argument("--size", type=parse_size, default=GIBIBYTE, help="of the database, such as 64M or 1G")
    parser.add_argument("--day-size", type=parse_size, help="of the database of the day; the same unless given")
    parser.add_argument("--rounds", type=int, default=3, help="of which the medians are taken")
    parser.add_argument("--only", type=_words, default=(), help="tools, parts or both, with commas")
    parser.add_argument("--brief", action="store_true", help="a short day, short lists: to test this itself")
    parser.add_argument("--document", type=Path, help="the file to put the tables into, between its two markers")
    parser.add_argument("--scratch", type=Path, default=ROOT / ".build", help="where to work; on the disk to measure")
    return parser.parse_args()


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word for word in text.lower().replace(",", " ").split() if word != Ours.__name__.lower())
    unknown = [word for word in words if word not in SHORT_NAMES and word not in PARTS]
    if unknown:
        known = ", ".join([*SHORT_NAMES, *PARTS])
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is neither a tool nor a part; they are {known}")
    return words


def _choose_tools(only: tuple[str, ...]) -> tuple[tuple[type[Tool], ...], dict[str, str]]:
    """The tools to measure, and why each of the others is left out."""
    wanted = [SHORT_NAMES[word] for word in only if word in SHORT_NAMES]
    chosen, left_out = [], {}
    for kind in TOOLS:
        missing = missing_programs(kind)
        if wanted and kind is not Ours and kind not in wanted:
            left_out[kind.name] = "not asked for"
        elif missing:
            left_out[kind.name] = f"{missing[0]} is not installed"
        else:
            chosen.append(kind)
    return tuple(chosen), left_out


def _plan(options: argparse.Namespace, tools: tuple[type[Tool], ...]) -> Plan:
    whole = tuple(part for part in PARTS if not (options.brief and part == "provision"))
    parts = tuple(part for part in PARTS if part in options.only) or whole
    hours, listed, tasks = (2, 50, 1) if options.brief else (24, 10_000, 20)
    settings = tuple(module.PIPELINING)[: 1 if options.brief else None]
    return Plan(
        options.size, options.day_size or options.size, options.rounds, hours, listed, tasks, settings, tools, parts
    )


def _measure(bench: Bench, left_out: dict[str, str]) -> str:
    facts = conditions.machine(bench)
    tell(f"making a database of {bench.plan.size_bytes >> 20} MiB")
    agent_db.fill_to(bench.pristine, bench.plan.size_bytes, page_size=live.PAGE_BYTES)
    if bench.day_pristine != bench.pristine and "day" in bench.plan.parts:
        tell(f"making a database of {bench.plan.day_bytes >> 20} MiB for the day")
        agent_db.fill_to(bench.day_pristine, bench.plan.day_bytes, page_size=live.PAGE_BYTES)
    page_count = bench.pristine.stat().st_size // live.PAGE_BYTES
    measured = live.measure_changes(bench.pristine, bench.folder / "changes", tuple(SHARES.values()))
    changes = {work: measured[share] for work, share in SHARES.items()}
    for part in bench.plan.parts:
        PARTS[part](bench)
    facts.update(conditions.database(bench, changes, page_count))
    rows = bounds.all_bounds(bench.results, changes, page_count)
    return report.render(bench.results, rows, facts, left_out)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    options = _arguments()
    if not hasattr(os, "pidfd_open"):
        tell("needs Linux, and its /proc")
        return USAGE_ERROR
    signal.signal(signal.SIGTERM, _stop)
    # For programs that come as Python packages, behind those of the system.
    os.environ["PATH"] += os.pathsep + str(Path(sys.executable).parent)
    tools, left_out = _choose_tools(options.only)
    if Ours not in tools:
        tell(f"the engine cannot be measured: {left_out[Ours.name]}")
        return USAGE_ERROR
    options.scratch.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(options.scratch).free < SPACE_FACTOR * options.size:
        tell(f"{options.scratch} has not {SPACE_FACTOR * options.size >> 20} MiB free; use --scratch or a smaller SIZE")
        return USAGE_ERROR
    try:
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=os.path.realpath(options.scratch)) as folder:
            text = _measure(Bench(Path(folder), _plan(options, tools)), left_out)
    except KeyboardInterrupt:
        tell("interrupted; nothing is left behind")
        return INTERRUPTED
    print(text)
    if options.document:
        report.write_into(options.document, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
