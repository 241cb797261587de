# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a backup: what was found in the snapshot, and where that is stored."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from ..sealed import codec
from ..sealed.encryption import Keys
from ..sqlite import database, script
from ..sqlite import proof as proofs
from ..sqlite.database import JOURNAL, WAL, Source
from ..sqlite.library import sqlite3
from ..sqlite.proof import Check, Proof
from ..sqlite.snapshot import Snapshot
from ..system import clock, files, pieces, places
from ..system.clock import Deadline
from ..system.errors import MALFORMED, BackupDamagedError, UsageError, doing
from . import include, manifest
from .inclusion import MOVING
from .manifest import INCLUDE_ROLE, PROOF_ROLE, SCHEMA_ROLE, SIDECAR_ROLE, FileOrigin, Manifest, StoredFile
from .published import Backup
from .reading import Storage

SCHEMA_NAME = "schema.sql"
PROOF_NAME = "proof.json"
_LONGEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Evidence:
    """The checks of a snapshot; its proof and its schema as SQL text, None when it could not be read."""

    checks: tuple[Check, ...]
    proof: Proof | None = None
    schema: str | None = None

    @property
    def suspect(self) -> bool:
        return proofs.overall(self.checks) == proofs.FAILED

    @property
    def doubts(self) -> list[str]:
        return doubts(self.checks)


def doubts(checks: Sequence[Check]) -> list[str]:
    """What could not be looked into here, or is odd; an encrypted backup only tells that there was something."""
    found = (each for each in checks if each.outcome == proofs.INCONCLUSIVE or each.detail.startswith(proofs.ODD))
    return [each.detail or f"unverifiable: {each.name}" for each in found]


def level(wanted: str, backups: Sequence[Backup]) -> str:
    """How deep to look: as deep as what found the newest backup damaged, and once a week as deep as can be."""
    if wanted != "quick" or not backups:
        return wanted
    since = week_ago()
    # The newest first: one of them says it, as a rule.
    deep = backups[-1].failed == "full" or not any(each.looked_deep(since) for each in reversed(backups))
    return "full" if deep else wanted


def week_ago() -> datetime:
    """An index that lost entries passes a quick check; at least since then somebody should have looked deeper."""
    return clock.now() - timedelta(days=7)


def examine(image: Snapshot, level: str) -> Evidence:
    """Check the image and count its rows; what cannot be read makes the backup suspect, never fails the copy."""
    if image.connection is None:
        return Evidence((proofs.whole("readable", proofs.FAILED, image.corruption),))
    checks = tuple(proofs.check_schema(image.connection))
    if level != "none":
        checks = tuple(proofs.check_structure(image.connection, level))
    try:
        schema = script.schema_sql(image.connection, image.header)
        proven = proofs.of_image(image.connection, schema, image.header)
    except sqlite3.DatabaseError as error:
        return Evidence((*checks, proofs.whole("rows", proofs.FAILED, proofs.judge(error))))
    return Evidence(checks, proven, schema)


def store(found: Evidence, included: include.Stored, storage: Storage) -> list[StoredFile]:
    """Store the schema, and in an encrypted backup all that the manifest must not tell: proof, checks, files."""
    stored = []
    if found.schema is not None:
        stored.append(storage.write(SCHEMA_NAME, SCHEMA_ROLE, [found.schema.encode()]))
    if storage.encryption.method != "none":
        content = {
            "proof": found.proof.to_json() if found.proof else None,
            "checks": [each.to_json() for each in found.checks],
            "names": dict(included.names),
            "origins": [asdict(each) for each in included.origins],
        }
        text = json.dumps(content, indent=2, sort_keys=True) + "\n"
        stored.append(storage.write(PROOF_NAME, PROOF_ROLE, [text.encode()]))
    return stored


def store_sidecars(source: Source, storage: Storage, deadline: Deadline) -> list[StoredFile]:
    """Store what is beside a source that SQLite cannot read, named after its image: commits may be in there.

    Raises ``SourceBusyError`` past the deadline.
    """
    stored = []
    for suffix in (WAL, JOURNAL):
        side = database.sidecar(source.path, suffix)
        if files.size_of(side):
            name = manifest.CONTENT_NAMES["full"]
            with doing(f"Cannot copy {side}"), places.reading(side, alone=False) as file:
                files.require_space(storage.directory, os.fstat(file.fileno()).st_size)
                stored.append(storage.write(name + suffix, SIDECAR_ROLE, pieces.of(file, deadline=deadline)))
    return stored


def told(checks: tuple[Check, ...], *, encrypted: bool) -> tuple[Check, ...]:
    """The checks as the manifest may tell them: of an encrypted backup without names and details."""
    if not encrypted:
        return checks
    return tuple(Check(each.name if each.kind == proofs.WHOLE else "content", each.outcome) for each in checks)


def proof_of(backup: Backup, keys: Keys) -> Proof | None:
    """The proof of a backup, decrypted if need be; None when its source could not be read.

    Raises ``KeyRejectedError``, or ``BackupDamagedError`` when its file is not as stored, or holds no proof.
    """
    document = backup.trusted()
    stored = _sealed_file(document)
    if stored is None:
        return document.proof
    with _reading_sealed(backup, stored, keys) as found:
        return manifest.made(Proof, found["proof"]) if found["proof"] else None


@dataclass(frozen=True)
class IncludedFile:
    """An included file of a backup, by its name; ``origin`` is None in a backup of an older version."""

    name: str
    stored: StoredFile
    origin: FileOrigin | None

    @property
    def most_bytes(self) -> int:
        """What it can unpack to at most."""
        origin = self.origin
        if origin is None or origin.start is None or origin.end is None:
            return self.stored.bytes
        return origin.end - origin.start

    @property
    def is_moving(self) -> bool:
        return self.origin is not None and self.origin.kind in MOVING


def included_files(backup: Backup, keys: Keys) -> list[IncludedFile]:
    """What was included in a backup. Raises as ``proof_of``; no name leads out of a directory."""
    document = backup.trusted()
    stored = [each for each in document.files if each.role == INCLUDE_ROLE]
    paths = {each: include.plain_path(each) for each in stored}
    sealed = _sealed_file(document)
    if sealed is None or not stored:
        names = {path: path.partition("/")[2] for path in paths.values()}
        origins = document.origins
    else:
        with _reading_sealed(backup, sealed, keys) as found:
            names = {path: found["names"][path] for path in paths.values()}
            origins = manifest.origins_from(found.get("origins", []))
    by_path = {each.path: each for each in origins}
    return [IncludedFile(_checked(names[path], document), each, by_path.get(path)) for each, path in paths.items()]


def _checked(name: Any, document: Manifest) -> str:
    try:
        if "\0" not in name:
            return include.checked_name(name)
    except (UsageError, TypeError):
        pass
    raise BackupDamagedError(
        f"the name of an included file is {name!r:.60}.",
        action=f"The backup {document.id} is damaged",
        hint="Use another backup.",
    )


def _sealed_file(document: Manifest) -> StoredFile | None:
    return next((each for each in document.files if each.role == PROOF_ROLE), None)


@contextlib.contextmanager
def _reading_sealed(backup: Backup, stored: StoredFile, keys: Keys) -> Iterator[dict[str, Any]]:
    """What an encrypted backup tells in no other file; what is wrong with it in the block is damage."""
    manifest.check_files(backup.trusted(), backup.path, [stored])
    path = backup.path / stored.path
    content = b""
    with codec.open_artifact(path, stored.compression, stored.encryption, keys) as stream:
        while len(content) < _LONGEST_BYTES and (piece := stream.read(_LONGEST_BYTES)):
            content += piece
    try:
        yield json.loads(content)
    except MALFORMED as error:
        raise BackupDamagedError(f"{error!r:.200}.", action=f"Cannot read {path}", hint="Use another backup.") from None
