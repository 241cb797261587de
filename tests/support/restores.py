# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup that is restored over whatever is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.workplace import workplace_of
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore
from support import databases, jobs

UNDOABLE = [each for each in jobs.OLD if each != "nothing"]


class Restores:
    """A backup with the one name "new" in ``repository``; ``dest`` is where it will be restored, alone so far."""

    def __init__(self, directory: Path) -> None:
        self.repository = directory / "repository"
        self.dest = directory / "live" / "agent.db"
        self.workplace = workplace_of(self.dest)
        self.origin = directory / "origin" / self.dest.name
        for each in (self.origin, self.dest):
            each.parent.mkdir()
        databases.make(self.origin, rows=0)
        self.backup = self.back_up(*jobs.NEW)

    def back_up(self, name: str) -> str:
        """The id of a full backup, of a database with one name more."""
        databases.add(self.origin, name)
        databases.settle(self.origin)
        done = backup.run(backup.Request(self.origin, self.repository, compression="none", type="full"))
        assert done.backup is not None
        return done.backup.id

    def put(self, old: str) -> object:
        """Let something of ``jobs.OLD`` be there; what an application finds in it."""
        jobs.OLD[old](self.dest)
        return jobs.expected(old)

    def restore(self, *, dry_run: bool = False, **options: Any) -> restore.Outcome:
        return restore.run(restore.Request(self.repository, dest=self.dest, **options), dry_run=dry_run)

    def undo(self, *, dry_run: bool = False, **options: Any) -> restore.Outcome:
        return restore.undo(restore.Request(self.repository, dest=self.dest, **options), dry_run=dry_run)

    def content(self) -> object:
        """What an application finds."""
        return jobs.content(self.dest)

    def beside(self, suffix: str) -> Path:
        return database.sidecar(self.dest, suffix)

    def undo_sets(self) -> list[Path]:
        return sorted(self.dest.parent.glob(f"{self.dest.name}.before-restore.*"))
