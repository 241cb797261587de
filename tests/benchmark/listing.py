# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to list a repository with very many backups."""

from __future__ import annotations

import shutil
from contextlib import closing

import agent_db
from bench import Bench, tell
from live import LiveDatabase
from measure import RunFailedError
from results import LISTING, Sample
from tools import Command, Ours, Tool, engine_command


def run(bench: Bench) -> None:
    folder = bench.folder / "listing"
    folder.mkdir()
    agent_db.create(folder / "agent.db", runs=1)
    try:
        with closing(LiveDatabase(folder / "agent.db")) as database:
            tool = bench.install(Ours, database, folder / "tool")
            bench.run(tool.backup())
            bench.run(_command("multiply", tool, str(bench.plan.listed_backups)))
            for number in range(1, bench.plan.rounds + 1):
                _list(bench, tool, number)
    except RunFailedError as error:
        tell(f"{LISTING} failed: {error}")
        bench.results.fail(LISTING, Ours.name, str(error))
    finally:
        shutil.rmtree(folder)


def _list(bench: Bench, tool: Tool, number: int) -> None:
    bench.settle([tool.repository])
    sample = Sample(bench.run(_command("list", tool)), 0)
    listed = sample.answer.get("backups")
    if listed != bench.plan.listed_backups:
        raise RunFailedError(f"{listed} backups were listed")
    tell(f"round {number} of {bench.plan.rounds}, {LISTING}: {sample.summary}")
    bench.results.add(LISTING, Ours.name, number, sample)


def _command(verb: str, tool: Tool, *arguments: str) -> Command:
    return engine_command(tool.site.env, verb, tool.repository, *arguments)
