# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules sqlite_export and sqlite_import: check, run, check, run, change, broken; there and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from integration.harness import Result, Session
from integration.place import Place, error_code, everything

from support import databases, keys


def _export(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"path": str(place.database), "dest": str(place.directory / "agent.jsonl"), **options}
    return ansible.task("sqlite_export", given, check_mode=check_mode)


def _import(ansible: Session, place: Place, *, check_mode: bool = False, **options: Any) -> Result:
    given = {"src": str(place.directory / "agent.jsonl"), "dest": str(place.directory / "moved.db"), **options}
    return ansible.task("sqlite_import", given, check_mode=check_mode)


def test_there_and_back(ansible: Session, place: Place) -> None:
    before = everything(place.directory)
    planned = _export(ansible, place, check_mode=True)
    assert everything(place.directory) == before

    made = _export(ansible, place)
    again = [_export(ansible, place, check_mode=True), _export(ansible, place)]

    assert [each["changed"] for each in (planned, made, *again)] == [True, True, False, False]
    assert planned["export"]["sha256"] == made["export"]["sha256"]
    assert made["diff"]["before"] == {"exists": False, "bytes": 0}
    assert made["diff"]["after"]["sha256"] == made["export"]["sha256"]
    assert (Path(made["export"]["dest"]).stat().st_mode & 0o777) == 0o600

    before = everything(place.directory)
    planned = _import(ansible, place, check_mode=True)
    assert everything(place.directory) == before
    built = _import(ansible, place)
    again = [_import(ansible, place, check_mode=True), _import(ansible, place)]

    assert [each["changed"] for each in (planned, built, *again)] == [True, True, False, False]
    assert built["import"]["sha256"] == made["export"]["sha256"]
    assert databases.names(place.directory / "moved.db") == databases.names(place.database)


def test_what_changed_is_replaced_only_by_force(ansible: Session, place: Place) -> None:
    _export(ansible, place)
    _import(ansible, place)
    databases.add(place.database, "later")

    refused = _export(ansible, place)
    forced = _export(ansible, place, force=True)
    unforced = _import(ansible, place)
    replaced = _import(ansible, place, force=True)

    assert (error_code(refused), error_code(unforced)) == (18, 18)
    assert (forced["changed"], replaced["changed"]) == (True, True)
    assert databases.names(place.directory / "moved.db")[-1] == "later"
    assert Path(replaced["import"]["undo_set"]).is_dir()


def test_out_of_an_encrypted_backup(ansible: Session, place: Place) -> None:
    encryption = {"method": "age", "recipients": [keys.age_recipient()]}
    identity = str(keys.age_identity())
    ansible.task("sqlite_backup", place.options(encryption=encryption))
    options = {"path": None, "repository": str(place.repository), "encryption": encryption}

    keyless = _export(ansible, place, **options)
    made = _export(ansible, place, **options, identity_file=identity)
    unread = _import(ansible, place)
    built = _import(ansible, place, identity_file=identity, repository=str(place.repository))

    assert (error_code(keyless), error_code(unread)) == (14, 14)
    assert made["export"]["backup"].endswith("-full")
    assert (place.directory / "agent.jsonl").read_bytes().startswith(b"age-encryption.org/v1\n")
    assert databases.names(place.directory / "moved.db") == databases.names(place.database)
    assert built["import"]["checks"][-1]["name"] == "content"


def test_what_cannot_be(ansible: Session, place: Place) -> None:
    _export(ansible, place)
    text = place.directory / "agent.jsonl"
    text.write_bytes(text.read_bytes()[:-9])

    codes = [
        error_code(_export(ansible, place, path=str(place.srv / "missing.db"))),
        error_code(_export(ansible, place, dest=str(place.database), force=True)),
        error_code(_export(ansible, place, format="csv")),
        error_code(_import(ansible, place)),
        error_code(_import(ansible, place, src=str(place.srv / "missing.jsonl"))),
    ]

    assert codes == [10, 18, 2, 13, 10]
    assert not (place.directory / "moved.db").exists()
