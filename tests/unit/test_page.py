# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A page: one document that loads nothing and runs nothing of anybody else."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import page
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.page import (
    Cell,
    Column,
    Figure,
    Page,
    Section,
    Status,
    Table,
)
from support import drills

COLUMNS = (Column("State"), Column("Host", names=True), Column("Bytes", number=True, roomy=True))


class Elements(HTMLParser):
    """Every start of an element in a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def rendered(text: str) -> str:
    """A page with ``text`` wherever one may be."""
    cells = [Cell(status=Status(text), sort=text), Cell(text, note=text, link="s-1"), Cell("5 B", sort=5, part=2)]
    blocks = [
        page.block(text, page.listing([text]), page.facts([(text, text)]), wide=True),
        page.stack(page.message(text, text.replace("\n", " ")), page.command(text)),
        page.table(Table(text, COLUMNS, [[Cell(text, short=False), Cell(), Cell(sort="")]])),
    ]
    return page.render(
        Page(
            title=text,
            lead=text,
            figures=[Figure(text, text, text, page.GOOD)],
            table=Table(text, COLUMNS, [cells], "Host", sortable=True),
            sections=[Section("s-1", text, Status(text, page.BAD), blocks, note=text, is_open=False)],
            footer=[text],
        )
    )


def shape(text: str) -> list[tuple[str, list[str]]]:
    """The elements, each with the names of its attributes, but not their values."""
    return [(tag, [*attributes]) for tag, attributes in Elements(text).found]


@pytest.mark.parametrize("text", drills.HOSTILE)
def test_a_text_makes_no_element_and_no_attribute(text: str) -> None:
    assert shape(rendered(text)) == shape(rendered("plain"))
    rendered(text).encode("utf-8")


def test_nothing_but_the_style_and_the_script_may_be_used() -> None:
    text = rendered("plain")
    policy = next(each["content"] for tag, each in Elements(text).found if "http-equiv" in each)
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in str(policy)
    assert str(policy).startswith("default-src 'none';")
    assert "unsafe" not in str(policy)
    assert "base-uri 'none'" in str(policy)
    assert "form-action 'none'" in str(policy)


def test_nothing_leads_away() -> None:
    """No address but those of sections, no style and no script in an attribute."""
    for _tag, attributes in Elements(rendered("http://example.com/")).found:
        assert not attributes.keys() & {"src", "style", "action", "formaction", "xlink:href"}
        assert not [name for name in attributes if name.startswith("on")]
        assert str(attributes.get("href", "#")).startswith("#")


def test_table_tells_what_is_a_head_and_how_it_is_sorted() -> None:
    found = Elements(rendered("plain")).found
    heads = [each for tag, each in found if tag == "th" and each.get("scope") == "col"][: len(COLUMNS)]
    assert [each.get("aria-sort") for each in heads] == [None, "ascending", None]
    assert ["data-number" in each for each in heads] == [False, False, True]
    row = [each for tag, each in found if "data-label" in each][: len(COLUMNS)]
    assert [each["data-sort"] for each in row] == ["plain", "plain", "5"]
    assert [each["data-label"] for each in row] == ["State", "Host", "Bytes"]
    assert [each["role"] for each in row] == ["cell", "rowheader", "cell"]
    assert row[1]["scope"] == "row"


@pytest.mark.parametrize(
    ("part", "width", "kind"),
    [(0, "2.0", "part"), (0.5, "50.0", "part"), (1, "100.0", "part"), (1.01, "100.0", "part bad")],
)
def test_bar_shows_a_part(part: float, width: str, kind: str) -> None:
    text = page.table(Table("", [Column("x")], [[Cell("x", part=part)]]))
    assert f'<rect width="{width}" height="4" class="{kind}">' in text


def luminance(colour: str) -> float:
    """How bright WCAG 2 takes it to be (https://www.w3.org/TR/WCAG22/#dfn-relative-luminance)."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1])
def test_every_word_can_be_read_on_its_ground(scheme: int) -> None:
    """4.5 is what WCAG asks for."""
    block = re.findall(r":root \{(.*?)\}", page.STYLE, re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6})", block))
    pairs = [(word, ground) for word in ("ink", "soft", "accent") for ground in ("paper", "sheet", "faint")]
    pairs += [(tone, f"{tone}-wash") for tone in ("good", "warn", "bad")] + [
        (t, "paper") for t in ("good", "warn", "bad")
    ]
    for word, ground in pairs:
        light, dark = sorted((luminance(colours[word]), luminance(colours[ground])), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (word, ground)
