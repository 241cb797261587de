# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is stored of a snapshot, in one reading: page digests, image digest, compression and file go on together."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Generic, TypeVar

from ..sealed import codec
from ..sealed.encryption import NOT_ENCRYPTED, Encryption
from ..sqlite.snapshot import Progress, Snapshot
from ..system import files, held, owners, places, rights
from ..system.clock import Deadline
from ..system.errors import EngineError, RefusedError, SourceBusyError, doing
from . import pages
from .manifest import StoredFile

Result = TypeVar("Result")

_LONGEST_WAIT_SECONDS = 1e6
_INTERRUPT_SECONDS = 0.05


@dataclass(frozen=True)
class Storage:
    """Where artifacts are staged, how the image is compressed, and how all of them are encrypted."""

    directory: Path
    compression: str = "none"
    level: int | None = None
    encryption: Encryption = NOT_ENCRYPTED

    def write(self, name: str, role: str, chunks: Iterable[bytes], *, compressed: bool = False) -> StoredFile:
        """Store what ``chunks`` yields as one artifact; ``name`` gets the endings that tell how to read it."""
        compression, level = (self.compression, self.level) if compressed else ("none", None)
        stored_name = name + codec.suffix(compression, self.encryption.method)
        path = self.directory / stored_name
        with doing(f"Cannot write {path}"):
            files.make_private_directory(path.parent)
        writer = codec.ArtifactWriter(path, compression=compression, level=level, encryption=self.encryption)
        with writer:
            for chunk in chunks:
                writer.write(chunk)
        method = self.encryption.method
        return StoredFile(stored_name, role, writer.stored_bytes, writer.stored_sha256, compression, method)

    def check_reader(self, file: BinaryIO) -> None:
        """Raise ``RefusedError`` when the owner of what is stored may not read ``file``, but could rename it."""
        owner = owners.other_owner(self.directory)
        if owner is not None and not rights.may_read(file.fileno(), owner.st_uid):
            raise RefusedError(
                "the owner of the repository may not read it.",
                hint="Let that user read it, leave it out of include, or name a repository of root's.",
            )

    def try_to_write(
        self, name: str, role: str, chunks: Iterable[bytes], *, compressed: bool = False
    ) -> StoredFile | EngineError:
        """As ``write``; the error that ``chunks`` end with is an answer, and nothing of the artifact stays then.

        What cannot be written is an error as ever: it is one of the backup, not of what is to be in it.
        """
        source = _Source(chunks)
        try:
            return self.write(name, role, source, compressed=compressed)
        except EngineError as error:
            if error is not source.error:
                raise
            failure = error
        compression = self.compression if compressed else "none"
        path = self.directory / (name + codec.suffix(compression, self.encryption.method))
        with doing(f"Cannot remove {path}"):
            files.remove_file(path)
            for parent in path.parents:
                if parent == self.directory or places.names(parent):
                    break
                with places.at(parent) as (empty, above):
                    held.rmdir(empty, dir_fd=above)
        return failure


class _Source:
    """Chunks, and the ``error`` that they end with, if it is theirs."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = chunks
        self.error: EngineError | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._chunks
        except EngineError as error:
            self.error = error
            raise


class TooManyChangesError(Exception):
    """More pages changed than an incremental backup is good for."""


class Reading:
    """One reading of an image. Afterwards ``sha256`` is that of the image, and ``index`` holds its pages."""

    def __init__(
        self, image: Snapshot, index: pages.IndexWriter | None = None, progress: Progress | None = None
    ) -> None:
        self._image = image
        self._index = index
        self._progress = progress
        self._digest = hashlib.sha256()
        self.changed_pages = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def whole(self) -> Iterator[bytes]:
        """The image, in order."""
        for _first_page, chunk in self._chunks():
            self._note(pages.digests(chunk, self._image.page_size) if self._index else b"")
            yield chunk
        self.changed_pages = self._image.page_count

    def changes(self, old: pages.Index, *, limit_pages: int | None = None) -> Iterator[bytes]:
        """The stream of the pages that are not in ``old``; its first piece comes with the first of them, or at the end.

        Raises ``TooManyChangesError`` past the limit.
        """
        size = self._image.page_size
        pending = pages.header(size, self._image.page_count)
        for first_page, chunk in self._chunks():
            new = pages.digests(chunk, size)
            self._note(new)
            places = pages.changed_places(old.read(len(new) // pages.DIGEST_BYTES), new)
            self.changed_pages += len(places)
            if limit_pages is not None and self.changed_pages > limit_pages:
                raise TooManyChangesError
            if places:
                view = memoryview(chunk)
                records = [pages.record(first_page + each, view[each * size : (each + 1) * size]) for each in places]
                yield b"".join([pending, *records])
                pending = b""
        yield pending + pages.END

    def _chunks(self) -> Iterator[tuple[int, bytes]]:
        """The first page of each chunk, and the chunk; the image is digested beside, one chunk behind."""
        first_page = 1
        with concurrent.futures.ThreadPoolExecutor(max_workers=1) as pool:
            digested = pool.submit(self._digest.update, b"")
            for chunk in self._image.chunks():
                digested.result()
                digested = pool.submit(self._digest.update, chunk)
                yield first_page, chunk
                first_page += len(chunk) // max(1, self._image.page_size)
                if self._progress is not None:
                    self._progress(min(first_page - 1, self._image.page_count), self._image.page_count)

    def _note(self, page_digests: bytes) -> None:
        if self._index is not None:
            self._index.add(page_digests)


def is_image_of(index: pages.Index, image: Snapshot, page_count: int) -> bool:
    """Whether ``image`` has just the ``page_count`` pages of ``index``; stops at the first that differs."""
    if image.page_count != page_count:
        return False
    # An image that was read before, and had to be read again, has left it anywhere.
    index.rewind()
    for chunk in image.chunks():
        new = pages.digests(chunk, image.page_size)
        if index.read(len(new) // pages.DIGEST_BYTES) != new:
            return False
    return True


class Beside(Generic[Result]):
    """Work on another core that looks at the image through its connection while it is read.

    Use it as a context manager: when the block fails, or ends without asking for ``result``, the work is interrupted.
    """

    def __init__(self, image: Snapshot, work: Callable[[], Result]) -> None:
        self._image = image
        self._work = work
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._future: concurrent.futures.Future[Result] | None = None

    def start(self) -> None:
        if self._future is None:
            self._future = self._pool.submit(self._work)

    def result(self, deadline: Deadline) -> Result:
        """What the work found; raises ``SourceBusyError`` when it is not done by the deadline."""
        self.start()
        try:
            # Never None after `start`.
            return self._future.result(deadline.remaining_seconds(_LONGEST_WAIT_SECONDS))  # type: ignore[union-attr]
        except concurrent.futures.TimeoutError:
            raise SourceBusyError(
                "the check did not end before the timeout.", hint="Raise timeout, or choose check: none."
            ) from None

    def __enter__(self) -> Beside[Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Again and again: an interrupt ends only the statement that runs just then.
        while self._future is not None and not self._future.done() and self._image.connection is not None:
            self._image.connection.interrupt()
            concurrent.futures.wait([self._future], _INTERRUPT_SECONDS)
        self._pool.shutdown()
