# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fourteen months of a host, and after each run just the backups that should be.

It is run often for a month, then once a day, then often for another month, so that what the hours left is thinned out
by the years, and all rules hold at once in the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files
from support import sites
from support.hosts import Host

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_process_is_looked_at")]

BEGIN = datetime(2024, 11, 4, tzinfo=timezone.utc)
DAYS = 425
BUSY_DAYS = 30
HOURS = range(8, 18, 4)
PINNED_EVERY_RUNS = 200
# Pages of a database in rollback mode are read where they are: what is restored has the very bytes of the file.
OPTIONS = {"compression": "none", "full_every": "1d", "rpo": "1h"}
RULES = ((24, "%Y-%m-%d %H"), (7, "%Y-%m-%d"), (4, "%G week %V"), (12, "%Y-%m"))


@dataclass(frozen=True)
class Made:
    """A backup as the runner reported it, and the SHA-256 of the database at that time."""

    id: str
    moment: datetime
    parent: str | None
    pinned: bool
    sha256: str


def should_stay(made: list[Made]) -> set[str]:
    """By looking at each backup and each rule: does it stand for one of the newest periods that have a backup."""
    staying = {each.id for each in made if each.pinned} | {made[-1].id}
    for count, form in RULES:
        period = {each.id: each.moment.strftime(form) for each in made}
        for one in made:
            rivals = [each for each in made if period[each.id] == period[one.id]]
            better = [each for each in rivals if (each.parent is None, each.moment) > (one.parent is None, one.moment)]
            later = {period[each.id] for each in made if period[each.id] > period[one.id]}
            if not better and len(later) < count:
                staying.add(one.id)
    parents = {each.id: each.parent for each in made}
    for child in list(staying):
        while (parent := parents[child]) is not None:
            staying.add(parent)
            child = parent  # noqa: PLW2901 - all the way down to the full backup
    return staying


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: thousands of small files are written."""
    memory = Path("/dev/shm")  # noqa: S108 - only a directory made there is used
    if not memory.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as name:
        yield Path(name)


def moments() -> Iterator[datetime]:
    for day in range(DAYS):
        is_busy = not BUSY_DAYS <= day < DAYS - BUSY_DAYS
        for hour in HOURS if is_busy else HOURS[:1]:
            yield BEGIN + timedelta(days=day, hours=hour, minutes=17)


def change(connection: sqlite3.Connection, number: int) -> None:
    row = number % sites.ROWS + 1
    connection.execute("UPDATE page SET content = ? WHERE id = ?", (f"run {number} ".ljust(400, "-"), row))


def test_fourteen_months(scratch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(base, "SMALL_BYTES", 0)
    host = Host(scratch, capfd, bare=True)
    path = host.add("agent", path=sites.make(scratch / "agent.db", journal_mode="delete"), **OPTIONS)
    made: list[Made] = []
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as application:
        application.execute("PRAGMA synchronous=OFF")
        for number, moment in enumerate(moments()):
            monkeypatch.setattr(clock, "now", lambda moment=moment: moment)
            change(application, number)
            made.append(_back_up(host, moment, pinned=number % PINNED_EVERY_RUNS == 0))
            staying = should_stay(made)
            made = [each for each in made if each.id in staying]
            assert {each.name for each in host.repository().glob("[0-9]*")} == staying
    assert {each.parent is None for each in made} == {True, False}
    _assert_restorable(host, made)


def _back_up(host: Host, moment: datetime, *, pinned: bool) -> Made:
    said = host.run("backup", "agent", "--json", *(["--pinned"] if pinned else []))
    assert said.code == 0, said
    backup = said.result["backup"]
    assert backup["created"] == clock.to_text(moment)
    return Made(backup["id"], moment, backup["parent"], pinned, files.sha256_file(host.database()))


def _assert_restorable(host: Host, made: list[Made]) -> None:
    """Each that is left is the database of its time, byte for byte, and the runner says that all is well."""
    assert host.ids() == [each.id for each in made]
    dest = host.directory / "restored" / "agent.db"
    dest.parent.mkdir()
    for each in made:
        said = host.run("restore", "agent", "--backup", each.id, "--dest", dest, "--check", "full")
        assert said.code == 0, said
        assert hashlib.sha256(dest.read_bytes()).hexdigest() == each.sha256
    assert host.run("verify", "agent", "--backup", "all", "--level", "full").code == 0
    assert host.run("status", "agent").code == 0
