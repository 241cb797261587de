# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One HTML page that needs nothing but itself: a sentence, figures, a table that can be sorted, and details.

What is a ``str`` here is text of anybody, and is escaped; see ``markup``.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .look import SCRIPT, STYLE
from .markup import Markup, element, joined, short, whole

GOOD, WARN, BAD, QUIET = "good", "warn", "bad", ""
"""The tones of a word: all is well, look at it, it failed, and neither."""

_METER_WIDTH = 100


@dataclass(frozen=True)
class Status:
    """One word or two on how something is, and in which tone."""

    word: str
    tone: str = QUIET


@dataclass(frozen=True)
class Figure:
    """A number that stands above the table, with a few words below it."""

    label: str
    value: str
    note: str = ""
    tone: str = QUIET


@dataclass(frozen=True)
class Column:
    """The head of a column.

    ``number`` says that it is sorted by numbers, ``names`` that its cells name their row, ``roomy`` that they are long.
    """

    title: str
    number: bool = False
    names: bool = False
    roomy: bool = False


@dataclass(frozen=True)
class Cell:
    """What a table says at one place.

    ``short`` is for names, which need not be told to their end. ``sort`` is what it is sorted by, the text if it is
    None. ``part`` is drawn as a bar: 1.0 fills it, and more is too much. ``link`` is the anchor of a section.
    """

    text: str = ""
    sort: str | float | None = None
    note: str = ""
    status: Status | None = None
    part: float | None = None
    link: str = ""
    short: bool = True


def measured(number: float | None, goal: float | None, *, words: Callable[[float], str], note: str = "") -> Cell:
    """A number that ``words`` can say, and how much of its ``goal`` it is."""
    if number is None:
        return Cell(note=note, sort="")
    part = None if goal is None else number / goal if goal else 2.0
    return Cell(words(number), sort=number, note=note, part=part)


@dataclass(frozen=True)
class Table:
    """Rows of cells. ``ordered_by`` is the title of the column by which they are in ascending order."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    ordered_by: str = ""
    sortable: bool = False


@dataclass(frozen=True)
class Section:
    """Details, below ``anchor``; closed ones show their title only. The ``blocks`` come from the functions below."""

    anchor: str
    title: str
    status: Status
    blocks: Sequence[Markup]
    note: str = ""
    is_open: bool = True


@dataclass(frozen=True)
class Page:
    """A page: ``lead`` is the sentence that tells how it is, ``footer`` what to know about the page."""

    title: str
    lead: str
    figures: Sequence[Figure]
    table: Table
    sections: Sequence[Section]
    sections_title: str = "Details"
    tone: str = QUIET
    footer: Sequence[str] = ()


def render(page: Page) -> str:
    """The page as one HTML document."""
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy()),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{page.title}: {page.lead}"),
        element("style", Markup(STYLE)),
    )
    top = element("header", element("h1", page.title), element("p", page.lead, class_=f"lead {page.tone}".strip()))
    footer = element("footer", *(element("p", each) for each in page.footer)) if page.footer else ""
    body = element("body", top, element("main", *_main(page)), footer, element("script", Markup(SCRIPT)))
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def policy() -> str:
    """Nothing may be loaded, sent or run but the one style and the one script of every page."""
    style, script = (
        "'sha256-" + base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() + "'" for each in (STYLE, SCRIPT)
    )
    return f"default-src 'none'; style-src {style}; script-src {script}; base-uri 'none'; form-action 'none'"


def _main(page: Page) -> list[Markup]:
    parts = [element("dl", *map(_figure, page.figures), class_="figures")] if page.figures else []
    parts.extend([element("h2", page.table.title, id="table"), element("div", table(page.table), class_="sheet")])
    if page.sections:
        parts.append(element("h2", page.sections_title))
        parts.extend(map(_section, page.sections))
    return parts


def _figure(figure: Figure) -> Markup:
    note = element("span", short(figure.note), class_="soft") if figure.note else ""
    value = element("span", figure.value, class_=figure.tone or None)
    return element("div", element("dt", figure.label), element("dd", value, note))


def _section(section: Section) -> Markup:
    note = element("span", short(section.note), class_="soft small") if section.note else ""
    title = element("h2", element("bdi", short(section.title)))
    return element(
        "details",
        element("summary", title, status(section.status), note),
        element("div", *section.blocks, class_="inside"),
        class_="sheet",
        id=section.anchor,
        open=section.is_open,
    )


def status(shown: Status) -> Markup:
    return element("span", shown.word, class_=f"status {shown.tone}".strip())


def table(shown: Table) -> Markup:
    """A table; on a phone each row becomes a card, for which the roles must be said once more."""
    heads = [
        element(
            "th",
            each.title,
            scope="col",
            role="columnheader",
            class_="number" if each.number else None,
            data_number=each.number,
            aria_sort="ascending" if shown.ordered_by == each.title else None,
        )
        for each in shown.columns
    ]
    rows = [
        element("tr", *(_cell(cell, column) for cell, column in zip(row, shown.columns)), role="row")
        for row in shown.rows
    ]
    return element(
        "table",
        element("caption", element("span", shown.title, class_="unseen")),
        element("thead", element("tr", *heads, role="row"), role="rowgroup"),
        element("tbody", *rows, role="rowgroup"),
        role="table",
        class_="sortable cards" if shown.sortable else "cards",
    )


def _cell(cell: Cell, column: Column) -> Markup:
    text = status(cell.status) if cell.status else element("bdi", short(cell.text) if cell.short else cell.text)
    if cell.link:
        text = element("a", text, href=f"#{cell.link}")
    parts = [element("span", text), *([element("span", cell.note, class_="note")] if cell.note else [])]
    if cell.part is not None:
        parts.append(_meter(cell.part))
    is_empty = not (cell.text or cell.note or cell.status)
    key = cell.text if cell.sort is None else str(cell.sort)
    classes = (("number", column.number), ("roomy", column.roomy), ("empty", is_empty))
    return element(
        "th" if column.names else "td",
        *parts,
        scope="row" if column.names else None,
        role="rowheader" if column.names else "cell",
        class_=" ".join(name for name, on in classes if on) or None,
        data_sort=key,
        data_label=column.title,
    )


def _meter(part: float) -> Markup:
    """The text beside it says the same."""
    width = f"{min(1.0, max(0.02, part)) * _METER_WIDTH:.1f}"
    return element(
        "svg",
        element("rect", width=_METER_WIDTH, height=4),
        element("rect", width=width, height=4, class_="part bad" if part > 1 else "part"),
        class_="meter",
        viewBox=f"0 0 {_METER_WIDTH} 4",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def block(title: str, *children: str, wide: bool = False) -> Markup:
    """A part of a section, with a title of its own; a wide one has the whole width."""
    return element("section", element("h3", title), *children, class_="wide" if wide else None)


def stack(*blocks: Markup) -> Markup:
    """Blocks below each other, in one of the two columns of a section."""
    return element("div", *blocks, class_="stack")


def listing(texts: Sequence[str]) -> Markup:
    return element("ul", *(element("li", each) for each in texts))


def facts(pairs: Sequence[tuple[str, str]]) -> Markup:
    """Names and what is known of them."""
    return element("dl", *(joined(element("dt", name), element("dd", value)) for name, value in pairs), class_="facts")


def command(text: str) -> Markup:
    """A command, whole, to be copied."""
    return element("pre", element("code", whole(text)), tabindex=0)


def message(text: str, hint: str = "", *, tone: str = BAD) -> Markup:
    """What went wrong, and what to do about it."""
    lines = [element("p", each, class_="soft") for each in hint.split("\n") if each]
    return element("div", element("p", text), *lines, class_=f"said {tone}")
