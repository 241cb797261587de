# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of watch/figures.py: moments, sizes and numbers of a repository."""

from __future__ import annotations

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import figures
from support.hosts import Host


def measured(host: Host, **options: float) -> dict[str, object]:
    repository = Repository.open_existing(host.repository())
    return figures.of(repository.backups(), repository.history(), **options)


def test_of_nothing_nothing_is_known() -> None:
    assert figures.of((), ()) == {
        "last_verified": None,
        "last_success": None,
        "sizes": {},
        "numbers": {"full": 0, "incremental": 0},
        "suspect_backups": 0,
        "suspect": False,
        "database_bytes": None,
        "encryption": None,
        "outlook": None,
    }


def test_figures_are_those_of_the_newest_backups(host: Host) -> None:
    host.run("backup", "agent")
    host.change()
    host.run("backup", "agent", "--type", "full")
    newest = Repository.open_existing(host.repository()).backups()[-1].trusted()
    found = measured(host)
    assert found["numbers"] == {"full": 2, "incremental": 0}
    assert found["sizes"] == {"full": newest.stored_bytes}
    assert found["database_bytes"] == host.database().stat().st_size
    assert found["encryption"] == "none"
    assert found["last_success"] == newest.started


def test_a_verification_and_a_drill_count_as_looks_and_a_failed_one_does_not(host: Host) -> None:
    host.run("backup", "agent")
    assert measured(host)["last_verified"] is None
    host.run("verify", "agent")
    assert measured(host)["last_verified"] is not None
    events = [
        {"event": "verify", "time": "2025-12-30T12:00:00Z", "outcome": "passed", "code": 0},
        {"event": "drill", "time": "2025-12-31T12:00:00Z", "outcome": "passed"},
        {"event": "drill", "time": "2026-01-01T12:00:00Z", "outcome": "failed", "code": 13},
        {"event": "verify", "time": "2026-01-01T12:00:00Z", "outcome": "failed", "code": 13},
        {"event": "backup", "time": "2026-01-02T12:00:00Z", "outcome": "passed"},
        {"event": "verify", "time": "whatever", "outcome": "passed"},
    ]
    assert figures.of((), events)["last_verified"] == "2025-12-31T12:00:00Z"


def test_a_suspect_backup_is_counted_and_is_no_success(host: Host) -> None:
    host.run("backup", "agent")
    before = measured(host)["last_success"]
    with host.database().open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 4096)
    assert host.run("backup", "agent").code == 12
    found = measured(host)
    assert (found["suspect"], found["suspect_backups"]) == (True, 1)
    assert found["last_success"] == before
