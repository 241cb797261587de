#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_verify
short_description: Verify backups of SQLite databases, live databases and plain files
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Checks backups in a repository, or one SQLite file where it is. Damage always fails the task.
  - The outcome is V(passed), V(failed), or V(inconclusive) when nothing was proven. That fails the task too, with code
    19 when a virtual table needs an SQLite module, or the backup a program, that is missing here, and with code 14 when
    the key is wrong or missing.
  - The outcome of a backup is noted beside its sealed manifest, and in the audit log of the repository. Without its key
    nothing is learnt about an encrypted backup, and only the audit log says so.
extends_documentation_fragment:
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.expectations
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Verifies as a real run does, and notes nothing in the repository.
    support: full
  diff_mode:
    description: The module changes nothing, so there is nothing to compare.
    support: none
options:
  path:
    description:
      - A live database, or any SQLite file. It is only read.
      - In rollback mode its writers wait while it is read.
      - Exactly one of O(path) and O(repository) is required.
    type: path
  repository:
    description: The repository with the backups to verify.
    type: path
  backup:
    description:
      - The id of a backup, V(latest) or V(all).
      - V(latest) is the newest one that is not suspect, as for a restore. A warning names those that were passed over.
      - A foreign backup, one that was made in another repository and copied into this one, is verified only by its id.
    type: str
    default: latest
  level:
    description:
      - Of a backup, V(quick) checks the SHA-256 of every artifact. V(full) restores it into scratch space, compares
        the SHA-256
        of the image and the rows of every table, runs C(PRAGMA integrity_check), and reports foreign keys without
          parents.
      - Of a file, V(quick) runs C(PRAGMA quick_check), V(full) C(PRAGMA integrity_check), and reports foreign keys
        without parents.
      - O(expect_tables) and O(assertions) of a backup need a restore into scratch space, whatever the level.
    type: str
    choices: [quick, full]
    default: quick
  timeout:
    description: How long to wait for a locked live database, as a duration.
    type: str
    default: 1h
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_restore
"""

EXAMPLES = r"""
- name: Check the bytes of every backup
  sqliteops.backup.sqlite_verify:
    repository: /var/backups/sqlite/agent
    backup: all

- name: Restore the newest backup into scratch space and look inside
  sqliteops.backup.sqlite_verify:
    repository: /var/backups/sqlite/agent
    level: full
    expect_tables: [AgentRun, ErrorFact]
    assertions:
      - sql: SELECT count(*) > 0 FROM AgentRun
        equals: 1

- name: Check the live database
  sqliteops.backup.sqlite_verify:
    path: /srv/ci-fixer/agent.db
"""

RETURN = r"""
verification:
  description: What was found.
  returned: when the checks could run
  type: dict
  contains:
    outcome:
      description: All checks together, V(passed), V(failed) or V(inconclusive).
      type: str
      returned: success
      sample: passed
    checks:
      description: Every check. With O(backup=all) its name begins with the id of the backup.
      type: list
      elements: dict
      returned: success
      contains:
        name:
          description: What was checked.
          type: str
          returned: success
          sample: quick_check
        outcome:
          description: V(passed), V(failed) or V(inconclusive).
          type: str
          returned: success
          sample: passed
        detail:
          description: What was found, for people.
          type: str
          returned: success
          sample: 1700 rows in 6 tables
error:
  description: Why the task failed, for programs. The text for people is in RV(ignore:msg).
  returned: on failure
  type: dict
  contains:
    code:
      description: The exit code of this kind of failure, see the notes.
      type: int
      returned: on failure
      sample: 10
    class:
      description: The name of this kind of failure.
      type: str
      returned: on failure
      sample: SourceMissingError
    hint:
      description: What to do next.
      type: str
      returned: on failure
      sample: Check the path.
"""

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils import _module

if _module.IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import encryption
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined, options
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import doing
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import verify

ARGUMENT_SPEC = {
    "path": {"type": "path"},
    "repository": {"type": "path"},
    "backup": {"type": "str", "default": "latest"},
    "level": {"type": "str", "choices": ["quick", "full"], "default": "quick"},
    **_module.EXPECTATIONS,
    "timeout": {"type": "str", "default": "1h"},
    **_module.KEYS,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _verify(module: AnsibleModule) -> verify.Verification:
    params = module.params
    expected = verify.expected(params)
    if params["path"]:
        path = Path(params["path"])
        seconds = options.timeout(params)
        return confined.run(
            lambda: verify.verify_database(path, expected, timeout_seconds=seconds, dry_run=module.check_mode), path
        )
    with doing("Cannot verify"):
        repository = Repository.open_existing(Path(params["repository"]))
    keys = encryption.keys(params)
    _module.warn_all(module, [keys.warning()])
    return verify.verify_backups(
        repository,
        params["backup"],
        expected,
        dry_run=module.check_mode,
        keys=keys,
        lock_timeout_seconds=options.seconds(params, "lock_timeout") or 0.0,
    )


def _work(module: AnsibleModule) -> dict[str, Any]:
    result = _verify(module)
    _module.warn_all(module, result.warnings)
    described = result.to_json()
    if result.error is not None:
        _module.fail(module, result.error, verification=described)
    return {"changed": False, "verification": described}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        mutually_exclusive=[("path", "repository")],
        required_one_of=[("path", "repository")],
    )
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
