# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role `sqlite_backup` writes for each database, worked out on the controller from the variables of the role.

The documentation is in backup_plans.yml and backup_problems.yml.
"""

from __future__ import annotations

import glob
import hashlib
import math
import ntpath
import posixpath
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible.plugins.filter.core import to_nice_json

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import config, strict
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import urls
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import UsageError
from ansible_collections.sqliteops.backup.plugins.plugin_utils import places, schedules, values, windows

# What a run may take beside what it waits for: enough to compress, prove and prune terabytes.
RUN_SECONDS = schedules.DAY_SECONDS
# What a push may take for each target: each has a deadline of its own, which ends what hangs there long before.
PUSH_SECONDS = 7 * schedules.DAY_SECONDS
# How much later a task of Windows begins to push than the other one to back up: a backup takes seconds, mostly.
PUSH_DELAY_SECONDS = 600

# Keys of a database that are for the role; all others are the runner's.
ROLE_KEYS = ("state", "profile", "every", "active_hours", "first_backup")
# Keys that tell one database from another: they cannot be the same for all.
OWN_KEYS = ("name", *urls.WAYS, "chdir", "repository")

# Where disks are mounted that a push copies to: the role that sets up backups does not know the targets.
_MOUNTED = ("/mnt", "/media")
_TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - nothing is put there; a service with PrivateTmp would not see them
# To find programs that the package managers of other systems put beside those of the system.
_CRONTAB_PATH = 'PATH="/usr/local/bin:/opt/homebrew/bin:$PATH"'
_STATES = ("present", "absent")
_MANAGED_BY = "the role sqliteops.backup.sqlite_backup, from its variables"


@dataclass(frozen=True)
class Profile:
    """What a database gets that says nothing else."""

    every: str
    active_hours: str
    keep: Mapping[str, int | str]


_KEEP = {
    name: config.KEYS[name].default
    for name in ("keep_within", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly")
}
PROFILES = {
    "production": Profile("1h", "0-23", _KEEP),
    "development": Profile("1d", "7", {**_KEEP, "keep_hourly": 0}),
}


@dataclass(frozen=True)
class Settings:
    """The variables of the role, without their prefix; ``host`` and ``home`` are what Ansible knows of the host."""

    host: str
    config_dir: str
    repository_dir: str
    runner_path: str
    home: str = ""
    state: str = "present"
    profile: str = "production"
    scheduler: str = "cron"
    scope: str = "system"
    every: str = ""
    active_hours: str = ""
    first_backup: bool | str = True
    random_delay: str = "30s"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    windows: bool = False
    python: str = ""

    @property
    def paths(self) -> values.Paths:
        return values.Paths(self.home, self.windows)

    def place(self, variable: str) -> str:
        """The directory or file of the role that ``variable`` names; a crontab must hold it in a line."""
        text = self.paths.made(getattr(self, variable), f"sqlite_backup_{variable}")
        if not text.isprintable():
            raise UsageError(f"sqlite_backup_{variable} is {text!r}. Allowed is a path without control characters.")
        return text


def backup_plans(databases: Sequence[Mapping[str, Any]], **settings: Any) -> list[dict[str, Any]]:
    """A plan for each of the databases. Raises ``AnsibleFilterError`` for what the role cannot do."""
    plans, problems = _plans(databases, settings)
    if problems:
        raise AnsibleFilterError("\n".join(problems))
    return plans


def backup_problems(databases: Sequence[Mapping[str, Any]], **settings: Any) -> list[str]:
    """Why there can be no plans, a text for each database at fault; none when all is well."""
    return _plans(databases, settings)[1]


def _plans(
    databases: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The plans, and what is wrong with the databases for which there are none."""
    plans, problems = [], []
    try:
        given = Settings(**settings)
        _check_scope(given)
        _random_delay(given)
        values.mapping(given.defaults, "sqlite_backup_defaults")
        databases = values.sequence(databases, "sqlite_backup_databases")
    except (TypeError, UsageError) as error:
        return [], [str(error)]
    for each in databases:
        try:
            plans.append(
                _plan({**values.mapping(each, "sqlite_backup_databases: an item"), "name": _name(each)}, given)
            )
        except UsageError as error:
            problems.append(str(error))
    for key in ("name", "repository"):
        try:
            _check_distinct(plans, key, given)
        except UsageError as error:
            problems.append(str(error))
    return plans, list(dict.fromkeys([*problems, *_misplaced(plans, given)]))


def _misplaced(plans: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[str]:
    """What is wrong with the directories of the role: their rules are theirs alone, and shut others out."""
    living = [plan for plan in plans if "config" in plan]
    if not living:
        return
    places_of = _OwnPlaces(living, settings)
    for place, apart in places_of.pairs():
        try:
            places.check(place, apart=apart, outside=places_of.others, windows=settings.windows)
        except UsageError as error:
            yield str(error)


class _OwnPlaces:
    """The directories of the role, and those of ``others``, which none of them may be or contain."""

    def __init__(self, plans: Sequence[Mapping[str, Any]], settings: Settings) -> None:
        names = settings.paths.names
        self._config = places.Place(settings.place("config_dir"), "sqlite_backup_config_dir")
        self._bases, self._repositories = {}, []
        self.others = [places.Place(names.dirname(settings.place("runner_path")), "sqlite_backup_runner_path")]
        if settings.windows:
            python = settings.paths.made(settings.python, "sqlite_backup_python")
            self.others.append(places.Place(names.dirname(python), "sqlite_backup_python"))
        for plan in plans:
            where = f"sqlite_backup_databases: {plan['name']}"
            *bases, repository = plan["directories"]
            self._bases.update((each, places.Place(each, "sqlite_backup_repository_dir")) for each in bases)
            self._repositories.append(places.Place(repository, f"{where}: repository"))
            directory = _database_directory(plan["config"], settings, where)
            self.others.append(places.Place(directory, f"{where}: the database"))

    def pairs(self) -> Iterator[tuple[places.Place, list[places.Place]]]:
        """Each directory of the role, with those that it may not share."""
        yield self._config, [*self._bases.values(), *self._repositories]
        for base in self._bases.values():
            yield base, [self._config]
        for number, repository in enumerate(self._repositories):
            yield repository, [self._config, *self._repositories[:number]]


def _database_directory(content: Mapping[str, Any], settings: Settings, where: str) -> str:
    if not settings.windows:
        return _directory(content, _database_path(content, where))
    if "database_url" in content:
        return windows.directory_of_url(content["database_url"], content.get("chdir", ""))
    if "path" not in content and content.get("chdir"):
        return str(content["chdir"])
    return ntpath.dirname(content.get("path") or content["env_file"])


def _check_scope(settings: Settings) -> None:
    if settings.windows and settings.scope == "user":
        raise UsageError("sqlite_backup_scope is 'user'. On a Windows host, allowed is system.")
    if settings.scope == "user" and settings.scheduler != "cron":
        raise UsageError(
            f"sqlite_backup_scheduler is {settings.scheduler!r}. With sqlite_backup_scope 'user', allowed is cron: a "
            "timer of a user runs only while that user is logged in."
        )


def _check_distinct(plans: Sequence[Mapping[str, Any]], key: str, settings: Settings) -> None:
    seen: dict[str, str] = {}
    for plan in plans:
        found = plan.get(key)
        if found is None:
            continue
        same = windows.key(found) if settings.windows else found
        if same in seen:
            raise UsageError(
                f"sqlite_backup_databases: {key} {found!r} is that of two databases, {seen[same]} and {plan['name']}. "
                f"Allowed is each {key} once."
            )
        seen[same] = plan["name"]


def _plan(given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    name = given["name"]
    where = f"sqlite_backup_databases: {name}"
    plan = {
        "name": name,
        "state": _state(given, settings, where),
        "config_path": settings.paths.names.sep.join(
            (settings.place("config_dir"), config.DATABASES_NAME, f"{name}.json")
        ),
        **({"tasks": _tasks(name)} if settings.windows else {"schedule_files": _schedule_files(name)}),
    }
    if plan["state"] == "absent":
        return plan
    return {**plan, **_living(given, settings, where)}


def _state(given: Mapping[str, Any], settings: Settings, where: str) -> str:
    own = given.get("state")
    state = "present" if own is None else str(own)
    if state not in _STATES:
        raise UsageError(f"{where}: state is {state!r}. Allowed are {' and '.join(_STATES)}.")
    return state if settings.state == "present" else settings.state


def _living(given: Mapping[str, Any], settings: Settings, where: str) -> dict[str, Any]:
    """The part of a plan that a database has which stays."""
    content = _configuration(given, settings, where)
    every_seconds, schedule = _schedule(given, settings, where)
    content.setdefault("rpo", schedules.duration(schedules.rpo_seconds(every_seconds, schedule)))
    content.setdefault("due", _due(every_seconds, schedule, settings))
    _check(content, settings, where)
    runner = ([settings.paths.made(settings.python, "sqlite_backup_python")] if settings.windows else []) + [
        settings.place("runner_path")
    ]
    command = [given["name"], "--config", settings.place("config_dir")]
    content = {strict.MANAGED_BY: _MANAGED_BY, **content}
    base, repository = settings.place("repository_dir"), content["repository"]
    # What is copied elsewhere may take hours, and is the work of another unit, or of the next run.
    apart = [*runner, "backup", *command, *(["--no-push"] if content.get("targets") else [])]
    return {
        "config": content,
        "repository": repository,
        "command": apart,
        "try_command": [*runner, "try", *command, "--if-backed-up", "--quiet"],
        "directories": [*([base] if repository.startswith(f"{base}{settings.paths.names.sep}") else []), repository],
        "first_backup": values.flag(given.get("first_backup", settings.first_backup), f"{where}: first_backup"),
        **(
            _windows_schedule(content, schedule, every_seconds, apart, [*runner, "push", *command])
            if settings.windows
            else _posix_schedule(content, schedule, settings, where)
        ),
    }


def _posix_schedule(
    content: Mapping[str, Any], schedule: schedules.Schedule, settings: Settings, where: str
) -> dict[str, Any]:
    """The part that is for cron and systemd."""
    path = _database_path(content, where)
    directory = _directory(content, path)
    config_dir = settings.place("config_dir")
    name, runner = content["name"], settings.place("runner_path")
    command = [runner, "backup", name, "--config", config_dir]
    repository = content["repository"]
    notes = f"{config_dir}/{config.SEEN_NAME}"
    push, *units = _schedule_files(name)["systemd"]
    targets = content.get("targets", [])
    apart = [*command, "--no-push"] if targets else command
    return {
        "path": path,
        "cron_command": _for_cron(command),
        "crontab_command": f"{_CRONTAB_PATH} {_for_cron(command)}",
        "systemd_command": " ".join(values.for_systemd(each) for each in apart),
        "push_command": " ".join(values.for_systemd(each) for each in (runner, "push", *command[2:])),
        "units": [push, *units] if targets else units,
        "minute": schedule.cron_minute,
        "hour": schedule.cron_hour,
        "on_calendar": schedule.on_calendar,
        "random_delay": _random_delay(settings),
        # A path that is missing must not keep the runner from saying so.
        "read_write_paths": [values.for_systemd(f"-{each}") for each in dict.fromkeys((repository, directory, notes))],
        "push_write_paths": [values.for_systemd(f"-{each}") for each in (repository, notes, *_MOUNTED)],
        "run_seconds": _run_seconds(content),
        "push_seconds": len(targets) * PUSH_SECONDS,
        "private_tmp": not any(f"{each}/".startswith(_TEMPORARY) for each in (repository, directory)),
        "programs": _programs(content),
        "any_backup": f"{glob.escape(repository)}/*Z-*/manifest.json",
    }


def _windows_schedule(
    content: Mapping[str, Any], schedule: schedules.Schedule, every_seconds: int, command: list[str], push: list[str]
) -> dict[str, Any]:
    """The part that is for the task scheduler: its tasks, by name, each with what the module of Ansible is told."""
    task, push_task = _tasks(content["name"])
    targets = content.get("targets", [])
    wanted = [(task, command, _run_seconds(content), 0)]
    if targets:
        delay_seconds = min(PUSH_DELAY_SECONDS, every_seconds // 2)
        wanted.append((push_task, push, len(targets) * PUSH_SECONDS, delay_seconds))
    text = f"{to_nice_json(content)}\n"
    return {
        "programs": [f"{each}.exe" for each in (*_programs(content), *(["rclone"] if targets else []))],
        "digest": hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(),
        "scheduled": [
            {
                "name": name,
                "action": {"path": words[0], "arguments": windows.command_line(words[1:])},
                "trigger": windows.trigger(schedule.runs, delay_seconds),
                "limit": windows.duration(limit_seconds),
            }
            for name, words, limit_seconds, delay_seconds in wanted
        ],
    }


def _due(every_seconds: int, schedule: schedules.Schedule, settings: Settings) -> dict[str, str]:
    """When a run is missing: half of the time to the next one is enough for a long backup, an hour for a short one."""
    delay_seconds = 60 * math.ceil(int(_random_delay(settings)[:-1]) / 60)
    grace_seconds = min(every_seconds, max(schedules.HOUR_SECONDS, every_seconds // 2) + delay_seconds)
    return {"minute": schedule.cron_minute, "hour": schedule.cron_hour, "grace": schedules.duration(grace_seconds)}


def _check(content: Mapping[str, Any], settings: Settings, where: str) -> None:
    """By the rules of the engine: with what it refuses, every run would fail."""
    file = Path("/", content["name"])
    if settings.windows:
        # The rules take paths apart, too, and here that is done as on the controller.
        content = values.typed_object(content, config.KEYS, windows.stand_in, where)
        if windows.is_absolute_url(content.get("database_url", "")):
            content.setdefault("chdir", "/")
    database = config.checked(content, content["name"], file=file, told=where)
    for key, error in config.mistakes(database.options):
        raise UsageError(f"{where}: {key}: {error.message}", hint=error.hint)


def _random_delay(settings: Settings) -> str:
    """As systemd reads it."""
    try:
        return f"{math.ceil(clock.parse_duration(str(settings.random_delay)))}s"
    except UsageError:
        raise UsageError(
            f"sqlite_backup_random_delay is {settings.random_delay!r}. Allowed is a duration, such as 30s, 5m or 1h."
        ) from None


def _name(given: Mapping[str, Any]) -> str:
    name = "" if given.get("name") is None else str(given["name"])
    if not strict.NAME.fullmatch(name):
        raise UsageError(
            f"sqlite_backup_databases: name is {name!r}. Allowed are letters, digits, - and _, with a letter or a "
            "digit first."
        )
    return name


def _configuration(given: Mapping[str, Any], settings: Settings, where: str) -> dict[str, Any]:
    """What the runner reads of the database: its own keys, the defaults of the role, the retention of its profile."""
    own = {key: value for key, value in given.items() if key not in ROLE_KEYS}
    merged = {**_profile(given, settings, where).keep, **settings.defaults, **own}
    base = settings.place("repository_dir")
    merged["repository"] = own.get("repository") or f"{base}{settings.paths.names.sep}{given['name']}"
    content = values.typed_object(merged, config.KEYS, settings.paths.absolute, where)
    content["repository"] = settings.paths.made(content["repository"], f"{where}: repository")
    if sum(each in content for each in urls.WAYS) != 1:
        raise UsageError(f"{where}: exactly one of {urls.told_ways()} must be given.")
    return content


def _profile(given: Mapping[str, Any], settings: Settings, where: str) -> Profile:
    name, where = _chosen(given, settings, "profile", "", where)
    if name not in PROFILES:
        raise UsageError(f"{where} is {name!r}. Allowed are {' and '.join(PROFILES)}.")
    return PROFILES[name]


def _chosen(given: Mapping[str, Any], settings: Settings, key: str, default: str, where: str) -> tuple[str, str]:
    """What the database says, else the variable of the role, else ``default``; and where that was said."""
    own = given.get(key)
    if own is not None and str(own):
        return str(own), f"{where}: {key}"
    return str(getattr(settings, key)) or default, f"sqlite_backup_{key}"


def _schedule(given: Mapping[str, Any], settings: Settings, where: str) -> tuple[int, schedules.Schedule]:
    profile = _profile(given, settings, where)
    every_seconds = schedules.every_seconds(*_chosen(given, settings, "every", profile.every, where))
    hours = schedules.hours(*_chosen(given, settings, "active_hours", profile.active_hours, where))
    return every_seconds, schedules.spread(f"{settings.host}\0{given['name']}", every_seconds, hours)


def _run_seconds(content: Mapping[str, Any]) -> int:
    """What no run takes that gets on, by its own deadlines; it waits up to three times for a lock of the repository."""
    seconds = float(RUN_SECONDS)
    for key, times in (("timeout", 1), ("lock_timeout", 3)):
        seconds += times * clock.parse_duration(content.get(key, config.KEYS[key].default))
    return math.ceil(seconds)


def _database_path(content: Mapping[str, Any], where: str) -> str:
    if "database_url" not in content:
        return str(content.get("path", ""))
    chdir = content.get("chdir")
    try:
        return str(urls.path(content["database_url"], chdir=Path(chdir) if chdir else None))
    except UsageError as error:
        raise UsageError(f"{where}: database_url: {error.message}", hint=error.hint) from None


def _directory(content: Mapping[str, Any], path: str) -> str:
    """That of the database; only the host knows what an environment file names, as a rule it is below these."""
    return posixpath.dirname(path) if path else str(content.get("chdir") or posixpath.dirname(content["env_file"]))


def _programs(content: Mapping[str, Any]) -> list[str]:
    """What the host should have beside Python."""
    wanted = ["zstd"] if content.get("compression", "auto") in ("auto", "zstd") else []
    method = content.get("encryption", {}).get("method", "none")
    return [*wanted, *([] if method == "none" else [method])]


def _schedule_files(name: str) -> dict[str, list[str]]:
    """Every file of a schedule that may be there. No database has an ``@`` in its name."""
    units = (f"push@{name}.service", f"{name}.service", f"{name}.timer")
    return {
        "cron": [f"/etc/cron.d/sqlite-backup-{name}"],
        "systemd": [f"/etc/systemd/system/sqlite-backup-{each}" for each in units],
    }


def _tasks(name: str) -> list[str]:
    """Every task of Windows that may be there: the backup, and the push to targets."""
    return [name, f"push@{name}"]


def _for_cron(command: Sequence[str]) -> str:
    """A line for the shell that cron starts; to cron itself, % is the end of the line (crontab(5))."""
    return shlex.join([*command, "--syslog"]).replace("%", r"\%")


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"backup_plans": backup_plans, "backup_problems": backup_problems}
