# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option that the modules for copies elsewhere share."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragments, selected by name: sqliteops.backup.target[.optional]."""

    DOCUMENTATION = r"""
options:
  target:
    description:
      - Where the copies of this repository are. Each repository needs a directory or a prefix of its own there.
      - A host whose runner pushes to a target puts the repository of a database into the directory that has the name of
        the database. Give the URL with that name to use the same copies.
    type: dict
    required: true
    suboptions:
      url:
        description:
          - Where, as one of these forms. Letters, digits and C(_ . , = + @ ~ -) may be in the path; V(.) and V(..) may
            not be parts of it. Nothing in a URL is secret; one with a password is refused.
          - V(s3://BUCKET/PREFIX) is Amazon S3, or any store that speaks S3 when O(target.options) has its C(endpoint).
          - V(gs://BUCKET/PREFIX) is Google Cloud Storage.
          - V(azblob://CONTAINER/PREFIX) is Azure Blob Storage. The storage account is C(account), in
            O(target.options) or in O(target.credentials_file).
          - V(ssh://USER@HOST:PORT/ABSOLUTE/PATH) is a directory of another host or of a NAS, by C(rsync) over C(ssh).
            The user and the port may be left out; then C(ssh) decides. The directory above the last one must exist. To
            a receiver that the role C(sqlite_offsite) made the path begins in the directory of this host there, as in
            V(ssh://sqlite-backup@nas.example.org/agent).
          - V(file:///MOUNTED/DISK/PATH) is a directory of a disk that is mounted on the host, by C(rsync). While that
            is on the filesystem of the root directory, the disk is not mounted, and the task fails with code 23.
          - V(rclone://REMOTE/PATH) is any remote of the C(rclone.conf) that O(target.credentials_file) names.
          - Buckets, containers and accounts are never made. Make them first.
        type: str
        required: true
      credentials_file:
        description:
          - The file on the host with what is secret. When others than its owner can read it, the task fails with code
            18. What is in it goes to the program by a file or by the environment, never on a command line, and is in no
            message, result or log.
          - Of V(ssh://) it is the private key, without a passphrase. Without it C(ssh) takes the keys of the user.
          - Of V(s3://) and V(azblob://) it has one C(name = value) on a line, as a section of C(rclone.conf) has them.
            For S3 these are C(access_key_id) and C(secret_access_key), and C(session_token) where there is one. For
            Azure Blob these are C(account) and C(key), or C(account) and C(sas_url), or C(account), C(tenant),
            C(client_id) and C(client_secret).
          - Of V(gs://) it is the JSON file of a service account.
          - Of V(rclone://) it is the C(rclone.conf), and is required.
          - Of V(file://) there is none.
          - Without it V(s3://), V(gs://) and V(azblob://) use the role that the host has, such as the instance profile
            on EC2, the service account on GCE or the managed identity on Azure, or what is in the environment of the
            task. For V(gs://) and V(azblob://) that needs rclone 1.62 or newer.
        type: path
      known_hosts:
        description:
          - The file on the host with the key of the host in V(ssh://), as C(known_hosts) of C(ssh) has it. The default
            is what C(ssh) uses. A host whose key is not there, or is another one, is refused with code 21, always.
        type: path
      options:
        description:
          - Options of rclone for this kind of target, by their names in C(rclone.conf). Not for V(ssh://) and
            V(file://).
          - For S3 these are C(provider), C(region), C(endpoint), C(storage_class), C(server_side_encryption) with
            V(AES256) or V(aws:kms), C(sse_kms_key_id), C(force_path_style) and more. With C(endpoint) and without
            C(provider) that is V(Other).
          - For Google C(location) and C(storage_class), for Azure C(account), C(access_tier) and C(use_msi).
          - What the rclone on the host does not know is refused with code 2. So is what is secret; it belongs into
            O(target.credentials_file).
        type: dict
        default: {}
      bandwidth:
        description: The most bytes a second, such as V(500K), V(10M) or V(1G). The default is no limit.
        type: str
      retries:
        description: How often a transfer that failed is tried again, after waits of 1, 2, 4 seconds and so on. What was
          refused, such as a wrong key, is not tried again.
        type: int
        default: 3
      timeout:
        description:
          - How long all of it may take, such as V(30m) or V(6h). When that passes, the task fails with code 21. What is
            at the target stays, and the next run goes on.
        type: str
        default: 6h
      require_encryption:
        description:
          - V(true) lets nothing but encrypted backups out of the host. When the newest backup that would go is not
            encrypted, the task fails with code 18. Older ones that are not encrypted stay here, with a warning.
          - A pull takes backups of both kinds.
        type: bool
        default: false
requirements:
  - rclone 1.60 or newer on the host, for C(s3), C(gs), C(azblob) and C(rclone)
  - rsync on the host, for C(ssh) and C(file), and on the other host; and the program C(ssh) for C(ssh)
"""

    OPTIONAL: str


# For a module that can do without one.
ModuleDocFragment.OPTIONAL = ModuleDocFragment.DOCUMENTATION.replace(
    "    required: true\n    suboptions:", "    suboptions:"
)
