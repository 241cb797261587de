# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write a database, or tables of it, as text that any program can read: out of the live one, or out of a backup."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository.repository import Repository
from ..sealed import codec, encryption
from ..sealed.encryption import Encryption, Keys
from ..sqlite import contents, database, documents, rebuilt, schema, snapshot
from ..sqlite.contents import Contents
from ..sqlite.database import Connection, Header
from ..sqlite.library import sqlite3
from ..sqlite.portable import Lines
from ..sqlite.snapshot import Progress
from ..system import clock, confined, options, scratch
from ..system.clock import Deadline
from ..system.errors import SourceCorruptError, UsageError, doing
from ..system.options import Options
from . import staged
from .written import Text, Written

LIVE = "live"
JSONL, CSV, JSON = "jsonl", "csv", "json"


@dataclass(frozen=True)
class Request:
    """What to write into the new file ``into``, or for ``json`` into the files of that new directory.

    ``backup`` is an id, ``latest`` or ``live``, the database ``path`` itself. No ``tables`` are all of them.
    """

    path: Path | None
    repository: Path | None
    backup: str
    into: Path
    tables: Sequence[str]
    format: str
    compression: str
    compression_level: int | None
    encryption: Encryption
    keys: Keys
    force: bool
    timeout_seconds: float | None
    lock_timeout_seconds: float


def requested(given: Options, *, path: Path | None) -> Request:
    repository = options.path(given, "repository")
    return Request(
        path=path,
        repository=repository,
        backup=options.text(given, "backup") or (LIVE if path else "latest"),
        into=Path(given["dest"]),
        tables=given["tables"],
        format=given["format"],
        compression=given["compression"],
        compression_level=given["compression_level"],
        encryption=encryption.requested(given["encryption"]),
        keys=encryption.keys(given),
        force=given["force"],
        timeout_seconds=options.timeout(given),
        lock_timeout_seconds=clock.parse_duration(given["lock_timeout"]),
    )


@dataclass
class Outcome:
    """What was written, or in check mode would be.

    ``sha256`` is that of the text, before it is stored in any way: the one at the end of what can be imported.
    """

    changed: bool
    backup: str
    into: Path
    format: str
    sha256: str = ""
    tables: dict[str, int] = field(default_factory=dict)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return {
            "backup": self.backup,
            "dest": str(self.into),
            "format": self.format,
            "bytes": self.after["bytes"],
            "sha256": self.sha256,
            "tables": self.tables,
        }


def run(request: Request, *, dry_run: bool = False, progress: Progress | None = None) -> Outcome:
    """Make sure that ``into`` holds the text of what is there now; nothing that is there is overwritten unasked."""
    with doing("Cannot export"):
        _check(request)
        if request.backup == LIVE and request.path is None:
            raise UsageError("there is no live database.", hint="Name a backup.")
        repository = _repository(request)
    what = str(request.path) if request.backup == LIVE else request.backup
    action = f"Cannot export {what} into {request.into}"
    with doing(action):
        exporting = _Exporting(request, repository, action, dry_run=dry_run, progress=progress)
        outcome = exporting.run()
    if outcome.changed and not dry_run and repository is not None:
        # Not the names of the tables, which are content: a backup may be encrypted.
        facts = {"backup": outcome.backup, "dest": str(outcome.into), "format": outcome.format}
        rows = sum(outcome.tables.values())
        done = repository.record_done("export", outcome="passed", **facts, tables=len(outcome.tables), rows=rows)
        outcome.warnings.extend(done)
    return outcome


def _check(request: Request) -> None:
    if request.format == CSV and len(request.tables) != 1:
        raise UsageError("a CSV file is of one table.", hint="Name one table.")
    codec.check_wanted_level(request.compression, request.compression_level)
    request.encryption.check()


def _repository(request: Request) -> Repository | None:
    if request.repository is None or (request.backup == LIVE and not Repository.exists(request.repository)):
        return None
    return Repository.open_existing(request.repository)


class _Exporting:
    """One export; what an attempt wrote goes away when there has to be another one."""

    def __init__(
        self,
        request: Request,
        repository: Repository | None,
        action: str,
        *,
        dry_run: bool,
        progress: Progress | None,
    ) -> None:
        self._action = action
        self._request = request
        self._repository = repository
        self._dry_run = dry_run
        self._progress = progress
        self._deadline = Deadline(request.timeout_seconds)
        self._compression = codec.choose_compression(request.compression)
        self._written = Written(request.into, folder=request.format == JSON, not_below=request.repository)
        self._texts: dict[str, Text] = {}
        self._outcome = Outcome(True, request.backup, self._written.path, request.format)

    def run(self) -> Outcome:
        outcome, written = self._outcome, self._written
        with scratch.directory() as place, written.arriving():
            if self._request.backup == LIVE:
                self._from_live(place)
            else:
                self._from_backup(place)
            outcome.sha256 = outcome.sha256 or self._sha256()
            outcome.before = written.facts()
            request = self._request
            known = written.holds(self._texts, self._compression, request.encryption, request.keys)
            outcome.changed = not known
            if outcome.changed:
                written.check_is_free(force=self._request.force)
                if not self._dry_run:
                    written.publish()
        outcome.after = written.facts()
        return outcome

    def _sha256(self) -> str:
        """That of the one text; of more than one, that of a list of them as ``sha256sum`` writes it."""
        if self._request.format == CSV:
            return self._texts[""].sha256
        lines = (f"{self._texts[name].sha256}  {name}\n" for name in sorted(self._texts))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def _from_live(self, place: Path) -> None:
        path = Path(self._request.path or "")
        with doing(f"Cannot read {path}"), _explained(path):
            source = database.locate(path, allow_empty=True)

            def write(image: snapshot.Snapshot) -> None:
                if image.connection is None:
                    raise SourceCorruptError("SQLite cannot open it.", hint="Restore the newest good backup.")
                self._write(image.connection, image.header)

            snapshot.use(
                source,
                place,
                write,
                deadline=self._deadline,
                progress=self._progress,
                traceless=self._dry_run,
                hasty=False,
            )

    def _from_backup(self, place: Path) -> None:
        request, repository = self._request, self._repository
        if repository is None:
            raise UsageError("no repository is given.", hint="Set repository.")
        backup = repository.find(request.backup)
        backup.trusted()
        self._outcome.backup = backup.id
        self._outcome.warnings.extend([*repository.warnings(), *staged.warnings(backup)])
        image = place / "restored.sqlite"
        timeout_seconds = request.lock_timeout_seconds
        staged.write(
            repository, backup, image, request.keys, lock_timeout_seconds=timeout_seconds, progress=self._progress
        )
        header = database.read_header(image)
        with _explained(image), contextlib.closing(database.connect(image, immutable=True)) as connection:
            schema.load(connection, header)
            self._write(connection, header)

    def _write(self, connection: Connection, header: Header | None) -> None:
        """All of it, once; with ``dry_run`` only the digest is made."""
        outcome = self._outcome
        with doing(self._action), confined.bounded(self._deadline.seconds):
            connection.set_progress_handler(self._deadline.passed, contents.STEPS)
            with contextlib.closing(Contents(connection, header, self._request.tables)) as source:
                warnings = self._write_texts(source)
        outcome.tables = {each.name: each.rows for each in _tables(source) if each.rows is not None}
        outcome.warnings.extend([*source.warnings, *warnings])

    def _write_texts(self, source: Contents) -> list[str]:
        self._texts = {}
        if not self._dry_run:
            self._written.begin()
        if self._request.format == JSONL:
            said = rebuilt.rehearse(source, seconds=self._deadline.seconds)
            lines = Lines(source)
            self._store("", lines)
            self._outcome.sha256 = lines.sha256
            return [f"no import here takes it: {said} {_MEND}"] if said else []
        told = documents.Documents(source)
        warnings = []
        for table in _tables(source):
            if table.rows is None:
                warnings.append(self._without_rows(table))
            elif self._request.format == CSV:
                self._store("", told.csv(table))
            else:
                ending = codec.suffix(self._compression, self._request.encryption.method)
                self._store(documents.file_name(table.name) + ending, told.json(table))
        return [*told.warnings, *warnings]

    def _without_rows(self, table: contents.Object) -> str:
        """The warning that a virtual table has no rows of its own. Raises ``UsageError`` when it was asked for."""
        options = contents.full_text(table)
        texts = options.content if options else ""
        where = f", its texts are in {texts}" if texts else ""
        if table.name in self._request.tables:
            hint = f"Name {texts} instead." if texts else "Name another table."
            raise UsageError(f"the table {table.name!r} has no rows of its own{where}.", hint=hint)
        return f"{table.name} has no rows of its own{where}: it is left out"

    def _store(self, name: str, chunks: Iterable[bytes]) -> None:
        digest, size_bytes = hashlib.sha256(), 0
        with self._writer(name) as writer:
            for chunk in chunks:
                digest.update(chunk)
                size_bytes += len(chunk)
                if writer is not None:
                    writer.write(chunk)
        self._texts[name] = Text(size_bytes, digest.hexdigest())

    @contextlib.contextmanager
    def _writer(self, name: str) -> Iterator[codec.ArtifactWriter | None]:
        if self._dry_run:
            yield None
            return
        with codec.ArtifactWriter(
            self._written.arriving_path(name),
            compression=self._compression,
            level=codec.check_level(self._compression, self._request.compression_level),
            encryption=self._request.encryption,
        ) as writer:
            yield writer


_MEND = "Mend that in the database, or name the tables to take; as a text it is whole"


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What SQLite says of the database ``path``, as the engine's error."""
    try:
        yield
    except sqlite3.Error as error:
        raise database.from_sqlite_error(error, path) from error


def _tables(source: Contents) -> list[contents.Object]:
    return [each for each in source.objects if each.type in (contents.TABLE, contents.VIRTUAL)]
