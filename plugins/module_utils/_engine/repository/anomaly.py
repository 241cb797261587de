# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether what a database holds collapsed since its last backups: a table that was emptied, most of its bytes gone.

Good backups must not age out while nobody has noticed. Each measure is compared with the least of the recent backups,
so that a table that is filled and emptied all the time is none to tell of. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..sqlite.proof import Proof
from ..system.files import readable

DEFAULT_PERCENT = 20
# With less than that there is nothing to see in what comes and goes.
LEAST_ROWS = 100
LEAST_BYTES = 1024 * 1024
# In which a virtual table keeps its index, behind its name: how many rows that has is up to its module, which merges
# them. The other half of a group tells that it is one, and has as many rows as the virtual table.
_INDEXES = (
    (("data", "idx"), ("config",)),
    (("segments", "segdir"), ()),
    (("node", "parent"), ("rowid",)),
)


@dataclass(frozen=True)
class Size:
    """How much a database holds: ``rows`` by table, ``used_bytes`` without free pages, None where that is not known.

    ``uncounted`` are tables that are there, and whose rows could not be counted.
    """

    rows: Mapping[str, int] = field(default_factory=dict)
    used_bytes: int | None = None
    uncounted: frozenset[str] = frozenset()


def size_of(proof: Proof, *, page_size: int, page_count: int) -> Size:
    """What the proof of an image of so many pages says."""
    free = proof.header.get("freelist_count")
    used_bytes = (page_count - free) * page_size if isinstance(free, int) else None
    return Size(dict(proof.tables), used_bytes, frozenset(proof.uncounted))


def collapse(recent: Sequence[Size], now: Size, percent: int, *, named: bool = True) -> str:
    """What has less than ``percent`` of what it had in all of ``recent``, as a sentence; empty when nothing has.

    Without ``named`` it says nothing of the content.
    """
    if not recent or percent <= 0:
        return ""
    fallen = _fallen_tables(recent, now, percent)
    if fallen:
        table, least, left = fallen[0]
        more = f", and there are {len(fallen) - 1} more" if fallen[1:] else ""
        if not named:
            return "a table has far fewer rows than before" if not more else "tables have far fewer rows than before"
        gone = f"the table {table} is gone, which had {least} rows" if left is None else ""
        return f"{gone or f'the table {table} has {left} rows, it had {least}'}{more}"
    before = [each.used_bytes for each in recent if each.used_bytes is not None]
    least_bytes = min(before, default=0)
    if now.used_bytes is not None and least_bytes >= LEAST_BYTES and now.used_bytes * 100 < least_bytes * percent:
        return f"it holds {readable(now.used_bytes)}, it held {readable(least_bytes)}"
    return ""


def _fallen_tables(recent: Sequence[Size], now: Size, percent: int) -> list[tuple[str, int, int | None]]:
    """Each with the rows that it had at least, and those that are left, None when it is gone; the worst first."""
    known = set(recent[0].rows).intersection(*(each.rows for each in recent[1:])) - now.uncounted
    known -= _indexes({*recent[-1].rows, *now.rows})
    fallen: list[tuple[str, int, int | None]] = []
    for table in sorted(known):
        least = min(each.rows[table] for each in recent)
        left = now.rows.get(table)
        if least >= LEAST_ROWS and (left or 0) * 100 < least * percent:
            fallen.append((table, least, left))
    fallen.sort(key=lambda each: each[1] - (each[2] or 0), reverse=True)
    return _without_renamed(fallen, recent, now, percent)


def _without_renamed(
    fallen: list[tuple[str, int, int | None]], recent: Sequence[Size], now: Size, percent: int
) -> list[tuple[str, int, int | None]]:
    """Those but tables that are gone and may have another name now: for each of them a new one has about its rows."""
    new = sorted(rows for name, rows in now.rows.items() if not any(name in each.rows for each in recent))
    rest = []
    for each in fallen:
        if each[2] is None and new and new[-1] * 100 >= each[1] * percent:
            new.pop()
        else:
            rest.append(each)
    return rest


def _indexes(names: set[str]) -> set[str]:
    """Those of ``names`` that are part of an index of a virtual table."""
    found: set[str] = set()
    for parts, others in _INDEXES:
        for each in names:
            whole, _mark, part = each.rpartition("_")
            if part == parts[0] and all(f"{whole}_{other}" in names for other in (*parts, *others)):
                found.update(f"{whole}_{one}" for one in parts)
    return found
