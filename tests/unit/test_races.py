# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user changes names while root is at work: many times a second a file is something else, in one step and back.

What a trick meets is left to chance, so each of these finds a gap only now and then; what it never finds is a promise.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, processes, tricks
from support.ground import Ground, check_roots_are_untouched

pytestmark = [pytest.mark.root, pytest.mark.slow, processes.needs_root]

SECONDS = 3.0
LINK = "theirs / 'link'"
TO_ROOTS = f"os.symlink(roots, {LINK})"
TO_SECRET = f"os.symlink(roots / 'secret', {LINK})"
TO_DATABASE = f"os.symlink(roots / 'root.db', {LINK})"
FULL = "next(repository.glob('2*Z-*'), repository)"
RACES = {
    "`.agent.db.restoring` and a link to a directory of root's": (TO_ROOTS, f"theirs / '.agent.db.restoring', {LINK}"),
    "`.agent.db.restoring/lock` and a link to a file of root's": (
        TO_SECRET,
        f"theirs / '.agent.db.restoring' / 'lock', {LINK}",
    ),
    "`agent.db` and a link to a database of root's": (TO_DATABASE, f"theirs / 'agent.db', {LINK}"),
    "`agent.db` and a fifo": (f"os.mkfifo({LINK})", f"theirs / 'agent.db', {LINK}"),
    "`agent.db-wal` and a link to a file of root's": (TO_SECRET, f"theirs / 'agent.db-wal', {LINK}"),
    "`agent.db-shm` and a link to a file of root's": (TO_SECRET, f"theirs / 'agent.db-shm', {LINK}"),
    "`.index` and a link to a directory of root's": (TO_ROOTS, f"repository / '.index', {LINK}"),
    "`.lock` and a link to a file of root's": (TO_SECRET, f"repository / '.lock', {LINK}"),
    "`history.jsonl` and a link to a file of root's": (TO_SECRET, f"repository / 'history.jsonl', {LINK}"),
    "a backup and a link to a directory of root's": (TO_ROOTS, f"{FULL}, {LINK}"),
    "the repository and a link to a directory of root's": (TO_ROOTS, f"repository, {LINK}"),
}


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    # What waits for a fifo ends with its timeout, and is to do so within the test's patience.
    monkeypatch.setattr(confined, "_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(restore, "_LOOK_SECONDS", 3.0)
    with processes.open_directory() as place:
        ground = Ground(place, repository_is_theirs=True)
        databases.make(ground.roots / "root.db")
        databases.settle(ground.roots / "root.db")
        ground.before = ground.state()
        ground.database.unlink()
        databases.make(ground.database)
        ground.give(ground.theirs)
        yield ground


@pytest.mark.parametrize("race", RACES)
def test_what_changes_places_while_root_is_at_work_leads_to_nothing_of_roots(ground: Ground, race: str) -> None:
    prepare, names = RACES[race]
    ground.play(prepare)
    end = time.monotonic() + SECONDS
    codes: list[int] = []
    with ground.playing(f"exchange({names})"):
        while time.monotonic() < end or len(codes) < len(tricks.COMMANDS):
            codes.extend(ground.run(words) for words in tricks.COMMANDS.values())
    check_roots_are_untouched(ground)
    assert set(codes) <= {0, 2, 3, 10, 11, 12, 13, 15, 17, 18, 20, 22, 23, 30, 31}
