# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file that an export makes, or the directory of files. It gets its name when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sealed import encryption as encryptions
from ..sealed import recognized
from ..sealed.encryption import Encryption, Keys
from ..sqlite import database
from ..system import files, places
from ..system.errors import EngineError, RefusedError, UsageError, doing
from . import destination


@dataclass(frozen=True)
class Text:
    """A text by what tells it from others."""

    bytes: int
    sha256: str


class Written:
    """What will be at ``into``. ``folder`` says that it is a directory, and its files have names; else the name is "".

    Raises ``RefusedError`` for a place in the repository ``not_below``.
    """

    def __init__(self, into: Path, *, folder: bool, not_below: Path | None) -> None:
        self._folder = folder
        self.path = _folder(into) if folder else destination.checked(into)
        if not_below is not None and self.path.is_relative_to(os.path.realpath(not_below)):
            raise RefusedError("that is inside the repository.", hint="Name a file in another directory.")
        self._arriving = self.path.with_name(files.temporary_name(self.path.name))

    @contextlib.contextmanager
    def arriving(self) -> Iterator[None]:
        """The block in which the content is made; what then has not got its name goes away."""
        try:
            yield
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what was made so far, by this run or by one that was killed."""
        if self._arriving.is_dir() and not self._arriving.is_symlink():
            files.remove_tree(self._arriving)
        else:
            files.remove_file(self._arriving)

    def begin(self) -> None:
        """Make a place for the content."""
        self.discard()
        if self._folder:
            with doing(step=f"cannot write {self.path}"):
                files.create_directory(self._arriving)

    def arriving_path(self, name: str) -> Path:
        """Where a file is until it has its name."""
        return self._arriving / name if self._folder else self._arriving

    def holds(self, texts: Mapping[str, Text], compression: str, encryption: Encryption, keys: Keys) -> bool:
        """Whether these texts are what is there already, stored in just this way."""
        there = self._there()
        if there is None or set(there) != set(texts):
            return False
        with contextlib.suppress(EngineError, OSError):
            return all(
                recognized.way(path, keys) == (compression, encryption.method)
                and _is_for(path, encryption)
                and _is_of(path, keys, texts[name])
                for name, path in there.items()
            )
        return False

    def _there(self) -> dict[str, Path] | None:
        """The files that are there; None when the place is free. A directory may have none."""
        if self._folder:
            return {name: self.path / name for name in places.names(self.path)} if self.path.is_dir() else None
        return {"": self.path} if self.path.exists() else None

    def check_is_free(self, *, force: bool) -> None:
        """Raise ``RefusedError`` unless nothing is there, or with ``force`` a file that is no database."""
        if not os.path.lexists(self.path):
            return
        if self._folder:
            raise RefusedError("that exists, and holds something else.", hint="Name a new directory.")
        if not force:
            raise RefusedError(
                "that exists, and holds something else, or is stored otherwise.",
                hint="Name a new file, or give force.",
            )
        if database.read_header(self.path) is not None:
            raise RefusedError("a database is there.", hint="Name a file that is none.")

    def publish(self) -> None:
        """Give it its name. All of it is on the disk."""
        with doing(step=f"cannot write {self.path}"):
            if self._folder:
                files.publish_directory(self._arriving, self.path)
            else:
                files.move_file(self._arriving, self.path)

    def facts(self) -> dict[str, Any]:
        """Whether it exists, and its bytes."""
        size_bytes = files.tree_bytes(self.path) if self._folder else files.size_of(self.path)
        return {"exists": os.path.lexists(self.path), "bytes": size_bytes}


def _folder(into: Path) -> Path:
    path = Path(os.path.abspath(into))
    if not path.parent.is_dir():
        raise UsageError(f"the directory {path.parent} does not exist.", hint="Create it with its owner and mode.")
    return path


def _is_for(path: Path, encryption: Encryption) -> bool:
    """Whether it can be read by as many as it should be; who they are it does not tell."""
    encryptions.check_ciphertext(path, encryption)
    return True


def _is_of(path: Path, keys: Keys, text: Text) -> bool:
    """Whether a file holds just this text. What is there may unpack to anything: no more is read than that has."""
    digest, left_bytes = hashlib.sha256(), text.bytes
    with recognized.opened(path, keys) as stream:
        while left_bytes >= 0 and (chunk := stream.read(min(left_bytes + 1, files.CHUNK_BYTES))):
            digest.update(chunk)
            left_bytes -= len(chunk)
    return left_bytes == 0 and digest.hexdigest() == text.sha256
