#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_restore_drill
short_description: Restore a backup of an SQLite database for trial, prove it, and measure how long that takes
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Restores a backup into a scratch place, as if all were lost, and asks the restored file for all that is expected.
    The live database is not touched, and need not be there.
  - The restored file must be the one that was backed up, byte for byte. Then C(PRAGMA integrity_check) runs, the rows
    of every table are compared with those that were counted, and O(expect_tables) and O(assertions) are asked.
  - The wall time of all that is compared with O(rto), and the age of the newest good backup with O(rpo).
  - The task fails when a drill fails, or misses what O(rto) or O(rpo) allow, which is code 30. RV(drill) is returned
    all the same.
  - The result is written down in the audit log of O(repository), and what was proven beside each backup. Nothing else
    is left behind, so that the task is never changed.
  - From the sizes of the backups, when they are of more than a day, a drill tells how long a restore will take in 90
    days.
extends_documentation_fragment:
  - sqliteops.backup.target.optional
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.keys
  - sqliteops.backup.repository.expectations
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Chooses the backups, and restores and writes nothing. Of a target it fetches the manifests.
    support: full
  diff_mode:
    description: The module changes nothing, so there is nothing to compare.
    support: none
options:
  repository:
    description:
      - The repository with the backups, and with the audit log that gets the result.
      - With O(target) it may be omitted, or be that of another host, which is not here.
    type: path
  name:
    description: The name of the database. The default is the name that the repository has.
    type: str
  backup:
    description:
      - V(latest) for the newest one that is not suspect, or the id of one.
      - V(random) for any one that is not suspect.
      - V(due) for V(latest), and those whose turn it is when every one is to be restored once within O(prove_within)
        while a drill comes each O(every). What is known to be damaged fails each time. It needs the repository itself,
        without O(target).
    type: str
    default: latest
  every:
    description: How often these drills come, as a duration.
    type: str
    default: 7d
  prove_within:
    description: Within which time every backup that is kept is to be restored once, as a duration.
    type: str
    default: 28d
  rto:
    description: How long a restore may take, as a duration such as V(15m). Without it the time is told, not judged.
    type: str
  rpo:
    description: How old the newest good backup may be, as a duration such as V(1h). Without it the age is not judged.
    type: str
  scratch_dir:
    description:
      - The directory for what is restored. It needs room for the database, and with O(target) for its backups, too.
        Nobody but its owner may write there, or its sticky bit must be set. What a killed run left there is removed by
        the next one.
      - The default is that for temporary files; for root, one in which only root can change names.
    type: path
seealso:
  - module: sqliteops.backup.sqlite_restore
  - module: sqliteops.backup.sqlite_verify
  - module: sqliteops.backup.sqlite_backup_info
"""

EXAMPLES = r"""
- name: Restore the newest backup for trial
  sqliteops.backup.sqlite_restore_drill:
    repository: /var/backups/sqlite/agent
    rto: 15m
    rpo: 1h
    expect_tables: [AgentRun, ErrorFact]
    assertions:
      - sql: SELECT count(*) > 0 FROM AgentRun
        equals: 1

- name: Each week, so that every backup is restored once in four weeks
  sqliteops.backup.sqlite_restore_drill:
    repository: /var/backups/sqlite/agent
    backup: due
    every: 7d
    prove_within: 28d
    identity_file: /etc/sqlite-backup/agent.identity

- name: On another host, of what the database's own host sent to an object store
  sqliteops.backup.sqlite_restore_drill:
    target:
      url: s3://backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/store.credentials
      options:
        endpoint: https://objects.example.org
    identity_file: /root/agent.identity
    rto: 30m
    scratch_dir: /srv/drills
"""

RETURN = r"""
drill:
  description: The drill that failed first, or the first one.
  returned: always, unless nothing could be begun
  type: dict
  contains:
    outcome:
      description: V(passed), V(failed) or V(inconclusive); empty in check mode.
      type: str
      returned: success
      sample: passed
    name:
      description: The name of the database.
      type: str
      returned: success
      sample: agent
    host:
      description: The host on which it ran.
      type: str
      returned: success
      sample: ci-1
    from:
      description: The repository, or the URL of the target, that was read.
      type: str
      returned: success
      sample: /var/backups/sqlite/agent
    backup:
      description: The id of the backup; empty when none could be chosen.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    created:
      description: When it was made.
      type: str
      returned: success
      sample: "2025-12-30T12:00:00Z"
    started:
      description: When the drill began.
      type: str
      returned: success
      sample: "2025-12-30T12:30:00Z"
    database_bytes:
      description: Bytes of the restored database; null when it could not be had.
      type: int
      returned: success
      sample: 104857600
    stored_bytes:
      description: Bytes that the backup, with all that it builds on, takes; null when none could be chosen.
      type: int
      returned: success
      sample: 10485760
    rto_seconds:
      description: Seconds from nothing to a database that gave its answers; null when it failed.
      type: float
      returned: success
      sample: 1.2
    rto_target_seconds:
      description: What O(rto) allows; null without it.
      type: float
      returned: success
      sample: 900.0
    rto_met:
      description: Whether it took no more than that; null when one of them is not known.
      type: bool
      returned: success
      sample: true
    rpo_seconds:
      description: Seconds since what the newest good backup there holds was current; null when there is none.
      type: int
      returned: success
      sample: 1800
    rpo_target_seconds:
      description: What O(rpo) allows; null without it.
      type: float
      returned: success
      sample: 3600.0
    rpo_met:
      description: Whether it is no older than that; null when one of them is not known.
      type: bool
      returned: success
      sample: true
    durations:
      description: Seconds of each phase.
      type: dict
      returned: success
      sample:
        check_artifacts: 0.1
        stage: 0.4
        switch: 0.1
        prove: 0.3
    bytes_per_second:
      description: Bytes of the database for each second of the whole; null when it failed.
      type: int
      returned: success
      sample: 87381333
    checks:
      description: Everything that was checked.
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
          description: V(passed), V(failed) or V(inconclusive).
          type: str
          returned: success
          sample: passed
        detail:
          description: What was found, for people.
          type: str
          returned: success
          sample: ""
    forecast:
      description: A restore in 90 days, when the database goes on to grow as it did; null when its growth is not known.
      type: dict
      returned: success
      contains:
        days:
          description: In how many days.
          type: int
          returned: success
          sample: 90
        growth_bytes_per_day:
          description: By how much the database grew a day.
          type: int
          returned: success
          sample: 1048576
        database_bytes:
          description: Its bytes then.
          type: int
          returned: success
          sample: 199229440
        rto_seconds:
          description: The seconds of a restore then.
          type: float
          returned: success
          sample: 2.3
        rto_met:
          description: Whether that is no more than O(rto); null without it.
          type: bool
          returned: success
          sample: true
    proven:
      description: What is known now, a sentence each.
      type: list
      elements: str
      returned: success
      sample: [SQLite finds nothing wrong with the structure of the file.]
    not_proven:
      description: What this drill tells nothing of, or found wrong, a sentence each.
      type: list
      elements: str
      returned: success
      sample: [That the application starts with it.]
    command:
      description: How to do this drill again.
      type: str
      returned: success
      sample: >-
        ansible ci-1 --become -m sqliteops.backup.sqlite_restore_drill
        -a '{"repository": "/var/backups/sqlite/agent", "backup": "20251230T120000Z-full"}'
    error:
      description: Why it failed, as RV(error), with the C(message); null when it passed.
      type: dict
      returned: success
      sample: null
    warnings:
      description: What an operator should know.
      type: list
      elements: str
      returned: success
      sample: []
    history:
      description: The drills in the audit log until now, this one included, oldest first, each as C(last_drill) of
        M(sqliteops.backup.sqlite_backup_info).
      type: list
      elements: dict
      returned: success
      sample: []
drills:
  description: All drills, each as RV(drill), the newest backup first.
  returned: always, unless nothing could be begun
  type: list
  elements: dict
  sample: []
error:
  description: Why the task failed, for programs. The text for people is in RV(ignore:msg).
  returned: on failure
  type: dict
  contains:
    code:
      description: The exit code of this kind of failure, see the notes; 30 when O(rto) or O(rpo) is missed.
      type: int
      returned: on failure
      sample: 30
    class:
      description: The name of this kind of failure.
      type: str
      returned: on failure
      sample: ObjectiveMissedError
    hint:
      description: What to do next.
      type: str
      returned: on failure
      sample: Make a backup, and see whether its schedule runs.
"""

import dataclasses
import json
import shlex
import socket
from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils import _module

if _module.IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import confined
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import drill

ARGUMENT_SPEC = {
    "repository": {"type": "path"},
    "target": {**_module.TARGET, "required": False},
    "name": {"type": "str"},
    "backup": {"type": "str", "default": "latest"},
    "every": {"type": "str", "default": "7d"},
    "prove_within": {"type": "str", "default": "28d"},
    "rto": {"type": "str"},
    "rpo": {"type": "str"},
    "scratch_dir": {"type": "path"},
    **_module.EXPECTATIONS,
    **_module.KEYS,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _repeated(given: dict[str, Any], identity: str) -> str:
    """The command that does the drill of this backup again: with all that was given, and nothing else."""
    said = {
        name: value
        for name, value in given.items()
        if name in ARGUMENT_SPEC and value not in (None, [], ARGUMENT_SPEC[name].get("default"))
    }
    if said.get("target"):
        said["target"] = {name: value for name, value in said["target"].items() if value not in (None, {}, False)}
    words = ["ansible", socket.gethostname(), "--become", "-m", "sqliteops.backup.sqlite_restore_drill"]
    return shlex.join([*words, "-a", json.dumps({**said, "backup": identity})])


def _work(module: AnsibleModule) -> dict[str, Any]:
    if module.params["target"]:
        module.no_log_values.update(address.misplaced(module.params["target"]))
    request = drill.requested(module.params)
    request = dataclasses.replace(request, repeat=lambda identity: _repeated(module.params, identity))
    found = confined.run(lambda: drill.run(request, dry_run=module.check_mode), request.repository)
    warnings = [request.keys.warning(), *(text for each in found for text in each.warnings)]
    _module.warn_all(module, list(dict.fromkeys(warnings)))
    drills = [each.to_json() for each in found]
    first = next((place for place, each in enumerate(found) if each.error), 0)
    error = found[first].error
    if error is not None:
        _module.fail(module, error, changed=False, drill=drills[first], drills=drills)
    return {"changed": False, "drill": drills[first], "drills": drills}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        required_one_of=[("repository", "target")],
    )
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
