# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Let each single call that changes the disk fail, be cut short, or be the last one, and look what became of it.

``sweep`` starts this file with ``faults.c`` preloaded: there each case is a fork that runs one command of the runner.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gc
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).with_suffix(".c")
_COMPILER = shutil.which("cc")
needs_compiler = pytest.mark.skipif(
    not _COMPILER or not sys.platform.startswith("linux"), reason="needs Linux and a C compiler"
)
_COUNT, _FAIL, _SHORT, _TEAR, _BEFORE, _AFTER = range(6)
_ANSWER_SECONDS = 20
_MOST_CALLS = 1 << 16
# Of many calls so many, evenly.
_MOST_CASES = 8
_MEMORY = "/dev/shm"  # noqa: S108 - what is made in it is private


@dataclass(frozen=True)
class Kind:
    """What happens at one call: ``letters`` are the calls, as in ``faults.c``, to which it can happen."""

    way: int
    value: int = 0
    letters: str = "wonudtsml"
    lasting: bool = False
    reads: bool = False
    codes: tuple[int, ...] = ()


# What takes space; some of it fails when it is flushed, which SQLite calls an input/output error.
_TAKING = "wonldts"
_FULL = (0, 16, 23)
_SIGKILL = 9  # Windows, where nothing of this runs, has no name for it.
# No other: a job makes the same calls each time, so that each kill meets it.
_KILLED = (-_SIGKILL,)
KINDS = {
    "no space": Kind(_FAIL, errno.ENOSPC, _TAKING, codes=_FULL),
    "no space from then on": Kind(_FAIL, errno.ENOSPC, _TAKING, lasting=True, codes=_FULL),
    "input/output error": Kind(_FAIL, errno.EIO, codes=(0, 23)),
    "input/output error from then on": Kind(_FAIL, errno.EIO, lasting=True, codes=(0, 23)),
    "input/output error while reading": Kind(_FAIL, errno.EIO, "ro", reads=True, codes=(0, 23)),
    "half of it written": Kind(_SHORT, 0, "w", codes=(0,)),
    "SIGTERM": Kind(_AFTER, signal.SIGTERM, codes=(0, 130)),
    "SIGKILL": Kind(_AFTER, _SIGKILL, codes=_KILLED),
    "SIGKILL with half of it written": Kind(_TEAR, _SIGKILL, "w", codes=_KILLED),
}


class Shim:
    """The library that this process was started with."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_calls.restype = ctypes.c_long
        self._library.faults_names.restype = ctypes.c_void_p

    def arm(self, top: Path, nth: int, kind: Kind, *, without_links: bool) -> None:
        self._library.faults_arm(
            os.fsencode(top), ctypes.c_long(nth), kind.way, kind.value, kind.lasting, kind.reads, without_links
        )

    def disarm(self) -> str:
        """A letter for each call that was counted."""
        self._library.faults_disarm()
        count = min(self._library.faults_calls(), _MOST_CALLS)
        return ctypes.string_at(self._library.faults_names(), count).decode()


def sweep(job: str, kinds: Sequence[str] = tuple(KINDS), *, without_links: bool = False) -> dict[str, dict[str, Any]]:
    """Play each of ``kinds`` at each call of ``job``.

    Of each kind: the ``calls`` that there are, the ``cases`` that were played, how many ended with which of the
    ``codes``, and a text for each of the ``broken`` promises.
    """
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory, "faults.so")
        assert _COMPILER is not None
        command = [_COMPILER, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", str(library), str(_SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        command = [sys.executable, "-m", "support.faults", job, json.dumps(kinds), json.dumps(without_links)]
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)
    return found


class _Sweep:
    """One job in a directory of its own, without waiting for a disk where that can be."""

    def __init__(self, place: Path, job: Any, *, without_links: bool) -> None:
        self.trial = place / "trial"
        self.template = place / "template"
        self.job = job
        self.without_links = without_links
        self.shim = Shim()
        self.trial.mkdir(mode=0o700)
        self.job.prepare(self.trial)
        shutil.copytree(self.trial, self.template, symlinks=True)
        # Else each fork would copy what a collection touches.
        gc.collect()
        gc.freeze()

    def run(self, kind: Kind) -> dict[str, Any]:
        names = self._counted(kind)
        places = [place for place, letter in enumerate(names, start=1) if letter in kind.letters]
        places = places[:: -(-len(places) // _MOST_CASES)] if places else []
        codes: Counter[int] = Counter()
        broken = []
        for place in places:
            code = self._case(place, kind)
            codes[code] += 1
            broken.extend(self._broken(f"call {place}, code {code}", kind, code))
        return {"calls": len(names), "cases": len(places), "codes": dict(codes), "broken": broken}

    def _counted(self, kind: Kind) -> str:
        """The calls of the job when it is left alone."""
        reading, writing = os.pipe()
        assert self._case(0, Kind(_COUNT, reads=kind.reads), writing) == 0
        os.close(writing)
        with open(reading) as pipe:
            return pipe.read()

    def _case(self, place: int, kind: Kind, writing: int | None = None) -> int:
        shutil.rmtree(self.trial)
        shutil.copytree(self.template, self.trial, symlinks=True)
        child = os.fork()
        if not child:
            self._work(place, kind, writing)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def _work(self, place: int, kind: Kind, writing: int | None) -> None:
        """In the child: run the job, with the fault."""
        code = 99
        try:
            signal.alarm(_ANSWER_SECONDS)
            log = os.open(self.trial.with_name("log"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            self.shim.arm(self.trial, place, kind, without_links=self.without_links)
            code = self.job.run(self.trial)
            names = self.shim.disarm()
            if writing is not None:
                os.write(writing, names.encode())
        except BaseException:  # noqa: BLE001 - the test must see it
            self.shim.disarm()
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)

    def _broken(self, case: str, kind: Kind, code: int) -> Iterator[str]:
        said = self.trial.with_name("log").read_text(errors="replace")[-1000:]
        try:
            assert code in kind.codes, "the code"
            self.job.check(self.trial, code, kind)
        except Exception:  # noqa: BLE001 - whatever it is, a promise is broken
            yield "\n".join([f"{case}: {said}", *traceback.format_exc().splitlines()[-12:]])


@contextlib.contextmanager
def _place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as directory:
        yield Path(directory)


def _main(job: str, kinds: str, without_links: str) -> None:
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base
    from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import pin, processes
    from support import jobs

    # Else no backup of these would be incremental.
    base.SMALL_BYTES = 0
    # For how long a journal that looks hot must stay as it is. Nobody writes here.
    pin._STILL_SECONDS = 0.02
    # To look at each process of the machine would take half of the time. The locks are looked at.
    processes._by_descriptors = lambda _path: []
    # What the commands print is no answer.
    answer = os.dup(1)
    os.dup2(2, 1)
    with _place() as place:
        sweep_ = _Sweep(place, jobs.JOBS[job], without_links=json.loads(without_links))
        found = {kind: sweep_.run(KINDS[kind]) for kind in json.loads(kinds)}
    with open(answer, "w") as pipe:
        json.dump(found, pipe)


if __name__ == "__main__":
    # Makes the collection importable.
    importlib.import_module("conftest")
    _main(*sys.argv[1:])
