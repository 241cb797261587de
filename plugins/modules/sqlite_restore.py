#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_restore
short_description: Restore an SQLite database from a proven backup, or undo a restore
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that O(dest) holds exactly one backup's content.
  - The backup is checked and restored beside O(dest), and its SHA-256 compared, before the live database is touched.
  - The old database and its C(-wal), C(-shm) and C(-journal) are kept in an undo set beside it,
    C(<dest>.before-restore.<time>).
    It is readable by the owner of that database alone. Remove it when it is not needed any more.
  - A kill at any instant leaves the old content or the new one.
extends_documentation_fragment:
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.expectations
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Chooses the backup, checks its artifacts, compares and refuses as a real run does, and writes nothing.
    support: full
  diff_mode:
    description: Shows whether the database exists, its size and the chosen backup, never any content.
    support: full
options:
  repository:
    description: The repository with the backups. Required unless O(undo) is used with O(dest).
    type: path
  backup:
    description:
      - The id of the backup, or V(latest) for the newest one.
      - V(latest_good) is the newest one that passes a full verification, with O(expect_tables) and O(assertions). From
        the newest back each is restored into scratch space and checked there, until one passes, also in check mode. A
        warning names each newer one and says what it failed on.
      - V(latest) and O(before) never choose a suspect backup, which is a copy of a corrupt database. A warning names
        those that were passed over. A suspect one is restored by its id, together with O(force).
      - When the newest one is damaged, the task fails, and the hint names the newest good one.
      - A backup that is held apart, being perhaps of another database than those before it, is restored by its id
        alone. As V(latest) and with O(before) it is refused, with the id of the newest good one.
    type: str
    default: latest
  before:
    description:
      - Restore the newest backup that was started at this time or earlier.
      - C(2025-12-30), C(2025-12-30 12:00) and C(2025-12-30T12:00:00.5) go by the clock of the host. With a zone, as in
        C(2025-12-30T12:00:00Z) and C(2025-12-30 13:00+01:00), it is the same moment on every host. Quote it.
      - Of a time that the clock of the host shows twice, or leaves out, the earlier moment is taken. Which moment was
        meant is told in RV(restore.not_after).
    type: str
  dest:
    description:
      - The database file to restore to. The default is the path that was backed up.
      - Its directory must exist. A symbolic link is followed.
    type: path
  owner:
    description:
      - The owner of the restored file. The default is the owner of the old file, or of the source when it was backed
        up.
      - A user or group of the source that this host does not know by name is taken by number, unless somebody else has
        that number here. When the owner or group cannot be given, that is a warning. Without the group, only the owner
        of the file gets rights on it.
    type: str
  group:
    description: The group of the restored file, with the same default as O(owner).
    type: str
  mode:
    description: The mode of the restored file as a quoted octal number, with the same default as O(owner).
    type: str
  check:
    description:
      - How to check the restored image beside its SHA-256, before it is put in place.
      - V(quick) runs C(PRAGMA quick_check), unless just these bytes passed it when they were backed up. V(full) runs
        C(PRAGMA integrity_check) and compares the rows of every table.
      - O(expect_tables) and O(assertions) are checked whatever is chosen here, also of a database that is right
        already. When one fails, the task fails with code 17, and the live database is as it was.
    type: str
    choices: [quick, full]
    default: quick
  force:
    description:
      - Restore although a process has the database open, or although the backup that O(backup) names is marked suspect.
      - A process that has it open goes on with the replaced file, and what it writes is lost.
    type: bool
    default: false
  force_identity:
    description:
      - Replace a database of another name or another application_id.
      - Restore a foreign backup, one that was made in another repository and copied into this one. O(backup) must name
        it, since V(latest) and O(before) never choose one.
    type: bool
    default: false
  with_files:
    description:
      - Put the files that the backup includes back where they came from, each with its owner and mode.
      - A file goes to the same place below the directory of O(dest) as it had below the directory of the database.
        One that was elsewhere is written only where O(include) or O(files_to) says; else a warning names it.
      - What is there already is never overwritten. Beside another file of its name the one of the backup is written as
        C(NAME.from-backup), and one whose secrets were taken out always as C(NAME.redacted), each with a warning.
      - Directories that are missing are made for their owner alone.
    type: bool
    default: false
  files_to:
    description: Put the included files below this directory instead, by the names that they have in the backup.
    type: path
  include:
    description:
      - Where included files belong that were not below the directory of the database. The same list that
        M(sqliteops.backup.sqlite_backup) had, and used only with O(with_files).
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description: The file or directory, as an absolute path.
        type: path
      name:
        description: Its name in the backup. The default is the last part of O(include[].src).
        type: str
      redact:
        description: Whether the backup has it without its secrets; only a backup of an older version is asked this.
        type: bool
      kind:
        description: What it is. Logs and metrics have no place of their own.
        type: str
        choices: [file, prisma_schema, metrics, logs]
        default: file
      url:
        description: Not used.
        type: str
      required:
        description: Whether it was required. What was not may have another name in the backup, where two had the same.
        type: bool
      limit_mib:
        description: Not used.
        type: int
      timeout:
        description: Not used.
        type: str
        default: 10s
  undo:
    description:
      - Bring the newest undo set back. What is there now becomes an undo set itself, so doing it twice changes
        nothing in the end.
    type: bool
    default: false
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_verify
"""

EXAMPLES = r"""
- name: Restore the newest backup to where it came from
  sqliteops.backup.sqlite_restore:
    repository: /var/backups/sqlite/agent

- name: Restore what was there before noon to a file of its own
  sqliteops.backup.sqlite_restore:
    repository: /var/backups/sqlite/agent
    before: "2025-12-30T12:00:00Z"
    dest: /srv/ci-fixer/agent-before-noon.db
    mode: "0600"
    check: full
    assertions:
      - sql: SELECT count(*) > 0 FROM AgentRun
        equals: 1

- name: Restore to a new host, with the files that the backups included
  sqliteops.backup.sqlite_restore:
    repository: /var/backups/sqlite/agent
    with_files: true
    include:
      - src: /etc/ci-fixer/ci-fixer.conf

- name: Bring back what the last restore replaced
  sqliteops.backup.sqlite_restore:
    dest: /srv/ci-fixer/agent.db
    undo: true
"""

RETURN = r"""
restore:
  description: What was restored.
  returned: success
  type: dict
  contains:
    backup:
      description: The id of the backup; empty after an undo.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    dest:
      description: The file that was restored, behind all symbolic links.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent.db
    undo_set:
      description: The directory with what was there before; empty when nothing was, or nothing changed.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent.db.before-restore.20251230T121500Z
    replaced:
      description: Whether the database itself was changed, or in check mode would be; the files beside it are in
        RV(restore.files).
      type: bool
      returned: success
      sample: true
    not_after:
      description: The moment that O(before) meant, RFC 3339 with its offset; empty when O(before) was not given.
      type: str
      returned: success
      sample: "2025-12-30T13:00:00+01:00"
    sha256:
      description: The SHA-256 of the restored file, which is that of the manifest; empty after an undo.
      type: str
      returned: success
      sample: 3b0f0c4f8f1f5a1d6a0e7a1f4e6b9f30c8c25b4d0a47ad6a59c3e6cf0e6ff7a1
    files:
      description: What became of each included file, with O(with_files) or O(files_to).
      type: list
      elements: dict
      returned: success
      contains:
        name:
          description: Its name in the backup.
          type: str
          returned: success
          sample: prisma/schema.prisma
        path:
          description: Where its content is now; of a V(kept) one what was there, empty when it was V(left out).
          type: str
          returned: success
          sample: /srv/ci-fixer/prisma/schema.prisma
        fate:
          description:
            - V(in place); V(beside) another file of its name; V(redacted), so without its secrets; V(kept), as all
              these names were taken; V(left out), as nobody says where it belongs; V(failed), as a warning says.
          type: str
          returned: success
          sample: in place
        changed:
          description: Whether it was written in this run, or would be.
          type: bool
          returned: success
          sample: true
    durations:
      description: Seconds of each phase of this run.
      type: dict
      returned: success
      sample:
        check_artifacts: 0.1
        compare: 0.1
        stage: 0.4
        check: 0.2
        switch: 0.1
    checks:
      description: What was checked of the restored image; empty when nothing had to be checked.
      type: list
      elements: dict
      returned: success
      contains:
        name:
          description: What was checked.
          type: str
          returned: success
          sample: integrity_check
        outcome:
          description: V(passed) or V(inconclusive).
          type: str
          returned: success
          sample: passed
        detail:
          description: What was found, for people.
          type: str
          returned: success
          sample: ""
    warnings:
      description: What an operator should know though the restore is good.
      type: list
      elements: str
      returned: success
      sample: []
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

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils import _module

if _module.IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore

ARGUMENT_SPEC = {
    "repository": {"type": "path"},
    "backup": {"type": "str", "default": "latest"},
    "before": {"type": "str"},
    "dest": {"type": "path"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "mode": {"type": "str"},
    "check": {"type": "str", "choices": ["quick", "full"], "default": "quick"},
    "force": {"type": "bool", "default": False},
    "force_identity": {"type": "bool", "default": False},
    "with_files": {"type": "bool", "default": False},
    "files_to": {"type": "path"},
    "include": _module.INCLUDE,
    "undo": {"type": "bool", "default": False},
    **_module.EXPECTATIONS,
    **_module.KEYS,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    request = restore.requested(module.params)
    _module.warn_all(module, [request.keys.warning()])
    run = restore.undo if module.params["undo"] else restore.run
    outcome = confined.run(lambda: run(request, dry_run=module.check_mode), request.dest, request.repository)
    _module.warn_all(module, outcome.warnings)
    diff = {
        "before_header": str(outcome.dest),
        "after_header": str(outcome.dest),
        "before": outcome.before,
        "after": {**outcome.after, "backup": outcome.backup} if outcome.changed else outcome.before,
    }
    return {"changed": outcome.changed, "restore": outcome.to_json(), "diff": diff}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_if=[("undo", False, ["repository"])],
    )
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
