# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well a repository is: one state, and every reason for it, from what can be read there without a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..repository import published
from ..repository.published import Backup
from ..sqlite.proof import FAILED, PASSED
from ..system import clock, errors
from ..system.errors import BackupDamagedError, EngineError, PartialError, SourceCorruptError, Way
from . import offsite, recovery
from .offsite import Standing

OK, DEGRADED, FAILING, MISSED = STATES = ("ok", "degraded", "failing", "missed")
"""From good to bad: something to look at; the last run failed or did not come; more could be lost than allowed."""

# By so much the clocks of two hosts that use one repository, or one that is being set, may differ.
_CLOCK = timedelta(seconds=60)
_LONG_UNREAD = timedelta(days=30)
_LONG_PINNED = timedelta(days=365)
_GREATEST_CODE = 255

Event = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """Why a repository is in ``state``: ``text`` is a sentence, ``hint`` and ``way`` what to do about it.

    One of the state ``ok`` is worth a word and no more.
    """

    state: str
    text: str
    hint: str = ""
    way: Way | None = None


@dataclass(frozen=True)
class Health:
    """``age_seconds`` is how old the data is that a restore is known to bring back; None without a verified backup.

    ``rpo_met`` is None when no RPO is asked for. ``last_failure`` is the newest failure in the audit log, unless a
    backup succeeded since, or for a prune another one. The worst reason is the first.
    """

    age_seconds: int | None
    rpo_met: bool | None
    last_failure: dict[str, Any] | None
    reasons: Sequence[Reason]

    @property
    def state(self) -> str:
        return self.reasons[0].state if self.reasons else OK


def judge(
    backups: Sequence[Backup],
    events: Sequence[Event],
    warnings: Sequence[str] = (),
    *,
    rpo_seconds: float | None = None,
    due: datetime | None = None,
    targets: Sequence[Standing] = (),
    drills_every_seconds: float | None = None,
) -> Health:
    """The health of a repository with these ``backups`` and this audit log, both oldest first.

    ``warnings`` are what the repository says of itself. At ``due`` a run began, whose backup must be there by now.
    Where drills are scheduled, one comes ``drills_every_seconds``.
    """
    drills = recovery.past(events)
    # What is off-site is told of each target, and a drill of what it found.
    events = [each for each in events if each.get("event") not in (*offsite.EVENTS, recovery.DRILL)]
    now = clock.now()
    backups = published.own(backups)
    newest, age_seconds = _newest_verified(backups, now)
    rpo_met = None if rpo_seconds is None else age_seconds is not None and age_seconds <= rpo_seconds
    failure = last_failure(events)
    # A verification is told of by what it found: it must not hide a run that failed before it.
    failed_run = last_failure([each for each in events if each.get("event") != "verify"])
    reasons = [
        *_of_objective(age_seconds, rpo_seconds, failed_run),
        *_of_last_run(failed_run),
        *_of_schedule(backups, events, due, now),
        *(Reason(DEGRADED, errors.sentence(each)) for each in warnings),
        *_of_what_is_held(backups),
        *_of_damage(backups),
        *_of_lost_notes(backups, events),
        *_of_clock(backups, now),
        *_of_age(newest, now),
        *_of_pins(backups, now),
        *(Reason(DEGRADED, text, hint) for text, hint in recovery.told(drills, backups, drills_every_seconds)),
        *(Reason(MISSED if missed else DEGRADED, text, hint) for missed, text, hint in offsite.told(targets)),
    ]
    reasons.sort(key=lambda each: -STATES.index(each.state))
    return Health(age_seconds, rpo_met, failure, reasons)


def _newest_verified(backups: Sequence[Backup], now: datetime) -> tuple[Backup | None, int | None]:
    """The newest verified backup, by order and not by its time, and its age in seconds.

    A time from the future, when a clock was ahead, tells nothing: it must not hide that no backup came since.
    """
    for each in reversed(backups):
        moments = [moment for moment in each.moments if moment <= now + _CLOCK] if each.verified else []
        if moments:
            return each, max(0, int((now - max(moments)).total_seconds()))
    return None, None


def _of_objective(age_seconds: int | None, rpo_seconds: float | None, failed_run: Event | None) -> Iterator[Reason]:
    # A run that came and failed needs another word than one that did not come.
    known = errors.advice(failed_run["code"]) if failed_run and failed_run["event"] == "backup" else ""
    hint = known or "Make a backup, and see whether its schedule runs."
    if age_seconds is None:
        yield Reason(MISSED, "There is no verified backup.", hint)
    elif rpo_seconds is not None and age_seconds > rpo_seconds:
        ages = f"{clock.in_words(age_seconds)} old, more than the RPO of {clock.in_words(rpo_seconds)}"
        yield Reason(MISSED, f"The newest verified backup is {ages}.", hint)


def _of_last_run(failure: Event | None) -> Iterator[Reason]:
    if failure is None:
        return
    # What kept a prune from its work, as the lock of another run, may be over; a backup is missing until the next one.
    is_backup = failure["event"] == "backup"
    text = f"The last {failure['event']} failed: {str(failure['message']).rstrip('.')}."
    hint = errors.advice(failure["code"] if is_backup else PartialError.code)
    yield Reason(FAILING if is_backup else DEGRADED, text, hint)


def _of_schedule(
    backups: Sequence[Backup], events: Sequence[Event], due: datetime | None, now: datetime
) -> Iterator[Reason]:
    """A run that fails says so; one that never begins, of a schedule that is gone, says nothing."""
    if due is None:
        return
    moments = [moment for each in backups for moment in each.moments]
    moments.extend(clock.from_text(str(each["time"])) for each in events if _is_failure(each))
    if not any(due - _CLOCK <= each <= now + _CLOCK for each in moments):
        text = f"The run that was due at {clock.with_offset(due.astimezone())} did not come."
        yield Reason(FAILING, text, "See whether its schedule runs: the timer, or cron.")


def _is_failure(event: Event) -> bool:
    try:
        clock.from_text(str(event.get("time")))
    except EngineError:
        return False
    return event.get("event") == "backup" and event.get("outcome") == "failed"


def _of_what_is_held(backups: Sequence[Backup]) -> Iterator[Reason]:
    """Once the old content is back, what was held apart before is no trouble."""
    telling = next((each for each in reversed(backups) if each.manifest and not each.corrupt), None)
    if telling is not None and telling.apart:
        text = f"{telling.id} is {'suspect' if telling.suspect else 'held apart'}: {telling.held}."
        yield Reason(
            DEGRADED, text, "Nothing old is removed meanwhile.", Way("If that is meant, say so", "acknowledge")
        )


def _of_damage(backups: Sequence[Backup]) -> Iterator[Reason]:
    """Of a suspect backup nothing is expected; of every other one that it could be restored."""
    broken = []
    for each in reversed(backups):
        if each.manifest is None:
            broken.append((each, str(each.damage)))
        elif not each.manifest.suspect and (each.lack or each.failed):
            broken.append((each, each.lack or f"it failed its verification at the level {each.failed}"))
    if broken:
        more = f" There are {len(broken) - 1} more." if broken[1:] else ""
        text = f"The backup {broken[0][0].id} cannot be restored: {broken[0][1].rstrip('.')}.{more}"
        hint = "Get it back from a copy, or remove it. The list of backups shows all of them."
        # The next backup looks at the newest one, and takes its place.
        way = Way("To have a good one first", "backup") if broken[0][0] is backups[-1] else None
        yield Reason(DEGRADED, text, hint, way)


def _of_lost_notes(backups: Sequence[Backup], events: Sequence[Event]) -> Iterator[Reason]:
    """The audit log remembers a failed verification whose note beside the manifest was lost."""
    looks: dict[str, list[Event]] = {}
    for event in events:
        if event.get("event") == "verify" and event.get("code") in (0, BackupDamagedError.code):
            looks.setdefault(str(event.get("backup")), []).append(event)
    for each in reversed(backups):
        standing = _standing(looks.get(each.id, ()))
        noted = max((look["time"] for look in each.verifications), default="")
        if standing is not None and each.verified and noted < standing["time"]:
            text = f"{each.id} failed a verification, says the audit log, and the note of it beside the backup is lost."
            yield Reason(DEGRADED, text, way=Way("To look again", "verify", {"backup": each.id, "level": "full"}))


def _standing(looks: Sequence[Event]) -> Mapping[str, str] | None:
    """The failure that no later look of its level took back."""
    told = [
        {
            "level": str(each.get("level")),
            "outcome": FAILED if each.get("code") else PASSED,
            "time": str(each.get("time")),
        }
        for each in looks
        if str(each.get("level")) in published.LEVELS
    ]
    if not published.standing_failure(told):
        return None
    return next(each for each in reversed(told) if each["outcome"] == FAILED)


def _of_clock(backups: Sequence[Backup], now: datetime) -> Iterator[Reason]:
    """When older ones were found current tells nothing any more, and nobody could mend it."""
    told = [(each, each.moments[: None if each is backups[-1] else 1]) for each in backups if each.manifest]
    ahead = [each for each, moments in told if any(moment > now + _CLOCK for moment in moments)]
    if ahead:
        text = f"{ahead[-1].id} was made, or found current, at a time that is still to come."
        remove = "" if ahead[-1] is backups[-1] else f" If it was ahead then, remove {ahead[-1].path}."
        yield Reason(DEGRADED, text, f"The clock is behind, or was ahead: set it, then make a backup.{remove}")


def _of_age(newest: Backup | None, now: datetime) -> Iterator[Reason]:
    """A run that finds nothing changed reads what is stored, too; where none comes, somebody else should."""
    if newest is None:
        return
    texts = [newest.trusted().finished, newest.confirmed, *(each["time"] for each in newest.verifications)]
    looks = [moment for moment in map(clock.from_text, filter(None, texts)) if moment <= now + _CLOCK]
    if looks and now - max(looks) > _LONG_UNREAD:
        text = f"Nobody has read what is stored of {newest.id} since {clock.to_text(max(looks))}."
        yield Reason(DEGRADED, text, way=Way("To read it", "verify", {"backup": newest.id}))


def _of_pins(backups: Sequence[Backup], now: datetime) -> Iterator[Reason]:
    """A pin that is damaged holds for ever; one that is old was perhaps forgotten, which is worth a word."""
    damaged = [each for each in backups if each.pin_damage]
    if damaged:
        yield Reason(DEGRADED, damaged[-1].pin_warning, way=Way("To say it anew", "pin", {"backup": damaged[-1].id}))
    old = [each.id for each in backups if each.pinned and not each.pinned_until and _is_old(each.pinned_since, now)]
    if old:
        text = f"Pinned for more than a year: {', '.join(old)}."
        yield Reason(OK, text, "Unpin them if they need not stay.")


def _is_old(since: str, now: datetime) -> bool:
    return bool(since) and now - clock.from_text(since) > _LONG_PINNED


def last_failure(events: Sequence[Event]) -> dict[str, Any] | None:
    """The newest failure in the audit log, unless a backup succeeded since, or for a prune another one."""
    pruned = False
    for event in reversed(events):
        outcome, backup_id = event.get("outcome"), event.get("backup")
        if event.get("event") in ("backup", "confirm") and outcome == "passed":
            return None
        if outcome == "suspect":
            message = f"the database was corrupt, its bytes are kept in {backup_id}"
            return {**_known(event), "event": "backup", "code": SourceCorruptError.code, "message": message}
        pruned |= event.get("event") == "prune" and outcome == "passed"
        if outcome == "failed" and not (pruned and event.get("event") == "prune"):
            return {**_known(event), "message": _message(event) or f"{backup_id} failed its verification"}
    return None


def _known(event: Event) -> dict[str, Any]:
    """Whoever owns the log can have written anything there."""
    time, code = event.get("time"), event.get("code")
    return {
        "time": time if isinstance(time, str) else None,
        "event": str(event.get("event")),
        "code": code if isinstance(code, int) and 0 <= code <= _GREATEST_CODE else None,
    }


def _message(event: Event) -> str:
    """What failed; an earlier version wrote down no more than the class of a failure where backups are encrypted."""
    message = str(event.get("message") or "")
    return errors.meaning(event.get("code")) if re.fullmatch(r"[A-Za-z]+Error", message) else message
