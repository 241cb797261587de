# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who is told of a run on this host: those that its configuration names, ready to be told."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ..system.aside import Job
from ..watch import notify, otlp, status_file, textfile
from . import config
from .watch_config import MOMENTS, Collector, Receiver, Watch

Observation = Mapping[str, Any]
"""A database as ``status`` answers of it."""
Run = Mapping[str, Any]
"""What is done, or was: command, phase, id, started, and at its end what came of it."""

# Of the timeout: in what is left it can still be told that a receiver did not answer.
_OWN_PART = 0.8


@dataclass(frozen=True)
class Sink:
    """Somebody who is told at the end of a run; ``name`` is what a warning calls it, ``close`` is called in any case.

    ``tell`` raises for what kept it from that. It may be ended anywhere when it is late.
    """

    name: str
    tell: Callable[[Observation, Run], None]
    close: Callable[[], None] = field(default=lambda: None)


def ending(watch: Watch, directory: Path, name: str, run: Run) -> list[Sink]:
    """Everybody who is told of the end of ``run``, which begins now, on the database ``name``."""
    found = [Sink(_called(each), partial(_notify, watch, each)) for each in _hearing(watch, name, run, *MOMENTS[1:])]
    if watch.status_file:
        found.append(Sink("status_file", partial(_write_status, watch.status_file, watch, directory)))
    if watch.textfile_directory:
        found.append(Sink("node_exporter", partial(_write_metrics, watch.textfile_directory, directory)))
    if watch.collector:
        found.append(_collector(watch.collector, watch.timeout_seconds))
    return found


def starting(watch: Watch, name: str, run: Run) -> dict[str, Job]:
    """Everybody who is told that ``run`` begins, by what a warning calls them."""
    known = {"name": name, "host": socket.gethostname()}
    return {_called(each): partial(_notify, watch, each, known, run) for each in _hearing(watch, name, run, MOMENTS[0])}


def _hearing(watch: Watch, name: str, run: Run, *moments: str) -> list[Receiver]:
    return [each for each in watch.receivers if any(each.wants(run["command"], moment, name) for moment in moments)]


def _called(receiver: Receiver) -> str:
    return f"the receiver {receiver.name}"


def _notify(watch: Watch, receiver: Receiver, observation: Observation, run: Run) -> None:
    """Tell a receiver, unless it wants to hear of another outcome only."""
    if not receiver.wants(run["command"], run.get("outcome", MOMENTS[0]), observation["name"]):
        return
    seconds, headers_file = _OWN_PART * watch.timeout_seconds, receiver.headers_file
    told = notify.content(observation, run, details=receiver.details)
    if receiver.type == "ping":
        notify.ping(receiver.url, observation, run, headers_file=headers_file, seconds=seconds)
    elif receiver.type == "webhook":
        notify.webhook(receiver.url, observation, told, headers_file=headers_file, seconds=seconds)
    else:
        notify.command(receiver.command, told, seconds=seconds)


def _write_status(path: Path, watch: Watch, directory: Path, observation: Observation, _run: Run) -> None:
    configured, seconds = config.names(directory), _OWN_PART * watch.timeout_seconds
    status_file.write(path, observation, configured=configured, lock_timeout_seconds=seconds)


def _write_metrics(place: Path, directory: Path, observation: Observation, _run: Run) -> None:
    textfile.write(place, observation, config.names(directory))


def _collector(given: Collector, timeout_seconds: float) -> Sink:
    # In what is left it can still be told that the collector did not answer.
    sender = otlp.Sender(
        given.endpoint,
        headers_file=given.headers_file,
        python=given.python,
        timeout_seconds=_OWN_PART * timeout_seconds,
    )
    return Sink("OpenTelemetry", sender.tell, sender.close)
