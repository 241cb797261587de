# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others: nothing in them that a terminal would obey."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain dätä 数据", "plain dätä 数据"),
        ("two\nlines\r\t", "two\\nlines\\r\\t"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eto left", "right\\u202eto left"),
        ("raw\udcff", "raw\\udcff"),
    ],
)
def test_plain_text_is_one_line_that_no_terminal_obeys(text: str, shown: str) -> None:
    assert words.plain(text) == shown
