# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of a backup: what a restore of it reads, and that nothing is read of a chain that cannot be one."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base, chain, manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import BackupDamagedError
from support import databases, limits
from support.sites import Site

pytestmark = pytest.mark.usefixtures("nothing_is_small")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A full backup and three incrementals, each with a file beside it."""
    site = Site(tmp_path_factory.mktemp("template"))
    note = site.directory / "note"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SMALL_BYTES", 0)
        for number in range(4):
            note.write_text(f"note {number}")
            site.change([number + 1])
            site.stored(include=(Include(note),))
    return site


@pytest.fixture
def chained(template: Site, tmp_path: Path) -> Site:
    return template.copied_to(tmp_path / "site")


def links(site: Site, number: int = -1) -> list[Backup]:
    """The chain of the backup with this number."""
    return chain.links(site.open(), site.open().backups()[number])


def rewrite(site: Site, number: int, **changes: Any) -> None:
    """Give a backup another manifest, with its seal."""
    backup = site.open().backups()[number]
    (backup.path / "manifest.json").write_bytes(manifest.to_bytes(dataclasses.replace(backup.trusted(), **changes)))


def test_chain_begins_with_its_full_backup_and_ends_with_the_wanted_one(chained: Site) -> None:
    ids = chained.ids()
    for number in range(4):
        assert [each.id for each in links(chained, number)] == ids[: number + 1]
    assert [each.trusted().type for each in links(chained)] == ["full", *["incremental"] * 3]


def test_newer_full_backup_begins_a_chain_of_its_own(site: Site) -> None:
    for number, kind in enumerate(("full", "auto", "full", "auto"), start=1):
        site.change([number])
        site.stored(type=kind)
    assert [each.id for each in links(site)] == site.ids()[2:]
    assert [each.id for each in links(site, 1)] == site.ids()[:2]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_missing_link_is_damage_of_all_behind_it(chained: Site, number: int) -> None:
    ids = chained.ids()
    shutil.rmtree(chained.repository / ids[number])
    with pytest.raises(BackupDamagedError, match=f"backup {ids[3]} builds on {ids[number]}, which is missing"):
        links(chained)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_damaged_link_is_damage_of_all_behind_it(chained: Site, number: int) -> None:
    ids = chained.ids()
    databases.flip_bit(chained.repository / ids[number] / "manifest.json", 50)
    with pytest.raises(BackupDamagedError, match=f"backup {ids[3]} builds on {ids[number]}, which is damaged"):
        links(chained)


def _parent_is_itself(site: Site) -> None:
    rewrite(site, 3, parent=site.ids()[3])


def _parent_is_a_later_one(site: Site) -> None:
    rewrite(site, 1, parent=site.ids()[2])


def _parent_is_as_old(site: Site) -> None:
    """Two that build on each other would never end, if neither had to be the older one."""
    ids = site.ids()
    rewrite(site, 2, sequence=4, parent=ids[3])
    rewrite(site, 3, sequence=4, parent=ids[2])


def _other_page_size(site: Site) -> None:
    document = site.open().backups()[1].trusted()
    rewrite(site, 1, image=dataclasses.replace(document.image, page_size=1024))


def _path_instead_of_an_id(site: Site) -> None:
    """A whole backup, which is not one of this repository."""
    outside = site.directory / "20200101T000000Z-full"
    shutil.copytree(site.repository / site.ids()[0], outside)
    document = dataclasses.replace(site.open().backups()[0].trusted(), id=outside.name)
    (outside / "manifest.json").write_bytes(manifest.to_bytes(document))
    rewrite(site, 1, parent=f"../{outside.name}")


@pytest.mark.parametrize(
    "change",
    [_parent_is_itself, _parent_is_a_later_one, _parent_is_as_old, _other_page_size, _path_instead_of_an_id],
)
def test_chain_that_cannot_be_is_damage(chained: Site, change: Callable[[Site], None]) -> None:
    """Each manifest has its seal: this is what a program with an error, or a repository put together, would hold."""
    newest = chained.ids()[3]
    change(chained)
    backup = chained.open().load(newest)
    assert backup is not None
    begin = time.monotonic()
    with limits.within(3), pytest.raises(BackupDamagedError, match=f"The backup {newest} builds on"):
        chain.links(chained.open(), backup)
    assert time.monotonic() - begin < 3, "it was only the end of the time that looked like damage"


def test_wanted_backup_without_a_manifest_is_what_it_is(chained: Site) -> None:
    (chained.repository / chained.ids()[3] / "manifest.json").write_bytes(b"{}")
    with pytest.raises(BackupDamagedError, match="seal"):
        links(chained)


def artifact(backup: Backup, name: str) -> Path:
    (path,) = backup.path.rglob(f"{name}*")
    return path


@pytest.mark.parametrize("number", range(4))
def test_damaged_pages_anywhere_are_found(chained: Site, number: int) -> None:
    found = links(chained)
    chain.check_artifacts(found)
    databases.flip_bit(artifact(found[number], "database"), -1)
    with pytest.raises(BackupDamagedError, match=found[number].id):
        chain.check_artifacts(found)
    if number:
        chain.check_artifacts(found[:number])


@pytest.mark.parametrize("name", ["schema.sql", "note"])
@pytest.mark.parametrize("number", range(4))
def test_other_files_count_only_in_the_last_link(chained: Site, name: str, number: int) -> None:
    """A restore reads them of none but the wanted backup: what is lost of others does not make that one worse."""
    found = links(chained)
    artifact(found[number], name).unlink()
    with pytest.raises(BackupDamagedError, match=name) if number == 3 else limits.within(10):
        chain.check_artifacts(found)
