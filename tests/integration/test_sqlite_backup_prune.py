# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_backup_prune: check, run, check, run, the policy, what stays, broken."""

from __future__ import annotations

import json
import zoneinfo
from typing import Any

import pytest
from integration.harness import NAMESPACE, Result, Session
from integration.place import Place, error_code, everything, locked_by_another

from support import databases

MODULE = "sqlite_backup_prune"
COUNTS = ("last", "hourly", "daily", "weekly", "monthly", "yearly")
NOTHING = {"keep_within": "0s", **{f"keep_{word}": 0 for word in COUNTS}}
DAYS = ["2025-12-28T12:00:00Z", "2025-12-29T12:00:00Z", "2025-12-29T18:00:00Z", "2025-12-30T12:00:00Z"]


def test_check_run_check_run(ansible: Session, place: Place) -> None:
    first, second, third, last = _back_up(place, *DAYS)
    before = everything(place.directory)

    check = _prune(ansible, place, **_only(keep_daily=2), check_mode=True)

    assert everything(place.directory) == before
    assert check["changed"]

    run = _prune(ansible, place, **_only(keep_daily=2))

    assert {key: run[key] for key in ("kept", "removed", "freed_bytes", "diff")} == {
        key: check[key] for key in ("kept", "removed", "freed_bytes", "diff")
    }
    assert run["kept"] == [
        {"id": third, "reasons": ["daily"]},
        {"id": last, "reasons": ["daily", "newest", "newest verified"]},
    ]
    assert [each["id"] for each in run["removed"]] == [first, second]
    assert run["freed_bytes"] == sum(each["bytes"] for each in run["removed"]) > 0
    assert run["diff"] == {
        "before_header": str(place.repository),
        "after_header": str(place.repository),
        "before": {"backups": [first, second, third, last]},
        "after": {"backups": [third, last]},
    }
    assert place.backups() == [third, last]
    assert _events(place) == [("passed", [first, second])]
    verified = ansible.task("sqlite_verify", {"repository": str(place.repository), "backup": "all", "level": "full"})
    assert verified["verification"]["outcome"] == "passed"

    for check_mode in (True, False):
        again = _prune(ansible, place, **_only(keep_daily=2), check_mode=check_mode)
        assert not again["changed"]
        assert (again["kept"], again["removed"], again["freed_bytes"]) == (run["kept"], [], 0)
        assert again["diff"]["before"] == again["diff"]["after"] == run["diff"]["after"]
    assert len(_events(place)) == 1


def test_the_defaults_are_those_of_the_documentation(ansible: Session, place: Place) -> None:
    moments = [f"2025-12-{day:02}T{hour}:00:00Z" for day in range(1, 15) for hour in ("10", "20")]
    ids = _back_up(place, *moments)

    kept = {each["id"]: each["reasons"] for each in _prune(ansible, place)["kept"]}

    # 24 of the 28 hours; the Sunday before the first of these is the 30th of November, which has none.
    assert list(kept) == ids[4:]
    assert kept[ids[4]] == ["hourly"]
    assert kept[ids[-1]] == ["within", "hourly", "daily", "weekly", "monthly", "newest", "newest verified"]
    # The 7th is a Sunday; seven days begin on the 8th.
    assert kept["20251207T200000Z-full"] == ["hourly", "weekly"]
    assert kept["20251208T200000Z-full"] == ["hourly", "daily"]


@pytest.mark.skipif(not zoneinfo.available_timezones(), reason="this machine has no time zone data")
def test_days_begin_in_the_time_zone(ansible: Session, place: Place) -> None:
    ids = _back_up(place, "2025-12-29T22:30:00Z", "2025-12-29T23:30:00Z", "2025-12-30T12:00:00Z")

    berlin = _prune(ansible, place, **_only(keep_daily=2), timezone="Europe/Berlin", check_mode=True)
    utc = _prune(ansible, place, **_only(keep_daily=2), check_mode=True)

    assert [each["id"] for each in berlin["removed"]] == [ids[1]]
    assert [each["id"] for each in utc["removed"]] == [ids[0]]


def test_what_stays_whatever_the_policy_says(ansible: Session, place: Place) -> None:
    (pinned,) = _back_up(place, DAYS[0], pinned=True)
    (damaged, failed) = _back_up(place, *DAYS[1:3])
    databases.flip_bit(place.repository / damaged / "manifest.json", 40)
    databases.flip_bit(place.repository / failed / "database.sqlite.gz", 30)
    options = {"repository": str(place.repository), "backup": failed}
    assert error_code(ansible.task("sqlite_verify", options)) == 13
    (newest,) = _back_up(place, DAYS[3])

    result = _prune(ansible, place, **_only(keep_last=2))

    assert {each["id"]: each["reasons"] for each in result["kept"]} == {
        pinned: ["last", "pinned"],
        damaged: ["damaged"],
        newest: ["last", "newest", "newest verified"],
    }
    assert [each["id"] for each in result["removed"]] == [failed]
    warnings = sorted(result["warnings"])
    assert len(warnings) == 2
    assert damaged in warnings[0]
    assert failed in warnings[1]


def test_refusals(ansible: Session, place: Place) -> None:
    _back_up(place, *DAYS)
    before = everything(place.repository)
    here = {"repository": str(place.repository)}
    refusals: list[tuple[int, dict[str, Any]]] = [
        (18, {**here, **NOTHING}),
        (2, {**here, "keep_daily": -1}),
        (2, {**here, "timezone": "Europe/Nowhere"}),
        (2, {**here, "lock_timeout": "soon"}),
        (22, {"repository": str(place.directory / "missing")}),
    ]

    for check_mode in (True, False):
        results = ansible.run([{f"{NAMESPACE}.{MODULE}": given, "check_mode": check_mode} for _code, given in refusals])
        assert [error_code(each) for each in results] == [code for code, _given in refusals]
        assert not (place.directory / "missing").exists()
        if check_mode:
            assert everything(place.repository) == before

    assert len(place.backups()) == len(DAYS)
    assert [outcome for outcome, removed in _events(place) if not removed] == ["failed"] * 3


def test_another_run_holds_the_repository(ansible: Session, place: Place) -> None:
    _back_up(place, *DAYS)
    with locked_by_another(place.repository / ".lock") as process_id:
        result = ansible.task(MODULE, {"repository": str(place.repository), "lock_timeout": "0s"})

    assert error_code(result) == 15
    assert str(process_id) in result["msg"]
    assert len(place.backups()) == len(DAYS)


def _only(**rules: int) -> dict[str, int]:
    return {**NOTHING, **rules}


def _back_up(place: Place, *moments: str, **options: Any) -> list[str]:
    return [place.backed_up_at(moment, force=True, **options).name for moment in moments]


def _events(place: Place) -> list[tuple[str, list[str]]]:
    lines = (place.repository / "history.jsonl").read_text(encoding="utf-8").splitlines()
    events = [event for event in map(json.loads, lines) if event["event"] == "prune"]
    return [(event["outcome"], event["removed"]) for event in events]


def _prune(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"repository": str(place.repository), **options}
    result = ansible.task(MODULE, given, check_mode=check_mode, diff=True)
    assert not result["failed"], result
    return result
