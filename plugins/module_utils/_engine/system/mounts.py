# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What filesystem a path is on, and what that means for a database or a repository."""

from __future__ import annotations

import os
import re
from pathlib import Path

UNKNOWN = "unknown"
# On all of them locks, and the shared memory of WAL mode, do not work as on a disk of this host, or only sometimes:
# https://www.sqlite.org/useovernet.html
_NETWORK = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs", "vboxsf"),
    *("fuse.ceph", "fuse.curlftpfs", "fuse.davfs2", "fuse.gcsfuse", "fuse.glusterfs", "fuse.gvfsd-fuse"),
    *("fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
}
_VOLATILE = {"devtmpfs", "ramfs", "tmpfs"}
# What the kernel makes up as it is read.
_MADE_UP = {
    *("binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "efivarfs", "fusectl", "hugetlbfs"),
    *("mqueue", "nsfs", "proc", "pstore", "rpc_pipefs", "securityfs", "selinuxfs", "sysfs", "tracefs"),
}
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


def filesystem_of(path: Path, mounts: str | None = None) -> str:
    """The type of the filesystem that ``path`` is on, or would be; ``UNKNOWN`` where no Linux tells.

    ``mounts`` has the format of /proc/self/mountinfo, which is that of this process when it is None
    (https://www.man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html).
    """
    if mounts is None:
        try:
            mounts = os.fsdecode(_MOUNTS.read_bytes())
        except OSError:
            return UNKNOWN
    found, length = UNKNOWN, -1
    wanted = Path(os.path.realpath(path))
    for line in mounts.splitlines():
        before, _separator, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) < 5 or not after:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[4]))
        # Of two mounts at one place the later one is seen.
        if (point == wanted or point in wanted.parents) and len(point.parts) >= length:
            found, length = after.split(" ")[0], len(point.parts)
    return found


def is_network(filesystem: str) -> bool:
    return filesystem in _NETWORK


def is_volatile(filesystem: str) -> bool:
    """Whether what is there is gone after a restart."""
    return filesystem in _VOLATILE


def is_lasting(filesystem: str) -> bool:
    """Whether files there may be those of somebody, and still there after a restart."""
    return filesystem not in _VOLATILE | _MADE_UP
