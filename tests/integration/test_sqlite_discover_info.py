# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_discover_info: what is on a host, and what of it nobody backs up; and it only reads."""

from __future__ import annotations

import json
from pathlib import Path

from integration.harness import Session
from integration.place import Place, everything

from support import databases

MODULE = "sqlite_discover_info"


def configured(place: Place) -> Path:
    """A configuration of the runner with the database of ``place``."""
    directory = place.directory / "etc"
    (directory / "databases.d").mkdir(mode=0o700, parents=True)
    content = {"path": str(place.database), "repository": str(place.repository)}
    (directory / "databases.d" / "agent.json").write_text(json.dumps(content))
    (directory / "databases.d" / "agent.json").chmod(0o600)
    return directory


def test_it_names_what_nobody_backs_up(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.make(place.srv / "wiki.db")
    databases.make(place.srv / "cache.db")
    options = {
        "paths": [str(place.directory)],
        "config": [str(configured(place))],
        "ignored": [{"path": "*/cache.db", "reason": "it is made anew"}],
    }
    before = everything(place.directory)
    check, run = ansible.task(MODULE, options, check_mode=True), ansible.task(MODULE, options)

    assert everything(place.directory) == before
    assert [check["undeclared"], run["undeclared"]] == [[str(place.srv / "wiki.db")]] * 2
    assert not run["changed"]
    found = {Path(each["path"]).name: each for each in run["databases"]}
    assert {name: each["state"] for name, each in found.items()} == {
        place.database.name: "declared",
        "cache.db": "ignored",
        "wiki.db": "undeclared",
    }
    assert found[place.database.name]["repository"] == str(place.repository)
    assert found["cache.db"]["reason"] == "it is made anew"
    assert run["repositories"] == [str(place.repository)]
    assert run["complete"]


def test_the_host_may_say_where_to_look(ansible: Session, place: Place) -> None:
    directory = configured(place)
    (directory / "discover.json").write_text(json.dumps({"paths": [str(place.srv)], "limit": 1}))
    (directory / "discover.json").chmod(0o600)
    databases.make(place.srv / "wiki.db")

    run = ansible.task(MODULE, {"config": [str(directory)]})

    assert len(run["databases"]) == 1
    assert not run["complete"]
    assert run["warnings"][0].endswith("was looked at: the limit or the timeout was reached")


def test_what_is_wrong_is_said(ansible: Session, place: Place) -> None:
    nothing, gone = (
        ansible.task(MODULE, {"paths": []}),
        ansible.task(MODULE, {"paths": [str(place.directory / "gone")]}),
    )
    assert (nothing["error"]["code"], "no path is given" in nothing["msg"]) == (2, True)
    assert gone["error"]["code"] == 10
    assert "Cannot look for databases in" in gone["msg"]
