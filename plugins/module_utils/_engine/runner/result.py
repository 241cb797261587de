# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of a command for one database, and the exit code of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..system.errors import EngineError, LastRunFailedError, ObjectiveMissedError, PartialError, explained

Asked = Mapping[str, Any]
"""The values of the command line."""


@dataclass
class Result:
    """What came of a command for the database ``name``; ``error`` is None when it succeeded."""

    name: str
    error: EngineError | None = None
    warnings: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def code(self) -> int:
        return self.error.code if self.error else 0

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "error": failure(self.error), "warnings": self.warnings, **self.facts}


# What is less than a failure, the least first: each is hidden by those behind it, and by every other one.
_LESSER = (PartialError.code, LastRunFailedError.code, ObjectiveMissedError.code)


def code_of(results: Sequence[Result]) -> int:
    """The code of a run: that of its first failure; of a verdict only where there is no worse one."""
    codes = [each.code for each in results if each.error]
    return max(codes, key=lambda code: _LESSER.index(code) if code in _LESSER else len(_LESSER), default=0)


def failure(error: EngineError | None) -> dict[str, Any] | None:
    """An error as the runner's JSON has it."""
    return {**error.to_json(), "message": error.message} if error else None


def attempt(name: str, work: Callable[[], Result]) -> Result:
    """The result of ``work``, or of its failure, whatever that is: the next database must have its turn."""
    try:
        return work()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback instead of an answer helps nobody
        return Result(name, explained(error))
