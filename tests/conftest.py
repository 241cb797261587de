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

import pytest

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes long begin first, so that at the end no worker waits for another one's last test."""
    items.sort(key=_seconds, reverse=True)


def _seconds(item: pytest.Item) -> int:
    """About how long a test may take, by what is marked; only the order counts."""
    limit = item.get_closest_marker("timeout")
    return (
        limit.args[0]
        if limit
        else 2 * bool(item.get_closest_marker("slow")) + bool(item.get_closest_marker("thorough"))
    )
