# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Database URLs, as applications have them, and the files that they name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from ..system.errors import SourceMissingError, UsageError


def path(url: str, *, chdir: Path | None = None) -> Path:
    """The file that a database URL names; nothing is looked at.

    Understood are ``file:./agent.db?connection_limit=1`` as Prisma writes it, ``file:///srv/agent.db``, and
    ``sqlite:///relative.db`` and ``sqlite:////srv/agent.db`` as SQLAlchemy writes them. Behind ``file:`` the name is
    taken as it is, up to the first ``?``, as Prisma takes it. Behind ``file://`` and ``sqlite:`` it is decoded, and a
    ``#`` ends it, too.
    A relative path counts from ``chdir`` (for Prisma: the directory of ``schema.prisma``). Raises ``UsageError`` for
    anything else.
    """
    scheme, name, _other = _split_url(url)
    return _named(url, scheme, name, chdir)


def found(url: str, *, chdir: Path | None = None, must_exist: bool = False) -> Path:
    """As ``path``, but raises when the URL, read the other way, names another file, and that one exists.

    With both on the disk it is a ``UsageError``; with only the other one a ``SourceMissingError``, if ``must_exist``.
    """
    first = path(url, chdir=chdir)
    scheme, _name, other_name = _split_url(url)
    try:
        other = _named(url, scheme, other_name, chdir)
    except UsageError:
        return first
    if not os.path.lexists(other) or (os.path.lexists(first) and _is_same(first, other)):
        return first
    if os.path.lexists(first):
        raise UsageError(
            f"Cannot use the database URL {url!r}: it may mean {first} or {other}, and both exist.",
            hint="Name the right one with path.",
        )
    if must_exist:
        raise SourceMissingError(
            f"Cannot use the database URL {url!r}: {first} does not exist, but {other} does.",
            hint="If that is the database, name it with path.",
        )
    return first


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
            f"Cannot use the database URL {url!r}: it does not start with file: or sqlite:.",
            hint="Only SQLite databases can be backed up.",
        )
    plain = match[2].split("?", 1)[0]
    decoded = unquote(plain.split("#", 1)[0], errors="surrogateescape")
    as_prisma = match[1] == "file" and not plain.startswith("//")
    return (match[1], plain, decoded) if as_prisma else (match[1], decoded, plain)


def _named(url: str, scheme: str, name: str, chdir: Path | None) -> Path:
    if scheme == "file":
        host = re.match(r"//([^/]*)", name)
        if host and host[1] not in ("", "localhost"):
            raise UsageError(
                f"Cannot use the database URL {url!r}: it names another host.", hint="Write file:///absolute.db."
            )
        name = name[host.end() :] if host else name
    elif not name.startswith("///"):
        raise UsageError(
            f"Cannot use the database URL {url!r}.", hint="Write sqlite:///relative.db or sqlite:////absolute.db."
        )
    else:
        name = name[3:]
    if not name or "\0" in name or name == ":memory:":
        raise UsageError(f"Cannot use the database URL {url!r}: it names no file.", hint="Name a database on disk.")
    if not os.path.isabs(name) and chdir is None:
        raise UsageError(
            f"Cannot use the database URL {url!r}: its path is relative.", hint="Set chdir, or write an absolute path."
        )
    return Path(os.path.abspath(Path(chdir or "/", name)))
