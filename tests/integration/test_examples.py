# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation of the modules: its examples run, and what it says is returned is just what is returned."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from integration import harness
from integration.harness import Result, Session
from integration.place import Place

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets import address
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import agent_db, databases, servers

MODULES = sorted(path.stem for path in (harness.ROOT / "plugins" / "modules").glob("sqlite_*.py"))
# What Ansible itself adds to results, and to those with a path.
COMMON = {"changed", "deprecations", "diff", "exception", "failed", "invocation", "msg", "warnings"}
COMMON |= {"gid", "group", "mode", "owner", "secontext", "size", "state", "uid"}
TYPES = {"bool": bool, "dict": dict, "float": float, "int": int, "list": list, "path": str, "str": str}
# What an operator's vault has.
VAULT = {"vault_access_key_id": servers.KEY, "vault_secret_access_key": servers.SECRET}

Documentation = dict[str, Any]


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Documentation]:
    """What ansible-doc knows of each module."""
    names = [f"{harness.NAMESPACE}.{name}" for name in MODULES]
    command = [*harness.program("ansible-doc"), "--json", "--type", "module", *names]
    env = harness.environment(tmp_path_factory.mktemp("doc"))
    found = json.loads(subprocess.run(command, env=env, check=True, capture_output=True).stdout)
    return {name: found[f"{harness.NAMESPACE}.{name}"] for name in MODULES}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What the examples speak of, below a directory of its own."""
    app = tmp_path / "srv" / "ci-fixer"
    (app / "prisma").mkdir(parents=True)
    (app / "prisma" / "schema.prisma").write_text("model AgentRun {}\n")
    (app / ".env").write_text("DATABASE_URL=file:../agent.db\n")
    (tmp_path / "home" / "ci-fixer" / ".local" / "bin").mkdir(parents=True)
    (tmp_path / "etc" / "sqlite-backup").mkdir(parents=True)
    (tmp_path / "srv" / "drills").mkdir()
    agent_db.create(app / "agent.db", runs=20)
    repository = tmp_path / "var" / "backups" / "sqlite" / "agent"
    with mock.patch.object(clock, "now", return_value=clock.from_text("2025-12-30T11:00:00Z")):
        backup.run(backup.Request(path=app / "agent.db", repository=repository))
    return tmp_path


def test_examples_run_as_they_are(ansible: Session, documentation: Mapping[str, Documentation], host: Path) -> None:
    live = host / "srv" / "ci-fixer" / "agent.db"

    last = ["sqlite_offsite_pull", "sqlite_restore_drill"]
    with servers.mounted(host) as server:
        for name in [*sorted({*MODULES} - {"sqlite_restore", *last}), *last]:
            assert _failures(ansible, _examples(documentation[name], host, server.target["url"])) == []
    _change(live)
    assert _failures(ansible, _examples(documentation["sqlite_restore"], host)) == []

    with contextlib.closing(sqlite3.connect(live)) as connection:
        assert connection.execute("SELECT count(*) FROM Later").fetchone() == (1,), "the last example is an undo"
    assert (live.parent / "agent-before-noon.db").stat().st_mode & 0o777 == 0o600


def test_every_module_has_examples_that_run(documentation: Mapping[str, Documentation], host: Path) -> None:
    """`test_examples_run_as_they_are` knows the order; a new module must be added there."""
    assert MODULES == [
        "sqlite_backup",
        "sqlite_backup_info",
        "sqlite_backup_pin",
        "sqlite_backup_prune",
        "sqlite_backup_runner",
        "sqlite_discover_info",
        "sqlite_export",
        "sqlite_import",
        "sqlite_offsite_pull",
        "sqlite_offsite_push",
        "sqlite_restore",
        "sqlite_restore_drill",
        "sqlite_verify",
    ]
    for name in MODULES:
        used = [task for task in _examples(documentation[name], host) if f"{harness.NAMESPACE}.{name}" in task]
        assert used, name


@pytest.mark.slow
def test_the_whole_result_is_documented(
    ansible: Session, documentation: Mapping[str, Documentation], place: Place
) -> None:
    returned = _results(ansible, place)

    for name in MODULES:
        documented = documentation[name]["return"]
        results = [_own(each) for each in returned[name]]
        assert [complaint for each in results for complaint in _undocumented(documented, each, "")] == [], name
        assert list(_never_returned(documented, results, "")) == [], name


@pytest.mark.thorough
def test_samples_are_what_is_documented(documentation: Mapping[str, Documentation]) -> None:
    for name in MODULES:
        for where, field in _fields(documentation[name]["return"], ""):
            assert field["description"], f"{name}: {where}"
            assert field["returned"], f"{name}: {where}"
            if "contains" not in field:
                assert "sample" in field, f"{name}: {where}"
                assert _has_type(field, field["sample"]), f"{name}: {where}"


def _examples(documented: Documentation, host: Path, url: str = "") -> list[dict[str, Any]]:
    text = documented["examples"]
    for directory in ("etc", "home", "srv", "var"):
        text = text.replace(f" /{directory}/", f" {host}/{directory}/")
    tasks: list[dict[str, Any]] = yaml.safe_load(text)
    for each in tasks:
        if each.get(f"{harness.NAMESPACE}.sqlite_backup_runner", {}) is None:
            each["check_mode"] = True  # it takes the default path, where nothing of a test belongs
        each["vars"] = VAULT
        for given in each.values():
            if isinstance(given, dict) and "target" in given:
                given["target"] = _mounted(given["target"], url)
    return tasks


def _mounted(target: dict[str, Any], url: str) -> dict[str, Any]:
    """The stores of the examples are not here: each target is read as it is, and a mounted disk takes its place."""
    meant = address.requested({**servers.defaults(), **target})
    return {"url": f"{url}/{Path(meant.path).name}"}


def _failures(ansible: Session, tasks: Sequence[Mapping[str, Any]]) -> list[str]:
    results = ansible.run(tasks)
    assert len(results) == len(tasks)
    return [str(each["msg"]) for each in results if each["failed"]]


def _change(database: Path) -> None:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE Later(id INTEGER)")
        connection.execute("INSERT INTO Later VALUES (1)")
        connection.commit()


def _results(ansible: Session, place: Place) -> dict[str, list[Result]]:
    """Results of each module of every kind: planned, done, unchanged, failed, damaged."""
    repository = {"repository": str(place.repository)}
    missing = {"repository": str(place.directory / "missing")}
    backups = [
        ansible.task("sqlite_backup", place.options(), check_mode=True),
        ansible.task("sqlite_backup", place.options()),
        ansible.task("sqlite_backup", place.options()),
        ansible.task("sqlite_backup", place.options(path=str(place.srv / "missing.db"))),
    ]
    place.grow()
    backups.append(ansible.task("sqlite_backup", place.options()))
    databases.add(place.database, "later")
    backups.append(ansible.task("sqlite_backup", place.options()))
    assert [each["backup"]["type"] for each in backups[-2:]] == ["full", "incremental"]
    databases.add(place.database, "lost")
    restores = [
        ansible.task("sqlite_restore", repository, check_mode=True),
        ansible.task("sqlite_restore", repository),
        ansible.task("sqlite_restore", repository),
        ansible.task("sqlite_restore", {**repository, "undo": True}),
        ansible.task("sqlite_restore", missing),
    ]
    beside = place.srv / "schema.prisma"
    beside.write_text("model AgentRun {}\n", encoding="utf-8")
    backups.append(ansible.task("sqlite_backup", place.options(include=[{"src": str(beside)}], force=True)))
    beside.unlink()
    restores.append(ansible.task("sqlite_restore", {**repository, "with_files": True}))
    place.backed_up()
    off = {"keep_within": "0s", "keep_hourly": 0, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    only_newest = {**repository, **off, "keep_last": 1}
    prunes = [
        ansible.task("sqlite_backup_prune", only_newest, check_mode=True),
        ansible.task("sqlite_backup_prune", only_newest),
        ansible.task("sqlite_backup_prune", only_newest),
        ansible.task("sqlite_backup_prune", missing),
    ]
    assert prunes[1]["removed"]
    latest = {**repository, "backup": "latest"}
    pins = [
        ansible.task("sqlite_backup_pin", {**latest, "until": "2100-01-01"}, check_mode=True),
        ansible.task("sqlite_backup_pin", {**latest, "until": "2100-01-01"}),
        ansible.task("sqlite_backup_pin", {**latest, "state": "absent"}),
        ansible.task("sqlite_backup_pin", {**latest, "backup": "none"}),
    ]
    with servers.mounted(place.directory) as server:
        copy, other = {"target": server.target}, {"repository": str(place.directory / "other")}
        pushes = [
            ansible.task("sqlite_offsite_push", {**repository, **copy}, check_mode=True),
            ansible.task("sqlite_offsite_push", {**repository, **copy}),
            ansible.task("sqlite_offsite_push", {**repository, **copy}),
            ansible.task("sqlite_offsite_push", {**missing, **copy}),
        ]
        pulls = [
            ansible.task("sqlite_offsite_pull", {**other, **copy}, check_mode=True),
            ansible.task("sqlite_offsite_pull", {**other, **copy}),
            ansible.task("sqlite_offsite_pull", {**other, **copy}),
            ansible.task("sqlite_offsite_pull", {**other, **copy, "name": "metrics"}),
        ]
    assert pushes[1]["transferred"]
    drills = _drills(ansible, place, repository)
    damaged = place.backed_up(force=True)
    databases.flip_bit(damaged / "manifest.json", 40)
    runner = {"path": str(place.srv / "sqlite-backup")}
    runners = [
        ansible.task("sqlite_backup_runner", runner, check_mode=True),
        ansible.task("sqlite_backup_runner", runner),
        ansible.task("sqlite_backup_runner", {**runner, "state": "absent"}),
        ansible.task("sqlite_backup_runner", {"path": str(place.database)}),
    ]
    infos = [
        ansible.task("sqlite_backup_info", {**repository, "rpo": "1h"}),
        ansible.task("sqlite_backup_info", missing),
    ]
    exports, imports = _moved(ansible, place, repository)
    (place.directory / "discover.json").write_text("{}", encoding="utf-8")
    searches = [
        ansible.task("sqlite_discover_info", {"paths": [str(place.srv)], "config": [str(place.directory)]}),
        ansible.task("sqlite_discover_info", {"paths": [str(place.directory / "gone")]}),
    ]
    verifications = [ansible.task("sqlite_verify", {**repository, "backup": "all", "level": "full"})]
    content = bytearray(place.database.read_bytes())
    content[4096:4128] = b"\xff" * 32
    place.database.write_bytes(content)
    backups.append(ansible.task("sqlite_backup", place.options()))
    assert backups[-1]["backup"]["suspect"]
    return {
        "sqlite_backup": backups,
        "sqlite_backup_info": infos,
        "sqlite_backup_pin": pins,
        "sqlite_backup_prune": prunes,
        "sqlite_backup_runner": runners,
        "sqlite_export": exports,
        "sqlite_import": imports,
        "sqlite_discover_info": searches,
        "sqlite_offsite_pull": pulls,
        "sqlite_offsite_push": pushes,
        "sqlite_restore": restores,
        "sqlite_restore_drill": drills,
        "sqlite_verify": verifications,
    }


def _moved(ansible: Session, place: Place, repository: Mapping[str, Any]) -> tuple[list[Result], list[Result]]:
    """Results of an export and of an import."""
    text, dest = place.directory / "agent.jsonl", place.directory / "moved.db"
    written = {"path": str(place.database), **repository, "dest": str(text)}
    built = {"src": str(text), "dest": str(dest), **repository}
    exports = [
        ansible.task("sqlite_export", written, check_mode=True),
        ansible.task("sqlite_export", written),
        ansible.task("sqlite_export", written),
        ansible.task("sqlite_export", {**written, "tables": ["nowhere"]}),
    ]
    imports = [
        ansible.task("sqlite_import", built, check_mode=True),
        ansible.task("sqlite_import", built),
        ansible.task("sqlite_import", built),
        ansible.task("sqlite_import", {**built, "src": str(place.database)}),
    ]
    assert [each["changed"] for each in (*exports[:3], *imports[:3])] == [True, True, False] * 2
    return exports, imports


def _drills(ansible: Session, place: Place, repository: Mapping[str, Any]) -> list[Result]:
    old = place.directory / "old"
    with mock.patch.object(clock, "now", return_value=clock.from_text("2025-12-30T11:00:00Z")):
        backup.run(backup.Request(path=place.database, repository=old))
    backup.run(backup.Request(path=place.database, repository=old, force=True))
    return [
        ansible.task("sqlite_restore_drill", repository, check_mode=True),
        ansible.task("sqlite_restore_drill", {"repository": str(old), "rto": "1h", "rpo": "1h", "backup": "due"}),
        ansible.task("sqlite_restore_drill", {**repository, "rto": "0s"}),
        ansible.task("sqlite_restore_drill", {**repository, "backup": "20200101T000000Z-full"}),
        ansible.task("sqlite_restore_drill", {**repository, "scratch_dir": "/no/such/directory"}),
    ]


def _own(result: Result) -> Result:
    return {key: value for key, value in result.items() if key not in COMMON and not key.startswith("_ansible")}


def _undocumented(documented: Mapping[str, Any], returned: Mapping[str, Any], where: str) -> Iterator[str]:
    """What a result holds that the documentation does not know, or knows otherwise."""
    for key, value in returned.items():
        field = documented.get(key)
        if field is None:
            yield f"{where}{key} is not documented"
        elif not _has_type(field, value):
            yield f"{where}{key} is {value!r}, documented as {field['type']}"
        elif "contains" in field:
            for each in _dictionaries(value):
                yield from _undocumented(field["contains"], each, f"{where}{key}.")


def _never_returned(documented: Mapping[str, Any], results: Sequence[Mapping[str, Any]], where: str) -> Iterator[str]:
    """What is documented and in none of the results."""
    for key, field in documented.items():
        values = [each[key] for each in results if key in each]
        if not values:
            yield f"{where}{key} was never returned"
        elif "contains" in field:
            inner = [each for value in values for each in _dictionaries(value)]
            yield from _never_returned(field["contains"], inner, f"{where}{key}.")


def _fields(documented: Mapping[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, field in documented.items():
        yield f"{where}{key}", field
        yield from _fields(field.get("contains", {}), f"{where}{key}.")


def _dictionaries(value: Any) -> list[dict[str, Any]]:
    return [value] if isinstance(value, dict) else list(value or [])


def _has_type(field: Mapping[str, Any], value: Any) -> bool:
    """Whether ``value`` has the documented type; null only where the description says so."""
    if value is None:
        return "null" in str(field["description"])
    return value.__class__ is TYPES[field["type"]]
