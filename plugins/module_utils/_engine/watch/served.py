# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is answered over HTTP about the databases of a host: for load balancers, for Prometheus, and for people.

``/health`` and ``/metrics`` have states, moments and numbers; what has reasons and paths is for this host alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from ..system import clock
from . import fleet_report, health, metrics, status_file
from .fleet_details import UNKNOWN

Seen = Mapping[str, Any]
"""``made``, ``host``, the ``databases`` as they were observed, and the ``error`` that kept all from that."""

_WORST_FIRST = (health.MISSED, health.FAILING, UNKNOWN, health.DEGRADED, health.OK)
_WELL = (health.OK, health.DEGRADED)
_JSON = "application/json"
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True)
class Answer:
    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


def seen(data: bytes) -> Seen:
    """What the process that looks has written."""
    found: Seen = json.loads(data)
    return found


def is_local(host: str | None) -> bool:
    """Whether ``Host`` names this host as itself: a page of somebody else may have a name that leads here, too."""
    name = (host or "").strip().lower()
    return name in _LOCAL or name.rpartition(":")[0] in _LOCAL


def refused(status: int, *, allow: str = "") -> Answer:
    body = json.dumps({"error": _WORDS.get(status, "The request is not understood.")}) + "\n"
    return Answer(status, body, {"Content-Type": _JSON, **({"Allow": allow} if allow else {})})


_WORDS = {
    400: "The request is not understood. /health takes database=NAME.",
    404: "There is /, /health and /metrics, and no database of another name.",
    405: "There is GET and HEAD.",
    408: "The request did not come in time.",
    431: "The request is too long.",
}


def answer(target: str, look: Callable[[], Seen], *, is_open: bool) -> Answer:
    """The answer to a request for ``target``; ``is_open`` says that whoever asks may read reasons and paths."""
    path, _mark, query = target.partition("?")
    if path == "/health":
        return _health(query, look)
    if path == "/metrics":
        return _metrics(look())
    return _page(look(), is_open=is_open) if path == "/" else refused(404)


def _health(query: str, look: Callable[[], Seen]) -> Answer:
    given = parse_qsl(query, keep_blank_values=True)
    if query and (len(given) != 1 or given[0][0] != "database"):
        return refused(400)
    found = look()
    databases = [each for each in found["databases"] if not given or each["name"] == given[0][1]]
    if given and not databases and not found["error"]:
        return refused(404)
    states = {str(each["state"]) for each in databases}
    worst = next((each for each in _WORST_FIRST if each in states), UNKNOWN)
    state = UNKNOWN if found["error"] else worst
    told = {
        "format": status_file.FORMAT,
        "made": found["made"],
        "host": found["host"],
        "state": state,
        "databases": [status_file.entry(each) for each in databases],
        **({"error": "The state could not be found out."} if state == UNKNOWN else {}),
    }
    body = json.dumps(told, indent=2) + "\n"
    return Answer(200 if state in _WELL else 503, body, {"Content-Type": _JSON})


def _metrics(found: Seen) -> Answer:
    """Of a database that could not be looked at, nothing: a counter must not fall, nor an old number stand."""
    known = [each for each in found["databases"] if each["state"] != UNKNOWN]
    text = metrics.text(metrics.families(*known))
    status = 503 if found["error"] else 200
    return Answer(status, text, {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _page(found: Seen, *, is_open: bool) -> Answer:
    databases: list[Mapping[str, Any]] = [*found["databases"]]
    if found["error"]:
        databases = [{"name": "", "host": found["host"], "state": UNKNOWN, "error": found["error"]}]
    if not is_open:
        databases = [_closed(each) for each in databases]
    title = f"SQLite backups of {found['host']}"
    note = "" if is_open else "Why a database is not well is told on its host alone."
    report = fleet_report.collect(databases, clock.from_text(found["made"]), title=title, note=note)
    return Answer(200, fleet_report.to_html(report), {"Content-Type": "text/html; charset=utf-8"})


def _closed(observation: Mapping[str, Any]) -> dict[str, Any]:
    """What everybody may know of it."""
    told = status_file.entry(observation)
    failures = [{**each, "failure": "The last push failed." if each["failed"] else None} for each in told["targets"]]
    newest = [each.get("newest") for each in observation.get("targets") or ()]
    targets = [{**each, "newest": identity} for each, identity in zip(failures, newest)]
    return {**told, "reasons": [], "targets": targets, "host": observation.get("host")}
