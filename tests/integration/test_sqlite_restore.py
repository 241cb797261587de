# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_restore: check, run, check, run, undo, broken."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from integration.harness import NAMESPACE, Result, Session
from integration.place import (
    Place,
    change_manifest,
    commit_and_crash,
    error_code,
    everything,
    names_in,
    opened_by_another,
    stored,
)

from support import databases

MODULE = "sqlite_restore"
OLD = ["name 0", "name 1", "name 2"]
LOST = "committed-after-the-backup"
NOBODY = 65534


def test_included_files_come_back_with_it(ansible: Session, place: Place) -> None:
    conf, schema = place.directory / "agent.conf", place.srv / "schema.prisma"
    for each in (conf, schema):
        each.write_text(each.name)
    include = [{"src": str(conf)}, {"src": str(schema)}]
    given = {"path": str(place.database), "repository": str(place.repository), "include": include}
    ansible.task("sqlite_backup", given)
    for each in (conf, schema, place.database):
        each.unlink()

    check = _restore(ansible, place, with_files=True, include=include, check_mode=True)
    assert not any(each.exists() for each in (conf, schema, place.database))
    run = _restore(ansible, place, with_files=True, include=include)

    assert [conf.read_text(), schema.read_text()] == ["agent.conf", "schema.prisma"]
    assert check["restore"]["files"] == run["restore"]["files"]
    assert {each["fate"] for each in run["restore"]["files"]} == {"in place"}
    assert not _restore(ansible, place, with_files=True, include=include)["changed"]

    assert _restore(ansible, place, files_to=str(place.directory / "look"))["changed"]
    assert (place.directory / "look" / "agent.conf").read_text() == "agent.conf"


def test_over_a_newer_database_with_a_wal_and_back(ansible: Session, place: Place) -> None:
    backup = place.backed_up()
    commit_and_crash(place.database, LOST)
    before = everything(place.srv)
    kept = stored(place.repository)

    check = _restore(ansible, place, check_mode=True)

    assert check["changed"]
    assert check["restore"]["backup"] == backup.name
    assert check["restore"]["undo_set"] == ""
    assert everything(place.srv) == before
    assert stored(place.repository) == kept

    run = _restore(ansible, place)

    assert run["changed"]
    assert run["restore"]["sha256"] == check["restore"]["sha256"]
    assert names_in(place.database, place.directory / "restored") == OLD
    undo_set = Path(run["restore"]["undo_set"])
    assert sorted(each.name for each in place.srv.iterdir()) == ["agent.db", undo_set.name]
    assert _contents(undo_set) == {name: entry[3] for name, entry in before.items() if entry[0] == "file"}

    after = everything(place.srv)
    assert not _restore(ansible, place, check_mode=True)["changed"]
    assert not _restore(ansible, place)["changed"]
    assert everything(place.srv) == after

    undo_check = _restore(ansible, place, undo=True, check_mode=True)
    assert undo_check["changed"]
    assert everything(place.srv) == after

    undo = _restore(ansible, place, undo=True)
    assert undo["changed"]
    assert names_in(place.database, place.directory / "undone") == [*OLD, LOST]

    redo_without_repository = ansible.task(MODULE, {"dest": str(place.database), "undo": True})
    assert redo_without_repository["changed"]
    assert names_in(place.database, place.directory / "redone") == OLD


def test_after_deletion_the_file_is_as_it_was(ansible: Session, place: Place) -> None:
    place.backed_up()
    for each in place.srv.iterdir():
        each.unlink()

    check = _restore(ansible, place, check_mode=True)
    assert check["changed"]
    assert list(place.srv.iterdir()) == []

    run = _restore(ansible, place)

    assert run["changed"]
    assert run["restore"]["undo_set"] == ""
    assert run["diff"]["before"]["exists"] is False
    assert _mode(place.database) == "0640"
    assert names_in(place.database, place.directory / "look") == OLD
    assert sorted(each.name for each in place.srv.iterdir()) == ["agent.db"]


def test_over_garbage(ansible: Session, place: Place) -> None:
    place.backed_up()
    garbage = b"no database at all\n" * 1000
    place.database.write_bytes(garbage)

    run = _restore(ansible, place, check="full")

    assert run["changed"]
    assert names_in(place.database, place.directory / "look") == OLD
    assert (Path(run["restore"]["undo_set"]) / "agent.db").read_bytes() == garbage


def test_the_mode_of_the_old_file_stays_unless_another_is_given(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.add(place.database, LOST)
    place.database.chmod(0o604)

    _restore(ansible, place)
    assert _mode(place.database) == "0604"

    check = _restore(ansible, place, mode="0600", check_mode=True)
    assert check["changed"]
    assert _mode(place.database) == "0604"

    run, again = _restore(ansible, place, mode="0600"), _restore(ansible, place, mode="0600")
    assert (run["changed"], again["changed"]) == (True, False)
    assert _mode(place.database) == "0600"

    elsewhere = place.srv / "copy.db"
    _restore(ansible, place, dest=str(elsewhere), mode="0400")
    assert _mode(elsewhere) == "0400"


@pytest.mark.root
@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_the_owner_is_that_of_the_old_file_of_the_source_or_the_given_one(ansible: Session, place: Place) -> None:
    os.chown(place.database, NOBODY, NOBODY)
    place.backed_up()
    place.database.unlink()

    as_backed_up = _restore(ansible, place)
    assert (as_backed_up["changed"], _owner(place.database)) == (True, (NOBODY, NOBODY))

    check = _restore(ansible, place, owner="root", group="0", check_mode=True)
    assert (check["changed"], _owner(place.database)) == (True, (NOBODY, NOBODY))

    given, again = (_restore(ansible, place, owner="root", group="0") for _time in range(2))
    assert (given["changed"], again["changed"], _owner(place.database)) == (True, False, (0, 0))

    os.chown(place.database, NOBODY, 0)
    databases.add(place.database, LOST)
    assert (_restore(ansible, place)["changed"], _owner(place.database)) == (True, (NOBODY, 0))


def test_diff_has_facts_and_no_content(ansible: Session, place: Place) -> None:
    place.backed_up()
    commit_and_crash(place.database, LOST)
    size = sum(each.stat().st_size for each in place.srv.iterdir() if not each.name.endswith("-shm"))

    run = _restore(ansible, place)

    assert set(run["diff"]) == {"before", "after", "before_header", "after_header"}
    assert run["diff"]["before"] == {"exists": True, "bytes": size}
    assert run["diff"]["after"] != run["diff"]["before"]
    assert all(isinstance(fact, (str, int)) for fact in run["diff"]["after"].values())
    assert LOST not in json.dumps(run)
    assert OLD[0] not in json.dumps(run)


def test_before_a_time_and_by_id(ansible: Session, place: Place) -> None:
    first = place.backed_up_at("2026-01-01T10:00:00Z")
    databases.add(place.database, "second")
    place.backed_up_at("2026-01-01T12:00:00Z")

    early = _restore(ansible, place, before="2026-01-01T11:59:59Z", dest=str(place.srv / "early.db"))
    named = _restore(ansible, place, backup=first.name)

    assert early["restore"]["backup"] == named["restore"]["backup"] == first.name
    assert (early["restore"]["not_after"], named["restore"]["not_after"]) == ("2026-01-01T11:59:59Z", "")
    assert names_in(place.srv / "early.db", place.directory / "early") == OLD
    assert names_in(place.database, place.directory / "named") == OLD


@pytest.mark.parametrize("artifact", ["image", "manifest", "truncated", "swapped"])
def test_a_damaged_backup_touches_nothing(ansible: Session, place: Place, artifact: str) -> None:
    other = place.backed_up()
    commit_and_crash(place.database, "second")
    backup = place.backed_up()
    image = backup / "database.sqlite.gz"
    damages: dict[str, Callable[[], object]] = {
        "image": lambda: databases.flip_bit(image, image.stat().st_size // 2),
        "manifest": lambda: change_manifest(backup),
        "truncated": lambda: os.truncate(image, image.stat().st_size - 1),
        "swapped": lambda: image.write_bytes((other / image.name).read_bytes()),
    }
    damages[artifact]()
    commit_and_crash(place.database, LOST)
    before = everything(place.srv)

    result = _restore(ansible, place, force=True, force_identity=True)

    assert error_code(result) == 13
    assert everything(place.srv) == before


def test_the_last_good_backup_and_what_the_newer_ones_failed_on(ansible: Session, place: Place) -> None:
    good = place.backed_up_at("2026-01-01T10:00:00Z")
    databases.add(place.database, "second")
    change_manifest(place.backed_up_at("2026-01-01T12:00:00Z"))
    databases.add(place.database, "third")
    unexpected = place.backed_up_at("2026-01-01T14:00:00Z")
    given = {"backup": "latest_good", "assertions": [{"sql": "SELECT count(*) FROM item", "equals": 3}]}

    check = _restore(ansible, place, check_mode=True, **given)
    run = _restore(ansible, place, **given)

    assert check["restore"]["backup"] == run["restore"]["backup"] == good.name
    told = "\n".join(map(str, run["warnings"]))
    assert f"{good.name} is taken, not {unexpected.name}: " in told
    assert "failed assertion SELECT count(*) FROM item: expected 3, found 5" in told
    assert names_in(place.database, place.directory / "good") == OLD


def test_an_open_database_is_not_replaced(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.add(place.database, LOST)
    with opened_by_another(place.database) as pid:
        before = everything(place.srv)

        check, run = _restore(ansible, place, check_mode=True), _restore(ansible, place)

        assert (error_code(check), error_code(run)) == (18, 18)
        assert f"(pid {pid})" in run["msg"]
        assert everything(place.srv) == before

        forced = _restore(ansible, place, force=True)
        undo = _restore(ansible, place, undo=True, force=True)

        assert (forced["changed"], undo["changed"]) == (True, True)


def test_undo_refuses_an_open_database(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.add(place.database, LOST)
    _restore(ansible, place)
    with opened_by_another(place.database) as pid:
        refused = _restore(ansible, place, undo=True)

    assert error_code(refused) == 18
    assert f"(pid {pid})" in refused["msg"]
    assert names_in(place.database, place.directory / "look") == OLD


@pytest.mark.parametrize(("name", "setup"), [("metrics.db", ""), ("agent.db", "PRAGMA application_id=77")])
def test_the_database_of_another_application_is_not_replaced(
    ansible: Session, place: Place, name: str, setup: str
) -> None:
    place.backed_up()
    other = place.srv / "other"
    other.mkdir()
    dest = databases.make(other / name, rows=9, setup=setup)
    before = everything(place.srv)

    run = _restore(ansible, place, dest=str(dest))

    assert error_code(run) == 18
    assert "force_identity" in run["error"]["hint"]
    assert everything(place.srv) == before

    assert _restore(ansible, place, dest=str(dest), force_identity=True)["changed"]
    assert names_in(dest, place.directory / "look") == OLD


def test_a_suspect_backup_only_by_force(ansible: Session, place: Place) -> None:
    good = place.backed_up()
    content = bytearray(place.database.read_bytes())
    content[100:132] = b"\xff" * 32
    place.database.write_bytes(content)
    suspect = ansible.task("sqlite_backup", place.options())["backup"]["id"]
    place.database.unlink()

    refused = _restore(ansible, place, backup=suspect)
    assert error_code(refused) == 18
    assert f"To restore it: sqlite_restore with backup: {good.name}." in refused["error"]["hint"]
    assert f"backup: {suspect}, force: true" in refused["error"]["hint"]
    assert not place.database.exists()

    forced = _restore(ansible, place, backup=suspect, force=True)
    assert forced["changed"]
    assert place.database.read_bytes() == content

    newest = _restore(ansible, place, force=True)
    assert newest["restore"]["backup"] == good.name
    assert any(suspect in each for each in newest["warnings"])


def test_refusals(ansible: Session, place: Place) -> None:
    backup = place.backed_up_at("2026-01-01T10:00:00Z")
    commit_and_crash(place.database, LOST)
    missing = str(place.srv / "missing")
    refusals: list[tuple[int, str, dict[str, Any]]] = [
        (22, "there is no backup '20200101T000000Z-full'", {"backup": "20200101T000000Z-full"}),
        (22, "there is no repository", {"repository": missing}),
        (22, "2025-12-31T00:00:00Z or earlier", {"before": "2025-12-31T00:00:00Z"}),
        (2, "both backup and before", {"before": "2026-02-01T00:00:00Z", "backup": backup.name}),
        (2, "it is not a date", {"before": "yesterday"}),
        (2, "mode", {"mode": "u=rw"}),
        (2, "directory", {"dest": f"{missing}/agent.db"}),
        (18, "inside the repository", {"dest": str(place.repository / "agent.db")}),
    ]
    before = everything(place.srv)
    kept = stored(place.repository)

    tasks = [{f"{NAMESPACE}.{MODULE}": _options(place, **options)} for _code, _text, options in refusals]
    results = ansible.run(tasks)

    assert everything(place.srv) == before
    assert stored(place.repository) == kept
    assert [error_code(each) for each in results] == [code for code, _text, _options in refusals]
    unclear = [each["msg"] for each, (_code, text, _options) in zip(results, refusals) if text not in each["msg"]]
    assert unclear == []


def test_a_restore_that_fails_on_its_way_leaves_all_as_it_was(ansible: Session, place: Place) -> None:
    place.backed_up()
    commit_and_crash(place.database, LOST)
    before = _contents(place.srv)

    nothing_to_undo, no_such_user = _restore(ansible, place, undo=True), _restore(ansible, place, owner="no-such-user")

    assert (error_code(nothing_to_undo), error_code(no_such_user)) == (22, 2)
    assert _contents(place.srv) == before


def test_a_restore_that_fails_on_its_way_leaves_no_directory(ansible: Session, place: Place) -> None:
    place.backed_up()
    databases.add(place.database, LOST)

    assert error_code(_restore(ansible, place, owner="no-such-user")) == 2

    assert [each.name for each in place.srv.iterdir() if each.is_dir()] == []


def test_a_repository_is_required_unless_undo(ansible: Session, place: Place) -> None:
    result = ansible.task(MODULE, {"dest": str(place.database)})

    assert result["failed"]
    assert "repository" in result["msg"]


def _options(place: Place, **options: Any) -> dict[str, Any]:
    return {"repository": str(place.repository), **options}


def _restore(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    return ansible.task(MODULE, _options(place, **options), check_mode=check_mode, diff=True)


def _contents(directory: Path) -> dict[str, str]:
    return {name: entry[3] for name, entry in everything(directory).items() if entry[0] == "file"}


def _mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:04o}"


def _owner(path: Path) -> tuple[int, int]:
    return path.stat().st_uid, path.stat().st_gid
