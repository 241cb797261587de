# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
r"""Wait until the runs of sqlite-backup have left messages in the journal.

    printf 'backup a: stored\nbackup b failed, exit code 12: ' | journal.py --since 1767096000 --seconds 100

Standard input has a regular expression a line. Prints one JSON document: those that match no message, and all messages.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from typing import Any

TAG = "sqlite-backup"
POLL_SECONDS = 1.0


def messages(since: float) -> list[str]:
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", f"--since=@{since:.0f}", f"--identifier={TAG}"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.splitlines()
    return [_text(json.loads(line)["MESSAGE"]) for line in lines]


def _text(message: Any) -> str:
    """What is no plain text comes as a list of bytes."""
    return message if isinstance(message, str) else bytes(message).decode(errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description="Wait for messages in the journal.")
    parser.add_argument("--since", type=float, required=True, help="Unix time")
    parser.add_argument("--seconds", type=float, required=True, help="wait that long at the most")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    patterns = sys.stdin.read().splitlines()
    while True:
        seen = messages(options.since)
        missing = [pattern for pattern in patterns if not any(re.search(pattern, each) for each in seen)]
        if not missing or time.monotonic() > deadline:
            break
        time.sleep(POLL_SECONDS)
    print(json.dumps({"missing": missing, "seen": seen}))


if __name__ == "__main__":
    main()
