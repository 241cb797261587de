# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every transport promises, asked of each of them with a real server behind it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    ProgramMissingError,
    TargetUnreachableError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address, target
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets.transport import Transport
from support import servers
from support.servers import Server

pytestmark = pytest.mark.thorough

NAMES = ["a/manifest.json", "a/database.sqlite.zst", "b/files/notes and more.txt"]


KINDS = {"ssh": servers.sshd, "s3": servers.s3, "file": servers.mounted, "rclone": servers.remote}
NEEDS = {"ssh": ("rsync", "ssh"), "s3": ("rclone",), "file": ("rsync",), "rclone": ("rclone",)}


# With the rclone of the distribution, which hosts have, and with a new one.
@pytest.fixture(params=["ssh", "file", "s3", "s3 by an older rclone", "rclone", "rclone by an older rclone"])
def server(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    kind, _by, older = request.param.partition(" by ")
    if kind in ("s3", "rclone"):
        servers.use_rclone(monkeypatch, of_the_system=bool(older))
    for program in NEEDS[kind]:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    with KINDS[kind](tmp_path) as found:
        yield found


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with what is to be sent."""
    for name in NAMES:
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text(f"content of {name}\n")
    return tmp_path / "top"


def opened(server: Server) -> Transport:
    return target.at(address.requested(server.options()))


def put(server: Server, top: Path, *names: str) -> None:
    opened(server).put(top, list(names or NAMES), lambda _bytes: None)


def test_nothing_is_there_at_first(server: Server, top: Path) -> None:
    there = opened(server)
    assert there.names() == {}
    found = there.compare(top, NAMES)
    assert (found.missing, found.different) == (set(NAMES), set())


def test_what_was_put_is_listed(server: Server, top: Path) -> None:
    put(server, top)
    assert opened(server).names() == {name: (top / name).stat().st_size for name in NAMES}
    assert all((server.files / name).read_bytes() == (top / name).read_bytes() for name in NAMES)


@pytest.mark.parametrize("digests", [False, True])
def test_what_was_put_is_the_same(server: Server, top: Path, digests: bool) -> None:
    put(server, top)
    found = opened(server).compare(top, NAMES, digests=digests)
    assert (found.missing, found.different, found.unknown) == (set(), set(), set())


@pytest.mark.parametrize("digests", [False, True])
def test_another_size_is_seen(server: Server, top: Path, digests: bool) -> None:
    put(server, top)
    (top / NAMES[1]).write_text("longer than what was there before, much longer\n")
    (top / "new").write_text("new\n")
    found = opened(server).compare(top, [*NAMES, "new"], digests=digests)
    assert (found.missing, found.different) == ({"new"}, {NAMES[1]})


def test_another_byte_is_seen(server: Server, top: Path) -> None:
    put(server, top)
    there = server.files / NAMES[1]
    there.write_bytes(there.read_bytes().swapcase())
    assert opened(server).compare(top, NAMES).different == set()
    assert opened(server).compare(top, NAMES, digests=True).different == {NAMES[1]}


def test_nothing_is_overwritten(server: Server, top: Path) -> None:
    put(server, top, NAMES[0])
    before = (server.files / NAMES[0]).read_bytes()
    (top / NAMES[0]).write_text("something else\n")
    put(server, top)
    assert (server.files / NAMES[0]).read_bytes() == before
    assert set(opened(server).names()) == set(NAMES)


def test_get_brings_only_what_is_asked_for(server: Server, top: Path, tmp_path: Path) -> None:
    put(server, top)
    into = tmp_path / "into"
    into.mkdir()
    opened(server).get(NAMES[1:], into, lambda: None)
    assert sorted(each.relative_to(into).as_posix() for each in into.rglob("*") if each.is_file()) == NAMES[1:]
    assert all((into / name).read_bytes() == (top / name).read_bytes() for name in NAMES[1:])


def test_get_ends_when_its_watch_says_so(server: Server, top: Path, tmp_path: Path) -> None:
    put(server, top)
    into = tmp_path / "into"
    into.mkdir()

    def watch() -> None:
        raise BackupDamagedError("too much.")

    with pytest.raises(BackupDamagedError, match="too much"):
        opened(server).get(NAMES, into, watch)


def test_removed_is_gone_and_the_rest_stays(server: Server, top: Path) -> None:
    put(server, top)
    opened(server).remove([NAMES[0]])
    assert set(opened(server).names()) == set(NAMES[1:])
    opened(server).remove([NAMES[1]])
    assert set(opened(server).names()) == {NAMES[2]}


@pytest.mark.parametrize(
    "name", ["x exists", "x exists (sum change)", "<f+++++++++ x", r"back\#012slash", " blank ", "*[a]?", "-x", "ä"]
)
def test_whatever_a_file_is_called(server: Server, top: Path, tmp_path: Path, name: str) -> None:
    """What programs print of it is not taken for more than its name."""
    odd = f"a/files/{name}"
    (top / "a" / "files").mkdir()
    (top / odd).write_text("odd\n")
    there = opened(server)
    assert there.compare(top, [*NAMES, odd]).missing == {*NAMES, odd}
    put(server, top, *NAMES, odd)
    found = opened(server).compare(top, [*NAMES, odd], digests=True)
    assert (found.missing, found.different, found.unknown) == (set(), set(), set())
    assert opened(server).names().get(odd) == 4
    (tmp_path / "into").mkdir()
    opened(server).get([odd], tmp_path / "into", lambda: None)
    assert (tmp_path / "into" / odd).read_text() == "odd\n"
    opened(server).remove([odd])
    assert set(opened(server).names()) == set(NAMES)


@pytest.mark.parametrize("name", ["line\nfeed", "return\r", "escape\x1b[2J", "no UTF-8 \udcff"])
def test_name_that_cannot_be_carried_is_refused(server: Server, top: Path, name: str) -> None:
    """Before anything is sent, where a program would take it for another one."""
    (top / name).write_text("odd\n")
    if server.target["url"].startswith(("ssh", "file")):
        put(server, top, *NAMES, name)
        assert set(opened(server).names()) == {*NAMES, name}
        return
    with pytest.raises(UsageError, match="cannot be copied"):
        put(server, top, *NAMES, name)
    assert opened(server).names() == {}


def test_others_cannot_read_what_was_put(server: Server, top: Path) -> None:
    if not server.target["url"].startswith(("ssh", "file")):
        pytest.skip("an object store has no modes")
    (top / NAMES[1]).chmod(0o644)
    put(server, top)
    assert [oct((server.files / name).stat().st_mode & 0o777) for name in NAMES] == [oct(0o600)] * len(NAMES)


def test_a_missing_program_is_named(server: Server, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ProgramMissingError, match=r"(rsync|rclone) is not installed"):
        opened(server).names()


def test_a_deadline_ends_it(server: Server, top: Path) -> None:
    there = target.at(dataclasses.replace(address.requested(server.options()), timeout_seconds=0.0))
    with pytest.raises(TargetUnreachableError, match="timeout"):
        there.put(top, NAMES, lambda _bytes: None)


@pytest.mark.parametrize("scheme", ["s3", "gs", "azblob"])
def test_rclone_makes_no_bucket(scheme: str) -> None:
    """A mistyped one would be made, and a key that may not do so would be refused."""
    there = target.at(address.requested({**servers.defaults(), "url": f"{scheme}://backups/host"}))
    wanted = "CONTAINER" if scheme == "azblob" else "BUCKET"
    assert there._environment[f"RCLONE_CONFIG_TARGET_NO_CHECK_{wanted}"] == "true"


@pytest.mark.thorough
def test_progress_and_a_limit_are_kept(server: Server, top: Path) -> None:
    """As many bytes a second as allowed, and a word of it meanwhile."""
    (top / "large").write_bytes(os.urandom(3 * 1024 * 1024))
    there = target.at(address.requested(server.options(bandwidth="1M")))
    told: list[int] = []
    began = time.monotonic()
    there.put(top, ["large"], told.append)
    assert time.monotonic() - began > 1.5
    assert told
    assert told == sorted(told)
    assert told[-1] <= 3 * 1024 * 1024 + 4096
