# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/notifications.md says what is configured and what is sent."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import watch_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import notify
from support import watched
from support.guides import Guide

GUIDE = Guide(Path(__file__).resolve().parents[2] / "docs" / "notifications.md")


def documents() -> list[Any]:
    return [json.loads(each.text) for each in GUIDE.blocks if each.language == "json"]


def test_example_is_a_configuration() -> None:
    found = watch_config.checked(documents()[0], file=Path("watch.json"), told="the example")
    assert [(each.name, each.type) for each in found.receivers] == [
        *(("healthchecks", "ping"), ("chat", "webhook"), ("pager", "command"))
    ]


def test_table_has_every_key() -> None:
    lines = [line for line in GUIDE.section("## Whom to tell").splitlines() if line.startswith("| `")]
    assert sorted(line.split("`")[1] for line in lines) == sorted(watch_config.KEYS["notify"].keys)
    (commands,) = [line for line in lines if line.startswith("| `commands`")]
    assert re.findall(r"`(\w+)`", commands.split("|")[2]) == [*watch_config.TOLD]
    (moments,) = [line for line in lines if line.startswith("| `when`")]
    assert re.findall(r"`(\w+)`", moments.split("|")[2]) == [*watch_config.MOMENTS]


def test_document_that_is_sent_has_these_keys() -> None:
    told = notify.content(watched.observation(), watched.run(), details=False)
    assert [*documents()[1]] == [*told]
