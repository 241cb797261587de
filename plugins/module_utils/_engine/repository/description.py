# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository is: its sealed file, and what the manifests tell of it when that is damaged or missing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..system import clock, files, places, scratch
from ..system.errors import (
    MALFORMED,
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    StorageFailedError,
    UsageError,
    doing,
)
from . import published, seal
from .manifest import Manifest
from .published import Backup

FORMAT = 1
NAME = "repository.json"
LOCK_NAME = ".lock"
STAGING_PREFIX = ".staging-"
_TEXTS = ("name", "source", "created")
_KEYS = ("format", "id", "seal", *_TEXTS)


@dataclass(frozen=True)
class Description:
    """``id`` is random, made once; empty in a repository of an earlier version until the next backup.

    ``is_due``: the next backup writes the file anew. ``doubt`` says why this is not what the file says, empty when it
    is. ``undecided``: the manifests do not tell which of them are of this repository. ``others`` are the keys of a
    later version.
    """

    name: str
    source: str
    created: str
    id: str = ""
    is_due: bool = False
    doubt: str = ""
    undecided: bool = False
    others: Mapping[str, Any] = field(default_factory=dict)

    def is_foreign(self, document: Manifest) -> bool:
        """Whether ``document`` names another repository. Older manifests name none."""
        return document.repository not in ("", self.id) and not self.undecided

    def renewed(self) -> Description:
        """As it is to be written, with an id."""
        return dataclasses.replace(self, id=self.id or secrets.token_hex(16), is_due=False, doubt="")


def new(name: str, source: Path) -> Description:
    return Description(name, str(source), clock.to_text(clock.now())).renewed()


def write(directory: Path, description: Description) -> None:
    """Write ``description`` into the repository ``directory``, with its seal."""
    known = {key: getattr(description, key) for key in ("id", *_TEXTS)}
    files.replace_private(directory / NAME, seal.to_bytes({**description.others, **known, "format": FORMAT}))


def exists(directory: Path) -> bool:
    """Whether ``directory`` is a repository: by its file, or by a backup that can tell what that should say."""
    if os.path.lexists(directory / NAME):
        return True
    with contextlib.suppress(OSError):
        return any(each.manifest for each in published.listed(directory))
    return False


def check_new_place(path: Path) -> None:
    """Raise unless ``path`` is missing or an empty directory, where a repository may begin, or has begun meanwhile."""
    if not os.path.lexists(path):
        return
    if not path.is_dir():
        raise UsageError(f"the repository {path} is not a directory.", hint="Name a directory.")
    with doing(step=f"cannot read {path}"):
        ours = {LOCK_NAME, files.temporary_name(NAME)}
        # A run that was killed may have left a scratch directory.
        strangers = {each for each in os.listdir(path) if each not in ours and not each.startswith(scratch.PREFIX)}
    # Asked last: another run may have made it a repository just now.
    if strangers and not exists(path):
        raise UsageError(
            f"{path} is neither empty nor a repository (it holds {min(strangers)!r}).",
            hint="Name a directory of its own for each database.",
        )


def found(directory: Path) -> Description:
    """What the file in ``directory`` says or, where that is damaged or missing, the manifests of the backups there."""
    failure: EngineError
    try:
        described = read(directory)
        return described if described.id else _with_known_id(described, directory)
    except BackupDamagedError as error:
        failure, wrong = error, "damaged"
    except EngineError as error:
        if not isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            raise
        hint = "Check the path, or make a backup first."
        failure, wrong = BackupNotFoundError(f"there is no repository at {directory}.", hint=hint), "missing"
    told = told_by(list(published.listed(directory)), directory / NAME, wrong=wrong)
    if told is None:
        raise failure from None
    return told


def _with_known_id(described: Description, directory: Path) -> Description:
    """With the id that manifests of the same database name: when somebody put an older file back, it is known there.

    Where none is of its path, since the database moved, those of its name tell.
    """
    documents = [each.manifest for each in published.listed(directory) if each.manifest is not None]
    wanted = (described.name, described.source)
    same = [each for each in documents if (each.database.name, each.database.source) == wanted]
    return dataclasses.replace(
        described, id=_elected(same or [each for each in documents if each.database.name == described.name])
    )


def read(directory: Path) -> Description:
    """What the file in ``directory`` says.

    Raises ``BackupDamagedError`` unless every byte is as it was written. A file of an earlier version has neither id
    nor seal.
    """
    path = directory / NAME
    with doing():
        data = places.read_bytes(path)
    try:
        content = _content(data)
        if content["format"] > FORMAT:
            raise UsageError(f"{directory} has a newer format.", hint="Update the collection on this host.")
        return _described(content)
    except MALFORMED:
        raise BackupDamagedError(
            f"{path} is damaged.",
            hint="Restore that small file from off-site, or move the directory aside and begin a new repository.",
        ) from None


def is_right(data: bytes) -> bool:
    """Whether ``data`` is the content of such a file, of a format that is known here."""
    try:
        content = _content(data)
        return content["format"] <= FORMAT and bool(_described(content))
    except MALFORMED:
        return False


def _described(content: Mapping[str, Any]) -> Description:
    """Raises one of ``MALFORMED``."""
    known = {key: content[key] for key in _TEXTS}
    identity = content.get("id", "")
    for each in (*known.values(), identity):
        # Of anything but a text, or of one that could be written nowhere, it raises.
        os.fsencode(each)
    others = {key: value for key, value in content.items() if key not in _KEYS}
    return Description(**known, id=identity, is_due=not identity, others=others)


def _content(data: bytes) -> dict[str, Any]:
    """The keys and values; ``ValueError`` when the seal is wrong, or missing where it cannot be."""
    content: dict[str, Any] = json.loads(data)
    if not seal.is_right(data) and ({"id", "seal"} & set(content) or content["format"] > FORMAT):
        raise ValueError("the content does not match the seal")
    return content


def told_by(backups: Sequence[Backup], path: Path, *, wrong: str) -> Description | None:
    """What the manifests of ``backups`` tell of their repository, whose file at ``path`` is ``wrong``.

    None when no manifest can be read.
    """
    documents = [each.manifest for each in backups if each.manifest is not None]
    if not documents:
        return None
    identity = _elected(documents)
    candidates = {each.repository for each in documents if each.repository}
    undecided = bool(candidates) and not identity
    own = [each for each in documents if undecided or each.repository in ("", identity)]
    newest = max(own, key=lambda each: each.sequence)
    doubt = f"{path} is {wrong}; what it should say is taken from the manifests."
    is_due = not undecided and not any(isinstance(each.damage, StorageFailedError) for each in backups)
    if undecided:
        doubt += f" They name {len(candidates)} repositories: move the backups of all others away, then make a backup."
    elif is_due:
        doubt += " The next backup writes it anew."
    else:
        doubt += " Not all of them can be read now: look at the disk."
    origin, created = newest.database, min(each.started for each in own)
    return Description(origin.name, origin.source, created, identity, is_due, doubt, undecided)


def _elected(documents: Sequence[Manifest]) -> str:
    """The id that more than half of those name that name any; empty when there is none."""
    votes = Counter(each.repository for each in documents if each.repository)
    return next((identity for identity, count in votes.items() if 2 * count > sum(votes.values())), "")
