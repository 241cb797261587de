# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `sqlite_monitoring` writes on a host, worked out on the controller from its variables.

The documentation is in monitoring_plan.yml, monitoring_problems.yml and monitoring_seconds.yml. No message quotes what
may be secret.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import strict, watch_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import places, values

_MANAGED_BY = "the role sqliteops.backup.sqlite_monitoring, from its variables"
_PREFIX = "sqlite_monitoring_"


@dataclass(frozen=True)
class Settings:
    """The variables of the role, without their prefix; ``home`` is what Ansible knows of the host."""

    config_dir: str
    home: str = ""
    windows: bool = False
    textfile_directory: str = ""
    status_file: str = ""
    timeout: str = "5s"
    notify: Any = field(default_factory=list)
    audit_syslog: bool | str = False
    audit_file: str = ""
    otlp_endpoint: str = ""
    otlp_headers_file: str = ""
    otlp_python: str = ""
    otlp_directory: str = ""
    apart: Mapping[str, str] = field(default_factory=dict)

    @property
    def paths(self) -> values.Paths:
        return values.Paths(self.home, self.windows)

    def place(self, variable: str) -> str | None:
        """The path that ``variable`` names, None when it is empty."""
        text = getattr(self, variable)
        return self.paths.made(text, f"{_PREFIX}{variable}") if text else None


def monitoring_plan(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is written and made. Raises ``AnsibleFilterError`` for what the role cannot do."""
    try:
        return _plan(Settings(**settings))
    except (TypeError, UsageError) as error:
        raise AnsibleFilterError(str(error)) from None


def monitoring_problems(settings: Mapping[str, Any], durations: Mapping[str, Any] | None = None) -> list[str]:
    """Why there can be no plan and no rules, a text each; none when all is well."""
    problems = []
    for name, given in (durations or {}).items():
        try:
            _seconds(name, given)
        except UsageError as error:
            problems.append(str(error))
    try:
        if settings:
            _plan(Settings(**settings))
    except (TypeError, UsageError) as error:
        problems.append(str(error))
    return problems


def monitoring_seconds(durations: Mapping[str, Any]) -> dict[str, int]:
    """The durations of the alerts, in whole seconds, as rules of Prometheus need them."""
    try:
        return {name: _seconds(name, given) for name, given in durations.items()}
    except UsageError as error:
        raise AnsibleFilterError(str(error)) from None


def _seconds(name: str, given: Any) -> int:
    try:
        seconds = math.ceil(clock.parse_duration(str(given)))
    except UsageError:
        seconds = 0
    if seconds < 1:
        raise UsageError(f"{_PREFIX}alert_{name} is {given!r}. Allowed is a duration, such as 15m, 26h or 7d.")
    return seconds


def _plan(settings: Settings) -> dict[str, Any]:
    content = _configuration(settings)
    paths = settings.paths
    config_dir = paths.made(settings.config_dir, f"{_PREFIX}config_dir")
    status, audit = content.get("status_file"), content.get("audit", {}).get("file")
    files = [paths.names.dirname(each) for each in (status, audit) if each]
    textfile = content.get("textfile_directory")
    _check_places(settings, status, audit, textfile)
    return {
        "watch": {strict.MANAGED_BY: _MANAGED_BY, **content},
        "watch_path": paths.names.join(config_dir, f"{watch_config.NAME}.json"),
        "textfile_directory": textfile or "",
        "status_file": status or "",
        "audit_file": audit or "",
        # The virtual environment that the role makes, unless there is a Python already.
        "otlp_directory": "" if settings.otlp_python else settings.place("otlp_directory") or "",
        # A path that is missing must not keep the runner from saying so.
        "write_paths": [values.for_systemd(f"-{each}") for each in dict.fromkeys([*files, textfile]) if each],
        "has_network": "otlp" in content or bool(content.get("notify")),
    }


def _check_places(settings: Settings, status: str | None, audit: str | None, textfile: str | None) -> None:
    """Everybody may read where the state is, so nothing else may be there: secrets least of all."""
    paths = settings.paths
    own = [places.Place(paths.made(settings.config_dir, f"{_PREFIX}config_dir"), f"{_PREFIX}config_dir")]
    own.extend(places.Place(paths.made(each, name), name) for name, each in settings.apart.items() if each)
    audited = [places.Place(paths.names.dirname(audit), f"{_PREFIX}audit_file")] if audit else []
    read = [places.Place(textfile, f"{_PREFIX}textfile_directory")] if textfile else []
    for place in audited:
        places.check(place, apart=[*own, *read], windows=paths.windows)
    if status:
        place = places.Place(paths.names.dirname(status), f"{_PREFIX}status_file")
        places.check(place, apart=[*own, *read, *audited], windows=paths.windows)


def _configuration(settings: Settings) -> dict[str, Any]:
    """What the runner reads; what is empty is left out."""
    audit = {
        "syslog": values.flag(settings.audit_syslog, f"{_PREFIX}audit_syslog"),
        "file": settings.place("audit_file"),
    }
    given = {
        "textfile_directory": settings.place("textfile_directory"),
        "status_file": settings.place("status_file"),
        "timeout": settings.timeout,
        "otlp": _otlp(settings),
        "notify": settings.notify or None,
        "audit": audit if any(audit.values()) else None,
    }
    where = "sqlite_monitoring"
    content = values.typed_object(given, watch_config.KEYS, settings.paths.absolute, where)
    watch_config.checked(
        content, file=watch_config.file_of(Path("/")), told=where, is_absolute=settings.paths.names.isabs
    )
    return content


def _otlp(settings: Settings) -> dict[str, Any] | None:
    if not settings.otlp_endpoint:
        return None
    return {
        "endpoint": settings.otlp_endpoint,
        "headers_file": settings.place("otlp_headers_file"),
        "python": settings.place("otlp_python") or f"{settings.place('otlp_directory')}/bin/python",
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {
            "monitoring_plan": monitoring_plan,
            "monitoring_problems": monitoring_problems,
            "monitoring_seconds": monitoring_seconds,
        }
