# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The included files of a backup, back in their places. What is there already is never overwritten.

A backup can say anything of where a file was. So it goes back by itself only to the same place below the directory of
the database as before; elsewhere only to where the operator says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..repository import examination, include, inclusion
from ..repository.examination import IncludedFile
from ..repository.published import Backup
from ..sealed import codec
from ..sealed.encryption import Keys
from ..sqlite.workplace import workplace_of
from ..system import files, places
from ..system.errors import BackupDamagedError, EngineError, RefusedError, StorageFailedError, doing
from . import destination
from .restore_request import Request

IN_PLACE, BESIDE, REDACTED, KEPT, LEFT_OUT, FAILED = "in place", "beside", "redacted", "kept", "left out", "failed"
_NOTHING, _SAME, _OTHER = "nothing", "same", "other"
_ENDINGS = {IN_PLACE: "", BESIDE: ".from-backup", REDACTED: ".redacted"}
_WARNINGS = {
    BESIDE: "another file has the name of {name} and was kept; the one of the backup is {path}",
    REDACTED: "{path} lacks its secrets, which are in no backup: fill them in, then rename it",
    KEPT: "{path} was there already and was kept; {name} of the backup was not written",
    LEFT_OUT: "{name} was not written: it came from {source}, which is no place beside the database; say with include "
    "or files_to where it belongs",
}


@dataclass(frozen=True)
class Extra:
    """An included file, and where its content goes; ``missing`` when it is not there yet.

    What becomes of it is its ``fate``: it is in place, beside another file of its name, without its secrets, not
    written as all these names are taken (kept) or nobody says where it belongs (left out), or could not be (failed).
    """

    file: IncludedFile
    path: Path | None
    fate: str
    missing: bool = False
    note: str = ""

    @property
    def warnings(self) -> list[str]:
        source = self.file.origin.source if self.file.origin else "somewhere"
        text = _WARNINGS.get(self.fate, "").format(name=self.file.name, path=self.path, source=source)
        return [each for each in (text, self.note) if each]

    def to_json(self) -> dict[str, Any]:
        return {"name": self.file.name, "path": str(self.path or ""), "fate": self.fate, "changed": self.missing}


def plan(request: Request, backup: Backup) -> list[Extra]:
    """What will become of each file of ``backup``. Nothing is written."""
    if not request.wants_files or request.dest is None:
        return []
    dest, source = Path(os.path.abspath(request.dest)), Path(backup.trusted().database.source)
    with doing(step="cannot put the included files back"):
        found = examination.included_files(backup, request.keys)
        # Logs and figures of another time have no place of their own.
        found = [each for each in found if request.files_to is not None or not each.is_moving]
        wanted = [(each, _place(each, request, dest, source)) for each in found]
        return [_planned(each, request, backup, place, dest) for each, place in wanted]


def _planned(file: IncludedFile, request: Request, backup: Backup, place: Path | None, dest: Path) -> Extra:
    if place is None or _is_of_database(place, dest):
        return Extra(file, None, LEFT_OUT)
    content = _stored_content(file, backup, request.keys)
    redacted = _is_redacted(file, request)
    if redacted and _there(place, content, redact=True) == _SAME:
        return Extra(file, place, IN_PLACE)
    path = place
    for fate in (REDACTED,) if redacted else (IN_PLACE, BESIDE):
        path = place.with_name(place.name + _ENDINGS[fate])
        there = _there(path, content)
        if there != _OTHER:
            return Extra(file, path, fate, missing=there == _NOTHING)
    return Extra(file, path, KEPT)


def _place(file: IncludedFile, request: Request, dest: Path, source: Path) -> Path | None:
    """Where a file belongs: below ``files_to``, or where ``include`` names it, or beside the database as it was."""
    name = PurePosixPath(file.name)
    if request.files_to is not None:
        return request.files_to / name
    for each in inclusion.apart(request.include):
        if each.src is None:
            continue
        root = PurePosixPath(each.stored_name)
        if root == name or root in name.parents:
            return Path(os.path.abspath(each.src)) / name.relative_to(root)
    if file.origin is None:
        return None
    way = os.path.relpath(os.path.normpath(file.origin.source), source.parent)
    is_below = os.path.isabs(file.origin.source) and way.split(os.sep, maxsplit=1)[0] not in (os.pardir, os.curdir)
    return dest.parent / way if is_below else None


def _is_of_database(place: Path, dest: Path) -> bool:
    """Whether a name means the database or what SQLite or a restore keeps beside it: a ``-wal`` would be replayed."""
    if dest.parent not in place.parents:
        return False
    first = place.relative_to(dest.parent).parts[0]
    own = (f"{dest.name}-", f"{dest.name}.before-restore.", workplace_of(dest).name)
    return first == dest.name or first.startswith(own)


def _is_redacted(file: IncludedFile, request: Request) -> bool:
    if file.origin is not None:
        return file.origin.redacted
    # An older backup does not say it.
    return any(each.redact and file.name.startswith(each.stored_name) for each in inclusion.apart(request.include))


def _stored_content(file: IncludedFile, backup: Backup, keys: Keys) -> tuple[int, str]:
    """The bytes of the content and its SHA-256; raises ``BackupDamagedError`` when that is more than was stored."""
    stored, digest, left_bytes = file.stored, hashlib.sha256(), file.most_bytes
    path = backup.path / stored.path
    with codec.open_artifact(path, stored.compression, stored.encryption, keys) as stream:
        while chunk := stream.read(files.CHUNK_BYTES):
            left_bytes -= len(chunk)
            if left_bytes < 0:
                raise BackupDamagedError("it unpacks to more than was stored.", action=f"Cannot unpack {path}")
            digest.update(chunk)
    return file.most_bytes - left_bytes, digest.hexdigest()


def _there(path: Path, content: tuple[int, str], *, redact: bool = False) -> str:
    """What has the name ``path``: nothing, a file with this ``content``, or another one.

    With ``redact`` that is the content that a backup would have of it.
    """
    try:
        if redact:
            text = include.redacted(places.read_bytes(path, limit_bytes=include.MOST_SETTINGS_BYTES))
            is_same = (len(text), hashlib.sha256(text).hexdigest()) == content
        else:
            is_same = files.holds(path, *content)
    except (FileNotFoundError, NotADirectoryError):
        return _NOTHING
    except (OSError, RefusedError, StorageFailedError):
        # A link, a fifo, a directory, what is too long or cannot be read: it has the name, and is not the file.
        return _OTHER
    return _SAME if is_same else _OTHER


def put_back(extras: Sequence[Extra], request: Request, backup: Backup) -> list[Extra]:
    """Write what is missing, and say what became of it. The database is in place: a failure is one of that file."""
    return [_put_back(each, request, backup) if each.missing else each for each in extras]


def _put_back(extra: Extra, request: Request, backup: Backup) -> Extra:
    path = extra.path
    if path is None:
        return extra
    try:
        with doing(f"Cannot put the included file {path} back"):
            return dataclasses.replace(extra, note=_write(extra.file, path, request, backup))
    except EngineError as error:
        return dataclasses.replace(extra, fate=FAILED, missing=False, note=error.message)


def _write(file: IncludedFile, path: Path, request: Request, backup: Backup) -> str:
    """Write the content beside its name, and then give it the name; says what could not be had."""
    stored, origin = file.stored, file.origin
    files.make_private_directory(path.parent)
    files.require_space(path.parent, file.most_bytes)
    with _temporary(path) as temporary:
        with files.create_private(temporary) as content:
            codec.unpack_into(
                backup.path / stored.path,
                content,
                compression=stored.compression,
                encryption=stored.encryption,
                keys=request.keys,
                limit_bytes=file.most_bytes,
            )
        right = (True, True)
        if origin is not None:
            right = destination.give_back(temporary, origin, repository=request.repository, directory=path.parent)
        files.sync_file(temporary)
        files.move_file_to_free_name(temporary, path)
    return "" if origin is None or all(right) else f"{path} could not be given to {origin.owner}:{origin.group}"


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    temporary = path.with_name(f".{path.name}.from-backup.new")
    # Of a run that was killed.
    files.remove_file(temporary)
    try:
        yield temporary
    finally:
        files.remove_file(temporary)
