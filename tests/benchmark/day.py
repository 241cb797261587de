# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A day: a first backup, then one each hour of a database that changes meanwhile; then the last one is restored."""

from __future__ import annotations

import shutil
from contextlib import closing

from bench import Bench, tell
from live import LiveDatabase
from measure import RunFailedError
from results import CHAIN_FIRST, CHAIN_LAST, SHARES, SMALL, Day
from tools import Ours, Tool

HOUR_SHARE = SHARES[SMALL]


def run(bench: Bench) -> None:
    for kind in bench.plan.tools:
        folder = bench.folder / "day"
        day = bench.results.days[kind.name] = Day()
        try:
            with closing(bench.open_copy(folder / "database", kind, bench.day_pristine)) as database:
                tool = bench.install(kind, database, folder / "tool")
                _back_up_hourly(bench, tool, database, day)
                _restore_last(bench, tool, database)
        except RunFailedError as error:
            tell(f"day: {kind.name} failed: {error}")
            day.failure = str(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _back_up_hourly(bench: Bench, tool: Tool, database: LiveDatabase, day: Day) -> None:
    for hour in range(bench.plan.hours + 1):
        if hour:
            database.change(HOUR_SHARE)
        sample = bench.measure(tool, tool.backup(), database)
        day.bytes_after.append((day.bytes_after or [0])[-1] + sample.stored_bytes)
        day.hourly_wall_seconds += sample.usage.wall_seconds if hour else 0.0
        day.types.extend(filter(None, [sample.answer.get("type")]))
        tell(f"day, hour {hour} of {bench.plan.hours}: {tool.name} {sample.summary}")


def _restore_last(bench: Bench, tool: Tool, database: LiveDatabase) -> None:
    for number in range(1, bench.plan.rounds + 1):
        for work in (CHAIN_FIRST, CHAIN_LAST) if isinstance(tool, Ours) else (CHAIN_LAST,):
            command = None
            if isinstance(tool, Ours) and work == CHAIN_FIRST:
                command = tool.restore_first(bench.restored_path(tool, database))
            try:
                sample = bench.measure_restore(tool, database, command=command, compare=command is None)
            except RunFailedError as error:
                bench.results.fail(work, tool.name, str(error))
                return
            tell(f"round {number} of {bench.plan.rounds}, {work}: {tool.name} {sample.summary}")
            bench.results.add(work, tool.name, number, sample)
