# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a database is still the one that was backed up before, or began anew under the same name.

It is another one when its ``application_id`` is, or when none of the tables is left that there were.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..sqlite.proof import Proof
from ..system import files, places
from ..system.errors import RefusedError, StorageFailedError
from .published import Backup

UNTOLD = "nobody has said that it is meant"
_LONGEST_BYTES = 64 * 1024 * 1024


def is_other_application(known: object, found: object) -> bool:
    """Whether two values of ``application_id`` differ; None, when one is not known, differs from nothing."""
    return known is not None and found is not None and known != found


@dataclass(frozen=True)
class Identity:
    """``application_id`` and the names of the tables, as salted digests: they tell nothing of the content."""

    salt: str
    application_id: str | None
    tables: frozenset[str]


@dataclass(frozen=True)
class Found:
    """What a snapshot has of an identity, in plain; ``application_id`` is None of a file of zero bytes."""

    application_id: object
    tables: frozenset[str]

    def digested(self, salt: str = "") -> Identity:
        """With ``salt``, so that two can be compared, or with a new one."""
        salt = salt or os.urandom(16).hex()
        application_id = None if self.application_id is None else _digest(salt, f"id {self.application_id}")
        # SQLite does not tell names apart by the case of their letters.
        return Identity(salt, application_id, frozenset(_digest(salt, f"table {each.lower()}") for each in self.tables))


def found_in(proof: Proof) -> Found:
    """What ``proof`` says, also of tables whose rows could not be counted."""
    return Found(proof.header.get("application_id"), frozenset((*proof.tables, *proof.uncounted)))


def difference(known: Identity, found: Found) -> str:
    """Why ``found`` is another database than the one that is known; empty when it is the same, or there was nothing."""
    if not known.tables:
        return ""
    here = found.digested(known.salt)
    if is_other_application(known.application_id, here.application_id):
        return "its application_id is another one"
    return "" if known.tables & here.tables else "none of the tables is left"


class Standing:
    """Which database the backups of a repository, oldest first, are of.

    ``accepted`` is the newest that is of it for certain, ``apart`` are those since that are perhaps of another one.
    ``path`` is a file of the host with what encrypted backups do not tell; without it nothing is compared with them.
    """

    def __init__(self, path: Path, backups: Sequence[Backup]) -> None:
        self.path = path
        self.good = next((each.id for each in reversed(backups) if each.verified), None)
        self.accepted: Backup | None = None
        self.apart: list[Backup] = []
        self.unread = [each.damage for each in backups if isinstance(each.damage, StorageFailedError)]
        for each in backups:
            if each.apart:
                self.apart.append(each)
            elif each.manifest is not None and not each.manifest.suspect:
                self.accepted, self.apart = each, []

    def doubt(self, found: Found) -> str:
        """Why ``found`` is perhaps another database; empty when it is the same."""
        known = self._known()
        if known is not None:
            return difference(known, found)
        return UNTOLD if self.apart else ""

    def warning(self, doubt: str) -> str:
        """What to say of a backup that is held apart because of ``doubt``."""
        than = f"that of {self.accepted.id}" if self.accepted else "before"
        back = f"If not, restore {self.good}." if self.good else "There is no good backup of another one."
        return (
            f"the database is perhaps another one than {than}: {doubt}. Its backups are held apart, and nothing is "
            f"pruned, until a run with force_identity says that it is meant. {back}"
        )

    def to_accept(self) -> list[Backup]:
        """Those that are apart, the newest first: older ones go with it, should a run be cut short.

        Raises where the disk does not give a manifest now: that backup would be left out for ever.
        """
        for damage in self.unread:
            raise damage
        return self.apart[::-1]

    def keep(self, identity: str, found: Found) -> None:
        """Keep what the backup with the id ``identity``, which is encrypted, does not tell; before it is published."""
        kept = {identity: found.digested()}
        known = self._known()
        if known is not None and self.accepted is not None:
            kept[self.accepted.id] = known
        files.own_directory(self.path.parent)
        files.replace_private(self.path, _to_bytes(kept))

    def _known(self) -> Identity | None:
        if self.accepted is None:
            return None
        proof = self.accepted.trusted().proof
        return found_in(proof).digested() if proof else _read(self.path).get(self.accepted.id)


def _digest(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt} {text}".encode("utf-8", "surrogatepass")).hexdigest()


def _to_bytes(kept: Mapping[str, Identity]) -> bytes:
    content = {
        name: {"salt": each.salt, "application_id": each.application_id, "tables": sorted(each.tables)}
        for name, each in kept.items()
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Identity]:
    """What was kept, by the ids of backups; nothing when the file is missing, or is not as it was written."""
    try:
        content = json.loads(places.read_bytes(path, limit_bytes=_LONGEST_BYTES))
        return {
            name: Identity(str(each["salt"]), each["application_id"], frozenset(map(str, each["tables"])))
            for name, each in content.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, RefusedError):
        return {}
