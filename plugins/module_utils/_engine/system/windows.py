# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only Windows itself tells or does: who has a file open, long paths, the end of all that a program started."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NO_WINDOW = 0x08000000
"""CREATE_NO_WINDOW: a program of a terminal gets none of its own."""
_SHARING_VIOLATION = 32
_GENERIC_READ, _SHARE_ALL, _OPEN_EXISTING = 1 << 31, 7, 3
_MORE_DATA = 234
# Between two questions for the users of a file their number may grow.
_ATTEMPTS = 5
# Of a process, beside its number: its name, that of its service, its kind, its state, its session, whether it restarts.
_NAME_LENGTH, _SERVICE_LENGTH, _KEY_LENGTH = 256, 64, 33
# In the process environment block: https://learn.microsoft.com/windows/win32/api/winternl/ns-winternl-peb
_PEB_BITS_OFFSET, _IS_LONG_PATH_AWARE = 3, 0x80


def holders(paths: Sequence[Path]) -> list[str]:
    """The other processes that have one of these files open, as "name (pid 123)", as far as Windows tells.

    Its Restart Manager does: https://learn.microsoft.com/windows/win32/rstmgr/restart-manager-portal
    """
    if sys.platform == "win32":
        import ctypes

        with contextlib.suppress(OSError):
            return users_by(ctypes.WinDLL("rstrtmgr"), paths)
    return []


def users_by(manager: Any, paths: Sequence[Path]) -> list[str]:
    """What ``manager``, the library rstrtmgr, tells of the users of these files; nothing when it cannot."""
    import ctypes

    session, key = ctypes.c_uint32(), ctypes.create_unicode_buffer(_KEY_LENGTH)
    if manager.RmStartSession(ctypes.byref(session), 0, key):
        return []
    try:
        names = (ctypes.c_wchar_p * len(paths))(*map(os.path.abspath, paths))
        if manager.RmRegisterResources(session, len(paths), names, 0, None, 0, None):
            return []
        return sorted(_described(each) for each in _listed(manager, session) if each.process != os.getpid())
    finally:
        manager.RmEndSession(session)


def process_info() -> Any:
    """The type RM_PROCESS_INFO: https://learn.microsoft.com/windows/win32/api/restartmanager/ns-restartmanager-rm_process_info."""
    import ctypes

    class Process(ctypes.Structure):
        _fields_ = [
            ("process", ctypes.c_uint32),
            ("started", ctypes.c_uint32 * 2),
            ("name", ctypes.c_wchar * _NAME_LENGTH),
            ("service", ctypes.c_wchar * _SERVICE_LENGTH),
            ("rest", ctypes.c_uint32 * 4),
        ]

    return Process


def _listed(manager: Any, session: Any) -> Sequence[Any]:
    import ctypes

    needed, count, reasons = ctypes.c_uint32(), ctypes.c_uint32(), ctypes.c_uint32()
    found: Any = None
    for _attempt in range(_ATTEMPTS):
        code = manager.RmGetList(session, ctypes.byref(needed), ctypes.byref(count), found, ctypes.byref(reasons))
        if code != _MORE_DATA:
            return [] if code or found is None else found[: count.value]
        found = (process_info() * needed.value)()
        count.value = needed.value
    return []


def _described(process: Any) -> str:
    service = f"service {process.service}, " if process.service else ""
    return f"{process.name or 'process'} ({service}pid {process.process})"


def is_open(path: Path) -> bool:
    """Whether anybody, this process included, has ``path`` open."""
    return _keeps_out(path, 0)


def is_kept(path: Path) -> bool:
    """Whether somebody has ``path`` open and lets nobody else open it, for reading at the least."""
    return _keeps_out(path, _SHARE_ALL)


def _keeps_out(path: Path, sharing: int) -> bool:
    """Whether ``path`` cannot be opened, with this ``sharing``, because somebody has it open."""
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        kernel.CreateFileW.restype = ctypes.c_void_p
        name = ctypes.c_wchar_p(os.path.abspath(path))
        handle = kernel.CreateFileW(name, _GENERIC_READ, sharing, None, _OPEN_EXISTING, 0, None)
        if handle == ctypes.c_void_p(-1).value:
            return ctypes.get_last_error() == _SHARING_VIOLATION
        kernel.CloseHandle(ctypes.c_void_p(handle))
    return False


def allow_long_paths() -> None:
    """Let this process use paths of more than 260 characters, whatever the host is set to.

    The bit is that of a program which says so in its manifest. Go's runtime sets it in the same way.
    """
    if sys.platform == "win32" and sys.getwindowsversion()[:3] >= (10, 0, 15063):
        import ctypes

        block = ctypes.WinDLL("ntdll").RtlGetCurrentPeb
        block.restype = ctypes.c_void_p
        ctypes.c_ubyte.from_address(block() + _PEB_BITS_OFFSET).value |= _IS_LONG_PATH_AWARE


def resolved(path: Path) -> Path:
    """``path`` without links; Wine cannot follow those of a long one, and it stays as it is."""
    try:
        return Path(os.path.realpath(path))
    except OSError as error:
        if getattr(error, "winerror", None) != _MORE_DATA:
            raise
        return Path(os.path.abspath(path))


class Job:
    """What the program with the handle ``process`` starts from now on, so that it can be ended with it."""

    def __init__(self, process: int) -> None:
        if sys.platform == "win32":
            import ctypes

            self._kernel = ctypes.WinDLL("kernel32")
            self._kernel.CreateJobObjectW.restype = ctypes.c_void_p
            self._job = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
            self._kernel.AssignProcessToJobObject(self._job, ctypes.c_void_p(process))

    def end(self) -> None:
        """End all of it, once."""
        if sys.platform == "win32":
            self._kernel.TerminateJobObject(self._job, 1)
            self._kernel.CloseHandle(self._job)
