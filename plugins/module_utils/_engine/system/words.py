# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words of others, shown to people."""

from __future__ import annotations


def plain(text: str) -> str:
    """``text`` on one line, without anything that a terminal, a log or a browser would take as a command."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
