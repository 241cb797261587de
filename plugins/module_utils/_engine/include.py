# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Further files beside an image: a Prisma schema, a log, a ``.env`` without its secrets."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from . import codec, files
from .errors import SourceMissingError, UsageError, translated
from .manifest import INCLUDE_ROLE, Manifest, StoredFile

DIRECTORY = "files"
_REDACTED = b"<redacted>"


@dataclass(frozen=True)
class Include:
    """A file or a directory ``src`` to keep as ``name``; ``redact`` keeps the names of settings and drops their values."""

    src: Path
    name: str = ""
    redact: bool = False


@dataclass(frozen=True)
class Included:
    """One regular file that will be stored as ``files/<name>``."""

    path: Path
    name: str
    redact: bool
    sha256: str

    def chunks(self) -> Iterator[bytes]:
        """What is stored of it."""
        with translated(f"Cannot include {self.path}"), open(self.path, "rb") as file:
            if self.redact:
                yield redacted(file.read())
            else:
                while chunk := file.read(files.CHUNK_BYTES):
                    yield chunk


def gather(wanted: Sequence[Include], *, source: Path, action: str) -> list[Included]:
    """Every file that ``wanted`` names, by stored name. Nothing is left out silently."""
    found: dict[str, Included] = {}
    for each in wanted:
        root = _checked_name(each.name or each.src.name)
        if not each.src.exists():
            raise SourceMissingError(
                f"{action}: the file to include, {each.src}, does not exist.", hint="Correct include, or remove it there."
            )
        for path in _regular_files(each.src):
            name = root if path == each.src else str(PurePosixPath(root, *path.relative_to(each.src).parts))
            if os.path.samefile(path, source):
                raise UsageError(f"{action}: include names the database itself.", hint="Remove it from include.")
            if name in found:
                raise UsageError(f"{action}: include names two files {name!r}.", hint="Give one of them another name.")
            found[name] = _digested(Included(path, name, each.redact, ""))
    return [found[name] for name in sorted(found)]


def _regular_files(src: Path) -> list[Path]:
    if src.is_file():
        return [src]
    return sorted(path for path in src.rglob("*") if path.is_file() and not path.is_symlink())


def _checked_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or ":" in name:
        raise UsageError(f"Cannot include a file as {name!r}.", hint="Use a relative name without '..' and ':'.")
    return str(path)


def _digested(included: Included) -> Included:
    digest = hashlib.sha256()
    for chunk in included.chunks():
        digest.update(chunk)
    return Included(included.path, included.name, included.redact, digest.hexdigest())


def redacted(text: bytes) -> bytes:
    """``text`` with the value of every ``NAME=value`` line, and every line that is no setting, taken out.

    Empty lines stay, and so do comments without an equals sign. A value over several lines is taken out whole.
    """
    lines = []
    for line in text.splitlines():
        setting = re.match(rb"\s*(?:#\s*)?(?:export\s+)?[A-Za-z_][A-Za-z0-9_.]*\s*=", line)
        if setting:
            lines.append(setting.group() + _REDACTED)
        elif not line.strip() or (line.lstrip().startswith(b"#") and b"=" not in line):
            lines.append(line)
        else:
            lines.append(_REDACTED)
    return b"\n".join([*lines, b""])


def digests(included: Sequence[Included]) -> dict[str, str]:
    return {each.name: each.sha256 for each in included}


def stored_digests(manifest: Manifest) -> dict[str, str]:
    """The files that a backup holds, and the SHA-256 of each."""
    prefix = f"{DIRECTORY}/"
    return {each.path[len(prefix) :]: each.sha256 for each in manifest.files if each.role == INCLUDE_ROLE}


def store(included: Sequence[Included], staging: Path) -> list[StoredFile]:
    """Store every file in the staged backup."""
    stored = []
    for each in included:
        path = staging / DIRECTORY / each.name
        files.make_private_directory(path.parent)
        with codec.ArtifactWriter(path) as writer:
            for chunk in each.chunks():
                writer.write(chunk)
        stored.append(
            StoredFile(f"{DIRECTORY}/{each.name}", INCLUDE_ROLE, writer.stored_bytes, writer.stored_sha256)
        )
    return stored
