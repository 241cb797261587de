# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of drills on many hosts, as one report. The documentation is in drill_report.yml and drill_problems.yml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import wording
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, words
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_details, measured, page
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import drill_report as report
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.drill_details import Drill
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given
from ansible_collections.sqliteops.backup.plugins.plugin_utils import answers
from ansible_collections.sqliteops.backup.plugins.plugin_utils.answers import Answer

_HEAD = ("OUTCOME", "DATABASE", "HOST", "BACKUP", "RESTORED IN", "RTO", "AGE", "RPO")


def drill_report(results: Mapping[str, Any], format: str = "text") -> str:  # noqa: A002 - as its option is called
    """The report of what the drills of each host in ``results`` came to."""
    formats = {"html": report.to_html, "json": report.to_json, "text": _text}
    return answers.formatted(format, formats, _collected(results))


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
    times = ["" if each is None else measured.seconds(each) for each in numbers]
    return [drill.verdict.word, drill.name, values.text("host"), values.text("backup"), *times]


def _collected(results: Mapping[str, Any]) -> dict[str, Any]:
    found = answers.of_hosts(results, lambda given: bool(given.mappings("drills")))
    return report.collect((drill for each in found for drill in _drills(each)), clock.now())


def _drills(answer: Answer) -> Iterator[Mapping[str, Any]]:
    """What an answer tells of drills; one that tells of none is a failure."""
    if answer.told:
        for each in Given(answer.values).mappings("drills"):
            yield {**each, "host": answer.item.text("host") or answer.host}
    else:
        outcome = drill_details.FAILED if answer.reached else drill_details.NOT_REACHED
        yield answer.failure({"outcome": outcome}, "drills")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"drill_report": drill_report, "drill_problems": drill_problems}
