# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many runs there were, and what came of the last ones: what no repository knows that is gone, or not yet made."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..system import clock, files, locks, places
from ..system.errors import MALFORMED, EngineError, RefusedError, doing
from .config import SEEN_NAME

FULL, INCREMENTAL, UNCHANGED = STORED = ("full", "incremental", "unchanged")
ASKED = ("auto", "full", "incremental")
"""The types that a backup can be asked for, which is all that is known of one that failed."""
_LAST = ("time", "outcome", "code", "type", "seconds", "changed_bytes")
_LOCK_SECONDS = 5.0


def file_of(directory: Path, name: str) -> Path:
    """Where the counts of the database ``name`` are, beside its configuration in ``directory``."""
    return directory / SEEN_NAME / f"{name}.counts.json"


def read(directory: Path, name: str) -> dict[str, Any]:
    """``counts``, since when, ``durations`` and ``last_run`` as an observation has them; a damaged file is none."""
    try:
        data = places.read_bytes(file_of(directory, name))
    except (OSError, EngineError):
        data = b""
    return _told(data)


def _told(data: bytes) -> dict[str, Any]:
    try:
        content = json.loads(data)
        counts = {kind: _numbers(content["counts"][kind]) for kind in ("success", "failure")}
        durations = {each: float(content["durations"][each]) for each in STORED if each in content["durations"]}
        last = content["last_run"]
        last = {key: last[key] for key in _LAST} if last else None
        since = clock.to_text(clock.from_text(content["counted_since"]))
    except (EngineError, *MALFORMED):
        counts, since, durations, last = {"success": {}, "failure": {}}, None, {}, None
    success = {each: counts["success"].get(each, 0) for each in STORED}
    failure = {each: counts["failure"].get(each, 0) for each in ASKED}
    return {
        "counts": {"success": success, "failure": failure},
        "counted_since": since,
        "durations": durations,
        "last_run": last,
    }


def _numbers(content: Mapping[str, Any]) -> dict[str, int]:
    return {str(name): int(number) for name, number in content.items()}


def add(directory: Path, name: str, *, good: bool, kind: str, last: Mapping[str, Any]) -> None:
    """Count one backup run of the type ``kind``; ``last`` is what came of it, as ``last_run`` has it."""
    file = file_of(directory, name)
    with doing(f"Cannot count the runs of {name}"), contextlib.ExitStack() as stack:
        files.own_directory(file.parent)
        lock = file.with_name(f".{name}.counts.lock")
        stack.enter_context(locks.held(lock, timeout_seconds=_LOCK_SECONDS))
        data = b""
        # What the disk does not give now is not to be replaced; what is no file has no counts.
        with contextlib.suppress(FileNotFoundError, RefusedError):
            data = places.read_bytes(file)
        known = _told(data)
        counts = known["counts"]["success" if good else "failure"]
        counts[kind] = counts.get(kind, 0) + 1
        if good:
            known["durations"][kind] = last["seconds"]
        content = {**known, "counted_since": known["counted_since"] or last["time"], "last_run": dict(last)}
        files.replace_private(file, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())
