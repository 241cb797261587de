# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`sqlite-backup try`: a configuration is tried before it takes the place of the one that works."""

from __future__ import annotations

import io
import json
import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from support import databases
from support.hosts import Host, Said

NO_RULE = {"keep_within": "0s", "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}


def tried(host: Host, monkeypatch: pytest.MonkeyPatch, *words: str, name: str = "agent", **changed: Any) -> Said:
    """Try the configuration of `agent`, changed like this."""
    content = json.loads((host.config / "databases.d" / "agent.json").read_bytes())
    given = io.BytesIO(json.dumps({**content, **changed}).encode())
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=given))
    return host.run("try", name, *words)


def everything(host: Host) -> dict[str, str]:
    return {name: digest for name, digest in databases.tree(host.directory).items() if not name.endswith(".lock")}


def test_what_can_succeed_is_no_failure_and_writes_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.run("backup", "agent")
    host.change()
    before = everything(host)

    for words in ((), ("--if-backed-up",)):
        said = tried(host, monkeypatch, *words, compression_level=9, keep_daily=3)

        assert (said.code, said.out, said.err) == (0, "agent: backups can succeed with it\n", "")
    assert everything(host) == before


@pytest.mark.parametrize(
    ("changed", "code", "told"),
    [
        ({"timeout": "1 hour"}, 2, 'timeout is "1 hour"'),
        ({"keep_dayly": 1}, 2, "keep_dayly: there is no such key"),
        ({"compression_level": 99}, 2, "level 99"),
        ({"encryption": {"method": "age"}}, 2, "age needs recipients"),
        ({"timezone": "Europe/Berlim"}, 2, "Europe/Berlim"),
        ({"path": "/nowhere/agent.db"}, 10, "/nowhere/agent.db: the file does not exist"),
        (NO_RULE, 18, "keeps nothing"),
    ],
)
def test_what_makes_every_run_fail_is_refused(
    host: Host, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any], code: int, told: str
) -> None:
    host.run("backup", "agent")
    before = everything(host)

    said = tried(host, monkeypatch, "--if-backed-up", **changed)

    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(f"agent: error {code}: ")
    assert told in said.err
    assert everything(host) == before


def test_the_first_backup_is_the_better_test(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = {"path": "/nowhere/agent.db"}

    said = tried(host, monkeypatch, "--if-backed-up", **missing)

    assert (said.code, said.out) == (0, "agent: not tried: there is no backup yet\n")
    assert tried(host, monkeypatch, **missing).code == 10
    assert tried(host, monkeypatch, "--if-backed-up", timeout="1 hour").code == 2


def test_what_the_configuration_cannot_help_is_a_warning(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends the trouble must not be refused for that trouble."""
    host.run("backup", "agent")
    content = host.database().read_bytes()
    host.database().write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))

    said = tried(host, monkeypatch, check="full")

    assert (said.code, said.out) == (0, "agent: backups can succeed with it\n")
    assert said.err.startswith("agent: warning: ")


def test_a_database_need_not_be_configured_yet(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = str(host.repository("new"))

    assert tried(host, monkeypatch, name="new", repository=repository).code == 0
    assert not host.repository("new").exists()
    assert tried(host, monkeypatch, name="new db").code == 2
    assert tried(host, monkeypatch, "other").code == 2
    assert host.run("try").code == 2


def test_it_reads_standard_input(host: Host) -> None:
    done = subprocess.run(host.command("try", "agent"), input="{", capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert done.stderr.startswith("agent: error 2: agent: it is not JSON")
