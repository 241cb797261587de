# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Verify backups, live databases and plain files: passed, failed or inconclusive."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import chain, choice, examination, image, published
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..sealed.encryption import NO_KEYS, Keys
from ..sqlite import database, pin, proof
from ..sqlite.proof import Check
from ..sqlite.snapshot import Progress
from ..system import files, scratch
from ..system.clock import Deadline
from ..system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    KeyRejectedError,
    ProgramMissingError,
    ProofFailedError,
    SourceCorruptError,
    Way,
    doing,
    sentence,
)
from ..system.options import Options
from . import content
from .content import Expectations

__all__ = [
    "UNEXPECTED",
    "Expectations",
    "Verification",
    "expected",
    "noted_outcome",
    "verify_backups",
    "verify_database",
]

UNEXPECTED = "unexpected"


def expected(given: Options) -> Expectations:
    return content.expected(given, given["level"])


@dataclass
class Verification:
    """The outcome, every check, and ``error``: what to fail with, None when all passed.

    ``locked_out``: for want of a key or a program nothing was learnt about the backup. ``warnings`` are of the
    repository.
    """

    checks: list[Check] = field(default_factory=list)
    error: EngineError | None = None
    locked_out: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def outcome(self) -> str:
        return proof.overall(self.checks)

    def to_json(self) -> dict[str, Any]:
        """For programs, as the module answers."""
        return {"outcome": self.outcome, "checks": [each.to_json() for each in self.checks]}


def verify_database(
    path: Path, expected: Expectations, *, timeout_seconds: float | None = None, dry_run: bool = False
) -> Verification:
    """Check a live database, or any SQLite file, where it is; nothing is written to it."""
    action = f"Cannot verify {path}"
    with doing(action):
        source = database.locate(path)
    checks = pin.examine(
        source,
        lambda connection: content.check(connection, expected),
        action=action,
        deadline=Deadline(timeout_seconds),
        traceless=dry_run,
    )
    return Verification(checks, content.failure(checks, f"The database {path}", SourceCorruptError))


def verify_backups(
    repository: Repository,
    wanted: str,
    expected: Expectations,
    *,
    keys: Keys = NO_KEYS,
    dry_run: bool = False,
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS,
    progress: Progress | None = None,
) -> Verification:
    """Check one backup, the ``latest``, or ``all`` but foreign ones, and note the outcome beside each manifest.

    With more than one, each check's name begins with the backup's id, and the first failure is the error.
    """
    action = f"Cannot verify {repository.path}"
    with doing(action):
        listed = repository.backups()
        backups = published.own(listed) if wanted == "all" else [repository.find(wanted, among=listed)]
        if not backups:
            hint = " ".join([*map(sentence, published.told_of_foreign(listed)), "Make a backup first."])
            raise BackupNotFoundError("it holds no backup.", hint=hint)
    passed_over = published.passed_over(listed, backups[-1]) if wanted == "latest" else []
    total = Verification(warnings=[*passed_over, *repository.warnings(listed)])
    damaged: list[Backup] = []
    for number, each in enumerate(backups):
        share = _share(progress, number, len(backups))
        try:
            with doing(action), repository.reading(each, timeout_seconds=lock_timeout_seconds, dry_run=dry_run):
                single = _verify_backup(repository, each, expected, keys, share)
        except BackupNotFoundError:
            # Among all of them, one that retention removed meanwhile is none that is missed.
            if wanted == "all":
                continue
            raise
        if not dry_run:
            unwritten = _note(repository, each, expected, single)
            total.warnings.extend(text for text in unwritten if text not in total.warnings)
        total.checks.extend(_labelled(single.checks, each.id if wanted == "all" else ""))
        total.error = total.error or single.error
        damaged.extend([each] if isinstance(single.error, BackupDamagedError) else [])
        share(1, 1)
    if isinstance(total.error, BackupDamagedError):
        total.error = _naming_a_good_one(total.error, damaged, listed)
    return total


def _naming_a_good_one(error: BackupDamagedError, damaged: Sequence[Backup], listed: Sequence[Backup]) -> EngineError:
    """``error`` with the newest backup in ``listed`` that is good as far as anybody knows."""
    told, best = choice.good(listed, damaged)
    ways = [Way("If the database is lost, restore that one", "restore", {"backup": best.id})] if best else []
    return BackupDamagedError(error.cause, action=error.action, hint=told, ways=ways)


def _share(progress: Progress | None, number: int, count: int) -> Progress:
    """Tells ``progress`` of the whole how far the one with this ``number`` of ``count`` is."""

    def tell(done: int, total: int) -> None:
        if progress is not None:
            progress(number * total + done, count * total)

    return tell


def _labelled(checks: Sequence[Check], label: str) -> list[Check]:
    return [dataclasses.replace(each, name=f"{label}: {each.name}" if label else each.name) for each in checks]


def _note(repository: Repository, backup: Backup, expected: Expectations, result: Verification) -> list[str]:
    """Write down what was found; what the audit log does not take is told: to fail would hide what was found."""
    # What was known of a backup stays as it is when somebody tries another key.
    if backup.manifest is not None and not result.locked_out:
        outcome = noted_outcome(result.error, result.outcome)
        repository.note_verification(backup, level=expected.level, outcome=outcome)
    code = result.error.code if result.error else 0
    facts = {"backup": backup.id, "level": expected.level, "outcome": result.outcome, "code": code}
    return repository.record_done("verify", **facts)


def noted_outcome(error: EngineError | None, outcome: str) -> str:
    """What is written down beside a backup. A slip in an assertion is no reason to remove one that is whole."""
    return UNEXPECTED if isinstance(error, ProofFailedError) else outcome


def _verify_backup(
    repository: Repository, backup: Backup, expected: Expectations, keys: Keys, progress: Progress
) -> Verification:
    result = Verification()
    try:
        document = backup.trusted()
        links = chain.links(repository, backup)
        chain.check_artifacts(links)
        built = f", built on {files.counted(len(links) - 1, 'backup')}" if len(links) > 1 else ""
        result.checks.append(Check("artifacts", proof.PASSED, files.counted(len(document.files), "file") + built))
        if document.suspect:
            result.checks.append(Check("suspect", proof.FAILED, "its source was corrupt when it was backed up"))
        elif expected.level == "full" or expected.about_content:
            with scratch.directory() as place, doing(f"Cannot verify {backup.id}"):
                result.checks.extend(_restored_checks(links, place, expected, keys, progress))
    except BackupDamagedError as error:
        result.checks.append(Check("artifacts", proof.FAILED, error.message))
    except (KeyRejectedError, ProgramMissingError) as error:
        result.checks.append(Check("content", proof.INCONCLUSIVE, error.message))
        result.error = error
        result.locked_out = True
        return result
    result.error = content.failure(result.checks, f"The backup {backup.id}", BackupDamagedError)
    return result


def _restored_checks(
    links: Sequence[Backup], place: Path, expected: Expectations, keys: Keys, progress: Progress
) -> list[Check]:
    """The checks of the content, on an image that was restored into ``place``."""
    backup = links[-1]
    document = backup.trusted()
    files.require_space(place, image.needed_bytes(links))
    restored = place / "restored.sqlite"
    proven = examination.proof_of(backup, keys)

    written = image.write_image(links, restored, keys, progress=progress)
    with content.opened(restored, expected, proven) as check:
        found = image.prove(backup, written, check)
    return [Check("image", proof.PASSED, f"SHA-256 {document.image.sha256}"), *found]
