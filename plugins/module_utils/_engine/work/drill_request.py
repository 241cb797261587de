# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a drill is asked for, from option values, and what it found, as plain values."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS
from ..sealed import encryption
from ..sealed.encryption import NO_KEYS, Keys
from ..sqlite.proof import Check
from ..system import options
from ..system.errors import EngineError, doing
from ..system.options import Options
from ..targets import address
from ..targets.address import Address
from ..watch.recovery import Outlook, Past
from . import content
from .content import NOTHING_EXPECTED, Expectations

LATEST, RANDOM, DUE = "latest", "random", "due"
WEEK_SECONDS = 7 * 86400.0


@dataclass(frozen=True)
class Request:
    """What to restore for trial; the options of the module ``sqlite_restore_drill`` with the same names.

    ``backup`` is an id, ``latest``, ``random`` or ``due``. ``repository`` is where the result is written down, and
    what is restored unless there is a ``target``; ``called`` is what the audit log calls that. ``repeat`` makes of an
    id the command that does this drill again.
    """

    repository: Path | None
    backup: str = LATEST
    name: str = ""
    target: Address | None = None
    called: str = ""
    rto_seconds: float | None = None
    rpo_seconds: float | None = None
    expectations: Expectations = NOTHING_EXPECTED
    scratch_dir: Path | None = None
    every_seconds: float = WEEK_SECONDS
    prove_within_seconds: float = 4 * WEEK_SECONDS
    keys: Keys = NO_KEYS
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    repeat: Callable[[str], str] = field(default=lambda identity: f"--backup {identity}")


def requested(given: Options) -> Request:
    with doing("Cannot use the target"):
        there = address.requested(given["target"]) if given["target"] is not None else None
    return Request(
        repository=options.path(given, "repository"),
        backup=given["backup"],
        name=options.text(given, "name"),
        target=there,
        rto_seconds=options.seconds(given, "rto"),
        rpo_seconds=options.seconds(given, "rpo"),
        expectations=content.expected(given, "full"),
        scratch_dir=options.path(given, "scratch_dir"),
        every_seconds=options.seconds(given, "every") or 0.0,
        prove_within_seconds=options.seconds(given, "prove_within") or 0.0,
        keys=encryption.keys(given),
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
    )


@dataclass
class Drill:
    """One drill. ``outcome`` is passed, failed or inconclusive, and empty in check mode; ``error`` what to fail with.

    ``backup`` is empty when none could be chosen. ``rto_seconds`` is the time from nothing to a database that gave its
    answers; ``rpo_seconds`` the age of what the newest good backup there holds. None is what could not be had, or what
    nothing was asked for. ``proven`` and ``not_proven`` are sentences, ``history`` the drills until now, oldest first.
    """

    name: str
    place: str
    backup: str = ""
    outcome: str = ""
    host: str = field(default_factory=socket.gethostname)
    created: str = ""
    started: str = ""
    database_bytes: int | None = None
    stored_bytes: int | None = None
    rto_seconds: float | None = None
    rto_target_seconds: float | None = None
    rpo_seconds: int | None = None
    rpo_target_seconds: float | None = None
    durations: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    outlook: Outlook | None = None
    proven: list[str] = field(default_factory=list)
    not_proven: list[str] = field(default_factory=list)
    command: str = ""
    error: EngineError | None = None
    warnings: list[str] = field(default_factory=list)
    history: Sequence[Past] = ()

    @property
    def rto_met(self) -> bool | None:
        return _is_met(self.rto_seconds, self.rto_target_seconds)

    @property
    def rpo_met(self) -> bool | None:
        return _is_met(self.rpo_seconds, self.rpo_target_seconds)

    @property
    def bytes_per_second(self) -> int | None:
        return round(self.database_bytes / self.rto_seconds) if self.database_bytes and self.rto_seconds else None

    def to_json(self) -> dict[str, Any]:
        """For programs, as the runner and the module answer."""
        plain = (
            *("outcome", "name", "host", "backup", "created", "started", "database_bytes", "stored_bytes"),
            *("rto_seconds", "rto_target_seconds", "rto_met", "rpo_seconds", "rpo_target_seconds", "rpo_met"),
            *("durations", "bytes_per_second", "proven", "not_proven", "command", "warnings"),
        )
        return {
            **{name: getattr(self, name) for name in plain},
            "from": self.place,
            "checks": [each.to_json() for each in self.checks],
            "forecast": asdict(self.outlook) if self.outlook else None,
            "error": {**self.error.to_json(), "message": self.error.message} if self.error else None,
            "history": [each.to_json() for each in self.history],
        }


def _is_met(measured: float | None, objective: float | None) -> bool | None:
    return None if measured is None or objective is None else measured <= objective
