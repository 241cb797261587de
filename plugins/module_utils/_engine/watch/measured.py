# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was measured, in the words of every page and table: times, moments, and whether an objective is met."""

from __future__ import annotations

from datetime import datetime

from ..system import clock


def met(flag: bool | None) -> str:
    return {True: "met", False: "missed", None: ""}[flag]


def seconds(number: float) -> str:
    """Short times with their fractions, since most restores are short; an age has none."""
    if number < 10 and number % 1:
        return f"{number:.2f} s"
    return f"{number:.0f} s" if number < 60 else clock.in_words(number)


def shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def against(name: str, number: float | None, goal: float | None, is_met: bool | None) -> str:
    """Whether the objective ``name`` is met by ``number`` seconds, as far as there is one."""
    if goal is None:
        return "" if number is None else f"no {name} given"
    return ", ".join(filter(None, (f"{name} {seconds(goal)}", met(is_met))))
