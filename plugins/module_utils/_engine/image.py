# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a backup, put together again from its artifacts, and proven."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from . import codec, files, manifest
from .errors import BackupDamagedError, translated
from .manifest import Manifest
from .repository import Backup


def write_image(backup: Backup, dest: Path, *, action: str) -> str:
    """Write the image of ``backup`` into the new private file ``dest`` and flush it; the SHA-256 that it has.

    Raises ``BackupDamagedError`` unless it is exactly the image of the manifest.
    """
    document = backup.trusted()
    stored = document.image_file
    digest = hashlib.sha256()
    left_bytes = document.image.bytes
    artifact = codec.open_artifact(backup.path / stored.path, stored.compression)
    with artifact as stream, translated(f"{action}: cannot write {dest}"), files.create_private(dest) as file:
        while chunk := stream.read(files.CHUNK_BYTES):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                break
            digest.update(chunk)
            files.write_all(file, chunk)
        os.fsync(file.fileno())
    if left_bytes != 0 or digest.hexdigest() != document.image.sha256:
        raise BackupDamagedError(
            f"{action}: what the backup {backup.id} holds is not the image of its manifest.",
            hint="Use another backup, or a copy of this one from off-site.",
        )
    return digest.hexdigest()


def check_artifacts(backup: Backup) -> Manifest:
    """The manifest of ``backup``, after the SHA-256 of every artifact was found right."""
    document = backup.trusted()
    manifest.check_files(document, backup.path)
    return document
