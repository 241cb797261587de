# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Others are told of what a run does: each of them in its own way, and none can fail a run or hold it up for long."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system import aside, clock, confined
from ..system.aside import Aside
from ..system.errors import EngineError, PartialError, explained
from . import config, counts, sinks, status, watch_config
from .guard import CommandFailedError
from .result import Result
from .sinks import Observation, Run, Sink
from .watch_config import Watch

# A look at what belongs to a hostile user must not take for ever.
_LOOK_SECONDS = 60.0


class Teller:
    """What this host tells of the runs of ``command``; nothing where nobody is configured, and of a trial."""

    def __init__(self, directory: Path, command: str, *, active: bool) -> None:
        self.directory = directory
        self.command = command
        self.active = active and command in watch_config.TOLD
        self.watch, self.trouble = Watch(), ""
        # By a signal that came when a database was done: its result stands, the next one does not begin.
        self.stopped = False
        try:
            self.watch = watch_config.load(directory)
        except EngineError as error:
            self.trouble = f"nobody could be told of this run: {error}"

    def begin(self, name: str, asked: Mapping[str, Any]) -> Telling:
        """The work on the database ``name`` begins."""
        return Telling(self, name, asked)


class Telling:
    """What is told of the work on one database; its start is on its way from now on."""

    def __init__(self, teller: Teller, name: str, asked: Mapping[str, Any]) -> None:
        self._teller, self._name, self._asked = teller, name, asked
        self._began = time.monotonic()
        self._run: dict[str, Any] = {
            "command": teller.command,
            "id": str(uuid.uuid4()),
            "phase": "start",
            "started": clock.to_text(clock.now()),
        }
        self._sinks: list[Sink] = []
        self._start: Aside | None = None
        self._troubles = [teller.trouble] if teller.trouble else []
        if teller.active:
            try:
                self._begin()
            except Exception as error:  # noqa: BLE001 - as where no process can be made: the run goes on
                self._troubles.append(f"not everybody was told that this run began: {explained(error)}")

    def _begin(self) -> None:
        watch = self._teller.watch
        self._sinks = sinks.ending(watch, self._teller.directory, self._name, self._run)
        starts = sinks.starting(watch, self._name, self._run)
        self._start = Aside(starts, watch.timeout_seconds) if starts else None

    def end(self, result: Result) -> None:
        """Tell what came of it; what could not be told becomes a warning of ``result``."""
        if not self._teller.active:
            return
        try:
            self._tell(result, result.warnings)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the run is done, whatever becomes of its news
            self._teller.stopped |= isinstance(error, KeyboardInterrupt)
            result.warnings.append(f"not everybody was told of this run: {explained(error)}")
        finally:
            for each in self._sinks:
                each.close()

    def _tell(self, result: Result, warnings: list[str]) -> None:
        warnings.extend(self._troubles)
        run = {**self._run, **_came(result), "seconds": round(time.monotonic() - self._began, 3)}
        if run["command"] in ("backup", "guard"):
            warnings.extend(_counted(self._teller.directory, self._name, run, self._asked.get("type") or "auto"))
        if self._start is not None:
            warnings.extend(_untold(self._start.wait()))
        if self._sinks:
            observation = self._observed()
            jobs = {each.name: _job(each, observation, run) for each in self._sinks}
            untold = _untold(Aside(jobs, self._teller.watch.timeout_seconds).wait())
            warnings.extend(each for each in untold if each not in warnings)

    def _observed(self) -> dict[str, Any]:
        """Read as root reads what belongs to others; of a configuration that is wrong, nothing is read.

        What keeps it from that is what is told then: whoever can do that must not keep a failure from being told.
        """
        directory, name = self._teller.directory, self._name
        try:
            beside = [*config.load(directory, name).beside]
        except EngineError:
            beside = []

        def look() -> dict[str, Any]:
            with confined.bounded(_LOOK_SECONDS):
                return status.observe(directory, name)

        try:
            return confined.run(look, *beside)
        except Exception as error:  # noqa: BLE001 - it is told
            return status.unobserved(directory, name, explained(error))


def _job(sink: Sink, observation: Observation, run: Run) -> aside.Job:
    return lambda: sink.tell(observation, run)


def _untold(wrong: Mapping[str, str]) -> Sequence[str]:
    return [f"{name} could not be told of this run: {text}" for name, text in wrong.items()]


def _counted(directory: Path, name: str, run: Run, asked_type: str) -> list[str]:
    """Count a run that was to make a backup: one behind which only a target, or a guarded command, failed made it."""
    guarded = run["class"] == CommandFailedError.__name__
    good = run["backup"] is not None and (guarded or run["class"] in ("", PartialError.__name__))
    last = {key: run[key] for key in ("outcome", "code", "type", "seconds", "changed_bytes")}
    if good and guarded:
        # Its exit code is that of the command, which says nothing of the backup.
        last.update(outcome="success", code=0)
    try:
        kind = run["type"] if good else asked_type
        counts.add(directory, name, good=good, kind=kind, last={"time": clock.to_text(clock.now()), **last})
    except Exception as error:  # noqa: BLE001 - it is told, and must not keep the rest from being told
        return [explained(error).message]
    return []


def _came(result: Result) -> dict[str, Any]:
    """What came of a run, as sinks have it; ``backup`` and ``type`` are None where there is no backup."""
    made = result.facts.get("backup") or {}
    error = result.error
    kind = made.get("type") if result.facts.get("stored", True) else counts.UNCHANGED
    size = made.get("changed_pages", 0) * made.get("page_size", 0)
    return {
        "phase": "end",
        "outcome": "failure" if error else "success",
        "code": result.code,
        "class": type(error).__name__ if error else "",
        "message": error.message if error else "",
        "durations": dict(made.get("durations") or {}),
        "backup": made.get("id"),
        "type": kind if made.get("id") else None,
        "changed_bytes": size,
    }
