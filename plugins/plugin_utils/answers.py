# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tasks on many hosts answered, of which each may have answered anything."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given

_SILENT = "It told nothing of its {}."
# A task with a loop, the answer of the runner in one of its turns, and a database in that.
_DEEPEST = 4

Values = Mapping[Any, Any]
_NO_ITEM = Given(None)


@dataclass(frozen=True)
class Answer:
    """One of ``host``: ``values`` that tell what was asked for, or why not: ``reached`` is False where nobody answered.

    ``item`` is that of the loop that it comes from.
    """

    host: str
    values: Values
    told: bool
    reached: bool = True
    item: Given = _NO_ITEM

    def failure(self, outcome: dict[str, str], what: str) -> dict[str, Any]:
        """A row of a report for one that told nothing: ``outcome`` says how that is called there."""
        given = Given(self.values)
        return {
            **outcome,
            "host": self.host,
            "name": given.text("name") or self.item.text("name"),
            "error": _error(given, what),
        }


def of_hosts(results: Any, tells: Callable[[Given], bool]) -> Iterator[Answer]:
    """The answers in ``results``, the result of a task for each host, or several; ``tells`` knows a good one."""
    if not isinstance(results, Mapping):
        raise AnsibleFilterError("the results are not a dictionary. Allowed is one with an entry for each host.")
    for host, result in results.items():
        several = {"results": result} if isinstance(result, (list, tuple)) else result
        # Of a host that tells nothing nobody may think that all is well.
        found = [*_answers(str(host), several, tells, _NO_ITEM, _DEEPEST)]
        yield from found or [Answer(str(host), {}, told=False)]


def _answers(host: str, result: Any, tells: Callable[[Given], bool], item: Given, depth: int) -> Iterator[Answer]:
    values = result if isinstance(result, Mapping) else {}
    given = Given(values)
    item = given.object("item") or item
    if given.flag("unreachable"):
        yield Answer(host, values, told=False, reached=False, item=item)
    elif tells(given):
        yield Answer(host, values, told=True, item=item)
    elif depth and given.mappings("results"):
        for each in given.mappings("results"):
            yield from _answers(host, each, tells, item, depth - 1)
    elif depth and given.text("stdout").startswith("{"):
        yield from _answers(host, parsed(given.text("stdout")), tells, item, depth - 1)
    elif given.flag("skipped") is not True:
        yield Answer(host, values, told=False, item=item)


def parsed(text: str) -> Values:
    """What the runner answered."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    return answer if isinstance(answer, Mapping) else {"msg": f"Its answer is no JSON: {text:.200}"}


def of_runner(result: Any) -> Values:
    """The document that the runner printed with ``--json`` in a task; empty when it printed none."""
    printed = Given(result).text("stdout")
    return parsed(printed) if printed.startswith("{") else {}


def failure_of_runner(result: Any) -> str:
    """Why the runner failed in a task, in its own words; empty when it did not say."""
    told = Given(of_runner(result))
    errors = [each.object("error") for each in (told, *told.objects("results"))]
    return " ".join(f"{each.text('message')} {_advice(each.text('hint'))}".strip() for each in errors if each)


def _advice(hint: str) -> str:
    """Without commands: the configuration that they name may be gone when somebody reads them."""
    return " ".join(line for line in hint.splitlines() if " --config " not in line)


def _error(given: Given, what: str) -> dict[str, Any]:
    """Why nothing was told: as an error of the engine, or in the words of Ansible."""
    error = given.object("error")
    said = error.text("message") or given.text("msg") or given.text("stderr") or _SILENT.format(what)
    code = error.count("code")
    return {
        **({} if code is None else {"code": code}),
        "class": error.text("class"),
        "message": said,
        "hint": error.text("hint"),
    }


def formatted(kind: str, formats: Mapping[str, Callable[[dict[str, Any]], str]], report: dict[str, Any]) -> str:
    """``report`` in the format ``kind``."""
    if kind not in formats:
        raise AnsibleFilterError(f"format is {kind!r}. Allowed are {', '.join(formats)}.")
    return formats[kind](report)
