# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths of a Windows host, checked on a controller that is none."""

from __future__ import annotations

import ntpath
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, target_config, watch_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import values


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        (r"C:\data\agent.db", r"C:\data\agent.db"),
        ("C:/data/agent.db", r"C:\data\agent.db"),
        (r"\\nas\backups\agent", r"\\nas\backups\agent"),
        ("//nas/backups/agent", r"\\nas\backups\agent"),
    ],
)
def test_absolute_paths_of_windows(given: str, meant: str) -> None:
    assert values.absolute(given, "path", "", windows=True) == meant


@pytest.mark.parametrize(
    "given", ["agent.db", r"C:agent.db", r"\data\agent.db", "/data/agent.db", "~/agent.db", r"\\nas"]
)
def test_what_is_none(given: str) -> None:
    with pytest.raises(UsageError, match="^path is .* Allowed is an absolute path of Windows"):
        values.absolute(given, "path", "", windows=True)


def test_what_a_role_makes_has_no_variable_in_it() -> None:
    assert values.made(r"C:\data\.\a\..\backups\\", "path", "", windows=True) == r"C:\data\backups"
    with pytest.raises(UsageError, match="Allowed is a path without % and [$]"):
        values.made(r"C:\%USERNAME%\backups", "path", "", windows=True)


def test_configurations_for_windows_are_checked_elsewhere() -> None:
    database = {"path": r"C:\data\agent.db", "repository": r"D:\backups\agent"}
    target = {"url": "s3://backups/ci-1", "credentials_file": r"C:\keys\s3"}
    notify = {"name": "pager", "type": "command", "command": [r"C:\tools\page.exe", "now"]}
    watch = {"status_file": r"C:\state\status.json", "notify": [notify]}
    there = {"told": "it", "is_absolute": ntpath.isabs}

    assert config.checked(database, "agent", file=Path("agent.json"), **there).options["path"] == database["path"]
    assert target_config.checked(target, "s3", file=Path("s3.json"), **there).name == "s3"
    assert watch_config.checked(watch, file=Path("watch.json"), **there).receivers[0].command[1] == "now"
    with pytest.raises(UsageError, match="it must be an absolute path"):
        config.checked(database, "agent", file=Path("agent.json"), told="it")
