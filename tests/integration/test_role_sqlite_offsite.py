# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role sqlite_offsite in a home of the test; Molecule has hosts of its own, with a receiver."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from integration import harness
from integration.harness import Run
from integration.place import everything, modes

SECRET = "never-to-be-shown"
KNOWN = "nas ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"
TARGETS = [
    {"name": "nas", "url": "ssh://sqlite-backup@nas/", "known_hosts": [KNOWN]},
    {"name": "s3", "url": "s3://backups/ci-1", "credentials": {"access_key_id": "AKID", "secret_access_key": SECRET}},
]


class Home:
    """The home of a developer."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "home"
        self.path.mkdir()
        self.configuration = self.path / ".config" / "sqlite-backup"
        self._folder = directory / "ansible"

    def apply(self, targets: list[dict[str, Any]], *flags: str, **more: Any) -> Run:
        variables = {
            "sqlite_offsite_scope": "user",
            "sqlite_offsite_ssh_key": True,
            "sqlite_offsite_targets": targets,
            **more,
        }
        self._folder.mkdir(exist_ok=True)
        play = {"hosts": "localhost", "gather_facts": False, "roles": [f"{harness.NAMESPACE}.sqlite_offsite"]}
        playbook = self._folder / "playbook.json"
        playbook.write_text(json.dumps([play]), encoding="utf-8")
        run = harness.run_playbook(self._folder, str(playbook), variables, "-vvv", *flags)
        assert SECRET not in run.output
        return run

    def files(self) -> set[str]:
        found = (each for each in self.configuration.rglob("*") if each.is_file())
        return {each.relative_to(self.configuration).as_posix() for each in found}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    found = Home(tmp_path)
    monkeypatch.setenv("HOME", str(found.path))
    return found


def changed(run: Run) -> list[bool]:
    assert run.code == 0, run.output
    return [True for each in run.results if each.get("changed")]


def test_check_run_run_change(home: Home) -> None:
    untouched = everything(home.path)
    check = home.apply(TARGETS, "--check", "--diff")

    assert everything(home.path) == untouched
    first = home.apply(TARGETS, "--diff")
    assert len(changed(check)) == len(changed(first)) == 5
    names = {"targets.d/nas.json", "targets.d/s3.json", "credentials/s3", "known_hosts.d/nas"}
    keys = {"credentials/id_ed25519", "credentials/id_ed25519.pub"}
    assert home.files() == names | keys
    assert (home.configuration / "credentials" / "s3").read_text() == (
        f"access_key_id = AKID\nsecret_access_key = {SECRET}\n"
    )
    key = home.configuration / "credentials" / "id_ed25519"
    assert json.loads((home.configuration / "targets.d" / "nas.json").read_text())["credentials_file"] == str(key)
    public = key.with_name("id_ed25519.pub")
    assert public.read_text().split()[1] in first.output
    public.unlink()
    assert modes(home.configuration) == {"file": {"0600"}, "directory": {"0700"}}

    before = everything(home.path)
    assert changed(home.apply(TARGETS)) == []
    assert everything(home.path) == before


@pytest.mark.thorough
def test_only_what_the_role_wrote_itself_is_removed(home: Home) -> None:
    changed(home.apply(TARGETS))
    mine = home.configuration / "targets.d" / "mine.json"
    mine.write_text('{"url": "s3://mine"}', encoding="utf-8")
    (home.configuration / "credentials" / "mine").write_text("a = b", encoding="utf-8")
    before = home.files()

    told = home.apply(TARGETS[:1])
    assert changed(told) == []
    assert "s3: configured in" in told.output
    assert home.files() == before

    assert changed(home.apply(TARGETS[:1], "--check", sqlite_offsite_unlisted="remove")) == [True]
    assert home.files() == before
    assert changed(home.apply(TARGETS[:1], sqlite_offsite_unlisted="remove")) == [True]
    assert home.files() == before - {"targets.d/s3.json", "credentials/s3"}

    # A target that is still one, but needs no file any more.
    changed(home.apply([{**TARGETS[0], "known_hosts": []}]))
    assert "known_hosts.d/nas" not in home.files()


def test_what_is_wrong_is_told_before_anything_is_changed(home: Home) -> None:
    untouched = everything(home.path)
    run = home.apply([*TARGETS, {"name": "gcs", "url": "gs://"}])

    assert run.code != 0
    assert "sqlite_offsite_targets: gcs: " in run.output
    assert everything(home.path) == untouched
