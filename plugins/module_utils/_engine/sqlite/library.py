# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module ``sqlite3``, which a Python may lack. All rooms get it here, so that help is there without it."""

from __future__ import annotations

import platform
import sys
from typing import Any

from ..system.errors import ProgramMissingError

__all__ = ["is_missing", "lack", "require", "sqlite3"]

_why = ""
try:
    import sqlite3
except ImportError as missing:
    _why = str(missing)


class _Absent:
    """In the place of the module: the rooms can be loaded, and whatever they then want of it fails clearly."""

    Connection = Cursor = object
    sqlite_version = "missing"

    def __getattr__(self, name: str) -> Any:
        # What inspects a module asks for such names, and must hear that it has none.
        raise AttributeError(name) if name.startswith("__") else lack()


if _why:
    sqlite3 = _Absent()  # type: ignore[assignment]


def is_missing() -> bool:
    return bool(_why)


def lack() -> ProgramMissingError:
    """What to say on a Python without SQLite."""
    version = ".".join(map(str, sys.version_info[:2]))
    return ProgramMissingError(
        f"Cannot run: this Python {platform.python_version()} ({sys.executable}) has no SQLite module ({_why}).",
        hint=f"Install it (Debian: libpython3-stdlib; FreeBSD: py{version.replace('.', '')}-sqlite3; where Python was "
        "built from source: build it again with SQLite's headers), or use another Python 3.9 or newer that has it.",
    )


def require() -> None:
    """Raises ``ProgramMissingError`` on a Python without SQLite, before anything is done."""
    if is_missing():
        raise lack()
