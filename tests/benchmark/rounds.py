# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every work with every tool, some rounds long, the tools taking turns."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress

import agent_db
from bench import Bench, tell
from live import LiveDatabase
from measure import RunFailedError
from results import FULL, LARGE, NOTHING, RESTORE, SHARES, SMALL, VERIFY, Sample
from tools import Tool

Work = Callable[[Tool, LiveDatabase], Sample]


def run(bench: Bench) -> None:
    _warm_up(bench)
    for number in range(1, bench.plan.rounds + 1):
        _Round(bench, number).run()


def _warm_up(bench: Bench) -> None:
    """Use every tool once on a tiny database, so that nobody's first run has to read programs from the disk."""
    folder = bench.folder / "warm-up"
    for kind in bench.plan.tools:
        folder.mkdir()
        agent_db.create(folder / "agent.db", runs=1)
        # What fails here fails again where it is measured.
        with suppress(RunFailedError), closing(LiveDatabase(folder / "agent.db")) as database:
            tool = bench.install(kind, database, folder / "tool")
            bench.measure(tool, tool.backup(), database)
            bench.measure_verify(tool, database)
            bench.measure_restore(tool, database)
        shutil.rmtree(folder)


class _Round:
    """One round: new databases, empty repositories, and in each work one tool after the other.

    Tools that only read share one database. In every second round the tools come in the opposite order; ours and the
    pipeline stay neighbours, since their ratios have bounds.
    """

    def __init__(self, bench: Bench, number: int) -> None:
        self._bench = bench
        self._number = number
        self._folder = bench.folder / "round"
        self._databases: dict[bool, LiveDatabase] = {}
        self._tools: list[Tool] = []

    def run(self) -> None:
        try:
            with ExitStack() as stack:
                self._open_databases(stack)
                self._install()
                self._work(FULL, self._back_up)
                # Without a first backup, nothing after it means anything.
                self._tools = [tool for tool in self._tools if (FULL, tool.name) not in self._bench.results.failures]
                self._work(VERIFY, self._bench.measure_verify)
                self._work(RESTORE, self._bench.measure_restore)
                for work in (SMALL, LARGE):
                    for database in self._databases.values():
                        database.change(SHARES[work])
                    self._work(work, self._back_up)
                self._work(NOTHING, self._back_up)
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _open_databases(self, stack: ExitStack) -> None:
        for kind in self._bench.plan.tools:
            if kind.writes_to_source not in self._databases:
                folder = self._folder / ("written" if kind.writes_to_source else "shared")
                database = stack.enter_context(closing(self._bench.open_copy(folder, kind)))
                self._databases[kind.writes_to_source] = database

    def _install(self) -> None:
        kinds = self._bench.plan.tools if self._number % 2 else self._bench.plan.tools[::-1]
        for kind in kinds:
            database = self._databases[kind.writes_to_source]
            try:
                self._tools.append(self._bench.install(kind, database, self._folder / kind.__name__))
            except RunFailedError as error:
                self._bench.results.fail(FULL, kind.name, str(error))

    def _back_up(self, tool: Tool, database: LiveDatabase) -> Sample:
        return self._bench.measure(tool, tool.backup(), database)

    def _work(self, work: str, run: Work) -> None:
        where = f"round {self._number} of {self._bench.plan.rounds}, {work}"
        for tool in self._tools:
            try:
                sample = run(tool, self._databases[tool.writes_to_source])
            except RunFailedError as error:
                tell(f"{where}: {tool.name} failed: {error}")
                self._bench.results.fail(work, tool.name, str(error))
            else:
                tell(f"{where}: {tool.name} {sample.summary}")
                self._bench.results.add(work, tool.name, self._number, sample)
