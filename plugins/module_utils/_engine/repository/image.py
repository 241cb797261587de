# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a backup, put together again from the artifacts of its chain, and proven."""

from __future__ import annotations

import concurrent.futures
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from ..sealed import codec
from ..sealed.encryption import Keys
from ..sqlite.snapshot import Progress
from ..system import files, places
from ..system.errors import BackupDamagedError, doing
from . import pages
from .published import Backup

Result = TypeVar("Result")

_POLL_SECONDS = 0.005
_FLUSH_SECONDS = 0.1


def needed_bytes(links: Sequence[Backup]) -> int:
    """The room that ``write_image`` takes: an earlier link may be of a larger database."""
    return max(each.trusted().image.bytes for each in links)


@dataclass(frozen=True)
class Written:
    """An image in the file ``path``, not proven yet. ``sha256`` is that of the file; empty when it is to be made."""

    path: Path
    sha256: str = ""


def write_image(links: Sequence[Backup], dest: Path, keys: Keys, *, progress: Progress | None = None) -> Written:
    """Write the image of the last of ``links`` into the new private file ``dest``.

    Raises ``BackupDamagedError`` when an artifact cannot be read to its end, ``KeyRejectedError`` without its key.
    """
    with doing(step=f"cannot write {dest}"), files.create_private(dest) as file:
        sha256 = _unpack_full(links[0], dest, file, keys, progress)
        for each in links[1:]:
            document = each.trusted()
            stored = document.content_file
            path = each.path / stored.path
            page_size, page_count = document.image.page_size, document.image.page_count
            with codec.open_artifact(path, stored.compression, stored.encryption, keys) as stream:
                pages.apply(stream, file, page_size=page_size, page_count=page_count, where=str(path))
    return Written(dest, "" if links[1:] else sha256)


def _unpack_full(full: Backup, dest: Path, file: BinaryIO, keys: Keys, progress: Progress | None) -> str:
    """Unpack the image of a full backup, and flush it; its SHA-256, made on another core from what is in the file."""
    document = full.trusted()
    stored = document.content_file
    complete = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        digest = pool.submit(_digest_growing, dest, complete, document.image.bytes, progress)
        flushed = pool.submit(_flush_growing, dest, complete)
        try:
            codec.unpack_into(
                full.path / stored.path,
                file,
                compression=stored.compression,
                encryption=stored.encryption,
                keys=keys,
                limit_bytes=document.image.bytes,
            )
        finally:
            complete.set()
        # What a disk refused is told only once, to the first who flushes.
        flushed.result()
        return digest.result()


def _flush_growing(path: Path, complete: threading.Event) -> None:
    """Flush a file that is written meanwhile, again and again, so that little is left when it is ``complete``."""
    while not complete.wait(_FLUSH_SECONDS):
        files.sync_file(path)


def _digest_growing(
    path: Path, complete: threading.Event, expected_bytes: int = 0, progress: Progress | None = None
) -> str:
    """The SHA-256 of a file that is written meanwhile, until it is ``complete``."""
    digest, done_bytes = hashlib.sha256(), 0
    with places.reading(path) as file:
        while True:
            # Asked before the file is read: what was written until then is found.
            was_complete = complete.is_set()
            # On Windows a file that was at its end stays there, until it is told where it is.
            file.seek(done_bytes)
            chunk = file.read(files.CHUNK_BYTES)
            digest.update(chunk)
            done_bytes += len(chunk)
            if progress is not None and chunk:
                progress(done_bytes, expected_bytes)
            if not chunk and was_complete:
                return digest.hexdigest()
            if not chunk:
                time.sleep(_POLL_SECONDS)


def prove(backup: Backup, written: Written, check: Callable[[], Result]) -> Result:
    """What ``check`` finds in the image that was written; meanwhile it is flushed, and its SHA-256 compared.

    Raises ``BackupDamagedError`` unless it is exactly the image of the manifest, whatever ``check`` says.
    """
    path, expected = written.path, backup.trusted().image
    with concurrent.futures.ThreadPoolExecutor(max_workers=3) as pool, doing(step=f"cannot read {path}"):
        digest = pool.submit(lambda: written.sha256 or files.sha256_file(path))
        flushed = pool.submit(files.sync_file, path)
        checked = pool.submit(check)
        if digest.result() != expected.sha256 or files.size_of(path) != expected.bytes:
            raise _damage(backup)
        flushed.result()
        return checked.result()


def _damage(backup: Backup) -> BackupDamagedError:
    return BackupDamagedError(
        f"what the backup {backup.id} holds is not the image of its manifest.",
        hint="Use another backup, or a copy of this one from off-site.",
    )
