# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Windows Python that tests run in Wine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support import wine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="is about Wine on Linux")


def test_windows_path_of_a_file() -> None:
    assert wine.seen(Path("/srv/data/agent.db")) == r"Z:\srv\data\agent.db"


def test_without_wine_a_test_is_skipped_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wine, "program", lambda: None)
    with pytest.raises(pytest.skip.Exception, match="Wine is not installed"):
        wine.python()


def test_without_what_make_test_makes_a_test_is_skipped_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wine, "program", lambda: "/usr/lib/wine/wine64")
    monkeypatch.setattr(wine, "READY", tmp_path / ".ready")
    with pytest.raises(pytest.skip.Exception, match="`make test` makes"):
        wine.python()


def test_it_is_a_windows_python_with_streams_arguments_and_exit_code(tmp_path: Path) -> None:
    wine.python()
    code = "import os, sys; print(os.name, sys.argv[1:], sys.stdin.read(), os.getcwd()); sys.exit('why')"
    done = wine.run(["-c", code, 'a "b" c\\', "ü%PATH%"], tmp_path, env={"PYTHONUTF8": "1"}, given="said")
    args = ['a "b" c\\', "ü%PATH%"]
    assert done.stdout == f"nt {args} said {wine.seen(tmp_path)}\n"
    assert (done.stderr, done.returncode) == ("why\n", 1)


def test_nothing_of_this_python_comes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wine.python()
    monkeypatch.setenv("PYTHONPATH", "/of/this/one")
    done = wine.run(["-c", "import sys; print(sys.path)"], tmp_path)
    assert "this" not in done.stdout
    assert r"python\\Lib" in done.stdout
