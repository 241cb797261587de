#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup_runner
short_description: Install the program that makes scheduled backups of SQLite databases on a host
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - The runner is the engine of this collection as one executable file, for cron, systemd timers and people. It needs
    nothing of Ansible, and no package but Python. C(sqlite-backup --help) says what it can do.
  - The file is made on the host from the engine that came with the task. The same version of the collection makes the
    same bytes everywhere, whatever the host, its Python and the release of ansible-core.
  - It is put in place by one rename, so that a schedule that fires meanwhile finds the old runner or the new one.
  - A file that is no runner is neither replaced nor removed.
extends_documentation_fragment:
  - sqliteops.backup.repository.attributes
attributes:
  check_mode:
    description: Decides the same and writes nothing. That the directory or the interpreter is missing is a warning
      there, since an earlier task may bring it.
    support: full
  diff_mode:
    description: Shows the version and the SHA-256 of the runner before and after.
    support: full
  platform:
    description: Target operating systems.
    support: full
    platforms: posix
options:
  path:
    description:
      - Where the runner is. Its directory must exist.
      - A symbolic link, like everything else that is no runner, is refused with code 18.
    type: path
    default: /usr/local/bin/sqlite-backup
  state:
    description:
      - With V(present), the runner of this version is there, executable by everybody, with mode 0755.
      - With V(absent), it is not. Backups and configuration stay.
    type: str
    choices: [present, absent]
    default: present
  interpreter:
    description:
      - What runs the runner, as in the first line of a script. It must be Python 3.9 or newer with the module
        C(sqlite3), or the task fails with code 19. It need not be the Python that Ansible uses, which may lack
        C(sqlite3).
      - An absolute path such as V(/usr/bin/python3.11), with at most one argument.
      - With the default, C(PATH) decides, which is another one under cron than in a login shell.
    type: str
    default: /usr/bin/env python3
requirements:
  - python >= 3.9 on the host
  - its standard module C(sqlite3) for the O(interpreter)
notes:
  - |
    A failure carries RV(ignore:error.code):
    1 unexpected, 2 usage or configuration, 16 not enough space, 18 refused for safety, 19 program or module missing or
    Python too old, 20 permission.
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_backup_prune
"""

EXAMPLES = r"""
- name: Install the runner for all users
  sqliteops.backup.sqlite_backup_runner:

- name: Install it for one user, with a certain Python
  sqliteops.backup.sqlite_backup_runner:
    path: /home/ci-fixer/.local/bin/sqlite-backup
    interpreter: /usr/bin/python3
  register: installed

- name: Say what is installed
  ansible.builtin.debug:
    msg: "{{ installed.path }} is {{ installed.version }} ({{ installed.sha256 }})"

- name: Remove it
  sqliteops.backup.sqlite_backup_runner:
    path: /home/ci-fixer/.local/bin/sqlite-backup
    state: absent
"""

RETURN = r"""
path:
  description: Where the runner is, or was.
  returned: success
  type: str
  sample: /usr/local/bin/sqlite-backup
version:
  description: The version of the collection that the runner is of; null when it is absent.
  returned: success
  type: str
  sample: 0.1.0
sha256:
  description: The SHA-256 of the runner, the same on all hosts for the same O(interpreter); null when it is absent.
  returned: success
  type: str
  sample: 3b0f0c4f8f1f5a1d6a0e7a1f4e6b9f30c8c25b4d0a47ad6a59c3e6cf0e6ff7a1
error:
  description: Why the task failed, for programs. The text for people is in RV(ignore:msg).
  returned: on failure
  type: dict
  contains:
    code:
      description: The exit code of this kind of failure, see the notes.
      type: int
      returned: on failure
      sample: 18
    class:
      description: The name of this kind of failure.
      type: str
      returned: on failure
      sample: RefusedError
    hint:
      description: What to do next.
      type: str
      returned: on failure
      sample: Move it away if it is not needed, or name another path.
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils import _module

if _module.IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp

ARGUMENT_SPEC = {
    "path": {"type": "path", "default": "/usr/local/bin/sqlite-backup"},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "interpreter": {"type": "str", "default": "/usr/bin/env python3"},
}


def _facts(runner: zipapp.Runner | None) -> dict[str, str | None]:
    return {"version": runner.version if runner else None, "sha256": runner.sha256 if runner else None}


def _work(module: AnsibleModule) -> dict[str, Any]:
    path = Path(module.params["path"])
    if module.params["state"] == "absent":
        outcome = zipapp.remove(path, dry_run=module.check_mode)
    else:
        interpreter = module.params["interpreter"]
        # Its entry is named here, so that Ansible brings all that the runner needs.
        outcome = zipapp.install(path, cli.main, interpreter=interpreter, dry_run=module.check_mode)
    _module.warn_all(module, outcome.warnings)
    diff = {
        "before_header": str(path),
        "after_header": str(path),
        "before": _facts(outcome.before),
        "after": _facts(outcome.after),
    }
    return {"changed": outcome.changed, "path": str(path), **_facts(outcome.after), "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    # What runs the runner may be another Python, which has it.
    _module.execute(module, _work, needs_sqlite=False)


if __name__ == "__main__":
    main()
