# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted backups through the modules and playbooks: with the right key, the wrong one, and none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import NAMESPACE, Run, Session
from integration.place import Place, commit_and_crash, error_code, everything, names_in, stored

from support import databases, keys
from support.keys import AGE, GPG_KEY, GPG_PASSPHRASE, needs_age, needs_gpg

MODULE = "sqlite_backup"
OLD = ["name 0", "name 1", "name 2"]


def _encryption(scheme: str) -> dict[str, Any]:
    """The option ``encryption``, as an operator writes it."""
    given, _good = keys.scheme(scheme)
    found: dict[str, Any] = {"method": given.method, "recipients": list(given.recipients)}
    if given.passphrase_file:
        found["passphrase_file"] = str(given.passphrase_file)
    return found


def _keys(scheme: str, *, wrong: bool = False) -> dict[str, str]:
    """The options of a module that reads the backup."""
    given = keys.wrong_keys(scheme) if wrong else keys.scheme(scheme)[1]
    options = {"identity_file": given.identity_file, "passphrase_file": given.passphrase_file}
    return {name: str(path) for name, path in options.items() if path}


@pytest.mark.parametrize("scheme", [AGE, pytest.param("gpg-passphrase", marks=[needs_gpg, pytest.mark.slow]), GPG_KEY])
def test_backup_info_verify_restore(ansible: Session, place: Place, scheme: str) -> None:
    options = place.options(encryption=_encryption(scheme))
    repository, good = {"repository": str(place.repository)}, _keys(scheme)
    before = everything(place.directory)

    check = ansible.task(MODULE, options, check_mode=True, diff=True)

    assert check["changed"]
    assert everything(place.directory) == before

    run, again = ansible.task(MODULE, options, diff=True), ansible.task(MODULE, options, diff=True)

    method = keys.scheme(scheme)[0].method
    assert (run["changed"], run["backup"]["encryption"], run["backup"]["tables"]) == (True, method, {"item": 3})
    assert (again["changed"], again["backup"]["id"], again["backup"]["tables"]) == (False, run["backup"]["id"], {})

    (without,) = ansible.task("sqlite_backup_info", repository)["repositories"]
    (with_keys,) = ansible.task("sqlite_backup_info", {**repository, **good})["repositories"]

    assert (without["latest"]["tables"], with_keys["latest"]["tables"]) == ({}, {"item": 3})
    assert without["latest"]["encryption"] == method

    quick = ansible.task("sqlite_verify", repository)
    full = ansible.task("sqlite_verify", {**repository, **good, "level": "full"})

    assert [each["verification"]["outcome"] for each in (quick, full)] == ["passed", "passed"]

    commit_and_crash(place.database, "lost")
    kept = everything(place.srv)
    check = ansible.task("sqlite_restore", {**repository, **good}, check_mode=True)
    assert check["changed"]
    assert everything(place.srv) == kept
    restored, second = (ansible.task("sqlite_restore", {**repository, **good}) for _time in range(2))

    assert (restored["changed"], second["changed"]) == (True, False)
    assert names_in(place.database, place.directory / "restored") == OLD

    assert ansible.task("sqlite_restore", {**repository, "undo": True})["changed"]
    assert names_in(place.database, place.directory / "undone") == [*OLD, "lost"]


@pytest.mark.slow
@needs_age
def test_incremental_of_an_encrypted_backup(ansible: Session, place: Place) -> None:
    place.grow()
    options = place.options(encryption=_encryption("age"))
    repository = {"repository": str(place.repository)}
    full = ansible.task(MODULE, options)
    databases.add(place.database, "second")

    check, run = ansible.task(MODULE, options, check_mode=True), ansible.task(MODULE, options)
    verified = ansible.task("sqlite_verify", {**repository, **_keys("age"), "backup": "all", "level": "full"})
    place.database.unlink()
    restored = ansible.task("sqlite_restore", {**repository, **_keys("age")})

    for each in (check, run):
        assert (each["backup"]["type"], each["backup"]["parent"]) == ("incremental", full["backup"]["id"])
    assert check["backup"]["changed_pages"] == run["backup"]["changed_pages"]
    assert verified["verification"]["outcome"] == "passed"
    assert restored["restore"]["backup"] == run["backup"]["id"]
    assert names_in(place.database, place.directory / "restored") == [*OLD, "second"]

    other = place.options(encryption={"method": "age", "recipients": [keys.age_recipient("stranger")]})
    assert ansible.task(MODULE, other)["backup"]["type"] == "full"


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [AGE, GPG_PASSPHRASE])
def test_without_the_key(ansible: Session, place: Place, scheme: str) -> None:
    backup = place.backed_up(encryption=keys.scheme(scheme)[0])
    databases.add(place.database, "later")
    repository = {"repository": str(place.repository)}
    before = everything(place.srv), {name: entry for name, entry in stored(place.repository).items() if "/" in name}

    for given in (_keys(scheme, wrong=True), {}):
        restored = ansible.task("sqlite_restore", {**repository, **given})
        verified = ansible.task("sqlite_verify", {**repository, **given, "level": "full"})

        assert [error_code(each) for each in (restored, verified)] == [14, 14]
        assert verified["verification"]["outcome"] == "inconclusive"
        assert all(each["error"]["hint"] for each in (restored, verified))
    listed = ansible.task("sqlite_backup_info", {**repository, **_keys(scheme, wrong=True)})
    assert error_code(listed) == 14
    kept = {name: entry for name, entry in stored(place.repository).items() if "/" in name}
    assert (everything(place.srv), kept) == before

    good = ansible.task("sqlite_verify", {**repository, **_keys(scheme), "level": "full"})

    assert good["verification"]["outcome"] == "passed"
    noted = json.loads((backup / "checks.json").read_text())["verifications"]
    assert [each["outcome"] for each in noted] == ["passed"]


@pytest.mark.slow
@pytest.mark.parametrize("scheme", [AGE, GPG_PASSPHRASE])
def test_without_the_program(ansible: Session, place: Place, scheme: str) -> None:
    place.backed_up(encryption=keys.scheme(scheme)[0])
    databases.add(place.database, "later")
    repository, good = {"repository": str(place.repository)}, _keys(scheme)
    before = everything(place.srv), place.backups()
    tasks: list[dict[str, Any]] = [
        {f"{NAMESPACE}.{MODULE}": place.options(encryption=_encryption(scheme))},
        {f"{NAMESPACE}.{MODULE}": place.options(encryption=_encryption(scheme)), "check_mode": True},
        {f"{NAMESPACE}.sqlite_restore": {**repository, **good}},
        {f"{NAMESPACE}.sqlite_verify": {**repository, **good, "level": "full"}},
        {f"{NAMESPACE}.sqlite_backup_info": {**repository, **good}},
    ]

    results = ansible.run([{**each, "environment": {"PATH": str(place.directory / "nothing")}} for each in tasks])

    assert [error_code(each) for each in results] == [19] * len(tasks)
    assert [each["error"]["hint"] for each in results] == [f"Install {keys.scheme(scheme)[0].method}."] * len(tasks)
    assert (everything(place.srv), place.backups()) == before


@pytest.mark.slow
def test_wrong_combinations_store_nothing(ansible: Session, place: Place) -> None:
    secret = keys.file_with("of-age", "AGE-SECRET-KEY-1EXAMPLE\n")
    wrong: list[dict[str, Any]] = [
        {"recipients": ["age1example"]},
        {"method": "age"},
        {"method": "age", "passphrase_file": str(keys.passphrase())},
        {"method": "age", "recipients": [str(place.srv / "missing")]},
        {"method": "age", "recipients": [str(secret)]},
        {"method": "gpg"},
        {"method": "gpg", "recipients": [str(secret)], "passphrase_file": str(keys.passphrase())},
        {"method": "gpg", "passphrase_file": str(place.srv / "missing")},
        {"method": "gpg", "passphrase_file": str(place.srv)},
    ]
    before = everything(place.directory)
    tasks = [{f"{NAMESPACE}.{MODULE}": place.options(encryption=each)} for each in wrong]

    *results, unknown = ansible.run([*tasks, {f"{NAMESPACE}.{MODULE}": place.options(encryption={"method": "rot13"})}])

    assert [error_code(each) for each in results] == [2] * len(wrong)
    assert all(each["error"]["hint"] for each in results)
    assert "none, age, gpg" in unknown["msg"]
    assert everything(place.directory) == before
    assert "AGE-SECRET-KEY-1EXAMPLE" not in ansible.output


@pytest.mark.slow
@needs_age
@needs_gpg
def test_key_file_that_others_can_read_is_a_warning(ansible: Session, place: Place) -> None:
    passphrase = keys.file_with("exposed-passphrase", "everybody reads this\n")
    identity = keys.file_with("exposed-identity", keys.age_identity().read_text())
    for each in (passphrase, identity):
        each.chmod(0o640)
    secret = {"method": "gpg", "passphrase_file": str(passphrase)}
    aged = {"repository": str(place.directory / "backups" / "aged")}
    place.backed_up(encryption=keys.scheme("age")[0], repository=Path(aged["repository"]))

    backup = ansible.task(MODULE, place.options(encryption=secret))
    readers = [
        ansible.task("sqlite_backup_info", {**aged, "identity_file": str(identity)}),
        ansible.task("sqlite_verify", {**aged, "identity_file": str(identity), "level": "full"}),
        ansible.task("sqlite_restore", {**aged, "identity_file": str(identity)}),
    ]

    text = "can be read by others (mode 0640): give it the mode 0600."
    assert backup["backup"]["warnings"] == [f"The passphrase_file {passphrase} {text}"]
    assert f"The passphrase_file {passphrase} {text}" in backup["warnings"]
    for each in readers:
        assert not each["failed"]
        assert f"The identity_file {identity} {text}" in each["warnings"]


@needs_age
@needs_gpg
def test_nothing_secret_is_printed(ansible: Session, place: Place) -> None:
    """Whatever Ansible prints with -vvv: where the keys are, never what they are."""
    repository = {"repository": str(place.repository)}
    tasks: list[dict[str, Any]] = []
    for scheme in ("age", "gpg-passphrase"):
        tasks.append({f"{NAMESPACE}.{MODULE}": place.options(encryption=_encryption(scheme))})
        tasks.extend(
            {f"{NAMESPACE}.sqlite_verify": {**repository, **_keys(scheme, wrong=wrong), "level": "full"}}
            for wrong in (False, True)
        )

    results = ansible.run(tasks)

    assert [each["failed"] for each in results] == [False, False, True] * 2
    said = ansible.output + json.dumps(results, ensure_ascii=False)
    assert str(keys.passphrase()) in said
    secrets = [keys.PASSPHRASE, keys.age_identity().read_text().split()[-1]]
    assert [each for each in secrets if each in said] == []
    assert "VALUE_SPECIFIED_IN_NO_LOG" not in said
    log = (place.repository / "history.jsonl").read_text()
    assert [each for each in secrets if each in log] == []


@needs_age
@needs_gpg
@pytest.mark.thorough
def test_playbooks(place: Place) -> None:
    secret = place.directory / "backups" / "secret"
    entries: list[dict[str, Any]] = [
        {"path": str(place.database), "repository": str(place.repository), "encryption": _encryption("age")},
        {"path": str(place.database), "repository": str(secret), "encryption": _encryption("gpg-passphrase")},
    ]

    backup = _play(place, "backup_databases", {"sqlite_backup_databases": entries})

    assert backup.code == 0, backup.output
    assert [each["backup"]["encryption"] for each in backup.results[-1]["results"]] == ["age", "gpg"]

    verify = [
        {"repository": str(place.repository), **_keys("age")},
        {"repository": str(place.repository)},
        {"repository": str(secret), **_keys("gpg-passphrase")},
    ]
    verified = _play(place, "verify_backups", {"sqlite_verify_repositories": verify})

    assert verified.code != 0
    good, without, also_good = verified.results[-1]["results"]
    assert (good["verification"]["outcome"], also_good["verification"]["outcome"]) == ("passed", "passed")
    assert without["error"]["code"] == 14

    commit_and_crash(place.database, "lost")
    before = everything(place.srv)
    aged = {"sqlite_restore_repository": str(place.repository), "sqlite_restore_dest": str(place.database)}
    refused = _play(place, "restore_database", aged)

    codes = [each["error"]["code"] for each in refused.results if "error" in each]
    assert (refused.code != 0, codes) == (True, [14])
    assert everything(place.srv) == before

    restored = _play(place, "restore_database", {**aged, "sqlite_restore_identity_file": _keys("age")["identity_file"]})

    assert restored.code == 0, restored.output
    assert names_in(place.database, place.directory / "restored") == OLD

    place.database.unlink()
    passphrase = {"sqlite_restore_passphrase_file": _keys("gpg-passphrase")["passphrase_file"]}
    restored = _play(place, "restore_database", {**aged, "sqlite_restore_repository": str(secret), **passphrase})

    assert restored.code == 0, restored.output
    assert names_in(place.database, place.directory / "restored again") == OLD


def _play(place: Place, name: str, variables: dict[str, Any]) -> Run:
    return harness.run_playbook(place.directory / "ansible", f"{NAMESPACE}.{name}", variables)
