# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    PermissionDeniedError,
    RepositoryLockedError,
)
from support import limits, processes

HOLD = """
import sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
with locks.held(Path(sys.argv[1]), timeout_seconds=0, shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


def other_process(path: Path, *, shared: bool = False) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    """A process of its own that holds the lock ``path`` for the block."""
    return processes.running(HOLD, path, "shared" if shared else "alone")


@pytest.fixture(autouse=True)
def _no_endless_wait() -> Iterator[None]:
    with limits.within(20):
        yield


def take(path: Path, *, timeout_seconds: float = 0, shared: bool = False) -> None:
    with locks.held(path, timeout_seconds=timeout_seconds, shared=shared):
        pass


def test_lock_of_another_process_is_an_error_that_names_it(tmp_path: Path) -> None:
    """Who waits for a backup must learn which process to look at."""
    with other_process(tmp_path / "lock") as holder, pytest.raises(RepositoryLockedError) as caught:
        take(tmp_path / "lock")
    assert f"{tmp_path / 'lock'} is locked by process {holder.pid} on {socket.gethostname()}" in str(caught.value)
    assert "lock_timeout" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no JSON",
        b"\xff",
        b"[" * 4000,
        b"[]",
        b"7",
        b"null",
        b"{}",
        b'{"pid": 1, "host": "x", "since": 1e999}',
        b'{"pid": 1e999, "host": "x", "since": 1}',
        b'{"pid": NaN, "host": "x", "since": 1}',
        b'{"pid": [], "host": "x", "since": 1}',
        b'{"pid": 1, "since": 1}',
    ],
)
def test_holder_that_says_nothing_of_use_is_another_process(tmp_path: Path, text: bytes) -> None:
    """Whoever owns the repository can write anything there."""
    with locks.held(tmp_path / "lock", timeout_seconds=0):
        (tmp_path / "lock").write_bytes(text)
        with pytest.raises(RepositoryLockedError, match="is locked by another process"):
            take(tmp_path / "lock")


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """A crash must not lock a repository for ever."""
    with other_process(tmp_path / "lock") as holder:
        holder.kill()
        holder.wait()
        take(tmp_path / "lock")


@pytest.mark.parametrize(
    ("first", "second", "free"),
    [("shared", "shared", True), ("shared", "alone", False), ("alone", "shared", False), ("alone", "alone", False)],
)
def test_only_readers_share_a_lock(tmp_path: Path, first: str, second: str, *, free: bool) -> None:
    """Two uploads may read a backup at once; nobody may remove it meanwhile."""
    with other_process(tmp_path / "lock", shared=first == "shared"):
        if free:
            take(tmp_path / "lock", shared=second == "shared")
        else:
            with pytest.raises(RepositoryLockedError):
                take(tmp_path / "lock", shared=second == "shared")


@pytest.mark.parametrize("shared", [True, False])
def test_lock_of_another_process_is_seen(tmp_path: Path, *, shared: bool) -> None:
    with other_process(tmp_path / "lock", shared=shared) as holder:
        assert locks.is_held(tmp_path / "lock")
        holder.kill()
        holder.wait()
        assert not locks.is_held(tmp_path / "lock")


def test_look_at_a_lock_changes_nothing(tmp_path: Path) -> None:
    """Check mode looks, too; and whoever looked must not hold."""
    assert not locks.is_held(tmp_path / "missing")
    assert not locks.is_held(tmp_path / "no" / "directory")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "lock").write_bytes(b"text")
    assert not locks.is_held(tmp_path / "lock")
    assert (tmp_path / "lock").read_bytes() == b"text"
    take(tmp_path / "lock")


def test_lock_is_released_after_the_block(tmp_path: Path) -> None:
    take(tmp_path / "lock")
    take(tmp_path / "lock")


def test_lock_is_released_after_a_failure_in_the_block(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locks.held(tmp_path / "lock", timeout_seconds=0):
        raise ZeroDivisionError
    take(tmp_path / "lock")


def test_lock_is_got_as_soon_as_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that starts while another one ends must not fail."""
    first = contextlib.ExitStack()
    first.enter_context(locks.held(tmp_path / "lock", timeout_seconds=0))
    monkeypatch.setattr(time, "sleep", lambda _seconds: first.close())
    take(tmp_path / "lock", timeout_seconds=60)


def test_waiting_ends_with_the_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hung holder must not hang every later run as well."""
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    with locks.held(tmp_path / "lock", timeout_seconds=0), pytest.raises(RepositoryLockedError):
        take(tmp_path / "lock", timeout_seconds=30)
    assert 1030 <= clock[0] < 1031


def test_holder_is_named_where_the_one_before_had_more_to_say(tmp_path: Path) -> None:
    """What is left of the longer text would make the new one unreadable."""
    before = {"pid": 4194304, "host": "a-host-with-a-much-longer-name." * 9, "since": 0}
    (tmp_path / "lock").write_text(json.dumps(before))
    with locks.held(tmp_path / "lock", timeout_seconds=0):
        with pytest.raises(RepositoryLockedError, match=f"locked by process {os.getpid()} on {socket.gethostname()}"):
            take(tmp_path / "lock")
    assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()


def test_reader_leaves_the_name_of_the_holder_alone(tmp_path: Path) -> None:
    """There may be many readers; none of them holds the lock alone."""
    take(tmp_path / "lock", shared=True)
    assert (tmp_path / "lock").read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
def test_filesystem_without_locks_is_an_error_with_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network filesystems have none."""
    import fcntl

    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    take(tmp_path / "lock")
    monkeypatch.setattr(fcntl, "flock", refuse)
    message = f"the lock {tmp_path}/lock cannot be used"
    with pytest.raises(EngineError, match=message):
        take(tmp_path / "lock")
    with pytest.raises(EngineError, match=message):
        locks.is_held(tmp_path / "lock")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"pid": 1}', b"\xff\xfe", b'{"pid": "x", "host": 1, "since": 2}'])
def test_unreadable_holder_is_still_a_held_lock(tmp_path: Path, text: bytes) -> None:
    """The name of the holder is a courtesy; without it the error must stay the same."""
    with other_process(tmp_path / "lock"):
        (tmp_path / "lock").write_bytes(text)
        with pytest.raises(RepositoryLockedError, match="locked by another process"):
            take(tmp_path / "lock")


def test_lock_file_is_private_and_stays(tmp_path: Path) -> None:
    """Removing it would let two processes lock two files of the same name."""
    before = os.umask(0)
    try:
        take(tmp_path / "lock")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "lock").stat().st_mode) == 0o600


def test_lock_is_not_inherited_by_programs(tmp_path: Path) -> None:
    """A program that outlives us (ssh's master connection, for one) must not keep the repository locked."""
    with locks.held(tmp_path / "lock", timeout_seconds=0) as descriptor:
        assert not os.get_inheritable(descriptor)


def test_lock_that_cannot_be_made_is_an_error_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=f"the lock {re.escape(str(tmp_path / 'missing/lock'))} cannot be used"):
        take(tmp_path / "missing" / "lock")


def test_lock_that_may_not_be_made_is_a_missing_permission() -> None:
    with processes.open_directory() as place:
        place.chmod(0o555)
        with limits.unprivileged(), pytest.raises(PermissionDeniedError):
            take(place / "lock")


def test_lock_is_got_on_a_full_disk(tmp_path: Path) -> None:
    """Whoever removes old backups to make room needs it too; without a name it holds all the same."""
    with limits.full_disk_after(0), locks.held(tmp_path / "lock", timeout_seconds=0):
        with pytest.raises(RepositoryLockedError, match="locked by another process"):
            take(tmp_path / "lock")


def test_failure_in_the_block_is_not_blamed_on_the_lock(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), locks.held(tmp_path / "lock", timeout_seconds=0):
        (tmp_path / "missing").read_bytes()
