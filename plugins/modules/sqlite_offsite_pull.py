#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_offsite_pull
short_description: Bring the backups of an SQLite database back from another place
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that a repository holds a backup of a target, with all that it builds on, or every good one of them. A
    repository that does not exist is made. So a new host has what a lost one sent.
  - What comes is not trusted. A backup is published only when every byte is as its manifest says; names that lead
    elsewhere, links and more bytes than were listed are refused, and nothing of that gets into the repository.
  - The backups of another database, or of another repository, are refused or passed over. One that is here already is
    left as it is.
  - M(sqliteops.backup.sqlite_restore) restores from the repository afterwards. Encrypted backups come as they are; only
    the restore needs the key.
  - Nothing is changed at the target.
extends_documentation_fragment:
  - sqliteops.backup.target
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Fetches the manifests into a scratch place, tells and refuses the same as a real run, and writes
      nothing else. What only a look into the other files shows, such as damage, it does not find.
    support: full
  diff_mode:
    description: Shows the ids of the backups in the repository, before and after.
    support: full
options:
  repository:
    description: The repository to bring them into. It is made, readable by its owner alone, when it does not exist.
    type: path
    required: true
  backup:
    description:
      - V(latest) for the newest whole backup there that is not suspect, or V(all), or the id of one.
      - What an incremental backup builds on comes with it.
    type: str
    default: latest
  name:
    description:
      - The name of the database that is expected there. The backups of another one are refused with code 18.
      - The default is the name that the repository has, or any when it does not exist.
      - Where the backups of several databases lie together, which should not be, it says which ones are meant.
    type: str
seealso:
  - module: sqliteops.backup.sqlite_offsite_push
  - module: sqliteops.backup.sqlite_restore
  - module: sqliteops.backup.sqlite_verify
"""

EXAMPLES = r"""
- name: Bring the newest backup from an object store to a new host
  sqliteops.backup.sqlite_offsite_pull:
    repository: /var/backups/sqlite/pulled
    name: agent
    target:
      url: s3://backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/store.credentials
      options:
        endpoint: https://objects.example.org
  register: pulled

- name: Restore the database from it
  sqliteops.backup.sqlite_restore:
    repository: /var/backups/sqlite/pulled
    backup: "{{ pulled.target.newest }}"
    dest: /srv/ci-fixer/agent-pulled.db

- name: Bring all backups from another host, at most ten megabytes a second
  sqliteops.backup.sqlite_offsite_pull:
    repository: /var/backups/sqlite/pulled
    backup: all
    target:
      url: ssh://backup@nas.example.org/volume1/backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/ssh_key
      known_hosts: /etc/sqlite-backup/known_hosts
      bandwidth: 10M
"""

RETURN = r"""
transferred:
  description: Every backup that came, or in check mode would, what others build on first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The backup's id.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    files:
      description: How many files it has, the manifest among them.
      type: int
      returned: success
      sample: 3
    bytes:
      description: Bytes that these files have.
      type: int
      returned: success
      sample: 1048576
verified:
  description: Always V(true). What came had the sizes and the SHA-256 that its manifest says, or the task failed.
  returned: success
  type: bool
  sample: true
target:
  description: The target as it was found.
  returned: success
  type: dict
  contains:
    url:
      description: Its URL.
      type: str
      returned: success
      sample: s3://example-backups/ci-1/agent
    newest:
      description: The id of the newest backup there that is whole and not suspect; null when there is none.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    behind_seconds:
      description: How old the data in it is; null when there is none.
      type: int
      returned: success
      sample: 900
error:
  description: Why the task failed, for programs. The text for people is in RV(ignore:msg).
  returned: on failure
  type: dict
  contains:
    code:
      description: The exit code of this kind of failure, see the notes.
      type: int
      returned: on failure
      sample: 21
    class:
      description: The name of this kind of failure.
      type: str
      returned: on failure
      sample: TargetUnreachableError
    hint:
      description: What to do next.
      type: str
      returned: on failure
      sample: Make the bucket or the container first.
"""

from typing import Any

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.sqliteops.backup.plugins.module_utils import _module

if _module.IS_NEW_ENOUGH:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import pull

ARGUMENT_SPEC = {
    "repository": {"type": "path", "required": True},
    "target": _module.TARGET,
    "backup": {"type": "str", "default": "latest"},
    "name": {"type": "str"},
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    module.no_log_values.update(address.misplaced(module.params["target"]))
    request = pull.requested(module.params)
    outcome = pull.run(request, dry_run=module.check_mode)
    return _module.copied(module, outcome, str(request.repository))


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
