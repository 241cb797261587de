# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of an incremental backup: the newest backup, its chain, and the index of its pages."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from ..sealed.encryption import Encryption
from ..sqlite.snapshot import Snapshot
from ..system import clock
from ..system.errors import BackupDamagedError, EngineError, UsageError
from . import chain, include, pages
from .include import Included
from .manifest import Manifest
from .published import Backup
from .repository import Repository

SMALL_BYTES = 16 * 1024 * 1024
DEFAULT_FULL_EVERY_SECONDS = 86400.0
DEFAULT_MAX_CHAIN = 100


@dataclass(frozen=True)
class Policy:
    """When a full backup is due: ``type`` auto, full or incremental; the longest chain in incrementals."""

    type: str = "auto"
    full_every_seconds: float = DEFAULT_FULL_EVERY_SECONDS
    max_chain: int = DEFAULT_MAX_CHAIN


@dataclass(frozen=True)
class Base:
    """``links`` is the chain of ``newest``, full backup first; ``index`` is None when there is none to be trusted.

    ``damage`` says what is wrong with the files of the chain.
    """

    newest: Backup
    document: Manifest
    links: Sequence[Backup]
    index: pages.Index | None
    damage: EngineError | None

    def holds(self, included: Sequence[Included]) -> bool:
        """Whether the newest backup has just these files beside its image."""
        if self.document.encryption == "none":
            return include.digests(included) == include.stored_digests(self.document)
        known = self.index.facts.get("include") if self.index is not None else None
        return isinstance(known, str) and known == digest_of(included, known)

    def is_for(self, encryption: Encryption) -> bool:
        """Whether the newest backup is encrypted in the same way, for the same readers."""
        if "none" in (encryption.method, self.document.encryption):
            return encryption.method == self.document.encryption
        readers = self.index.facts.get("readers") if self.index is not None else None
        return isinstance(readers, str) and readers == readers_of(encryption, readers)


def digest_of(included: Sequence[Included], known: str = "") -> str:
    """Salt and digest of what is stored beside the image, that tells none of the names; with the salt of ``known``."""
    salt = _salt(known)
    text = json.dumps([salt, include.digests(included)], sort_keys=True)
    return f"{salt}:{hashlib.sha256(text.encode()).hexdigest()}"


def _salt(known: str) -> str:
    """The salt before the colon of what is known, or a new one."""
    return known.partition(":")[0] or os.urandom(16).hex()


def readers_of(encryption: Encryption, known: str = "") -> str:
    """Salt and fingerprint of whom is encrypted for; with the salt of ``known``, so that the two can be compared."""
    salt = _salt(known)
    return f"{salt}:{encryption.fingerprint(salt.encode())}"


@contextlib.contextmanager
def find(repository: Repository, newest: Backup | None) -> Iterator[Base | None]:
    """The base that ``newest`` can be; None without one whose manifest can be read."""
    if newest is None or newest.manifest is None:
        yield None
        return
    document = newest.manifest
    links = [newest]
    damage: EngineError | None = None
    try:
        links = chain.links(repository, newest)
        chain.check_artifacts(links)
    except (BackupDamagedError, UsageError) as error:
        damage = error
    with contextlib.ExitStack() as opened:
        index = opened.enter_context(pages.open_index(repository.index_path(newest.id), document.image.page_count))
        right = index is not None and index.facts.get("image_sha256") == document.image.sha256
        yield Base(newest, document, links, index if right else None, damage)


def why_full(base: Base | None, image: Snapshot, encryption: Encryption, policy: Policy, now: datetime) -> str:
    """Why the next backup must be a full one; empty when it can be an incremental on ``base``."""
    if base is None:
        return "there is no backup to build on"
    document, links = base.document, base.links
    age_seconds = (now - clock.from_text(links[0].trusted().started)).total_seconds()
    reasons = (
        (policy.type == "full", "a full backup is asked for"),
        (bool(image.corruption) or document.suspect, "the database, or the newest backup, is suspect"),
        (image.image_bytes < SMALL_BYTES, "the database is small"),
        (image.page_size != document.image.page_size, "the page size changed"),
        (base.damage is not None, "the newest backup, or what it builds on, is damaged"),
        (base.index is None, "there is no index of the newest backup"),
        (not base.is_for(encryption), "it is encrypted for others than the newest backup"),
        (len(links) > policy.max_chain, f"the chain has {len(links) - 1} incremental backups"),
        (policy.type == "auto" and age_seconds >= policy.full_every_seconds, "the full backup is too old"),
    )
    return next((text for applies, text in reasons if applies), "")
