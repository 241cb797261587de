# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other Pythons than the one that runs the tests: those of pyenv, and one that lacks a module."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")


def of(*versions: str) -> list[object]:
    """The Pythons of these versions, as parameters of a test; one that is missing is skipped, visibly."""
    parameters: list[object] = []
    for version in versions:
        found = sorted(PYENV.glob(f"{version}.*/bin/python{version}"))
        program = str(found[-1]) if found else shutil.which(f"python{version}")
        missing = pytest.mark.skipif(not program, reason=f"Python {version} is not installed")
        parameters.append(pytest.param(program, id=version, marks=missing))
    return parameters


def without(module: str, directory: Path) -> Path:
    """This Python as it is where ``module`` was not built, or not installed: a program in ``directory``."""
    hidden = directory / f"without{module}"
    hidden.mkdir()
    (hidden / f"{module}.py").write_text(
        f"raise ModuleNotFoundError({f'No module named {module!r}'!r}, name={module!r})\n", encoding="utf-8"
    )
    program = hidden / "python3"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={hidden} exec {sys.executable} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return program
