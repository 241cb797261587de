# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows Python in Wine, which `make test` puts below .build/windows. Each process has a C: of its own; / is Z:.

As a program it is that Python:

    python tests/support/wine.py -m pytest tests/unit/test_wal.py
"""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import IO

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = ROOT / ".build" / "windows"
READY = TOP / ".ready"
PYTHON = TOP / "python" / "python.exe"
# The Windows of this process, a copy of the first one; two processes that share one would end each other's programs.
FIRST = TOP / "prefix"
PREFIX = TOP / "prefixes" / str(os.getpid())
C = PREFIX / "drive_c"
# Debian has what it does not want on PATH there.
_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/lib/wine"])
# A process that was killed leaves the server of its Windows behind, for so long after the last program.
_SERVER_SECONDS = 3600


def program() -> str | None:
    """Wine itself."""
    return shutil.which("wine64", path=_PLACES) or shutil.which("wine", path=_PLACES)


def missing() -> str:
    """Say why there is no Windows Python here; nothing where there is one."""
    if program() is None:
        return "Wine is not installed"
    return "" if READY.exists() else f"needs {TOP.relative_to(ROOT)}, which `make test` makes"


def python() -> Path:
    """The Windows Python, as a file of Linux; skips the test where there is none."""
    if reason := missing():
        pytest.skip(reason)
    return PYTHON


def seen(path: str | os.PathLike[str]) -> str:
    """Return this absolute path as Windows programs name it."""
    return str(PureWindowsPath(f"Z:{os.fspath(path)}"))


def environment(changed: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return what a Windows program gets: nothing of this Python, with what is ``changed``, which None takes out."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WINE", "LC_"))}
    wanted: dict[str, str | None] = {
        **kept,
        # Else folders of the user's home would be those of Windows' user.
        "HOME": str(TOP),
        "WINEPREFIX": str(PREFIX),
        "WINEDEBUG": "-all",
        # Nothing of a desktop, of .NET or of a browser.
        "WINEDLLOVERRIDES": "winemenubuilder.exe,mscoree,mshtml=d",
        # Names of files are UTF-8 here; the code page of Windows is then 1252, as in most of Europe and America.
        "LC_ALL": "C.UTF-8",
        "PYTHONPYCACHEPREFIX": seen(TOP / "pycache"),
        **(changed or {}),
    }
    return {name: value for name, value in wanted.items() if value is not None}


def start(
    args: Sequence[str], cwd: Path, *, env: Mapping[str, str | None] | None = None, program: Path = PYTHON
) -> subprocess.Popen[str]:
    """Start the Windows Python, or another ``program``, with these arguments. All its streams are pipes: it wants that.

    What it prints is read as UTF-8: say ``PYTHONIOENCODING`` or ``PYTHONUTF8`` in ``env`` for other than ASCII.
    """
    _booted()
    return subprocess.Popen(
        [_wine(), str(program), *args],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )


def run(
    args: Sequence[str],
    cwd: Path,
    *,
    env: Mapping[str, str | None] | None = None,
    given: str = "",
    timeout: float = 120,
    program: Path = PYTHON,
) -> subprocess.CompletedProcess[str]:
    """Run the Windows Python, or another ``program``, to its end; what comes of it is for the caller to judge."""
    with start(args, cwd, env=env, program=program) as process:
        try:
            out, err = process.communicate(given, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _wine() -> str:
    found = program()
    if found is None:
        raise FileNotFoundError("Wine is not installed")
    return found


def install() -> None:
    """Make the Windows that those of processes are copies of."""
    FIRST.mkdir()
    _quietly(_wine(), "wineboot.exe", "--init", prefix=FIRST)
    _quietly(_server(), "-w", prefix=FIRST)


@functools.cache
def _booted() -> None:
    """Boot the Windows of this process, which ends with it: a program then starts in 0.2 s, instead of in 2.5 s."""
    PREFIX.parent.mkdir(exist_ok=True)
    for each in PREFIX.parent.iterdir():
        if each == PREFIX or not Path("/proc", each.name).exists():
            shutil.rmtree(each)
    shutil.copytree(FIRST, PREFIX, symlinks=True, copy_function=_linked)
    atexit.register(_end)
    _quietly(_server(), f"-p{_SERVER_SECONDS}")
    # The first program starts the services, which would keep its pipes open.
    _quietly(_wine(), "cmd.exe", "/c", "exit")


def _linked(source: str, target: str) -> None:
    """Programs are hundreds of megabytes, and nobody changes them; the registry changes."""
    (os.link if "/drive_c/windows/" in source else shutil.copy2)(source, target)


def _end() -> None:
    _quietly(_server(), "-k")
    _quietly(_server(), "-w")
    shutil.rmtree(PREFIX, ignore_errors=True)


def _server() -> str:
    return shutil.which("wineserver", path=_PLACES) or "wineserver64"


def _quietly(*command: str, prefix: Path = PREFIX) -> None:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(command, env=environment({"WINEPREFIX": str(prefix)}), check=False, **streams)


def _pass_on(source: IO[str], target: IO[str]) -> None:
    for line in source:
        target.write(line)
        target.flush()


def _main(args: Sequence[str]) -> int:
    if reason := missing():
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with start(args, Path.cwd(), env={"PYTHONIOENCODING": "utf-8"}) as process:
        process.stdin.close()
        errors = threading.Thread(target=_pass_on, args=(process.stderr, sys.stderr))
        errors.start()
        try:
            _pass_on(process.stdout, sys.stdout)
            errors.join()
        except BaseException:
            process.kill()
            raise
    return process.returncode


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
