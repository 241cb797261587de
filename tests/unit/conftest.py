# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of whole backups share."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import zoneinfo
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path

import hypothesis
import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import audit, base
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import processes
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from support import processes as users
from support import servers, windows, words
from support.ground import Ground
from support.hosts import Host
from support.offsite import Offsite
from support.restores import Restores
from support.sites import Site

if hasattr(signal, "SIGHUP"):
    # nohup(1) has it ignored, and what the tests start would do the same.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


if sys.platform == "win32":
    # Wine, where this is Wine, takes many times as long.
    hypothesis.settings.register_profile("windows", deadline=None)
    hypothesis.settings.load_profile("windows")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out on Windows what it cannot pass."""
    for item in items if sys.platform == "win32" else ():
        if why := windows.reason(item.nodeid.rpartition("tests/unit/")[2]):
            item.add_marker(pytest.mark.skip(reason=why))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say on Windows how many tests were left out for which reason."""
    skipped = terminalreporter.stats.get("skipped", ()) if sys.platform == "win32" else ()
    if skipped:
        terminalreporter.section("left out")
        for line in windows.counted(each.longrepr[2].removeprefix("Skipped: ") for each in skipped):
            terminalreporter.line(line)


@pytest.fixture(autouse=True)
def nothing_waits_for_the_disk() -> Iterator[None]:
    """Tests look at files, or at what is flushed when; that a flush is a real one is for those of other processes."""
    # The fixture `monkeypatch` would then be the first of each test, and undo what it did after all others are gone.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> list[datetime]:
    """The clock shows what is in the list: noon."""
    shown = [datetime(2025, 12, 30, 12, tzinfo=timezone.utc)]
    monkeypatch.setattr(clock, "now", lambda: shown[0])
    return shown


@pytest.fixture
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """No database is too small for incremental backups."""
    monkeypatch.setattr(base, "SMALL_BYTES", 0)


@pytest.fixture
def no_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restore asks each process of the machine what it has open, which takes longest; here it looks at locks only."""
    monkeypatch.setattr(processes, "_by_descriptors", lambda _path: [])


@pytest.fixture
def site(tmp_path: Path, nothing_is_small: None) -> Site:
    """A database, and where its backups will be."""
    return Site(tmp_path)


@pytest.fixture
def restores(tmp_path: Path) -> Restores:
    """A backup, and a place to restore it to."""
    return Restores(tmp_path)


@pytest.fixture
def telling(site: Site) -> Site:
    """A site whose database says distinctive words, and that has a file to include."""
    words.put_into(site.database)
    return site


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Host]:
    """A host with the database ``agent``."""
    monkeypatch.delenv("SQLITE_BACKUP_CONFIG", raising=False)
    yield Host(tmp_path, capfd)
    # A run leaves it to the next one to say who else has the audit log.
    audit.echo_to()


@pytest.fixture
def no_zone_data(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A host without the package tzdata, of the system or of Python."""
    path = zoneinfo.TZPATH
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zoneinfo.reset_tzpath(to=())
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(to=path)


@pytest.fixture
def local_zone() -> Iterator[Callable[[str], None]]:
    """Sets the zone of this process, as TZ names it."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of a process cannot be changed here")
    with pytest.MonkeyPatch.context() as patch:

        def change(name: str) -> None:
            patch.setenv("TZ", name)
            time.tzset()

        yield change
    time.tzset()


@pytest.fixture
def offsite(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offsite]:
    """Two backups, an incremental among them, and a target that rclone knows; both without a server."""
    servers.use_rclone(monkeypatch)
    if shutil.which("rclone") is None:
        pytest.skip("rclone is not installed")
    site.stored()
    site.change()
    site.stored()
    with servers.remote(site.directory) as server:
        yield Offsite(site, server)


@pytest.fixture
def ground() -> Iterator[Ground]:
    """A database of another user's, below whom root works."""
    with users.open_directory() as place:
        yield Ground(place, repository_is_theirs=False)
