# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the runner's answers go: standard output, standard error, one JSON document, the system log.

Results are for standard output, errors and progress for standard error. Whoever stops reading must not stop the work.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TextIO

from ..sqlite.snapshot import Progress
from ..system import words
from ..system.errors import EngineError, UsageError
from .result import Result, failure
from .selection import Other

_PROGRESS_SECONDS = 0.1
_LOG_TAG = "sqlite-backup"


class Console:
    """``json``: standard output gets one document at the end, and nothing else. ``quiet``: success says nothing."""

    def __init__(self, *, json: bool = False, quiet: bool = False, syslog: bool = False) -> None:
        self.json = json
        self.log = _system_log() if syslog else None
        # cron mails all that is printed: with a log to look into, only a failure is worth a mail.
        self.quiet = quiet or (syslog and not _is_terminal(sys.stdout))
        self.results: list[Result] = []
        self._others: list[dict[str, str]] | None = None
        self.lost = ""
        self._shows_progress = not json and not quiet and _is_terminal(sys.stderr)

    def exit_code(self, code: int) -> int:
        """What the program ends with when the run came to ``code``."""
        return code

    def say(self, *lines: str) -> None:
        """Results, for people."""
        if not self.json and not self.quiet:
            self._write(sys.stdout, lines)

    def tell(self, *lines: str) -> None:
        """What accompanies the work, for people; standard output may belong to somebody else."""
        if not self.json and not self.quiet:
            self._write(sys.stderr, lines)

    def complain(self, name: str, error: EngineError) -> None:
        """A failure, whatever else is silent."""
        prefix = f"{name}: " if name else ""
        lines = [f"{prefix}error {error.code}: {words.plain(error.message)}"]
        lines.extend(f"  {words.plain(each)}" for each in error.hint.split("\n") if each)
        self._write(sys.stderr, lines)

    def add(self, command: str, result: Result, told: str) -> None:
        """One more result: its warnings, its failure, and a line for the system log; ``told`` says it in a line."""
        self.results.append(result)
        self.tell(*(f"{result.name}: warning: {words.plain(each)}" for each in result.warnings))
        if result.error is not None and not self.json:
            self.complain(result.name, result.error)
        if self.log is not None:
            self._log(self.log, f"{command} {result.name}", result, told)

    def _log(self, log: ModuleType, what: str, result: Result, told: str) -> None:
        level, text = (log.LOG_WARNING if result.warnings else log.LOG_INFO), f"{what}: {told}"
        if result.error is not None:
            level, text = log.LOG_ERR, f"{what} failed, exit code {result.code}: {result.error}"
        log.syslog(level, words.plain("; warning: ".join((text, *result.warnings))))

    def know_others(self, others: Sequence[Other]) -> None:
        """Configurations that will not be looked at: programs hear of them also when the command fails."""
        self._others = [dataclasses.asdict(each) for each in others]

    def name_others(self, command: str, others: Sequence[Other]) -> None:
        """Configurations that were not looked at."""
        self.tell(*(words.plain(each.line(command)) for each in others))

    def fail(self, command: str, error: EngineError) -> None:
        """The whole run fails, not one database."""
        if self.json:
            self.document(command, error.code, error)
        else:
            self.complain(_LOG_TAG, error)
        if self.log is not None:
            self.log.syslog(self.log.LOG_ERR, words.plain(f"{command} failed, exit code {error.code}: {error}"))

    def document(self, command: str, code: int, error: EngineError | None = None) -> None:
        """The one document of ``--json``."""
        if self.json:
            results = [each.to_json() for each in self.results]
            content = {"command": command, "code": code, "error": failure(error), "results": results}
            if self._others is not None:
                content["also_configured"] = self._others
            self._write(sys.stdout, [json.dumps(content, indent=2)])

    def progress(self, name: str, doing: str) -> tuple[Progress, Callable[[], None]]:
        """Shows how far the work is, and clears that; both do nothing where nobody looks."""
        shown, last = "", 0.0

        def show(done: int, total: int) -> None:
            nonlocal shown, last
            text = f"{name}: {doing} {min(100, 100 * done // total) if total else 100} %"
            if self._shows_progress and text != shown and time.monotonic() - last >= _PROGRESS_SECONDS:
                erased = _erased(shown)
                shown, last = text, time.monotonic()
                self._write(sys.stderr, [f"{erased}{text}"], end="")

        def clear() -> None:
            if shown:
                self._write(sys.stderr, [_erased(shown)], end="")

        return show, clear

    def _write(self, stream: TextIO | None, lines: Sequence[str], *, end: str = "\n") -> None:
        """To a stream that is closed, or that nobody reads any more, nothing; a full disk is worth a word."""
        if stream is None:
            return
        try:
            stream.write("".join(line + end for line in lines))
            stream.flush()
        except BrokenPipeError:
            _discard(stream)
        except (OSError, ValueError) as error:
            self.lost = str(error) if stream is sys.stdout else self.lost
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Let what is still buffered, and all that follows, go nowhere: also when Python flushes at its end."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        pass


def _erased(shown: str) -> str:
    """What takes ``shown`` from the line; a console of Windows need not know escape sequences."""
    return f"\r{' ' * len(shown)}\r" if os.name == "nt" else "\r\x1b[K"


def _is_terminal(stream: Any) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _system_log() -> ModuleType:
    try:
        import syslog
    except ImportError:
        raise UsageError("There is no system log on this platform.", hint="Leave --syslog away.") from None
    syslog.openlog(_LOG_TAG, syslog.LOG_PID, syslog.LOG_DAEMON)
    return syslog
