# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Try to read files and to list directories, one path a line of standard input; print those that let it, as JSON."""

from __future__ import annotations

import json
import os
import sys


def readable(path: str) -> bool:
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            with open(path, "rb") as stream:
                stream.read(1)
    except OSError:
        return False
    return True


if __name__ == "__main__":
    print(json.dumps([path for path in sys.stdin.read().splitlines() if readable(path)]))
