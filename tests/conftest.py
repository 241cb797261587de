# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make the checkout importable as ansible_collections.sqliteops.backup, wherever it was cloned."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLLECTIONS = ROOT / ".build" / "collections"


def _link_collection() -> None:
    link = COLLECTIONS / "ansible_collections" / "sqliteops" / "backup"
    link.parent.mkdir(parents=True, exist_ok=True)
    # Many processes do this at once.
    with contextlib.suppress(FileExistsError):
        link.symlink_to(Path("..", "..", "..", ".."), target_is_directory=True)


_link_collection()
sys.path[:0] = [str(COLLECTIONS), str(ROOT / "tests")]
# For the processes that tests start.
os.environ["PYTHONPATH"] = os.pathsep.join([str(COLLECTIONS), str(ROOT / "tests")])

# A shell that starts this in the background has SIGINT ignored, and so would be all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
