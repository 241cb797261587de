# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A chart: where its points are, and what it says of them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import chart
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.chart import Chart, Point

BEGAN = datetime(2026, 1, 5, 12, 0, tzinfo=timezone.utc)


def words(number: float) -> str:
    return f"{number:g} s"


def drawn(*values: float | None, goal: float | None = None, good: bool = True) -> str:
    points = [Point(BEGAN + timedelta(days=day), value, good) for day, value in enumerate(values)]
    return chart.line(Chart("Restored in", points, words, goal, "RTO"))


def test_points_go_from_edge_to_edge_and_the_highest_is_at_the_top() -> None:
    text = drawn(0, 2, 4)
    assert re.findall(r'cx="(.*?)" cy="(.*?)"', text) == [("6.0", "112.0"), ("180.0", "65.0"), ("354.0", "18.0")]
    assert 'points="6.0,112.0 180.0,65.0 354.0,18.0"' in text
    assert ">2026-01-05</text>" in text
    assert ">2026-01-07</text>" in text


def test_it_is_told_in_words() -> None:
    text = drawn(3, 1, None, 2)
    assert 'role="img" aria-label="Restored in, 3 measured: from 1 s to 3 s, last 2 s; 0 failed."' in text
    assert "<title>2026-01-05 12:00 UTC, 3 s</title>" in text
    assert "<title>2026-01-07 12:00 UTC, not measured</title>" in text


def test_a_near_goal_is_a_line_and_a_far_one_a_word() -> None:
    near, far, missed = drawn(2, goal=8), drawn(2, goal=9), drawn(8, goal=2)
    assert 'y1="18.0" y2="18.0" class="goal"' in near
    assert "RTO 9 s" not in near
    assert 'class="goal"' not in far
    assert "<figcaption>Restored in · RTO 9 s</figcaption>" in far
    assert 'y1="88.5" y2="88.5" class="goal"' in missed


def test_what_failed_has_another_form() -> None:
    assert "<circle" not in drawn(1, 2, good=False)
    assert drawn(1, None, good=True).count("<path") == 1


def test_points_of_one_moment_or_without_values_are_no_trouble() -> None:
    same = chart.line(Chart("Size", [Point(BEGAN, 1.0), Point(BEGAN, 2.0)], words))
    assert same.count('cx="180.0"') == 2
    assert "Restored in: never measured." in drawn(None, None)
    assert drawn(0, 0, goal=0).count("<circle") == 2
