# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down after a backup was made: the checks beside its manifest, and the audit log of the repository."""

from __future__ import annotations

import contextlib
import functools
import getpass
import io
import json
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..system import clock, files, places
from ..system.errors import EngineError, StorageFailedError, from_os_error, translated

_CHECKS_NAME = "checks.json"
_HISTORY_NAME = "history.jsonl"
_KEPT_VERIFICATIONS = 50


def read_checks(directory: Path, *, to_change: bool = False) -> tuple[str, list[dict[str, str]], str]:
    """When the backup in ``directory`` was last confirmed, its verifications, oldest first, and when it was accepted.

    They are an aid, no proof: when damaged they count as never written. ``to_change`` raises ``StorageFailedError``
    when the disk fails: what cannot be read right now must not be written over.
    """
    path = directory / _CHECKS_NAME
    try:
        content = json.loads(places.read_bytes(path))
        verifications = [
            {key: str(each[key]) for key in ("time", "level", "outcome")} for each in content["verifications"]
        ]
        accepted = content.get("accepted", "")
        for moment in (content["confirmed"], accepted, *(each["time"] for each in verifications)):
            if moment:
                clock.from_text(moment)
        return str(content["confirmed"]), verifications, str(accepted)
    except OSError as error:
        if to_change and isinstance(failure := from_os_error(f"Cannot read {path}", error), StorageFailedError):
            raise failure from error
        return "", [], ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, EngineError):
        return "", [], ""


def write_checks(
    directory: Path, *, confirmed: str, verifications: Sequence[Mapping[str, str]], accepted: str = ""
) -> None:
    """Replace what is noted in ``directory``; of the verifications the newest are kept."""
    kept = [*verifications][-_KEPT_VERIFICATIONS:]
    # A failure of the deepest look stands until one as deep passes, whatever others say meanwhile.
    deep = next((each for each in reversed(verifications) if each["level"] == "full"), None)
    if deep is not None and deep not in kept:
        kept[0] = deep
    content = {"confirmed": confirmed, "verifications": kept, **({"accepted": accepted} if accepted else {})}
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    files.replace_private(directory / _CHECKS_NAME, text.encode())


def append_event(repository: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Add one line to the audit log in the directory ``repository``."""
    line = {"time": clock.to_text(clock.now()), "event": event, **_who(), **facts}
    with translated(f"Cannot write the audit log {repository / _HISTORY_NAME}"):
        files.append_line(repository / _HISTORY_NAME, json.dumps(line, sort_keys=True))


def read_events(repository: Path) -> list[dict[str, Any]]:
    """The events of the audit log, oldest first; a line that is none, as a crash leaves it, is left out."""
    events = []
    path = repository / _HISTORY_NAME
    with translated(f"Cannot read the audit log {path}"), contextlib.suppress(FileNotFoundError):
        for line in io.BytesIO(places.read_bytes(path)):
            with contextlib.suppress(ValueError, RecursionError):
                event = json.loads(line.decode("utf-8", errors="replace"))
                if isinstance(event, dict):
                    events.append(event)
    return events


@functools.lru_cache(maxsize=1)
def _who() -> dict[str, Any]:
    """Who runs this, for the audit log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(getattr(os, "getuid", lambda: "unknown")())
    return {"user": user, "host": socket.gethostname(), "pid": os.getpid()}
