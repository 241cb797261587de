# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a fleet: the worst database first, why, and what to do, whatever a host answered."""

from __future__ import annotations

import html
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import fleet_report
from support import drills, pages, standings


def page_of(*told: Any) -> str:
    return fleet_report.to_html(fleet_report.collect(told, drills.MADE))


def test_the_worst_comes_first() -> None:
    assert [(row[0], row[1]) for row in pages.rows(page_of(*standings.many()))] == [
        ("missed", "events"),
        ("missed", "sessions"),
        ("failing", "metrics"),
        ("unknown", "queue"),
        ("not reached", "all of them"),
        ("degraded", "jobs"),
        ("degraded", "search"),
        ("ok", "agent"),
        ("ok", "notes"),
    ]


def test_a_row_says_all_that_counts() -> None:
    (row,) = pages.rows(page_of(standings.database()))
    assert row[2:] == [
        "ci-1",
        "",
        "30 min RPO 1 h, met",
        "30 min ago",
        "12 s RTO 15 min, met, 1 d ago",
        "1 of 1",
        "400.5 MiB 22 backups",
    ]


@pytest.mark.parametrize(
    ("told", "place", "text"),
    [
        (standings.missed(), 3, "The newest verified backup is 3 h old, more than the RPO of 1 h. and 1 more"),
        (standings.missed(), 4, "3 h RPO 1 h, missed"),
        (standings.degraded(), 3, "Nobody has read what is stored."),
        (standings.unknown(), 3, "The repository is gone."),
        (standings.database(rpo_seconds=None, rpo_met=None), 4, "30 min no RPO given"),
        (standings.young(), 4, "RPO 1 h, missed"),
        (standings.young(), 5, ""),
        (standings.young(), 6, "RTO 15 min"),
        (standings.young(), 7, ""),
        (
            standings.database(last_drill={**standings.database()["last_drill"], "outcome": "failed"}),
            6,
            "failed 1 d ago",
        ),
        (standings.many()[7], 7, "1 of 2"),
        # A pin that is old is worth a word, and no trouble.
        (standings.database(reasons=standings.degraded()["reasons"][1:]), 3, ""),
    ],
)
def test_what_is_wrong_or_not_known_is_said(told: dict[str, Any], place: int, text: str) -> None:
    assert pages.rows(page_of(told))[0][place] == text


@pytest.mark.parametrize(
    ("told", "lead"),
    [
        ([], ("No database is configured.", "bad")),
        ([standings.database()], ("The database is well backed up.", "good")),
        ([standings.database(), standings.database(name="b")], ("All 2 databases are well backed up.", "good")),
        ([standings.database(), standings.degraded()], ("1 of 2 databases is well backed up.", "warn")),
        ([standings.missed(), standings.degraded()], ("0 of 2 databases are well backed up.", "bad")),
        ([standings.unknown()], ("0 of 1 database are well backed up.", "bad")),
        (
            [standings.database(), standings.not_reached()],
            ("The database is well backed up. 1 host was not reached.", "bad"),
        ),
        ([standings.not_reached(), standings.not_reached()], ("2 hosts were not reached.", "bad")),
        ([standings.database(state="fine")], ("0 of 1 database are well backed up.", "bad")),
        ([standings.database(state=None)], ("0 of 1 database are well backed up.", "bad")),
    ],
)
def test_one_sentence_says_how_it_is(told: list[Any], lead: tuple[str, str]) -> None:
    assert pages.lead(page_of(*told)) == lead


def test_each_reason_has_its_hint_and_its_command() -> None:
    text = page_of(standings.degraded(config="/etc/sqlite-backup-ci user"))
    assert "<p>Nobody has read what is stored.</p>" in text
    place = "--config &#x27;/etc/sqlite-backup-ci user&#x27;"
    command = f"sqlite-backup verify search --backup {standings.NEWEST} --level full {place}"
    assert f'<p class="soft">To read it:</p><pre tabindex="0"><code>{command}</code></pre>' in text
    assert '<p class="soft">Unpin it.</p>' in text
    assert f"<code>sqlite-backup doctor search {place}</code>" in text


@pytest.mark.parametrize("command", ["rm -rf /", "--help", "", None, "verify;id"])
def test_what_is_no_command_of_the_runner_is_not_shown_as_one(command: Any) -> None:
    reasons = [{"state": "missed", "text": "Look.", "way": {"aim": "Do it", "command": command, "options": {}}}]
    assert "Do it" not in page_of(standings.missed(reasons=reasons))


def test_words_of_a_host_cannot_leave_their_place_in_a_command() -> None:
    way = {"aim": "Do it", "command": "verify", "options": {"backup": "$(id)", "a b; id": True}}
    text = html.unescape(
        page_of(standings.missed(name="x; id", reasons=[{"state": "missed", "text": "a", "way": way}]))
    )
    assert "sqlite-backup verify 'x; id' --backup '$(id)' '--a b; id'" in text


def test_details_tell_of_recovery_store_and_targets() -> None:
    text = re.sub(r"<[^>]*>", "|", page_of(standings.many()[7]))
    for told in (
        "|Age of the data|||30 min, RPO 1 h, met|",
        "|RPO missed from|||2026-03-01 04:00 UTC|",
        "|Restored in|||12 s, RTO 15 min, met|",
        "|Forecast|||restored in 16 s in 90 days, the RTO will be met|",
        "|Backups|||22 (2 full, 20 incremental)|",
        "|Free space|||9.3 GiB of 46.6 GiB|",
    ):
        assert re.sub(r"\|+", "|", told) in re.sub(r"\|+", "|", text)
    assert "Refused." in text
    assert "RPO missed" in text


def test_why_nothing_is_known_of_one() -> None:
    text = page_of(standings.unknown())
    assert "<h3>Why nothing is known</h3>" in text
    assert '<p class="soft">Mount its disk.</p>' in text
    assert "sqlite-backup doctor queue" in text
    assert "sqlite-backup doctor" not in page_of(standings.not_reached())


def test_details_of_many_are_closed_where_all_is_well() -> None:
    found = re.findall(r'<details class="sheet" id="database-\d+"( open)?>', page_of(*standings.many()))
    assert found == [" open"] * 7 + [""] * 2


def test_document_holds_all_and_the_worst_first() -> None:
    told = standings.many()
    document = json.loads(fleet_report.to_json(fleet_report.collect(told, drills.MADE)))
    assert (document["format"], document["made"]) == (1, "2026-03-01T04:00:00Z")
    assert [each["name"] for each in document["databases"]][:2] == ["events", "sessions"]
    assert sorted(map(repr, document["databases"])) == sorted(map(repr, told))


def test_hostile_names_are_text_and_nothing_else() -> None:
    text = page_of(*standings.hostile())
    text.encode("utf-8")
    assert text.count("<script") == 1
    assert "\u202e" not in text
    json.loads(fleet_report.to_json(fleet_report.collect(standings.hostile(), drills.MADE)).encode("utf-8"))


values = some.none() | some.booleans() | some.integers() | some.floats() | some.text() | some.lists(some.text())
words = some.sampled_from(
    [*standings.database(), *standings.database()["last_drill"], "text", "hint", "way", "command"]
)
nested = some.dictionaries(words, values | some.dictionaries(words, values))


@settings(max_examples=60, deadline=None)
@given(some.lists(some.dictionaries(some.sampled_from([*standings.database()]), values | nested | some.lists(nested))))
def test_whatever_a_host_answers_the_others_are_reported(told: list[dict[str, Any]]) -> None:
    text = page_of(*told, standings.database())
    assert "agent on ci-1" in text
    text.encode("utf-8")


@pytest.mark.parametrize("report", [{}, {"databases": 5}, {"databases": [5, None]}, {"made": []}, {"title": 3}])
def test_report_without_databases_says_so(report: dict[str, Any]) -> None:
    assert "No database is configured." in fleet_report.to_html(report)
