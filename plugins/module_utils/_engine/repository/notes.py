# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written down beside the manifest of a backup after it was made: its checks."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..system import clock, files, places
from ..system.errors import MALFORMED, EngineError, StorageFailedError, from_os_error

_CHECKS_NAME = "checks.json"
_KEPT_VERIFICATIONS = 50


def read_checks(directory: Path, *, to_change: bool = False) -> tuple[str, list[dict[str, str]], str]:
    """When the backup in ``directory`` was last confirmed, its verifications, oldest first, and when it was accepted.

    They are an aid, no proof: when damaged they count as never written. ``to_change`` raises ``StorageFailedError``
    when the disk fails: what cannot be read right now must not be written over.
    """
    path = directory / _CHECKS_NAME
    try:
        # Most backups have none, and to find that out by opening takes long.
        os.lstat(path)
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
        failure = from_os_error(error, action=f"Cannot read {path}")
        if to_change and isinstance(failure, StorageFailedError):
            raise failure from error
        return "", [], ""
    except (EngineError, *MALFORMED):
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
