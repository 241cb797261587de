# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Option values, as Ansible and the runner's configuration have them; each use case makes its request of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import clock
from .errors import UsageError

Options = Mapping[str, Any]
"""Values by the names of the modules' options; None is an option that was not given and has no default."""


def seconds(given: Options, option: str) -> float | None:
    """The value of a duration in seconds; None when it is not given."""
    text = given[option]
    return None if text is None else clock.parse_duration(text)


def count(given: Options, option: str) -> int:
    number: int = given[option]
    if number < 0:
        raise UsageError("it is negative.", action=f"Cannot use {option} {number!r:.20}", hint="Use 0 or more.")
    return number


def path(given: Options, option: str) -> Path | None:
    return Path(given[option]) if given[option] else None
