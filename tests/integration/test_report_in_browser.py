# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of a report in a real browser: it renders, sorts, fits on a phone, and nothing in it can do harm."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_report, fleet_report
from support import browser, drills, standings
from support.browser import Tab

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(browser.why_missing()), reason=browser.why_missing()),
]

PHONE, DESK, PAPER = 360, 1280, 794
ROWS = "[...document.querySelectorAll('table.sortable tbody tr')].map(row => row.cells[{}].innerText.split('\\n')[0])"
SORTED = "[...document.querySelectorAll('table.sortable th[aria-sort]')].map(head => [head.innerText, head.ariaSort])"
ON_SCREEN = "e => getComputedStyle(e).display !== 'none' && e.getBoundingClientRect().height > 0"
TOO_WIDE = (
    "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5"
    " && !e.closest('.unseen')).map(e => e.outerHTML.slice(0, 80))"
)
SLATE = "rgb(18, 21, 26)"
HEAD = "table.sortable th:nth-child({}) button"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser.tab(tmp_path_factory.mktemp("profile")) as shown:
        yield shown


@pytest.fixture
def show(tab: Tab, tmp_path: Path) -> Any:
    """A function that shows the report of some drills, or of some databases."""

    def shown(told: list[Mapping[str, Any]], *, width: int = DESK, report: Any = drill_report, **emulated: str) -> Tab:
        file = tmp_path / "report.html"
        file.write_text(report.to_html(report.collect(told, drills.MADE)), encoding="utf-8")
        tab.resize(width)
        tab.emulate(**emulated)
        tab.open(file.as_uri())
        return tab

    return shown


def column(tab: Tab, place: int) -> list[str]:
    found: list[str] = tab.value(ROWS.format(place))
    return found


def test_it_renders_asks_for_nothing_and_complains_of_nothing(show: Any) -> None:
    tab = show(drills.many())
    assert tab.value("document.title") == "Restore drills: 3 of 7 drills passed."
    assert column(tab, 1) == ["metrics", "all of them", "search", "events", "agent", "queue", "sessions"]
    assert tab.value(f"[...document.querySelectorAll('.chart, .status, .meter')].filter({ON_SCREEN}).length") > 20
    assert tab.complaints() == []
    assert tab.requests() == []


def test_policy_forbids_what_the_page_does_not_have(show: Any) -> None:
    """Else a hostile name that got through would be free to do what it wants."""
    tab = show([drills.drill()])
    tab.value(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.harmed = 1';"
        " const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/'; document.body.append(s, i);"
        " document.body.setAttribute('onclick', 'window.harmed = 1'); document.body.click(); })()"
    )
    assert tab.value("window.harmed === undefined") is True
    assert len([each for each in tab.complaints() if "Content Security Policy" in str(each)]) >= 3


def test_sorts_by_the_mouse(show: Any) -> None:
    tab = show(drills.many())
    assert tab.value(SORTED) == [["Outcome", "ascending"]]
    tab.click(HEAD.format(5))
    assert tab.value(SORTED) == [["Restored in", "ascending"]]
    # What was not measured comes last, and equal ones stay in their order.
    assert column(tab, 1) == ["search", "agent", "queue", "sessions", "events", "metrics", "all of them"]
    tab.click(HEAD.format(5))
    assert tab.value(SORTED) == [["Restored in", "descending"]]
    assert column(tab, 1) == ["events", "search", "agent", "queue", "sessions", "metrics", "all of them"]
    assert tab.value("document.querySelector('[role=status]').textContent") == "Sorted by Restored in, descending."
    tab.click(HEAD.format(1))
    assert column(tab, 0)[:3] == ["failed", "not reached", "inconclusive"]
    assert tab.complaints() == []


def test_sorts_by_the_keyboard(show: Any) -> None:
    tab = show(drills.many())
    for _time in range(2):
        tab.press("Tab", "Tab", 9)
    assert tab.value("document.activeElement.innerText") == "Database"
    assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press("Enter", "Enter", 13, "\r")
    assert column(tab, 1) == ["agent", "all of them", "events", "metrics", "queue", "search", "sessions"]
    assert tab.value("document.activeElement.innerText") == "Database"
    tab.press(" ", "Space", 32, " ")
    assert tab.value(SORTED) == [["Database", "descending"]]
    assert column(tab, 1)[0] == "sessions"


def test_names_sort_as_people_count(show: Any) -> None:
    tab = show([drills.drill(name=name) for name in ("db10", "db9", "Db1")])
    tab.click(HEAD.format(2))
    assert column(tab, 1) == ["Db1", "db9", "db10"]


def test_a_row_leads_to_its_details(show: Any) -> None:
    tab = show(drills.many())
    assert tab.value("document.getElementById('drill-5').open") is False
    tab.click("table.sortable tbody tr:nth-child(5) a")
    tab.wait("location.hash === '#drill-5' && document.getElementById('drill-5').open")
    assert tab.value("document.querySelector('#drill-5 h2').innerText") == "agent on ci-1"


@pytest.mark.parametrize(("report", "told"), [(drill_report, drills.hostile()), (fleet_report, standings.hostile())])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_hostile_names_do_nothing(show: Any, width: int, report: Any, told: list[Mapping[str, Any]]) -> None:
    tab = show(told, width=width, report=report)
    assert tab.value("Object.keys(window).includes('harmed')") is False
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    # Whoever moves over it, and whoever sorts by it, must not set anything off.
    tab.value(
        "document.querySelectorAll('body *').forEach(e => ['mouseover', 'click', 'error', 'load'].forEach("
        "kind => e.tagName === 'A' || e.tagName === 'SUMMARY' || e.dispatchEvent(new Event(kind))))"
    )
    assert tab.value("Object.keys(window).includes('harmed')") is False
    assert tab.value("document.querySelectorAll('script').length") == 1
    assert tab.value("document.querySelectorAll('img, iframe, svg[onload], [onmouseover], [onerror]').length") == 0
    assert tab.value(TOO_WIDE) == []
    assert drills.HOSTILE[0] in column(tab, 1)
    assert tab.complaints() == []
    assert tab.requests() == []


@pytest.mark.parametrize(
    ("report", "told", "first"),
    [
        (drill_report, drills.many(), "Outcome"),
        (drill_report, [drills.drill()], "Outcome"),
        (drill_report, [], ""),
        (fleet_report, standings.many(), "State"),
        (fleet_report, [], ""),
    ],
)
def test_nothing_is_wider_than_a_phone(show: Any, report: Any, told: list[Mapping[str, Any]], first: str) -> None:
    tab = show(told, width=PHONE, report=report)
    tab.value("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    wide = "e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.unseen')"
    assert (
        tab.value(f"[...document.querySelectorAll('body *')].filter({wide}).map(e => e.outerHTML.slice(0, 80))") == []
    )
    assert tab.value("document.documentElement.scrollWidth") == PHONE
    # Each value says what it is, where the heads of the columns are far away.
    label = "getComputedStyle(document.querySelector('tbody [data-label]'), '::before').content"
    assert not told or tab.value(label) == f'"{first}"'


def test_fleet_renders_sorts_and_leads_to_its_details(show: Any) -> None:
    tab = show(standings.many(), report=fleet_report)
    assert tab.value("document.title") == "SQLite backups: 2 of 8 databases are well backed up. 1 host was not reached."
    assert tab.value("document.documentElement.scrollWidth <= innerWidth") is True
    assert tab.value(TOO_WIDE) == []
    assert column(tab, 1) == [
        "events",
        "sessions",
        "metrics",
        "queue",
        "all of them",
        "jobs",
        "search",
        "agent",
        "notes",
    ]
    assert tab.value(SORTED) == [["State", "ascending"]]
    tab.click(HEAD.format(5))
    # What has no age comes last.
    assert column(tab, 1)[:6] == ["notes", "metrics", "jobs", "search", "agent", "events"]
    tab.click(HEAD.format(1))
    assert column(tab, 0)[:5] == ["missed", "missed", "failing", "unknown", "not reached"]
    assert tab.value("document.getElementById('database-8').open") is False
    tab.click("table.sortable a[href='#database-8']")
    tab.wait("location.hash === '#database-8' && document.getElementById('database-8').open")
    assert tab.value("document.querySelector('#database-8 h2').innerText") == "agent on ci-1"
    assert tab.complaints() == []
    assert tab.requests() == []


def test_fleet_is_dark_where_that_is_asked_for_and_light_on_paper(show: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    tab = show(standings.many(), report=fleet_report, scheme="dark")
    assert tab.value(ground) == SLATE
    tab = show(standings.many(), report=fleet_report, width=PAPER, media="print", scheme="dark")
    assert tab.value(ground) == "rgb(255, 255, 255)"
    assert tab.value("document.documentElement.scrollWidth <= innerWidth") is True


def test_a_long_finding_leaves_room_for_the_words_beside_it(show: Any) -> None:
    checks = [{"name": "quick_check", "outcome": "passed", "detail": "SHA-256 " + "9f" * 300}]
    tab = show([drills.drill(checks=checks)])
    heights = "[...document.querySelectorAll('.inside td .status')].map(e => e.getBoundingClientRect().height)"
    assert max(tab.value(heights)) < 30


def test_it_is_dark_where_that_is_asked_for(show: Any) -> None:
    ground, ink = "getComputedStyle(document.body).backgroundColor", "getComputedStyle(document.body).color"
    tab = show(drills.many(), scheme="dark")
    assert tab.value(ground) == SLATE
    dark = tab.value(ink)
    tab = show(drills.many(), scheme="light")
    assert tab.value(ground) != SLATE
    assert tab.value(ink) != dark


def test_on_paper_all_details_are_there_and_nothing_is_dark(show: Any, tmp_path: Path) -> None:
    tab = show(drills.many(), width=PAPER, media="print", scheme="dark")
    assert tab.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.value("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert tab.value("document.documentElement.scrollWidth <= innerWidth") is True
    closed = "document.querySelectorAll('details:not([open])').length"
    tab.value(f"addEventListener('beforeprint', () => {{ window.shut = {closed}; }})")
    assert tab.value(closed) == 3
    tab.printed(tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert tab.value("window.shut") == 0
    assert tab.value(closed) == 3


def test_without_a_script_all_can_be_read(show: Any) -> None:
    tab = show([])
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        show(drills.many())
        answer = tab.ask("Page.getLayoutMetrics")
        assert answer["cssContentSize"]["height"] > 1000
        found = tab.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
        assert tab.ask("DOM.querySelectorAll", nodeId=found, selector="thead button")["nodeIds"] == []
        assert len(tab.ask("DOM.querySelectorAll", nodeId=found, selector="table.sortable tbody tr")["nodeIds"]) == 7
    finally:
        tab.ask("Emulation.setScriptExecutionDisabled", value=False)
