# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory beside a database in which a restore of it prepares: its name, and those of what is in it."""

from __future__ import annotations

from pathlib import Path

UNDO = "undo"
"""What was there, complete and on the disk: the undo set, before it gets its own name."""
SAVING = "saving"
"""The same, while it is made."""


def workplace_of(path: Path) -> Path:
    """The workplace of the database at ``path``, on the same filesystem."""
    return path.with_name(f".{path.name}.restoring")


def second_names_of(path: Path) -> list[Path]:
    """Under which other names a restore that was interrupted may have left the very file at ``path``."""
    return [workplace_of(path) / place / path.name for place in (UNDO, SAVING)]
