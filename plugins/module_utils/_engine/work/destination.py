# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a restore replaces: which one it is, what it holds, and what forbids to replace it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..repository import identity
from ..repository.manifest import Manifest
from ..sqlite import database, processes
from ..sqlite.proof import Proof
from ..system import files, owners, places
from ..system.errors import EngineError, RefusedError, UsageError, Way, translated


def checked(dest: Path, *, action: str) -> Path:
    """The file to replace, behind all symbolic links."""
    try:
        with translated(action):
            path = places.resolved(dest)
    except EngineError as error:
        if not isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise
        # A directory on the way is missing, which is said below.
        path = Path(os.path.abspath(dest))
    if dest.is_symlink() and not path.exists():
        raise RefusedError(
            f"{action}: {dest} is a link to {path}, which does not exist.",
            hint="Name the file that is meant, or make sure that the link leads to it.",
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"{action}: the directory {path.parent} does not exist.", hint="Create it with its owner and mode."
        )
    if path.exists() and not path.is_file():
        raise UsageError(f"{action}: {path} is no regular file.", hint="Name the database file itself in dest.")
    database.check_sidecars(path, action=action)
    return path


def told_by(repository: Path, source: str, *, action: str) -> Path:
    """The path ``source`` that a repository tells. Of another user's repository root believes only what is that user's.

    Whoever owns a repository can have written there what to replace, and all of it fits together.
    """
    with translated(action):
        owner = owners.other_owner(repository)
        if owner is not None:
            place = None
            with contextlib.suppress(OSError, RefusedError):
                place = owners.other_owner(Path(source).parent)
            if place is None or place.st_uid != owner.st_uid:
                raise RefusedError(
                    f"{action}: {repository} belongs to another user, and says that the database was {source}.",
                    hint="Set dest, if that is the file to replace.",
                )
    return Path(source)


def facts(dest: Path) -> dict[str, int | bool]:
    """Whether ``dest`` exists, and its bytes with those of its sidecars."""
    size_bytes = sum(files.size_of(database.sidecar(dest, suffix)) for suffix in ("", database.WAL, database.JOURNAL))
    return {"exists": dest.exists(), "bytes": size_bytes}


def holds(dest: Path, document: Manifest) -> bool:
    """Whether ``dest`` alone, without anything in a sidecar, is the image."""
    if any(files.size_of(database.sidecar(dest, suffix)) for suffix in (database.WAL, database.JOURNAL)):
        return False
    if not dest.exists() or dest.stat().st_size != document.image.bytes:
        return False
    with translated(f"Cannot read {dest}"):
        return files.sha256_file(dest) == document.image.sha256


def require_space(dest: Path, new_bytes: int, *, action: str) -> None:
    """Raise ``NoSpaceError`` unless there is room beside ``dest`` for what comes, and for what its switch needs."""
    old_bytes = sum(files.size_of(database.sidecar(dest, suffix)) for suffix in (database.WAL, database.JOURNAL))
    # With a -wal or journal to fold, a copy of the old main file is needed for a moment, too.
    folding_bytes = 2 * old_bytes + files.size_of(dest) if old_bytes else 0
    files.require_space(dest.parent, new_bytes + folding_bytes, action=action)


def check_identity(dest: Path, document: Manifest, proven: Proof | None, *, action: str) -> None:
    """Raise ``RefusedError`` when ``dest`` is a database of another application than the backup."""
    ways = [Way("If that is meant", "restore", {"force_identity": True})]
    known_names = {
        Path(document.database.source).name,
        document.database.name,
        f"{document.database.name}{dest.suffix}",
    }
    if dest.name not in known_names:
        raise RefusedError(f"{action}: the backup is of {document.database.source}, another name.", ways=ways)
    header = database.read_header(dest)
    expected = proven.header.get("application_id") if proven else None
    if header is not None and identity.is_other_application(expected, header.application_id):
        raise RefusedError(
            f"{action}: the database there has the application_id {header.application_id}, the backup {expected}.",
            ways=ways,
        )


def check_not_in_use(dest: Path, *, action: str) -> None:
    """Raise ``RefusedError`` while another process has ``dest`` open."""
    if not dest.exists():
        return
    users = processes.users_of(dest)
    if users:
        raise RefusedError(
            f"{action}: the database is open in {', '.join(users)}.",
            hint="Stop the application first; with force its later writes go to the replaced file and are lost.",
        )
