# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host may lack, or do, that harms a backup one day: filesystems, clock, programs, who may read what."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path

from ..sqlite import bugs
from ..sqlite.library import sqlite3
from ..system import clock, launch, mounts
from .findings import NOTE, OK, OTHERS_READ, PROBLEM, WARNING, Checks, Facts, Finding, rights_of_windows


def _python(_facts: Facts, name: str) -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name, OK, f"{sys.executable} is Python {version}.")


def _sqlite(facts: Facts, name: str) -> Finding:
    header = facts.source.header if facts.source else None
    version = sqlite3.sqlite_version
    found = bugs.bugs_in(sqlite3.sqlite_version_info, wal=header is None or header.wal)
    if not found:
        return Finding(name, OK, f"SQLite {version} has no bug that is known to corrupt databases.")
    return Finding(
        name,
        NOTE,
        f"By its number SQLite {version} has bugs that rarely harm who writes: {'; '.join(found)}. Its package may "
        "have the repairs under the same number. Backups only read with it. The application writes, perhaps with an "
        "SQLite of its own.",
    )


def _source_filesystem(facts: Facts, name: str) -> Finding:
    return _filesystem(facts.path, facts, name, "The database", WARNING)


def _repository_filesystem(facts: Facts, name: str) -> Finding:
    return _filesystem(facts.request.repository, facts, name, "The repository", PROBLEM)


def _filesystem(path: Path, facts: Facts, name: str, what: str, when_volatile: str) -> Finding:
    found = mounts.filesystem_of(path, facts.mounts)
    if mounts.is_network(found):
        hint = "Keep it on a disk of this host, and copy finished backups elsewhere."
        return Finding(name, WARNING, f"{what} is on a network filesystem ({found}), where locks may not hold.", hint)
    if mounts.is_volatile(found):
        return Finding(name, when_volatile, f"{what} is in memory ({found}), and gone after a restart.", "Use a disk.")
    return Finding(name, OK, f"{what} is on a filesystem of the type {found}.")


def _clock(facts: Facts, name: str) -> Finding:
    now = clock.now()
    if now < clock.WRITTEN:
        detail = f"The clock of this host shows {clock.to_text(now)}, which is past."
        return Finding(name, PROBLEM, detail, "Set the clock, and have it set by NTP.")
    newest = max((each.manifest.started for each in facts.backups if each.manifest), default="")
    if newest > clock.to_text(now):
        detail = f"A backup is dated {newest}, later than now, {clock.to_text(now)}: the clock is or was wrong."
        return Finding(name, WARNING, detail, "Set the clock. Retention neither counts nor removes such a backup.")
    if clock.is_set() is False:
        detail = "Nothing set the clock since this host started."
        return Finding(name, WARNING, detail, "See whether a time server can be reached: timedatectl timesync-status")
    return Finding(name, OK, f"The clock shows {clock.to_text(now)}, and no backup is later.")


def _programs(facts: Facts, name: str) -> Finding:
    wanted = {facts.request.compression, facts.request.encryption.method} & {"zstd", "age", "gpg"}
    missing = sorted(each for each in wanted if not launch.find(each))
    if missing:
        words = " and ".join(missing)
        return Finding(name, PROBLEM, f"{words} is configured and not installed.", f"Install {words}.")
    if facts.request.compression == "auto" and not launch.find("zstd"):
        detail = "zstd is not installed: gzip is used, which is slower and stores more."
        return Finding(name, WARNING, detail, "Install zstd, or set compression to gzip.")
    return Finding(name, OK, "Every program that is needed is installed.")


def _configuration(facts: Facts, name: str) -> Finding:
    """Files of the configuration that others may read: they tell where everything is, or even how to decrypt it."""
    exposed = " ".join(filter(None, (facts.request.encryption.warning(), facts.request.keys.warning())))
    if exposed:
        return Finding(name, PROBLEM, exposed, "Use another key from now on if others may have read it.")
    path = facts.request.configuration
    if path is not None and os.name == "nt":
        return rights_of_windows(name, path.parent)
    mode = stat.S_IMODE(os.stat(path).st_mode) if path is not None else 0
    if mode & OTHERS_READ:
        return Finding(
            name, WARNING, f"{path} can be read by others (mode {mode:04o}).", f"chmod 0600 {shlex.quote(str(path))}"
        )
    return Finding(name, OK, "Only their owner can read the configuration and the keys.")


CHECKS: Checks = {
    "python": _python,
    "sqlite": _sqlite,
    "source filesystem": _source_filesystem,
    "repository filesystem": _repository_filesystem,
    "clock": _clock,
    "programs": _programs,
    "configuration": _configuration,
}
