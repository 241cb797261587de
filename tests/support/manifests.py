# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest for tests that need one and no backup."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import seal
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import (
    MANIFEST_NAME,
    Image,
    Manifest,
    Origin,
    StoredFile,
    to_bytes,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check, Proof


def example(**changes: Any) -> Manifest:
    """The manifest of a small backup of ``/srv/app/agent.db``, full unless ``changes`` say otherwise."""
    digest = hashlib.sha256(b"image").hexdigest()
    content = StoredFile("database.sqlite.gz", "image", 120, digest, "gzip")
    if changes.get("type") == "incremental":
        content = StoredFile("database.pages.gz", "pages", 120, digest, "gzip")
    manifest = Manifest(
        id="20250102T030405Z-full",
        sequence=7,
        type="full",
        parent=None,
        database=Origin("agent", "/srv/app/agent.db", "ci-1", "app", "app", "0640"),
        reason="before migration 42",
        tags=("release", "4.2"),
        pinned=False,
        suspect=False,
        started="2025-01-02T03:04:05Z",
        finished="2025-01-02T03:04:06Z",
        image=Image(8192, 4096, 2, digest),
        proof=Proof(digest, {"item": 3}, {"user_version": 1, "encoding": "UTF-8"}),
        files=(
            content,
            StoredFile("files/prisma/schema.prisma", "include", 5, digest),
        ),
        checks=(Check("quick_check", "passed"),),
        durations={"read": 0.5},
        versions={"collection": "0.1.0"},
    )
    return dataclasses.replace(manifest, **changes)


def write_files(document: Manifest, directory: Path) -> None:
    """Files of the right sizes for ``document``; a listing looks no closer."""
    for each in document.files:
        path = directory / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(each.bytes))


def sealed(document: dict[str, Any]) -> bytes:
    """``document`` as it must be stored, sealed as docs/format.md says: what a stranger's program would write."""
    content = {key: value for key, value in document.items() if key != "seal"}
    lines = json.dumps(content, indent=2, sort_keys=True).splitlines()
    before = "\n".join(lines[:-1])
    seal = hashlib.sha256(before.encode()).hexdigest()
    return f'{before},\n  "seal": "{seal}"\n}}\n'.encode()


def reseal(backup: Backup, *, rows: int = 3, **changes: Any) -> None:
    """Let the manifest of ``backup`` count so many rows in the table ``item``, and say whatever else ``changes``."""
    document = backup.trusted()
    assert document.proof is not None
    proof = dataclasses.replace(document.proof, tables={"item": rows})
    (backup.path / MANIFEST_NAME).write_bytes(to_bytes(dataclasses.replace(document, proof=proof, **changes)))


def rewrite(path: Path, **changes: Any) -> None:
    """Give a stored manifest other values, and a seal that is right: everybody can make one."""
    document = json.loads(path.read_bytes())
    document.pop("seal", None)
    document.update(changes)
    path.write_bytes(seal.to_bytes(document))
