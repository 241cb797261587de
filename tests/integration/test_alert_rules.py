# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each alert rule fires when it must, and only then: `promtool test rules` with series made up for each."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import harness, monitoring

pytestmark = pytest.mark.thorough

HOUR = 60
DAY = 24 * HOUR
LONGEST = 10 * DAY
LABELS = {"database": "agent", "instance": "ci-1", "job": "node"}
NODE = {"instance": "ci-1", "job": "node"}
FILE = "/var/lib/prometheus/node-exporter/sqlite_backup.root.agent.prom"

Series = dict[str, str]


def metric(name: str, **labels: str) -> str:
    return f"database_backup_{name}" + of({**LABELS, **labels})


def of(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in labels.items()) + "}"


def always(value: float) -> str:
    return f"{value}x{LONGEST}"


# Time begins at 0: what was last done at 0 gets older with each minute.
OK = metric("state", state="ok")
MTIME = "node_textfile_mtime_seconds" + of({**NODE, "file": FILE})
NOW = f"0+60x{LONGEST}"
WELL: Series = {
    OK: always(1),
    metric("state", state="degraded"): always(0),
    metric("state", state="failing"): always(0),
    metric("state", state="missed"): always(0),
    metric("recovery_point_timestamp_seconds"): NOW,
    metric("rpo_objective_seconds"): always(7200),
    metric("last_run_code"): always(0),
    metric("suspect"): always(0),
    metric("last_verified_timestamp_seconds"): NOW,
    metric("last_drill_timestamp_seconds"): NOW,
    metric("last_drill_success"): always(1),
    metric("rto_seconds"): always(20),
    metric("rto_objective_seconds"): always(60),
    metric("rto_outlook_seconds"): always(30),
    metric("target_success", target="nas"): always(1),
    metric("target_recovery_point_timestamp_seconds", target="nas"): NOW,
    metric("target_rpo_objective_seconds", target="nas"): always(7200),
    metric("free_bytes"): always(50 * 2**30),
    metric("filesystem_bytes"): always(100 * 2**30),
    metric("database_bytes"): always(2**30),
    MTIME: NOW,
}


OTHER: Series = {
    metric("state", state="ok", instance="ci-2"): always(1),
    metric("recovery_point_timestamp_seconds", instance="ci-2"): NOW,
    metric("last_verified_timestamp_seconds", instance="ci-2"): NOW,
}


class Case:
    """What makes an alert fire, after ``first`` minutes for the first time; its texts have ``value`` as the number."""

    def __init__(
        self,
        alert: str,
        first: int,
        value: str,
        changes: Mapping[str, str | None],
        labels: Mapping[str, str] | None = None,
    ) -> None:
        self.alert, self.first, self.value, self.labels = f"SqliteBackup{alert}", first, value, labels or LABELS
        self.series = {name: values for name, values in {**WELL, **changes}.items() if values is not None}


def stopped(name: str, **labels: str) -> Series:
    """What happened at 0 for the last time."""
    return {metric(name, **labels): always(0)}


AT = "target_recovery_point_timestamp_seconds"
AT_NAS = {**LABELS, "target": "nas"}
NEVER_PUSHED = {metric(AT, target="nas"): None, metric("target_success", target="nas"): None}
CASES = [
    Case("TooOld", 2 * HOUR + 1, "2h 1m 0s", stopped("recovery_point_timestamp_seconds")),
    Case(
        "TooOld",
        26 * HOUR + 1,
        "1d 2h 1m 0s",
        {**stopped("recovery_point_timestamp_seconds"), metric("rpo_objective_seconds"): None},
    ),
    Case("None", HOUR, "", {metric("recovery_point_timestamp_seconds"): None}),
    Case("Failed", 0, "12", {metric("last_run_code"): always(12)}),
    Case("Failed", 0, "9", {metric("last_run_code", user="app"): always(9)}, {**LABELS, "user": "app"}),
    Case("Suspect", 0, "", {metric("suspect"): always(1)}),
    Case("NotVerified", 9 * DAY + HOUR, "9d 1h 0m 0s", stopped("last_verified_timestamp_seconds")),
    Case("NeverVerified", 9 * DAY, "", {metric("last_verified_timestamp_seconds"): None}),
    Case("DrillFailed", 0, "", {metric("last_drill_success"): always(0)}),
    Case("DrillTooOld", 9 * DAY + HOUR, "9d 1h 0m 0s", stopped("last_drill_timestamp_seconds")),
    Case("TargetBehind", 2 * HOUR + 1, "2h 1m 0s", stopped(AT, target="nas"), AT_NAS),
    Case(
        "TargetBehind",
        26 * HOUR + 1,
        "1d 2h 1m 0s",
        {**stopped(AT, target="nas"), metric("target_rpo_objective_seconds", target="nas"): None},
        AT_NAS,
    ),
    Case("TargetEmpty", HOUR, "", {metric(AT, target="nas"): None}, AT_NAS),
    Case("TargetEmpty", HOUR, "", NEVER_PUSHED, AT_NAS),
    Case("PushFailed", 0, "", {metric("target_success", target="nas"): always(0)}, AT_NAS),
    Case("DiskNearlyFull", 0, "9Gi", {metric("free_bytes"): always(9 * 2**30)}),
    Case("DiskNearlyFull", 0, "50Gi", {metric("database_bytes"): always(26 * 2**30)}),
    Case("RtoMissed", 0, "1m 1s", {metric("rto_seconds"): always(61), metric("rto_outlook_seconds"): always(90)}),
    Case("RtoMissedSoon", 0, "1m 1s", {metric("rto_outlook_seconds"): always(61)}),
    Case("State", 0, "", {metric("state", state="missed"): always(1)}, {**LABELS, "state": "missed"}),
    Case("State", 0, "", {metric("state", state="failing"): always(1)}, {**LABELS, "state": "failing"}),
    Case("NotWritten", 26 * HOUR + 1, "1d 2h 1m 0s", {MTIME: always(0)}, {**NODE, "file": FILE}),
    # Of another host there is still something to hear.
    Case("Absent", 10 * HOUR + 1 + HOUR, "", {OK: f"1x{10 * HOUR} stale", **OTHER}),
    Case("NothingWatched", HOUR, "", dict.fromkeys(WELL), {"state": "ok"}),
]


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return monitoring.rules(tmp_path_factory.mktemp("rules") / "rules")


def promtool(*words: str) -> str:
    command = [monitoring.program("promtool"), *words]
    run = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout
    return run.stdout


def found(rules: Path) -> dict[str, Any]:
    (group,) = yaml.safe_load(rules.read_text(encoding="utf-8"))["groups"]
    return {each["alert"]: each for each in group["rules"]}


def expected(alert: str, minute: int, *fires: dict[str, Any]) -> dict[str, Any]:
    return {"eval_time": f"{minute}m", "alertname": alert, "exp_alerts": [*fires]}


def prove(folder: Path, rules: Path, series: Series, alerts: list[dict[str, Any]], *, every: int) -> None:
    """Let promtool prove it, which evaluates the rules ``every`` so many minutes."""
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": given, "alert_rule_test": alerts}
    content = {"rule_files": [str(rules)], "evaluation_interval": f"{every}m", "tests": [test]}
    file = folder / "tests.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    promtool("test", "rules", str(file))


def test_the_rules_are_right(rules: Path) -> None:
    assert f"{len(found(rules))} rules found" in promtool("check", "rules", str(rules))


def test_each_rule_has_a_case_and_a_text(rules: Path) -> None:
    assert {case.alert for case in CASES} == found(rules).keys()
    for name, rule in found(rules).items():
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description", "runbook"}
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md, {name}"
        assert "sqlite-backup " in rule["annotations"]["description"]
        assert "http" not in str(rule["annotations"])


def test_the_guide_has_each_alert_and_each_metric(rules: Path) -> None:
    text = (harness.ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == [*found(rules)]
    assert {*re.findall(r"`(database_backup_\w+)`", text)} == monitoring.METRICS
    for name in re.findall(r"sqlite_monitoring_alert_\w+", text):
        assert name in (harness.ROOT / "roles" / "sqlite_monitoring" / "defaults" / "main.yml").read_text("utf-8")


def test_nothing_fires_where_all_is_well(rules: Path, tmp_path: Path) -> None:
    moments = (0, 3 * HOUR, 10 * DAY)
    prove(tmp_path, rules, WELL, [expected(name, at) for name in found(rules) for at in moments], every=HOUR)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_and_nothing_else(case: Case, rules: Path, tmp_path: Path) -> None:
    alerts = [expected(name, case.first) for name in found(rules).keys() - {case.alert}]
    alerts += [expected(case.alert, case.first, firing(case, found(rules)[case.alert]))]
    every = HOUR if case.first > 2 * DAY else 1
    alerts += [expected(case.alert, case.first - every)] if case.first else []
    prove(tmp_path, rules, case.series, alerts, every=every)


def firing(case: Case, rule: Mapping[str, Any]) -> dict[str, Any]:
    """What is told: the texts of the rule, with the labels and the value of the case in them."""

    def filled(text: str) -> str:
        user = case.labels.get("user")
        text = text.replace("{{ with $labels.user }} as {{ . }}{{ end }}", f" as {user}" if user else "")
        for name, value in case.labels.items():
            text = text.replace(f"{{{{ $labels.{name} }}}}", value)
        return re.sub(r"\{\{ \$value[^}]*\}\}", case.value, text)

    told = {name: filled(text) for name, text in rule["annotations"].items()}
    assert "{{" not in str(told)
    assert case.value in told["summary"]
    return {"exp_labels": {**case.labels, **rule["labels"]}, "exp_annotations": told}


def test_thresholds_are_variables(tmp_path: Path) -> None:
    """Those of the tests above are the defaults."""
    names = ("max_age", "max_target_age", "max_unverified", "max_drill_age", "max_silence", "absent_after", "remember")
    given = {f"sqlite_monitoring_alert_{name}": f"{number}m" for number, name in enumerate(names, 1001)}
    text = monitoring.rules(tmp_path, **given, sqlite_monitoring_alert_min_free_percent="77").read_text(
        encoding="utf-8"
    )
    assert [60 * number for number, _name in enumerate(names, 1001) if str(60 * number) not in text] == []
    assert "< 77 *" in text
