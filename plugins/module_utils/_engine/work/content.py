# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database is expected to hold, whether it does, and what to fail with when it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sqlite import ours, proof
from ..sqlite.library import sqlite3
from ..sqlite.proof import Check, Proof
from ..system.errors import EngineError, ProgramMissingError, ProofFailedError
from ..system.options import Options


@dataclass(frozen=True)
class Expectations:
    """How deep to look (``quick`` or ``full``), and what the operator knows of the content."""

    level: str = "quick"
    expect_tables: Sequence[str] = ()
    assertions: Sequence[Mapping[str, Any]] = ()

    @property
    def about_content(self) -> bool:
        return bool(self.expect_tables or self.assertions)


NOTHING_EXPECTED = Expectations()


def expected(given: Options, level: str) -> Expectations:
    return Expectations(level, given["expect_tables"], given["assertions"])


@contextlib.contextmanager
def opened(
    path: Path, expected: Expectations, proven: Proof | None, *, structure: bool = True
) -> Iterator[Callable[[], list[Check]]]:
    """What makes the checks of an image that nobody else uses; open already, see ``ours.looking``.

    ``proven`` is what it must hold, compared at the level full. Without ``structure`` SQLite's own check is left out:
    the very same bytes passed it, or are known to be corrupt.
    """
    with ours.looking(path) as connection:

        def checks() -> list[Check]:
            rows = proven is not None and structure and expected.level == "full"
            found = proof.check_rows(connection, proven) if rows and proven is not None else []
            return [*found, *check(connection, expected, structure=structure)]

        yield checks


def check(connection: sqlite3.Connection, expected: Expectations, *, structure: bool = True) -> list[Check]:
    """SQLite's own check of the database that is open, then the tables and the queries that are ``expected``."""
    checks = proof.check_structure(connection, expected.level) if structure else []
    checks.extend(
        proof.check_expectations(connection, expect_tables=expected.expect_tables, assertions=expected.assertions)
    )
    return checks


def failure(checks: Sequence[Check], what: str, damage: type[EngineError]) -> EngineError | None:
    """What to fail with: damage before a failed expectation before a doubt; None when all passed."""
    failed = [each for each in checks if each.outcome == proof.FAILED]
    for each in failed:
        if each.kind != proof.EXPECTATION:
            return damage(f"{what} failed {each.name}: {each.detail}", hint="Restore a backup that passes.")
    if failed:
        return ProofFailedError(
            f"{what} failed {failed[0].name}: {failed[0].detail}.",
            hint="The file is whole, but its content is not what was expected: look at both.",
        )
    for each in checks:
        if each.outcome == proof.INCONCLUSIVE:
            return ProgramMissingError(
                f"{what} cannot be verified here: {each.name}: {each.detail}.",
                hint="Verify it with an SQLite that has this module.",
            )
    return None
