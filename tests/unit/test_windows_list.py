# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of what Windows cannot pass: it names only tests that there are, and keeps out no others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support import windows

HERE = Path(__file__).parent


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        windows, "_REASONS", {"test_a.py::test_b": "no b", "test_a.py::test_c[1]": "no 1", "test_d.py": "no d"}
    )


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("test_a.py::test_b", "no b"),
        ("test_a.py::test_b[x]", "no b"),
        ("test_a.py::test_bb", None),
        ("test_a.py::test_c[1]", "no 1"),
        ("test_a.py::test_c[2]", None),
        ("test_d.py::test_e[x]", "no d"),
        ("test_e.py::test_b", None),
    ],
)
def test_a_test_is_kept_out_for_a_reason(name: str, reason: str | None) -> None:
    assert windows.reason(name) == reason


@pytest.mark.usefixtures("listed")
def test_name_of_no_test_is_found() -> None:
    assert windows.unknown(["test_a.py::test_b[x]", "test_a.py::test_c[2]", "test_d.py::test_e"]) == {
        "test_a.py::test_c[1]"
    }


def test_reasons_are_counted() -> None:
    assert windows.counted(["no b", "no a", "no b"]) == ["    2  no b", "    1  no a"]


def test_files_that_have_their_turn_exist() -> None:
    assert [name for name in windows.FILES if not (HERE / name).is_file()] == []


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="looks at what is left out on Windows")
def test_every_test_that_is_kept_out_exists() -> None:
    files = sorted({HERE / each.partition("::")[0] for tests in windows.CANNOT.values() for each in tests})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE.parents[1])
    names = [line.partition("tests/unit/")[2] for line in done.stdout.splitlines() if "::" in line]
    assert done.returncode == 0, done.stderr
    assert windows.unknown(names) == set()
