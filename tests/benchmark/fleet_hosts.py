# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many hosts with systemd and sshd, in containers on the machine that also runs Ansible, and plays on some of them."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import agent_db
import measure
import plays
import provision
from bench import Bench, tell
from measure import RunFailedError, Usage

RELEASE = "12"
NAME = "sqliteops-fleet"
DATABASE_RUNS = 160  # makes about 1 MiB
_BUILD = plays.ROOT / "extensions" / "molecule" / "images" / "build.py"
_SCRATCH = plays.ROOT / ".build" / "molecule" / "images"
_SUPPORT = plays.ROOT / "tests" / "support"
_AT_ONCE = 4
_START_SECONDS = 120.0
_LIFE_SECONDS = 2 * 3600  # the end of what a killed run leaves behind
# As a host is that the role has never seen.
_RESET = """
systemctl disable --now $(cd /etc/systemd/system && ls sqlite-backup-*.timer) 2>/dev/null
rm -rf /etc/systemd/system/sqlite-backup-* /etc/sqlite-backup /var/backups/sqlite /usr/local/bin/sqlite-backup
systemctl daemon-reload
"""


class Fleet:
    """The names of ``count`` hosts for at most ``real`` containers, and how a play is run on the first of them."""

    def __init__(self, bench: Bench, count: int, *, real: int, databases: int) -> None:
        self.names = [f"{NAME}-{number}" for number in range(count)]
        self.real = min(count, real)
        self._bench = bench
        self._databases = databases
        self._folder = bench.folder / "fleet"
        self._executions = self._folder / "executions.txt"
        self._environment: dict[str, str] = {}

    def start(self) -> None:
        self._folder.mkdir()
        _SCRATCH.mkdir(parents=True, exist_ok=True)
        self._environment = {
            **self._bench.environment(),
            **plays.prepare(self._folder, pipelining="true"),
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_CALLBACKS_ENABLED": "executions",
            "ANSIBLE_CALLBACK_PLUGINS": str(_SUPPORT / "callback_plugins"),
            "EXECUTIONS_FILE": str(self._executions),
        }
        tell(f"starting {self.real} hosts; an image that is not there yet takes some minutes")
        built = json.loads(_done([sys.executable, str(_BUILD), "--scratch", str(_SCRATCH), RELEASE]))
        _done(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self._folder / "key")])
        agent_db.create(self._folder / "agent.db", runs=DATABASE_RUNS)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            addresses = list(pool.map(lambda name: self._start(name, built["images"][RELEASE]), self._containers()))
        connections = [provision.connection(each, self._folder / "key") for each in addresses]
        hosts = {name: connections[number % self.real] for number, name in enumerate(self.names)}
        inventory = {"all": {"hosts": hosts}}
        plays.write_json(self._folder / "inventory.json", inventory)
        ping: list[dict[str, dict[str, str]]] = [{"ansible.builtin.ping": {}}]
        plays.write_json(self._folder / "ping.yml", [{"hosts": "all", "gather_facts": False, "tasks": ping}])

    def stop(self) -> None:
        try:
            _done(["podman", "rm", "--force", "--ignore", "--time=0", *self._containers()])
        except RunFailedError as error:
            tell(f"the hosts could not be removed: {error}")
        shutil.rmtree(self._folder, ignore_errors=True)

    def reset(self) -> None:
        """Take away what the role has made."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda name: _done(["podman", "exec", name, "sh", "-c", _RESET]), self._containers()))

    def play(self, count: int, forks: int, arguments: Sequence[str]) -> tuple[Usage, int]:
        """Run a playbook on the first hosts; what it took, and how many modules were run on the host with the most."""
        self._bench.settle([])
        self._executions.unlink(missing_ok=True)
        # New connections each time. And the name of a socket must be short.
        with tempfile.TemporaryDirectory(prefix="benchmark-") as short:
            usage = measure.run(
                [
                    *(*plays.command(), "--inventory", str(self._folder / "inventory.json")),
                    *("--forks", str(forks), "--limit", ",".join(self.names[:count]), *arguments),
                ],
                env={**self._environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": short, "TMPDIR": short},
                cwd=self._folder,
                limit_seconds=self._bench.limit_seconds,
            )
        if len(provision.recap(usage)) != count:
            raise RunFailedError(f"{count} hosts were asked for, and {len(provision.recap(usage))} answered")
        hosts = [line.split()[0] for line in self._executions.read_text(encoding="utf-8").splitlines()]
        return usage, max(map(hosts.count, {*hosts}))

    def _start(self, name: str, image: str) -> str:
        """Start a host and wait until one can log in; its address."""
        run = ["podman", "run", "--detach", "--rm", "--replace", f"--timeout={_LIFE_SECONDS}", f"--name={name}"]
        run += [f"--hostname={name}", "--runtime=runc", "--systemd=always", "--cap-add=SYS_ADMIN"]
        run += ["--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"]
        _done([*run, f"--volume={self._folder / 'key.pub'}:/etc/ssh/authorized_keys:ro", image])
        for number in range(self._databases):
            _done(["podman", "cp", str(self._folder / "agent.db"), f"{name}:/srv/agent{number}.db"])
        address = _done(["podman", "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name]).strip()
        _wait(address)
        return address

    def _containers(self) -> list[str]:
        return self.names[: self.real]


def _wait(address: str) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            socket.create_connection((address, 22), timeout=1).close()
            return
        time.sleep(0.2)
    raise RunFailedError(f"no host answers at {address}")


def _done(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunFailedError(done.stderr.strip() or f"{command[0]} {command[1]} failed")
    return done.stdout
