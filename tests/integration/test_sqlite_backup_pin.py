# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_backup_pin: check, run, check, run, an end, taken back, broken."""

from __future__ import annotations

from typing import Any

import pytest
from integration.harness import NAMESPACE, Result, Session
from integration.place import Place, error_code, everything, locked_by_another

from support import databases

MODULE = "sqlite_backup_pin"
END = "2100-01-01T00:00:00Z"


@pytest.fixture
def old(place: Place) -> str:
    """A backup that is not the newest."""
    identity = place.backed_up_at("2025-12-28T12:00:00Z").name
    place.backed_up_at("2025-12-29T12:00:00Z", force=True)
    return identity


def test_check_run_check_run(ansible: Session, place: Place, old: str) -> None:
    before = everything(place.directory)

    check = _pin(ansible, place, old, until=END, check_mode=True)

    assert everything(place.directory) == before
    assert check["changed"]
    assert (check["pin"]["id"], check["pin"]["pinned"], check["pin"]["until"]) == (old, True, END)

    run = _pin(ansible, place, old, until=END)

    assert run["changed"]
    assert (run["pin"]["id"], run["pin"]["pinned"], run["pin"]["until"]) == (old, True, END)
    assert run["diff"] == {
        "before_header": str(place.repository),
        "after_header": str(place.repository),
        "before": {"id": old, "pinned": False, "since": None, "until": None},
        "after": run["pin"],
    }
    assert _reasons(ansible, place, old) == ["pinned"]

    for check_mode in (True, False):
        again = _pin(ansible, place, old, until=END, check_mode=check_mode)
        assert not again["changed"]
        assert again["pin"] == again["diff"]["before"] == again["diff"]["after"] == run["pin"]


def test_end_goes_and_pin_goes(ansible: Session, place: Place, old: str) -> None:
    first = _pin(ansible, place, old, until=END)
    forever = _pin(ansible, place, old)

    assert forever["changed"]
    assert forever["pin"] == {**first["pin"], "until": None}
    for changed in (True, False):
        gone = _pin(ansible, place, old, state="absent")
        assert gone["changed"] == changed
        assert gone["pin"] == {"id": old, "pinned": False, "since": None, "until": None}
    assert _reasons(ansible, place, old) == []


def test_listing_tells_the_pin(ansible: Session, place: Place, old: str) -> None:
    pinned = _pin(ansible, place, old, until=END)["pin"]

    (listed,) = ansible.task("sqlite_backup_info", {"repository": str(place.repository)})["repositories"]

    told = [(each["pinned"], each["pinned_since"], each["pinned_until"]) for each in listed["backups"]]
    assert told == [(True, pinned["since"], END), (False, None, None)]


def test_refusals(ansible: Session, place: Place, old: str) -> None:
    here = {"repository": str(place.repository), "backup": old}
    damaged = place.backed_up(force=True)
    databases.flip_bit(damaged / "manifest.json", 40)
    before = everything(place.repository)
    refusals: list[tuple[int, dict[str, Any]]] = [
        (22, {**here, "backup": "20200101T000000Z-full"}),
        (22, {**here, "repository": str(place.directory / "missing")}),
        (13, {**here, "backup": damaged.name}),
        (2, {**here, "until": "2020-01-01"}),
        (2, {**here, "until": "soon"}),
        (2, {**here, "until": END, "state": "absent"}),
        (2, {**here, "lock_timeout": "soon"}),
    ]

    for check_mode in (True, False):
        results = ansible.run([{f"{NAMESPACE}.{MODULE}": given, "check_mode": check_mode} for _code, given in refusals])
        assert [error_code(each) for each in results] == [code for code, _given in refusals]
        assert not (place.directory / "missing").exists()
        if check_mode:
            assert everything(place.repository) == before
    assert not list(place.repository.rglob("pin.json"))


def test_another_run_holds_the_repository(ansible: Session, place: Place, old: str) -> None:
    with locked_by_another(place.repository / ".lock") as process_id:
        given = {"repository": str(place.repository), "backup": old, "lock_timeout": "0s"}
        result = ansible.task(MODULE, given)

    assert error_code(result) == 15
    assert str(process_id) in result["msg"]


def _pin(ansible: Session, place: Place, identity: str, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"repository": str(place.repository), "backup": identity, **options}
    result = ansible.task(MODULE, given, check_mode=check_mode, diff=True)
    assert not result["failed"], result
    return result


def _reasons(ansible: Session, place: Place, identity: str) -> list[str]:
    counts = {f"keep_{word}": 0 for word in ("hourly", "daily", "weekly", "monthly")}
    given = {"repository": str(place.repository), "keep_within": "0s", "keep_last": 1, **counts}
    planned = ansible.task("sqlite_backup_prune", given, check_mode=True)
    return next((each["reasons"] for each in planned["kept"] if each["id"] == identity), [])
