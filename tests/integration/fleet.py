# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts that are all this one, and a playbook that writes one report about them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from integration import harness
from integration.harness import Run
from integration.place import Place

HOSTS = ("ci-1", "ci-2", "ci-3")


class Fleet:
    """Each host has a directory of its own; ``entries`` is what the document of the report calls its list."""

    def __init__(self, place: Place, playbook: str, entries: str) -> None:
        self.place = place
        self._playbook, self._entries = playbook, entries
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        self.hosts: dict[str, dict[str, Any]] = dict.fromkeys(HOSTS, local)

    def directory(self, name: str) -> Path:
        return self.place.directory / "fleet" / name

    def repository(self, name: str) -> Path:
        return self.directory(name) / "agent"

    def silence(self, port: int, *names: str) -> None:
        """Nobody answers for these hosts, on a ``port`` where nobody listens."""
        ssh = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": port}
        self.hosts.update(dict.fromkeys(names, ssh))

    @property
    def report(self) -> Path:
        return self.place.directory / "report" / "fleet"

    def run(self, variables: dict[str, Any], *flags: str) -> Run:
        folder = self.place.directory / "ansible"
        folder.mkdir(exist_ok=True)
        self.report.parent.mkdir(exist_ok=True)
        inventory = folder / "fleet.json"
        inventory.write_text(json.dumps({"fleet": {"hosts": self.hosts}}), encoding="utf-8")
        return harness.run_playbook(folder, self._playbook, variables, "--inventory", str(inventory), *flags)

    def told(self) -> list[dict[str, Any]]:
        """What the document says, the worst first; the page speaks of the same hosts."""
        document = json.loads(self.report.with_suffix(".json").read_text(encoding="utf-8"))
        found: list[dict[str, Any]] = document[self._entries]
        assert all(each["host"] in self.page() for each in found)
        return found

    def page(self) -> str:
        return self.report.with_suffix(".html").read_text(encoding="utf-8")


def silent(run: Run) -> list[str]:
    """How each line of the last failure begins."""
    return [line.partition(".")[0] for line in run.last_failure.splitlines()]
