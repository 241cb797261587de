# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Put one database in the place of another, so that a kill at any instant leaves the old content or the new one.

A database is up to three files: the main file M, a write-ahead log W, a rollback journal J. Only one name changes at
a time, and a W or J beside the wrong M destroys its content. So each side is first made to stand alone: SQLite folds W
or J into a copy M', and putting M' beside them changes nothing, because replaying W or J over M' writes the same pages
again. Then they can go, and one rename switches from the old content to the new.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from ..system import clock, files, held, locks, owners, places
from ..system.errors import BackupNotFoundError, EngineError, NoSpaceError, RefusedError, StorageFailedError, doing
from . import database, journal, ours, processes, schema
from .database import JOURNAL, SHM, WAL
from .library import sqlite3
from .workplace import INCOMING, MARK, NAMES, SAVING, UNDO, workplace_of

_LOCK = "lock"


@contextlib.contextmanager
def workplace(dest: Path, *, timeout_seconds: float, warnings: list[str]) -> Iterator[Path]:
    """A private directory beside ``dest`` to prepare its new content in; one run at a time has it.

    What an earlier, killed run left there is put in order first: an undo set that is complete is published. What of
    this one could not be put in order is one of the ``warnings``, since by then it is known what became of the work.
    """
    directory = workplace_of(dest)
    with contextlib.ExitStack() as stack:
        while not _is_entered(stack, directory, timeout_seconds=timeout_seconds, warnings=warnings):
            pass  # Another run removed the directory just before we locked it.
        with doing(step=f"cannot put in order what another restore left in {directory}"):
            _settle_leftovers(dest, directory)
        try:
            yield directory
        finally:
            try:
                _settle_leftovers(dest, directory)
            except (OSError, EngineError) as error:
                warnings.append(f"{directory} is left to the next restore, which puts it in order first: {error}")
            if os.name != "nt":
                # While the lock is held, so that it cannot be that of the next run.
                _remove_workplace(directory, warnings)


def _remove_workplace(directory: Path, warnings: list[str]) -> None:
    """Without what else may have been put there meanwhile: then it stays, and the next run looks at it."""
    try:
        if os.name == "nt" and locks.is_held(directory / _LOCK):
            return  # The next run is there already.
        with places.at(directory / _LOCK) as (name, here):
            held.unlink(name, dir_fd=here)
        with places.at(directory) as (name, parent):
            held.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        return  # The next run was faster.
    except (OSError, EngineError) as error:
        warnings.append(f"{directory} is left to the next restore, which removes it: {error}")


def _is_entered(stack: contextlib.ExitStack, directory: Path, *, timeout_seconds: float, warnings: list[str]) -> bool:
    """Make the workplace and lock it; whether it is still the one that has the name."""
    with doing(step=f"cannot prepare in {directory.parent}"):
        files.own_directory(directory)
        strangers = sorted(set(places.names(directory)) - {*NAMES, _LOCK})
    if strangers:
        raise RefusedError(
            f"{directory}, where a restore prepares, holds {strangers[0]!r}, which no restore makes.",
            hint="Find out what that is, and move it away.",
        )
    lock = directory / _LOCK
    with contextlib.ExitStack() as attempt:
        try:
            descriptor = attempt.enter_context(locks.held(lock, timeout_seconds=timeout_seconds))
            entered = os.stat(lock).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False
        except EngineError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return False
            raise
        if entered:
            if os.name == "nt":
                # Windows removes no open file: behind the release, where it spares the lock of the next run.
                stack.callback(_remove_workplace, directory, warnings)
            stack.push(attempt.pop_all())
        return entered


def settle(dest: Path, *, timeout_seconds: float) -> None:
    """Finish what a killed restore of ``dest`` left beside it, if there is anything."""
    if workplace_of(dest).exists():
        with workplace(dest, timeout_seconds=timeout_seconds, warnings=[]):
            pass


def _settle_leftovers(dest: Path, directory: Path) -> None:
    """Bring the workplace back to empty; what an operator could miss goes into an undo set."""
    undo = directory / UNDO
    if undo.is_dir() and not _is_still_live(dest, undo):
        _break_link(undo / dest.name)
        publish_undo(dest, directory)
    # What was taken in here by an undo of version 0.1.0 that was killed.
    if (directory / "incoming" / dest.name).exists():
        files.move_directory(directory / "incoming", _new_undo_set(dest))
    for name in NAMES:
        if os.path.lexists(directory / name):
            _remove(directory / name)


def _break_link(saved: Path) -> None:
    """Make a saved main file that still is the live one, too, a file of its own."""
    if saved.exists() and saved.stat().st_nlink > 1:
        copy = saved.with_name(f"{saved.name}.copy")
        files.remove_file(copy)
        files.copy_private(saved, copy, alone=False)
        owners.copy_attributes(saved, copy)
        files.move_file(copy, saved)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        files.remove_tree(path)
    else:
        files.remove_file(path)


def _is_still_live(dest: Path, undo: Path) -> bool:
    """Whether everything in ``undo`` is still where it came from, so that the set is of no use."""
    saved = undo / dest.name
    if saved.exists() != dest.exists() or (saved.exists() and not _is_same(saved, dest)):
        return False
    return all((dest.parent / each.name).exists() for each in undo.iterdir() if not each.name.endswith(SHM))


def _is_same(saved: Path, dest: Path) -> bool:
    """Whether the one is the other, or a copy of it where the filesystem knows no hard links."""
    if saved.samefile(dest):
        return True
    same_size = files.size_of(saved) == files.size_of(dest)
    return same_size and files.sha256_file(saved) == files.sha256_file(dest)


def _new_undo_set(dest: Path) -> Path:
    moment = clock.now()
    while (path := dest.with_name(f"{dest.name}{MARK}{clock.to_stamp(moment)}")).exists():
        moment += timedelta(seconds=1)
    return path


def undo_sets(dest: Path) -> list[Path]:
    """What restores of ``dest`` put aside, oldest first."""
    prefix = f"{dest.name}{MARK}"
    found = (dest.with_name(name) for name in places.names(dest.parent) if name.startswith(prefix))
    return sorted(each for each in found if places.is_directory(each))


def newest_undo_set(dest: Path) -> Path:
    """The undo set of the last restore of ``dest``; raises ``BackupNotFoundError`` without any."""
    found = undo_sets(dest)
    if not found:
        raise BackupNotFoundError(f"no undo set is beside {dest}.", hint="Restore a backup instead.")
    return found[-1]


def publish_undo(dest: Path, directory: Path) -> Path | None:
    """Give the undo set its name beside ``dest``; None when there was nothing to save."""
    undo = directory / UNDO
    if not places.names(undo):
        return None
    path = _new_undo_set(dest)
    try:
        files.move_directory(undo, path)
    except OSError:
        if places.is_directory(path):
            # It has its name, and perhaps only until the power fails.
            files.move_directory(path, undo)
        raise
    return path


def copy_of_undo_set(undo_set: Path, dest: Path, directory: Path) -> tuple[Path, tuple[bool, bool]]:
    """A copy of the database in ``undo_set``, in the workplace, ready for ``install``; the set stays as it is.

    And whether it could be given the owner and the group that it has there.
    """
    right = (True, True)
    copy = directory / INCOMING
    files.create_directory(copy)
    for suffix in ("", WAL, JOURNAL):
        name = database.sidecar(dest, suffix).name
        if (undo_set / name).exists():
            files.copy_private(undo_set / name, copy / name)
            given = owners.copy_attributes(undo_set / name, copy / name)
            right = (right[0] and given[0], right[1] and given[1])
    return copy / dest.name, right


def install(dest: Path, new: Path, directory: Path, *, check: Callable[[], None], force: bool = False) -> Path | None:
    """Put the database ``new`` (with a ``-wal`` or ``-journal`` beside it, if it has one) in the place of ``dest``.

    Both are in the same filesystem, ``new`` inside the workplace ``directory``. ``check`` looks at the result and
    raises when it is not right; then, and on any other failure, the old content is put back. Returns the undo set
    with everything that was there before, or None when nothing was. Raises ``RefusedError`` when another process has
    the database open, unless ``force``; SQLite's own lock keeps it that way until the switch is done.
    """
    with processes.kept_out(dest, force=force):
        with doing(f"Cannot save the old database {dest}"):
            _save(dest, directory)
        try:
            with doing(f"Cannot replace {dest}"):
                _make_standalone(dest, directory / "old")
                _place(dest, new, directory / "new")
            check()
            with doing(f"Cannot keep the old database of {dest}"):
                return publish_undo(dest, directory)
        except BaseException as error:
            _put_back(dest, directory, error)
            raise


def _put_back(dest: Path, directory: Path, cause: BaseException) -> None:
    """Undo what ``install`` did so far; when that fails as well, say what is where."""
    undo = directory / UNDO
    if not undo.is_dir():
        # It has its name beside the database: all was done by then.
        return
    saved = undo / dest.name
    try:
        if not _is_still_live(dest, undo):
            if saved.exists():
                _make_standalone(dest, directory / "failed")
            else:
                files.remove_file(dest)
            _place(dest, saved, directory / "back", keep=True)
        files.remove_tree(undo)
    except (OSError, EngineError) as failure:
        first = cause if isinstance(cause, EngineError) else EngineError("", action="")
        raise type(first)(
            f"{cause} And the old content could not be put back: {failure}",
            action=None if first.action is None else "",
            hint=f"Live is now {_content_of(dest, undo)}; the old database is whole in {undo}. Look at the disk, then "
            "restore again, or undo: either puts it in order first.",
        ) from failure


def _content_of(dest: Path, undo: Path) -> str:
    """What an application would find at ``dest``, for a message."""
    if not dest.exists():
        return "nothing"
    try:
        return "the old content" if _is_same(undo / dest.name, dest) else "the new content, or the old one with its log"
    except (OSError, EngineError):
        return "what cannot be told"


def _save(dest: Path, directory: Path) -> None:
    """A second name for the main file, which is never written again once it is replaced, and copies of the rest.

    The directory gets its name when all is in it and flushed: what has the name is whole.
    """
    saving = directory / SAVING
    files.create_directory(saving)
    if dest.exists():
        files.link_or_copy(dest, saving / dest.name)
    # Beside a database that was deleted, an empty -wal or an index of it is nothing to keep.
    for suffix in (WAL, JOURNAL, SHM) if dest.exists() else (WAL, JOURNAL):
        side = database.sidecar(dest, suffix)
        if side.exists() and (dest.exists() or side.stat().st_size):
            files.copy_private(side, saving / side.name)
            owners.copy_attributes(side, saving / side.name)
    _give_to_owner_of_content(saving)
    files.sync_directory(saving)
    files.move_directory(saving, directory / UNDO)


def _give_to_owner_of_content(undo: Path) -> None:
    """Let the application that root restores a database for read and remove what was put aside."""
    saved = next(undo.iterdir(), None)
    if saved is not None:
        owners.give_directory(undo, os.lstat(saved))


def _make_standalone(path: Path, scratch: Path) -> None:
    """Leave ``path`` without sidecars and with the content that it had with them."""
    # Only an index into the -wal, made anew by whoever opens the database.
    files.remove_file(database.sidecar(path, SHM))
    if path.exists() and _has_sidecars(path):
        folded = _folded(path, scratch)
        if folded is not None:
            files.move_file(folded, path)
    for suffix in (WAL, JOURNAL):
        files.remove_file(database.sidecar(path, suffix))


def _has_sidecars(path: Path) -> bool:
    return any(files.size_of(database.sidecar(path, suffix)) for suffix in (WAL, JOURNAL))


def _folded(path: Path, scratch: Path) -> Path | None:
    """A copy of ``path`` as one file, which SQLite made from it and its sidecars; None when SQLite cannot read it.

    Only a verdict on its content means that. A disk that is full, or fails, is an error.
    """
    files.create_directory(scratch)
    folded = scratch / path.name
    with ours.place(scratch) as place:
        copy = place / path.name
        for suffix in ("", WAL, JOURNAL):
            side = database.sidecar(path, suffix)
            if side.exists():
                files.copy_private(side, database.sidecar(copy, suffix), alone=bool(suffix))
                if suffix == JOURNAL:
                    journal.make_plain(database.sidecar(copy, suffix), side)
        if not _is_folded(copy, path):
            return None
        if copy != folded:
            files.copy_private(copy, folded)
    owners.copy_attributes(path, folded)
    return folded


def _is_folded(copy: Path, path: Path) -> bool:
    """Let SQLite fold the sidecars of ``copy``, which is of ``path``, into it; whether it can read them."""
    try:
        with ours.rights(copy.parent), contextlib.closing(database.connect(copy, mode="rw")) as connection:
            # Without a -shm, of which SQLite could only say that something is wrong with the disk when it is full.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            # Which takes a hot journal back. What cannot be parsed of the schema would keep SQLite from a checkpoint.
            schema.load(connection, None)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        failure = database.from_sqlite_error(error, copy)
        if isinstance(failure, (NoSpaceError, StorageFailedError)):
            with doing(f"Cannot fold the log of {path} into a copy of it"):
                raise failure from error
        return False
    return not _has_sidecars(copy)


def _place(dest: Path, new: Path, scratch: Path, *, keep: bool = False) -> None:
    """Put ``new`` and its sidecars in the place of ``dest``, which stands alone. With ``keep`` they stay, too."""
    folded = _folded(new, scratch) if _has_sidecars(new) else None
    main = new
    if keep and new.exists():
        # What SQLite could not fold has left it.
        if not scratch.exists():
            files.create_directory(scratch)
        main = scratch / "main"
        files.link_or_copy(new, main)
    first = folded or main
    if first.exists():
        files.move_file(first, dest)
    for suffix in (WAL, JOURNAL):
        side = database.sidecar(new, suffix)
        if files.size_of(side):
            complete = scratch / f"side{suffix}"
            files.copy_private(side, complete)
            owners.copy_attributes(side, complete)
            files.move_file(complete, database.sidecar(dest, suffix))
    if folded is not None:
        files.move_file(main, dest)
