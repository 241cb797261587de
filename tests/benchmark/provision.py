# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes to provision hosts again when nothing is to change, beside a play that only gathers facts.

The hosts are those of `extensions/molecule/`: three Debian releases in containers, here with one database each. The two
playbooks take turns, each with new connections to the hosts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import agent_db
import measure
import plays
from bench import Bench, tell
from measure import RunFailedError, Usage
from results import PROVISION, Provision
from tools import Ours

SCENARIO = plays.ROOT / "extensions" / "molecule" / "default"
HOSTS = ("debian11", "debian12", "debian13")
CONTAINERS = "sqliteops-benchmark"
DATABASE_RUNS = 160  # makes about 1 MiB
PROGRAMS = ("podman", "runc", "debootstrap", "ssh")
# Images that are not there yet are built first.
_START_SECONDS = 1800.0
_RECAP = re.compile(r"^(\S+) +: ok=(\d+) +changed=(\d+) +unreachable=\d+ +failed=\d+ +skipped=(\d+)", re.MULTILINE)


def why_left_out() -> str:
    """Why there can be no hosts here; empty when there can."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing:
        return f"{missing[0]} is not installed"
    return "" if os.geteuid() == 0 else "only root can start hosts"


def run(bench: Bench) -> None:
    reason = why_left_out()
    if reason:
        tell(f"provision is left out: {reason}")
        bench.results.fail(PROVISION, Ours.name, f"left out, {reason}")
        return
    hosts = _Hosts(bench, bench.folder / "provision")
    try:
        hosts.start()
        bench.results.provision = _measure(bench, hosts)
    except RunFailedError as error:
        tell(f"provision failed: {error}")
        bench.results.fail(PROVISION, Ours.name, str(error))
    finally:
        hosts.stop()


def _measure(bench: Bench, hosts: _Hosts) -> Provision:
    variables = {"sqlite_backup_databases": [{"name": "agent", "path": "/srv/agent.db"}]}
    provision = ("sqliteops.backup.provision_backups", "--extra-vars", json.dumps(variables))
    hosts.play(*provision)
    measured = Provision(len(HOSTS))
    for number in range(1, bench.plan.rounds + 1):
        facts, again = hosts.play(str(hosts.facts_playbook)), hosts.play(*provision)
        found = {host: (int(ok), int(changed), int(skipped)) for host, ok, changed, skipped in recap(again)}
        if sorted(found) != sorted(HOSTS) or any(changed for _ok, changed, _skipped in found.values()):
            raise RunFailedError(f"the run that should change nothing ended with {found}")
        measured.seconds.append((again.wall_seconds, facts.wall_seconds))
        measured.tasks = max(ok for ok, _changed, _skipped in found.values())
        measured.skipped = max(skipped for _ok, _changed, skipped in found.values())
        told = f"{again.wall_seconds:.2f} s, facts {facts.wall_seconds:.2f} s"
        tell(f"round {number} of {bench.plan.rounds}, {PROVISION}: {told}")
    return measured


def recap(usage: Usage) -> list[tuple[str, ...]]:
    """Host, ok, changed and skipped, of each host that was reached and did not fail."""
    return _RECAP.findall(usage.output)


def connection(address: str, key: Path) -> dict[str, Any]:
    """How to log in as root, as an inventory has it."""
    return {
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(key),
        "ansible_ssh_common_args": "-o UserKnownHostsFile=/dev/null -o StrictHostKeyChecking=no -o LogLevel=ERROR",
        "ansible_python_interpreter": "/usr/bin/python3",
    }


class _Hosts:
    """Hosts that Molecule's own playbooks start and remove, and how a playbook is run on them."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self._bench = bench
        self._folder = folder
        self._inventory = folder / "inventory.json"
        self._environment: dict[str, str] = {}
        self.facts_playbook = folder / "facts.yml"

    def start(self) -> None:
        self._folder.mkdir()
        self._environment = {
            **self._bench.environment(),
            **plays.prepare(self._folder, pipelining="true"),
            "ANSIBLE_NOCOLOR": "true",
        }
        plays.write_json(self.facts_playbook, [{"hosts": "all", "gather_facts": True, "tasks": []}])
        plays.write_json(self._inventory, {})
        tell("starting hosts; images that are not there yet take some minutes")
        self._molecule("create")
        plays.write_json(self._inventory, {"all": {"hosts": {host: self._connection(host) for host in HOSTS}}})
        agent_db.create(self._folder / "agent.db", runs=DATABASE_RUNS)
        for host in HOSTS:
            self._podman("cp", str(self._folder / "agent.db"), f"{CONTAINERS}-{host}:/srv/agent.db")

    def stop(self) -> None:
        try:
            self._molecule("destroy")
        except RunFailedError as error:
            tell(f"the hosts could not be removed: {error}")
        shutil.rmtree(self._folder, ignore_errors=True)

    def play(self, *arguments: str, limit_seconds: float | None = None) -> Usage:
        """Run a playbook; raises RunFailedError when that fails."""
        self._bench.settle([])
        # New connections each time. And the name of a socket must be short.
        with tempfile.TemporaryDirectory(prefix="benchmark-") as short:
            return measure.run(
                [*plays.command(), "--inventory", str(self._inventory), *arguments],
                env={**self._environment, "ANSIBLE_SSH_CONTROL_PATH_DIR": short, "TMPDIR": short},
                cwd=self._folder,
                limit_seconds=limit_seconds or self._bench.limit_seconds,
            )

    def _molecule(self, step: str) -> None:
        variables = {
            "molecule_ephemeral_directory": str(self._folder),
            "molecule_images_directory": str(plays.ROOT / ".build" / "molecule" / "images"),
            "molecule_instance_config": str(self._folder / "instance_config.yml"),
            "molecule_prefix": CONTAINERS,
            "molecule_scenario_directory": str(SCENARIO),
            "molecule_yml": {"platforms": [{"name": host} for host in HOSTS]},
        }
        playbook = str(SCENARIO / f"{step}.yml")
        self.play(playbook, "--extra-vars", json.dumps(variables), limit_seconds=_START_SECONDS)

    def _connection(self, host: str) -> dict[str, Any]:
        address = self._podman("inspect", "--format", "{{.NetworkSettings.IPAddress}}", f"{CONTAINERS}-{host}")
        return connection(address.strip(), self._folder / "id_ed25519")

    def _podman(self, *arguments: str) -> str:
        done = subprocess.run(["podman", *arguments], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RunFailedError(done.stderr.strip() or f"podman {arguments[0]} failed")
        return done.stdout
