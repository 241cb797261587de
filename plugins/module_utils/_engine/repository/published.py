# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One published backup: what is known of it without a key, and what a look at names and sizes misses of it."""

from __future__ import annotations

import dataclasses
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..sqlite.proof import FAILED, INCONCLUSIVE, PASSED
from ..system import clock, places
from ..system.errors import BackupDamagedError, EngineError, doing
from . import manifest, notes, pins
from .manifest import Manifest, StoredFile
from .pins import Pin

ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-(full|incremental)")
LEVELS = {"": 0, "quick": 1, "full": 2}
"""How deep a verification looks."""


@dataclass(frozen=True)
class Backup:
    """One published backup. ``manifest`` is None when it cannot be trusted; ``damage`` then says why."""

    id: str
    path: Path
    manifest: Manifest | None
    damage: EngineError | None = None
    confirmed: str = ""
    """When the source was last found unchanged since this backup, RFC 3339; empty when never."""
    verifications: Sequence[dict[str, str]] = field(default_factory=tuple)
    accepted: str = ""
    """When it was said that the database is meant, RFC 3339, see ``apart``; empty when never."""
    lack: str = ""
    """What a look at names and sizes misses of its files, or of those that it builds on; empty when nothing."""
    foreign: bool = False
    """Whether it names another repository: as a merged copy of two leaves it. It is not a part of this one."""
    pin: Pin | None = None
    """What was said of its pin after it was made; None when nothing was."""

    def trusted(self) -> Manifest:
        """The manifest; raises what is wrong with it."""
        if self.manifest is None:
            raise self.damage or BackupDamagedError(f"The manifest of {self.path} cannot be read.", action="")
        return self.manifest

    @property
    def moments(self) -> list[datetime]:
        """The moments whose data it is known to hold: when it began, and when it was found to be current."""
        texts = (self.manifest.started if self.manifest else "", self.confirmed)
        return [clock.from_text(each) for each in texts if each]

    @property
    def pinned(self) -> bool:
        """Whether it stays whatever retention says: what was said last counts, until an end that was set."""
        if self.pin is None:
            return self.manifest is not None and self.manifest.pinned
        return self.pin.holds(clock.now())

    @property
    def pinned_since(self) -> str:
        """When it was pinned, RFC 3339; empty when it is not, and when that is not known."""
        if not self.pinned:
            return ""
        return self.pin.since if self.pin is not None else self.trusted().started

    @property
    def pinned_until(self) -> str:
        """When the pin ends, RFC 3339; empty when it is not pinned, or pinned without an end."""
        return self.pin.until if self.pin is not None and self.pinned else ""

    @property
    def pin_damage(self) -> str:
        """Why nobody knows whether it is pinned; it counts as pinned. Empty when all is well."""
        return self.pin.damage if self.pin is not None else ""

    @property
    def pin_warning(self) -> str:
        """The same as a sentence that names the backup."""
        return f"{self.id} counts as pinned: {self.pin_damage}" if self.pin_damage else ""

    @property
    def failed(self) -> str:
        """The level of the verification that failed last; empty once one of that level, or a deeper one, passed."""
        return standing_failure(self.verifications)

    @property
    def proven(self) -> str:
        """When it was last restored and found right, RFC 3339; empty when never, as far as is written down."""
        looks = (each["time"] for each in self.verifications if each["level"] == "full" and each["outcome"] == PASSED)
        return max(looks, default="")

    def looked_deep(self, since: datetime) -> bool:
        """Whether its content was checked with ``integrity_check`` since then."""
        looks = [each["time"] for each in self.verifications if each["level"] == "full"]
        if self.manifest is not None and any(each.name == "integrity_check" for each in self.manifest.checks):
            looks.append(self.manifest.started)
        return any(clock.from_text(each) >= since for each in looks)

    @property
    def apart(self) -> bool:
        """Whether it is held apart, see ``held``, and nobody said since that this is meant."""
        return self.manifest is not None and self.manifest.apart and not self.accepted

    @property
    def held(self) -> str:
        """Why it is held apart, as a sentence without an end; empty when it is not."""
        if not self.apart:
            return ""
        return self.trusted().anomaly or "it is perhaps of another database than those before it"

    @property
    def suspect(self) -> bool:
        """Whether it is a copy of a corrupt database, or of one whose content collapsed, and nobody said it may."""
        return self.corrupt or (self.apart and bool(self.trusted().anomaly))

    @property
    def corrupt(self) -> bool:
        """Whether it is known to be a copy of a corrupt database."""
        return self.manifest is not None and self.manifest.suspect

    @property
    def verified(self) -> bool:
        """Whether it is all there, and the newest check of its content passed: made with the backup, or later.

        One that is held apart is not, until somebody says that its database is meant. What a deep look found wrong
        stays so until a look as deep finds otherwise.
        """
        if self.manifest is None or self.foreign or self.manifest.suspect or self.apart or self.lack or self.failed:
            return False
        # What this host lacks the means to look into says nothing against it.
        looks = [each["outcome"] for each in self.verifications if each["outcome"] != INCONCLUSIVE]
        if looks:
            return looks[-1] == PASSED
        return any(check.outcome in (PASSED, INCONCLUSIVE) for check in self.manifest.checks)


def standing_failure(verifications: Sequence[Mapping[str, str]]) -> str:
    """The level of the failure that stands among ``verifications``, oldest first; empty when none does."""
    level = ""
    for each in verifications:
        if LEVELS.get(each["level"], 0) >= LEVELS[level]:
            level = each["level"] if each["outcome"] == FAILED else "" if each["outcome"] == PASSED else level
    return level


def load(path: Path) -> Backup | None:
    """The backup in ``path``; None when there is no manifest, which is then no backup."""
    where = path / manifest.MANIFEST_NAME
    try:
        with doing(f"Cannot read {where}"):
            try:
                document = manifest.from_bytes(places.read_bytes(where))
            except (FileNotFoundError, NotADirectoryError):
                return None
        if document.id != path.name:
            raise BackupDamagedError(
                f"its manifest is that of {document.id}.",
                action=f"Cannot use {path}",
                hint="Give the directory its old name.",
            )
    except EngineError as error:
        return Backup(path.name, path, None, error)
    confirmed, verifications, accepted = notes.read_checks(path)
    return Backup(path.name, path, document, None, confirmed, verifications, accepted, pin=pins.read(path))


def listed(directory: Path) -> Iterator[Backup]:
    """What is published in ``directory``, in any order; nothing where that is none."""
    try:
        names = [each for each in os.listdir(directory) if ID.fullmatch(each)]
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from filter(None, (load(directory / each) for each in names))


def own(backups: Sequence[Backup]) -> list[Backup]:
    """Those that are of the repository in which they are."""
    return [each for each in backups if not each.foreign]


def newest(backups: Sequence[Backup]) -> Backup | None:
    """The newest of this repository that is not suspect; a suspect one only where there is no other."""
    found = own(backups)
    good = [each for each in found if not each.suspect] or found
    return good[-1] if good else None


def passed_over(backups: Sequence[Backup], taken: Backup) -> list[str]:
    """A warning when there are suspect backups behind the one that is ``taken`` as the newest."""
    ids = [each.id for each in backups]
    newer = ", ".join(each.id for each in backups[ids.index(taken.id) + 1 :] if each.suspect)
    return [f"{taken.id} is taken, since what is newer is a copy of a corrupt database: {newer}"] if newer else []


def told_of_foreign(backups: Sequence[Backup]) -> list[str]:
    """A warning when some of ``backups`` are foreign."""
    foreign = ", ".join(each.id for each in backups if each.foreign)
    if not foreign:
        return []
    return [
        f"foreign, and counted for nothing: {foreign}. Move what was copied here to where it is from, or remove it."
    ]


def in_order(backups: Sequence[Backup]) -> list[Backup]:
    """``backups``, oldest first, as ``by_sequence`` has them. Each says what it lacks."""
    found: list[Backup] = []
    usable: dict[str, Backup] = {}
    for each in by_sequence(backups):
        lack = _lack(each, usable)
        found.append(dataclasses.replace(each, lack=lack) if lack else each)
        # To build on it only its pages are needed.
        if each.manifest is not None and not _lack(each, usable, [each.manifest.content_file]):
            usable[each.id] = each
    return found


def by_sequence(backups: Sequence[Backup]) -> list[Backup]:
    """``backups``, oldest first: by sequence, since a clock may go backwards.

    Foreign ones come first, since their sequence is that of another repository.
    """
    order: dict[str, float] = {each.id: each.manifest.sequence for each in own(backups) if each.manifest}
    order.update({each.id: _after(each, order) for each in backups if each.manifest is None})
    order.update({each.id: each.manifest.sequence for each in backups if each.manifest and each.foreign})
    return _accepted_together(sorted(backups, key=lambda each: (not each.foreign, order[each.id], each.id)))


def _accepted_together(backups: Sequence[Backup]) -> list[Backup]:
    """``backups``, oldest first; to say that a database is meant says so of those held apart in a row before it, too.

    The run that says it of several may be cut short behind the newest. Each later backup says it again, sealed: the
    notes may be lost.
    """
    found: list[Backup] = []
    said = ""
    sealed = {name: each.manifest.started for each in own(backups) if each.manifest for name in each.manifest.accepts}
    for each in reversed(backups):
        if each.manifest is not None and not each.manifest.suspect and not each.foreign:
            said = each.accepted or sealed.get(each.id) or said if each.manifest.apart else ""
        held = each.manifest is not None and each.apart and not each.foreign
        found.append(dataclasses.replace(each, accepted=said) if held and said else each)
    return found[::-1]


def _after(backup: Backup, order: dict[str, float]) -> float:
    """Where a backup whose sequence is unknown stands: right behind the newest with a smaller id."""
    return max((number for other, number in order.items() if other < backup.id), default=0) + 0.5


def _lack(backup: Backup, usable: Mapping[str, Backup], stored: Sequence[StoredFile] | None = None) -> str:
    """What is not there of ``backup``, or of ``stored``: a restore would fail. ``usable`` can be built on.

    A file of the right size may still be damaged.
    """
    if backup.manifest is None:
        return ""
    for each in backup.manifest.files if stored is None else stored:
        try:
            status = os.lstat(os.path.join(backup.path, each.path))
        except OSError as error:
            return f"{each.path} cannot be found ({os.strerror(error.errno or 0).lower()})"
        if not stat.S_ISREG(status.st_mode) or status.st_size != each.bytes:
            return f"{each.path} has {status.st_size} bytes, not {each.bytes}"
    name = backup.manifest.parent
    if name is None:
        return ""
    wrong = wrong_parent(usable[name], backup) if name in usable else "is missing or damaged"
    return f"it builds on {name}, which {wrong}" if wrong else ""


def wrong_parent(parent: Backup, child: Backup) -> str:
    """Why ``parent``, which has the right id, is not what ``child`` was made from; empty when it is."""
    if parent.foreign and not child.foreign:
        return "is of another repository"
    return "" if child.trusted().is_from(parent.trusted()) else "is not the one that it was made from"
