# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What could make a backup or a restore of one database fail, or be of no use, one day. Looks, and writes nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from . import clock, database, files, host, owners, published, switch
from .database import SIDECARS, WAL, Source
from .encryption import NO_KEYS, NOT_ENCRYPTED, Encryption, Keys
from .errors import BackupNotFoundError, EngineError, RefusedError, from_os_error
from .files import readable
from .manifest import Manifest
from .published import Backup
from .repository import Repository
from .sqlite import sqlite3

OK, WARNING, PROBLEM = "ok", "warning", "problem"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_OTHERS_READ = stat.S_IRGRP | stat.S_IROTH
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_TRANSACTION_SECONDS = 0.5


@dataclass(frozen=True)
class Request:
    """What to look at. ``configuration`` is the file about the database, if there is one; the rest as for a backup."""

    path: Path
    repository: Path
    configuration: Path | None = None
    compression: str = "auto"
    encryption: Encryption = NOT_ENCRYPTED
    keys: Keys = NO_KEYS


@dataclass(frozen=True)
class Finding:
    """What was found under ``name``; ``outcome`` is ok, warning or problem, and only for ok the hint is empty."""

    name: str
    outcome: str
    detail: str
    hint: str = ""


@dataclass(frozen=True)
class _Facts:
    """What several checks need: ``path`` without symbolic links, ``source`` None when it cannot be backed up."""

    request: Request
    path: Path
    source: Source | None
    backups: list[Backup]
    mounts: str | None


def examine(request: Request, *, mounts: str | None = None) -> list[Finding]:
    """Every hazard, and what was looked at and is fine. ``mounts`` as for ``host.filesystem_of``."""
    source, source_finding = _look_at_source(request)
    backups, repository_finding = _look_at_repository(request)
    facts = _Facts(request, Path(os.path.realpath(request.path)), source, backups, mounts)
    found = [source_finding, repository_finding]
    for name, check in _CHECKS.items():
        try:
            found.append(check(facts, name))
        except OSError as error:
            failure = from_os_error(f"Cannot look at {name}", error)
            found.append(Finding(name, PROBLEM, failure.message, failure.hint or "Look at it, then run again."))
    return found


def _look_at_source(request: Request) -> tuple[Source | None, Finding]:
    try:
        source = database.locate(request.path, action=f"Cannot back up {request.path}", allow_empty=True)
    except EngineError as error:
        name = "hard links" if isinstance(error, RefusedError) else "source"
        return None, Finding(name, PROBLEM, error.message, error.hint)
    return source, Finding("source", OK, f"{source.path} is a database of {source.status.st_size} bytes.")


def _look_at_repository(request: Request) -> tuple[list[Backup], Finding]:
    name, path = "repository", request.repository
    try:
        repository = Repository.open_existing(path, action=f"Cannot use the repository {path}")
        listed = repository.backups()
    except BackupNotFoundError:
        return [], Finding(name, WARNING, f"There is no repository at {path}.", "Make the first backup.")
    except EngineError as error:
        return [], Finding(name, PROBLEM, error.message, error.hint or "Look at it, then run again.")
    backups, foreign = published.own(listed), published.told_of_foreign(listed)
    if repository.doubt:
        return backups, Finding(name, PROBLEM, repository.doubt, "Make a backup now: backup.")
    damaged = [each.id for each in backups if each.manifest is None]
    if damaged:
        return backups, Finding(name, PROBLEM, f"The manifest of {damaged[-1]} is damaged.", "Verify all backups.")
    lacking = next((each for each in reversed(backups) if each.lack), None)
    if lacking is not None:
        detail = f"{lacking.id} cannot be restored: {lacking.lack}."
        return backups, Finding(
            name, PROBLEM, detail, "Verify all backups, and make a full one now: backup --type full."
        )
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if os.name != "nt" and mode & _OTHERS:
        return backups, Finding(
            name, WARNING, f"{path} is open to others (mode {mode:04o}).", f"chmod 0700 {shlex.quote(str(path))}"
        )
    if foreign:
        return backups, Finding(name, WARNING, f"{path} holds backups {foreign[0]}", "Remove them from there.")
    return backups, Finding(name, OK, f"{path} holds {len(backups)} backups.")


def _python(_facts: _Facts, name: str) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name, OK, f"{sys.executable} is Python {version}.")


def _sqlite(facts: _Facts, name: str) -> Finding:
    header = facts.source.header if facts.source else None
    version = sqlite3.sqlite_version
    found = host.bugs_in(sqlite3.sqlite_version_info, wal=header is None or header.wal)
    if not found:
        return Finding(name, OK, f"SQLite {version} has no bug that is known to corrupt databases.")
    return Finding(
        name,
        WARNING,
        f"By its number SQLite {version} has bugs that rarely harm who writes: {'; '.join(found)}.",
        "Update SQLite, or see in the changes of its package whether they are fixed. Backups only read with it; the "
        "application writes, perhaps with an SQLite of its own: look at that as well.",
    )


def _recovery(facts: _Facts, name: str) -> Finding:
    if not _still_needs_recovery(facts.path):
        return Finding(name, OK, "No unfinished transaction has to be taken back.")
    journal = database.sidecar(facts.path, database.JOURNAL)
    return Finding(
        name,
        PROBLEM,
        f"An unfinished transaction is in {journal}.",
        "If nobody is writing right now, start the application, or run: sqlite3 FILE 'SELECT 1' as its owner. "
        "Do not delete the journal.",
    )


def _still_needs_recovery(path: Path) -> bool:
    """A transaction that is being written looks like an unfinished one for a moment."""
    if not database.needs_recovery(path):
        return False
    time.sleep(_TRANSACTION_SECONDS)
    return database.needs_recovery(path)


def _journal_mode(facts: _Facts, name: str) -> Finding:
    header = facts.source.header if facts.source else None
    if header is None:
        return Finding(name, OK, "There is nothing to say without content.")
    if header.wal:
        return Finding(name, OK, "It is in WAL mode: backups keep no writer waiting.")
    return Finding(
        name,
        WARNING,
        "It is in rollback mode: who writes has to wait while a backup reads.",
        "If the application allows it: PRAGMA journal_mode=WAL, once.",
    )


def _sidecars(facts: _Facts, name: str) -> Finding:
    """A sidecar that a stranger made: the application cannot write to it, and fails with "readonly database"."""
    if not facts.path.exists():
        return Finding(name, OK, "There is no database to have any.")
    owner = os.stat(facts.path)
    for suffix in SIDECARS:
        side = database.sidecar(facts.path, suffix)
        try:
            status = os.stat(side)
        except FileNotFoundError:
            continue
        if status.st_uid != owner.st_uid:
            theirs, ours = owners.ownership(status)[0], owners.ownership(owner)[0]
            return Finding(
                name,
                WARNING if status.st_mode & _OTHERS_WRITE else PROBLEM,
                f"{side.name} belongs to {theirs}, the database to {ours}, who may then not be able to write.",
                f"While nobody uses it: chown {shlex.quote(ours)} {shlex.quote(str(side))}",
            )
    return Finding(name, OK, "What is beside the database belongs to its owner.")


def _ownership(facts: _Facts, name: str) -> Finding:
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


def _undo_sets(facts: _Facts, name: str) -> Finding:
    if not facts.path.parent.is_dir():
        return Finding(name, OK, "There is no directory to hold any.")
    workplace = database.restoring_directory(facts.path)
    if workplace.exists():
        return Finding(
            name,
            WARNING,
            f"A restore is under way, or was killed and left {workplace}.",
            "If none is under way: restore again, or undo; either puts it in order first.",
        )
    found = switch.undo_sets(facts.path)
    if not found:
        return Finding(name, OK, "No restore left the content before it.")
    taken = readable(sum(map(files.tree_bytes, found)))
    return Finding(
        name,
        WARNING,
        f"{len(found)} undo sets of earlier restores take {taken}, the newest is {found[-1]}.",
        "Remove those that nobody will go back to.",
    )


def _source_filesystem(facts: _Facts, name: str) -> Finding:
    return _filesystem(facts.path, facts, name, "The database", WARNING)


def _repository_filesystem(facts: _Facts, name: str) -> Finding:
    return _filesystem(facts.request.repository, facts, name, "The repository", PROBLEM)


def _filesystem(path: Path, facts: _Facts, name: str, what: str, when_volatile: str) -> Finding:
    found = host.filesystem_of(path, facts.mounts)
    if host.is_network(found):
        hint = "Keep it on a disk of this host, and copy finished backups elsewhere."
        return Finding(name, WARNING, f"{what} is on a network filesystem ({found}), where locks may not hold.", hint)
    if host.is_volatile(found):
        return Finding(name, when_volatile, f"{what} is in memory ({found}), and gone after a restart.", "Use a disk.")
    return Finding(name, OK, f"{what} is on a filesystem of the type {found}.")


def _separation(facts: _Facts, name: str) -> Finding:
    if os.stat(_existing(facts.path)).st_dev != os.stat(_existing(facts.request.repository)).st_dev:
        return Finding(name, OK, "The database and the repository are on different filesystems.")
    return Finding(
        name,
        WARNING,
        "The database and the repository are on the same filesystem: a disk that fails takes both.",
        "Put the repository on another disk, or have its backups copied off-site.",
    )


def _reach(facts: _Facts, name: str) -> Finding:
    """Whether the application, which may write to the directory of its database, can do away with its backups."""
    directory, repository = facts.path.parent, Path(os.path.realpath(facts.request.repository))
    if directory not in (repository, *repository.parents) or not directory.is_dir():
        return Finding(name, OK, "The repository is not in the directory of the database.")
    status = os.stat(directory)
    if os.name != "nt" and status.st_uid == 0 and not status.st_mode & _OTHERS_WRITE:
        return Finding(name, OK, "Only root may write where database and repository are.")
    return Finding(
        name,
        WARNING,
        f"Whoever may write to {directory}, as the application does, can rename and remove the repository in it.",
        "Use a repository elsewhere, such as below /var/backups.",
    )


def _space(facts: _Facts, name: str) -> Finding:
    """Free space against the next full backup, and against what a day takes when it is like the last one."""
    directory = _existing(facts.request.repository)
    free_bytes = shutil.disk_usage(directory).free
    stored = [each.manifest for each in facts.backups if each.manifest]
    full_bytes = _next_full_bytes(stored, _live_bytes(facts))
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


def _restore_space(facts: _Facts, name: str) -> Finding:
    directory = _existing(facts.path.parent)
    free_bytes, needed_bytes = shutil.disk_usage(directory).free, _live_bytes(facts)
    detail = f"A restore needs about {readable(needed_bytes)} beside the database; {readable(free_bytes)} are free."
    if free_bytes < needed_bytes:
        return Finding(name, WARNING, detail, f"Free some space in {directory}.")
    return Finding(name, OK, detail)


def _live_bytes(facts: _Facts) -> int:
    return files.size_of(facts.path) + files.size_of(database.sidecar(facts.path, WAL))


def _clock(facts: _Facts, name: str) -> Finding:
    now = clock.now()
    if now < host.WRITTEN:
        detail = f"The clock of this host shows {clock.to_text(now)}, which is past."
        return Finding(name, PROBLEM, detail, "Set the clock, and have it set by NTP.")
    newest = max((each.manifest.started for each in facts.backups if each.manifest), default="")
    if newest > clock.to_text(now):
        detail = f"A backup is dated {newest}, later than now, {clock.to_text(now)}: the clock is or was wrong."
        return Finding(name, WARNING, detail, "Set the clock. Retention neither counts nor removes such a backup.")
    if host.clock_is_set() is False:
        detail = "Nothing set the clock since this host started."
        return Finding(name, WARNING, detail, "See whether a time server can be reached: timedatectl timesync-status")
    return Finding(name, OK, f"The clock shows {clock.to_text(now)}, and no backup is later.")


def _programs(facts: _Facts, name: str) -> Finding:
    wanted = {facts.request.compression, facts.request.encryption.method} & {"zstd", "age", "gpg"}
    missing = sorted(each for each in wanted if not shutil.which(each))
    if missing:
        words = " and ".join(missing)
        return Finding(name, PROBLEM, f"{words} is configured and not installed.", f"Install {words}.")
    if facts.request.compression == "auto" and not shutil.which("zstd"):
        detail = "zstd is not installed: gzip is used, which is slower and stores more."
        return Finding(name, WARNING, detail, "Install zstd, or set compression to gzip.")
    return Finding(name, OK, "Every program that is needed is installed.")


def _configuration(facts: _Facts, name: str) -> Finding:
    """Files of the configuration that others may read: they tell where everything is, or even how to decrypt it."""
    exposed = " ".join(filter(None, (facts.request.encryption.warning(), facts.request.keys.warning())))
    if exposed:
        return Finding(name, PROBLEM, exposed, "Use another key from now on if others may have read it.")
    path = facts.request.configuration
    mode = stat.S_IMODE(os.stat(path).st_mode) if path is not None and os.name != "nt" else 0
    if mode & _OTHERS_READ:
        return Finding(
            name, WARNING, f"{path} can be read by others (mode {mode:04o}).", f"chmod 0600 {shlex.quote(str(path))}"
        )
    return Finding(name, OK, "Only their owner can read the configuration and the keys.")


def _existing(path: Path) -> Path:
    """``path``, or the nearest directory above it that exists."""
    return next(each for each in (path, *path.parents) if each.exists())


_CHECKS: dict[str, Callable[[_Facts, str], Finding]] = {
    "python": _python,
    "sqlite": _sqlite,
    "recovery": _recovery,
    "journal mode": _journal_mode,
    "sidecars": _sidecars,
    "ownership": _ownership,
    "undo sets": _undo_sets,
    "source filesystem": _source_filesystem,
    "repository filesystem": _repository_filesystem,
    "separation": _separation,
    "reach": _reach,
    "space": _space,
    "restore space": _restore_space,
    "clock": _clock,
    "programs": _programs,
    "configuration": _configuration,
}
