# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is observed of every configured database, each in a child of its own: one that hangs holds up no other."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..system import clock, confined
from ..system.errors import EngineError
from ..watch.fleet_details import UNKNOWN
from . import config, status

LOOK_SECONDS = 5.0
"""How long is waited for all of them together."""

_TOGETHER = 8
# What came of a look that took longer tells nothing any more.
_LONGEST_SECONDS = 60.0

Observation = dict[str, Any]


class _Look:
    """A child that looks at the database ``name``."""

    def __init__(self, name: str, work: Callable[[], Observation]) -> None:
        self.name = name
        self.began = time.monotonic()
        self._child, self._reading = confined.begun(work)
        self._answer: list[bytes] = []

    def fileno(self) -> int:
        return self._reading

    def has_ended(self) -> bool:
        """Read what has come; whether that is all."""
        read = os.read(self._reading, 1 << 16)
        self._answer.append(read)
        return not read

    def result(self) -> Observation:
        """What it saw, once it has ended. Raises ``EngineError`` for whatever kept it from that."""
        os.close(self._reading)
        observed: Observation = confined.came(b"".join(self._answer), os.waitpid(self._child, 0)[1])
        return observed

    def kill(self) -> None:
        """It ends when it can: not before what it waits for answers, where that is a disk that is gone."""
        os.kill(self._child, signal.SIGKILL)


class Looks:
    """Looks at the databases that ``directory`` configures. ``in_child`` is called in each child first."""

    def __init__(self, directory: Path, *, in_child: Callable[[], None], seconds: float = LOOK_SECONDS) -> None:
        self._directory = directory
        self._in_child = in_child
        self._seconds = seconds
        self._running: dict[str, _Look] = {}

    def all(self) -> list[Observation]:
        """Every database, by name; one that could not be looked at in time is ``unknown``.

        What still hangs is not begun again, and is asked for once more the next time. Raises ``EngineError`` when the
        configuration cannot be read.
        """
        names = config.names(self._directory)
        found: dict[str, Observation] = {}
        late = set(self._running)
        waiting = [each for each in names if each not in late]
        end = time.monotonic() + self._seconds
        for each in self._running.values():
            if time.monotonic() - each.began > _LONGEST_SECONDS:
                each.kill()
        while True:
            while waiting and len(self._running.keys() - late) < _TOGETHER:
                self._begin(waiting.pop(0))
            # What hung before is not waited for: it has ended since, or it hangs on.
            has_more = bool(self._running.keys() - late)
            rest = max(0.0, end - time.monotonic()) if has_more else 0.0
            ready = select.select([*self._running.values()], [], [], rest)[0]
            for each in ready:
                if each.has_ended():
                    del self._running[each.name]
                    found[each.name] = self._result(each)
            if not ready and (not has_more or time.monotonic() >= end):
                break
        return [found.get(each) or self._unknown(each) for each in names]

    def _begin(self, name: str) -> None:
        def work() -> Observation:
            self._in_child()
            return status.observe(self._directory, name)

        self._running[name] = _Look(name, work)

    def _result(self, look: _Look) -> Observation:
        try:
            return look.result()
        except EngineError as error:
            return self._unknown(look.name, error)

    def _unknown(self, name: str, error: EngineError | None = None) -> Observation:
        message = error.message if error else f"No answer came in {self._seconds:g} s."
        hint = error.hint if error else "See whether the disk of its repository answers: a mount may be gone."
        told = {"name": name, "host": socket.gethostname(), "made": clock.to_text(clock.now()), "state": UNKNOWN}
        return {**told, "error": {"message": message, "hint": hint}}

    def close(self) -> None:
        for each in self._running.values():
            each.kill()
