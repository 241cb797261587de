# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Debian host with systemd, cron and sshd in a container, and the machine of somebody who manages it with Ansible."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from integration import harness

RELEASE = "12"
_PROGRAMS = ("podman", "runc", "debootstrap", "ssh", "ssh-keygen")
_BUILD = harness.ROOT / "extensions" / "molecule" / "images" / "build.py"
_SCRATCH = harness.ROOT / ".build" / "molecule" / "images"
_SUPPORT = harness.ROOT / "tests" / "support"
_TOOLS = harness.ROOT / "extensions" / "molecule" / "default" / "files"
_COMMAND_SECONDS = 400
_START_SECONDS = 60.0
_LIFE_SECONDS = 3600  # the end of what a killed run leaves behind


def skip_without() -> None:
    """Skip the test where no host can be had."""
    missing = [program for program in _PROGRAMS if not shutil.which(program)]
    if os.geteuid() != 0 or missing:
        pytest.skip("only root can start hosts" if not missing else f"not installed: {', '.join(missing)}")


@dataclass(frozen=True)
class Done:
    """A command that ended, and what it printed."""

    code: int
    output: str


class Machine:
    """Where somebody works: a directory, with Ansible and a way to log in to one host as ``user``, who may use sudo.

    Nothing is set for Ansible but how to log in, and what makes that fast: no become.
    """

    def __init__(self, folder: Path, address: str, *, user: str, names: Sequence[str]) -> None:
        self.folder = folder
        self.user = user
        self.names = names
        self._sockets = tempfile.mkdtemp(prefix="ssh-")  # the name of a socket must be short
        self._config = folder / "ssh_config"
        lines = [
            f"Host {' '.join(names)}",
            *(f"HostName {address}", f"User {user}", f"IdentityFile {folder / 'key'}", "StrictHostKeyChecking no"),
            *("UserKnownHostsFile /dev/null", "LogLevel ERROR", "BatchMode yes", "ControlMaster auto"),
            *(f"ControlPath {self._sockets}/%C", "ControlPersist 60"),
        ]
        self._config.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def run(self, command: str) -> Done:
        """Run a command of a shell, in the directory."""
        ours = ("ANSIBLE_CALLBACKS_ENABLED", "ANSIBLE_CALLBACK_PLUGINS", "ANSIBLE_REMOTE_TEMP")
        env = {name: value for name, value in harness.environment(self.folder).items() if name not in ours}
        env["ANSIBLE_SSH_ARGS"] = f"-F {self._config}"
        env["ANSIBLE_ROLES_PATH"] = str(self.folder / "roles")
        env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
        return _run(["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env=env)

    def log_in(self, command: str) -> Done:
        """Run a command of a shell on the host, as the user who logs in."""
        return _run(["ssh", "-F", str(self._config), self.names[0], command])

    def close(self) -> None:
        _run(["ssh", "-F", str(self._config), "-O", "exit", self.names[0]])
        shutil.rmtree(self._sockets, ignore_errors=True)


class Host:
    """A host, as root there has it, and the machine from which it is managed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, command: str) -> Done:
        """Run a command of a shell as root, as after `sudo -i`; root needs none."""
        shell = f"cd; {command}"
        sudo = [] if self.machine.user == "root" else ["sudo", "-H"]
        return self.machine.log_in(shlex.join([*sudo, "bash", "-lc", shell]))

    def must(self, command: str) -> str:
        """Run what is no matter of the test; its output."""
        done = self.run(command)
        assert done.code == 0, f"{command}\n{done.output}"
        return done.output


@contextlib.contextmanager
def started(folder: Path, name: str, *, user: str = "admin", names: Sequence[str] = ()) -> Iterator[Host]:
    """A host that is removed at the end. ``user`` may do everything with sudo; ``names`` are what it is called.

    ``name`` is that of its container: in one process, two with one name must not be there at once.

    Root there may mount, and see what other users have open, as root of a machine may.
    The tests' own programs are in /opt/support and /opt/tools.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _SCRATCH.mkdir(parents=True, exist_ok=True)
    built = _must([sys.executable, str(_BUILD), "--scratch", str(_SCRATCH), RELEASE])
    _must(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")])
    hostname = (names or [name])[0].partition(".")[0]
    # Of another checkout, or of another process of this one, there may be one, too.
    owner = f"{harness.ROOT} {os.environ.get('PYTEST_XDIST_WORKER')}"
    container = f"sqliteops-guides-{hashlib.sha256(owner.encode()).hexdigest()[:8]}-{name}"
    try:
        _must(
            [
                *("podman", "run", "--detach", "--rm", "--replace", f"--timeout={_LIFE_SECONDS}"),
                *(f"--name={container}", f"--hostname={hostname}", "--runtime=runc", "--systemd=always"),
                *("--cap-add=SYS_ADMIN,SYS_PTRACE", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024"),
                *(f"--volume={_SUPPORT}:/opt/support:ro", f"--volume={_TOOLS}:/opt/tools:ro"),
                f"--volume={folder / 'key.pub'}:/etc/ssh/authorized_keys:ro",
                json.loads(built)["images"][RELEASE],
            ]
        )
        if user != "root":
            sudo = f"echo '{user} ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/{user}"
            add = f"useradd --create-home --shell /bin/bash {user}; {sudo}"
            _must(["podman", "exec", container, "sh", "-euc", add])
        address = json.loads(_must(["podman", "inspect", container]))[0]["NetworkSettings"]["IPAddress"]
        machine = Machine(folder, address, user=user, names=names or [name])
        try:
            _wait(machine)
            yield Host(machine)
        finally:
            machine.close()
    finally:
        _run(["podman", "rm", "--force", "--ignore", "--time=0", container])


def _wait(machine: Machine) -> None:
    end = time.monotonic() + _START_SECONDS
    while (done := machine.log_in("true")).code:
        assert time.monotonic() < end, f"no way to log in after {_START_SECONDS} s: {done.output}"
        time.sleep(0.2)


def _must(command: Sequence[str]) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, f"{shlex.join(command)}\n{done.stderr}"
    return done.stdout


def _run(command: Sequence[str], *, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
    done = subprocess.run(
        command,
        check=False,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_COMMAND_SECONDS,
    )
    return Done(done.returncode, done.stdout)
