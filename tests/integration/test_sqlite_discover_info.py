# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_discover_info: what is on a host, and what of it nobody backs up; and it only reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from integration import harness
from integration.harness import Result, Session
from integration.place import Place, everything

from support import databases

MODULE = "sqlite_discover_info"


def configured(place: Place) -> Path:
    """A configuration of the runner with the database of ``place``."""
    directory = place.directory / "etc"
    (directory / "databases.d").mkdir(mode=0o700, parents=True, exist_ok=True)
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
    assert (run["repositories"], run["kept"], run["copies"]) == ([str(place.repository)], [], 0)
    assert (run["complete"], run["gaps"]) == (True, [])


def test_the_host_may_say_where_to_look(ansible: Session, place: Place) -> None:
    directory = configured(place)
    (directory / "discover.json").write_text(json.dumps({"paths": [str(place.srv)], "limit": 1}))
    (directory / "discover.json").chmod(0o600)
    databases.make(place.srv / "wiki.db")

    run = ansible.task(MODULE, {"config": [str(directory)]})

    assert len(run["databases"]) == 1
    assert not run["complete"]
    assert run["warnings"] == run["gaps"]
    assert run["gaps"][0].endswith("was looked at: the limit or the timeout was reached")


def test_what_is_wrong_is_said(ansible: Session, place: Place) -> None:
    nothing, gone = (
        ansible.task(MODULE, {"paths": []}),
        ansible.task(MODULE, {"paths": [str(place.directory / "gone")]}),
    )
    assert (nothing["error"]["code"], "no path is given" in nothing["msg"]) == (2, True)
    assert gone["error"]["code"] == 10
    assert "Cannot look for databases in" in gone["msg"]


# --- the role ------------------------------------------------------------------------------------------------------


ROLE = {"name": f"{harness.NAMESPACE}.sqlite_backup", "tasks_from": "undeclared"}


def _role(ansible: Session, place: Place, **variables: object) -> Result:
    """What the last of the role's tasks on undeclared databases came to."""
    return ansible.run([{"ansible.builtin.include_role": ROLE, "vars": _given(place, **variables)}])[-1]


def _given(place: Place, **variables: object) -> dict[str, object]:
    given: dict[str, object] = {
        "sqlite_backup_discover_paths": [str(place.srv)],
        "sqlite_backup_config_dir": str(configured(place)),
    }
    return {**given, "sqlite_backup_databases": [], "__sqlite_backup_plans": [], **variables}


def test_the_role_warns_or_fails(ansible: Session, place: Place) -> None:
    wiki = str(databases.make(place.srv / "wiki.db"))

    failed = _role(ansible, place, sqlite_backup_undeclared="fail")
    assert failed["failed"]
    assert failed["msg"].startswith(f"{wiki}: not backed up. List such a database in sqlite_backup_databases")
    assert str(place.database) not in failed["msg"]


def test_the_role_fails_when_not_everything_was_looked_at(ansible: Session, place: Place) -> None:
    discover = configured(place) / "discover.json"
    discover.write_text(json.dumps({"limit": 1}))
    discover.chmod(0o600)
    (place.srv / "zoo").mkdir()
    databases.make(place.srv / "zoo" / "other.db")

    failed = _role(ansible, place, sqlite_backup_undeclared="fail")

    assert failed["failed"]
    assert failed["msg"].startswith("Databases that nobody backs up may be where nobody looked: not all of")
    assert not _role(ansible, place, sqlite_backup_undeclared="warn")["failed"]


def test_the_role_knows_what_is_ignored(ansible: Session, place: Place) -> None:
    wiki = str(databases.make(place.srv / "wiki.db"))

    warned = _role(ansible, place, sqlite_backup_undeclared="warn")
    assert not warned["failed"]
    ignored = _role(
        ansible, place, sqlite_backup_undeclared="fail", sqlite_backup_ignored=[{"path": wiki, "reason": "a copy"}]
    )
    assert not ignored["failed"]


@pytest.mark.parametrize("flags", [(), ("--check",)])
def test_what_the_role_lists_counts_before_it_is_configured_in_check_mode_alone(
    place: Place, flags: tuple[str, ...]
) -> None:
    """What it should have configured by then, and is not, nobody backs up."""
    plans = [{"path": str(databases.make(place.srv / "wiki.db"))}]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": ROLE}]}
    playbook = place.directory / "play.json"
    playbook.write_text(json.dumps([play]))
    given = _given(place, sqlite_backup_undeclared="fail", __sqlite_backup_plans=plans)

    run = harness.run_playbook(place.directory / "ansible", str(playbook), given, *flags)

    assert run.results[-1]["failed"] == (not flags)
