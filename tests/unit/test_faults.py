# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every call that changes the disk, or reads from it, fails once, is cut short, or is the last one (cases 8 and 9).

SQLite's own calls, too. Old or new content, whole, and the next run finds all that it needs: see docs/faults.md.
"""

from __future__ import annotations

from typing import Any

import pytest

from support import faults, jobs, keys

pytestmark = [pytest.mark.slow, faults.needs_compiler]

# Fewer would mean that calls are not seen any more.
FEWEST_CALLS = 5
_DIFFERING = ("input/output error", "input/output error while reading", "SIGKILL")


@pytest.mark.parametrize(
    "job", [pytest.param(each, marks=keys.needs_age if each in jobs.ENCRYPTED else ()) for each in jobs.JOBS]
)
def test_no_fault_breaks_a_promise(job: str) -> None:
    check(faults.sweep(job, _DIFFERING if job in jobs.SHORT else tuple(faults.KINDS)))


@pytest.mark.parametrize("job", jobs.WITH_LINKS)
def test_no_fault_breaks_a_promise_where_there_are_no_hard_links(job: str) -> None:
    kinds = [name for name, kind in faults.KINDS.items() if not kind.reads]
    check(faults.sweep(job, kinds, without_links=True))


def check(found: dict[str, dict[str, Any]]) -> None:
    broken = {kind: each["broken"] for kind, each in found.items() if each["broken"]}
    assert broken == {}
    assert all(each["calls"] > FEWEST_CALLS for each in found.values())
