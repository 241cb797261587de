# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whom files belong to, and that root leaves a repository to its owner."""

from __future__ import annotations

import contextlib
import errno
import getpass
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files, owners
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError, UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import prune, restore
from support import databases, limits, processes
from support.sites import Site


@pytest.fixture
def theirs() -> Iterator[Path]:
    """A directory of another user, whom root works for."""
    with processes.open_directory() as place:
        path = place / "theirs"
        path.mkdir(mode=0o700)
        os.chown(path, processes.NOBODY, processes.NOBODY)
        yield path


def strangers(directory: Path) -> list[Path]:
    """What is below ``directory`` and is not that of its owner, or open to somebody else."""
    every = [(path, path.lstat()) for path in directory.rglob("*")]
    return [path for path, status in every if status.st_uid != processes.NOBODY or status.st_mode & 0o077]


def test_ownership_is_told_by_name_and_octal_mode(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0o640)
    owner, group, mode, uid, gid = owners.ownership((tmp_path / "a").stat())
    assert (owner, mode) == (getpass.getuser(), "0640")
    assert (uid, gid) == (os.geteuid(), (tmp_path / "a").stat().st_gid)
    assert owners.numeric_owner(owner) == os.geteuid()
    assert owners.numeric_group(group) == (tmp_path / "a").stat().st_gid


@pytest.mark.root
@processes.needs_root
def test_owner_without_a_name_is_told_by_number(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    os.chown(tmp_path / "a", 4321, 8765)
    mode = stat.S_IMODE((tmp_path / "a").stat().st_mode)
    assert owners.ownership((tmp_path / "a").stat()) == ("4321", "8765", f"{mode:04o}", 4321, 8765)


@pytest.mark.parametrize("look_up", [owners.numeric_owner, owners.numeric_group])
def test_owner_and_group_may_be_numbers_or_nothing(look_up: Any) -> None:
    assert (look_up(""), look_up("4321"), look_up("root")) == (-1, 4321, 0)


@pytest.mark.parametrize("look_up", [owners.numeric_owner, owners.numeric_group])
def test_unknown_owner_is_a_usage_error(look_up: Any) -> None:
    """A misspelt owner must not become a traceback, nor silently nobody."""
    with pytest.raises(UsageError, match="'no-such-one' does not exist"):
        look_up("no-such-one")


@pytest.mark.parametrize("look_up", [owners.numeric_owner, owners.numeric_group])
@pytest.mark.parametrize("name", [str(2**32 - 1), "9" * 5000, "\u00b2", "a\0b"])
def test_number_that_no_owner_can_have_is_a_usage_error(look_up: Any, name: str) -> None:
    """The -1 of chown(2) would mean "as it is"."""
    with pytest.raises(UsageError, match="does not exist"):
        look_up(name)


@pytest.mark.parametrize("look_up", [owners.local_owner, owners.local_group])
@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("root", 4321, 0),
        ("no-such-one", 4321, 4321),
        # That is somebody else here.
        ("no-such-one", 0, None),
        ("no-such-one", None, None),
        ("no-such-one", 2**32 - 1, None),
        ("no-such-one", 2**63, None),
        ("a\0b", 4321, 4321),
        ("4321", 4321, 4321),
        ("", 4321, None),
    ],
)
def test_owner_on_another_host_is_found_by_name_and_else_by_number(
    look_up: Any, name: str, number: int | None, expected: int | None
) -> None:
    assert look_up(name, number) == expected


@pytest.mark.skipif(not hasattr(os, "fchown"), reason="Windows has no such owners")
def test_group_is_given_before_the_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has given a file away may change nothing of it any more."""
    path = tmp_path / "a"
    path.touch()
    given: list[tuple[int, int]] = []

    def change(_descriptor: int, uid: int, gid: int) -> None:
        if any(owner != -1 for owner, _group in given):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        given.append((uid, gid))

    monkeypatch.setattr(os, "fchown", change)
    owners.give(path, 4321, 8765)
    assert given == [(-1, 8765), (4321, -1)]


# --- what root creates in the directory of another user --------------------------------------------------------------


@pytest.mark.root
@processes.needs_root
def test_what_root_creates_belongs_to_the_owner_of_the_directory(theirs: Path) -> None:
    """Private from the start: the mode is the same as everywhere."""
    files.create_private(theirs / "file").close()
    os.close(files.open_private(theirs / "opened"))
    files.append_line(theirs / "log", "line")
    files.replace_private(theirs / "replaced", b"new")
    files.make_private_directory(theirs / "a" / "b")
    for path in sorted(theirs.rglob("*")):
        status = path.stat()
        assert (status.st_uid, status.st_gid) == (processes.NOBODY, processes.NOBODY), path
        assert stat.S_IMODE(status.st_mode) == (0o700 if path.is_dir() else 0o600), path
    assert len(list(theirs.rglob("*"))) == 6


@pytest.mark.root
@processes.needs_root
def test_nothing_that_was_there_is_given_away(theirs: Path) -> None:
    """Else a link in the place of a lock or a log would make any file of the host its planter's."""
    secret = theirs.parent / "secret"
    secret.write_bytes(b"of root\n")
    secret.chmod(0o600)
    before = secret.stat()
    (theirs / "lock").symlink_to(secret)
    os.link(secret, theirs / "log")
    with pytest.raises(RefusedError, match="is a link"):
        files.open_private(theirs / "lock")
    with pytest.raises(RefusedError, match="more names"):
        files.append_line(theirs / "log", "line")
    assert secret.read_bytes() == b"of root\n"
    assert (secret.stat().st_uid, secret.stat().st_mode) == (0, before.st_mode)


@pytest.mark.root
@processes.needs_root
def test_nothing_is_created_behind_a_link_of_theirs_to_a_directory_of_root(theirs: Path) -> None:
    """Whoever plants it must not own what comes to lie in /etc/cron.d."""
    roots = theirs.parent / "roots"
    roots.mkdir()
    (theirs / ".locks").symlink_to(roots, target_is_directory=True)
    os.lchown(theirs / ".locks", processes.NOBODY, processes.NOBODY)
    for create in (files.create_private, files.create_directory, files.own_directory):
        with pytest.raises(RefusedError, match="a link on the way"):
            create(theirs / ".locks" / "new")
    assert not list(roots.iterdir())


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("number", owners.CANNOT_BE_GIVEN)
def test_filesystem_without_owners_is_written_to_all_the_same(
    theirs: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "chown", refuse)
    files.write_private(theirs / "file", b"content")
    assert (theirs / "file").read_bytes() == b"content"


@pytest.mark.root
@processes.needs_root
def test_owner_goes_on_in_a_repository_that_root_worked_in(theirs: Path) -> None:
    """An administrator looks after backups as root; the scheduled runs of the application must not fail for that."""
    site = site_of_theirs(theirs)
    for _round in range(3):
        site.change(1)
        site.stored()
        assert site.verified("full") == ("passed", 0)
    prune_to(site, 2)
    assert strangers(site.repository) == []

    with limits.unprivileged():
        site.change(1)
        site.stored()
        assert site.verified("full") == ("passed", 0)
        prune_to(site, 1)
        assert site.restored() == site.settled()


def site_of_theirs(directory: Path) -> Site:
    site = Site(directory)
    site.database.chmod(0o600)
    os.chown(site.database, processes.NOBODY, processes.NOBODY)
    return site


def prune_to(site: Site, count: int) -> None:
    policy = retention.Policy(count, 0, 0, 0, 0, 0, 0)
    prune.run(prune.Request(repository=site.repository, policy=policy))


@pytest.mark.root
@processes.needs_root
def test_undo_set_of_root_belongs_to_the_application(theirs: Path) -> None:
    """It holds the application's data, and nobody else would remove it."""
    site = site_of_theirs(theirs)
    site.stored()
    databases.add(site.database, "lost")
    lost = site.settled()
    outcome = restore.run(restore.Request(repository=site.repository))
    assert strangers(Path(outcome.undo_set).parent) == []

    with limits.unprivileged():
        restore.undo(restore.Request(repository=site.repository, dest=site.database))
    assert site.settled() == lost


def of_theirs(theirs: Path) -> Path:
    """A private file of the user's, in the user's directory."""
    path = theirs / "agent.db"
    path.touch(mode=0o600)
    os.chown(path, processes.NOBODY, processes.NOBODY)
    return path


@pytest.mark.root
@processes.needs_root
def test_what_is_opened_by_name_is_opened_with_the_rights_of_its_owner(theirs: Path) -> None:
    """SQLite opens by name, and whoever owns the directory may put a link there at any instant."""
    path, secret = of_theirs(theirs), theirs.parent / "secret"
    secret.touch(mode=0o600)
    before = os.geteuid(), os.getegid(), os.getgroups()
    with owners.acting_as_owner(path):
        path.read_bytes()
        with pytest.raises(PermissionError):
            secret.read_bytes()
        with pytest.raises(PermissionError):
            (theirs.parent / "new").touch()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before
    secret.read_bytes()


@pytest.mark.root
@processes.needs_root
def test_root_stays_root_where_the_owner_may_not_come(theirs: Path) -> None:
    """As in the volumes of containers, whose directories are root's."""
    path = of_theirs(theirs)
    theirs.parent.chmod(0o700)
    with owners.acting_as_owner(path):
        assert os.geteuid() == 0
        path.read_bytes()


@pytest.mark.root
@processes.needs_root
def test_link_of_the_owner_to_where_only_root_may_go_gives_no_more_rights(theirs: Path) -> None:
    """It may be put on the way after that was looked at."""
    roots = theirs.parent / "roots"
    roots.mkdir(mode=0o700)
    (theirs / "link").symlink_to(roots)
    os.lchown(theirs / "link", processes.NOBODY, processes.NOBODY)
    with limits.unprivileged():
        assert owners._may_come(theirs / "link" / "agent.db")
        assert not owners._may_come(roots / "agent.db")


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("rights", [contextlib.nullcontext, limits.unprivileged])
def test_directory_is_closed_to_others_by_its_owner_and_by_root(theirs: Path, rights: Any) -> None:
    theirs.chmod(0o755)
    with rights():
        owners.make_private(theirs)
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o700


@pytest.mark.root
@processes.needs_root
def test_rights_of_root_come_back_after_a_failure(theirs: Path) -> None:
    path = of_theirs(theirs)
    with pytest.raises(RefusedError), owners.acting_as_owner(path):
        raise RefusedError("refused")
    assert os.geteuid() == 0


@pytest.mark.root
@processes.needs_root
def test_mode_in_a_repository_of_another_user_opens_no_file_of_roots(theirs: Path) -> None:
    """Root believes no owner there; then what that owner let others do is worth as little."""
    site = site_of_theirs(theirs)
    site.database.chmod(0o666)
    site.stored()
    site.database.unlink()
    assert restore.run(restore.Request(repository=site.repository)).warnings == []
    status = site.database.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (processes.NOBODY, processes.NOBODY, 0o666)

    (theirs.parent / "of-root").mkdir()
    dest = theirs.parent / "of-root" / "agent.db"
    outcome = restore.run(restore.Request(repository=site.repository, dest=dest))
    status = dest.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (0, 0o600)
    assert "could not be given to" in outcome.warnings[0]


# --- what SQLite opens by name in a directory of others ---------------------------------------------------------------


@pytest.mark.root
@processes.needs_root
def test_root_has_the_rights_of_the_owner_of_the_directory(theirs: Path) -> None:
    """Also for a file of root's that the user moved there: its owner says nothing of who changes its name."""
    path, secret = theirs / "roots", theirs.parent / "secret"
    for each in (path, secret):
        each.touch(mode=0o600)
    before = os.geteuid(), os.getegid(), os.getgroups()
    with owners.acting_in(theirs) as harmless:
        assert harmless
        assert os.geteuid() == processes.NOBODY
        for each in (path, secret):
            with pytest.raises(PermissionError):
                each.read_bytes()
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


@pytest.mark.root
@processes.needs_root
def test_root_stays_root_where_only_root_changes_names(tmp_path: Path) -> None:
    with owners.acting_in(tmp_path) as harmless:
        assert (harmless, os.geteuid()) == (True, 0)


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("why", ["a directory of root's in it", "a closed one above", "a group may change it"])
def test_it_is_said_where_the_rights_of_the_owner_cannot_be_had(theirs: Path, why: str) -> None:
    path = theirs
    if why == "a directory of root's in it":
        path = theirs / "roots"
        path.mkdir()
    elif why == "a closed one above":
        theirs.parent.chmod(0o700)
    else:
        os.chown(theirs, 0, processes.NOBODY)
        theirs.chmod(0o775)
    with owners.acting_in(path) as harmless:
        assert (harmless, os.geteuid()) == (False, 0)


def test_who_is_not_root_is_that_user_everywhere(tmp_path: Path) -> None:
    with limits.unprivileged():
        before = os.geteuid() if hasattr(os, "geteuid") else 0
        with owners.acting_in(tmp_path) as harmless:
            assert harmless
            assert (os.geteuid() if hasattr(os, "geteuid") else 0) == before
