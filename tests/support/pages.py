# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a page of a report says."""

from __future__ import annotations

import re


def rows(text: str) -> list[list[str]]:
    """What the cells of the first table say."""
    body = text.split("<tbody")[1].split("</tbody>", maxsplit=1)[0]
    cells = [re.findall(r"<t[dh] .*?</t[dh]>", row) for row in re.findall(r"<tr.*?</tr>", body)]
    return [[" ".join(re.sub(r"<.*?>", " ", cell).split()) for cell in row] for row in cells]


def lead(text: str) -> tuple[str, str]:
    """The sentence at its top, and in which tone it is."""
    (found,) = re.findall(r'<p class="lead ?(.*?)">(.*?)</p>', text)
    return found[1], found[0]
