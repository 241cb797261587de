# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that is gone does not begin anew: its disk may only not be mounted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support import manifests, processes
from support.hosts import Host


@pytest.fixture
def host(host: Host) -> Host:
    """A host with one backup."""
    assert host.run("backup", "agent").code == 0
    return host


def unmount(host: Host) -> Path:
    """What an operator finds when the disk below is not mounted; where the repository is then."""
    away = host.repository().rename(host.directory / "not mounted")
    host.repository().mkdir()
    return away


def test_repository_that_is_gone_does_not_begin_anew(host: Host) -> None:
    away = unmount(host)
    host.change()
    said = host.run("backup", "agent")
    assert said.code == 23
    assert "mounted" in said.err
    assert not list(host.repository().iterdir())
    assert host.run("status", "agent").code == 23
    assert "same repository" in host.run("doctor", "agent").out
    host.repository().rmdir()
    away.rename(host.repository())
    assert host.run("backup", "agent", "--no-prune").code == 0
    assert host.run("status", "agent").code == 0
    assert len(host.ids()) == 2


@pytest.mark.parametrize("words", [("list",), ("verify",), ("restore",), ("prune",), ("pin", "--backup", "latest")])
def test_no_command_advises_a_new_repository_in_place_of_one_that_is_gone(host: Host, words: tuple[str, ...]) -> None:
    """Least of all a restore: who makes a backup first has backed up what is lost."""
    unmount(host)
    said = host.run(words[0], "agent", *words[1:])
    assert said.code == 23
    assert "mounted" in said.err
    assert "make a backup" not in said.err


def test_new_repository_begins_when_somebody_says_so(host: Host) -> None:
    unmount(host)
    (host.config / "seen.d" / "agent.json").unlink()
    assert host.run("backup", "agent").code == 0


def test_other_repository_in_its_place_is_refused(host: Host) -> None:
    """As when the wrong disk is mounted there."""
    description = host.repository() / "repository.json"
    content = json.loads(description.read_text())
    description.write_bytes(manifests.sealed({**content, "id": "ab" * 16}))
    host.change()
    assert host.run("backup", "agent").code == 18
    description.write_bytes(manifests.sealed(content))
    assert len(host.ids()) == 1


def test_other_repository_of_an_earlier_version_is_told_by_when_it_was_made(host: Host) -> None:
    description = host.repository() / "repository.json"
    note = host.config / "seen.d" / "agent.json"
    note.write_text(json.dumps({key: value for key, value in json.loads(note.read_text()).items() if key != "id"}))
    content = json.loads(description.read_text())
    older = {key: content[key] for key in ("format", "name", "source")}
    description.write_text(json.dumps({**older, "created": "2001-01-01T00:00:00Z"}))
    assert host.run("backup", "agent").code == 18
    description.write_text(json.dumps({**older, "created": content["created"]}))
    assert host.run("status", "agent").code == 0


@pytest.mark.parametrize("content", [b"{", None])
def test_repository_whose_description_is_damaged_or_missing_is_the_same(host: Host, content: bytes | None) -> None:
    """When it was made is then told by its oldest backup only."""
    description = host.repository() / "repository.json"
    description.unlink()
    if content is not None:
        description.write_bytes(content)
    assert host.run("status", "agent").code == 3
    assert host.run("list", "agent").code == 0
    assert host.run("backup", "agent", "--dry-run").code == 0
    said = host.run("backup", "agent")
    assert (said.code, "is written anew" in said.err) == (0, True)
    assert host.run("backup", "agent").code == 0


def test_repository_that_moves_by_configuration_begins_anew(host: Host) -> None:
    host.add("agent", repository=str(host.directory / "elsewhere"))
    assert host.run("backup", "agent").code == 0
    assert host.run("status", "agent").code == 0


def test_check_mode_writes_nothing_down(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    host = Host(tmp_path, capfd)
    assert host.run("backup", "agent", "--dry-run").code == 0
    assert not (host.config / "seen.d").exists()


def test_what_cannot_be_written_down_is_a_warning(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The backup is stored by then."""
    host = Host(tmp_path, capfd)
    (host.config / "seen.d").write_text("in the way")
    said = host.run("backup", "agent")
    assert (said.code, len(host.ids())) == (0, 1)
    assert "warning" in said.err
    assert "which repository is used" in said.err


@pytest.mark.parametrize("damaged", [b"", b"[]", b"\xff", b"{"])
def test_damaged_note_tells_nothing_and_is_written_anew(host: Host, damaged: bytes) -> None:
    path = host.config / "seen.d" / "agent.json"
    before = path.read_bytes()
    path.write_bytes(damaged)
    assert host.run("backup", "agent").code == 0
    assert path.read_bytes() == before
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.root
@processes.needs_root
@pytest.mark.slow
def test_mount_point_without_its_disk_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The real thing: a filesystem that goes away."""
    host = Host(tmp_path, capfd)
    with processes.small_disk(8 * 1024 * 1024) as disk:
        host.add("agent", repository=str(disk / "agent"))
        assert host.run("backup", "agent").code == 0
    Path(disk).mkdir(parents=True, exist_ok=True)
    try:
        assert host.run("backup", "agent").code == 23
        assert not list(disk.iterdir())
    finally:
        disk.rmdir()
