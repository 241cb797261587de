# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The words of the command line of the runner: which commands there are, and which options each of them takes."""

from __future__ import annotations

import argparse
import platform
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from . import config
from .errors import UsageError
from .manifest import COLLECTION_VERSION

PROGRAM = "sqlite-backup"
# These show everything that is configured when no name is given; the others must be told.
SHOWING = ("list", "status", "doctor")
OF_ONE = ("restore", "guard", "pin", "unpin")


class _Parser(argparse.ArgumentParser):
    """One whose errors are the engine's."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"Cannot understand the command line: {message}.", hint=f"See {self.prog} --help.")


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What the words of the command line ask for; raises ``UsageError`` for what is not understood."""
    parser = tree()
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


def tree() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = _Parser(
        prog=PROGRAM,
        description="Back up SQLite databases while they are in use, prove the backups, and restore them.",
        epilog="Exit codes: 0 done, 2 usage or configuration, 3 the backup is good and something after it failed, "
        "10 to 22 what failed, 30 an RPO is missed, 130 interrupted. docs/runner.md explains each of them.",
        allow_abbrev=False,
    )
    versions = f"(Python {platform.python_version()}, SQLite {sqlite3.sqlite_version})"
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
    for name, (text, add_options) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=text, allow_abbrev=False)
        subparser.add_argument("names", metavar="NAME", nargs="*", help="a configured database")
        if name not in OF_ONE:
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


def _add_nothing(_parser: argparse.ArgumentParser) -> None:
    """No option of its own."""


COMMANDS: dict[str, tuple[str, Callable[[argparse.ArgumentParser], None]]] = {
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
}
