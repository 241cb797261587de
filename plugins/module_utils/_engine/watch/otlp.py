# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run and the metrics of its database for OpenTelemetry: by its SDK, in a process that loads it while the run works.

What that process does is the room ``exporter``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..sealed import keyfiles
from ..system import clock, launch
from ..system.errors import MALFORMED, EngineError, ProgramMissingError, TargetUnreachableError
from . import exporter, metrics

Run = Mapping[str, Any]

PACKAGES = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
_SERVICE = "sqlite-backup"
_NANOSECONDS = 1_000_000_000
# The folder that holds the engine, or the runner, which is one file.
_PLACE = os.path.abspath(Path(exporter.__file__).parents[2])
_ROOM = ".".join(exporter.__name__.split(".")[-3:])
_CODE = f"import sys; sys.path.insert(0, sys.argv[1]); from {_ROOM} import main; main()"


class Sender:
    """Sends one run to the collector at ``endpoint``. What that takes starts at once, and ends with ``close``."""

    def __init__(
        self, endpoint: str, *, headers_file: Path | None, python: Path | None, timeout_seconds: float
    ) -> None:
        self._endpoint, self._headers_file, self._timeout_seconds = endpoint, headers_file, timeout_seconds
        self._python = os.fspath(python or sys.executable)
        self._process: subprocess.Popen[bytes] | None = None
        # Of no concern to the run, which begins now: `tell` says it.
        with contextlib.suppress(OSError):
            self._process = _started(self._python)

    def tell(self, observation: metrics.Observation, run: Run) -> None:
        """Send it. Raises ``EngineError`` when it was not taken; whoever waits no longer calls ``close``."""
        headers = keyfiles.headers(self._headers_file) if self._headers_file else {}
        request = {
            "endpoint": self._endpoint,
            "headers": headers,
            "timeout_seconds": self._timeout_seconds,
            **requested(observation, run),
        }
        answer = self._answer(json.dumps(request).encode() + b"\n")
        if answer.get("missing"):
            raise _missing(self._python, f"lacks the SDK of OpenTelemetry ({answer['missing']})")
        if answer.get("wrong"):
            # Of the endpoint no more: what else is in it may be a secret.
            host = urllib.parse.urlsplit(self._endpoint).netloc.rpartition("@")[2]
            raise TargetUnreachableError(
                f"the collector {host} did not take it: {answer['wrong']}.",
                hint="See whether it runs there and takes OTLP by HTTP, and correct otlp.",
            )

    def _answer(self, line: bytes) -> Mapping[str, Any]:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            raise _missing(self._python, "cannot be run")
        # One that has ended says why by saying nothing.
        with contextlib.suppress(OSError):
            process.stdin.write(line)
            process.stdin.flush()
        answer = process.stdout.readline()
        try:
            return {**json.loads(answer)}
        except MALFORMED:
            raise _missing(self._python, "does not answer as a Python would") from None

    def close(self) -> None:
        """End what was started, whatever it does."""
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait()
        for each in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if each is not None:
                    each.close()


def _started(python: str) -> subprocess.Popen[bytes]:
    # What the environment says of OpenTelemetry is not what this host was told to send.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    # pylint: disable-next=ansible-bad-function,consider-using-with
    return subprocess.Popen(
        [python, "-I", "-B", "-c", _CODE, _PLACE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        **launch.apart(),
    )


def _missing(python: str, wrong: str) -> EngineError:
    return ProgramMissingError(
        f"{python} {wrong}.",
        hint=f"Install {' and '.join(PACKAGES)} for it, or name the Python that has them in otlp.python; the role "
        "sqlite_monitoring makes one where sqlite_monitoring_otlp_python is not set.",
    )


def requested(observation: metrics.Observation, run: Run) -> dict[str, Any]:
    """What is sent of a run and its database, with moments in nanoseconds. No data, no messages."""
    return {
        "resource": {
            "service.name": _SERVICE,
            "service.version": str(observation["version"]),
            "host.name": str(observation["host"]),
        },
        "time": _nanoseconds(observation["made"]),
        "counted_since": _nanoseconds(observation.get("counted_since")),
        "families": [dataclasses.asdict(each) for each in metrics.families(observation)],
        "run": _trace(observation, run),
    }


def _trace(observation: metrics.Observation, run: Run) -> dict[str, Any]:
    """The run and its phases, which came one after the other."""
    start = now = _nanoseconds(run["started"])
    phases = []
    for name, seconds in run["durations"].items():
        end = now + int(seconds * _NANOSECONDS)
        phases.append({"name": name, "start": now, "end": end})
        now = end
    known = {
        "database": observation["name"],
        "host": observation["host"],
        **{name: run[name] for name in ("command", "code", "backup", "type")},
        "run": run["id"],
    }
    return {
        "name": run["command"],
        "start": start,
        "end": max(now, start + int(run["seconds"] * _NANOSECONDS)),
        "wrong": "" if run["outcome"] == "success" else run["class"] or "failure",
        "attributes": {name: value for name, value in known.items() if value is not None},
        "phases": phases,
    }


def _nanoseconds(text: str | None) -> int:
    """0, which is unknown to OpenTelemetry, where there is no moment."""
    return int(clock.from_text(text).timestamp()) * _NANOSECONDS if text else 0
