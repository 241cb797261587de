# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is wrong with a configuration wherever it is used."""

from __future__ import annotations

import zoneinfo
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config


def _configured(**changed: Any) -> dict[str, Any]:
    values = {key: [] if each.type == "list" else each.default for key, each in config.KEYS.items()}
    return {**values, "path": "/srv/agent.db", "repository": "/backups/agent", **changed}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"compression_level": 99}, "compression_level"),
        ({"compression": "gzip", "compression_level": 15}, "compression_level"),
        ({"encryption": {"method": "age", "recipients": [], "passphrase_file": None}}, "encryption"),
        ({"include": [{"src": "/srv/a", "name": "../a", "redact": False}]}, "include"),
        (
            dict.fromkeys(("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly"), 0) | {"keep_within": "0s"},
            "keep_*",
        ),
        ({"keep_daily": -1}, "keep_*"),
        ({"timezone": "Europe/Berlim"}, "timezone"),
    ],
)
def test_mistakes_are_what_fails_everywhere(changed: dict[str, Any], key: str) -> None:
    assert [each for each, _error in config.mistakes(_configured(**changed))] == [key]


def test_what_only_this_host_lacks_is_no_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    recipients = {"method": "age", "recipients": ["/etc/nowhere"], "passphrase_file": None}

    given = _configured(compression_level=19, encryption=recipients, timezone="Mars/Olympus")

    assert list(config.mistakes(given)) == []
