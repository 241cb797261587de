# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine: everything about databases, backups and restores. Python's standard library only, no word of Ansible.

Both Ansible and the runner bring it as sources in a zip archive, so that every run compiles it.
"""

from __future__ import annotations

import os
import sys
import zipimport


class _Archive(zipimport.zipimporter):
    """As its base, which compiles each source twice: once only to tell the name of its file, and once to run it."""

    def get_filename(self, fullname: str) -> str:
        name = fullname.rpartition(".")[2]
        if self.is_package(fullname):
            name = os.path.join(name, "__init__")
        return os.path.join(self.archive, f"{self.prefix}{name}.py")


if isinstance(__spec__.loader, zipimport.zipimporter):
    sys.path_hooks[:] = [_Archive if each is zipimport.zipimporter else each for each in sys.path_hooks]
