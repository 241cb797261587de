# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which of the configured databases a command is for, and what else is configured on this host."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..system import owners
from ..system.errors import EngineError, UsageError
from . import config, strict

# These show everything that is configured when no name is given; the others must be told.
SHOWING = ("list", "status", "doctor")
OF_NONE = ("serve", "demo")
OF_PATHS = ("discover",)
OF_ONE = (
    *("restore", "find-good", "compare", "extract", "export", "import", "guard", "pin", "unpin", "acknowledge", "pull"),
    "try",
)


@dataclass(frozen=True)
class Other:
    """A configuration of this host that the command does not look at."""

    directory: str
    user: str

    def line(self, *words: str) -> str:
        """How to have a command with these words look there."""
        end = words.index("--") if "--" in words else len(words)
        there = (*words[:end], "--config", self.directory, *words[end:])
        asked = " ".join(map(shlex.quote, ("sqlite-backup", *there)))
        return f"Also configured: {self.directory} (user {self.user}): {asked}"


def others(given: str | None) -> list[Other]:
    """Configurations for single users that are not looked at; none when the directory was chosen.

    Root hears of all, another user of its own. They are only named: to run in what belongs to somebody else is for
    whoever asks for it.
    """
    if config.is_chosen(given):
        return []
    found = []
    for path in sorted(config.SYSTEM.parent.glob(f"{config.SYSTEM.name}-*")):
        status = os.lstat(path)
        if stat.S_ISDIR(status.st_mode) and _concerns_us(status) and _has_any(path):
            found.append(Other(str(path), owners.ownership(status)[0]))
    return found


def _concerns_us(status: os.stat_result) -> bool:
    user = getattr(os, "geteuid", lambda: -1)()
    return user in (0, status.st_uid)


def _has_any(path: Path) -> bool:
    """Whether a database is configured there; what cannot be looked into is worth a word, too."""
    try:
        return bool(config.names(path))
    except EngineError:
        return True


def databases(
    asked: Sequence[str], directory: Path, *, command: str, everything: bool, also: Sequence[str] = ()
) -> list[str]:
    """The names to work on, in the order given, each once; raises before anything is done when one is unknown.

    ``also`` are lines about what is configured elsewhere.
    """
    known = config.names(directory) if command != "try" else list(asked)
    for name in asked:
        if name not in known:
            message = f"No database {name!r} is configured in {directory}."
            raise UsageError(message, hint="\n".join((_meant(name, known), *also)))
    if asked and not everything:
        chosen = list(dict.fromkeys(asked))
        if command in OF_ONE and len(chosen) > 1:
            raise UsageError(f"{command} takes one database, here are {', '.join(chosen)}.", hint="Name one of them.")
        return chosen
    if asked:
        raise UsageError("Both names and --all are given.", hint="Give one of them.")
    if command == "try":
        raise UsageError("Which database to try?", hint="Name it; it need not be configured yet.")
    if not known:
        hint = "\n".join(("Name another directory with --config, or configure one.", *also))
        raise UsageError(f"No database is configured in {directory}.", hint=hint)
    if everything or command in SHOWING:
        return known
    choice = "Name one" if command in OF_ONE else "Name one, or give --all"
    raise UsageError(f"Which database to {command}?", hint=f"{choice}: {', '.join(known)}.")


def _meant(name: str, known: Sequence[str]) -> str:
    near = strict.nearest(name, known)
    if not known:
        return "Nothing is configured there. Name another directory with --config, or configure it."
    listed = f"Configured: {', '.join(known)}."
    return f"{near} {listed}" if near.startswith("Did") else listed
