# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What this host may do at a target: reach, write, read and delete there, each of them tried."""

from __future__ import annotations

import contextlib
from pathlib import Path

from ..system import files
from ..system.errors import EngineError
from ..targets import target
from ..targets.address import Address
from ..targets.transport import Transport
from . import copies
from .findings import NOTE, OK, PROBLEM, WARNING, Finding

__all__ = ["NOTE", "PROBLEM", "look"]

# Always the same: where nothing may be deleted there is one, however often somebody asks.
_PROBE = "sqlite-backup-doctor"
_CONTENT = b"The doctor of sqlite-backup was here. This file may be removed.\n"


def look(address: Address, name: str, *, prunes: bool) -> Finding:
    """Write a small file there, compare it, read it back and remove it; ``prunes`` says whether hosts may have to."""
    there = target.at(address)
    with copies.elsewhere() as room:
        source, back = room.path / "source", room.path / "back"
        for each in (source, back):
            files.create_directory(each)
        files.write_private(source / _PROBE, _CONTENT)
        there.put(source, [_PROBE], lambda _bytes: None)
        found = there.compare(source, [_PROBE], digests=True)
        if found.missing or found.different:
            detail = f"What is written to {address.url} is not there afterwards."
            return Finding(name, PROBLEM, detail, "Look at what is there, and who else writes.")
        lacking = [] if _can_read(there, back) else ["read"]
        with contextlib.suppress(EngineError):
            there.remove([_PROBE])
            return _judged(address, name, lacking)
        return _judged(address, name, [*lacking, "delete"], prunes=prunes)


def _can_read(there: Transport, back: Path) -> bool:
    with contextlib.suppress(EngineError):
        there.get([_PROBE], back, copies.bounded(back, len(_CONTENT)))
        return (back / _PROBE).read_bytes() == _CONTENT
    return False


def _judged(address: Address, name: str, lacking: list[str], *, prunes: bool = False) -> Finding:
    if not lacking:
        return Finding(name, OK, f"{address.url} can be written to, read and deleted from.")
    detail = f"{address.url} can be written to; this host may not {' and not '.join(lacking)} there."
    if "delete" in lacking and prunes:
        return Finding(name, WARNING, detail, "Its keep_ rules cannot be carried out from here: prune on another host.")
    return Finding(name, NOTE, f"{detail} That protects them from whoever takes it over.")
