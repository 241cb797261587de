# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the runner ``sqlite-backup``: what is asked for, of which databases, and the exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from ..sqlite import library
from ..sqlite.snapshot import Progress
from ..system import confined, interrupts
from ..system.errors import CancelledError, EngineError, UsageError, Way, explained
from . import (
    audit,
    commands,
    config,
    drills,
    grammar,
    guard,
    manual,
    nagios,
    offsite,
    portable,
    recovery,
    selection,
    status,
    telling,
    vocabulary,
    watch_config,
    wording,
)
from .config import Database
from .console import Console
from .result import Asked, Result, attempt, code_of
from .vocabulary import PROGRAM

# timeout(1) and service managers send a signal twice; the second one must not break the cleaning up.
_CLEANING_SECONDS = 10.0


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code, 0 or that of the first failure."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # The name of a file may not be text in the encoding of a terminal; that is not a reason to fail.
            stream.reconfigure(errors="backslashreplace")
    is_plugin = "--nagios" in words and _command_in(words) == "status"
    console = nagios.Plugin() if is_plugin else Console(json="--json" in words)
    try:
        with _interruptible():
            arguments = grammar.parse(words)
            console = _console(arguments)
            code = _OTHERS.get(arguments.command_name, _run)(arguments, console)
    except SystemExit as error:
        # --help and --version have printed what they are for.
        return int(error.code or 0)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - a traceback instead of an answer helps nobody
        failure = explained(error)
        code = failure.code
        console.fail(_command_in(words), failure)
    if console.lost and not code:
        code = 1
        console.complain(PROGRAM, EngineError(f"The answer could not be written: {console.lost}."))
    return console.exit_code(code)


def _console(arguments: argparse.Namespace) -> Console:
    if not vars(arguments).get("nagios"):
        return Console(json=arguments.json, quiet=arguments.quiet, syslog=arguments.syslog)
    if arguments.json:
        raise UsageError("Both --nagios and --json are given.", hint="Give one of them.")
    return nagios.Plugin(syslog=arguments.syslog)


def _help(arguments: argparse.Namespace, console: Console) -> int:
    if len(arguments.names) > 1:
        raise UsageError("Help is on one topic.", hint=f"See {PROGRAM} --help.")
    console.say(*manual.topic(grammar.tree(), "".join(arguments.names)))
    return 0


def _serve(arguments: argparse.Namespace, console: Console) -> int:
    library.require()
    # The others need no server, and are quicker without.
    from . import serve

    return serve.run(config.directory(arguments.config), arguments.listen, console, reasons=arguments.reasons)


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    library.require()
    from . import demo

    result, lines = demo.run(arguments.database)
    console.say(*_named(result, lines))
    console.add(arguments.command_name, result, lines[-1].strip())
    console.document(arguments.command_name, result.code)
    return result.code


def _discover(arguments: argparse.Namespace, console: Console) -> int:
    from . import discovery

    for result in discovery.results(vars(arguments)):
        lines = discovery.lines(result)
        console.add("discover", result, lines[0])
        console.say(*_named(result, lines))
    code = code_of(console.results)
    console.document("discover", code)
    return code


_OTHERS: dict[str, Callable[[argparse.Namespace, Console], int]] = {
    grammar.HELP: _help,
    "serve": _serve,
    "demo": _demo,
    "discover": _discover,
}


def _command_in(words: Sequence[str]) -> str:
    return next((each for each in words if each in vocabulary.COMMANDS), PROGRAM)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Each signal that asks to stop becomes KeyboardInterrupt, so that all that is begun is cleaned up."""
    first: list[float] = []

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not first or time.monotonic() - first[0] > _CLEANING_SECONDS:
            first.append(time.monotonic())
            raise KeyboardInterrupt

    numbers = interrupts.STOPPING if threading.current_thread() is threading.main_thread() else ()
    # What is ignored stays so: nohup(1).
    before = {each: signal.getsignal(each) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _run(arguments: argparse.Namespace, console: Console) -> int:
    """The command for each chosen database in turn; the code of the worst failure."""
    library.require()
    directory = config.directory(arguments.config)
    command = arguments.command_name
    others = selection.others(arguments.config)
    if command in selection.SHOWING:
        console.know_others(others)
    chosen = selection.databases(
        arguments.names,
        directory,
        command=command,
        everything=arguments.all,
        also=[each.line(*arguments.words) for each in others],
    )
    teller = telling.Teller(directory, command, active=not vars(arguments).get("dry_run"))
    audit.echo(teller.watch)
    for name in chosen:
        result = _run_one(name, directory, arguments, console, teller)
        if teller.stopped and name != chosen[-1]:
            raise KeyboardInterrupt
        if isinstance(result.error, CancelledError):
            break
    if command == "status":
        console.say(*wording.status([(each.name, each.facts) for each in console.results]))
    if command in selection.SHOWING:
        console.name_others(command, others)
    code = code_of(console.results)
    if command == "drill" and arguments.report and not arguments.dry_run:
        code = _report(Path(os.path.abspath(arguments.report)), console) or code
    console.document(command, code)
    return code


def _run_one(
    name: str, directory: Path, arguments: argparse.Namespace, console: Console, teller: telling.Teller
) -> Result:
    """The command for one database, and what is said of it, here and to others."""
    command = arguments.command_name
    progress, clear = console.progress(name, command)
    told = teller.begin(name, vars(arguments))
    result = attempt(name, lambda: _apart(_loaded(directory, name, command), arguments, console, progress))
    told.end(result)
    clear()
    _name_commands(result, arguments)
    lines = _TEXTS[command](result, arguments) if result.facts else []
    console.add(command, result, lines[0] if lines else "done")
    if command == "guard":
        console.tell(*_named(result, lines))
    elif command != "status":
        console.say(*_named(result, lines))
    return result


def _report(file: Path, console: Console) -> int:
    """The code of what kept the report of the drills from being written; 0 when it is."""
    try:
        drills.report(file, console.results)
    except (EngineError, OSError) as error:
        failure = explained(error)
        console.complain(PROGRAM, failure)
        return failure.code
    return 0


def _loaded(directory: Path, name: str, command: str) -> Database:
    return config.load(directory, name) if command != "try" else config.parsed(sys.stdin.buffer.read(), directory, name)


def _apart(settings: Database, arguments: argparse.Namespace, console: Console, progress: Progress) -> Result:
    """The work on one database, so that the next one has its turn; what a guard runs stays our own child."""
    if arguments.command_name == "guard":
        return _noted(settings, arguments, console, progress)
    return confined.run(lambda: _noted(settings, arguments, console, progress), *settings.beside)


def _noted(settings: Database, arguments: argparse.Namespace, console: Console, progress: Progress) -> Result:
    """The work, and behind it a note of up to where the audit log is known; a signal then does not undo the work."""
    unnoted: list[str] = []
    with interrupts.Shield() as shield:
        try:
            result = _work(settings, arguments, console, progress)
        finally:
            if arguments.command_name in _WRITING and not vars(arguments).get("dry_run"):
                shield.begin()
                unnoted = audit.remember(settings)
    if shield.caught and arguments.command_name in selection.OF_ONE:
        unnoted.append("a signal to stop came when everything was done already")
    else:
        shield.deliver()
    result.warnings.extend(unnoted)
    return result


def _work(settings: Database, arguments: argparse.Namespace, console: Console, progress: Progress) -> Result:
    asked, command = vars(arguments), arguments.command_name
    if command == "backup":
        return commands.back_up(settings, asked, progress=progress)
    if command == "guard":
        return guard.run(
            settings,
            {**asked, "apart": arguments.json},
            restore_command=_command(arguments, "restore", settings.name),
            tell=lambda text: console.tell(f"{settings.name}: {text}"),
            progress=progress,
        )
    if command in _LONG_WORK:
        return _LONG_WORK[command](settings, asked, progress=progress)
    return _SHORT_WORK[command](settings, asked)


def _name_commands(result: Result, arguments: argparse.Namespace) -> None:
    """Let the hint of a failure print the whole command of each way that it names."""
    error = result.error
    if error is not None and error.ways:
        lines = (f"{way.aim}: {guard.quoted(_way(way, arguments, result.name))}" for way in error.ways)
        error.hint = "\n".join(filter(None, (error.advice, *lines)))


def _way(way: Way, arguments: argparse.Namespace, name: str) -> list[str]:
    """The words of a way, with those options of this command that it does not change."""
    given = vars(arguments) if way.command == arguments.command_name else {}
    options = {each: given.get(each) for each in ("dest", "before", "force", "force_identity", "dry_run")}
    if given.get("check") == "full":
        options["check"] = "full"
    if "backup" in way.options:
        options.pop("before")
    elif given.get("backup") != "latest":
        options["backup"] = given.get("backup")
    options.update(way.options)
    options["dest"] = given.get("dest") or options["dest"]
    words = [way.command, name]
    for option, value in options.items():
        if value:
            words.extend([f"--{option.replace('_', '-')}", *([] if value is True else [value])])
    return _command(arguments, *words)


def _command(arguments: argparse.Namespace, *words: str) -> list[str]:
    """The words of another command of this same runner, with this same configuration."""
    # The runner is one file; started in another way, it is found by its name.
    own = os.path.abspath(sys.argv[0]) if os.path.isfile(sys.argv[0]) and not sys.argv[0].endswith(".py") else PROGRAM
    given = arguments.config or os.environ.get(config.ENVIRONMENT)
    place = ["--config", str(config.directory(given))] if given else []
    # Windows starts no file that has no ending of its own.
    started = [sys.executable or "python", own] if os.name == "nt" and own != PROGRAM else [own]
    return [*started, *words, *place]


# The commands that leave lines in the audit log.
_WRITING = (*watch_config.TOLD, "extract", "export", "import", "pin", "unpin", "acknowledge")
_LONG_WORK: dict[str, Callable[..., Result]] = {
    "try": commands.try_out,
    "verify": commands.verify_one,
    "restore": commands.restore_one,
    "drill": drills.drill_one,
    "find-good": recovery.find_good_one,
    "compare": recovery.compare_one,
    "extract": recovery.extract_one,
    "export": portable.export_one,
    "import": portable.import_one,
    "push": offsite.push_one,
    "pull": offsite.pull_one,
}
_SHORT_WORK: dict[str, Callable[[Database, Asked], Result]] = {
    "list": commands.list_one,
    "prune": commands.prune_one,
    "pin": commands.pin_one,
    "unpin": commands.unpin_one,
    "acknowledge": commands.acknowledge_one,
    "status": status.status_one,
    "doctor": commands.diagnose,
    "audit": audit.audit_one,
}


def _named(result: Result, lines: Sequence[str]) -> list[str]:
    return [f"{result.name}: {lines[0]}", *lines[1:]] if lines else []


def _restored(result: Result, arguments: argparse.Namespace) -> list[str]:
    lines = [wording.restored(result.facts, undo=arguments.undo, dry_run=arguments.dry_run)]
    if result.facts["restore"]["undo_set"]:
        dest = [] if arguments.dest is None else ["--dest", arguments.dest]
        undo = guard.quoted([*_command(arguments, "restore", result.name), "--undo", *dest])
        lines.append(f"  To bring that back: {undo}")
    return [*lines, *wording.put_back(result.facts, dry_run=arguments.dry_run)]


def _guarded(result: Result, _arguments: argparse.Namespace) -> list[str]:
    if "exit_code" not in result.facts or result.error is not None:
        return []
    return [f"the command succeeded; the pinned backup {result.facts['backup']['id']} stays"]


_TEXTS: dict[str, Callable[[Result, Any], list[str]]] = {
    "backup": lambda result, asked: [wording.backed_up(result.facts, dry_run=asked.dry_run)],
    "list": lambda result, _asked: wording.listed_anywhere(result.facts),
    "verify": lambda result, _asked: wording.verified(result.facts),
    "restore": _restored,
    "drill": lambda result, asked: wording.drilled(result.facts["drills"], dry_run=asked.dry_run),
    "find-good": lambda result, _asked: wording.found_good(result.facts["good"]),
    "compare": lambda result, _asked: wording.compared(result.facts["comparison"]),
    "extract": lambda result, _asked: [wording.extracted(result.facts["extraction"])],
    "export": lambda result, asked: [wording.exported(result.facts, dry_run=asked.dry_run)],
    "import": lambda result, asked: [wording.imported(result.facts, dry_run=asked.dry_run)],
    "push": lambda result, asked: wording.pushed(result.facts["targets"], dry_run=asked.dry_run),
    "pull": lambda result, asked: [wording.pulled(result.facts["pull"], dry_run=asked.dry_run)],
    "prune": lambda result, asked: wording.pruned(result.facts, dry_run=asked.dry_run),
    "pin": lambda result, asked: [wording.pinned(result.facts, dry_run=asked.dry_run)],
    "unpin": lambda result, asked: [wording.pinned(result.facts, dry_run=asked.dry_run)],
    "acknowledge": lambda result, asked: wording.acknowledged(result.facts, dry_run=asked.dry_run),
    "status": lambda result, _asked: [wording.status_line(result.facts)],
    "doctor": lambda result, _asked: wording.diagnosed(result.facts["findings"]),
    "audit": lambda result, _asked: wording.audited(result.facts["audit"]),
    "guard": _guarded,
    "try": lambda result, _asked: [wording.tried(result.facts)],
}
