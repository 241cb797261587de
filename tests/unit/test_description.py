# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a repository is: every damage of its file is noticed, and nothing but a prune needs that file."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import places
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    RefusedError,
    StorageFailedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import doctor, info, prune, restore, verify
from support import databases, manifests
from support.sites import Site

ID = re.compile("[0-9a-f]{32}")


@pytest.fixture
def stored(site: Site) -> Site:
    """A site with a full backup, and an incremental one."""
    site.stored()
    site.change()
    assert site.stored().type == "incremental"
    return site


def file_of(site: Site) -> Path:
    return site.repository / "repository.json"


def content_of(site: Site) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file_of(site).read_bytes())
    return content


def write(site: Site, *, sealed: bool = True, **changes: Any) -> None:
    """What describes the repository with other values, or without those that are None."""
    content = {key: value for key, value in {**content_of(site), **changes}.items() if value is not None}
    content.pop("seal", None)
    file_of(site).write_bytes(manifests.sealed(content) if sealed else json.dumps(content).encode())


def make_older(site: Site) -> None:
    """As an earlier version wrote the repository."""
    write(site, sealed=False, id=None)
    for each in site.open().backups():
        document = json.loads(manifest.to_bytes(each.trusted()))
        del document["repository"]
        (each.path / "manifest.json").write_bytes(manifests.sealed(document))


def rename(site: Site, identity: str, repository: str) -> None:
    """Let the manifest of one backup name another repository."""
    path = site.repository / identity / "manifest.json"
    path.write_bytes(manifests.sealed({**json.loads(path.read_bytes()), "repository": repository}))


# --- as it is written ----------------------------------------------------------------------------------------------


def test_repository_has_an_id_that_every_manifest_names(stored: Site) -> None:
    content = content_of(stored)
    assert ID.fullmatch(content["id"])
    assert [each.trusted().repository for each in stored.open().backups()] == [content["id"]] * 2


def test_file_is_sealed_as_a_manifest_is(stored: Site) -> None:
    assert file_of(stored).read_bytes() == manifests.sealed(content_of(stored))


def test_two_repositories_have_two_ids(stored: Site, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Site(other).stored()
    assert content_of(Site(other, existing=True))["id"] != content_of(stored)["id"]


def test_database_that_moved_keeps_the_id_and_the_seal(stored: Site) -> None:
    before = content_of(stored)
    moved = stored.database.with_name("moved.db")
    stored.database.rename(moved)
    stored.database = moved
    stored.change()
    stored.stored(name="agent")
    after = content_of(stored)
    assert (after["source"], after["id"]) == (str(moved), before["id"])
    assert file_of(stored).read_bytes() == manifests.sealed(after)


def test_key_of_a_later_version_is_kept(stored: Site) -> None:
    write(stored, later={"a": 1})
    moved = stored.database.with_name("moved.db")
    stored.database.rename(moved)
    stored.database = moved
    stored.change()
    stored.stored(name="agent")
    assert content_of(stored)["later"] == {"a": 1}


def test_repository_of_an_earlier_version_gets_an_id_with_the_next_backup(stored: Site) -> None:
    make_older(stored)
    before = file_of(stored).read_bytes()
    assert (stored.open().doubt, stored.open().id) == ("", "")
    assert stored.restored() == stored.settled()
    assert stored.verified("full") == ("passed", 0)
    stored.back_up(dry_run=True)
    assert file_of(stored).read_bytes() == before
    outcome = stored.back_up()
    assert (outcome.changed, outcome.warnings) == (False, [])
    after = content_of(stored)
    assert ID.fullmatch(after["id"])
    assert {**after, "id": None, "seal": None} == {**json.loads(before), "id": None, "seal": None}
    assert [each.foreign for each in stored.open().backups()] == [False, False]
    stored.change()
    assert stored.stored().type == "incremental"
    assert stored.restored() == stored.settled()


def test_older_file_that_is_put_back_after_a_move_makes_no_backup_foreign(site: Site, moment: list[datetime]) -> None:
    """It has a path that no backup is of."""
    site.stored(name="agent")
    older = {key: content_of(site)[key] for key in ("created", "format", "name", "source")}
    shutil.rmtree(site.repository)
    site.database = site.database.rename(site.database.with_name("moved.db"))
    site.stored(name="agent")
    identity = content_of(site)["id"]
    file_of(site).write_text(json.dumps(older))
    moment[0] += timedelta(hours=1)
    site.change(2)
    site.stored(name="agent")
    assert content_of(site)["id"] == identity
    assert [each["foreign"] for each in site.listed()] == [False, False]


def test_older_file_that_is_put_back_makes_no_backup_foreign(stored: Site) -> None:
    """As from a copy that was made before the repository had an id."""
    identity = content_of(stored)["id"]
    write(stored, sealed=False, id=None)
    assert [each.foreign for each in stored.open().backups()] == [False, False]
    assert stored.back_up().changed is False
    assert content_of(stored)["id"] == identity


def test_repository_of_an_earlier_version_takes_nothing_for_its_own_that_is_of_another_database(stored: Site) -> None:
    make_older(stored)
    document = json.loads((stored.repository / stored.ids()[0] / "manifest.json").read_bytes())
    directory = stored.repository / "20200101T000000Z-full"
    shutil.copytree(stored.repository / stored.ids()[0], directory)
    database = {**document["database"], "source": "/srv/other.db"}
    content = {**document, "id": directory.name, "database": database, "repository": "ab" * 16}
    (directory / "manifest.json").write_bytes(manifests.sealed(content))
    assert [each.id for each in stored.open().backups() if each.foreign] == [directory.name]
    stored.back_up()
    assert [each.id for each in stored.open().backups() if each.foreign] == [directory.name]


# --- damaged -------------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_every_flipped_bit_is_noticed_and_keeps_no_restore(stored: Site) -> None:
    """Also that of a key, without which the file would look like one of an earlier version."""
    path, expected = file_of(stored), stored.settled()
    before = path.read_bytes()
    dest = stored.directory / "restored" / "agent.db"
    dest.parent.mkdir()
    request = restore.Request(stored.repository, dest=dest)
    unnoticed = []
    for place in range(len(before)):
        for bit in range(8):
            path.write_bytes(before[:place] + bytes([before[place] ^ 1 << bit]) + before[place + 1 :])
            # The first of them puts the file in place, and the others compare it.
            outcome = restore.run(request)
            if not any("repository.json is damaged" in each for each in outcome.warnings):
                unnoticed.append((place, bit))
    assert unnoticed == []
    assert dest.read_bytes() == expected


def damage_seal(site: Site) -> None:
    databases.flip_bit(file_of(site), file_of(site).read_bytes().index(b'"source"') + 12)


DAMAGE: dict[str, Any] = {
    "flipped": damage_seal,
    "without its seal": lambda site: write(site, sealed=False),
    "no JSON": lambda site: file_of(site).write_bytes(b"{"),
    "a list": lambda site: file_of(site).write_bytes(b"[]"),
    "nested": lambda site: file_of(site).write_bytes(b"[" * 100000),
    "empty": lambda site: file_of(site).write_bytes(b""),
    "newer, and not sealed": lambda site: write(site, sealed=False, id=None, format=99),
    "an id that is none": lambda site: write(site, id=7),
    "missing": lambda site: file_of(site).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_who_only_reads_goes_on_by_the_manifests(stored: Site, damage: str) -> None:
    identity, expected = content_of(stored)["id"], stored.settled()
    DAMAGE[damage](stored)
    before = databases.tree(stored.repository)
    word = "missing" if damage == "missing" else "damaged"
    found = stored.open()
    assert (found.name, found.source, found.id) == ("agent", str(stored.database), identity)
    assert f"repository.json is {word}" in found.doubt
    (told,) = info.describe_repository(found)["warnings"]
    assert told == found.doubt
    assert verify.verify_backups(found, "all", verify.Expectations(), dry_run=True).warnings == [told]
    with contextlib.suppress(FileNotFoundError):
        stored.database.unlink()
    assert restore.run(restore.Request(stored.repository), dry_run=True).warnings == [told]
    assert databases.tree(stored.repository) == before
    assert stored.restored() == expected


@pytest.mark.parametrize("damage", DAMAGE)
def test_next_backup_writes_it_anew_and_says_so(stored: Site, damage: str) -> None:
    before = content_of(stored)
    DAMAGE[damage](stored)
    preview = stored.back_up(dry_run=True)
    assert "The next backup writes it anew" in preview.warnings[0]
    outcome = stored.back_up()
    assert (outcome.changed, len(outcome.warnings)) == (False, 1)
    assert "repository.json was damaged or missing: it is written anew" in outcome.warnings[0]
    after = content_of(stored)
    assert [after[key] for key in ("id", "name", "source")] == [before[key] for key in ("id", "name", "source")]
    assert after["created"] == stored.open().backups()[0].trusted().started
    assert stored.open().doubt == ""
    assert stored.back_up().warnings == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_nothing_is_pruned_before_it_is_written_anew(stored: Site, *, dry_run: bool) -> None:
    for _round in range(3):
        stored.stored(force=True, type="full")
    policy = retention.Policy(1, keep_hourly=0, keep_daily=0, keep_weekly=0, keep_monthly=0, keep_within_seconds=0)
    damage_seal(stored)
    before = stored.ids()
    with pytest.raises(RefusedError, match="damaged"):
        prune.run(prune.Request(stored.repository, policy), dry_run=dry_run)
    assert stored.ids() == before
    stored.back_up()
    assert prune.run(prune.Request(stored.repository, policy), dry_run=dry_run).changed


@pytest.mark.parametrize("changed", [{"name": "other"}, {"path": "other.db"}])
def test_it_is_not_written_for_another_database(stored: Site, changed: dict[str, str]) -> None:
    other = stored.directory / "other.db"
    shutil.copy(stored.database, other)
    damage_seal(stored)
    before = databases.tree(stored.repository)
    options = {"name": "agent", "path": other} if "path" in changed else changed
    with pytest.raises(RefusedError, match="holds the backups of"):
        stored.back_up(**options)
    history = {"history.jsonl"}
    after = databases.tree(stored.repository)
    assert {name: after[name] for name in after.keys() - history} == {
        name: before[name] for name in before.keys() - history
    }


def test_without_any_manifest_it_is_the_damage_that_is_told(stored: Site) -> None:
    for each in stored.open().backups():
        (each.path / "manifest.json").write_bytes(b"{")
    damage_seal(stored)
    with pytest.raises(BackupDamagedError, match=r"repository\.json is damaged"):
        stored.open()


def test_newer_format_that_is_sealed_is_no_damage(stored: Site) -> None:
    write(stored, format=99)
    with pytest.raises(UsageError, match="newer format"):
        stored.open()
    with pytest.raises(UsageError, match="newer format"):
        stored.back_up()


def test_disk_that_fails_is_no_damage(stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    read = places.read_bytes

    def fail(path: Path) -> bytes:
        if path.name == "repository.json":
            raise OSError(errno.EIO, "input/output error")
        return read(path)

    monkeypatch.setattr(places, "read_bytes", fail)
    with pytest.raises(StorageFailedError):
        stored.open()


def test_it_is_not_written_while_a_manifest_cannot_be_read(stored: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk withholds today may be what names the right repository."""
    stored.stored(force=True, type="full")
    damage_seal(stored)
    before = file_of(stored).read_bytes()
    read, first = places.read_bytes, stored.ids()[0]

    def fail(path: Path) -> bytes:
        if path.parent.name == first and path.name == "manifest.json":
            raise OSError(errno.EIO, "input/output error")
        return read(path)

    monkeypatch.setattr(places, "read_bytes", fail)
    stored.change()
    outcome = stored.back_up()
    assert outcome.changed
    assert "look at the disk" in outcome.warnings[0]
    assert file_of(stored).read_bytes() == before


def test_most_manifests_tell_the_id(stored: Site) -> None:
    stored.change()
    stored.stored()
    identity, first = content_of(stored)["id"], stored.ids()[0]
    rename(stored, first, "ab" * 16)
    damage_seal(stored)
    assert stored.open().id == identity
    assert [each.id for each in stored.open().backups() if each.foreign] == [first]


def test_manifests_that_name_none_do_not_outvote_the_one_that_does(stored: Site) -> None:
    """As in a repository of an earlier version."""
    make_older(stored)
    stored.change()
    stored.stored()
    identity = content_of(stored)["id"]
    damage_seal(stored)
    assert stored.open().id == identity
    assert not any(each.foreign for each in stored.open().backups())


def test_manifests_of_an_earlier_version_leave_nothing_undecided(stored: Site) -> None:
    make_older(stored)
    file_of(stored).unlink()
    assert "The next backup writes it anew" in stored.open().doubt
    stored.back_up()
    assert (stored.open().doubt, stored.open().id == "") == ("", False)


def test_as_many_of_one_as_of_another_decide_nothing(stored: Site) -> None:
    rename(stored, stored.ids()[0], "ab" * 16)
    damage_seal(stored)
    before = file_of(stored).read_bytes()
    assert "name 2 repositories" in stored.open().doubt
    assert not any(each.foreign for each in stored.open().backups())
    stored.change()
    outcome = stored.back_up()
    assert outcome.changed
    assert "name 2 repositories" in outcome.warnings[0]
    assert file_of(stored).read_bytes() == before
    assert stored.restored() == stored.settled()
    with pytest.raises(RefusedError, match="name 2 repositories"):
        prune.run(prune.Request(stored.repository))


def test_doctor_names_the_damage(stored: Site) -> None:
    damage_seal(stored)
    found = doctor.examine(doctor.Request(stored.database, stored.repository))
    (finding,) = [each for each in found if each.name == "repository"]
    assert (finding.outcome, "damaged" in finding.detail) == ("problem", True)
    assert finding.hint == "Make a backup now: backup."


def test_doctor_asks_for_no_backup_that_would_not_help(stored: Site) -> None:
    rename(stored, stored.ids()[0], "ab" * 16)
    damage_seal(stored)
    found = doctor.examine(doctor.Request(stored.database, stored.repository))
    (finding,) = [each for each in found if each.name == "repository"]
    assert "move the backups of all others away" in finding.detail
    assert finding.hint == "Until then nothing is pruned."
