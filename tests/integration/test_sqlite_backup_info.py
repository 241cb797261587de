# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_backup_info: it lists everything, says how old the newest proof is, and only reads."""

from __future__ import annotations

from typing import Any

from integration.harness import NAMESPACE, Result, Session
from integration.place import Place, error_code, everything, opened_by_another

from support import databases

MODULE = "sqlite_backup_info"
HOURS = 3600


def test_it_only_reads(ansible: Session, place: Place) -> None:
    backup = place.backed_up(tags=("release",), reason="before migration 42", pinned=True)
    before = everything(place.directory)

    check, run = _info(ansible, place, check_mode=True), _info(ansible, place)

    assert everything(place.directory) == before
    assert check["repositories"][0]["backups"] == run["repositories"][0]["backups"]
    (found,) = run["repositories"]
    assert (found["name"], found["path"]) == ("agent", str(place.repository))
    assert found["source"] == str(place.database)
    assert [each["id"] for each in found["backups"]] == [backup.name]
    assert found["latest"] == found["backups"][0]
    assert (found["latest"]["tags"], found["latest"]["pinned"]) == (["release"], True)
    assert found["latest"]["reason"] == "before migration 42"
    assert found["latest"]["stored_bytes"] == found["total_bytes"]
    assert found["total_bytes"] == sum(
        each.stat().st_size for each in backup.iterdir() if each.name not in ("manifest.json", "checks.json")
    )
    assert (found["rpo_met"], found["last_drill"]) == (None, None)


def test_the_rpo_counts_from_the_newest_verified_backup(ansible: Session, place: Place) -> None:
    place.backed_up_at("2026-01-01T10:00:00Z")
    databases.add(place.database, "second")
    newest = place.backed_up()

    (young,) = _info(ansible, place, rpo="1h")["repositories"]
    databases.flip_bit(newest / "database.sqlite.gz", 30)
    verified = ansible.task("sqlite_verify", {"repository": str(place.repository)})
    (old,) = _info(ansible, place, rpo="1h")["repositories"]
    (patient,) = _info(ansible, place, rpo="1000w")["repositories"]

    assert (young["rpo_met"], error_code(verified)) == (True, 13)
    assert (old["rpo_met"], patient["rpo_met"]) == (False, True)
    assert young["age_seconds"] < HOURS < old["age_seconds"]
    assert [each["verified"] for each in old["backups"]] == [True, False]
    assert old["latest"]["id"] == newest.name


def test_a_damaged_manifest_is_listed_with_its_damage(ansible: Session, place: Place) -> None:
    good = place.backed_up()
    databases.add(place.database, "second")
    bad = place.backed_up()
    databases.flip_bit(bad / "manifest.json", 40)

    (found,) = _info(ansible, place, rpo="1h")["repositories"]

    assert [each["id"] for each in found["backups"]] == [good.name, bad.name]
    assert set(found["latest"]) == {"id", "path", "damage"}
    assert found["latest"]["damage"]
    assert found["backups"][0]["damage"] == ""
    assert found["rpo_met"]


def test_a_repository_without_a_backup(ansible: Session, place: Place) -> None:
    place.database.unlink()
    databases.make(place.database, journal_mode="delete")
    with opened_by_another(place.database, "BEGIN EXCLUSIVE"):
        assert error_code(ansible.task("sqlite_backup", place.options(timeout="1s"))) == 11

    (found,) = _info(ansible, place, rpo="1h")["repositories"]

    assert (found["backups"], found["latest"], found["age_seconds"]) == ([], None, None)
    assert (found["rpo_met"], found["total_bytes"]) == (False, 0)


def test_many_repositories_in_the_order_given(ansible: Session, place: Place) -> None:
    place.backed_up()
    metrics = databases.make(place.srv / "metrics.db")
    other = place.directory / "backups" / "metrics"
    place.backed_up(path=metrics, repository=other)

    found = _info(ansible, place, repository=[str(other), str(place.repository)])["repositories"]

    assert [each["name"] for each in found] == ["metrics", "agent"]


def test_refusals(ansible: Session, place: Place) -> None:
    place.backed_up()
    damaged = place.directory / "damaged"
    damaged.mkdir()
    (damaged / "repository.json").write_text("{}")
    before = everything(place.directory)
    refusals: list[tuple[int, dict[str, Any]]] = [
        (22, {"repository": str(place.directory / "missing")}),
        (22, {"repository": [str(place.repository), str(place.srv)]}),
        (13, {"repository": str(damaged)}),
        (2, {"repository": str(place.repository), "rpo": "often"}),
    ]

    results = ansible.run([{f"{NAMESPACE}.{MODULE}": options} for _code, options in refusals])

    assert [error_code(each) for each in results] == [code for code, _options in refusals]
    assert everything(place.directory) == before


def _info(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    result = ansible.task(MODULE, {"repository": str(place.repository), **options}, check_mode=check_mode, diff=True)
    assert (result["failed"], result["changed"]) == (False, False)
    assert "diff" not in result
    return result
