# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From option values to requests: the same for the modules and for the runner."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import include, retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import (
    NOT_ENCRYPTED,
    Encryption,
    Keys,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import urls
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import options
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    SourceMissingError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, prune, restore, verify
from support import databases

BACKUP: dict[str, Any] = {
    "path": "/srv/agent.db",
    "database_url": None,
    "env_file": None,
    "env_key": "DATABASE_URL",
    "chdir": None,
    "repository": "/backups/agent",
    "name": None,
    "type": "incremental",
    "full_every": "12h",
    "max_chain": 7,
    "suspect_below": 5,
    "compression": "xz",
    "compression_level": 3,
    "encryption": {"method": "gpg", "recipients": [], "passphrase_file": "/etc/passphrase"},
    "check": "full",
    "include": [
        {"src": "/srv/.env", "name": None, "redact": True},
        {"src": "/srv/s", "name": "n", "redact": False},
        {"src": "/srv/t", "redact": None},
    ],
    "reason": "why",
    "tags": ["a", "b"],
    "pinned": True,
    "timeout": "30s",
    "lock_timeout": "2m",
    "force": True,
    "allow_empty": True,
    "force_identity": True,
}
RESTORE: dict[str, Any] = {
    "repository": "/backups/agent",
    "backup": "some",
    "before": "2025-01-01T12:00:00Z",
    "dest": "/srv/other.db",
    "owner": "app",
    "group": "staff",
    "mode": "0640",
    "check": "full",
    "force": True,
    "force_identity": True,
    "identity_file": "/etc/identity",
    "passphrase_file": "/etc/passphrase",
    "lock_timeout": "0s",
    "expect_tables": ["AgentRun"],
    "assertions": [{"sql": "SELECT 1", "equals": 1}],
    "with_files": True,
    "files_to": "/srv/files",
    "include": [{"src": "/srv/.env", "name": "env", "redact": True}],
}
PRUNE: dict[str, Any] = {
    **{f"keep_{word}": n for n, word in enumerate(("last", "hourly", "daily", "weekly", "monthly", "yearly"), 1)},
    "keep_within": "6h",
    "keep_suspect": "3d",
    "timezone": "Europe/Berlin",
    "repository": "/backups/agent",
    "lock_timeout": "5s",
}
LENGTHS = ("keep_within", "keep_suspect")


def test_every_option_of_a_backup_arrives() -> None:
    assert backup.requested(BACKUP) == backup.Request(
        Path("/srv/agent.db"),
        Path("/backups/agent"),
        "",
        "incremental",
        43200.0,
        7,
        "xz",
        3,
        Encryption("gpg", (), Path("/etc/passphrase")),
        "full",
        (
            include.Include(Path("/srv/.env"), "", redact=True),
            include.Include(Path("/srv/s"), "n", redact=False),
            include.Include(Path("/srv/t"), redact=None),
        ),
        "why",
        ("a", "b"),
        pinned=True,
        timeout_seconds=30.0,
        lock_timeout_seconds=120.0,
        force=True,
        allow_empty=True,
        force_identity=True,
        suspect_below=5,
    )


def test_what_is_not_given_stays_away() -> None:
    request = backup.requested({**BACKUP, "encryption": None, "timeout": None, "name": "other"})

    assert request.encryption == NOT_ENCRYPTED
    assert request.timeout_seconds is None
    assert request.name == "other"


def test_database_is_named_by_a_path_or_by_a_url() -> None:
    by_url = {"path": None, "env_file": None, "chdir": "/srv/prisma"}
    by_url["database_url"] = "file:./agent.db?connection_limit=1"

    assert urls.requested(BACKUP) == Path("/srv/agent.db")
    assert urls.requested(by_url) == Path("/srv/prisma/agent.db")


def test_url_that_may_mean_two_databases_is_backed_up_under_neither_name(tmp_path: Path) -> None:
    given = {**BACKUP, "path": None, "database_url": "file:./my%20agent.db", "chdir": str(tmp_path)}
    (tmp_path / "my agent.db").touch()

    with pytest.raises(SourceMissingError, match="does not exist, but"):
        backup.requested(given)
    (tmp_path / "my%20agent.db").touch()
    with pytest.raises(UsageError, match="both exist"):
        backup.requested(given)


def test_every_option_of_a_prune_arrives() -> None:
    policy = retention.Policy(1, 2, 3, 4, 5, 6, 21600.0, "Europe/Berlin", 259200.0)
    assert prune.requested(PRUNE) == prune.Request(Path("/backups/agent"), policy, 5.0)


def test_every_option_of_a_restore_arrives() -> None:
    keys = Keys(Path("/etc/identity"), Path("/etc/passphrase"))

    assert restore.requested(RESTORE) == restore.Request(
        Path("/backups/agent"),
        "some",
        datetime(2025, 1, 1, 12, tzinfo=timezone.utc),
        Path("/srv/other.db"),
        "app",
        "staff",
        "0640",
        "full",
        force=True,
        force_identity=True,
        keys=keys,
        lock_timeout_seconds=0.0,
        expectations=verify.Expectations("full", ["AgentRun"], [{"sql": "SELECT 1", "equals": 1}]),
        with_files=True,
        files_to=Path("/srv/files"),
        include=(include.Include(Path("/srv/.env"), "env", redact=True),),
    )


def test_a_restore_needs_nothing_but_its_defaults() -> None:
    absent = dict.fromkeys(
        ("repository", "before", "dest", "owner", "group", "mode", "identity_file", "passphrase_file", "files_to")
    )
    given = {**absent, "backup": "latest", "check": "quick", "force": False, "force_identity": False}
    given.update(expect_tables=(), assertions=(), with_files=False, include=())

    assert restore.requested({**given, "lock_timeout": "1m"}) == restore.Request(None)


def test_a_mode_that_is_not_octal_is_an_error() -> None:
    with pytest.raises(UsageError, match="mode '0888'"):
        restore.requested({**RESTORE, "mode": "0888"})


Use = Callable[[dict[str, Any]], object]
HUGE = 10**400
WRONG_DURATIONS = ("-5m", "inf", "nan", "1e3", str(HUGE), f"{HUGE}w", "40000d", "")
WRONG: list[tuple[Use, dict[str, Any], dict[str, tuple[Any, ...]]]] = [
    (
        lambda given: backup.run(backup.requested(given)),
        BACKUP,
        {
            **dict.fromkeys(("full_every", "timeout", "lock_timeout"), WRONG_DURATIONS),
            "max_chain": (-1, -HUGE),
            "compression_level": (-1, 10, HUGE),
        },
    ),
    (
        lambda given: restore.run(restore.requested(given)),
        RESTORE,
        {
            "lock_timeout": WRONG_DURATIONS,
            "mode": ("-1", "0888", "01777", "7" * 400, "0o640", "\N{SUPERSCRIPT TWO}", "\N{ARABIC-INDIC DIGIT SIX}00"),
            "before": ("inf", "9" * 400, "10000-01-01", "9999-12-31T23:59-14:00", "0000-01-01"),
        },
    ),
    (
        lambda given: prune.run(prune.requested(given)),
        PRUNE,
        {
            **dict.fromkeys(("keep_within", "keep_suspect", "lock_timeout"), WRONG_DURATIONS),
            **dict.fromkeys((name for name in PRUNE if name.startswith("keep_") and name not in LENGTHS), (-1, -HUGE)),
        },
    ),
]


def stored(directory: Path) -> dict[str, str]:
    """What is there, but for the log of attempts."""
    return {name: digest for name, digest in databases.tree(directory).items() if not name.endswith("history.jsonl")}


@pytest.mark.parametrize(
    ("use", "good", "option", "value"),
    [(use, good, option, value) for use, good, wrong in WRONG for option, each in wrong.items() for value in each],
    ids=lambda each: str(each)[:12] if isinstance(each, (str, int)) else "",
)
def test_number_that_makes_no_sense_is_a_usage_error(
    tmp_path: Path, use: Use, good: dict[str, Any], option: str, value: Any
) -> None:
    """Never a traceback, and nothing is touched."""
    path = databases.make(tmp_path / "agent.db")
    backup.run(backup.Request(path, tmp_path / "repository", compression="none"))
    before = stored(tmp_path)
    given = {**good, "path": path, "repository": tmp_path / "repository", "encryption": None, "include": ()}
    with pytest.raises(UsageError) as caught:
        use({**given, "compression": "gzip", "backup": "latest", option: value})
    assert caught.value.code == 2
    assert caught.value.hint
    assert len(caught.value.message) < 250
    assert stored(tmp_path) == before


@pytest.mark.parametrize(("count", "duration"), [(0, "0s"), (HUGE, "36525d")])
def test_number_may_be_as_small_or_as_great_as_is_allowed(tmp_path: Path, count: int, duration: str) -> None:
    path = databases.make(tmp_path / "agent.db")
    durations = dict.fromkeys(("full_every", *LENGTHS, "lock_timeout"), duration)
    given = {**durations, "path": path, "repository": tmp_path / "repository", "encryption": None, "include": ()}
    given.update(timeout="36525d", max_chain=count, compression="gzip")
    assert backup.run(backup.requested({**BACKUP, **given})).error is None
    path.unlink()
    wanted = {**RESTORE, **given, "before": None, "backup": "latest", "dest": None, "owner": None, "group": None}
    wanted.update(expect_tables=(), assertions=())
    assert restore.run(restore.requested(wanted)).changed
    keeps = {name: HUGE for name in PRUNE if name.startswith("keep_")}
    assert not prune.run(prune.requested({**PRUNE, **keeps, **given})).removed


def test_expectations_arrive() -> None:
    asserted = [{"sql": "SELECT 1", "equals": 1}]
    given = {"level": "full", "expect_tables": ["item"], "assertions": asserted}

    assert verify.expected(given) == verify.Expectations("full", ["item"], asserted)


def test_a_duration_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="soon"):
        options.seconds({"rpo": "soon"}, "rpo")


def test_a_backup_loads_no_other_use_case() -> None:
    """A module is started once a task on each host: what it does not need must not be loaded."""
    engine = "ansible_collections.sqliteops.backup.plugins.module_utils._engine"
    code = f"import sys; from {engine}.work import backup; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert f"{engine}.system.options" in loaded
    others = ("work.restore", "work.verify", "work.prune", "repository.retention", "runner")
    assert not {f"{engine}.{each}" for each in others} & {*loaded}
