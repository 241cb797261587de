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


def timeout(given: Options) -> float | None:
    """The value of ``timeout`` in seconds; None when it is not given. Raises ``UsageError`` for none at all."""
    found = seconds(given, "timeout")
    if found == 0:
        hint = "Write how long the work may take, such as 15m or 1h."
        raise UsageError(
            "that is no time at all.", action=f"Cannot use the timeout {given['timeout']!r:.60}", hint=hint
        )
    return found


def count(given: Options, option: str) -> int:
    number: int = given[option]
    if number < 0:
        raise UsageError("it is negative.", action=f"Cannot use {option} {number!r:.20}", hint="Use 0 or more.")
    return number


def empty(option: str) -> UsageError:
    """What is wrong with an option that is given and empty. To take it for one that is not given would be a guess."""
    return UsageError(
        "it is given, and empty.",
        action=f"Cannot use {option}",
        hint="Leave it out, or look which variable in its place is not set.",
    )


def text(given: Options, option: str) -> str:
    """The text, and "" when it is not given; raises ``UsageError`` when it is given and empty."""
    if given[option] == "":
        raise empty(option)
    return given[option] or ""


def path(given: Options, option: str) -> Path | None:
    """None when it is not given; raises ``UsageError`` when it is given and empty."""
    return Path(text(given, option)) if given[option] is not None else None
