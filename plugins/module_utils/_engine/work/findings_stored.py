# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be wrong with the backups of a database, and with the directory that they are in."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from datetime import timedelta
from pathlib import Path

from ..repository import published
from ..repository.manifest import Manifest
from ..repository.published import Backup
from ..repository.repository import Repository
from ..system import clock, owners
from ..system.errors import BackupNotFoundError, EngineError, doing
from ..system.files import counted, readable
from .findings import (
    OK,
    OTHERS,
    OTHERS_WRITE,
    PROBLEM,
    WARNING,
    Checks,
    Facts,
    Finding,
    Request,
    existing,
    rights_of_windows,
)


def look_at_repository(request: Request) -> tuple[list[Backup], Finding]:
    """All backups, and whether they can be listed and are described as they should be."""
    name, path = "repository", request.repository
    try:
        with doing(f"Cannot use the repository {path}"):
            repository = Repository.open_existing(path)
            listed = repository.backups()
    except BackupNotFoundError:
        return [], Finding(name, WARNING, f"There is no repository at {path}.", "Make the first backup.")
    except EngineError as error:
        return [], Finding(name, PROBLEM, error.message, error.hint or "Look at it, then run again.")
    if repository.doubt:
        hint = "Make a backup now: backup." if repository.described.is_due else "Until then nothing is pruned."
        return listed, Finding(name, PROBLEM, repository.doubt, hint)
    return listed, Finding(name, OK, f"{path} holds {counted(len(published.own(listed)), 'backup')}.")


def _backups(facts: Facts, name: str) -> Finding:
    """Backups that cannot be restored, by what is seen without reading all of them."""
    damaged = [each.id for each in facts.backups if each.manifest is None]
    if damaged:
        return Finding(name, PROBLEM, f"The manifest of {damaged[-1]} is damaged.", "Verify all backups.")
    lacking = next((each for each in reversed(facts.backups) if each.lack), None)
    if lacking is not None:
        detail = f"{lacking.id} cannot be restored: {lacking.lack}."
        return Finding(name, PROBLEM, detail, "Verify all backups, and make a full one now: backup --type full.")
    return Finding(name, OK, "No backup lacks a file.")


def _foreign_backups(facts: Facts, name: str) -> Finding:
    told = published.told_of_foreign(facts.listed)
    if told:
        detail, hint = told[0].split(". ")
        return Finding(name, WARNING, f"{facts.request.repository} holds backups that are {detail}.", hint)
    return Finding(name, OK, "No backup was copied here from another repository.")


def _pins(facts: Facts, name: str) -> Finding:
    """Pins that cannot be read: they hold, so what was to be removed stays, and fills the disk."""
    damaged = [each for each in facts.backups if each.pin_damage]
    if not damaged:
        return Finding(name, OK, "Of each backup it is known whether it is pinned.")
    newest = damaged[-1]
    detail = newest.pin_warning
    if len(damaged) > 1:
        detail += f" And {len(damaged) - 1} more."
    return Finding(name, WARNING, detail, f"Say it anew: pin or unpin, with --backup {newest.id}.")


def _repository_rights(facts: Facts, name: str) -> Finding:
    path = facts.request.repository
    if path.exists() and not os.access(path, os.W_OK):
        detail = f"Nothing can be written to {path}: it is read-only, or this user may not."
        return Finding(name, PROBLEM, detail, "Look at its mount, its owner and its mode.")
    if os.name == "nt":
        return rights_of_windows(name, path)
    mode = stat.S_IMODE(os.stat(path).st_mode) if path.exists() else 0
    if mode & OTHERS:
        detail = f"{path} is open to others (mode {mode:04o})."
        return Finding(name, WARNING, detail, f"chmod 0700 {shlex.quote(str(path))}")
    return Finding(name, OK, "Nobody but its owner can get into the repository, and it can be written to.")


def _ownership(facts: Facts, name: str) -> Finding:
    """Something of another user in the repository, as a copy that root made leaves it: its owner's next run fails."""
    path = facts.request.repository
    found = owners.first_stranger(path)
    if found is None:
        return Finding(name, OK, "What is in the repository belongs to its owner.")
    theirs, ours = (owners.ownership(os.lstat(each))[0] for each in (found, path))
    return Finding(
        name,
        PROBLEM,
        f"{found} belongs to {theirs}, the repository to {ours}, who may then not be able to go on in it.",
        f"chown -R {shlex.quote(ours)} {shlex.quote(str(path))}",
    )


def _separation(facts: Facts, name: str) -> Finding:
    if os.stat(existing(facts.path)).st_dev != os.stat(existing(facts.request.repository)).st_dev:
        return Finding(name, OK, "The database and the repository are on different filesystems.")
    return Finding(
        name,
        WARNING,
        "The database and the repository are on the same filesystem: a disk that fails takes both.",
        "Put the repository on another disk. A target elsewhere helps as well.",
    )


def _reach(facts: Facts, name: str) -> Finding:
    """Whether the application, which may write to the directory of its database, can do away with its backups."""
    directory, repository = facts.path.parent, Path(os.path.realpath(facts.request.repository))
    if directory not in (repository, *repository.parents) or not directory.is_dir():
        return Finding(name, OK, "The repository is not in the directory of the database.")
    status = os.stat(directory)
    if os.name != "nt" and status.st_uid == 0 and not status.st_mode & OTHERS_WRITE:
        return Finding(name, OK, "Only root may write where database and repository are.")
    return Finding(
        name,
        WARNING,
        f"Whoever may write to {directory}, as the application does, can rename and remove the repository in it.",
        "Use a repository elsewhere, such as below /var/backups.",
    )


def _space(facts: Facts, name: str) -> Finding:
    """Free space against the next full backup, and against what a day takes when it is like the last one."""
    directory = existing(facts.request.repository)
    free_bytes = shutil.disk_usage(directory).free
    stored = [each.manifest for each in facts.backups if each.manifest]
    full_bytes = _next_full_bytes(stored, facts.live_bytes)
    day_bytes = max(full_bytes, _last_day_bytes(stored))
    detail = (
        f"{readable(free_bytes)} are free in {directory}; the next full backup takes about {readable(full_bytes)}, "
        f"24 hours about {readable(day_bytes)}."
    )
    if free_bytes < full_bytes:
        return Finding(name, PROBLEM, detail, "Free some space there, or keep fewer backups.")
    if free_bytes < day_bytes:
        return Finding(name, WARNING, detail, "Free some space there soon, or keep fewer backups.")
    return Finding(name, OK, detail)


def _next_full_bytes(stored: list[Manifest], live_bytes: int) -> int:
    """As the last one was to its image; without any, as large as the database."""
    last = next((each for each in reversed(stored) if each.type == "full" and each.image.bytes), None)
    return last.stored_bytes * live_bytes // last.image.bytes if last else live_bytes


def _last_day_bytes(stored: list[Manifest]) -> int:
    if not stored:
        return 0
    begin = clock.from_text(stored[-1].started) - timedelta(days=1)
    return sum(each.stored_bytes for each in stored if clock.from_text(each.started) > begin)


CHECKS: Checks = {
    "backups": _backups,
    "foreign backups": _foreign_backups,
    "pins": _pins,
    "repository rights": _repository_rights,
    "ownership": _ownership,
    "separation": _separation,
    "reach": _reach,
    "space": _space,
}
