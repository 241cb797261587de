# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database of a hostile user's, and what only root may touch: tricks are played by a real second user."""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, prune, restore
from support import databases, limits, processes

SECRET = b"root:only root may read this\n"
ANSWER_SECONDS = 20.0
_HERE, _EXCHANGE = -100, 2


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
        self.config = place / "etc" / "databases.d"
        self.config.mkdir(mode=0o700, parents=True)
        told = {"path": str(self.database), "repository": str(self.repository), "keep_last": 1, "keep_within": "0s"}
        told.update(timeout="3s", lock_timeout="1s")
        (self.config / "agent.json").write_text(json.dumps(told))
        (self.config / "agent.json").chmod(0o600)

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
        assert os.waitstatus_to_exitcode(os.waitpid(self._begin(trick), 0)[1]) == 0

    @contextlib.contextmanager
    def playing(self, trick: str) -> Iterator[None]:
        """Run ``trick`` again and again while the block runs."""
        child = self._begin(f"while True:\n    {trick}")
        try:
            yield
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def _begin(self, trick: str) -> int:
        child = os.fork()
        if not child:
            try:
                # Root may be somebody else just now.
                os.seteuid(0)
                os.setgroups([])
                os.setgid(processes.NOBODY)
                os.setuid(processes.NOBODY)
                names = {"os": os, "exchange": exchange, "shutil": shutil, "theirs": self.theirs, "roots": self.roots}
                exec(trick, {**names, "repository": self.repository})  # noqa: S102
                os._exit(0)
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                os._exit(1)
        return child

    def back_up(self, **options: object) -> backup.Outcome:
        return backup.run(backup.Request(self.database, self.repository, compression="none", **options))  # type: ignore[arg-type]

    def restore(self, **options: object) -> restore.Outcome:
        return restore.run(restore.Request(self.repository, dest=self.database, **options))  # type: ignore[arg-type]

    def undo(self) -> restore.Outcome:
        return restore.undo(restore.Request(self.repository, dest=self.database))

    def prune(self) -> prune.Outcome:
        return prune.run(prune.Request(self.repository, retention.Policy(keep_last=1, keep_within_seconds=0)))

    def run(self, words: Sequence[str]) -> int:
        """What root's runner ends with, in bounded time; it says nothing of what only root may read."""
        said = io.StringIO()
        with limits.within(ANSWER_SECONDS), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = cli.main([words[0], "--config", str(self.config.parent), *words[1:]])
        assert SECRET[:8].decode() not in said.getvalue()
        assert code != 1, said.getvalue()
        return code

    def leaked(self) -> list[Path]:
        """What of the user's, or of what the user may read, holds the secret."""
        return [
            path
            for root in (self.theirs, self.repository)
            if not root.is_symlink()
            for path in root.rglob("*")
            if path.is_file() and not path.is_symlink() and SECRET in path.read_bytes()
        ]


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


def exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step: renameat2(2) with RENAME_EXCHANGE."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
