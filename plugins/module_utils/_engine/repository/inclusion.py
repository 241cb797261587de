# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked to stand beside an image: files, a Prisma schema, figures, the new part of logs."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from ..system import clock
from ..system.errors import UsageError, doing

FILE, PRISMA_SCHEMA, METRICS, LOGS = "file", "prisma_schema", "metrics", "logs"
KINDS = (FILE, PRISMA_SCHEMA, METRICS, LOGS)
MOVING = (METRICS, LOGS)
"""They change all the time: another content of theirs is no reason to store a backup, and they have no place to go."""
DEFAULT_TIMEOUT = "10s"
DEFAULT_TIMEOUT_SECONDS = 10.0
_TOLD = {FILE: "file to include,", PRISMA_SCHEMA: "Prisma schema", METRICS: "metrics", LOGS: "logs"}
_NAMES = {FILE: "", PRISMA_SCHEMA: "schema.prisma", METRICS: "metrics.txt", LOGS: "logs"}
_LIMITS_MIB = {FILE: 1 << 40, PRISMA_SCHEMA: 4, METRICS: 4, LOGS: 64}
_DEFAULTS = {
    **dict.fromkeys(("src", "name", "redact", "url", "required", "limit_mib")),
    "kind": FILE,
    "timeout": DEFAULT_TIMEOUT,
}
_WILD = re.compile(r"[*?\[]")
# A Prisma schema that nobody gave a name may be stored below the name of the directory that is found, too.
PRISMA_DIRECTORIES = ("prisma", "schema")
_SETTINGS_NAME = ".env"


@dataclass(frozen=True)
class Include:
    """A file or a directory ``src`` to keep as ``name``; ``redact`` keeps names of settings and drops their values.

    Where ``redact`` is None, that is done to what is named like an environment file, and to nothing else.
    Of another ``kind`` it is a Prisma schema, which is looked for without ``src``, figures in a file or at a ``url``,
    or the log files that ``src`` names, with ``*`` and ``?`` in its last part. What is not ``required`` may be missing.
    """

    src: Path | None
    name: str = ""
    redact: bool | None = None
    kind: str = FILE
    url: str = ""
    required: bool = True
    limit_bytes: int = _LIMITS_MIB[FILE] * 1024 * 1024
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    @property
    def told(self) -> str:
        return "the Prisma schema" if self.src is None and not self.url else f"the {_TOLD[self.kind]} {self.src or ''}"

    @property
    def stored_name(self) -> str:
        """What it is stored as, or below; empty when that depends on what is found."""
        if self.name or self.src is None or self.kind == LOGS:
            return checked_name(self.name or _NAMES[self.kind])
        return checked_name(self.src.name)

    @property
    def possible_names(self) -> tuple[str, ...]:
        """Every name that it may be stored as, or below, whatever is found."""
        if self.kind == PRISMA_SCHEMA and not self.name and self.src is None:
            return (self.stored_name, *PRISMA_DIRECTORIES)
        return (self.stored_name,)


def requested(given: Iterable[Mapping[str, Any]]) -> tuple[Include, ...]:
    """What is to be included; raises ``UsageError`` for what does not go together."""
    return tuple(_requested({**_DEFAULTS, **each}) for each in given)


def _requested(given: Mapping[str, Any]) -> Include:
    kind, src, url = given["kind"], given["src"], given["url"] or ""
    with doing(f"Cannot include {src or kind}"):
        if kind != PRISMA_SCHEMA and bool(src) == bool(url):
            raise UsageError("it needs src, or metrics url instead.", hint="Give the one that is meant.")
        if url and kind != METRICS:
            raise UsageError("url is for the kind metrics.", hint="Leave it out.")
        if given["redact"] and kind != FILE:
            raise UsageError("redact is for the kind file.", hint="Leave it out.")
        if kind == LOGS and _WILD.search(os.path.dirname(src)):
            raise UsageError("only the last part may have * and ? in it.", hint="Name each directory.")
        limit_mib = _LIMITS_MIB[kind] if given["limit_mib"] is None else given["limit_mib"]
        if limit_mib < 1:
            raise UsageError(f"limit_mib is {limit_mib}.", hint="Use 1 or more.")
        return Include(
            Path(src) if src else None,
            given["name"] or "",
            given["redact"],
            kind,
            url,
            kind == FILE if given["required"] is None else given["required"],
            limit_mib * 1024 * 1024,
            clock.parse_duration(given["timeout"]),
        )


def apart(wanted: Sequence[Include]) -> tuple[Include, ...]:
    """``wanted``, each that is not required under a name that no other one has, nor a name above or below it.

    What is asked for decides that, never what is found: a name stays the same from one backup to the next. Required
    ones keep their names; that two of them clash is for whoever asked to mend.
    """
    taken = [name for each in wanted if each.required for name in each.possible_names]
    found = []
    for each in wanted:
        one, names = each, each.possible_names
        if not one.required:
            if any(_clash(name, other) for name in names for other in taken):
                one = replace(one, name=_free_name(names[0], taken))
            taken.extend(one.possible_names)
        found.append(one)
    return tuple(found)


def _free_name(name: str, taken: Sequence[str]) -> str:
    """``name`` with a number behind its first part: then it is neither what is taken, nor above or below it."""
    first, sign, rest = name.partition("/")
    numbered = (f"{first}-{number}{sign}{rest}" for number in itertools.count(2))
    return next(each for each in numbered if not any(_clash(each, other) for other in taken))


def _clash(one: str, other: str) -> bool:
    """Whether one is the other, or below it, where a filesystem does not tell capital letters from small ones."""
    a, b = PurePosixPath(one.casefold()), PurePosixPath(other.casefold())
    return a == b or a in b.parents or b in a.parents


def is_environment(name: str) -> bool:
    """Whether a file of this name is taken for one with settings of an application, as ``.env`` and ``.env.local``.

    What an editor leaves beside one begins with the same letters.
    """
    return name.casefold().startswith(_SETTINGS_NAME)


def checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
        raise UsageError(
            f"Cannot include a file as {name!r}.", action="", hint="Use a relative name without '..' and ':'."
        )
    return str(path)
