# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stream filters: image → compression → encryption → file, and back. No stage holds more than a few MiB."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Protocol

from ..system import files, launch, places
from ..system.errors import BackupDamagedError, EngineError, UsageError, doing
from ..system.pieces import Readable
from . import encryption as encryptions
from . import pipeline
from .encryption import NO_KEYS, NOT_ENCRYPTED, Encryption, Keys
from .pipeline import Command, ProgramFailedError, Sink

SUFFIXES = {"none": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}
_LEVELS = {"gzip": range(1, 10), "xz": range(10), "zstd": range(1, 20)}
_DEFAULT_LEVELS = {"none": 0, "gzip": 6, "xz": 6, "zstd": 3}
_DECODE_ERRORS = (EOFError, lzma.LZMAError, zlib.error)
_TOO_LONG = "it holds more than it should"
_GZIP_WINDOW_BITS = 31  # zlib's number for "gzip header and trailer": https://zlib.net/manual.html#Advanced


def suffix(compression: str, encryption: str = "none") -> str:
    """What the name of an artifact ends with: ".zst.age" for zstd in age."""
    return SUFFIXES[compression] + encryptions.SUFFIXES[encryption]


def check_known(compression: str, encryption: str) -> None:
    """Raise ``UsageError`` for a way to store that this version does not know."""
    for known, method in ((SUFFIXES, compression), (encryptions.SUFFIXES, encryption)):
        if method not in known:
            raise UsageError(f"it is stored with {method!r}.", hint="Update the collection.")


def choose_compression(wanted: str) -> str:
    """The compression that ``wanted`` means on this host: ``auto`` is zstd where it is installed, else gzip."""
    if wanted == "auto":
        return "zstd" if launch.find("zstd") else "gzip"
    if wanted not in SUFFIXES:
        raise UsageError(f"Cannot compress with {wanted!r}.", action="", hint=f"Use auto, {', '.join(SUFFIXES)}.")
    return wanted


def check_level(compression: str, level: int | None) -> int:
    """``level``, or the default of this compression; raises ``UsageError`` when it has no such level."""
    if level is None or compression == "none":
        return _DEFAULT_LEVELS[compression]
    allowed = _LEVELS[compression]
    if level not in allowed:
        raise UsageError(
            f"Cannot compress with {compression} at level {level!r:.20}.",
            action="",
            hint=f"Use {allowed[0]} to {allowed[-1]}.",
        )
    return level


def check_wanted_level(compression: str, level: int | None) -> None:
    """Raise ``UsageError`` for a level that this compression has on no host: ``auto`` is zstd on some."""
    check_level("zstd" if compression == "auto" else compression, level)


class ArtifactWriter:
    """Writes one artifact: compresses and encrypts what it is given, counts and digests what is stored.

    Use it as a context manager; ``stored_bytes`` and ``stored_sha256`` are final after the block, the bytes are on the
    disk, and an encrypted artifact begins as one that exactly the wanted readers can read. After an exception the file
    is incomplete and its directory is the caller's to remove.
    """

    def __init__(
        self,
        path: Path,
        *,
        compression: str = "none",
        level: int | None = None,
        encryption: Encryption = NOT_ENCRYPTED,
    ) -> None:
        self._path = path
        self._encryption = encryption
        level = check_level(compression, level)
        with self._doing(), contextlib.ExitStack() as stack:
            self._file = _DigestedFile(path)
            stack.callback(self._file.close_file)
            commands = stack.enter_context(encryptions.encrypting(encryption))
            if compression == "zstd":
                commands = [Command(("zstd", "-q", "-c", "-T0", f"-{level}")), *commands]
            self._filter: Sink = self._file
            if commands:
                row = pipeline.Filter(commands, self._file)
                stack.callback(row.end)
                self._filter = row
            if compression in _COMPRESSORS:
                self._filter = _Compressed(self._filter, _COMPRESSORS[compression](level))
            self._open = stack.pop_all()

    def __enter__(self) -> ArtifactWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._open:
            if kind is None:
                with self._doing():
                    self._filter.close()
                    self._file.sync()
                    encryptions.check_ciphertext(self._path, self._encryption)

    def write(self, data: bytes) -> None:
        with self._doing():
            self._filter.write(data)

    @contextlib.contextmanager
    def _doing(self) -> Iterator[None]:
        with doing(f"Cannot write {self._path}"):
            try:
                yield
            except ProgramFailedError as error:
                raise error.of_the_host() or EngineError(error.cause) from error

    @property
    def stored_bytes(self) -> int:
        return self._file.stored_bytes

    @property
    def stored_sha256(self) -> str:
        return self._file.digest.hexdigest()


class _DigestedFile:
    """The end of every pipeline: a private file, its size and its SHA-256."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = files.create_private(path)
        self.digest = hashlib.sha256()
        self.stored_bytes = 0

    def write(self, data: bytes, /) -> int:
        files.write_all(self._file, data)
        self.digest.update(data)
        self.stored_bytes += len(data)
        return len(data)

    def close(self) -> None:
        """The filter above is done; the file stays open until it is on the disk."""

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close_file(self) -> None:
        self._file.close()


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes:
        """Take data; what can be written by now."""

    def flush(self) -> bytes:
        """What is left."""


class _Compressed:
    """One compressed stream. The writers of ``gzip`` and ``lzma`` would write to a closed file after a failure."""

    def __init__(self, sink: Sink, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor

    def write(self, data: bytes, /) -> int:
        self._sink.write(self._compressor.compress(data))
        return len(data)

    def close(self) -> None:
        self._sink.write(self._compressor.flush())
        self._sink.close()


_COMPRESSORS: dict[str, Callable[[int], _Compressor]] = {
    "gzip": lambda level: zlib.compressobj(level, wbits=_GZIP_WINDOW_BITS),
    "xz": lambda level: lzma.LZMACompressor(preset=level),
}


@contextlib.contextmanager
def open_artifact(path: Path, compression: str, encryption: str = "none", keys: Keys = NO_KEYS) -> Iterator[Readable]:
    """The content of an artifact as a stream; ``compression`` and ``encryption`` are those of the manifest.

    Raises ``BackupDamagedError`` when it cannot be unpacked to its end, ``KeyRejectedError`` when it cannot be
    decrypted with these keys, ``ProgramMissingError`` without the program.
    """
    with _explained(path, keys), _opened(path, compression, encryption, keys) as (commands, file):
        if not commands:
            yield _unpacking(file, compression)
            return
        with pipeline.reading(commands, file) as stream:
            content = _unpacking(stream, compression)
            yield content
            # Only a stream that was read to its end has shown that it was whole.
            if content.read(1):
                raise EOFError(_TOO_LONG)


def unpack_into(
    path: Path, file: BinaryIO, *, compression: str, encryption: str = "none", keys: Keys = NO_KEYS, limit_bytes: int
) -> int:
    """Write the whole content of an artifact into the empty open file, as fast as can be; the bytes that it has.

    Errors as of ``open_artifact``, and ``OSError`` when the file cannot be written. More than ``limit_bytes`` is
    damage, noticed before it fills the disk; whether it is less is the caller's to check, and so is the content.
    """
    with _explained(path, keys), _opened(path, compression, encryption, keys) as (commands, source):
        if commands and compression not in _DECOMPRESSORS:
            pipeline.pour(commands, source, file, limit_bytes=limit_bytes)
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > limit_bytes:
                raise EOFError(_TOO_LONG)
            return size_bytes
    left_bytes = limit_bytes
    with open_artifact(path, compression, encryption, keys) as stream:
        while chunk := stream.read(files.CHUNK_BYTES):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise _unpack_error(path, _TOO_LONG)
            files.write_all(file, chunk)
    return limit_bytes - left_bytes


@contextlib.contextmanager
def _opened(path: Path, compression: str, encryption: str, keys: Keys) -> Iterator[tuple[list[Command], BinaryIO]]:
    """The programs that an artifact goes through before Python sees it, and its file."""
    with doing(f"Cannot unpack {path}"):
        check_known(compression, encryption)
    unpacking = [Command(("zstd", "-d", "-q", "-c"))] if compression == "zstd" else []
    with contextlib.ExitStack() as stack:
        with doing(f"Cannot read {path}"):
            file = stack.enter_context(places.reading(path, alone=False))
            decrypting = stack.enter_context(encryptions.decrypting(path, encryption, keys))
        yield [*decrypting, *unpacking], file


@contextlib.contextmanager
def _explained(path: Path, keys: Keys) -> Iterator[None]:
    """Turn what decoders and programs say into the engine's errors."""
    try:
        yield
    except _DECODE_ERRORS as error:
        raise _unpack_error(path, str(error)) from error
    except ProgramFailedError as error:
        if error.name in encryptions.SUFFIXES:
            with doing(f"Cannot decrypt {path}"):
                raise encryptions.explained(error, keys) from error
        with doing(f"Cannot unpack {path}"):
            raise error.of_the_host() or _unpack_error(path, error.words or "it cannot be read") from error


def _unpacking(file: Readable, compression: str) -> Readable:
    if compression in _DECOMPRESSORS:
        return _Unpacked(file, _DECOMPRESSORS[compression]())
    return file


class _Decompressor(Protocol):
    """As ``lzma.LZMADecompressor``: what ``decompress`` cannot return for ``max_length`` waits for the next call."""

    @property
    def eof(self) -> bool:
        """Whether the stream came to its end."""

    @property
    def needs_input(self) -> bool:
        """Whether the next call needs more data."""

    @property
    def unused_data(self) -> bytes:
        """What follows the end of the stream."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Up to ``max_length`` bytes of the content."""


class _Gunzip:
    """zlib's own decompressor, with the interface of that of xz."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW_BITS)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


class _Unpacked:
    """One compressed stream that is the whole file.

    The readers of ``gzip`` and ``lzma`` take an empty file, or bytes behind the end, for fine. Read at least one byte.
    """

    def __init__(self, file: Readable, decompressor: _Decompressor) -> None:
        self._file = file
        self._decompressor = decompressor

    def read(self, size: int, /) -> bytes:
        while not self._decompressor.eof:
            data = self._file.read(files.CHUNK_BYTES) if self._decompressor.needs_input else b""
            starved = self._decompressor.needs_input and not data
            if chunk := self._decompressor.decompress(data, size):
                return chunk
            if starved:
                raise EOFError("it ends too early")
        if self._decompressor.unused_data or self._file.read(1):
            raise EOFError(_TOO_LONG)
        return b""


_DECOMPRESSORS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gunzip,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ),
}


def _unpack_error(path: Path, cause: str) -> BackupDamagedError:
    return BackupDamagedError(
        f"{cause}.", action=f"Cannot unpack {path}", hint="Use another backup, or a copy of this one from off-site."
    )
