# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observations as metrics: what is known and nothing else, in a text that Prometheus reads as it was meant."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client import parser

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import metrics
from support import observations

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
Found = dict[tuple[str, frozenset[tuple[str, str]]], float]

MOMENT = 1795848600
"""2026-11-28T06:50:00Z, by `date -u -d`."""
KNOWN: dict[str, Any] = {
    'success_total{type="full"}': 3,
    'success_total{type="incremental"}': 20,
    'success_total{type="unchanged"}': 5,
    'failure_total{type="auto"}': 1,
    'failure_total{type="full"}': 0,
    'failure_total{type="incremental"}': 2,
    'size_bytes{type="full"}': 123456,
    'size_bytes{type="incremental"}': 4567,
    'duration_seconds{type="full"}': 1.25,
    'duration_seconds{type="incremental"}': 0.375,
    'duration_seconds{type="unchanged"}': 0.125,
    "database_bytes": 1048576,
    "changed_bytes": 4096,
    "stored_bytes": 987654,
    'backups{type="full"}': 2,
    'backups{type="incremental"}': 20,
    "suspect_backups": 1,
    "suspect": 0,
    "last_success_timestamp_seconds": MOMENT + 1,
    "last_run_timestamp_seconds": MOMENT + 540,
    "last_run_code": 16,
    "last_verified_timestamp_seconds": MOMENT - 13800,
    "last_drill_timestamp_seconds": MOMENT - 13800 - 7 * 86400,
    "last_drill_success": 1,
    "recovery_point_timestamp_seconds": MOMENT,
    "rpo_seconds": 600,
    "rpo_objective_seconds": 3600,
    "rto_seconds": 12.5,
    "rto_objective_seconds": 900,
    "rto_outlook_seconds": 14.25,
    'state{state="ok"}': 0,
    'state{state="degraded"}': 1,
    'state{state="failing"}': 0,
    'state{state="missed"}': 0,
    "free_bytes": 10000000,
    "filesystem_bytes": 50000000,
    'target_success{target="s3"}': 1,
    'target_success{target="disk"}': 0,
    'target_recovery_point_timestamp_seconds{target="s3"}': MOMENT,
    'target_rpo_objective_seconds{target="s3"}': 7200,
    'info{version="1.0.0",encryption="age"}': 1,
}


def expected(known: Mapping[str, float], database: str = "agent") -> Found:
    found = {}
    for key, value in known.items():
        name, _brace, labels = key.partition("{")
        pairs = frozenset({*re.findall(r'(\w+)="([^"]*)"', labels), ("database", database)})
        found[f"database_backup_{name}", pairs] = float(value)
    return found


def parsed(text: str) -> Found:
    """What the client library of Prometheus reads."""
    samples = [each for family in parser.text_string_to_metric_families(text) for each in family.samples]
    found = {(each.name, frozenset(each.labels.items())): each.value for each in samples}
    assert len(found) == len(samples), "a sample is there twice"
    return found


def written(*told: Mapping[str, Any]) -> Found:
    return parsed(metrics.text(metrics.families(*told)))


def test_all_that_is_known_is_written() -> None:
    assert written(observations.full()) == expected(KNOWN)


def test_every_metric_is_tested() -> None:
    assert {each.name for each in metrics.METRICS} == {name for name, _labels in expected(KNOWN)}


def test_counters_and_the_state_are_there_before_the_first_backup() -> None:
    """What begins to exist with its first failure has not increased, and no rule sees it."""
    zeros = {key: 0 for key in KNOWN if key.startswith(("success_total", "failure_total", "state"))}
    known = {**zeros, 'state{state="missed"}': 1, 'info{version="1.0.0",encryption=""}': 1}
    assert written(observations.empty()) == expected(known)


def test_what_is_not_a_value_is_left_out() -> None:
    wrong = dict.fromkeys(("free_bytes", "age_seconds", "database_bytes"), "many")
    wrong.update(total_bytes=float("nan"), rpo_seconds=float("inf"))
    told = observations.full(**wrong, last_success="yesterday", last_verified=7, last_drill="?", counts=[], state="x")
    names = {name for name, _labels in written(told)}
    assert not names & {
        f"database_backup_{each}"
        for each in (
            *("free_bytes", "rpo_seconds", "database_bytes", "stored_bytes", "rpo_objective_seconds", "state"),
            *("last_success_timestamp_seconds", "last_verified_timestamp_seconds", "last_drill_success"),
        )
    }


@pytest.mark.parametrize(("outcome", "value"), [("passed", 1), ("inconclusive", 1), ("failed", 0)])
def test_drill_that_could_not_check_all_did_not_fail(outcome: str, value: int) -> None:
    told = observations.full(last_drill={"time": "2026-11-21T03:00:00Z", "outcome": outcome, "rto_seconds": None})
    assert written(told)["database_backup_last_drill_success", frozenset({("database", "agent")})] == value


def test_types_that_nobody_knows_are_not_told() -> None:
    """What may come in a label is fixed, whatever a file with counts holds."""
    counts = {"success": {"full": 1, "other": 2}, "failure": {"x": 3}}
    types = {dict(labels).get("type") for _name, labels in written(observations.full(counts=counts))}
    assert types == {None, "full", "incremental", "unchanged", "auto"}


def test_databases_are_told_together() -> None:
    """Each family once, as the format wants it."""
    text = metrics.text(metrics.families(observations.full(), observations.full(name="other")))
    assert parsed(text) == {**expected(KNOWN), **expected(KNOWN, "other")}
    types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert sorted(types) == sorted({*types})


def test_same_name_of_another_user_is_another_database() -> None:
    """node_exporter fails on what two files say twice."""
    mine, theirs = observations.full(), observations.full(user="jo")
    assert len(written(mine, theirs)) == 2 * len(written(mine))
    assert all(("user", "jo") in labels for _name, labels in written(theirs))


@given(some.text(), some.text(), some.text())
def test_labels_come_back_as_they_were(name: str, version: str, target: str) -> None:
    told = observations.full(name=name, version=version, targets=[{"name": target, "rpo_seconds": 5}])
    found = written(told)
    info = frozenset({("database", name), ("version", version), ("encryption", "age")})
    assert found["database_backup_info", info] == 1
    labels = frozenset({("database", name), ("target", target)})
    assert found["database_backup_target_rpo_objective_seconds", labels] == 5


def test_what_is_no_text_does_not_spoil_the_file() -> None:
    text = metrics.text(metrics.families(observations.full(version="1\udcff")))
    assert 'version="1?"' in text
    text.encode()


_NUMBERS = some.one_of(
    some.integers(min_value=0, max_value=1 << 62), some.floats(allow_nan=False, allow_infinity=False), some.booleans()
)


@given(some.dictionaries(some.sampled_from(["free_bytes", "age_seconds", "total_bytes", "rpo_seconds"]), _NUMBERS))
def test_numbers_come_back_as_they_were(changed: dict[str, float]) -> None:
    names = {
        "free_bytes": "free_bytes",
        "age_seconds": "rpo_seconds",
        "total_bytes": "stored_bytes",
        "rpo_seconds": "rpo_objective_seconds",
    }
    found = written(observations.full(**changed))
    for key, value in changed.items():
        read = found[f"database_backup_{names[key]}", frozenset({("database", "agent")})]
        assert float(read) == float(value)


def promtool(text: str) -> str:
    """What Prometheus' own tool has to say of it."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed")
    checked = subprocess.run(
        [program, "check", "metrics"], input=text.encode(), stdout=-1, stderr=subprocess.STDOUT, check=False
    )
    return f"{checked.returncode} {checked.stdout.decode()}"


@pytest.mark.parametrize("told", [observations.full(), observations.empty()], ids=["full", "empty"])
def test_promtool_finds_nothing(told: dict[str, Any]) -> None:
    assert promtool(metrics.text(metrics.families(told, {**told, "name": 'a"\\\nb'}))) == "0 "


def test_promtool_finds_what_is_wrong() -> None:
    """Else the test above would tell nothing."""
    assert "no help text" in promtool("a_seconds 1\n")


def test_document_lists_the_metrics() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(database_backup_\w+)` \| (\w+) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    told = [
        (each.name, each.kind, ", ".join(f"`{label}`" for label in each.labels) or "none", each.help)
        for each in metrics.METRICS
    ]
    assert rows == told
