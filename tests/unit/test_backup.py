# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup as a whole: what is stored, when nothing is, and what must never be taken for a good backup."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import sqlite3
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import Manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    RefusedError,
    RepositoryLockedError,
    SourceBusyError,
    SourceCorruptError,
    SourceMissingError,
    StorageFailedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore, verify
from support import databases, processes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return databases.make(tmp_path / "agent.db")


@pytest.fixture
def request_for(tmp_path: Path, source: Path) -> backup.Request:
    return backup.Request(path=source, repository=tmp_path / "repository", compression="gzip")


def _stored(outcome: backup.Outcome) -> Manifest:
    assert outcome.backup is not None
    return outcome.backup.trusted()


def _ids(request: backup.Request) -> list[str]:
    return [each.id for each in Repository.open_existing(request.repository).backups()]


def _restored(request: backup.Request, dest: Path) -> Path:
    restore.run(restore.Request(repository=request.repository, dest=dest, check="full"))
    return dest


def test_first_backup_is_stored_and_restores_to_the_same_rows(tmp_path: Path, request_for: backup.Request) -> None:
    outcome = backup.run(request_for)
    assert outcome.changed
    document = _stored(outcome)
    assert (document.type, document.parent, document.sequence) == ("full", None, 1)
    assert document.proof is not None
    assert document.proof.tables == {"item": 3}
    assert databases.names(_restored(request_for, tmp_path / "agent-copy.db")) == ["name 0", "name 1", "name 2"]


def test_second_backup_of_the_same_content_is_a_confirmation(
    request_for: backup.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is stored, and the age for the RPO starts anew."""
    first = backup.run(request_for)
    before = {name for name in databases.tree(request_for.repository) if not name.endswith((".lock", ".jsonl"))}
    later = clock.now() + timedelta(hours=1)
    monkeypatch.setattr(clock, "now", lambda: later)
    second = backup.run(request_for)
    assert not second.changed
    assert second.changed_pages == 0
    assert first.backup is not None
    assert second.backup is not None
    assert second.backup.id == first.backup.id
    assert clock.from_text(second.backup.confirmed) == later
    after = {name for name in databases.tree(request_for.repository) if not name.endswith((".lock", ".jsonl"))}
    assert after - before == {".locks/checks", f"{first.backup.id}/checks.json"}


def test_a_commit_makes_a_new_backup(request_for: backup.Request, source: Path) -> None:
    backup.run(request_for)
    databases.add(source, "new")
    assert backup.run(request_for).changed
    assert len(_ids(request_for)) == 2


@pytest.mark.parametrize("wanted", [{"force": True}, {"pinned": True}, {"tags": ("release",)}])
def test_what_the_newest_backup_lacks_is_stored_though_nothing_changed(
    request_for: backup.Request, wanted: dict[str, object]
) -> None:
    backup.run(request_for)
    request = dataclasses.replace(request_for, **wanted)
    outcome = backup.run(request)
    assert outcome.changed
    assert _stored(outcome).pinned == wanted.get("pinned", False)
    assert backup.run(request).changed == wanted.get("force", False)


def test_included_file_that_changed_makes_a_new_backup(tmp_path: Path, request_for: backup.Request) -> None:
    schema = tmp_path / "schema.prisma"
    schema.write_text("model AgentRun {}")
    request = dataclasses.replace(request_for, include=(Include(schema, "prisma/schema.prisma"),))
    first = backup.run(request)
    assert first.backup is not None
    assert (first.backup.path / "files/prisma/schema.prisma").read_text() == "model AgentRun {}"
    assert not backup.run(request).changed
    schema.write_text("model Other {}")
    assert backup.run(request).changed


def test_damaged_newest_backup_is_never_confirmed(request_for: backup.Request) -> None:
    """The content is the same, but nobody could restore it from there."""
    first = backup.run(request_for)
    assert first.backup is not None
    databases.flip_bit(first.backup.path / "database.sqlite.gz", 20)
    second = backup.run(request_for)
    assert second.changed
    assert any("damaged" in each for each in second.warnings)


def test_check_mode_decides_the_same_and_leaves_nothing(
    tmp_path: Path, request_for: backup.Request, source: Path
) -> None:
    before = databases.tree(tmp_path)
    assert backup.run(request_for, dry_run=True).changed
    assert not request_for.repository.exists()
    backup.run(request_for)
    stored = databases.tree(tmp_path)
    assert not backup.run(request_for, dry_run=True).changed
    databases.add(source, "new")
    assert backup.run(request_for, dry_run=True).changed
    after = databases.tree(tmp_path)
    changed = {name for name in stored if stored[name] != after.get(name)} - {"agent.db"}
    assert (changed, set(after) - set(stored)) == (set(), set())
    assert set(before) == {"agent.db"}


def test_everything_is_private_from_its_first_byte(
    tmp_path: Path, request_for: backup.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an umask of 0, and seen while the run works, not only after it."""
    include = tmp_path / "log"
    include.write_text("secret")
    seen: list[tuple[Path, int]] = []

    def look(*_arguments: object) -> None:
        seen.extend(
            (path, path.stat().st_mode & 0o077) for path in [request_for.repository, *request_for.repository.rglob("*")]
        )

    old_umask = os.umask(0)
    try:
        backup.run(dataclasses.replace(request_for, include=(Include(include, "deep/log"),)), progress=look)
    finally:
        os.umask(old_umask)
    look()
    assert len(seen) > 10
    assert [path for path, others in seen if others] == []


def test_existing_wide_open_repository_is_made_private(request_for: backup.Request) -> None:
    request_for.repository.mkdir(mode=0o755)
    backup.run(request_for)
    assert request_for.repository.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", "zstd"])
def test_plain_tools_unpack_a_full_backup(tmp_path: Path, request_for: backup.Request, compression: str) -> None:
    """A person needs none of our code."""
    program = {"none": "cat", "gzip": "gzip", "xz": "xz", "zstd": "zstd"}[compression]
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    outcome = backup.run(dataclasses.replace(request_for, compression=compression))
    assert outcome.backup is not None
    (artifact,) = outcome.backup.path.glob("database.sqlite*")
    arguments = [program, str(artifact)] if program == "cat" else [program, "-d", "-c", str(artifact)]
    unpacked = tmp_path / "unpacked.db"
    unpacked.write_bytes(subprocess.run(arguments, capture_output=True, check=True).stdout)
    assert databases.names(unpacked) == ["name 0", "name 1", "name 2"]
    assert "CREATE TABLE item" in (outcome.backup.path / "schema.sql").read_text()


def test_missing_source_creates_nothing(tmp_path: Path) -> None:
    """Case 6."""
    request = backup.Request(path=tmp_path / "missing.db", repository=tmp_path / "repository")
    with pytest.raises(SourceMissingError):
        backup.run(request)
    assert list(tmp_path.iterdir()) == []


def test_empty_source_needs_to_be_allowed(tmp_path: Path, request_for: backup.Request, source: Path) -> None:
    """Case 7: a backup of nothing must not pass for one of the database that was there."""
    source.write_bytes(b"")
    with pytest.raises(SourceMissingError, match="zero bytes"):
        backup.run(request_for)
    allowed = dataclasses.replace(request_for, allow_empty=True)
    outcome = backup.run(allowed)
    assert _stored(outcome).image.bytes == 0
    assert not backup.run(allowed).changed
    assert _restored(request_for, tmp_path / "agent-copy.db").read_bytes() == b""


def _corrupt(path: Path) -> None:
    """Overwrite the table's pages, not the header."""
    content = bytearray(path.read_bytes())
    content[4096:8192] = b"\x00\xff" * 2048
    path.write_bytes(content)


def test_corrupt_source_is_kept_as_suspect_and_fails(tmp_path: Path, request_for: backup.Request, source: Path) -> None:
    """Case 10: the bytes are saved, the run fails with 12, and nothing takes that backup for a good one."""
    good = backup.run(request_for)
    assert good.backup is not None
    _corrupt(source)
    outcome = backup.run(request_for)
    assert isinstance(outcome.error, SourceCorruptError)
    assert good.backup.id in outcome.error.hint
    assert _stored(outcome).suspect
    assert outcome.backup is not None
    assert not outcome.backup.verified
    again = backup.run(request_for)
    assert (again.changed, type(again.error)) == (False, SourceCorruptError)
    suspect, dest = outcome.backup.id, tmp_path / "agent-copy.db"
    with pytest.raises(RefusedError, match="suspect"):
        restore.run(restore.Request(repository=request_for.repository, backup=suspect, dest=dest))
    repository = Repository.open_existing(request_for.repository)
    assert verify.verify_backups(repository, suspect, verify.Expectations()).outcome == "failed"


@pytest.mark.parametrize("readable", [True, False])
def test_check_mode_on_a_fresh_host_finds_a_corrupt_source(
    tmp_path: Path, request_for: backup.Request, source: Path, readable: bool
) -> None:
    """The run would fail, so the preview must not promise a good backup; and there is nowhere to copy it to."""
    if readable:
        _corrupt(source)
    else:
        source.write_bytes(source.read_bytes()[:4096])
    before = databases.tree(tmp_path)
    assert isinstance(backup.run(request_for, dry_run=True).error, SourceCorruptError)
    assert databases.tree(tmp_path) == before


def test_check_mode_leaves_no_sidecar_that_was_not_there(tmp_path: Path, request_for: backup.Request) -> None:
    """After a crash there is a ``-wal`` without its ``-shm``, which whoever opens the database creates."""
    backup.run(request_for)
    databases.crashed_wal(request_for.path)
    before = databases.tree(tmp_path)
    assert backup.run(request_for, dry_run=True).changed
    assert backup.run(dataclasses.replace(request_for, repository=tmp_path / "other"), dry_run=True).changed
    assert databases.tree(tmp_path) == before


@pytest.mark.parametrize("damage", ["truncated", "header"])
def test_source_that_sqlite_cannot_open_is_kept_byte_for_byte(
    tmp_path: Path, request_for: backup.Request, source: Path, damage: str
) -> None:
    content = source.read_bytes()
    content = content[:4096] if damage == "truncated" else content[:16] + b"\x00\x03" + content[18:]
    source.write_bytes(content)
    source.with_name("agent.db-wal").write_bytes(b"what was committed last")
    outcome = backup.run(request_for)
    assert isinstance(outcome.error, SourceCorruptError)
    assert _stored(outcome).suspect
    assert outcome.backup is not None
    assert (outcome.backup.path / "database.sqlite-wal").read_bytes() == b"what was committed last"
    dest = tmp_path / "agent-copy.db"
    wanted = outcome.backup.id
    restore.run(restore.Request(repository=request_for.repository, backup=wanted, dest=dest, force=True))
    assert dest.read_bytes() == content


def test_hot_journal_stores_nothing(tmp_path: Path) -> None:
    """Case 4."""
    source = databases.crashed_journal(tmp_path / "agent.db")
    before = databases.tree(tmp_path)
    request = backup.Request(path=source, repository=tmp_path / "repository")
    with pytest.raises(SourceCorruptError, match="needs recovery"):
        backup.run(request)
    after = databases.tree(tmp_path)
    assert {name: digest for name, digest in after.items() if not name.startswith("repository/")} == before
    assert _ids(request) == []


@pytest.fixture
def moved_clock(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """A clock that shows what is in the list."""
    moment = [datetime(2025, 12, 30, 12, tzinfo=timezone.utc)]
    monkeypatch.setattr(clock, "now", lambda: moment[0])
    return moment


def test_clock_that_goes_backwards_prevents_nothing(
    request_for: backup.Request, source: Path, moved_clock: list[datetime]
) -> None:
    """Case 14: the sequence orders the backups, and the result carries a warning."""
    backup.run(request_for)
    databases.add(source, "second")
    moved_clock[0] -= timedelta(days=3)
    outcome = backup.run(request_for)
    assert any("clock went backwards" in each for each in outcome.warnings)
    assert _ids(request_for) == ["20251230T120000Z-full", "20251227T120000Z-full"]
    databases.add(source, "third")
    moved_clock[0] += timedelta(days=1)
    backup.run(request_for)
    assert _ids(request_for)[-1] == "20251228T120000Z-full"


def test_two_backups_in_one_second_get_two_ids(
    request_for: backup.Request, source: Path, moved_clock: list[datetime]
) -> None:
    backup.run(request_for)
    databases.add(source, "second")
    assert moved_clock
    backup.run(request_for)
    assert _ids(request_for) == ["20251230T120000Z-full", "20251230T120001Z-full"]


def test_two_runs_at_once_wait_for_each_other(request_for: backup.Request) -> None:
    """Case 15: the second run fails with the holder's name, or waits."""
    backup.run(request_for)
    request = dataclasses.replace(request_for, lock_timeout_seconds=0.2, force=True)
    with locks.held(request_for.repository / ".lock", timeout_seconds=0):
        with pytest.raises(RepositoryLockedError, match=f"process {os.getpid()}"):
            backup.run(request)
    assert backup.run(request).changed


def test_runs_of_many_processes_store_whole_backups_only(request_for: backup.Request) -> None:
    code = """
import sys
from pathlib import Path
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
print("ready", flush=True)
sys.stdin.readline()
outcome = backup.run(backup.Request(path=Path(sys.argv[1]), repository=Path(sys.argv[2]), force=True))
print(outcome.backup.id)
"""
    with contextlib.ExitStack() as stack:
        runs = [
            stack.enter_context(processes.running(code, request_for.path, request_for.repository))
            for _round in range(4)
        ]
        for each in runs:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        printed = [each.stdout.readline().strip() for each in runs if each.stdout]
    assert sorted(printed) == sorted(_ids(request_for))
    assert len(set(printed)) == 4
    repository = Repository.open_existing(request_for.repository)
    assert verify.verify_backups(repository, "all", verify.Expectations("full")).outcome == "passed"


def test_symlink_is_followed_to_the_wal_of_the_database(tmp_path: Path) -> None:
    """Case 16: beside the link there is no ``-wal``."""
    real = databases.crashed_wal(tmp_path / "real.db")
    databases.settle(real)
    link = tmp_path / "agent.db"
    link.symlink_to(real)
    request = backup.Request(path=link, repository=tmp_path / "repository")
    backup.run(request)
    assert databases.names(_restored(request, tmp_path / "agent-copy.db"))[-1] == "only in wal"


def test_hard_link_is_refused(request_for: backup.Request, tmp_path: Path) -> None:
    """Case 16: through another name SQLite would miss what is in the ``-wal``."""
    os.link(request_for.path, tmp_path / "other.db")
    with pytest.raises(RefusedError, match="hard links"):
        backup.run(request_for)


@pytest.mark.parametrize(
    "name",
    [
        "with space",
        "it's",
        'a "quote"',
        "line\nbreak",
        "100%41?x=1#y",
        "-rf",
        "Größe-データ",
        "semi;colon&$(id)`id`",
        b"\xff\xfe",
    ],
)
def test_strange_paths(tmp_path: Path, name: str | bytes) -> None:
    """Case 18: no path reaches a shell or an URI unquoted."""
    directory = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), os.fsencode(name))))
    directory.mkdir()
    source = databases.crashed_wal(directory / f"{directory.name}.db")
    request = backup.Request(path=source, repository=directory / f"repository {directory.name}")
    for expected in (True, False):
        assert backup.run(request).changed == expected
    assert databases.names(_restored(request, directory / f"{directory.name}-copy.db"))[-1] == "only in wal"


_FEATURES = {
    "auto_vacuum": "PRAGMA auto_vacuum=FULL; CREATE TABLE x(a)",
    "incremental_vacuum": "PRAGMA auto_vacuum=INCREMENTAL; CREATE TABLE x(a)",
    "utf16le": "PRAGMA encoding='UTF-16le'; CREATE TABLE x(a); INSERT INTO x VALUES('Größe')",
    "utf16be": "PRAGMA encoding='UTF-16be'; CREATE TABLE x(a); INSERT INTO x VALUES('Größe')",
    "without_rowid": "CREATE TABLE x(a PRIMARY KEY, b) WITHOUT ROWID; INSERT INTO x VALUES(1, 2)",
    "generated": "CREATE TABLE x(a, b AS (a * 2) STORED, c AS (a * 3)); INSERT INTO x VALUES(1)",
    "settings": "PRAGMA user_version=-7; PRAGMA application_id=1234; CREATE TABLE x(a)",
    "views": "CREATE TABLE x(a); CREATE VIEW v AS SELECT a FROM x; CREATE TRIGGER t INSERT ON x BEGIN SELECT 1; END",
    "strange_names": 'CREATE TABLE "it\'s "" a\nname"(a); INSERT INTO "it\'s "" a\nname" VALUES(1)',
    "autoincrement": "CREATE TABLE x(a INTEGER PRIMARY KEY AUTOINCREMENT); INSERT INTO x VALUES(5)",
    "strict": "CREATE TABLE x(a INT) STRICT; INSERT INTO x VALUES(1)",
    "fts5": "CREATE VIRTUAL TABLE f USING fts5(body); INSERT INTO f VALUES('some words')",
    "rtree": "CREATE VIRTUAL TABLE r USING rtree(id, x0, x1); INSERT INTO r VALUES(1, 2, 3)",
}


def _everything(path: Path) -> list[object]:
    """All that a restored database must have again, read without the engine."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        found: list[object] = [
            connection.execute(f"PRAGMA {pragma}").fetchone()
            for pragma in ("page_size", "encoding", "auto_vacuum", "user_version", "application_id", "journal_mode")
        ]
        schema = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name").fetchall()
        found.append(schema)
        for name in [name for kind, name, _table, _sql in schema if kind == "table"]:
            quoted = name.replace('"', '""')
            found.append((name, connection.execute(f'SELECT * FROM "{quoted}"').fetchall()))
    return found


@pytest.mark.parametrize("page_size", [512, 65536])
@pytest.mark.parametrize("feature", _FEATURES)
def test_every_kind_of_database_comes_back_as_it_was(tmp_path: Path, feature: str, page_size: int) -> None:
    """Cases 21 and 22."""
    if feature == "strict" and sqlite3.sqlite_version_info < (3, 37):
        pytest.skip("this SQLite knows no STRICT tables")
    source = databases.make(tmp_path / "agent.db", page_size=page_size, setup=_FEATURES[feature])
    request = backup.Request(path=source, repository=tmp_path / "repository", check="full")
    assert backup.run(request).error is None
    assert _everything(_restored(request, tmp_path / "agent-copy.db")) == _everything(source)


@pytest.mark.slow
def test_database_over_one_gib_has_a_lock_byte_page(tmp_path: Path) -> None:
    """Case 21: the page at 1 GiB belongs to the locks, and is never in the database's own data."""
    source = databases.make(tmp_path / "agent.db", page_size=65536, journal_mode="delete")
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=OFF")
        connection.execute("CREATE TABLE big(data)")
        for _round in range(3):
            connection.execute("INSERT INTO big VALUES(zeroblob(380000000))")
        connection.execute("INSERT INTO item(name) VALUES('behind the lock byte')")
    assert source.stat().st_size > 1 << 30
    request = backup.Request(path=source, repository=tmp_path / "repository")
    assert backup.run(request).error is None
    assert databases.names(_restored(request, tmp_path / "agent-copy.db"))[-1] == "behind the lock byte"


def test_virtual_table_of_a_missing_module_is_backed_up_with_a_warning(
    request_for: backup.Request, source: Path
) -> None:
    """Case 22."""
    databases.with_missing_module(source, "not_here(a)")
    outcome = backup.run(request_for)
    assert outcome.error is None
    assert outcome.warnings == ["unverifiable: needs module not_here"]
    repository = Repository.open_existing(request_for.repository)
    assert verify.verify_backups(repository, "latest", verify.Expectations("full")).outcome == "inconclusive"


def test_table_whose_name_is_no_utf8_does_not_make_a_database_suspect(
    request_for: backup.Request, source: Path
) -> None:
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE odd_one(a)")
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET name = CAST(x'6fff' AS TEXT), tbl_name = CAST(x'6fff' AS TEXT), "
            "sql = CAST(x'435245415445205441424c4520226fff2228612900' AS TEXT) WHERE name = 'odd_one'"
        )
    outcome = backup.run(request_for)
    assert outcome.error is None
    document = _stored(outcome)
    assert document.proof is not None
    assert document.proof.tables == {"item": 3}


@pytest.mark.parametrize("place", ["the database itself", "a file", "a directory with other files"])
def test_repository_must_have_a_place_of_its_own(tmp_path: Path, request_for: backup.Request, place: str) -> None:
    """Case 26, and the neighbours of it."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "other").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    path = {"the database itself": request_for.path, "a file": tmp_path / "file"}.get(place, tmp_path / "full")
    before = databases.tree(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(UsageError):
            backup.run(dataclasses.replace(request_for, repository=path), dry_run=dry_run)
    assert databases.tree(tmp_path) == before


def test_include_of_the_database_itself_is_refused(request_for: backup.Request) -> None:
    """Case 26: reading and closing it would drop the lock that pins the image."""
    with pytest.raises(UsageError, match="database itself"):
        backup.run(dataclasses.replace(request_for, include=(Include(request_for.path, "copy"),)))


def test_encrypted_database_is_said_to_look_random(tmp_path: Path) -> None:
    """Case 27: SQLCipher encrypts the header, too."""
    (tmp_path / "agent.db").write_bytes(os.urandom(8192))
    with pytest.raises(SourceMissingError, match="SQLCipher"):
        backup.run(backup.Request(path=tmp_path / "agent.db", repository=tmp_path / "repository"))


def test_two_databases_do_not_share_a_repository(tmp_path: Path, request_for: backup.Request) -> None:
    backup.run(request_for)
    (tmp_path / "elsewhere").mkdir()
    other = databases.make(tmp_path / "elsewhere" / "agent.db")
    with pytest.raises(RefusedError, match="still exists"):
        backup.run(dataclasses.replace(request_for, path=other))
    with pytest.raises(RefusedError, match="not of 'other'"):
        backup.run(dataclasses.replace(request_for, name="other"))


def test_database_that_moved_keeps_its_repository(tmp_path: Path, request_for: backup.Request, source: Path) -> None:
    backup.run(request_for)
    (tmp_path / "elsewhere").mkdir()
    moved = source.rename(tmp_path / "elsewhere" / "agent.db")
    databases.add(moved, "new")
    assert backup.run(dataclasses.replace(request_for, path=moved)).changed
    assert Repository.open_existing(request_for.repository).source == str(moved)


def test_failed_run_is_in_the_audit_log(request_for: backup.Request, source: Path) -> None:
    backup.run(request_for)
    source.unlink()
    with pytest.raises(EngineError):
        backup.run(request_for)
    last = Repository.open_existing(request_for.repository).history()[-1]
    assert (last["event"], last["outcome"], last["code"]) == ("backup", "failed", 10)


def test_failure_of_the_system_that_nobody_expected_is_told_like_any_other(
    request_for: backup.Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.run(request_for)

    def fail(*_arguments: object) -> bool:
        raise OSError(errno.EIO, "x", "/elsewhere")

    monkeypatch.setattr(Repository, "remove_leftovers", fail)
    told = f"Cannot back up {request_for.path}: {os.strerror(errno.EIO).lower()} (/elsewhere)."
    with pytest.raises(StorageFailedError, match=f"^{re.escape(told)}"):
        backup.run(request_for)
    assert Repository.open_existing(request_for.repository).history()[-1]["message"] == told


def test_busy_source_stores_nothing(request_for: backup.Request, source: Path) -> None:
    with contextlib.closing(sqlite3.connect(source, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SourceBusyError):
            backup.run(dataclasses.replace(request_for, timeout_seconds=0.1))
    assert _ids(request_for) == []
    assert not list(request_for.repository.glob(".staging*"))


def _log_cannot_be_written(repository: Path) -> None:
    (repository / "history.jsonl").unlink()
    (repository / "history.jsonl").mkdir()


@pytest.mark.parametrize("changed", [True, False])
def test_audit_log_that_cannot_be_written_is_a_warning(request_for: backup.Request, *, changed: bool) -> None:
    """The backup is there, or confirmed: to call the run failed would deny that."""
    backup.run(request_for)
    _log_cannot_be_written(request_for.repository)
    if changed:
        databases.add(request_for.path, "later")
    outcome = backup.run(request_for)
    assert (outcome.changed, outcome.error) == (changed, None)
    assert len(_ids(request_for)) == 1 + changed
    (warning,) = outcome.warnings
    assert "history.jsonl" in warning
    newest = Repository.open_existing(request_for.repository).backups()[-1]
    assert bool(newest.confirmed) != changed


def test_audit_log_that_cannot_be_written_does_not_hide_a_failure(request_for: backup.Request) -> None:
    backup.run(request_for)
    _log_cannot_be_written(request_for.repository)
    request_for.path.unlink()
    with pytest.raises(SourceMissingError):
        backup.run(request_for)
