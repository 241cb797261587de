# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Incremental backups through the modules, of a database that is just large enough for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Result, Session
from integration.place import Place, error_code, names_in, stored

from support import databases

MODULE = "sqlite_backup"
OLD = ["name 0", "name 1", "name 2"]


@pytest.fixture
def large(place: Place) -> Place:
    place.grow()
    return place


def test_check_run_check_run_change(ansible: Session, large: Place) -> None:
    first = _back_up(ansible, large)
    assert (first["changed"], first["backup"]["type"], first["backup"]["parent"]) == (True, "full", None)
    assert first["backup"]["changed_pages"] == first["backup"]["page_count"]
    databases.add(large.database, "second")
    before = stored(large.repository)

    check = _back_up(ansible, large, check_mode=True)

    assert stored(large.repository) == before
    assert check["changed"]
    told = {key: check["backup"][key] for key in ("type", "parent", "changed_pages")}
    assert told == {"type": "incremental", "parent": first["backup"]["id"], "changed_pages": told["changed_pages"]}
    assert 0 < told["changed_pages"] < 5
    assert check["diff"]["before"] == {"latest": first["backup"]["id"]}

    run = _back_up(ansible, large)

    assert {key: run["backup"][key] for key in told} == told
    assert run["backup"]["id"].endswith("-incremental")
    assert run["backup"]["stored_bytes"] < 20_000 < run["backup"]["database_bytes"]
    assert run["backup"]["tables"] == {"item": 4, "large": 1}
    assert run["backup"]["verified"]
    assert run["diff"] == {**check["diff"], "after": {"latest": run["backup"]["id"]}}
    before = stored(large.repository)

    again = _back_up(ansible, large, check_mode=True), _back_up(ansible, large)

    for each in again:
        assert not each["changed"]
        assert (each["backup"]["id"], each["backup"]["changed_pages"]) == (run["backup"]["id"], 0)
        assert each["diff"]["before"] == each["diff"]["after"]
    after = stored(large.repository)
    assert {name for name in after if after[name] != before.get(name)} == {
        "history.jsonl",
        f"{run['backup']['id']}/checks.json",
    }


@pytest.mark.slow
def test_list_verify_and_restore(ansible: Session, large: Place) -> None:
    full = large.backed_up()
    databases.add(large.database, "second")
    incremental = large.backed_up()
    databases.add(large.database, "lost")
    repository = {"repository": str(large.repository)}

    (listed,) = ansible.task("sqlite_backup_info", repository)["repositories"]
    verified = ansible.task("sqlite_verify", {**repository, "backup": "all", "level": "full"})
    latest = ansible.task("sqlite_restore", repository)
    newest_names = names_in(large.database, large.directory / "newest")
    older = ansible.task("sqlite_restore", {**repository, "backup": full.name})
    undone = ansible.task("sqlite_restore", {**repository, "undo": True})

    assert [(each["type"], each["parent"]) for each in listed["backups"]] == [
        ("full", None),
        ("incremental", full.name),
    ]
    assert verified["verification"]["outcome"] == "passed"
    details = [each["detail"] for each in verified["verification"]["checks"] if each["name"].endswith(": artifacts")]
    assert [each.partition(", ")[2] for each in details] == ["", "built on 1 backup"]
    assert (latest["restore"]["backup"], older["restore"]["backup"]) == (incremental.name, full.name)
    assert newest_names == [*OLD, "second"]
    assert undone["changed"]
    assert names_in(large.database, large.directory / "undone") == [*OLD, "second"]


@pytest.mark.slow
def test_the_options_that_decide_between_full_and_incremental(ansible: Session, large: Place) -> None:
    large.backed_up_at("2026-01-01T10:00:00Z")
    asked: list[tuple[str, dict[str, Any]]] = [
        ("incremental", {"full_every": "5200w"}),
        ("incremental", {"full_every": "5200w", "max_chain": 2}),
        ("full", {"full_every": "5200w", "max_chain": 2}),
        ("incremental", {"type": "incremental"}),
        ("full", {"type": "full"}),
        ("full", {"full_every": "0s"}),
        ("incremental", {}),
    ]
    results = []
    for number, (_kind, options) in enumerate(asked):
        databases.add(large.database, f"change {number}")
        results.append(_back_up(ansible, large, **options))

    assert [each["backup"]["type"] for each in results] == [kind for kind, _options in asked]
    assert [each["backup"]["warnings"] for each in results] == [[]] * len(asked)
    databases.add(large.database, "last")
    old = _back_up(ansible, large, repository=str(_old(large)), full_every="1h")
    assert old["backup"]["type"] == "full"


def _old(large: Place) -> Path:
    """Another repository of the same database, whose full backup is from another year."""
    repository = large.directory / "backups" / "old"
    large.backed_up_at("2025-01-01T10:00:00Z", repository=repository)
    databases.add(large.database, "since")
    return repository


def test_incremental_without_a_base_warns(ansible: Session, large: Place) -> None:
    run = _back_up(ansible, large, type="incremental")

    assert run["backup"]["type"] == "full"
    (warning,) = run["backup"]["warnings"]
    assert warning == "a full backup instead of an incremental one: there is no backup to build on"
    assert warning in run["warnings"]


def test_small_database_is_stored_full(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.add(place.database, "second")

    check, run = _back_up(ansible, place, check_mode=True), _back_up(ansible, place)

    assert (check["backup"]["type"], run["backup"]["type"]) == ("full", "full")
    assert check["backup"]["changed_pages"] == run["backup"]["changed_pages"] == run["backup"]["page_count"]


def test_tags_of_an_unchanged_database_take_no_page(ansible: Session, large: Place) -> None:
    full = large.backed_up()

    run = _back_up(ansible, large, tags=["release"], pinned=True, reason="before migration 42")

    assert (run["changed"], run["backup"]["type"], run["backup"]["parent"]) == (True, "incremental", full.name)
    assert run["backup"]["changed_pages"] == 0
    assert (run["backup"]["tags"], run["backup"]["pinned"]) == (["release"], True)


@pytest.mark.slow
def test_damaged_link_fails_what_builds_on_it_and_the_next_backup_is_full(ansible: Session, large: Place) -> None:
    full = large.backed_up()
    databases.add(large.database, "second")
    large.backed_up()
    image = full / "database.sqlite.gz"
    databases.flip_bit(image, image.stat().st_size // 2)
    databases.add(large.database, "third")
    repository = {"repository": str(large.repository)}

    verified = ansible.task("sqlite_verify", repository)
    restored = ansible.task("sqlite_restore", repository)
    check, run = _back_up(ansible, large, check_mode=True), _back_up(ansible, large)
    healed = ansible.task("sqlite_verify", {**repository, "level": "full"})

    assert (error_code(verified), error_code(restored)) == (13, 13)
    assert full.name in verified["msg"]
    assert (check["backup"]["type"], run["backup"]["type"]) == ("full", "full")
    assert check["backup"]["warnings"] == run["backup"]["warnings"]
    assert "A new full backup takes its place." in run["backup"]["warnings"][0]
    assert healed["verification"]["outcome"] == "passed"


def test_refusals(ansible: Session, large: Place) -> None:
    wrong: list[dict[str, Any]] = [{"full_every": "soon"}, {"full_every": "1 fortnight"}]
    unknown = {"type": "differential"}

    results = ansible.run(
        [{f"{harness.NAMESPACE}.{MODULE}": large.options(**options)} for options in [*wrong, unknown]]
    )

    assert [error_code(each) for each in results[: len(wrong)]] == [2, 2]
    assert results[-1]["failed"]
    assert "auto, full, incremental" in results[-1]["msg"]
    assert not large.repository.exists()


def _back_up(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    return ansible.task(MODULE, place.options(**options), check_mode=check_mode, diff=True)
