# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A user changes a name at the worst instant: when root has looked at it, and SQLite opens it, by name.

SQLite follows links, folds and removes logs, and removes what a journal names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import export, load, restore
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.content import Expectations
from support import databases, processes, tricks
from support.ground import Ground, check_roots_are_untouched, outcome_of

pytestmark = [pytest.mark.root, processes.needs_root]

# Where root's databases are in ``roots / "alike"``, as what root prepares is in a workplace.
ALIKE = ("old/agent.db", "new/agent.db", "restored", "snapshot.sqlite", "agent.db")
ROWS, ROWS_OF_ROOTS = 3, 6
CODES = {0, 11, 12, 13, 15, 17, 18, 20, 22, 23, 31}
GONE = "theirs / f'gone{os.getpid()}'"
TRICKS = {
    "it is a link to a database of root's": f"path.rename({GONE}); os.symlink(roots / 'root.db', path)",
    "it is a link to a database of root's without a log": f"path.rename({GONE}); os.symlink(roots / 'plain.db', path)",
    "its directory is a link to one of root's": f"path.parent.rename({GONE}); "
    "os.symlink((roots / 'alike' / path.parent.name) if path.parent.name in ('old', 'new') else roots / 'alike', "
    "path.parent)",
    "a journal beside it names a file of root's": "shutil.copyfile(theirs / 'journal', f'{path}-journal')",
}
WHOLE = f"top = theirs / path.relative_to(theirs).parts[0]; top.rename({GONE}); os.symlink(roots / 'alike', top)"
PORTABLE: dict[str, Any] = {
    "compression": "none",
    "compression_level": None,
    "encryption": None,
    "identity_file": None,
    "passphrase_file": None,
    "timeout": "30s",
    "lock_timeout": "1s",
    "force": True,
    "repository": None,
}


@pytest.fixture
def make_ground() -> Iterator[Callable[..., Ground]]:
    with processes.open_directory() as place:

        def make(*, repository_is_theirs: bool = False) -> Ground:
            ground = Ground(place, repository_is_theirs=repository_is_theirs)
            for name in ("root.db", *(f"alike/{each}" for each in ALIKE)):
                path = ground.roots / name
                path.parent.mkdir(parents=True, exist_ok=True)
                databases.crashed_wal(path, rows=ROWS_OF_ROOTS - 1)
            databases.make(ground.roots / "plain.db", rows=ROWS_OF_ROOTS, journal_mode="delete")
            write_out(ground)
            ground.play(f"(theirs / 'journal').write_bytes({tricks.journal_naming(ground.roots / 'secret')!r})")
            ground.before = ground.state()
            return ground

        yield make


def write_out(ground: Ground) -> None:
    """Export the database for root, who may import it."""
    given = {**PORTABLE, "backup": None, "dest": str(ground.place / "agent.jsonl"), "tables": [], "format": "jsonl"}
    export.run(export.requested(given, path=ground.database))


def import_to(ground: Ground, dest: Path) -> None:
    load.run(load.requested({**PORTABLE, "src": str(ground.place / "agent.jsonl")}, dest=dest))


def restore_over_log(ground: Ground) -> None:
    play_inside(ground, tricks.LEAVE_LOG)
    ground.restore()


def restore_looking_for(ground: Ground, rows: int) -> None:
    ground.change()
    ground.restore(
        expectations=Expectations(assertions=[{"sql": "SELECT count(*) FROM item", "equals": rows}]),
    )


def undo_of_log(ground: Ground) -> None:
    play_inside(ground, tricks.LEAVE_LOG)
    with contextlib.suppress(Exception):
        ground.restore()
    ground.undo()


def back_up_by_copy(ground: Ground) -> None:
    """As for a database without a log whose writers shall not wait for a full check."""
    ground.change()
    ground.back_up(check="full")


WORK: dict[str, Callable[[Ground], object]] = {
    "restore over a log": restore_over_log,
    "restore with an assertion": lambda ground: restore_looking_for(ground, ROWS),
    "undo of a log": undo_of_log,
    "import": lambda ground: import_to(ground, ground.theirs / "agent.db.new"),
    "import over": lambda ground: (ground.change(), import_to(ground, ground.database)),
    "backup by a copy": back_up_by_copy,
}


def play_inside(ground: Ground, trick: str) -> None:
    """Play ``trick``; the user comes to the volume of a container from inside."""
    mode, before = ground.place.stat().st_mode & 0o777, os.geteuid()
    os.seteuid(0)
    ground.place.chmod(0o755)
    ground.play(trick)
    ground.place.chmod(mode)
    os.seteuid(before)


def play_at_each_opening(
    ground: Ground, trick: str, monkeypatch: pytest.MonkeyPatch, *, live: bool = False, after: str = "pass"
) -> list[Path]:
    """Let the user play ``trick`` whenever SQLite is about to open something below ``theirs``; what that was.

    ``after`` is played when it is open. The database itself counts only when ``live``.
    """
    right, opened = database.connect, list[Path]()

    def connect(path: Path, **options: Any) -> database.Connection:
        if path.is_relative_to(ground.theirs) and (path == ground.database) == live:
            opened.append(path)
            play_inside(ground, f"path = type(theirs)({str(path)!r}); {trick}")
            try:
                return right(path, **options)
            finally:
                play_inside(ground, f"path = type(theirs)({str(path)!r}); {after}")
        return right(path, **options)

    monkeypatch.setattr(database, "connect", connect)
    return opened


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("work", WORK)
def test_what_changes_when_it_is_opened_leads_to_nothing_of_roots(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, work: str, trick: str
) -> None:
    ground = make_ground(repository_is_theirs=work == "backup by a copy")
    opened = play_at_each_opening(ground, TRICKS[trick], monkeypatch)

    code = outcome_of(lambda: WORK[work](ground))

    assert opened
    check_roots_are_untouched(ground)
    assert code in CODES


@pytest.mark.parametrize("trick", [*TRICKS, "the workplace is a link to a directory of root's"])
@pytest.mark.parametrize("work", WORK)
def test_so_it_is_where_the_owner_may_not_come(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, work: str, trick: str
) -> None:
    """As in the volumes of containers: their directories are root's, and the user comes from inside."""
    ground = make_ground(repository_is_theirs=work == "backup by a copy")
    play_at_each_opening(ground, TRICKS.get(trick, WHOLE), monkeypatch)
    ground.place.chmod(0o700)

    code = outcome_of(lambda: WORK[work](ground))

    check_roots_are_untouched(ground)
    assert code in CODES


@pytest.mark.parametrize("work", [each for each in WORK if each != "backup by a copy"])
def test_so_it_is_in_a_directory_of_roots_that_a_group_can_change(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    """There the workplace is root's, and can be renamed as a whole."""
    ground = make_ground()
    os.chown(ground.theirs, 0, processes.NOBODY)
    ground.theirs.chmod(0o2775)
    play_at_each_opening(ground, WHOLE, monkeypatch)

    code = outcome_of(lambda: WORK[work](ground))

    check_roots_are_untouched(ground)
    assert code in CODES


@pytest.mark.parametrize("closed", [False, True])
def test_nothing_is_asked_of_a_database_of_roots_that_lies_there_for_an_instant(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, closed: bool
) -> None:
    ground = make_ground()
    trick = "path.rename(theirs / 'kept'); os.symlink(roots / 'plain.db', path)"
    opened = play_at_each_opening(ground, trick, monkeypatch, after="(theirs / 'kept').rename(path)")
    if closed:
        ground.place.chmod(0o700)

    code = outcome_of(lambda: restore_looking_for(ground, ROWS_OF_ROOTS))

    assert opened
    check_roots_are_untouched(ground)
    assert code in {11, 20, 23}
    assert len(databases.names(ground.database)) == ROWS + 1, "nothing was restored"


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("work", WORK)
def test_without_a_trick_all_is_done(make_ground: Callable[..., Ground], work: str, closed: bool) -> None:
    ground = make_ground(repository_is_theirs=work == "backup by a copy")
    if closed:
        ground.place.chmod(0o700)
    WORK[work](ground)
    check_roots_are_untouched(ground)
    path = ground.theirs / ("agent.db.new" if work == "import" else "agent.db")
    expected = ["name 0", "name 1", "name 2"]
    if work == "undo of a log":
        expected = [*expected, "in the log"]
    elif work == "backup by a copy":
        expected = [*expected, "new"]
        restore.run(restore.Request(ground.repository, dest=(path := ground.place / "back.db"), force_identity=True))
    with contextlib.closing(database.connect(path)) as connection:
        assert [name for (name,) in connection.execute("SELECT name FROM item")] == expected
    assert work == "backup by a copy" or path.stat().st_uid == processes.NOBODY
    assert not [each.name for each in ground.theirs.iterdir() if each.name.endswith((".restoring", "-journal"))]


@pytest.mark.parametrize("trick", ["it is a link to a database of root's"])
def test_export_of_what_became_a_link_tells_nothing_of_roots(
    make_ground: Callable[..., Ground], monkeypatch: pytest.MonkeyPatch, trick: str
) -> None:
    ground = make_ground()
    shutil.copyfile(ground.place / "agent.jsonl", ground.place / "first.jsonl")
    (ground.place / "agent.jsonl").unlink()
    opened = play_at_each_opening(ground, TRICKS[trick], monkeypatch, live=True)

    code = outcome_of(lambda: write_out(ground))

    assert opened
    check_roots_are_untouched(ground)
    assert code in {18, 20, 23}
    assert not (ground.place / "agent.jsonl").exists()
