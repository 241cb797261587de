# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What somebody must know of the machine to make sense of the figures."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

from bench import Bench
from live import AUTOCHECKPOINT_PAGES, PAGE_BYTES, Change
from measure import RunFailedError
from tools import engine_command, versions

ROOT = Path(__file__).resolve().parents[2]
_GIT_SECONDS = 10
_MEBIBYTE = 1 << 20

Facts = dict[str, str]


def machine(bench: Bench) -> Facts:
    """Asked before the first measurement, so that the load is that of others."""
    facts = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "CPU": f"{_cpu_model()}, {os.cpu_count()} cores; load before the run {os.getloadavg()[0]:.2f}",
        "memory": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / (1 << 30):.1f} GiB",
        "system": f"{_distribution()}, kernel {platform.release()}",
        "filesystem": _filesystem(bench.folder),
    }
    try:
        engine = json.loads(bench.run(engine_command(bench.environment(), "versions")).output)
    except RunFailedError as error:
        return {**facts, "engine": f"failed: {error}"}
    facts["engine"] = f"collection {engine['collection']}, Python {engine['python']}, SQLite {engine['sqlite']}"
    programs = versions(bench.plan.tools, bench.environment())
    facts["programs"] = ", ".join(f"{name} {number}" for name, number in programs.items())
    return facts


def database(bench: Bench, changes: dict[str, Change], page_count: int) -> Facts:
    size = f"{page_count * PAGE_BYTES / _MEBIBYTE:,.0f} MiB, {page_count:,} pages of {PAGE_BYTES} bytes"
    changed = "; ".join(
        f"{work}: {change.pages:,} of {change.of_pages:,} pages ({100 * change.pages / change.of_pages:.2f} %),"
        f" {change.compressed_bytes:,} bytes by `zstd -3`"
        for work, change in changes.items()
    )
    return {
        "database": f"{size}, as of a service that uses Prisma (tests/support/agent_db.py), journal mode WAL",
        **_day(bench),
        "changes": f"commits of single agent runs with random keys, and of random older rows. {changed}",
        "-wal": "an application has the database open and idle while it is backed up, so the -wal stays as its last"
        f" commits left it (checkpoints as SQLite does them by default, after {AUTOCHECKPOINT_PAGES} pages)",
        "rounds": f"{bench.plan.rounds}; figures are medians. The tools take turns in each work, in every second round"
        " in the opposite order; a ratio is the median of the ratios of the rounds",
        "page cache": "warm: before each run the filesystem is synced, and the database and the tool's repository are"
        " read once",
    }


def _day(bench: Bench) -> Facts:
    if bench.day_pristine == bench.pristine or not bench.day_pristine.exists():
        return {}
    size_bytes = bench.day_pristine.stat().st_size
    return {
        "database of the day": f"{size_bytes / _MEBIBYTE:,.0f} MiB, made in the same way; all that follows a day too"
    }


def _commit() -> str:
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_GIT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _cpu_model() -> str:
    found = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.machine()


def _distribution() -> str:
    release = Path("/etc/os-release")
    content = release.read_text(encoding="utf-8") if release.exists() else ""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', content, re.MULTILINE)
    return found[1] if found else platform.system()


def _filesystem(folder: Path) -> str:
    """The type of the filesystem that `folder` is on: the mount with that device number, in /proc/self/mountinfo."""
    number = os.stat(folder).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, after = line.split(" - ", 1)
        if before.split()[2] == wanted:
            return after.split()[0]
    return "unknown"
