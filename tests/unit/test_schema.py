# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A schema that this SQLite cannot parse, or may not run, is no damage, unless it wrote it itself."""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import SourceCorruptError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore, verify
from support import databases

WITH_JSON = {
    "an index": "CREATE INDEX i ON item(json_extract(name, '$.a'))",
    "an index with an arrow": "CREATE INDEX i ON item(name ->> '$.a')",
    "a partial index": "CREATE INDEX i ON item(id) WHERE json_extract(name, '$.a') > 3",
    "a generated column": "ALTER TABLE item ADD COLUMN a AS (json_extract(name, '$.a'))",
}
NEWER = 3_099_000


def with_json(path: Path, statement: str) -> Path:
    databases.make(path, rows=0)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executemany("INSERT INTO item(name) VALUES (?)", [(f'{{"a": {number}}}',) for number in range(100)])
        connection.execute(statement)
    return path


def of_the_future(path: Path, *, version: int = NEWER, kind: str = "VIEW") -> Path:
    """A database with words that no SQLite understands yet, last written by the release ``version``."""
    databases.make(path, rows=500, page_size=512, journal_mode="delete")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        made = {"VIEW": "v AS SELECT 1 AS name", "INDEX": "v ON item(name)"}[kind]
        connection.execute(f"CREATE {kind} {made}")
        connection.execute("PRAGMA writable_schema=ON")
        sql = f"CREATE {kind} {made} SOMEHOW ELSE"
        connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'v'", (sql,))
    content = bytearray(path.read_bytes())
    content[96:100] = struct.pack(">I", version)
    path.write_bytes(content)
    return path


def backed_up(path: Path, **options: object) -> backup.Outcome:
    return backup.run(backup.Request(path, path.parent / "repository", compression="none", **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", WITH_JSON)
def test_what_is_made_with_json_is_checked_as_everything_else(tmp_path: Path, kind: str) -> None:
    path = with_json(tmp_path / "agent.db", WITH_JSON[kind])
    outcome = backed_up(path)
    assert outcome.error is None
    assert outcome.backup is not None
    assert outcome.backup.verified
    assert outcome.backup.trusted().proof is not None
    assert outcome.tables["item"] == 100
    assert verify.verify_database(path, verify.Expectations("full")).outcome == proof.PASSED
    restore.run(restore.Request(tmp_path / "repository", dest=path))


def test_damage_beside_json_is_found(tmp_path: Path) -> None:
    path = with_json(tmp_path / "agent.db", WITH_JSON["an index"])
    content = bytearray(path.read_bytes())
    # The last page is of the index.
    content[-4096:] = b"\xff" * 4096
    path.write_bytes(content)
    assert isinstance(backed_up(path).error, SourceCorruptError)


@pytest.mark.parametrize("kind", ["VIEW", "INDEX"])
def test_what_a_newer_sqlite_wrote_is_backed_up_and_not_suspect(tmp_path: Path, kind: str) -> None:
    path = of_the_future(tmp_path / "agent.db", kind=kind)
    outcome = backed_up(path)
    assert outcome.error is None
    assert outcome.backup is not None
    document = outcome.backup.trusted()
    assert not document.suspect
    assert [each.outcome for each in document.checks] == [proof.INCONCLUSIVE]
    assert "3.99.0 wrote it" in outcome.warnings[0]
    assert outcome.tables == {"item": 500}
    content = path.read_bytes()
    path.unlink()
    # Without force.
    restore.run(restore.Request(tmp_path / "repository", dest=path, check="full"))
    assert path.read_bytes() == content
    result = verify.verify_database(path, verify.Expectations("full"))
    assert result.outcome == proof.INCONCLUSIVE


def test_what_this_sqlite_wrote_it_can_parse_or_it_is_damaged(tmp_path: Path) -> None:
    path = of_the_future(tmp_path / "agent.db", version=3_007_000)
    assert isinstance(backed_up(path).error, SourceCorruptError)


def test_damage_is_found_in_what_a_newer_sqlite_wrote(tmp_path: Path) -> None:
    path = of_the_future(tmp_path / "agent.db")
    content = bytearray(path.read_bytes())
    content[2048:2560] = b"\xff" * 512
    path.write_bytes(content)
    assert isinstance(backed_up(path).error, SourceCorruptError)


def test_suspect_backup_holds_what_is_only_in_the_log(tmp_path: Path) -> None:
    """One consistent image, taken under the same transaction as any other."""
    path = databases.make(tmp_path / "agent.db", rows=10)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("CREATE VIEW v AS SELECT 1")
    with contextlib.closing(databases.open_writer(path)) as application:
        application.execute("PRAGMA writable_schema=ON")
        application.execute("UPDATE sqlite_master SET sql = 'CREATE VIEW v AS SOMEHOW ELSE' WHERE name = 'v'")
        application.executemany("INSERT INTO item(name) VALUES (?)", [("only in the log",)] * 100)
        outcome = backed_up(path)
    assert isinstance(outcome.error, SourceCorruptError)
    assert outcome.backup is not None
    dest = tmp_path / "restored" / "agent.db"
    dest.parent.mkdir()
    restore.run(restore.Request(tmp_path / "repository", backup=outcome.backup.id, dest=dest, force=True))
    with contextlib.closing(sqlite3.connect(dest)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        assert connection.execute("SELECT count(*) FROM item").fetchone() == (110,)
