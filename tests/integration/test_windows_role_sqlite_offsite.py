# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_offsite for a Windows host: targets that rclone reaches, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from integration.windows_host import Played, WindowsHost

from support import windows_rules

pytestmark = pytest.mark.thorough

CONFIG = r"C:\ProgramData\sqlite-backup\config"
SECRET = "never-to-be-shown"
S3 = {
    "name": "s3",
    "url": "s3://backups/win-1",
    "credentials": {"access_key_id": "AKID", "secret_access_key": SECRET},
    "options": {"region": "eu-central-1"},
    "keep_daily": "7",
}
OWN_FILE = {"name": "own", "url": "rclone://remote/backups", "credentials_file": "D:/keys/rclone.conf"}


@pytest.fixture
def host(tmp_path: Path) -> WindowsHost:
    made = WindowsHost(tmp_path)
    there(made, "program rclone")
    return made


def there(host: WindowsHost, *lines: str) -> None:
    host.answer("win_powershell", {"output": list(lines), "changed": True}, parameters={"Directory": CONFIG})


def offsite(host: WindowsHost, *flags: str, **variables: Any) -> Played:
    return host.role("sqlite_offsite", variables, *flags)


def removed(played: Played) -> list[str]:
    return [each["path"] for each in played.of("win_file") if each["state"] == "absent"]


def test_targets_of_a_fresh_host(host: WindowsHost) -> None:
    done = offsite(host, sqlite_offsite_targets=[S3, OWN_FILE])

    assert done.run.code == 0, done.run.output
    made = [each["path"] for each in done.of("win_file") if each["state"] == "directory"]
    assert {CONFIG, rf"{CONFIG}\targets.d", rf"{CONFIG}\credentials"} <= {*made}
    managed = "the role sqliteops.backup.sqlite_offsite, from its variables"
    contents = done.copied
    assert contents.pop(rf"{CONFIG}\credentials\s3") == f"access_key_id = AKID\nsecret_access_key = {SECRET}\n".encode()
    assert {path: json.loads(content) for path, content in contents.items()} == {
        rf"{CONFIG}\targets.d\s3.json": {
            "managed_by": managed,
            "url": "s3://backups/win-1",
            "options": {"region": "eu-central-1"},
            "keep_daily": 7,
            "credentials_file": rf"{CONFIG}\credentials\s3",
        },
        rf"{CONFIG}\targets.d\own.json": {
            "managed_by": managed,
            "url": "rclone://remote/backups",
            "credentials_file": r"D:\keys\rclone.conf",
        },
    }
    assert removed(done) == []
    assert SECRET not in done.run.output
    secrets = [each for each in done.sent if each.arguments.get("dest") == rf"{CONFIG}\credentials\s3"]
    assert [each.no_log for each in secrets] == [True]


def test_a_second_run_changes_nothing(host: WindowsHost) -> None:
    offsite(host, sqlite_offsite_targets=[S3])
    there(host, "program rclone", "credentials s3", "managed s3")

    again = offsite(host, sqlite_offsite_targets=[S3])

    assert again.run.code == 0, again.run.output
    assert (again.run.changed, again.copied, removed(again)) == ([], {}, [])


def test_check_mode_copies_nothing(host: WindowsHost) -> None:
    check = offsite(host, "--check", sqlite_offsite_targets=[S3])

    assert check.run.code == 0, check.run.output
    assert check.copied == {}
    assert {each.name for each in check.sent if not each.check} == {"win_powershell"}
    assert SECRET not in check.run.output


def test_what_is_not_wanted_any_more_goes(host: WindowsHost) -> None:
    there(host, "program rclone", *(f"{kind} {name}" for kind in ("credentials", "managed") for name in ("old", "own")))

    warned = offsite(host, sqlite_offsite_targets=[OWN_FILE])

    assert warned.run.code == 0, warned.run.output
    assert removed(warned) == [rf"{CONFIG}\credentials\own"]
    assert "old: configured in" in warned.run.output

    done = offsite(host, sqlite_offsite_targets=[OWN_FILE], sqlite_offsite_unlisted="remove")

    secrets = [rf"{CONFIG}\credentials\old", rf"{CONFIG}\credentials\own"]
    assert removed(done) == [*secrets, rf"{CONFIG}\targets.d\old.json"]


def test_without_rclone_nothing_is_configured(host: WindowsHost) -> None:
    there(host)

    failed = offsite(host, sqlite_offsite_targets=[S3])

    assert "rclone.exe is in no directory that PATH names" in failed.run.last_failure
    assert [each.name for each in failed.sent] == ["win_powershell"]


def test_rclone_is_not_run_from_where_others_write(host: WindowsHost) -> None:
    """Nor is it looked for behind a directory in which somebody else could put one."""
    tools = [rf"C:\Tools{each}" for each in ("", r"\rclone.exe")]
    host.tell(
        windows_rules.fact(tools[0], windows_rules.IN_CLIENT_DRIVE),
        windows_rules.fact(tools[1], windows_rules.IN_PROGRAM_FILES, "file"),
        {"path": tools[0], "kind": "searched"},
        {"path": tools[1], "kind": "program"},
    )

    failed = offsite(host, sqlite_offsite_targets=[S3])

    assert rf"{tools[0]}: can be changed by Authenticated Users" in failed.run.last_failure
    assert {each.name for each in failed.sent} == {"win_powershell"}
    assert failed.of("win_powershell")[-1]["parameters"]["Program"] == ["rclone.exe"]


def test_targets_that_differ_by_case_are_one(host: WindowsHost) -> None:
    there(host, "program rclone", "credentials S3", "managed S3")

    done = offsite(host, sqlite_offsite_targets=[S3], sqlite_offsite_unlisted="remove")

    assert done.run.code == 0, done.run.output
    assert removed(done) == []

    failed = offsite(host, sqlite_offsite_targets=[S3, {**OWN_FILE, "name": "S3"}])

    assert "name 'S3' is that of two" in failed.run.last_failure


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"targets": [{"name": "nas", "url": "ssh://nas/"}]}, "nas: its url begins with ssh:, which is for rsync"),
        ({"targets": [{"name": "disk", "url": "file:///mnt/nas"}]}, "disk: its url begins with file:"),
        (
            {"targets": [{**S3, "credentials": None, "credentials_file": "/etc/s3"}]},
            "Allowed is an absolute path of Windows",
        ),
        ({"ssh_key": True}, "sqlite_offsite_ssh_key: false"),
        ({"receiver": True}, "sqlite_offsite_ssh_key: false"),
    ],
)
def test_what_a_windows_host_cannot_do_is_refused(host: WindowsHost, variables: dict[str, Any], said: str) -> None:
    failed = offsite(host, **{f"sqlite_offsite_{name}": value for name, value in variables.items()})

    assert said in failed.run.last_failure
    assert failed.sent == []
