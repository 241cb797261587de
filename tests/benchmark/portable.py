# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to write a database as text, and to build one out of it, beside ``.dump`` and its reading."""

from __future__ import annotations

import shutil
from contextlib import closing

from bench import Bench, tell
from live import LiveDatabase
from measure import RunFailedError
from results import EXPORT, IMPORT, Sample
from tools import Ours, TextTool


def run(bench: Bench) -> None:
    kinds: list[type[TextTool]] = [kind for kind in bench.plan.tools if issubclass(kind, TextTool)]
    folder = bench.folder / "portable"
    try:
        with closing(bench.open_copy(folder, Ours)) as database:
            for number in range(1, bench.plan.rounds + 1):
                for kind in kinds if number % 2 else kinds[::-1]:
                    _measure(bench, kind, database, number)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(bench: Bench, kind: type[TextTool], database: LiveDatabase, number: int) -> None:
    folder = bench.folder / "portable" / kind.__name__
    tool = bench.install(kind, database, folder)
    tool.repository.mkdir(exist_ok=True)
    work = EXPORT
    try:
        _note(bench, tool, number, work, bench.measure(tool, tool.write_text(), database))
        work = IMPORT
        dest = bench.restored_path(tool, database)
        _note(bench, tool, number, work, bench.measure_restore(tool, database, command=tool.read_text(dest)))
    except RunFailedError as error:
        tell(f"{work}: {tool.name} failed: {error}")
        bench.results.fail(work, tool.name, str(error))
    finally:
        shutil.rmtree(folder)


def _note(bench: Bench, tool: TextTool, number: int, work: str, sample: Sample) -> None:
    tell(f"round {number} of {bench.plan.rounds}, {work}: {tool.name} {sample.summary}")
    bench.results.add(work, tool.name, number, sample)
