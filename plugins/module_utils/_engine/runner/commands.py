# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner does with one configured database, a function a command.

``asked`` are the values of the command line. A result is plain values for programs, and the error to fail with.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from ..repository import retention
from ..repository.repository import Repository
from ..sealed import encryption
from ..sqlite.snapshot import Progress
from ..system import clock, options
from ..system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    CancelledError,
    EngineError,
    NoSpaceError,
    PartialError,
    ProofFailedError,
    RepositoryLockedError,
    SourceBusyError,
    SourceCorruptError,
    StorageFailedError,
    UsageError,
    doing,
)
from ..work import acknowledge, backup, doctor, info, pinning, prune, restore, verify
from . import audit, drills, offsite, seen, watch_config
from .config import Database
from .result import Asked, Result, attempt

_open = seen.opened


def back_up(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Make sure that a proven backup of the present content exists, then prune by the policy of the database.

    ``stored`` tells whether a new one was needed; ``changed`` also counts what was accepted and what was pruned.
    """
    given = {
        **settings.options,
        "type": asked["type"] or settings.options["type"],
        "tags": [*settings.options["tags"], *asked["tags"]],
        **{name: asked[name] for name in ("reason", "pinned", "force", "force_identity")},
    }
    request = backup.requested(given)
    with doing(f"Cannot back up {request.path}"):
        seen.check(settings)
    outcome = backup.run(request, dry_run=asked["dry_run"], progress=progress)
    if not asked["dry_run"] and (unnoted := seen.note(settings)):
        outcome.warnings.append(unnoted)
    made = outcome.to_json()
    changed = outcome.changed or bool(outcome.accepted)
    facts = {"changed": changed, "stored": outcome.changed, "backup": made, "pruned": None}
    result = Result(settings.name, outcome.error, list(outcome.warnings), facts)
    # Before anything old goes: it may be what a target lacks.
    if outcome.error is None and asked["push"] and not asked["dry_run"]:
        offsite.push_after(settings, result, progress=progress)
    if isinstance(result.error, CancelledError):
        return result
    if outcome.error is None and asked["prune"]:
        _prune_after(settings, result, dry_run=asked["dry_run"])
    elif asked["prune"] and not asked["dry_run"]:
        _prune_after_suspect(settings, result)
    return result


# What is the matter with the host at the moment: it would be the same with any other configuration.
_OF_THE_HOST = (
    *(SourceBusyError, SourceCorruptError, BackupDamagedError, RepositoryLockedError, NoSpaceError, StorageFailedError),
    PartialError,
)


def try_out(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Whether runs with this configuration can succeed here: one is made that writes nothing.

    What the configuration cannot help is a warning: the one that would make room must not be refused for want of room.
    With ``if_backed_up`` a database without a backup is not tried: its first backup is the better test.
    """
    if asked["if_backed_up"] and not _has_backups(settings):
        return Result(settings.name, None, [], {"tried": False})
    request = prune.requested(settings.options)
    retention.check(request.policy)
    run = {"type": None, "tags": (), "reason": "", **dict.fromkeys(("pinned", "force", "force_identity"), False)}
    run.update(prune=True, push=False, dry_run=True)
    result = attempt(settings.name, lambda: back_up(settings, run, progress=progress))
    if isinstance(result.error, _OF_THE_HOST):
        result.warnings.append(str(result.error))
        result.error = None
    result.facts = {} if result.error else {"tried": True}
    return result


def _has_backups(settings: Database) -> bool:
    if not Repository.exists(settings.repository):
        return False
    # Whose they are is said by the trial, in better words.
    with doing(f"Cannot try {settings.name}"):
        return bool(Repository.open_existing(settings.repository).backups())


def _prune_after(settings: Database, result: Result, *, dry_run: bool) -> None:
    if dry_run and not _is_sound(settings):
        return
    pruned = attempt(settings.name, lambda: prune_one(settings, {"dry_run": dry_run}))
    result.warnings.extend(pruned.warnings)
    if isinstance(pruned.error, CancelledError):
        result.error = pruned.error
    elif pruned.error is not None:
        made = result.facts["backup"].get("id", "")
        message = f"The backup {made} is good, but old ones could not be removed: {pruned.error.message}"
        result.error = PartialError(message, hint=pruned.error.hint)
    else:
        result.facts["changed"] |= pruned.facts.pop("changed")
        result.facts["pruned"] = pruned.facts


def _is_sound(settings: Database) -> bool:
    """Whether a prune can be played; a backup would make or mend the repository first."""
    with doing("Cannot prune"):
        return Repository.exists(settings.repository) and not Repository.open_existing(settings.repository).doubt


def _prune_after_suspect(settings: Database, result: Result) -> None:
    """A corrupt database is not a reason to lose an older backup, only copies of it: one comes with each run."""
    pruned = attempt(settings.name, lambda: prune_one(settings, {"dry_run": False}, after_suspect=True))
    result.warnings.extend(pruned.warnings)
    if isinstance(pruned.error, CancelledError):
        result.error = pruned.error
    elif pruned.error is not None:
        result.warnings.append(f"old suspect backups could not be removed: {pruned.error.message}")
    elif pruned.facts.pop("changed"):
        result.facts.update(changed=True, pruned=pruned.facts)


def prune_one(settings: Database, asked: Asked, *, after_suspect: bool = False) -> Result:
    if asked.get("targets"):
        return offsite.prune_targets(settings, asked)
    _open(settings, "Cannot prune the backups")
    request = dataclasses.replace(prune.requested(settings.options), after_suspect=after_suspect)
    outcome = prune.run(request, dry_run=asked["dry_run"])
    facts = {"changed": outcome.changed, **outcome.to_json()}
    return Result(settings.name, None, outcome.warnings, facts)


def pin_one(settings: Database, asked: Asked, *, state: str = "present") -> Result:
    """Pin a backup that exists; with ``state`` absent, take that back."""
    _open(settings, f"Cannot {'pin' if state == 'present' else 'unpin'} a backup")
    given = {**settings.options, "backup": asked["backup"], "state": state, "until": asked["until"]}
    outcome = pinning.run(pinning.requested(given), dry_run=asked["dry_run"])
    return Result(settings.name, None, outcome.warnings, {"changed": outcome.changed, "pin": outcome.after})


def unpin_one(settings: Database, asked: Asked) -> Result:
    return pin_one(settings, {**asked, "until": None}, state="absent")


def acknowledge_one(settings: Database, asked: Asked) -> Result:
    """Let what is held apart count again."""
    _open(settings, "Cannot acknowledge what is held apart")
    outcome = acknowledge.run(acknowledge.requested(settings.options), dry_run=asked["dry_run"])
    return Result(settings.name, None, outcome.warnings, {"changed": outcome.changed, **outcome.to_json()})


def list_one(settings: Database, asked: Asked) -> Result:
    """Every backup, and what retention would say of it now; or what is at a target."""
    if asked["targets"]:
        return offsite.list_target(settings, asked)
    repository = _open(settings, "Cannot list the backups")
    backups = repository.backups()
    # Without keys: to decrypt what tells about each backup takes a program a backup.
    described = info.describe_repository(repository, backups=backups)
    warnings = [*described["warnings"], *filter(None, (each.pin_warning for each in backups))]
    found: dict[str, dict[str, Any]] = {}
    try:
        found = prune.outlook(repository, backups, prune.requested(settings.options).policy)
    except EngineError as error:
        warnings.append(f"what retention would keep is not known: {error}")
    for each in described["backups"]:
        each.update(found.get(each["id"], {"reasons": None, "goes": None, "stays": ""}))
    return Result(settings.name, None, warnings, {"repository": described})


def verify_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Check backups, or with ``live`` the database itself, against all that the configuration expects of it."""
    if asked["targets"] and not asked["live"]:
        return offsite.verify_target(settings, asked, progress=progress)
    if asked["live"] and (asked["targets"] or asked["backup"] != "latest"):
        raise UsageError(
            "both a backup, or a target, and --live are given.", action="Cannot verify", hint="Give one of them."
        )
    expected = verify.expected({**settings.options, "level": asked["level"]})
    if asked["live"]:
        timeout_seconds = options.timeout(settings.options)
        found = verify.verify_database(settings.path, expected, timeout_seconds=timeout_seconds)
    else:
        found = verify.verify_backups(
            _open(settings, "Cannot verify the backups"),
            asked["backup"],
            expected,
            keys=encryption.keys(settings.options),
            lock_timeout_seconds=clock.parse_duration(settings.options["lock_timeout"]),
            progress=progress,
        )
    warnings = [*_key_warnings(settings), *found.warnings]
    return Result(settings.name, found.error, warnings, {"verification": found.to_json()})


def restore_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Put a backup in place of the database, or at ``dest``; with ``undo``, what the last restore replaced."""
    if asked["undo"] and (asked["before"] is not None or asked["backup"] != "latest"):
        raise UsageError(
            "a backup is chosen, too.", action="Cannot undo", hint="--undo brings the newest undo set back."
        )
    given = {
        **settings.options,
        **dict.fromkeys(("owner", "group", "mode")),
        **{name: asked[name] for name in ("backup", "before", "check", "force", "force_identity")},
        **{name: asked[name] for name in ("with_files", "files_to")},
        "dest": settings.path if asked["dest"] is None else asked["dest"],
    }
    if asked["dest"] is not None:
        # The places that the configuration names are those beside the database.
        given.update(include=())
    if not asked["expectations"]:
        given.update(expect_tables=(), assertions=())
    request, dry_run = restore.requested(given), asked["dry_run"]
    if asked["undo"]:
        outcome = restore.undo(request, dry_run=dry_run)
    else:
        _open(settings, "Cannot restore a backup")
        outcome = restore.run(request, dry_run=dry_run, progress=progress)
    facts = {"changed": outcome.changed, "restore": outcome.to_json()}
    return Result(settings.name, None, [*_key_warnings(settings), *outcome.warnings], facts)


def diagnose(settings: Database, _asked: Asked) -> Result:
    """What could make a backup or a restore fail one day; a problem is a failure, a warning is not."""
    findings = doctor.examine(doctor.requested(settings.options, configuration=settings.file))
    findings.extend((_same_repository(settings), _retention(settings), *offsite.examine(settings)))
    findings.extend((drills.examine(settings), audit.examine(settings), _who_is_told(settings)))
    problems = [each for each in findings if each.outcome == doctor.PROBLEM]
    error = None
    if problems:
        error = ProofFailedError(f"{settings.name} has a problem: {problems[0].detail}", hint=problems[0].hint)
    return Result(settings.name, error, [], {"findings": [dataclasses.asdict(each) for each in findings]})


def _who_is_told(settings: Database) -> doctor.Finding:
    """A file that is wrong lets nobody hear of anything, above all not of a failure."""
    name = "who is told"
    try:
        watch_config.load(settings.directory)
    except EngineError as error:
        return doctor.Finding(name, doctor.WARNING, f"Nobody is told of a run: {error.message}", error.hint)
    return doctor.Finding(name, doctor.OK, "What the host tells of its runs is configured, or nothing is.")


def _same_repository(settings: Database) -> doctor.Finding:
    name, ok = "same repository", "The repository is the one that was used before, or the first."
    try:
        with doing(f"Cannot use the repository of {settings.name}"):
            seen.check(settings)
        _open(settings, "Cannot use the repository")
    except BackupNotFoundError:
        return doctor.Finding(name, doctor.OK, ok)
    except EngineError as error:
        return doctor.Finding(name, doctor.PROBLEM, error.message, error.hint)
    return doctor.Finding(name, doctor.OK, ok)


def _retention(settings: Database) -> doctor.Finding:
    """A policy that cannot be carried out here: backups are made, and each run fails afterwards."""
    name = "retention"
    try:
        retention.check(prune.requested(settings.options).policy)
    except EngineError as error:
        detail = f"No old backup of {settings.name} can be removed: {error.message}"
        return doctor.Finding(name, doctor.PROBLEM, detail, error.hint)
    return doctor.Finding(name, doctor.OK, "The rules for old backups can be carried out on this host.")


def _key_warnings(settings: Database) -> list[str]:
    return [warning] if (warning := encryption.keys(settings.options).warning()) else []
