# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database as text, by the runner: from the live one and from backups, stored as backups are, never over anything."""

from __future__ import annotations

import contextlib
import gzip
import json
import sqlite3
import stat
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import contents, database, portable
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import NoSpaceError
from support import databases, keys
from support.hosts import Host

pytestmark = pytest.mark.usefixtures("moment", "no_process_is_looked_at")


@pytest.fixture
def into(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "agent.jsonl"


def lines(path: Path) -> list[object]:
    data = path.read_bytes()
    text = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return [json.loads(each) for each in text.splitlines()]


def test_the_live_database_as_lines(host: Host, into: Path) -> None:
    before = databases.tree(host.directory)

    said = host.run("export", "agent", "--into", into, "--json").result

    first, table, rows, *values, last = lines(into)
    assert first == {
        "sqlite_export": 2,
        "page_size": 4096,
        "encoding": "UTF-8",
        "auto_vacuum": 0,
        "journal_mode": "wal",
        "user_version": 0,
        "application_id": 0,
        "objects": 1,
    }
    assert table == {
        "type": "table",
        "name": "item",
        "sql": "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT NOT NULL)",
        "rowid": False,
        "columns": [["id", "INTEGER"], ["name", "TEXT"]],
        "rows": 3,
    }
    assert rows == {"rows_of": "item"}
    assert values == [[1, "name 0"], [2, "name 1"], [3, "name 2"]]
    told = said["export"]
    assert last == {"end": True, "rows": 3, "sha256": told["sha256"]}
    assert (said["changed"], told["backup"], told["format"], told["tables"]) == (True, "live", "jsonl", {"item": 3})
    assert told["bytes"] == into.stat().st_size
    assert stat.S_IMODE(into.stat().st_mode) == 0o600
    into.unlink()
    assert databases.tree(host.directory) == before


def test_a_backup_is_read_as_it_was(host: Host, into: Path) -> None:
    host.run("backup", "agent")
    host.change()

    said = host.run("export", "agent", "--backup", "latest", "--into", into, "--json").result["export"]

    assert (said["backup"], said["tables"]) == (host.ids()[0], {"item": 3})


def test_who_wrote_what_is_written_down(host: Host, into: Path) -> None:
    """Not the names of tables, which are content; and nothing when nothing was written."""
    host.run("backup", "agent")

    for _time in range(2):
        host.run("export", "agent", "--into", into)

    line = host.history()[-1]
    known = {"event": "export", "outcome": "passed", "backup": "live", "dest": str(into), "tables": 1, "rows": 3}
    assert {name: line[name] for name in known} == known
    assert [each["event"] for each in host.history()].count("export") == 1
    assert host.run("status", "agent").code == 0


def test_the_same_content_is_not_written_again(host: Host, into: Path) -> None:
    first = host.run("export", "agent", "--into", into, "--json").result
    stamp = into.stat()

    again = host.run("export", "agent", "--into", into, "--json").result
    otherwise = host.run("export", "agent", "--into", into, "--plain")

    assert (first["changed"], again["changed"]) == (True, False)
    assert (otherwise.code, "is stored otherwise" in otherwise.err) == (18, True)
    assert (into.stat().st_ino, into.stat().st_mtime_ns) == (stamp.st_ino, stamp.st_mtime_ns)
    assert [each.name for each in into.parent.iterdir()] == [into.name]


def test_something_else_is_replaced_only_by_force_and_a_database_never(host: Host, into: Path) -> None:
    host.run("export", "agent", "--into", into)
    host.change()

    refused = host.run("export", "agent", "--into", into)
    forced = host.run("export", "agent", "--into", into, "--force")
    over = host.run("export", "agent", "--into", host.database(), "--force")

    assert (refused.code, "holds something else" in refused.err) == (18, True), refused.err
    assert (forced.code, len(lines(into))) == (0, 8)
    assert (over.code, "a database is there" in over.err) == (18, True), over.err
    assert database.read_header(host.database()) is not None
    assert sorted(each.name for each in into.parent.iterdir()) == [into.name]


def test_a_dry_run_decides_and_writes_nothing(host: Host, into: Path) -> None:
    said = host.run("export", "agent", "--into", into, "--dry-run", "--json").result
    assert (said["changed"], list(into.parent.iterdir())) == (True, [])

    host.run("export", "agent", "--into", into)

    assert not host.run("export", "agent", "--into", into, "--dry-run", "--json").result["changed"]


@keys.needs_age
def test_it_is_encrypted_as_the_backups_are(host: Host, into: Path) -> None:
    with_age = {"method": "age", "recipients": [keys.age_recipient()]}
    host.add("agent", encryption=with_age, identity_file=str(keys.age_identity()))

    said = host.run("export", "agent", "--into", into)
    again = host.run("export", "agent", "--into", into, "--json").result
    host.add("agent", encryption={**with_age, "recipients": [*with_age["recipients"], keys.age_recipient("other")]})
    for_two = host.run("export", "agent", "--into", into)

    assert (said.code, into.read_bytes()[:22]) == (0, b"age-encryption.org/v1\n")
    assert not again["changed"], "with the key it is known what is in it"
    assert for_two.code == 18, "it is for one"


@keys.needs_age
def test_plain_text_is_not_taken_for_what_is_to_be_encrypted(host: Host, into: Path) -> None:
    host.run("export", "agent", "--into", into)
    host.add("agent", encryption={"method": "age", "recipients": [keys.age_recipient()]})

    said = host.run("export", "agent", "--into", into)

    assert (said.code, "is stored otherwise" in said.err) == (18, True)


@pytest.mark.parametrize("name", ["agent.jsonl.new", "nowhere/agent.jsonl"])
def test_what_a_killed_run_left_is_no_hindrance(host: Host, into: Path, name: str) -> None:
    if name.endswith(".new"):
        into.with_name(f".{name}").write_text("half", encoding="utf-8")
        assert host.run("export", "agent", "--into", into).code == 0
        assert [each.name for each in into.parent.iterdir()] == [into.name]
    else:
        said = host.run("export", "agent", "--into", into.parent / name)
        assert (said.code, "does not exist" in said.err) == (2, True), said.err


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (["--table", "nowhere"], 2, "there is no table 'nowhere' in it."),
        (["--format", "csv"], 2, "a CSV file is of one table"),
        (["--backup", "20200101T000000Z-full"], 22, "there is no backup"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    host: Host, into: Path, options: list[str], code: int, told: str
) -> None:
    host.run("backup", "agent")

    said = host.run("export", "agent", "--into", into, *options)

    assert (said.code, told in said.err) == (code, True), said.err
    assert not list(into.parent.iterdir())


def test_nothing_goes_into_the_repository(host: Host) -> None:
    host.run("backup", "agent")

    said = host.run("export", "agent", "--into", host.repository() / "agent.jsonl")

    assert (said.code, "inside the repository" in said.err) == (18, True), said.err


def test_a_full_disk_leaves_nothing(host: Host, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_file: object, _data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_all", full)

    said = host.run("export", "agent", "--into", into)

    assert said.code == NoSpaceError.code
    assert not list(into.parent.iterdir())


def test_the_database_can_be_moved_after_a_failure(host: Host, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads it is closed, also where somebody still looks at the failure: Windows moves nothing that is open."""
    closed = []
    real = contents.Contents.close
    monkeypatch.setattr(contents.Contents, "close", lambda self: (closed.append(self._cursor), real(self)))
    monkeypatch.setattr(portable, "LONGEST_LINE_BYTES", 5)

    assert host.run("export", "agent", "--into", into).code == 18

    (cursor,) = closed
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        cursor.fetchone()


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_a_damaged_database_leaves_nothing(host: Host, into: Path, journal_mode: str) -> None:
    """Read where it is, or in a copy."""
    host.database().unlink()
    databases.settle(databases.make(host.database(), journal_mode=journal_mode))
    content = bytearray(host.database().read_bytes())
    content[4096:4160] = b"\xff" * 64
    host.database().write_bytes(content)

    said = host.run("export", "agent", "--into", into)

    assert (said.code, "malformed" in said.err) == (12, True), said.err
    assert not list(into.parent.iterdir())


def test_a_table_for_people(host: Host, into: Path) -> None:
    script = (
        "CREATE TABLE odd(\"a,b\", t TEXT, x BLOB); INSERT INTO odd VALUES (1.5, 'say \"hi\"', x'00ff'), (NULL, '', 7)"
    )
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.executescript(script)

    said = host.run("export", "agent", "--format", "csv", "--table", "odd", "--plain", "--into", into)

    assert said.out == f"agent: wrote 2 rows of 1 table into {into}, {into.stat().st_size} B\n"
    assert into.read_bytes() == b'"a,b","t","x"\r\n1.5,"say ""hi""","AP8="\r\n,"",7\r\n'


def test_a_document_a_table(host: Host, into: Path) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.executescript('CREATE TABLE "../up"(a); CREATE TABLE con(a)')

    said = host.run("export", "agent", "--format", "json", "--plain", "--into", into, "--json").result
    again = host.run("export", "agent", "--format", "json", "--plain", "--into", into, "--json").result
    host.change()
    other = host.run("export", "agent", "--format", "json", "--plain", "--into", into, "--force")

    assert (said["changed"], again["changed"], said["export"]["tables"]) == (
        True,
        False,
        {"item": 3, "../up": 0, "con": 0},
    )
    assert json.loads((into / "item.json").read_bytes()) == [{"id": n + 1, "name": f"name {n}"} for n in range(3)]
    assert sorted(each.name for each in into.iterdir()) == ["%2E.%2Fup.json", "%63on.json", "item.json"]
    assert (other.code, "Name a new directory" in other.err) == (18, True)
    assert stat.S_IMODE(into.stat().st_mode) == 0o700


FULL_TEXT = (
    "CREATE TABLE t(a); INSERT INTO t VALUES ('x'); CREATE VIRTUAL TABLE f USING fts5(a, content='t');"
    "INSERT INTO f(f) VALUES ('rebuild'); CREATE VIRTUAL TABLE v USING fts5vocab('f', 'row');"
)


def with_more(host: Host, script: str) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.executescript(script)
    databases.settle(host.database())


@pytest.mark.parametrize("kind", ["csv", "json"])
@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("f", "the table 'f' has no rows of its own, its texts are in t. Name t instead."),
        ("v", "the table 'v' has no rows of its own. Name another table."),
    ],
)
def test_a_table_without_rows_of_its_own_is_no_document(
    host: Host, into: Path, kind: str, table: str, told: str
) -> None:
    with_more(host, FULL_TEXT)

    said = host.run("export", "agent", "--format", kind, "--table", table, "--into", into)

    assert said.code == 2
    assert told in " ".join(said.err.split())
    assert list(into.parent.iterdir()) == []


def test_all_tables_that_have_rows_become_documents(host: Host, into: Path) -> None:
    with_more(host, FULL_TEXT)

    said = host.run("export", "agent", "--format", "json", "--into", into, "--plain", "--json").result

    assert sorted(each.name for each in into.iterdir()) == ["item.json", "t.json"]
    assert {
        "f has no rows of its own, its texts are in t: it is left out",
        "v has no rows of its own: it is left out",
    } <= set(said["warnings"])


def test_a_database_without_tables_is_an_empty_directory(host: Host, into: Path) -> None:
    with_more(host, "DROP TABLE item")

    first = host.run("export", "agent", "--format", "json", "--into", into, "--json").result
    again = host.run("export", "agent", "--format", "json", "--into", into, "--json").result

    assert (first["changed"], again["changed"]) == (True, False)
    assert list(into.iterdir()) == []


def test_a_table_whose_name_is_longer_than_that_of_a_file(host: Host, into: Path) -> None:
    names = ["漢" * 40 + ending for ending in "ab"]
    with_more(host, "".join(f"CREATE TABLE [{name}](a); INSERT INTO [{name}] VALUES ('{name[-1]}');" for name in names))

    said = host.run(
        "export", "agent", "--format", "json", "--into", into, "--plain", "--table", names[0], "--table", names[1]
    )

    assert said.code == 0, said.err
    assert sorted(json.loads(each.read_bytes())[0]["a"] for each in into.iterdir()) == ["a", "b"]


def test_what_no_import_takes_is_said(host: Host, into: Path) -> None:
    numbers = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3)"
    view = f"CREATE VIEW v AS {numbers} SELECT n AS rowid, n AS a FROM c"
    with_more(host, f"{view}; CREATE VIRTUAL TABLE f USING fts5(a, content='v'); INSERT INTO f(f) VALUES ('rebuild')")

    said = host.run("export", "agent", "--into", into, "--json").result

    assert [each for each in said["warnings"] if each.startswith("no import here takes it: SQLite refuses")]
    taken = host.run("import", "agent", "--from", into, "--dest", into.with_name("new.db"))
    assert (taken.code, "The file is whole" in taken.err) == (18, True), taken.err
    into.write_bytes(into.read_bytes()[:-9])
    damaged = host.run("import", "agent", "--from", into, "--dest", into.with_name("new.db"))
    assert (damaged.code, "The file is whole" in damaged.err) == (13, False), damaged.err
