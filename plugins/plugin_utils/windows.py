# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is otherwise on Windows hosts: paths, the line of a command, the triggers and limits of a scheduled task.

What an interval and a duration are to a trigger is in "RepetitionPattern object" of the Task Scheduler's documentation.
"""

from __future__ import annotations

import math
import ntpath
import re
import subprocess
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError

# `C:\a`, or `\\server\share\a`; never one that depends on the drive or the directory that a process is in.
_ABSOLUTE = re.compile(r"(?:[A-Za-z]:\\|\\\\[^\\?.][^\\]*\\[^\\]+)")
_ABSOLUTE_URL = re.compile(r"[a-z0-9]+:/*[A-Za-z]:[\\/]")
# A file name has none of these, and no control character.
_REFUSED = re.compile(r'[<>"|?*\x00-\x1f]')
# By whatever extension: what Windows keeps for devices, see "Naming Files, Paths, and Namespaces" there.
_DEVICE = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[0-9\u00b9\u00b2\u00b3]) *(?:\..*)?", re.IGNORECASE
)
_HOUR_SECONDS, _DAY_SECONDS = 3600, 86400
# A day that is gone: the schedule is in force at once.
_BEGUN = "2026-01-01"
_UNITS = ((_DAY_SECONDS, "D"), (_HOUR_SECONDS, "H"), (60, "M"), (1, "S"))


def absolute(path: Any, where: str) -> str:
    """``path`` with backslashes."""
    text = str(path).replace("/", "\\")
    drive, rest = ntpath.splitdrive(text)
    for part in rest.split("\\"):
        if _DEVICE.fullmatch(part) or (part.endswith((".", " ")) and part not in (".", "..")):
            raise UsageError(
                f"{where} is {str(path)!r}, and Windows takes {part!r} for another name. Allowed is a path whose parts "
                "end with neither a dot nor a blank, and are not the names of devices."
            )
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


def key(path: str) -> str:
    """The same for all ways to write a path in which only case, slashes and ``..`` differ."""
    return ntpath.normcase(ntpath.normpath(path)).rstrip("\\")


def is_root(path: str) -> bool:
    """Whether it is a whole drive, or a whole share."""
    return not ntpath.splitdrive(ntpath.normpath(path))[1].strip("\\")


def stand_in(path: Any, where: str) -> str:
    """A path that is absolute on the controller, with the same last name."""
    return "/" + absolute(path, where).replace("\\", "/").lstrip("/")


def is_absolute_url(url: str) -> bool:
    """Whether the URL of a database names a drive."""
    return _ABSOLUTE_URL.match(url) is not None


def directory_of_url(url: str, chdir: str) -> str:
    """That of the database which ``url`` names, from ``chdir`` on when it names no drive."""
    path = unquote(re.sub(r"^[a-z0-9]+:(?://)?", "", url).partition("?")[0])
    return ntpath.dirname(ntpath.join(chdir, path.lstrip("/\\") if is_absolute_url(url) else path).replace("/", "\\"))


def command_line(words: Sequence[str]) -> str:
    """As a program of Windows takes it apart again."""
    return subprocess.list2cmdline(words)


def trigger(runs: Sequence[tuple[int, int]], delay_seconds: int = 0) -> dict[str, Any]:
    """For ``runs`` of one day, each an hour and a minute, in their order from the first, all as far apart.

    The repetition ends half a step behind the last run: nothing is left to how the scheduler counts the last one. Only
    what goes on around the clock has no end, as long as the next day begins at the same minutes: so no hour is without
    runs in the night in which the clocks go back. That two days may be in force at once adds no run, since the task
    does not begin anew while it runs.
    """
    first, *others = [_HOUR_SECONDS * hour + 60 * minute for hour, minute in runs]
    hours, seconds = divmod((first + delay_seconds) % _DAY_SECONDS, _HOUR_SECONDS)
    daily = {"type": "daily", "start_boundary": f"{_BEGUN}T{hours:02}:{seconds // 60:02}:{seconds % 60:02}"}
    if not others:
        return daily
    step_seconds = (others[0] - first) % _DAY_SECONDS
    repetition = {"interval": duration(step_seconds), "stop_at_duration_end": False}
    if step_seconds <= _HOUR_SECONDS and len(runs) * step_seconds == _DAY_SECONDS:
        return {**daily, "repetition": repetition}
    lasts_seconds = len(others) * step_seconds + step_seconds // 2
    return {**daily, "repetition": {**repetition, "duration": duration(lasts_seconds)}}


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
