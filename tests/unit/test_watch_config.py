# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tests of runner/watch_config.py: what a host tells of its backups, and to whom."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import watch_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.watch_config import Watch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import RefusedError, UsageError

PING: dict[str, Any] = {"name": "hc", "type": "ping", "url": "https://hc-ping.com/secret/{database}"}
COMMAND: dict[str, Any] = {"name": "own", "type": "command", "command": ["/usr/local/bin/tell", "--now"]}


def checked(**content: Any) -> Watch:
    return watch_config.checked(content, file=Path("/etc/sqlite-backup/watch.json"), told="watch.json")


def test_table_in_the_documentation_has_every_key() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "runner.md").read_text(encoding="utf-8")
    table = text.partition("| key of `watch.json` |")[2].partition("\n\n")[0]
    found = re.findall(r"^\| `(\w+)` \| .* \| (\w+) \| .* \|$", table, re.MULTILINE)
    assert sorted(found) == sorted((name, key.type) for name, key in watch_config.KEYS.items())


def test_without_a_file_nobody_is_told(tmp_path: Path) -> None:
    assert watch_config.load(tmp_path) == Watch()


def test_a_file_is_read(tmp_path: Path) -> None:
    file = watch_config.file_of(tmp_path)
    file.write_text('{"textfile_directory": "/var/lib/node", "audit": {"syslog": true}}')
    file.chmod(0o600)
    assert watch_config.load(tmp_path) == Watch(textfile_directory=Path("/var/lib/node"), syslog=True)


def test_a_file_that_others_can_write_is_refused(tmp_path: Path) -> None:
    file = watch_config.file_of(tmp_path)
    file.write_text("{}")
    file.chmod(0o666)
    with pytest.raises(RefusedError):
        watch_config.load(tmp_path)


def test_a_link_to_nowhere_is_not_taken_for_a_file_that_is_not_there(tmp_path: Path) -> None:
    watch_config.file_of(tmp_path).symlink_to(tmp_path / "nowhere")
    with pytest.raises(Exception, match=r"watch\.json"):
        watch_config.load(tmp_path)


def test_a_receiver_hears_of_backups_only_and_of_all_of_them_unless_it_says_more() -> None:
    (found,) = checked(notify=[PING]).receivers
    assert all(found.wants("backup", each, "agent") for each in ("start", "success", "failure"))
    assert not found.wants("drill", "failure", "agent")
    (found,) = checked(notify=[{**PING, "commands": ["drill"], "when": ["failure"], "databases": ["orders"]}]).receivers
    assert found.wants("drill", "failure", "orders")
    assert not found.wants("drill", "failure", "agent")
    assert not found.wants("drill", "success", "orders")


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        ({"notify": [{**PING, "url": "ftp://x/secret"}]}, "notify[0].url"),
        ({"notify": [{**PING, "url": "https://x/a b"}]}, "notify[0].url"),
        ({"notify": [{**PING, "url": None}]}, "notify[0]"),
        ({"notify": [{**PING, "command": ["/bin/true"]}]}, "notify[0]"),
        ({"notify": [{**COMMAND, "url": "https://x"}]}, "notify[0]"),
        ({"notify": [{**COMMAND, "command": ["tell"]}]}, "notify[0].command"),
        ({"notify": [COMMAND, COMMAND]}, "notify[0].name"),
        ({"notify": [{**PING, "when": ["sucess"]}]}, "notify[0].when"),
        ({"notify": [{**PING, "commands": ["backups"]}]}, "notify[0].commands"),
        ({"notify": [{**PING, "type": "mail"}]}, "notify[0].type"),
        ({"otlp": {"endpoint": "localhost:4318"}}, "otlp.endpoint"),
        ({"otlp": {}}, "otlp.endpoint"),
        ({"status_file": "status.json"}, "status_file"),
    ],
)
def test_what_is_wrong_is_named_without_telling_a_secret(content: dict[str, Any], wrong: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked(**content)
    assert wrong in caught.value.message
    assert caught.value.hint
    assert "secret" not in str(caught.value)
