# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Of each database that is found it is said whether it is backed up, or is not on purpose."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    SourceMissingError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import discover
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.discover import Declared
from support import databases


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


def test_what_lies_in_another_path_is_looked_at_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    databases.make(tmp_path / "deep" / "a.db")
    outcome = discover.run(requested(tmp_path / "deep", tmp_path, tmp_path), [])
    assert [*outcome.found] == [tmp_path]
    assert len(outcome.all) == 1


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
