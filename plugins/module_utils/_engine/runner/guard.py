# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a command that may harm a database only when a pinned backup protects it, and know the way back."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from ..sqlite.snapshot import Progress
from ..system.errors import EngineError, ProgramMissingError, RefusedError, doing
from . import commands
from .config import Database
from .result import Asked, Result, attempt

# What an operator or a service manager ends a program with; the command decides what to do about it.
_PASSED_ON = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGBREAK")
# A terminal sends these to every process in front of it, so the command has got them already.
_FROM_TERMINAL = ("SIGINT", "SIGQUIT", "SIGBREAK")
_KILLED = 128
_WAIT_SECONDS = 1.0


class CommandFailedError(EngineError):
    """The guarded command failed; ``code`` is its exit code, or 128 and the number of the signal that ended it."""

    def __init__(self, message: str, *, hint: str, code: int) -> None:
        super().__init__(message, hint=hint)
        self.code = code


def run(
    settings: Database,
    asked: Asked,
    *,
    restore_command: Sequence[str],
    tell: Callable[[str], None],
    progress: Progress | None = None,
) -> Result:
    """Back up, run ``command``, and on failure restore, or say with which words ``restore_command`` does.

    With ``apart`` what the command prints goes to standard error. ``tell`` says what happens meanwhile.
    """
    command = list(asked["command"])
    if shutil.which(command[0]) is None:
        raise ProgramMissingError(
            "there is no such program.",
            action=f"Cannot run {quoted(command[:1])}",
            hint="Nothing was done. Correct its name.",
        )
    backup_asked = {"type": None, "tags": [], "reason": asked["reason"], "pinned": True, "force": False}
    backup_asked["force_identity"] = False
    result = commands.back_up(
        settings, {**backup_asked, "dry_run": False, "push": False, "prune": False}, progress=progress
    )
    if result.error is not None:
        return result
    made = result.facts["backup"]["id"]
    go_back = quoted([*restore_command, "--backup", made])
    result.facts.update(command=command, exit_code=None, restore=None, go_back=go_back)
    tell(f"protected by the pinned backup {made}; now running {quoted(command)}")
    code = _run_command(command, apart=asked["apart"])
    result.facts["exit_code"] = code
    if code:
        result.error = _after_failure(settings, result, restores=asked["restore_on_failure"])
    return result


def _after_failure(settings: Database, result: Result, *, restores: bool) -> CommandFailedError:
    """What to fail with, after the database was restored if that is asked for."""
    code, go_back = result.facts["exit_code"], result.facts["go_back"]
    name, made = settings.name, result.facts["backup"]["id"]
    ended = f"was ended by signal {code - _KILLED}" if code > _KILLED else f"failed with exit code {code}"
    failed = f"The command {quoted(result.facts['command'][:1])} {ended}"
    if not restores:
        hint = f"To go back to how {name} was before, stop what uses it, then: {go_back}"
        return CommandFailedError(f"{failed}; {name} is as it left it.", hint=hint, code=code)
    names = "before dest force force_identity expectations with_files files_to undo dry_run"
    asked: dict[str, Any] = dict.fromkeys(names.split())
    asked.update(backup=made, check="quick")
    restored = attempt(name, lambda: commands.restore_one(settings, asked))
    result.warnings.extend(restored.warnings)
    if restored.error is not None:
        first = "Stop what has it open, then: " if isinstance(restored.error, RefusedError) else "Then: "
        message = f"{failed}, and {name} could not be put back: {restored.error.message}"
        return CommandFailedError(message, hint=f"{first}{go_back}", code=code)
    result.facts["restore"] = restored.facts["restore"]
    undo_set = restored.facts["restore"]["undo_set"]
    if not restored.facts["changed"]:
        return CommandFailedError(f"{failed}; {name} is unchanged.", hint="There is nothing to go back to.", code=code)
    hint = f"What the command left is in {undo_set}." if undo_set else f"It is that of {made}."
    return CommandFailedError(f"{failed}; {name} was put back to {made}.", hint=hint, code=code)


def _run_command(command: Sequence[str], *, apart: bool) -> int:
    """Its exit code, as a shell would tell it."""
    with doing(f"Cannot run {command[0]!r}"), _passing_on() as follow:
        try:
            # pylint: disable-next=ansible-bad-function
            process = subprocess.Popen([_file_of(command[0]), *command[1:]], stdout=2 if apart else None)
        except FileNotFoundError:
            raise ProgramMissingError(
                "it, or the interpreter that it names, is missing.",
                hint="Look at the first line of the script.",
            ) from None
        follow(process)
        code = _waited_for(process)
    return _KILLED - code if code < 0 else code


def _waited_for(process: subprocess.Popen[Any]) -> int:
    """Its exit code. A signal that comes right before a wait begins is seen when that ends: so none is long."""
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(_WAIT_SECONDS)


def _file_of(program: str) -> str:
    """What to start. Windows itself knows only the ending .exe, and npx is npx.cmd there."""
    return (shutil.which(program) if os.name == "nt" else None) or program


@contextlib.contextmanager
def _passing_on() -> Iterator[Callable[[subprocess.Popen[Any]], None]]:
    """Signals to this process are for the command while it runs; it is named by a call of what the block gets."""
    running: list[subprocess.Popen[Any]] = []
    early: list[int] = []

    def pass_on(number: int, _frame: FrameType | None) -> None:
        if not running:
            early.append(number)
        elif not (signal.Signals(number).name in _FROM_TERMINAL and _in_front_of_terminal()):
            running[0].send_signal(number)

    def follow(process: subprocess.Popen[Any]) -> None:
        running.append(process)
        for number in early:
            process.send_signal(number)

    numbers = [getattr(signal, name) for name in _PASSED_ON if hasattr(signal, name)]
    # What is ignored already is ignored by the command, too: nohup(1).
    before = {each: signal.getsignal(each) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, pass_on)
        yield follow
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _in_front_of_terminal() -> bool:
    """Whether this process group is the one to which a terminal sends what is typed."""
    if os.name == "nt":
        # A console tells all that runs in it.
        return True
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def quoted(words: Sequence[str]) -> str:
    """A command for a shell, on one line whatever is in its words."""
    if os.name == "nt":
        return subprocess.list2cmdline(words)
    return " ".join(shlex.quote(each) if each.isprintable() else _escaped(each) for each in words)


def _escaped(word: str) -> str:
    """``word`` as ``$'…'``, which bash, zsh and ksh know."""
    content = "".join(
        each if each.isprintable() and each not in "\\'" else "".join(f"\\x{byte:02x}" for byte in os.fsencode(each))
        for each in word
    )
    return f"$'{content}'"
