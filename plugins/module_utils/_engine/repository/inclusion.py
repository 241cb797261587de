# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked to stand beside an image: files, a Prisma schema, figures, the new part of logs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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
    **dict.fromkeys(("src", "name", "url", "required", "limit_mib")),
    "kind": FILE,
    "redact": False,
    "timeout": DEFAULT_TIMEOUT,
}
_WILD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Include:
    """A file or a directory ``src`` to keep as ``name``; ``redact`` keeps names of settings and drops their values.

    Of another ``kind`` it is a Prisma schema, which is looked for without ``src``, figures in a file or at a ``url``,
    or the log files that ``src`` names, with ``*`` and ``?`` in its last part. What is not ``required`` may be missing.
    """

    src: Path | None
    name: str = ""
    redact: bool = False
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


def checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
        raise UsageError(
            f"Cannot include a file as {name!r}.", action="", hint="Use a relative name without '..' and ':'."
        )
    return str(path)
