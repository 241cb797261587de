# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Prune a target: remove the backups there that its own rules do not keep."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..repository import description, published, retention
from ..repository.published import Backup
from ..repository.repository import DEFAULT_LOCK_TIMEOUT_SECONDS, Repository
from ..repository.retention import Policy
from ..system import clock
from ..system.errors import EngineError, RefusedError, doing
from ..targets import target
from ..targets.address import Address
from ..targets.transport import Transport
from ..watch import offsite
from . import copies, prune
from .copies import Copies
from .prune import Outcome

# A push that was cut may still go on; after that long its beginning is of no use.
_UNFINISHED = timedelta(days=7)


@dataclass(frozen=True)
class Request:
    """Which target to prune by which rules; ``name`` is what the audit log calls it.

    ``repository`` need not exist: this may be another host than the one that pushes.
    """

    repository: Path
    target: Address
    policy: Policy
    name: str = ""
    lock_timeout_seconds: float = DEFAULT_LOCK_TIMEOUT_SECONDS


def run(request: Request, *, dry_run: bool = False) -> Outcome:
    """Remove what the policy does not keep there. With ``dry_run`` the same plan is made, and nothing is removed."""
    outcome = Outcome()
    with doing(f"Cannot prune {request.target.url}"):
        retention.check(request.policy)
        here = Repository.open_existing(request.repository) if Repository.exists(request.repository) else None
        facts = {"target": request.name or request.target.url}
        try:
            if here is not None and here.doubt:
                raise RefusedError(here.doubt, hint="Nothing is removed until then.")
            with contextlib.ExitStack() as stack:
                if here is not None and here.writable and not dry_run:
                    lock = copies.lock_name(request.name, request.target)
                    stack.enter_context(here.alone(lock, timeout_seconds=request.lock_timeout_seconds))
                _run(request, here, outcome, dry_run=dry_run)
        except (EngineError, KeyboardInterrupt) as failure:
            if here is not None and not dry_run:
                here.record_failed(offsite.PRUNE, failure, **facts, **prune.removed(outcome))
            raise
        if here is not None and outcome.removed and not dry_run:
            unwritten = here.record_done(offsite.PRUNE, **facts, **prune.removed(outcome), outcome="passed")
            outcome.warnings.extend(unwritten)
    return outcome


def _run(request: Request, here: Repository | None, outcome: Outcome, *, dry_run: bool) -> None:
    there = target.at(request.target)
    listed = copies.listed(there)
    own = {each.id: each for each in here.backups()} if here is not None else {}
    with copies.elsewhere() as room:
        fetched = copies.manifests(there, listed, list(listed.whole), room.path / "manifests")
        backups = _known(fetched, here, own, request)
    outcome.before = [each.id for each in backups]
    outcome.warnings.extend(published.told_of_foreign(backups))
    outcome.warnings.extend(prune.told_of_damage(each) for each in backups if each.manifest is None)
    outcome.warnings.extend(f"{each.id} is not whole there: {each.lack}" for each in backups if each.lack)
    entries = [prune.entry(each, order) for order, each in enumerate(backups)]
    decisions = retention.plan(entries, request.policy, now=clock.now())
    outcome.kept = [{"id": each.entry.id, "reasons": list(each.reasons)} for each in reversed(decisions) if each.kept]
    gone = [each.entry.id for each in reversed(decisions) if not each.kept]
    outcome.removed = [{"id": each, "bytes": sum(listed.whole[each].values())} for each in gone]
    outcome.after = [each for each in outcome.before if each not in gone]
    if not dry_run:
        _remove(there, listed, gone, own)


def _known(
    fetched: Sequence[Backup], here: Repository | None, own: Mapping[str, Backup], request: Request
) -> list[Backup]:
    """What is at the target, oldest first: with what is known of it here, and which ones are of another repository."""
    told = description.told_by(fetched, Path(request.target.url), wrong="not needed")
    if told is None:
        return list(fetched)
    if here is None and told.undecided:
        raise RefusedError(
            "there are backups of several repositories.", hint="Move the backups of all others away, or prune there."
        )
    described = told if here is None else here.described
    found = []
    for each in fetched:
        foreign = each.manifest is not None and described.is_foreign(each.manifest)
        known = own.get(each.id)
        # One whose manifest is another one there, or damaged, is not what is known here.
        if known is not None and known.manifest == each.manifest and not foreign:
            found.append(dataclasses.replace(known, path=each.path, lack=each.lack))
        else:
            found.append(dataclasses.replace(each, foreign=foreign))
    return published.by_sequence(found)


def _remove(there: Transport, listed: Copies, gone: Sequence[str], own: Container[str]) -> None:
    """The manifests first: what is left of a backup, when this is cut, is none any more.

    What a push began of those that are its ``own``, it goes on with.
    """
    if gone:
        there.remove([f"{each}/{copies.MANIFEST_NAME}" for each in gone])
    oldest = clock.to_stamp(clock.now() - _UNFINISHED)
    parts = [each for each in listed.parts if each < oldest and each not in own]
    rest = [f"{each}/{path}" for each in gone for path in listed.whole[each] if path != copies.MANIFEST_NAME]
    rest.extend(f"{each}/{path}" for each in parts for path in listed.parts[each])
    if rest:
        there.remove(rest)
