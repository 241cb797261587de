#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup_info
short_description: List the backups of SQLite databases and say how old the newest is
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Lists every backup of one or more repositories, damaged ones too, and compares the age of the newest verified one
    with the RPO.
extends_documentation_fragment:
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: The module only reads.
    support: full
  diff_mode:
    description: The module changes nothing, so there is nothing to compare.
    support: none
options:
  repository:
    description: The repository, or a list of them.
    type: list
    elements: path
    required: true
  rpo:
    description: The recovery point objective, the greatest age that the newest verified backup may have, as a
      duration such as V(1h).
    type: str
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_verify
"""

EXAMPLES = r"""
- name: List the backups of CI-Fixer
  sqliteops.backup.sqlite_backup_info:
    repository: /var/backups/sqlite/agent
    rpo: 1h
  register: agent

- name: Fail when more than one hour of data could be lost
  ansible.builtin.assert:
    that: agent.repositories | rejectattr("rpo_met") | length == 0
    fail_msg: "The newest verified backup is {{ agent.repositories[0].age_seconds }} seconds old."
"""

RETURN = r"""
repositories:
  description: One entry a repository, in the order given.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: The name of the database.
      type: str
      returned: success
      sample: agent
    path:
      description: The directory of the repository.
      type: str
      returned: success
      sample: /var/backups/sqlite/agent
    source:
      description: The path of the database.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent.db
    backups:
      description: Every backup, oldest first, and foreign ones before all others. Of one with a damaged manifest only
        id, path and damage are known.
      type: list
      elements: dict
      returned: success
      contains:
        id:
          description: The backup's id, its start in UTC and its type.
          type: str
          returned: success
          sample: 20251230T120000Z-full
        type:
          description: V(full) for a backup that needs no other one, V(incremental) for one that needs its parent.
          type: str
          returned: success
          sample: full
        parent:
          description: The backup that this one builds on; null for a full backup.
          type: str
          returned: success
          sample: null
        path:
          description: The directory of the backup.
          type: str
          returned: success
          sample: /var/backups/sqlite/agent/20251230T120000Z-full
        created:
          description: When the backup was started, RFC 3339 in UTC. Everything committed before is in it.
          type: str
          returned: success
          sample: "2025-12-30T12:00:00Z"
        confirmed:
          description: When the database was last found unchanged since this backup; null when never.
          type: str
          returned: success
          sample: "2025-12-30T13:00:00Z"
        verified:
          description: Whether the newest check of its content passed.
          type: bool
          returned: success
          sample: true
        proven:
          description: When it was last restored, by a drill or a full verification, and found right; null when never.
          type: str
          returned: success
          sample: "2025-12-30T12:30:00Z"
        doubts:
          description: What of its content could not be checked on its host, or is odd; a line for each.
          type: list
          elements: str
          returned: success
          sample: ["unverifiable: needs collation sequence ours"]
        suspect:
          description: Whether the database was corrupt when it was backed up.
          type: bool
          returned: success
          sample: false
        apart:
          description: Whether it is held apart, until somebody says that it is meant.
          type: bool
          returned: success
          sample: false
        held:
          description: Why it is held apart; empty when it is not.
          type: str
          returned: success
          sample: ""
        foreign:
          description: Whether it was made in another repository and copied here. Nothing counts or removes it.
          type: bool
          returned: success
          sample: false
        damage:
          description: Why the manifest, or with keys the proof of an encrypted backup, cannot be trusted; empty for a
            good one.
          type: str
          returned: success
          sample: ""
        reason:
          description: Why the backup was made, as it was given.
          type: str
          returned: success
          sample: before migration 42
        tags:
          description: The tags that were given.
          type: list
          elements: str
          returned: success
          sample: [release]
        pinned:
          description: Whether retention does not remove it now. What was said last counts, see
            M(sqliteops.backup.sqlite_backup_pin).
          type: bool
          returned: success
          sample: true
        pinned_since:
          description: When it was pinned; null when it is not.
          type: str
          returned: success
          sample: "2025-12-30T12:00:00Z"
        pinned_until:
          description: When the pin ends; null when it has no end, or there is none.
          type: str
          returned: success
          sample: "2027-01-01T00:00:00Z"
        encryption:
          description: How it is encrypted, V(none), V(age) or V(gpg).
          type: str
          returned: success
          sample: age
        stored_bytes:
          description: Bytes that all its artifacts take.
          type: int
          returned: success
          sample: 1048576
        database_bytes:
          description: Bytes of the database image.
          type: int
          returned: success
          sample: 8388608
        page_size:
          description: Bytes in a page of the database.
          type: int
          returned: success
          sample: 4096
        page_count:
          description: Pages in the image.
          type: int
          returned: success
          sample: 2048
        sha256:
          description: The SHA-256 of the image. A restore is proven when the restored file has it.
          type: str
          returned: success
          sample: 3b0f0c4f8f1f5a1d6a0e7a1f4e6b9f30c8c25b4d0a47ad6a59c3e6cf0e6ff7a1
        tables:
          description: The rows of every table in the image. Of an encrypted backup it is empty without O(identity_file)
            and O(passphrase_file).
          type: dict
          returned: success
          sample:
            AgentRun: 500
            ErrorFact: 1200
    latest:
      description: The newest backup that is not foreign, with the same fields; null when there is none.
      type: dict
      returned: success
      sample:
        id: 20251230T120000Z-full
    state:
      description: How well the repository is, from good to bad V(ok), V(degraded) (something must be looked at),
        V(failing) (the last run failed) or V(missed) (no verified backup, or O(rpo) is over).
      type: str
      returned: success
      sample: degraded
    reasons:
      description: Why it is not V(ok), the worst first; each with C(state), the sentence C(text), and what to do about
        it, C(hint) and C(way). The latter is null, or a command of the runner, and the module of the same meaning, with
        C(aim), C(command) and C(options).
      type: list
      elements: dict
      returned: success
      sample:
        - state: degraded
          text: Nobody has read what is stored of 20251230T120000Z-full since 2025-12-30T12:00:05Z.
          hint: ""
          way:
            aim: To read it
            command: verify
            options:
              backup: 20251230T120000Z-full
    last_failure:
      description: The newest failure in the audit log, with C(time), C(event), C(code) and
        C(message); null when a backup succeeded since, or for a prune another one that removed something.
      type: dict
      returned: success
      sample: null
    age_seconds:
      description: Seconds since the database is known to have had the content of the newest verified backup; null
        without one.
      type: int
      returned: success
      sample: 1800
    rpo_met:
      description: Whether that age is within O(rpo); null without O(rpo).
      type: bool
      returned: success
      sample: true
    total_bytes:
      description: Bytes that all backups take.
      type: int
      returned: success
      sample: 10485760
    warnings:
      description: What an operator should know of the repository, such as a damaged C(repository.json) or foreign
        backups.
      type: list
      elements: str
      returned: success
      sample: []
    last_drill:
      description: The last restore drill in the audit log; null when there was none.
      type: dict
      returned: success
      contains:
        time:
          description: When it was.
          type: str
          returned: success
          sample: "2025-12-30T12:00:00Z"
        backup:
          description: The id of the backup; empty when there was none.
          type: str
          returned: success
          sample: 20251230T120000Z-full
        outcome:
          description: V(passed), V(failed) or V(inconclusive).
          type: str
          returned: success
          sample: passed
        rto_seconds:
          description: How long the restore took; null when it failed.
          type: float
          returned: success
          sample: 1.2
        rto_met:
          description: Whether that was no more than the RTO; null when none was asked for.
          type: bool
          returned: success
          sample: true
        database_bytes:
          description: Bytes of the restored database; null when none was restored.
          type: int
          returned: success
          sample: 104857600
        place:
          description: The target that was read; empty for the repository itself.
          type: str
          returned: success
          sample: ""
        message:
          description: Why it failed; empty when it passed.
          type: str
          returned: success
          sample: ""
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import options
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import doing
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import info

ARGUMENT_SPEC = {
    "repository": {"type": "list", "elements": "path", "required": True},
    "rpo": {"type": "str"},
    **_module.KEYS,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    rpo_seconds = options.seconds(module.params, "rpo")
    with doing("Cannot list"):
        opened = [Repository.open_existing(Path(each)) for each in module.params["repository"]]
    keys = encryption.keys(module.params)
    _module.warn_all(module, [keys.warning()])
    described = [info.describe_repository(each, rpo_seconds=rpo_seconds, keys=keys) for each in opened]
    _module.warn_all(module, [warning for each in described for warning in each["warnings"]])
    return {"changed": False, "repositories": described}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
