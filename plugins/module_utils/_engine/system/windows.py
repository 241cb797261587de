# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only Windows itself tells or does: who has a file open and why none opens, junctions, rights, users, jobs."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

NO_WINDOW = 0x08000000
"""CREATE_NO_WINDOW: a program of a terminal gets none of its own."""
# https://learn.microsoft.com/windows/win32/debug/system-error-codes--0-499-
ACCESS_DENIED, SHARING_VIOLATION, LOCK_VIOLATION, DIRECTORY_NOT_EMPTY, DELETE_PENDING = 5, 32, 33, 145, 303
OPENED, FILE_NOT_FOUND = 0, 2
_MORE_DATA = 234
# Of a file that goes when the last one closes it, which error codes call a denied access.
_STATUS_DELETE_PENDING = 0xC0000056
_GENERIC_READ, _GENERIC_WRITE, _READ_CONTROL = 1 << 31, 1 << 30, 0x20000
# What Python's own open lets others do meanwhile: all but to remove it.
_SHARE_NOTHING, _SHARE_AS_PYTHON, _SHARE_ALL = 0, 3, 7
_OPEN_EXISTING = 3
# Opens a directory, too, and a link itself.
_AS_IT_IS = 0x02000000 | 0x00200000
# What stands for something else: https://learn.microsoft.com/windows/win32/fileio/reparse-point-tags
_NAME_SURROGATE = 0x20000000
# Its owner, and who may do what: https://learn.microsoft.com/windows/win32/secauthz/security-information
_FILE_OBJECT, _OWNER_AND_RIGHTS, _REVISION = 1, 1 | 4, 1
# Nothing from the directory around it; for the system, the administrators and its owner, with all that is in it.
_PRIVATE = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;FA;;;OW)"
_LONGEST_NAME = 256 + 1
_EXTENDED_LIMITS, _KILL_ON_JOB_CLOSE = 9, 0x2000
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
        with contextlib.suppress(OSError):
            return users_by(_library("rstrtmgr"), paths)
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
    return sys.platform == "win32" and _why_closed(path, _GENERIC_READ, _SHARE_NOTHING) in (
        SHARING_VIOLATION,
        DELETE_PENDING,
    )


def why_closed(path: Path, *, writing: bool) -> int | None:
    """Windows' code for why Python cannot open ``path`` for reading, or ``writing``, too; 0 when it can; else None."""
    if sys.platform != "win32":
        return None
    return _why_closed(path, _GENERIC_READ | _GENERIC_WRITE if writing else _GENERIC_READ, _SHARE_AS_PYTHON)


def _why_closed(path: Path, access: int, sharing: int) -> int:
    """Windows' code for why ``path`` cannot be opened in that way; 0 when it can."""
    try:
        with _opened(path, access, sharing, 0):
            return OPENED
    except OSError as error:
        return int(getattr(error, "winerror", 0))


@contextlib.contextmanager
def _opened(path: Path, access: int, sharing: int, flags: int) -> Iterator[Any]:
    """A handle of ``path``, which is there, for the block; raises ``OSError`` with the code of Windows."""
    import ctypes

    kernel = _library("kernel32")
    kernel.CreateFileW.restype = ctypes.c_void_p
    # What the code hides: https://github.com/git/git/blob/v2.49.0/compat/mingw.c asks in this way, too.
    status = _library("ntdll").RtlGetLastNtStatus
    status.restype = ctypes.c_uint32
    name = ctypes.c_wchar_p(os.path.abspath(path))
    handle = kernel.CreateFileW(name, access, sharing, None, _OPEN_EXISTING, flags, None)
    if handle == ctypes.c_void_p(-1).value:
        is_going, code = status() == _STATUS_DELETE_PENDING, _last_error()
        raise _failed(DELETE_PENDING if is_going and code == ACCESS_DENIED else code, path)
    try:
        yield ctypes.c_void_p(handle)
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))


def _failed(code: int, path: Path) -> OSError:
    """What Python makes of this code of Windows."""
    import ctypes

    return OSError(None, vars(ctypes)["FormatError"](code).strip(), os.fspath(path), code)


def _library(name: str) -> Any:
    """A library of Windows, with a memory for its last error."""
    import ctypes

    return vars(ctypes)["WinDLL"](name, use_last_error=True)


def _last_error() -> int:
    import ctypes

    return int(vars(ctypes)["get_last_error"]())


def is_surrogate(status: os.stat_result) -> bool:
    """Whether a name, by its own ``status`` (lstat), stands for something elsewhere, as a junction or a link does.

    To Python a junction is a directory, and up to 3.11 ``os.walk`` goes through it.
    """
    return stat.S_ISLNK(status.st_mode) or bool(getattr(status, "st_reparse_tag", 0) & _NAME_SURROGATE)


def is_directory(status: os.stat_result) -> bool:
    """Whether that is a directory itself, and no junction to one."""
    return stat.S_ISDIR(status.st_mode) and not is_surrogate(status)


def unprotect(path: Path) -> bool:
    """Take the read-only attribute away, with which nothing can be removed or replaced; whether ``path`` had it."""
    with contextlib.suppress(FileNotFoundError):
        if is_protected(path):
            os.chmod(path, stat.S_IREAD | stat.S_IWRITE)
            return True
    return False


def protect(path: Path) -> None:
    """Give ``path`` the read-only attribute."""
    os.chmod(path, stat.S_IREAD)


def is_protected(path: Path) -> bool:
    """Whether ``path`` has the read-only attribute of Windows."""
    if sys.platform == "win32":
        return bool(os.lstat(path).st_file_attributes & stat.FILE_ATTRIBUTE_READONLY)
    return False


def make_private_directory(path: Path) -> None:
    """Create ``path`` for its owner, the administrators and the system alone, whoever may do what around it.

    Python's ``os.mkdir`` and ``tempfile`` do so as well, though not those of all releases that this runs on:
    https://docs.python.org/3/library/os.html#os.mkdir
    """
    import ctypes

    class Attributes(ctypes.Structure):
        _fields_ = [("size", ctypes.c_uint32), ("descriptor", ctypes.c_void_p), ("is_inherited", ctypes.c_int)]

    kernel = _library("kernel32")
    advanced = _library("advapi32")
    descriptor = ctypes.c_void_p()
    convert = advanced.ConvertStringSecurityDescriptorToSecurityDescriptorW
    if not convert(ctypes.c_wchar_p(_PRIVATE), _REVISION, ctypes.byref(descriptor), None):
        raise _failed(_last_error(), path)
    try:
        attributes = Attributes(ctypes.sizeof(Attributes), descriptor, 0)
        if not kernel.CreateDirectoryW(ctypes.c_wchar_p(os.path.abspath(path)), ctypes.byref(attributes)):
            raise _failed(_last_error(), path)
    finally:
        kernel.LocalFree(descriptor)


def owner_and_rights(path: Path) -> str:
    """Whom ``path`` itself belongs to, and who may do what with it, as Windows writes it down (SDDL)."""
    import ctypes

    kernel = _library("kernel32")
    advanced = _library("advapi32")
    descriptor, text = ctypes.c_void_p(), ctypes.c_wchar_p()
    nothing = (None,) * 4
    try:
        with _opened(path, _READ_CONTROL, _SHARE_ALL, _AS_IT_IS) as handle:
            wanted = (handle, _FILE_OBJECT, _OWNER_AND_RIGHTS)
            if code := advanced.GetSecurityInfo(*wanted, *nothing, ctypes.byref(descriptor)):
                raise _failed(code, path)
        convert = advanced.ConvertSecurityDescriptorToStringSecurityDescriptorW
        if not convert(descriptor, _REVISION, _OWNER_AND_RIGHTS, ctypes.byref(text), None):
            raise _failed(_last_error(), path)
        return text.value or ""
    finally:
        kernel.LocalFree(descriptor)
        kernel.LocalFree(text)


def user_name() -> str:
    """The name of the user that this thread acts for, by its token; empty when Windows does not tell."""
    if sys.platform == "win32":
        import ctypes

        name, size = ctypes.create_unicode_buffer(_LONGEST_NAME), ctypes.c_uint32(_LONGEST_NAME)
        if _library("advapi32").GetUserNameW(name, ctypes.byref(size)):
            return name.value
    return ""


def allow_long_paths() -> None:
    """Let this process use paths of more than 260 characters, whatever the host is set to.

    The bit is that of a program which says so in its manifest. Go's runtime sets it in the same way.
    """
    if sys.platform == "win32" and sys.getwindowsversion()[:3] >= (10, 0, 15063):
        import ctypes

        block = _library("ntdll").RtlGetCurrentPeb
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


def job_limits() -> Any:
    """That what is in a job ends when nobody has it open any more, a JOBOBJECT_EXTENDED_LIMIT_INFORMATION.

    https://learn.microsoft.com/windows/win32/api/winnt/ns-winnt-jobobject_extended_limit_information
    """
    import ctypes

    class Limits(ctypes.Structure):
        _fields_ = [
            ("times", ctypes.c_int64 * 2),
            ("flags", ctypes.c_uint32),
            ("working_set", ctypes.c_size_t * 2),
            ("processes", ctypes.c_uint32),
            ("affinity", ctypes.c_size_t),
            ("classes", ctypes.c_uint32 * 2),
            ("counters", ctypes.c_uint64 * 6),
            ("memory", ctypes.c_size_t * 4),
        ]

    return Limits(flags=_KILL_ON_JOB_CLOSE)


class Job:
    """A program with the handle ``process``, and what it starts from now on: all of it ends together.

    Also when this process is killed, since nobody else has the job open.
    """

    def __init__(self, process: int) -> None:
        if sys.platform == "win32":
            import ctypes

            self._kernel = _library("kernel32")
            self._kernel.CreateJobObjectW.restype = ctypes.c_void_p
            self._job = ctypes.c_void_p(self._kernel.CreateJobObjectW(None, None))
            limits = job_limits()
            self._kernel.SetInformationJobObject(
                self._job, _EXTENDED_LIMITS, ctypes.byref(limits), ctypes.sizeof(limits)
            )
            self._kernel.AssignProcessToJobObject(self._job, ctypes.c_void_p(process))

    def end(self) -> None:
        """End all of it, once."""
        if sys.platform == "win32":
            self._kernel.TerminateJobObject(self._job, 1)
            self._kernel.CloseHandle(self._job)
