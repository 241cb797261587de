# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The guide to off-site copies: its targets are understood, and its way with restic and borg brings a database back."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import target_config
from support.guides import Block, Guide
from support.hosts import Host
from support.sites import Site

# It comes with ansible-core, which the oldest Pythons of hosts have not.
yaml: Any = pytest.importorskip("yaml", reason="PyYAML is not installed")
GUIDE = Guide(Path(__file__).resolve().parents[2] / "docs" / "offsite.md")
TARGETS = [
    target
    for block in GUIDE.blocks
    if block.language == "yaml" and "sqlite_offsite_targets" in block.text
    for target in yaml.safe_load(re.sub(r"{{.*?}}", "ci-1", block.text))["sqlite_offsite_targets"]
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target["url"].partition(":")[0])
def test_target_of_the_guide_is_understood(host: Host, target: dict[str, Any]) -> None:
    """As the role writes it: what is secret, and the known hosts, in files of their own."""
    given = dict(target)
    given.pop("name")
    if given.pop("credentials", None):
        given["credentials_file"] = "/etc/sqlite-backup/credentials/offsite"
    if given.pop("known_hosts", None):
        given["known_hosts"] = "/etc/sqlite-backup/known_hosts.d/offsite"
    host.add_target("offsite", **given)
    assert target_config.load(host.config, "offsite").address.url == target["url"].replace(
        "{{ inventory_hostname }}", "ci-1"
    )


def test_all_kinds_of_targets_are_in_the_guide() -> None:
    assert {each["url"].partition(":")[0] for each in TARGETS} == {"ssh", "file", "s3", "gs", "azblob", "rclone"}


@pytest.mark.parametrize("block", [each for each in GUIDE.blocks if each.language == "json"], ids=range(2))
def test_policy_of_the_guide_is_json(block: Block) -> None:
    assert json.loads(block.text)


def commands(program: str) -> list[str]:
    """What the guide says to run, each in one line."""
    found = [each for block in GUIDE.blocks if block.language == "shell" for each in block.commands]
    return [each for each in found if each.startswith(program)]


def run(words: list[str], place: Path) -> None:
    environment = {**os.environ, "RESTIC_REPOSITORY": str(place / "restic"), "RESTIC_PASSWORD": "test"}
    environment.update(BORG_REPO=str(place / "borg"), BORG_BASE_DIR=str(place), HOME=str(place))
    subprocess.run(words, env=environment, cwd=place / "new", check=True, capture_output=True, timeout=120)


@pytest.mark.thorough
@pytest.mark.parametrize("program", ["restic", "borg"])
def test_backup_service_takes_a_repository_and_gives_it_back(site: Site, tmp_path: Path, program: str) -> None:
    """Also beside a run that goes on: what has no name yet does not come along."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    site.stored()
    site.change()
    site.stored()
    live, ids = site.settled(), site.ids()
    begun = site.repository / ".staging-begun"
    begun.mkdir()
    (begun / "manifest.json").write_bytes(b"half of")
    (tmp_path / "new").mkdir()
    begin = ["restic", "init"] if program == "restic" else ["borg", "init", "--encryption=none"]
    run(begin, tmp_path)
    (command, *_back) = commands(program)
    run([each.replace("/var/backups/sqlite", str(site.repository)) for each in shlex.split(command)], tmp_path)
    shutil.rmtree(site.repository)
    if program == "restic":
        words = [*shlex.split(_back[0])]
        run([each.replace("/var/backups/sqlite", str(site.repository)) for each in words], tmp_path)
    else:
        listed = {"BORG_REPO": str(tmp_path / "borg"), "BORG_BASE_DIR": str(tmp_path)}
        names = subprocess.run(
            ["borg", "list", "--short"], env={**os.environ, **listed}, check=True, capture_output=True, text=True
        ).stdout.split()
        run(["borg", "extract", f"::{names[-1]}"], tmp_path)
        shutil.move(tmp_path / "new" / site.repository.relative_to("/"), site.repository)
    assert {each.name for each in site.repository.iterdir()} == {*ids, "repository.json", "history.jsonl"}
    assert site.restored() == live
    assert site.verified("full") == ("passed", 0)
    site.change()
    assert site.stored().type == "full"
    site.change()
    assert site.stored().type == "incremental"
