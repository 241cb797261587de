# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of an incremental backup: what can be one, and each reason for a full backup instead."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base, include, pages
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.base import Base, Policy
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include, Included
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import StoredFile
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import (
    NOT_ENCRYPTED,
    Encryption,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import BackupDamagedError
from support import databases, keys, manifests
from support.images import MemorySnapshot
from support.sites import Site

STARTED = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
DAY_SECONDS = 86400
SOON = STARTED + timedelta(hours=1)
PAGE_SIZE = 4096


def backup_of(**changes: Any) -> Backup:
    document = manifests.example(**changes)
    return Backup(document.id, Path("/nowhere") / document.id, document)


def base_of(*, incrementals: int = 0, facts: dict[str, str] | None = None, **changes: Any) -> Base:
    """A base on which an incremental backup can build, unless ``changes`` make it another one."""
    links = [backup_of(id="20250102T030405Z-full")]
    for number in range(incrementals):
        links.append(backup_of(id=f"20250103T0{number}0000Z-incremental", type="incremental", parent=links[-1].id))
    index = pages.Index(io.BytesIO(), facts or {}, 2)
    found = Base(links[-1], links[-1].trusted(), links, index, None)
    return dataclasses.replace(found, **changes)


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> MemorySnapshot:
    """An image that is just not small."""
    monkeypatch.setattr(base, "SMALL_BYTES", 2 * PAGE_SIZE)
    return MemorySnapshot(bytes(2 * PAGE_SIZE), PAGE_SIZE)


def why(
    found: Base | None,
    image: MemorySnapshot,
    *,
    encryption: Encryption = NOT_ENCRYPTED,
    now: datetime = SOON,
    **policy: Any,
) -> str:
    return base.why_full(found, image, encryption, Policy(**policy), now)


# --- reasons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("incrementals", [0, 1, 5])
@pytest.mark.parametrize("kind", ["auto", "incremental"])
def test_incremental_needs_no_reason(image: MemorySnapshot, incrementals: int, kind: str) -> None:
    assert why(base_of(incrementals=incrementals), image, type=kind) == ""


SUSPECT = manifests.example(suspect=True)
# In the order in which they are told, when there are several: each with what makes it so.
REASONS: dict[str, dict[str, Any]] = {
    "a full backup is asked for": {"policy": {"type": "full"}},
    "the database, or the newest backup, is suspect": {"image": {"corruption": "malformed"}},
    "the database is small": {"image": {"image_bytes": 2 * PAGE_SIZE - 1}},
    "the page size changed": {"image": {"page_size": 512}},
    "the newest backup, or what it builds on, is damaged": {"base": {"damage": BackupDamagedError("it is cut")}},
    "there is no index of the newest backup": {"base": {"index": None}},
    "it is encrypted for others than the newest backup": {"policy": {"encryption": Encryption("age", ("age1x",))}},
    "the chain has 3 incremental backups": {"base": {"incrementals": 3}, "policy": {"max_chain": 2}},
    "the full backup is too old": {"policy": {"full_every_seconds": 3600.0}},
}


def _why(image: MemorySnapshot, *reasons: str) -> str:
    made = {"base": {}, "image": {}, "policy": {}}  # type: dict[str, dict[str, Any]]
    for reason in reasons:
        for part, changes in REASONS[reason].items():
            made[part].update(changes)
    for name, value in made["image"].items():
        setattr(image, name, value)
    return why(base_of(**made["base"]), image, **made["policy"])


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_makes_a_full_backup(image: MemorySnapshot, reason: str) -> None:
    assert _why(image, reason) == reason


@pytest.mark.parametrize(("first", "second"), list(zip(list(REASONS)[:-1], list(REASONS)[1:])))
def test_of_two_reasons_the_weightier_is_told(image: MemorySnapshot, first: str, second: str) -> None:
    assert _why(image, second, first) == first


def test_without_a_backup_there_is_nothing_to_build_on(image: MemorySnapshot) -> None:
    assert why(None, image, type="incremental") == "there is no backup to build on"


def test_suspect_backup_is_not_built_on(image: MemorySnapshot) -> None:
    """Its image is the bytes of a file, of which nobody knows what they should be."""
    found = why(base_of(document=manifests.example(suspect=True)), image)
    assert found == "the database, or the newest backup, is suspect"


@pytest.mark.parametrize(
    ("age_seconds", "expected"), [(-DAY_SECONDS, ""), (DAY_SECONDS - 1, ""), (DAY_SECONDS, "too old")]
)
def test_full_backup_is_due_after_its_time(image: MemorySnapshot, age_seconds: float, expected: str) -> None:
    """Counted is from the full backup on, not from its newest increment; a clock that went back is no reason."""
    now = STARTED + timedelta(seconds=age_seconds)
    newer = backup_of(id="20250102T120000Z-incremental", type="incremental", started="2025-01-02T12:00:00Z")
    found = base_of()
    found = dataclasses.replace(found, newest=newer, document=newer.trusted(), links=[*found.links, newer])
    assert expected in why(found, image, now=now, full_every_seconds=DAY_SECONDS)
    assert bool(why(found, image, now=now, full_every_seconds=DAY_SECONDS)) == bool(expected)
    assert why(found, image, now=now, full_every_seconds=DAY_SECONDS, type="incremental") == ""


@pytest.mark.parametrize("kind", ["auto", "incremental"])
@pytest.mark.parametrize(("incrementals", "full"), [(0, False), (1, False), (2, True)])
def test_chain_is_as_long_as_allowed_and_not_longer(
    image: MemorySnapshot, kind: str, incrementals: int, full: bool
) -> None:
    """``max_chain`` counts incrementals: with two there is no third."""
    assert bool(why(base_of(incrementals=incrementals), image, max_chain=2, type=kind)) == full


@pytest.mark.parametrize("max_chain", [0, 1])
def test_chain_of_no_incrementals_is_only_full_backups(image: MemorySnapshot, max_chain: int) -> None:
    assert bool(why(base_of(), image, max_chain=max_chain)) == (max_chain == 0)


# --- what is found -------------------------------------------------------------------------------------------------


@pytest.fixture
def chained(site: Site) -> Site:
    """A full backup, and an incremental."""
    for number in (1, 2):
        site.change([number])
        site.stored()
    return site


def look(site: Site, use: Callable[[Base | None], Any], number: int = -1) -> Any:
    repository = site.open()
    with base.find(repository, repository.backups()[number]) as found:
        return use(found)


def test_newest_backup_is_found_with_its_chain_and_index(chained: Site) -> None:
    def use(found: Base | None) -> None:
        assert found is not None
        assert [each.id for each in found.links] == chained.ids()
        assert (found.newest.id, found.document, found.damage) == (*(chained.ids()[-1], found.newest.manifest, None),)
        assert found.index is not None
        assert found.index.read(1000) == pages.digests(chained.settled(), found.document.image.page_size)

    look(chained, use)


def test_nothing_is_found_in_an_empty_repository(chained: Site) -> None:
    with base.find(chained.open(), None) as found:
        assert found is None


def test_backup_whose_manifest_is_damaged_is_no_base(chained: Site) -> None:
    databases.flip_bit(chained.repository / chained.ids()[-1] / "manifest.json", 20)
    assert look(chained, lambda found: found) is None


def test_damage_of_the_chain_is_told_not_raised(chained: Site) -> None:
    """A backup is due all the same."""
    full, newest = chained.ids()
    databases.flip_bit(chained.repository / full / "database.sqlite.gz", 30)
    damage = look(chained, lambda found: found.damage)
    assert isinstance(damage, BackupDamagedError)
    assert full in damage.message
    databases.flip_bit(chained.repository / full / "manifest.json", 20)
    damage, links = look(chained, lambda found: (found.damage, found.links))
    assert f"builds on {full}, which is damaged" in damage.message
    assert [each.id for each in links] == [newest]


@pytest.mark.parametrize("index", ["missing", "cut", "of an older backup", "of as many pages"])
def test_index_that_is_not_that_of_the_backup_is_not_used(chained: Site, index: str) -> None:
    """Compared with another image, pages that changed would look as if they had not."""
    path = chained.index()
    content = path.read_bytes()
    if index == "missing":
        path.unlink()
    elif index == "cut":
        path.write_bytes(content[:-1])
    elif index == "of an older backup":
        chained.change([3])
        chained.stored()
        (chained.repository / ".index" / chained.ids()[-1]).write_bytes(content)
    else:
        path.unlink()
        writer = pages.IndexWriter()
        writer.add(bytes(16 * chained.open().backups()[-1].trusted().image.page_count))
        writer.write(path, {"image_sha256": hashlib.sha256(b"of another").hexdigest()})
    assert look(chained, lambda found: found.index) is None
    if index == "of an older backup":
        (chained.repository / ".index" / chained.ids()[-2]).write_bytes(content)
        assert look(chained, lambda found: found.index is not None, -2)


# --- what it holds -------------------------------------------------------------------------------------------------


def included(directory: Path, **contents: str) -> list[Included]:
    """The files with these names and contents."""
    for name, text in contents.items():
        (directory / name).write_text(text)
    (directory / "a.db").touch()
    wanted = [Include(directory / name) for name in contents]
    return include.gather(wanted, source=directory / "a.db")


def test_plain_backup_holds_the_files_that_its_manifest_names(tmp_path: Path) -> None:
    wanted = included(tmp_path, log="one")
    stored = StoredFile("files/log", "include", 3, hashlib.sha256(b"one").hexdigest())
    content = manifests.example().files[0]
    for files, expected in (((content, stored), True), ((content,), False)):
        assert base_of(document=manifests.example(files=files)).holds(wanted) == expected
    other = dataclasses.replace(stored, sha256=hashlib.sha256(b"two").hexdigest())
    assert not base_of(document=manifests.example(files=(content, other))).holds(wanted)
    assert not base_of(document=manifests.example(files=(content, stored))).holds([])


def encrypted(facts: dict[str, Any] | None) -> Base:
    """A base that is encrypted with age; None stands for no index."""
    content = StoredFile("database.sqlite.age", "image", 120, "0" * 64, "none", "age")
    found = base_of(document=manifests.example(files=(content,)), facts=facts)
    return dataclasses.replace(found, index=None) if facts is None else found


def test_encrypted_backup_holds_the_files_whose_digest_is_in_its_index(tmp_path: Path) -> None:
    """Its manifest names none of them."""
    wanted = included(tmp_path, log="one", other="two")
    known = base.digest_of(wanted)
    assert encrypted({"include": known}).holds(wanted)
    assert not encrypted({"include": known}).holds(wanted[:1])
    assert not encrypted({"include": known}).holds(included(tmp_path, log="one", other="three"))
    for facts in (None, {}, {"include": None}, {"include": 5}, {"include": ""}, {"include": known[:-1]}):
        assert not encrypted(facts).holds(wanted)


def test_digest_of_files_tells_nothing_and_can_be_compared(tmp_path: Path) -> None:
    """Without a salt, who guesses a name or a content could find out that it is right by a look at a list."""
    wanted = included(tmp_path, telling_name="telling content")
    first, second = base.digest_of(wanted), base.digest_of(wanted)
    assert all(one != other for one, other in zip(first.split(":"), second.split(":")))
    assert base.digest_of(wanted, first) == first
    assert base.digest_of(wanted, second) == second
    assert base.digest_of([], first) != first
    plain = hashlib.sha256(b"telling content").hexdigest()
    assert not [word for word in ("telling", plain) if word in first]
    salts = {base.digest_of(wanted).partition(":")[0] for _round in range(20)}
    assert len(salts) == 20
    assert min(map(len, salts)) == 32


@keys.needs_age
def test_readers_are_compared_and_not_told() -> None:
    first, second = keys.age_recipient(), keys.age_recipient("other")
    both, alone = Encryption("age", (first, second)), Encryption("age", (first,))
    known = base.readers_of(both)
    assert all(one != other for one, other in zip(known.split(":"), base.readers_of(both).split(":")))
    assert base.readers_of(both, known) == known
    assert base.readers_of(Encryption("age", (second, first)), known) == known
    assert base.readers_of(alone, known) != known
    assert not [recipient for recipient in (first, second) if recipient in known]


@keys.needs_age
def test_encrypted_backup_is_for_the_readers_in_its_index() -> None:
    one, two = keys.age_recipient(), keys.age_recipient("other")
    wanted = Encryption("age", (one,))
    known = base.readers_of(wanted)
    assert encrypted({"readers": known}).is_for(wanted)
    assert not encrypted({"readers": known}).is_for(Encryption("age", (two,)))
    for facts in (None, {}, {"readers": None}, {"readers": 5}, {"readers": ""}, {"readers": known[:-1]}):
        assert not encrypted(facts).is_for(wanted)


def test_same_readers_by_another_method_are_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of two methods would need the keys of both."""
    monkeypatch.setattr(Encryption, "readers", lambda _self: ["reader"])
    known = base.readers_of(Encryption("age"))
    assert encrypted({"readers": known}).is_for(Encryption("age"))
    assert not encrypted({"readers": known}).is_for(Encryption("gpg"))


@keys.needs_age
def test_plain_and_encrypted_backups_are_not_for_the_same() -> None:
    """Case 13: nothing is ever stored plain because the backup before was."""
    wanted = Encryption("age", (keys.age_recipient(),))
    facts = {"readers": base.readers_of(NOT_ENCRYPTED)}
    assert base_of(facts=facts).is_for(NOT_ENCRYPTED)
    assert not base_of(facts={"readers": base.readers_of(wanted)}).is_for(wanted)
    assert not encrypted(facts).is_for(NOT_ENCRYPTED)
