# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The targets of a host: one strict JSON file each, ``<directory>/targets.d/<name>.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..repository import retention
from ..repository.retention import Policy
from ..system import options
from ..system.errors import UsageError
from ..targets import address
from ..targets.address import Address
from ..work import prune
from . import strict
from .config import Database
from .strict import Key, Where

TARGETS_NAME = "targets.d"
_RULES = ("keep_within", *retention.COUNTS)

KEYS: Mapping[str, Key] = {
    "url": Key("text", required=True),
    "credentials_file": Key("path"),
    "known_hosts": Key("path"),
    "options": Key("mapping"),
    "bandwidth": Key("text"),
    "retries": Key("number", address.DEFAULT_RETRIES),
    "timeout": Key("duration", "6h"),
    "require_encryption": Key("flag", default=False),
    "rpo": Key("duration"),
    **{name: Key("number") for name in retention.COUNTS},
    "keep_within": Key("duration"),
    "keep_suspect": Key("duration", retention.KEEP_SUSPECT),
    "timezone": Key("text", Policy.timezone),
}


@dataclass(frozen=True)
class Target:
    """One configured target. ``policy`` is None when no rule is given: then nothing is ever removed there."""

    name: str
    address: Address
    policy: Policy | None
    rpo_seconds: float | None

    def of(self, database: Database) -> Address:
        """Where the copy of the repository of ``database`` is."""
        return self.address.below(database.name)


def names(configuration: Path) -> list[str]:
    """The names of all configured targets, whether their files are right or not."""
    return strict.names(configuration / TARGETS_NAME)


def load(configuration: Path, name: str) -> Target:
    """The target ``name``; raises for whatever is wrong with its file, naming the target, the key and the file."""
    known = names(configuration)
    where = strict.where(configuration / TARGETS_NAME, name, "target")
    if name not in known:
        raise UsageError(f"No target {name!r} is configured in {where.file.parent}.", hint=strict.nearest(name, known))
    return _target(strict.read(where), where)


def checked(
    content: Any, name: str, *, file: Path, told: str, is_absolute: Callable[[str], bool] = os.path.isabs
) -> Target:
    """As ``load``, of what ``file`` is to hold; a message names the target as ``told``."""
    return _target(content, Where(name, file, told, "", is_absolute))


def _target(content: Any, where: Where) -> Target:
    values = strict.settings(content, KEYS, where, _check_together)
    return Target(where.name, address.requested(values), _policy(values), options.seconds(values, "rpo"))


def _check_together(values: Mapping[str, Any], where: Where) -> None:
    strict.check_key("url", lambda: address.requested(values), where)
    policy = _policy(values)
    if policy is not None:
        strict.check_key("keep_*", lambda: retention.check_rules(policy), where)


def _policy(values: Mapping[str, Any]) -> Policy | None:
    if all(values[name] is None for name in _RULES):
        return None
    given = {**{name: values[name] or 0 for name in retention.COUNTS}, "keep_within": values["keep_within"] or "0s"}
    return prune.policy({**values, **given})
