# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is otherwise on Windows hosts: paths, the line of a command, the triggers and limits of a scheduled task."""

from __future__ import annotations

import math
import ntpath
import re
import subprocess
from collections.abc import Sequence
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError

# `C:\a`, or `\\server\share\a`; never one that depends on the drive or the directory that a process is in.
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:\\|\\\\[^\\?.][^\\]*\\[^\\]+)")
_ABSOLUTE_URL = re.compile(r"[a-z0-9]+:/*[A-Za-z]:[\\/]")
# A file name has none of these, and no control character.
_REFUSED = re.compile(r'[<>"|?*\x00-\x1f]')
# A day that is gone: the schedule is in force at once.
_BEGUN = "2026-01-01"
_UNITS = ((86400, "D"), (3600, "H"), (60, "M"), (1, "S"))


def absolute(path: Any, where: str) -> str:
    """``path`` with backslashes."""
    text = str(path).replace("/", "\\")
    drive, rest = ntpath.splitdrive(text)
    if not _ABSOLUTE.match(text) or _REFUSED.search(drive + rest) or ":" in rest:
        raise UsageError(
            f"{where} is {str(path)!r}. Allowed is an absolute path of Windows, such as C:\\Data\\agent.db or "
            "\\\\server\\share\\agent.db."
        )
    return text


def made(path: Any, where: str) -> str:
    """A path that a role makes: the modules of Ansible and the task scheduler put in what % and $ stand for."""
    text = ntpath.normpath(absolute(path, where))
    if set("%$") & set(text):
        raise UsageError(f"{where} is {text!r}. Allowed is a path without % and $, which Windows would fill in.")
    return text


def stand_in(path: Any, where: str) -> str:
    """A path that is absolute on the controller, with the same last name."""
    return "/" + absolute(path, where).replace("\\", "/").lstrip("/")


def is_absolute_url(url: str) -> bool:
    """Whether the URL of a database names a drive."""
    return _ABSOLUTE_URL.match(url) is not None


def command_line(words: Sequence[str]) -> str:
    """As a program of Windows takes it apart again."""
    return subprocess.list2cmdline(words)


def trigger(runs: Sequence[tuple[int, int]], delay_seconds: int = 0) -> dict[str, Any]:
    """For ``runs`` of one day, each an hour and a minute, in their order from the first, all as far apart.

    The repetition ends half a step behind the last run: nothing is left to how the scheduler counts the last one.
    """
    first, *others = [3600 * hour + 60 * minute for hour, minute in runs]
    hours, seconds = divmod((first + delay_seconds) % 86400, 3600)
    daily = {"type": "daily", "start_boundary": f"{_BEGUN}T{hours:02}:{seconds // 60:02}:{seconds % 60:02}"}
    if not others:
        return daily
    step_seconds = (others[0] - first) % 86400
    lasts_seconds = len(others) * step_seconds + step_seconds // 2
    repetition = {"interval": duration(step_seconds), "duration": duration(lasts_seconds)}
    return {**daily, "repetition": {**repetition, "stop_at_duration_end": False}}


def duration(seconds: float) -> str:
    """As the task scheduler itself writes it, in ISO 8601."""
    rest = math.ceil(seconds)
    texts = []
    for size, unit in _UNITS:
        number, rest = divmod(rest, size)
        texts.append(f"{number}{unit}" if number else "")
    days, *times = texts
    time = "".join(times)
    return f"P{days}{'T' if time else ''}{time}" if days or time else "PT0S"
