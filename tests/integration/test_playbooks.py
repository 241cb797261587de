# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks: check, run, run, broken; each by its name in the collection, with what its head documents."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Result, Run
from integration.place import Place, commit_and_crash, everything, names_in, stored

from support import databases

PLAYBOOKS = sorted((harness.ROOT / "playbooks").glob("*.yml"))
OLD = ["name 0", "name 1", "name 2"]
LOST = "committed-after-the-backup"


def test_syntax(tmp_path: Path) -> None:
    playbooks = list(map(str, PLAYBOOKS))
    assert len(playbooks) >= 3

    run = harness.run_playbook(tmp_path, playbooks[0], {}, "--syntax-check", *playbooks[1:])

    assert run.code == 0, run.output
    assert [path for path in playbooks if path not in run.output] == []


@pytest.mark.parametrize("playbook", PLAYBOOKS, ids=lambda path: path.stem)
def test_hosts_are_those_that_are_named(playbook: Path, tmp_path: Path) -> None:
    """A name that cannot be worked out must end the run: without one, the playbook takes all hosts."""
    variable = re.search(r"^# (sqlite_\w+_hosts) ", playbook.read_text(encoding="utf-8"), re.MULTILINE)
    assert variable

    def run(**variables: str) -> Run:
        return harness.run_playbook(tmp_path, str(playbook), variables, "--list-hosts")

    none, unknown = (run(**{variable[1]: text}) for text in ("!localhost", "{{ nowhere }}"))

    assert (none.code, "hosts (0)" in none.output) == (0, True), none.output
    assert unknown.code != 0, unknown.output
    assert "'nowhere' is undefined" in unknown.output


def test_backup_databases(place: Place) -> None:
    databases.make(place.srv / "metrics.db", rows=5)
    entries: list[dict[str, Any]] = [
        {"path": str(place.database), "repository": str(place.repository), "tags": ["nightly"]},
        {"database_url": "file:./metrics.db", "chdir": str(place.srv), "repository": str(_metrics(place))},
    ]
    before = everything(place.srv)

    check = _backup(place, entries, "--check", "--diff")

    assert check.code == 0, check.output
    assert [each["changed"] for each in _items(check)] == [True, True]
    assert everything(place.srv) == before
    assert not place.repository.parent.exists()

    run, again = _backup(place, entries), _backup(place, entries)

    assert (run.code, again.code) == (0, 0)
    assert [each["changed"] for each in _items(run)] == [True, True]
    assert [each["changed"] for each in _items(again)] == [False, False]
    assert [each["backup"]["tables"] for each in _items(run)] == [{"item": 3}, {"item": 5}]
    assert _items(run)[0]["backup"]["tags"] == ["nightly"]


def test_one_broken_database_fails_the_run_after_the_others(place: Place) -> None:
    entries = [
        {"path": str(place.srv / "missing.db"), "repository": str(place.directory / "backups" / "missing")},
        {"path": str(place.database), "repository": str(place.repository)},
    ]

    run = _backup(place, entries)

    assert run.code != 0
    broken, good = _items(run)
    assert broken["error"]["code"] == 10
    assert good["changed"]
    assert len(place.backups()) == 1


def test_restore_database(place: Place) -> None:
    place.backed_up()
    commit_and_crash(place.database, LOST)
    before = everything(place.srv)

    check = _restore(place, {}, "--check", "--diff")

    assert check.code == 0, check.output
    assert _restored(check)["changed"]
    assert everything(place.srv) == before

    run, again = _restore(place, {}), _restore(place, {})

    assert (run.code, again.code) == (0, 0)
    assert (_restored(run)["changed"], _restored(again)["changed"]) == (True, False)
    assert names_in(place.database, place.directory / "restored") == OLD

    undo = _restore(place, {"sqlite_restore_undo": True})

    assert (undo.code, _restored(undo)["changed"]) == (0, True)
    assert names_in(place.database, place.directory / "undone") == [*OLD, LOST]


def test_restore_asks_which_of_many_hosts(place: Place) -> None:
    place.backed_up()
    commit_and_crash(place.database, LOST)
    before = everything(place.srv)

    run = _restore(place, {}, "--inventory", "second,")

    assert run.code != 0
    assert "sqlite_restore_hosts" in run.output
    assert everything(place.srv) == before


def test_recovery_of_what_only_a_lost_file_names_is_refused(place: Place) -> None:
    """Else it would not be seen whether there is such a database already."""
    database = {"name": "agent", "env_file": str(place.srv / ".env"), "repository": str(place.repository)}
    variables = {
        "sqlite_backup_databases": [{**database, "targets": ["nas"]}],
        "sqlite_offsite_targets": [{"name": "nas", "url": f"file://{place.directory}/nas"}],
        "sqlite_backup_scope": "user",
    }
    run = _run(place, "recover_server", variables)

    assert run.code != 0
    assert "agent: its env_file may be lost, too. To recover it, name it with path." in run.output


def test_verify_backups(place: Place) -> None:
    place.backed_up()
    metrics = databases.make(place.srv / "metrics.db")
    bad = place.backed_up(path=metrics, repository=_metrics(place))
    entries: list[dict[str, Any]] = [
        {"repository": str(_metrics(place)), "expect_tables": ["item"]},
        {
            "repository": str(place.repository),
            "assertions": [{"sql": "SELECT count(*) FROM item", "equals": 3}],
        },
        {"path": str(place.database), "level": "quick"},
    ]
    before = stored(place.repository), stored(_metrics(place))

    check = _verify(place, entries, "--check")
    assert check.code == 0, check.output
    assert (stored(place.repository), stored(_metrics(place))) == before

    run = _verify(place, entries)
    assert run.code == 0, run.output
    assert [each["verification"]["outcome"] for each in _items(run)] == ["passed"] * 3
    assert [each["changed"] for each in _items(run)] == [False] * 3

    databases.flip_bit(bad / "database.sqlite.gz", 30)
    broken = _verify(place, entries)
    assert broken.code != 0
    assert [each["verification"]["outcome"] for each in _items(broken)] == ["failed", "passed", "passed"]
    assert _items(broken)[0]["error"]["code"] == 13


def _metrics(place: Place) -> Path:
    return place.directory / "backups" / "metrics"


def _backup(place: Place, entries: list[dict[str, Any]], *flags: str) -> Run:
    return _run(place, "backup_databases", {"sqlite_backup_databases": entries}, *flags)


def _verify(place: Place, entries: list[dict[str, Any]], *flags: str) -> Run:
    return _run(place, "verify_backups", {"sqlite_verify_repositories": entries}, *flags)


def _restore(place: Place, more: dict[str, Any], *flags: str) -> Run:
    variables = {"sqlite_restore_repository": str(place.repository), "sqlite_restore_dest": str(place.database)}
    return _run(place, "restore_database", {**variables, **more}, *flags)


def _run(place: Place, name: str, variables: dict[str, Any], *flags: str) -> Run:
    return harness.run_playbook(place.directory / "ansible", f"{harness.NAMESPACE}.{name}", variables, *flags)


def _last(run: Run) -> Result:
    return run.results[-1]


def _restored(run: Run) -> Result:
    found: Result = _last(run)["ansible_facts"]["sqlite_restore_result"]
    return found


def _items(run: Run) -> list[Result]:
    """The results of the last task, one an entry of its loop."""
    found: list[Result] = _last(run)["results"]
    return found
