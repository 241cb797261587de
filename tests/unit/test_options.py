# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From option values to requests: the same for the modules and for the runner."""

from __future__ import annotations

import subprocess
import sys
import zoneinfo
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine import (
    backup,
    config,
    include,
    options,
    prune,
    restore,
    retention,
    verify,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.encryption import NOT_ENCRYPTED, Encryption, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.errors import SourceMissingError, UsageError

BACKUP: dict[str, Any] = {
    "path": "/srv/agent.db",
    "database_url": None,
    "chdir": None,
    "repository": "/backups/agent",
    "name": None,
    "type": "incremental",
    "full_every": "12h",
    "max_chain": 7,
    "compression": "xz",
    "compression_level": 3,
    "encryption": {"method": "gpg", "recipients": [], "passphrase_file": "/etc/passphrase"},
    "check": "full",
    "include": [{"src": "/srv/.env", "name": None, "redact": True}, {"src": "/srv/s", "name": "n", "redact": False}],
    "reason": "why",
    "tags": ["a", "b"],
    "pinned": True,
    "timeout": "30s",
    "lock_timeout": "2m",
    "force": True,
    "allow_empty": True,
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
}


def test_every_option_of_a_backup_arrives() -> None:
    assert options.backup_request(BACKUP) == backup.Request(
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
        (include.Include(Path("/srv/.env"), "", redact=True), include.Include(Path("/srv/s"), "n")),
        "why",
        ("a", "b"),
        pinned=True,
        timeout_seconds=30.0,
        lock_timeout_seconds=120.0,
        force=True,
        allow_empty=True,
    )


def test_what_is_not_given_stays_away() -> None:
    request = options.backup_request({**BACKUP, "encryption": None, "timeout": None, "name": "other"})

    assert request.encryption == NOT_ENCRYPTED
    assert request.timeout_seconds is None
    assert request.name == "other"


def test_database_is_named_by_a_path_or_by_a_url() -> None:
    by_url = {"path": None, "database_url": "file:./agent.db?connection_limit=1", "chdir": "/srv/prisma"}

    assert options.database_path(BACKUP) == Path("/srv/agent.db")
    assert options.database_path(by_url) == Path("/srv/prisma/agent.db")


def test_url_that_may_mean_two_databases_is_backed_up_under_neither_name(tmp_path: Path) -> None:
    given = {**BACKUP, "path": None, "database_url": "file:./my%20agent.db", "chdir": str(tmp_path)}
    (tmp_path / "my agent.db").touch()

    with pytest.raises(SourceMissingError, match="does not exist, but"):
        options.backup_request(given)
    (tmp_path / "my%20agent.db").touch()
    with pytest.raises(UsageError, match="both exist"):
        options.backup_request(given)


def test_every_option_of_a_prune_arrives() -> None:
    counts = {f"keep_{word}": n for n, word in enumerate(("last", "hourly", "daily", "weekly", "monthly", "yearly"), 1)}
    given = {
        **counts,
        "keep_within": "6h",
        "timezone": "Europe/Berlin",
        "repository": "/backups/agent",
        "lock_timeout": "5s",
    }

    policy = retention.Policy(1, 2, 3, 4, 5, 6, 21600.0, "Europe/Berlin")
    assert options.prune_request(given) == prune.Request(Path("/backups/agent"), policy, 5.0)


def test_every_option_of_a_restore_arrives() -> None:
    keys = Keys(Path("/etc/identity"), Path("/etc/passphrase"))

    assert options.restore_request(RESTORE) == restore.Request(
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
    )


def test_a_restore_needs_nothing_but_its_defaults() -> None:
    absent = dict.fromkeys(
        ("repository", "before", "dest", "owner", "group", "mode", "identity_file", "passphrase_file")
    )
    given = {**absent, "backup": "latest", "check": "quick", "force": False, "force_identity": False}

    assert options.restore_request({**given, "lock_timeout": "1m"}) == restore.Request(None)


def test_a_mode_that_is_not_octal_is_an_error() -> None:
    with pytest.raises(UsageError, match="mode '0888'"):
        options.restore_request({**RESTORE, "mode": "0888"})


def test_expectations_arrive() -> None:
    asserted = [{"sql": "SELECT 1", "equals": 1}]
    given = {"level": "full", "expect_tables": ["item"], "assertions": asserted}

    assert options.expectations(given) == verify.Expectations("full", ["item"], asserted)


def test_a_duration_that_is_none_is_an_error() -> None:
    with pytest.raises(UsageError, match="soon"):
        options.seconds({"rpo": "soon"}, "rpo")


def test_a_backup_loads_no_other_use_case() -> None:
    """A module is started once a task on each host: what it does not need must not be loaded."""
    engine = "ansible_collections.sqliteops.backup.plugins.module_utils._engine"
    code = f"import sys; from {engine} import backup, options, answers; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert f"{engine}.options" in loaded
    assert not {f"{engine}.{room}" for room in ("restore", "verify", "prune", "retention", "cli")} & {*loaded}


def _configured(**changed: Any) -> dict[str, Any]:
    values = {key: [] if each.type == "list" else each.default for key, each in config.KEYS.items()}
    return {**values, "path": "/srv/agent.db", "repository": "/backups/agent", **changed}


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"compression_level": 99}, "compression_level"),
        ({"compression": "gzip", "compression_level": 15}, "compression_level"),
        ({"encryption": {"method": "age", "recipients": [], "passphrase_file": None}}, "encryption"),
        ({"include": [{"src": "/srv/a", "name": "../a", "redact": False}]}, "include"),
        (
            dict.fromkeys(("keep_hourly", "keep_daily", "keep_weekly", "keep_monthly"), 0) | {"keep_within": "0s"},
            "keep_*",
        ),
        ({"keep_daily": -1}, "keep_*"),
        ({"timezone": "Europe/Berlim"}, "timezone"),
    ],
)
def test_mistakes_are_what_fails_everywhere(changed: dict[str, Any], key: str) -> None:
    assert [each for each, _error in options.mistakes(_configured(**changed))] == [key]


def test_what_only_this_host_lacks_is_no_mistake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(zoneinfo, "available_timezones", set)
    recipients = {"method": "age", "recipients": ["/etc/nowhere"], "passphrase_file": None}

    given = _configured(compression_level=19, encryption=recipients, timezone="Mars/Olympus")

    assert list(options.mistakes(given)) == []
