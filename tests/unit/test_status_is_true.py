# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Random histories of a host: where `status` says ok, a real restore brings a young verified backup back."""

from __future__ import annotations

import collections
import hashlib
import os
import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases
from support.hosts import Host

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_process_is_looked_at")]

HISTORIES = 60
STEPS = 12
RPO = timedelta(hours=3)


class History:
    """One host, and what can happen to it; each step is one method, chosen by chance."""

    def __init__(self, host: Host, moment: list[datetime], chance: random.Random) -> None:
        self.host = host
        self.moment = moment
        self.chance = chance
        self.sound = host.add("agent", rpo="3h", keep_within="6h").read_bytes()
        self.healthy = True
        databases.settle(host.database())

    def backups(self) -> list[Backup]:
        if not Repository.exists(self.host.repository()):
            return []
        return Repository.open_existing(self.host.repository()).backups()

    def wait(self) -> None:
        self.moment[0] += timedelta(minutes=self.chance.choice([1, 20, 60, 120, 240]))

    def change(self) -> None:
        if self.healthy:
            self.host.change(text=f"{self.chance.random()}")
            self.sound = self.host.database().read_bytes()

    def back_up(self) -> None:
        self.host.run("backup", "agent", "--type", self.chance.choice(["auto", "auto", "full"]))

    def back_up_hourly(self) -> None:
        for _hour in range(3):
            self.moment[0] += timedelta(hours=1)
            self.change()
            self.back_up()

    def corrupt(self) -> None:
        """A page of garbage, or an index that lost an entry, which only a deep look finds."""
        self.heal()
        self.healthy = False
        if self.chance.random() < 0.5:
            self.host.database().write_bytes(self.sound[:4096] + b"\x00\xff" * ((len(self.sound) - 4096) // 2))
            return
        databases.lose_an_entry(self.host.database())

    def heal(self) -> None:
        self.host.database().write_bytes(self.sound)
        for suffix in ("-wal", "-shm"):
            Path(f"{self.host.database()}{suffix}").unlink(missing_ok=True)
        databases.settle(self.host.database())
        self.healthy = True

    def lose_the_database(self) -> None:
        self.host.database().unlink(missing_ok=True)
        self.healthy = False

    def _some_file(self) -> Path | None:
        files = [path for each in self.backups() for path in each.path.iterdir() if path.is_file()]
        return self.chance.choice(files) if files else None

    def lose_a_file(self) -> None:
        if path := self._some_file():
            path.unlink()

    def empty_a_file(self) -> None:
        if path := self._some_file():
            os.truncate(path, path.stat().st_size * self.chance.choice([0, 1]) // 2)

    def lose_a_backup(self) -> None:
        if backups := self.backups():
            shutil.rmtree(self.chance.choice(backups).path)

    def flip_and_verify(self) -> None:
        """What no look at names and sizes can find is found by the next verification, and stays found."""
        if path := self._some_file():
            if path.stat().st_size:
                databases.flip_bit(path, self.chance.randrange(path.stat().st_size))
            self.host.run("verify", "agent", "--backup", "all")

    def verify(self) -> None:
        backup, level = self.chance.choice(["latest", "all"]), self.chance.choice(["quick", "full"])
        self.host.run("verify", "agent", "--backup", backup, "--level", level)

    def lose_notes(self) -> None:
        for each in self.backups():
            (each.path / "checks.json").unlink(missing_ok=True)

    def back_up_with_a_wrong_clock(self) -> None:
        right = self.moment[0]
        self.moment[0] = right + timedelta(hours=self.chance.choice([-30, -2, -1, 1, 2, 30, 3000]))
        self.change()
        self.back_up()
        self.moment[0] = right + timedelta(minutes=1)

    def prune(self) -> None:
        self.host.run("prune", "agent")


# What is good for a host comes more often than what harms it, as it does in life.
GOOD = (
    History.wait,
    History.change,
    History.back_up,
    History.back_up_hourly,
    History.heal,
    History.verify,
    History.prune,
)
HARM = (
    *(History.corrupt, History.lose_the_database, History.lose_a_file, History.empty_a_file, History.lose_a_backup),
    *(History.flip_and_verify, History.lose_notes, History.back_up_with_a_wrong_clock),
)


def is_there(host: Host, dest: Path, now: datetime) -> bool:
    """Whether the newest backup that is called verified is within the RPO, and a restore brings just its image."""
    listed = host.run("list", "agent", "--json").result["repository"]["backups"]
    known = [each for each in listed if each.get("verified") and clock.from_text(each["created"]) <= now]
    current = clock.from_text(max(known[-1]["created"], known[-1]["confirmed"] or ""))
    if now - current > RPO:
        return False
    restored = restore.run(restore.Request(host.repository(), known[-1]["id"], dest=dest))
    found = hashlib.sha256(dest.read_bytes()).hexdigest()
    dest.unlink()
    return bool(restored.changed) and found == known[-1]["sha256"]


@pytest.mark.parametrize("part", range(2))
def test_status_is_never_better_than_a_restore(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    moment: list[datetime],
    nothing_is_small: None,
    part: int,
) -> None:
    said: collections.Counter[str] = collections.Counter()
    for number in range(part, HISTORIES, 2):
        chance = random.Random(number)
        directory = tmp_path / str(number)
        directory.mkdir()
        history = History(Host(directory, capfd), moment, chance)
        done: list[str] = []
        for _step in range(STEPS):
            step: Callable[[History], None] = chance.choice(GOOD if chance.random() < 0.7 else HARM)
            step(history)
            done.append(step.__name__)
            state = history.host.run("status", "agent", "--json").result.get("state", "error")
            said[state] += 1
            if state == "ok":
                assert is_there(history.host, directory / "restored.db", moment[0]), f"history {number}: {done}"
        shutil.rmtree(directory)
    # A verdict that is always bad would be true, and of no use.
    assert set(said) >= {"ok", "degraded", "failing", "missed"}, said
    assert said["ok"] > 60, said
