# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is configured for other users on a host is named, and left alone."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, config
from support import processes
from support.hosts import Host, Said


@pytest.fixture
def etc(host: Host, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory with the configuration of root, and with one for the user whose number is that of nobody."""
    monkeypatch.setattr(config, "SYSTEM", host.config.with_name("sqlite-backup"))
    monkeypatch.delenv("SQLITE_BACKUP_CONFIG", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    shutil.copytree(host.config, config.SYSTEM)
    return config.SYSTEM.parent


def add(etc: Path, name: str, *, database: str | None = "app") -> Path:
    """A configuration with one database, which nobody can use, as its rights say."""
    directory = etc / name
    (directory / "databases.d").mkdir(parents=True)
    if database:
        (directory / "databases.d" / f"{database}.json").write_text("{}", encoding="utf-8")
    if os.getuid() == 0:
        for each in (directory, *directory.rglob("*")):
            os.chown(each, processes.NOBODY, -1)
    return directory


def run(capfd: pytest.CaptureFixture[str], *words: str) -> Said:
    capfd.readouterr()
    code = cli.main(words)
    return Said(code, *capfd.readouterr())


@processes.needs_root
@pytest.mark.parametrize("command", ["status", "list", "doctor"])
def test_what_shows_names_it_beside_its_answer(etc: Path, capfd: pytest.CaptureFixture[str], command: str) -> None:
    other = add(etc, "sqlite-backup-app")
    cli.main(["backup", "agent"])

    said = run(capfd, command)

    line = f"Also configured: {other} (user nobody): sqlite-backup {command} --config {other}"
    assert said.err.splitlines().count(line) == 1
    assert "app.db" not in said.out
    document = json.loads(run(capfd, command, "--json").out)
    assert [each["name"] for each in document["results"]] == ["agent"]
    assert document["also_configured"] == [{"directory": str(other), "user": "nobody"}]


@pytest.mark.parametrize("words", [["status"], ["doctor"], ["backup", "--all"], ["status", "app"], ["restore", "app"]])
def test_where_nothing_is_found_it_is_a_part_of_the_hint(
    etc: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    other = add(etc, "sqlite-backup-app")
    shutil.rmtree(etc / "sqlite-backup")

    said = run(capfd, *words)

    assert said.code == 2
    assert f"Also configured: {other} (user " in said.err
    assert f"sqlite-backup {' '.join(words)} --config {other}" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["restore", "app", "--backup", "20251230T120000Z-full", "--dest", "/a b"],
            "restore app --backup 20251230T120000Z-full --dest '/a b' --config {other}",
        ),
        (
            ["guard", "app", "--reason", "a migration", "--", "rm", "-r", "x"],
            "guard app --reason 'a migration' --config {other} -- rm -r x",
        ),
    ],
)
def test_its_command_is_the_whole_command_that_was_given(
    etc: Path, capfd: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    """Without its options a restore would take another backup, or replace the database."""
    others = [add(etc, "sqlite-backup-app"), add(etc, "sqlite-backup-it's")]

    lines = run(capfd, *words).err.splitlines()

    commands = [line.partition("): ")[2] for line in lines if line.startswith("  Also configured: ")]
    assert commands == [f"sqlite-backup {told.format(other=shlex.quote(str(other)))}" for other in others]


@processes.needs_root
def test_programs_hear_of_it_where_nothing_else_is_configured(etc: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (etc / "sqlite-backup" / "databases.d" / "agent.json").unlink()
    other = add(etc, "sqlite-backup-app")
    document = json.loads(run(capfd, "status", "--json").out)
    assert (document["code"], document["results"]) == (2, [])
    assert document["also_configured"] == [{"directory": str(other), "user": "nobody"}]


@processes.needs_root
@pytest.mark.parametrize("words", [["status", "--quiet"], ["backup", "agent"]])
def test_what_is_silent_or_acts_does_not_speak_of_it(
    etc: Path, capfd: pytest.CaptureFixture[str], words: list[str]
) -> None:
    add(etc, "sqlite-backup-app")
    cli.main(["backup", "agent"])

    said = run(capfd, *words)

    assert said.code == 0
    assert "Also configured" not in said.out + said.err


def test_a_directory_that_was_chosen_is_the_only_one(
    etc: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(etc, "sqlite-backup-app")
    chosen = str(etc / "sqlite-backup")

    assert "Also configured" not in run(capfd, "list", "--config", chosen).err
    monkeypatch.setenv("SQLITE_BACKUP_CONFIG", chosen)
    assert json.loads(run(capfd, "status", "--json").out)["also_configured"] == []


def test_what_is_no_configuration_is_not_named(etc: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A directory that is empty, a link, a file, another name."""
    add(etc, "sqlite-backup-empty", database=None)
    add(etc, "sqlite-backups")
    (etc / "sqlite-backup-link").symlink_to(etc / "sqlite-backups")
    (etc / "sqlite-backup-file").touch()

    assert "Also configured" not in run(capfd, "status").err


def test_one_that_cannot_be_looked_into_is_named(etc: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = add(etc, "sqlite-backup-app", database=None)
    (other / "databases.d").rmdir()
    (other / "databases.d").touch()

    assert f"Also configured: {other}" in run(capfd, "status").err


@processes.needs_root
def test_another_user_hears_of_its_own_alone(
    etc: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own, other = add(etc, "sqlite-backup-app"), add(etc, "sqlite-backup-other")
    os.chown(other, 1, -1)
    monkeypatch.setattr(os, "geteuid", lambda: processes.NOBODY)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(etc / "home"))

    said = run(capfd, "status")

    assert said.code == 2
    assert f"Also configured: {own} (user nobody): sqlite-backup status --config {own}" in said.err
    assert str(other) not in said.err
