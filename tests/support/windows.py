# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of tests/unit Windows cannot pass, and why: each reason with the tests that it keeps out.

A test is named as pytest names it below tests/unit, with its parameters or for all of them; a file stands for all that
is in it. A fault of the engine is no reason. Reasons that begin with "Wine" are not about Windows: a real one may pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

CANNOT: Mapping[str, tuple[str, ...]] = {}


def reason(name: str) -> str | None:
    """Why Windows cannot pass the test of this ``name``, such as ``test_a.py::test_b[c]``; None where it can."""
    return _REASONS.get(name) or _REASONS.get(name.partition("[")[0]) or _REASONS.get(name.partition("::")[0])


def unknown(names: Iterable[str]) -> set[str]:
    """What is listed here, but is none of the tests of these ``names``."""
    known = {each for name in names for each in (name, name.partition("[")[0], name.partition("::")[0])}
    return set(_REASONS) - known


def counted(reasons: Iterable[str]) -> list[str]:
    """A line for each of ``reasons``, with how many tests it kept out."""
    return [f"{count:5}  {each}" for each, count in Counter(reasons).most_common()]


_REASONS = {test: why for why, tests in CANNOT.items() for test in tests}
