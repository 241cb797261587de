# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""For the roles on Windows hosts: who else may change what is there, and which names are the same there.

The documentation is in windows_problems.yml, windows_place_problems.yml, windows_there.yml, windows_among.yml and
windows_without.yml.
"""

from __future__ import annotations

import ntpath
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import places as all_places
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows as of_windows
from ansible_collections.sqliteops.backup.plugins.plugin_utils import windows_rights


def windows_problems(lines: Sequence[Any], **places: Sequence[str]) -> list[str]:
    """What is open to others in ``places``, by the ``lines`` of rights.ps1; none when all is well."""
    try:
        return windows_rights.problems(windows_rights.facts(lines), windows_rights.Places(**places))
    except (TypeError, UsageError) as error:
        raise AnsibleFilterError(str(error)) from None


def windows_there(lines: Sequence[Any], paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that are directories, by the ``lines`` of rights.ps1."""
    try:
        found = windows_rights.facts(lines)
        return [path for path in paths if found.of(path).kind == "directory"]
    except UsageError as error:
        raise AnsibleFilterError(str(error)) from None


def windows_place_problems(path: str, where: str, apart: Mapping[str, str]) -> list[str]:
    """Why the file at ``path``, which the variable ``where`` names, is in a directory that is for something else.

    ``apart`` are directories by the variables that name them.
    """
    try:
        directory = ntpath.dirname(of_windows.made(path, where))
        others = [all_places.Place(each, name) for name, each in apart.items()]
        all_places.check(all_places.Place(directory, where), apart=others, windows=True)
    except UsageError as error:
        return [str(error)]
    return []


def windows_among(names: Sequence[str], others: Sequence[str], windows: bool = True) -> list[str]:
    """Those of ``names``, names or paths, that are among ``others``, each once."""
    known = {_key(each, windows) for each in others}
    return [name for name in dict.fromkeys(names) if _key(name, windows) in known]


def windows_without(names: Sequence[str], others: Sequence[str], windows: bool = True) -> list[str]:
    """Those of ``names``, names or paths, that are not among ``others``, each once."""
    known = {_key(each, windows) for each in others}
    return [name for name in dict.fromkeys(names) if _key(name, windows) not in known]


def _key(name: str, is_windows: bool) -> str:
    return of_windows.key(name) if is_windows else name


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "windows_problems": windows_problems,
            "windows_place_problems": windows_place_problems,
            "windows_there": windows_there,
            "windows_among": windows_among,
            "windows_without": windows_without,
        }
