# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Further files beside an image: a Prisma schema, a log, a ``.env`` without its secrets."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ..sealed import codec
from ..system import files, owners, places
from ..system.clock import Deadline
from ..system.errors import EngineError, SourceBusyError, SourceMissingError, UsageError, doing
from .inclusion import FILE, MOVING, Include, checked_name, is_environment, requested
from .manifest import INCLUDE_ROLE, FileOrigin, Manifest, StoredFile
from .reading import Storage

__all__ = ["Include", "checked_name", "requested"]

DIRECTORY = "files"
MOST_SETTINGS_BYTES = 1024 * 1024
"""Of a file that is redacted; no longer one is stored."""
_REDACTED = b"<redacted>"
_COMMENT = b"#"
_NEVER = Deadline(None)
# A file that is replaced from time to time is not replaced as often while it is read.
_ATTEMPTS = 3
# A name in a comment, which could be any text; and parts of a name, of which none looks like chosen by chance.
_NAME_IN_COMMENT = re.compile(rb"[A-Z_][A-Z0-9_]*")
_WORDS = re.compile(rb"(?:[A-Za-z]*[0-9]{0,3}(?:[_.]|\Z))+")
# A key in base32 or base64 that ends with one equals sign has so many characters in its last group.
_GROUP, _IN_LAST_GROUP, _SHORT = 4, 3, 6
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
    required: bool = True
    limit_bytes: int = sys.maxsize

    def chunks(self) -> Iterator[bytes]:
        """What is stored of it: of a file that grew since it was gathered, what it had by then."""
        with doing(self.action), self.open() as file:
            yield from self.chunks_of(file)

    @property
    def action(self) -> str:
        """What fails with it, in words."""
        return f"Cannot include {self.path}"

    def open(self) -> BinaryIO:
        """The file, or what stands in for it."""
        return places.reading(self.path) if self.content is None else io.BytesIO(self.content)

    def chunks_of(self, file: BinaryIO) -> Iterator[bytes]:
        """As ``chunks``, from the beginning of a file that is open."""
        file.seek(0)
        if self.redact:
            yield redacted(self._settings(file))
            return
        rest_bytes = self.size_bytes
        while chunk := file.read(min(rest_bytes, files.CHUNK_BYTES)):
            rest_bytes -= len(chunk)
            yield chunk

    def _settings(self, file: BinaryIO) -> bytes:
        text = files.read_exactly(file, MOST_SETTINGS_BYTES + 1)
        if len(text) > MOST_SETTINGS_BYTES:
            raise UsageError(
                f"more than {files.readable(MOST_SETTINGS_BYTES)} are too much to redact.",
                hint="Remove it from include, keep the settings in a file of their own, or say redact: false.",
            )
        return text


@dataclass(frozen=True)
class Below:
    """Which files of a directory are meant: how they end, what directories are not entered, how many names at most."""

    ending: str = ""
    passed_over: Collection[str] = ()
    most_names: int = sys.maxsize


_ALL = Below()


def gather(
    wanted: Sequence[Include], *, source: Path, deadline: Deadline = _NEVER, below: Below = _ALL
) -> list[Included]:
    """Every file that ``wanted`` names, by stored name, of a directory those that are meant by ``below``.

    Raises ``SourceBusyError`` when they were not read by the deadline: a file of holes can be endless.
    """
    found: dict[str, Included] = {}
    for each in wanted:
        if each.src is None:
            continue
        root, src = each.stored_name, _found(each.src)
        for path in _regular_files(src, below):
            # Checked again: a name deep in a directory must fit into the manifest as well.
            name = root if path == src else checked_name("/".join((root, *path.relative_to(src).parts)))
            if os.path.samefile(path, source):
                raise UsageError("include names the database itself.", hint="Remove it from include.")
            if name in found:
                raise UsageError(f"include names two files {name!r}.", hint="Give one of them another name.")
            given = Path(os.path.abspath(each.src)) / path.relative_to(src)
            redact = each.redact
            if redact is None:
                redact = any(map(is_environment, (path.name, given.name, PurePosixPath(name).name)))
            one = Included(
                *(path, name, redact, ""),
                given=given,
                kind=each.kind,
                required=each.required,
                limit_bytes=each.limit_bytes,
            )
            found[name] = digested(one, deadline)
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


def _regular_files(src: Path, below: Below) -> list[Path]:
    """``src``, or the files below it that are meant; symbolic links there, and what is not a file, are left out."""
    if src.is_file():
        return [src]
    if not src.is_dir():
        raise UsageError(f"{src} is neither a file nor a directory.", hint="Remove it from include.")
    with doing(step=f"cannot read {src}"):
        found = places.regular_files(src, passed_over=below.passed_over, most_names=below.most_names)
    return [each for each in found if each.name.endswith(below.ending)]


def digested(included: Included, deadline: Deadline = _NEVER) -> Included:
    """With its size and digest; raises when there is more than ``limit_bytes`` of it."""
    with doing(included.action), included.open() as file:
        return _digested(included, file, deadline)


def _digested(included: Included, file: BinaryIO, deadline: Deadline) -> Included:
    included = dataclasses.replace(included, size_bytes=sys.maxsize)
    digest, size_bytes = hashlib.sha256(), 0
    for chunk in included.chunks_of(file):
        if deadline.passed():
            raise SourceBusyError(
                "it could not be read before the timeout.",
                hint="Raise timeout, or remove the file from include.",
            )
        digest.update(chunk)
        size_bytes += len(chunk)
        if size_bytes > included.limit_bytes:
            raise UsageError(
                f"it has more than {files.readable(included.limit_bytes)}.",
                hint="Raise limit_mib, or leave it out.",
            )
    return dataclasses.replace(included, sha256=digest.hexdigest(), size_bytes=size_bytes)


def redacted(text: bytes) -> bytes:
    """``text`` with the value of every ``NAME=value`` line, and every line that is not a setting, taken out.

    Empty lines stay. Of a comment only its ``#`` stays, unless it is a setting with a value and a name in capital
    letters: old keys live in comments. A value over several lines is taken out whole: one of its lines may look like a
    setting (the end of a key in base64) or like a comment.
    """
    lines = []
    going_on = b""
    behind_value = False
    for line in text.splitlines():
        setting = None if going_on else _SETTING.match(line)
        comment = line.lstrip().startswith(b"#")
        # What only ends with equals signs may be a key in base64, not a name.
        bare = setting is not None and not line[setting.end() :].strip(b" \t=")
        if setting and comment and not (_NAME_IN_COMMENT.fullmatch(setting[1]) and _is_name(setting[1])):
            setting = None
        if not going_on and (not line.strip() or (comment and (bare or b"=" not in line))):
            lines.append(_COMMENT if comment else line)
            continue
        if setting and not (bare and (behind_value or not _is_bare_name(setting[1]) or line[setting.end() :].strip())):
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


def _is_bare_name(word: bytes) -> bool:
    """Whether a word with nothing but one equals sign behind it is clearly a name: words, and no end of a key."""
    is_end = len(word) > _SHORT and len(word) % _GROUP == _IN_LAST_GROUP and not re.search(rb"[_.]", word)
    return _is_name(word) and _WORDS.fullmatch(word) is not None and not is_end


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
    """Included files in a backup: which stored path, without endings, is which name, and where each was.

    ``included`` are those that are stored, as they were then; ``warnings`` name those that could not be.
    """

    files: tuple[StoredFile, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    origins: tuple[FileOrigin, ...] = ()
    included: tuple[Included, ...] = ()
    warnings: tuple[str, ...] = ()


def store(included: Sequence[Included], storage: Storage, *, deadline: Deadline = _NEVER) -> Stored:
    """Store every file. In an encrypted backup no path tells a name.

    What is not required and cannot be had any more is left out. What has to be read again is read until the deadline.
    """
    stored: list[StoredFile] = []
    taken: list[_Taking] = []
    warnings = []
    for number, each in enumerate(included, start=1):
        path = f"{DIRECTORY}/{each.name if storage.encryption.method == 'none' else number}"
        found = _store_one(each, path, storage, deadline)
        if isinstance(found, EngineError):
            if each.required:
                raise found
            warnings.append(not_included(found))
        else:
            stored.append(found[0])
            taken.append(found[1])
    names = {each.path: each.included.name for each in taken}
    origins = tuple(each.origin() for each in taken)
    return Stored(tuple(stored), names, origins, tuple(each.included for each in taken), tuple(warnings))


def not_included(error: EngineError) -> str:
    return f"not included: {error.message}"


def _store_one(
    included: Included, path: str, storage: Storage, deadline: Deadline, attempts: int = _ATTEMPTS
) -> tuple[StoredFile, _Taking] | EngineError:
    """Store a file as it was gathered, or, where it is another one by now, as it is."""
    taking = _Taking(included, path, storage, deadline, anew=attempts < _ATTEMPTS)
    found = storage.try_to_write(path, INCLUDE_ROLE, taking)
    if isinstance(found, EngineError):
        return found if attempts == 1 else _store_one(included, path, storage, deadline, attempts - 1)
    return found, taking


class _Taking:
    """What is stored of a file as ``path``: its chunks, and after the last one what ``included`` came to.

    Not one byte of another content is taken for what was looked for. With ``anew`` that is what the file, once it is
    open, has now: whoever puts another one in its place does not change that.
    """

    def __init__(self, included: Included, path: str, storage: Storage, deadline: Deadline, *, anew: bool) -> None:
        self.included = included
        self.path = path
        self._storage = storage
        self._deadline = deadline
        self._anew = anew
        self._ownership: tuple[str, str, str, int | None, int | None] = ("", "", "", None, None)

    def __iter__(self) -> Iterator[bytes]:
        with doing(self.included.action), self.included.open() as file:
            if self.included.content is None:
                self._storage.check_reader(file)
            if self._anew:
                self.included = _digested(self.included, file, self._deadline)
            digest = hashlib.sha256()
            for chunk in self.included.chunks_of(file):
                digest.update(chunk)
                yield chunk
            if digest.hexdigest() != self.included.sha256:
                raise SourceBusyError(
                    "it changes while it is read.", hint="See what writes to it, or leave it out of include."
                )
            if self.included.content is None:
                self._ownership = owners.ownership(os.fstat(file.fileno()))

    def origin(self) -> FileOrigin:
        one = self.included
        kind = one.kind if one.kind in MOVING else ""
        return FileOrigin(self.path, str(one.given or one.path), one.redact, *self._ownership, kind=kind)
