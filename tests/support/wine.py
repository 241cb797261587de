# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Windows Python in Wine, which `make test` puts below .build/windows. Its C: is there, too; / is its Z:.

As a program it is that Python:

    python tests/support/wine.py -m pytest tests/unit/test_wal.py
"""

from __future__ import annotations

import os
import shutil
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
PREFIX = TOP / "prefix"
C = PREFIX / "drive_c"
# Debian has what it does not want on PATH there.
_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/lib/wine"])
# The server of the prefix ends so many seconds after the last program: a start takes 0.2 s with it, and 2.5 s without.
_SERVER_SECONDS = 60


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
    _keep_server()
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


def _keep_server() -> None:
    """Let the server of the prefix, and the services of Windows, outlive its programs for a while."""
    server = shutil.which("wineserver", path=_PLACES) or shutil.which("wineserver64", path=_PLACES)
    if server and _quietly(server, f"-p{_SERVER_SECONDS}") == 0:
        # None ran before. The first program starts the services, which would keep its pipes open.
        _quietly(_wine(), "cmd.exe", "/c", "exit")


def _quietly(*command: str) -> int:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, env=environment(), check=False, **streams).returncode


def _pass_on(source: IO[str], target: IO[str]) -> None:
    for line in source:
        target.write(line)
        target.flush()


def _main(args: Sequence[str]) -> int:
    if reason := missing():
        sys.exit(reason)
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
