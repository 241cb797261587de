# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the parts that measure plays run Ansible: with the collection of this checkout, and no other configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from measure import RunFailedError

ROOT = Path(__file__).resolve().parents[2]


def command() -> list[str]:
    """The beginning of a command that runs a playbook."""
    program = Path(sys.executable).with_name("ansible-playbook")
    if not program.exists():
        raise RunFailedError(f"there is no ansible-playbook beside {sys.executable}")
    return [sys.executable, str(program)]


def prepare(folder: Path, *, pipelining: str) -> dict[str, str]:
    """Lay the collection and an empty configuration into ``folder``; the environment in which Ansible finds both."""
    namespace = folder / "collections" / "ansible_collections" / "sqliteops"
    namespace.mkdir(parents=True)
    (namespace / "backup").symlink_to(ROOT, target_is_directory=True)
    (folder / "ansible.cfg").write_text("[defaults]\n", encoding="utf-8")
    return {
        "ANSIBLE_COLLECTIONS_PATH": str(folder / "collections"),
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_PIPELINING": pipelining,
    }


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
