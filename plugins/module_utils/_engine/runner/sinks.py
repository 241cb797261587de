# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of a run on this host: those that its configuration names, ready to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system.aside import Job
from .watch_config import Watch

Observation = Mapping[str, Any]
"""A database as ``status`` answers of it."""
Run = Mapping[str, Any]
"""What is done, or was: command, phase, id, started, and at its end what came of it."""


@dataclass(frozen=True)
class Sink:
    """Somebody who is told at the end of a run; ``name`` is what a warning calls it, ``close`` is called in any case.

    ``tell`` raises for what kept it from that. It may be ended anywhere when it is late.
    """

    name: str
    tell: Callable[[Observation, Run], None]
    close: Callable[[], None] = field(default=lambda: None)


def ending(watch: Watch, directory: Path, name: str, run: Run) -> list[Sink]:  # noqa: ARG001
    """Everybody who is told of the end of ``run``, which begins now, on the database ``name``."""
    return []


def starting(watch: Watch, name: str, run: Run) -> dict[str, Job]:  # noqa: ARG001
    """Everybody who is told that ``run`` begins, by what a warning calls them."""
    return {}
