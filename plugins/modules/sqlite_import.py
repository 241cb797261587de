#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_import
short_description: Build an SQLite database out of an export
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that a database holds just what M(sqliteops.backup.sqlite_export) wrote as V(jsonl), table by table and
    row by row.
  - The new database is built beside its place, checked with C(PRAGMA quick_check), and exported once more. Only when
    that gives the same text, it is put in its place.
  - Virtual tables are made by their own modules out of their rows. Triggers do not run, and foreign keys are not looked
    at.
  - How the file is compressed and encrypted is seen by its first bytes.
  - What comes from somebody else can do no more than make this one file, or fail. Its content is as trustworthy as a
    database from there.
  - The new database has mode 0600 and belongs to whom the directory belongs to. One that replaces another has its
    owner, group and mode.
extends_documentation_fragment:
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Reads the export to its end, compares and refuses as a real run does, and writes nothing.
    support: full
  diff_mode:
    description: Shows whether the database exists, its size and the SHA-256 of the export, never any content.
    support: full
options:
  src:
    description: The file on the host that an export wrote.
    type: path
    required: true
  dest:
    description: The database. The directory that it is in must exist.
    type: path
    required: true
  repository:
    description: A repository whose audit log gets a line for what is built, such as that of the database.
    type: path
  force:
    description:
      - Replace a database at O(dest) that holds something else. It is kept in an undo set beside it, as
        M(sqliteops.backup.sqlite_restore) does that, and its option C(undo) brings it back.
      - A database that another process has open is never replaced.
    type: bool
    default: false
  timeout:
    description: How long all of it may take, as a duration.
    type: str
    default: 1h
seealso:
  - module: sqliteops.backup.sqlite_export
  - module: sqliteops.backup.sqlite_restore
"""

EXAMPLES = r"""
- name: Export a database
  sqliteops.backup.sqlite_export:
    path: /srv/ci-fixer/agent.db
    dest: /var/backups/move.jsonl
    compression: none

- name: Build an equal one out of it
  sqliteops.backup.sqlite_import:
    src: /var/backups/move.jsonl
    dest: /srv/ci-fixer/agent-copy.db
"""

RETURN = r"""
import:
  description: What was built, or in check mode would be.
  returned: success
  type: dict
  contains:
    dest:
      description: The database.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent-copy.db
    sha256:
      description: The SHA-256 at the end of the export.
      type: str
      returned: success
      sample: 3b0f0c4f8f1f5a1d6a0e7a1f4e6b9f30c8c25b4d0a47ad6a59c3e6cf0e6ff7a1
    tables:
      description: The rows of every table in it.
      type: dict
      returned: success
      sample:
        AgentRun: 500
        ErrorFact: 1200
    undo_set:
      description: The directory with what was replaced, empty when nothing was.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent.db.before-restore.20251230T120000Z
    checks:
      description: What was checked of the new database.
      type: list
      elements: dict
      returned: success
      contains:
        name:
          description: What was checked.
          type: str
          returned: when something was built
          sample: content
        outcome:
          description: V(passed) or V(inconclusive).
          type: str
          returned: when something was built
          sample: passed
        detail:
          description: What was found, for people.
          type: str
          returned: when something was built
          sample: SHA-256 3b0f0c4f8f1f5a1d6a0e7a1f4e6b9f30c8c25b4d0a47ad6a59c3e6cf0e6ff7a1
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import load

ARGUMENT_SPEC = {
    "src": {"type": "path", "required": True},
    "dest": {"type": "path", "required": True},
    "repository": {"type": "path"},
    "force": {"type": "bool", "default": False},
    "timeout": {"type": "str", "default": "1h"},
    **_module.KEYS,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    request = load.requested(module.params, dest=Path(module.params["dest"]))
    _module.warn_all(module, [request.keys.warning()])
    beside = (request.source, request.dest, request.repository)
    outcome = confined.run(lambda: load.run(request, dry_run=module.check_mode), *beside)
    _module.warn_all(module, outcome.warnings)
    diff = {
        "before_header": str(outcome.dest),
        "after_header": str(outcome.dest),
        "before": outcome.before,
        "after": {**outcome.after, "sha256": outcome.sha256} if outcome.changed else outcome.before,
    }
    return {"changed": outcome.changed, "import": outcome.to_json(), "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
