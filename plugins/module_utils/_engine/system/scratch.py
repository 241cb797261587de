# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory for what lies in plain while a run looks at it; what a killed run left there goes at the next one.

Others may make what they like beside it, among the temporary files. So only what is proven to be of this user goes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from . import files, locks, places, windows
from .errors import EngineError, RefusedError, doing

PREFIX = "sqlite-backup-scratch-"
_LOCK = "lock"
_USUAL = ("/tmp", "/var/tmp")  # noqa: S108 - with a name that nobody can foresee
# Younger than that, its run has perhaps not locked it yet.
_SETTLED_SECONDS = 60.0


@contextlib.contextmanager
def directory(top: Path | None = None) -> Iterator[Path]:
    """A new private directory in ``top``, for the block; None is among the temporary files."""
    top = _temporary() if top is None else top
    path = _made(top)
    try:
        _remove_leftovers(top, path)
        with contextlib.ExitStack() as stack:
            with doing(f"Cannot work in {path}"):
                stack.enter_context(locks.held(path / _LOCK, timeout_seconds=0))
            yield path
    finally:
        _remove(path)


def _temporary() -> Path:
    """Where temporary files are. For root it is where nobody else can put something in the place of one."""
    wanted = tempfile.gettempdir()
    for each in map(Path, (wanted, *_USUAL)):
        # What is missing is for whoever makes something there to say.
        if not each.is_dir() or places.if_of_others(each) is None:
            return each
    raise RefusedError(
        f"others than root can change what is in {wanted}.",
        action="Cannot make room for temporary files",
        hint="Set TMPDIR to a directory of root's.",
    )


def _made(top: Path) -> Path:
    """A new directory in ``top`` that nobody else can enter, whatever the rights of ``top`` are."""
    if sys.platform != "win32":
        return Path(tempfile.mkdtemp(prefix=PREFIX, dir=top))
    path = top / f"{PREFIX}{secrets.token_hex(8)}"
    windows.make_private_directory(path)
    return path


def _remove(path: Path) -> None:
    # What resists goes at a later run.
    with contextlib.suppress(OSError, EngineError):
        files.remove_tree(path)


def _is_ours(path: Path, made: Path) -> bool:
    """Whether ``path`` belongs to this user, and on Windows has the very rights of what was ``made`` just now.

    There it is removed by names. Who is not let in can put none there, and cannot move the directory either.
    """
    if sys.platform == "win32":
        return windows.owner_and_rights(path) == windows.owner_and_rights(made)
    return path.lstat().st_uid == os.geteuid()


def _remove_leftovers(top: Path, made: Path) -> None:
    """Remove what killed runs of this user left: nobody holds its lock any more."""
    for path in top.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, EngineError):
            if not _is_ours(path, made) or time.time() - path.lstat().st_mtime < _SETTLED_SECONDS:
                continue
            if not locks.is_held(path / _LOCK):
                _remove(path)
