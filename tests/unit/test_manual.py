# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the runner tells of itself on a host without the documentation."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, grammar, manual, vocabulary
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import errors
from support.hosts import Host

COMMANDS = sorted(vocabulary.COMMANDS)
ROOT = Path(__file__).resolve().parents[2]


def told(capfd: pytest.CaptureFixture[str], *words: str) -> str:
    """What the runner prints, where nothing is configured."""
    capfd.readouterr()
    assert cli.main(list(words)) == 0
    out, err = capfd.readouterr()
    assert not err
    return out


@pytest.mark.parametrize("topic", ["", *manual.TOPICS, *COMMANDS])
def test_every_topic_is_printed_also_where_nothing_is_configured(capfd: pytest.CaptureFixture[str], topic: str) -> None:
    assert len(told(capfd, "help", *filter(None, [topic])).splitlines()) > 8


def test_exit_codes_are_those_of_the_engine(capfd: pytest.CaptureFixture[str]) -> None:
    lines = told(capfd, "help", "exit-codes").splitlines()

    assert [int(line.split()[0]) for line in lines[1:]] == list(errors.EXIT_CODES)
    for line, (what, advice) in zip(lines[1:], errors.EXIT_CODES.values()):
        assert line.split(maxsplit=1)[1].startswith(what)
        assert line.endswith(advice)


@pytest.mark.parametrize(("words", "known"), [(["help", "exit"], "exit-codes"), (["help", "backup", "list"], "--help")])
def test_what_there_is_no_help_on(capfd: pytest.CaptureFixture[str], words: list[str], known: str) -> None:
    assert cli.main(words) == 2
    assert known in capfd.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_the_same_both_ways_and_every_line_fits(capfd: pytest.CaptureFixture[str], command: str) -> None:
    text = told(capfd, "help", command)

    assert text == told(capfd, command, "--help")
    assert "examples:\n  sqlite-backup " in text
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_are_understood(command: str) -> None:
    for example in vocabulary.COMMANDS[command].examples:
        arguments = grammar.parse(shlex.split(example))
        assert arguments.command_name == command


@pytest.mark.parametrize(
    ("command", "names"),
    [("backup", "NAME…|--all"), ("list", "[NAME…]"), ("restore", "NAME"), ("pin", "NAME"), ("verify", "NAME…|--all")],
)
def test_usage_says_how_many_databases(capfd: pytest.CaptureFixture[str], command: str, names: str) -> None:
    assert told(capfd, "help", command).startswith(f"usage: sqlite-backup {command} {names} [options]\n")


def test_restore_says_first_to_stop_the_application_and_what_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    text = told(capfd, "help", "restore")

    assert text.index("Stop the application first") < text.index("options:" if "options:" in text else "optional")
    assert "before-restore" in text
    assert "--undo brings it back" in text


def test_manual_page_has_every_option_and_no_request_that_is_none(capfd: pytest.CaptureFixture[str]) -> None:
    page = told(capfd, "help", "man")
    plain = page.replace("\\-", "-")

    for command in COMMANDS:
        section = plain.partition(f".SH COMMAND {command.upper()}\n")[2].partition("\n.SH ")[0]
        for option in grammar.parse([*shlex.split(vocabulary.COMMANDS[command].examples[0])]).options:
            assert re.search(rf"^\.B .*{option}\b", section, re.MULTILINE), (command, option)
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests == {".TH", ".SH", ".PP", ".TP", ".B", ".I", ".br", ".nf", ".fi"}
    assert page.isascii()


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed here")
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["sqlite-backup", "re"], {"restore"}),
        (["sqlite-backup", "help", "exi"], {"exit-codes"}),
        (["sqlite-backup", "restore", "ag"], {"agent"}),
        (["sqlite-backup", "restore", "agent", "--un"], {"--undo"}),
        (["sqlite-backup", "backup", "agent", "--force"], {"--force", "--force-identity"}),
        (["sqlite-backup", "--ver"], {"--version"}),
        (["sqlite-backup", "--json", "sta"], {"status"}),
        (["sqlite-backup", "--config", "/nowhere", "restore", ""], set()),
        (["sqlite-backup", "backup", "agent", "--type", ""], {"auto", "full", "incremental"}),
        (["sqlite-backup", "backup", "agent", "--type", "x"], set()),
        (["sqlite-backup", "restore", "agent", "--dest", ""], set()),
        (["sqlite-backup", "guard", "agent", "--reason", "x", "--", "npx", "-"], set()),
    ],
)
def test_bash_completes(capfd: pytest.CaptureFixture[str], host: Host, words: list[str], found: set[str]) -> None:
    host.add("orders", make=False)
    script = told(capfd, "help", "completion-bash")
    quoted = " ".join(map(shlex.quote, words))
    script += (
        f"\nCOMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _sqlite_backup; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )

    done = subprocess.run(
        ["bash", "-u", "-c", script],
        cwd=host.directory,
        env={"SQLITE_BACKUP_CONFIG": str(host.config)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert set(done.stdout.split()) == found
    assert not done.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not installed here")
@pytest.mark.parametrize("user", ["home", "xdg"])
def test_bash_completes_the_databases_of_a_user(capfd: pytest.CaptureFixture[str], host: Host, user: str) -> None:
    """Who is not root has a configuration of its own; without any, nothing is made up."""
    script = told(capfd, "help", "completion-bash").replace("$EUID", "1000")
    script += "\nCOMP_WORDS=(sqlite-backup restore ''); COMP_CWORD=2; _sqlite_backup; echo \"${COMPREPLY[*]}\""
    base = host.directory / (".config" if user == "home" else "xdg")
    base.mkdir()
    environment = {"HOME" if user == "home" else "XDG_CONFIG_HOME": str(base.parent if user == "home" else base)}

    found = []
    for _configured in (False, True):
        done = subprocess.run(
            ["bash", "-u", "-c", script],
            cwd=host.directory,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        found.append(done.stdout.split())
        if host.config.exists():
            host.config.rename(base / "sqlite-backup")

    assert found == [[], ["agent"]]


@pytest.mark.skipif(not shutil.which("groff"), reason="groff is not installed here")
def test_manual_page_is_one_for_groff(capfd: pytest.CaptureFixture[str]) -> None:
    page = told(capfd, "help", "man")

    done = subprocess.run(
        ["groff", "-man", "-Tascii", "-P-cbou", "-ww"], input=page, capture_output=True, text=True, check=True
    )

    assert not done.stderr
    assert "--restore-on-failure" in done.stdout


def test_commands_at_a_glance_are_all_there() -> None:
    """The first lines of the documentation must not leave one out."""
    glance = (ROOT / "docs" / "runner.md").read_text(encoding="utf-8").partition("## At a glance")[2].split("```")[1]

    assert re.findall(r"^sqlite-backup ([\w-]+)", glance, re.MULTILINE) == [*vocabulary.COMMANDS, grammar.HELP]
    for name in COMMANDS:
        block = glance.partition(f"sqlite-backup {name} ")[2].partition("\nsqlite-backup ")[0]
        common = {"-h", "--help", "--all", "--config", "--json", "--quiet", "--syslog"}
        options = set(grammar.parse(shlex.split(vocabulary.COMMANDS[name].examples[0])).options) - common
        assert set(re.findall(r"--[a-z-]+", block)) - {"--all", "--"} == options, name
