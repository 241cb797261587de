# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A prune of a target takes nothing that is needed there, whatever is known here and whatever else is there."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    RefusedError,
    RepositoryLockedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import prune, prune_target
from support.offsite import Offsite

pytestmark = pytest.mark.thorough

NEWEST_ONLY = retention.Policy(1, 0, 0, 0, 0, 0, 0)


@pytest.fixture
def fulls(moment: list[datetime], offsite: Offsite) -> list[str]:
    """The ids of three full backups of three days, oldest first, which are all that is here and there."""
    for each in offsite.site.ids():
        shutil.rmtree(offsite.site.repository / each)
    made = []
    for _day in range(3):
        moment[0] += timedelta(days=1)
        offsite.site.change()
        made.append(offsite.site.stored(type="full").id)
    offsite.push()
    return made


def pruned(offsite: Offsite) -> prune.Outcome:
    target = offsite.push_request().target
    request = prune_target.Request(offsite.site.repository, target, NEWEST_ONLY, lock_timeout_seconds=0)
    return prune_target.run(request)


def whole(offsite: Offsite) -> list[str]:
    return sorted(each.parent.name for each in offsite.files.glob("*/manifest.json"))


def test_damaged_manifest_there_counts_for_nothing(offsite: Offsite, fulls: list[str]) -> None:
    """However sound the same backup is here: else the only copies there that restore would go."""
    manifest = offsite.files / fulls[-1] / "manifest.json"
    manifest.write_bytes(manifest.read_bytes()[::-1])
    outcome = pruned(offsite)
    assert whole(offsite) == fulls[1:]
    assert [each["reasons"][0] for each in outcome.kept] == ["last", "damaged"]
    assert any(f"{fulls[-1]} stays until somebody looks at it" in each for each in outcome.warnings)


def test_backup_that_is_not_whole_there_counts_for_nothing(offsite: Offsite, fulls: list[str]) -> None:
    next((offsite.files / fulls[-1]).glob("database*")).unlink()
    outcome = pruned(offsite)
    assert whole(offsite) == fulls[1:]
    assert any(f"{fulls[-1]} is not whole there" in each for each in outcome.warnings)


def test_nothing_goes_while_it_is_not_certain_what_is_foreign(offsite: Offsite, fulls: list[str]) -> None:
    """As in the repository itself."""
    (offsite.site.repository / "repository.json").unlink()
    with pytest.raises(RefusedError, match=r"repository\.json is missing"):
        pruned(offsite)
    assert whole(offsite) == fulls


def test_what_a_push_goes_on_with_stays(offsite: Offsite, fulls: list[str], moment: list[datetime]) -> None:
    """A first push of an old repository begins with what is older than any that was cut."""
    moment[0] += timedelta(days=30)
    known, lost = (offsite.files / each for each in fulls[:2])
    for each in (known, lost):
        (each / "manifest.json").unlink()
    shutil.rmtree(offsite.site.repository / lost.name)
    pruned(offsite)
    assert any(known.iterdir())
    assert not lost.exists()


def test_a_push_from_here_comes_to_its_end_first(offsite: Offsite, fulls: list[str]) -> None:
    (lock,) = offsite.site.repository.glob(".locks/push-*")
    with locks.held(lock, timeout_seconds=0), pytest.raises(RepositoryLockedError):
        pruned(offsite)
    assert whole(offsite) == fulls
