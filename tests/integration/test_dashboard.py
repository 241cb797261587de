# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dashboard for Grafana, as a document; test_alerts.py asks Prometheus its questions."""

from __future__ import annotations

import itertools
import re
from typing import Any

from integration import monitoring

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import metrics

DASHBOARD = monitoring.dashboard()
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
COLUMNS = 24


def test_grafana_can_tell_it_from_others() -> None:
    assert DASHBOARD["uid"] == "sqliteops-backup"
    assert DASHBOARD["title"]
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert "id" not in DASHBOARD, "that is for the Grafana that it is put into"


def test_panels_have_their_own_number_and_a_text() -> None:
    numbers = [panel["id"] for panel in PANELS]
    assert len(numbers) == len({*numbers})
    assert [panel["title"] for panel in PANELS if panel["type"] != "row" and not panel["description"]] == []


def test_no_panel_lies_on_another() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in PANELS]
    for title, place in places:
        assert place["x"] >= 0, title
        assert place["x"] + place["w"] <= COLUMNS, title
        assert min(place["w"], place["h"]) > 0, title
    for (one, a), (other, b) in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        below = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or below, (one, other)


def test_there_is_a_row_for_each_database() -> None:
    (row,) = [panel for panel in PANELS if panel.get("repeat")]
    assert (row["type"], row["repeat"], row["title"]) == ("row", "database", "$database")
    names = {panel["title"] for panel in PANELS if panel["gridPos"]["y"] > row["gridPos"]["y"]}
    wanted = {"State", "Age of the newest good backup", "Sizes", "Durations", "Changed", "Copies elsewhere"}
    assert wanted | {"Restore time", "Last drill", "Runs in a day", "Disk of the backups"} <= names


def test_each_question_is_about_what_was_chosen() -> None:
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert [*variables] == ["datasource", "instance", "database"]
    for panel in PANELS:
        assert panel["type"] == "row" or panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for target in panel.get("targets", []):
            selectors = re.findall(r"database_backup_\w+(\{[^}]*\})?", target["expr"])
            chosen = '{instance=~"$instance", database=~"$database"'
            assert [each for each in selectors if not each.startswith(chosen)] == [], panel["title"]
        letters = [target["refId"] for target in panel.get("targets", [])]
        assert len(letters) == len({*letters}), panel["title"]


def test_each_metric_is_on_it() -> None:
    assert {each.name for each in metrics.METRICS} == monitoring.METRICS
    shown = {name for _title, expr in monitoring.questions() for name in re.findall(r"database_backup_\w+", expr)}
    of_rules = {"database_backup_last_success_timestamp_seconds", "database_backup_last_run_timestamp_seconds"}
    silent = {"database_backup_info", "database_backup_rpo_seconds", "database_backup_suspect"}
    assert shown == monitoring.METRICS - of_rules - silent
