# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a backup in a new file: what is written where, and what never is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import tempfile
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import NoSpaceError
from support import databases, keys
from support.hosts import Host

pytestmark = pytest.mark.usefixtures("moment")


@pytest.fixture
def into(tmp_path: Path, host: Host) -> Path:
    """Where a part may go; there is a backup that it can come from."""
    host.run("backup", "agent")
    (tmp_path / "parts").mkdir()
    return tmp_path / "parts" / "part.db"


def rows(path: Path, sql: str) -> list[tuple[object, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_table_comes_back_as_it_was(host: Host, into: Path) -> None:
    with contextlib.closing(sqlite3.connect(host.database(), isolation_level=None)) as connection:
        connection.execute("DELETE FROM item")
    databases.settle(host.database())
    content = host.database().read_bytes()

    said = host.run("extract", "agent", "--into", into, "--table", "item", "--json").result

    assert said["changed"]
    assert {name: said["extraction"][name] for name in ("backup", "into", "tables", "bytes")} == {
        "backup": host.ids()[0],
        "into": str(into),
        "tables": {"item": 3},
        "bytes": into.stat().st_size,
    }
    assert rows(into, "SELECT * FROM item") == [(1, "name 0"), (2, "name 1"), (3, "name 2")]
    assert host.database().read_bytes() == content
    assert [each.name for each in into.parent.iterdir()] == ["part.db"]
    assert stat.S_IMODE(into.stat().st_mode) == 0o600


def test_the_rows_of_a_query_under_a_name(host: Host, into: Path) -> None:
    said = host.run("extract", "agent", "--into", into, "--query", "SELECT * FROM item WHERE id > 1", "--as", "late")

    assert f"agent: took 2 rows in late out of {host.ids()[0]} into {into}, " in said.out
    assert rows(into, "SELECT id FROM late") == [(2,), (3,)]


def test_who_took_what_is_written_down(host: Host, into: Path) -> None:
    """Not the names, which are content."""
    host.run("extract", "agent", "--into", into, "--table", "item")

    line = host.history()[-1]
    known = {
        "event": "extract",
        "outcome": "passed",
        "backup": host.ids()[0],
        "dest": str(into),
        "tables": 1,
        "rows": 3,
    }
    assert {name: line[name] for name in known} == known
    assert line["user"]
    assert host.run("status", "agent").code == 0


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 2, "neither a table nor a query"),
        (["--table", "item", "--query", "SELECT 1"], 2, "both tables and a query"),
        (["--table", "item", "--as", "x"], 2, "a name is given, but no query"),
        (["--table", "nowhere"], 2, "there is no table 'nowhere' in it"),
        (["--query", "DELETE FROM item"], 2, "the query is not one that reads"),
        (["--table", "item", "--backup", "20200101T000000Z-full"], 22, "there is no backup"),
    ],
)
def test_what_cannot_be_taken_leaves_nothing(host: Host, into: Path, options: list[str], code: int, told: str) -> None:
    said = host.run("extract", "agent", "--into", into, *options)

    assert (said.code, told in said.err) == (code, True), said.err
    assert not list(into.parent.iterdir())
    assert host.history()[-1]["event"] != "extract"


@pytest.mark.parametrize("name", ["part.db", "part.db-wal", "part.db-journal", ".part.db.new"])
def test_nothing_is_overwritten(host: Host, into: Path, name: str) -> None:
    """A sidecar that is there already would be replayed over the new file."""
    into.with_name(name).write_text("mine", encoding="utf-8")

    said = host.run("extract", "agent", "--into", into, "--table", "item")

    assert (said.code, f"{into.with_name(name)} exists" in said.err) == (18, True), said.err
    assert [(each.name, each.read_text(encoding="utf-8")) for each in into.parent.iterdir()] == [(name, "mine")]


def test_nothing_goes_into_the_repository_or_to_where_no_directory_is(host: Host, into: Path) -> None:
    inside = host.run("extract", "agent", "--into", host.repository() / "part.db", "--table", "item")
    nowhere = host.run("extract", "agent", "--into", into.parent / "no" / "part.db", "--table", "item")

    assert (inside.code, "inside the repository" in inside.err) == (18, True)
    assert (nowhere.code, "does not exist" in nowhere.err) == (2, True)


def test_a_link_is_not_written_through(host: Host, into: Path) -> None:
    into.symlink_to(into.parent / "elsewhere")

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 18
    assert [each.name for each in into.parent.iterdir()] == ["part.db"]


def test_what_was_made_meanwhile_stays(host: Host, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = files.copy_private

    def copy_late(source: Path, dest: Path) -> None:
        copy(source, dest)
        into.write_text("theirs", encoding="utf-8")

    monkeypatch.setattr(files, "copy_private", copy_late)

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 18
    assert [each.name for each in into.parent.iterdir()] == ["part.db"]
    assert into.read_text(encoding="utf-8") == "theirs"


def test_a_full_disk_leaves_nothing(host: Host, into: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_source: Path, dest: Path) -> None:
        dest.write_bytes(b"half")
        raise NoSpaceError("no space left.")

    monkeypatch.setattr(files, "copy_private", fill)

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 16
    assert not list(into.parent.iterdir())


def test_no_scratch_is_left(host: Host, into: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it may be of an encrypted backup."""
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 0
    assert host.run("extract", "agent", "--into", f"{into}2", "--table", "nowhere").code == 2
    assert not list((tmp_path / "scratch").iterdir())


def test_a_damaged_backup_gives_nothing(host: Host, into: Path) -> None:
    (artifact,) = (host.repository() / host.ids()[0]).glob("database.sqlite*")
    artifact.write_bytes(artifact.read_bytes()[:-1] + b"?")

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 13
    assert not list(into.parent.iterdir())


@keys.needs_age
def test_an_encrypted_backup_needs_its_key(host: Host, into: Path) -> None:
    encryption = {"method": "age", "recipients": [keys.age_recipient()]}
    host.add("secret", encryption=encryption)
    host.run("backup", "secret")

    assert host.run("extract", "secret", "--into", into, "--table", "item").code == 14

    host.add("secret", encryption=encryption, identity_file=str(keys.age_identity()))
    assert host.run("extract", "secret", "--into", into, "--table", "item").code == 0
    assert len(rows(into, "SELECT * FROM item")) == 3


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_directory(host: Host, into: Path) -> None:
    os.chown(into.parent, 12345, 12345)

    assert host.run("extract", "agent", "--into", into, "--table", "item").code == 0
    assert (into.stat().st_uid, into.stat().st_gid) == (12345, 12345)
