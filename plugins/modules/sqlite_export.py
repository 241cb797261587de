#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_export
short_description: Export an SQLite database, or a backup of it, as text
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Writes a whole database, or some of its tables, as text that any program can read, while applications use it.
  - As V(jsonl) it has the schema and every value exactly, and M(sqliteops.backup.sqlite_import) makes an equal
    database of it. The format is described in the guide C(docs/export.md).
  - A file that has just this content already, stored in just this way, is left as it is. The same content is the same
    text each time.
  - The file belongs to the user who runs the task, with mode 0600. It gets its name when it is whole.
extends_documentation_fragment:
  - sqliteops.backup.repository.stored
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Reads the database and decides as a real run does, and writes nothing.
    support: full
  diff_mode:
    description: Shows whether the file exists, its size and the SHA-256 of the text, never any content.
    support: full
options:
  path:
    description:
      - The live database. It is only read.
      - In rollback mode its writers wait while it is copied, as for a backup.
      - At least one of O(path) and O(repository) is required.
    type: path
  repository:
    description:
      - The repository with the backups of the database. With O(path) alone there is none.
      - Its audit log gets a line for what is written, also out of the live database.
    type: path
  backup:
    description:
      - What to read, V(live) for the database at O(path), V(latest) or the id of a backup.
      - The default is V(live) with O(path), else V(latest).
    type: str
  dest:
    description:
      - The file to write, or with O(format=json) the directory. The directory that it is in must exist.
      - Name it as it is stored, such as C(agent.jsonl.zst.age). Nothing is added to the name of a file; the documents
        of V(json) have the ending of how they are stored.
    type: path
    required: true
  tables:
    description:
      - Only these tables, with their indexes. Views and triggers are then left out.
      - The default is all of the database.
    type: list
    elements: str
    default: []
  format:
    description:
      - V(jsonl) is JSON Lines, for M(sqliteops.backup.sqlite_import) and for any program.
      - V(csv) is one table for people, so O(tables) must have just one.
      - V(json) is a directory with a document for each table, an array of objects, as a seed script of Prisma reads it.
      - Neither V(csv) nor V(json) can be imported.
    type: str
    choices: [jsonl, csv, json]
    default: jsonl
  force:
    description:
      - Replace a file at O(dest) that has another content, or is stored otherwise. A database is never replaced, and no
        directory.
      - Without the key of an encrypted file it is not known what is in it, so it counts as another one.
    type: bool
    default: false
  timeout:
    description: How long all of it may take, as a duration, also to wait for a locked database.
    type: str
    default: 1h
seealso:
  - module: sqliteops.backup.sqlite_import
  - module: sqliteops.backup.sqlite_backup
"""

EXAMPLES = r"""
- name: Export the live database
  sqliteops.backup.sqlite_export:
    path: /srv/ci-fixer/agent.db
    dest: /var/backups/agent.jsonl.gz
    compression: gzip

- name: Export what the newest backup holds, again and again
  sqliteops.backup.sqlite_export:
    repository: /var/backups/sqlite/agent
    dest: /var/backups/latest.jsonl.gz
    compression: gzip
    force: true

- name: Give a table to people
  sqliteops.backup.sqlite_export:
    path: /srv/ci-fixer/agent.db
    dest: /var/backups/runs.csv
    format: csv
    tables: [AgentRun]
    compression: none

- name: Write documents for a seed script
  sqliteops.backup.sqlite_export:
    path: /srv/ci-fixer/agent.db
    dest: /var/backups/seed
    format: json
    compression: none
"""

RETURN = r"""
export:
  description: What was written, or in check mode would be.
  returned: success
  type: dict
  contains:
    backup:
      description: What was read, V(live) or the id of a backup.
      type: str
      returned: success
      sample: live
    dest:
      description: The file or the directory.
      type: str
      returned: success
      sample: /var/backups/agent.jsonl.gz
    format:
      description: As O(format).
      type: str
      returned: success
      sample: jsonl
    bytes:
      description: Bytes that it takes, 0 where nothing is.
      type: int
      returned: success
      sample: 1048576
    sha256:
      description:
        - The SHA-256 of the text, however it is stored. Of V(jsonl) it is the one at its end, which an import has, too.
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import export

ARGUMENT_SPEC = {
    "path": {"type": "path"},
    "repository": {"type": "path"},
    "backup": {"type": "str"},
    "dest": {"type": "path", "required": True},
    "tables": {"type": "list", "elements": "str", "default": []},
    "format": {"type": "str", "choices": ["jsonl", "csv", "json"], "default": "jsonl"},
    **_module.STORED,
    "force": {"type": "bool", "default": False},
    "timeout": {"type": "str", "default": "1h"},
    **_module.KEYS,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    params = module.params
    path = Path(params["path"]) if params["path"] else None
    request = export.requested(params, path=path)
    _module.warn_all(module, [request.keys.warning(), request.encryption.warning()])
    beside = (path, request.repository, request.into)
    outcome = confined.run(lambda: export.run(request, dry_run=module.check_mode), *beside)
    _module.warn_all(module, outcome.warnings)
    after = {**outcome.after, "sha256": outcome.sha256} if outcome.changed else outcome.before
    diff = {
        "before_header": str(outcome.into),
        "after_header": str(outcome.into),
        "before": outcome.before,
        "after": after,
    }
    return {"changed": outcome.changed, "export": outcome.to_json(), "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("path", "repository")],
    )
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
