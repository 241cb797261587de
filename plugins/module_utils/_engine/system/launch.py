# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that the engine starts: where they are, without a terminal or a window, ended with what they started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from . import windows


def find(name: str) -> str | None:
    """The file of the program ``name``, by PATH; None when it is not installed.

    Windows would first look where this runs, and there anybody may have put a program of that name.
    """
    if sys.platform != "win32":
        return shutil.which(name)
    if os.path.dirname(name):
        return shutil.which(name) if os.path.isabs(name) else None
    file = name if name.lower().endswith(".exe") else f"{name}.exe"
    folders = [each.strip('"') for each in os.environ.get("PATH", "").split(os.pathsep)]
    places = (os.path.join(each, file) for each in folders if os.path.isabs(each))
    return next((each for each in places if os.path.isfile(each)), None)


def apart() -> dict[str, Any]:
    """Options of ``subprocess.Popen``: the program has no terminal that it could ask, and gets no Ctrl-C."""
    if sys.platform == "win32":
        return {"creationflags": windows.NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def quiet() -> dict[str, Any]:
    """Options of ``subprocess.Popen``: on Windows no window opens for the program."""
    return {"creationflags": windows.NO_WINDOW} if sys.platform == "win32" else {}


def start(words: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a program ``apart``; raises ``FileNotFoundError`` when it is not installed."""
    found = list(words)
    if sys.platform == "win32":
        found[0] = find(words[0]) or ""
        if not found[0]:
            raise FileNotFoundError(words[0])
    # pylint: disable-next=ansible-bad-function
    return subprocess.Popen(found, **apart(), **options)


class Family:
    """A program that was started ``apart``, with all that it starts."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._job = windows.Job(int(vars(process)["_handle"])) if sys.platform == "win32" else None

    def end(self) -> None:
        """End what still runs of it."""
        if self._job is not None:
            self._job.end()
        elif sys.platform != "win32":
            with contextlib.suppress(OSError):
                os.killpg(self._process.pid, signal.SIGKILL)
