# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner's configuration: one strict JSON file a database, ``<directory>/databases.d/<name>.json``.

Its keys are options of the modules, of the same types and with the same defaults. What is not understood is an error:
a mistyped key that is passed over silently would show when the backup is needed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository import anomaly, include, inclusion, retention
from ..repository.retention import Policy
from ..sealed import codec, encryption
from ..sqlite import urls
from ..system import clock, options
from ..system.errors import EngineError, ProgramMissingError, doing
from ..system.options import Options
from ..watch import schedule
from ..work import included, prune
from . import strict
from .strict import Key, Where

ENVIRONMENT = "SQLITE_BACKUP_CONFIG"
# That of root; the role puts the one of another user beside it, with the name of that user behind.
SYSTEM = Path("/etc/sqlite-backup")
DATABASES_NAME = "databases.d"
SEEN_NAME = "seen.d"

KEYS: Mapping[str, Key] = {
    "path": Key("path"),
    "database_url": Key("text"),
    "env_file": Key("path"),
    "env_key": Key("text", urls.ENV_KEY),
    "chdir": Key("path"),
    "repository": Key("path", required=True),
    "name": Key("text"),
    "type": Key("text", "auto", ("auto", "full", "incremental")),
    "full_every": Key("duration", "1d"),
    "max_chain": Key("number", 100),
    "compression": Key("text", "auto", ("auto", "zstd", "gzip", "xz", "none")),
    "compression_level": Key("number"),
    "encryption": Key(
        "object",
        keys={
            "method": Key("text", "none", ("none", "age", "gpg")),
            "recipients": Key("list", ()),
            "passphrase_file": Key("path"),
        },
    ),
    "check": Key("text", "quick", ("none", "quick", "full")),
    "include": Key(
        "list",
        (),
        keys={
            "src": Key("path"),
            "name": Key("text"),
            "redact": Key("flag"),
            "kind": Key("text", inclusion.FILE, inclusion.KINDS),
            "url": Key("text"),
            "required": Key("flag"),
            "limit_mib": Key("number"),
            "timeout": Key("duration", inclusion.DEFAULT_TIMEOUT),
        },
    ),
    "tags": Key("list", ()),
    "timeout": Key("duration", "1h"),
    "lock_timeout": Key("duration", "1m"),
    "allow_empty": Key("flag", default=False),
    "suspect_below": Key("number", anomaly.DEFAULT_PERCENT),
    "keep_within": Key("duration", retention.KEEP_WITHIN),
    **{name: Key("number", getattr(Policy, name)) for name in retention.COUNTS},
    "keep_suspect": Key("duration", retention.KEEP_SUSPECT),
    "timezone": Key("text", Policy.timezone),
    "identity_file": Key("path"),
    "passphrase_file": Key("path"),
    "rpo": Key("duration"),
    "rto": Key("duration"),
    "drill": Key(
        "object",
        keys={
            "backup": Key("text", "latest", ("latest", "random", "due")),
            "every": Key("duration"),
            "prove_within": Key("duration", "4w"),
            "target": Key("text"),
            "scratch_dir": Key("path"),
        },
    ),
    "due": Key(
        "object",
        keys={
            "minute": Key("text", required=True),
            "hour": Key("text", required=True),
            "grace": Key("duration", required=True),
        },
    ),
    "expect_tables": Key("list", ()),
    "assertions": Key("list", (), keys={"sql": Key("text", required=True), "equals": Key("anything", required=True)}),
    "targets": Key("list", ()),
}


@dataclass(frozen=True)
class Database:
    """One configured database: every key with its value or its default, None when it has neither."""

    name: str
    file: Path
    options: Mapping[str, Any]

    @property
    def directory(self) -> Path:
        """That of the whole configuration."""
        return self.file.parent.parent

    @property
    def path(self) -> Path:
        return urls.requested(self.options)

    @property
    def beside(self) -> tuple[Path, Path]:
        """Where its files are: the database, or what should name it and does not, and the repository."""
        try:
            return self.path, self.repository
        except EngineError:
            return Path(self.options["env_file"] or self.file), self.repository

    @property
    def repository(self) -> Path:
        return Path(self.options["repository"])


def is_chosen(given: str | None) -> bool:
    """Whether somebody said which directory it is."""
    return bool(given or os.environ.get(ENVIRONMENT))


def directory(given: str | None = None) -> Path:
    """The directory of the configuration: as given, as the environment says, or the usual one of this user."""
    chosen = given or os.environ.get(ENVIRONMENT)
    if chosen:
        return Path(os.path.abspath(chosen))
    if os.name == "nt":
        return Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData"), "sqlite-backup", "config")
    if getattr(os, "geteuid", lambda: -1)() == 0:
        return SYSTEM
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # A relative one is to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "sqlite-backup"


def names(configuration: Path) -> list[str]:
    """The names of all configured databases, whether their files are right or not."""
    return strict.names(configuration / DATABASES_NAME)


def load(configuration: Path, name: str) -> Database:
    """The database ``name``; raises for whatever is wrong with its file, naming the database, the key and the file."""
    where = strict.where(configuration / DATABASES_NAME, name, "database")
    return _database(strict.read(where), where)


def parsed(data: bytes, configuration: Path, name: str) -> Database:
    """As ``load``, of what may be put into the file of the database ``name``."""
    where = strict.where(configuration / DATABASES_NAME, name, "database", "standard input")
    return _database(strict.parse(data, where), where)


def checked(
    content: Any, name: str, *, file: Path, told: str, is_absolute: Callable[[str], bool] = os.path.isabs
) -> Database:
    """As ``load``, of what ``file`` is to hold; a message names the database as ``told``."""
    return _database(content, Where(name, file, told, "", is_absolute))


def _database(content: Any, where: Where) -> Database:
    values = strict.settings(content, KEYS, where, _check_together)
    return Database(where.name, where.file, {**values, "name": where.name})


def _check_together(values: Mapping[str, Any], where: Where) -> None:
    if sum(values[each] is not None for each in urls.WAYS) != 1:
        wrong = ": exactly one of them must be given"
        raise where.error(urls.told_ways(), wrong, hint="Omit one, or add one.")
    if values["name"] not in (None, where.name):
        wrong = f" is {values['name']!r}, it must be that of the file"
        raise where.error("name", wrong, hint="Rename the file, or omit the key name.")
    strict.check_key("timeout", lambda: options.timeout(values), where)
    for name in retention.COUNTS:
        strict.check_key(name, functools.partial(options.count, values, name), where)
    strict.check_key("due", lambda: schedule.requested(values), where)
    strict.check_key("include", lambda: include.requested(values["include"]), where)
    if values["database_url"] is not None:
        chdir = options.path(values, "chdir")
        strict.check_key("database_url", lambda: urls.path(values["database_url"], chdir=chdir), where)


def mistakes(given: Options) -> Iterator[tuple[str, EngineError]]:
    """The keys of a configured database with which every run would fail, whatever the host, each with why.

    No file is looked at, and what only this host lacks is not a mistake: a run may be meant for another one.
    """
    policy = prune.requested(given).policy
    checks: dict[str, Callable[[], object]] = {
        "compression_level": lambda: codec.check_wanted_level(given["compression"], given["compression_level"]),
        "encryption": doing("Cannot encrypt")(lambda: encryption.requested(given["encryption"]).check_options()),
        "include": lambda: included.check(include.requested(given["include"])),
        "keep_*": lambda: retention.check_rules(policy),
        "timezone": lambda: clock.zone(policy.timezone),
        "due": lambda: schedule.requested(given),
    }
    for key, check in checks.items():
        try:
            check()
        except ProgramMissingError:
            continue
        except EngineError as error:
            yield key, error
