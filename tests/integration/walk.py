# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Somebody who follows a page of the documentation on a host, from its first line to its last."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Union

from integration.containers import Done, Host

from support.guides import Block, Guide, Row

# What is done for a step: None runs its commands as they are, and a text says why nothing is done here.
Deed = Union[str, Callable[..., None], None]

AGENT = "/srv/ci-fixer/agent.db"
BACKUPS = "/var/backups/sqlite"
REPOSITORY = "/var/backups/sqlite/agent"
CONFIG = "/etc/sqlite-backup/databases.d/agent.json"
BACKUP_ID = re.compile(r"\b\d{8}T\d{6}Z-\w+\b")


class Walk:
    """``deeds`` has what is special, by command, or by the first cell of a row."""

    def __init__(self, guide: Guide, host: Host, deeds: Mapping[str, Deed]) -> None:
        self.guide = guide
        self.host = host
        self._deeds = deeds
        self._used: set[str] = set()

    def go(self, *, write: Callable[[Block], None]) -> None:
        """Take every step; ``write`` gets the blocks that are no commands. Each deed must have been wanted."""
        for step in self.guide.steps:
            if isinstance(step, Block):
                write(step)
            elif isinstance(step, Row):
                self._do(step.see, step, step.commands)
            else:
                self._do(step, step, [step])
        assert set(self._deeds) - self._used == set(), f"no longer in {self.guide.path.name}"

    def _do(self, name: str, step: str | Row, commands: Sequence[str]) -> None:
        deed: Deed = self._deeds.get(name)
        if name in self._deeds:
            self._used.add(name)
        if callable(deed):
            deed(self, step)
        elif deed is None:
            for command in commands:
                if isinstance(step, Row):
                    self._do(command, command, [command])
                else:
                    self.run(command)

    def run(self, command: str, *, code: int = 0, **instead: str) -> str:
        """Run a command of the page where it belongs; its output. ``instead`` has what a reader puts for a word."""
        for word, replacement in instead.items():
            command = re.sub(rf"\b{word}\b", replacement, command)
        done = self._machine(command)(command)
        assert done.code == code, f"{self.guide.path.name}: {command}\nended with {done.code}\n{done.output}"
        return done.output

    def _machine(self, command: str) -> Callable[[str], Done]:
        return self.host.machine.run if command.startswith("ansible-") else self.host.run

    def rows(self) -> str:
        """A digest of every row of the database."""
        return self.host.must(f"sqlite3 {AGENT} .dump | sha256sum")


def one(pattern: str, text: str) -> str:
    """What the only group of a pattern found."""
    found = re.search(pattern, text)
    assert found, f"{pattern} is not in\n{text}"
    return found[1]


def last_id(text: str) -> str:
    found: list[str] = BACKUP_ID.findall(text)
    assert found, f"no id of a backup in\n{text}"
    return found[-1]
