# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pins that are set and taken back later: they keep what they say, and never touch the sealed manifest."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.retention import Policy
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files, locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    NoSpaceError,
    PermissionDeniedError,
    RepositoryLockedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, pinning, prune, verify
from support import databases
from support.sites import Site

NEWEST_ONLY = Policy(1, 0, 0, 0, 0, 0, 0)
NEW_YEAR = clock.from_text("2026-01-01T00:00:00Z")


@pytest.fixture
def old(site: Site, moment: list[datetime]) -> str:
    """A backup that is not the newest, an hour ago."""
    identity = site.stored(force=True).id
    moment[0] += timedelta(hours=1)
    site.stored(force=True, type="full")
    return identity


def pin(site: Site, identity: str, *, dry_run: bool = False, **options: Any) -> pinning.Outcome:
    request = pinning.Request(site.repository, identity, lock_timeout_seconds=0, **options)
    return pinning.run(request, dry_run=dry_run)


def found(site: Site, identity: str) -> Backup:
    return site.open().find(identity, action="Test")


def reasons(site: Site, identity: str) -> list[str]:
    outcome = prune.run(prune.Request(site.repository, NEWEST_ONLY, lock_timeout_seconds=0), dry_run=True)
    return next((each["reasons"] for each in outcome.kept if each["id"] == identity), [])


def sealed(site: Site, identity: str) -> bytes:
    return (site.repository / identity / "manifest.json").read_bytes()


# --- setting and taking back ---------------------------------------------------------------------------------------


def test_pin_keeps_a_backup_until_it_is_taken_back(site: Site, old: str) -> None:
    before = sealed(site, old)
    assert reasons(site, old) == []

    outcome = pin(site, old)

    assert outcome.changed
    assert outcome.before == {"id": old, "pinned": False, "since": None, "until": None}
    assert outcome.after == {"id": old, "pinned": True, "since": "2025-12-30T13:00:00Z", "until": None}
    assert reasons(site, old) == ["pinned"]

    outcome = pin(site, old, pinned=False)

    assert outcome.changed
    assert outcome.after == {"id": old, "pinned": False, "since": None, "until": None}
    assert reasons(site, old) == []
    assert sealed(site, old) == before
    assert site.verified("full") == ("passed", 0)


@pytest.mark.parametrize("options", [{}, {"until": NEW_YEAR}, {"pinned": False}])
def test_twice_changes_nothing(site: Site, old: str, options: dict[str, Any]) -> None:
    pin(site, old)
    first = pin(site, old, **options)
    before = site.tree()

    again = pin(site, old, **options)

    assert not again.changed
    assert again.before == again.after == first.after
    assert {name for name, entry in site.tree().items() if entry != before.get(name)} <= {"repository/.lock"}


def test_pin_of_a_backup_that_was_made_pinned_can_be_taken_back(site: Site, moment: list[datetime]) -> None:
    identity = site.stored(pinned=True).id
    moment[0] += timedelta(hours=1)
    site.stored(force=True, type="full")
    assert not pin(site, identity).changed
    assert found(site, identity).pinned_since == "2025-12-30T12:00:00Z"

    assert pin(site, identity, pinned=False).changed

    assert reasons(site, identity) == []
    assert found(site, identity).trusted().pinned
    assert pin(site, identity).after["since"] == "2025-12-30T13:00:00Z"


def test_pin_ends_by_itself(site: Site, old: str, moment: list[datetime]) -> None:
    outcome = pin(site, old, until=NEW_YEAR)

    assert outcome.after["until"] == found(site, old).pinned_until == "2026-01-01T00:00:00Z"
    moment[0] = NEW_YEAR - timedelta(seconds=1)
    assert reasons(site, old) == ["pinned"]
    moment[0] = NEW_YEAR
    assert reasons(site, old) == []
    assert (found(site, old).pinned, found(site, old).pinned_since, found(site, old).pinned_until) == (False, "", "")
    assert not pin(site, old, pinned=False).changed
    assert pin(site, old).after == {"id": old, "pinned": True, "since": "2026-01-01T00:00:00Z", "until": None}


def test_another_end_is_no_new_pin(site: Site, old: str, moment: list[datetime]) -> None:
    """How long it has been kept counts."""
    pin(site, old, until=NEW_YEAR)
    moment[0] += timedelta(hours=5)

    assert pin(site, old, until=NEW_YEAR + timedelta(days=1)).after["since"] == "2025-12-30T13:00:00Z"
    forever = pin(site, old)

    assert forever.changed
    assert forever.after == {"id": old, "pinned": True, "since": "2025-12-30T13:00:00Z", "until": None}


def test_latest_is_the_newest(site: Site, old: str) -> None:
    assert pin(site, "latest").after["id"] == site.ids()[-1] != old


def test_pin_of_an_incremental_keeps_what_it_builds_on(site: Site, moment: list[datetime]) -> None:
    full = site.stored().id
    site.change()
    moment[0] += timedelta(hours=1)
    incremental = site.stored().id
    moment[0] += timedelta(hours=1)
    site.stored(force=True, type="full")
    assert reasons(site, full) == []

    pin(site, incremental)

    assert reasons(site, full) == [f"needed by {incremental}"]


def test_audit_log_says_who_pinned_what(site: Site, old: str) -> None:
    pin(site, old, until=NEW_YEAR)
    pin(site, old, pinned=False)
    pin(site, old, pinned=False)

    events = [each for each in site.history() if each["event"] in ("pin", "unpin")]
    told = [(each["event"], each["backup"], each["until"], each["outcome"]) for each in events]
    assert told == [("pin", old, "2026-01-01T00:00:00Z", "passed"), ("unpin", old, "", "passed")]


def test_check_mode_foretells_and_writes_nothing(site: Site, old: str) -> None:
    before = site.tree()

    foretold = pin(site, old, until=NEW_YEAR, dry_run=True)

    assert site.tree() == before
    assert foretold == pin(site, old, until=NEW_YEAR)


# --- what wants a pinned backup ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("moment")
@pytest.mark.parametrize(("options", "enough"), [({}, True), ({"until": NEW_YEAR}, False), ({"pinned": False}, False)])
def test_pinned_backup_of_an_unchanged_database(site: Site, options: dict[str, Any], enough: bool) -> None:
    """What is asked for is a backup that stays; one that is pinned until a date will not."""
    identity = site.stored(pinned=True).id
    pin(site, identity, **options)

    assert site.back_up(pinned=True).changed != enough
    assert found(site, "latest").pinned


# --- damage --------------------------------------------------------------------------------------------------------


def test_damaged_pin_counts_as_pinned_and_is_told(site: Site, old: str) -> None:
    pin(site, old, pinned=True)
    pin(site, old, pinned=False)
    databases.flip_bit(site.repository / old / "pin.json", 20)

    outcome = prune.run(prune.Request(site.repository, NEWEST_ONLY))

    assert outcome.removed == []
    assert [each for each in outcome.warnings if old in each and "counts as pinned" in each]
    assert verify.verify_backups(site.open(), old, verify.Expectations("full")).outcome == "passed"


@pytest.mark.parametrize("pinned", [True, False])
def test_damaged_pin_is_repaired_by_saying_it_again(site: Site, old: str, pinned: bool) -> None:
    pin(site, old)
    databases.flip_bit(site.repository / old / "pin.json", 20)

    assert pin(site, old, pinned=pinned).changed

    assert (found(site, old).pinned, found(site, old).pin_damage) == (pinned, "")


def test_notes_that_are_lost_take_no_pin_along(site: Site, old: str) -> None:
    verify.verify_backups(site.open(), "all", verify.Expectations())
    pin(site, old)
    (site.repository / old / "checks.json").unlink()

    assert reasons(site, old) == ["pinned"]


def test_verification_and_confirmation_leave_the_pin_alone(site: Site) -> None:
    identity = site.stored().id
    pin(site, identity)

    assert not site.back_up().changed
    assert site.verified("full") == ("passed", 0)

    assert found(site, identity).pinned


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identity", "options", "expected"),
    [
        ("20200101T000000Z-full", {}, BackupNotFoundError),
        ("../20200101T000000Z-full", {}, BackupNotFoundError),
        ("latest", {"until": clock.from_text("2025-12-30T13:00:00Z")}, UsageError),
        ("latest", {"until": NEW_YEAR, "pinned": False}, UsageError),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
@pytest.mark.usefixtures("old")
def test_refusal(
    site: Site, identity: str, options: dict[str, Any], expected: type[EngineError], dry_run: bool
) -> None:
    before = {name for name in site.tree() if name.endswith("pin.json")}
    with pytest.raises(expected) as raised:
        pin(site, identity, dry_run=dry_run, **options)

    assert raised.value.hint
    assert {name for name in site.tree() if name.endswith("pin.json")} == before == set()


def test_damaged_backup_cannot_be_pinned(site: Site, old: str) -> None:
    """Retention keeps it anyway; what it is, nobody knows."""
    databases.flip_bit(site.repository / old / "manifest.json", 40)

    with pytest.raises(BackupDamagedError):
        pin(site, old)

    assert reasons(site, old) == ["damaged"]


def test_no_repository(tmp_path: Path) -> None:
    with pytest.raises(BackupNotFoundError):
        pinning.run(pinning.Request(tmp_path / "missing", "latest"))
    assert not (tmp_path / "missing").exists()


def test_prune_that_is_at_work_is_waited_for(site: Site, old: str) -> None:
    """It has decided already: a pin that came between would be worth nothing."""
    with locks.held(site.repository / ".lock", timeout_seconds=0, action="Test"), pytest.raises(RepositoryLockedError):
        pin(site, old)


@pytest.mark.parametrize(("code", "expected"), [("EROFS", PermissionDeniedError), ("ENOSPC", NoSpaceError)])
def test_medium_that_takes_no_writes(
    site: Site, old: str, monkeypatch: pytest.MonkeyPatch, code: str, expected: type[EngineError]
) -> None:
    import errno

    def fail(_path: Path, _data: bytes) -> None:
        raise OSError(getattr(errno, code), "refused")

    monkeypatch.setattr(files, "replace_private", fail)
    with pytest.raises(expected, match=old):
        pin(site, old)

    assert not found(site, old).pinned
    assert not [each for each in site.history() if each["event"] == "pin"]


def test_full_disk_that_takes_no_record_leaves_the_pin(site: Site, old: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Repository, _event: str, **_facts: Any) -> None:
        raise NoSpaceError("Cannot write the audit log.")

    monkeypatch.setattr(Repository, "record", fail)
    outcome = pin(site, old)

    assert outcome.warnings == ["Cannot write the audit log."]
    assert found(site, old).pinned


def test_request_for_a_pinned_backup_knows_nothing_of_pins_that_ended(site: Site, moment: list[datetime]) -> None:
    identity = site.stored().id
    pin(site, identity, until=NEW_YEAR)
    moment[0] = NEW_YEAR

    made = backup.run(backup.Request(site.database, site.repository, pinned=True, compression="gzip"))

    assert made.changed
    assert made.backup is not None
    assert made.backup.pinned
