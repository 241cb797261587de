# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host brings with it: bugs by their versions, filesystems by their mounts, the clock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import host
from support import processes

# Made up, in the format of Linux: no real NFS can be had in a test.
FAKE_MOUNTS = r"""
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 27 0:40 / /srv rw,relatime shared:7 master:2 - nfs4 server:/export rw,vers=4.2
41 40 254:1 / /srv/local\040disk rw - xfs /dev/vdb rw
42 27 0:42 / /run rw - tmpfs tmpfs rw
43 27 0:43 / /mnt rw - ext4 /dev/vdc rw
44 43 0:44 / /mnt rw - fuse.sshfs user@server:/ rw
45 27 0:45 / /back\134slash rw - cifs //server/share rw
a line that is none
"""

WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN = (bug.what for bug in host.BUGS)


@pytest.mark.parametrize(
    ("version", "bugs"),
    [
        ((3, 6, 23), []),
        ((3, 7, 0), [WAL_RESET]),
        ((3, 34, 1), [WAL_RESET]),
        ((3, 35, 0), [WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN]),
        ((3, 35, 4), [WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN]),
        ((3, 35, 5), [WAL_RESET, UPSERT, SAVEPOINT]),
        ((3, 37, 1), [WAL_RESET, UPSERT, SAVEPOINT]),
        ((3, 37, 2), [WAL_RESET, UPSERT]),
        ((3, 44, 5), [WAL_RESET, UPSERT]),
        ((3, 44, 6), [UPSERT]),
        ((3, 45, 1), [WAL_RESET, UPSERT]),
        ((3, 45, 2), [WAL_RESET]),
        ((3, 50, 6), [WAL_RESET]),
        ((3, 50, 7), []),
        ((3, 51, 0), [WAL_RESET]),
        ((3, 51, 2), [WAL_RESET]),
        ((3, 51, 3), []),
        ((3, 53, 0), []),
    ],
)
def test_bugs_by_version(version: tuple[int, ...], bugs: list[str]) -> None:
    assert host.bugs_in(version, wal=True) == bugs
    assert host.bugs_in(version, wal=False) == [each for each in bugs if each != WAL_RESET]


@pytest.mark.parametrize(
    ("path", "filesystem", "network", "volatile"),
    [
        ("/", "ext4", False, False),
        ("/var/backups", "ext4", False, False),
        ("/srv", "nfs4", True, False),
        ("/srv/app/agent.db", "nfs4", True, False),
        ("/srvice/agent.db", "ext4", False, False),
        ("/srv/local disk/agent.db", "xfs", False, False),
        ("/srv/local", "nfs4", True, False),
        ("/run/backups", "tmpfs", False, True),
        ("/mnt/agent.db", "fuse.sshfs", True, False),
        ("/back\\slash/agent.db", "cifs", True, False),
    ],
)
def test_filesystem_by_fake_mounts(path: str, filesystem: str, network: bool, volatile: bool) -> None:
    found = host.filesystem_of(Path(path), FAKE_MOUNTS)

    assert (found, host.is_network(found), host.is_volatile(found)) == (filesystem, network, volatile)


def test_filesystem_of_a_path_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/app")

    assert host.filesystem_of(tmp_path / "link" / "agent.db", FAKE_MOUNTS) == "nfs4"


def test_filesystem_is_unknown_without_mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(host, "_MOUNTS", tmp_path / "missing")

    assert host.filesystem_of(tmp_path) == host.filesystem_of(tmp_path, "") == host.UNKNOWN


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/mountinfo")
def test_real_filesystems() -> None:
    told = subprocess.run(["stat", "-f", "-c", "%T", "/proc"], stdout=subprocess.PIPE, check=True).stdout
    assert host.filesystem_of(Path("/proc/1/stat")) == told.decode().strip() == "proc"
    with processes.small_disk(1 << 20) as disk:
        assert host.filesystem_of(disk / "not" / "yet") == "tmpfs"


def test_whether_the_clock_is_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    directory = tmp_path / "timesync"
    monkeypatch.setattr(host, "_TIME_SYNC", directory)
    assert host.clock_is_set() is None
    directory.mkdir()
    assert host.clock_is_set() is False
    (directory / "synchronized").touch()
    assert host.clock_is_set() is True
