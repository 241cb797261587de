# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the use cases did, as the plain values that the modules and the runner answer with."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from ..system.errors import EngineError

if TYPE_CHECKING:
    from . import backup, prune, restore, verify


def error(failure: EngineError) -> dict[str, Any]:
    """For programs; the text for people is ``str(failure)``."""
    return {"code": failure.code, "class": type(failure).__name__, "hint": failure.hint}


def backed_up(outcome: backup.Outcome) -> dict[str, Any]:
    from . import info

    described: dict[str, Any] = {"type": outcome.type, "parent": outcome.parent}
    if outcome.backup is not None:
        # Just stored, it is known even of an encrypted backup what is in it.
        described = {**info.describe_backup(outcome.backup), "tables": outcome.tables}
    described.update(apart=outcome.apart, accepted=outcome.accepted)
    facts = {"changed_pages": outcome.changed_pages, "durations": outcome.durations, "warnings": outcome.warnings}
    return {**described, **facts}


def pruned(outcome: prune.Outcome) -> dict[str, Any]:
    return {"kept": outcome.kept, "removed": outcome.removed, "freed_bytes": outcome.freed_bytes}


def restored(outcome: restore.Outcome) -> dict[str, Any]:
    described = {**dataclasses.asdict(outcome), "dest": str(outcome.dest)}
    return {name: value for name, value in described.items() if name not in ("changed", "before", "after")}


def verified(result: verify.Verification) -> dict[str, Any]:
    return {"outcome": result.outcome, "checks": [each.to_json() for each in result.checks]}
