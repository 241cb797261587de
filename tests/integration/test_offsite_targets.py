# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of the role sqlite_offsite: what goes into which file, every refusal, and no secret in one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.sqliteops.backup.plugins.filter.offsite_targets import (
    offsite_problems,
    offsite_receivers,
    offsite_targets,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import target_config
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.targets.rclone import Rclone

CONFIG = "/etc/sqlite-backup"
NAS = {"name": "nas", "url": "ssh://sqlite-backup@nas.example.org/"}
S3 = {"name": "s3", "url": "s3://backups/ci-1"}
SECRET = "never-to-be-quoted"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"


def plan(target: dict[str, Any], **settings: Any) -> dict[str, Any]:
    (found,) = offsite_targets([target], **{"config_dir": CONFIG, **settings})
    return found


def test_a_target_with_nothing_but_a_url() -> None:
    assert plan(NAS) == {
        "name": "nas",
        "config": {
            "managed_by": "the role sqliteops.backup.sqlite_offsite, from its variables",
            "url": "ssh://sqlite-backup@nas.example.org/",
        },
        "config_path": "/etc/sqlite-backup/targets.d/nas.json",
        "credentials": "",
        "credentials_path": "/etc/sqlite-backup/credentials/nas",
        "known_hosts": "",
        "known_hosts_path": "/etc/sqlite-backup/known_hosts.d/nas",
        "programs": ["rsync", "ssh"],
    }
    assert plan({"name": "disk", "url": "file:///mnt/nas"})["programs"] == ["rsync"]
    assert plan(S3)["programs"] == ["rclone"]


def test_what_is_written_is_what_the_runner_understands(tmp_path: Path) -> None:
    """With texts in place of numbers and flags, as templates make them."""
    given = {
        **S3,
        "credentials": {"access_key_id": "AKID", "secret_access_key": SECRET},
        "options": {"region": "eu-central-1"},
        "retries": "5",
        "require_encryption": "no",
        "keep_daily": "7",
        "rpo": "4h",
        "bandwidth": "10M",
    }
    found = plan(given, config_dir=str(tmp_path))
    for path, content in (
        (found["config_path"], json.dumps(found["config"])),
        (found["credentials_path"], found["credentials"]),
    ):
        Path(path).parent.mkdir(mode=0o700)
        Path(path).write_text(content, encoding="utf-8")
        Path(path).chmod(0o600)

    loaded = target_config.load(tmp_path, "s3")

    assert (loaded.address.retries, loaded.address.require_encryption) == (5, False)
    assert loaded.policy is not None
    assert loaded.policy.keep_daily == 7
    environment = Rclone(loaded.address)._environment
    assert environment["RCLONE_CONFIG_TARGET_SECRET_ACCESS_KEY"] == SECRET
    assert SECRET not in json.dumps(found["config"])


def test_credentials_are_text_or_what_becomes_one() -> None:
    assert plan({**NAS, "credentials": "-----BEGIN KEY-----"})["credentials"] == "-----BEGIN KEY-----\n"
    account = plan({"name": "gcs", "url": "gs://backups", "credentials": {"type": "service_account"}})
    assert json.loads(account["credentials"]) == {"type": "service_account"}


def test_the_key_of_the_host_is_for_ssh_without_another() -> None:
    key = f"{CONFIG}/credentials/id_ed25519"
    assert plan(NAS, ssh_key="yes")["config"]["credentials_file"] == key
    assert plan({**NAS, "credentials_file": "/root/key"}, ssh_key=True)["config"]["credentials_file"] == "/root/key"
    assert plan({**NAS, "credentials": "k"}, ssh_key=True)["config"]["credentials_file"] == f"{CONFIG}/credentials/nas"
    assert "credentials_file" not in plan(S3, ssh_key=True)["config"]


def test_known_hosts_are_lines_to_the_role_and_a_file_to_the_runner() -> None:
    found = plan({**NAS, "known_hosts": [f"nas {KEY}", f"[nas]:2222 {KEY}"]})
    assert found["known_hosts"] == f"nas {KEY}\n[nas]:2222 {KEY}\n"
    assert found["config"]["known_hosts"] == f"{CONFIG}/known_hosts.d/nas"


@pytest.mark.parametrize(
    ("target", "part"),
    [
        (SECRET, "an item is not a dictionary"),
        ({"url": "s3://backups"}, "name is ''"),
        ({**S3, "name": "a/b"}, "name is 'a/b'"),
        ({**NAS, "name": "id_ed25519"}, "the key of this host"),
        ({"name": "nas"}, "url is missing"),
        ({**NAS, "url": f"ssh://a:{SECRET}@nas/"}, "a password in the URL"),
        ({**S3, "ulr": SECRET}, "there is no key ulr"),
        ({**S3, "retries": "many"}, "retries is 'many'"),
        ({**S3, "timeout": "1 hour"}, "must be a duration"),
        ({**S3, "options": {"secret_access_key": SECRET}}, "secret_access_key is secret"),
        ({**S3, "credentials": {"a": f"{SECRET}\n"}}, "a is empty, or has a control character"),
        ({**S3, "credentials": {f"{SECRET} ": "a"}}, "a name that is none of an option"),
        ({**S3, "credentials": [SECRET]}, "neither a text nor a dictionary"),
        ({**NAS, "credentials": {"key": SECRET}}, "Allowed is a text"),
        ({**S3, "credentials": SECRET, "credentials_file": "/root/s3"}, "both credentials and credentials_file"),
        ({**S3, "credentials_file": f"{CONFIG}/credentials/mine"}, "in a directory of the role"),
        ({**S3, "credentials_file": "relative"}, "credentials_file is 'relative'"),
        ({**S3, "known_hosts": [f"nas {KEY}"]}, "known_hosts is for ssh alone"),
        ({**NAS, "known_hosts": ["nas"]}, "has the line 'nas'"),
        ({**NAS, "known_hosts": [f"nas {KEY}\n* {KEY}"]}, "has the line"),
    ],
)
def test_what_the_role_refuses_is_told_without_what_is_secret(target: Any, part: str) -> None:
    (problem,) = offsite_problems([target], config_dir=CONFIG)

    assert problem.startswith("sqlite_offsite_targets: ")
    assert part in problem
    assert SECRET not in problem
    with pytest.raises(AnsibleFilterError, match="sqlite_offsite_targets") as caught:
        offsite_targets([target], config_dir=CONFIG)
    assert SECRET not in str(caught.value)


def test_each_name_once() -> None:
    assert "is that of two" in offsite_problems([NAS, S3, NAS], config_dir=CONFIG)[0]


def test_a_key_may_only_add_or_only_read() -> None:
    other = KEY.replace("OMqq", "OMqr")
    hosts = [
        {"name": "ci-1", "key": f" {KEY} root@ci-1\n"},
        {"name": "ci-1", "key": other, "read_only": "yes"},
        {"name": "ci-2", "state": "absent"},
    ]

    found = offsite_receivers(hosts, directory="/srv/copies/")

    add = "rrsync -wo -no-del -no-overwrite -no-lock /srv/copies/ci-1"
    assert [each.get("line") for each in found] == [
        f'restrict,command="{add}" {KEY} root@ci-1',
        f'restrict,command="rrsync -ro /srv/copies/ci-1" {other}',
        None,
    ]
    assert [each["path"] for each in found] == ["/srv/copies/ci-1", "/srv/copies/ci-1", "/srv/copies/ci-2"]
    (older,) = offsite_receivers(hosts[:1], directory="/srv/copies", overwrite="yes")
    assert 'command="rrsync -wo -no-del -no-lock /srv/copies/ci-1"' in older["line"]


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ({"name": "../ci-1", "key": KEY}, "name is '../ci-1'"),
        ({"name": "ci-1"}, "key is no public key"),
        ({"name": "ci-1", "key": f"{KEY}\n{KEY}"}, "key is no public key"),
        ({"name": "ci-1", "key": f'command="sh" {KEY}'}, "key is no public key"),
        ({"name": "ci-1", "key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "key is no public key"),
        ({"name": "ci-1", "key": KEY, "state": "gone"}, "state is 'gone'"),
        ({"name": "ci-1", "key": KEY, "read_only": "perhaps"}, "read_only is 'perhaps'"),
        ({"name": "ci-1", "key": KEY, "readonly": True}, "there is no key readonly"),
    ],
)
def test_what_a_receiver_refuses(host: dict[str, Any], part: str) -> None:
    (problem,) = offsite_problems([], config_dir=CONFIG, hosts=[host], directory="/srv/copies")
    assert part in problem


def test_a_key_that_stands_there_twice_and_a_directory_that_a_shell_takes_apart_are_refused() -> None:
    hosts = [{"name": "ci-1", "key": KEY}, {"name": "ci-2", "key": f"{KEY} other"}]
    assert "stands there twice" in offsite_problems([], config_dir=CONFIG, hosts=hosts, directory="/srv")[0]
    for directory in ("/srv/a b", '/srv/"', "srv", "/srv/$HOME"):
        (problem,) = offsite_problems([], config_dir=CONFIG, hosts=hosts[:1], directory=directory)
        assert problem.startswith("sqlite_offsite_receiver_dir is ")


def test_targets_of_a_windows_host() -> None:
    found = plan({**S3, "credentials": "a = b"}, config_dir="C:/sqlite/config", windows=True)

    assert found["config_path"] == r"C:\sqlite\config\targets.d\s3.json"
    assert found["config"]["credentials_file"] == found["credentials_path"] == r"C:\sqlite\config\credentials\s3"
    refused = {**S3, "credentials_file": r"C:\sqlite\config\credentials\mine"}
    (inside, rsync) = offsite_problems([refused, NAS], r"C:\sqlite\config", windows=True)
    assert "credentials_file is in a directory of the role" in inside
    assert rsync.startswith("sqlite_offsite_targets: nas: its url begins with ssh:, which is for rsync")
