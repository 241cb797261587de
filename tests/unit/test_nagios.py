# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, nagios, selection
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.result import Result
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import PermissionDeniedError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import health
from support import watched
from support.hosts import Host, Said

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "runner.md"
# 'label'=value[UOM];[warn];[crit];[min];[max], of the guidelines, with the units that are used.
NUMBER = re.compile(r"[\w-]+=\d+(s|B|);;\d*;0")


def parts(said: Said) -> tuple[str, list[str], list[str]]:
    """Text and numbers of the first line, and the lines behind it."""
    first, *rest = said.out.splitlines()
    text, _bar, numbers = first.partition(" | ")
    assert said.err == ""
    assert "|" not in "".join([text, *rest])
    assert all(NUMBER.fullmatch(each) for each in numbers.split())
    return text, numbers.split(), rest


def result(name: str, state: str, text: str = "") -> Result:
    reasons = [{"state": state, "text": text, "hint": "", "way": None}] if text else []
    return Result(name, None, [], watched.observation(name=name, state=state, reasons=reasons))


def test_database_that_is_well(host: Host) -> None:
    host.add("agent", rpo="1h")
    host.run("backup", "agent")
    said = host.run("status", "agent", "--nagios")
    text, numbers, rest = parts(said)
    assert (said.code, rest) == (0, [])
    assert re.fullmatch(r"SQLITE BACKUP OK - agent: newest verified backup: \d+ s ago, RPO 1h, backups: 1, .*", text)
    assert re.fullmatch(r"agent_age=\d+s;;3600;0", numbers[0])
    stored = host.run("status", "--json").result["total_bytes"]
    assert numbers[1:] == [f"agent_stored={stored}B;;;0", "agent_backups=1;;;0"]


def test_database_without_a_backup_is_critical_and_has_no_age(host: Host) -> None:
    said = host.run("status", "--nagios")
    assert said.code == 2
    assert parts(said) == (
        "SQLITE BACKUP CRITICAL - agent: There is no verified backup.",
        ["agent_stored=0B;;;0", "agent_backups=0;;;0"],
        [],
    )


@pytest.mark.parametrize(
    ("state", "word", "code"),
    [("ok", "OK", 0), ("degraded", "WARNING", 1), ("failing", "CRITICAL", 2), ("missed", "CRITICAL", 2)],
)
def test_each_state_has_its_code(host: Host, monkeypatch: pytest.MonkeyPatch, state: str, word: str, code: int) -> None:
    monkeypatch.setitem(cli._SHORT_WORK, "status", lambda _settings, _asked: result("agent", state, "Why."))
    said = host.run("status", "agent", "--nagios")
    assert (said.code, parts(said)[0].split(" - ")[0]) == (code, f"SQLITE BACKUP {word}")


@pytest.mark.parametrize(
    "words",
    [
        ["status", "other", "--nagios"],
        ["status", "--nagios", "--unknown"],
        ["status", "--nagios", "--json"],
        ["status", "--all", "agent", "--nagios"],
    ],
)
def test_what_cannot_be_asked_is_unknown(host: Host, words: list[str]) -> None:
    said = host.run(*words)
    assert (said.code, said.out.count("\n")) == (3, 1)
    assert parts(said)[0].startswith("SQLITE BACKUP UNKNOWN - ")


def test_only_status_is_a_plugin(host: Host) -> None:
    assert host.run("list", "--nagios").code == 2


def test_broken_configuration_is_unknown(host: Host) -> None:
    host.configure("agent", '{"path": "| a\\nb"}')
    said = host.run("status", "--nagios")
    assert said.code == 3
    text, numbers, rest = parts(said)
    assert text.startswith("SQLITE BACKUP UNKNOWN - agent: ")
    assert (numbers, rest) == ([], [])


def test_unexpected_failure_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise ValueError("a|b\nc")

    monkeypatch.setattr(selection, "databases", fail)
    said = host.run("status", "--nagios")
    assert said.code == 3
    assert "ValueError: a/b c" in parts(said)[0]


def test_answer_that_nobody_could_read_is_unknown(host: Host) -> None:
    """A full disk must not look like a warning, nor like success."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(host.command("status", "--nagios"), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 3


def test_quiet_and_all_change_nothing(host: Host) -> None:
    """A plugin that says nothing is one that failed."""
    host.run("backup", "agent")
    plain = host.run("status", "--nagios")
    assert re.sub(r"\d+ s", "", parts(host.run("status", "--all", "--nagios", "--quiet"))[0]) == re.sub(
        r"\d+ s", "", parts(plain)[0]
    )


def test_worst_of_several_comes_first(host: Host) -> None:
    host.add("jobs")
    host.run("backup", "jobs")
    said = host.run("status", "--nagios")
    text, numbers, rest = parts(said)
    assert said.code == 2
    assert text == "SQLITE BACKUP CRITICAL - 1 of 2 databases are not well, agent: There is no verified backup."
    assert [each.partition("=")[0] for each in numbers] == [
        *("agent_stored", "agent_backups", "jobs_age", "jobs_stored", "jobs_backups")
    ]
    assert [each.partition(": ")[0] for each in rest] == ["CRITICAL - agent", "OK - jobs"]


def test_several_that_are_well() -> None:
    first, *rest = nagios.answer([result("a", health.OK), result("b", health.OK)])
    assert first.startswith("SQLITE BACKUP OK - 2 databases are well | a_age=60s;;3600;0 ")
    assert [each[:7] for each in rest] == ["OK - a:", "OK - b:"]


def test_what_is_known_to_be_bad_comes_before_what_is_unknown() -> None:
    unknown = Result("u", PermissionDeniedError("not permitted."))
    degraded, missed = result("d", health.DEGRADED, "Look."), result("m", health.MISSED, "Old.")
    assert nagios.answer([degraded, unknown])[0].startswith(
        "SQLITE BACKUP UNKNOWN - 2 of 2 databases are not well, u: not permitted."
    )
    assert nagios.answer([degraded, unknown, missed])[0].startswith(
        "SQLITE BACKUP CRITICAL - 3 of 3 databases are not well, m: Old."
    )


def test_no_message_can_forge_numbers_or_lines() -> None:
    """What SQLite or a target says comes into reasons."""
    (line,) = nagios.answer([result("agent", health.FAILING, "x | agent_age=0s\nSQLITE BACKUP OK - fine\r\x1b[2J")])
    assert line.startswith(
        "SQLITE BACKUP CRITICAL - agent: x / agent_age=0s\\nSQLITE BACKUP OK - fine\\r\\x1b[2J | agent_age=60s;;3600;0 "
    )


def test_without_an_objective_nothing_is_critical() -> None:
    observation = watched.observation(rpo=None, rpo_seconds=None)
    assert " agent_age=60s;;;0 " in nagios.answer([Result("agent", None, [], observation)])[0]


def test_document_has_the_states_and_their_codes() -> None:
    section = DOCUMENT.read_text(encoding="utf-8").partition("### As a plugin of Nagios")[2].partition("\n## ")[0]
    rows = [re.sub(r"[` ]", "", line).split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    told = {state: (word, int(code)) for states, word, code in rows for state in states.split(",")}
    words = {0: "OK", 1: "WARNING", 2: "CRITICAL"}
    assert told == {state: (words[code], code) for state, code in nagios._CODES.items()}


def test_example_in_the_document_is_what_is_printed() -> None:
    text = "The newest verified backup is 2 h old, more than the RPO of 1 h."
    facts = watched.observation(backups=3, total_bytes=1887436, age_seconds=6, targets=[])
    jobs = {**facts, "age_seconds": 7200, "total_bytes": 32768, "backups": 1, "state": health.MISSED}
    jobs["reasons"] = [{"state": health.MISSED, "text": text, "hint": "", "way": None}]
    answer = nagios.answer([Result("agent", None, [], facts), Result("jobs", None, [], jobs)])
    assert "\n".join(["$ sqlite-backup status --nagios", *answer]) in DOCUMENT.read_text(encoding="utf-8")
