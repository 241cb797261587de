# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A month with failures of every kind, and a script that looks at nothing but the exit code of `status`."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files, locks
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import NoSpaceError
from support import databases
from support.hosts import Host

pytestmark = pytest.mark.slow

DAYS = 30
ACTIVE = range(6, 23)
EVERY = timedelta(hours=1)
Harm = Callable[["Place"], contextlib.AbstractContextManager[None]]


@dataclass
class Place:
    """The host, and whether anything starts its runs."""

    host: Host
    moment: list[datetime]
    patch: pytest.MonkeyPatch
    scheduled: bool = True

    @property
    def database(self) -> Path:
        return self.host.database()

    def newest(self) -> Path:
        return self.host.repository() / self.host.ids()[-1]


@contextlib.contextmanager
def schedule_is_gone(place: Place) -> Iterator[None]:
    place.scheduled = False
    yield
    place.scheduled = True


@contextlib.contextmanager
def database_is_missing(place: Place) -> Iterator[None]:
    place.database.rename(place.database.with_suffix(".away"))
    yield
    place.database.with_suffix(".away").rename(place.database)


@contextlib.contextmanager
def database_is_corrupt(place: Place) -> Iterator[None]:
    content = place.database.read_bytes()
    place.database.write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))
    yield
    place.database.write_bytes(content)
    databases.settle(place.database)


@contextlib.contextmanager
def repository_is_gone(place: Place) -> Iterator[None]:
    away = place.host.repository().with_name("away")
    place.host.repository().rename(away)
    yield
    if place.host.repository().exists():
        shutil.rmtree(place.host.repository())
    away.rename(place.host.repository())


@contextlib.contextmanager
def configuration_is_broken(place: Place) -> Iterator[None]:
    file = place.host.config / "databases.d" / "agent.json"
    content, status = file.read_bytes(), file.stat()
    file.write_bytes(content[:-1])
    yield
    file.write_bytes(content)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


@contextlib.contextmanager
def lock_is_held(place: Place) -> Iterator[None]:
    with locks.held(place.host.repository() / ".lock", timeout_seconds=0, action="Cannot hang"):
        yield


@contextlib.contextmanager
def disk_is_full(place: Place) -> Iterator[None]:
    def refuse(path: Path, needed_bytes: int, *, action: str) -> None:
        raise NoSpaceError(f"{action}: {path} needs {needed_bytes} bytes.")

    with place.patch.context() as patch:
        patch.setattr(files, "require_space", refuse)
        yield


@contextlib.contextmanager
def image_is_lost(place: Place) -> Iterator[None]:
    """The newest backup, and nobody can make another one."""
    newest = place.newest()
    for image in newest.glob("database.*"):
        image.unlink()
    with disk_is_full(place):
        yield
    shutil.rmtree(newest)


@contextlib.contextmanager
def application_began_anew(place: Place) -> Iterator[None]:
    content = place.database.read_bytes()
    with contextlib.closing(sqlite3.connect(place.database)) as connection:
        connection.executescript("DROP TABLE item; CREATE TABLE other(a)")
    databases.settle(place.database)
    yield
    place.database.write_bytes(content)
    databases.settle(place.database)


HARMS: tuple[Harm, ...] = (
    *(schedule_is_gone, database_is_missing, database_is_corrupt, repository_is_gone, configuration_is_broken),
    *(lock_is_held, disk_is_full, image_is_lost, application_began_anew),
)


@pytest.fixture
def place(
    host: Host, moment: list[datetime], monkeypatch: pytest.MonkeyPatch, local_zone: Callable[[str], None]
) -> Place:
    local_zone("UTC")
    due = {"minute": "0", "hour": ",".join(map(str, ACTIVE)), "grace": "1h"}
    few = {"keep_within": "0s", "keep_hourly": 3, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    host.add("agent", rpo="9h", due=due, **few)
    os.utime(host.config / "databases.d" / "agent.json", (0, 0))
    moment[0] = moment[0].replace(hour=0)
    assert host.run("backup", "agent").code == 0
    return Place(host, moment, monkeypatch)


def hours(place: Place, count: int) -> Iterator[bool]:
    """Lets so many hours pass; after the look at each half of one, whether that was good."""
    for _half in range(2 * count):
        place.moment[0] += EVERY / 2
        now = place.moment[0]
        if now.minute == 0 and now.hour in ACTIVE and place.scheduled:
            if place.database.exists() and now.hour % 2:
                with contextlib.suppress(sqlite3.DatabaseError):
                    place.host.change(text=str(now))
            place.host.run("backup", "agent")
        yield place.host.run("status", "agent").code == 0


def test_status_alone_is_never_more_than_an_interval_late(place: Place) -> None:
    begin = place.moment[0]
    for day in range(DAYS):
        assert all(hours(place, 9)), f"day {day} began without a failure"
        harm = HARMS[day % len(HARMS)]
        # Between two runs; the next one is the first that fails.
        assert list(hours(place, 1)) == [True, True]
        with harm(place):
            looks = list(hours(place, 4))
            late = [place for place, good in enumerate(looks) if good]
            # At most until an interval after the first run that was due and did not make a verified backup.
            assert late in ([], [0], [0, 1], [0, 1, 2]), f"{harm.__name__} on day {day}: {looks}"
        # The next run makes it good again.
        assert list(hours(place, 1))[-1], f"after {harm.__name__} on day {day}: {place.host.run('status', 'agent')}"
        assert all(hours(place, 24 - 9 - 1 - 4 - 1)), f"day {day} after {harm.__name__}"
    assert place.moment[0] == begin + timedelta(days=DAYS)
