# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `sqlite_monitoring` in a directory of the test, its dashboard, and metrics that are made up."""

from __future__ import annotations

import json
import shutil
import time
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


def dashboard() -> dict[str, Any]:
    """The document for Grafana."""
    path = harness.ROOT / "roles" / "sqlite_monitoring" / "files" / DASHBOARD_NAME
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def questions() -> list[tuple[str, str]]:
    """What the dashboard asks Prometheus: the title of the panel, and the query for everything."""
    found = [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return [(title, expr.replace("$instance", ".+").replace("$database", ".+")) for title, expr in found]


def _series() -> list[tuple[str, str, float]]:
    """All metrics of a database whose backups are well: name, labels beside its own, value."""
    now = time.time()
    moments = ("last_success", "last_run", "last_verified", "last_drill", "recovery_point", "target_recovery_point")
    found = [(f"{name}_timestamp_seconds", ',target="nas"' * name.startswith("target"), now) for name in moments]
    found += [(name, "", value) for name, value in _FIGURES.items()]
    found += [(name, f',{label}="{each}"', value) for name, (label, words, value) in _SETS.items() for each in words]
    found += [("state", f',state="{each}"', float(each == "ok")) for each in ("ok", "degraded", "failing", "missed")]
    return [*found, ("info", ',version="1.0.0",encryption="none"', 1)]


_STORED = ("full", "incremental")
_FIGURES = {
    "database_bytes": 1e9,
    "changed_bytes": 1e6,
    "stored_bytes": 2e9,
    "suspect_backups": 0,
    "suspect": 0,
    "last_run_code": 0,
    "last_drill_success": 1,
    "rpo_seconds": 0,
    "rpo_objective_seconds": 7200,
    "rto_seconds": 20,
    "rto_objective_seconds": 60,
    "rto_outlook_seconds": 30,
    "free_bytes": 5e10,
    "filesystem_bytes": 1e11,
}
_SETS = {
    "success_total": ("type", (*_STORED, "unchanged"), 7),
    "failure_total": ("type", (*_STORED, "auto"), 0),
    "size_bytes": ("type", _STORED, 1e6),
    "duration_seconds": ("type", (*_STORED, "unchanged"), 2),
    "backups": ("type", _STORED, 3),
    "target_success": ("target", ("nas",), 1),
    "target_rpo_objective_seconds": ("target", ("nas",), 7200),
}
METRICS = {f"database_backup_{name}" for name, _labels, _value in _series()}


def tell(directory: Path, database: str) -> None:
    """Put the metrics of a database that is well where node_exporter looks."""
    lines = [f'database_backup_{name}{{database="{database}"{labels}}} {value}' for name, labels, value in _series()]
    (directory / f"sqlite_backup.root.{database}.prom").write_text("\n".join(lines) + "\n", encoding="utf-8")
