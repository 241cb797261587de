# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore is asked for, from option values, and what came of it, as plain values."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from ..repository import include
from ..repository.include import Include
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS
from ..sealed import encryption
from ..sealed.encryption import NO_KEYS, Keys
from ..sqlite.proof import Check
from ..system import clock, options
from ..system.errors import UsageError
from ..system.options import Options
from . import content
from .content import NOTHING_EXPECTED, Expectations


@dataclass(frozen=True)
class Request:
    """What to restore and where; the options of the module ``sqlite_restore`` with the same names.

    ``dest`` None is the path that was backed up. ``owner``, ``group`` and ``mode`` (octal) are as the old file's, or
    as they were when the backup was made, unless given. A ``rehearsal`` leaves no line in the audit log.
    """

    repository: Path | None
    backup: str = "latest"
    before: datetime | None = None
    dest: Path | None = None
    owner: str = ""
    group: str = ""
    mode: str = ""
    check: str = "quick"
    force: bool = False
    force_identity: bool = False
    keys: Keys = NO_KEYS
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS
    expectations: Expectations = NOTHING_EXPECTED
    rehearsal: bool = False
    with_files: bool = False
    files_to: Path | None = None
    include: tuple[Include, ...] = ()

    @property
    def wants_files(self) -> bool:
        return self.with_files or self.files_to is not None

    @property
    def expected(self) -> Expectations:
        """What is checked of the image, as deep as ``check`` says."""
        return dataclasses.replace(self.expectations, level=self.check)


def requested(given: Options) -> Request:
    return Request(
        repository=options.path(given, "repository"),
        backup=given["backup"],
        before=clock.from_operator(given["before"]) if given["before"] is not None else None,
        dest=options.path(given, "dest"),
        owner=options.text(given, "owner"),
        group=options.text(given, "group"),
        mode=_mode(given),
        check=given["check"],
        force=given["force"],
        force_identity=given["force_identity"],
        keys=encryption.keys(given),
        lock_timeout_seconds=options.seconds(given, "lock_timeout") or 0.0,
        expectations=content.expected(given, given["check"]),
        with_files=bool(given["with_files"]),
        files_to=options.path(given, "files_to"),
        include=include.requested(given["include"] or ()),
    )


def _mode(given: Options) -> str:
    mode = options.text(given, "mode")
    if mode and not re.fullmatch("[0-7]{1,4}", mode):
        raise UsageError(
            f"Cannot use the mode {mode!r:.20}.", action="", hint="Write it in octal and in quotes, as '0600'."
        )
    return mode


@dataclass
class Outcome:
    """What a restore did, or in check mode would do; ``replaced`` says it of the database alone, without files.

    ``undo_set`` is where the old content is, if there was any.

    ``not_after`` is the moment that the request's ``before`` meant, with its offset; empty when none was given.
    ``checks`` are those of the image.
    ``files`` tells what became of each included file.
    ``before`` and ``after`` are facts about ``dest``: whether it exists, and its bytes with those of its sidecars.
    """

    changed: bool
    dest: Path
    backup: str = ""
    undo_set: str = ""
    not_after: str = ""
    sha256: str = ""
    durations: dict[str, float] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    before: dict[str, int | bool] = field(default_factory=dict)
    after: dict[str, int | bool] = field(default_factory=dict)
    replaced: bool = True

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        checks = [each.to_json() for each in self.checks]
        described = {**dataclasses.asdict(self), "dest": str(self.dest), "checks": checks}
        return {name: value for name, value in described.items() if name not in ("changed", "before", "after")}
