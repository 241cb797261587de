# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore keeps beside a database: the directory in which it prepares, with what is in it, and undo sets."""

from __future__ import annotations

from pathlib import Path

UNDO = "undo"
"""What was there, complete and on the disk: the undo set, before it gets its own name."""
SAVING = "saving"
"""The same, while it is made."""
INCOMING = "copy"
NAMES = (UNDO, SAVING, INCOMING, "restored", "old", "new", "back", "failed", "incoming")
"""Nothing else in a workplace is of a restore, the lock aside."""
MARK = ".before-restore."
"""Between the name of a database and the moment in that of an undo set."""


def workplace_of(path: Path) -> Path:
    """The workplace of the database at ``path``, on the same filesystem."""
    return path.with_name(f".{path.name}.restoring")


def second_names_of(path: Path) -> list[Path]:
    """Under which other names a restore that was interrupted may have left the very file at ``path``."""
    return [workplace_of(path) / place / path.name for place in (UNDO, SAVING)]
