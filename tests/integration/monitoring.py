# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `sqlite_monitoring` in a directory of the test, and Prometheus, node_exporter and Alertmanager on loopback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run

RULES_NAME = "sqlite-backup.rules.yml"
DASHBOARD_NAME = "sqlite-backup-dashboard.json"


def apply(folder: Path, variables: Mapping[str, Any], *flags: str, tasks_from: str = "main") -> Run:
    """Apply the role to this host, by one of its entry points."""
    folder.mkdir(exist_ok=True)
    role = {"name": f"{harness.NAMESPACE}.sqlite_monitoring", "tasks_from": tasks_from}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": role}]}
    playbook = folder / "playbook.json"
    playbook.write_text(json.dumps([play]), encoding="utf-8")
    return harness.run_playbook(folder, str(playbook), variables, *flags)


def rules(directory: Path, **variables: Any) -> Path:
    """The file with the alert rules, as the role writes it."""
    directory.mkdir(exist_ok=True)
    given = {"sqlite_monitoring_rules_dir": str(directory), **variables}
    run = apply(directory / "ansible", given, tasks_from="server")
    assert run.code == 0, run.output
    return directory / RULES_NAME


def program(name: str) -> str:
    """Where it is; without it a test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found
