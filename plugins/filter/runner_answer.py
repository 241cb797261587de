# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner answered about one database, as a module would. The documentation is in runner_answer.yml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given
from ansible_collections.sqliteops.backup.plugins.plugin_utils import answers


def runner_answer(result: Mapping[str, Any]) -> dict[str, Any]:
    """The facts that it told of the database, with ``changed``, ``failed``, ``msg`` and ``warnings``."""
    given = Given(result)
    facts = next(iter(Given(answers.of_runner(result)).mappings("results")), {})
    failure = answers.failure_of_runner(result)
    if not facts and not failure and not given.flag("skipped"):
        failure = given.text("stderr").strip() or given.text("msg") or "It answered nothing."
    return {
        **{name: value for name, value in facts.items() if name not in ("name", "error")},
        "changed": bool(facts.get("changed")),
        "failed": bool(failure),
        "msg": failure,
        "warnings": Given(facts).texts("warnings"),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"runner_answer": runner_answer}
