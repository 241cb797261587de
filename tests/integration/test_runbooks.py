# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runbooks are followed, on a host whose service is ill as the page has it, and works at its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from integration import containers, harness
from integration.containers import Host
from integration.night import HURT
from integration.walk import AGENT, REPOSITORY, Deed, Walk, last_id

from support.guides import Block, Guide, Row

# Whoever builds the images first lets the others wait.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

MEBIBYTES = 8
_SECONDS = 30.0
_UNIT = f"""[Service]
User=ci-fixer
ExecStart=/usr/bin/python3 /opt/support/application.py --port=8080 {AGENT}
Restart=always
[Install]
WantedBy=multi-user.target
"""
_BACKUPS = f"sqlite_backup_databases: [{{name: agent, path: {AGENT}}}]\n"
_UNTIL_FAILED = "until systemctl is-failed ci-fixer; do sleep 0.1; done"
_ASK = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health')"
_PLAYBOOK = "ansible-playbook -i inventory sqliteops.backup.restore_database --become --limit ci-1"
_VERIFY = "sqlite-backup verify agent --live --level full"


def test_runbooks(tmp_path: Path) -> None:
    containers.skip_without()
    with containers.started(tmp_path, "runbooks", names=["ci-1"]) as host:
        service = _Service(host, tmp_path)
        service.install()
        for page, deeds in (
            ("corruption", service.corruption()),
            ("deletion", service.deletion()),
            ("undo", service.undo()),
        ):
            service.follow(page, deeds)


class _Service:
    def __init__(self, host: Host, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._pid = ""

    def install(self) -> None:
        must = self._host.must
        must("useradd --create-home --home-dir /srv/ci-fixer --shell /bin/sh ci-fixer")
        must(f"sudo -u ci-fixer python3 /opt/support/application.py --make={MEBIBYTES} {AGENT}")
        must(f"cat >/etc/systemd/system/ci-fixer.service <<'END'\n{_UNIT}END\nsystemctl enable --now ci-fixer")
        (self._folder / "inventory").write_text("[ci]\nci-1\n", encoding="utf-8")
        (self._folder / "backups.yml").write_text(_BACKUPS, encoding="utf-8")
        provision = "ansible-playbook -i inventory sqliteops.backup.provision_backups --become -e @backups.yml"
        done = self._host.machine.run(provision)
        assert done.code == 0, done.output

    def follow(self, page: str, deeds: Mapping[str, Deed]) -> None:
        self._wait(works=True)
        walk = Walk(Guide(harness.ROOT / "docs" / f"runbook-{page}.md"), self._host, deeds)
        walk.go(write=self._write)
        self._wait(works=True)

    def _write(self, block: Block) -> None:
        path = self._folder / "host_vars" / "ci-1.yml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(block.text, encoding="utf-8")

    def corruption(self) -> dict[str, Deed]:
        codes = iter([12, 0])

        def verify(walk: Walk, command: str) -> None:
            code = next(codes)
            if code:
                self._corrupt()
                assert self._host.run("sqlite-backup backup agent").code == 12
            walk.run(command, code=code)

        return {
            **self._bring_back(self._corrupt),
            _VERIFY: verify,
        }

    def deletion(self) -> dict[str, Deed]:
        def look(walk: Walk, command: str) -> None:
            self._delete()
            assert "agent.db\n" not in walk.run(command)

        return {
            **self._bring_back(self._delete),
            "ls -l /srv/ci-fixer": look,
        }

    def _bring_back(self, hurt: Callable[[], None]) -> dict[str, Deed]:
        def check(walk: Walk, command: str) -> None:
            before = self._main_pid()
            assert '"changes": true' in walk.run(command)
            assert self._main_pid() == before
            self._wait(works=False)

        def run(walk: Walk, command: str) -> None:
            walk.run(command)
            self._wait(works=True)

        def stop(walk: Walk, command: str) -> None:
            hurt()
            walk.run(command)

        return {
            f"{_PLAYBOOK} --check": check,
            _PLAYBOOK: run,
            "systemctl stop ci-fixer": stop,
            "code 13, a backup is damaged": self._damaged,
        }

    def _damaged(self, walk: Walk, row: Row) -> None:
        added, on_the_host = row.commands
        walk.host.must("sqlite-backup backup agent --type full")
        bad = walk.host.must(f"ls -d {REPOSITORY}/*-full | tail -n1").strip()
        walk.host.must(f"printf x | dd of=$(ls {bad}/database.sqlite.*) bs=1 seek=4096 conv=notrunc status=none")
        before = self._main_pid()
        for command, told in ((f"{_PLAYBOOK} {added}", _PLAYBOOK), (on_the_host, "sqlite-backup restore agent")):
            machine = walk.host.machine.run if command.startswith("ansible") else walk.host.run
            said = machine(told)
            assert said.code != 0
            assert "is damaged" in said.output
            assert self._main_pid() == before
            if machine == walk.host.run:
                walk.host.must("systemctl stop ci-fixer")
            walk.run(command, ID=last_id(said.output))
            before = self._main_pid()
        walk.host.must(f"systemctl start ci-fixer; rm -r {bad}")

    def undo(self) -> dict[str, Deed]:
        def look(walk: Walk, command: str) -> None:
            self._lose()
            done = self._host.machine.run(_PLAYBOOK)
            assert done.code == 0, done.output
            assert self._rows() == MEBIBYTES
            walk.run(command)

        def check(walk: Walk, command: str) -> None:
            walk.run(command)
            assert self._rows() == MEBIBYTES

        def run(walk: Walk, command: str) -> None:
            walk.run(command)
            self._wait(works=True)
            assert self._rows() == 1

        def start(walk: Walk, command: str) -> None:
            walk.run(command)
            assert self._rows() == MEBIBYTES

        undo = f"{_PLAYBOOK} -e sqlite_restore_undo=true"
        return {
            f"ls -d {AGENT}.before-restore.*": look,
            f"{undo} --check": check,
            undo: run,
            "systemctl start ci-fixer": start,
        }

    def _corrupt(self) -> None:
        self._host.must(f"sudo -u ci-fixer {HURT} corrupt {AGENT}")
        self._wait(works=False)

    def _delete(self) -> None:
        """Until systemd does not start the service any more."""
        self._host.must(f"rm {AGENT}*; systemctl restart ci-fixer; timeout 20 sh -c '{_UNTIL_FAILED}'")

    def _lose(self) -> None:
        program = (
            f"import sqlite3; c = sqlite3.connect('{AGENT}', timeout=9, isolation_level=None);"
            "c.execute('DELETE FROM Bulk WHERE rowid > 1')"
        )
        self._host.must(f'sudo -u ci-fixer python3 -c "{program}"')

    def _rows(self) -> int:
        program = f"import sqlite3; print(*sqlite3.connect('{AGENT}').execute('SELECT count(*) FROM Bulk').fetchone())"
        return int(self._host.must(f'sudo -u ci-fixer python3 -c "{program}"'))

    def _main_pid(self) -> str:
        return self._host.must("systemctl show --property=MainPID --value ci-fixer")

    def _wait(self, *, works: bool) -> None:
        end = time.monotonic() + _SECONDS
        while (self._host.run(f'python3 -c "{_ASK}"').code == 0) != works:
            assert time.monotonic() < end, f"the service does {'not work' if works else 'work'}"
            time.sleep(0.2)
