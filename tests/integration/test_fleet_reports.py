# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One report of how well many hosts are backed up: whoever tells nothing, or nonsense, is in it, too."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.filter.fleet_report import fleet_others, fleet_problems, fleet_report
from support import drills, standings

UNREACHABLE = {"unreachable": True, "msg": "Failed to connect to the host via ssh: Connection refused"}
SKIPPED = {"skipped": True, "results": []}
ELSEWHERE = [{"directory": "/etc/sqlite-backup-ci", "user": "ci"}]
GONE = {"name": "queue", "error": {"code": 23, "message": "The repository is gone.", "hint": "Mount it."}}
NOTHING = {"code": 2, "message": "No database is configured in /etc/sqlite-backup.", "hint": "Configure one."}


def answered(*results: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """The result of a task that ran the runner."""
    return {"rc": 0, "stdout": json.dumps({"results": results, "error": None, "also_configured": [], **more})}


def told(results: Any) -> list[tuple[str, str, str]]:
    document = json.loads(fleet_report(results, format="json"))
    return [(each["state"], each["name"], each["host"]) for each in document["databases"]]


def test_each_kind_of_result_is_read() -> None:
    others = {"results": [{**answered(standings.missed()), "item": ELSEWHERE[0]}]}
    found = {
        "one": [answered(standings.database(host="it.calls.itself"), also_configured=ELSEWHERE), others],
        "two": answered(standings.degraded(), GONE),
        "three": [UNREACHABLE, SKIPPED],
        "four": ({"rc": 2, **answered(error=NOTHING)}, SKIPPED),
    }
    assert told(found) == [
        ("missed", "events", "one"),
        ("unknown", "", "four"),
        ("unknown", "queue", "two"),
        ("not reached", "", "three"),
        ("degraded", "search", "two"),
        ("ok", "agent", "one"),
    ]
    (first, *_rest) = json.loads(fleet_report(found, format="json"))["databases"]
    assert first["config"] == "/etc/sqlite-backup-ci"


def test_who_has_no_database_is_no_trouble_where_others_have_some() -> None:
    others = {"results": [{**answered(standings.database()), "item": ELSEWHERE[0]}]}
    own = answered(error=NOTHING, also_configured=ELSEWHERE)
    assert told({"one": [own, others]}) == [("ok", "agent", "one")]
    # When nobody tells anything of those others, that is a trouble.
    assert [state for state, _name, _host in told({"one": [own, SKIPPED]})] == ["unknown"]
    assert told({"one": [own, {"results": [{"msg": "Killed", "item": ELSEWHERE[0]}]}]}) == [("unknown", "", "one")]


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "It told nothing of its backups."),
        ({}, "It told nothing of its backups."),
        ([], "It told nothing of its backups."),
        (SKIPPED, "It told nothing of its backups."),
        ([{}, SKIPPED], "It told nothing of its backups."),
        ("ok", "It told nothing of its backups."),
        ({"rc": 2, "msg": "[Errno 2] No such file", "stdout": ""}, "[Errno 2] No such file"),
        ({"rc": 1, "stderr": "Killed", "stdout": ""}, "Killed"),
        ({"stdout": "{truncated"}, "Its answer is no JSON: {truncated"),
        ({"stdout": "{}"}, "It told nothing of its backups."),
        (answered(GONE), "The repository is gone."),
        (answered({"name": "a", "state": "excellent"}), "It told nothing of its backups."),
        (answered(error=NOTHING), "No database is configured in /etc/sqlite-backup."),
    ],
)
def test_who_tells_nothing_is_not_well(result: Any, why: str) -> None:
    (problem,) = fleet_problems({"ci-1": result})
    assert why in problem
    assert problem.startswith(("ci-1: unknown.", "queue on ci-1: unknown.", "a on ci-1: unknown."))
    assert "ci-1" in fleet_report({"ci-1": result})


def test_problems_are_named_and_what_is_well_is_not() -> None:
    found = {"one": answered(standings.database(), standings.degraded(), standings.missed()), "two": UNREACHABLE}
    missed, silent = fleet_problems(found)
    assert missed == (
        "events on one: missed. The newest verified backup is 3 h old, more than the RPO of 1 h. "
        "The run that was due at 2026-03-01T03:00:00+00:00 did not come."
    )
    assert silent.startswith("two: not reached. Failed to connect")
    assert [each.partition(":")[0] for each in fleet_problems(found, degraded=True)] == [
        *("events on one", "two", "search on one")
    ]


def test_table_has_a_line_for_each_database() -> None:
    head, *lines = fleet_report({"one": answered(standings.database()), "two": UNREACHABLE}).splitlines()
    assert head.split() == ["STATE", "DATABASE", "HOST", "AGE", "RPO", "DRILL", "TARGETS", "STORED", "WHY"]
    assert lines[0].split()[:3] == ["not", "reached", "two"]
    assert lines[0].endswith("Connection refused")
    assert " ".join(lines[1].split()) == "ok agent one 30 min 1 h passed 1 of 1 400.5 MiB"


def test_page_is_that_of_the_engine() -> None:
    title = "<title>SQLite backups: 1 host was not reached.</title>"
    assert title in fleet_report({"two": UNREACHABLE}, format="html")


def test_others_are_named_from_what_a_host_answers() -> None:
    assert fleet_others(answered(also_configured=ELSEWHERE)) == ELSEWHERE
    assert fleet_others(answered(also_configured=[5, {"directory": ["/x"]}, {"user": "a"}])) == []
    for each in (None, {}, UNREACHABLE, {"stdout": "{"}, {"stdout": "[]"}, {"stdout": 5}):
        assert fleet_others(each) == []


def test_hostile_answers_are_text() -> None:
    found = {name: [answered(*standings.hostile()), {"msg": name}] for name in drills.HOSTILE}
    for kind in ("html", "json", "text"):
        fleet_report(found, format=kind).encode("utf-8")
    assert all(each.isprintable() for each in fleet_problems(found))


@pytest.mark.parametrize(("results", "kind"), [([], "text"), ({}, "pdf")])
def test_wrong_use_is_told(results: Any, kind: str) -> None:
    with pytest.raises(AnsibleFilterError, match="Allowed"):
        fleet_report(results, format=kind)
