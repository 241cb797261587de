# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The restore: exactly the backup's content, or nothing is touched; and the way back."""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, processes, proof, switch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.workplace import workplace_of
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files, held, locks, owners
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    BackupNotFoundError,
    EngineError,
    NoSpaceError,
    ProofFailedError,
    RefusedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, content, restore
from support import databases, limits, manifests
from support import processes as others

BACKED_UP = ["name 0", "name 1", "name 2"]


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A database with a backup of it in ``repository``, compressed with gzip; nothing happened since."""
    directory = tmp_path / "srv"
    directory.mkdir()
    path = databases.make(directory / "agent.db")
    databases.settle(path)
    backup.run(backup.Request(path=path, repository=directory / "repository", compression="gzip"))
    return path


def _request(live: Path, **options: object) -> restore.Request:
    options = {"repository": live.parent / "repository", "dest": live, **options}
    return restore.Request(**options)  # type: ignore[arg-type]


def _files(live: Path) -> dict[str, str]:
    """Every file outside the repository."""
    found = databases.tree(live.parent)
    return {name: digest for name, digest in found.items() if not name.startswith("repository/")}


def _artifact(live: Path) -> Path:
    return next((live.parent / "repository").glob("*-full/database.sqlite.gz"))


def test_deleted_database_comes_back(live: Path) -> None:
    live.unlink()
    outcome = restore.run(_request(live))
    assert (outcome.changed, outcome.undo_set) == (True, "")
    assert files.sha256_file(live) == outcome.sha256
    assert databases.names(live) == BACKED_UP


def test_stale_wal_does_not_undo_the_restore(live: Path) -> None:
    """Case 19: SQLite would replay it over the restored file, and integrity_check would say ok."""
    databases.crashed_wal(live)
    outcome = restore.run(_request(live))
    assert not database.sidecar(live, "-wal").exists()
    assert files.sha256_file(live) == outcome.sha256
    assert databases.names(live) == BACKED_UP


def test_stale_journal_does_not_undo_the_restore(live: Path) -> None:
    """Case 19."""
    live.unlink()
    databases.crashed_journal(live)
    outcome = restore.run(_request(live))
    assert not database.sidecar(live, "-journal").exists()
    assert files.sha256_file(live) == outcome.sha256


@pytest.mark.parametrize("crash", [databases.crashed_wal, databases.crashed_journal])
def test_undo_brings_back_the_very_files(live: Path, crash: object) -> None:
    live.unlink()
    crash(live)  # type: ignore[operator]
    before = _files(live)
    outcome = restore.run(_request(live))
    undo_set = Path(outcome.undo_set)
    assert databases.tree(undo_set) == before
    restore.undo(_request(live, repository=None))
    after = _files(live)
    assert {name: after[name] for name in before} == before
    restore.undo(_request(live, repository=None))
    assert databases.names(live) == BACKED_UP


def test_restored_database_that_was_written_to_since_can_be_undone_and_redone(live: Path) -> None:
    databases.add(live, "old")
    restore.run(_request(live))
    databases.add(live, "since")
    restore.undo(_request(live))
    assert databases.names(live) == [*BACKED_UP, "old"]
    restore.undo(_request(live))
    assert databases.names(live) == [*BACKED_UP, "since"]


def test_undo_finds_by_the_repository_what_it_is_of(live: Path) -> None:
    databases.add(live, "old")
    restore.run(_request(live))
    assert restore.undo(_request(live, dest=None)).dest == live
    assert databases.names(live) == [*BACKED_UP, "old"]
    with pytest.raises(UsageError, match="neither dest nor repository"):
        restore.undo(restore.Request(None))


def test_undo_without_an_undo_set_is_not_found(live: Path) -> None:
    with pytest.raises(BackupNotFoundError):
        restore.undo(_request(live))


def test_second_restore_changes_nothing(live: Path) -> None:
    databases.add(live, "old")
    assert restore.run(_request(live)).changed
    before = _files(live)
    assert not restore.run(_request(live)).changed
    assert _files(live) == before


def test_check_mode_touches_nothing(live: Path) -> None:
    databases.add(live, "old")
    before = _files(live)
    assert restore.run(_request(live), dry_run=True).changed
    assert _files(live) == before
    restore.run(_request(live))
    before = _files(live)
    assert restore.undo(_request(live), dry_run=True).changed
    everything = databases.tree(live.parent)
    assert not restore.run(_request(live), dry_run=True).changed
    assert databases.tree(live.parent) == everything


@pytest.mark.parametrize("name", ["database.sqlite.gz", "schema.sql", "manifest.json"])
def test_any_flipped_bit_refuses_the_restore(live: Path, name: str) -> None:
    """Case 11: at every place of every artifact; the live database is not touched."""
    databases.add(live, "old")
    before = _files(live)
    artifact = _artifact(live).with_name(name)
    good = artifact.read_bytes()
    for position in range(0, len(good), max(1, len(good) // 40)):
        databases.flip_bit(artifact, position)
        with pytest.raises(BackupDamagedError):
            restore.run(_request(live))
        artifact.write_bytes(good)
    assert _files(live) == before
    assert restore.run(_request(live)).changed


@pytest.mark.parametrize("damage", ["missing", "truncated", "longer", "swapped"])
def test_damaged_artifact_refuses_the_restore(live: Path, damage: str) -> None:
    """Case 11."""
    databases.add(live, "old")
    artifact = _artifact(live)
    content = artifact.read_bytes()
    if damage == "missing":
        artifact.unlink()
    elif damage == "truncated":
        artifact.write_bytes(content[:-1])
    elif damage == "longer":
        artifact.write_bytes(content + b"\0")
    else:
        backup.run(backup.Request(path=live, repository=live.parent / "repository", compression="gzip"))
        newest = max((live.parent / "repository").glob("*-full"))
        shutil.copy(artifact, newest / artifact.name)
        databases.add(live, "older")
    before = _files(live)
    with pytest.raises(BackupDamagedError):
        restore.run(_request(live))
    assert _files(live) == before


def test_artifact_that_unpacks_to_another_image_is_not_installed(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when every stored byte is right, only the image of the manifest may get to the live database."""
    databases.add(live, "old")
    before = _files(live)
    other = bytearray(gzip.decompress(_artifact(live).read_bytes()))
    other[-1] ^= 1
    monkeypatch.setattr(codec, "open_artifact", lambda *_arguments: contextlib.nullcontext(io.BytesIO(other)))
    with pytest.raises(BackupDamagedError, match="not the image"):
        restore.run(_request(live))
    assert _files(live) == before


_HOLD_OPEN = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("SELECT count(*) FROM item").fetchone()
print("open", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only /proc tells who has a file open")
def test_open_database_is_refused_by_name(live: Path) -> None:
    """Case 19: its process would go on writing to a file that nobody finds any more."""
    databases.add(live, "old")
    before = _files(live)
    with others.running(_HOLD_OPEN, live) as process:
        with pytest.raises(RefusedError, match=f"pid {process.pid}"):
            restore.run(_request(live))
        assert {name: _files(live)[name] for name in before} == before
        assert restore.run(_request(live, force=True)).changed


def test_locked_database_is_refused_where_no_process_can_be_seen(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_by_descriptors", lambda _path: [])
    databases.add(live, "old")
    with others.running(_HOLD_OPEN, live), pytest.raises(RefusedError, match="cannot be named"):
        restore.run(_request(live))


def test_other_application_is_not_overwritten(live: Path) -> None:
    """Case 23."""
    other = databases.make(live.with_name("metrics.db"), rows=7)
    with pytest.raises(RefusedError, match="another name"):
        restore.run(_request(live, dest=other))
    live.unlink()
    databases.make(live, setup="PRAGMA application_id=77")
    with pytest.raises(RefusedError, match="application_id 77"):
        restore.run(_request(live))
    assert restore.run(_request(live, force_identity=True)).changed


def test_backup_is_chosen_by_id_or_by_time(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = backup.Repository.open_existing(live.parent / "repository").backups()[0]
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    databases.add(live, "later")
    backup.run(backup.Request(path=live, repository=live.parent / "repository"))
    copy = live.with_name("agent-copy.db")
    restore.run(_request(live, dest=copy, backup=first.id))
    assert databases.names(copy) == BACKED_UP
    copy.unlink()
    restore.run(_request(live, dest=copy, before=later - timedelta(hours=1)))
    assert databases.names(copy) == BACKED_UP
    copy.unlink()
    restore.run(_request(live, dest=copy))
    assert databases.names(copy) == [*BACKED_UP, "later"]
    for options in ({"backup": "20200101T000000Z-full"}, {"before": later - timedelta(days=9999)}):
        with pytest.raises(BackupNotFoundError):
            restore.run(_request(live, **options))


def test_before_and_backup_together_are_refused(live: Path) -> None:
    with pytest.raises(UsageError, match="both"):
        restore.run(_request(live, backup="20200101T000000Z-full", before=clock.now()))


def test_default_dest_is_where_it_came_from(live: Path) -> None:
    live.unlink()
    assert restore.run(_request(live, dest=None)).dest == live


def test_symlink_at_the_destination_is_followed(live: Path) -> None:
    link = live.with_name("link.db")
    databases.add(live, "old")
    link.symlink_to(live)
    restore.run(_request(live, dest=link))
    assert link.is_symlink()
    assert databases.names(live) == BACKED_UP


def test_mode_is_that_of_the_old_file(live: Path) -> None:
    databases.add(live, "old")
    live.chmod(0o640)
    restore.run(_request(live))
    assert live.stat().st_mode & 0o777 == 0o640
    live.unlink()
    restore.run(_request(live, mode="0604"))
    assert live.stat().st_mode & 0o777 == 0o604


def test_mode_after_a_deletion_is_that_of_the_backup(live: Path) -> None:
    live.chmod(0o620)
    backup.run(backup.Request(path=live, repository=live.parent / "repository", force=True))
    live.unlink()
    restore.run(_request(live))
    assert live.stat().st_mode & 0o777 == 0o620


@others.needs_root
@pytest.mark.root
def test_owner_after_a_deletion_is_that_of_the_backup(live: Path) -> None:
    os.chown(live, others.NOBODY, others.NOBODY)
    backup.run(backup.Request(path=live, repository=live.parent / "repository", force=True))
    live.unlink()
    restore.run(_request(live))
    assert (live.stat().st_uid, live.stat().st_gid) == (others.NOBODY, others.NOBODY)
    assert restore.run(_request(live, owner="root", mode="0600")).changed
    assert (live.stat().st_uid, live.stat().st_mode & 0o777) == (0, 0o600)
    assert not restore.run(_request(live, owner="root", mode="0600")).changed


@others.needs_root
@pytest.mark.root
@pytest.mark.parametrize("wanted", [{"owner": "4321"}, {"group": "8765"}, {"mode": "0604"}])
def test_owner_group_or_mode_alone_is_something_to_change(live: Path, wanted: dict[str, str]) -> None:
    restore.run(_request(live))
    before = _access(live)
    assert restore.run(_request(live, **wanted), dry_run=True).changed
    assert _access(live) == before
    assert restore.run(_request(live, **wanted)).changed
    expected = {"owner": (4321, *before[1:]), "group": (before[0], 8765, before[2]), "mode": (*before[:2], 0o604)}
    assert _access(live) == expected[next(iter(wanted))]
    assert not restore.run(_request(live, **wanted)).changed


def _owned(live: Path, monkeypatch: pytest.MonkeyPatch, *told: object) -> None:
    """The newest backup tells this owner, group, mode, uid and gid, as on another host, and the database is gone."""
    with monkeypatch.context() as patch:
        patch.setattr(owners, "ownership", lambda _status: told)
        backup.run(backup.Request(path=live, repository=live.parent / "repository", force=True))
    live.unlink()


def _access(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_uid, status.st_gid, status.st_mode & 0o777


GONE = "no-such-one"


@others.needs_root
@pytest.mark.root
@pytest.mark.parametrize(
    ("owner", "expected", "warning"),
    [
        # A name counts more than its number; a number counts that nobody else has here.
        (("nobody", GONE, "0664", 54321, 54322), (others.NOBODY, 54322, 0o664), ""),
        ((GONE, GONE, "0640", 54321, 54322), (54321, 54322, 0o640), ""),
        ((GONE, "root", "0640", None, None), (0, 0, 0o640), f"given to {GONE}:root, to whom it belonged"),
        ((GONE, GONE, "0644", 1, 54322), (0, 54322, 0o644), f"given to {GONE}:{GONE}, to whom it belonged"),
        (("nobody", GONE, "0664", None, 1), (others.NOBODY, 0, 0o600), "so nobody but its owner may use it"),
        ((GONE, GONE, "0666", None, None), (0, 0, 0o600), "so nobody but its owner may use it"),
        ((GONE, GONE, "0640", 2**63, 2**32 - 1), (0, 0, 0o600), "so nobody but its owner may use it"),
    ],
)
def test_owner_who_has_no_name_here_is_given_the_file_by_number(
    live: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: tuple[object, ...],
    expected: tuple[int, int, int],
    warning: str,
) -> None:
    """A restore on a new host; whoever has the number there must not get the data of somebody else."""
    _owned(live, monkeypatch, *owner)
    outcome = restore.run(_request(live))
    assert _access(live) == expected
    assert len(outcome.warnings) == bool(warning)
    assert warning in " ".join(outcome.warnings)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such owners")
@pytest.mark.parametrize("number", owners.CANNOT_BE_GIVEN)
def test_file_that_cannot_be_given_away_is_readable_by_nobody_more(
    live: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    _owned(live, monkeypatch, GONE, GONE, "0666", 54321, 54322)
    monkeypatch.setattr(os, "fchown", refuse)
    outcome = restore.run(_request(live))
    assert _access(live)[2] == 0o600
    assert f"could not be given to {GONE}:{GONE}, to whom it belonged" in outcome.warnings[0]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such owners")
def test_owner_group_and_mode_that_are_given_need_nothing_of_the_backup(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _owned(live, monkeypatch, GONE, GONE, "0666", None, None)
    uid, gid = os.geteuid(), live.parent.stat().st_gid
    outcome = restore.run(_request(live, owner=str(uid), group=str(gid)))
    assert _access(live) == (uid, gid, 0o666)
    assert outcome.warnings == []
    live.unlink()
    outcome = restore.run(_request(live, mode="0640"))
    assert _access(live)[2] == 0o640
    assert outcome.warnings == [f"the file could not be given to {GONE}:{GONE}, to whom it belonged"]


@others.needs_root
@pytest.mark.root
@pytest.mark.parametrize("undone", [False, True])
def test_user_whose_database_had_a_group_that_he_may_not_give_is_told(undone: bool) -> None:
    """Nobody reads it who could not before, and the application that now cannot has an explanation."""
    with others.open_directory() as place:
        live = databases.make(place / "agent.db")
        place.chmod(0o700)
        for each in (place, live):
            os.chown(each, others.NOBODY, others.NOBODY)
        with limits.unprivileged():
            backup.run(backup.Request(path=live, repository=place / "repository"))
            databases.add(live, "old")
            if undone:
                restore.run(_request(live))
        old = switch.newest_undo_set(live) / live.name if undone else live
        os.chown(old, 0, 8765)
        old.chmod(0o664)
        with limits.unprivileged():
            outcome = restore.undo(_request(live)) if undone else restore.run(_request(live))
        assert _access(live)[::2] == (others.NOBODY, 0o600)
    said = "could not be given to root:8765, to whom it belonged, so nobody but its owner may use it"
    assert [said in each for each in outcome.warnings] == [True]


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="this system has no extended attributes")
def test_extended_attributes_are_those_of_the_old_file(live: Path) -> None:
    """ACLs and SELinux contexts are such attributes."""
    databases.add(live, "old")
    try:
        os.setxattr(live, "user.test", b"kept")
    except OSError:
        pytest.skip("this filesystem has no extended attributes")
    restore.run(_request(live))
    assert os.getxattr(live, "user.test") == b"kept"


@pytest.mark.parametrize("old", ["wal", "journal", "clean", "missing"])
@pytest.mark.parametrize("step", ["move_file", "sync_directory", "copy_private", "check"])
def test_restore_that_fails_half_way_puts_everything_back(
    live: Path, old: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 20: at every call of a step in turn."""
    live.unlink()
    if old != "missing":
        {"wal": databases.crashed_wal, "journal": databases.crashed_journal, "clean": databases.make}[old](live)
    content = databases.tree(live.parent)
    template = live.parent.with_name("template")
    shutil.copytree(live.parent, template)
    for nth in range(1, 100):
        with monkeypatch.context() as patch:
            failed = _fail_at(patch, step, nth)
            with contextlib.suppress(OSError, EngineError):
                restore.run(_request(live))
        if not failed:
            break
        _assert_same_database(live, template / live.name)
        shutil.rmtree(live.parent)
        shutil.copytree(template, live.parent)
    else:
        pytest.fail("the step never ended")
    assert content
    assert databases.names(live) == BACKED_UP


def _fail_at(patch: pytest.MonkeyPatch, step: str, nth: int) -> list[int]:
    """Let the nth call of ``step`` fail; the list is empty while it did not come to that."""
    owner, name = (restore, "_compare_installed") if step == "check" else (files, step)
    real = getattr(owner, name)
    calls: list[int] = []
    failed: list[int] = []

    def fail(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == nth:
            failed.append(nth)
            raise OSError(5, "Input/output error")
        return real(*arguments, **options)

    patch.setattr(owner, name, fail)
    return failed


def _assert_same_database(live: Path, original: Path) -> None:
    """The content that it had: the same rows when opened, or missing as before."""
    assert live.exists() == original.exists()
    if original.exists():
        found = []
        for path in (live, original):
            copy = path.parent / "looked-at.db"
            databases.copy_live(path, copy)
            found.append(databases.names(copy))
            for suffix in ("", "-wal", "-shm", "-journal"):
                copy.with_name(copy.name + suffix).unlink(missing_ok=True)
        assert found[0] == found[1]


def _failing_check(*_arguments: object) -> list[proof.Check]:
    return [proof.Check("quick_check", proof.FAILED, "broken")]


@pytest.mark.parametrize(("checked", "level"), [("none", "quick"), ("quick", "full")])
def test_image_that_fails_its_check_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checked: str, level: str
) -> None:
    live = databases.make(tmp_path / "agent.db")
    backup.run(backup.Request(path=live, repository=tmp_path / "repository", check=checked))
    databases.add(live, "old")
    before = _files(live)
    monkeypatch.setattr(proof, "check_structure", _failing_check)
    with pytest.raises(ProofFailedError, match="quick_check"):
        restore.run(_request(live, check=level))
    assert _files(live) == before


def test_bytes_that_passed_the_quick_check_once_do_not_pass_it_again(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their SHA-256 says that they are the same; the time counts when a service waits for its database."""
    databases.add(live, "old")
    monkeypatch.setattr(proof, "check_structure", _failing_check)
    assert restore.run(_request(live)).changed


@pytest.mark.parametrize(
    "check", [proof.Check("foreign_key_check", proof.PASSED), proof.Check("quick_check", proof.INCONCLUSIVE)]
)
def test_bytes_that_never_passed_the_quick_check_pass_it_now(
    live: Path, monkeypatch: pytest.MonkeyPatch, check: proof.Check
) -> None:
    (stored,) = backup.Repository.open_existing(live.parent / "repository").backups()
    manifests.reseal(stored, checks=(check,))
    databases.add(live, "old")
    monkeypatch.setattr(proof, "check_structure", _failing_check)
    with pytest.raises(ProofFailedError, match="quick_check"):
        restore.run(_request(live))


def test_rows_are_compared_with_the_proof_by_full_only(live: Path) -> None:
    """The bytes are those of the manifest; that they hold the rows that were counted is for a full check to say."""
    (stored,) = backup.Repository.open_existing(live.parent / "repository").backups()
    manifests.reseal(stored, rows=4)
    databases.add(live, "old")
    before = _files(live)
    with pytest.raises(ProofFailedError, match="fails rows: table item has 3 rows, the manifest says 4"):
        restore.run(_request(live, check="full"))
    assert _files(live) == before
    assert restore.run(_request(live)).changed


HARMS: dict[str, Callable[[Path], object]] = {
    "another size": lambda path: path.write_bytes(path.read_bytes() + bytes(4096)),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xa5" * path.stat().st_size),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
def test_what_is_not_what_was_put_in_place_is_taken_back(
    live: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """A disk that lost what it was given shows it only when it is asked again."""
    databases.add(live, "old")
    compare = restore._compare_installed

    def harmed(dest: Path, *arguments: Any, **options: Any) -> None:
        HARMS[harm](dest)
        compare(dest, *arguments, **options)

    monkeypatch.setattr(restore, "_compare_installed", harmed)
    with pytest.raises(EngineError) as caught:
        restore.run(_request(live))
    assert isinstance(caught.value, ProofFailedError) == (harm != "gone")
    assert databases.names(live) == [*BACKED_UP, "old"]
    assert sorted(_files(live)) == ["agent.db"]


@pytest.mark.parametrize("times", [1, 2])
def test_damage_of_what_was_put_in_place_is_believed_when_it_is_found_again(
    live: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """What a disk did not give can look like it."""
    databases.add(live, "old")
    connect, found = database.connect, []

    class Doubtful(database.Connection):
        def execute(self, *arguments: Any) -> Any:
            if arguments == ("PRAGMA user_version",) and len(found) < times:
                found.append(1)
                raise sqlite3.DatabaseError("database disk image is malformed")
            return super().execute(*arguments)

    def open_there(path: Path, **options: Any) -> database.Connection:
        with monkeypatch.context() as patch:
            if path == live and options.get("immutable"):
                patch.setattr(database, "Connection", Doubtful)
            return connect(path, **options)

    monkeypatch.setattr(database, "connect", open_there)
    with pytest.raises(ProofFailedError, match="malformed") if times == 2 else contextlib.nullcontext():
        restore.run(_request(live))
    assert len(found) == times
    assert databases.names(live) == (BACKED_UP if times == 1 else [*BACKED_UP, "old"])


def test_undo_tells_of_a_repository_whose_description_is_damaged(live: Path) -> None:
    databases.add(live, "old")
    restore.run(_request(live))
    description = live.parent / "repository" / "repository.json"
    databases.flip_bit(description, description.stat().st_size // 2)
    (warning,) = restore.undo(_request(live)).warnings
    assert "repository.json" in warning


@pytest.mark.parametrize("undone", [False, True])
def test_audit_log_that_cannot_be_written_is_a_warning(live: Path, *, undone: bool) -> None:
    """The database is in place: to call that a failure would deny it."""
    databases.add(live, "old")
    if undone:
        restore.run(_request(live))
    log = live.parent / "repository" / "history.jsonl"
    log.unlink()
    log.mkdir()
    outcome = (restore.undo if undone else restore.run)(_request(live))
    assert databases.names(live) == ([*BACKED_UP, "old"] if undone else BACKED_UP)
    (warning,) = outcome.warnings
    assert "history.jsonl" in warning


def test_full_disk_is_said_before_anything_is_written(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    databases.add(live, "old")
    before = _files(live)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10, 10, 0))  # type: ignore[attr-defined]
    with pytest.raises(NoSpaceError):
        restore.run(_request(live))
    assert _files(live) == before


def test_restore_into_the_repository_is_refused(live: Path) -> None:
    with pytest.raises(RefusedError, match="inside the repository"):
        restore.run(_request(live, dest=live.parent / "repository" / "agent.db"))


def test_empty_sidecars_of_a_deleted_database_make_no_undo_set(live: Path) -> None:
    """It would hide an older set that is worth something."""
    databases.add(live, "old")
    restore.run(_request(live))
    live.unlink()
    live.with_name("agent.db-wal").write_bytes(b"")
    live.with_name("agent.db-shm").write_bytes(b"\0" * 100)
    assert restore.run(_request(live)).undo_set == ""
    restore.undo(_request(live))
    assert databases.names(live) == [*BACKED_UP, "old"]


def test_missing_directory_is_not_made_up(live: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        restore.run(_request(live, dest=live.parent / "missing" / "agent.db"))


def test_restore_from_a_read_only_repository(live: Path) -> None:
    """A medium from off-site may be mounted read-only."""
    repository = live.parent / "repository"
    live.unlink()
    shutil.rmtree(repository / ".locks", ignore_errors=True)
    before = databases.tree(repository)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "access", lambda *_arguments, **_options: False)
        assert restore.run(_request(live)).changed
    assert databases.tree(repository) == before


def test_undo_set_of_a_broken_link_is_a_file_of_its_own(live: Path) -> None:
    """A killed restore of an unreadable database may leave its main file live and saved at once."""
    databases.crashed_wal(live)
    undo = workplace_of(live) / "undo"
    undo.mkdir(parents=True)
    os.link(live, undo / live.name)
    database.sidecar(live, "-wal").rename(undo / f"{live.name}-wal")
    switch.settle(live, timeout_seconds=1)
    (undo_set,) = live.parent.glob("agent.db.before-restore.*")
    assert sorted(databases.tree(undo_set)) == ["agent.db", "agent.db-wal"]
    assert live.stat().st_nlink == 1


def test_two_restores_at_once_do_not_meet(live: Path) -> None:
    with switch.workplace(live, timeout_seconds=0, warnings=[]), pytest.raises(EngineError) as caught:
        with switch.workplace(live, timeout_seconds=0.1, warnings=[]):
            pytest.fail("both got the workplace")
    assert caught.value.code == 15
    assert not workplace_of(live).exists()


def test_workplace_that_another_run_took_away_is_made_again(live: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That run removed it, and the next one made it anew: a lock on the file that is gone would be held by both."""
    directory = workplace_of(live)
    held = locks.held
    replaced = []

    @contextlib.contextmanager
    def held_too_late(path: Path, **options: Any) -> Iterator[int]:
        with held(path, **options) as descriptor:
            if not replaced:
                replaced.append(directory.rename(directory.with_name("gone")))
                directory.mkdir(mode=0o700)
                (directory / "lock").touch(mode=0o600)
            yield descriptor

    monkeypatch.setattr(locks, "held", held_too_late)
    with switch.workplace(live, timeout_seconds=0, warnings=[]) as workplace:
        assert replaced
        assert locks.is_held(workplace / "lock")
    assert not directory.exists()


def test_workplace_that_stays_is_a_warning_and_goes_at_the_next_restore(
    live: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_where: object, **_options: object) -> None:
        raise OSError(errno.EBUSY, "on purpose")

    databases.add(live, "newer")
    with monkeypatch.context() as patched:
        patched.setattr(held, "rmdir", fail)
        warnings = restore.run(_request(live)).warnings
    assert [str(workplace_of(live)) in each for each in warnings] == [True]
    databases.add(live, "newer")
    assert restore.run(_request(live)).warnings == []
    assert not workplace_of(live).exists()


def test_restored_wal_database_stays_one(live: Path) -> None:
    live.unlink()
    restore.run(_request(live))
    assert sorted(_files(live)) == ["agent.db"]
    with contextlib.closing(sqlite3.connect(live)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_restore_that_fails_in_its_workplace_leaves_none(live: Path) -> None:
    databases.add(live, "old")
    before = _files(live)
    with pytest.raises(EngineError, match="no-such-user"):
        restore.run(_request(live, owner="no-such-user"))
    assert not workplace_of(live).exists()
    assert {name: _files(live)[name] for name in before} == before


def _expecting(value: int) -> content.Expectations:
    return content.Expectations(assertions=[{"sql": "SELECT count(*) FROM item", "equals": value}])


@pytest.mark.parametrize("check", ["quick", "full"])
def test_image_must_be_as_expected(live: Path, check: str) -> None:
    databases.add(live, "old")
    before = _files(live)
    with pytest.raises(ProofFailedError, match=r"expected 4, found 3.*--ignore-expectations") as caught:
        restore.run(_request(live, check=check, expectations=_expecting(4)))
    assert caught.value.code == 17
    assert _files(live) == before
    outcome = restore.run(_request(live, check=check, expectations=_expecting(3)))
    checks = {each.name: each.outcome for each in outcome.checks}
    assert checks["assertion SELECT count(*) FROM item"] == "passed"
    assert ("integrity_check" in checks, "rows" in checks) == (check == "full", check == "full")


def test_what_is_right_already_must_be_as_expected(live: Path) -> None:
    assert not restore.run(_request(live, expectations=_expecting(3))).changed
    with pytest.raises(ProofFailedError, match="expected 4, found 3"):
        restore.run(_request(live, expectations=_expecting(4)))


def test_rehearsal_is_not_in_the_audit_log(live: Path) -> None:
    repository = backup.Repository.open_existing(live.parent / "repository")
    restore.run(_request(live, dest=live.parent / "elsewhere.db", rehearsal=True, force_identity=True))
    assert [each["event"] for each in repository.history()] == ["backup"]
