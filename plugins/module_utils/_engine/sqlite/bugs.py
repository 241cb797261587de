# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bugs of SQLite that corrupt databases, by its version."""

from __future__ import annotations

from dataclasses import dataclass

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
