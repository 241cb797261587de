# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The draft of a backup: what one reading of a snapshot comes to, and its image staged, full or incremental."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..repository import base, examination, manifest, pages
from ..repository.base import Base
from ..repository.examination import Evidence
from ..repository.include import Included
from ..repository.manifest import Image, StoredFile
from ..repository.reading import Beside, Reading, Storage, TooManyChangesError, is_image_of
from ..sqlite.snapshot import Progress, Snapshot
from ..system import clock, files
from ..system.clock import Deadline
from ..system.errors import doing
from .backup_request import Request

_INDEX_NAME = "index"


@dataclass(frozen=True)
class Draft:
    """``type`` is empty when the newest backup holds all that is wanted. In check mode nothing is stored."""

    type: str
    image: Image
    changed_pages: int
    evidence: Evidence
    stored: StoredFile | None = None
    why_full: str = ""
    corruption: str = ""
    writers_waited_seconds: float = 0.0


class Drafting:
    """Makes the draft in ``staging``: artifacts in ``backup``, the page index beside it, if the backup has one.

    ``request`` is settled: its compression and check are not to be chosen any more. With ``dry_run`` the same is
    decided and nothing is written. ``full_bytes`` is what must be free at least before a full backup is begun.
    """

    def __init__(
        self,
        request: Request,
        included: Sequence[Included],
        found: Base | None,
        staging: Path,
        *,
        dry_run: bool,
        full_bytes: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.request = request
        self.included = included
        self.found = found
        self.directory = staging / "backup"
        self.index = staging / _INDEX_NAME
        self.dry_run = dry_run
        self._full_bytes = full_bytes
        self._progress = progress
        self._indexed: tuple[pages.IndexWriter, str] | None = None

    @property
    def storage(self) -> Storage:
        request = self.request
        return Storage(self.directory, request.compression, request.compression_level, request.encryption)

    def draft(self, image: Snapshot, deadline: Deadline) -> Draft:
        """Read ``image`` and stage what is wanted of it; may be called again, for another image."""
        files.remove_tree(self.directory)
        self._indexed = None
        with doing():
            files.make_private_directory(self.directory)
        why_full = base.why_full(self.found, image, self.request.encryption, self.request.policy, clock.now())
        with Beside(image, lambda: examination.examine(image, self.request.check)) as checks:
            if self.found is not None and self.found.index is not None and not why_full:
                try:
                    return self._incremental(image, self.found, self.found.index, checks, deadline)
                except TooManyChangesError:
                    why_full = "more than half of the pages changed"
            elif self.found is not None and self._is_unchanged(image, self.found):
                if unchanged := self._unchanged(self.found, image, checks, deadline):
                    return unchanged
                why_full = "the same database is not found as healthy, or as damaged, as before"
            return self._full(image, checks, deadline, why_full)

    def _is_enough(self, found: Base) -> bool:
        """Whether the newest backup, when its image is right, is also in all other ways what is wanted."""
        wanted, document = self.request, found.document
        return (
            not wanted.force
            and found.damage is None
            and ((found.newest.pinned and not found.newest.pinned_until) or not wanted.pinned)
            and set(wanted.tags) <= set(document.tags)
            and (wanted.type != "full" or document.type == "full")
            and found.holds(self.included)
            and found.is_for(wanted.encryption)
        )

    def _is_unchanged(self, image: Snapshot, found: Base) -> bool:
        if not self._is_enough(found) or image.image_bytes != found.document.image.bytes:
            return False
        if image.corruption and not found.document.suspect:
            return False
        if found.index is not None and not image.corruption:
            return is_image_of(found.index, image, found.document.image.page_count)
        reading = Reading(image)
        for _chunk in reading.whole():
            pass
        return reading.sha256 == found.document.image.sha256

    def _unchanged(self, found: Base, image: Snapshot, checks: Beside[Evidence], deadline: Deadline) -> Draft | None:
        """The draft when the newest backup is still what it was called; None when it is not any more.

        What is suspect is looked at again, and what nobody looked into for long.
        """
        looked = Evidence(())
        looked_into = found.newest.looked_deep(examination.week_ago()) and not found.newest.failed
        due = self.request.check == "full" and not looked_into
        if (found.document.suspect or due) and not image.corruption:
            looked = checks.result(deadline)
            if looked.suspect != found.document.suspect:
                return None
        return Draft("", found.document.image, 0, looked)

    def _incremental(
        self, image: Snapshot, found: Base, old: pages.Index, checks: Beside[Evidence], deadline: Deadline
    ) -> Draft:
        limit_pages = image.page_count // 2 if self.request.type == "auto" else None
        old.rewind()
        if self.dry_run:
            reading = Reading(image)
            for _piece in reading.changes(old, limit_pages=limit_pages):
                pass
            if self._is_same(image, reading, found) and (same := self._unchanged(found, image, checks, deadline)):
                return same
            return self._done("incremental", image, reading, checks.result(deadline), None)
        index = pages.IndexWriter()
        reading = Reading(image, index, self._progress)
        stream = reading.changes(old, limit_pages=limit_pages)
        first = next(stream)
        if self._is_same(image, reading, found) and (same := self._unchanged(found, image, checks, deadline)):
            return same
        checks.start()
        stream = itertools.chain([first], stream)
        stored = self._store("incremental", stream)
        self._indexed = index, reading.sha256
        return self._done("incremental", image, reading, checks.result(deadline), stored)

    def _is_same(self, image: Snapshot, reading: Reading, found: Base) -> bool:
        """Whether what was read is just the newest backup; while pages are still to come, it is not."""
        same = reading.changed_pages == 0 and image.page_count == found.document.image.page_count
        return same and reading.sha256 == found.document.image.sha256 and self._is_enough(found)

    def _full(self, image: Snapshot, checks: Beside[Evidence], deadline: Deadline, why_full: str) -> Draft:
        files.require_space(self.directory, self._full_bytes)
        if self.dry_run:
            found = checks.result(deadline)
            return self._done("full", image, Reading(image), found, None, why_full)
        checks.start()
        index = pages.IndexWriter() if image.page_size and not image.corruption else None
        reading = Reading(image, index, self._progress)
        stored = self._store("full", reading.whole())
        if index is not None:
            self._indexed = index, reading.sha256
        return self._done("full", image, reading, checks.result(deadline), stored, why_full)

    def _store(self, kind: str, stream: Iterable[bytes]) -> StoredFile:
        name, role = manifest.CONTENT_NAMES[kind], manifest.CONTENT_ROLES[kind]
        return self.storage.write(name, role, stream, compressed=True)

    def write_index(self, stored: Sequence[Included]) -> None:
        """With what the next run must know of this backup and cannot read from it, when it is encrypted.

        ``stored`` is what really is beside the image: the next run looks whether that is all that is wanted.
        """
        if self._indexed is None:
            return
        index, sha256 = self._indexed
        facts: dict[str, object] = {"image_sha256": sha256}
        if self.request.encryption.method != "none":
            facts["readers"] = base.readers_of(self.request.encryption)
            facts["include"] = base.digest_of(stored)
        files.remove_file(self.index)
        index.write(self.index, facts)

    def _done(
        self,
        kind: str,
        image: Snapshot,
        reading: Reading,
        found: Evidence,
        stored: StoredFile | None,
        why_full: str = "",
    ) -> Draft:
        facts = Image(image.image_bytes, image.page_size, image.page_count, reading.sha256)
        changed_pages = reading.changed_pages if kind == "incremental" else image.page_count
        waited = image.pinned_seconds if image.writers_waited else 0.0
        return Draft(kind, facts, changed_pages, found, stored, why_full, image.corruption, waited)
