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
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ..sqlite.proof import Proof
from ..system import files, places
from ..system.errors import MALFORMED, RefusedError, StorageFailedError
from . import anomaly
from .anomaly import Size
from .manifest import Image
from .published import Backup

UNTOLD = "nobody has said that it is meant"
# The backups with which a new one is compared.
_RECENT = timedelta(days=7)
_MOST = 24
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
    size: Size = field(default_factory=Size)


@dataclass(frozen=True)
class Found:
    """What a snapshot has of an identity, in plain; ``application_id`` is None of a file of zero bytes."""

    application_id: object
    tables: frozenset[str]
    size: Size = field(default_factory=Size)

    def digested(self, salt: str = "") -> Identity:
        """With ``salt``, so that two can be compared, or with a new one."""
        salt = salt or os.urandom(16).hex()
        application_id = None if self.application_id is None else _digest(salt, f"id {self.application_id}")
        tables = {each: _table_digest(salt, each) for each in self.tables}
        return Identity(salt, application_id, frozenset(tables.values()), _renamed(self.size, tables))


def found_in(proof: Proof, image: Image) -> Found:
    """What ``proof`` says of ``image``, also of tables whose rows could not be counted."""
    size = anomaly.size_of(proof, page_size=image.page_size, page_count=image.page_count)
    return Found(proof.header.get("application_id"), frozenset((*proof.tables, *proof.uncounted)), size)


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
        self._accepted: list[Backup] = []
        self.apart: list[Backup] = []
        self.unread = [each.damage for each in backups if isinstance(each.damage, StorageFailedError)]
        for each in backups:
            if each.apart:
                self.apart.append(each)
            elif each.manifest is not None and not each.manifest.suspect:
                self.accepted, self.apart = each, []
                # What was held apart and is meant is where the past begins.
                self._accepted = [*([] if each.manifest.apart else self._accepted), each]

    def doubt(self, found: Found) -> str:
        """Why ``found`` is perhaps another database; empty when it is the same."""
        known = self._known()
        if known is not None:
            return difference(known, found)
        return UNTOLD if self.apart else ""

    def warning(self, doubt: str, *, suspect: bool = False) -> str:
        """What to say of a backup that is held apart because of ``doubt``; ``suspect`` for what collapsed."""
        than = f"that of {self.accepted.id}" if self.accepted else "before"
        back = f"If not, restore {self.good}." if self.good else "There is no good backup of another one."
        told = (
            f"the backup is suspect: {doubt}"
            if suspect
            else f"the database is perhaps another one than {than}: {doubt}"
        )
        return (
            f"{told}. Its backups are held apart, and nothing is pruned, until acknowledge, or a run with "
            f"force_identity, says that it is meant. {back}"
        )

    def collapse(self, found: Found, percent: int, now: datetime) -> tuple[str, str]:
        """What collapsed since the recent backups, for who runs this, and without a word of the content for others.

        Of encrypted backups only the newest is known.
        """
        recent = [each for each in self._accepted if now - max(each.moments) < _RECENT][-_MOST:] or self._accepted[-1:]
        sizes = [found_in(proof, each.trusted().image).size for each in recent if (proof := each.trusted().proof)]
        known = None if sizes else self._known()
        if known is not None:
            # Of a table that is gone only the digest of its name is left.
            names = {_table_digest(known.salt, name): name for name in found.tables}
            sizes = [_renamed(known.size, {each: names.get(each, each[:12]) for each in known.size.rows})]
        told = anomaly.collapse(sizes, found.size, percent)
        return told, told and anomaly.collapse(sizes, found.size, percent, named=False)

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
        document = self.accepted.trusted()
        if document.proof:
            return found_in(document.proof, document.image).digested()
        return _read(self.path).get(self.accepted.id)


def _table_digest(salt: str, name: str) -> str:
    # SQLite does not tell names apart by the case of their letters.
    return _digest(salt, f"table {name.lower()}")


def _renamed(size: Size, names: Mapping[str, str]) -> Size:
    """``size`` with other names of its tables."""
    rows = {names[each]: count for each, count in size.rows.items()}
    return Size(rows, size.used_bytes, frozenset(names[each] for each in size.uncounted))


def _digest(salt: str, text: str) -> str:
    return hashlib.sha256(f"{salt} {text}".encode("utf-8", "surrogatepass")).hexdigest()


def _to_bytes(kept: Mapping[str, Identity]) -> bytes:
    content = {
        name: {
            "salt": each.salt,
            "application_id": each.application_id,
            "tables": sorted(each.tables),
            "rows": dict(each.size.rows),
            "used_bytes": each.size.used_bytes,
        }
        for name, each in kept.items()
    }
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()


def _read(path: Path) -> dict[str, Identity]:
    """What was kept, by the ids of backups; nothing when the file is missing, or is not as it was written."""
    try:
        content = json.loads(places.read_bytes(path, limit_bytes=_LONGEST_BYTES))
        return {
            name: Identity(str(each["salt"]), each["application_id"], frozenset(map(str, each["tables"])), _size(each))
            for name, each in content.items()
        }
    except (OSError, RefusedError, *MALFORMED):
        return {}


def _size(content: Mapping[str, Any]) -> Size:
    """Nothing of a file that an earlier version wrote."""
    rows = {str(name): int(count) for name, count in content.get("rows", {}).items()}
    used_bytes = content.get("used_bytes")
    return Size(rows, used_bytes if isinstance(used_bytes, int) else None)
