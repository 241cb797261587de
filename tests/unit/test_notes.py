# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes beside a manifest and the audit log; what others make of them is in test_repository.py."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import notes
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, places
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import StorageFailedError
from support.sites import Site


def test_notes_are_read_as_they_were_written(tmp_path: Path) -> None:
    entry = {"time": "2025-12-30T12:00:00Z", "level": "quick", "outcome": "passed"}
    assert notes.read_checks(tmp_path) == ("", [], "")
    notes.write_checks(tmp_path, confirmed="2025-12-30T13:00:00Z", verifications=[entry])
    assert notes.read_checks(tmp_path) == ("2025-12-30T13:00:00Z", [entry], "")
    notes.write_checks(tmp_path, confirmed="", verifications=[], accepted="2025-12-30T14:00:00Z")
    assert notes.read_checks(tmp_path) == ("", [], "2025-12-30T14:00:00Z")


@pytest.mark.parametrize("accepted", ["yes", True, 7, ["2025-12-30T14:00:00Z"]])
def test_note_that_was_never_written_so_accepts_nothing(tmp_path: Path, accepted: object) -> None:
    """What is held apart stays so: that is the safe side."""
    content = {"confirmed": "", "verifications": [], "accepted": accepted}
    (tmp_path / "checks.json").write_text(json.dumps(content), encoding="utf-8")
    assert notes.read_checks(tmp_path) == ("", [], "")


def test_note_that_the_disk_does_not_give_now_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may say that a check failed, or that a database is meant."""
    outcome = Site(tmp_path).back_up()
    assert outcome.backup is not None
    repository = Site(tmp_path, existing=True).open()
    repository.accept(outcome.backup, clock.now())
    before = (outcome.backup.path / "checks.json").read_bytes()
    read = places.read_bytes

    def broken(path: Path) -> bytes:
        if path.name == "checks.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(path)

    monkeypatch.setattr(places, "read_bytes", broken)
    with pytest.raises(StorageFailedError):
        repository.confirm(outcome.backup, clock.now())
    assert (outcome.backup.path / "checks.json").read_bytes() == before


def test_only_the_newest_verifications_are_kept(tmp_path: Path) -> None:
    """A backup that is verified every hour for years must not grow for ever."""
    entries = [
        {"time": f"2025-12-30T12:00:{number:02}Z", "level": "quick", "outcome": "passed"} for number in range(60)
    ]
    notes.write_checks(tmp_path, confirmed="", verifications=entries)
    assert notes.read_checks(tmp_path)[1] == entries[-50:]


def test_deepest_failure_is_kept_as_the_oldest_of_all(tmp_path: Path) -> None:
    """Else a backup that is verified often would be good again, though nobody looked as deep."""
    entries = [
        {"time": f"2025-12-30T12:00:{number:02}Z", "level": "quick", "outcome": "passed"} for number in range(60)
    ]
    entries[3] = {**entries[3], "level": "full", "outcome": "failed"}
    notes.write_checks(tmp_path, confirmed="", verifications=entries)
    assert notes.read_checks(tmp_path)[1] == [entries[3], *entries[-49:]]
