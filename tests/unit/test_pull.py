# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pull: from nothing but a target to a repository that restores; and nothing of what a hostile target sends."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import published
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    NoSpaceError,
    ProofFailedError,
    RefusedError,
    TargetUnreachableError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets.rclone import Rclone
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore, verify
from support import keys, manifests
from support.offsite import Offsite
from support.sites import Site

pytestmark = pytest.mark.thorough


@pytest.fixture
def pushed(offsite: Offsite) -> Offsite:
    offsite.push()
    return offsite


def ids(repository: Path) -> list[str]:
    """What is published there, oldest first."""
    return sorted(each.id for each in published.listed(repository))


def restored(repository: Path, dest: Path) -> bytes:
    restore.run(restore.Request(repository, dest=dest, check="full"))
    return dest.read_bytes()


def test_everything_comes_back_from_nothing_but_the_target(pushed: Offsite, tmp_path: Path) -> None:
    live = pushed.site.settled()
    here = pushed.here()
    shutil.rmtree(pushed.site.repository)
    pushed.site.database.unlink()
    outcome = pushed.pull(into=pushed.site.repository)
    assert pushed.here() == here
    assert [each["id"] for each in outcome.transferred] == pushed.site.ids()
    assert restored(pushed.site.repository, tmp_path / "back.db") == live


def test_what_came_is_told_as_what_went(offsite: Offsite) -> None:
    """The files of each backup and their bytes, the manifest among them."""
    sent = offsite.push().transferred
    assert offsite.pull(dry_run=True).transferred == sent
    assert offsite.pull().transferred == sent


def test_pulled_repository_is_as_the_old_one(pushed: Offsite) -> None:
    """It has the same name, source and id: the next backup goes on in it."""
    pushed.pull()
    old, new = (Repository.open_existing(each) for each in (pushed.site.repository, pushed.other))
    assert (new.id, new.name, new.source, new.doubt) == (old.id, old.name, old.source, "")
    shutil.rmtree(pushed.site.repository)
    shutil.move(pushed.other, pushed.site.repository)
    pushed.site.change()
    assert len(pushed.site.ids()) == 2
    assert pushed.site.stored().sequence == 3


def test_latest_comes_with_its_chain_only(pushed: Offsite) -> None:
    pushed.site.change()
    last = pushed.site.stored(type="full").id
    pushed.push()
    assert [each["id"] for each in pushed.pull(backup="latest").transferred] == [last]
    first, second = pushed.site.ids()[:2]
    assert [each["id"] for each in pushed.pull(backup=second).transferred] == [first, second]
    assert ids(pushed.other) == pushed.site.ids()


def test_second_pull_brings_nothing(pushed: Offsite) -> None:
    pushed.pull()
    outcome = pushed.pull()
    assert not outcome.changed
    assert outcome.newest == pushed.site.ids()[-1]


def test_what_is_missing_comes(pushed: Offsite) -> None:
    """Into a repository that lost a backup."""
    here = pushed.here()
    lost = pushed.site.ids()[0]
    shutil.rmtree(pushed.site.repository / lost)
    assert [each["id"] for each in pushed.pull(into=pushed.site.repository).transferred] == [lost]
    assert pushed.here() == here
    assert pushed.site.verified("full") == ("passed", 0)


def test_check_mode_tells_the_same_and_writes_nothing(pushed: Offsite) -> None:
    planned = pushed.pull(dry_run=True)
    assert not pushed.other.exists()
    assert pushed.pull().transferred == planned.transferred


def test_modes_are_private(pushed: Offsite) -> None:
    pushed.pull()
    modes = {oct(each.stat().st_mode & 0o777) for each in pushed.other.rglob("*") if each.is_file()}
    assert modes == {"0o600"}
    assert {oct(each.stat().st_mode & 0o777) for each in pushed.other.rglob("*") if each.is_dir()} == {"0o700"}


def test_nothing_is_left_behind(pushed: Offsite) -> None:
    pushed.pull()
    assert {each.name for each in pushed.other.iterdir()} == {
        *pushed.site.ids(), "repository.json", "history.jsonl", ".lock"
    }  # fmt: skip


def test_empty_target_is_an_error(offsite: Offsite) -> None:
    with pytest.raises(BackupNotFoundError, match="no backup"):
        offsite.pull()
    assert not offsite.other.exists()


def test_pull_that_was_killed_leaves_a_place_to_pull_into(pushed: Offsite) -> None:
    """Before it made a repository of the new directory, in which it works."""
    left = pushed.other / "sqlite-backup-scratch-of-a-killed-run"
    left.mkdir(parents=True)
    (left / "lock").touch()
    pushed.pull()
    assert ids(pushed.other) == pushed.site.ids()


@pytest.mark.parametrize("backup", ["all", "latest"])
def test_nothing_whole_is_damage(pushed: Offsite, backup: str) -> None:
    for each in pushed.files.glob("*/database*"):
        each.unlink()
    with pytest.raises(BackupDamagedError, match="no backup there is whole"):
        pushed.pull(backup=backup)


def test_newer_one_that_is_not_whole_there_is_told(pushed: Offsite) -> None:
    """An older one comes instead of it, which nobody should take for the newest."""
    full, incremental = pushed.site.ids()
    next((pushed.files / incremental).glob("database*")).unlink()
    outcome = pushed.pull(backup="latest")
    assert [each["id"] for each in outcome.transferred] == [full]
    assert list(outcome.missed) == [incremental]
    assert any(each.startswith(f"{incremental} stays there: database") for each in outcome.warnings)


@pytest.mark.parametrize("backup", ["all", "latest"])
def test_damaged_one_here_is_told(pushed: Offsite, backup: str) -> None:
    """What is here is never replaced: who wants it from there has to move it away."""
    incremental = pushed.site.ids()[1]
    next((pushed.site.repository / incremental).glob("database*")).unlink()
    outcome = pushed.pull(into=pushed.site.repository, backup=backup)
    assert (outcome.changed, outcome.missed) == (False, {})
    assert any(each.startswith(f"{incremental} is here already, and damaged") for each in outcome.warnings)


def test_number_that_leaves_none_for_the_next_backup_is_refused(pushed: Offsite) -> None:
    """Whoever writes to the target could make every later backup of this host unreadable."""
    full, incremental = pushed.site.ids()
    shutil.rmtree(pushed.files / incremental)
    manifests.rewrite(pushed.files / full / "manifest.json", sequence=1 << 63)
    with pytest.raises(BackupDamagedError, match="sequence"):
        pushed.pull(backup=full)
    assert ids(pushed.other) == []


def test_base_that_is_removed_meanwhile_is_missed(pushed: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a prune: what builds on it would be of no use."""
    full, incremental = pushed.site.ids()
    pushed.pull(backup=full)
    get = Rclone.get

    def meanwhile(self: Rclone, names: list[str], into: Path, watch: Callable[[], None]) -> None:
        get(self, names, into, watch)
        if into.name == "files":
            shutil.rmtree(pushed.other / full)

    monkeypatch.setattr(Rclone, "get", meanwhile)
    with pytest.raises(ProofFailedError, match=full):
        pushed.pull(backup=incremental)
    assert ids(pushed.other) == []


def test_disk_that_becomes_full_here_is_no_fault_of_the_target(
    pushed: Offsite, monkeypatch: pytest.MonkeyPatch
) -> None:
    get = Rclone.get

    def full(self: Rclone, names: list[str], into: Path, watch: Callable[[], None]) -> None:
        if into.name == "files":
            monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1, 1, 0))  # type: ignore[attr-defined]
            raise TargetUnreachableError("rclone failed: no space left on device.")
        get(self, names, into, watch)

    monkeypatch.setattr(Rclone, "get", full)
    with pytest.raises(NoSpaceError, match=re.escape(str(pushed.other))):
        pushed.pull()


def test_begun_push_is_no_backup(pushed: Offsite) -> None:
    first, second = pushed.site.ids()
    (pushed.files / second / "manifest.json").unlink()
    assert [each["id"] for each in pushed.pull().transferred] == [first]


def test_unknown_backup_is_named(pushed: Offsite) -> None:
    with pytest.raises(BackupNotFoundError, match="20200101"):
        pushed.pull(backup="20200101T000000Z-full")


def test_database_of_another_name_is_refused(pushed: Offsite) -> None:
    with pytest.raises(RefusedError, match="another database, 'agent.db'|another database, 'agent'"):
        pushed.pull(name="orders")
    assert not (pushed.other / "repository.json").exists()


def test_place_that_is_something_else_is_refused(pushed: Offsite) -> None:
    pushed.other.mkdir(parents=True)
    (pushed.other / "letters.txt").write_text("dear")
    with pytest.raises(UsageError, match="neither empty nor a repository"):
        pushed.pull()


def test_repository_of_another_database_is_refused(moment: list[datetime], pushed: Offsite, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Site(tmp_path / "second")
    moment[0] += timedelta(hours=1)
    second.stored()
    with pytest.raises(RefusedError, match="another"):
        pushed.pull(into=second.repository)
    assert len(second.ids()) == 1


@keys.needs_age
def test_encrypted_backups_need_no_key_on_the_way(offsite: Offsite, tmp_path: Path) -> None:
    encryption, own = keys.scheme("age")
    shutil.rmtree(offsite.site.repository)
    offsite.site.stored(encryption=encryption)
    offsite.push()
    offsite.pull()
    found = verify.verify_backups(Repository.open_existing(offsite.other), "all", verify.Expectations("full"), keys=own)
    assert (found.outcome, found.error) == ("passed", None)


@pytest.mark.parametrize("place", range(1, 5))
def test_cut_pull_goes_on(pushed: Offsite, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Whichever call fails: what is published is whole, and the next pull ends the work."""
    run, calls = Rclone._run, [0]

    def cut(self: Rclone, *words: object, **more: object) -> bytes:
        calls[0] += 1
        if calls[0] == place:
            raise TargetUnreachableError("the cable is cut.")
        return run(self, *words, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(Rclone, "_run", cut)
        with pytest.raises(TargetUnreachableError, match="cable"):
            pushed.pull()
    here = pushed.here()
    for name, content in pushed.here(pushed.other).items() if pushed.other.exists() else ():
        assert here[name] == content
    pushed.pull()
    assert pushed.here(pushed.other) == here


# What a hostile target does, by what it is called.
Trick = Callable[[Offsite, Path], None]


def _files(where: Path, **changes: object) -> list[dict[str, object]]:
    files = json.loads(where.read_bytes())["files"]
    return [{**files[0], **changes}, *files[1:]]


def _image(offsite: Offsite) -> Path:
    return next(offsite.files.glob("*-full/database.sqlite*"))


def another_byte(offsite: Offsite, _manifest: Path) -> None:
    image = _image(offsite)
    image.write_bytes(image.read_bytes()[::-1])


def shorter(offsite: Offsite, _manifest: Path) -> None:
    image = _image(offsite)
    image.write_bytes(image.read_bytes()[:-1])


def missing(offsite: Offsite, _manifest: Path) -> None:
    _image(offsite).unlink()


def up_and_away(_offsite: Offsite, path: Path) -> None:
    manifests.rewrite(path, files=_files(path, path="../../escaped"))


def absolute(_offsite: Offsite, path: Path) -> None:
    manifests.rewrite(path, files=_files(path, path="/escaped"))


def flipped_bit(_offsite: Offsite, path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"sequence": 1', b'"sequence": 7'))


def not_json(_offsite: Offsite, path: Path) -> None:
    path.write_bytes(b"\x00" * 1000)


def lying_size(_offsite: Offsite, path: Path) -> None:
    manifests.rewrite(path, files=_files(path, bytes=2**50))


def own_parent(_offsite: Offsite, path: Path) -> None:
    manifests.rewrite(path, type="incremental", parent=path.parent.name)


def other_id(_offsite: Offsite, path: Path) -> None:
    manifests.rewrite(path, id="20200101T000000Z-full")


def a_link(offsite: Offsite, _manifest: Path) -> None:
    image = _image(offsite)
    image.unlink()
    image.symlink_to("/etc/passwd")


TRICKS = [
    *(another_byte, shorter, missing, up_and_away, absolute, flipped_bit),
    *(not_json, lying_size, own_parent, other_id, a_link),
]


@pytest.mark.parametrize("trick", TRICKS, ids=lambda trick: trick.__name__)
def test_hostile_target_gives_nothing_but_an_error(pushed: Offsite, trick: Trick, tmp_path: Path) -> None:
    """The full backup that is damaged takes the incremental with it; nothing is written outside, nothing published."""
    path = next(pushed.files.glob("*-full/manifest.json"))
    trick(pushed, path)
    before = {each for each in tmp_path.rglob("*") if pushed.other not in (each, *each.parents)}
    with pytest.raises(EngineError) as caught:
        pushed.pull(backup=pushed.site.ids()[-1])
    assert caught.value.code in (13, 16, 17, 18, 21, 22), caught.value
    assert ids(pushed.other) == []
    after = {each for each in tmp_path.rglob("*") if pushed.other not in (each, *each.parents)}
    assert after - before <= {pushed.other.parent}


def test_target_that_sends_more_than_it_lists_is_stopped(pushed: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    get = Rclone.get

    def bomb(self: Rclone, names: list[str], into: Path, watch: Callable[[], None]) -> None:
        get(self, names, into, lambda: None)
        (into / "bomb").write_bytes(b"x" * 10_000_000)
        watch()

    monkeypatch.setattr(Rclone, "get", bomb)
    with pytest.raises(BackupDamagedError, match="more than it listed"):
        pushed.pull()
    assert not any(each.stat().st_size > 1_000_000 for each in pushed.other.rglob("*"))


def test_backups_of_two_repositories_are_told_apart(moment: list[datetime], pushed: Offsite, tmp_path: Path) -> None:
    """Somebody pushed two databases to one place: only those of the wanted one come."""
    other = tmp_path / "second"
    other.mkdir()
    second = Site(other)
    moment[0] += timedelta(hours=1)
    foreign = second.stored(force=True).id
    shutil.copytree(second.repository / foreign, pushed.files / foreign)
    shutil.rmtree(pushed.site.repository / pushed.site.ids()[1])
    pushed.pull(into=pushed.site.repository)
    assert foreign not in pushed.site.ids()
    pushed.pull()
    assert ids(pushed.other) == pushed.site.ids()


def test_name_says_which_of_two_databases_is_meant(moment: list[datetime], pushed: Offsite, tmp_path: Path) -> None:
    """Whichever of them has more backups there."""
    (tmp_path / "second").mkdir()
    second = Site(tmp_path / "second")
    moment[0] += timedelta(hours=1)
    single = second.stored(name="orders").id
    shutil.copytree(second.repository / single, pushed.files / single)
    assert [each["id"] for each in pushed.pull(name="orders").transferred] == [single]
    other = tmp_path / "third"
    assert [each["id"] for each in pushed.pull(into=other, name="agent").transferred] == pushed.site.ids()
