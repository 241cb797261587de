# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the roles warn about. The documentation is in backup_unknown.yml and backup_warnings.yml."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from typing import Any

from ansible.utils.display import Display

# What the names of all variables of a role have in common.
_PREFIX = re.compile("^sqlite_[a-z]+")
# Variables of playbooks, which are not mistyped ones of the role.
_OF_PLAYBOOKS = ("sqlite_backup_hosts",)
# How alike two words must be, as `difflib` counts: one that is mistyped, and none that only begins alike.
_ALIKE = 0.75


def backup_unknown(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """What to say of each variable in ``names`` that seems to be one of ``known``, and is mistyped."""
    # They all begin alike, which would make all of them look alike.
    words = {_PREFIX.sub("", each): each for each in known}
    return [
        f"there is no variable {name}. Did you mean {words[near]}?"
        for name in sorted({*names} - {*known, *_OF_PLAYBOOKS})
        for near in difflib.get_close_matches(_PREFIX.sub("", name), [*words], n=1, cutoff=_ALIKE)
    ]


def backup_warnings(texts: Sequence[str], host: str) -> list[str]:
    """Show each text as a warning about ``host``; what was shown."""
    # Ansible shows the same text only once.
    shown = [f"{host}: {text}" for text in texts]
    for each in shown:
        Display().warning(each)
    return shown


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_unknown": backup_unknown, "backup_warnings": backup_warnings}
