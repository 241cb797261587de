# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Texts for people: sizes, ages, tables."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import wording


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        (["within", "newest"], "within, newest"),
        (["needed by 20251230T130000Z-incremental", "needed by 20251230T140000Z-incremental"], "needed"),
        (["perhaps needed by 20251230T130000Z-incremental"], "perhaps needed"),
        (["builds on a damaged one"], "builds on a damaged one"),
        ([], "nothing"),
        (None, "?"),
    ],
)
def test_reasons_fit_on_a_line(reasons: list[str] | None, text: str) -> None:
    assert wording._kept_by({"reasons": reasons}) == text


def test_table_is_aligned() -> None:
    lines = wording.table(("NAME", "SIZE", "WHY"), [["a", "1 B", "x\ny"], ["longer", "100 B", ""]], right=("SIZE",))

    assert lines == ["NAME     SIZE  WHY", "a         1 B  x\\ny", "longer  100 B"]
