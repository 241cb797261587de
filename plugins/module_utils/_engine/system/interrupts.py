# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signals that ask to stop, and that must wait: nothing may end a run between a step and the record of that step."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name))


class Shield:
    """From ``begin`` to the end of the block signals are only written down, in ``caught``.

    Only the main thread gets signals, so in any other there is nothing to do.
    """

    def __init__(self) -> None:
        self.caught: list[int] = []
        self._before: dict[int, Any] = {}

    def begin(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:
                handler = signal.getsignal(number)
                # What is ignored stays so; what was not installed from Python could not be put back.
                if handler not in (signal.SIG_IGN, None):
                    self._before[number] = handler
                    signal.signal(number, self._catch)

    def _catch(self, number: int, _frame: FrameType | None) -> None:
        self.caught.append(number)

    def deliver(self) -> None:
        """Let what was caught take its effect now; behind the block."""
        for number in dict.fromkeys(self.caught):
            signal.raise_signal(number)

    def __enter__(self) -> Shield:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
