#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup_prune
short_description: Remove the backups of an SQLite database that a retention policy does not keep
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Keeps every backup of the last day, and the newest backup of each of the last hours, days, weeks, months and years
    that have one, and removes the others. The rules are those of C(restic forget); a period without a backup does not
    count.
  - Whatever the policy says, these stay. The newest backup and the newest verified one, pinned ones, those that
    somebody reads right now, those dated in the future, those whose manifest cannot be read, of a database that is
    still corrupt the first suspect one, and everything that a kept incremental builds on.
  - A foreign backup, one that was made in another repository and copied into this one, stays and counts for nothing.
    While C(repository.json) is damaged nothing is removed, with code 18; the next backup writes that anew.
  - Any other backup that failed its verification is kept by no rule and takes nobody's place, and so is a suspect one
    that is older than O(keep_suspect).
  - As long as the newest backup is held apart, nothing but
    surplus suspect ones is removed, with a warning. O(sqliteops.backup.sqlite_backup#module:force_identity) says that
    it is meant.
  - Backups are removed newest first, each with one rename before its files go. A run that is killed leaves whole
    backups only, and the next run finishes.
extends_documentation_fragment:
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Shows the same plan as a real run makes, and writes nothing.
    support: full
  diff_mode:
    description: Shows the ids of the backups before and after.
    support: full
options:
  repository:
    description: The repository to prune.
    type: path
    required: true
  keep_last:
    description:
      - How many of the newest backups to keep, whenever they were made.
      - V(0) turns this rule off, as it does with each of them. A policy with all rules off is refused with code 18.
    type: int
    default: 0
  keep_within:
    description:
      - Every backup stays that is younger than this, such as V(6h), V(1d) or V(2w). V(0s) turns this rule off.
      - That is counted from the newest backup that counts, not from now. So nothing goes by this rule while there are
        no new backups.
    type: str
    default: 1d
  keep_hourly:
    description: Of how many hours to keep a backup each. The newest hours that have one count. Within an hour a full
      backup is preferred, then the newest; so it is within the other periods.
    type: int
    default: 24
  keep_daily:
    description: Of how many days to keep a backup each.
    type: int
    default: 7
  keep_weekly:
    description: Of how many weeks to keep a backup each. A week begins on Monday (ISO 8601).
    type: int
    default: 4
  keep_monthly:
    description: Of how many months to keep a backup each.
    type: int
    default: 12
  keep_yearly:
    description: Of how many years to keep a backup each.
    type: int
    default: 0
  keep_suspect:
    description:
      - How long a suspect backup stays after it was made, also when the database is good again, so that somebody can
        look at it. Of each time in which the database was corrupt that is the first and the newest one. V(0s) lets
        them go with the next good backup.
      - That is counted to now. It keeps no other backup, and takes the place of none.
    type: str
    default: 7d
  timezone:
    description:
      - The time zone in which hours, days, weeks, months and years begin, by its name in the IANA database, such as
        V(Europe/Berlin).
      - Any other than V(UTC) needs the time zone data of the host, often a package named C(tzdata). Without it the task
        fails with code 19.
    type: str
    default: UTC
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_backup_info
  - module: sqliteops.backup.sqlite_backup_pin
"""

EXAMPLES = r"""
- name: Keep all of a day, and one backup each of 24 hours, 7 days, 4 weeks and 12 months
  sqliteops.backup.sqlite_backup_prune:
    repository: /var/backups/sqlite/agent

- name: Keep a backup of each of the last 30 days and 10 years, as the calendar in Berlin has them
  sqliteops.backup.sqlite_backup_prune:
    repository: /var/backups/sqlite/agent
    keep_within: 0s
    keep_hourly: 0
    keep_daily: 30
    keep_weekly: 0
    keep_yearly: 10
    timezone: Europe/Berlin
  register: pruned

- name: Say why each backup was kept
  ansible.builtin.debug:
    msg: "{{ item.id }}: {{ item.reasons | join(', ') }}"
  loop: "{{ pruned.kept }}"
"""

RETURN = r"""
kept:
  description: Every backup that stays, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The backup's id.
      type: str
      returned: success
      sample: 20251230T120000Z-full
    reasons:
      description:
        - All that keeps it. The rules are V(last), V(within), V(hourly), V(daily), V(weekly), V(monthly) and
          V(yearly).
        - The promises are V(newest), V(newest verified), V(first suspect), V(suspect), V(pinned), V(future-dated),
          V(in use), V(damaged), V(builds on a damaged one), and V(needed by) or V(perhaps needed by) with the id of an
          incremental, the latter of a damaged one, which no longer says what it builds on.
        - V(nothing goes until it is said that the new database is meant) stands with all backups as long as the newest
          one is held apart.
        - Of a V(damaged) one the manifest cannot be read, so nobody knows whether it is pinned. Look at it.
      type: list
      elements: str
      returned: success
      sample: [within, hourly, daily, newest]
removed:
  description: Every backup that was removed, or in check mode would be, oldest first.
  returned: success
  type: list
  elements: dict
  contains:
    id:
      description: The backup's id.
      type: str
      returned: success
      sample: 20251201T120000Z-full
    bytes:
      description: Bytes that all its files took.
      type: int
      returned: success
      sample: 1048576
freed_bytes:
  description: Bytes that all removed backups took.
  returned: success
  type: int
  sample: 1048576
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import prune

POLICY_SPEC: dict[str, Any] = {
    "keep_last": {"type": "int", "default": 0},
    "keep_within": {"type": "str", "default": "1d"},
    "keep_hourly": {"type": "int", "default": 24},
    "keep_daily": {"type": "int", "default": 7},
    "keep_weekly": {"type": "int", "default": 4},
    "keep_monthly": {"type": "int", "default": 12},
    "keep_yearly": {"type": "int", "default": 0},
    "keep_suspect": {"type": "str", "default": "7d"},
    "timezone": {"type": "str", "default": "UTC"},
}
ARGUMENT_SPEC = {
    "repository": {"type": "path", "required": True},
    **POLICY_SPEC,
    "lock_timeout": _module.LOCK_TIMEOUT,
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    request = prune.requested(module.params)
    outcome = prune.run(request, dry_run=module.check_mode)
    _module.warn_all(module, outcome.warnings)
    diff = {
        "before_header": str(request.repository),
        "after_header": str(request.repository),
        "before": {"backups": outcome.before},
        "after": {"backups": outcome.after},
    }
    return {"changed": outcome.changed, **outcome.to_json(), "diff": diff}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
