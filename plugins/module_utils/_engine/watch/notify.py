# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whoever wants to hear of a run hears of it: a ping, a webhook, a command. Each raises for what kept it from that."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlunsplit

from ..sealed import keyfiles
from ..system import clock, launch
from ..system.errors import EngineError, ProgramMissingError, from_os_error

# `web` is imported where it is used: it takes longer to load than the rest, and most runs tell nobody.
START = "start"

Facts = Mapping[str, Any]


def content(observation: Facts, run: Facts, *, details: bool) -> dict[str, Any]:
    """What is told of a run. Words and paths of the host, which are in messages and reasons, only with ``details``."""
    told = {
        "database": observation["name"],
        "host": observation["host"],
        "state": observation.get("state"),
        **{name: run.get(name) for name in ("command", "phase", "outcome", "code", "class", "seconds", "backup")},
        "run": run["id"],
        "time": clock.to_text(clock.now()),
    }
    if details:
        told["message"] = run.get("message") or ""
        told["reasons"] = [each["text"] for each in observation.get("reasons") or ()]
    return told


def ping(url: str, observation: Facts, run: Facts, *, headers_file: Path | None, seconds: float) -> None:
    """Tell a dead man's switch: ``/start``, nothing or ``/<exit code>`` behind the path, and the run as ``rid``.

    As https://healthchecks.io/docs/http_api/ has it.
    """
    from . import web

    parts = web.parts(_filled(url, observation))
    behind = "/start" if run["phase"] == START else f"/{run['code']}" if run["outcome"] == "failure" else ""
    query = "&".join(filter(None, (parts.query, f"rid={run['id']}")))
    _send(
        urlunsplit(parts._replace(path=parts.path.rstrip("/") + behind, query=query, fragment="")),
        None,
        headers_file=headers_file,
        seconds=seconds,
    )


def webhook(url: str, observation: Facts, told: Facts, *, headers_file: Path | None, seconds: float) -> None:
    """Post what ``told`` says as a JSON document."""
    _send(_filled(url, observation), json.dumps(told).encode(), headers_file=headers_file, seconds=seconds)


def _filled(url: str, observation: Facts) -> str:
    for name, value in (("database", observation["name"]), ("host", observation["host"])):
        url = url.replace(f"{{{name}}}", quote(str(value), safe=""))
    return url


def _send(url: str, data: bytes | None, *, headers_file: Path | None, seconds: float) -> None:
    from . import web

    headers = keyfiles.headers(headers_file) if headers_file else {}
    if data is not None:
        headers = {"Content-Type": "application/json", **headers}
    web.send(url, data=data, headers=headers, seconds=seconds)


def command(words: Sequence[str], told: Facts, *, seconds: float) -> None:
    """Run a program with what ``told`` says as JSON on its standard input, and as SQLITE_BACKUP_* in its environment.

    What it prints goes nowhere.
    """
    plain = {name: value for name, value in told.items() if not isinstance(value, (list, dict))}
    ours = {f"SQLITE_BACKUP_{name.upper()}": "" if value is None else str(value) for name, value in plain.items()}
    try:
        # pylint: disable-next=ansible-bad-function
        done = subprocess.run(
            words,
            input=json.dumps(told).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **ours},
            timeout=seconds,
            check=False,
            **launch.quiet(),
        )
    except FileNotFoundError:
        raise ProgramMissingError(f"{words[0]} is not there.", hint="Install it, or correct command.") from None
    except subprocess.TimeoutExpired:
        raise EngineError(f"{words[0]} did not end within {seconds:g} s, and was ended.") from None
    except OSError as error:
        raise from_os_error(error, f"cannot run {words[0]}") from error
    if done.returncode:
        raise EngineError(f"{words[0]} ended with the exit code {done.returncode}.")
