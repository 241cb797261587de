# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command demo: it proves what it shows, and fails where that is not so."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, demo
from support import databases


def test_a_loss_is_shown_and_proven(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["demo", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["results"]
    assert found["demo"]["proven"]
    assert len(found["demo"]["proofs"]) == 4
    assert [each.partition(":")[0] for each in found["demo"]["steps"][1:3]] == [
        "backed up (full)",
        "backed up (incremental)",
    ]


def test_a_database_of_the_operator_is_only_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = tmp_path / "own.db"
    databases.make(given, setup="PRAGMA user_version=7")
    before = given.read_bytes()
    assert cli.main(["demo", "--database", str(given)]) == 0
    assert "own.db: a copy of" in capsys.readouterr().out
    assert [given.read_bytes(), [each.name for each in tmp_path.iterdir()]] == [before, ["own.db"]]


def test_a_database_that_is_missing_fails(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["demo", "--database", str(tmp_path / "none.db")]) == 10
    said = capsys.readouterr()
    assert "Cannot copy" in said.err
    assert "not proven" in said.out


def test_what_is_not_back_fails(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that cannot fail shows nothing."""
    restore = demo.commands.restore_one

    def lose_a_row(settings: demo.Database, asked: dict[str, object]) -> object:
        result = restore(settings, asked)
        with closing(sqlite3.connect(settings.path, isolation_level=None)) as connection:
            connection.execute("DELETE FROM demo_heartbeat WHERE number = 3")
        return result

    monkeypatch.setattr(demo.commands, "restore_one", lose_a_row)
    assert cli.main(["demo"]) == 17
    said = capsys.readouterr()
    assert "FAILED: every commit from before the last backup is back" in said.out
    assert "error 17: The demo failed" in said.err
