# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where SQLite may write to what root prepares for others, and that what is looked at is what was meant."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, ours
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError, RefusedError
from support import databases, processes


@pytest.fixture
def theirs() -> Iterator[Path]:
    with processes.open_directory() as place:
        path = place / "theirs"
        path.mkdir(mode=0o700)
        if os.name != "nt":
            os.chown(path, processes.NOBODY, processes.NOBODY)
        yield path


def test_usual_place_is_the_directory_itself(tmp_path: Path) -> None:
    for as_owner in (True, False):
        with ours.place(tmp_path, as_owner=as_owner) as place, ours.rights(place):
            assert place == tmp_path


@pytest.mark.root
@processes.needs_root
def test_what_is_done_as_the_owner_is_done_there_and_what_is_done_as_root_is_not(theirs: Path) -> None:
    with ours.place(theirs) as place:
        assert place == theirs
        with ours.rights(place):
            assert os.geteuid() == processes.NOBODY
    with ours.place(theirs, as_owner=False) as place:
        assert place.stat().st_uid == 0
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        assert not place.is_relative_to(theirs)
    assert not place.exists()


@pytest.mark.root
@processes.needs_root
def test_where_the_owner_may_not_come_it_is_done_in_scratch(theirs: Path) -> None:
    theirs.parent.chmod(0o700)
    with ours.place(theirs) as place, ours.rights(place):
        assert os.geteuid() == 0
        assert not place.is_relative_to(theirs)


@pytest.mark.root
@processes.needs_root
def test_place_that_others_came_to_change_is_refused(theirs: Path) -> None:
    with ours.place(theirs) as place:
        os.chown(theirs, 0, 0)
        theirs.chmod(0o777)
        with pytest.raises(RefusedError, match="others can change"), ours.rights(place):
            pytest.fail("SQLite would open by name here")


def test_looking_sees_the_schema_and_writes_nothing(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    with ours.looking(path) as connection:
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (3,)
        with pytest.raises(sqlite3.OperationalError):
            connection.execute("DELETE FROM item")
    assert [each.name for each in tmp_path.iterdir()] == ["a.db"]


def test_what_cannot_be_looked_at_is_an_error_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, right = databases.make(tmp_path / "a.db"), database.connect

    def connect(path: Path, **options: bool) -> database.Connection:
        path.unlink()
        return right(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "connect", connect)
    with pytest.raises(EngineError, match="unable to open"), ours.looking(path):
        pytest.fail("it is gone")
