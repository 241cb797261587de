# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let a database live for weeks of backups, with a moved clock, under the retention that the role configured.

    life.py /etc/sqlite-backup/databases.d/metrics.json /var/tmp/life

Prints one JSON document: which backups should be there by the policy, worked out here from the moments alone, and which
are there, and whether the runner finds all of them whole.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

RUNNER = "/usr/local/bin/sqlite-backup"
LIVED = timedelta(days=75)
DAILY, OFTEN = 42, 30  # runs: one a day for six weeks, then one every 53 minutes, so that some hours have two
PERIODS: dict[str, Callable[[datetime], str]] = {
    "keep_hourly": lambda moment: moment.strftime("%Y-%m-%d %H"),
    "keep_daily": lambda moment: moment.strftime("%Y-%m-%d"),
    "keep_weekly": lambda moment: moment.strftime("%G-%V"),
    "keep_monthly": lambda moment: moment.strftime("%Y-%m"),
}


def moments() -> list[datetime]:
    begin = datetime.now(timezone.utc).replace(minute=17, second=0, microsecond=0) - LIVED
    days = [begin + timedelta(days=number) for number in range(DAILY)]
    return days + [days[-1] + timedelta(minutes=53 * number) for number in range(1, OFTEN + 1)]


def expected(lived: list[datetime], policy: dict[str, Any]) -> list[str]:
    """All of the last day, and the newest of each of the newest periods: docs/retention.md in a few lines."""
    within = timedelta(days=int(policy["keep_within"].rstrip("d")))
    kept = {moment for moment in lived if lived[-1] - moment < within}
    for key, period in PERIODS.items():
        newest = {period(moment): moment for moment in lived}
        kept.update(sorted(newest.values())[-policy[key] :] if policy[key] else [])
    return [f"{moment:%Y-%m-%d %H:%M}" for moment in sorted(kept)]


def runner(config: Path, *words: str, moment: datetime | None = None) -> dict[str, Any]:
    clock = ["faketime", "-f", f"@{moment:%Y-%m-%d %H:%M:%S}"] if moment else []
    command = [*clock, RUNNER, *words, "--config", str(config), "--json"]
    done = subprocess.run(command, env={**os.environ, "TZ": "UTC"}, stdout=subprocess.PIPE, check=False)
    answer: dict[str, Any] = json.loads(done.stdout)
    if answer["code"]:
        raise RuntimeError(f"{command}: {answer}")
    return answer["results"][0]


def main() -> None:
    provisioned = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    policy = {key: value for key, value in provisioned.items() if key.startswith("keep_")}
    root = Path(sys.argv[2])
    config, database = root / "config", root / "life.db"
    (config / "databases.d").mkdir(parents=True, mode=0o700)
    settings = {"path": str(database), "repository": str(root / "repository"), **policy}
    written = config / "databases.d" / "life.json"
    written.write_text(json.dumps(settings), encoding="utf-8")
    written.chmod(0o600)
    begin, lived = time.monotonic(), moments()
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE day (moment TEXT)")
        for moment in lived:
            connection.execute("INSERT INTO day VALUES (?)", (str(moment),))
            runner(config, "backup", "life", moment=moment)
    # As of the last moment, or all of them were old.
    listed = runner(config, "list", "life", moment=lived[-1])["repository"]["backups"]
    verified = runner(config, "verify", "life", "--backup", "all", "--level", "full", moment=lived[-1])
    answer = {
        "runs": len(lived),
        "seconds": round(time.monotonic() - begin, 1),
        "policy": policy,
        "expected": expected(lived, policy),
        "kept": [each["created"][:16].replace("T", " ") for each in listed],
        "verification": verified["verification"]["outcome"],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
