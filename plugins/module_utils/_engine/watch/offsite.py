# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well the copy of a repository at a target is, from the audit log alone: nothing is asked of the target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..system import clock

PUSH, PULL, PRUNE = EVENTS = ("push", "pull", "prune target")
Event = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """What is known of the target ``name``: its ``newest`` backup, how old its data is, and what failed last.

    ``behind_seconds`` is None when nothing was ever pushed there, ``rpo_met`` when no RPO is asked for.
    """

    name: str
    newest: str | None
    behind_seconds: int | None
    rpo_seconds: float | None
    failure: str | None

    @property
    def rpo_met(self) -> bool | None:
        if self.rpo_seconds is None:
            return None
        return self.behind_seconds is not None and self.behind_seconds <= self.rpo_seconds

    def to_json(self) -> dict[str, Any]:
        """For programs, as the runner answers."""
        facts = {"name": self.name, "newest": self.newest, "behind_seconds": self.behind_seconds}
        point = None
        if self.behind_seconds is not None:
            point = clock.to_text(clock.now() - timedelta(seconds=self.behind_seconds))
        objective = {"rpo_seconds": self.rpo_seconds, "rpo_met": self.rpo_met}
        return {**facts, "recovery_point": point, **objective, "failure": self.failure}


def age_seconds(backup: Backup) -> int:
    """How old the data in ``backup`` is: since it was made, or last found to be current."""
    return max(0, int((clock.now() - max(backup.moments)).total_seconds()))


def standing(
    backups: Sequence[Backup], events: Sequence[Event], name: str, rpo_seconds: float | None = None
) -> Standing:
    """The standing of the target ``name``; ``backups`` and ``events`` are those of the repository, oldest first."""
    pushes = [each for each in events if each.get("event") == PUSH and each.get("target") == name]
    told = (each.get("backup") for each in reversed(pushes) if each.get("backup") or each.get("outcome") == "passed")
    newest = next((str(each) if each else None for each in told), None)
    failure = str(pushes[-1].get("message")) if pushes and pushes[-1].get("outcome") == "failed" else None
    return Standing(name, newest, _behind(newest, backups), rpo_seconds, failure)


def _behind(newest: str | None, backups: Sequence[Backup]) -> int | None:
    known = next((each for each in backups if each.id == newest and each.moments), None)
    if known is not None:
        return age_seconds(known)
    if newest is not None and published.ID.fullmatch(newest):
        # It went here, and is there: its name says when it began. The owner of the log may write there what he likes.
        with contextlib.suppress(ValueError):
            began = datetime.strptime(newest[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
            return max(0, int((clock.now() - began).total_seconds()))
    return None


def told(found: Sequence[Standing]) -> Iterator[tuple[bool, str, str]]:
    """For each target that is not well: whether more could be lost than is allowed, a sentence, and what to do."""
    for each in found:
        hint = f"See why, then: push --target {each.name}. doctor tries what may be done there."
        if each.failure is not None:
            yield False, f"The last push to {each.name} failed: {each.failure.rstrip('.')}.", hint
        if each.rpo_met is False:
            age = "holds nothing" if each.behind_seconds is None else f"is {clock.in_words(each.behind_seconds)} behind"
            yield True, f"The target {each.name} {age}, its RPO is {clock.in_words(each.rpo_seconds or 0)}.", hint
        elif each.behind_seconds is None and each.failure is None:
            yield False, f"Nothing was pushed to the target {each.name} yet.", hint
