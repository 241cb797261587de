# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works in the directory of a user who plays tricks: nothing of root's is read, written, removed or given away.

Each trick is played by a real second user, and what only root may touch is looked at afterwards.
"""

from __future__ import annotations

import os
import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import (
    backup,
    database,
    files,
    prune,
    restore,
    retention,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.include import Include
from support import databases, limits, processes

pytestmark = [pytest.mark.root, processes.needs_root]

SECRET = b"root:only root may read this\n"
ANSWER_SECONDS = 20.0


class Ground:
    """A database of the user's in ``theirs``, a repository, and ``roots``, which only root may use."""

    def __init__(self, place: Path, *, repository_is_theirs: bool) -> None:
        self.place = place
        self.theirs = place / "theirs"
        self.roots = place / "roots"
        self.theirs.mkdir()
        self.roots.mkdir(mode=0o700)
        (self.roots / "secret").write_bytes(SECRET)
        (self.roots / "secret").chmod(0o600)
        self.database = databases.make(self.theirs / "agent.db", journal_mode="delete")
        self.repository = place / "repository"
        if repository_is_theirs:
            self.repository = self.theirs / "repository"
        self.give(self.theirs)
        self.back_up()
        if repository_is_theirs:
            self.give(self.repository)
        self.before = self.state()

    def give(self, path: Path) -> None:
        for each in (path, *path.rglob("*")):
            os.lchown(each, processes.NOBODY, processes.NOBODY)

    def state(self) -> dict[str, tuple[int, int, int, bytes]]:
        """All that is below ``roots``, with owner, mode, links and content."""
        found = {}
        for path in sorted(self.roots.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(self.roots))] = (status.st_uid, status.st_mode, status.st_nlink, content)
        return found

    def change(self) -> None:
        databases.add(self.database, "new")

    def play(self, trick: str) -> None:
        """Run ``trick``, Python, as the user; ``theirs``, ``roots`` and ``repository`` are paths, ``os`` is there."""
        child = os.fork()
        if not child:
            try:
                os.setgroups([])
                os.setgid(processes.NOBODY)
                os.setuid(processes.NOBODY)
                names = {"os": os, "shutil": shutil, "theirs": self.theirs, "roots": self.roots}
                exec(trick, {**names, "repository": self.repository})  # noqa: S102
                os._exit(0)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def back_up(self, **options: object) -> backup.Outcome:
        return backup.run(backup.Request(self.database, self.repository, compression="none", **options))  # type: ignore[arg-type]

    def restore(self, **options: object) -> restore.Outcome:
        return restore.run(restore.Request(self.repository, dest=self.database, **options))  # type: ignore[arg-type]

    def undo(self) -> restore.Outcome:
        return restore.undo(restore.Request(self.repository, dest=self.database))

    def prune(self) -> prune.Outcome:
        return prune.run(prune.Request(self.repository, retention.Policy(keep_last=1)))

    def leaked(self) -> list[Path]:
        """What of the user's, or of what the user may read, holds the secret."""
        return [
            path
            for root in (self.theirs, self.repository)
            if not root.is_symlink()
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink() and SECRET in path.read_bytes()
        ]


@pytest.fixture
def ground() -> Iterator[Ground]:
    with processes.open_directory() as place:
        yield Ground(place, repository_is_theirs=False)


@pytest.fixture
def shared_ground() -> Iterator[Ground]:
    with processes.open_directory() as place:
        yield Ground(place, repository_is_theirs=True)


def outcome_of(work: Callable[[], object]) -> int:
    """The code that ``work`` ends with, in bounded time."""
    failure = None
    with limits.within(ANSWER_SECONDS):
        try:
            work()
        except EngineError as error:
            failure = error
    assert SECRET[:8].decode() not in str(failure)
    return failure.code if failure else 0


def check_roots_are_untouched(ground: Ground) -> None:
    assert ground.state() == ground.before
    assert not ground.leaked()


WORKPLACE = "workplace = theirs / '.agent.db.restoring'; "
OWN_WORKPLACE = f"{WORKPLACE}workplace.mkdir(0o700); "
NO_DATABASE = "path = theirs / 'agent.db'; path.unlink(); "
RESTORE_TRICKS = {
    "the workplace is a link to a directory": f"{WORKPLACE}os.symlink(roots, workplace)",
    "the workplace is a file": f"{WORKPLACE}workplace.write_text('')",
    "the workplace is a fifo": f"{WORKPLACE}os.mkfifo(workplace)",
    "the workplace is open to others": f"{OWN_WORKPLACE}workplace.chmod(0o777)",
    "the workplace's lock is a link": f"{OWN_WORKPLACE}os.symlink(roots / 'secret', workplace / 'lock')",
    "the workplace's lock is a fifo": f"{OWN_WORKPLACE}os.mkfifo(workplace / 'lock')",
    "the database is a dangling link": f"{NO_DATABASE}os.symlink(roots / 'new', path)",
    "the database is a link to a file of root's": f"{NO_DATABASE}os.symlink(roots / 'secret', path)",
    "the database is a fifo": f"{NO_DATABASE}os.mkfifo(path)",
    **{
        f"the {suffix} is {what}": trick.replace("SIDE", f"theirs / 'agent.db{suffix}'")
        for suffix in database.SIDECARS
        for what, trick in {
            "a link to a file of root's": "os.symlink(roots / 'secret', SIDE)",
            "a dangling link": "os.symlink(roots / 'new', SIDE)",
            "a fifo": "os.mkfifo(SIDE)",
            "a directory": "(SIDE).mkdir()",
        }.items()
    },
}


@pytest.mark.parametrize("trick", RESTORE_TRICKS)
def test_restore_beside_a_hostile_user_touches_nothing_of_roots(ground: Ground, trick: str) -> None:
    ground.change()
    ground.play(RESTORE_TRICKS[trick])
    code = outcome_of(ground.restore)
    assert code == (18 if "the database is a fifo" not in trick else 2)
    check_roots_are_untouched(ground)
    assert outcome_of(ground.undo) in (2, 18, 22)
    check_roots_are_untouched(ground)


BACKUP_TRICKS = {name: trick for name, trick in RESTORE_TRICKS.items() if "workplace" not in name}


@pytest.mark.parametrize("trick", BACKUP_TRICKS)
def test_backup_beside_a_hostile_user_touches_nothing_of_roots(ground: Ground, trick: str) -> None:
    ground.change()
    ground.play(BACKUP_TRICKS[trick])
    assert outcome_of(ground.back_up) in (10, 18)
    check_roots_are_untouched(ground)


FULL = "full = next(repository.glob('*-full')); "
REPOSITORY_TRICKS = {
    **{
        f"{name} is {what}": f"path = repository / '{name}'; "
        f"(shutil.rmtree if path.is_dir() else os.unlink)(path) if os.path.lexists(path) else None; {trick}"
        for name in (".index", ".locks", ".lock", "history.jsonl", "repository.json")
        for what, trick in {
            "a link to a directory of root's": "os.symlink(roots, path)",
            "a link to a file of root's": "os.symlink(roots / 'secret', path)",
            "a dangling link": "os.symlink(roots / 'new', path)",
            "a fifo": "os.mkfifo(path)",
        }.items()
    },
    **{
        f"{name} is {what}": f"{FULL}path = full / '{name}'; path.unlink(missing_ok=True); {trick}"
        for name in ("manifest.json", "database.sqlite", "checks.json")
        for what, trick in {
            "a link to a file of root's": "os.symlink(roots / 'secret', path)",
            "a fifo": "os.mkfifo(path)",
        }.items()
    },
    "a backup is a link": f"{FULL}full.rename(theirs / 'moved'); os.symlink(roots, full)",
    "a staging directory is a link": "os.symlink(roots, repository / '.staging-x')",
    "the repository is a link": "repository.rename(theirs / 'moved'); os.symlink(roots, repository)",
}


@pytest.mark.parametrize("trick", REPOSITORY_TRICKS)
def test_run_in_a_repository_of_a_hostile_user_touches_nothing_of_roots(shared_ground: Ground, trick: str) -> None:
    ground = shared_ground
    ground.change()
    ground.play(REPOSITORY_TRICKS[trick])
    codes = {outcome_of(work) for work in (ground.back_up, ground.prune, ground.restore, ground.undo)}
    assert codes <= {0, 2, 10, 12, 13, 15, 18, 22}
    check_roots_are_untouched(ground)


@pytest.mark.parametrize("hard", [False, True])
def test_included_file_that_leads_to_a_file_of_roots_is_refused(ground: Ground, hard: bool) -> None:
    """Else the user finds its content in the backup. Not every kernel keeps users from making the second link."""
    if hard:
        os.link(ground.roots / "secret", ground.theirs / ".env")
    else:
        ground.play("os.symlink(roots / 'secret', theirs / '.env')")
    ground.change()
    assert outcome_of(lambda: ground.back_up(include=(Include(ground.theirs / ".env"),))) == 18
    assert not [each for each in ground.repository.rglob("*") if each.is_file() and SECRET in each.read_bytes()]


def test_directory_on_the_way_that_became_a_link_is_not_followed(ground: Ground) -> None:
    """The user owns a directory above that of the database, too."""
    deep = ground.theirs / "deep"
    deep.mkdir()
    path = databases.make(deep / "deep.db", journal_mode="delete")
    ground.give(deep)
    backup.run(backup.Request(path, ground.place / "other", compression="none"))
    ground.play("(theirs / 'deep').rename(theirs / 'gone'); os.symlink(roots, theirs / 'deep')")
    assert outcome_of(lambda: restore.run(restore.Request(ground.place / "other", dest=path))) == 18
    check_roots_are_untouched(ground)


def test_link_of_the_user_to_a_file_of_the_user_is_followed(ground: Ground) -> None:
    """Deployments are full of such links."""
    ground.play("(theirs / 'agent.db').rename(theirs / 'real.db'); os.symlink('real.db', theirs / 'agent.db')")
    ground.change()
    ground.back_up()
    digest = files.sha256_file(ground.theirs / "real.db")
    databases.add(ground.theirs / "real.db", "later")
    ground.restore(force_identity=True)
    assert files.sha256_file(ground.theirs / "real.db") == digest
    assert (ground.theirs / "agent.db").is_symlink()
