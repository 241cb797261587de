# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backup a restore takes at three in the morning, and what it says when that is none to be trusted."""

from __future__ import annotations

import shlex
from datetime import datetime, timedelta

import pytest

from support import databases
from support.hosts import Host, Said

GOOD_NAMES = ["name 0", "name 1", "name 2"]


def corrupt(host: Host, moment: list[datetime]) -> str:
    """The suspect backup that the schedule makes of the database, which is corrupt from now on."""
    moment[0] += timedelta(hours=1)
    content = host.database().read_bytes()
    stamp = moment[0].strftime("%d%H%M%S").encode()
    host.database().write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096 - 8) // 2) + stamp)
    databases.settle(host.database())
    said = host.run("backup", "agent", "--json")
    assert said.code == 12
    return str(said.result["backup"]["id"])


def commands_in(said: Said) -> list[list[str]]:
    """The commands that the hint of a failure prints, as a shell takes them, without the name of the program."""
    lines = [each.partition(": ")[2] for each in said.err.splitlines() if each.startswith("  ") and ": " in each]
    return [words[1:] for words in map(shlex.split, lines) if words[0].endswith("sqlite-backup")]


@pytest.fixture
def corrupted(host: Host, moment: list[datetime]) -> Host:
    """A good backup, and two of the database since it is corrupt."""
    host.run("backup", "agent")
    corrupt(host, moment)
    corrupt(host, moment)
    return host


@pytest.mark.parametrize("words", [(), ("--force",), ("--before", "2025-12-30T13:30:00Z"), ("--backup", "latest")])
def test_newest_is_never_a_suspect_one(corrupted: Host, words: tuple[str, ...]) -> None:
    good, first, second = corrupted.ids()

    said = corrupted.run("restore", "agent", *words)

    assert said.code == 0
    assert databases.names(corrupted.database()) == GOOD_NAMES
    passed_over = first if "--before" in words else f"{first}, {second}"
    assert f"{good} is taken, since what is newer is a copy of a corrupt database: {passed_over}" in said.err


def test_suspect_backup_needs_its_id_and_force(corrupted: Host) -> None:
    suspect = corrupted.ids()[-1]
    content = corrupted.database().read_bytes()
    dest = corrupted.directory / "agent.db.look"

    refused = corrupted.run("restore", "agent", "--backup", suspect, "--dest", dest)

    assert refused.code == 18
    assert "it is a copy of a corrupt database" in refused.err
    tail = ["--dest", str(dest)]
    good, meant = commands_in(refused)
    config = ["--config", str(corrupted.config)]
    assert good == ["restore", "agent", *tail, "--backup", corrupted.ids()[0], *config]
    assert meant == ["restore", "agent", *tail, "--force", "--backup", suspect, *config]
    assert corrupted.run(*meant, "--force-identity").code == 0
    assert dest.read_bytes() == content


@pytest.mark.parametrize("words", [(), ("--force",), ("--before", "2025-12-30T13:30:00Z", "--force")])
def test_repository_of_nothing_but_suspect_backups_restores_nothing_by_itself(
    host: Host, moment: list[datetime], words: tuple[str, ...]
) -> None:
    suspect = corrupt(host, moment)
    content = host.database().read_bytes()

    said = host.run("restore", "agent", *words)

    assert said.code == 18
    assert "There is no other good backup in this repository." in said.err
    (command,) = commands_in(said)
    assert command[2:-2] == ["--dest", f"{host.database()}.suspect", "--force", "--backup", suspect]
    assert host.database().read_bytes() == content


def test_code_12_prints_the_whole_command(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    good = host.ids()[0]
    content = host.database().read_bytes()
    host.database().write_bytes(content[:4096] + b"\x00\xff" * ((len(content) - 4096) // 2))
    databases.settle(host.database())
    moment[0] += timedelta(hours=1)

    said = host.run("backup", "agent")

    assert said.code == 12
    (command,) = commands_in(said)
    assert command == ["restore", "agent", "--backup", good, "--config", str(host.config)]
    assert host.run(*command).code == 0
    assert databases.names(host.database()) == GOOD_NAMES


@pytest.mark.usefixtures("nothing_is_small")
def test_damaged_newest_backup_is_an_error_with_the_command_for_a_good_one(host: Host, moment: list[datetime]) -> None:
    host.add("agent", type="incremental")
    for hour in range(3):
        moment[0] += timedelta(hours=1)
        host.change(text=f"hour {hour}")
        host.run("backup", "agent", *(["--type", "full"] if hour == 1 else []))
    first, second, third = host.ids()
    (artifact,) = (host.repository() / second).glob("database.*")
    databases.flip_bit(artifact, artifact.stat().st_size // 2)
    host.database().unlink()

    said = host.run("restore", "agent")

    assert said.code == 13
    assert third.endswith("-incremental"), "it builds on the damaged one"
    assert f"The newest good backup is {first}" in said.err
    (command,) = commands_in(said)
    assert command[:4] == ["restore", "agent", "--backup", first]
    assert host.run(*command).code == 0
    assert databases.names(host.database())[-1] == "hour 0"


def test_damaged_manifest_is_an_error_with_the_command_for_a_good_one(host: Host, moment: list[datetime]) -> None:
    host.run("backup", "agent")
    moment[0] += timedelta(hours=1)
    host.change()
    host.run("backup", "agent")
    first, second = host.ids()
    (host.repository() / second / "manifest.json").write_text("{")

    said = host.run("restore", "agent")

    assert said.code == 13
    assert commands_in(said)[0][:4] == ["restore", "agent", "--backup", first]


@pytest.mark.parametrize("kept", [["--dry-run"], ["--check", "full"], ["--dry-run", "--check", "full"]])
def test_command_for_a_good_one_does_no_more_than_what_was_asked_for(
    host: Host, moment: list[datetime], kept: list[str]
) -> None:
    """Who only looked must not replace a database with what the hint says."""
    host.run("backup", "agent")
    host.change()
    moment[0] += timedelta(hours=1)
    host.run("backup", "agent", "--type", "full")
    (host.repository() / host.ids()[-1] / "manifest.json").write_text("{")

    (command,) = commands_in(host.run("restore", "agent", *kept))

    assert command[2 : 2 + len(kept)] == kept
    assert host.run(*command).code == 0
    assert ("changed" in databases.names(host.database())) == ("--dry-run" in kept)


def test_another_name_prints_the_command_for_who_means_it(host: Host) -> None:
    host.run("backup", "agent")
    dest = databases.make(host.directory / "its orders.db", rows=7)

    said = host.run("restore", "agent", "--dest", dest)

    assert said.code == 18
    (command,) = commands_in(said)
    assert command[:5] == ["restore", "agent", "--dest", str(dest), "--force-identity"]
    assert host.run(*command).code == 0


def test_verify_of_the_newest_looks_at_what_a_restore_would_take(corrupted: Host) -> None:
    good, first, second = corrupted.ids()

    said = corrupted.run("verify", "agent")

    assert said.code == 0
    assert f"{good} is taken, since what is newer is a copy of a corrupt database: {first}, {second}" in said.err
    assert corrupted.run("verify", "agent", "--backup", second).code == 13
    assert corrupted.run("verify", "agent", "--backup", "all").code == 13
    assert corrupted.run("status", "agent").code == 31


@pytest.mark.parametrize("words", [(), ("--backup", "all")])
def test_verify_of_a_damaged_backup_prints_the_command_for_a_good_one(
    host: Host, moment: list[datetime], words: tuple[str, ...]
) -> None:
    for hour in range(3):
        host.change(text=f"hour {hour}")
        moment[0] += timedelta(hours=1)
        assert host.run("backup", "agent", "--type", "full").code == 0
    for identity in host.ids()[1:]:
        artifact = next((host.repository() / identity).glob("database.*"))
        databases.flip_bit(artifact, artifact.stat().st_size // 2)

    said = host.run("verify", "agent", *words)

    assert said.code == 13
    if not words:
        # Nobody has looked at the one before yet.
        assert f"The newest good backup is {host.ids()[1]}." in said.err
        return
    assert f"The newest good backup is {host.ids()[0]}." in said.err
    assert "If the database is lost" in said.err
    (command,) = commands_in(said)
    host.database().unlink()
    assert host.run(*command).code == 0


def test_pin_of_the_newest_is_no_suspect_one(corrupted: Host) -> None:
    good, first, second = corrupted.ids()

    said = corrupted.run("pin", "agent", "--backup", "latest", "--json")

    assert said.result["pin"]["id"] == good
    assert said.result["warnings"] == [
        f"{good} is taken, since what is newer is a copy of a corrupt database: {first}, {second}"
    ]
