# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module sqlite_backup: check, run, check, run, changed, broken."""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from integration import harness
from integration.harness import Session
from integration.place import (
    Place,
    error_code,
    everything,
    locked_by_another,
    modes,
    names_in,
    opened_by_another,
    stored,
)

from support import databases

MODULE = "sqlite_backup"
STRANGE = '-rf it\'s "a"\n?x=1#%41 d\u00e9j\u00e0\u2028\U0001f4be;$(id)'
SECRET = "hunter2-correct-horse"
HEADER_BYTES = 100


def test_a_fresh_host(ansible: Session, place: Place) -> None:
    before = everything(place.directory)

    check = ansible.task(MODULE, place.options(), check_mode=True, diff=True)

    assert check["changed"]
    assert check["backup"]["type"] == "full"
    assert check["diff"]["before"] == {"latest": None}
    assert everything(place.directory) == before

    run = ansible.task(MODULE, place.options(), diff=True)

    assert run["changed"]
    backup = run["backup"]
    assert place.backups() == [backup["id"]]
    assert backup["tables"] == {"item": 3}
    assert backup["verified"]
    assert run["diff"]["before"] == {"latest": None}
    assert run["diff"]["after"] == {"latest": backup["id"]}


def test_unchanged_is_confirmed_and_stores_nothing(ansible: Session, place: Place) -> None:
    made = place.backed_up_at("2026-01-02T03:04:05Z")
    info = {"repository": str(place.repository), "rpo": "1h"}
    (old,) = ansible.task("sqlite_backup_info", info)["repositories"]
    before = stored(place.repository)

    check = ansible.task(MODULE, place.options(), check_mode=True, diff=True)

    assert not check["changed"]
    assert check["backup"]["id"] == made.name
    assert check["backup"]["confirmed"] is None
    assert check["diff"]["before"] == check["diff"]["after"]
    assert stored(place.repository) == before

    run = ansible.task(MODULE, place.options(), diff=True)
    (new,) = ansible.task("sqlite_backup_info", info)["repositories"]

    assert not run["changed"]
    assert run["backup"]["id"] == made.name
    assert run["backup"]["changed_pages"] == 0
    assert run["backup"]["confirmed"] > "2026-01-02T03:04:05Z"
    assert place.backups() == [made.name]
    sealed = {name: entry for name, entry in stored(made).items() if name != "checks.json"}
    assert sealed == {name[len(made.name) + 1 :]: entry for name, entry in before.items() if name.startswith(made.name)}
    assert (old["rpo_met"], new["rpo_met"]) == (False, True)
    assert old["age_seconds"] > 86400
    assert new["age_seconds"] < 3600


def test_a_commit_that_only_the_wal_holds_is_a_change(ansible: Session, place: Place) -> None:
    first = place.backed_up()
    with contextlib.closing(databases.open_writer(place.database)) as writer:
        writer.execute("INSERT INTO item(name) VALUES ('committed')")
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO item(name) VALUES ('not committed')")
        before = stored(place.repository)

        check = ansible.task(MODULE, place.options(), check_mode=True, diff=True)

        assert check["changed"]
        assert stored(place.repository) == before
        assert check["diff"]["before"] == {"latest": first.name}
        assert check["diff"]["after"] != check["diff"]["before"]

        run = ansible.task(MODULE, place.options(), diff=True)

    assert run["changed"]
    assert run["backup"]["tables"] == {"item": 4}
    assert run["diff"] == {**check["diff"], "after": {"latest": run["backup"]["id"]}}
    assert place.backups() == [first.name, run["backup"]["id"]]


@pytest.mark.slow
def test_tags_pin_and_force_store_an_unchanged_database_again(ansible: Session, place: Place) -> None:
    place.backed_up()
    asked: list[tuple[dict[str, Any], bool]] = [
        ({"reason": "before migration 42"}, False),
        ({"tags": ["release"]}, True),
        ({"tags": ["release"]}, False),
        ({"pinned": True, "tags": ["release"]}, True),
        ({"force": True, "reason": "again"}, True),
    ]

    tagged = place.options(tags=["release"])
    check = ansible.task(MODULE, tagged, check_mode=True)
    results = ansible.run([_task(place, **options) for options, _changes in asked])

    assert check["changed"]
    assert [each["changed"] for each in results] == [changes for _options, changes in asked]
    pinned, forced = results[3]["backup"], results[4]["backup"]
    assert (pinned["tags"], pinned["pinned"]) == (["release"], True)
    assert (forced["tags"], forced["pinned"], forced["reason"]) == ([], False, "again")
    assert len(place.backups()) == 4


def test_include_keeps_names_and_drops_secrets(ansible: Session, place: Place) -> None:
    env = place.srv / ".env"
    schema = place.srv / "schema.prisma"
    schema.write_text("model Item {}\n")
    include = [
        {"src": str(schema), "name": "prisma/schema.prisma"},
        {"src": str(env), "name": "env", "redact": True},
    ]
    options = place.options(include=include, compression="none")
    runs = []
    for text, model in ((SECRET, "Item"), (f"{SECRET}-rotated", "Item"), (SECRET, "Order")):
        settings = f"DATABASE_URL=file:./agent.db\nexport TOKEN='{text}\n{text}'\n# OLD={text}\n"
        env.write_text(f"# the database, {text}\n{settings}")
        schema.write_text(f"model {model} {{}}\n")
        runs.append(ansible.task(MODULE, options, diff=True))

    kept = place.repository / runs[0]["backup"]["id"] / "files"
    assert (kept / "prisma" / "schema.prisma").read_text() == "model Item {}\n"
    assert "export TOKEN=" in (kept / "env").read_text()
    assert "the database" not in (kept / "env").read_text()
    assert [each["changed"] for each in runs] == [True, False, True], "a rotated secret is no change of what is kept"
    assert SECRET not in json.dumps(runs)
    assert SECRET not in ansible.output
    assert not [path for path in place.repository.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_environment_file_names_the_database_and_nothing_of_it_is_told(ansible: Session, place: Place) -> None:
    env = place.srv / ".env"
    env.write_text(f"TOKEN={SECRET}\nDATABASE_URL='file:./agent.db?connection_limit=1'\n")
    given = {"path": None, "env_file": str(env), "chdir": str(place.srv)}
    good, wrong = ansible.run([_task(place, **given), _task(place, **given, env_key="TOKEN")])
    assert good["changed"]
    assert wrong["error"]["code"] == 2
    assert SECRET not in ansible.output


def test_logs_metrics_and_the_schema_of_prisma(ansible: Session, place: Place) -> None:
    (place.srv / "prisma").mkdir()
    (place.srv / "prisma" / "schema.prisma").write_text("model Item {}\n")
    (place.srv / "app.log").write_text("one\n")
    include = [
        {"kind": "prisma_schema", "required": True},
        {"kind": "logs", "src": str(place.srv / "*.log")},
        {"kind": "metrics", "url": "http://127.0.0.1:1/metrics", "timeout": "1s"},
    ]
    options = place.options(include=include, compression="none")
    check, run = ansible.task(MODULE, options, check_mode=True), ansible.task(MODULE, options)
    kept = place.repository / run["backup"]["id"] / "files"
    assert {each.name: each.read_text() for each in kept.rglob("*") if each.is_file()} == {
        "schema.prisma": "model Item {}\n",
        "app.log": "one\n",
    }
    for each in (check, run):
        (warning,) = each["backup"]["warnings"]
        assert "not included: Cannot include metrics: 127.0.0.1:1 could not be reached" in warning
    assert not ansible.task(MODULE, options)["changed"]


def test_database_urls(ansible: Session, place: Place) -> None:
    place.backed_up()
    prisma = place.srv / "prisma"
    prisma.mkdir()
    name = str(place.database)
    good: list[dict[str, Any]] = [
        {"database_url": "file:../agent.db?connection_limit=1", "chdir": str(prisma)},
        {"database_url": f"file://{name}?socket_timeout=10"},
        {"database_url": "sqlite:///agent.db", "chdir": str(place.srv)},
        {"database_url": f"sqlite:///{name}"},
    ]
    bad: list[dict[str, Any]] = [
        {"database_url": "postgresql://localhost/agent"},
        {"database_url": "file:./agent.db"},
    ]

    found = [_task(place, path=None, **each) for each in good]
    refused = [_task(place, path=None, **each) for each in bad]
    results = ansible.run([*found, *refused])

    assert [(each["failed"], each["changed"]) for each in results[: len(good)]] == [(False, False)] * len(good)
    assert [error_code(each) for each in results[len(good) :]] == [2] * len(bad)
    assert len(place.backups()) == 1


def test_path_and_database_url_exclude_each_other(ansible: Session, place: Place) -> None:
    both, neither = ansible.run([_task(place, database_url="file:./x"), _task(place, path=None)])

    assert both["failed"]
    assert "mutually exclusive" in both["msg"]
    assert neither["failed"]
    assert "one of the following is required" in neither["msg"]


@pytest.mark.slow
def test_what_cannot_be_backed_up_leaves_nothing_behind(ansible: Session, place: Place) -> None:
    """Every refusal names its code, and a host where only those happened is as it was."""
    archive = place.srv / "archive.db"
    with zipfile.ZipFile(archive, "w") as writer:
        writer.writestr("agent.db", "x" * 200)
    (place.srv / "empty.db").touch()
    databases.make(place.srv / "twin.db")
    os.link(place.srv / "twin.db", place.srv / "other.db")
    refusals: list[tuple[int, str, dict[str, Any]]] = [
        (10, "does not exist", {"path": str(place.srv / "missing.db")}),
        (10, "not a database (a zip archive)", {"path": str(archive)}),
        (10, "zero bytes", {"path": str(place.srv / "empty.db")}),
        (10, "file to include", {"include": [{"src": str(place.srv / "missing.prisma")}]}),
        (18, "hard links", {"path": str(place.srv / "twin.db")}),
        (2, "neither empty nor a repository", {"repository": str(place.srv)}),
        (2, "relative name", {"include": [{"src": str(archive), "name": "../outside"}]}),
        (2, "the database itself", {"include": [{"src": str(place.database)}]}),
        (2, "duration", {"timeout": "soon"}),
        (2, "level", {"compression": "gzip", "compression_level": 19}),
    ]
    before = everything(place.directory)

    results = ansible.run([_task(place, **options) for _code, _text, options in refusals])
    checks = ansible.run([{**_task(place, **options), "check_mode": True} for _code, _text, options in refusals[:3]])

    assert everything(place.directory) == before
    assert [error_code(each) for each in results] == [code for code, _text, _options in refusals]
    assert [each["msg"] for each in checks] == [each["msg"] for each in results[:3]]
    unclear = [each["msg"] for each, (_code, text, _options) in zip(results, refusals) if text not in each["msg"]]
    assert unclear == []


def test_an_empty_database_only_when_it_is_allowed(ansible: Session, place: Place) -> None:
    place.database.write_bytes(b"")
    options = place.options(allow_empty=True)

    run, again = ansible.task(MODULE, options), ansible.task(MODULE, options)

    assert (run["changed"], again["changed"]) == (True, False)
    assert run["backup"]["database_bytes"] == 0


def test_a_repository_belongs_to_one_database(ansible: Session, place: Place) -> None:
    place.backed_up()
    before = stored(place.repository)
    databases.make(place.srv / "metrics.db")
    (place.srv / "elsewhere").mkdir()
    databases.make(place.srv / "elsewhere" / "agent.db")

    check = ansible.task(MODULE, place.options(path=str(place.srv / "metrics.db")), check_mode=True)
    run = ansible.task(MODULE, place.options(path=str(place.srv / "elsewhere" / "agent.db")))
    renamed = ansible.task(MODULE, place.options(name="metrics"))
    assert [error_code(each) for each in (check, run, renamed)] == [18, 18, 18]

    after = stored(place.repository)
    assert after == before, "a failure of another database is nothing for the audit log of this one"


def test_a_locked_repository_names_the_holder(ansible: Session, place: Place) -> None:
    made = place.backed_up()
    databases.add(place.database, "later")

    with locked_by_another(place.repository / ".lock") as pid:
        result = ansible.task(MODULE, place.options(lock_timeout="0s"))

    assert error_code(result) == 15
    assert f"locked by process {pid} on " in result["msg"]
    assert place.backups() == [made.name]


def test_a_busy_database_past_the_timeout(ansible: Session, place: Place) -> None:
    place.database.unlink()
    databases.make(place.database, journal_mode="delete")
    place.backed_up()

    with opened_by_another(place.database, "BEGIN EXCLUSIVE"):
        result = ansible.task(MODULE, place.options(timeout="1s"))

    assert error_code(result) == 11
    assert len(place.backups()) == 1


def test_a_missing_program_is_named(ansible: Session, place: Place) -> None:
    without_programs = {"PATH": str(place.directory / "nothing")}

    named = _task(place, compression="zstd")
    automatic = _task(place, compression="auto")
    failed, chosen = ansible.run([{**each, "environment": without_programs} for each in (named, automatic)])

    assert error_code(failed) == 19
    assert "zstd" in failed["msg"]
    assert chosen["changed"]
    assert (place.repository / chosen["backup"]["id"] / "database.sqlite.gz").exists()


@pytest.mark.parametrize("position", [100, 4096], ids=["schema", "table"])
def test_a_corrupt_source_is_kept_as_suspect_and_fails(ansible: Session, place: Place, position: int) -> None:
    good = place.backed_up()
    content = bytearray(place.database.read_bytes())
    content[position : position + 32] = b"\xff" * 32
    place.database.write_bytes(content)

    first = ansible.task(MODULE, place.options(compression="none"), diff=True)
    second = ansible.task(MODULE, place.options(compression="none"), diff=True)

    assert error_code(first) == error_code(second) == 12
    suspect = first["backup"]
    assert (suspect["suspect"], suspect["verified"]) == (True, False)
    assert good.name in first["error"]["hint"]
    kept = (place.repository / suspect["id"] / "database.sqlite").read_bytes()
    assert kept[HEADER_BYTES:] == content[HEADER_BYTES:]
    assert (first["changed"], second["changed"]) == (True, False)
    assert place.backups() == [good.name, suspect["id"]]


@pytest.mark.parametrize("umask", [0o022, 0o000])
def test_everything_in_a_repository_is_private(tmp_path: Path, umask: int) -> None:
    place = Place(tmp_path)
    (place.srv / "logs").mkdir()
    (place.srv / "logs" / "run.log").write_text("one\n")
    include = [{"src": str(place.srv / "logs")}]
    with harness.session(tmp_path / "ansible", umask=umask) as ansible:
        ansible.task(MODULE, place.options(include=include))
        ansible.task("sqlite_verify", {"repository": str(place.repository), "level": "full"})
        databases.add(place.database, "later")
        restored = ansible.task("sqlite_restore", {"repository": str(place.repository)})

    assert modes(place.repository.parent) == {"file": {"0600"}, "directory": {"0700"}}
    assert f"{place.database.stat().st_mode & 0o7777:04o}" == "0640"
    assert Path(restored["restore"]["undo_set"]).stat().st_mode & 0o7777 == 0o700


def test_strange_names_everywhere(ansible: Session, place: Place) -> None:
    home = place.directory / STRANGE
    home.mkdir()
    database = databases.make(home / f"{STRANGE}.db")
    notes = home / f"{STRANGE}.txt"
    notes.write_text("kept\n")
    repository = str(home / "backups" / STRANGE)
    options = {"path": str(database), "repository": repository, "tags": [STRANGE], "reason": STRANGE}
    url = {"database_url": f"file://{quote(str(database))}", "repository": repository}

    run = ansible.task(MODULE, {**options, "include": [{"src": str(notes)}]})
    by_url = ansible.task(MODULE, {**url, "include": [{"src": str(notes)}]})
    verified = ansible.task("sqlite_verify", {"repository": repository, "level": "full"})
    database.unlink()
    restored = ansible.task("sqlite_restore", {"repository": repository})
    (info,) = ansible.task("sqlite_backup_info", {"repository": repository})["repositories"]

    assert run["changed"]
    assert (run["backup"]["tags"], run["backup"]["reason"]) == ([STRANGE], STRANGE)
    assert (by_url["failed"], by_url["changed"]) == (False, False)
    assert (Path(run["backup"]["path"]) / "files" / notes.name).read_text() == "kept\n"
    assert verified["verification"]["outcome"] == "passed"
    assert restored["restore"]["dest"] == str(database)
    assert info["source"] == str(database)
    assert names_in(database, place.directory / "look") == ["name 0", "name 1", "name 2"]
    assert sorted(each.name for each in place.directory.iterdir()) == sorted([STRANGE, "look", "srv"])


def test_the_action_group_gives_defaults(ansible: Session, place: Place) -> None:
    defaults = {"group/sqliteops.backup.all": {"repository": str(place.repository)}}
    modules: dict[str, dict[str, Any]] = {
        MODULE: {"path": str(place.database)},
        "sqlite_verify": {},
        "sqlite_restore": {},
        "sqlite_backup_info": {},
    }

    tasks = [{f"{harness.NAMESPACE}.{name}": options, "module_defaults": defaults} for name, options in modules.items()]
    results = ansible.run(tasks)

    assert [each["failed"] for each in results] == [False] * len(modules)
    assert results[-1]["repositories"][0]["path"] == str(place.repository)


def _task(place: Place, **options: Any) -> dict[str, Any]:
    """A task with the options of a backup of ``place`` and these; None leaves one out."""
    wanted = {name: value for name, value in place.options(**options).items() if value is not None}
    return {f"{harness.NAMESPACE}.{MODULE}": wanted}
