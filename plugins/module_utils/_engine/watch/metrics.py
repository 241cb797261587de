# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Observations of databases as metrics, and metrics as the text that Prometheus reads. Pure functions.

What is not known of a database has no sample. Nothing grows with the number of backups: the values of each label are
fixed, but for names of databases and targets, and the version.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..sqlite.proof import FAILED
from ..system import clock
from ..system.errors import EngineError
from .health import STATES

Observation = Mapping[str, Any]
Number = float
Values = Mapping[tuple[str, ...], Any]
"""What a metric is by the values of its own labels: a number, a flag, None where it is not known."""

COUNTER, GAUGE = "counter", "gauge"
FULL, INCREMENTAL, UNCHANGED, AUTO = "full", "incremental", "unchanged", "auto"
_STORED = (FULL, INCREMENTAL)
_MADE = (FULL, INCREMENTAL, UNCHANGED)
_ASKED_FOR = (AUTO, FULL, INCREMENTAL)
_ROOT = "root"
_PREFIX = "database_backup_"


@dataclass(frozen=True)
class Metric:
    """One metric: ``labels`` are its own, beside those of the database. ``of`` reads it from an observation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    of: Callable[[Observation], Values]


@dataclass(frozen=True)
class Sample:
    labels: Mapping[str, str]
    value: Number


@dataclass(frozen=True)
class Family:
    """All samples of one metric; ``unit`` is seconds, bytes or empty."""

    name: str
    kind: str
    help: str
    unit: str
    samples: tuple[Sample, ...]


def _inner(observation: Any, *names: str) -> Any:
    """What is in an object in an observation; None where there is none."""
    for each in names:
        observation = observation.get(each) if isinstance(observation, Mapping) else None
    return observation


def _value(*names: str) -> Callable[[Observation], Values]:
    return lambda observation: {(): _inner(observation, *names)}


def _moment(*names: str) -> Callable[[Observation], Values]:
    return lambda observation: {(): _timestamp(_inner(observation, *names))}


def _timestamp(text: Any) -> float | None:
    try:
        return clock.from_text(text).timestamp() if isinstance(text, str) else None
    except EngineError:
        return None


def _by_type(types: tuple[str, ...], *names: str, otherwise: Number | None = None) -> Callable[[Observation], Values]:
    """``otherwise`` is the value of a type that is not there."""

    def read(observation: Observation) -> Values:
        values = _inner(observation, *names)
        return {(each,): otherwise if (found := _inner(values, each)) is None else found for each in types}

    return read


def _by_target(read: Callable[[Observation], Any]) -> Callable[[Observation], Values]:
    return lambda observation: {(str(each["name"]),): read(each) for each in observation.get("targets") or ()}


def _drill_success(observation: Observation) -> Values:
    """An inconclusive drill did not fail, as the state of a database has it."""
    outcome = _inner(observation, "last_drill", "outcome")
    return {(): None if outcome is None else outcome != FAILED}


def _state(observation: Observation) -> Values:
    state = observation.get("state")
    return {(each,): each == state for each in STATES} if state in STATES else {}


def _target_success(target: Observation) -> bool | None:
    """Where nothing was pushed yet there is neither."""
    if target.get("failure"):
        return False
    return True if target.get("newest") else None


def _info(observation: Observation) -> Values:
    return {(str(observation.get("version") or ""), str(observation.get("encryption") or "")): 1}


_TYPE, _TARGET = ("type",), ("target",)
METRICS: tuple[Metric, ...] = (
    Metric(
        f"{_PREFIX}success_total",
        COUNTER,
        _TYPE,
        "Backup runs that succeeded, by what came of them.",
        _by_type(_MADE, "counts", "success", otherwise=0),
    ),
    Metric(
        f"{_PREFIX}failure_total",
        COUNTER,
        _TYPE,
        "Backup runs that failed, by the type that was asked for.",
        _by_type(_ASKED_FOR, "counts", "failure", otherwise=0),
    ),
    Metric(
        f"{_PREFIX}size_bytes",
        GAUGE,
        _TYPE,
        "Stored bytes of the newest backup of each type.",
        _by_type(_STORED, "sizes"),
    ),
    Metric(
        f"{_PREFIX}duration_seconds",
        GAUGE,
        _TYPE,
        "How long the newest successful run took, by what came of it.",
        _by_type(_MADE, "durations"),
    ),
    Metric(f"{_PREFIX}database_bytes", GAUGE, (), "Size of the database.", _value("database_bytes")),
    Metric(
        f"{_PREFIX}changed_bytes",
        GAUGE,
        (),
        "Bytes of the database that had changed when the newest backup was made.",
        _value("changed_bytes"),
    ),
    Metric(f"{_PREFIX}stored_bytes", GAUGE, (), "Stored bytes of all backups.", _value("total_bytes")),
    Metric(f"{_PREFIX}backups", GAUGE, _TYPE, "Backups in the repository.", _by_type(_STORED, "numbers")),
    Metric(
        f"{_PREFIX}suspect_backups",
        GAUGE,
        (),
        "Backups that retention never counts as good.",
        _value("suspect_backups"),
    ),
    Metric(f"{_PREFIX}suspect", GAUGE, (), "1 when the newest backup is suspect or held apart.", _value("suspect")),
    Metric(
        f"{_PREFIX}last_success_timestamp_seconds",
        GAUGE,
        (),
        "When the newest successful backup run was.",
        _moment("last_success"),
    ),
    Metric(
        f"{_PREFIX}last_run_timestamp_seconds",
        GAUGE,
        (),
        "When the newest backup run was, whatever came of it.",
        _moment("last_run", "time"),
    ),
    Metric(f"{_PREFIX}last_run_code", GAUGE, (), "Exit code of the newest backup run.", _value("last_run", "code")),
    Metric(
        f"{_PREFIX}last_verified_timestamp_seconds",
        GAUGE,
        (),
        "When a stored backup was last read and proven, by a verification or a drill.",
        _moment("last_verified"),
    ),
    Metric(
        f"{_PREFIX}last_drill_timestamp_seconds",
        GAUGE,
        (),
        "When the newest drill was.",
        _moment("last_drill", "time"),
    ),
    Metric(f"{_PREFIX}last_drill_success", GAUGE, (), "0 when the newest drill failed, else 1.", _drill_success),
    Metric(
        f"{_PREFIX}recovery_point_timestamp_seconds",
        GAUGE,
        (),
        "Moment of the newest data that is known to come back.",
        _moment("recovery_point"),
    ),
    Metric(
        f"{_PREFIX}rpo_seconds",
        GAUGE,
        (),
        "Age of the newest data that is known to come back, when this was written.",
        _value("age_seconds"),
    ),
    Metric(f"{_PREFIX}rpo_objective_seconds", GAUGE, (), "The RPO of the database.", _value("rpo_seconds")),
    Metric(
        f"{_PREFIX}rto_seconds",
        GAUGE,
        (),
        "How long the restore of the newest drill took.",
        _value("last_drill", "rto_seconds"),
    ),
    Metric(f"{_PREFIX}rto_objective_seconds", GAUGE, (), "The RTO of the database.", _value("rto_seconds")),
    Metric(
        f"{_PREFIX}rto_outlook_seconds",
        GAUGE,
        (),
        "How long a restore would take in 90 days, if the database goes on to grow as it did.",
        _value("outlook", "rto_seconds"),
    ),
    Metric(
        f"{_PREFIX}state",
        GAUGE,
        ("state",),
        "1 for the state that the backups of the database are in, 0 for the others.",
        _state,
    ),
    Metric(
        f"{_PREFIX}free_bytes",
        GAUGE,
        (),
        "Free bytes of the filesystem that holds the repository.",
        _value("free_bytes"),
    ),
    Metric(
        f"{_PREFIX}filesystem_bytes",
        GAUGE,
        (),
        "Bytes of the filesystem that holds the repository.",
        _value("filesystem_bytes"),
    ),
    Metric(
        f"{_PREFIX}target_success",
        GAUGE,
        _TARGET,
        "1 when the newest push to the target succeeded, 0 when it failed.",
        _by_target(_target_success),
    ),
    Metric(
        f"{_PREFIX}target_recovery_point_timestamp_seconds",
        GAUGE,
        _TARGET,
        "Moment of the newest data that the target holds.",
        _by_target(lambda target: _timestamp(target.get("recovery_point"))),
    ),
    Metric(
        f"{_PREFIX}target_rpo_objective_seconds",
        GAUGE,
        _TARGET,
        "The RPO of the target.",
        _by_target(lambda target: target.get("rpo_seconds")),
    ),
    Metric(
        f"{_PREFIX}info",
        GAUGE,
        ("version", "encryption"),
        "Always 1; the labels say what made the backups.",
        _info,
    ),
)
"""All metrics, in the order in which they are written."""


def families(*observations: Observation) -> list[Family]:
    """The metrics of these databases; what nobody has a value for is left out."""
    found = []
    for each in METRICS:
        unit = next((unit for unit in ("seconds", "bytes") if each.name.endswith(f"_{unit}")), "")
        samples = tuple(sample for observation in observations for sample in _samples(each, observation))
        if samples:
            found.append(Family(each.name, each.kind, each.help, unit, samples))
    return found


def _samples(metric: Metric, observation: Observation) -> Iterator[Sample]:
    whose = {"database": str(observation["name"])}
    if observation.get("user") not in (None, "", _ROOT):
        # Another user of this host may have a database of the same name; most hosts have only root's.
        whose["user"] = str(observation["user"])
    for values, number in metric.of(observation).items():
        if isinstance(number, (int, float)) and math.isfinite(number):
            # A flag, too, is a number from here on.
            yield Sample({**whose, **dict(zip(metric.labels, values))}, +number)


def text(found: Iterable[Family]) -> str:
    """The text format of Prometheus: https://prometheus.io/docs/instrumenting/exposition_formats/."""
    lines = []
    for family in found:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for each in family.samples:
            labels = ",".join(f'{name}="{_escaped(value, quote=True)}"' for name, value in each.labels.items())
            lines.append(f"{family.name}{{{labels}}} {_written(each.value)}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(value: str, *, quote: bool = False) -> str:
    value = value.replace("\\", "\\\\").replace("\n", "\\n")
    # What is no text, as half a pair of UTF-16, would make all of the file unreadable.
    return (value.replace('"', '\\"') if quote else value).encode(errors="replace").decode()


def _written(value: Number) -> str:
    """As short as it can be; a moment is a whole number of seconds and has no exponent."""
    return str(int(value)) if value == int(value) else repr(float(value))
