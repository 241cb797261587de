# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recorder of what goes to a Windows host, and the check of the arguments: each kind of mistake is found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration import windows_modules
from integration.windows_host import NAME, WindowsHost

TASK = "community.windows.win_scheduled_task"
DAILY = {"type": "daily", "start_boundary": "2026-01-01T07:00:00"}


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    return WindowsHost(tmp_path)


@pytest.mark.parametrize(
    ("module", "arguments", "said"),
    [
        ("ansible.windows.win_file", {"path": "C:\\a", "state": "directory", "owner": "me"}, "owner"),
        ("ansible.windows.win_file", {"path": ["C:\\a"], "state": "directory"}, "path"),
        ("ansible.windows.win_find", {"paths": [{"a": "b"}]}, "paths"),
        ("ansible.windows.win_find", {"paths": "C:\\a", "recurse": "perhaps"}, "recurse"),
        ("ansible.windows.win_file", {"path": "C:\\a", "state": "folder"}, "folder"),
        ("ansible.windows.win_acl", {"path": "C:\\a", "user": "S-1-5-18", "type": "allow"}, "rights"),
        ("ansible.windows.win_copy", {"content": "a", "_copy_mode": "single"}, "dest"),
        (TASK, {"name": "a", "triggers": [{**DAILY, "repetitions": {}}]}, "triggers.repetitions"),
        (TASK, {"name": "a", "triggers": [{**DAILY, "repetition": {"every": "PT1H"}}]}, "triggers.repetition.every"),
        (TASK, {"name": "a", "triggers": [{"type": "hourly"}]}, "hourly"),
        (TASK, {"name": "a", "triggers": [{**DAILY, "weeks_interval": "some"}]}, "weeks_interval"),
        (TASK, {"name": "a", "triggers": [{**DAILY, "repetition": "PT1H"}]}, "repetition"),
        (TASK, {"name": "a", "actions": [{"arguments": "x"}]}, "path"),
        (TASK, {"name": "a", "actions": [{"path": "x", "arguments": ["y"]}]}, "actions.arguments"),
        ("ansible.windows.win_chmod", {"path": "C:\\a"}, "not a module"),
        ("ansible.builtin.file", {"path": "C:\\a"}, "not a module"),
    ],
)
def test_each_mistake_is_found(module: str, arguments: dict[str, Any], said: str) -> None:
    windows_modules.require()

    problems = windows_modules.problems(module, arguments)

    assert any(said in each for each in problems), problems
    assert all(each.startswith(f"{module}: ") for each in problems)


def test_what_the_documentation_has_is_no_mistake() -> None:
    windows_modules.require()
    trigger = {**DAILY, "repetition": {"interval": "PT1H", "duration": "P1D"}}

    assert windows_modules.problems(TASK, {"name": "a", "triggers": [trigger], "actions": [{"path": "x"}]}) == []
    assert windows_modules.problems("ansible.windows.win_copy", {"content": "a", "dest": "C:\\a", "files": []}) == []


def test_what_a_play_sends_is_written_down(host: WindowsHost) -> None:
    host.answer("win_stat", {"stat": {"exists": True}}, path="C:\\a")
    tasks = [
        {"ansible.builtin.setup": {"gather_subset": ["min"]}},
        {"ansible.windows.win_stat": {"path": "C:\\a"}, "register": "a"},
        {"ansible.windows.win_file": {"path": "C:\\b", "state": "directory"}, "when": "a.stat.exists"},
        {"ansible.windows.win_copy": {"content": "ü\n", "dest": "C:\\b\\c.json"}},
        {"ansible.windows.win_command": {"argv": ["C:\\d e.exe", "f"], "stdin": "g"}},
        {"ansible.windows.win_ping": {}, "when": "ansible_facts['os_family'] != 'Windows'"},
    ]
    play = [{"hosts": NAME, "gather_facts": False, "tasks": tasks}]

    first = host.play(play, {})

    assert first.run.code == 0, first.run.output
    names = [each.name for each in first.sent]
    assert names == ["setup", "win_stat", "win_file", "win_copy", "win_copy", "win_command"]
    assert first.of("win_file") == [{"path": "C:\\b", "state": "directory"}]
    assert first.of("win_command") == [{"argv": ["C:\\d e.exe", "f"], "stdin": "g"}]
    assert first.copied == {"C:\\b\\c.json": "ü\n".encode()}
    assert first.run.changed == ["ansible.windows.win_file", "ansible.windows.win_copy", "ansible.windows.win_command"]

    again = host.play(play, {})

    assert again.run.changed == ["ansible.windows.win_command"]
    assert again.copied == {}

    check = host.play(play, {}, "--check")

    assert all(each.check for each in check.sent)
    assert check.run.changed == []
    assert [each.answer.get("skipped", False) for each in check.sent if each.name == "win_command"] == [True]


def test_a_mistake_of_a_play_fails_the_test(host: WindowsHost) -> None:
    tasks = [{"ansible.windows.win_file": {"path": "C:\\b", "state": "directory", "mode": "0700"}}]

    with pytest.raises(AssertionError, match="mode"):
        host.play([{"hosts": NAME, "gather_facts": False, "tasks": tasks}], {})
