# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-playbook` on this host, and get what its tasks returned as data.

Starting Ansible takes longer than a task. So a `Session` is one playbook that gets its tasks while it runs: a test
looks at the files between two tasks, and many tests share one start.
"""

from __future__ import annotations

import contextlib
import functools
import json
import locale
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COLLECTIONS = ROOT / ".build" / "collections"
WINDOWS_COLLECTIONS = ROOT / ".build" / "collections-windows"
CALLBACKS = [Path(__file__).with_name("callback_plugins"), ROOT / "tests" / "support" / "callback_plugins"]
NAMESPACE = "sqliteops.backup"
EXECUTIONS_NAME = "executions.txt"
UMASK = 0o022
_STEPS = 400
_ANSWER_SECONDS = 120.0
_STOP_SECONDS = 30.0

Result = dict[str, Any]


class AnsibleStoppedError(Exception):
    """`ansible-playbook` ended or hangs while a test waits for it; the message is what it printed."""


@dataclass(frozen=True)
class Run:
    """A playbook that ended; ``modules`` are those that were run on the host, each time, ``changed`` names of tasks."""

    code: int
    results: list[Result]
    output: str
    modules: list[str]
    changed: list[str]

    @property
    def last_failure(self) -> str:
        """What the last task that failed said."""
        return str([each for each in self.results if each.get("failed")][-1].get("msg"))


def program(name: str) -> list[str]:
    """The command for a program of the ansible-core that belongs to this Python."""
    return [sys.executable, str(Path(sys.executable).with_name(name))]


@functools.cache
def _payloads() -> tempfile.TemporaryDirectory[str]:
    """Of this process alone, so that no two runs write to it at once."""
    return tempfile.TemporaryDirectory(prefix="payloads-")


def environment(folder: Path) -> dict[str, str]:
    """One in which no setting of the user counts, and every file of Ansible goes into ``folder``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "PYTHON"))}
    if "utf" not in locale.getpreferredencoding(do_setlocale=False).lower():
        kept["LC_ALL"] = "C.UTF-8"  # Ansible refuses to start in any other encoding
    (folder / "home").mkdir(parents=True, exist_ok=True)
    config = folder / "ansible.cfg"
    # A thousand looks a second at a task that is not done yet take as long as many a task.
    config.write_text("[defaults]\ninternal_poll_interval = 0.01\n", encoding="utf-8")
    return {
        **kept,
        "ANSIBLE_CALLBACKS_ENABLED": "recorder,executions,payloads",
        "ANSIBLE_CALLBACK_PLUGINS": os.pathsep.join(map(str, CALLBACKS)),
        "ANSIBLE_COLLECTIONS_PATH": os.pathsep.join(map(str, (COLLECTIONS, WINDOWS_COLLECTIONS))),
        "ANSIBLE_CONFIG": str(config),
        "ANSIBLE_CONNECTION_PLUGINS": str(Path(__file__).with_name("connection_plugins")),
        "ANSIBLE_HOME": str(folder / "home"),
        # Else ansible-core 2.21 leaves out with what options a task was called, and a secret there would not be seen.
        "ANSIBLE_INJECT_INVOCATION": "true",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_REMOTE_TEMP": str(folder / "home" / "remote"),
        "EXECUTIONS_FILE": str(folder / EXECUTIONS_NAME),
        "PAYLOADS_DIRECTORY": _payloads().name,
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class _Process:
    """One `ansible-playbook`, the pipe with its results, and what it prints as a file."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], *, umask: int = UMASK, requests: int | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "output.txt"
        self._results, theirs = os.pipe()
        self._buffer = b""
        descriptors = [theirs] if requests is None else [theirs, requests]
        # Not below `folder`: ansible-core 2.21 makes a socket there, and the name of a socket must be short.
        self._scratch = Path(tempfile.mkdtemp(prefix="ansible-"))
        self.leftovers: list[str] = []
        env = {**environment(folder), "RECORDER_RESULTS": str(theirs), "TMPDIR": str(self._scratch)}
        if requests is not None:
            env["RECORDER_REQUESTS"] = str(requests)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*program("ansible-playbook"), "--inventory", str(_inventory(folder)), *arguments],
                cwd=folder,
                env=env,
                umask=umask,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        for descriptor in descriptors:
            os.close(descriptor)

    @property
    def output(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def lines(self) -> Iterator[Result]:
        """What the callback plugin writes, until the process ends."""
        end = time.monotonic() + _ANSWER_SECONDS
        while True:
            while b"\n" in self._buffer:
                line, self._buffer = self._buffer.split(b"\n", 1)
                yield json.loads(line)
            if not select.select([self._results], [], [], max(0.0, end - time.monotonic()))[0]:
                _kill(self.process.pid)
                raise AnsibleStoppedError(f"no answer in {_ANSWER_SECONDS} s\n{self.output}")
            received = os.read(self._results, 1 << 16)
            if not received:
                return
            self._buffer += received

    def stop(self) -> int:
        """Wait for the end; a process that does not end by itself is killed. Notes what was left in its TMPDIR."""
        with contextlib.suppress(OSError):
            os.close(self._results)
        try:
            return self.process.wait(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            _kill(self.process.pid)
            return self.process.wait()
        finally:
            self.leftovers = [each.name for each in self._scratch.iterdir()]
            shutil.rmtree(self._scratch)


class Session:
    """A playbook for one host that waits for its tasks. Failed tasks are results, and it goes on."""

    def __init__(self, folder: Path, *, umask: int = UMASK) -> None:
        self._steps = folder / "steps"
        self._steps.mkdir(parents=True)
        self._step = 0
        names = [str(self._steps / f"{number}.yml") for number in range(1, _STEPS + 1)]
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "ignore_errors": True,
            "tasks": [{"ansible.builtin.include_tasks": name} for name in names],
        }
        playbook = _write_json(folder / "playbook.yml", [play])
        theirs, self._requests = os.pipe()
        # With -vvv so that everything that Ansible could ever print of a task is in the output.
        self._process = _Process(folder, ["-vvv", str(playbook)], umask=umask, requests=theirs)
        self._receive()

    @property
    def leftovers(self) -> list[str]:
        """Scratch files that were left behind, once it is closed."""
        return self._process.leftovers

    @property
    def output(self) -> str:
        """Everything that was printed so far."""
        return self._process.output

    def run(self, tasks: Sequence[Mapping[str, Any]]) -> list[Result]:
        """Run tasks, written as in a playbook; one result for each that ran, failed or was skipped."""
        self._step += 1
        _write_json(self._steps / f"{self._step}.yml", tasks)
        os.write(self._requests, b"\n")
        return self._receive()

    def task(self, module: str, options: Mapping[str, Any], **keywords: Any) -> Result:
        """Run one module of this collection; ``keywords`` are those of a task, such as ``check_mode``."""
        (result,) = self.run([{f"{NAMESPACE}.{module}": dict(options), **keywords}])
        return result

    def _receive(self) -> list[Result]:
        results: list[Result] = []
        for line in self._process.lines():
            if "waiting" in line:
                return results
            results.append(_result(line))
        raise AnsibleStoppedError(self.output)

    def close(self) -> None:
        os.close(self._requests)
        self._process.stop()


@contextlib.contextmanager
def session(folder: Path, *, umask: int = UMASK) -> Iterator[Session]:
    """A session that ends with the block."""
    opened = Session(folder, umask=umask)
    try:
        yield opened
    finally:
        opened.close()


def run_playbook(folder: Path, playbook: str, variables: Mapping[str, Any], *flags: str) -> Run:
    """Run a playbook to its end, by its path or its name in a collection."""
    process = start_playbook(folder, playbook, variables, *flags)
    lines = list(process.lines())
    changed = [line["task"] for line in lines if line["result"].get("changed")]
    results = list(map(_result, lines))
    return Run(process.stop(), results, process.output, executed(folder / EXECUTIONS_NAME), changed)


def start_playbook(folder: Path, playbook: str, variables: Mapping[str, Any], *flags: str) -> _Process:
    """A playbook that runs; somebody must stop it."""
    folder.mkdir(parents=True, exist_ok=True)
    given = _write_json(folder / "variables.json", dict(variables))
    (folder / EXECUTIONS_NAME).unlink(missing_ok=True)
    return _Process(folder, ["--extra-vars", f"@{given}", *flags, playbook])


def executed(file: Path) -> list[str]:
    """The modules that the callback plugin `executions` wrote down."""
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return [line.rpartition(" ")[2] for line in lines]


def _result(line: Result) -> Result:
    """What the task returned; ``failed`` is always there, whether errors are ignored or not."""
    return {**line["result"], "failed": line["status"] in ("failed", "unreachable")}


def _kill(process_id: int) -> None:
    """Kill a process and, where Linux tells which they are, all below it: a module that hangs outlives Ansible."""
    for children in Path(f"/proc/{process_id}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text(encoding="ascii").split():
                _kill(int(child))
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)


def _inventory(folder: Path) -> Path:
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    return _write_json(folder / "inventory.json", {"all": {"hosts": {"localhost": host}}})


def _write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path
