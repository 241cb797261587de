# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say that what is held apart is meant: it counts again, and retention goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import identity, published
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..system import clock, interrupts, options
from ..system.errors import doing
from ..system.options import Options


@dataclass(frozen=True)
class Request:
    """Of which repository it is said, and how long its lock may be waited for."""

    repository: Path
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS


def requested(given: Options) -> Request:
    return Request(Path(given["repository"]), options.seconds(given, "lock_timeout") or 0.0)


@dataclass
class Outcome:
    """What a run did, or in check mode would do: ``accepted``, oldest first, ``held`` says why each was apart."""

    accepted: list[str] = field(default_factory=list)
    held: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        return bool(self.accepted)

    def to_json(self) -> dict[str, Any]:
        """For programs, as the runner answers."""
        return {"accepted": self.accepted, "held": self.held}


def run(request: Request, *, dry_run: bool = False) -> Outcome:
    """Accept every backup that is held apart; nothing to do where there is none."""
    with doing(f"Cannot acknowledge what is held apart in {request.repository}"):
        repository = Repository.open_existing(request.repository)
        locked = repository.locked(timeout_seconds=request.lock_timeout_seconds, dry_run=dry_run)
        with locked, interrupts.Shield() as shield:
            standing = identity.Standing(repository.identity_path(), published.own(repository.backups()))
            newest_first = standing.to_accept()
            held = {each.id: each.held for each in reversed(newest_first)}
            outcome = Outcome(list(held), held)
            if newest_first and not dry_run:
                shield.begin()
                for each in newest_first:
                    repository.accept(each, clock.now())
                told = {"backup": newest_first[0].id, "accepted": outcome.accepted, "outcome": "passed"}
                outcome.warnings.extend(repository.record_done("accept", **told))
        shield.deliver()
    return outcome
