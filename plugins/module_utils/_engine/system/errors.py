# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One class and one exit code for each way in which a run can fail."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Way:
    """What can be done next, ``aim`` says to what end: a command of the runner, or the module of the same meaning.

    ``options`` are to be given with it, beside what was given before.
    """

    aim: str
    command: str
    options: Mapping[str, str | bool] = field(default_factory=dict)

    def __str__(self) -> str:
        """As who knows only the modules can use it."""
        values = ", ".join(f"{name}: {'true' if value is True else value}" for name, value in self.options.items())
        if self.command == "acknowledge":
            return f"{self.aim}: sqlite_backup with force_identity: true."
        short = self.command in ("backup", "restore", "verify")
        return f"{self.aim}: sqlite_{'' if short else 'backup_'}{self.command}{values and f' with {values}'}."


class EngineError(Exception):
    """A failure that an operator can act on.

    ``message`` says action, object and cause in one sentence; ``hint`` says what to do next, with the ``ways``.
    Whoever raises it says the ``cause``; ``doing`` says the ``action`` ("Cannot back up /x"), which is None until then,
    and empty when the cause is a whole sentence. ``code`` is the exit code of the runner and ``error.code`` of the
    modules.
    """

    code = 1
    place = ""
    """A path that the message names as well, unless it does already."""

    def __init__(self, cause: str, *, action: str | None = None, hint: str = "", ways: Sequence[Way] = ()) -> None:
        super().__init__(cause)
        self.cause = cause
        self.action = action
        self.advice = hint
        self.ways = tuple(ways)
        self.hint = " ".join(filter(None, (hint, *map(str, ways))))

    @property
    def message(self) -> str:
        said = f"{self.action}: {self.cause}" if self.action else self.cause
        return said if self.place in said else f"{said.removesuffix('.')} ({self.place})."

    def __str__(self) -> str:
        return " ".join(f"{self.message} {self.hint}".split("\n")).rstrip()

    def to_json(self) -> dict[str, Any]:
        """For programs; the text for people is ``str`` of it."""
        return {"code": self.code, "class": type(self).__name__, "hint": self.hint}


class UsageError(EngineError):
    code = 2


class PartialError(EngineError):
    code = 3


class SourceMissingError(EngineError):
    """The source does not exist, or is not an SQLite database."""

    code = 10


class SourceBusyError(EngineError):
    code = 11


class SourceCorruptError(EngineError):
    """The source is corrupt, or needs recovery by its own application first; then its bytes are fine."""

    code = 12

    def __init__(
        self,
        cause: str,
        *,
        action: str | None = None,
        hint: str = "",
        ways: Sequence[Way] = (),
        needs_recovery: bool = False,
    ) -> None:
        super().__init__(cause, action=action, hint=hint, ways=ways)
        self.needs_recovery = needs_recovery


class BackupDamagedError(EngineError):
    code = 13


class KeyRejectedError(EngineError):
    code = 14


class RepositoryLockedError(EngineError):
    code = 15


class NoSpaceError(EngineError):
    code = 16


class ProofFailedError(EngineError):
    code = 17


class RefusedError(EngineError):
    """Refused for safety: the request is clear, but carrying it out could lose data."""

    code = 18


class ProgramMissingError(EngineError):
    code = 19


class PermissionDeniedError(EngineError):
    code = 20


class TargetUnreachableError(EngineError):
    code = 21


class BackupNotFoundError(EngineError):
    code = 22


class StorageFailedError(EngineError):
    """A device, a filesystem or a mount failed: not a verdict on what is stored there."""

    code = 23


class ObjectiveMissedError(EngineError):
    code = 30


class LastRunFailedError(EngineError):
    code = 31


class CancelledError(EngineError):
    code = 130


EXIT_CODES: Mapping[int, tuple[str, str]] = {
    0: ("done, or nothing to do", ""),
    1: ("unexpected", "report it, with the message"),
    2: ("usage or configuration", "the message names the option, or the database and the key"),
    3: (
        "the backup is good, pruning or a target failed; for status, degraded",
        "see why; the next run does it as well",
    ),
    10: ("source missing or not a database", "check path; if the file is lost, restore it"),
    11: ("source busy past the deadline", "raise timeout, or look who writes without pause"),
    12: ("source corrupt, or needs recovery", "restore, or let the application recover it"),
    13: ("backup damaged", "the message prints the command for a good one"),
    14: ("key or passphrase wrong", "check identity_file and passphrase_file"),
    15: ("repository locked", "another run is at work; the message names it"),
    16: ("not enough space", "free some; what existed is untouched"),
    17: ("proof or assertion failed; for doctor, a problem", "look at the backup, the content, the host"),
    18: ("refused for safety", "the message says what could be lost, and what to do instead"),
    19: (
        "a program or Python's SQLite module is missing, or Python is too old",
        "install it, or use another Python; --help and --version work without SQLite",
    ),
    20: ("permission", "run it as the owner of the files, or as root"),
    21: ("a target cannot be reached, or refused", "doctor tries what this host may do there"),
    22: ("backup not found", "list shows what there is"),
    23: ("a device, a filesystem or a mount failed", "look at the disk and the kernel's log; nothing was judged by it"),
    30: ("RPO or RTO missed, or no verified backup", "see whether the schedule runs; a drill says what took long"),
    31: ("the last run failed, or did not come (status)", "the message says why"),
    130: ("interrupted", "run it again"),
}
"""What each exit code means, and what to do about it."""


def meaning(code: object) -> str:
    """What failed, without a word of what it was about: it may be written where the rest must not be read."""
    return EXIT_CODES.get(code, EXIT_CODES[EngineError.code])[0] if isinstance(code, int) else EXIT_CODES[1][0]


def advice(code: object) -> str:
    """What to do about a failure of which only the code is left, a sentence; empty when there is nothing to say."""
    found = EXIT_CODES.get(code, ("", ""))[1] if isinstance(code, int) else ""
    return f"{sentence(found)}." if found else ""


def sentence(text: str) -> str:
    """``text`` with a capital letter in front."""
    return f"{text[:1].upper()}{text[1:]}"


MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What it can come to when a text that somebody else may have written is parsed, and used as what it should be."""

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG} if hasattr(errno, "EDQUOT") else {errno.ENOSPC, errno.EFBIG}
_NO_PERMISSION = {errno.EACCES, errno.EPERM}
_BUSY = {errno.EAGAIN, errno.EBUSY, getattr(errno, "ETXTBSY", errno.EBUSY)}
_ODD = {errno.ELOOP, errno.EMFILE, errno.ENAMETOOLONG}
_CHANGED = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EINVAL}
_STORAGE = {
    *(errno.EIO, errno.ENXIO, errno.ENODEV),
    *(getattr(errno, name) for name in ("ESTALE", "EREMOTEIO", "ETIMEDOUT", "ENOTCONN") if hasattr(errno, name)),
}


def from_os_error(error: OSError, step: str = "", *, action: str | None = None) -> EngineError:
    """The engine's error for ``error``; ``step`` ("cannot write /x") begins its cause."""
    kind, hint = _kind_of(error.errno)
    said = os.strerror(error.errno).lower() if error.errno else str(error)
    if error.errno == errno.EBUSY and error.strerror:
        # On Windows it tells who has it.
        said = f"{error.strerror[:1].lower()}{error.strerror[1:]}"
    failure = kind(f"{step}{step and ': '}{said}.", action=action, hint=hint)
    # Where a descriptor was used, that is the name; it tells nobody anything.
    failure.place = "" if isinstance(error.filename, int) else os.fsdecode(error.filename or "")
    return failure


def _kind_of(code: int | None) -> tuple[type[EngineError], str]:
    """The class for a code of the operating system, and what to do."""
    if code in _NO_SPACE:
        return NoSpaceError, "Free some space there, then run again; nothing that existed was changed."
    if code == errno.EROFS:
        # Also for root, after the kernel found an error on the disk.
        return PermissionDeniedError, "Mount it for writing; if it was, look at the kernel's log first."
    if code in _NO_PERMISSION:
        return PermissionDeniedError, "Run as the owner of the files, or as root."
    if code in _STORAGE:
        return StorageFailedError, "Look at the disk, the mount and the kernel's log, then run again."
    if code in _BUSY:
        return SourceBusyError, "Find out what holds it (an application, a scanner, a copy), then run again."
    if code in _ODD:
        return (
            RefusedError,
            "Look for links in a circle, for too many directories, and for a name that is too long.",
        )
    if code in _CHANGED:
        return RefusedError, "It is not, or no more, what it has to be: see who changes what is there."
    return EngineError, ""


@contextlib.contextmanager
def doing(action: str | None = None, *, step: str = "") -> Iterator[None]:
    """Name what the block does: ``action`` ("Cannot back up /x") begins the message of what fails in it.

    An error keeps the action that it has: the innermost block knows best. An ``OSError`` becomes the engine's error for
    it, and ``step`` ("cannot write /x") begins its cause. Without ``action`` that is all; a block further out names it.
    """
    try:
        try:
            yield
        except OSError as error:
            raise from_os_error(error, step) from error
    except EngineError as error:
        if error.action is None:
            error.action = action
        raise


def explained(error: BaseException) -> EngineError:
    """The engine's error for whatever ended a run, with a message and a hint instead of a traceback."""
    if isinstance(error, EngineError):
        return error
    if isinstance(error, KeyboardInterrupt):
        hint = "What was complete before stays, and nothing half-made counts."
        return CancelledError("Interrupted.", action="", hint=hint)
    action = "An unexpected failure"
    if isinstance(error, OSError):
        return from_os_error(error, action=action)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return EngineError(
        f"{type(error).__name__}: {error}{where}.",
        action=action,
        hint=f"Please report it, with this message and the version of Python, {sys.version.split()[0]}.",
    )
