# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How well many hosts are backed up, as one report. The documentation is in fleet_report.yml and its like."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import wording
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock, files, words
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import fleet_details, health, measured
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import fleet_report as report
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.fleet_details import Standing
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.given import Given
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch.page import GOOD, WARN
from ansible_collections.sqliteops.backup.plugins.plugin_utils import answers
from ansible_collections.sqliteops.backup.plugins.plugin_utils.answers import Answer

_HEAD = ("STATE", "DATABASE", "HOST", "AGE", "RPO", "DRILL", "TARGETS", "STORED", "WHY")
_LONGEST_CHARACTERS = 100


def fleet_report(results: Mapping[str, Any], format: str = "text") -> str:  # noqa: A002 - as its option is called
    """The report of how well the databases of each host in ``results`` are backed up."""
    formats = {"html": report.to_html, "json": report.to_json, "text": _text}
    return answers.formatted(format, formats, _collected(results))


def fleet_problems(results: Mapping[str, Any], degraded: bool = False) -> list[str]:
    """What is not well, a text for each database and each host that was not reached; ``degraded`` names that, too."""
    standings = [Standing(each) for each in _collected(results)["databases"]]
    harmless = [GOOD, *([] if degraded else [WARN])]
    return [words.plain(_problem(each)) for each in standings if each.verdict.tone not in harmless]


def fleet_others(result: Any) -> list[dict[str, str]]:
    """The directories, and their users, in which more is configured on the host that ``result`` is of."""
    found = Given(answers.parsed(Given(result).text("stdout"))).objects("also_configured")
    told = ({name: each.text(name) for name in ("directory", "user")} for each in found)
    return [each for each in told if each["directory"]]


def _problem(standing: Standing) -> str:
    return " ".join((f"{standing.label}: {standing.verdict.word}.", *standing.troubles))


def _text(told: Mapping[str, Any]) -> str:
    """A table, one row a database."""
    standings = [Standing(each) for each in told["databases"]]
    return "\n".join(wording.table(_HEAD, [_row(each) for each in standings], right=("AGE", "STORED")))


def _row(standing: Standing) -> list[str]:
    values = standing.values
    drill = values.object("last_drill")
    current, count = standing.current_targets
    age, rpo = (values.number(each) for each in ("age_seconds", "rpo_seconds"))
    size = values.count("total_bytes")
    first = next(iter(standing.troubles), "")
    return [
        standing.verdict.word,
        standing.name,
        values.text("host"),
        *("" if each is None else measured.seconds(each) for each in (age, rpo)),
        drill.text("outcome"),
        f"{current} of {count}" if count else "",
        "" if size is None else files.readable(size),
        first if len(first) <= _LONGEST_CHARACTERS else f"{first[:_LONGEST_CHARACTERS]}…",
    ]


def _collected(results: Mapping[str, Any]) -> dict[str, Any]:
    found = answers.of_hosts(results, lambda given: given.text("state") in health.STATES)
    return report.collect(map(_standing, _without_empty([*found])), clock.now())


def _without_empty(found: list[Answer]) -> Iterator[Answer]:
    """All but those of a user who has no databases, on a host where others have some."""
    count = Counter(each.host for each in found)
    return (each for each in found if count[each.host] == 1 or not _is_elsewhere(each))


def _is_elsewhere(answer: Answer) -> bool:
    """Whether nothing is configured there, and the answer names other directories in which something is."""
    given = Given(answer.values)
    is_empty = given.object("error").count("code") == UsageError.code and not given.mappings("results")
    return is_empty and bool(given.mappings("also_configured"))


def _standing(answer: Answer) -> Mapping[str, Any]:
    place = answer.item.text("directory")
    more = {"config": place} if place else {}
    if answer.told:
        return {**answer.values, "host": answer.host, **more}
    state = fleet_details.UNKNOWN if answer.reached else fleet_details.NOT_REACHED
    return {**answer.failure({"state": state}, "backups"), **more}


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"fleet_report": fleet_report, "fleet_problems": fleet_problems, "fleet_others": fleet_others}
