# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of drills on many hosts, as one report. The documentation is in drill_report.yml and drill_problems.yml."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import wording
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, words
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_details, page
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_report as report
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.drill_details import Drill
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given

_HEAD = ("OUTCOME", "DATABASE", "HOST", "BACKUP", "RESTORED IN", "RTO", "AGE", "RPO")
_SILENT = {"message": "It told nothing of its drills."}


def drill_report(results: Mapping[str, Any], format: str = "text") -> str:  # noqa: A002 - as its option is called
    """The report of what the drills of each host in ``results`` came to."""
    formats = {"html": report.to_html, "json": report.to_json, "text": _text}
    if format not in formats:
        raise AnsibleFilterError(f"format is {format!r}. Allowed are {', '.join(formats)}.")
    return formats[format](_collected(results))


def drill_problems(results: Mapping[str, Any]) -> list[str]:
    """What did not pass, a text for each drill and each host that was not reached; none when all is well."""
    drills = [Drill(each) for each in _collected(results)["drills"]]
    return [words.plain(_problem(each)) for each in drills if each.verdict.tone != page.GOOD]


def _problem(drill: Drill) -> str:
    error = drill.values.object("error")
    return " ".join(filter(None, (f"{drill.label}: {drill.verdict.word}.", error.text("message"), error.text("hint"))))


def _text(told: Mapping[str, Any]) -> str:
    """A table, one row a drill."""
    drills = [Drill(each) for each in told["drills"]]
    return "\n".join(wording.table(_HEAD, [_row(each) for each in drills], right=("RESTORED IN", "AGE")))


def _row(drill: Drill) -> list[str]:
    values = drill.values
    names = ("rto_seconds", "rto_target_seconds", "rpo_seconds", "rpo_target_seconds")
    numbers = [values.number(each) for each in names]
    times = ["" if each is None else drill_details.seconds(each) for each in numbers]
    return [drill.verdict.word, drill.name, values.text("host"), values.text("backup"), *times]


def _collected(results: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(results, Mapping):
        raise AnsibleFilterError("the results are not a dictionary. Allowed is one with an entry for each host.")
    return report.collect(
        (each for host, result in results.items() for each in _drills(str(host), result)), clock.now()
    )


def _drills(host: str, result: Any) -> list[dict[str, Any]]:
    """What the result of a task tells of ``host``; of one that tells nothing nobody may think that all is well."""
    found = [*_told(host, result)]
    return found or [{"outcome": drill_details.FAILED, "host": host, "name": "", "error": _SILENT}]


def _told(host: str, result: Any, *, inside: bool = False) -> Iterator[dict[str, Any]]:
    """Of one result; ``inside`` another one there are none."""
    given = Given(result)
    if given.flag("unreachable"):
        yield {"outcome": drill_details.NOT_REACHED, "host": host, "name": _name(given), "error": _error(given)}
    elif given.mappings("drills"):
        for each in given.mappings("drills"):
            yield {**each, "host": given.object("item").text("host") or host}
    elif given.mappings("results") and not inside:
        for each in given.mappings("results"):
            yield from _told(host, each, inside=True)
    elif given.text("stdout").startswith("{") and not inside:
        yield from _answered(host, given.text("stdout"))
    elif given.flag("skipped") is not True:
        yield {"outcome": drill_details.FAILED, "host": host, "name": _name(given), "error": _error(given)}


def _answered(host: str, text: str) -> Iterator[dict[str, Any]]:
    """What the runner answered."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        answer = None
    whole = answer if isinstance(answer, Mapping) else {"msg": f"Its answer is no JSON: {text:.200}"}
    # Without a database there is the error of the whole run.
    for each in Given(whole).mappings("results") or [whole]:
        yield from _told(host, each, inside=True)


def _name(given: Given) -> str:
    return given.text("name") or given.object("item").text("name")


def _error(given: Given) -> dict[str, Any]:
    """Why there was no drill: as an error of the engine, or in the words of Ansible."""
    error = given.object("error")
    said = error.text("message") or given.text("msg") or given.text("stderr") or _SILENT["message"]
    code = error.count("code")
    return {
        **({} if code is None else {"code": code}),
        "class": error.text("class"),
        "message": said,
        "hint": error.text("hint"),
    }


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drill_report": drill_report, "drill_problems": drill_problems}
