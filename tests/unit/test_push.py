# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A push: what the target lacks goes there, nothing there is overwritten, and what failed is healed by the next."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    ProofFailedError,
    RefusedError,
    RepositoryLockedError,
    TargetUnreachableError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets.rclone import Rclone
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import prune, push
from support import keys, processes, servers
from support.offsite import Offsite
from support.sites import Site


def test_all_that_is_a_backup_is_copied(offsite: Offsite) -> None:
    outcome = offsite.push()
    assert offsite.there() == offsite.here()
    assert [each["id"] for each in outcome.transferred] == offsite.site.ids()
    assert outcome.newest == offsite.site.ids()[-1]
    assert outcome.behind_seconds is not None
    assert outcome.verified


def test_told_bytes_are_those_of_the_files(offsite: Offsite) -> None:
    outcome = offsite.push()
    for each in outcome.transferred:
        files = [content for name, content in offsite.there().items() if name.startswith(each["id"])]
        assert (each["files"], each["bytes"]) == (len(files), sum(map(len, files)))


def test_what_went_is_told_oldest_first(offsite: Offsite) -> None:
    """The newest goes first, so that little is lost when it is cut."""
    offsite.site.change()
    offsite.site.stored(type="full")
    planned = offsite.push(dry_run=True).transferred
    assert [each["id"] for each in planned] == offsite.site.ids()
    assert offsite.push().transferred == planned


def test_second_push_does_nothing(offsite: Offsite) -> None:
    offsite.push()
    before = offsite.there()
    outcome = offsite.push()
    assert not outcome.changed
    assert outcome.newest == offsite.site.ids()[-1]
    assert offsite.there() == before


def test_only_what_is_new_goes(offsite: Offsite) -> None:
    offsite.push()
    offsite.site.change()
    new = offsite.site.stored().id
    assert [each["id"] for each in offsite.push().transferred] == [new]


def test_check_mode_tells_the_same_and_sends_nothing(offsite: Offsite) -> None:
    planned = offsite.push(dry_run=True)
    assert offsite.there() == {}
    assert offsite.site.history()[-1]["event"] != "push"
    assert offsite.push().transferred == planned.transferred


def test_one_backup_goes_with_its_chain(offsite: Offsite) -> None:
    offsite.site.change()
    last = offsite.site.stored(type="full").id
    full, incremental = offsite.site.ids()[:2]
    assert [each["id"] for each in offsite.push(backup=incremental).transferred] == [full, incremental]
    assert [each["id"] for each in offsite.push(backup="latest").transferred] == [last]


def test_newest_is_that_of_the_target_whatever_went(offsite: Offsite) -> None:
    """Else the status would tell that the target is as far behind as the old backup that somebody sent once more."""
    old, newest = offsite.site.ids()
    assert offsite.push(backup=old).newest == old
    offsite.push()
    again = offsite.push(backup=old)
    assert (again.newest, again.before, again.changed) == (newest, [old, newest], False)
    assert offsite.site.history()[-1]["backup"] == newest


def test_newest_is_the_last_one_after_a_clock_was_ahead(offsite: Offsite, moment: list[datetime]) -> None:
    """By its name the one of that time would be the newest for as long, and the target never behind."""
    moment[0] += timedelta(days=30)
    offsite.site.change()
    offsite.site.stored(type="full")
    offsite.push()
    moment[0] -= timedelta(days=30)
    offsite.site.change()
    last = offsite.site.stored(type="full", force=True).id
    moment[0] += timedelta(hours=2)
    outcome = offsite.push()
    assert (outcome.newest, outcome.behind_seconds) == (last, 7200)


def test_backup_that_a_prune_removes_meanwhile_is_no_failure(offsite: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large target takes a while to list."""
    offsite.push()
    old = offsite.site.ids()[-1]
    offsite.site.change()
    new = offsite.site.stored(type="full").id
    names = Rclone.names

    def slow(self: Rclone) -> dict[str, int]:
        found = names(self)
        shutil.rmtree(offsite.site.repository / old, ignore_errors=True)
        return found

    monkeypatch.setattr(Rclone, "names", slow)
    assert offsite.push().newest == new


def test_url_may_be_longer_than_the_name_of_a_file(offsite: Offsite) -> None:
    url = "/".join((offsite.server.target["url"], *["directory" * 6] * 6))
    assert offsite.push(url=url).verified


def test_backup_that_lacks_a_file_here_is_told(offsite: Offsite) -> None:
    full, incremental = offsite.site.ids()
    next((offsite.site.repository / full).glob("database*")).unlink()
    assert offsite.push().warnings == [f"not sent, since it is damaged here: {full}, {incremental}"]


@pytest.mark.parametrize("make", [lambda _path: None, processes.fifo], ids=["missing", "fifo"])
def test_rclone_does_not_wait_for_its_configuration(
    offsite: Offsite, make: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "other.conf"
    make(file)
    if file.exists():
        file.chmod(0o600)
    with pytest.raises(UsageError, match="credentials_file"):
        offsite.push(credentials_file=str(file), timeout="5s")


def test_unknown_backup_is_an_error(offsite: Offsite) -> None:
    with pytest.raises(BackupNotFoundError):
        offsite.push(backup="20200101T000000Z-full")


def test_manifest_comes_last(offsite: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[list[str]] = []
    put = Rclone.put
    monkeypatch.setattr(
        Rclone, "put", lambda self, top, names, tell: (sent.append(list(names)), put(self, top, names, tell))[1]
    )
    offsite.push()
    assert [all(name.endswith("/manifest.json") for name in names) for names in sent] == [False, True]
    assert not any(name.endswith("/manifest.json") for name in sent[0])


@pytest.mark.parametrize("place", range(4))
def test_cut_push_goes_on(offsite: Offsite, monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Whichever call to the program fails: what is there is no backup in part, and the next push ends the work."""
    calls = [0]
    run = Rclone._run

    def cut(self: Rclone, *words: object, **more: object) -> bytes:
        calls[0] += 1
        if calls[0] == place + 1:
            raise TargetUnreachableError("the cable is cut.")
        return run(self, *words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Rclone, "_run", cut)
    with pytest.raises(TargetUnreachableError, match="cable"):
        offsite.push()
    there, here = offsite.there(), offsite.here()
    assert all(here[name] == content for name, content in there.items())
    whole = {name.split("/")[0] for name in there if name.endswith("/manifest.json")}
    assert all(name in there for name in here if name.split("/")[0] in whole)
    event = offsite.site.history()[-1]
    assert (event["event"], event["outcome"], event["code"]) == ("push", "failed", 21)
    offsite.push()
    assert offsite.there() == here


def test_what_a_cut_upload_left_is_sent_again(offsite: Offsite) -> None:
    """As an older rclone leaves it where it writes a file in place."""
    name = next(each for each in offsite.here() if "database.sqlite" in each)
    part = offsite.files / name
    part.parent.mkdir(parents=True)
    part.write_bytes(offsite.here()[name][:100])
    offsite.push()
    assert offsite.there() == offsite.here()


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"], ids=["shorter", "longer"])
def test_another_file_of_the_same_name_stays(offsite: Offsite, change: object) -> None:
    """Of a backup that is whole there: the others go all the same."""
    offsite.push()
    name = next(each for each in offsite.here() if "database.sqlite" in each)
    odd = change(offsite.here()[name])  # type: ignore[operator]
    (offsite.files / name).write_bytes(odd)
    offsite.site.change()
    new = offsite.site.stored(type="full").id
    with pytest.raises(ProofFailedError, match="other content"):
        offsite.push()
    assert offsite.there()[name] == odd
    assert f"{new}/manifest.json" in offsite.there()


def test_target_that_changes_what_it_is_given_is_noticed(offsite: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    put = Rclone.put

    def spoil(self: Rclone, top: Path, names: list[str], tell: object) -> None:
        put(self, top, names, tell)  # type: ignore[arg-type]
        spoilt = offsite.files / names[0]
        spoilt.write_bytes(spoilt.read_bytes()[::-1])

    monkeypatch.setattr(Rclone, "put", spoil)
    with pytest.raises(ProofFailedError, match="not there as it was sent"):
        offsite.push()
    assert not any(name.endswith("/manifest.json") for name in offsite.there())


def test_damaged_backup_stays_and_the_others_go(offsite: Offsite) -> None:
    """With all that builds on it."""
    offsite.site.change()
    sound = offsite.site.stored(type="full").id
    image = next((offsite.site.repository / offsite.site.ids()[0]).glob("database.sqlite*"))
    image.write_bytes(image.read_bytes()[::-1])
    with pytest.raises(BackupDamagedError):
        offsite.push()
    assert {name.split("/")[0] for name in offsite.there()} == {sound}


def test_suspect_backup_stays(offsite: Offsite) -> None:
    offsite.site.corrupt()
    assert offsite.site.back_up().error is not None
    *good, suspect = offsite.site.ids()
    offsite.push()
    assert {name.split("/")[0] for name in offsite.there()} == set(good)
    assert suspect not in good


@keys.needs_age
def test_plain_backup_stays_where_encrypted_ones_are_demanded(offsite: Offsite) -> None:
    with pytest.raises(RefusedError, match="not encrypted"):
        offsite.push(require_encryption=True)
    assert offsite.there() == {}
    encryption, _keys = keys.scheme("age")
    sealed = offsite.site.stored(encryption=encryption, force=True).id
    outcome = offsite.push(require_encryption=True)
    assert {name.split("/")[0] for name in offsite.there()} == {sealed}
    assert outcome.warnings == ["not sent, since it is not encrypted as the target demands: 2 older backups"]


@keys.needs_age
def test_nothing_but_ciphertext_leaves_the_host(offsite: Offsite) -> None:
    encryption, _keys = keys.scheme("age")
    shutil.rmtree(offsite.site.repository)
    offsite.site.change(text="a sentence that nobody else may read")
    offsite.site.stored(encryption=encryption, compression="none")
    offsite.push()
    sealed = {name: content for name, content in offsite.there().items() if not name.endswith("manifest.json")}
    assert len(sealed) > 1
    assert all(content.startswith(b"age-encryption.org/v1\n") for content in sealed.values())
    assert not any(b"sentence" in content or b"CREATE TABLE" in content for content in offsite.there().values())


def test_one_push_to_a_target_at_a_time(offsite: Offsite) -> None:
    offsite.push()
    (lock,) = offsite.site.repository.glob(".locks/push-*")
    with locks.held(lock, timeout_seconds=0), pytest.raises(RepositoryLockedError):
        push.run(offsite.push_request())


def test_push_holds_what_it_sends_and_nothing_else(offsite: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup and a prune go on meanwhile; what is being read stays."""
    put = Rclone.put
    made: list[str] = []

    def meanwhile(self: Rclone, top: Path, names: list[str], tell: object) -> None:
        if not made:
            offsite.site.change()
            made.append(offsite.site.stored(type="full").id)
            policy = retention.Policy(1, 0, 0, 0, 0, 0, 0)
            kept = prune.run(prune.Request(offsite.site.repository, policy, lock_timeout_seconds=0)).kept
            assert all("in use" in each["reasons"] for each in kept[:2])
        put(self, top, names, tell)  # type: ignore[arg-type]

    monkeypatch.setattr(Rclone, "put", meanwhile)
    offsite.push()
    assert made


def test_audit_log_tells_of_a_push(offsite: Offsite) -> None:
    outcome = offsite.push()
    event = offsite.site.history()[-1]
    assert event["event"] == "push"
    assert event["target"] == offsite.push_request().target.url
    assert (event["backup"], event["backups"]) == (outcome.newest, 2)
    assert event["outcome"] == "passed"


@pytest.fixture
def write_only(site: Site, tmp_path: Path) -> Iterator[Offsite]:
    """A target as it should be for a host that may be taken over: its key can only add files."""
    if not all(map(shutil.which, ("rsync", "rrsync", "ssh"))):
        pytest.skip("rsync, rrsync or ssh is not installed")
    site.stored()
    site.change()
    site.stored()
    with servers.sshd(tmp_path, restricted="-wo -no-del -no-overwrite") as server:
        yield Offsite(site, server)


def test_push_needs_no_more_than_to_add_files(write_only: Offsite) -> None:
    outcome = write_only.push()
    assert write_only.there() == write_only.here()
    assert outcome.verified
    assert not write_only.push().changed
    write_only.site.change()
    new = write_only.site.stored().id
    assert [each["id"] for each in write_only.push().transferred] == [new]


def test_write_only_target_gives_nothing_back(write_only: Offsite) -> None:
    write_only.push()
    with pytest.raises(TargetUnreachableError, match="write-only"):
        write_only.pull()


def test_file_that_a_write_only_target_keeps_is_noticed(write_only: Offsite) -> None:
    """Its receiver passes over an overwrite in silence, with exit code 0."""
    write_only.push()
    name = next(each for each in write_only.here() if "database.sqlite" in each)
    (write_only.files / name).write_bytes(b"something else")
    with pytest.raises(ProofFailedError, match="other content"):
        write_only.push()


def test_host_with_another_key_is_not_talked_to(write_only: Offsite, tmp_path: Path) -> None:
    known = tmp_path / "known"
    other = (tmp_path / "user.pub").read_text()
    known.write_text(f"{known.read_text().split()[0]} {other}")
    with pytest.raises(TargetUnreachableError) as caught:
        write_only.push()
    assert "known_hosts" in caught.value.hint
    assert write_only.there() == {}


@processes.needs_root
@pytest.mark.parametrize("planted", ["link", "hard link", "fifo", "directory"])
def test_root_sends_nothing_of_others_for_a_hostile_owner(offsite: Offsite, planted: str, tmp_path: Path) -> None:
    """The repository belongs to a user, who puts something else in the place of an artifact."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"only root may read this")
    secret.chmod(0o600)
    repository = offsite.site.repository
    victim = next(repository.glob("*-full/database.sqlite*"))
    victim.unlink()
    make = {
        "link": lambda: victim.symlink_to(secret),
        "hard link": lambda: os.link(secret, victim),
        "fifo": lambda: os.mkfifo(victim),
        "directory": victim.mkdir,
    }
    make[planted]()
    for each in (repository, *repository.rglob("*")):
        os.lchown(each, processes.NOBODY, processes.NOBODY)
    outcome = offsite.push()
    assert outcome.transferred == []
    assert not any(b"only root" in content for content in offsite.there().values())


@processes.needs_root
def test_root_sends_a_copy_of_what_belongs_to_another(offsite: Offsite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs follow names, and its owner may change what they name at any time."""
    tops: list[Path] = []
    put = Rclone.put
    monkeypatch.setattr(
        Rclone, "put", lambda self, top, names, tell: (tops.append(top), put(self, top, names, tell))[1]
    )
    for each in (offsite.site.repository, *offsite.site.repository.rglob("*")):
        os.lchown(each, processes.NOBODY, processes.NOBODY)
    offsite.push()
    assert offsite.there() == offsite.here()
    assert tops
    assert not any(offsite.site.repository in (top, *top.parents) or top.exists() for top in tops)


@processes.needs_root
def test_root_pulls_for_another_user(offsite: Offsite) -> None:
    offsite.push()
    offsite.other.parent.mkdir()
    os.chown(offsite.other.parent, processes.NOBODY, processes.NOBODY)
    offsite.pull()
    assert offsite.here(offsite.other) == offsite.here()
    assert {each.stat().st_uid for each in offsite.other.rglob("*")} == {processes.NOBODY}
