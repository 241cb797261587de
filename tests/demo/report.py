# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the demo tells: a line when a step begins, and a summary of steps and proofs at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

RULE = "-" * 110
BYTES_PER_UNIT = 1024


@dataclass
class Step:
    title: str
    seconds: float = 0.0
    details: list[str] = field(default_factory=list)

    def tell(self, *details: str) -> None:
        self.details.extend(details)


class Proof(NamedTuple):
    held: bool
    claim: str
    evidence: str


@dataclass
class Report:
    """Collects steps and proofs; `passed` only when there are proofs and each of them held."""

    steps: list[Step] = field(default_factory=list)
    proofs: list[Proof] = field(default_factory=list)
    closing: list[str] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        began = time.monotonic()
        print(f"{began - self._began:5.1f} s  {title} ...", flush=True)
        step = Step(title)
        yield step
        step.seconds = time.monotonic() - began
        self.steps.append(step)

    def prove(self, claim: str, *, held: bool, evidence: str) -> None:
        self.proofs.append(Proof(held, claim, evidence))

    @property
    def passed(self) -> bool:
        return bool(self.proofs) and all(proof.held for proof in self.proofs)

    def text(self) -> str:
        width = max(len(step.title) for step in self.steps)
        lines = ["", f"{'Step':{width}}  Seconds  What happened", RULE]
        for step in self.steps:
            first, *more = step.details or [""]
            lines.append(f"{step.title:{width}}  {step.seconds:7.1f}  {first}")
            lines += [" " * (width + 11) + detail for detail in more]
        width = max((len(proof.claim) for proof in self.proofs), default=0)
        lines += ["", f"      {'Proof':{width}}  Evidence", RULE]
        for proof in self.proofs:
            lines.append(f"{'ok  ' if proof.held else 'FAIL'}  {proof.claim:{width}}  {proof.evidence}")
        lines += ["", *self.closing]
        failed = sum(not proof.held for proof in self.proofs)
        verdict = "every proof held" if self.passed else f"{failed} of {len(self.proofs)} proofs FAILED"
        return "\n".join([*lines, f"Result: {verdict}, in {time.monotonic() - self._began:.0f} s."])


def size(count: float) -> str:
    """Bytes for a person: 1536 is `1.5 KiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < BYTES_PER_UNIT:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= BYTES_PER_UNIT
    return f"{count:.1f} GiB"
