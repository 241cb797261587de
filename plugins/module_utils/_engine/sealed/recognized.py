# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a file of which nobody tells it is compressed and encrypted, by its first bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..system import files, places
from ..system.errors import SourceMissingError, doing
from ..system.pieces import Readable
from . import ciphertext, codec, pipeline
from . import encryption as encryptions
from .encryption import NO_KEYS, Keys
from .pipeline import ProgramFailedError

_COMPRESSED = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_LONGEST_START = 16
_AGE = b"age-encryption.org/"


def way(path: Path, keys: Keys = NO_KEYS) -> tuple[str, str]:
    """The compression and the encryption of a file. Raises ``KeyRejectedError`` when only a key could tell."""
    method = _encryption(path)
    start = _start(path) if method == "none" else _decrypted_start(path, method, keys)
    return next((name for magic, name in _COMPRESSED.items() if start.startswith(magic)), "none"), method


def opened(path: Path, keys: Keys = NO_KEYS) -> contextlib.AbstractContextManager[Readable]:
    """The content of a file as a stream, see ``codec.open_artifact``, whatever it was stored with."""
    return codec.open_artifact(path, *way(path, keys), keys)


def _start(path: Path, size: int = _LONGEST_START) -> bytes:
    with doing(f"Cannot read {path}"):
        try:
            with places.reading(path, alone=False) as file:
                return files.read_exactly(file, size)
        except FileNotFoundError:
            raise SourceMissingError("the file does not exist.", hint="Check the path.") from None


def _encryption(path: Path) -> str:
    start = _start(path, ciphertext.HEAD_BYTES)
    if start.startswith(_AGE):
        return "age"
    try:
        ciphertext.openpgp_readers(start)
    except ValueError:
        return "none"
    return "gpg"


def _decrypted_start(path: Path, method: str, keys: Keys) -> bytes:
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(places.reading(path, alone=False))
        commands = stack.enter_context(encryptions.decrypting(path, method, keys))
        stack.enter_context(doing(f"Cannot decrypt {path}"))
        stream = stack.enter_context(pipeline.reading(commands, file))
        try:
            return stream.read(_LONGEST_START)
        except ProgramFailedError as error:
            raise encryptions.explained(error, keys) from error
