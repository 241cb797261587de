# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command discover: what is configured on this host, and a file that says where to look and what is ignored."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, discovery, selection
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from support import databases, limits, processes
from support.hosts import Host


def told(host: Host, **content: Any) -> None:
    file = host.config / "discover.json"
    file.write_text(json.dumps(content))
    file.chmod(0o600)


def test_it_tells_what_is_configured_and_what_is_not(host: Host) -> None:
    host.run("backup", "agent")
    databases.make(host.directory / "other.db")
    said = host.run("discover", host.directory)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith(f"{host.directory}: 2 databases in ")
    assert lines[0].endswith(": 1 undeclared, 1 declared")
    assert lines[1].startswith(f"  undeclared  {host.directory}/other.db  8.0 KiB, of ")
    assert lines[2] == f"  declared  {host.directory}/agent.db  12.0 KiB, as agent" or "as agent" in lines[2]


def test_it_fails_for_what_is_not_declared_when_that_is_asked_for(host: Host) -> None:
    assert host.run("discover", host.directory, "--require-declared").code == 0
    databases.make(host.directory / "other.db")
    assert host.run("discover", host.directory).code == 0
    said = host.run("discover", host.directory, "--require-declared", "--json")
    assert said.code == 17
    assert "other.db" in said.result["error"]["message"]
    told(host, ignored=[{"path": "*/other.db", "reason": "a cache"}])
    assert host.run("discover", host.directory, "--require-declared").code == 0
    assert "ignored" in host.run("discover", host.directory).out


def test_file_says_where_to_look(host: Host) -> None:
    assert host.run("discover").code == 2
    databases.make(host.directory / "other.db")
    told(host, paths=[str(host.directory)], exclude=["*/other.db"], limit=7, timeout="1m")
    said = host.run("discover", "--json")
    (result,) = said.document["results"]
    assert [each["name"] for each in result["databases"]] == ["agent"]
    assert (result["name"], result["complete"]) == (str(host.directory), True)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({"path": []}, "there is no such key"),
        ({"ignored": [{"path": "/a"}]}, "ignored[0].reason is missing"),
        ({"ignored": [{"path": "/a", "reason": " "}]}, "/a is ignored for no reason"),
        ({"limit": "7"}, "must be a whole number"),
    ],
)
def test_file_that_is_wrong_is_refused(host: Host, content: dict[str, Any], why: str) -> None:
    told(host, **content)
    said = host.run("discover", host.directory)
    assert said.code == 2
    assert why in said.err
    assert "discover.json" in said.err


def test_configuration_that_is_wrong_is_a_warning(host: Host) -> None:
    host.configure("broken", "{")
    said = host.run("discover", host.directory)
    assert said.code == 0
    assert "which database broken is could not be told" in said.err


def test_all_configurations_of_the_host_are_looked_at(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [selection.Other(str(host.config), "app")]
    monkeypatch.setattr(selection, "others", lambda _given: others)
    monkeypatch.setattr(config, "directory", lambda given=None: host.directory / "none" if given is None else given)
    found = discovery.directories(None, [str(host.config), "/further"])
    assert found == [host.directory / "none", host.config, Path("/further")]
    warnings: list[str] = []
    assert [each.name for each in discovery.declared(found, warnings)] == ["agent"]
    assert warnings == []


def test_search_that_is_not_complete_is_a_failure_when_all_must_be_declared(host: Host) -> None:
    (host.directory / "zoo").mkdir()
    databases.make(host.directory / "zoo" / "other.db")
    asked = ("discover", host.directory, "--exclude", host.repository(), "--limit", "1")
    assert host.run(*asked).code == 0
    said = host.run(*asked, "--require-declared", "--json")
    assert (said.code, said.result["complete"]) == (17, False)
    assert [each["state"] for each in said.result["databases"]] == ["declared"]
    assert "may have databases that are not backed up: not all of " in said.result["error"]["message"]
    assert said.result["gaps"] == said.result["warnings"]


def test_copies_are_told(host: Host) -> None:
    host.run("backup", "agent")
    assert (
        f"  left out  0 databases in backups and what restores keep: {host.repository()}"
        in host.run("discover", host.directory).out.splitlines()
    )


# --- configurations of other users ---------------------------------------------------------------------------------


class Theirs:
    """A configuration of the user nobody, beside that of root."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.directory = place / "etc" / "sqlite-backup-nobody"
        (self.directory / "databases.d").mkdir(mode=0o700, parents=True)
        self.database = databases.make(place / "roots.db")
        self.database.chmod(0o600)
        self.add({"path": str(self.database)})

    def add(self, content: dict[str, Any], name: str = "databases.d/app.json") -> Path:
        file = self.directory / name
        if name.startswith("databases.d"):
            content = {"repository": str(self.place / "repository"), **content}
        file.write_text(json.dumps(content))
        file.chmod(0o600)
        self.give()
        return file

    def give(self) -> None:
        for each in (self.directory, *self.directory.rglob("*")):
            os.lchown(each, processes.NOBODY, processes.NOBODY)

    def look(self, **given: Any) -> tuple[str, list[str]]:
        """What root hears of its database, and the warnings."""
        asked = {**dict.fromkeys(discovery.KEYS), "paths": [str(self.place)], "exclude": [], "ignored": [], **given}
        with limits.within(20):
            outcome = discovery.run(asked, [self.place / "etc" / "sqlite-backup", self.directory])
        (state,) = (each["state"] for each in outcome.all if each["path"] == str(self.database))
        return state, outcome.warnings


@pytest.fixture
def theirs() -> Iterator[Theirs]:
    with processes.open_directory() as place:
        yield Theirs(place)


@processes.needs_root
def test_user_declares_nothing_that_user_cannot_read(theirs: Theirs) -> None:
    state, warnings = theirs.look()
    assert (state, len(warnings)) == ("undeclared", 1)
    assert warnings[0].startswith(f"{theirs.database} does not count as declared by app: the user nobody cannot read")
    theirs.database.chmod(0o644)
    assert theirs.look() == ("declared", [])
    os.chown(theirs.directory, 0, 0)
    os.chown(theirs.directory / "databases.d", 0, 0)
    theirs.database.chmod(0o600)
    assert theirs.look()[0] == "undeclared"
    os.chown(theirs.directory / "databases.d" / "app.json", 0, 0)
    assert theirs.look() == ("declared", [])


@processes.needs_root
def test_link_of_a_user_makes_nothing_roots(theirs: Theirs) -> None:
    """Neither to the file nor to the directory of it."""
    roots = theirs.place / "etc" / "sqlite-backup" / "databases.d"
    roots.mkdir(mode=0o700, parents=True)
    file = theirs.directory / "databases.d" / "app.json"
    file.rename(roots / "app.json")
    os.chown(roots / "app.json", 0, 0)
    assert theirs.look() == ("declared", [])
    roots.rename(theirs.place / "hidden")
    file.symlink_to(theirs.place / "hidden" / "app.json")
    for each in (theirs.directory, file.parent):
        os.chown(each, 0, 0)
    os.lchown(file, processes.NOBODY, processes.NOBODY)
    assert theirs.look()[0] == "undeclared"
    file.unlink()
    file.parent.rmdir()
    file.parent.symlink_to(theirs.place / "hidden")
    os.lchown(file.parent, processes.NOBODY, processes.NOBODY)
    assert theirs.look()[0] == "undeclared"


@processes.needs_root
def test_configuration_of_two_users_declares_nothing(theirs: Theirs) -> None:
    theirs.database.chmod(0o644)
    os.chown(theirs.directory / "databases.d" / "app.json", 4321, 4321)
    state, warnings = theirs.look()
    assert state == "undeclared"
    assert "belongs to several users" in warnings[0]


@processes.needs_root
@pytest.mark.parametrize("name", ["round", "gone", "x" * 300])
def test_path_of_a_user_that_leads_nowhere_is_no_failure(theirs: Theirs, name: str) -> None:
    (theirs.directory / "round").symlink_to(theirs.directory / "round")
    theirs.add({"path": str(theirs.directory / name)})
    state, warnings = theirs.look()
    assert (state, len(warnings)) == ("undeclared", int(name != "gone"))


@processes.needs_root
def test_broken_link_of_a_user_is_a_warning_and_one_of_root_a_failure(theirs: Theirs) -> None:
    (theirs.directory / "discover.json").symlink_to("gone")
    theirs.give()
    assert "discover.json does not count" in theirs.look()[1][0]
    for each in (theirs.directory, *theirs.directory.rglob("*")):
        os.lchown(each, 0, 0)
    with pytest.raises(EngineError):
        theirs.look()


@processes.needs_root
def test_user_names_no_database_by_a_file_that_user_cannot_read(theirs: Theirs) -> None:
    theirs.database.chmod(0o644)
    file = theirs.place / "env"
    file.write_text(f"DATABASE_URL=file:{theirs.database}\n")
    theirs.add({"env_file": str(file)})
    assert theirs.look() == ("declared", [])
    file.chmod(0o600)
    state, warnings = theirs.look()
    assert state == "undeclared"
    assert f"nobody cannot read {file}" in warnings[0]


@processes.needs_root
def test_user_ignores_for_no_one_else(theirs: Theirs) -> None:
    own = databases.make(theirs.place / "own.db")
    os.chown(own, processes.NOBODY, -1)
    everything = {"path": "*", "reason": "mine"}
    theirs.add({"ignored": [everything], "exclude": ["*"], "limit": 1, "cross_filesystems": True}, "discover.json")
    state, warnings = theirs.look()
    assert state == "undeclared"
    said = "what it says of exclude, cross_filesystems, limit does not count"
    assert warnings[0] == f"{theirs.directory}/discover.json belongs to the user nobody: {said}"
    os.chown(theirs.database, processes.NOBODY, -1)
    (theirs.directory / "databases.d" / "app.json").unlink()
    assert theirs.look()[0] == "ignored"
    theirs.add({"nothing": 1}, "discover.json")
    state, warnings = theirs.look()
    assert state == "undeclared"
    assert "of the user nobody does not count" in warnings[0]


@processes.needs_root
@pytest.mark.parametrize("name", ["databases.d/app.json", "discover.json"])
@pytest.mark.parametrize("trick", ["a fifo", "a link", "a directory", "long"])
def test_file_of_a_user_is_no_trap(theirs: Theirs, name: str, trick: str) -> None:
    theirs.database.chmod(0o644)
    secret = theirs.place / "secret.json"
    secret.write_text(json.dumps({"root-knows-it": 1}))
    secret.chmod(0o600)
    file = theirs.directory / name
    file.unlink(missing_ok=True)
    if trick == "a fifo":
        processes.fifo(file)
        file.chmod(0o600)
    elif trick == "a link":
        file.symlink_to(secret)
    elif trick == "a directory":
        file.mkdir(mode=0o700)
    else:
        with file.open("wb") as opened:
            opened.truncate(1 << 30)
        file.chmod(0o600)
    theirs.give()
    _state, warnings = theirs.look()
    assert len(warnings) == 1
    assert "root-knows-it" not in warnings[0]


def test_a_name_cannot_write_on_a_terminal(host: Host) -> None:
    databases.make(host.directory / "a\x1b[2J.db")
    assert "\x1b" not in host.run("discover", host.directory).out
