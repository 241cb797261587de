# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules sqlite_offsite_push and sqlite_offsite_pull, with real servers: check, run, check, run, broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Result, Run, Session
from integration.place import Place, error_code, everything, locked_by_another

from support import databases, servers
from support.servers import Server

PUSH, PULL = "sqlite_offsite_push", "sqlite_offsite_pull"
WRONG_SECRET = "another-secret-of-nobody"


@pytest.fixture(scope="module", autouse=True)
def rclone() -> Iterator[None]:
    """Before `ansible-playbook` starts, which hands its PATH down."""
    with pytest.MonkeyPatch.context() as patch:
        servers.use_rclone(patch)
        if shutil.which("rclone") is None:
            pytest.skip("rclone is not installed")
        yield


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers.s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


class Store:
    """A prefix in the object store that no other test uses, and the place whose backups go there."""

    def __init__(self, ansible: Session, place: Place, server: Server) -> None:
        self.ansible = ansible
        self.place = place
        self.server = server
        self.files = server.files / place.directory.name
        self.target = {**server.target, "url": f"{server.target['url']}/{place.directory.name}"}
        self.pulled = place.directory / "pulled" / "agent"

    def push(self, *, check_mode: bool = False, target: dict[str, Any] | None = None, **more: Any) -> Result:
        given = {"repository": str(self.place.repository), "target": {**self.target, **(target or {})}, **more}
        return self.ansible.task(PUSH, given, check_mode=check_mode, diff=True)

    def pull(self, *, check_mode: bool = False, target: dict[str, Any] | None = None, **more: Any) -> Result:
        given = {"repository": str(self.pulled), "target": {**self.target, **(target or {})}, **more}
        return self.ansible.task(PULL, given, check_mode=check_mode, diff=True)

    def there(self) -> dict[str, bytes]:
        found = (each for each in self.files.rglob("*") if each.is_file())
        return {each.relative_to(self.files).as_posix(): each.read_bytes() for each in found}


@pytest.fixture
def store(ansible: Session, place: Place, s3: Server) -> Store:
    return Store(ansible, place, s3)


def test_push_check_run_check_run(store: Store) -> None:
    first = store.place.backed_up()
    before = everything(store.place.directory)

    check = store.push(check_mode=True)

    assert everything(store.place.directory) == before
    assert store.there() == {}

    run = store.push()

    told = ("changed", "transferred", "verified", "diff")
    assert {key: run[key] for key in told} == {key: check[key] for key in told}
    sizes = [each.stat().st_size for each in _sealed(first)]
    assert run["transferred"] == [{"id": first.name, "files": len(sizes), "bytes": sum(sizes)}]
    assert run["changed"]
    assert run["verified"]
    assert check["target"] == {"url": store.target["url"], "newest": None, "behind_seconds": None}
    assert (run["target"]["url"], run["target"]["newest"]) == (store.target["url"], first.name)
    assert 0 <= run["target"]["behind_seconds"] < 600
    assert run["diff"] == _diff(store.target["url"], [], [first.name])
    assert store.there() == {f"{first.name}/{each.relative_to(first)}": each.read_bytes() for each in _sealed(first)}

    sent = store.there()
    for check_mode in (True, False):
        again = store.push(check_mode=check_mode)
        assert (again["changed"], again["transferred"], again["verified"]) == (False, [], True)
        assert again["target"]["newest"] == first.name
        assert again["diff"] == _diff(store.target["url"], [first.name], [first.name])
    assert store.there() == sent


def test_only_what_is_new_is_sent(store: Store) -> None:
    first = store.place.backed_up()
    store.push()
    databases.add(store.place.database, "later")
    second = store.place.backed_up()

    run = store.push(backup="latest")

    assert [each["id"] for each in run["transferred"]] == [second.name]
    assert run["diff"] == _diff(store.target["url"], [first.name], [first.name, second.name])


def test_from_nothing_but_the_target(store: Store) -> None:
    """A lost host: what it pushed comes into a repository that does not exist, and the database is restored from it."""
    store.place.backed_up_at("2025-12-29T12:00:00Z")
    databases.add(store.place.database, "later")
    newest = store.place.backed_up()
    content = store.place.database.read_bytes()
    sent = store.push()["transferred"]
    shutil.rmtree(store.place.repository)
    before = everything(store.place.directory)

    check = store.pull(check_mode=True, name="agent")

    assert everything(store.place.directory) == before

    run = store.pull(name="agent")

    told = ("changed", "transferred", "verified", "diff")
    assert {key: run[key] for key in told} == {key: check[key] for key in told}
    assert run["transferred"] == sent[-1:]
    assert (run["changed"], run["verified"], run["target"]["newest"]) == (True, True, newest.name)
    assert run["diff"] == _diff(str(store.pulled), [], [newest.name])
    for check_mode in (True, False):
        again = store.pull(check_mode=check_mode)
        assert (again["changed"], again["transferred"]) == (False, [])
    assert [each["id"] for each in store.pull(backup="all")["transferred"]] == [sent[0]["id"]]

    dest = store.place.srv / "again.db"
    restored = store.ansible.task("sqlite_restore", {"repository": str(store.pulled), "dest": str(dest)})
    assert restored["changed"], restored
    assert databases.names(dest)[-1] == "later"
    assert dest.read_bytes() == content


def test_wrong_secret_is_refused_and_not_shown(store: Store, tmp_path: Path) -> None:
    store.place.backed_up()
    text = f"access_key_id = {servers.KEY}\nsecret_access_key = {WRONG_SECRET}\n"
    wrong = servers.secret_file(tmp_path / "wrong.credentials", text)

    for result in (store.push(target=_credentials(wrong)), store.pull(target=_credentials(wrong))):
        assert error_code(result) == 21
        assert store.target["url"] in result["msg"]
        assert WRONG_SECRET not in json.dumps(result)
    assert WRONG_SECRET not in store.ansible.output
    assert servers.SECRET not in store.ansible.output
    assert store.there() == {}
    assert not store.pulled.exists()


def test_secret_where_none_belongs_is_refused_and_not_shown(store: Store) -> None:
    store.place.backed_up()
    misplaced = ({"url": f"ssh://backup:{WRONG_SECRET}@127.0.0.1/x"}, {"options": {"secret_access_key": WRONG_SECRET}})
    for target in misplaced:
        for result in (store.push(target=target), store.pull(target=target)):
            assert error_code(result) == 2
            assert "credentials_file" in result["error"]["hint"]
            # Ansible itself prints what a task was given, but the result is what is stored.
            assert WRONG_SECRET not in json.dumps(result)


@pytest.mark.thorough
def test_refusals(store: Store, tmp_path: Path) -> None:
    newest = store.place.backed_up()
    store.push()
    readable = tmp_path / "readable.credentials"
    readable.write_text(Path(store.target["credentials_file"]).read_text())
    readable.chmod(0o640)
    missing = tmp_path / "missing"
    there = store.there()
    url = store.target["url"]
    refusals: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
        (2, {}, {"url": f"{url}/../other"}),
        (2, {}, _credentials(missing)),
        (18, {}, _credentials(readable)),
        (2, {"lock_timeout": "soon"}, {}),
        (22, {"backup": "20200101T000000Z-full"}, {}),
    ]
    only_push: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
        (18, {}, {"require_encryption": True}),
        (22, {"repository": str(missing)}, {}),
    ]
    only_pull: list[tuple[int, dict[str, Any], dict[str, Any]]] = [
        (18, {"name": "metrics"}, {}),
        (22, {}, {"url": f"{url}/nothing"}),
    ]
    for check_mode in (True, False):
        for code, more, target in refusals + only_push:
            assert error_code(store.push(check_mode=check_mode, target=target, **more)) == code, (more, target)
        for code, more, target in refusals + only_pull:
            assert error_code(store.pull(check_mode=check_mode, target=target, **more)) == code, (more, target)
            assert not [*store.pulled.glob("*Z-*")]
    assert store.there() == there
    assert store.place.backups() == [newest.name]
    assert not missing.exists()


def test_changed_byte_there_is_found(store: Store) -> None:
    newest = store.place.backed_up()
    store.push()
    databases.flip_bit(store.files / newest.name / "database.sqlite.gz", 30)

    result = store.pull()

    assert error_code(result) == 13
    assert not [*store.pulled.glob("*Z-*")]


def test_another_push_is_at_work(store: Store) -> None:
    store.place.backed_up()
    store.push()
    (lock,) = store.place.repository.glob(".locks/push-*")
    with locked_by_another(lock) as process_id:
        result = store.push(lock_timeout="0s")
    assert error_code(result) == 15
    assert str(process_id) in result["msg"]


@pytest.mark.parametrize("kind", [servers.sshd, servers.mounted, servers.remote])
def test_other_targets(ansible: Session, place: Place, kind: Any) -> None:
    place.backed_up()
    with kind(place.directory) as server:
        store = Store(ansible, place, server)
        store.target = server.target
        assert store.push()["changed"]
        assert not store.push()["changed"]
        assert store.pull()["changed"]
    verified = ansible.task("sqlite_verify", {"repository": str(store.pulled), "level": "full"})
    assert verified["verification"]["outcome"] == "passed"


def test_playbook(store: Store) -> None:
    """Each repository has a directory of its own there, and one that cannot be pushed does not stop the others."""
    newest = store.place.backed_up()
    variables: dict[str, Any] = {
        "sqlite_push_target": {**store.target, "url": f"{store.target['url']}/"},
        "sqlite_push_repositories": [
            {"repository": str(store.place.directory / "backups" / "missing")},
            {"repository": f"{store.place.repository}/", "backup": "latest"},
        ],
    }

    def play(*flags: str) -> Run:
        name = f"{harness.NAMESPACE}.push_offsite"
        return harness.run_playbook(store.place.directory / "ansible", name, variables, *flags)

    check = play("--check", "--diff")
    assert store.there() == {}
    run = play()
    again = play()

    for each in (check, run, again):
        assert each.code != 0
        missing, good = each.results[-1]["results"]
        assert missing["error"]["code"] == 22
        assert good["changed"] == (each is not again)
        assert good["target"]["url"] == f"{store.target['url']}/agent"
    assert f"agent/{newest.name}/manifest.json" in store.there()
    del variables["sqlite_push_repositories"][0]
    assert play().code == 0


def _sealed(backup: Path) -> list[Path]:
    """The files of a backup that go to a target: notes that were made afterwards do not."""
    return [each for each in backup.rglob("*") if each.is_file() and each.name not in ("checks.json", "pin.json")]


def _credentials(file: Path) -> dict[str, Any]:
    return {"credentials_file": str(file)}


def _diff(where: str, before: list[str], after: list[str]) -> dict[str, Any]:
    headers = {"before_header": where, "after_header": where}
    return {**headers, "before": {"backups": before}, "after": {"backups": after}}
