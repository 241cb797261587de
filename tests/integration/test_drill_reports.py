# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One report of what drills on many hosts came to: whoever tells nothing, or nonsense, is in it, too."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.filter.drill_report import drill_problems, drill_report
from support import drills

RUNNER = {
    "rc": 13,
    "stdout": json.dumps({"results": [{"name": "metrics", "error": None, "drills": [drills.failed()]}]}),
}
MODULE = {"changed": False, "drill": drills.drill(), "drills": [drills.drill(), drills.drill(backup="older")]}
UNREACHABLE = {"unreachable": True, "msg": "Failed to connect to the host via ssh: Connection refused"}


def told(results: Any) -> list[tuple[str, str, str]]:
    document = json.loads(drill_report(results, format="json"))
    return [(each["outcome"], each["name"], each["host"]) for each in document["drills"]]


def test_each_kind_of_result_is_read() -> None:
    loop = {"results": [{**MODULE, "item": {"host": "ci-9"}}, {"failed": True, "msg": "no", "item": {"name": "b"}}]}
    found = told({"one": MODULE, "two": RUNNER, "three": UNREACHABLE, "four": loop})
    assert sorted(found) == [
        ("failed", "b", "four"),
        ("failed", "metrics", "two"),
        ("not reached", "", "three"),
        ("passed", "agent", "ci-9"),
        ("passed", "agent", "ci-9"),
        ("passed", "agent", "one"),
        ("passed", "agent", "one"),
    ]
    assert found[0][0] == "failed"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (None, "It told nothing of its drills."),
        ({}, "It told nothing of its drills."),
        ({"skipped": True}, "It told nothing of its drills."),
        ({"results": []}, "It told nothing of its drills."),
        ({"drills": []}, "It told nothing of its drills."),
        ({"drills": ["passed"]}, "It told nothing of its drills."),
        ("passed", "It told nothing of its drills."),
        ({"rc": 2, "msg": "[Errno 2] No such file", "stdout": ""}, "[Errno 2] No such file"),
        ({"rc": 1, "stderr": "Killed", "stdout": ""}, "Killed"),
        ({"stdout": "{truncated"}, "Its answer is no JSON: {truncated"),
        ({"stdout": "{}"}, "It told nothing of its drills."),
        (
            {"stdout": '{"results": [], "error": {"code": 2, "message": "No database.", "hint": "Add one."}}'},
            "No database.",
        ),
        ({"stdout": '{"results": [{"name": "a", "error": {"message": "No key."}}]}'}, "No key."),
        ({"failed": True, "msg": "No.", "error": {"code": 18, "class": "RefusedError", "hint": "Hint."}}, "No. Hint."),
    ],
)
def test_who_tells_of_no_drill_failed(result: Any, why: str) -> None:
    (problem,) = drill_problems({"ci-1": result})
    assert why in problem
    assert problem.startswith(("ci-1: failed.", "a on ci-1: failed."))
    assert "ci-1" in drill_report({"ci-1": result})


def test_problems_are_named_and_what_passed_is_not() -> None:
    found = drill_problems({"one": MODULE, "two": RUNNER, "three": UNREACHABLE})
    assert [each.partition(":")[0] for each in found] == ["metrics on two", "three"]
    assert "Connection refused" in found[1]
    assert drill_problems({"one": MODULE}) == []


def test_what_is_too_slow_or_not_sure_is_a_problem() -> None:
    slow = drills.drill(rto_met=False, outcome="failed", error={"code": 30, "message": "It took long."})
    unsure = drills.drill(outcome="inconclusive", name="search")
    found = drill_problems({"one": {"drills": [slow, unsure]}})
    assert found == ["search on one: inconclusive.", "agent on one: RTO missed. It took long."]


def test_table_has_a_line_for_each_drill() -> None:
    head, *lines = drill_report({"one": MODULE, "three": UNREACHABLE}).splitlines()
    assert head.split() == ["OUTCOME", "DATABASE", "HOST", "BACKUP", "RESTORED", "IN", "RTO", "AGE", "RPO"]
    assert lines[0].split() == ["not", "reached", "three"]
    assert lines[1].split() == [
        "passed",
        "agent",
        "one",
        "20260301T030000Z-full",
        "1.22",
        "s",
        "15",
        "min",
        "30",
        "min",
        "1",
        "h",
    ]


def test_page_is_that_of_the_engine() -> None:
    assert "<title>Restore drills: 0 of 1 drill passed.</title>" in drill_report({"three": UNREACHABLE}, format="html")


def test_hostile_answers_are_text() -> None:
    found = {name: {"drills": drills.hostile(), "msg": name} for name in drills.HOSTILE}
    for kind in ("html", "json", "text"):
        drill_report(found, format=kind).encode("utf-8")
    assert all(each.isprintable() for each in drill_problems({name: {"msg": name} for name in drills.HOSTILE}))


@pytest.mark.parametrize(("results", "kind"), [([], "text"), ({}, "pdf")])
def test_wrong_use_is_told(results: Any, kind: str) -> None:
    with pytest.raises(AnsibleFilterError, match="Allowed"):
        drill_report(results, format=kind)
