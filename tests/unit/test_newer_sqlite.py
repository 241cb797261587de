# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that brings a newer SQLite than that of Python here: what the two say of its database."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import SourceCorruptError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore, verify
from support import databases, keys, manifests

newer: Any = pytest.importorskip("pysqlite3", reason="the SQLite of PyPI is not here: see tests/requirements/test.txt")

# What is new in SQL, by the release that brought it: https://www.sqlite.org/changes.html
NEW = {
    "an ordered aggregate": (
        (3, 44),
        "CREATE VIEW listed AS SELECT group_concat(name, ',' ORDER BY id DESC) AS names FROM item",
    ),
    "digit separators in a table": ((3, 46), "CREATE TABLE counted(number CHECK (number < 1_000))"),
    "digit separators in an index": ((3, 46), "CREATE INDEX large ON item(name) WHERE id > 1_00"),
    "an expression of RAISE": (
        (3, 47),
        "CREATE TRIGGER kept BEFORE DELETE ON item BEGIN SELECT RAISE(ABORT, 'keep ' || OLD.name); END",
    ),
}
ROWS = 300
PAGE_SIZE = 512


def unknown_here(kind: str) -> str:
    """The statement of ``kind``, which the SQLite of Python cannot parse, and the one from PyPI can."""
    since, statement = NEW[kind]
    if sqlite3.sqlite_version_info >= since:
        pytest.skip(f"SQLite {sqlite3.sqlite_version} of this Python knows {kind}")
    return statement


def written(path: Path, *statements: str) -> Path:
    """A database whose last writer was the newer SQLite."""
    databases.make(path, rows=ROWS, page_size=PAGE_SIZE, journal_mode="delete")
    with contextlib.closing(newer.connect(str(path), isolation_level=None)) as application:
        for each in statements:
            application.execute(each)
        if any("counted" in each for each in statements):
            application.executemany("INSERT INTO counted VALUES (?)", [(number,) for number in range(50)])
    return path


def rows_for_the_application(path: Path) -> dict[str, list[Any]]:
    """All rows of each table and view, as the newer SQLite reads them."""
    with contextlib.closing(newer.connect(str(path))) as application:
        assert application.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        names = application.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
        return {name: application.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}


def backed_up(path: Path, **options: Any) -> backup.Outcome:
    return backup.run(backup.Request(path, path.parent / "repository", compression="none", **options))


def verified_by_the_newer(repository: Path, identity: Path | None = None) -> dict[str, Any]:
    """``verify`` at its deepest on a host whose Python has the newer SQLite."""
    engine = "ansible_collections.sqliteops.backup.plugins.module_utils._engine"
    code = f"""
import json, pathlib, sys
import pysqlite3
sys.modules["sqlite3"] = pysqlite3
from {engine}.repository import repository
from {engine}.sealed import encryption
from {engine}.work import verify
path, identity = sys.argv[1:]
keys = encryption.Keys(pathlib.Path(identity)) if identity else encryption.NO_KEYS
opened = repository.Repository.open_existing(pathlib.Path(path))
result = verify.verify_backups(opened, "latest", verify.Expectations("full"), keys=keys)
checks = {{each.name: [each.outcome, each.detail] for each in result.checks}}
print(json.dumps({{"checks": checks, "code": result.error.code if result.error else 0}}))
"""
    command = [sys.executable, "-c", code, str(repository), str(identity or "")]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("kind", NEW)
def test_healthy_database_of_a_newer_sqlite_is_kept_whole_and_not_called_corrupt(
    tmp_path: Path, kind: str, level: str
) -> None:
    path = written(tmp_path / "agent.db", unknown_here(kind))
    content, rows = path.read_bytes(), rows_for_the_application(path)

    outcome = backed_up(path, check=level)

    assert outcome.error is None
    assert outcome.backup is not None
    document = outcome.backup.trusted()
    assert not document.suspect
    assert {each.outcome for each in document.checks} == {proof.INCONCLUSIVE}
    for said in (sqlite3.sqlite_version, newer.sqlite_version, "malformed database schema"):
        assert said in outcome.warnings[0]
    repository = Repository.open_existing(tmp_path / "repository")
    assert verify.verify_backups(repository, "latest", verify.Expectations("quick")).error is None
    deep = verify.verify_backups(repository, "latest", verify.Expectations("full"))
    assert (deep.outcome, deep.error and deep.error.code) == (proof.INCONCLUSIVE, 19)
    path.unlink()
    # Without force.
    restore.run(restore.Request(tmp_path / "repository", dest=path, check=level))
    assert path.read_bytes() == content
    assert rows_for_the_application(path) == rows
    assert len(rows["item"]) == ROWS


@pytest.mark.parametrize("kind", NEW)
def test_damaged_page_of_what_a_newer_sqlite_wrote_is_still_corrupt(tmp_path: Path, kind: str) -> None:
    path = written(tmp_path / "agent.db", unknown_here(kind))
    content = bytearray(path.read_bytes())
    # The root of the table item, behind the page of the schema.
    content[PAGE_SIZE : 2 * PAGE_SIZE] = b"\xff" * PAGE_SIZE
    path.write_bytes(content)

    outcome = backed_up(path)

    assert isinstance(outcome.error, SourceCorruptError)
    assert outcome.error.code == 12
    assert outcome.backup is not None
    assert outcome.backup.trusted().suspect


@pytest.mark.parametrize("encrypted", [False, pytest.param(True, marks=keys.needs_age)])
def test_table_that_was_not_counted_is_no_damage_to_an_sqlite_that_counts_it(tmp_path: Path, encrypted: bool) -> None:
    path = written(tmp_path / "agent.db", unknown_here("digit separators in a table"))
    options = {"encryption": keys.scheme("age")[0]} if encrypted else {}
    outcome = backed_up(path, **options)
    assert outcome.backup is not None
    proven = outcome.backup.trusted().proof
    assert proven is None if encrypted else proven is not None and proven.uncounted == ("counted",)

    answer = verified_by_the_newer(tmp_path / "repository", keys.age_identity() if encrypted else None)

    said = f"{ROWS} rows in 1 tables, the manifest does not have those of counted"
    assert answer["checks"]["rows"] == [proof.PASSED, said]
    assert answer["checks"]["integrity_check"] == [proof.PASSED, ""]
    assert answer["code"] == 0


def test_table_that_was_not_counted_excuses_no_other(tmp_path: Path) -> None:
    """The newer SQLite finds what the proof of the older one does not have, and should have."""
    path = written(tmp_path / "agent.db", unknown_here("digit separators in a table"))
    outcome = backed_up(path)
    assert outcome.backup is not None
    document = json.loads((outcome.backup.path / "manifest.json").read_bytes())
    del document["proof"]["tables"]["item"]
    (outcome.backup.path / "manifest.json").write_bytes(manifests.sealed(document))

    answer = verified_by_the_newer(tmp_path / "repository")

    assert answer["checks"]["rows"] == [proof.FAILED, f"table item has {ROWS} rows, the manifest says None"]
    assert answer["code"] == 13


@pytest.mark.parametrize(
    ("option", "since", "more"),
    [
        ("locale=1", (3, 47), "INSERT INTO f VALUES (fts5_locale('de', 'hello'), 'kept')"),
        ("content='', contentless_unindexed=1", (3, 47), "INSERT INTO f VALUES ('hello', 'kept')"),
    ],
)
def test_what_a_newer_full_text_table_keeps_is_not_lost_in_an_export(
    tmp_path: Path, option: str, since: tuple[int, int], more: str
) -> None:
    if newer.sqlite_version_info < since:
        pytest.skip(f"SQLite {newer.sqlite_version} has no {option}")
    path = written(tmp_path / "agent.db", f"CREATE VIRTUAL TABLE f USING fts5(a, b UNINDEXED, {option})", more)
    engine = "ansible_collections.sqliteops.backup.plugins.module_utils._engine"
    code = f"""
import pathlib, sys
import pysqlite3
sys.modules["sqlite3"] = pysqlite3
from {engine}.sqlite import contents, database
from {engine}.system import errors
path = pathlib.Path(sys.argv[1])
for names in ([], ["f"], ["item"]):
    try:
        contents.Contents(database.connect(path, immutable=True), database.read_header(path), names)
    except errors.RefusedError as error:
        print(error.code)
    else:
        print(0)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert run.stdout.split() == ["18", "18", "0"], run.stderr
