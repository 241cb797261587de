# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The configuration with which the runner does one restore on a Windows host, made of the variables of the role.

The documentation is in restore_settings.yml.
"""

from __future__ import annotations

import base64
import json
import ntpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, strict, target_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import values

TARGET_NAME = "source"
_DEFAULT_NAME = "database"
_BEHIND = "-live"
_BY_RCLONE = ("s3", "gs", "azblob", "rclone")
_PATHS = values.Paths(windows=True)


@dataclass(frozen=True)
class Settings:
    """The variables of the role, without their prefix. What is empty is not given."""

    dest: str
    repository: str = ""
    target: Mapping[str, Any] = field(default_factory=dict)
    expect_tables: Any = field(default_factory=list)
    assertions: Any = field(default_factory=list)
    health_assertions: Any = field(default_factory=list)
    identity_file: str = ""
    passphrase_file: str = ""
    lock_timeout: str = ""


def restore_settings(settings: Mapping[str, Any], description: str = "") -> dict[str, Any]:
    """What the runner reads, and the name of the database; ``description`` is the file of the repository, in base64.

    A template of an older Ansible makes a dictionary of the text itself.
    """
    try:
        return _settings(Settings(**settings), _told(description))
    except (TypeError, UsageError) as error:
        raise AnsibleFilterError(str(error)) from None


def restore_settings_problems(settings: Mapping[str, Any]) -> list[str]:
    """Why there can be none, a text each; none when all is well."""
    try:
        _settings(Settings(**settings), {})
    except (TypeError, UsageError) as error:
        return [str(error)]
    return []


def _settings(settings: Settings, told: Mapping[str, str]) -> dict[str, Any]:
    dest = _PATHS.absolute(settings.dest, "sqlite_restore_dest")
    # An undo needs none.
    repository = _PATHS.absolute(settings.repository or f"{dest}.no-repository", "sqlite_restore_repository")
    url = str((settings.target or {}).get("url", "")).rstrip("/")
    name = _name(told, url, repository)
    # The runner keeps apart what has two places at once; here it is known that this one is meant.
    path = told["source"] if _is_absolute(told.get("source", "")) else dest
    shared = {"repository": repository, "lock_timeout": settings.lock_timeout or None}
    keys = {"identity_file": settings.identity_file or None, "passphrase_file": settings.passphrase_file or None}
    restored = {"expect_tables": settings.expect_tables, "assertions": settings.assertions, **keys}
    restored.update(shared, path=path, targets=[TARGET_NAME] if url else [])
    live = {"path": dest, **shared, "assertions": settings.health_assertions}
    files = {
        f"{config.DATABASES_NAME}\\{name}.json": _database(restored, name),
        f"{config.DATABASES_NAME}\\{name}{_BEHIND}.json": _database(live, f"{name}{_BEHIND}"),
    }
    if url:
        files[f"{target_config.TARGETS_NAME}\\{TARGET_NAME}.json"] = _target(settings.target, url, name)
    return {"name": name, "live_name": f"{name}{_BEHIND}", "files": files}


def _name(told: Mapping[str, str], url: str, repository: str) -> str:
    """As the repository says, else as it is called there where it comes from, or here."""
    for each in (told.get("name", ""), url.rpartition("/")[2], ntpath.basename(repository)):
        if strict.NAME.fullmatch(each):
            return each
    return _DEFAULT_NAME


def _database(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    content = values.typed_object(given, config.KEYS, _PATHS.absolute, "sqlite_restore")
    config.checked(content, name, file=Path(name), told="sqlite_restore", is_absolute=ntpath.isabs)
    return content


def _target(given: Mapping[str, Any], url: str, name: str) -> dict[str, Any]:
    where = "sqlite_restore_target"
    scheme = url.partition(":")[0]
    if scheme not in _BY_RCLONE:
        raise UsageError(
            f"{where}: its url begins with {scheme}:. A Windows host gets copies by rclone alone. Allowed are "
            f"{', '.join(f'{each}:' for each in _BY_RCLONE)}."
        )
    above, _slash, last = url.rpartition("/")
    if last != name or above.endswith("/"):
        raise UsageError(
            f"{where}: the last part of its url is {last!r}, and the database is {name!r}. Allowed is the place of its "
            "copies, which ends with its name."
        )
    content = values.typed_object({**given, "url": above}, target_config.KEYS, _PATHS.absolute, where)
    target_config.checked(content, TARGET_NAME, file=Path(TARGET_NAME), told=where, is_absolute=ntpath.isabs)
    return content


def _told(description: str) -> dict[str, str]:
    """What the file of the repository says; of a damaged one the manifests will tell it to the runner."""
    try:
        content = json.loads(base64.b64decode(description) or b"{}")
    except (ValueError, RecursionError):
        return {}
    found = content if isinstance(content, dict) else {}
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _is_absolute(path: str) -> bool:
    return bool(ntpath.splitdrive(path)[0]) and ntpath.isabs(path)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"restore_settings": restore_settings, "restore_settings_problems": restore_settings_problems}
