# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_verify: check, run, check, run, broken; on backups and on live databases."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from integration.harness import NAMESPACE, Result, Session
from integration.place import (
    Place,
    change_manifest,
    commit_and_crash,
    error_code,
    everything,
    opened_by_another,
    stored,
)

from support import databases

MODULE = "sqlite_verify"


def test_a_good_backup(ansible: Session, place: Place) -> None:
    backup = place.backed_up()
    before = stored(place.repository)

    check = _verify(ansible, place, check_mode=True)

    assert _outcome(check) == (False, "passed")
    assert stored(place.repository) == before

    for level in ("quick", "full"):
        run = _verify(ansible, place, level=level)
        assert _outcome(run) == (False, "passed")

    names = [each["name"] for each in run["verification"]["checks"]]
    assert names == ["artifacts", "image", "rows", "integrity_check", "foreign_key_check"]
    noted = json.loads((backup / "checks.json").read_text())["verifications"]
    assert [(each["level"], each["outcome"]) for each in noted] == [("quick", "passed"), ("full", "passed")]
    after = stored(place.repository)
    assert {name for name in after if after[name] != before.get(name)} == {
        f"{backup.name}/checks.json",
        "history.jsonl",
    }


def test_expectations(ansible: Session, place: Place) -> None:
    backup = place.backed_up()
    good: list[dict[str, Any]] = [
        {"expect_tables": ["item"]},
        {"assertions": [{"sql": "SELECT count(*) FROM item", "equals": 3}]},
        {"assertions": [{"sql": "SELECT count(*) > 2 FROM item", "equals": "1"}]},
        {"assertions": [{"sql": "SELECT id, name FROM item LIMIT 2", "equals": [[1, "name 0"], [2, "name 1"]]}]},
    ]
    bad: list[dict[str, Any]] = [
        {"expect_tables": ["item", "AgentRun"]},
        {"assertions": [{"sql": "SELECT count(*) FROM item", "equals": 4}]},
        {"assertions": [{"sql": "DELETE FROM item", "equals": []}]},
        {"assertions": [{"sql": "SELECT nothing", "equals": 1}]},
    ]

    results = ansible.run([_task(place, **each) for each in [*good, *bad]])

    assert [_outcome(each) for each in results[: len(good)]] == [(False, "passed")] * len(good)
    assert [error_code(each) for each in results[len(good) :]] == [17] * len(bad)
    assert [_outcome(each) for each in results[len(good) :]] == [(True, "failed")] * len(bad)
    kept = [each["outcome"] for each in json.loads((backup / "checks.json").read_text())["verifications"]]
    assert kept == ["passed"] * len(good) + ["unexpected"] * len(bad)


def test_expectations_of_a_live_database(ansible: Session, place: Place) -> None:
    deletion = {"sql": "DELETE FROM item", "equals": []}

    results = [
        _verify_file(ansible, place, **each)
        for each in ({"expect_tables": ["item"]}, {"expect_tables": ["AgentRun"]}, {"assertions": [deletion]})
    ]

    assert _outcome(results[0]) == (False, "passed")
    assert [error_code(each) for each in results[1:]] == [17, 17]
    assert databases.names(place.database) == ["name 0", "name 1", "name 2"]


@pytest.mark.parametrize("artifact", ["image", "manifest", "schema", "appended"])
def test_a_damaged_backup(ansible: Session, place: Place, artifact: str) -> None:
    backup = place.backed_up()
    image = backup / "database.sqlite.gz"
    damages: dict[str, Callable[[], object]] = {
        "image": lambda: databases.flip_bit(image, image.stat().st_size // 2),
        "manifest": lambda: change_manifest(backup),
        "schema": lambda: databases.flip_bit(backup / "schema.sql", 5),
        "appended": lambda: image.write_bytes(image.read_bytes() + b"\0"),
    }
    damages[artifact]()
    sealed = {name: entry for name, entry in stored(backup).items() if name != "checks.json"}

    result = _verify(ansible, place)

    assert error_code(result) == 13
    assert _outcome(result) == (True, "failed")
    assert {name: entry for name, entry in stored(backup).items() if name != "checks.json"} == sealed


def test_all_backups_and_one_of_them_damaged(ansible: Session, place: Place) -> None:
    good = place.backed_up()
    databases.add(place.database, "second")
    bad = place.backed_up()
    databases.flip_bit(bad / "database.sqlite.gz", 30)

    check = _verify(ansible, place, backup="all", level="full", check_mode=True)
    first = _verify(ansible, place, backup=good.name)

    assert error_code(check) == 13
    outcomes = {each["name"].split(":")[0]: each["outcome"] for each in check["verification"]["checks"]}
    assert outcomes == {good.name: "passed", bad.name: "failed"}
    assert _outcome(first) == (False, "passed")


def test_a_suspect_backup_never_passes(ansible: Session, place: Place) -> None:
    _corrupt(place)
    ansible.task("sqlite_backup", place.options())

    quick, full = _verify(ansible, place), _verify(ansible, place, level="full")

    assert (error_code(quick), error_code(full)) == (13, 13)


def test_a_live_database(ansible: Session, place: Place) -> None:
    commit_and_crash(place.database, "only in the -wal")
    before = everything(place.database)
    assertion = {"sql": "SELECT count(*) FROM item", "equals": 4}

    check = _verify_file(ansible, place, check_mode=True)
    run = _verify_file(ansible, place, level="full", assertions=[assertion])

    assert _outcome(check) == _outcome(run) == (False, "passed")
    assert everything(place.database) == before

    with opened_by_another(place.database, "BEGIN IMMEDIATE"):
        assert _outcome(_verify_file(ansible, place)) == (False, "passed")


def test_a_corrupt_live_database(ansible: Session, place: Place) -> None:
    _corrupt(place)
    before = everything(place.srv)

    result = _verify_file(ansible, place)

    assert error_code(result) == 12
    assert _outcome(result) == (True, "failed")
    assert everything(place.database)["."] == before["agent.db"]


def test_a_missing_sqlite_module_is_no_proof(ansible: Session, place: Place) -> None:
    with contextlib.closing(sqlite3.connect(place.database)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        sql = "CREATE VIRTUAL TABLE vectors USING vec0(embedding float[8])"
        connection.execute("INSERT INTO sqlite_master VALUES ('table', 'vectors', 'vectors', 0, ?)", (sql,))
        connection.commit()
    place.backed_up()

    live, backup = _verify_file(ansible, place), _verify(ansible, place, level="full")

    assert (error_code(live), error_code(backup)) == (19, 19)
    assert _outcome(live) == _outcome(backup) == (True, "inconclusive")
    assert "vec0" in live["msg"]


def test_refusals(ansible: Session, place: Place) -> None:
    place.backed_up()
    text = place.srv / "notes.txt"
    text.write_text("no database\n" * 100)
    refusals: list[tuple[int, dict[str, Any]]] = [
        (22, {"backup": "20200101T000000Z-full"}),
        (22, {"repository": str(place.srv)}),
        (10, {"repository": None, "path": str(place.srv / "missing.db")}),
        (10, {"repository": None, "path": str(text)}),
        (2, {"lock_timeout": "1 fortnight"}),
    ]
    before = everything(place.srv), stored(place.repository)

    results = ansible.run([_task(place, **options) for _code, options in refusals])
    both, neither = ansible.run([_task(place, path=str(place.database)), _task(place, repository=None)])

    assert [error_code(each) for each in results] == [code for code, _options in refusals]
    assert "mutually exclusive" in both["msg"]
    assert "one of the following is required" in neither["msg"]
    assert (everything(place.srv), stored(place.repository)) == before


def _task(place: Place, **options: Any) -> dict[str, Any]:
    wanted = {"repository": str(place.repository), **options}
    return {f"{NAMESPACE}.{MODULE}": {name: value for name, value in wanted.items() if value is not None}}


def _verify(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    return ansible.task(MODULE, {"repository": str(place.repository), **options}, check_mode=check_mode, diff=True)


def _verify_file(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    return ansible.task(MODULE, {"path": str(place.database), **options}, check_mode=check_mode)


def _outcome(result: Result) -> tuple[bool, str]:
    """Whether the task failed, and what it says; verifying never changes anything."""
    assert result["changed"] is False
    return result["failed"], result["verification"]["outcome"]


def _corrupt(place: Place) -> None:
    content = bytearray(place.database.read_bytes())
    content[4096:4128] = b"\xff" * 32
    place.database.write_bytes(content)
