# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of drills: the worst first, what was proven and what not, whatever a host answered."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_report
from support import drills, pages


def page_of(*told: Any) -> str:
    return drill_report.to_html(drill_report.collect(told, drills.MADE))


def test_the_worst_comes_first() -> None:
    told = [(row[0], row[1]) for row in pages.rows(page_of(*drills.many()))]
    assert told == [
        ("failed", "metrics"),
        ("not reached", "all of them"),
        ("inconclusive", "search"),
        ("RTO missed", "events"),
        ("passed", "agent"),
        ("passed", "queue"),
        ("passed", "sessions"),
    ]


def test_a_row_measures_against_the_targets() -> None:
    (row,) = pages.rows(page_of(drills.drill()))
    assert row[3:] == [
        "20260301T030000Z-full made 2026-03-01 03:00 UTC",
        "1.22 s RTO 15 min, met",
        "30 min RPO 1 h, met",
        "938.4 MiB",
        "1.40 s in 90 days, met",
    ]


@pytest.mark.parametrize(
    ("changes", "place", "text"),
    [
        ({"rto_seconds": 960.0, "rto_met": False}, 4, "16 min RTO 15 min, missed"),
        ({"rpo_seconds": 7200, "rpo_met": False}, 5, "2 h RPO 1 h, missed"),
        ({"rpo_target_seconds": None, "rpo_met": None}, 5, "30 min no RPO given"),
        ({"rto_seconds": None, "rto_met": None}, 4, "RTO 15 min"),
        ({"rto_seconds": None, "rto_met": None, "rto_target_seconds": None}, 4, ""),
        ({"rpo_seconds": 2}, 5, "2 s RPO 1 h, met"),
        ({"forecast": None}, 7, ""),
        ({"rto_target_seconds": 0, "rto_met": False}, 4, "1.22 s RTO 0 s, missed"),
    ],
)
def test_what_is_missed_or_missing_is_said(changes: dict[str, Any], place: int, text: str) -> None:
    assert pages.rows(page_of(drills.drill(**changes)))[0][place] == text


@pytest.mark.parametrize(
    ("told", "word", "tone"),
    [
        (drills.drill(rpo_met=False), "RPO missed", "warn"),
        (drills.drill(rpo_met=False, rto_met=False, outcome="failed", error={"code": 30}), "RTO and RPO missed", "bad"),
        (drills.drill(rpo_met=False, outcome="failed", error={"code": 13}), "failed", "bad"),
        (drills.drill(rpo_met=False, outcome="inconclusive"), "inconclusive", "warn"),
        (drills.drill(outcome="fine"), "inconclusive", "warn"),
        (drills.drill(outcome="", error={"code": 13}), "inconclusive", "warn"),
    ],
)
def test_what_was_missed_hides_nothing_worse(told: dict[str, Any], word: str, tone: str) -> None:
    assert f'<span class="status {tone}">{word}</span>' in page_of(told).split("<tbody")[1]


@pytest.mark.parametrize(
    ("told", "lead"),
    [
        ([], "No drill was done."),
        ([drills.drill()], "The database came back from its backup."),
        ([drills.drill(), drills.drill(name="b")], "All 2 databases came back from their backups."),
        ([drills.drill(), drills.drill()], "All 2 drills of 1 database passed."),
        ([drills.failed()], "0 of 1 drill passed."),
        ([drills.drill(), drills.not_reached()], "1 of 2 drills passed."),
        ([drills.drill(rpo_met=False)], "0 of 1 drill passed."),
        ([drills.drill(outcome="fine")], "0 of 1 drill passed."),
        ([drills.drill(outcome="")], "0 of 1 drill passed."),
    ],
)
def test_one_sentence_says_how_it_went(told: list[Any], lead: str) -> None:
    assert pages.lead(page_of(*told))[0] == lead


def test_page_says_what_was_proven_and_how_to_repeat_it() -> None:
    text = page_of(drills.drill())
    assert "<h3>Proven</h3><ul><li>Every file that 20260301T030000Z-full needs has the SHA-256 of" in text
    assert "<h3>Not proven</h3><ul><li>That the application starts with it.</li></ul>" in text
    assert "<code>sqlite-backup drill agent --backup 20260301T030000Z-full</code>" in text
    assert "fetch 0.40 s, stage 0.80 s" in text
    assert text.count('class="chart"') == 2
    assert "Made at 2026-03-01 04:00 UTC." in text


def test_page_of_a_failure_says_why_and_what_to_do() -> None:
    text = page_of(drills.failed())
    assert "<h3>What went wrong: BackupDamagedError (13)</h3>" in text
    assert "the SHA-256 of image.zst is not that of its manifest." in text
    assert '<p class="soft">Take another backup.</p>' in text
    assert '<h3>Proven</h3><p class="soft">Nothing.</p>' in text
    assert "not measured, RTO 15 min" in text


def test_host_that_was_not_reached_has_its_row_and_its_reason() -> None:
    text = page_of(drills.not_reached())
    assert pages.rows(text) == [["not reached", "all of them", "ci-3", "", "", "", "", ""]]
    assert "Connection refused" in text
    assert "the host was not reached." in text


def test_first_drill_has_no_charts() -> None:
    assert 'class="chart"' not in page_of(drills.drill(history=drills.drill()["history"][:1]))


def test_details_of_many_are_closed_where_all_is_well() -> None:
    found = re.findall(r'<details class="sheet" id="drill-\d+"( open)?>', page_of(*drills.many()))
    assert found == [" open"] * 4 + [""] * 3


def test_document_holds_all_and_the_worst_first() -> None:
    told = drills.many()
    document = json.loads(drill_report.to_json(drill_report.collect(told, drills.MADE)))
    assert document["format"] == 1
    assert document["made"] == "2026-03-01T04:00:00Z"
    assert [each["outcome"] for each in document["drills"]][:2] == ["failed", "not reached"]
    assert sorted(map(repr, document["drills"])) == sorted(map(repr, told))


def test_hostile_names_are_text_and_nothing_else() -> None:
    text = page_of(*drills.hostile())
    text.encode("utf-8")
    assert text.count("<script") == 1
    assert "\u202e" not in text
    document = drill_report.to_json(drill_report.collect(drills.hostile(), drills.MADE))
    json.loads(document.encode("utf-8"))
    assert "\x07" not in document


values = some.none() | some.booleans() | some.integers() | some.floats() | some.text() | some.lists(some.text())
nested = some.dictionaries(some.sampled_from([*drills.drill()["forecast"], "time", "outcome", "message"]), values)


@settings(max_examples=60, deadline=None)
@given(some.lists(some.dictionaries(some.sampled_from([*drills.drill()]), values | nested | some.lists(nested))))
def test_whatever_a_host_answers_the_others_are_reported(told: list[dict[str, Any]]) -> None:
    text = page_of(*told, drills.drill())
    assert "agent on ci-1" in text
    text.encode("utf-8")


@pytest.mark.parametrize("report", [{}, {"drills": 5}, {"drills": [5, None]}, {"made": []}, {"drills": {}}])
def test_report_without_drills_says_so(report: dict[str, Any]) -> None:
    assert "No drill was done." in drill_report.to_html(report)
