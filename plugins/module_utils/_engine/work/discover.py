# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Find the databases of a host, and say of each whether it is backed up, or is not on purpose."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..repository import description
from ..sqlite import search
from ..sqlite.search import File, Wanted
from ..system import clock, files, options, owners
from ..system.clock import Deadline
from ..system.errors import SourceMissingError, UsageError, doing
from ..system.options import Options

DEFAULT_LIMIT = 1000
DEFAULT_TIMEOUT = "5m"
DECLARED, IGNORED, UNDECLARED = "declared", "ignored", "undeclared"
STATES = (UNDECLARED, IGNORED, DECLARED)
"""What is worth a look first."""
_MOST_NAMED = 5


@dataclass(frozen=True)
class Declared:
    """A database that is configured on this host."""

    path: Path
    name: str
    repository: Path


@dataclass(frozen=True)
class Ignored:
    """What is not backed up on purpose: paths with ``*`` and ``?``, and why."""

    path: str
    reason: str


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
            # What is below another one is looked at once.
            tuple(each for each in dict.fromkeys(paths) if not set(each.parents) & set(paths)),
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
    """A directory means all that is in it, too."""
    if not os.path.isabs(text) and not text.startswith("*"):
        raise UsageError(f"{text!r} is no absolute path.", hint="Begin it with / or *.")
    return text.rstrip("/" + os.sep) or os.sep


@dataclass
class Outcome:
    """What was found at each path, in order; ``declared`` and so on are those of all."""

    found: dict[Path, search.Found] = field(default_factory=dict)
    databases: dict[Path, list[dict[str, Any]]] = field(default_factory=dict)
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
            "repositories": [str(each) for each in found.repositories],
            "files": found.files,
            "complete": found.complete and not found.unreadable,
        }

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        each = [self.at(path) for path in self.found]
        return {
            "databases": self.all,
            "undeclared": self.undeclared,
            "repositories": [path for one in each for path in one["repositories"]],
            "files": sum(one["files"] for one in each),
            "complete": all(one["complete"] for one in each),
        }


def run(request: Request, declared: Sequence[Declared]) -> Outcome:
    """Look at every path. Nothing is opened but what may be a database, and of that 16 bytes are read."""
    outcome = Outcome()
    names = {number: each for each in declared if (number := _number_of(each.path)) is not None}
    deadline = Deadline(request.timeout_seconds)
    left = request.limit
    for path in request.paths:
        wanted = Wanted(path, description.NAME, request.exclude, request.cross_filesystems, left)
        with doing(f"Cannot look for databases in {path}"):
            try:
                found = search.find(wanted, deadline)
            except (FileNotFoundError, NotADirectoryError):
                raise SourceMissingError("it does not exist.", hint="Correct the path.") from None
        left = max(0, left - len(found.databases))
        outcome.found[path] = found
        described = [_described(each, names, request.ignored) for each in found.databases]
        outcome.databases[path] = sorted(described, key=lambda each: str(each["path"]))
        outcome.warnings.extend(_warnings(path, found))
    return outcome


def _number_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _described(file: File, names: Mapping[tuple[int, int], Declared], known: Sequence[Ignored]) -> dict[str, Any]:
    status, path = file.status, str(file.path)
    declared = names.get((status.st_dev, status.st_ino))
    reason = next((each.reason for each in known if _matches(path, each.path)), "")
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


def _matches(path: str, pattern: str) -> bool:
    return fnmatch.fnmatch(path, pattern) or fnmatch.fnmatch(path, f"{pattern}{os.sep}*")


def _warnings(path: Path, found: search.Found) -> list[str]:
    warnings = []
    if not found.complete:
        warnings.append(f"not all of {path} was looked at: the limit or the timeout was reached")
    for paths, what in ((found.unreadable, "could not be read"), (found.elsewhere, "are on other filesystems")):
        if paths:
            more = "" if len(paths) <= _MOST_NAMED else f" and {len(paths) - _MOST_NAMED} more"
            named = ", ".join(str(each) for each in sorted(paths)[:_MOST_NAMED])
            warnings.append(f"in {path}, {files.counted(len(paths), 'place')} {what} and were left out: {named}{more}")
    return warnings
