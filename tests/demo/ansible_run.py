# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the collection's playbooks in a world of their own: nothing of the user's Ansible settings counts or changes."""

from __future__ import annotations

import json
import locale
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PLAYBOOK_SECONDS = 900.0
STOP_SECONDS = 10.0


class DemoError(Exception):
    """Something that the demo cannot go on without; the message is for the person who runs it."""


class Ansible:
    """`ansible-playbook` of the Python that runs the demo, with all its files in one folder."""

    def __init__(self, folder: Path) -> None:
        self._program = Path(sys.executable).with_name("ansible-playbook")
        if not self._program.exists():
            raise DemoError(f"There is no ansible-playbook beside {sys.executable}: start the demo with `make demo`.")
        self._folder = folder
        namespace = folder / "collections" / "ansible_collections" / "sqliteops"
        for directory in (namespace, folder / "tmp"):
            directory.mkdir(parents=True)
        (namespace / "backup").symlink_to(ROOT, target_is_directory=True)
        (folder / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": {"demo": host}}}), encoding="utf-8")

    def run(self, playbook: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Run one of the collection's playbooks; returns what its tasks registered, by verb.

        Raises DemoError with Ansible's own output when it fails.
        """
        results = self._folder / "results.json"
        results.unlink(missing_ok=True)
        arguments = self._folder / "variables.json"
        arguments.write_text(json.dumps({**variables, "demo_results_file": str(results)}), encoding="utf-8")
        command = [sys.executable, str(self._program), "--inventory", str(self._folder / "inventory.json")]
        command += ["--extra-vars", f"@{arguments}", f"sqliteops.backup.{playbook}"]
        output, code = self._execute([*command, str(Path(__file__).with_name("write_results.yml"))])
        if code != 0 or not results.exists():
            raise DemoError(f"{output.rstrip()}\n\nThe playbook {playbook} failed with exit code {code}; see above.")
        answer: dict[str, Any] = json.loads(results.read_text(encoding="utf-8"))
        return answer

    def _execute(self, command: list[str]) -> tuple[str, int]:
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process:
            try:
                output, _none = process.communicate(timeout=PLAYBOOK_SECONDS)
            except BaseException:
                self._end(process)
                raise
        return output, process.returncode

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.terminate()
        try:
            process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
        if "utf" not in locale.getpreferredencoding(do_setlocale=False).lower():
            kept["LC_ALL"] = "C.UTF-8"  # Ansible refuses to start in any other encoding
        return {
            **kept,
            "ANSIBLE_CONFIG": str(self._folder / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self._folder / "collections"),
            "ANSIBLE_HOME": str(self._folder / "ansible"),
            "ANSIBLE_REMOTE_TEMP": str(self._folder / "ansible" / "remote"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_NOCOWS": "true",
            "PYTHONDONTWRITEBYTECODE": "1",  # nothing is written outside the folder, not even into the checkout
            "TMPDIR": str(self._folder / "tmp"),
        }
