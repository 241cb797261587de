# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup holds beside the image: files, the Prisma schema, figures, and the new part of logs.

What may be missing and is, is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..repository import include, log_parts
from ..repository.include import Included
from ..repository.inclusion import FILE, LOGS, METRICS, PRISMA_SCHEMA, Include
from ..repository.log_parts import Log
from ..repository.reading import Storage
from ..repository.repository import Repository
from ..system import places
from ..system.clock import Deadline
from ..system.errors import EngineError, SourceMissingError, doing

# Where Prisma has it: https://www.prisma.io/docs/orm/prisma-schema/overview/location
_SCHEMAS = ("schema.prisma", "prisma/schema.prisma", "prisma/schema")
_ENDING = ".prisma"


@dataclass
class Contents:
    """Files, ready to be stored, and the logs of which the new part will be."""

    included: list[Included] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def store(self, storage: Storage, repository: Repository) -> tuple[include.Stored, Callable[[], None]]:
        """Store everything; the second answer is to be called when the backup is published."""
        stored = include.store(self.included, storage.write, opaque=storage.encryption.method != "none")
        parts = log_parts.store(self.logs, repository.logs_path(), storage, number=len(self.included) + 1)
        self.warnings.extend(parts.warnings)
        return parts.beside(stored), parts.keep


def gather(wanted: Sequence[Include], *, source: Path, deadline: Deadline) -> Contents:
    """What there is of ``wanted`` for the database ``source``; raises for what is required and cannot be had."""
    contents = Contents()
    for each in wanted:
        try:
            if each.kind == LOGS:
                contents.logs.extend(log_parts.found(each))
            else:
                contents.included.extend(_KINDS[each.kind](each, source, deadline))
        except EngineError as error:
            if each.required:
                raise
            contents.warnings.append(f"not included: {error.message}")
    include.check_names([*(each.name for each in contents.included), *(each.name for each in contents.logs)])
    contents.included.sort(key=lambda each: each.name)
    return contents


def check(wanted: Sequence[Include]) -> None:
    """Raise ``UsageError`` for what can never be included, whatever the host."""
    for each in wanted:
        include.checked_name(each.stored_name)
        if each.url:
            # Most runs need it not, and are quicker without.
            from ..watch import web

            with doing("Cannot include metrics"):
                web.parts(each.url)


def _files(wanted: Include, source: Path, deadline: Deadline) -> list[Included]:
    return include.gather([wanted], source=source, deadline=deadline)


def _schema(wanted: Include, source: Path, deadline: Deadline) -> list[Included]:
    """The schema that is named, or beside the database or in ``prisma`` there: a file, or a directory of them."""
    candidates = [wanted.src] if wanted.src else [source.parent / each for each in _SCHEMAS]
    for src in candidates:
        if not _is_there(src):
            continue
        is_directory = places.is_directory(places.resolved(src))
        named = Include(src, wanted.name or src.name, kind=PRISMA_SCHEMA, limit_bytes=wanted.limit_bytes)
        found = include.gather([named], source=source, deadline=deadline, ending=_ENDING if is_directory else "")
        if found:
            return found
    where = f" {wanted.src}" if wanted.src else f": there is no {', '.join(_SCHEMAS)} in {source.parent}"
    raise SourceMissingError(f"no Prisma schema{where}.", hint="Name it with src.")


def _is_there(path: Path) -> bool:
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _figures(wanted: Include, source: Path, deadline: Deadline) -> list[Included]:
    if not wanted.url:
        return _files(wanted, source, deadline)
    from ..watch import web

    with doing("Cannot include metrics"):
        content = web.fetch(wanted.url, seconds=wanted.timeout_seconds, limit_bytes=wanted.limit_bytes)
    # Of an address that may be a secret only the host.
    parts = urlsplit(wanted.url)
    told = Path(parts.netloc)
    return [include.digested(Included(told, wanted.stored_name, False, "", given=told, kind=METRICS, content=content))]


_KINDS: dict[str, Callable[[Include, Path, Deadline], list[Included]]] = {
    FILE: _files,
    PRISMA_SCHEMA: _schema,
    METRICS: _figures,
}
