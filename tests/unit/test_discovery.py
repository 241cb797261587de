# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command discover: what is configured on this host, and a file that says where to look and what is ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, discovery, selection
from support import databases
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


def test_a_name_cannot_write_on_a_terminal(host: Host) -> None:
    databases.make(host.directory / "a\x1b[2J.db")
    assert "\x1b" not in host.run("discover", host.directory).out
