# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From names to descriptors: what is no regular file is refused, and root is led nowhere by the links of a user."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import places
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError
from support import limits, processes

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there are no such links and fifos")
_NEW_USERS = 0x10000000
WITHOUT_PATHS = 0
"""Where the system cannot open a link itself, as on macOS."""


@pytest.fixture(params=[places._OPENS_LINKS, WITHOUT_PATHS])
def opens_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(places, "_OPENS_LINKS", request.param)
    return bool(request.param)


@pytest.fixture
def ground() -> Iterator[Path]:
    """The directory ``theirs`` of a user, and ``roots``, both with a file ``a``."""
    with processes.open_directory() as place:
        for name, owner in (("theirs", processes.NOBODY), ("roots", 0)):
            (place / name).mkdir()
            (place / name / "a").write_bytes(name.encode())
            for each in (place / name, place / name / "a"):
                os.chown(each, owner, owner)
        yield place


def link(path: Path, target: str, owner: int = processes.NOBODY) -> Path:
    path.symlink_to(target)
    os.lchown(path, owner, owner)
    return path


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "second name", "fifo", "directory"])
def test_what_is_no_regular_file_of_its_own_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "a", tmp_path / "other"
    other.write_bytes(b"content")
    {
        "link": lambda: path.symlink_to(other),
        "second name": lambda: os.link(other, path),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    for flags in (os.O_RDONLY, os.O_RDWR):
        with (
            limits.within(10),
            pytest.raises(RefusedError, match=f"Cannot use {re.escape(str(path))}: it is a link, or not a regular"),
        ):
            os.close(places.open_regular(path, flags))
    if kind == "second name":
        with places.reading(path, alone=False) as file:
            assert file.read() == b"content"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only /proc tells which files are open")
def test_nothing_that_is_refused_stays_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    before = open_descriptors()
    with pytest.raises(RefusedError):
        places.open_regular(tmp_path / "a")
    with places.directory(tmp_path / "." / ".."), pytest.raises(FileNotFoundError):
        places.open_regular(tmp_path / "missing" / "a")
    assert open_descriptors() == before


def test_missing_file_is_named_with_its_directory(tmp_path: Path) -> None:
    """It is opened by its last name alone."""
    with pytest.raises(FileNotFoundError) as caught:
        places.open_regular(tmp_path / "a")
    assert caught.value.filename == str(tmp_path / "a")


def test_small_file_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert places.read_bytes(tmp_path / "a", limit_bytes=5) == b"12345"
    with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
        places.read_bytes(tmp_path / "a", limit_bytes=4)


# --- directories -----------------------------------------------------------------------------------------------------


def test_links_and_what_is_no_file_are_not_listed(tmp_path: Path) -> None:
    for each in (tmp_path / "top" / "deep", tmp_path / "other"):
        each.mkdir(parents=True)
        (each / "a").touch()
    (tmp_path / "top" / "link").symlink_to(tmp_path / "other" / "a")
    (tmp_path / "top" / "directory").symlink_to(tmp_path / "other")
    os.mkfifo(tmp_path / "top" / "fifo")
    assert places.regular_files(tmp_path / "top") == [tmp_path / "top" / "deep" / "a"]


@pytest.mark.parametrize("depth", [200, 201])
def test_directories_in_one_another_are_listed_to_a_depth(tmp_path: Path, depth: int) -> None:
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _each in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("a").touch()
    finally:
        os.chdir(here)
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)) if depth == 201 else contextlib.nullcontext():
        assert len(places.regular_files(tmp_path)) == 1


def test_link_to_a_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    assert places.is_directory(tmp_path)
    assert not any(places.is_directory(tmp_path / name) for name in ("link", "file", "missing"))


# --- the links of a user ---------------------------------------------------------------------------------------------


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("target", ["../theirs", "../theirs/..//./theirs", "{place}/theirs", "again"])
def test_link_of_a_user_to_what_is_that_users_is_followed(ground: Path, target: str) -> None:
    link(ground / "theirs" / "again", "../theirs")
    link(ground / "theirs" / "link", target.format(place=ground))
    assert places.resolved(ground / "theirs" / "link" / "a") == ground / "theirs" / "a"
    assert places.names(ground / "theirs" / "link") == places.names(ground / "theirs")
    with places.reading(ground / "theirs" / "link" / "a") as file:
        assert file.read() == b"theirs"


@pytest.mark.root
@processes.needs_root
def test_link_of_roots_is_followed_to_what_is_a_users(ground: Path) -> None:
    link(ground / "roots" / "link", "../theirs", 0)
    assert places.resolved(ground / "roots" / "link" / "a") == ground / "theirs" / "a"


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize("owner", [processes.NOBODY, 0])
@pytest.mark.parametrize("name", ["a", "missing"])
def test_only_roots_own_link_leads_root_to_what_is_roots(ground: Path, owner: int, name: str) -> None:
    """The last link counts as those on the way do, and what is not there yet as the directory that it would be in."""
    path = link(ground / "theirs" / "link", "../roots", owner) / name
    refused = pytest.raises(
        RefusedError, match=f"Cannot use {re.escape(str(ground))}.*: a link on the way belongs to a user"
    )
    with refused if owner else contextlib.nullcontext():
        assert places.resolved(path) == ground / "roots" / name
    with refused if owner else contextlib.nullcontext(), places.at(path) as (last, here):
        assert (last, here is None) == (name, False)


@pytest.mark.root
@processes.needs_root
def test_link_of_a_user_that_is_the_last_name_is_not_followed_to_what_is_roots(ground: Path) -> None:
    path = link(ground / "theirs" / "link", "../roots/a")
    with pytest.raises(RefusedError, match="a link on the way belongs to a user"):
        places.resolved(path)


@pytest.mark.root
@processes.needs_root
def test_links_that_lead_to_each_other_come_to_an_end(ground: Path) -> None:
    link(ground / "theirs" / "first", "second")
    link(ground / "theirs" / "second", "first")
    with limits.within(10), pytest.raises(RefusedError, match="a link on the way belongs to a user"):
        places.resolved(ground / "theirs" / "first" / "a")


@pytest.mark.root
@processes.needs_root
def test_fifo_on_the_way_is_not_waited_for(ground: Path, opens_links: bool) -> None:
    os.mkfifo(ground / "theirs" / "fifo")
    with limits.within(10), pytest.raises(NotADirectoryError) as caught:
        places.names(ground / "theirs" / "fifo" / "deep")
    assert caught.value.filename == str(ground / "theirs" / "fifo" / "deep")


@pytest.mark.root
@processes.needs_root
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only /proc tells which files are open")
def test_walk_leaves_nothing_open(ground: Path, opens_links: bool) -> None:
    link(ground / "theirs" / "link", f"{ground}/theirs/../theirs")
    link(ground / "theirs" / "astray", "../roots")
    before = open_descriptors()
    for name, failure in (("link", None), ("astray", RefusedError), ("missing", FileNotFoundError)):
        if name == "link" and not opens_links:
            # Linux without it follows none.
            continue
        with pytest.raises((RefusedError, OSError)) if failure else contextlib.nullcontext():
            with places.directory(ground / "theirs" / name) as known:
                assert known is not None
                assert stat.S_ISDIR(os.fstat(known).st_mode)
                assert open_descriptors() == before + 1
    assert open_descriptors() == before


def made(path: Path, owner: int = 0, mode: int = 0o755) -> Path:
    """A directory."""
    path.mkdir()
    os.chown(path, owner, 0)
    path.chmod(mode)
    return path


@pytest.mark.root
@processes.needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "expected"),
    [
        (0, 0o755, False),
        (0, 0o1777, False),
        (0, 0o775, True),
        (0, 0o757, True),
        (processes.NOBODY, 0o700, True),
        # Its owner can change it all the same.
        (processes.NOBODY, 0o1777, True),
    ],
)
@pytest.mark.parametrize("below", [False, True])
def test_directory_is_of_others_when_they_can_change_it_or_one_above(
    owner: int, mode: int, expected: bool, below: bool
) -> None:
    """Whoever can change one above puts any other in its place."""
    with processes.open_directory() as top:
        path = made(top / "a", owner, mode)
        path = made(path / "b") if below else path
        status = places.if_of_others(path)
        assert (status is not None) == expected
        assert status is None or os.path.samestat(status, path.stat())


@pytest.mark.root
@processes.needs_root
def test_directory_behind_the_links_of_a_user_is_of_others(ground: Path) -> None:
    assert places.if_of_others(link(ground / "theirs" / "link", ".")) is not None
    with pytest.raises(RefusedError):
        places.if_of_others(link(ground / "theirs" / "astray", "../roots"))
    with pytest.raises(FileNotFoundError):
        places.if_of_others(ground / "theirs" / "missing")


@pytest.mark.root
@processes.needs_root
def test_who_is_not_root_needs_no_such_look(ground: Path) -> None:
    with limits.unprivileged():
        assert places.if_of_others(ground / "theirs") is None


@pytest.mark.root
@processes.needs_root
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has namespaces of users")
def test_where_the_host_has_no_root_its_directories_are_nobodys_and_not_of_others(ground: Path) -> None:
    """As in a namespace of users that root of the host is not in: what is root's is nobody's there, and so is /."""
    unshared, mapped = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        code = 2
        with contextlib.suppress(BaseException):
            if ctypes.CDLL(None).unshare(_NEW_USERS) == 0:
                os.write(unshared[1], b".")
                os.read(mapped[0], 1)
                os.setuid(0)
                code = int(places.if_of_others(ground) is not None)
        os._exit(code)
    os.close(unshared[1])
    if os.read(unshared[0], 1):
        Path(f"/proc/{child}/uid_map").write_text("0 12345 1\n")
        os.write(mapped[1], b".")
    for each in (unshared[0], *mapped):
        os.close(each)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 2:
        pytest.skip("no such namespace can be made here")
    assert code == 0
