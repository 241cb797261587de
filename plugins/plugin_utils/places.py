# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a directory is for: a role gives its own directories rules, and may give those to nothing else.

Paths are compared as they are written. What links make of them only the host knows.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows as of_windows


@dataclass(frozen=True)
class Place:
    """A directory, and where it is named: a variable, or what it is of."""

    path: str
    where: str


def check(place: Place, *, apart: Sequence[Place] = (), outside: Sequence[Place] = (), windows: bool = False) -> None:
    """A ``UsageError`` when ``place`` is a root, when it is or contains one of ``outside``, or shares with ``apart``.

    Two that are to be apart may also not be the other way round, one in the other.
    """
    own = _key(place.path, windows)
    separator = "\\" if windows else "/"
    if of_windows.is_root(place.path) if windows else own == "/":
        raise UsageError(f"{place.where} is {place.path!r}, all of a disk. Allowed is a directory for nothing else.")
    for other in (*apart, *outside):
        key = _key(other.path, windows)
        if own == key or _is_in(key, own, separator):
            relation = "is" if own == key else "contains"
        elif other in apart and _is_in(own, key, separator):
            relation = "is in"
        else:
            continue
        raise UsageError(
            f"{place.where} is {place.path!r}, which {relation} the directory of {other.where}, {other.path!r}. "
            "Allowed is a directory for nothing else."
        )


def _key(path: str, windows: bool) -> str:
    # POSIX keeps two slashes at the beginning.
    return of_windows.key(path) if windows else "/" + posixpath.normpath(path).lstrip("/")


def _is_in(path: str, directory: str, separator: str) -> bool:
    return path.startswith(f"{directory.rstrip(separator)}{separator}")
