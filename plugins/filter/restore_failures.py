# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `sqlite_restore` says of tasks that failed. The documentation is in restore_failures.yml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ansible_collections.sqliteops.backup.plugins.plugin_utils import answers

# Of what a program printed, its end tells most.
_PRINTED_CHARACTERS = 500


def restore_failures(results: Sequence[Mapping[str, Any]]) -> str:
    """Why the tasks failed that had these results; empty when none did."""
    # Where everything fails for one reason, that is said once.
    return " ".join(dict.fromkeys(text for result in results for text in _failures(result)))


def _failures(result: Mapping[str, Any]) -> Iterator[str]:
    items = [each for each in result.get("results", ()) if isinstance(each, dict) and each.get("failed")]
    for each in items or ([result] if result.get("failed") else []):
        name = each.get("item")
        label = name.get("item", "") if isinstance(name, dict) else name or ""
        printed = str(each.get("stderr") or each.get("stdout") or "").strip()[-_PRINTED_CHARACTERS:]
        exit_code = f"exit code {each['rc']}" if "rc" in each else ""
        said = answers.failure_of_runner(each)
        words = (said,) if said else (exit_code or str(each.get("msg", "")), printed)
        text = ": ".join(filter(None, (str(label), *words)))
        yield text if text.endswith(".") else f"{text}."


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"restore_failures": restore_failures}
