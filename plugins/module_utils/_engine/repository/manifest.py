# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The manifest: what a backup is, and what proves its content. The format is in docs/format.md."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from dataclasses import fields as fields_of
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from ..sqlite.library import sqlite3
from ..sqlite.proof import Check, Proof
from ..system import clock, files
from ..system.errors import MALFORMED, BackupDamagedError, UsageError, doing
from . import seal

Kind = TypeVar("Kind")

FORMAT = 1
# What reading JSON of another shape than expected can raise.
COLLECTION_VERSION = "0.1.0"
MANIFEST_NAME = "manifest.json"
IMAGE_ROLE, PAGES_ROLE, SCHEMA_ROLE, PROOF_ROLE = "image", "pages", "schema", "proof"
INCLUDE_ROLE, SIDECAR_ROLE = "include", "sidecar"
# What a backup of each type holds exactly one file of.
CONTENT_ROLES = {"full": IMAGE_ROLE, "incremental": PAGES_ROLE}
# And what its name begins with, before the endings that tell how to read it.
CONTENT_NAMES = {"full": "database.sqlite", "incremental": "database.pages"}


@dataclass(frozen=True)
class StoredFile:
    """One artifact: ``path`` inside the backup, ``bytes`` and ``sha256`` of what is stored."""

    path: str
    role: str
    bytes: int
    sha256: str
    compression: str = "none"
    encryption: str = "none"


@dataclass(frozen=True)
class Image:
    """The database as one consistent file: ``bytes`` and ``page_size`` in bytes, ``sha256`` of all of it."""

    bytes: int
    page_size: int
    page_count: int
    sha256: str


@dataclass(frozen=True)
class Origin:
    """The database that was backed up: its name, the path it was given as, the host it was on.

    ``owner``, ``group`` and ``mode`` (octal) are those of the file; a restore after its deletion needs them. ``uid``
    and ``gid`` are the numbers, for a host that does not know the names; older manifests have none.
    """

    name: str
    source: str
    host: str
    owner: str = ""
    group: str = ""
    mode: str = ""
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True)
class FileOrigin:
    """Where an included file was: ``path`` in the backup without endings, ``source`` on the host; and whose it was.

    Of a ``redacted`` one the secrets are not in the backup. ``kind`` is empty, ``metrics``, or ``logs``: then the bytes
    from ``start`` up to ``end`` of the log were stored.
    """

    path: str
    source: str
    redacted: bool = False
    owner: str = ""
    group: str = ""
    mode: str = ""
    uid: int | None = None
    gid: int | None = None
    kind: str = ""
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Manifest:
    """One backup. Times are RFC 3339 in UTC, durations seconds by phase.

    ``parent_sha256`` is the digest of the image of ``parent``, ``repository`` the id of the repository that the backup
    was made in; older manifests have none. ``apart`` says that it is perhaps of another database than the backups
    before it, or, as ``anomaly`` tells then, that what it holds collapsed.
    """

    id: str
    sequence: int
    type: str
    parent: str | None
    database: Origin
    reason: str
    tags: tuple[str, ...]
    pinned: bool
    suspect: bool
    started: str
    finished: str
    image: Image
    proof: Proof | None
    files: tuple[StoredFile, ...]
    checks: tuple[Check, ...]
    durations: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    parent_sha256: str | None = None
    apart: bool = False
    anomaly: str = ""
    accepts: tuple[str, ...] = ()
    repository: str = ""
    origins: tuple[FileOrigin, ...] = ()

    def is_from(self, parent: Manifest) -> bool:
        """Whether ``parent``, which has the right id, is the backup that this one was made from."""
        if self.repository and parent.repository not in ("", self.repository):
            return False
        return self.parent_sha256 in (None, parent.image.sha256)

    @property
    def content_file(self) -> StoredFile:
        """The image of a full backup, the changed pages of an incremental one."""
        return next(each for each in self.files if each.role in CONTENT_ROLES.values())

    @property
    def encryption(self) -> str:
        """The method, or ``none``. All files but this manifest are encrypted with it."""
        return self.content_file.encryption

    @property
    def stored_bytes(self) -> int:
        return sum(each.bytes for each in self.files)


def versions() -> dict[str, str]:
    """What wrote the backup."""
    return {
        "collection": COLLECTION_VERSION,
        "python": ".".join(map(str, sys.version_info[:3])),
        "sqlite": sqlite3.sqlite_version,
    }


def to_bytes(manifest: Manifest) -> bytes:
    """The manifest as it is stored, with its seal."""
    return seal.to_bytes({"format": FORMAT, **asdict(manifest)})


# One run looks at its backups more than once: the same bytes are the same manifest.
@functools.lru_cache(maxsize=512)
def from_bytes(data: bytes) -> Manifest:
    """Read a stored manifest. Raises ``BackupDamagedError`` unless every byte is as it was written."""
    if not seal.is_right(data):
        raise _damage("its content does not match its seal.")
    try:
        document = json.loads(data)
        # After the seal, which every format has: a flipped bit must not pass for a newer format.
        if document["format"] > FORMAT:
            raise UsageError(
                f"it has format {document['format']}, this version reads {FORMAT}.",
                hint="Update the collection.",
            )
        return _from_document(document)
    except MALFORMED as error:
        raise _damage(f"{error!r:.200}.") from None


def check_files(manifest: Manifest, directory: Path, stored: Sequence[StoredFile] | None = None) -> None:
    """Raise ``BackupDamagedError`` unless every artifact, or each of ``stored``, is there with its bytes."""
    for each in manifest.files if stored is None else stored:
        wrong = _wrong(each, directory / each.path)
        if wrong:
            with doing(f"The backup {manifest.id} is damaged"):
                raise _damage(wrong)


def _wrong(stored: StoredFile, path: Path) -> str:
    """What is wrong with the file at ``path``; empty when it is as it was stored."""
    with doing(f"Cannot read {path}"):
        try:
            size_bytes = os.lstat(path).st_size
            if size_bytes != stored.bytes:
                return f"{path} has {size_bytes} bytes, not {stored.bytes}."
            if files.sha256_file(path) != stored.sha256:
                return f"{path} does not have the SHA-256 of its manifest."
        except (FileNotFoundError, NotADirectoryError):
            return f"{path} is missing."
    return ""


def _damage(cause: str) -> BackupDamagedError:
    return BackupDamagedError(cause, hint="Use another backup, or a copy of this one from off-site.")


def _from_document(document: dict[str, Any]) -> Manifest:
    content = dict(document)
    stored = tuple(made(StoredFile, each) for each in content["files"])
    for each in stored:
        path = PurePosixPath(each.path)
        if path.is_absolute() or ".." in path.parts or set("\\:\0") & set(each.path):
            raise ValueError(f"the path {each.path!r} leaves the backup")
    contents = [each.role for each in stored if each.role in CONTENT_ROLES.values()]
    if contents != [CONTENT_ROLES[content["type"]]]:
        raise ValueError(f"a backup of the type {content['type']} holds {contents}")
    if (content["type"] == "incremental") != isinstance(content["parent"], str):
        raise ValueError(f"a backup of the type {content['type']} has the parent {content['parent']}")
    for key in ("started", "finished"):
        clock.to_text(clock.from_text(content[key]))
    origin = made(Origin, content["database"])
    int(origin.mode or "0", 8)
    origins = origins_from(content.get("origins", []))
    content.update(
        database=origin,
        image=made(Image, content["image"]),
        proof=made(Proof, content["proof"]) if content["proof"] else None,
        files=stored,
        checks=tuple(made(Check, each) for each in content["checks"]),
        origins=origins,
    )
    return made(Manifest, content)


def origins_from(content: Sequence[dict[str, Any]]) -> tuple[FileOrigin, ...]:
    """What a document says of its included files; raises one of ``MALFORMED``."""
    origins = tuple(made(FileOrigin, each) for each in content)
    for each in origins:
        int(each.mode or "0", 8)
        if "\0" in each.source:
            raise ValueError(f"the path {each.source!r:.60}")
    return origins


def made(kind: type[Kind], content: dict[str, Any]) -> Kind:
    """A ``kind`` with these values; ``ValueError`` when one is not of the type that is declared.

    What a later version added is left alone.
    """
    declared = _declared(kind)  # type: ignore[arg-type]
    for name, is_right in declared.items():
        if is_right and name in content and not is_right(content[name]):
            raise ValueError(f"{name} is {content[name]!r:.60}")
    values = {key: value for key, value in content.items() if key in declared}
    # JSON has no tuples.
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})


@functools.cache
def _declared(kind: Any) -> dict[str, Callable[[Any], bool] | None]:
    """What is declared of a class, by its names: what each value must be."""
    return {each.name: _IS_RIGHT.get(str(each.type)) for each in fields_of(kind)}


def _is_text(value: Any) -> bool:
    # Of a surrogate that stands for no byte of a name it raises ValueError.
    return isinstance(value, str) and os.fsencode(value) is not None


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST


def _is_mapping(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(_is_text(key) and is_right(value[key]) for key in value)


_MOST = 1 << 63
# By what is declared; what is of another type has been made before.
_IS_RIGHT: dict[str, Callable[[Any], bool]] = {
    "str": _is_text,
    "str | None": lambda value: value is None or _is_text(value),
    "int": _is_number,
    "int | None": lambda value: value is None or _is_number(value),
    "bool": lambda value: isinstance(value, bool),
    "tuple[str, ...]": lambda value: isinstance(value, list) and all(map(_is_text, value)),
    "dict[str, int]": _is_mapping(_is_number),
    "dict[str, int | str]": _is_mapping(lambda value: isinstance(value, int) or _is_text(value)),
    "Mapping[str, str]": _is_mapping(_is_text),
    "Mapping[str, float]": _is_mapping(lambda value: isinstance(value, (int, float)) and 0 <= value <= _MOST),
}
