# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner can be asked for: its commands, each with its options and examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import config

PROGRAM = "sqlite-backup"
LISTEN = "127.0.0.1:9187"


@dataclass(frozen=True)
class Command:
    """What a command is for, in a line; what else to know, in short lines; how it is used; its options."""

    text: str
    add_options: Callable[[argparse.ArgumentParser], None]
    examples: Sequence[str]
    more: str = ""


def _add_backup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", metavar="TEXT", default="", help="why this backup is made")
    tag = "a tag to store; may be repeated"
    parser.add_argument("--tag", metavar="TAG", dest="tags", action="append", default=[], help=tag)
    parser.add_argument("--pinned", action="store_true", help="never let retention remove it")
    parser.add_argument("--type", choices=config.KEYS["type"].choices, help="of this backup (default: as configured)")
    parser.add_argument("--force", action="store_true", help="store a backup even when nothing changed")
    parser.add_argument("--force-identity", action="store_true", help="say that another database than before is meant")
    parser.add_argument("--no-push", dest="push", action="store_false", help="copy nothing to the targets afterwards")
    parser.add_argument("--no-prune", dest="prune", action="store_false", help="remove no old backup afterwards")
    _add_dry_run(parser)


def _add_target(parser: argparse.ArgumentParser, more: str) -> None:
    parser.add_argument("--target", metavar="NAME", dest="targets", action="append", default=[], help=more)


def _add_list(parser: argparse.ArgumentParser) -> None:
    _add_target(parser, "what is at this target, not in the repository")


def _add_prune(parser: argparse.ArgumentParser) -> None:
    _add_target(parser, "at this target, by its own rules, not in the repository")
    _add_dry_run(parser)


def _add_push(parser: argparse.ArgumentParser) -> None:
    _add_target(parser, "to this target; may be repeated (default: every one of the database)")
    parser.add_argument("--backup", default="all", metavar="ID", help="an id, latest or all (default: all)")
    _add_dry_run(parser)


def _add_pull(parser: argparse.ArgumentParser) -> None:
    _add_target(parser, "from this target (default: the only one of the database)")
    parser.add_argument("--backup", default="latest", metavar="ID", help="an id, latest or all (default: latest)")
    _add_dry_run(parser)


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="make the same decisions and write nothing")


def _add_verify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backup", default="latest", metavar="ID", help="an id, latest or all (default: latest)")
    parser.add_argument("--level", choices=("quick", "full"), default="quick", help="how deep to look (default: quick)")
    parser.add_argument("--live", action="store_true", help="look at the database itself, not at a backup")
    _add_target(parser, "fetch what is at this target, and prove that")


def _add_restore(parser: argparse.ArgumentParser) -> None:
    newest = "an id, latest: the newest that is not suspect, or latest_good: see find-good (default: latest)"
    parser.add_argument("--backup", default="latest", metavar="ID", help=newest)
    parser.add_argument(
        "--before",
        metavar="TIME",
        help="the newest backup from this time or earlier; without a zone by this host's clock",
    )
    parser.add_argument("--dest", metavar="PATH", help="another file (default: the configured database)")
    parser.add_argument(
        "--check", choices=("quick", "full"), default="quick", help="of the restored image (default: quick)"
    )
    unexpected = "also when the tables and queries that the configuration expects are not there"
    parser.add_argument("--ignore-expectations", dest="expectations", action="store_false", help=unexpected)
    parser.add_argument("--force", action="store_true", help="although it is open, or --backup names a suspect one")
    parser.add_argument(
        "--force-identity", action="store_true", help="over another application's database; also a foreign backup"
    )
    parser.add_argument("--with-files", action="store_true", help="put missing included files back in their places")
    parser.add_argument("--files-to", metavar="DIR", help="put them below this directory instead, by their names")
    parser.add_argument("--undo", action="store_true", help="bring back what the last restore replaced")
    _add_dry_run(parser)


def _add_drill(parser: argparse.ArgumentParser) -> None:
    which = "an id, latest, random, or due: latest and whose turn it is (default: as configured, else latest)"
    parser.add_argument("--backup", metavar="ID", help=which)
    _add_target(parser, "fetch it from this target (default: as configured, else the repository)")
    page = "write what was found into this page, FILE.html, and into FILE.json beside it"
    parser.add_argument("--report", metavar="FILE", help=page)
    _add_dry_run(parser)


def _add_guard(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} guard NAME --reason TEXT [options] -- COMMAND…"
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why: it is stored with the backup")
    parser.add_argument("--restore-on-failure", action="store_true", help="put the backup back when the command fails")


def _add_pin(parser: argparse.ArgumentParser) -> None:
    _add_unpin(parser)
    until = "when the pin ends, as a time or a date; without a zone by this host's clock (default: never)"
    parser.add_argument("--until", metavar="TIME", help=until)


def _add_unpin(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backup", required=True, metavar="ID", help="an id, or latest")
    _add_dry_run(parser)


def _add_try(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--if-backed-up", action="store_true", help="only when the database has a backup already")


def _add_find_good(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--level", choices=("quick", "full"), default="full", help="how deep to look (default: full)")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} compare NAME [A [B]] [options]"
    table = "only this table, and what belongs to it; may be repeated"
    parser.add_argument("--table", metavar="TABLE", dest="tables", action="append", default=[], help=table)


def _add_extract(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--backup", default="latest", metavar="ID", help="an id, latest or latest_good (default: latest)"
    )
    parser.add_argument("--into", metavar="FILE", required=True, help="the new file; nothing may be there")
    table = "this table, with its rows and indexes; may be repeated"
    parser.add_argument("--table", metavar="TABLE", dest="tables", action="append", default=[], help=table)
    parser.add_argument("--query", metavar="SQL", help="what this one SELECT yields")
    parser.add_argument("--as", metavar="NAME", dest="name", help="the table for it (default: result)")


def _add_export(parser: argparse.ArgumentParser) -> None:
    source = "an id, latest, or live, the database itself (default: live)"
    parser.add_argument("--backup", default="live", metavar="ID", help=source)
    parser.add_argument("--into", metavar="FILE", required=True, help="the new file; for json a new directory")
    table = "only this table; may be repeated (default: all, with views and triggers)"
    parser.add_argument("--table", metavar="TABLE", dest="tables", action="append", default=[], help=table)
    kinds = "jsonl can be imported; csv is of one table, for people; json is a document a table (default: jsonl)"
    parser.add_argument("--format", choices=("jsonl", "csv", "json"), default="jsonl", help=kinds)
    stored = "neither compressed nor encrypted (default: as the backups of the database)"
    parser.add_argument("--plain", action="store_true", help=stored)
    parser.add_argument(
        "--force", action="store_true", help="replace a file that holds something else, but no database"
    )
    _add_dry_run(parser)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="src", metavar="FILE", required=True, help="what export wrote")
    parser.add_argument("--dest", metavar="PATH", help="the new database (default: the configured one)")
    parser.add_argument("--force", action="store_true", help="replace a database that is there, and keep it beside")
    _add_dry_run(parser)


def _add_audit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--last", metavar="COUNT", type=int, default=0, help="show so many of the newest lines, too")


def _add_status(parser: argparse.ArgumentParser) -> None:
    plugin = "answer as a plugin of Nagios does: 0 ok, 1 degraded, 2 failing or missed, 3 unknown"
    parser.add_argument("--nagios", action="store_true", help=plugin)


def _add_serve(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} serve [options]"
    place = f"the address and the port, such as [::1]:9187 (default: {LISTEN})"
    parser.add_argument("--listen", metavar="HOST:PORT", default=LISTEN, help=place)
    parser.add_argument("--reasons", action="store_true", help="tell whoever asks from this host why, with paths")


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.usage = f"{PROGRAM} demo [options]"
    parser.add_argument("--database", metavar="PATH", help="work with a copy of this database (default: one made up)")


def _add_discover(parser: argparse.ArgumentParser) -> None:
    exclude = "look at nothing there; a path with * and ?, may be repeated"
    parser.add_argument("--exclude", metavar="PATTERN", action="append", default=[], help=exclude)
    parser.add_argument("--cross-filesystems", action="store_true", help="also look at what is mounted below")
    parser.add_argument("--limit", metavar="COUNT", type=int, help="stop at so many databases (default: 1000)")
    lost = "end with 17 when a database is neither configured nor ignored, or not everything was looked at"
    parser.add_argument("--require-declared", action="store_true", help=lost)


def _add_nothing(_parser: argparse.ArgumentParser) -> None:
    """No option of its own."""


_UNDO = """\
Stop the application first: what it writes while its database is replaced is lost.

Nothing asks a question. The database is not touched before the restored file is
proven, and what it replaced is kept beside it, as the undo set
PATH.before-restore.TIME, until somebody removes it: --undo brings it back."""
_COMPARE = """\
A and B are each the id of a backup, latest, or live, the database itself
(default: latest and live). Both are read into scratch space; nothing is changed.

A row is known by its primary key, else by its rowid; where neither tells rows
apart, whole rows are compared. That there is a difference is not a failure."""
_EXPORT = """\
The format is described in docs/export.md: lines of JSON, with the schema and each value
exactly. CSV and JSON documents are for people and for seed scripts, and cannot be imported."""
_IMPORT = """\
The new database is made beside its place, and compared with the export line by line
before it is put there. What comes from outside is as any database from there: an import
makes this one file, but does not make its content trustworthy."""
_SERVE = """\
/health for load balancers, /metrics for Prometheus, and a page for people. There is
no password: on another address than one of this host alone, whoever reaches it reads
the names of the databases and how they are."""
_DEMO = """\
It needs no configuration, and touches nothing but a temporary directory. A database
of the operator's is only read. The exit code is 0 only when every proof held."""
_DISCOVER = """\
Only what may be a database by its size is opened, and 16 bytes of it are read. What is
not backed up on purpose stands, with a reason, in discover.json of the configuration."""
COMMANDS: dict[str, Command] = {
    "backup": Command(
        "Make a proven backup of the present content, then remove what retention does not keep.",
        _add_backup,
        ("backup agent", "backup agent --reason 'before migration 42' --pinned", "backup --all --dry-run"),
    ),
    "list": Command(
        "List the backups, and why each of them stays.",
        _add_list,
        ("list", "list agent orders", "list agent --target nas"),
    ),
    "verify": Command(
        "Check backups, or the live database.",
        _add_verify,
        ("verify agent --backup all --level full", "verify agent --live", "verify agent --target nas --level full"),
    ),
    "restore": Command(
        "Put a backup in place of the database.",
        _add_restore,
        (
            "restore agent",
            "restore agent --before '2025-12-30 02:55'",
            "restore agent --backup 20251230T120000Z-full --dest /root/look.db",
            "restore agent --with-files",
            "restore agent --undo",
        ),
        _UNDO,
    ),
    "drill": Command(
        "Restore a backup in a scratch place, prove it, and measure how long that takes.",
        _add_drill,
        ("drill agent", "drill --all --backup due --report /root/drills.html", "drill agent --target nas"),
    ),
    "find-good": Command(
        "Find the newest backup that passes verification, and say what each newer one failed on.",
        _add_find_good,
        ("find-good agent",),
    ),
    "compare": Command(
        "Say what differs between two backups, or between a backup and the database.",
        _add_compare,
        ("compare agent", "compare agent 20251230T120000Z-full live --table AgentRun"),
        _COMPARE,
    ),
    "extract": Command(
        "Take tables, or the rows that a query yields, out of a backup into a new SQLite file.",
        _add_extract,
        (
            "extract agent --into /root/part.db --table AgentRun --table AgentEvent",
            "extract agent --into part.db --query 'SELECT * FROM Run WHERE id > 7' --as Run",
        ),
        "The database itself is not touched. Triggers and views are not taken.",
    ),
    "export": Command(
        "Write the database, or a backup of it, as text that any program can read.",
        _add_export,
        (
            "export agent --into /root/agent.jsonl.zst",
            "export agent --backup latest --into /root/agent.jsonl --plain",
            "export agent --format csv --table AgentRun --into /root/runs.csv --plain",
            "export agent --format json --into /root/seed --plain",
        ),
        _EXPORT,
    ),
    "import": Command(
        "Build a database out of an export, equal row by row.",
        _add_import,
        (
            "import agent --from /root/agent.jsonl.zst --dest /root/agent.db",
            "import agent --from agent.jsonl --dry-run",
        ),
        _IMPORT,
    ),
    "prune": Command(
        "Remove the backups that retention does not keep.",
        _add_prune,
        ("prune agent --dry-run", "prune --all", "prune agent --target nas"),
    ),
    "push": Command(
        "Copy to the targets what they lack, and read it back.",
        _add_push,
        ("push agent", "push --all", "push agent --target nas --dry-run"),
    ),
    "pull": Command(
        "Bring backups from a target into the repository, a new one included.",
        _add_pull,
        ("pull agent --target nas", "pull agent --target nas --backup all"),
    ),
    "pin": Command(
        "Never let retention remove a backup, or not before a date.",
        _add_pin,
        ("pin agent --backup 20251230T120000Z-full --until 2027-01-01",),
    ),
    "unpin": Command(
        "Let retention decide on a pinned backup.", _add_unpin, ("unpin agent --backup 20251230T120000Z-full",)
    ),
    "acknowledge": Command(
        "Say that what is held apart, being suspect or of another database, is meant.",
        _add_dry_run,
        ("acknowledge agent", "acknowledge agent --dry-run"),
    ),
    "status": Command(
        "Say how well each database is backed up: 3 degraded, 31 last run failed or missing, 30 RPO missed.",
        _add_status,
        ("status", "status agent --json", "status --all --nagios"),
    ),
    "serve": Command(
        "Answer over HTTP how well the databases are backed up, until a signal comes.",
        _add_serve,
        ("serve", "serve --listen '[::1]:9187'"),
        _SERVE,
    ),
    "doctor": Command("Look for what could make a backup or a restore fail.", _add_nothing, ("doctor", "doctor agent")),
    "discover": Command(
        "Find SQLite databases below directories, and say which of them are configured here.",
        _add_discover,
        ("discover /srv /home", "discover /srv --exclude '*/node_modules' --require-declared"),
        _DISCOVER,
    ),
    "audit": Command(
        "Say whether the audit log is whole: each line has the digest of the one before it.",
        _add_audit,
        ("audit agent", "audit --all", "audit agent --last 20"),
    ),
    "guard": Command(
        "Run a command that may harm a database, protected by a pinned backup.",
        _add_guard,
        ("guard agent --reason 'migration 42' -- npx prisma migrate deploy",),
    ),
    "try": Command(
        "Do what a run with the configuration on standard input would do, and write nothing.",
        _add_try,
        ("try agent < new.json",),
    ),
    "demo": Command(
        "Show a backup of a live database, its loss and its restore, and prove it.",
        _add_demo,
        ("demo", "demo --database /srv/agent/agent.db"),
        _DEMO,
    ),
}
