# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bugs of SQLite by their versions."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import bugs

WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN = (bug.what for bug in bugs.BUGS)


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ((3, 6, 23), []),
        ((3, 7, 0), [WAL_RESET]),
        ((3, 34, 1), [WAL_RESET]),
        ((3, 35, 0), [WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN]),
        ((3, 35, 4), [WAL_RESET, UPSERT, SAVEPOINT, DROP_COLUMN]),
        ((3, 35, 5), [WAL_RESET, UPSERT, SAVEPOINT]),
        ((3, 37, 1), [WAL_RESET, UPSERT, SAVEPOINT]),
        ((3, 37, 2), [WAL_RESET, UPSERT]),
        ((3, 44, 5), [WAL_RESET, UPSERT]),
        ((3, 44, 6), [UPSERT]),
        ((3, 45, 1), [WAL_RESET, UPSERT]),
        ((3, 45, 2), [WAL_RESET]),
        ((3, 50, 6), [WAL_RESET]),
        ((3, 50, 7), []),
        ((3, 51, 0), [WAL_RESET]),
        ((3, 51, 2), [WAL_RESET]),
        ((3, 51, 3), []),
        ((3, 53, 0), []),
    ],
)
def test_bugs_by_version(version: tuple[int, ...], expected: list[str]) -> None:
    assert bugs.bugs_in(version, wal=True) == expected
    assert bugs.bugs_in(version, wal=False) == [each for each in expected if each != WAL_RESET]
