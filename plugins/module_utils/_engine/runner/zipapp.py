# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner: this engine as one executable file, made of its own sources wherever they were loaded from.

It is a zip archive behind a line that names the interpreter (https://docs.python.org/3/library/zipapp.html), and one
with the version. Its bytes depend on the sources and the interpreter alone: nothing in it is compressed, dated or
ordered by the host.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.resources
import io
import os
import re
import stat
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ..repository.manifest import COLLECTION_VERSION
from ..system import files
from ..system.errors import (
    EngineError,
    PermissionDeniedError,
    ProgramMissingError,
    RefusedError,
    UsageError,
    doing,
)

if TYPE_CHECKING:
    from importlib.abc import Traversable

DEFAULT_INTERPRETER = "/usr/bin/env python3"
MODE = 0o755
# Tells a runner from any other file. Not as the comment of the archive, which Python before 3.8 could not run then.
_MARK = b"# sqliteops.backup runner "
_BEGIN = re.compile(rb"#![^\n]+\n" + _MARK + rb"([0-9A-Za-z.+-]+)\nPK\x03\x04")
_BEGIN_BYTES = 512
_PACKAGE = "_engine"
_FIRST_DATE = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
# Older kernels cut the first line off behind so many bytes: https://www.man7.org/linux/man-pages/man2/execve.2.html
_LONGEST_FIRST_LINE_BYTES = 127
# For any Python that there ever was, so that an old one says what it is instead of failing at the first new word. The
# answers are those of the rooms console and commands.
_MAIN = """\
import sys

PROGRAM, CODE = "sqlite-backup", {code}


def fail(cause):
    found = ".".join(map(str, sys.version_info[:3]))
    message = "Cannot run: this Python %s (%s) %s." % (found, sys.executable, cause)
    hint = "Use Python 3.9 or newer, with its whole standard library."
    if "--json" in sys.argv[1:]:
        import json

        error = {{"code": CODE, "class": "{error}", "hint": hint, "message": message}}
        document = {{"command": PROGRAM, "code": CODE, "error": error, "results": []}}
        sys.stdout.write(json.dumps(document, indent=2) + "\\n")
    else:
        sys.stderr.write("%s: error %d: %s\\n  %s\\n" % (PROGRAM, CODE, message, hint))
    sys.exit(CODE)


if sys.version_info < (3, 9):
    fail("is too old")

try:
    from {package}.{room} import {function}
except ImportError:
    fail("lacks something: %s" % sys.exc_info()[1])

sys.exit({function}())
"""
_PROBE = "import sys; sys.version_info >= (3, 9) or sys.exit(sys.version.split()[0]); import hashlib, sqlite3"


@dataclass(frozen=True)
class Runner:
    """A runner that is, or will be, in place."""

    version: str
    sha256: str


@dataclass
class Outcome:
    """What a run did, or in check mode would do; None stands for no runner."""

    changed: bool
    before: Runner | None
    after: Runner | None
    warnings: list[str] = field(default_factory=list)


def build(main: Callable[[], int], interpreter: str = DEFAULT_INTERPRETER) -> bytes:
    """The runner whose entry is ``main``, a function of a room, started by ``interpreter``.

    It holds what the importer has: inside a module, Ansible brings only the rooms that ``main`` needs.
    """
    content = io.BytesIO()
    content.write(_first_line(interpreter) + _MARK + COLLECTION_VERSION.encode() + b"\n")
    with zipfile.ZipFile(content, "a") as archive:
        for name, data in sorted(_members(main).items()):
            member = zipfile.ZipInfo(name, _FIRST_DATE)
            member.create_system = _UNIX
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, data, zipfile.ZIP_STORED)
    return content.getvalue()


def _members(main: Callable[[], int]) -> dict[str, bytes]:
    engine, _name, wing = __package__.rpartition(".")
    members = dict(_sources(importlib.resources.files(engine), _PACKAGE))
    room = main.__module__.rpartition(".")[2]
    entry = {"package": f"{_PACKAGE}.{wing}", "room": room, "function": main.__name__}
    failure = {"code": ProgramMissingError.code, "error": ProgramMissingError.__name__}
    return {**members, "__main__.py": _MAIN.format(**entry, **failure).encode()}


def _sources(folder: Traversable, name: str) -> Iterator[tuple[str, bytes]]:
    """The sources below ``folder``, by their names below ``name``."""
    for each in folder.iterdir():
        if each.name.endswith(".py"):
            yield f"{name}/{each.name}", each.read_bytes()
        elif each.is_dir() and not each.name.startswith("__"):
            yield from _sources(each, f"{name}/{each.name}")


def _first_line(interpreter: str) -> bytes:
    line = b"#!" + os.fsencode(interpreter) + b"\n"
    if not interpreter.startswith("/") or not interpreter.isprintable() or len(line) > _LONGEST_FIRST_LINE_BYTES:
        raise UsageError(
            f"Cannot use the interpreter {interpreter!r}.",
            action="",
            hint=f"Write {DEFAULT_INTERPRETER}, or an absolute path of at most {_LONGEST_FIRST_LINE_BYTES - 3} bytes.",
        )
    return line


def find(path: Path) -> Runner | None:
    """The runner at ``path``, or None when nothing is there. Raises ``RefusedError`` for anything else."""
    try:
        kind = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(kind):
        raise UsageError("it is a directory.", hint="Name the file itself.")
    version = _version_of(path) if stat.S_ISREG(kind) else ""
    if not version:
        raise RefusedError(
            "what is there is not a runner of this collection.",
            hint="Move it away if it is not needed, or name another path.",
        )
    return Runner(version, files.sha256_file(path))


def _version_of(path: Path) -> str:
    """The version of a runner; empty for any other file."""
    with open(path, "rb") as file:
        begin = _BEGIN.match(file.read(_BEGIN_BYTES))
    return begin[1].decode() if begin else ""


def install(
    path: Path, main: Callable[[], int], *, interpreter: str = DEFAULT_INTERPRETER, dry_run: bool = False
) -> Outcome:
    """Put the runner at ``path``, executable for all, unless just that is there. ``main`` as for ``build``.

    A run that is killed leaves the old runner or the new one. Raises ``RefusedError`` for a file that is not a runner,
    ``ProgramMissingError`` when the interpreter cannot run it. With ``dry_run`` it is only a warning when the directory
    or the interpreter is missing: an earlier task, in check mode as well, may bring it.
    """
    action = f"Cannot install the runner {path}"
    data = build(main, interpreter)
    with doing(action):
        before = find(path)
        after = Runner(COLLECTION_VERSION, hashlib.sha256(data).hexdigest())
        outcome = Outcome(before != after or stat.S_IMODE(os.stat(path).st_mode) != MODE, before, after)
        for obstacle in filter(None, (_missing_directory(path), _unfit(interpreter))):
            obstacle.action = action
            if not dry_run:
                raise obstacle
            outcome.warnings.append(str(obstacle))
        if outcome.changed and not outcome.warnings:
            _require_writable(path)
            if not dry_run:
                _replace(path, data)
    return outcome


def remove(path: Path, *, dry_run: bool = False) -> Outcome:
    """Remove the runner at ``path``, if there is one; raises ``RefusedError`` for another file."""
    with doing(f"Cannot remove the runner {path}"):
        before = find(path)
        if before is not None:
            _require_writable(path)
            if not dry_run:
                files.remove_file(path)
    return Outcome(before is not None, before, None)


def _missing_directory(path: Path) -> EngineError | None:
    if path.parent.is_dir():
        return None
    return UsageError(f"the directory {path.parent} does not exist.", hint="Create it first.")


def _require_writable(path: Path) -> None:
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise PermissionDeniedError(
            f"this user may not write to {path.parent}.",
            hint="Run as the owner of the directory, or as root.",
        )


def _unfit(interpreter: str) -> EngineError | None:
    """Why ``interpreter`` cannot run the runner; None when it can.

    It may be another one than that of Ansible, and would fail only when the first scheduled backup begins.
    """
    try:
        # As the kernel does it: one argument at most.
        command = [*interpreter.split(maxsplit=1), "-c", _PROBE]
        # pylint: disable-next=ansible-bad-function
        probe = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        said = os.strerror(error.errno or 0).lower()
    else:
        if probe.returncode == 0:
            return None
        said = probe.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return ProgramMissingError(
        f"{interpreter} is not a Python 3.9 or newer with the module sqlite3 ({said}).",
        hint="Install one on this host, and name it in interpreter.",
    )


def _replace(path: Path, data: bytes) -> None:
    """Put ``data`` in the place of ``path``, whole or not at all. No lock keeps two runs from doing so at once."""
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with files.create_private(temporary) as file:
            files.write_all(file, data)
            # Everybody may run what everybody can read; umask does not matter.
            if hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), MODE)
            else:
                os.chmod(temporary, MODE)
            os.fsync(file.fileno())
        files.move_file(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            files.remove_file(temporary)
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove what killed runs left beside ``path``."""
    name = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.new")
    for entry in list(os.scandir(path.parent)):
        found = name.fullmatch(entry.name)
        if found and not _is_another(int(found[1])):
            files.remove_file(Path(entry.path))


def _is_another(process_id: int) -> bool:
    """Whether this is the id of another process that runs."""
    try:
        os.kill(process_id, 0)
    except (OverflowError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return process_id != os.getpid()
