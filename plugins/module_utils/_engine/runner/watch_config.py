# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a host tells of its backups, and to whom: one strict JSON file, ``<directory>/watch.json``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..system import options
from . import strict
from .strict import Key, Where

NAME = "watch"
TOLD = ("backup", "guard", "verify", "restore", "drill", "prune", "push", "pull")
"""The commands of which others are told."""
MOMENTS = ("start", "success", "failure")

KEYS: Mapping[str, Key] = {
    "textfile_directory": Key("path"),
    "status_file": Key("path"),
    "timeout": Key("duration", "5s"),
    "otlp": Key(
        "object",
        keys={"endpoint": Key("text", required=True), "headers_file": Key("path"), "python": Key("path")},
    ),
    "notify": Key(
        "list",
        (),
        keys={
            "name": Key("text", required=True),
            "type": Key("text", required=True, choices=("ping", "webhook", "command")),
            "url": Key("text"),
            "command": Key("list", (), may_be_empty=True),
            "headers_file": Key("path"),
            "commands": Key("list", ()),
            "when": Key("list", ()),
            "databases": Key("list", ()),
            "details": Key("flag", default=False),
        },
    ),
    "audit": Key("object", keys={"syslog": Key("flag", default=False), "file": Key("path")}),
}


@dataclass(frozen=True)
class Receiver:
    """Who is notified: ``commands`` and ``moments`` say of what, ``databases`` of which ones, all when empty."""

    name: str
    type: str
    url: str
    command: tuple[str, ...]
    headers_file: Path | None
    commands: tuple[str, ...]
    moments: tuple[str, ...]
    databases: tuple[str, ...]
    details: bool

    def wants(self, command: str, moment: str, database: str) -> bool:
        """Whether it is to hear of this."""
        return (
            command in self.commands and moment in self.moments and (not self.databases or database in self.databases)
        )


@dataclass(frozen=True)
class Collector:
    """An OpenTelemetry collector, and the Python that has the SDK; None is that of the runner."""

    endpoint: str
    headers_file: Path | None
    python: Path | None


@dataclass(frozen=True)
class Watch:
    """What this host tells; nothing by default. ``timeout_seconds`` is what all of it may take after a run."""

    textfile_directory: Path | None = None
    status_file: Path | None = None
    timeout_seconds: float = 5.0
    collector: Collector | None = None
    receivers: tuple[Receiver, ...] = ()
    syslog: bool = False
    audit_file: Path | None = None


def file_of(directory: Path) -> Path:
    """Where it is configured; without the file nothing is told."""
    return directory / f"{NAME}.json"


def load(directory: Path) -> Watch:
    """What the configuration in ``directory`` says; raises for whatever is wrong with the file, naming the key."""
    place = strict.where(directory, NAME, "file")
    return _watch(strict.read(place), place) if os.path.lexists(place.file) else Watch()


def checked(content: Any, *, file: Path, told: str, is_absolute: Callable[[str], bool] = os.path.isabs) -> Watch:
    """As ``load``, of what ``file`` is to hold; a message names it as ``told``."""
    return _watch(content, Where(NAME, file, told, "", is_absolute))


def _watch(content: Any, where: Where) -> Watch:
    values = strict.settings(content, KEYS, where, _check_together)
    audit = values["audit"] or {"syslog": False, "file": None}
    collector = values["otlp"]
    return Watch(
        options.path(values, "textfile_directory"),
        options.path(values, "status_file"),
        options.timeout(values) or 0.0,
        collector
        and Collector(
            collector["endpoint"], options.path(collector, "headers_file"), options.path(collector, "python")
        ),
        tuple(_receiver(each) for each in values["notify"]),
        audit["syslog"],
        options.path(audit, "file"),
    )


def _receiver(given: Mapping[str, Any]) -> Receiver:
    return Receiver(
        given["name"],
        given["type"],
        options.text(given, "url"),
        tuple(given["command"]),
        options.path(given, "headers_file"),
        tuple(given["commands"]) or ("backup", "guard"),
        tuple(given["when"]) or MOMENTS,
        tuple(given["databases"]),
        given["details"],
    )


def _check_together(values: Mapping[str, Any], where: Where) -> None:
    strict.check_key("timeout", lambda: options.timeout(values), where)
    if values["otlp"]:
        _check_url(values["otlp"]["endpoint"], "otlp.endpoint", where)
    names = [each["name"] for each in values["notify"]]
    for number, each in enumerate(values["notify"]):
        place = f"notify[{number}]"
        if names.count(each["name"]) > 1:
            raise where.error(f"{place}.name", f": {each['name']!r} is there twice", hint="Name one of them otherwise.")
        wanted = "command" if each["type"] == "command" else "url"
        other = "url" if wanted == "command" else "command"
        if not each[wanted] or each[other]:
            wrong = f": one of the type {each['type']} has {wanted}, and not {other}"
            raise where.error(place, wrong, hint=f"Give {wanted}, and leave {other} away.")
        if wanted == "url":
            _check_url(each["url"], f"{place}.url", where)
        elif not where.is_absolute(each["command"][0]):
            raise where.error(f"{place}.command", ": its program has no absolute path", hint="Write where it is.")
        for key, known in (("commands", TOLD), ("when", MOMENTS)):
            _check_words(each[key], known, f"{place}.{key}", where)


def _check_url(url: str, key: str, where: Where) -> None:
    # The rest of it may be a secret.
    if not url.startswith(("https://", "http://")) or not url.isprintable() or " " in url:
        raise where.error(key, ": it is no http or https URL", hint="Write it like https://host/path.")


def _check_words(given: Sequence[str], known: Sequence[str], key: str, where: Where) -> None:
    for each in given:
        if each not in known:
            raise where.error(key, f": there is no {each!r}", hint=strict.nearest(each, known))
