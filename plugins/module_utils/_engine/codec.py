# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stream filters: image → compression → file, and back. No stage holds more than a few MiB."""

from __future__ import annotations

import contextlib
import hashlib
import lzma
import os
import shutil
import subprocess
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Protocol, cast

from . import files
from .errors import BackupDamagedError, EngineError, ProgramMissingError, UsageError, from_os_error

SUFFIXES = {"none": "", "gzip": ".gz", "xz": ".xz", "zstd": ".zst"}
_LEVELS = {"gzip": range(1, 10), "xz": range(10), "zstd": range(1, 20)}
_DEFAULT_LEVELS = {"none": 0, "gzip": 6, "xz": 6, "zstd": 3}
_DECODE_ERRORS = (EOFError, lzma.LZMAError, zlib.error)
_GZIP_WINDOW_BITS = 31  # zlib's number for "gzip header and trailer": https://zlib.net/manual.html#Advanced


class Readable(Protocol):
    def read(self, size: int, /) -> bytes:
        """Up to ``size`` bytes; none at the end."""


class _Sink(Protocol):
    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""

    def close(self) -> None:
        """Pass on what is still held back."""


def choose_compression(wanted: str) -> str:
    """The compression that ``wanted`` means on this host: ``auto`` is zstd where it is installed, else gzip."""
    if wanted == "auto":
        return "zstd" if shutil.which("zstd") else "gzip"
    if wanted not in SUFFIXES:
        raise UsageError(f"Cannot compress with {wanted!r}.", hint=f"Use auto, {', '.join(SUFFIXES)}.")
    return wanted


def check_level(compression: str, level: int | None) -> int:
    """``level``, or the default of this compression; raises ``UsageError`` when it has no such level."""
    if level is None or compression == "none":
        return _DEFAULT_LEVELS[compression]
    allowed = _LEVELS[compression]
    if level not in allowed:
        raise UsageError(
            f"Cannot compress with {compression} at level {level}.", hint=f"Use {allowed[0]} to {allowed[-1]}."
        )
    return level


class ArtifactWriter:
    """Writes one artifact: compresses what it is given, counts and digests what is stored.

    Use it as a context manager; ``stored_bytes`` and ``stored_sha256`` are final after the block, and the bytes are
    on the disk. After an exception the file is incomplete and its directory is the caller's to remove.
    """

    def __init__(self, path: Path, *, compression: str = "none", level: int | None = None) -> None:
        self._action = f"Cannot write {path}"
        level = check_level(compression, level)
        with self._translated():
            self._file = _DigestedFile(path)
            try:
                self._filter = _open_filter(self._file, compression, level)
            except BaseException:
                self._file.close_file()
                raise

    def __enter__(self) -> ArtifactWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._translated():
                    self._filter.close()
                    self._file.sync()
        finally:
            if isinstance(self._filter, _Program):
                self._filter.kill()
            self._file.close_file()

    def write(self, data: bytes) -> None:
        with self._translated():
            self._filter.write(data)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise from_os_error(self._action, error) from error

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


def _open_filter(sink: _DigestedFile, compression: str, level: int) -> _Sink:
    if compression == "gzip":
        return _Compressed(sink, zlib.compressobj(level, wbits=_GZIP_WINDOW_BITS))
    if compression == "xz":
        return _Compressed(sink, lzma.LZMACompressor(preset=level))
    if compression == "zstd":
        return _Program(["zstd", "-q", "-c", "-T0", f"-{level}"], sink)
    return sink


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes:
        """Take data; what can be written by now."""

    def flush(self) -> bytes:
        """What is left."""


class _Compressed:
    """One compressed stream. The writers of ``gzip`` and ``lzma`` would write to a closed file after a failure."""

    def __init__(self, sink: _DigestedFile, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor

    def write(self, data: bytes, /) -> int:
        self._sink.write(self._compressor.compress(data))
        return len(data)

    def close(self) -> None:
        self._sink.write(self._compressor.flush())


def _start(command: list[str], **streams: object) -> subprocess.Popen[bytes]:
    try:
        # pylint: disable-next=ansible-bad-function
        return subprocess.Popen(command, **streams)  # type: ignore[call-overload,no-any-return]
    except FileNotFoundError:
        raise ProgramMissingError(
            f"Cannot run {command[0]}: it is not installed.", hint=f"Install {command[0]}, or name another compression."
        ) from None


def _piped(stream: IO[bytes] | None) -> BinaryIO:
    """One end of a pipe to a program that ``_start`` was asked to make."""
    if stream is None:
        raise EngineError("A program was started without the pipe that is needed.")
    return cast(BinaryIO, stream)


class _Program:
    """A program between us and the sink: what is written goes to its input, its output goes to the sink."""

    def __init__(self, command: list[str], sink: _DigestedFile) -> None:
        self._name = command[0]
        self._sink = sink
        self._failure: OSError | None = None
        pipe = subprocess.PIPE
        self._process = _start(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        self._pump = threading.Thread(target=self._run_pump, daemon=True)
        self._pump.start()

    def _run_pump(self) -> None:
        try:
            while chunk := _piped(self._process.stdout).read(files.CHUNK_BYTES):
                self._sink.write(chunk)
        except OSError as error:
            self._failure = error
            # Ends the writer's side too: its next write meets a closed pipe instead of waiting for ever.
            self._process.kill()

    def write(self, data: bytes, /) -> int:
        try:
            files.write_all(_piped(self._process.stdin), data)
        except BrokenPipeError:
            self._raise_failure()
        return len(data)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            _piped(self._process.stdin).close()
        self._pump.join()
        if self._process.wait() != 0 or self._failure:
            self._raise_failure()

    def _raise_failure(self) -> None:
        self._pump.join()
        if self._failure:
            raise self._failure
        said = _piped(self._process.stderr).read().decode(errors="replace").strip()
        raise EngineError(f"{self._name} failed with exit code {self._process.wait()}: {said}")

    def kill(self) -> None:
        """End the program if it still runs, and release its pipes."""
        self._process.kill()
        self._process.wait()
        self._pump.join()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


@contextlib.contextmanager
def open_artifact(path: Path, compression: str) -> Iterator[Readable]:
    """The content of an artifact as a stream.

    Raises ``BackupDamagedError`` when it cannot be unpacked to its end, ``ProgramMissingError`` without the program.
    """
    try:
        if compression == "zstd":
            with _program_output(["zstd", "-d", "-q", "-c"], path) as stream:
                yield stream
        elif compression in SUFFIXES:
            with open(path, "rb", buffering=0) as file:
                yield _unpacking(file, compression)
        else:
            raise UsageError(
                f"Cannot unpack {path}: unknown compression {compression!r}.", hint="Update the collection."
            )
    except _DECODE_ERRORS as error:
        raise _unpack_error(path, str(error)) from error


def _unpacking(file: Readable, compression: str) -> Readable:
    if compression == "gzip":
        return _Unpacked(file, _Gunzip())
    if compression == "xz":
        return _Unpacked(file, lzma.LZMADecompressor(lzma.FORMAT_XZ))
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
            raise EOFError("it holds more than it should")
        return b""


@contextlib.contextmanager
def _program_output(command: list[str], path: Path) -> Iterator[Readable]:
    with open(path, "rb") as source:
        process = _start(command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        stream = _piped(process.stdout)
        try:
            yield stream
            # Only a stream that was read to its end says by its exit code that it was whole.
            at_end = not stream.read(1)
            said = _piped(process.stderr).read().decode(errors="replace").strip() if at_end else ""
            code = process.wait() if at_end else 1
        finally:
            process.kill()
    if code < 0:
        raise EngineError(f"Cannot unpack {path}: {command[0]} was ended by signal {-code}.", hint="Run again.")
    if code != 0:
        raise _unpack_error(path, said or "it holds more than it should")


def _unpack_error(path: Path, cause: str) -> BackupDamagedError:
    return BackupDamagedError(
        f"Cannot unpack {path}: {cause}.", hint="Use another backup, or a copy of this one from off-site."
    )
