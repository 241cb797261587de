# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Take the collections for Windows hosts out of the wheel in a directory, and remove it: `... DIRECTORY`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

WANTED = ("ansible_collections/ansible/windows/", "ansible_collections/community/windows/")


def main(directory: Path) -> None:
    (wheel,) = directory.glob("ansible-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory, [name for name in archive.namelist() if name.startswith(WANTED)])
    wheel.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
