# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host brings with it: filesystems, known bugs of its SQLite, and how far its clock can be trusted."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime, timezone
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
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")
# systemd-timesyncd makes this directory when it starts and the file when it has set the clock once:
# https://www.freedesktop.org/software/systemd/man/latest/systemd-timesyncd.service.html
_TIME_SYNC = Path("/run/systemd/timesync")
_TIME_SYNC_NAME = "synchronized"
# This was written later; an earlier clock is that of a machine that does not know the time.
WRITTEN = datetime(2025, 1, 1, tzinfo=timezone.utc)

Version = tuple[int, ...]


@dataclass(frozen=True)
class Bug:
    """A bug of SQLite that corrupts databases, in the versions from ``first`` on and before ``fixed``.

    ``also_fixed`` are the first fixed versions of older branches, such as 3.44.6 for all 3.44.x from it on.
    """

    what: str
    first: Version
    fixed: Version
    also_fixed: tuple[Version, ...] = ()
    only_wal: bool = False

    def is_in(self, version: Version) -> bool:
        backported = any(version[:2] == branch[:2] and version >= branch for branch in self.also_fixed)
        return self.first <= version < self.fixed and not backported


# Only what a Python 3.9 or newer may meet, and what an application can do without asking for it. Versions are those of
# https://www.sqlite.org/changes.html, backports those of the page that is named.
BUGS = (
    # https://www.sqlite.org/wal.html#walresetbug
    Bug(
        "a checkpoint may skip commits when another connection begins the write-ahead log anew meanwhile",
        first=(3, 7, 0),
        fixed=(3, 51, 3),
        also_fixed=((3, 44, 6), (3, 50, 7)),
        only_wal=True,
    ),
    # https://www.sqlite.org/changes.html#version_3_45_2
    Bug("an UPSERT may leave an index out of step with its table", first=(3, 35, 0), fixed=(3, 45, 2)),
    # https://www.sqlite.org/changes.html#version_3_37_2
    Bug("ROLLBACK TO a savepoint with temp_store=MEMORY may corrupt the database", first=(3, 35, 0), fixed=(3, 37, 2)),
    # https://www.sqlite.org/changes.html#version_3_35_5
    Bug("ALTER TABLE DROP COLUMN may corrupt the database", first=(3, 35, 0), fixed=(3, 35, 5)),
)


def bugs_in(version: Version, *, wal: bool) -> list[str]:
    """The bugs that this version of SQLite has by its number; a distribution may have fixed one without changing it."""
    return [bug.what for bug in BUGS if bug.is_in(version) and (wal or not bug.only_wal)]


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


def clock_is_set() -> bool | None:
    """Whether the clock was set from the network since the start; None when nobody here tells."""
    if not _TIME_SYNC.is_dir():
        return None
    return (_TIME_SYNC / _TIME_SYNC_NAME).exists()
