# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which repository a configured database has used: one that is gone must not begin anew without anybody noticing.

Below the mount point of a disk that is not mounted, a new repository would look as good as the old one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..repository.repository import Repository
from ..system import files, places
from ..system.errors import MALFORMED, EngineError, RefusedError, StorageFailedError, doing
from .config import SEEN_NAME, Database


def file_of(settings: Database) -> Path:
    """Where it is written down, beside the configuration of the database."""
    return settings.file.parent.with_name(SEEN_NAME) / f"{settings.name}.json"


def check(settings: Database) -> None:
    """Raise ``StorageFailedError`` when the repository is gone that was used, ``RefusedError`` when it is another."""
    known = _known(settings)
    if known.get("repository") != str(settings.repository):
        return
    hint = f"If a new one is meant to begin, remove {file_of(settings)}."
    if not Repository.exists(settings.repository):
        raise StorageFailedError(
            f"the repository {settings.repository}, made at {known.get('created')}, is gone.",
            hint=f"See whether its disk is mounted. {hint}",
        )
    repository = Repository.open_existing(settings.repository)
    if not _is_same(repository, known):
        raise RefusedError(
            f"the repository {settings.repository}, made at {repository.created}, is not the one that was "
            f"used before, made at {known.get('created')}.",
            hint=f"See whether the right disk is mounted there. {hint}",
        )


def _is_same(repository: Repository, known: Mapping[str, str]) -> bool:
    """By the id, which the manifests tell, too; where there is none yet, by when it was made, which they do not."""
    if repository.id and known.get("id"):
        return repository.id == known["id"]
    return bool(repository.doubt) or repository.created == known.get("created")


def note(settings: Database) -> str:
    """Write down which repository is used; what went wrong with that, empty when nothing did."""
    path = file_of(settings)
    try:
        with doing("Cannot write down which repository is used"):
            found = Repository.open_existing(settings.repository)
            wanted = {"repository": str(settings.repository), "created": found.created, "id": found.id}
            if _known(settings) != wanted:
                files.own_directory(path.parent)
                files.replace_private(path, (json.dumps(wanted, indent=2, sort_keys=True) + "\n").encode())
    except EngineError as error:
        return f"It could not be written down which repository is used, so its absence will go unnoticed: {error}"
    return ""


def _known(settings: Database) -> dict[str, str]:
    """What is written down; a file that is damaged tells nothing."""
    try:
        content = json.loads(places.read_bytes(file_of(settings)))
    except (OSError, EngineError, *MALFORMED):
        return {}
    return content if isinstance(content, dict) else {}


def opened(settings: Database, action: str) -> Repository:
    """The repository of the database. Raises when it is gone, or that of another one, whatever is wanted of it."""
    with doing(f"{action} of {settings.name}"):
        if not Repository.exists(settings.repository):
            check(settings)
        repository = Repository.open_existing(settings.repository)
        try:
            source = settings.path
        except EngineError:
            # The environment file that names it may be lost with it.
            source = Path(repository.source)
        repository.check_database(name=settings.name, source=source)
    return repository
