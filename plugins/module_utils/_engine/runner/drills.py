# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner does for drills of one configured database."""

from __future__ import annotations

import contextlib
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..repository.repository import Repository
from ..sealed import encryption
from ..sqlite import proof
from ..sqlite.snapshot import Progress
from ..system import clock, files, options
from ..system.errors import EngineError, UsageError, doing
from ..watch import drill_report, recovery
from ..work import content, drill, findings
from ..work.findings import Finding
from . import config, offsite
from .config import Database
from .result import Asked, Result, code_of, failure


def drill_one(settings: Database, asked: Asked, *, progress: Progress | None = None) -> Result:
    """Restore backups for trial, those that the configuration or the command line names; the worst failure counts."""
    found = drill.run(_requested(settings, asked), dry_run=asked["dry_run"], progress=progress)
    warnings = [*filter(None, [encryption.keys(settings.options).warning()])]
    for each in found:
        warnings.extend(text for text in each.warnings if text not in warnings)
    failed = [Result(settings.name, each.error) for each in found if each.error]
    worst = next((each.error for each in failed if each.code == code_of(failed)), None)
    return Result(settings.name, worst, warnings, {"drills": [each.to_json() for each in found]})


def report(file: Path, results: Sequence[Result]) -> None:
    """Write what came of the drills of a run into the page ``file``, and for programs into its JSON beside it."""
    found: list[Mapping[str, Any]] = []
    for each in results:
        host = socket.gethostname()
        nothing = {"outcome": proof.FAILED, "host": host, "name": each.name, "error": failure(each.error)}
        found.extend(each.facts.get("drills") or [nothing])
    told = drill_report.collect(found, clock.now())
    with doing(f"Cannot write the report {file}"):
        if file.suffix != ".html":
            raise UsageError("its name does not end with .html.", hint="Give it such a name.")
        files.replace_private(file.with_suffix(".json"), drill_report.to_json(told).encode())
        files.replace_private(file, drill_report.to_html(told).encode())


def examine(settings: Database) -> Finding:
    """Whether anybody knows that a restore works: what no drill has shown is hope."""
    made: list[recovery.Past] = []
    with contextlib.suppress(EngineError), doing("Cannot look for drills"):
        made = recovery.past(Repository.open_existing(settings.repository).history())
    if not made:
        detail = "No drill has shown yet that a restore works, and how long one takes."
        return Finding("drills", findings.NOTE, detail)
    return Finding("drills", findings.OK, f"The last drill was at {made[-1].time}: {made[-1].outcome}.")


def every_seconds(settings: Database) -> float | None:
    """How often drills are to come; None when nothing is said of it."""
    return options.seconds(_plan(settings), "every")


def _plan(settings: Database) -> Mapping[str, Any]:
    return settings.options["drill"] or {name: key.default for name, key in config.KEYS["drill"].keys.items()}


def _requested(settings: Database, asked: Asked) -> drill.Request:
    plan = _plan(settings)
    backup = plan["backup"] if asked["backup"] is None else asked["backup"]
    names = asked["targets"] or ([] if plan["target"] is None else [plan["target"]])
    if len(names) > 1:
        raise UsageError("it takes one target.", action=f"Cannot make a drill of {settings.name}", hint="Name one.")
    there = next(iter(offsite.targets(settings, names)), None) if names else None
    every = options.seconds(plan, "every")
    with doing(f"Cannot make a drill of {settings.name}"):
        return drill.Request(
            repository=settings.repository,
            backup=backup,
            name=settings.name,
            target=there.of(settings) if there else None,
            called=there.name if there else "",
            rto_seconds=options.seconds(settings.options, "rto"),
            rpo_seconds=options.seconds(settings.options, "rpo"),
            expectations=content.expected(settings.options, "full"),
            scratch_dir=options.path(plan, "scratch_dir"),
            every_seconds=drill.WEEK_SECONDS if every is None else every,
            prove_within_seconds=options.seconds(plan, "prove_within") or 0.0,
            keys=encryption.keys(settings.options),
            lock_timeout_seconds=options.seconds(settings.options, "lock_timeout") or 0.0,
            repeat=lambda identity: shlex.join(_repeated(settings, identity, names)),
        )


def _repeated(settings: Database, identity: str, targets: list[str]) -> list[str]:
    words = ["sqlite-backup", "drill", settings.name, "--backup", identity]
    for each in targets:
        words.extend(["--target", each])
    return words if settings.directory == config.directory() else [*words, "--config", str(settings.directory)]
