# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a command line of the runner is read: its commands, with what all of them take, and what is wrong with it."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from typing import Any, NoReturn

from ..repository.manifest import COLLECTION_VERSION
from ..sqlite import library
from ..system import options
from ..system.errors import UsageError
from . import manual, strict
from .selection import OF_NONE, OF_ONE, OF_PATHS, SHOWING
from .vocabulary import COMMANDS, PROGRAM, Command

HELP = "help"


class _Parser(argparse.ArgumentParser):
    """One whose errors are the engine's."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}.", action="Cannot understand the command line", hint=f"See {self.prog} --help.")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the words of the command line ask for; raises ``UsageError`` for what is not understood."""
    parser = tree()
    given = list(words)
    guarded: list[str] = []
    if "--" in words:
        place = words.index("--")
        words, guarded = words[:place], list(words[place + 1 :])
    _check_command(words)
    arguments, rest = parser.parse_known_args(words)
    if not arguments.command_name:
        raise UsageError("No command is given.", hint=f"See {PROGRAM} --help.")
    unknown = [each for each in rest if each.startswith("-")]
    if unknown:
        raise UsageError(
            f"{PROGRAM} {arguments.command_name} has no option {unknown[0]}.",
            hint=strict.nearest(unknown[0], arguments.options),
        )
    # argparse takes names only from one place among the options.
    arguments.names = [*arguments.names, *rest]
    arguments.words, arguments.command = given, guarded
    if arguments.command_name in OF_NONE and arguments.names:
        raise UsageError(f"{arguments.command_name} takes no name of a database.", hint="Leave it away.")
    if arguments.command_name != "guard":
        arguments.names.extend(guarded)
    elif not guarded:
        raise UsageError("No command to guard is given.", hint="Write it at the end, behind --.")
    _check_empty(arguments)
    if arguments.command_name == "compare":
        _take_sides(arguments)
    return arguments


def _check_empty(arguments: argparse.Namespace) -> None:
    """Raise for what is given and empty: ``--dest "$LOOK"`` without that variable must not mean the live database."""
    for option, told in arguments.texts.items():
        value = getattr(arguments, option, None)
        if value == "" or (isinstance(value, list) and "" in value):
            raise options.empty(told)


def _take_sides(arguments: argparse.Namespace) -> None:
    """What to compare stands behind the name of the database."""
    name, sides = arguments.names[:1], arguments.names[1:]
    if len(sides) > 2:
        raise UsageError(f"There are two sides to compare, here are {', '.join(sides)}.", hint="Name two of them.")
    arguments.names = name
    arguments.before, arguments.after = [*sides, *(("latest", "live") if not sides else ("live",))][:2]


def _check_command(words: Sequence[str]) -> None:
    """Raise for a command that there is not, in better words than those of argparse."""
    places = [number for number, word in enumerate(words) if not word.startswith("-")]
    named = [words[number] for number in places if number == 0 or words[number - 1] != "--config"]
    if named and named[0] not in (*COMMANDS, HELP):
        hint = strict.nearest(named[0], [*COMMANDS, HELP])
        raise UsageError(f"There is no command {named[0]!r:.60}.", hint=hint)


def tree() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = _Parser(
        prog=PROGRAM,
        description="Back up SQLite databases while they are in use, prove the backups, and restore them.",
        epilog=f"`{PROGRAM} help exit-codes` explains each exit code, `{PROGRAM} help COMMAND` a command.",
        allow_abbrev=False,
    )
    versions = f"(Python {platform.python_version()}, SQLite {library.sqlite3.sqlite_version})"
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
    for name, command in COMMANDS.items():
        _add_command(subparsers, name, command)
    text = f"Explain a command, or one of {', '.join(manual.TOPICS)}."
    helper = subparsers.add_parser(HELP, help=text, description=text, allow_abbrev=False)
    helper.add_argument("names", metavar="TOPIC", nargs="*", help="what to explain (default: an overview)")
    helper.set_defaults(options=["--help"], texts={"names": "TOPIC"})
    return parser


def _add_command(subparsers: Any, name: str, command: Command) -> None:
    subparser = subparsers.add_parser(
        name,
        help=command.text,
        description="\n\n".join(filter(None, (command.text, command.more))),
        epilog="\n".join(["examples:", *(f"  {PROGRAM} {each}" for each in command.examples)]),
        usage=f"{PROGRAM} {name} {_names(name)} [options]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if name not in OF_NONE:
        metavar = _names(name).split("|", maxsplit=1)[0]
        subparser.add_argument("names", metavar=metavar, nargs="*", help=_help_on_names(name))
    if name not in (*OF_ONE, *OF_NONE, *OF_PATHS):
        subparser.add_argument("--all", action="store_true", help="every configured database")
    _add_common(subparser)
    command.add_options(subparser)
    actions = subparser._actions  # noqa: SLF001
    known = [option for action in actions for option in action.option_strings]
    # What is empty unless it is given may be given so.
    texts = {each.dest: (*each.option_strings, each.metavar)[0] for each in actions if each.default != ""}
    subparser.set_defaults(options=known, texts=texts)


def _names(command: str) -> str:
    """How many databases, or paths, a command takes."""
    if command in OF_PATHS:
        return "[PATH…]"
    return "NAME" if command in OF_ONE else "[NAME…]" if command in SHOWING else "NAME…|--all"


def _help_on_names(command: str) -> str:
    if command in OF_PATHS:
        return "directories to look in (default: as configured)"
    if command == "try":
        return "the name of the database; it need not be configured yet"
    if command in OF_ONE:
        return "a configured database"
    return f"configured databases{' (default: every one)' if command in SHOWING else ''}"


def _add_common(parser: argparse.ArgumentParser) -> None:
    """What may stand before and behind the command: the later one must not reset the earlier."""
    group = parser.add_argument_group("common options")
    none = argparse.SUPPRESS
    place = "the directory of the configuration (default: $SQLITE_BACKUP_CONFIG, else the usual one of this user)"
    group.add_argument("--config", metavar="DIR", default=none, help=place)
    group.add_argument("--json", action="store_true", default=none, help="print one JSON document and nothing else")
    group.add_argument("--syslog", action="store_true", default=none, help="send a line a database to the system log")
    group.add_argument("--quiet", action="store_true", default=none, help="print nothing but failures")
