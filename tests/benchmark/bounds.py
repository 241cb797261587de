# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The speed that the engine must reach, and whether it did."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from live import Change
from results import (
    CHAIN_FIRST,
    CHAIN_LAST,
    FULL,
    LISTING,
    MODULE_TASKS,
    NOTHING,
    PROVISION,
    RESTORE,
    ROUND_WORKS,
    SMALL,
    Ratio,
    Results,
    ratio_of,
    wall,
)
from tools import Borg, Ours, Pipeline, Restic

MEBIBYTE = 1 << 20
FULL_RATIO, SMALL_RATIO, RESTORE_RATIO, NOTHING_RATIO = 1.15, 0.5, 1.3, 1.0
CHAIN_RATIO, MODULE_RATIO, STORED_RATIO = 1.5, 1.3, 1.1
LISTING_SECONDS = 2.0
PROVISION_TASKS = 25
DAY_PART = 20
MEMORY_BYTES, MEMORY_PAGES, MEMORY_BYTES_PER_PAGE = 128 * MEBIBYTE, 1 << 18, 32

_Key = tuple[str, str]


@dataclass(frozen=True)
class Bound:
    """One row: what, the bound, what was measured; `met` is None when it was not measured."""

    what: str
    bound: str
    measured: str
    met: bool | None = None

    @property
    def verdict(self) -> str:
        return "" if self.met is None else "met" if self.met else "**missed**"


def all_bounds(results: Results, changes: dict[str, Change], page_count: int) -> list[Bound]:
    """Every bound, in the order of the design."""
    ours, pipeline = Ours.name, Pipeline.name
    compare = _Comparison(results)
    return [
        compare.walls("full backup, time", (FULL, ours), (FULL, pipeline), FULL_RATIO),
        compare.walls("incremental of 0.5 %, time", (SMALL, ours), (SMALL, pipeline), SMALL_RATIO),
        _stored(results, changes),
        compare.walls("restore, proven, time", (RESTORE, ours), (RESTORE, pipeline), RESTORE_RATIO),
        _nothing_stored(results),
        compare.walls("nothing changed, time", (NOTHING, ours), (SMALL, ours), NOTHING_RATIO),
        _memory(results, page_count),
        *(_module(results, setting) for setting in results.tasks or ("defaults",)),
        _listing(results),
        compare.walls(_chain_name(results), (CHAIN_LAST, ours), (CHAIN_FIRST, ours), CHAIN_RATIO),
        *(_day(results, peer.name) for peer in (Restic, Borg)),
        _provision_tasks(results),
        _provision_time(results),
    ]


class _Comparison:
    def __init__(self, results: Results) -> None:
        self._results = results

    def walls(self, what: str, above: _Key, below: _Key, limit: float) -> Bound:
        """Two wall times of the same rounds."""
        other = below[0] if above[1] == below[1] else f"the same by {below[1]}"
        ratio = self._results.ratio(above, below)
        return _of_ratio(what, f"≤ {limit} × {other}", ratio, limit, self._results.why_not(above, below))


def _of_ratio(what: str, bound: str, ratio: Ratio | None, limit: float, why_not: str) -> Bound:
    if ratio is None:
        return Bound(what, bound, why_not)
    measured = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})"
    return Bound(what, bound, measured, ratio.median <= limit)


def _stored(results: Results, changes: dict[str, Change]) -> Bound:
    what, bound = "incremental of 0.5 %, bytes stored", f"≤ {STORED_RATIO} × `zstd -3` of the changed pages"
    stored = results.median(SMALL, Ours.name, lambda sample: sample.stored_bytes)
    if stored is None or SMALL not in changes:
        return Bound(what, bound, results.why_not((SMALL, Ours.name)))
    share = stored / changes[SMALL].compressed_bytes
    measured = f"{share:.2f} ({stored:,.0f} of {changes[SMALL].compressed_bytes:,} bytes)"
    return Bound(what, bound, measured, share <= STORED_RATIO)


def _nothing_stored(results: Results) -> Bound:
    what, bound = "nothing changed, backups stored", "0"
    samples = results.of(NOTHING, Ours.name)
    if not samples:
        return Bound(what, bound, results.why_not((NOTHING, Ours.name)))
    stored = sum(sample.answer["changed"] for sample in samples)
    return Bound(what, bound, f"{stored} in {len(samples)} rounds", stored == 0)


def _memory(results: Results, page_count: int) -> Bound:
    limit = MEMORY_BYTES + MEMORY_BYTES_PER_PAGE * max(0, page_count - MEMORY_PAGES)
    what, bound = "peak memory, any work", f"≤ {limit / MEBIBYTE:.0f} MiB"
    works = (*ROUND_WORKS, CHAIN_LAST)
    peaks = {work: results.median(work, Ours.name, lambda sample: sample.usage.memory_bytes) for work in works}
    known = {work: peak for work, peak in peaks.items() if peak is not None}
    if not known:
        return Bound(what, bound, results.why_not((FULL, Ours.name)))
    worst = max(known, key=known.__getitem__)
    return Bound(what, bound, f"{known[worst] / MEBIBYTE:.0f} MiB ({worst})", known[worst] <= limit)


def _module(results: Results, setting: str) -> Bound:
    what = f"module `sqlite_backup`, 1 MiB database, time ({setting})"
    bound = f"≤ {MODULE_RATIO} × `ansible.builtin.command` with `sqlite3 .backup`"
    pairs = list(zip(*results.tasks.get(setting, ([], []))))
    return _of_ratio(what, bound, ratio_of(pairs), MODULE_RATIO, results.why_not((MODULE_TASKS, Ours.name)))


def _listing(results: Results) -> Bound:
    samples = results.of(LISTING, Ours.name)
    seconds = results.median(LISTING, Ours.name, wall)
    count = f"{samples[0].answer['backups']:,}" if samples else "10,000"
    what, bound = f"listing {count} backups, time", f"≤ {LISTING_SECONDS} s"
    if seconds is None:
        return Bound(what, bound, results.why_not((LISTING, Ours.name)))
    return Bound(what, bound, f"{seconds:.2f} s", seconds <= LISTING_SECONDS)


def _day(results: Results, peer: str) -> Bound:
    """The bytes of the hourly backups of a day, without the first backup."""
    what, bound = "hourly backups of a day, bytes stored", f"≤ 1/{DAY_PART} of those of {peer}"
    days = [results.days.get(name) for name in (Ours.name, peer)]
    grown = [each.bytes_after[-1] - each.bytes_after[0] for each in days if each and len(each.bytes_after) > 1]
    if len(grown) < len(days) or not grown[0]:
        return Bound(what, bound, "not measured")
    return Bound(what, bound, f"1/{grown[1] / grown[0]:.1f}", grown[0] * DAY_PART <= grown[1])


def _provision_tasks(results: Results) -> Bound:
    what, bound = "`provision_backups.yml` again, nothing changes, tasks a host", f"≤ {PROVISION_TASKS}"
    measured = results.provision
    if measured is None:
        return Bound(what, bound, results.why_not((PROVISION, Ours.name)))
    return Bound(what, bound, f"{measured.tasks}, {measured.skipped} more skipped", measured.tasks <= PROVISION_TASKS)


def _provision_time(results: Results) -> Bound:
    """There is no bound: the figure is to be seen."""
    what, bound = "the same, time", "none; beside a play that only gathers facts"
    measured = results.provision
    ratio = ratio_of(measured.seconds) if measured else None
    if measured is None or ratio is None:
        return Bound(what, bound, results.why_not((PROVISION, Ours.name)))
    again, facts = (statistics.median(each) for each in zip(*measured.seconds))
    seconds = f"{again:.2f} s and {facts:.2f} s, {measured.hosts} hosts"
    return Bound(what, bound, f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f}): {seconds}")


def _chain_name(results: Results) -> str:
    day = results.days.get(Ours.name)
    return f"restore through a chain of {day.links if day else 24} links, time"
