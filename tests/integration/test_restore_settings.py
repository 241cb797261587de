# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of a restore on a Windows host: which database it is, and what the runner answered."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.filter.restore_failures import restore_failures
from ansible_collections.sqliteops.backup.plugins.filter.restore_settings import (
    restore_settings,
    restore_settings_problems,
)
from ansible_collections.sqliteops.backup.plugins.filter.runner_answer import runner_answer

DEST = r"C:\srv\agent.db"
GIVEN = {"dest": DEST, "repository": r"D:\backups\agent"}
ERROR = {"message": "Cannot restore: it is open.", "hint": "Stop it.\nforce: sqlite-backup restore --config C:\\x"}


def described(**content: Any) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def database(description: str = "", **more: Any) -> tuple[str, dict[str, Any]]:
    told = restore_settings({**GIVEN, **more}, description)
    return told["name"], told["files"][f"databases.d\\{told['name']}.json"]


def test_the_repository_says_which_database_it_is() -> None:
    name, content = database(described(name="orders", source=r"C:\old\orders.db"))

    assert (name, content["path"], content["repository"]) == ("orders", r"C:\old\orders.db", r"D:\backups\agent")


def test_of_a_database_from_another_system_only_the_name_counts() -> None:
    name, content = database(described(name="orders", source="/srv/orders.db"))

    assert (name, content["path"]) == ("orders", DEST)


@pytest.mark.parametrize("description", ["", described(name=7), base64.b64encode(b"\0damaged").decode(), "no base64!"])
def test_a_damaged_description_leaves_the_name_of_the_directory(description: str) -> None:
    name, content = database(description)

    assert (name, content["path"]) == ("agent", DEST)
    assert database(description, repository="D:\\my backups")[0] == "database"


def test_what_is_wrong_is_told() -> None:
    assert restore_settings_problems(GIVEN) == []
    (problem,) = restore_settings_problems({**GIVEN, "assertions": [{"sq": "SELECT 1"}]})
    assert problem.startswith("sqlite_restore: assertions: there is no key sq.")
    with pytest.raises(AnsibleFilterError, match="Allowed is an absolute path of Windows"):
        restore_settings({**GIVEN, "repository": "backups"})


def test_what_the_runner_answered() -> None:
    results = [{"name": "agent", "error": ERROR, "warnings": ["slow"], "changed": True, "restore": {"backup": "x"}}]
    failed = {"rc": 17, "failed": True, "stdout": json.dumps({"error": None, "results": results})}

    answer = runner_answer(failed)

    said = "Cannot restore: it is open. Stop it."
    assert answer == {"changed": True, "failed": True, "msg": said, "warnings": ["slow"], "restore": {"backup": "x"}}
    assert restore_failures([failed]) == said


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            {"rc": 2, "failed": True, "stdout": "", "stderr": "python.exe: can't open file\n"},
            "python.exe: can't open file",
        ),
        ({"failed": True, "msg": "Timed out"}, "Timed out"),
        ({"rc": 0, "stdout": "", "stderr": ""}, "It answered nothing."),
        ({"rc": 0, "stdout": "{", "stderr": ""}, "It answered nothing."),
        ({"skipped": True}, ""),
    ],
)
def test_what_answered_nothing(result: dict[str, Any], said: str) -> None:
    answer = runner_answer(result)

    assert (answer["failed"], answer["msg"]) == (bool(said), said)
