# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare a restored database with the live one that it is a backup of, while its application adds to that.

    compare.py /srv/agent/agent.db /var/tmp/restored.db

Prints one JSON document. The application only ever adds, so each row of the backup must still be there, and what the
backup lacks are the commits that came after it.
"""

from __future__ import annotations

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "support"))

import writer


def _tables(connection: sqlite3.Connection) -> list[str]:
    query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"
    return [name for (name,) in connection.execute(query)]


def _rows_only_in(connection: sqlite3.Connection, table: str, one: str, other: str) -> int:
    query = f'SELECT count(*) FROM (SELECT * FROM {one}."{table}" EXCEPT SELECT * FROM {other}."{table}")'
    (count,) = connection.execute(query).fetchone()
    return int(count)


def compare(live: Path, restored: Path) -> dict[str, Any]:
    with closing(sqlite3.connect(f"{restored.as_uri()}?mode=ro", uri=True, isolation_level=None)) as connection:
        (integrity,) = connection.execute("PRAGMA integrity_check").fetchone()
        commits = writer.commits_in(connection)
        tables = _tables(connection)
        connection.execute("ATTACH ? AS live", (f"{live.as_uri()}?mode=ro",))
        connection.execute("BEGIN")  # so that all that follows is of one moment
        now = _live_commits(connection)
        strange = {table: _rows_only_in(connection, table, "main", "live") for table in tables}
        lacking = _rows_only_in(connection, "AgentRun", "live", "main")
    return {
        "integrity": integrity,
        "whole": commits.whole,
        "commits": commits.total,
        "lacks_commits": now - commits.total,
        "lacks_runs": lacking,
        "strange_rows": sum(strange.values()),
    }


def _live_commits(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM live.Metric WHERE name = ?", (writer.METRIC,)).fetchone()
    return int(count)


if __name__ == "__main__":
    print(json.dumps(compare(Path(sys.argv[1]), Path(sys.argv[2]))))
