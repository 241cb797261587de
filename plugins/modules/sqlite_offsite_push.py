#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_offsite_push
short_description: Copy the backups of an SQLite database to another place
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that a target holds every good backup of a repository, or one of them with all that it builds on. The
    target is an object store, another host, a mounted disk or any remote of rclone.
  - Only what the target lacks is sent. The files of a backup go first and its manifest last, so a push that was cut
    leaves nothing that could be taken for a whole backup, and the next one goes on.
  - What was sent is compared there, by digest as far as the target has digests. Nothing there is ever overwritten. A
    file of the same name with other content stays as it is; the others go, and then the task fails with code 17.
  - Suspect, damaged and foreign backups are not sent. No new backup has to wait while a push is at work.
  - Nothing is removed from the target. The rules of a target in the configuration of the runner do that, or the store's
    own.
extends_documentation_fragment:
  - sqliteops.backup.target
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Asks the target what it has, tells the same as a real run, and writes nothing, here or there. What
      only a look into the files shows, such as damage, it does not find.
    support: full
  diff_mode:
    description: Shows the ids of the backups that are whole at the target, before and after.
    support: full
options:
  repository:
    description: The repository to copy.
    type: path
    required: true
  backup:
    description:
      - V(all), or V(latest) for the newest backup that is not suspect, or the id of one.
      - What an incremental backup builds on goes with it.
    type: str
    default: all
seealso:
  - module: sqliteops.backup.sqlite_offsite_pull
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_backup_prune
"""

EXAMPLES = r"""
- name: Copy all backups to Amazon S3, with the role of the instance
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: s3://example-backups/ci-1/agent
      options:
        region: eu-central-1
        storage_class: STANDARD_IA
        server_side_encryption: AES256

- name: Put the key of another store that speaks S3 on the host, from the vault
  ansible.builtin.copy:
    content: |
      access_key_id = {{ vault_access_key_id }}
      secret_access_key = {{ vault_secret_access_key }}
    dest: /etc/sqlite-backup/store.credentials
    mode: "0600"
  no_log: true

- name: Copy all backups there, at most ten megabytes a second
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: s3://backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/store.credentials
      options:
        endpoint: https://objects.example.org
      bandwidth: 10M

- name: Copy all backups to Google Cloud Storage
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: gs://example-backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/service-account.json

- name: Copy all backups to Azure Blob Storage; the file has a line sas_url = https://...
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: azblob://backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/azure.credentials
      options:
        account: examplestorage

- name: Copy all backups to another host, by rsync over ssh
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: ssh://backup@nas.example.org:2222/volume1/backups/ci-1/agent
      credentials_file: /etc/sqlite-backup/ssh_key
      known_hosts: /etc/sqlite-backup/known_hosts

- name: Copy the newest backup, with what it builds on, to a NAS that is mounted
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    backup: latest
    target:
      url: file:///mnt/nas/ci-1/agent

- name: Copy all backups to whatever rclone knows
  sqliteops.backup.sqlite_offsite_push:
    repository: /var/backups/sqlite/agent
    target:
      url: rclone://offsite/ci-1/agent
      credentials_file: /etc/sqlite-backup/rclone.conf
  register: pushed

- name: Fail when the newest data there is older than a day
  ansible.builtin.assert:
    that: pushed.target.behind_seconds < 24 * 60 * 60
"""

RETURN = r"""
transferred:
  description: Every backup that was sent, or in check mode would be, oldest first.
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
      description: How many of its files were sent, the manifest among them.
      type: int
      returned: success
      sample: 3
    bytes:
      description: Bytes that these files have.
      type: int
      returned: success
      sample: 1048576
verified:
  description:
    - Whether all that was sent was compared at the target afterwards.
    - V(false) only where the host may write there and not read, and the target tells too little of what it has.
  returned: success
  type: bool
  sample: true
target:
  description: The target as it is now; in check mode as it was found.
  returned: success
  type: dict
  contains:
    url:
      description: Its URL.
      type: str
      returned: success
      sample: s3://example-backups/ci-1/agent
    newest:
      description: The id of the newest backup that is whole there; null when there is none.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    behind_seconds:
      description: How old the data in it is, since it was made or last found to be current; null when there is none.
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import push

ARGUMENT_SPEC = {
    "repository": {"type": "path", "required": True},
    "target": _module.TARGET,
    "backup": {"type": "str", "default": "all"},
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    module.no_log_values.update(address.misplaced(module.params["target"]))
    outcome = push.run(push.requested(module.params), dry_run=module.check_mode)
    return _module.copied(module, outcome, outcome.url)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
