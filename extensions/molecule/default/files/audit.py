# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at the owners and modes of files, which standard input describes as a JSON list.

    {"below": "/etc/sqlite-backup", "owner": "root", "private": true}   all of it, directories 0700 and files 0600
    {"below": "/srv/agent", "owner": "agent"}                           all of it, with whatever modes it has
    {"files": "/etc/cron.d/sqlite-backup-*", "owner": "root", "mode": "0644"}

Prints one JSON document: what is wrong, and every private path.
"""

from __future__ import annotations

import glob
import grp
import json
import os
import pwd
import stat
import sys
from collections.abc import Iterator
from typing import Any


def everything(top: str) -> Iterator[str]:
    yield top
    for directory, directories, files in os.walk(top):
        yield from (os.path.join(directory, name) for name in (*directories, *files))


def what_is_wrong(path: str, owner: str, mode: str) -> list[str]:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return []  # the -wal of an application, or a backup that was just pruned
    found = f"{pwd.getpwuid(status.st_uid).pw_name}:{grp.getgrgid(status.st_gid).gr_name}"
    wrong = [] if found == f"{owner}:{owner}" else [f"{path} belongs to {found}, not to {owner}:{owner}"]
    if mode and f"{stat.S_IMODE(status.st_mode):04o}" != mode:
        wrong.append(f"{path} has the mode {stat.S_IMODE(status.st_mode):04o}, not {mode}")
    return wrong


def audit(wanted: dict[str, Any]) -> tuple[list[str], list[str]]:
    paths = sorted(glob.glob(wanted["files"])) if "files" in wanted else [*everything(wanted["below"])]
    wrong = [] if paths and os.path.lexists(paths[0]) else [f"nothing is there of {wanted}"]
    for path in paths:
        private = ("0700" if os.path.isdir(path) else "0600") if wanted.get("private") else ""
        wrong += what_is_wrong(path, wanted["owner"], private or wanted.get("mode", ""))
    return wrong, paths if wanted.get("private") else []


def main() -> None:
    wrong: list[str] = []
    private: list[str] = []
    for wanted in json.load(sys.stdin):
        more_wrong, more_private = audit(wanted)
        wrong += more_wrong
        private += more_private
    print(json.dumps({"wrong": wrong, "private": private}))


if __name__ == "__main__":
    main()
