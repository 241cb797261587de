# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The audit log of one configured database: whether it is whole, what it says, and where else it goes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..repository import audit
from ..repository.audit import Echo, Known
from ..system import files, places
from ..system.errors import MALFORMED, EngineError, ProofFailedError, UsageError, doing
from ..work import findings
from ..work.findings import Finding
from . import seen
from .config import SEEN_NAME, Database
from .result import Asked, Result
from .watch_config import Watch

_MEANT = "If that is meant, remove"


def echo(watch: Watch) -> None:
    """Let every event go to where ``watch`` says, too."""
    echoes: list[Echo] = []
    if watch.syslog:
        echoes.append(_to_system_log)
    if watch.audit_file is not None:
        file = watch.audit_file
        echoes.append(lambda line: _to_file(file, line))
    audit.echo_to(*echoes)


def _to_system_log(line: Mapping[str, Any]) -> None:
    try:
        import syslog
    except ImportError:
        raise UsageError("There is no system log on this platform.", hint="Set audit.syslog to false.") from None
    syslog.openlog("sqlite-backup", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_NOTICE, f"audit {json.dumps(line, sort_keys=True)}")


def _to_file(file: Path, line: Mapping[str, Any]) -> None:
    with doing(f"Cannot write {file}"):
        files.append_line(file, json.dumps(line, sort_keys=True))


def audit_one(settings: Database, asked: Asked) -> Result:
    """Follow the audit log from its first line to its last, and show its newest lines; one that is broken fails."""
    repository = seen.opened(settings, "Cannot check the audit log")
    chain = audit.examine(repository.path, _known(settings))
    newest = repository.history()[-asked["last"] :] if asked["last"] > 0 else []
    error = None
    if chain.breaks:
        more = f" There are {len(chain.breaks) - 1} more." if chain.breaks[1:] else ""
        error = ProofFailedError(
            f"{chain.breaks[0]}.{more}",
            action=f"The audit log of {settings.name} is not whole",
            hint=f"Find out who did that. {_MEANT} {_file_of(settings)}." if _lost(chain) else "Find out who did that.",
        )
    return Result(settings.name, error, [], {"audit": {**asdict(chain), "events": newest}})


def _lost(chain: audit.Chain) -> bool:
    return chain.breaks[-1] in (audit.UNKNOWN, audit.CHANGED)


def remember(settings: Database) -> list[str]:
    """Write down up to where the log is known, so that it shows when its end is taken away; warnings."""
    known, file = _known(settings), _file_of(settings)
    try:
        repository = seen.opened(settings, "Cannot check the audit log")
    except EngineError:
        # Whoever worked on it has said so.
        return []
    try:
        last = audit.continued(repository.path, known)
        if last is None:
            told = f"the audit log of {settings.name} was changed since its last line that is known here"
            return [f"{told}: see sqlite-backup audit {settings.name}. {_MEANT} {file}."]
        if last != known:
            with doing():
                files.own_directory(file.parent)
                files.replace_private(file, (json.dumps({"digest": last.line, "all": last.all}) + "\n").encode())
    except EngineError as error:
        return [f"it could not be written down up to where the audit log is known: {error}"]
    return []


def examine(settings: Database) -> Finding:
    """Whether every line is there as it was written."""
    name = "audit log"
    with contextlib.suppress(EngineError), doing("Cannot check the audit log"):
        chain = audit.examine(settings.repository, _known(settings))
        if chain.breaks:
            hint = f"See sqlite-backup audit {settings.name}, and find out who did that."
            return Finding(name, findings.WARNING, f"It is not whole: {chain.breaks[0]}.", hint)
    return Finding(name, findings.OK, "Every line follows from the one before it.")


def _file_of(settings: Database) -> Path:
    return settings.directory / SEEN_NAME / f"{settings.name}.audit.json"


def _known(settings: Database) -> Known:
    try:
        content = json.loads(places.read_bytes(_file_of(settings)))
        return Known(str(content["digest"]), str(content.get("all") or ""))
    except (OSError, EngineError, *MALFORMED):
        return Known()
