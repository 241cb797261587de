# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The home of a developer, in which roles work without root."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run
from integration.place import Place

from ansible_collections.sqliteops.backup.plugins.filter.backup_plans import backup_plans
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp

# crontab(1), as Ansible calls it: -l, or a file.
CRONTAB = """#!/bin/sh
set -eu
table="$HOME/crontab"
case "$1" in
  -l) test -e "$table" || { echo "no crontab" >&2; exit 1; }; cat "$table" ;;
  *) cat "$1" > "$table" ;;
esac
"""


class Home:
    """The home of a developer, with a database."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.path = place.directory / "home"
        self.repository = self.path / ".local" / "share" / "sqlite-backup" / "dev"
        self.runner = self.path / ".local" / "bin" / "sqlite-backup"
        self.configuration = self.path / ".config" / "sqlite-backup"
        self.database = {"name": "dev", "path": str(place.database), "compression": "gzip"}
        self.path.mkdir()

    @property
    def crontab(self) -> list[str]:
        table = self.path / "crontab"
        lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
        return [line for line in lines if line and not line.startswith("#")]

    def minute(self) -> str:
        """Of a run: it follows from what the host is, and not from what the inventory calls it."""
        files = [Path("/var/lib/dbus/machine-id"), Path("/etc/machine-id")]
        machine = next((each.read_text(encoding="ascii").strip() for each in files if each.exists()), "")
        return str(self.plan(f"{machine}/{platform.node()}")["minute"])

    def plan(self, host: str = "localhost") -> dict[str, Any]:
        (plan,) = backup_plans(
            [self.database],
            host=host,
            profile="development",
            config_dir=str(self.configuration),
            repository_dir=str(self.repository.parent),
            runner_path=str(self.runner),
        )
        return plan

    def configured(self) -> list[str]:
        return sorted(each.name for each in (self.configuration / "databases.d").iterdir())

    def backups(self) -> list[str]:
        return sorted(each.name for each in self.repository.glob("*Z-*"))

    def run(self, playbook: str, variables: dict[str, Any], *flags: str) -> Run:
        given = {"sqlite_backup_profile": "development", **variables}
        folder = self.place.directory / "ansible"
        return harness.run_playbook(folder, f"{harness.NAMESPACE}.{playbook}", given, *flags)

    def provision(self, *flags: str, **more: Any) -> Run:
        return self.run("provision_backups", {"sqlite_backup_databases": [self.database], **more}, *flags)

    def set_up(self) -> None:
        """What the role leaves behind that the other playbooks need."""
        plan = self.plan()
        file = Path(plan["config_path"])
        file.parent.mkdir(parents=True, mode=0o700)
        file.write_text(json.dumps(plan["config"]), encoding="utf-8")
        file.chmod(0o600)
        self.runner.parent.mkdir(parents=True)
        zipapp.install(self.runner, cli.main, interpreter=sys.executable)


def made(place: Place, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The home, which is that of this process until the test ends."""
    found = Home(place)
    programs = place.directory / "bin"
    programs.mkdir()
    (programs / "crontab").write_text(CRONTAB, encoding="utf-8")
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(found.path))
    return found
