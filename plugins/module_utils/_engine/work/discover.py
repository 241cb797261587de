# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the databases of a host, and say of each whether it is backed up, or is not on purpose."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..repository import description, include, published
from ..repository.manifest import CONTENT_NAMES
from ..sqlite import search
from ..sqlite.kept import Form
from ..sqlite.search import File, Found, Reached, Wanted
from ..system import clock, files, mounts, options, owners, places, rights
from ..system.clock import Deadline
from ..system.errors import EngineError, SourceMissingError, UsageError, doing
from ..system.options import Options

DEFAULT_LIMIT = 1000
DEFAULT_TIMEOUT = "5m"
DECLARED, IGNORED, UNDECLARED = "declared", "ignored", "undeclared"
STATES = (UNDECLARED, IGNORED, DECLARED)
"""What is worth a look first."""
_MOST_NAMED, _MOST_LISTED = 5, 1000
_COPIES = (
    rf"(?:{published.ID.pattern})/(?:{re.escape(CONTENT_NAMES['full'])}|{include.DIRECTORY}/.+)"
    rf"|{re.escape(description.STAGING_PREFIX)}[^/]+/.+"
)
REPOSITORIES = Form(description.NAME, description.is_right, re.compile(_COPIES, re.DOTALL))
"""How a search tells repositories, and the databases in them."""


@dataclass(frozen=True)
class Declared:
    """A database that is configured on this host, by root or whoever asks, or by the user ``uid``."""

    path: Path
    name: str
    repository: Path
    uid: int | None = None


@dataclass(frozen=True)
class Ignored:
    """What is not backed up on purpose: paths with ``*`` and ``?``, and why; with ``uid`` only what that user owns."""

    path: str
    reason: str
    uid: int | None = None

    def means(self, path: str, uid: int | None = None) -> bool:
        """Whether the file or directory ``path`` of ``uid`` is meant, itself or with all that is around it."""
        if self.uid not in (None, uid):
            return False
        return fnmatch.fnmatch(path, self.path) or fnmatch.fnmatch(path, f"{self.path}{os.sep}*")


@dataclass(frozen=True)
class Request:
    """Where to look and for what; the options of the module ``sqlite_discover_info`` with the same names."""

    paths: tuple[Path, ...]
    exclude: tuple[str, ...] = ()
    ignored: tuple[Ignored, ...] = ()
    cross_filesystems: bool = False
    limit: int = DEFAULT_LIMIT
    timeout_seconds: float | None = None


def requested(given: Options) -> Request:
    with doing("Cannot look for databases"):
        paths = [Path(os.path.abspath(each)) for each in given["paths"]]
        if not paths:
            raise UsageError("no path is given.", hint="Name the directories to look in.")
        limit = options.count(given, "limit")
        if not limit:
            raise UsageError("limit is 0.", hint="Use 1 or more.")
        return Request(
            tuple(dict.fromkeys(paths)),
            tuple(_pattern(each) for each in given["exclude"] or ()),
            ignored(given["ignored"] or ()),
            given["cross_filesystems"],
            limit,
            options.timeout(given),
        )


def ignored(given: Sequence[Mapping[str, Any]]) -> tuple[Ignored, ...]:
    """Raises ``UsageError`` for one without a reason: whoever reads it later must know why."""
    for each in given:
        if not each["reason"].strip():
            raise UsageError(f"{each['path']} is ignored for no reason.", hint="Say why it is not backed up.")
    return tuple(Ignored(_pattern(each["path"]), each["reason"].strip()) for each in given)


def _pattern(text: str) -> str:
    """``text`` for ``fnmatch``, which knows more than ``*`` and ``?``; a directory means all that is in it, too."""
    if not os.path.isabs(text) and not text.startswith("*"):
        raise UsageError(f"{text!r} is no absolute path.", hint="Begin it with / or *.")
    return (text.rstrip("/" + os.sep) or os.sep).replace("[", "[[]")


@dataclass
class Outcome:
    """What was found at each path, in order; ``undeclared`` and so on are those of all.

    ``gaps`` say of each path what was not looked at, as sentences without an end.
    """

    found: dict[Path, Found] = field(default_factory=dict)
    databases: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
    gaps: dict[Path, list[str]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def undeclared(self) -> list[str]:
        return [each["path"] for each in self.all if each["state"] == UNDECLARED]

    @property
    def all(self) -> list[dict[str, Any]]:
        return [each for found in self.databases.values() for each in found]

    def at(self, path: Path) -> dict[str, Any]:
        """What was found at one path, as plain values."""
        found = self.found[path]
        return {
            "databases": self.databases[path],
            "repositories": [str(each) for each in found.repositories[:_MOST_LISTED]],
            "kept": [str(each) for each in found.kept[:_MOST_LISTED]],
            "copies": found.copies,
            "files": found.files,
            "complete": not self.gaps[path],
            "gaps": self.gaps[path],
        }

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        each = [self.at(path) for path in self.found]
        lists = {name: [one for some in each for one in some[name]] for name in ("repositories", "kept", "gaps")}
        sums = {name: sum(some[name] for some in each) for name in ("copies", "files")}
        complete = all(some["complete"] for some in each)
        return {"databases": self.all, "undeclared": self.undeclared, **lists, **sums, "complete": complete}


def run(request: Request, declared: Sequence[Declared]) -> Outcome:
    """Look at every path, and once at what is below two of them.

    Nothing is opened but what may be a database, and of that 16 bytes are read, and files that tell repositories.
    """
    outcome = Outcome()
    names = _by_number(declared, outcome.warnings)
    deadline, reached, found = Deadline(request.timeout_seconds), Reached(), {}
    left = request.limit
    # What is around another one comes first: that is then looked at itself, if it was not reached.
    for path in sorted(request.paths, key=_depth):
        with doing(f"Cannot look for databases in {path}"):
            try:
                wanted = Wanted(path, REPOSITORIES, request.exclude, request.cross_filesystems, left)
                there = search.find(wanted, deadline, reached)
            except (FileNotFoundError, NotADirectoryError):
                raise SourceMissingError("it does not exist.", hint="Correct the path.") from None
        if there is not None:
            left = max(0, left - len(there.databases))
            found[path] = there
    for path in filter(found.__contains__, request.paths):
        there = outcome.found[path] = found[path]
        described = [_described(each, names, request.ignored) for each in there.databases]
        outcome.databases[path] = sorted(described, key=lambda each: str(each["path"]))
        outcome.gaps[path] = _gaps(path, there, reached, request.ignored)
        outcome.warnings.extend([*outcome.gaps[path], *_doubts(path, there)])
    return outcome


def _depth(path: Path) -> int:
    """In how many directories it is, once no link is on the way."""
    with doing(f"Cannot look for databases in {path}"):
        try:
            return len(places.resolved(path).parts)
        except (FileNotFoundError, NotADirectoryError):
            raise SourceMissingError("it does not exist.", hint="Correct the path.") from None


def _by_number(declared: Sequence[Declared], warnings: list[str]) -> dict[tuple[int, int], Declared]:
    """What is declared, by device and inode; a warning tells what a user declares who cannot back it up."""
    found = {}
    for each in declared:
        try:
            status = os.stat(each.path) if each.uid is None else rights.readable(each.path, each.uid)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError, EngineError) as error:
            if each.uid is not None:
                user = owners.name_of_user(each.uid) or str(each.uid)
                why = "cannot read it" if isinstance(error, PermissionError) else f"cannot be told to read it: {error}"
                warnings.append(f"{each.path} does not count as declared by {each.name}: the user {user} {why}")
            continue
        # Of two, the one that needs no leave.
        if each.uid is None or (status.st_dev, status.st_ino) not in found:
            found[status.st_dev, status.st_ino] = each
    return found


def _described(file: File, names: Mapping[tuple[int, int], Declared], known: Sequence[Ignored]) -> dict[str, Any]:
    status, path = file.status, str(file.path)
    declared = names.get((status.st_dev, status.st_ino))
    reason = next((each.reason for each in known if each.means(path, status.st_uid)), "")
    return {
        "path": path,
        "state": DECLARED if declared else IGNORED if reason else UNDECLARED,
        "name": declared.name if declared else "",
        "repository": str(declared.repository) if declared else "",
        "reason": "" if declared else reason,
        "bytes": status.st_size,
        "modified": _moment(status.st_mtime),
        "owner": owners.ownership(status)[0],
        "wal": file.wal,
        "journal": file.journal,
    }


def _moment(seconds: float) -> str:
    """Empty for a time that its owner made up."""
    try:
        return clock.to_text(datetime.fromtimestamp(seconds, timezone.utc))
    except (ValueError, OverflowError, OSError):
        return ""


def _gaps(path: Path, found: Found, reached: Reached, known: Sequence[Ignored]) -> list[str]:
    """What was not looked at, and is not ignored as a whole."""
    gaps = []
    if not found.complete:
        gaps.append(f"not all of {path} was looked at: the limit or the timeout was reached")
    elsewhere = [
        place
        for place, number in found.elsewhere.items()
        if number not in reached.directories and mounts.is_lasting(mounts.filesystem_of(place))
    ]
    for places_left, what in ((found.unreadable, "could not be read"), (elsewhere, "are on other filesystems")):
        meant = [each for each in places_left if not any(one.means(str(each)) for one in known)]
        if meant:
            gaps.append(f"in {path}, {files.counted(len(meant), 'place')} {what} and were left out: {named(meant)}")
    return gaps


def _doubts(path: Path, found: Found) -> list[str]:
    if not found.doubtful:
        return []
    what = "lie where a repository or a restore has copies, in what others than their owner could have made"
    return [f"in {path}, {files.counted(len(found.doubtful), 'database')} {what}: {named(found.doubtful)}"]


def named(paths: Sequence[Path | str]) -> str:
    """The first of ``paths``, and how many more there are."""
    more = "" if len(paths) <= _MOST_NAMED else f" and {len(paths) - _MOST_NAMED} more"
    return f"{', '.join(sorted(map(str, paths))[:_MOST_NAMED])}{more}"
