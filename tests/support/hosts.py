# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner on a host of its own: a directory with databases, their configuration, and what a run of it says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli
from support import databases

# A process of its own; behind it come the words of the command line.
_MAIN = "import sys; from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli; "
OWN_PROCESS = (sys.executable, "-c", f"{_MAIN}sys.exit(cli.main())")


@dataclass(frozen=True)
class Said:
    """What a run ended with, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found

    @property
    def result(self) -> dict[str, Any]:
        """The only result of the document."""
        (found,) = self.document["results"]
        return dict(found)


class Host:
    """``agent.db`` is configured as ``agent``, with gzip and without waiting, unless ``bare``."""

    def __init__(self, directory: Path, capture: pytest.CaptureFixture[str], *, bare: bool = False) -> None:
        self.directory = directory
        self.config = directory / "etc"
        self._capture = capture
        if not bare:
            self.add("agent")

    def add(self, name: str, *, make: bool = True, **options: Any) -> Path:
        """Configure a database, which is made unless it is to be missing; its path."""
        path = Path(options.pop("path", self.directory / f"{name}.db"))
        if make and not path.exists():
            databases.make(path)
            databases.settle(path)
        content = {"path": str(path), "repository": str(self.repository(name)), "lock_timeout": "0s"}
        self.configure(name, {**content, "compression": "gzip", **options})
        return path

    def configure(self, name: str, content: Any) -> Path:
        """Write a file of the configuration as it is given: text as text, anything else as JSON."""
        file = self.config / "databases.d" / f"{name}.json"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        file.chmod(0o600)
        return file

    def add_target(self, name: str, **options: Any) -> Path:
        """Configure a target; its file."""
        file = self.config / "targets.d" / f"{name}.json"
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(json.dumps(options), encoding="utf-8")
        return file

    def repository(self, name: str = "agent") -> Path:
        return self.directory / "backups" / name

    def database(self, name: str = "agent") -> Path:
        return self.directory / f"{name}.db"

    def ids(self, name: str = "agent") -> list[str]:
        repository = Repository.open_existing(self.repository(name))
        return [each.id for each in repository.backups()]

    def history(self, name: str = "agent") -> list[dict[str, Any]]:
        return Repository.open_existing(self.repository(name)).history()

    def change(self, name: str = "agent", text: str = "changed") -> None:
        databases.add(self.database(name), text)
        databases.settle(self.database(name))

    def run(self, *words: object) -> Said:
        """Run the command line in this process."""
        self._capture.readouterr()
        code = cli.main([*map(str, words[:1]), "--config", str(self.config), *map(str, words[1:])])
        return Said(code, *self._capture.readouterr())

    def command(self, *words: object) -> list[str]:
        """The same as a command for a process of its own."""
        return [*OWN_PROCESS, *map(str, words[:1]), "--config", str(self.config), *map(str, words[1:])]

    def run_apart(self, *words: object, **options: Any) -> Said:
        """Run the command line in a process of its own."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, check=False, timeout=120, **options)
        return Said(done.returncode, done.stdout, done.stderr)
