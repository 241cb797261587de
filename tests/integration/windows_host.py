# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a role with a Windows host that is not there, and get the modules that the controller would have sent to it.

What a module of the host answers, a test says with `WindowsHost.answer`. All else is answered as by a module that has
never been asked before, and that has nothing to do when it is asked for the same again. So a test sees which modules
are sent with which arguments, and nothing of what they do there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration import harness, windows_modules

NAME = "win-1"
FACTS = {
    "ansible_os_family": "Windows",
    "ansible_system": "Win32NT",
    "ansible_machine_id": "S-1-5-21-1004336348-1177238915-682003330",
    "ansible_nodename": "WIN-1",
    "ansible_hostname": "WIN-1",
}


@dataclass(frozen=True)
class Sent:
    """A module for the host; ``name`` is its short one, and ``content`` what came with it as a file."""

    module: str
    check: bool
    arguments: dict[str, Any]
    answer: dict[str, Any]
    content: bytes | None = None
    no_log: bool = False

    @property
    def name(self) -> str:
        return self.module.rpartition(".")[2]

    @property
    def changed(self) -> bool:
        return bool(self.answer.get("changed"))


@dataclass(frozen=True)
class Played:
    """A play that ended, and what it sent to the host, in that order."""

    run: harness.Run
    sent: list[Sent]

    def of(self, name: str) -> list[dict[str, Any]]:
        """The arguments with which the module of this short name was sent."""
        return [each.arguments for each in self.sent if each.name == name]

    @property
    def copied(self) -> dict[str, bytes]:
        """The files that win_copy and win_template took to the host, by the place where they went."""
        return {each.arguments["dest"]: each.content for each in self.sent if each.content is not None}


@dataclass
class WindowsHost:
    """Its files are in ``folder``; ``variables`` are those of the host in the inventory."""

    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    _answers: list[dict[str, Any]] = field(default_factory=list)
    _facts: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        windows_modules.require()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.answer("setup", {"ansible_facts": FACTS})

    def answer(self, module: str, answer: Mapping[str, Any], /, *, times: int = 0, **arguments: Any) -> None:
        """Let the module of this short name answer this, when ``arguments`` are among its own; the last word counts.

        With ``times`` only so often.
        """
        number = len(self._answers)
        entry = {"module": module, "arguments": arguments, "answer": dict(answer), "times": times, "id": number}
        self._answers.insert(0, entry)

    def tell(self, *facts: Mapping[str, Any]) -> None:
        """Let rights.ps1 tell these, too: see `support.windows_rules`. What it is not told is not there."""
        self._facts.extend(dict(each) for each in facts)

    def play(self, content: Sequence[Mapping[str, Any]], variables: Mapping[str, Any], *flags: str) -> Played:
        """Play this on the host; what its modules would refuse, or not know, is an AssertionError."""
        playbook = self.folder / "playbook.json"
        playbook.write_text(json.dumps(list(content)), encoding="utf-8")
        return self.run(str(playbook), variables, *flags)

    def role(self, name: str, variables: Mapping[str, Any], *flags: str, tasks_from: str = "main") -> Played:
        task = {"ansible.builtin.import_role": {"name": f"{harness.NAMESPACE}.{name}", "tasks_from": tasks_from}}
        return self.play([{"hosts": NAME, "gather_facts": False, "tasks": [task]}], variables, *flags)

    def run(self, playbook: str, variables: Mapping[str, Any], *flags: str) -> Played:
        """A playbook by its path or its name in a collection."""
        given = {"answers": self._answers, "unchecked": windows_modules.without_check_mode(), "facts": self._facts}
        (self.folder / "answers.json").write_text(json.dumps(given), encoding="utf-8")
        before = len(self._lines())
        done = harness.run_playbook(
            self.folder, playbook, variables, "--inventory", str(self._inventory()), "--limit", NAME, *flags
        )
        played = Played(done, list(map(_sent, self._lines()[before:])))
        problems = [each for sent in played.sent for each in windows_modules.problems(sent.module, sent.arguments)]
        assert problems == [], "\n".join([*problems, done.output])
        return played

    def _inventory(self) -> Path:
        host = {
            "ansible_connection": "windows_recorder",
            "ansible_shell_type": "powershell",
            "windows_recorder_folder": str(self.folder),
            **self.variables,
        }
        path = self.folder / "windows.json"
        path.write_text(json.dumps({"all": {"hosts": {NAME: host}}}), encoding="utf-8")
        return path

    def _lines(self) -> list[str]:
        file = self.folder / "sent.jsonl"
        return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _sent(line: str) -> Sent:
    each = json.loads(line)
    content = base64.b64decode(each["content"]) if "content" in each else None
    return Sent(each["module"], each["check"], each["arguments"], each["answer"], content, each.get("no_log", False))
