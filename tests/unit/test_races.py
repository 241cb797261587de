# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user changes names while root is at work: many times a second a file is something else, in one step and back.

What a trick meets is left to chance, so each of these finds a gap only now and then; what it never finds is a promise.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, workplace
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, processes, tricks
from support.ground import Ground, check_roots_are_untouched

pytestmark = [pytest.mark.root, pytest.mark.slow, processes.needs_root]

SECONDS = 1.0
CODES = {0, 2, 3, 10, 11, 12, 13, 15, 17, 18, 20, 22, 23, 30, 31}
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
# What is there for a moment only, each time anew: in the workplace, and in a staging directory.
WORKPLACE, STAGING = "theirs / '.agent.db.restoring'", "next(repository.glob('.staging-*'), repository / 'none')"
OF_DATABASE = [f"agent.db{suffix}" for suffix in ("", *database.SIDECARS)]
MOMENTS = {
    **{f"`.agent.db.restoring/{each}`": (WORKPLACE, each) for each in (*workplace.NAMES, "restored-journal")},
    **{
        f"`.agent.db.restoring/{place}/{each}`": (WORKPLACE, f"{place}/{each}")
        for place in ("undo", "saving", "copy", "old", "new", "back")
        for each in OF_DATABASE
    },
    **{
        f"`.staging-*/{each}`": (STAGING, each)
        for each in (
            *("", "manifest.json", "schema.sql", "database.sqlite", "files"),
            *(f"snapshot.sqlite{suffix}" for suffix in ("", *database.SIDECARS)),
        )
    },
}
# There for an instant and not any more; or something of the user's where nothing was.
FOR_AN_INSTANT = """
    try:
        path, link = {place} / {name!r}, theirs / 'link'
        exchange(path, link)
        exchange(path, link)
        if not link.is_symlink():
            shutil.rmtree(link, ignore_errors=True) if link.is_dir() else link.unlink(missing_ok=True)
            link.symlink_to(roots / {target!r})
        if path.name.endswith('-journal') and path.parent.is_dir() and not path.exists():
            shutil.copyfile(theirs / 'journal', theirs / 'arriving')
            os.rename(theirs / 'arriving', path)
    except OSError:
        pass
"""


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    # What waits for a fifo ends with its timeout, and is to do so within the test's patience.
    monkeypatch.setattr(confined, "_GRACE_SECONDS", 0.5)
    monkeypatch.setattr(restore, "_LOOK_SECONDS", 3.0)
    with processes.open_directory() as place:
        ground = Ground(place, repository_is_theirs=True)
        databases.make(ground.roots / "root.db")
        databases.settle(ground.roots / "root.db")
        databases.crashed_wal(ground.roots / "log.db")
        assert ground.run(["export", "agent", "--into", str(ground.place / "agent.jsonl"), "--plain"]) == 0
        ground.play(f"(theirs / 'journal').write_bytes({tricks.journal_naming(ground.roots / 'secret')!r})")
        told = json.loads((ground.config / "agent.json").read_text())
        (ground.config / "agent.json").write_text(json.dumps({**told, "check": "full"}))
        ground.before = ground.state()
        ground.database.unlink()
        databases.make(ground.database)
        ground.give(ground.theirs)
        yield ground


def all_codes(ground: Ground) -> Iterator[int]:
    """What all commands end with; there is a log to fold whenever something is to take the place of the database."""
    more = {
        "import": ("import", "agent", "--from", str(ground.place / "agent.jsonl"), "--force"),
        "export": ("export", "agent", "--into", str(ground.place / "again.jsonl"), "--plain", "--force"),
    }
    for command, words in {**tricks.COMMANDS, **more}.items():
        if command in ("restore", "restore --undo", "import"):
            ground.play(tricks.LEAVE_LOG)
        yield ground.run(words)


@pytest.mark.parametrize("race", RACES)
def test_what_changes_places_while_root_is_at_work_leads_to_nothing_of_roots(ground: Ground, race: str) -> None:
    prepare, names = RACES[race]
    ground.play(prepare)
    end = time.monotonic() + SECONDS
    codes: list[int] = []
    with ground.playing(f"exchange({names})"):
        while time.monotonic() < end or not codes:
            codes.extend(all_codes(ground))
    check_roots_are_untouched(ground)
    assert set(codes) <= CODES


@pytest.mark.parametrize("moment", MOMENTS)
def test_what_is_there_for_a_moment_leads_to_nothing_of_roots(ground: Ground, moment: str) -> None:
    """Each time root makes it, it is something else for an instant."""
    place, name = MOMENTS[moment]
    target = "log.db" if ".db" in name or "sqlite" in name or name == "restored" else "."
    codes: list[int] = []
    end = time.monotonic() + SECONDS
    with ground.playing(FOR_AN_INSTANT.format(place=place, name=name, target=target)):
        while time.monotonic() < end or not codes:
            codes.extend(all_codes(ground))
    check_roots_are_untouched(ground)
    assert set(codes) <= CODES
