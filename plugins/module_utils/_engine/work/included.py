# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup holds beside the image: files, the Prisma schema, figures, and the new part of logs.

What may be missing and is, is a warning.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from ..repository import include, inclusion, log_parts
from ..repository.include import Below, Included
from ..repository.inclusion import FILE, LOGS, METRICS, PRISMA_DIRECTORIES, PRISMA_SCHEMA, Include
from ..repository.log_parts import Log
from ..repository.reading import Storage
from ..repository.repository import Repository
from ..system.clock import Deadline
from ..system.errors import EngineError, SourceMissingError, doing

# Where Prisma has it: https://www.prisma.io/docs/orm/prisma-schema/overview/location
# Since 6.7 a schema may be all *.prisma files of a directory and below, of which the command line or a file of settings
# tells; by convention it is this one.
_SCHEMAS = ("schema.prisma", "prisma/schema.prisma", "prisma/schema", "prisma")
_PARTS = Below(".prisma", passed_over=("migrations", "node_modules"), most_names=10_000)


@dataclass
class Contents:
    """Files, ready to be stored, and the logs of which the new part will be."""

    included: list[Included] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)
    asked_logs: list[Include] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def store(
        self, storage: Storage, repository: Repository, *, deadline: Deadline
    ) -> tuple[include.Stored, Callable[[], None]]:
        """Store everything; the second answer is to be called when the backup is published."""
        stored = include.store(self.included, storage, deadline=deadline)
        number = len(self.included) + 1
        place = repository.logs_path()
        parts = log_parts.store(self.logs, self.asked_logs, place, storage, number=number, deadline=deadline)
        both = parts.beside(stored)
        self.warnings.extend(both.warnings)
        return both, parts.keep


def gather(wanted: Sequence[Include], *, source: Path, deadline: Deadline) -> Contents:
    """What there is of ``wanted`` for the database ``source``; raises for what is required and cannot be had."""
    contents = Contents()
    # What is required first: of a log that two ask for, that counts.
    for each in sorted(inclusion.apart(wanted), key=lambda one: not one.required):
        try:
            if each.kind == LOGS:
                contents.asked_logs.append(each)
                taken = {log.path for log in contents.logs}
                contents.logs.extend(log for log in log_parts.found(each) if log.path not in taken)
            else:
                contents.included.extend(_KINDS[each.kind](each, source, deadline))
        except EngineError as error:
            if each.required:
                raise
            contents.warnings.append(include.not_included(error))
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
    """The schema that is named, or beside the database or in ``prisma`` there: a file, or all files of a directory."""
    candidates = [wanted.src] if wanted.src else [source.parent / each for each in _SCHEMAS]
    if not wanted.src and source.parent.name in PRISMA_DIRECTORIES:
        candidates.append(source.parent)

    def files(src: Path, name: str = "") -> list[Included]:
        named = dataclasses.replace(wanted, src=src, name=name or wanted.name or src.name)
        return include.gather([named], source=source, deadline=deadline, below=_PARTS)

    for src in candidates:
        found = files(src) if _is_there(src) else []
        directory = src.parent
        if found and not wanted.src and found[0].given == src and directory.name in PRISMA_DIRECTORIES:
            beside = files(directory)
            if not any(each.given == src for each in beside):
                # The schema is a link, which is followed only where it is named.
                beside.extend(files(src, f"{wanted.name or directory.name}/{src.name}"))
            found = beside if len(beside) > 1 else found
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
    found = Included(told, wanted.stored_name, False, "", given=told, kind=METRICS, content=content)
    return [include.digested(dataclasses.replace(found, required=wanted.required))]


_KINDS: dict[str, Callable[[Include, Path, Deadline], list[Included]]] = {
    FILE: _files,
    PRISMA_SCHEMA: _schema,
    METRICS: _figures,
}
