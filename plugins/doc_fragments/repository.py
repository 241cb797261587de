# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and attributes that the modules of this collection share."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragments, selected by name: sqliteops.backup.repository[.part]."""

    DOCUMENTATION = r"""
options: {}
"""

    LOCK = r"""
options:
  lock_timeout:
    description:
      - How long to wait for another run that holds the repository or the backup, as a duration such as V(30s), V(1m)
        or V(1h).
      - When it passes, the task fails with code 15 and names the holder.
    type: str
    default: 1m
"""

    KEYS = r"""
options:
  identity_file:
    description:
      - The file on the host with the secret key for encrypted backups, an identity of C(age) or an exported secret key
        of C(gpg). The file must have mode 0600 or stricter, or a warning says so.
      - With a wrong key, or without one that is needed, the task fails with code 14.
    type: path
  passphrase_file:
    description:
      - The file on the host whose first line is the passphrase, for backups that were encrypted with one by C(gpg), or
        the passphrase of the secret key in O(identity_file).
    type: path
"""

    STORED = r"""
options:
  compression:
    description:
      - How to compress what is stored. V(auto) is V(zstd) where the host has the program, else V(gzip).
      - A named method whose program is missing is an error.
    type: str
    choices: [auto, zstd, gzip, xz, none]
    default: auto
  compression_level:
    description:
      - The level of the compression, 1 to 19 for zstd, 1 to 9 for gzip, 0 to 9 for xz. The default is 3 for zstd and
        6 for the others.
    type: int
  encryption:
    description:
      - How to encrypt what is stored. Of a backup that is all but its manifest, which then tells nothing about the
        content.
      - A named method whose program is missing is an error. Nothing is ever stored in plain instead.
      - For other readers than those of the newest backup the next one is a full backup.
    type: dict
    suboptions:
      method:
        description: V(age) for recipients, V(gpg) for a passphrase or public keys.
        type: str
        choices: [none, age, gpg]
        default: none
      recipients:
        description:
          - With V(age) the recipients, each as text (C(age1…), C(ssh-ed25519 …), C(ssh-rsa …)) or as the path of a file
            on the host with recipients. The host can then write what it cannot read.
          - With V(gpg) the paths of files on the host, each with one public key.
        type: list
        elements: str
        default: []
      passphrase_file:
        description: With V(gpg), the file on the host whose first line is the passphrase, instead of recipients.
        type: path
"""

    EXPECTATIONS = r"""
options:
  expect_tables:
    description: Tables or views that must exist.
    type: list
    elements: str
    default: []
  assertions:
    description: Queries whose result must be as given.
    type: list
    elements: dict
    default: []
    suboptions:
      sql:
        description: One query. It can only read.
        type: str
        required: true
      equals:
        description: The value of a result of one row and one column, else the list of rows, each a list.
        type: raw
        required: true
"""

    ATTRIBUTES = r"""
attributes:
  action_group:
    description: Use C(group/sqliteops.backup.all) in C(module_defaults) to set defaults for this module.
    support: full
    membership:
      - sqliteops.backup.all
  platform:
    description: Target operating systems.
    support: full
    platforms: posix, windows
"""

    NOTES = r"""
options: {}
requirements:
  - python >= 3.9 on the host, with its standard module C(sqlite3)
  - the program C(zstd), C(age) or C(gpg), when backups are or were compressed or encrypted with it
notes:
  - |
    A failure carries RV(ignore:error.code):
    1 unexpected, 2 usage or configuration, 10 source missing or not a database, 11 source busy past the deadline,
    12 source corrupt or needs recovery, 13 backup damaged, 14 key or passphrase wrong, 15 repository locked,
    16 not enough space,
    17 proof or assertion failed, 18 refused for safety, 19 program or module missing or Python too old, 20 permission,
    21 target unreachable or refused, 22 backup not found, 23 a device, a filesystem or a mount failed.
  - An option that is given and empty, as a template makes it of a variable that is not set, is a failure with code 2,
    and never taken for one that is not given. In a template the filter C(default) with C(omit) leaves it out.
"""
