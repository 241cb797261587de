# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables, in Markdown."""

from __future__ import annotations

from pathlib import Path

from bounds import MEBIBYTE, Bound
from results import CHAIN_FIRST, CHAIN_LAST, EXPORT, IMPORT, ROUND_WORKS, Results, wall
from tools import TOOLS, Ours, Tool

Row = list[str]


def render(results: Results, bounds: list[Bound], facts: dict[str, str], left_out: dict[str, str]) -> str:
    """All of it; empty tables are left out."""
    parts = [
        table(["condition", ""], [[name, value] for name, value in facts.items()]),
        *section("Measured", _works(results), _WORK_COLUMNS),
        *section("A day", _days(results), _DAY_COLUMNS),
        *section("Bounds", [[each.what, each.bound, each.measured, each.verdict] for each in bounds], _BOUND_COLUMNS),
    ]
    return "\n\n".join([*parts, "### The tools", _tools(left_out)])


def _tools(left_out: dict[str, str]) -> str:
    lines = []
    for tool in TOOLS:
        absent = f" Left out: {left_out[tool.name]}." if tool.name in left_out else ""
        lines.append(f"- **{tool.name}**: {tool.about}.{absent}")
    return "\n".join(lines)


_WORK_COLUMNS = (
    "work",
    "tool",
    "wall, s",
    "least to most, s",
    "CPU, s",
    "memory, MiB",
    "stored, MiB",
    "written, MiB",
    "ours ÷ this, wall",
)
_DAY_COLUMNS = (
    "tool",
    "first backup, MiB",
    "hourly backups together, MiB",
    "an hour, MiB",
    "at the end, MiB",
    "hourly backups together, s",
)
_BOUND_COLUMNS = ("what", "bound", "measured (least to most)", "")


def section(title: str, rows: list[Row], columns: tuple[str, ...]) -> list[str]:
    return [f"### {title}", table(list(columns), rows)] if rows else []


def table(columns: Row, rows: list[Row]) -> str:
    """In Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _works(results: Results) -> list[Row]:
    works = (*ROUND_WORKS, CHAIN_FIRST, CHAIN_LAST, EXPORT, IMPORT)
    rows = [_work(results, work, tool) for work in works for tool in TOOLS]
    return [row for row in rows if row]


def _work(results: Results, work: str, tool: type[Tool]) -> Row:
    key = (work, tool.name)
    if key in results.failures:
        return [work, tool.name, f"failed: {results.failures[key]}", *[""] * (len(_WORK_COLUMNS) - 3)]
    samples = results.of(*key)
    if not samples:
        return []

    def mebibytes(name: str) -> str:
        values = {
            "memory": lambda sample: sample.usage.memory_bytes,
            "stored": lambda sample: sample.stored_bytes,
            "written": lambda sample: sample.usage.written_bytes,
        }
        return f"{(results.median(*key, values[name]) or 0) / MEBIBYTE:,.2f}"

    cpu_seconds = results.median(*key, lambda sample: sample.usage.cpu_seconds) or 0
    # In the other works the tools do not take turns.
    paired = tool is not Ours and work in (*ROUND_WORKS, EXPORT, IMPORT)
    ratio = results.ratio((work, Ours.name), key) if paired else None
    return [
        work,
        tool.name,
        f"{results.median(*key, wall) or 0:.2f}",
        f"{min(map(wall, samples)):.2f} to {max(map(wall, samples)):.2f}",
        f"{cpu_seconds:.2f}",
        *map(mebibytes, ("memory", "stored", "written")),
        f"{ratio.median:.2f}" if ratio else "",
    ]


def _days(results: Results) -> list[Row]:
    rows = []
    for name, day in results.days.items():
        if day.failure or len(day.bytes_after) < 2:
            rows.append([name, f"failed: {day.failure}", *[""] * (len(_DAY_COLUMNS) - 2)])
            continue
        first, last, hours = day.bytes_after[0], day.bytes_after[-1], len(day.bytes_after) - 1
        sizes = (first, last - first, (last - first) / hours, last)
        rows.append([name, *(f"{size / MEBIBYTE:,.2f}" for size in sizes), f"{day.hourly_wall_seconds:.1f}"])
    return rows


def write_into(document: Path, text: str, *, part: str = "results") -> None:
    """Put `text` between the two markers of that part of `document`."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    content = document.read_text(encoding="utf-8")
    before, rest = content.split(begin)
    _old, after = rest.split(end)
    document.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", encoding="utf-8")
