# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A corrupt database: its bytes are kept, and nothing takes them for a good backup or builds on them (case 10)."""

from __future__ import annotations

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    RefusedError,
    SourceCorruptError,
)
from support.sites import Site, assert_full, assert_incremental

pytestmark = pytest.mark.usefixtures("moment")


def test_corrupt_database_is_stored_as_suspect_and_never_built_on(site: Site) -> None:
    good = site.stored()
    before = site.corrupt()
    outcome = site.back_up()
    assert isinstance(outcome.error, SourceCorruptError)
    assert good.id in outcome.error.hint
    assert outcome.backup is not None
    suspect = outcome.backup.trusted()
    assert suspect.suspect
    assert not outcome.backup.verified
    assert site.history()[-1]["outcome"] == "suspect"
    assert site.restored(suspect.id, force=True) == site.database.read_bytes()
    with pytest.raises(RefusedError, match="suspect"):
        site.restored(suspect.id)
    again = site.back_up()
    assert (again.changed, type(again.error)) == (False, SourceCorruptError)
    site.database.write_bytes(before)
    site.change(1)
    assert_full(site, site.stored(), "suspect")
    site.change(1)
    assert_incremental(site, site.stored(), 1)


def test_database_that_sqlite_cannot_open_is_kept_whole_and_never_built_on(site: Site) -> None:
    site.stored()
    before = site.database.read_bytes()
    broken = before[:16] + b"\x00\x03" + before[18:]
    site.database.write_bytes(broken)
    outcome = site.back_up()
    assert isinstance(outcome.error, SourceCorruptError)
    assert (outcome.type, outcome.backup and outcome.backup.trusted().suspect) == ("full", True)
    assert site.restored(site.ids()[-1], force=True) == broken
    assert not site.back_up().changed
    site.database.write_bytes(before)
    assert_full(site, site.stored(), "suspect")
