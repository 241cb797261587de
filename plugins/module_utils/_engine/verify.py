# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify backups, live databases and plain files: passed, failed or inconclusive."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import database, files, image, proof, snapshot
from .clock import Deadline
from .errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    ProgramMissingError,
    ProofFailedError,
    SourceCorruptError,
)
from .proof import Check
from .repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Backup, Repository

_EXPECTATIONS = ("table ", "assertion ")


@dataclass(frozen=True)
class Expectations:
    """How deep to look (``quick`` or ``full``), and what the operator knows of the content."""

    level: str = "quick"
    expect_tables: Sequence[str] = ()
    assertions: Sequence[Mapping[str, Any]] = ()

    @property
    def about_content(self) -> bool:
        return bool(self.expect_tables or self.assertions)


@dataclass
class Verification:
    """The outcome, every check, and ``error``: what to fail with, None when all passed."""

    checks: list[Check] = field(default_factory=list)
    error: EngineError | None = None

    @property
    def outcome(self) -> str:
        return proof.overall(self.checks)


def verify_database(
    path: Path, expected: Expectations, *, timeout_seconds: float | None = None, dry_run: bool = False
) -> Verification:
    """Check a live database, or any SQLite file, where it is; nothing is written to it."""
    action = f"Cannot verify {path}"
    source = database.locate(path, action=action)
    checks = snapshot.examine(
        source,
        lambda connection: _content_checks(connection, expected),
        action=action,
        deadline=Deadline(timeout_seconds),
        traceless=dry_run,
    )
    return Verification(checks, _failure(checks, f"The database {path}", SourceCorruptError))


def verify_backups(
    repository: Repository,
    wanted: str,
    expected: Expectations,
    *,
    dry_run: bool = False,
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
) -> Verification:
    """Check one backup, the ``latest``, or ``all``, and note the outcome beside each manifest.

    With more than one, each check's name begins with the backup's id, and the first failure is the error.
    """
    action = f"Cannot verify {repository.path}"
    backups = repository.backups() if wanted == "all" else [repository.find(wanted, action=action)]
    if not backups:
        raise BackupNotFoundError(f"{action}: it holds no backup.", hint="Make a backup first.")
    total = Verification()
    for each in backups:
        with repository.reading(each, action=action, timeout_seconds=lock_timeout_seconds, dry_run=dry_run):
            single = _verify_backup(each, expected)
        if not dry_run:
            _note(repository, each, expected, single)
        total.checks.extend(_labelled(single.checks, each.id if wanted == "all" else ""))
        total.error = total.error or single.error
    return total


def _labelled(checks: Sequence[Check], label: str) -> list[Check]:
    return [dataclasses.replace(each, name=f"{label}: {each.name}" if label else each.name) for each in checks]


def _note(repository: Repository, backup: Backup, expected: Expectations, result: Verification) -> None:
    if backup.manifest is not None:
        repository.note_verification(backup, level=expected.level, outcome=result.outcome)
    code = result.error.code if result.error else 0
    repository.record("verify", backup=backup.id, level=expected.level, outcome=result.outcome, code=code)


def _verify_backup(backup: Backup, expected: Expectations) -> Verification:
    result = Verification()
    try:
        document = image.check_artifacts(backup)
        result.checks.append(Check("artifacts", proof.PASSED, f"{len(document.files)} files"))
        if document.suspect:
            result.checks.append(Check("suspect", proof.FAILED, "its source was corrupt when it was backed up"))
        elif expected.level == "full" or expected.about_content:
            with tempfile.TemporaryDirectory(prefix="sqlite-verify-") as scratch:
                result.checks.extend(_restored_checks(backup, Path(scratch), expected))
    except BackupDamagedError as error:
        result.checks.append(Check("artifacts", proof.FAILED, error.message))
    result.error = _failure(result.checks, f"The backup {backup.id}", BackupDamagedError)
    return result


def _restored_checks(backup: Backup, scratch: Path, expected: Expectations) -> list[Check]:
    """The checks of the content, on an image that was restored into ``scratch``."""
    action = f"Cannot verify {backup.id}"
    document = backup.trusted()
    files.require_space(scratch, document.image.bytes, action=action)
    restored = scratch / "restored.sqlite"
    image.write_image(backup, restored, action=action)
    checks = [Check("image", proof.PASSED, f"SHA-256 {document.image.sha256}")]
    with contextlib.closing(database.connect(restored, immutable=True)) as connection:
        if document.proof is not None and expected.level == "full":
            checks.extend(proof.check_rows(connection, document.proof))
        checks.extend(_content_checks(connection, expected))
    return checks


def _content_checks(connection: sqlite3.Connection, expected: Expectations) -> list[Check]:
    checks = proof.check_structure(connection, expected.level)
    checks.extend(
        proof.check_expectations(connection, expect_tables=expected.expect_tables, assertions=expected.assertions)
    )
    return checks


def _failure(checks: Sequence[Check], what: str, damage: type[EngineError]) -> EngineError | None:
    """What to fail with: damage before a failed expectation before a doubt."""
    failed = [each for each in checks if each.outcome == proof.FAILED]
    for each in failed:
        if not each.name.startswith(_EXPECTATIONS):
            return damage(f"{what} failed {each.name}: {each.detail}", hint="Restore from a backup that passes.")
    if failed:
        return ProofFailedError(
            f"{what} failed {failed[0].name}: {failed[0].detail}.",
            hint="The file is whole, but its content is not what was expected: look at both.",
        )
    for each in checks:
        if each.outcome == proof.INCONCLUSIVE:
            return ProgramMissingError(
                f"{what} cannot be verified here: {each.name}: {each.detail}.",
                hint="Verify it with an SQLite that has this module.",
            )
    return None
