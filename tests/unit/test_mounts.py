# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filesystems, by their mounts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import mounts
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
    found = mounts.filesystem_of(Path(path), FAKE_MOUNTS)

    assert (found, mounts.is_network(found), mounts.is_volatile(found)) == (filesystem, network, volatile)


def test_filesystem_of_a_path_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/srv/app")

    assert mounts.filesystem_of(tmp_path / "link" / "agent.db", FAKE_MOUNTS) == "nfs4"


def test_filesystem_is_unknown_without_mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mounts, "_MOUNTS", tmp_path / "missing")

    assert mounts.filesystem_of(tmp_path) == mounts.filesystem_of(tmp_path, "") == mounts.UNKNOWN


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/mountinfo")
def test_real_filesystems() -> None:
    told = subprocess.run(["stat", "-f", "-c", "%T", "/proc"], stdout=subprocess.PIPE, check=True).stdout
    assert mounts.filesystem_of(Path("/proc/1/stat")) == told.decode().strip() == "proc"
    with processes.small_disk(1 << 20) as disk:
        assert mounts.filesystem_of(disk / "not" / "yet") == "tmpfs"
