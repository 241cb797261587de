# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Further files beside an image: a Prisma schema, a log, a ``.env`` without its secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..sealed import codec
from ..system import files, owners, places
from ..system.clock import Deadline
from ..system.errors import SourceBusyError, SourceMissingError, UsageError, doing
from .inclusion import FILE, MOVING, Include, checked_name, requested
from .manifest import INCLUDE_ROLE, FileOrigin, Manifest, StoredFile

__all__ = ["Include", "checked_name", "requested"]

DIRECTORY = "files"
Writing = Callable[[str, str, Iterable[bytes]], StoredFile]
"""Stores what an iterable yields under a path, in a role."""

_REDACTED = b"<redacted>"
_COMMENT = b"#"
_MOST_SETTINGS_BYTES = 1024 * 1024
_NEVER = Deadline(None)
# What is longer may be a key, and no name.
_SETTING = re.compile(rb"\s*(?:#\s*)?(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]{0,63})\s*=")
# An apostrophe inside a word opens nothing.
_OPENED = re.compile(rb"\"|(?<!\w)['`]")
_QUOTED = re.compile(rb"\"[^\"]*\"|(?<!\w)'[^']*'|(?<!\w)`[^`]*`")
_LONGEST_WORD = 16


@dataclass(frozen=True)
class Included:
    """One regular file that will be stored as ``files/<name>``; ``given`` is its path as the operator names it.

    ``content`` is what a ``url`` answered, where it is no file.
    """

    path: Path
    name: str
    redact: bool
    sha256: str
    size_bytes: int = sys.maxsize
    given: Path | None = None
    kind: str = FILE
    content: bytes | None = None

    def chunks(self) -> Iterator[bytes]:
        """What is stored of it: of a file that grew since it was gathered, what it had by then."""
        if self.content is not None:
            yield self.content
            return
        with doing(f"Cannot include {self.path}"), places.reading(self.path) as file:
            if self.redact:
                yield redacted(self._settings(file))
                return
            rest_bytes = self.size_bytes
            while chunk := file.read(min(rest_bytes, files.CHUNK_BYTES)):
                rest_bytes -= len(chunk)
                yield chunk

    def _settings(self, file: BinaryIO) -> bytes:
        text = files.read_exactly(file, _MOST_SETTINGS_BYTES + 1)
        if len(text) > _MOST_SETTINGS_BYTES:
            raise UsageError(
                f"more than {files.readable(_MOST_SETTINGS_BYTES)} are too much to redact.",
                hint="Remove it from include, or keep the settings in a file of their own.",
            )
        return text


def gather(wanted: Sequence[Include], *, source: Path, deadline: Deadline = _NEVER, ending: str = "") -> list[Included]:
    """Every file that ``wanted`` names, by stored name, and in a directory ends with ``ending``.

    Raises ``SourceBusyError`` when they were not read by the deadline: a file of holes can be endless.
    """
    found: dict[str, Included] = {}
    for each in wanted:
        if each.src is None:
            continue
        root, src = each.stored_name, _found(each.src)
        for path in _regular_files(src):
            if not path.name.endswith(ending):
                continue
            # Checked again: a name deep in a directory must fit into the manifest as well.
            name = root if path == src else checked_name("/".join((root, *path.relative_to(src).parts)))
            if os.path.samefile(path, source):
                raise UsageError("include names the database itself.", hint="Remove it from include.")
            if name in found:
                raise UsageError(f"include names two files {name!r}.", hint="Give one of them another name.")
            given = Path(os.path.abspath(each.src)) / path.relative_to(src)
            one = Included(path, name, each.redact, "", given=given, kind=each.kind)
            found[name] = digested(one, deadline, limit_bytes=each.limit_bytes)
    _check_nesting(found)
    return [found[name] for name in sorted(found)]


def check_names(names: Sequence[str]) -> None:
    """Raise ``UsageError`` unless all can be stored beside each other."""
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise UsageError(f"include names two files {twice!r}.", hint="Give one of them another name.")
    _check_nesting(names)


def _found(given: Path) -> Path:
    with doing(step=f"cannot include {given}"), contextlib.suppress(FileNotFoundError):
        src = places.resolved(given)
        if os.path.lexists(src):
            return src
    raise SourceMissingError(
        f"the file to include, {given}, does not exist.", hint="Correct include, or remove it there."
    )


def _check_nesting(names: Iterable[str]) -> None:
    """No name may be a file and, for another name, a directory."""
    directories = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    for name in names:
        if name in directories:
            raise UsageError(
                f"include names {name!r} both as a file and as a directory.",
                hint="Give one of them another name.",
            )


def _regular_files(src: Path) -> list[Path]:
    """``src``, or the regular files below it; symbolic links there, and what is not a file, are left out."""
    if src.is_file():
        return [src]
    if not src.is_dir():
        raise UsageError(f"{src} is neither a file nor a directory.", hint="Remove it from include.")
    with doing(step=f"cannot read {src}"):
        return places.regular_files(src)


def digested(included: Included, deadline: Deadline = _NEVER, *, limit_bytes: int = sys.maxsize) -> Included:
    """With its size and digest; raises when there is more than ``limit_bytes`` of it."""
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in included.chunks():
        if deadline.passed():
            raise SourceBusyError(
                f"the file to include, {included.path}, could not be read before the timeout.",
                hint="Raise timeout, or remove the file from include.",
            )
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise UsageError(
                f"{included.path} has more than {files.readable(limit_bytes)}.",
                hint="Raise limit_mib, or leave it out.",
            )
    return dataclasses.replace(included, sha256=digest.hexdigest(), size_bytes=size_bytes)


def redacted(text: bytes) -> bytes:
    """``text`` with the value of every ``NAME=value`` line, and every line that is not a setting, taken out.

    Empty lines stay. Of a comment only its ``#`` stays, unless it is a setting with a value: old keys live in
    comments. A value over several lines is taken out whole: one of its lines may look like a setting (the end of a
    key in base64) or like a comment.
    """
    lines = []
    going_on = b""
    behind_value = False
    for line in text.splitlines():
        setting = None if going_on else _SETTING.match(line)
        # What only ends with equals signs may be a key in base64, not a name.
        bare = setting is not None and not line[setting.end() :].strip(b" \t=")
        comment = line.lstrip().startswith(b"#")
        if not going_on and (not line.strip() or (comment and (bare or b"=" not in line))):
            lines.append(_COMMENT if comment else line)
            continue
        if setting and not (bare and (behind_value or not _is_name(setting[1]) or line[setting.end() :].strip())):
            lines.append(setting.group() + _REDACTED)
            behind_value = False
        else:
            lines.append(_REDACTED)
            behind_value = True
        going_on = _going_on(line[setting.end() :] if setting else line, going_on)
    return b"\n".join([*lines, b""])


def _is_name(word: bytes) -> bool:
    """Whether a word is rather the name of a setting than a key in base64 or base32."""
    longest = max(map(len, re.split(rb"[_.]", word)))
    return word in (word.upper(), word.lower()) and longest <= _LONGEST_WORD


def _going_on(text: bytes, before: bytes) -> bytes:
    """The quote that a line leaves open, or the backslash at its end; empty when its value ends with it.

    ``before`` is what the line above left open. In doubt the value goes on: that hides a name, never shows a value.
    """
    text = re.sub(rb"\\.", b".", text)
    if before not in (b"", b"\\"):
        _inside, closed, text = text.partition(before)
        if not closed:
            return before
    opened = _OPENED.search(_QUOTED.sub(b" ", text))
    if opened:
        return opened.group()
    return b"\\" if text.endswith(b"\\") else b""


def digests(included: Sequence[Included]) -> dict[str, str]:
    return {each.name: each.sha256 for each in included if each.kind not in MOVING}


def stored_digests(manifest: Manifest) -> dict[str, str]:
    """The files that a backup holds, but what changes all the time, and the SHA-256 of each."""
    prefix = f"{DIRECTORY}/"
    moving = {each.path for each in manifest.origins if each.kind in MOVING}
    stored = [each for each in manifest.files if each.role == INCLUDE_ROLE and plain_path(each) not in moving]
    return {each.path[len(prefix) :]: each.sha256 for each in stored}


def plain_path(stored: StoredFile) -> str:
    """The path of an included file without the endings that tell how to read it."""
    return stored.path[: len(stored.path) - len(codec.suffix(stored.compression, stored.encryption))]


@dataclass(frozen=True)
class Stored:
    """Included files in a backup: which stored path, without endings, is which name, and where each was."""

    files: tuple[StoredFile, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    origins: tuple[FileOrigin, ...] = ()


def store(included: Sequence[Included], write: Writing, *, opaque: bool) -> Stored:
    """Store every file. ``opaque`` paths tell nothing of the names."""
    stored, names, origins = [], {}, []
    for number, each in enumerate(included, start=1):
        path = f"{DIRECTORY}/{number if opaque else each.name}"
        stored.append(write(path, INCLUDE_ROLE, each.chunks()))
        names[path] = each.name
        origins.append(_origin(each, path))
    return Stored(tuple(stored), names, tuple(origins))


def _origin(included: Included, path: str) -> FileOrigin:
    if included.content is not None:
        return FileOrigin(path, str(included.given), kind=included.kind)
    with doing(f"Cannot include {included.path}"), places.reading(included.path) as file:
        ownership = owners.ownership(os.fstat(file.fileno()))
    kind = included.kind if included.kind in MOVING else ""
    return FileOrigin(path, str(included.given or included.path), included.redact, *ownership, kind=kind)
