# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Database URLs, as applications have them, and the files that they name."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

from ..system import options
from ..system.errors import RefusedError, SourceMissingError, UsageError, doing
from ..system.options import Options
from . import dotenv

WAYS = ("path", "database_url", "env_file")
"""The options that name a database; exactly one of them does."""
ENV_KEY = "DATABASE_URL"


def told_ways() -> str:
    return f"{', '.join(WAYS[:-1])} and {WAYS[-1]}"


def path(url: str, *, chdir: Path | None = None, told: str = "") -> Path:
    """The file that a database URL names; nothing is looked at.

    Understood are ``file:./agent.db?connection_limit=1`` as Prisma writes it, ``file:///srv/agent.db``, and
    ``sqlite:///relative.db`` and ``sqlite:////srv/agent.db`` as SQLAlchemy writes them. Behind ``file:`` the name is
    taken as it is, up to the first ``?``, as Prisma takes it. Behind ``file://`` and ``sqlite:`` it is decoded, and a
    ``#`` ends it, too.
    A relative path counts from ``chdir`` (for Prisma: the directory of ``schema.prisma``). Raises ``UsageError`` for
    anything else; ``told`` is what it begins with where the URL is a secret.
    """
    with doing(told or f"Cannot use the database URL {url!r}"):
        scheme, name, _other = _split_url(url)
        return _named(scheme, name, chdir)


def found(url: str, *, chdir: Path | None = None, must_exist: bool = False, told: str = "") -> Path:
    """As ``path``, but raises when the URL, read the other way, names another file, and that one exists.

    With both on the disk it is a ``UsageError``; with only the other one a ``SourceMissingError``, if ``must_exist``.
    """
    first = path(url, chdir=chdir, told=told)
    scheme, _name, other_name = _split_url(url)
    try:
        other = _named(scheme, other_name, chdir)
    except UsageError:
        return first
    if not os.path.lexists(other) or (os.path.lexists(first) and _is_same(first, other)):
        return first
    with doing(told or f"Cannot use the database URL {url!r}"):
        if os.path.lexists(first):
            raise UsageError(f"it may mean {first} or {other}, and both exist.", hint="Name the right one with path.")
        if must_exist:
            raise SourceMissingError(
                f"{first} does not exist, but {other} does.", hint="If that is the database, name it with path."
            )
    return first


def requested(given: Options, *, must_exist: bool = False) -> Path:
    """The database that ``path`` names, or else a URL, in ``database_url`` or in the application's ``env_file``.

    Raises when that URL may mean another one.
    """
    named = options.path(given, "path")
    if named is not None:
        return named
    chdir = options.path(given, "chdir")
    file = options.path(given, "env_file")
    if file is None:
        return found(given["database_url"], chdir=chdir, must_exist=must_exist)
    told = f"Cannot use {given['env_key']} of {file}"
    setting = dotenv.lookup(file, given["env_key"])
    named = found(setting.value, chdir=chdir, must_exist=must_exist, told=told)
    with doing(told):
        _check_owner(setting.uid, named)
    return named


def _check_owner(owner: int, named: Path) -> None:
    """Raise when the file of a user names what is not that user's: root would read and replace it."""
    if sys.platform == "win32" or os.geteuid() != 0 or owner == 0:
        return
    try:
        there = os.stat(named)
    except FileNotFoundError:
        there = os.stat(named.parent)
    if owner != there.st_uid:
        raise RefusedError(
            "the file belongs to a user, and what it names does not.",
            hint="Find out why, or name the database with path.",
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False


def _split_url(url: str) -> tuple[str, str, str]:
    """The scheme, the name that the URL gives, and the name that it would give read the other way."""
    match = re.fullmatch(r"(file|sqlite3?):(.*)", url, re.DOTALL)
    if not match:
        raise UsageError(
            "it does not start with file: or sqlite:.",
            hint="Only SQLite databases can be backed up.",
        )
    plain = match[2].split("?", 1)[0]
    decoded = unquote(plain.split("#", 1)[0], errors="surrogateescape")
    as_prisma = match[1] == "file" and not plain.startswith("//")
    return (match[1], plain, decoded) if as_prisma else (match[1], decoded, plain)


def _named(scheme: str, name: str, chdir: Path | None) -> Path:
    if scheme == "file":
        host = re.match(r"//([^/]*)", name)
        if host and host[1] not in ("", "localhost"):
            raise UsageError(
                "it names another host.",
                hint="Write file:///absolute.db.",
            )
        name = name[host.end() :] if host else name
        if os.name == "nt" and re.match("/[A-Za-z]:", name):
            name = name[1:]
    elif not name.startswith("///"):
        raise UsageError(
            "three slashes must stand behind sqlite:.",
            hint="Write sqlite:///relative.db or sqlite:////absolute.db.",
        )
    else:
        name = name[3:]
    if not name or "\0" in name or name == ":memory:":
        raise UsageError("it names no file.", hint="Name a database on disk.")
    if not os.path.isabs(name) and chdir is None:
        raise UsageError(
            "its path is relative.",
            hint="Set chdir, or write an absolute path.",
        )
    return Path(os.path.abspath(Path(chdir or "/", name)))
