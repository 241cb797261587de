#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup_pin
short_description: Pin a backup of an SQLite database, or take that back
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that retention never removes a backup that exists, or not before a date, or that it may again.
  - What is said last counts, also of a backup that was made with O(sqliteops.backup.sqlite_backup#module:pinned). The
    sealed manifest stays as it is; the pin is in a sealed file beside it. When that file is damaged, the backup counts
    as pinned, and each prune warns of it.
  - A backup whose manifest is damaged cannot be pinned. Retention never removes it.
extends_documentation_fragment:
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Finds the same as a real run, and writes nothing.
    support: full
  diff_mode:
    description: Shows the pin before and after.
    support: full
options:
  repository:
    description: The repository of the backup.
    type: path
    required: true
  backup:
    description:
      - The id of the backup, or V(latest) for the newest one that is not suspect.
      - V(latest) is another backup after each change of the database; an id is not.
    type: str
    required: true
  state:
    description: V(present) pins the backup, V(absent) takes that back.
    type: str
    choices: [present, absent]
    default: present
  until:
    description:
      - When the pin ends, such as V(2027-01-01T00:00:00Z) or V(2027-01-01), which is the first moment of that day.
        Without a zone it is a time of the host's clock. From then on retention decides as if there were no pin.
      - Without it the pin has no end; one that it had is taken away.
      - A time that has passed is an error with code 2.
    type: str
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_backup_info
  - module: sqliteops.backup.sqlite_backup_prune
"""

EXAMPLES = r"""
- name: See which backups there are
  sqliteops.backup.sqlite_backup_info:
    repository: /var/backups/sqlite/agent
  register: found

- name: Keep the first backup from before the incident
  sqliteops.backup.sqlite_backup_pin:
    repository: /var/backups/sqlite/agent
    backup: "{{ found.repositories[0].backups[0].id }}"

- name: Keep it until the end of the century
  sqliteops.backup.sqlite_backup_pin:
    repository: /var/backups/sqlite/agent
    backup: "{{ found.repositories[0].backups[0].id }}"
    until: "2100-01-01"

- name: Let retention decide on it again
  sqliteops.backup.sqlite_backup_pin:
    repository: /var/backups/sqlite/agent
    backup: "{{ found.repositories[0].backups[0].id }}"
    state: absent
"""

RETURN = r"""
pin:
  description: The pin of the backup, or in check mode as it would be.
  returned: success
  type: dict
  contains:
    id:
      description: The backup's id.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    pinned:
      description: Whether it is pinned.
      type: bool
      returned: success
      sample: true
    since:
      description: When it was pinned, RFC 3339 in UTC; null when it is not. Another end does not change it.
      type: str
      returned: success
      sample: "2025-12-30T12:00:00Z"
    until:
      description: When the pin ends, RFC 3339 in UTC; null when it has no end.
      type: str
      returned: success
      sample: "2027-01-01T00:00:00Z"
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import options, pinning

ARGUMENT_SPEC = {
    "repository": {"type": "path", "required": True},
    "backup": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "until": {"type": "str"},
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    request = options.pin_request(module.params)
    outcome = pinning.run(request, dry_run=module.check_mode)
    _module.warn_all(module, outcome.warnings)
    diff = {
        "before_header": str(request.repository),
        "after_header": str(request.repository),
        "before": outcome.before,
        "after": outcome.after,
    }
    return {"changed": outcome.changed, "pin": outcome.after, "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
