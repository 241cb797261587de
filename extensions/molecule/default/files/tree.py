# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record the files below some directories, or tell in what they differ from what was recorded.

tree.py record /run/before.json --root / --volatile /var/log
tree.py compare /run/before.json
"""

from __future__ import annotations

import argparse
import json
import os
import stat
from collections.abc import Iterator
from typing import Any

# The kernel's, this session's, what Ansible itself needs, and what Python keeps of a module it imported.
SKIPPED = ("/dev", "/proc", "/run", "/sys", "/tmp", "/root/.ansible", "/var/tmp")  # noqa: S108 - skipped, not used
SKIPPED_NAMES = ("__pycache__",)

Tree = dict[str, list[Any]]


def _paths(root: str) -> Iterator[str]:
    for directory, directories, files in os.walk(root):
        directories[:] = [
            name for name in directories if name not in SKIPPED_NAMES and os.path.join(directory, name) not in SKIPPED
        ]
        yield directory
        yield from (os.path.join(directory, name) for name in files)


def tree(roots: list[str], volatile: tuple[str, ...]) -> Tree:
    """Mode, owner and group of each file and directory; of files that do not change by themselves the content, too."""
    found: Tree = {}
    for root in roots:
        for path in _paths(root):
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue
            entry: list[Any] = [stat.filemode(status.st_mode), status.st_uid, status.st_gid]
            if not stat.S_ISDIR(status.st_mode) and not path.startswith(volatile):
                entry += [status.st_size, status.st_mtime_ns]
            found[path] = entry
    return found


def differences(before: Tree, after: Tree) -> list[str]:
    both = sorted(before.keys() & after.keys())
    return [
        *(f"added {path}" for path in sorted(after.keys() - before.keys())),
        *(f"removed {path}" for path in sorted(before.keys() - after.keys())),
        *(f"changed {path}: {before[path]} {after[path]}" for path in both if before[path] != after[path]),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Record files, or tell what became of them.")
    parser.add_argument("action", choices=("record", "compare"))
    parser.add_argument("record", help="the file with what was recorded")
    parser.add_argument("--root", dest="roots", action="append", default=[], help="a directory to record")
    parser.add_argument("--volatile", action="append", default=[], help="below it, the content of files changes")
    options = parser.parse_args()
    if options.action == "record":
        found = tree(options.roots, tuple(options.volatile))
        with open(options.record, "w", encoding="utf-8") as stream:
            json.dump({"roots": options.roots, "volatile": options.volatile, "tree": found}, stream)
    else:
        with open(options.record, encoding="utf-8") as stream:
            recorded = json.load(stream)
        print(json.dumps(differences(recorded["tree"], tree(recorded["roots"], tuple(recorded["volatile"])))))


if __name__ == "__main__":
    main()
