#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_discover_info
short_description: Find SQLite databases on a host and say which are backed up
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Looks for SQLite databases below directories, and says of each whether it is configured for C(sqlite-backup) on this
    host, is not backed up on purpose, or is neither.
  - Only what may be a database by its size is opened, and the first 16 bytes of it are read. No link is followed, and
    nothing is opened that is not a regular file.
  - The databases in repositories of backups, in undo sets and in other directories that a restore keeps beside a
    database are copies, and left out. That is so where nobody but root and the owner of the database could have put it
    there. C(/proc) and C(/sys) are left out, too.
  - A database of zero bytes, and one that another program encrypted as a whole, cannot be told from other files.
  - A file C(discover.json) beside the configuration of the runner can hold O(paths), O(exclude), O(ignored),
    O(cross_filesystems), O(limit) and O(timeout), too.
  - A configuration of a user who is neither root nor the one that this runs as counts for what is that user's. It
    declares a database that the user owns or can read, and ignores one that the user owns. The other keys of its
    C(discover.json) do not count.
extends_documentation_fragment:
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
  paths:
    description: The directories to look in. Without it those of C(discover.json). What was reached from another one
      is not looked at again.
    type: list
    elements: path
  exclude:
    description: Absolute paths in which is not looked, with C(*) and C(?). C(*) stands for any text, with C(/) as well,
      so that V(*/node_modules) means every directory of that name.
    type: list
    elements: str
    default: []
  ignored:
    description: The databases that are not backed up on purpose, and the places that need not be looked at.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The absolute path, or that of a directory with all that is in it, with C(*) and C(?). RV(complete)
          does not ask for such a directory.
        type: str
        required: true
      reason:
        description: Why it is not backed up.
        type: str
        required: true
  cross_filesystems:
    description: Whether to look at what is mounted below the directories. The default is not to.
    type: bool
  limit:
    description: Stop at so many databases. The default is 1000.
    type: int
  timeout:
    description: Stop after this time, as a duration. The default is V(5m).
    type: str
  config:
    description: Directories of configurations of the runner, beside the usual ones. Those are of root all of this
      host, of another user its own.
    type: list
    elements: path
    default: []
seealso:
  - module: sqliteops.backup.sqlite_backup
  - module: sqliteops.backup.sqlite_backup_info
"""

EXAMPLES = r"""
- name: Find every database of the applications
  sqliteops.backup.sqlite_discover_info:
    paths:
      - /srv
    exclude:
      - "*/node_modules"
    ignored:
      - path: /srv/*/cache.db
        reason: it is made anew from the sources
  register: found

- name: Name what nobody backs up
  ansible.builtin.debug:
    var: found.undeclared
"""

RETURN = r"""
databases:
  description: Every database that was found, in the order of the directories and then of the paths.
  returned: success
  type: list
  elements: dict
  contains:
    path:
      description: The file.
      type: str
      returned: success
      sample: /srv/ci-fixer/agent.db
    state:
      description: V(declared) when it is configured on this host, V(ignored) when it is not backed up on purpose, else
        V(undeclared).
      type: str
      returned: success
      sample: declared
    name:
      description: The name under which it is configured; empty when it is not.
      type: str
      returned: success
      sample: agent
    repository:
      description: The repository that it is configured with; empty when it is not.
      type: str
      returned: success
      sample: /var/backups/sqlite/agent
    reason:
      description: Why it is not backed up, when that is on purpose.
      type: str
      returned: success
      sample: ""
    bytes:
      description: The size of the file.
      type: int
      returned: success
      sample: 8388608
    modified:
      description: When the file was last written to, RFC 3339 in UTC; empty for a time that cannot be told.
      type: str
      returned: success
      sample: "2025-12-30T12:00:00Z"
    owner:
      description: The user that the file belongs to.
      type: str
      returned: success
      sample: ci-fixer
    wal:
      description: Whether a write-ahead log is beside it.
      type: bool
      returned: success
      sample: true
    journal:
      description: Whether a rollback journal is beside it.
      type: bool
      returned: success
      sample: false
undeclared:
  description: The paths of those that are neither configured nor ignored.
  returned: success
  type: list
  elements: str
  sample: [/srv/wiki/pages.db]
copies:
  description: How many databases were left out, since they are backups, or what a restore keeps.
  returned: success
  type: int
  sample: 3
repositories:
  description: The repositories of backups that were found, up to 1000 for each of the directories.
  returned: success
  type: list
  elements: str
  sample: [/var/backups/sqlite/agent]
kept:
  description: The directories that a restore keeps beside a database, such as undo sets, up to 1000 for each of the
    directories.
  returned: success
  type: list
  elements: str
  sample: [/srv/ci-fixer/agent.db.before-restore.20251230T120000Z]
files:
  description: How many files were looked at.
  returned: success
  type: int
  sample: 20480
complete:
  description: Whether everything was looked at. If not, there may be more databases, and RV(undeclared) proves nothing.
  returned: success
  type: bool
  sample: true
gaps:
  description: What was not looked at, and why; empty when RV(complete). Each is a warning, too.
  returned: success
  type: list
  elements: str
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import discovery

ARGUMENT_SPEC = {
    "paths": {"type": "list", "elements": "path"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "ignored": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"path": {"type": "str", "required": True}, "reason": {"type": "str", "required": True}},
    },
    "cross_filesystems": {"type": "bool"},
    "limit": {"type": "int"},
    "timeout": {"type": "str"},
    "config": {"type": "list", "elements": "path", "default": []},
}


def _work(module: AnsibleModule) -> dict[str, Any]:
    given = {name: module.params[name] for name in discovery.KEYS}
    outcome = discovery.run(given, discovery.directories(None, module.params["config"]))
    _module.warn_all(module, outcome.warnings)
    return {"changed": False, **outcome.to_json()}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
