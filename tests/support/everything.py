# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""All parts of `make test`, some beside each other: each runs to its end, whatever becomes of the others.

A part is a session of nox with the tag `test`, or the closing run of pytest, whose command is given. The last lines
name what failed, and the very last one is pytest's own.

    python tests/support/everything.py python -m pytest
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / ".build" / "log"
NOX = (sys.executable, "-m", "nox")
CLOSING = "closing"
# Of these it is enough to run what the oldest Python or ansible-core may do otherwise; the closing run has it all.
SHORT = ("integration", "unit")
SHORTER = ("--", "-m", "not slow and not thorough")
# Of an older ansible-core: what it reads otherwise than the newest one, which has all the others, too.
SANITY = (
    "--",
    *(f"--test={each}" for each in ("ansible-doc", "compile", "import", "runtime-metadata", "validate-modules")),
)
# What takes long begins first. The hosts of Molecule wait more than they compute, so there are three on two cores.
ORDER = ("molecule", CLOSING, "sanity", "windows", "integration", "unit")
BESIDE = 3


@dataclass(frozen=True)
class Part:
    name: str
    command: Sequence[str]

    def file(self, logs: Path, suffix: str) -> Path:
        return logs / (re.sub(r"\W+", "-", self.name).strip("-") + suffix)


@dataclass(frozen=True)
class Done:
    part: Part
    code: int
    seconds: float
    cpu_seconds: float
    skipped: str

    @property
    def word(self) -> str:
        return "FAILED" if self.code else "skipped" if self.skipped else "passed"

    @property
    def line(self) -> str:
        why = f": {self.skipped}" if self.skipped else ""
        return f"{self.part.name:18} {self.word}  {self.seconds:5.0f} s, {self.cpu_seconds:.0f} s of CPU{why}"


class Parts:
    """The processes of the parts that run at the moment."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: set[int] = set()
        self._stopped = False

    def run(self, part: Part) -> Done:
        began = time.monotonic()
        with part.file(self._logs, ".log").open("wb") as log:
            # A session of its own, so that Ctrl-C comes to it once, from here.
            process = subprocess.Popen(
                part.command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._running.add(process.pid)
        if self._stopped:
            self.stop()
        _pid, status, usage = os.wait4(process.pid, 0)
        self._running.discard(process.pid)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - began
        return Done(part, process.returncode, seconds, usage.ru_utime + usage.ru_stime, self._reason(part))

    def _reason(self, part: Part) -> str:
        """Why nox skipped it."""
        with contextlib.suppress(FileNotFoundError):
            report = json.loads(part.file(self._logs, ".json").read_text(encoding="utf-8"))
            return "; ".join(each["reason"] for each in report["sessions"] if each["result"] == "skipped")
        return ""

    def stop(self) -> None:
        self._stopped = True
        for group in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGINT)


def run(parts: Sequence[Part], logs: Path) -> int:
    """Run all parts, one of which is the closing one; what they printed is shown at the end. Zero if all went well."""
    logs.mkdir(parents=True, exist_ok=True)
    for part in parts:
        for suffix in (".log", ".json"):
            part.file(logs, suffix).unlink(missing_ok=True)
    processes = Parts(logs)
    done: list[Done] = []
    with ThreadPoolExecutor(BESIDE) as pool:
        try:
            for each in as_completed([pool.submit(processes.run, part) for part in sorted(parts, key=_rank)]):
                done.append(each.result())
                print(done[-1].line, flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.stop()
            raise
    _tell(done, logs)
    return int(any(each.code for each in done))


def _kind(name: str) -> str:
    return name.partition("(")[0]


def _rank(part: Part) -> int:
    name = _kind(part.name)
    return ORDER.index(name) if name in ORDER else len(ORDER)


def _tell(done: Sequence[Done], logs: Path) -> None:
    """Print the logs of what failed, and the closing run with the names of it before its last line."""
    for each in done:
        if each.code and each.part.name != CLOSING:
            print(f"\n===== {each.part.name} ended with {each.code}: {shlex.join(each.part.command)}")
            print(_log(each.part, logs))
    (closing,) = [each.part for each in done if each.part.name == CLOSING]
    lines = _log(closing, logs).splitlines() or ["nothing was printed"]
    print(*lines[:-1], "", sep="\n")
    print(*sorted(each.line for each in done), sep="\n")
    failed = sorted(each.part.name for each in done if each.code)
    print(f"FAILED: {', '.join(failed)}" if failed else "All parts passed, or were skipped as it says.")
    print(lines[-1], flush=True)


def _log(part: Part, logs: Path) -> str:
    return part.file(logs, ".log").read_text(encoding="utf-8", errors="replace").rstrip()


def _sessions() -> list[Part]:
    listing = subprocess.run(
        [*NOX, "--list-sessions", "--json", "--tags", "test"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    names = [each["session"] for each in json.loads(listing.stdout)]
    newest = {_kind(each): each for each in names}
    return [session(each, is_newest=newest[_kind(each)] == each) for each in names]


def session(name: str, *, is_newest: bool = False) -> Part:
    """A session of nox as a part."""
    report = str(Part(name, ()).file(LOGS, ".json"))
    shorter = SHORTER if _kind(name) in SHORT else SANITY if _kind(name) == "sanity" and not is_newest else ()
    return Part(name, (*NOX, "--session", name, "--report", report, *shorter))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Also when a shell started this in the background, which has SIGINT ignored.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        sys.exit(run([*_sessions(), Part(CLOSING, sys.argv[1:])], LOGS))
    except KeyboardInterrupt:
        sys.exit("Interrupted")
