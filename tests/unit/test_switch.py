# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One database in the place of another: what fails behind the switch is put back, and nobody comes between."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import image, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, switch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    ProofFailedError,
    RefusedError,
    StorageFailedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import prune, restore
from support import databases, jobs, processes
from support.restores import UNDOABLE, Restores


def before(monkeypatch: pytest.MonkeyPatch, room: Any, name: str, act: Callable[..., None]) -> None:
    """Let ``act`` happen before each call of a function of the engine, with its arguments."""
    real = getattr(room, name)

    def call(*arguments: Any, **options: Any) -> Any:
        act(*arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(room, name, call)


def fail(*_arguments: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


# --- what fails behind the switch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", jobs.OLD)
@pytest.mark.parametrize("failure", [ProofFailedError("on purpose"), KeyboardInterrupt(), MemoryError()])
def test_whatever_ends_the_look_at_the_new_content_puts_the_old_back(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str, failure: BaseException
) -> None:
    was = restores.put(old)
    bytes_before = databases.tree(restores.dest.parent)

    def look(*_arguments: object, **_options: object) -> None:
        assert restores.content() == jobs.NEW
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_compare_installed", look)
        with pytest.raises(type(failure)):
            restores.restore()
    assert restores.content() == was
    assert databases.tree(restores.dest.parent) == bytes_before
    assert restores.restore().changed


@pytest.mark.parametrize("old", UNDOABLE)
def test_file_in_place_that_is_not_the_image_is_found(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    """The disk may have lost a part of it."""
    was = restores.put(old)
    before(monkeypatch, restore, "_compare_installed", lambda dest, *_rest: os.truncate(dest, 4096))
    with pytest.raises(ProofFailedError, match="has another size"):
        restores.restore()
    assert restores.content() == was


def test_file_in_place_that_sqlite_cannot_read_is_found(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    was = restores.put("a log")
    before(
        monkeypatch, restore, "_compare_installed", lambda dest, *_rest: dest.write_bytes(b"x" * dest.stat().st_size)
    )
    with pytest.raises(ProofFailedError, match="not a database"):
        restores.restore()
    assert restores.content() == was


def test_disk_that_fails_at_the_look_at_the_new_content_is_no_failed_proof(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    was = restores.put("a log")
    connect = database.connect

    def fail_at_dest(path: Path, **options: Any) -> database.Connection:
        if path == restores.dest:
            raise sqlite3.OperationalError("disk I/O error")
        return connect(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(database, "connect", fail_at_dest)
        with pytest.raises(StorageFailedError, match="the file in place"):
            restores.restore()
    assert restores.content() == was


@pytest.mark.parametrize("old", UNDOABLE)
def test_undo_that_fails_at_its_end_is_put_back(restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    """The log that it brought back must not come upon the content that comes back now."""
    was = restores.put(old)
    restores.restore()
    kept = databases.tree(restores.undo_sets()[0])

    def publish(*_arguments: object) -> None:
        assert restores.content() == was
        fail()

    with monkeypatch.context() as patch:
        patch.setattr(switch, "publish_undo", publish)
        with pytest.raises(StorageFailedError, match="Cannot keep the old database"):
            restores.undo()
    assert restores.content() == jobs.NEW
    assert [databases.tree(each) for each in restores.undo_sets()] == [kept]
    restores.undo()
    assert restores.content() == was


@pytest.mark.parametrize("old", UNDOABLE)
@pytest.mark.parametrize("nth", range(1, 5))
def test_old_content_that_cannot_be_put_back_is_whole_where_the_message_says(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str, nth: int
) -> None:
    was = restores.put(old)
    bytes_before = databases.tree(restores.dest.parent)
    moves: list[int] = []

    def look(*_arguments: object, **_options: object) -> None:
        before(patch, files, "move_file", move)
        raise ProofFailedError("on purpose")

    def move(*_arguments: object) -> None:
        moves.append(1)
        if len(moves) >= nth:
            fail()

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_compare_installed", look)
        with pytest.raises(ProofFailedError, match="on purpose") as caught:
            restores.restore()
    if len(moves) >= nth:
        assert "could not be put back: " in caught.value.message
        saved = restores.workplace / "undo"
        is_old = restores.dest.read_bytes() == (saved / "agent.db").read_bytes()
        live = "the old content" if is_old else "the new content, or the old one with its log"
        assert f"Live is now {live}; the old database is whole in {saved}" in caught.value.hint
        assert databases.tree(saved).items() >= bytes_before.items()
    restores.restore()
    assert restores.content() == jobs.NEW
    restores.undo()
    assert restores.content() == was


@pytest.mark.parametrize(("old", "live"), [("a log", "the old content"), ("nothing", "nothing")])
def test_saved_files_that_cannot_be_removed_are_told_with_what_is_live(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, old: str, live: str
) -> None:
    was = restores.put(old)

    def look(*_arguments: object, **_options: object) -> None:
        patch.setattr(files, "remove_tree", fail)
        raise ProofFailedError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(restore, "_compare_installed", look)
        with pytest.raises(ProofFailedError, match="on purpose.* could not be put back") as caught:
            restores.restore()
    assert f"Live is now {live};" in caught.value.hint
    assert restores.content() == was
    restores.restore()
    assert restores.content() == jobs.NEW


def test_undo_set_that_has_its_name_is_not_put_back(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk fails behind the rename, and once more when that is taken back: all was done by then."""
    was = restores.put("a log")
    move, named = files.move_directory, []

    def move_and_fail(source: Path, dest: Path) -> None:
        if not named:
            move(source, dest)
        if dest.parent == restores.dest.parent:
            named.append(dest)
        if named:
            fail()

    with monkeypatch.context() as patch:
        patch.setattr(files, "move_directory", move_and_fail)
        with pytest.raises(StorageFailedError, match="Cannot keep the old database"):
            restores.restore()
    assert restores.content() == jobs.NEW
    assert restores.undo_sets() == named
    restores.undo()
    assert restores.content() == was


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("work", ["restore", "undo"])
def test_signal_between_the_steps_of_a_switch_waits_until_it_is_done(
    restores: Restores, monkeypatch: pytest.MonkeyPatch, number: int, work: str
) -> None:
    was = restores.put("a log")
    expected = jobs.NEW if work == "restore" else was
    if work == "undo":
        restores.restore()
    # Else it would end the test.
    handler = signal.signal(number, signal.default_int_handler)
    try:
        before(monkeypatch, switch, "_place", lambda *_arguments: signal.raise_signal(number))
        outcome = getattr(restores, work)()
    finally:
        signal.signal(number, handler)
    assert restores.content() == expected
    assert outcome.warnings == ["a signal to stop came when everything was done already"]


# --- who else is there -----------------------------------------------------------------------------------------------

_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM item").fetchone()
print("open", flush=True)
sys.stdin.read()
"""
_TRY = """
import sqlite3, sys
try:
    print(sqlite3.connect(sys.argv[1], timeout=0).execute("SELECT count(*) FROM item").fetchone())
except sqlite3.OperationalError as error:
    print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only /proc tells who has a file open")
def test_application_that_starts_while_the_image_is_staged_is_refused(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Staging takes minutes, and who was looked for before it may have come since."""
    was = restores.put("a closed database")
    with contextlib.ExitStack() as stack:

        def start(*_arguments: object) -> None:
            stack.enter_context(processes.running(_OPEN, restores.dest))

        before(monkeypatch, image, "write_image", start)
        with pytest.raises(RefusedError, match="the database is open in"):
            restores.restore()
    assert restores.content() == was


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only there a lock belongs to the open file")
def test_nobody_can_begin_to_use_the_old_file_during_the_switch(
    restores: Restores, monkeypatch: pytest.MonkeyPatch
) -> None:
    restores.put("a closed database")
    answers = []

    def attempt(*_arguments: object) -> None:
        answers.append(processes.python(_TRY, restores.dest))

    before(monkeypatch, switch, "_save", attempt)
    before(monkeypatch, switch, "_make_standalone", attempt)
    restores.restore()
    assert answers == ["database is locked"] * 2


def test_backup_is_in_use_while_it_is_restored(restores: Restores, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prune meanwhile keeps it, however old it is."""
    restores.back_up("newer")
    removed = []

    def meanwhile(*_arguments: object) -> None:
        policy = retention.Policy(1, 0, 0, 0, 0, 0, 0)
        removed.extend(prune.run(prune.Request(restores.repository, policy)).removed)

    with monkeypatch.context() as patch:
        before(patch, image, "write_image", meanwhile)
        restores.restore(backup=restores.backup)
    assert restores.content() == jobs.NEW
    assert removed == []
    meanwhile()
    assert [each["id"] for each in removed] == [restores.backup]
