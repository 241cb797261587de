# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that a restore replaces: which one it is, what it holds, and what forbids to replace it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ..repository import identity
from ..repository.manifest import FileOrigin, Manifest, Origin
from ..sqlite import database, processes
from ..sqlite.proof import Proof
from ..system import files, owners, places
from ..system.errors import RefusedError, UsageError, Way, doing


def checked(dest: Path) -> Path:
    """The file to make or to replace, behind all symbolic links."""
    try:
        path = places.resolved(dest)
    except (FileNotFoundError, NotADirectoryError):
        # A directory on the way is missing, which is said below.
        path = Path(os.path.abspath(dest))
    if dest.is_symlink() and not path.exists():
        raise RefusedError(
            f"{dest} is a link to {path}, which does not exist.",
            hint="Name the file that is meant, or make sure that the link leads to it.",
        )
    if not path.parent.is_dir():
        raise UsageError(f"the directory {path.parent} does not exist.", hint="Create it with its owner and mode.")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is not a regular file.", hint="Name the file itself, one that is there or a new one.")
    database.check_sidecars(path)
    return path


def told_by(repository: Path, source: str) -> Path:
    """The path ``source`` that a repository tells. Of another user's repository root believes only what is that user's.

    Whoever owns a repository can have written there what to replace, and all of it fits together.
    """
    owner = owners.other_owner(repository)
    if owner is not None:
        place = None
        with contextlib.suppress(OSError, RefusedError):
            place = owners.other_owner(Path(source).parent)
        if place is None or place.st_uid != owner.st_uid:
            raise RefusedError(
                f"{repository} belongs to another user, and says that the database was {source}.",
                hint="Set dest, if that is the file to replace.",
            )
    return Path(source)


def give_back(
    staged: Path,
    origin: Origin | FileOrigin,
    *,
    repository: Path | None,
    directory: Path,
    with_owner: bool = True,
    with_group: bool = True,
) -> tuple[bool, bool]:
    """Give a file that was restored for ``directory`` the owner, group and mode that it had; which of two it has now.

    Without ``with_owner`` or ``with_group`` the caller gives it another one.
    """
    if os.name == "nt" or not origin.mode:
        return True, True
    uid = owners.local_owner(origin.owner, origin.uid) if with_owner else -1
    gid = owners.local_group(origin.group, origin.gid) if with_group else -1
    if repository is not None and owners.other_owner(repository):
        # Whoever owns the repository could have written there any owner. The one of the directory may do all there.
        like = owners.other_owner(directory)
        owners.change_owner(staged, like.st_uid if like else -1, like.st_gid if like else -1)
        right = owners.has(staged, uid, gid) if like else (False, False)
    else:
        right = owners.give(staged, uid, gid)
    owners.change_mode(staged, owners.rights(int(origin.mode, 8), group=right[1]))
    return right


def facts(dest: Path) -> dict[str, int | bool]:
    """Whether ``dest`` exists, and its bytes with those of its sidecars."""
    size_bytes = sum(files.size_of(database.sidecar(dest, suffix)) for suffix in ("", database.WAL, database.JOURNAL))
    return {"exists": dest.exists(), "bytes": size_bytes}


def holds(dest: Path, document: Manifest) -> bool:
    """Whether ``dest`` alone, without anything in a sidecar, is the image."""
    if any(files.size_of(database.sidecar(dest, suffix)) for suffix in (database.WAL, database.JOURNAL)):
        return False
    if not dest.exists():
        return False
    with doing(f"Cannot read {dest}"):
        return files.holds(dest, document.image.bytes, document.image.sha256)


def require_space(dest: Path, new_bytes: int) -> None:
    """Raise ``NoSpaceError`` unless there is room beside ``dest`` for what comes, and for what its switch needs."""
    files.require_space(dest.parent, new_bytes + folding_bytes(dest))


def folding_bytes(path: Path) -> int:
    """The room that a database takes for a moment: a copy of its main file with its ``-wal`` or journal to fold."""
    log_bytes = sum(files.size_of(database.sidecar(path, suffix)) for suffix in (database.WAL, database.JOURNAL))
    return 2 * log_bytes + files.size_of(path) if log_bytes else 0


def check_identity(dest: Path, document: Manifest, proven: Proof | None) -> None:
    """Raise ``RefusedError`` when ``dest`` is a database of another application than the backup."""
    ways = [Way("If that is meant", "restore", {"force_identity": True})]
    known_names = {
        Path(document.database.source).name,
        document.database.name,
        f"{document.database.name}{dest.suffix}",
    }
    if dest.name not in known_names:
        raise RefusedError(f"the backup is of {document.database.source}, another name.", ways=ways)
    header = database.read_header(dest)
    expected = proven.header.get("application_id") if proven else None
    if header is not None and identity.is_other_application(expected, header.application_id):
        raise RefusedError(
            f"the database there has the application_id {header.application_id}, the backup {expected}.",
            ways=ways,
        )


def check_not_in_use(dest: Path) -> None:
    """Raise ``RefusedError`` while another process has ``dest`` open."""
    if not dest.exists():
        return
    users = processes.users_of(dest)
    if users:
        raise RefusedError(
            f"the database is open in {', '.join(users)}.",
            hint=processes.STOP_FIRST,
        )
