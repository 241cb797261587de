# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the commands do with the targets of one configured database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..repository import published
from ..repository.repository import Repository
from ..sealed import encryption
from ..sqlite import proof
from ..sqlite.proof import Check
from ..sqlite.snapshot import Progress
from ..system import options, scratch
from ..system.errors import (
    BackupDamagedError,
    CancelledError,
    EngineError,
    PartialError,
    RefusedError,
    RepositoryLockedError,
    UsageError,
    doing,
)
from ..targets import target
from ..work import copies, findings_target, prune_target, pull, push, verify
from ..work.findings import Finding
from . import target_config
from .config import Database
from .result import Asked, Result, attempt
from .target_config import Target


def targets(settings: Database, named: Sequence[str] = ()) -> list[Target]:
    """Those of the database, or those that are ``named``."""
    with doing(f"Cannot use the targets of {settings.name}"):
        return [target_config.load(settings.directory, each) for each in named or settings.options["targets"]]


def push_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Bring every target of the database up to date, or those that are named; each has its turn."""
    names = asked["targets"] or settings.options["targets"]
    if not names:
        hint = "Name one in targets of its configuration, or with --target."
        raise UsageError("it has no target.", action=f"Cannot push {settings.name}", hint=hint)
    result = Result(settings.name, None, [], {"changed": False, "targets": []})
    for each in names:
        single = attempt(settings.name, lambda: _push(settings, each, asked, progress))  # noqa: B023
        result.warnings.extend(single.warnings)
        result.facts["targets"].append({"name": each, **single.facts.get("push", {})})
        result.facts["changed"] |= single.facts.get("changed", False)
        result.error = result.error or single.error
        if isinstance(single.error, CancelledError):
            break
    return result


def _push(settings: Database, name: str, asked: Asked, progress: Progress | None) -> Result:
    (there,) = targets(settings, [name])
    request = push.Request(
        settings.repository,
        there.of(settings),
        asked["backup"],
        there.name,
        there.policy,
        lock_timeout_seconds=_lock_timeout_seconds(settings),
    )
    outcome = push.run(request, dry_run=asked["dry_run"], progress=progress)
    result = Result(
        settings.name, None, list(outcome.warnings), {"changed": outcome.changed, "push": outcome.to_json()}
    )
    if there.policy is not None and outcome.changed and asked["backup"] == "all":
        pruned = attempt(settings.name, lambda: _prune(settings, there, dry_run=asked["dry_run"]))
        result.warnings.extend(pruned.warnings)
        if pruned.error is not None:
            result.error = PartialError(
                f"All is at {there.name}, but what is old could not be removed there: {pruned.error.message}",
                hint=pruned.error.hint,
            )
    return result


def push_after(settings: Database, result: Result, *, progress: Progress | None = None) -> None:
    """Behind a good backup: a target that fails leaves it good, so the run is ``partial``, and the next tries again."""
    asked = {"backup": "all", "dry_run": False}
    for each in settings.options["targets"]:
        single = attempt(settings.name, lambda: _push(settings, each, asked, progress))  # noqa: B023
        result.warnings.extend(single.warnings)
        result.facts.setdefault("targets", []).append({"name": each, **single.facts.get("push", {})})
        if isinstance(single.error, RepositoryLockedError):
            result.warnings.append(f"another push to {each} goes on; what is new goes with the next one")
        elif isinstance(single.error, CancelledError):
            result.error = single.error
            return
        elif single.error is not None:
            made = result.facts["backup"].get("id", "")
            message = f"The backup {made} is good, but the target {each} failed: {single.error.message}"
            result.error = result.error or PartialError(message, hint=single.error.hint)


def pull_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Bring backups from a target into the configured repository, a new one included."""
    there = _only(settings, asked)
    request = pull.Request(
        settings.repository,
        there.of(settings),
        asked["backup"],
        settings.name,
        there.name,
        lock_timeout_seconds=_lock_timeout_seconds(settings),
    )
    outcome = pull.run(request, dry_run=asked["dry_run"], progress=progress)
    return Result(settings.name, None, outcome.warnings, {"changed": outcome.changed, "pull": outcome.to_json()})


def list_target(settings: Database, asked: Asked) -> Result:
    """Which backups are there, from one listing."""
    there = _only(settings, asked)
    address = there.of(settings)
    with doing(f"Cannot list {address.url}"):
        found = copies.listed(target.at(address))
    here = {each.id for each in published.listed(settings.repository)}
    backups = [_listed(each, files, each in here, whole=True) for each, files in found.whole.items()]
    backups.extend(_listed(each, files, each in here, whole=False) for each, files in found.parts.items())
    backups.sort(key=lambda each: str(each["id"]))
    return Result(settings.name, None, [], {"target": {"name": there.name, "url": address.url, "backups": backups}})


def _listed(identity: str, files: Any, here: bool, *, whole: bool) -> dict[str, Any]:
    return {"id": identity, "files": len(files), "bytes": sum(files.values()), "whole": whole, "here": here}


def verify_target(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Fetch backups from a target into a scratch place, and prove them there."""
    there = _only(settings, asked)
    expected = verify.expected({**settings.options, "level": asked["level"]})
    with scratch.directory() as place:
        repository = place / "repository"
        fetched = pull.run(pull.Request(repository, there.of(settings), asked["backup"], settings.name, there.name))
        found = verify.verify_backups(
            Repository.open_existing(repository),
            "all" if asked["backup"] == "all" else fetched.chosen,
            expected,
            keys=encryption.keys(settings.options),
            progress=progress,
        )
    for identity, wrong in fetched.missed.items():
        found.checks.append(Check(f"{identity}: artifacts", proof.FAILED, wrong))
        found.error = found.error or BackupDamagedError(
            f"The backup {identity} is damaged at the target {there.name}: {wrong}.", hint="Look at what is there."
        )
    warnings = [*fetched.warnings, *found.warnings]
    if Repository.exists(settings.repository):
        facts = {"target": there.name, "backup": fetched.chosen, "level": expected.level, "outcome": found.outcome}
        warnings.extend(Repository.open_existing(settings.repository).record_done("verify target", **facts))
    return Result(settings.name, found.error, warnings, {"verification": found.to_json()})


def prune_targets(settings: Database, asked: Asked) -> Result:
    """Remove at a target what its own rules do not keep."""
    return _prune(settings, _only(settings, asked), dry_run=asked["dry_run"])


def _prune(settings: Database, there: Target, *, dry_run: bool) -> Result:
    if there.policy is None:
        raise RefusedError(
            "it has no keep_ rule, so everything is kept there.",
            action=f"Cannot prune the target {there.name}",
            hint="Give it rules, such as keep_daily, if old backups are to go.",
        )
    request = prune_target.Request(
        settings.repository, there.of(settings), there.policy, there.name, _lock_timeout_seconds(settings)
    )
    outcome = prune_target.run(request, dry_run=dry_run)
    return Result(settings.name, None, outcome.warnings, {"changed": outcome.changed, **outcome.to_json()})


def examine(settings: Database) -> list[Finding]:
    """What this host may do at each of its targets."""
    names = settings.options["targets"]
    if not names:
        detail = "There is no copy elsewhere: a disk, a host or an account that is lost takes everything."
        return [Finding("targets", findings_target.NOTE, detail)]
    return [_examined(settings, each) for each in names]


def _examined(settings: Database, name: str) -> Finding:
    try:
        there = target_config.load(settings.directory, name)
        return findings_target.look(there.of(settings), f"target {name}", prunes=there.policy is not None)
    except EngineError as error:
        return Finding(f"target {name}", findings_target.PROBLEM, error.message, error.hint or "Correct it, run again.")


def _only(settings: Database, asked: Asked) -> Target:
    """The one target that is meant."""
    names = asked["targets"] or settings.options["targets"]
    if len(names) != 1:
        hint = f"Name one with --target: {', '.join(names) or 'none is configured for it'}."
        raise UsageError("it takes one target.", action=f"Cannot tell the target of {settings.name}", hint=hint)
    return targets(settings, names)[0]


def _lock_timeout_seconds(settings: Database) -> float:
    return options.seconds(settings.options, "lock_timeout") or 0.0
