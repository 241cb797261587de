# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTML of elements: what is not HTML already is escaped, once."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import markup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.markup import Markup, element


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (element("p", "1 < 2 & 3"), "<p>1 &lt; 2 &amp; 3</p>"),
        (element("p", "&amp;"), "<p>&amp;amp;</p>"),
        (element("p", element("b", "<")), "<p><b>&lt;</b></p>"),
        (element("p", Markup("<b>") + "<i>"), "<p>&lt;b&gt;&lt;i&gt;</p>"),
        (element("p", "a\x00\u202e\udcff\nb"), "<p>a\\x00\\u202e\\udcff\\nb</p>"),
        (element("a", "x", title="\"'<>&"), '<a title="&quot;&#x27;&lt;&gt;&amp;">x</a>'),
        (element("a", "x", title=Markup('"><b>')), '<a title="&quot;&gt;&lt;b&gt;">x</a>'),
        (element("th", scope="row", class_=None, hidden=True, open=False), '<th scope="row" hidden></th>'),
        (element("td", data_sort=0, aria_sort="none", x1=1.5), '<td data-sort="0" aria-sort="none" x1="1.5"></td>'),
        (element("meta", name="a", http_equiv="b"), '<meta name="a" http-equiv="b">'),
    ],
)
def test_what_is_not_html_is_escaped_once(made: Markup, text: str) -> None:
    assert made == text


def test_long_text_is_cut_and_says_so() -> None:
    assert element("p", "<" * 10_000) == f"<p>{'&lt;' * 1000}… (10000 characters)</p>"
    assert element("p", title="x" * 10_000) == f'<p title="{"x" * 1000}… (10000 characters)"></p>'
    assert markup.short("x" * 161) == f"{'x' * 160}… (161 characters)"
    assert markup.short("x" * 160) == "x" * 160


def test_a_command_is_never_cut() -> None:
    assert markup.whole("<" * 10_000) == "&lt;" * 10_000
