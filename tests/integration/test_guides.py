# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The pages that people follow are followed: each command, in its order, on hosts as the page has them.

What is not run here has its reason beside it. A command that is new in a page is run as it is, or fails here.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from integration import containers, harness, night
from integration.containers import Host
from integration.walk import AGENT, BACKUP_ID, REPOSITORY, Deed, Walk, last_id, one

from support.guides import Block, Guide

# Whoever builds the images first lets the others wait.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PRODUCTION = Guide(harness.ROOT / "docs" / "first-production-host.md")
LOST_SERVER = Guide(harness.ROOT / "docs" / "runbook-lost-server.md")
MOLECULE = Guide(harness.ROOT / "docs" / "testing-with-molecule.md")
README = Guide(harness.ROOT / "README.md")
NIGHT = "## 8. At 3 a.m."

MIGRATION = """#!/bin/sh
# In place of npx: a migration of Prisma that goes well.
test "$*" = 'prisma migrate deploy' && sqlite3 /srv/ci-fixer/agent.db 'CREATE TABLE "Migrated" ("id" TEXT)'
"""


def _install_application(host: Host) -> None:
    """What was there before anybody thought of backups, and the programs that the application came with."""
    host.must("apt-get update -qq 2>&1")
    host.must("DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends sqlite3 age 2>&1")
    host.must("ln -sf /usr/share/zoneinfo/Europe/Berlin /etc/localtime")
    host.must("useradd --create-home --home-dir /srv/ci-fixer --shell /bin/sh ci-fixer; mkdir /srv/ci-fixer/prisma")
    host.must("echo 'model AgentRun {}' >/srv/ci-fixer/prisma/schema.prisma")
    host.must("echo 'DATABASE_URL=file:../agent.db' >/srv/ci-fixer/.env")
    for name in ("agent", "metrics"):
        host.must(f"/usr/bin/python3 /opt/support/agent_db.py --runs=40 /srv/ci-fixer/{name}.db")
    host.must("chown -R ci-fixer:ci-fixer /srv/ci-fixer")
    host.must(f"cat >/usr/local/bin/npx <<'END'\n{MIGRATION}END\nchmod 755 /usr/local/bin/npx")


def test_first_production_host(tmp_path: Path) -> None:
    containers.skip_without()
    assert [row.see for row in PRODUCTION.rows(NIGHT)] == list(night.ROWS)
    with containers.started(tmp_path, "production", names=["ci-1.example.org"]) as host:
        _install_application(host)
        _Production(host).walk.go(write=_files(tmp_path, ["inventory.ini", "group_vars/ci.yml"]))


class _Production:
    def __init__(self, host: Host) -> None:
        hidden = night.WithoutTheRunner()
        self._pinned = ""
        playbook = "sqliteops.backup.provision_backups"
        provision = f"ansible-playbook -i inventory.ini {playbook} --become -e sqlite_backup_hosts=ci"
        deeds: dict[str, Deed] = {
            **night.ROWS,
            f"{provision} --check --diff": self._look,
            provision: self._provision,
            "ls /var/backups/sqlite": self._not_for_others,
            "journalctl -t sqlite-backup --since '-1 hour'": self._journal,
            "sqlite-backup guard agent --reason 'migration 42' -- npx prisma migrate deploy": self._guard,
            "sqlite-backup unpin agent --backup ID": lambda walk, command: walk.run(command, ID=self._pinned),
            "sqlite-backup restore": "a sentence about all of its forms",
            _restore_playbook(PRODUCTION): self._restore,
            f"ls -d {REPOSITORY}/*-full": hidden.begin,
            f"zstd -d {REPOSITORY}/ID/database.sqlite.zst -o {AGENT}.new": hidden.unpack,
            f"mv {AGENT}{{,-wal,-shm,-journal}} {AGENT}.away/": hidden.move,
            f"chmod 600 {AGENT}": hidden.end,
            "rm -r": "a sentence about what nobody should do",
        }
        self.walk = Walk(PRODUCTION, host, deeds)

    def _look(self, walk: Walk, command: str) -> None:
        night.start_application(walk)
        walk.run(command)
        walk.host.must("test ! -e /etc/sqlite-backup -a ! -e /usr/local/bin/sqlite-backup")

    def _provision(self, walk: Walk, command: str) -> None:
        assert "failed=0" in walk.run(command)
        assert "Run it once more. It must say `changed=0`." in walk.guide.text
        assert re.search(r"changed=0 .*failed=0", walk.run(command))

    def _not_for_others(self, walk: Walk, command: str) -> None:
        assert walk.host.machine.log_in(command).code != 0

    def _journal(self, walk: Walk, command: str) -> None:
        """Without the waiting for the timer, whose service it is: those of Molecule are waited for."""
        walk.host.must("systemctl start sqlite-backup-agent.service")
        assert re.search(r"sqlite-backup\[\d+\]: agent: stored", walk.run(command))

    def _guard(self, walk: Walk, command: str) -> None:
        self._pinned = last_id(walk.run(command))
        walk.host.must(f"sqlite3 {AGENT} 'SELECT * FROM Migrated'")
        night.stop_application(walk)

    def _restore(self, walk: Walk, command: str) -> None:
        _lost_and_restored(walk, lambda: walk.run(command))


def test_readme(tmp_path: Path) -> None:
    containers.skip_without()
    with containers.started(tmp_path, "readme", names=["ci-1"]) as host:
        _install_application(host)
        (tmp_path / "inventory").write_text("[ci]\nci-1\n", encoding="utf-8")
        _Readme(host, tmp_path).go()


class _Readme:
    def __init__(self, host: Host, folder: Path) -> None:
        self._folder = folder
        self._pinned = ""
        self._playbook = _restore_playbook(README)
        elsewhere = "the session `artifact` builds and imports it; nothing is published from a test"
        deeds: dict[str, Deed] = {
            _command(README, "git clone"): "it is this checkout",
            "make demo": "`test_demo` runs it",
            "make demo DB=/path/to/your.db": "the same with a copy of that database",
            "make test": "it runs this",
            "make docs": "the session `docs` does that",
            "ansible-galaxy collection install sqliteops.backup": elsewhere,
            "ansible-galaxy collection build": elsewhere,
            "sqlite-backup pin": "the page names the command; `test_pinning` runs it",
            'sqlite-backup guard agent --reason "migration 42" -- npx prisma migrate deploy': self._guard,
            "sqlite-backup restore agent": lambda walk, command: _lost_and_restored(walk, lambda: walk.run(command)),
            "sqlite-backup unpin agent --backup ID": lambda walk, command: walk.run(command, ID=self._pinned),
            _command(README, "sqliteops.backup.backup_databases"): self._lists,
            self._playbook: lambda walk, command: _lost_and_restored(walk, lambda: walk.run(command)),
            "wrong data was written at a known time": self._before,
            "you want to look before you replace anything": self._look,
            "the restore was a mistake": self._undo,
            "`backup_now`": self._now,
        }
        self.walk = Walk(README, host, deeds)

    def go(self) -> None:
        self.walk.go(write=self._write)

    def _write(self, block: Block) -> None:
        content = yaml.safe_load(block.text)
        if block.text.startswith("# backups.yml"):
            (self._folder / "backups.yml").write_text(block.text, encoding="utf-8")
        elif "hosts" in content[0]:
            self._play(block.text)
            self._play(block.text)
        else:
            # Encrypted ones beside those that are not would need a key further down.
            text = block.text
            if "encryption:" in text:
                text = text.replace("sqlite/agent\n", "sqlite/agent-encrypted\n")
            self._play(f"- hosts: ci\n  become: true\n  tasks:\n{text}")

    def _play(self, text: str) -> None:
        (self._folder / "play.yml").write_text(text, encoding="utf-8")
        self.walk.run("ansible-playbook -i inventory play.yml")

    def _guard(self, walk: Walk, command: str) -> None:
        self._pinned = last_id(walk.run(command))
        walk.host.must(f"sqlite3 {AGENT} 'SELECT * FROM Migrated'")

    def _lists(self, walk: Walk, command: str) -> None:
        """Its files are as the heads of the two playbooks have them."""
        for name, playbook in (("databases.yml", "backup_databases"), ("repositories.yml", "verify_backups")):
            text = (harness.ROOT / "playbooks" / f"{playbook}.yml").read_text(encoding="utf-8")
            (example,) = re.findall(r"^#   (sqlite_\w+:\n(?:#   .*\n)+)", text, re.MULTILINE)
            (self._folder / name).write_text(example.replace("#   ", ""), encoding="utf-8")
        walk.run(command)

    def _before(self, walk: Walk, row: Any) -> None:
        (added,) = row.commands
        good, known = walk.rows(), walk.host.must("sleep 1.1; date -u +%Y-%m-%dT%H:%M:%SZ; sleep 1.1").strip()
        walk.host.must(f"sqlite3 {AGENT} 'DELETE FROM Metric'; sqlite-backup backup agent")
        assert walk.rows() != good

        walk.run(f"{self._playbook} {added.replace('2025-12-30T12:00:00Z', known)}")

        assert walk.rows() == good

    def _look(self, walk: Walk, row: Any) -> None:
        (added,) = row.commands
        before = walk.rows()
        walk.run(f"{self._playbook} {added}")
        walk.host.must("sqlite3 /root/agent-look.db 'SELECT count(*) FROM AgentRun'")
        assert walk.rows() == before

    def _undo(self, walk: Walk, row: Any) -> None:
        (added,) = row.commands
        walk.host.must(f"sqlite3 {AGENT} 'DELETE FROM FixAttempt WHERE rowid = 7'")
        before = walk.rows()
        walk.run(self._playbook)
        assert walk.rows() != before
        walk.run(f"{self._playbook} {added}")
        assert walk.rows() == before

    def _now(self, walk: Walk, row: Any) -> None:
        (added,) = row.commands
        walk.run(f"ansible-playbook -i inventory sqliteops.backup.backup_now --become {added}")


LOST_VARIABLES = """
sqlite_offsite_targets:
  - {name: nas, url: "file:///mnt/nas/{{ inventory_hostname }}"}
sqlite_backup_databases:
  - name: agent
    path: /srv/ci-fixer/agent.db
    include: [{src: /srv/ci-fixer/prisma}, {src: /srv/ci-fixer/.env, redact: true}]
    encryption: {method: age, recipients: [RECIPIENT]}
    targets: [nas]
"""


def test_runbook_of_a_lost_server(tmp_path: Path) -> None:
    """One host is both: it loses all but the mounted disk, and is then called by another name."""
    containers.skip_without()
    with containers.started(tmp_path, "lost", names=["ci-1", "ci-2"]) as host:
        _install_application(host)
        _LostServer(host, tmp_path).walk.go(write=lambda _block: None)


class _LostServer:
    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._playbook = _command(LOST_SERVER, "recover_server --become -e")
        deeds: dict[str, Deed] = {
            _command(LOST_SERVER, "ansible ci-2"): self._bring_key,
            _command(LOST_SERVER, "recover_server --become --check"): self._foresee,
            self._playbook: self._recover,
            "there is such a database on this host already": self._refuse,
            "this host knows no such user": "made by `_bring_key`",
            "lacks its secrets": "made by `_recover`",
            "systemctl start ci-fixer.service": lambda walk, _command: night.start_application(walk),
            "sqlite-backup status agent": self._status,
            "sqlite-backup list agent": lambda walk, command: self._list(walk.run(command)),
        }
        host.must("mkdir -p /mnt/nas; mount -t tmpfs tmpfs /mnt/nas; mkdir /mnt/nas/ci-1 /mnt/nas/ci-2")
        key = host.must("age-keygen 2>/dev/null")
        (folder / "backup.key").write_text(key, encoding="utf-8")
        (folder / "inventory.ini").write_text("[ci]\nci-1\nci-2\n", encoding="utf-8")
        (folder / "group_vars").mkdir()
        recipient = one(r"public key: (\S+)", key)
        variables = LOST_VARIABLES.replace("RECIPIENT", recipient)
        (folder / "group_vars" / "ci.yml").write_text(variables, encoding="utf-8")
        self.walk = Walk(LOST_SERVER, host, deeds)
        self._lose()

    def _lose(self) -> None:
        """Back up on ci-1 as ever, and then have nothing left but what was copied."""
        self.walk.run("ansible-playbook -i inventory.ini sqliteops.backup.provision_backups --become -l ci-1")
        targets = "ansible-playbook -i inventory.ini targets.yml --become"
        (self.walk.host.machine.folder / "targets.yml").write_text(
            "- {hosts: ci-1, roles: [sqliteops.backup.sqlite_offsite]}\n", encoding="utf-8"
        )
        self.walk.run(targets)
        self.walk.host.must("sqlite-backup push agent")
        self._rows = self.walk.rows()
        self.walk.host.must(
            "rm -r /srv/ci-fixer /var/backups/sqlite /etc/sqlite-backup /usr/local/bin/sqlite-backup"
            " /etc/cron.d/sqlite-backup-agent; userdel ci-fixer; mkdir /srv/ci-fixer"
        )

    def _bring_key(self, walk: Walk, command: str) -> None:
        done = walk.host.machine.run(command)
        assert done.code == 0, done.output
        assert "this host knows no such user" in self._said(walk, code=2)
        walk.host.must(
            "useradd --uid 4321 --home-dir /srv/ci-fixer --shell /bin/sh ci-fixer; chown ci-fixer /srv/ci-fixer"
        )
        walk.host.must("rm -r /etc/sqlite-backup /var/backups/sqlite")

    def _said(self, walk: Walk, code: int = 0, words: str = "") -> str:
        """What the playbook says, in one line."""
        return " ".join(walk.run(f"{self._playbook} {words}", code=code).split())

    def _foresee(self, walk: Walk, command: str) -> None:
        said = " ".join(walk.run(command).split())
        assert "file:///mnt/nas/ci-1/agent to /srv/ci-fixer/agent.db" in said
        walk.host.must("test ! -e /etc/sqlite-backup -a ! -e /srv/ci-fixer/agent.db")

    def _recover(self, walk: Walk, command: str) -> None:
        """The first run ends where the secrets are missing, which are in no backup; the second goes on there."""
        said = " ".join(walk.run(command, code=2).split())
        assert "/srv/ci-fixer/.env.redacted lacks its secrets" in said
        assert "the file to include, /srv/ci-fixer/.env, does not exist" in said
        assert walk.rows() == self._rows
        assert walk.host.must("stat -c '%U' /srv/ci-fixer/agent.db /srv/ci-fixer/prisma/schema.prisma").split() == [
            "ci-fixer",
            "ci-fixer",
        ]
        walk.host.must("cd /srv/ci-fixer; sed 's/<redacted>/file:agent.db/' .env.redacted >.env; rm .env.redacted")
        walk.run(command)
        assert "changed=0" in walk.run(command)

    def _refuse(self, walk: Walk, row: Any) -> None:
        """A database of which the repository knows nothing, as an application makes that is started too early."""
        (added,) = row.commands
        before = walk.rows()
        walk.host.must("mv /var/backups/sqlite/agent/history.jsonl /root/; rm /srv/ci-fixer/agent.db*")
        walk.host.must("sudo -u ci-fixer sqlite3 /srv/ci-fixer/agent.db 'CREATE TABLE early(x)'")
        assert row.see in self._said(walk, code=2)
        self._said(walk, words=added)
        assert walk.rows() == before
        walk.host.must("mv /root/history.jsonl /var/backups/sqlite/agent/")

    def _status(self, walk: Walk, command: str) -> None:
        walk.host.must("sqlite-backup backup agent")
        night.stop_application(walk)
        assert "ok" in walk.run(command)

    def _list(self, said: str) -> None:
        assert len(set(BACKUP_ID.findall(said))) >= 2
        # The log has it in any case: a scheduled run may have stored the same content a moment before.
        assert "recovered from ci-1" in self._host.must("cat /var/backups/sqlite/agent/history.jsonl")


def test_your_own_molecule(tmp_path: Path) -> None:
    """The two files of the page, as Molecule runs them: as root, and with a role that makes the database."""
    containers.skip_without()
    tasks = tmp_path / "roles" / "my.application" / "tasks" / "main.yml"
    tasks.parent.mkdir(parents=True)
    argv = "[/usr/bin/python3, /opt/support/agent_db.py, --runs=40, /srv/agent/agent.db]"
    task = f"- ansible.builtin.command: {{argv: {argv}, creates: /srv/agent/agent.db}}\n"
    tasks.write_text(f"- ansible.builtin.file: {{path: /srv/agent, state: directory}}\n{task}", encoding="utf-8")
    with containers.started(tmp_path, "instance", user="root") as host:
        (tmp_path / "inventory").write_text("instance\n", encoding="utf-8")
        walk = Walk(MOLECULE, host, {})
        walk.go(write=_files(tmp_path, ["converge.yml", "verify.yml"]))
        for playbook in ("converge.yml", "converge.yml", "verify.yml"):
            said = walk.run(f"ansible-playbook -i inventory {playbook}")
        assert "failed=0" in said
        host.must("test -s /srv/agent/restored.db")


def _files(folder: Path, names: list[str]) -> Callable[[Block], None]:
    """Write the blocks of a page into files of these names, one after the other."""
    left = iter(names)

    def write(block: Block) -> None:
        path = folder / next(left)
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    return write


def _lost_and_restored(walk: Walk, restore: Callable[[], object]) -> None:
    """Lose the database behind a backup, and compare every row of what comes back."""
    walk.host.must("sqlite-backup backup agent")
    good = walk.rows()
    walk.host.must(f"rm {AGENT}")
    restore()
    assert walk.rows() == good
    walk.host.must(f'test "$(stat -c %U {AGENT})" = ci-fixer')


def _command(guide: Guide, part: str) -> str:
    (found,) = [step for step in guide.steps if isinstance(step, str) and part in step]
    return found


def _restore_playbook(guide: Guide) -> str:
    return _command(guide, "sqliteops.backup.restore_database")


def test_demo() -> None:
    """`make demo`, without the making of the environment that this already runs in."""
    command = [sys.executable, str(harness.ROOT / "tests" / "demo" / "demo.py")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every proof held" in done.stdout
