# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a target holds of a repository: which backups are there whole, which in part, and their manifests."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import manifest, published
from ..repository.published import Backup
from ..system import files, places, scratch
from ..system.errors import BackupDamagedError, RefusedError, doing
from ..targets.address import Address
from ..targets.transport import Transport

MANIFEST_NAME = manifest.MANIFEST_NAME
# Of a database with many thousand tables a manifest has some megabytes.
_LARGEST_MANIFEST_BYTES = 64 * 1024 * 1024
_MOST_BACKUPS = 100_000
# The next backup gets the next number, which must be one that every reader of JSON understands.
_LARGEST_SEQUENCE = 1 << 48


def lock_name(name: str, target: Address) -> str:
    """Of the lock for whoever writes to a target, or removes there; a URL may be too long for the name of a file."""
    return f"push-{name or hashlib.sha256(target.url.encode()).hexdigest()[:16]}"


@dataclass
class Transfer:
    """What went from one place to the other, or in check mode would, oldest first: ``id``, ``files`` and ``bytes``.

    ``url`` is the target, ``newest`` the id of the newest good backup that is there, ``behind_seconds`` how old its
    data is. ``before`` are the ids that were where these went. ``verified``: all of it was compared, by digest as far
    as the target has them.
    """

    url: str
    transferred: list[dict[str, Any]] = field(default_factory=list)
    newest: str | None = None
    behind_seconds: int | None = None
    warnings: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    verified: bool = True

    @property
    def changed(self) -> bool:
        return bool(self.transferred)

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        there = {"url": self.url, "newest": self.newest, "behind_seconds": self.behind_seconds}
        return {"transferred": self.transferred, "verified": self.verified, "target": there}

    def facts(self, called: str, backup: str | None) -> dict[str, Any]:
        """For the audit log, which calls the target so; ``backup`` is the one that counts there."""
        return {
            "target": called or self.url,
            "backup": backup,
            "backups": len(self.transferred),
            "bytes": sum(each["bytes"] for each in self.transferred),
        }


@dataclass(frozen=True)
class Copies:
    """Of each backup at a target, by its id, its files by their path in it, with their bytes.

    ``whole`` are those with a manifest, which comes last; ``parts`` are what a push has begun.
    """

    whole: Mapping[str, Mapping[str, int]]
    parts: Mapping[str, Mapping[str, int]]


def listed(target: Transport) -> Copies:
    """What is at ``target``. Whatever is no file of a backup is left out."""
    found: dict[str, dict[str, int]] = {}
    for name, size_bytes in target.names().items():
        identity, _slash, path = name.partition("/")
        if path and published.ID.fullmatch(identity) and not {"", ".", ".."} & set(path.split("/")):
            found.setdefault(identity, {})[path] = size_bytes
    if len(found) > _MOST_BACKUPS:
        raise RefusedError(f"there are {len(found)} backups.", hint="Look at what is there: no repository has so many.")
    ordered = {each: found[each] for each in sorted(found)}
    return Copies(
        {each: paths for each, paths in ordered.items() if MANIFEST_NAME in paths},
        {each: paths for each, paths in ordered.items() if MANIFEST_NAME not in paths},
    )


def manifests(target: Transport, copies: Copies, ids: Collection[str], into: Path) -> list[Backup]:
    """The backups ``ids`` at ``target`` by their manifests, which are fetched ``into`` a new directory, in any order.

    One that lacks a file at the target, or whose manifest cannot be trusted, says so.
    """
    if not ids:
        return []
    files.create_directory(into)
    large = [each for each in ids if copies.whole[each][MANIFEST_NAME] > _LARGEST_MANIFEST_BYTES]
    if large:
        raise BackupDamagedError(f"the manifest of {large[0]} there is too large for one.", hint="Look at it there.")
    expected_bytes = sum(copies.whole[each][MANIFEST_NAME] for each in ids)
    target.get([f"{each}/{MANIFEST_NAME}" for each in sorted(ids)], into, bounded(into, expected_bytes))
    return [dataclasses.replace(each, lack=_lack(each, copies)) for each in published.listed(into)]


def _lack(backup: Backup, copies: Copies) -> str:
    """What is not there of ``backup``; empty when all is, as far as names and sizes tell."""
    if backup.manifest is None:
        return ""
    if backup.manifest.sequence > _LARGEST_SEQUENCE:
        return f"its sequence is {backup.manifest.sequence}, which no repository reaches"
    paths = copies.whole[backup.id]
    for each in backup.manifest.files:
        if each.path not in paths:
            return f"{each.path} is missing at the target"
        if paths[each.path] != each.bytes:
            return f"{each.path} has {paths[each.path]} bytes at the target, not {each.bytes}"
    return ""


def bounded(directory: Path, expected_bytes: int) -> Callable[[], None]:
    """Raises when there is more below ``directory`` than what was asked for: a target may send what it likes."""

    def watch() -> None:
        if files.tree_bytes(directory) > expected_bytes:
            raise BackupDamagedError(
                "the target sends more than it listed.", hint="Do not trust it: look at it, and use another copy."
            )

    return watch


@dataclass(frozen=True)
class Room:
    """A private directory for copies on their way; ``is_inside`` the repository, on the same filesystem."""

    path: Path
    is_inside: bool


@contextlib.contextmanager
def workroom(repository: Path) -> Iterator[Room]:
    """For the block. It is elsewhere when others than root, who runs this, can change what is in the repository.

    Programs that carry files follow names, and that user may put anything under any name there.
    """
    inside = places.if_of_others(repository) is None
    with scratch.directory(repository if inside else None) as path:
        yield Room(path, inside)


@contextlib.contextmanager
def elsewhere() -> Iterator[Room]:
    """A room for check mode, which leaves the repository alone."""
    with scratch.directory() as path:
        yield Room(path, is_inside=False)


def copy(backup: Backup, room: Path) -> None:
    """Copy ``backup`` from its repository to where nobody else can change it, and make sure that it is right there."""
    dest = room / backup.id
    size_bytes = backup.trusted().stored_bytes
    files.require_space(room, size_bytes)
    files.create_directory(dest)
    with doing(step=f"cannot copy {backup.path}"):
        for each in (*(each.path for each in backup.trusted().files), MANIFEST_NAME):
            files.make_private_directory((dest / each).parent)
            files.copy_private(backup.path / each, dest / each, alone=False)
    copied = published.load(dest)
    if copied is None or copied.manifest != backup.manifest:
        raise BackupDamagedError(f"the manifest of {backup.id} changed while it was read.", hint="Verify it.")
    manifest.check_files(backup.trusted(), dest)


def names_of(backup: Backup) -> list[str]:
    """The names of all artifacts of ``backup``, from its repository."""
    return [f"{backup.id}/{each.path}" for each in backup.trusted().files]
