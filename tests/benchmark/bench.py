# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all parts of the benchmark share: the plan, the place, and one measured run under equal conditions."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import live
import measure
from live import LiveDatabase
from measure import RunFailedError, Usage
from results import Results, Sample
from tools import PACKED_ENGINE, Command, Site, Tool, pack_engine

AnyTool = TypeVar("AnyTool", bound=Tool)

GIBIBYTE = 1 << 30
_UNITS = {"M": 1 << 20, "G": GIBIBYTE}
PRISTINE_NAME, DAY_PRISTINE_NAME = "pristine.db", "pristine-day.db"
# A run that takes longer than this is stuck; the slowest tools need about a tenth of it.
_LIMIT_SECONDS, _LIMIT_SECONDS_PER_MEBIBYTE = 300.0, 1.5
_CLEARED = ("AWS_CA_BUNDLE", "BORG_", "LITESTREAM_", "PYTHON", "RESTIC_", "XDG_", "ZSTD_")


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    size_bytes: int
    day_bytes: int
    rounds: int
    hours: int
    listed_backups: int
    tasks: int
    task_settings: tuple[str, ...]
    tools: tuple[type[Tool], ...]
    parts: tuple[str, ...]


def parse_size(text: str) -> int:
    """Bytes, from the words of a command line."""
    found = re.fullmatch(r"(\d+)([MG])", text.upper())
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write 64M or 1G")
    return int(found[1]) * _UNITS[found[2]]


def tell(message: str) -> None:
    print(f"benchmark: {message}", file=sys.stderr, flush=True)


class Bench:
    """A scratch folder with the database that every measurement starts from, and how a run is measured in it."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder = folder
        self.plan = plan
        self.results = Results()
        self.pristine = folder / PRISTINE_NAME
        # A day is 25 backups by every tool, for the sake of their bytes: it may be of a smaller database.
        self.day_pristine = folder / DAY_PRISTINE_NAME if plan.day_bytes != plan.size_bytes else self.pristine
        self.limit_seconds = _LIMIT_SECONDS + _LIMIT_SECONDS_PER_MEBIBYTE * plan.size_bytes / (1 << 20)
        (folder / "tmp").mkdir()
        pack_engine(folder / "engine.pyz")

    def environment(self) -> dict[str, str]:
        """One in which no setting of the user counts, and every temporary file is on the measured filesystem."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_CLEARED)}
        return {
            **kept,
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(self.folder / "tmp"),
            PACKED_ENGINE: str(self.folder / "engine.pyz"),
        }

    def open_copy(self, folder: Path, tool: type[Tool], pristine: Path | None = None) -> LiveDatabase:
        """A new live database with the content that all begin with, as `tool` needs it."""
        folder.mkdir(parents=True)
        shutil.copyfile(pristine or self.pristine, folder / "agent.db")
        return LiveDatabase(folder / "agent.db", autocheckpoint_pages=tool.autocheckpoint_pages)

    def install(self, kind: type[AnyTool], database: LiveDatabase, folder: Path) -> AnyTool:
        """A tool with an empty repository. Raises RunFailedError."""
        folder.mkdir(parents=True)
        tool = kind(Site(database.path, folder, self.environment()))
        preparation = tool.preparation()
        if preparation is not None:
            self._run(tool, preparation)
        return tool

    def measure(self, tool: Tool, command: Command, database: LiveDatabase) -> Sample:
        """One measured run: nothing is waiting to be written, and all that it reads is in the page cache."""
        self.settle([*database.files, tool.repository])
        before = live.folder_bytes(tool.repository)
        usage = self._run(tool, command)
        return Sample(usage, live.folder_bytes(tool.repository) - before)

    def measure_verify(self, tool: Tool, database: LiveDatabase) -> Sample:
        tool.scratch.mkdir()
        try:
            return self.measure(tool, tool.verify(), database)
        finally:
            shutil.rmtree(tool.scratch)

    def measure_restore(
        self, tool: Tool, database: LiveDatabase, *, command: Command | None = None, compare: bool = True
    ) -> Sample:
        """Restore into an empty folder, and see that it is the content of the live database."""
        dest = self.restored_path(tool, database)
        dest.parent.mkdir()
        try:
            sample = self.measure(tool, command or tool.restore(dest), database)
            if compare and _newest(dest) != database.newest():
                raise RunFailedError("the restored database has another content")
            return sample
        finally:
            shutil.rmtree(dest.parent)

    def restored_path(self, tool: Tool, database: LiveDatabase) -> Path:
        return tool.site.folder / "restored" / database.path.name

    def settle(self, paths: list[Path]) -> None:
        os.sync()
        live.warm(paths)

    def run(self, command: Command, extra: Mapping[str, str] | None = None) -> Usage:
        env = {**self.environment(), **(extra or {})}
        return measure.run(command, env=env, cwd=self.folder, limit_seconds=self.limit_seconds)

    def _run(self, tool: Tool, command: Command) -> Usage:
        return self.run(command, tool.setting())


def _newest(path: Path) -> tuple[object, ...]:
    try:
        with closing(sqlite3.connect(path)) as connection:
            return live.newest(connection)
    except sqlite3.Error as error:
        raise RunFailedError(f"the restored database: {error}") from error
