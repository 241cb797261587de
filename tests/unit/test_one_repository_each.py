# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository belongs to one database: no command takes the backups of another one for those that are asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import databases
from support.hosts import Host

READERS = [
    ("list", "NAME"),
    ("status", "NAME"),
    ("verify", "NAME"),
    ("verify", "NAME", "--backup", "all"),
    ("restore", "NAME", "--dry-run"),
    ("restore", "NAME"),
    ("prune", "NAME"),
    ("pin", "NAME", "--backup", "latest"),
    ("unpin", "NAME", "--backup", "latest"),
]
pytestmark = pytest.mark.usefixtures("moment")


def named(words: tuple[str, ...], name: str) -> list[str]:
    return [name if each == "NAME" else each for each in words]


@pytest.fixture
def shared(host: Host) -> Host:
    """Two databases are configured with the repository of the first one."""
    assert host.run("backup", "agent").code == 0
    host.add("orders", repository=str(host.repository()))
    return host


@pytest.mark.parametrize("words", READERS)
def test_second_database_of_a_repository_hears_it_from_every_command(shared: Host, words: tuple[str, ...]) -> None:
    before = databases.tree(shared.directory)

    said = shared.run(*named(words, "orders"))

    assert said.code == 18
    assert f"{shared.repository()} holds the backups of 'agent', not of 'orders'" in said.err
    assert "orders: error 18: " in said.err
    assert "a repository of its own" in said.err
    assert "name it 'agent' again" in said.err
    assert databases.tree(shared.directory) == before


@pytest.mark.parametrize("words", READERS)
def test_first_database_of_a_repository_goes_on(shared: Host, words: tuple[str, ...]) -> None:
    shared.run("backup", "orders")

    assert shared.run(*named(words, "agent")).code == 0


def test_doctor_calls_it_a_problem(shared: Host) -> None:
    said = shared.run("doctor", "orders", "--json")

    assert said.code == 17
    (found,) = [each for each in said.result["findings"] if each["outcome"] == "problem"]
    assert found["name"] == "same repository"
    assert "holds the backups of 'agent', not of 'orders'" in found["detail"]
    assert shared.run("doctor", "agent").code == 0


def test_status_of_all_names_the_one_that_has_no_backup(shared: Host) -> None:
    shared.run("backup", "orders")

    said = shared.run("status")

    assert said.code == 18
    assert [line.split()[:2] for line in said.out.splitlines()[1:]] == [["agent", "ok"], ["orders", "ERROR"]]


def test_failure_of_another_database_is_not_in_the_audit_log(shared: Host) -> None:
    """Else the first one would be told to have failed."""
    before = shared.history()

    assert shared.run("backup", "orders").code == 18
    assert shared.history() == before


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("words", READERS)
def test_another_file_of_the_same_name_is_another_database(host: Host, words: tuple[str, ...], exists: bool) -> None:
    """The old one is still there, so it did not move."""
    assert host.run("backup", "agent").code == 0
    other = host.directory / "other" / "agent.db"
    other.parent.mkdir()
    host.add("agent", path=other, make=exists)

    said = host.run(*named(words, "agent"))

    assert said.code == 18
    assert f"holds the backups of {host.database()}, which still exists" in said.err
    assert other.exists() == exists


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("words", READERS)
def test_database_that_moved_is_welcome(host: Host, words: tuple[str, ...], exists: bool) -> None:
    assert host.run("backup", "agent").code == 0
    moved = host.directory / "moved" / "agent.db"
    moved.parent.mkdir()
    if exists:
        host.database().rename(moved)
    else:
        host.database().unlink()
    host.add("agent", path=moved, make=False)

    assert host.run(*named(words, "agent")).code == 0


def test_undo_needs_no_repository(shared: Host, tmp_path: Path) -> None:
    """What a restore replaced is beside the database, and is the only way back."""
    shared.change()
    assert shared.run("restore", "agent").code == 0
    shared.configure("orders", {"path": str(shared.database()), "repository": str(shared.repository())})

    assert shared.run("restore", "orders", "--undo").code == 0
    assert databases.names(shared.database())[-1] == "changed"
