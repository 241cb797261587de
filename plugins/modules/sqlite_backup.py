#!/usr/bin/python
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: sqlite_backup
short_description: Back up a live SQLite database and prove the backup
version_added: 0.1.0
author:
  - sqliteops.backup contributors (@sqliteops)
description:
  - Makes sure that the repository holds a proven backup of the present content of one database.
  - The database stays in use. In WAL mode its writers are never blocked. In rollback mode they wait while the image
    is read, and a warning says for how long. With gzip, xz or O(check=full), unless the backup is encrypted, they wait
    only while it is copied.
  - When nothing changed since the newest backup, nothing is stored, RV(ignore:changed) is false, and the newest
    backup is confirmed as of now.
  - The source is never written to, checkpointed, or opened in a way that leaves files of another owner beside it.
  - A corrupt source gets its bytes saved in a backup that is marked suspect, and the task fails with code 12.
  - When the database is perhaps another one than before, as when an application began anew with an empty file, the
    backup is stored and held apart, with a warning. It is another one when its C(application_id) is, or when none of
    the tables is left that there were. Until O(force_identity) says that it is meant, no backup of the repository is
    pruned, and what is held apart does not count as verified, nor is it restored as V(latest).
  - When what the database holds collapsed since the recent backups, see O(suspect_below), the backup is stored, marked
    suspect and held apart in the same way, so that the good ones do not age out before somebody looks.
extends_documentation_fragment:
  - sqliteops.backup.repository.stored
  - sqliteops.backup.repository.lock
  - sqliteops.backup.repository.attributes
  - sqliteops.backup.repository.notes
attributes:
  check_mode:
    description: Makes the same decision as a real run, from the same reading of the database. Nothing stays on the
      disk.
    support: full
  diff_mode:
    description: Shows the newest backup before and after, never any content.
    support: full
options:
  path:
    description:
      - The database file. Symbolic links are followed.
      - A file with more than one hard link is refused, since its C(-wal) is found by name.
      - Exactly one of O(path), O(database_url) and O(env_file) is required.
    type: path
  database_url:
    description:
      - The database as a URL. Prisma's C(file:./agent.db?connection_limit=1) and C(file:///srv/agent.db) are
        understood,
        and SQLAlchemy's C(sqlite:///relative.db) and C(sqlite:////srv/agent.db).
      - Behind C(file:) the name is taken as it is, up to the first C(?), as Prisma takes it. C(%20) and C(#) are part
        of it. Behind C(file://) and C(sqlite:) C(%20) is a space, and C(#) ends the name.
      - When the URL names another file read the other way, and both exist, it is refused. O(path) tells which is meant.
    type: str
  env_file:
    description:
      - The environment file of the application on the host, such as its C(.env), whose setting O(env_key) is the
        database as a URL. It is read at each run, as Prisma reads it, with quotes, C(export), comments and
        C(${NAME}) for other settings of the same file. A name that the file does not set is an error, since the
        environment of the application is not known.
      - What the URL means is as with O(database_url). Nothing of the file gets into a message.
      - When root runs and the file belongs to another user, the database must belong to that user, too.
    type: path
  env_key:
    description: The name of the setting in O(env_file).
    type: str
    default: DATABASE_URL
  chdir:
    description:
      - The directory that a relative URL counts from. For Prisma it is the one with C(schema.prisma).
    type: path
  repository:
    description:
      - The directory for the backups of this one database. It is created with mode 0700 when it is missing.
    type: path
    required: true
  name:
    description:
      - The name of the database in its repository. The default is the file name without its ending.
    type: str
  type:
    description:
      - V(full) stores the whole image. V(incremental) stores the pages that changed since the newest backup, and needs
        that one, and what it builds on, for a restore.
      - V(auto) stores an incremental backup, but a full one when there is nothing to build on, the full backup that it
        would build on is older than O(full_every), the chain has O(max_chain) incremental backups, the page size
        changed, more than half of the pages changed, or what it would build on is damaged.
      - V(incremental) stores a full backup too, with a warning that says why, where there is nothing sound to build on
        or the chain has O(max_chain) incremental backups.
      - A database under 16 MiB is always stored full.
    type: str
    choices: [auto, full, incremental]
    default: auto
  full_every:
    description:
      - With O(type=auto), store a full backup when the newest full one is as old as this, as a duration such as V(1d).
    type: str
    default: 1d
  max_chain:
    description:
      - The most incremental backups that may build on one full backup.
    type: int
    default: 100
  check:
    description:
      - How to check the image before it is stored. V(quick) runs C(PRAGMA quick_check), V(full) runs C(PRAGMA
        integrity_check)
        and reports foreign keys without parents. With V(quick) a full check is done once a week, too, from the second
        backup on.
      - With V(none) the backup counts as verified only after M(sqliteops.backup.sqlite_verify) passed.
    type: str
    choices: [none, quick, full]
    default: quick
  include:
    description:
      - What else to store beside the image, in the directory C(files) of the backup.
      - What is not O(include[].required) may be missing, which is a warning.
    type: list
    elements: dict
    default: []
    suboptions:
      src:
        description:
          - The file, or a directory whose regular files are stored.
          - Of a Prisma schema, the file or the directory of its C(*.prisma) files. Without it the schema is looked for
            beside the database, as C(schema.prisma), C(prisma/schema.prisma), or the directory C(prisma/schema) or
            C(prisma). In a directory C(prisma) or C(schema) it comes with all C(*.prisma) files there and below.
          - Of logs, a file, or many with C(*) and C(?) in the last part of the path.
        type: path
      name:
        description: The relative name to store it as. The default is its own name, and V(logs) for the directory of
          logs. What is not O(include[].required) gets a number behind it where another one has the name.
        type: str
      redact:
        description:
          - Keep the names of C(NAME=value) lines and drop every value and the text of comments.
          - By default that is done to files whose names begin with C(.env), also in a directory, and to no others. With
            V(false) these are stored as they are, with their secrets.
        type: bool
      kind:
        description:
          - V(file) is a file or a directory, V(prisma_schema) the schema of Prisma.
          - V(metrics) is a snapshot of figures, in O(include[].src) or from O(include[].url).
          - V(logs) is what is new in log files since the previous backup that was stored, in whole lines, compressed.
            A log that was rotated since is stored to its end, one that was compressed, moved away or removed since is
            named in a warning. Each part is in one backup only, and goes with it.
          - Other V(metrics) and V(logs) than before are no reason to store a backup of an unchanged database, and a
            restore puts them only below O(sqliteops.backup.sqlite_restore#module:files_to).
        type: str
        choices: [file, prisma_schema, metrics, logs]
        default: file
      url:
        description: Where V(metrics) are asked for, by C(http) or C(https). A redirect is not followed. Messages and
          the backup name only the host.
        type: str
      required:
        description: Whether it is an error when it cannot be had. The default is V(true) for O(include[].kind=file),
          and V(false) for the others.
        type: bool
      limit_mib:
        description:
          - The most MiB of it that are stored. The default is 64 for each log, 4 for V(metrics) and V(prisma_schema),
            and no limit for V(file).
          - Of a log the newest part is stored then, with a warning; anything else that is longer cannot be had.
        type: int
      timeout:
        description: How long the answer of O(include[].url) may take, as a duration.
        type: str
        default: 10s
  reason:
    description: Why this backup is made. It is stored and listed.
    type: str
    default: ""
  tags:
    description: Tags to store. When the newest backup lacks one of them, a new backup is stored even if nothing
      changed.
    type: list
    elements: str
    default: []
  pinned:
    description:
      - Retention never removes this backup, unless M(sqliteops.backup.sqlite_backup_pin) takes the pin back or sets an
        end.
      - When the newest backup is not pinned, or its pin has an end, a new one is stored even if nothing changed.
    type: bool
    default: false
  timeout:
    description: The longest time that reading the database may take, as a duration such as V(30s) or V(1h).
    type: str
    default: 1h
  force:
    description: Store a new backup even when nothing changed.
    type: bool
    default: false
  allow_empty:
    description: Accept a database of zero bytes. Without it that is an error.
    type: bool
    default: false
  suspect_below:
    description:
      - The backup is suspect when a table has less than so many percent of the rows, or the database of the bytes, that
        it had in each backup of the last seven days. A table counts from 100 rows, the bytes from 1 MiB.
      - Of encrypted backups only the newest is compared. V(0) compares nothing.
    type: int
    default: 20
  force_identity:
    description:
      - Say that the database is meant, although it is another one than before, or much of its content is gone. What was
        held apart since then counts from now on, and this backup is not held apart.
      - For one run, once somebody has looked. As a permanent setting it would accept the next mishap, too.
      - When the database is the one that it was before, this changes nothing.
    type: bool
    default: false
seealso:
  - module: sqliteops.backup.sqlite_backup_pin
  - module: sqliteops.backup.sqlite_restore
  - module: sqliteops.backup.sqlite_verify
  - module: sqliteops.backup.sqlite_backup_info
"""

EXAMPLES = r"""
- name: Back up the database of CI-Fixer
  sqliteops.backup.sqlite_backup:
    path: /srv/ci-fixer/agent.db
    repository: /var/backups/sqlite/agent

- name: Back up before a migration, by the URL that the application uses, with its schema
  sqliteops.backup.sqlite_backup:
    database_url: file:../agent.db?connection_limit=1
    chdir: /srv/ci-fixer/prisma
    repository: /var/backups/sqlite/agent
    reason: before migration 42
    pinned: true
    include:
      - src: /srv/ci-fixer/prisma/schema.prisma
        name: prisma/schema.prisma
      - src: /srv/ci-fixer/.env
        name: env
        redact: true
      - kind: logs
        src: /var/log/ci-fixer/*.log
      - kind: metrics
        url: http://127.0.0.1:9100/metrics
  register: before_migration

- name: Back up the database that the application's environment file names
  sqliteops.backup.sqlite_backup:
    env_file: /srv/ci-fixer/.env
    chdir: /srv/ci-fixer/prisma
    repository: /var/backups/sqlite/agent

- name: Say what a restore would bring back
  ansible.builtin.debug:
    msg: "{{ before_migration.backup.id }} holds {{ before_migration.backup.tables }}"
"""

RETURN = r"""
backup:
  description:
    - The backup that holds the present content, newly stored or confirmed.
    - In check mode, when a backup would be stored, only the fields that are known before are present.
  returned: when the database could be read
  type: dict
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
      sample: null
    doubts:
      description: What of its content could not be checked on its host, or is odd; a line for each.
      type: list
      elements: str
      returned: success
      sample: ["unverifiable: needs collation sequence ours"]
    suspect:
      description: Whether the database was corrupt when it was backed up, or held far less than before.
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
    accepted:
      description: The ids of the backups that were held apart, and with O(force_identity) are no more.
      type: list
      elements: str
      returned: success
      sample: []
    foreign:
      description: Whether it was made in another repository and copied here. Nothing counts or removes it.
      type: bool
      returned: success
      sample: false
    damage:
      description: Why the manifest cannot be trusted; empty for a good one.
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
      description: The rows of every table in the image. Of an encrypted backup it is empty when nothing changed.
      type: dict
      returned: success
      sample:
        AgentRun: 500
        ErrorFact: 1200
    changed_pages:
      description: The pages that this run stored, all of them in a full backup; 0 when nothing changed.
      type: int
      returned: success
      sample: 2048
    durations:
      description: Seconds of each phase of this run.
      type: dict
      returned: success
      sample:
        read: 1.9
        publish: 0.1
    warnings:
      description: What an operator should know though the backup is good.
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
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup

ARGUMENT_SPEC = {
    "path": {"type": "path"},
    "database_url": {"type": "str"},
    "env_file": {"type": "path"},
    "env_key": {"type": "str", "default": "DATABASE_URL", "no_log": False},
    "chdir": {"type": "path"},
    "repository": {"type": "path", "required": True},
    "name": {"type": "str"},
    "type": {"type": "str", "choices": ["auto", "full", "incremental"], "default": "auto"},
    "full_every": {"type": "str", "default": "1d"},
    "max_chain": {"type": "int", "default": 100},
    **_module.STORED,
    "check": {"type": "str", "choices": ["none", "quick", "full"], "default": "quick"},
    "include": _module.INCLUDE,
    "reason": {"type": "str", "default": ""},
    "tags": {"type": "list", "elements": "str", "default": []},
    "pinned": {"type": "bool", "default": False},
    "timeout": {"type": "str", "default": "1h"},
    "force": {"type": "bool", "default": False},
    "allow_empty": {"type": "bool", "default": False},
    "suspect_below": {"type": "int", "default": 20},
    "force_identity": {"type": "bool", "default": False},
    "lock_timeout": _module.LOCK_TIMEOUT,
}
_WAYS = ("path", "database_url", "env_file")


def _answer(request: backup.Request, outcome: backup.Outcome) -> dict[str, Any]:
    previous = outcome.previous.id if outcome.previous else None
    newest = outcome.backup.id if outcome.backup else "a new backup"
    diff = {
        "before_header": str(request.repository),
        "after_header": str(request.repository),
        "before": {"latest": previous},
        "after": {"latest": newest if outcome.changed else previous},
    }
    changed = outcome.changed or bool(outcome.accepted)
    return {"changed": changed, "backup": outcome.to_json(), "diff": diff}


def _work(module: AnsibleModule) -> dict[str, Any]:
    request = backup.requested(module.params)
    outcome = confined.run(lambda: backup.run(request, dry_run=module.check_mode), request.path, request.repository)
    _module.warn_all(module, outcome.warnings)
    answer = _answer(request, outcome)
    if outcome.error is not None:
        _module.fail(module, outcome.error, **answer)
    return answer


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        supports_check_mode=True,
        mutually_exclusive=[_WAYS],
        required_one_of=[_WAYS],
    )
    _module.execute(module, _work)


if __name__ == "__main__":
    main()
