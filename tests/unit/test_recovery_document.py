# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide to getting data back is followed: each command and each merge in its order, after an accident."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from support import agent_db, databases
from support.guides import Block, Guide
from support.hosts import Host, Said

GUIDE = Guide(Path(__file__).resolve().parents[2] / "docs" / "recovery.md")
SECTIONS = ("## Which backup is the last good one?", "## What changed between two backups", "## Getting a part back")
TABLES = ("AgentRun", "ErrorFact", "FixAttempt", "Metric", "LearningPattern")


def blocks() -> Iterator[Block]:
    for heading in SECTIONS:
        yield from (each for each in GUIDE.blocks if each.text in GUIDE.section(heading))


def content(path: Path, *tables: str) -> dict[str, list[tuple[object, ...]]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        return {each: connection.execute(f'SELECT * FROM "{each}" ORDER BY 1').fetchall() for each in tables}


class Reader:
    """Whoever follows the guide, with a directory in place of /root and of /srv/ci-fixer."""

    def __init__(self, host: Host, root: Path) -> None:
        self.host = host
        self.root = root
        self.said: list[Said] = []
        self.good = host.ids()[0]

    def there(self, text: str) -> str:
        return text.replace("/root/", f"{self.root}/").replace("/srv/ci-fixer/agent.db", str(self.host.database()))

    def follow(self, command: str) -> None:
        words = shlex.split(self.there(command).replace(" ID ", f" {self.good} "))
        if words[0] == "sqlite-backup":
            self.said.append(self.host.run(*words[1:]))
            assert self.said[-1].code == 0, self.said[-1].err
        elif words[0] == "sqlite3":
            assert words[-2:] == ["<", "merge.sql"]
            script = (self.root / "merge.sql").read_text(encoding="utf-8")
            subprocess.run(words[:-2], input=script, check=True, text=True, capture_output=True, timeout=60)
        else:
            subprocess.run(words, check=True, timeout=60)


def accident(path: Path, sql: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(f"PRAGMA foreign_keys = ON; {sql}")
    databases.settle(path)


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="the shell of SQLite is not installed")
@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 33), reason="this SQLite has no UPDATE FROM")
def test_the_guide_brings_the_rows_back(host: Host, tmp_path: Path, moment: list[datetime]) -> None:
    host.database().unlink()
    agent_db.create(host.database(), runs=40)
    databases.settle(host.database())
    host.run("backup", "agent")
    whole = content(host.database(), *TABLES)
    reader = Reader(host, tmp_path)
    moment[0] += timedelta(hours=1)
    lost = "DELETE FROM AgentRun WHERE rowid % 3 = 0;"
    spoilt = "UPDATE AgentRun SET status = 'spoilt' WHERE rowid % 3 = 1;"
    # What each merge is for happened before it.
    accidents = iter([lost, spoilt, spoilt])
    last = ""
    for block in blocks():
        if block.language == "sql":
            last = block.text
            (tmp_path / "merge.sql").write_text(reader.there(last), encoding="utf-8")
            accident(host.database(), next(accidents))
            assert content(host.database(), "AgentRun") != {"AgentRun": whole["AgentRun"]}
            reader.follow("sqlite3 -bail /srv/ci-fixer/agent.db < merge.sql")
            assert content(host.database(), *TABLES[:3]) == {each: whole[each] for each in TABLES[:3]}
        else:
            for command in block.commands:
                reader.follow(command)
    assert not next(accidents, "")
    assert "hold the same" in reader.said[-1].out
    assert not (tmp_path / "part.db").exists()
