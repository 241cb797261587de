# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a backup is asked for, from option values, and what came of it, as plain values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import anomaly, base, include
from ..repository.base import Policy
from ..repository.include import Include
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS
from ..sealed import encryption
from ..sealed.encryption import NOT_ENCRYPTED, Encryption
from ..sqlite import urls
from ..system import options
from ..system.errors import EngineError
from ..system.options import Options
from . import backup_facts


@dataclass(frozen=True)
class Request:
    """What to back up and how; the options of the module ``sqlite_backup`` with the same names.

    ``timeout_seconds`` is the deadline of the snapshot, ``lock_timeout_seconds`` that of waiting for the repository.
    """

    path: Path
    repository: Path
    name: str = ""
    type: str = "auto"
    full_every_seconds: float = base.DEFAULT_FULL_EVERY_SECONDS
    max_chain: int = base.DEFAULT_MAX_CHAIN
    compression: str = "auto"
    compression_level: int | None = None
    encryption: Encryption = NOT_ENCRYPTED
    check: str = "quick"
    include: tuple[Include, ...] = ()
    reason: str = ""
    tags: tuple[str, ...] = ()
    pinned: bool = False
    timeout_seconds: float | None = None
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    force: bool = False
    allow_empty: bool = False
    force_identity: bool = False
    suspect_below: int = anomaly.DEFAULT_PERCENT

    @property
    def policy(self) -> Policy:
        return Policy(self.type, self.full_every_seconds, self.max_chain)

    @property
    def database_name(self) -> str:
        return self.name or self.path.stem


def requested(given: Options) -> Request:
    return Request(
        path=urls.requested(given, must_exist=True),
        repository=Path(given["repository"]),
        name=options.text(given, "name"),
        type=given["type"],
        full_every_seconds=options.seconds(given, "full_every") or 0.0,
        max_chain=options.count(given, "max_chain"),
        compression=given["compression"],
        compression_level=given["compression_level"],
        encryption=encryption.requested(given["encryption"]),
        check=given["check"],
        include=include.requested(given["include"]),
        reason=given["reason"],
        tags=tuple(given["tags"]),
        pinned=given["pinned"],
        timeout_seconds=options.timeout(given),
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
        force=given["force"],
        allow_empty=given["allow_empty"],
        force_identity=given["force_identity"],
        suspect_below=options.count(given, "suspect_below"),
    )


@dataclass
class Outcome:
    """What a run did, or in check mode would do. ``error`` is set when a backup was stored and is suspect.

    ``apart`` says that the backup is perhaps of another database than those before it; ``accepted`` are the ids of
    those of which the run noted that this is meant.
    ``backup`` is None only in check mode, for a backup that does not exist yet.
    """

    changed: bool
    backup: Backup | None
    previous: Backup | None
    changed_pages: int
    type: str = "full"
    parent: str | None = None
    tables: dict[str, int] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    error: EngineError | None = None
    apart: bool = False
    accepted: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        described: dict[str, Any] = {"type": self.type, "parent": self.parent}
        if self.backup is not None:
            # Just stored, it is known even of an encrypted backup what is in it.
            described = {**backup_facts.describe(self.backup), "tables": self.tables}
        described.update(apart=self.apart, accepted=self.accepted)
        facts = {"changed_pages": self.changed_pages, "durations": self.durations, "warnings": self.warnings}
        return {**described, **facts}
