# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small line chart as SVG in the page: how a number went over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from .markup import Markup, element

_WIDTH, _HEIGHT = 360, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 6, 6, 18, 20
# A goal that is further away would press all points to the ground; then it is only named.
_FURTHEST_GOAL = 4
_CROSS = 3.5


@dataclass(frozen=True)
class Point:
    """What was measured at a ``moment``; None when nothing could be. ``good`` is False where it failed."""

    moment: datetime
    value: float | None
    good: bool = True
    note: str = ""


@dataclass(frozen=True)
class Chart:
    """``points`` oldest first; ``words`` says a value, ``goal`` is what it should stay below."""

    title: str
    points: Sequence[Point]
    words: Callable[[float], str]
    goal: float | None = None
    goal_name: str = ""


def line(chart: Chart) -> Markup:
    """The chart as a figure; each point says what it is where the mouse rests on it."""
    top = _top(chart)
    shows_goal = chart.goal is not None and chart.goal <= top
    places = _places(chart.points, top)
    run = " ".join(f"{x:.1f},{y:.1f}" for (x, y), each in zip(places, chart.points) if each.value is not None)
    drawing = element(
        "svg",
        *_axes(chart, top),
        *(_goal(chart.goal, chart.goal_name, top) if shows_goal and chart.goal is not None else ()),
        element("polyline", points=run, class_="run"),
        *(_mark(place, each, chart.words) for place, each in zip(places, chart.points)),
        class_="chart",
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        role="img",
        aria_label=_told(chart),
    )
    far = f" · {chart.goal_name} {chart.words(chart.goal)}" if chart.goal is not None and not shows_goal else ""
    return element("figure", element("figcaption", f"{chart.title}{far}"), drawing)


def _top(chart: Chart) -> float:
    """The value at the upper edge."""
    highest = max((each.value for each in chart.points if each.value is not None), default=0.0)
    if chart.goal is not None and (not highest or chart.goal <= _FURTHEST_GOAL * highest):
        highest = max(highest, chart.goal)
    return highest or 1.0


def _places(points: Sequence[Point], top: float) -> list[tuple[float, float]]:
    first, last = points[0].moment, points[-1].moment
    seconds = (last - first).total_seconds()
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    shares = [(each.moment - first).total_seconds() / seconds if seconds > 0 else 0.5 for each in points]
    return [
        (_LEFT + min(1.0, max(0.0, share)) * width, _TOP + (1 - (each.value or 0) / top) * height)
        for share, each in zip(shares, points)
    ]


def _axes(chart: Chart, top: float) -> list[Markup]:
    ground, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    dates = [each.moment.date().isoformat() for each in (chart.points[0], chart.points[-1])]
    return [
        element("line", x1=_LEFT, x2=right, y1=_TOP, y2=_TOP, class_="axis"),
        element("line", x1=_LEFT, x2=right, y1=ground, y2=ground, class_="axis"),
        element("text", chart.words(top), x=_LEFT, y=_TOP - 5),
        element("text", dates[0], x=_LEFT, y=_HEIGHT - 6),
        *([element("text", dates[1], x=right, y=_HEIGHT - 6, text_anchor="end")] if dates[1] != dates[0] else []),
    ]


def _goal(goal: float, name: str, top: float) -> list[Markup]:
    y, right = _TOP + (1 - goal / top) * (_HEIGHT - _TOP - _BOTTOM), _WIDTH - _RIGHT
    return [
        element("line", x1=_LEFT, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}", class_="goal"),
        element("text", name, x=right, y=f"{y - 5:.1f}", text_anchor="end"),
    ]


def _mark(place: tuple[float, float], point: Point, words: Callable[[float], str]) -> Markup:
    """A dot, or a cross where it failed: the form tells it, too."""
    x, y = place
    title = element("title", _said(point, words))
    if point.good and point.value is not None:
        return element("circle", title, cx=f"{x:.1f}", cy=f"{y:.1f}", r=3)
    left, right, above, below = (f"{each:.1f}" for each in (x - _CROSS, x + _CROSS, y - _CROSS, y + _CROSS))
    return element("path", title, d=f"M{left} {above}L{right} {below}M{left} {below}L{right} {above}", class_="bad")


def _said(point: Point, words: Callable[[float], str]) -> str:
    value = "not measured" if point.value is None else words(point.value)
    when = point.moment.isoformat(sep=" ", timespec="minutes").replace("+00:00", " UTC")
    return ", ".join(filter(None, (when, value, point.note)))


def _told(chart: Chart) -> str:
    """The chart in words, for who does not see it."""
    values = [each.value for each in chart.points if each.value is not None]
    if not values:
        return f"{chart.title}: never measured."
    spread = f"from {chart.words(min(values))} to {chart.words(max(values))}, last {chart.words(values[-1])}"
    failed = sum(not each.good for each in chart.points)
    return f"{chart.title}, {len(values)} measured: {spread}; {failed} failed."
