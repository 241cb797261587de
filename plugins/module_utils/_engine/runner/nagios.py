# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status as a plugin of Nagios, Icinga and others tells it, by https://www.monitoring-plugins.org/doc/guidelines.html."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from ..system import words
from ..system.errors import EngineError
from ..watch import health
from . import wording
from .console import Console
from .result import Result

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")
# What is known to be bad comes before what could not be found out.
_FROM_GOOD_TO_BAD = (OK, WARNING, UNKNOWN, CRITICAL)
_CODES = {health.OK: OK, health.DEGRADED: WARNING, health.FAILING: CRITICAL, health.MISSED: CRITICAL}


class Plugin(Console):
    """Prints nothing but the answer of a plugin, also when the whole run fails."""

    def __init__(self, *, syslog: bool = False) -> None:
        super().__init__(json=True, syslog=syslog)
        self._failed = False

    def document(self, command: str, code: int, error: EngineError | None = None) -> None:
        """The answer, in the place of the document."""
        del command, code
        self._failed = error is not None
        self._write(sys.stdout, answer(self.results) if error is None else [_line(UNKNOWN, str(error))])

    def exit_code(self, code: int) -> int:
        """That of a plugin."""
        del code
        return UNKNOWN if self._failed or self.lost else _worst(self.results)


def answer(results: Sequence[Result]) -> list[str]:
    """The first line with its numbers, and for several databases a line each."""
    worst, (first, *others) = _worst(results), results
    text, lines = _told(first), []
    if others:
        ill = [each for each in results if _code(each) != OK]
        text = f"{len(results)} databases are well"
        if ill:
            shown = next(each for each in ill if _code(each) == worst)
            text = f"{len(ill)} of {len(results)} databases are not well, {_told(shown)}"
        lines = [f"{_WORDS[_code(each)]} - {_safe(_told(each))}" for each in results]
    numbers = " ".join(number for each in results for number in _numbers(each))
    return [f"{_line(worst, text)}{numbers and f' | {numbers}'}", *lines]


def _line(code: int, text: str) -> str:
    return f"SQLITE BACKUP {_WORDS[code]} - {_safe(text)}"


def _safe(text: str) -> str:
    """On one line, and without the character that would begin the numbers."""
    return words.plain(text).replace("|", "/")


def _worst(results: Sequence[Result]) -> int:
    return max(map(_code, results), key=_FROM_GOOD_TO_BAD.index, default=UNKNOWN)


def _code(result: Result) -> int:
    return _CODES.get(result.facts.get("state", ""), UNKNOWN)


def _told(result: Result) -> str:
    """What a database comes to: its reasons when it is not well."""
    if _code(result) == UNKNOWN:
        return f"{result.name}: {result.error or 'its state is not known'}"
    reasons = " ".join(each["text"] for each in result.facts["reasons"] if each["state"] != health.OK)
    return f"{result.name}: {reasons or wording.status_line(result.facts)}"


def _numbers(result: Result) -> Iterator[str]:
    """Performance data; what is not known is left out. A name that has facts is of letters, digits, - and _."""
    facts, name = result.facts, result.name
    if _code(result) == UNKNOWN:
        return
    if facts["age_seconds"] is not None:
        # A degraded state is not one of age: there is nothing to warn of before the RPO is over.
        rpo_seconds = facts["rpo_seconds"]
        yield f"{name}_age={facts['age_seconds']}s;;{'' if rpo_seconds is None else int(rpo_seconds)};0"
    yield f"{name}_stored={facts['total_bytes']}B;;;0"
    yield f"{name}_backups={facts['backups']};;;0"
