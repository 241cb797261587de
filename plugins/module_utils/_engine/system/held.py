# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that another program holds: Windows lets nobody rename, remove or open them, often only for a moment.

A virus scanner, a search index or a copy looks at each new file. What fails for that is tried again for a while.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from . import windows

Result = TypeVar("Result")

_PATIENCE_SECONDS = 5.0
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.01, 0.5
# https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499-
_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION = 5, 32, 33


def patiently(call: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """What a ``call`` of the system returns, tried again while another program holds the file.

    After five seconds raises ``OSError`` with EBUSY, which names the program if Windows does.
    """
    end, wait_seconds = time.monotonic() + _PATIENCE_SECONDS, _FIRST_WAIT_SECONDS
    while True:
        try:
            return call(*arguments, **options)
        except PermissionError as error:
            if not _may_pass(error):
                raise
            if time.monotonic() >= end:
                raise _explained(error) from error
        time.sleep(wait_seconds)
        wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)


def _may_pass(error: PermissionError) -> bool:
    code = getattr(error, "winerror", None)
    if code is None:
        # open(2) of Windows keeps to itself why.
        return isinstance(error.filename, (str, os.PathLike)) and windows.is_kept(Path(error.filename))
    return code in (_ACCESS_DENIED, _SHARING_VIOLATION, _LOCK_VIOLATION)


def _explained(error: PermissionError) -> OSError:
    """That it is held, and by whom; ``error`` itself where it may as well be a matter of rights."""
    paths = [Path(each) for each in (error.filename, error.filename2) if isinstance(each, (str, os.PathLike))]
    who = ", ".join(windows.holders(paths))
    certain = getattr(error, "winerror", None) != _ACCESS_DENIED
    if not who and not certain and not any(map(windows.is_open, paths)):
        return error
    return OSError(errno.EBUSY, f"it is open in {who or 'another program'}", error.filename, None, error.filename2)
