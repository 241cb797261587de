# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an incremental would build on is damaged: a full backup takes its place, and what is whole stays of use."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest, pages
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import BackupDamagedError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, manifests
from support.sites import Site, assert_full, assert_incremental

pytestmark = pytest.mark.usefixtures("moment")


def _missing(index: Path) -> None:
    index.unlink()


def _no_directory(index: Path) -> None:
    shutil.rmtree(index.parent)


def _flipped_digest(index: Path) -> None:
    databases.flip_bit(index, 3 * pages.DIGEST_BYTES)


def _flipped_fact(index: Path) -> None:
    databases.flip_bit(index, index.read_bytes().index(b"image_sha256") + 20)


def _cut_short(index: Path) -> None:
    index.write_bytes(index.read_bytes()[:-1])


def _empty(index: Path) -> None:
    index.write_bytes(b"")


def _too_long(index: Path) -> None:
    index.write_bytes(bytes(pages.DIGEST_BYTES) + index.read_bytes())


INDEX_DAMAGES = [_missing, _no_directory, _flipped_digest, _flipped_fact, _cut_short, _empty, _too_long]


@pytest.mark.parametrize("damage", INDEX_DAMAGES)
def test_without_a_whole_index_a_full_backup_is_stored(site: Site, damage: Callable[[Path], None]) -> None:
    site.stored()
    damage(site.index())
    site.change(1)
    outcome = site.back_up()
    assert (outcome.error, outcome.warnings) == (None, [])
    assert outcome.backup is not None
    assert_full(site, outcome.backup.trusted(), "there is no index of the newest backup")
    site.change(1)
    assert_incremental(site, site.stored(), 1)


def test_what_fails_behind_the_publication_is_a_warning(site: Site) -> None:
    """The backup is listed by then: to call the run failed would deny that."""
    site.stored()
    index = site.index()
    index.unlink()
    index.mkdir()
    site.change(1)
    outcome = site.back_up()
    assert outcome.changed
    assert outcome.backup is not None
    assert site.ids()[-1] == outcome.backup.id
    (warning,) = outcome.warnings
    assert str(index) in warning


@pytest.mark.parametrize("damage", [_missing, _flipped_digest])
def test_without_an_index_an_unchanged_database_is_still_confirmed(site: Site, damage: Callable[[Path], None]) -> None:
    site.stored()
    damage(site.index())
    assert not site.back_up().changed


def test_index_of_another_backup_is_never_used(site: Site, tmp_path: Path) -> None:
    """Whole, of as many pages, and under the right name: only the digest of its image tells."""
    site.stored()
    other = site.index().read_bytes()
    site.change([1, 2])
    site.stored()
    site.index().write_bytes(other)
    site.change([3])
    assert_full(site, site.stored(), "there is no index of the newest backup")


def _damaged_artifact(site: Site, identity: str) -> None:
    (artifact,) = (site.repository / identity).glob("database.*")
    databases.flip_bit(artifact, artifact.stat().st_size // 2)


def _missing_artifact(site: Site, identity: str) -> None:
    (artifact,) = (site.repository / identity).glob("database.*")
    artifact.unlink()


def _damaged_manifest(site: Site, identity: str) -> None:
    databases.flip_bit(site.repository / identity / "manifest.json", 40)


def _missing_backup(site: Site, identity: str) -> None:
    shutil.rmtree(site.repository / identity)


@pytest.mark.parametrize("link", [0, 1, 2])
@pytest.mark.parametrize("damage", [_damaged_artifact, _missing_artifact, _damaged_manifest, _missing_backup])
def test_damaged_chain_is_not_built_on(site: Site, link: int, damage: Callable[[Site, str], None]) -> None:
    """Whichever link it is: a full backup takes its place, and the operator is told."""
    for _each in range(3):
        site.change(1)
        site.stored()
    identity = site.ids()[link]
    damage(site, identity)
    site.change(1)
    outcome = site.back_up()
    assert outcome.backup is not None
    if (link, damage) == (2, _missing_backup):
        # Of that one nobody can know any more; its parent is the newest, and has no index.
        assert_full(site, outcome.backup.trusted(), "there is no index of the newest backup")
        return
    assert outcome.type == "full"
    (warning,) = outcome.warnings
    assert identity in warning
    assert "damaged" in warning or "missing" in warning or "does not match its seal" in warning
    assert site.restored(outcome.backup.id) == site.settled()
    site.change(1)
    assert_incremental(site, site.stored(), 1)


@pytest.mark.parametrize("damage", [_damaged_artifact, _missing_artifact, _damaged_manifest, _missing_backup])
def test_damaged_link_takes_only_what_builds_on_it(site: Site, damage: Callable[[Site, str], None]) -> None:
    """Nothing of that is restored, the live database is not touched, and what does not need the link still is."""
    contents = {}
    for kind in ("full", "incremental", "incremental", "full", "incremental"):
        site.change(2)
        contents[site.stored(type=kind).id] = site.settled()
    identities = list(contents)
    damage(site, identities[1])
    lost = [each for each in identities[1:3] if (site.repository / each).exists()]
    live = site.tree()["agent.db"]
    for each in lost:
        with pytest.raises(BackupDamagedError):
            restore.run(restore.Request(repository=site.repository, backup=each, dest=site.database))
    assert site.tree()["agent.db"] == live
    assert site.verified("quick") == ("failed", 13)
    kept = [each for each in identities if each not in identities[1:3]]
    assert {each: site.restored(each) for each in kept} == {each: contents[each] for each in kept}
    assert [each.id for each in site.open().backups() if each.verified] == kept


def test_damaged_schema_of_the_newest_backup_is_not_built_on(site: Site) -> None:
    """The pages would do, but what is confirmed or built on is a whole backup."""
    first = site.stored()
    databases.flip_bit(site.repository / first.id / "schema.sql", 5)
    site.change(1)
    outcome = site.back_up()
    assert outcome.type == "full"
    assert "schema.sql" in outcome.warnings[0]


# --- another backup under the name of the parent -------------------------------------------------------------------


def _exchange(site: Site, number: int, directory: Path) -> str:
    """Put the backup of another database, made in the same second, in place of this one; its id.

    As an older version made it, which named no repository: else that alone would tell.
    """
    directory.mkdir()
    other = Site(directory)
    for _each in range(number + 1):
        other.change([1])
        other.stored()
    identity = site.ids()[number]
    assert other.ids()[number] == identity
    shutil.rmtree(site.repository / identity)
    shutil.copytree(other.repository / identity, site.repository / identity)
    path = site.repository / identity / "manifest.json"
    path.write_bytes(manifests.sealed({**json.loads(path.read_bytes()), "repository": ""}))
    return identity


def _incrementals(site: Site, count: int) -> None:
    """A full backup, and so many that build on it."""
    for _each in range(count + 1):
        site.change([1])
        site.stored()


def test_manifest_names_the_image_that_it_builds_on(site: Site) -> None:
    _incrementals(site, 2)
    found = [each.trusted() for each in site.open().backups()]
    assert [each.parent_sha256 for each in found] == [None, found[0].image.sha256, found[1].image.sha256]


def test_parent_of_another_database_is_found_by_a_verification(site: Site, tmp_path: Path) -> None:
    _incrementals(site, 2)
    identity = _exchange(site, 0, tmp_path / "other")
    assert site.verified("quick") == ("failed", 13)
    with pytest.raises(BackupDamagedError, match=f"builds on {identity}, which is not the one that it was made from"):
        site.restored()
    assert site.restored(identity)


def test_parent_of_another_database_is_seen_without_reading_it(site: Site, tmp_path: Path) -> None:
    """By all that list backups: no incremental behind it counts."""
    _incrementals(site, 2)
    assert [each["damage"] for each in site.listed()] == ["", "", ""]
    identity = _exchange(site, 0, tmp_path / "other")
    told = [each["damage"] for each in site.listed()]
    assert told[:2] == ["", f"it builds on {identity}, which is not the one that it was made from"]
    assert "it builds on" in told[2]
    assert [each.verified for each in site.open().backups()] == [True, False, False]


@pytest.mark.parametrize("link", [0, 1])
def test_parent_of_another_database_is_not_built_on(site: Site, tmp_path: Path, link: int) -> None:
    _incrementals(site, 2)
    identity = _exchange(site, link, tmp_path / "other")
    site.change([2])
    outcome = site.back_up()
    assert outcome.backup is not None
    (warning,) = outcome.warnings
    assert identity in warning
    assert_full(site, outcome.backup.trusted(), "damaged")
    site.change([2])
    assert_incremental(site, site.stored(), 1)


def test_parent_of_another_database_makes_an_unchanged_one_be_stored_again(site: Site, tmp_path: Path) -> None:
    _incrementals(site, 1)
    _exchange(site, 0, tmp_path / "other")
    outcome = site.back_up()
    assert (outcome.changed, outcome.type) == (True, "full")


def _without_the_key(site: Site) -> None:
    """As an older version wrote the manifests."""
    for each in site.open().backups():
        path = each.path / "manifest.json"
        document = json.loads(manifest.to_bytes(each.trusted()))
        del document["parent_sha256"], document["repository"]
        path.write_bytes(manifests.sealed(document))


def test_manifests_of_an_older_version_stay_good(site: Site) -> None:
    _incrementals(site, 2)
    _without_the_key(site)
    assert not any("parent_sha256" in path.read_text() for path in site.repository.glob("*/manifest.json"))
    assert [each["damage"] for each in site.listed()] == ["", "", ""]
    assert site.verified("full") == ("passed", 0)
    assert site.restored() == site.settled()
    assert not site.back_up().changed
    site.change([2])
    assert_incremental(site, site.stored(), 1)
    assert site.open().backups()[-1].trusted().parent_sha256 == site.open().backups()[-2].trusted().image.sha256


@pytest.mark.parametrize("value", [5, True, ["0"]])
def test_parent_image_of_another_type_is_damage(site: Site, value: object) -> None:
    document = dataclasses.replace(site.stored(), parent_sha256=value)  # type: ignore[arg-type]
    with pytest.raises(BackupDamagedError, match="parent_sha256"):
        manifest.from_bytes(manifest.to_bytes(document), where="manifest")
