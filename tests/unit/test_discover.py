# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of each database that is found it is said whether it is backed up, or is not on purpose."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import mounts
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    SourceMissingError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import discover
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.discover import Declared
from support import databases, limits, processes
from support.sites import Site


def requested(*paths: Path | str, **given: Any) -> discover.Request:
    options: dict[str, Any] = {"exclude": [], "ignored": [], "cross_filesystems": False, "limit": 1000, "timeout": "5m"}
    return discover.requested({**options, "paths": [*map(str, paths)], **given})


def states(outcome: discover.Outcome) -> dict[str, str]:
    return {Path(each["path"]).name: each["state"] for each in outcome.all}


def test_each_database_is_declared_ignored_or_neither(tmp_path: Path) -> None:
    for name in ("a.db", "b.db", "c.db"):
        databases.make(tmp_path / name)
    link = tmp_path / "link"
    if sys.platform == "win32":
        link = tmp_path / "a.db"
    else:
        link.symlink_to(tmp_path / "a.db")
    declared = [
        Declared(link, "agent", Path("/backups/agent")),
        Declared(tmp_path / "gone", "x", Path("/x")),
    ]
    ignored = [{"path": f"{tmp_path}/b*", "reason": "a cache"}, {"path": f"{tmp_path}/a.db", "reason": "no"}]
    outcome = discover.run(requested(tmp_path, ignored=ignored), declared)
    assert states(outcome) == {"a.db": "declared", "b.db": "ignored", "c.db": "undeclared"}
    assert outcome.undeclared == [str(tmp_path / "c.db")]
    first, second, third = outcome.all
    assert (first["name"], first["repository"], first["reason"]) == ("agent", str(Path("/backups/agent")), "")
    assert (second["name"], second["reason"]) == ("", "a cache")
    assert third["bytes"] == (tmp_path / "c.db").stat().st_size
    assert bool(third["owner"]) == (sys.platform != "win32")


def test_a_directory_that_is_ignored_means_all_in_it(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    databases.make(tmp_path / "deep" / "er" / "a.db")
    ignored = [{"path": f"{tmp_path}/deep/", "reason": "a cache"}]
    assert states(discover.run(requested(tmp_path, ignored=ignored), [])) == {"a.db": "ignored"}


def test_brackets_mean_themselves(tmp_path: Path) -> None:
    for name in ("[id]", "i"):
        (tmp_path / name).mkdir()
        databases.make(tmp_path / name / "a.db")
    pattern = f"{tmp_path}/[id]"
    excluded = discover.run(requested(tmp_path, exclude=[pattern]), [])
    assert excluded.undeclared == [str(tmp_path / "i" / "a.db")]
    ignored = discover.run(requested(tmp_path, ignored=[{"path": pattern, "reason": "a cache"}]), [])
    assert ignored.undeclared == excluded.undeclared


def test_what_lies_in_another_path_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    databases.make(tmp_path / "deep" / "a.db")
    outcome = discover.run(requested(tmp_path / "deep", tmp_path, tmp_path), [])
    assert [*outcome.found] == [tmp_path]
    assert len(outcome.all) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows lets not everybody make links")
def test_path_that_only_a_link_leads_to_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    databases.make(tmp_path / "data" / "a.db")
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "app").symlink_to(tmp_path / "data")
    outcome = discover.run(requested(tmp_path / "srv", tmp_path / "srv" / "app"), [])
    assert outcome.undeclared == [str(tmp_path / "data" / "a.db")]
    assert [*outcome.found] == [tmp_path / "srv", tmp_path / "srv" / "app"]


def test_paths_stay_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    outcome = discover.run(requested(tmp_path / "a" / "deep", tmp_path / "b"), [])
    assert [*outcome.found] == [tmp_path / "a" / "deep", tmp_path / "b"]


def test_copies_are_counted_and_named(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.back_up(compression="none")
    undo = tmp_path / "agent.db.before-restore.20251230T120000Z"
    undo.mkdir(mode=0o700)
    databases.make(undo / "agent.db")
    facts = discover.run(requested(tmp_path), []).to_json()
    assert [each["path"] for each in facts["databases"]] == [str(site.database)]
    assert (facts["copies"], facts["repositories"], facts["kept"]) == (2, [str(site.repository)], [str(undo)])


# --- what was not looked at ----------------------------------------------------------------------------------------


def test_what_is_closed_is_a_gap(tmp_path: Path) -> None:
    with processes.open_directory() as place:
        (place / "closed").mkdir()
        (place / "closed").chmod(0)
        with limits.unprivileged():
            outcome = discover.run(requested(place), [])
            ignored = [{"path": f"{place}/closed", "reason": "a cache"}]
            meant = discover.run(requested(place, ignored=ignored), [])
            near = discover.run(requested(place, ignored=[{**ignored[0], "path": f"{place}/closed/a"}]), [])
        (gap,) = outcome.to_json()["gaps"]
        assert gap == f"in {place}, 1 place could not be read and were left out: {place}/closed"
        assert (outcome.warnings, outcome.to_json()["complete"]) == ([gap], False)
        assert (meant.warnings, meant.to_json()["complete"], near.to_json()["complete"]) == ([], True, False)


@processes.needs_root
def test_other_filesystem_is_a_gap_unless_it_is_looked_at_or_lasts_no_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    with processes.small_disk(1 << 20) as disk:
        databases.make(disk / "a.db")
        top = disk.parent
        wanted: dict[str, Any] = {"exclude": [str(each) for each in top.iterdir() if each != disk]}
        assert discover.run(requested(top, **wanted), []).to_json()["complete"]
        # It stands in for a disk that does.
        monkeypatch.setattr(mounts, "_VOLATILE", set())
        assert not discover.run(requested(top, **wanted), []).to_json()["complete"]
        both = discover.run(requested(top, disk, **wanted), [])
        assert (both.to_json()["complete"], both.undeclared) == (True, [str(disk / "a.db")])
        crossed = discover.run(requested(top, cross_filesystems=True, **wanted), [])
        assert (crossed.to_json()["complete"], crossed.undeclared) == (True, [str(disk / "a.db")])


# --- what another user declares ------------------------------------------------------------------------------------


@processes.needs_root
def test_what_a_user_declares_counts_where_that_user_reads(tmp_path: Path) -> None:
    with processes.open_directory() as place:
        paths = {name: databases.make(place / name) for name in ("own.db", "open.db", "closed.db")}
        os.chown(paths["own.db"], processes.NOBODY, 0)
        for each in paths.values():
            each.chmod(0o600)
        paths["open.db"].chmod(0o644)
        declared = [Declared(each, name[:-3], tmp_path, processes.NOBODY) for name, each in paths.items()]
        outcome = discover.run(requested(place), [*declared, Declared(place / "gone", "gone", tmp_path, 1)])
        assert states(outcome) == {"own.db": "declared", "open.db": "declared", "closed.db": "undeclared"}
        (warning,) = outcome.warnings
        assert warning.startswith(f"{place}/closed.db does not count as declared by closed: the user nobody cannot")
        roots = Declared(paths["closed.db"], "roots", tmp_path)
        for order in ([*declared, roots], [roots, *declared]):
            assert states(discover.run(requested(place), order))["closed.db"] == "declared"
        paths["closed.db"].chmod(0o644)
        for order in ([*declared, roots], [roots, *declared]):
            found = {Path(each["path"]).name: each["name"] for each in discover.run(requested(place), order).all}
            assert found["closed.db"] == "roots"


@processes.needs_root
def test_what_a_user_ignores_counts_where_it_is_that_users(tmp_path: Path) -> None:
    for name, uid in (("own.db", processes.NOBODY), ("roots.db", 0)):
        os.chown(databases.make(tmp_path / name), uid, uid)
    request = dataclasses.replace(requested(tmp_path), ignored=(discover.Ignored("*", "mine", processes.NOBODY),))
    assert states(discover.run(request, [])) == {"own.db": "ignored", "roots.db": "undeclared"}


def test_the_limit_is_that_of_all_paths(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for number in range(3):
            databases.make(tmp_path / name / f"{number}.db")
    outcome = discover.run(requested(tmp_path / "one", tmp_path / "two", limit=4), [])
    assert (len(outcome.all), outcome.to_json()["complete"]) == (4, False)
    assert outcome.warnings == [
        f"not all of {tmp_path / 'two'} was looked at: the limit or the timeout was reached",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such time")
def test_time_that_an_owner_made_up_is_no_failure(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db")
    os.utime(path, (1, 1 << 40))
    (found,) = discover.run(requested(tmp_path), []).all
    assert found["modified"] in ("", found["modified"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"paths": []}, "no path is given"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": -1}, "negative"),
        ({"exclude": ["srv"]}, "'srv' is no absolute path"),
        ({"ignored": [{"path": "/a", "reason": " "}]}, "/a is ignored for no reason"),
        ({"ignored": [{"path": "a", "reason": "x"}]}, "'a' is no absolute path"),
        ({"timeout": "soon"}, "soon"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        requested("/srv", **given)


def test_missing_path_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceMissingError, match="^Cannot look for databases in .*gone: it does not exist"):
        discover.run(requested(tmp_path / "gone"), [])
