# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the runner ``sqlite-backup``: what is asked for, of which databases, and the exit code."""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from . import commands, config, confined, guard, report, selection, sqlite
from .commands import Asked, Result
from .config import Database
from .console import Console
from .errors import CancelledError, EngineError, UsageError, explained
from .manifest import COLLECTION_VERSION
from .snapshot import Progress

PROGRAM = "sqlite-backup"
# timeout(1) and service managers send a signal twice; the second one must not break the cleaning up.
_CLEANING_SECONDS = 10.0
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit code, 0 or that of the first failure."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # The name of a file may be no text in the encoding of a terminal; that is no reason to fail.
            stream.reconfigure(errors="backslashreplace")
    console = Console(json="--json" in words)
    try:
        with _interruptible():
            arguments = _parse(words)
            console = Console(json=arguments.json, quiet=arguments.quiet, syslog=arguments.syslog)
            code = _run(arguments, console)
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
    return code


def _command_in(words: Sequence[str]) -> str:
    return next((each for each in words if each in _COMMANDS), PROGRAM)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """Each signal that asks to stop becomes KeyboardInterrupt, so that all that is begun is cleaned up."""
    first: list[float] = []

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        if not first or time.monotonic() - first[0] > _CLEANING_SECONDS:
            first.append(time.monotonic())
            raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # What is ignored stays so: nohup(1).
    before = {each: signal.getsignal(each) for each in numbers if signal.getsignal(each) is not signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, interrupt)
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _Parser(argparse.ArgumentParser):
    """One whose errors are the engine's."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"Cannot understand the command line: {message}.", hint=f"See {self.prog} --help.")


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _parser()
    guarded: list[str] = []
    if "--" in words:
        place = words.index("--")
        words, guarded = words[:place], list(words[place + 1 :])
    arguments, rest = parser.parse_known_args(words)
    if not arguments.command_name:
        raise UsageError("No command is given.", hint=f"See {PROGRAM} --help.")
    options = [each for each in rest if each.startswith("-")]
    if options:
        raise UsageError(
            f"{PROGRAM} {arguments.command_name} has no option {options[0]}.",
            hint=config.nearest(options[0], arguments.options),
        )
    # argparse takes names only from one place among the options.
    arguments.names = [*arguments.names, *rest]
    arguments.command = guarded
    if arguments.command_name != "guard":
        arguments.names.extend(guarded)
    elif not guarded:
        raise UsageError("No command to guard is given.", hint="Write it at the end, behind --.")
    return arguments


def _parser() -> _Parser:
    parser = _Parser(
        prog=PROGRAM,
        description="Back up SQLite databases while they are in use, prove the backups, and restore them.",
        epilog="Exit codes: 0 done, 2 usage or configuration, 3 the backup is good and something after it failed, "
        "10 to 22 what failed, 30 an RPO is missed, 130 interrupted. docs/runner.md explains each of them.",
        allow_abbrev=False,
    )
    versions = f"(Python {platform.python_version()}, SQLite {sqlite.sqlite3.sqlite_version})"
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {COLLECTION_VERSION} {versions}")
    defaults: dict[str, Any] = {
        "config": None,
        "json": False,
        "syslog": False,
        "quiet": False,
        "names": [],
        "all": False,
    }
    parser.set_defaults(command_name=None, **defaults)
    _add_common(parser)
    subparsers = parser.add_subparsers(dest="command_name", metavar="COMMAND", title="commands")
    for name, (text, add_options) in _COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        subparser.add_argument("names", metavar="NAME", nargs="*", help="a configured database")
        if name not in selection.OF_ONE:
            subparser.add_argument("--all", action="store_true", help="every configured database")
        _add_common(subparser)
        add_options(subparser)
        known = [option for action in subparser._actions for option in action.option_strings]  # noqa: SLF001
        subparser.set_defaults(options=known)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What may stand before and behind the command: the later one must not reset the earlier."""
    group = parser.add_argument_group("common options")
    none = argparse.SUPPRESS
    group.add_argument("--config", metavar="DIR", default=none, help="the directory of the configuration")
    group.add_argument("--json", action="store_true", default=none, help="print one JSON document and nothing else")
    group.add_argument("--syslog", action="store_true", default=none, help="send a line a database to the system log")
    group.add_argument("--quiet", action="store_true", default=none, help="print nothing but failures")


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", default="", help="why this backup is made")
    parser.add_argument("--tag", dest="tags", action="append", default=[], help="a tag to store; may be repeated")
    parser.add_argument("--pinned", action="store_true", help="never let retention remove it")
    parser.add_argument("--type", choices=config.KEYS["type"].choices, help="instead of what is configured")
    parser.add_argument("--force", action="store_true", help="store a backup even when nothing changed")
    parser.add_argument("--force-identity", action="store_true", help="say that another database than before is meant")
    parser.add_argument("--no-prune", dest="prune", action="store_false", help="remove no old backup afterwards")
    _add_dry_run(parser)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="make the same decisions and write nothing")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backup", default="latest", metavar="ID", help="a backup, latest or all; latest")
    parser.add_argument("--level", choices=("quick", "full"), default="quick", help="how deep to look; quick")
    parser.add_argument("--live", action="store_true", help="look at the database itself, not at a backup")


def _add_restore(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backup", default="latest", metavar="ID", help="a backup, or latest; latest")
    parser.add_argument(
        "--before",
        metavar="TIME",
        help="the newest backup from this time or earlier; without a zone by this host's clock",
    )
    parser.add_argument("--dest", metavar="PATH", help="another file than the configured database")
    parser.add_argument("--check", choices=("quick", "full"), default="quick", help="of the restored image; quick")
    parser.add_argument("--force", action="store_true", help="although it is open, or the backup is suspect")
    parser.add_argument(
        "--force-identity", action="store_true", help="over another application's database; also a foreign backup"
    )
    parser.add_argument("--undo", action="store_true", help="bring back what the last restore replaced")
    _add_dry_run(parser)


def _add_guard(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} guard NAME --reason TEXT [--restore-on-failure] [common options] -- COMMAND …"
    parser.add_argument("--reason", required=True, help="why: it is stored with the backup")
    parser.add_argument("--restore-on-failure", action="store_true", help="put the backup back when the command fails")


def _add_pin(parser: argparse.ArgumentParser) -> None:
    _add_unpin(parser)
    until = "when the pin ends, as a time or a date; without a zone by this host's clock; never"
    parser.add_argument("--until", metavar="TIME", help=until)


def _add_unpin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backup", required=True, metavar="ID", help="a backup, or latest")
    _add_dry_run(parser)


def _add_try(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--if-backed-up", action="store_true", help="only when the database has a backup already")


def _add_nothing(_parser: argparse.ArgumentParser) -> None:
    """No option of its own."""


_COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
    "backup": ("Make a proven backup of the present content, then remove what retention does not keep.", _add_backup),
    "list": ("List the backups.", _add_nothing),
    "verify": ("Check backups, or the live database.", _add_verify),
    "restore": ("Put a backup in place of the database.", _add_restore),
    "prune": ("Remove the backups that retention does not keep.", _add_dry_run),
    "pin": ("Never let retention remove a backup, or not before a date.", _add_pin),
    "unpin": ("Let retention decide on a pinned backup.", _add_unpin),
    "status": (
        "Say how well each database is backed up: 3 degraded, 31 last run failed, 30 RPO missed.",
        _add_nothing,
    ),
    "doctor": ("Look for what could make a backup or a restore fail.", _add_nothing),
    "guard": ("Run a command that may harm a database, protected by a pinned backup.", _add_guard),
    "try": (
        "Read a configuration from standard input, and see whether backups with it can succeed; writes nothing.",
        _add_try,
    ),
}


def _run(arguments: argparse.Namespace, console: Console) -> int:
    """The command for each chosen database in turn; the code of the worst failure."""
    sqlite.require()
    directory = config.directory(arguments.config)
    command = arguments.command_name
    others = selection.others(arguments.config)
    chosen = selection.databases(
        arguments.names, directory, command=command, everything=arguments.all, elsewhere=others
    )
    for name in chosen:
        progress, clear = console.progress(name, command)
        result = commands.attempt(name, lambda: _apart(_loaded(directory, name, command), arguments, console, progress))  # noqa: B023
        clear()
        lines = _TEXTS[command](result, arguments) if result.facts else []
        console.add(command, result, lines[0] if lines else "done")
        if command == "guard":
            console.tell(*_named(result, lines))
        elif command != "status":
            console.say(*_named(result, lines))
        if isinstance(result.error, CancelledError):
            break
    if command == "status":
        console.say(*report.status([(each.name, each.facts) for each in console.results]))
    if command in selection.SHOWING:
        console.name_others(command, others)
    code = commands.code_of(console.results)
    console.document(command, code)
    return code


def _loaded(directory: Path, name: str, command: str) -> Database:
    return config.load(directory, name) if command != "try" else config.parsed(sys.stdin.buffer.read(), directory, name)


def _apart(settings: Database, arguments: argparse.Namespace, console: Console, progress: Progress) -> Result:
    """The work on one database, so that the next one has its turn; what a guard runs stays our own child."""
    if arguments.command_name == "guard":
        return _work(settings, arguments, console, progress)
    beside = (settings.path, settings.repository)
    return confined.run(lambda: _work(settings, arguments, console, progress), *beside)


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


def _command(arguments: argparse.Namespace, *words: str) -> list[str]:
    """The words of another command of this same runner, with this same configuration."""
    # The runner is one file; started in another way, it is found by its name.
    own = os.path.abspath(sys.argv[0]) if os.path.isfile(sys.argv[0]) and not sys.argv[0].endswith(".py") else PROGRAM
    given = arguments.config or os.environ.get(config.ENVIRONMENT)
    place = ["--config", str(config.directory(given))] if given else []
    return [own, *words, *place]


_LONG_WORK: dict[str, Callable[..., Result]] = {
    "try": commands.try_out,
    "verify": commands.verify_one,
    "restore": commands.restore_one,
}
_SHORT_WORK: dict[str, Callable[[Database, Asked], Result]] = {
    "list": commands.list_one,
    "prune": commands.prune_one,
    "pin": commands.pin_one,
    "unpin": commands.unpin_one,
    "status": commands.status,
    "doctor": commands.diagnose,
}


def _named(result: Result, lines: Sequence[str]) -> list[str]:
    return [f"{result.name}: {lines[0]}", *lines[1:]] if lines else []


def _restored(result: Result, arguments: argparse.Namespace) -> list[str]:
    lines = [report.restored(result.facts, undo=arguments.undo, dry_run=arguments.dry_run)]
    if result.facts["restore"]["undo_set"]:
        dest = ["--dest", arguments.dest] if arguments.dest else []
        undo = guard.quoted([*_command(arguments, "restore", result.name), "--undo", *dest])
        lines.append(f"  To bring that back: {undo}")
    return lines


def _guarded(result: Result, _arguments: argparse.Namespace) -> list[str]:
    if "exit_code" not in result.facts or result.error is not None:
        return []
    return [f"the command succeeded; the pinned backup {result.facts['backup']['id']} stays"]


_TEXTS: dict[str, Callable[[Result, Any], list[str]]] = {
    "backup": lambda result, asked: [report.backed_up(result.facts, dry_run=asked.dry_run)],
    "list": lambda result, _asked: report.listed(result.facts["repository"]),
    "verify": lambda result, _asked: report.verified(result.facts),
    "restore": _restored,
    "prune": lambda result, asked: report.pruned(result.facts, dry_run=asked.dry_run),
    "pin": lambda result, asked: [report.pinned(result.facts, dry_run=asked.dry_run)],
    "unpin": lambda result, asked: [report.pinned(result.facts, dry_run=asked.dry_run)],
    "status": lambda result, _asked: [report.status_line(result.facts)],
    "doctor": lambda result, _asked: report.diagnosed(result.facts["findings"]),
    "guard": _guarded,
    "try": lambda result, _asked: [report.tried(result.facts)],
}
