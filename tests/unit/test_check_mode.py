# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode of a backup: the same decisions as in the run that follows, and no trace (not even in ``.index``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import SourceCorruptError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import databases, sites
from support.sites import Site

pytestmark = pytest.mark.usefixtures("moment")


def _nothing(_site: Site) -> None:
    """Nothing happened since the newest backup."""


def _one_page(site: Site) -> None:
    site.change(1)


def _most_pages(site: Site) -> None:
    site.change(sites.ROWS)


def _no_index(site: Site) -> None:
    site.index().unlink()
    site.change(1)


def _damaged_parent(site: Site) -> None:
    (artifact,) = (site.repository / site.ids()[-1]).glob("database.*")
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    site.change(1)


def _only_in_the_log(site: Site) -> None:
    databases.crashed_wal(site.database, rows=20)


CHANGES = [_nothing, _one_page, _most_pages, _no_index, _damaged_parent, _only_in_the_log]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("wanted", [{}, {"type": "full"}, {"type": "incremental"}, {"force": True}])
def test_check_mode_foretells_the_run_and_leaves_no_trace(
    site: Site, change: Callable[[Site], None], wanted: dict[str, Any]
) -> None:
    site.stored()
    site.change([5])
    site.stored()
    change(site)
    databases.settle(site.database)
    before = site.tree()
    foretold = site.back_up(dry_run=True, **wanted)
    after = site.tree()
    # The staging directory came and went, and whoever reads takes the lock.
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {
        "repository",
        "repository/.lock",
    }
    assert before["repository/.lock"][2] == after["repository/.lock"][2]
    done = site.back_up(**wanted)
    assert _told(foretold) == _told(done)
    assert foretold.warnings == done.warnings
    assert (foretold.backup is None) == foretold.changed


def test_check_mode_of_a_first_backup_foretells_it(site: Site) -> None:
    before = site.tree()
    foretold = site.back_up(dry_run=True)
    assert site.tree() == before
    assert _told(foretold) == _told(site.back_up())


@pytest.mark.parametrize(("first", "kind"), [(True, "auto"), (False, "auto"), (False, "full")])
def test_check_mode_finds_a_corrupt_database(site: Site, first: bool, kind: str) -> None:
    """The run would fail, so its preview must not promise a good backup."""
    if not first:
        site.stored()
    site.corrupt()
    before = site.tree()
    foretold = site.back_up(dry_run=True, type=kind)
    after = site.tree()
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} <= {"repository"}
    assert isinstance(foretold.error, SourceCorruptError)
    assert isinstance(site.back_up(type=kind).error, SourceCorruptError)


def _told(outcome: backup.Outcome) -> tuple[object, ...]:
    return outcome.changed, outcome.type, outcome.parent, outcome.changed_pages
