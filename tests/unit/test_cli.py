# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the runner: what it takes, what it prints where, and what it ends with."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, commands, config, console
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, prune
from support import databases, limits, processes
from support.hosts import Host, Said

pytestmark = pytest.mark.filterwarnings("error")

HOLD_REPOSITORY = """
import pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
repository = Repository.open_existing(pathlib.Path(sys.argv[1]))
with repository.locked(timeout_seconds=0):
    print("locked", flush=True)
    sys.stdin.read()
"""


class Log:
    """The system log: levels and lines as they come."""

    LOG_ERR, LOG_WARNING, LOG_INFO, LOG_PID, LOG_DAEMON = 3, 4, 6, 1, 24

    def __init__(self) -> None:
        self.lines: list[tuple[int, str]] = []
        self.opened: tuple[object, ...] = ()

    def openlog(self, *options: object) -> None:
        self.opened = options

    def syslog(self, level: int, line: str) -> None:
        line.encode()
        self.lines.append((level, line))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Log:
    made = Log()
    monkeypatch.setitem(sys.modules, "syslog", made)  # type: ignore[arg-type]
    return made


@contextlib.contextmanager
def locked(host: Host, name: str = "agent") -> Iterator[None]:
    with processes.running(HOLD_REPOSITORY, host.repository(name)):
        yield


# --- which databases -----------------------------------------------------------------------------------------------


def test_unknown_name_is_a_usage_error_that_names_the_nearest(host: Host) -> None:
    host.add("orders")

    said = host.run("backup", "agent", "ordrs")

    assert said.code == 2
    assert "No database 'ordrs' is configured in" in said.err
    assert "Did you mean orders? Configured: agent, orders." in said.err
    assert not host.repository().exists(), "nothing may be done when the order is not understood"


def test_a_name_that_is_like_no_other_gets_the_list(host: Host) -> None:
    said = host.run("status", "zzz")

    assert said.code == 2
    assert "Did you mean" not in said.err
    assert "Configured: agent." in said.err


def test_a_name_where_nothing_is_configured(host: Host) -> None:
    (host.config / "databases.d" / "agent.json").unlink()

    said = host.run("backup", "agent")

    assert said.code == 2
    assert "Nothing is configured there. Name another directory with --config" in said.err


@pytest.mark.parametrize("command", ["backup", "verify", "prune"])
def test_what_acts_must_be_told_on_what(host: Host, command: str) -> None:
    said = host.run(command)

    assert said.code == 2
    assert "Name one, or give --all: agent." in said.err
    assert host.run(command, "agent", "--all").code == 2


@pytest.mark.parametrize("command", ["list", "status", "doctor"])
def test_what_shows_shows_all_without_a_name(host: Host, command: str) -> None:
    host.add("orders")
    host.run("backup", "--all")

    assert [each["name"] for each in host.run(command, "--json").document["results"]] == ["agent", "orders"]


@pytest.mark.parametrize(
    "words",
    [
        ("restore", "agent", "orders"),
        ("restore",),
        ("restore", "--all"),
        ("pin", "agent", "orders", "--backup", "latest"),
        ("unpin", "--all", "--backup", "latest"),
    ],
)
def test_some_commands_are_of_one_database(host: Host, words: tuple[str, ...]) -> None:
    host.add("orders")

    assert host.run(*words).code == 2


@pytest.mark.parametrize("command", ["status", "backup"])
def test_nothing_configured_is_no_success(host: Host, command: str) -> None:
    shutil.rmtree(host.config)

    said = host.run(command, *(["--all"] if command == "backup" else []))

    assert said.code == 2
    assert "No database is configured in" in said.err


def test_each_name_counts_once_and_options_may_stand_between_them(host: Host) -> None:
    host.add("orders")

    said = host.run("backup", "orders", "--json", "agent", "--reason", "why", "orders")

    assert [each["name"] for each in said.document["results"]] == ["orders", "agent"]
    assert host.history()[-1]["reason"] == "why"


def test_common_options_stand_before_the_command_as_well(host: Host) -> None:
    code = cli.main(["--config", str(host.config), "--quiet", "backup", "agent"])

    assert code == 0
    assert host.ids()


def test_configuration_is_found_by_the_environment(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SQLITE_BACKUP_CONFIG", str(host.config))

    assert cli.main(["backup", "agent"]) == 0


# --- usage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "No command is given"),
        (["bakup"], "There is no command 'bakup'.\n  Did you mean backup?"),
        (["--quiet", "statsu", "agent"], "There is no command 'statsu'."),
        (["backup", "agent", "--pinnd"], "Did you mean --pinned?"),
        (["backup", "agent", "--pin"], "has no option --pin"),
        (["backup", "agent", "--type", "half"], "invalid choice: 'half'"),
        (["backup", "agent", "--reason"], "expected one argument"),
        (["guard", "agent", "--", "true"], "--reason"),
        (["guard", "agent", "--reason", "x"], "No command to guard is given"),
        (["guard", "--reason", "x", "--", "true"], "Name one: agent"),
        (["restore", "agent", "--undo", "--before", "2025-01-01"], "Cannot undo: a backup is chosen, too"),
        (["pin", "agent"], "--backup"),
        (["pin", "--backup", "latest"], "Name one: agent"),
        (["pin", "agent", "--backup", "latest", "--until", "noon"], "Cannot read the time 'noon'"),
        (
            ["pin", "agent", "--backup", "latest", "--until", "2020-01-01T00:00:00Z"],
            "2020-01-01T00:00:00Z is in the past",
        ),
        (["unpin", "agent", "--backup", "latest", "--until", "2100-01-01"], "has no option --until"),
        (["restore", "agent", "--before", "noon"], "Cannot read the time 'noon'"),
    ],
)
def test_usage_error_is_code_2_with_a_hint(host: Host, words: list[str], told: str) -> None:
    host.run("backup", "agent")

    said = host.run(*words)

    assert said.code == 2
    assert told in said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) >= 2


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["guard", "--help"]])
def test_help_and_version_are_no_errors(host: Host, words: list[str]) -> None:
    said = host.run(*words) if words[0] == "guard" else Said(cli.main(words), *host._capture.readouterr())

    assert said.code == 0
    assert "sqlite-backup" in said.out


@pytest.mark.parametrize("words", [["bakup"], ["backup", "agnt"], ["backup", "agent", "--pinnd"], []])
def test_usage_error_is_one_document_too(host: Host, words: list[str]) -> None:
    said = host.run(*words, "--json")

    assert said.err == ""
    assert said.document["code"] == said.code == 2
    assert said.document["error"]["class"] == "UsageError"
    assert said.document["results"] == []


# --- several databases ---------------------------------------------------------------------------------------------


def test_every_database_has_its_turn_and_the_first_failure_counts(host: Host) -> None:
    """Case 15: the repository of one is locked, another has no source, a third is fine."""
    host.add("aaa", make=False)
    host.add("orders")
    host.run("backup", "agent", "orders")
    host.change("orders")

    with locked(host):
        said = host.run("backup", "agent", "aaa", "orders", "--json")

    results = said.document["results"]
    assert said.code == said.document["code"] == 15
    assert [each["error"] and each["error"]["code"] for each in results] == [15, 10, None]
    assert results[0]["error"]["class"] == "RepositoryLockedError"
    assert f"process {os.getpid()}" not in results[0]["error"]["message"]
    assert "is locked by process" in results[0]["error"]["message"]
    assert len(host.ids("orders")) == 2 or results[2]["pruned"]["removed"]


@pytest.mark.parametrize("command", ["backup", "verify", "prune", "list", "status", "doctor"])
def test_a_broken_file_of_one_does_not_stop_the_others(host: Host, command: str) -> None:
    host.run("backup", "agent")
    host.configure("aaa", "{")
    host.configure("bad.name", {})
    host.change()

    said = host.run(command, "--json", *(["--all"] if command not in ("list", "status", "doctor") else []))

    codes = {each["name"]: each["error"] and each["error"]["code"] for each in said.document["results"]}
    assert codes == {"aaa": 2, "agent": None, "bad.name": 2}
    assert said.code == 2


def test_two_runs_at_once(host: Host) -> None:
    """Case 15: the second waits as long as it may, and then says who holds the repository."""
    host.run("backup", "agent")
    host.change()
    with locked(host):
        said = host.run_apart("backup", "agent")

    assert said.code == 15
    assert "agent: error 15: Cannot back up" in said.err
    assert "raise lock_timeout" in said.err
    assert host.run_apart("backup", "agent").code == 0


# --- what is printed where -----------------------------------------------------------------------------------------


def test_results_go_to_standard_output_and_failures_to_standard_error(host: Host) -> None:
    host.add("gone", make=False)

    said = host.run("backup", "--all")

    assert said.out.startswith("agent: stored ")
    assert len(said.out.splitlines()) == 1
    assert said.err.startswith("gone: error 10: Cannot back up")
    assert said.code == 10


def test_quiet_success_prints_nothing_at_all(host: Host) -> None:
    for words in (("backup", "agent"), ("list",), ("status",), ("prune", "agent"), ("verify", "agent"), ("doctor",)):
        assert host.run(*words, "--quiet") == Said(0, "", "")


def test_quiet_failure_is_told(host: Host) -> None:
    host.database().unlink()

    said = host.run("backup", "agent", "--quiet")

    assert said.out == ""
    assert "error 10" in said.err


def test_json_is_one_document_and_nothing_else(host: Host) -> None:
    said = host.run("backup", "agent", "--json")

    assert said.err == ""
    assert said.document["command"] == "backup"
    assert (said.document["code"], said.document["error"]) == (0, None)
    result = said.result
    assert (result["name"], result["error"], result["warnings"]) == ("agent", None, [])
    assert result["backup"]["id"] == host.ids()[0]


def test_json_of_a_failure_says_all(host: Host) -> None:
    host.database().unlink()

    said = host.run("backup", "agent", "--json")

    assert said.err == ""
    assert said.result["error"] == {
        "code": 10,
        "class": "SourceMissingError",
        "message": f"Cannot back up {host.database()}: the file does not exist.",
        "hint": said.result["error"]["hint"],
    }
    assert said.result["error"]["hint"]


def test_whoever_stops_reading_does_not_stop_the_work(host: Host) -> None:
    host.add("orders")
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(host.command("backup", "--all"), stdout=writer, stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        _out, err = process.communicate(timeout=120)

    assert (process.returncode, err) == (0, "")
    assert host.ids()
    assert host.ids("orders")


def test_closed_standard_output_does_not_stop_the_work(host: Host) -> None:
    command = ["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *host.command("backup", "agent")]

    assert subprocess.run(command, check=False, timeout=120).returncode == 0
    assert host.ids()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_an_answer_that_cannot_be_written_is_a_failure(host: Host) -> None:
    """A document that a program waits for must not be missing without a word."""
    command = ["sh", "-c", 'exec "$@" >/dev/full', "sh", *host.command("backup", "agent", "--json")]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)

    assert done.returncode == 1
    assert "The answer could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert host.ids()


@pytest.mark.parametrize("name", databases.ODD_NAMES)
@pytest.mark.parametrize("flags", [[], ["--json"], ["--syslog"]])
def test_odd_paths(host: Host, log: Log, name: str, flags: list[str]) -> None:
    """Case 18: whatever is in a path, it is backed up and restored, and a line stays a line."""
    odd = host.directory / name
    odd.mkdir()
    path = host.add("odd", path=odd / f"{name}.db", repository=str(odd / f"{name} backups"))
    content = path.read_bytes()

    assert host.run("backup", "odd", *flags).code == 0
    path.unlink()
    said = host.run("restore", "odd", *flags)
    assert said.code == 0
    if not flags:
        assert len(said.out.splitlines()) == 1
    assert path.read_bytes() == content
    for command in ("list", "status", "verify", "doctor"):
        assert host.run(command, "odd", *flags).code == 0
    path.unlink()
    path.mkdir()
    said = host.run("backup", "odd", *flags)
    assert said.code == 10
    assert len(said.err.splitlines()) == (0 if flags == ["--json"] else 2)
    assert all(line.isprintable() for _level, line in log.lines)


@pytest.mark.thorough
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_of_an_old_encoding_is_no_reason_to_fail(host: Host, encoding: str) -> None:
    path = host.add("odd", path=host.directory / "数据 database.db")
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}
    assert host.run_apart("backup", "odd", env=environment).code == 0
    listed = host.run_apart("list", "odd", env=environment)
    assert listed.code == 0
    assert "\\u6570" in listed.out
    path.unlink()

    said = host.run_apart("backup", "odd", env=environment)

    assert said.code == 10
    assert "\\u6570" in said.err


# --- progress ------------------------------------------------------------------------------------------------------


def test_progress_is_shown_on_a_terminal_and_cleared(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_is_terminal", lambda stream: stream is sys.stderr)
    monkeypatch.setattr(console, "_PROGRESS_SECONDS", 0.0)

    said = host.run("backup", "agent")

    assert "\r\x1b[Kagent: backup 100 %" in said.err
    assert said.err.endswith("\r\x1b[K")
    assert "%" not in said.out
    host.change()
    host.run("backup", "agent", "--no-prune")
    shown = host.run("verify", "agent", "--backup", "all", "--level", "full").err
    # Of two backups, each is a half.
    assert re.findall(r"agent: verify (50|100) %", shown) == ["50", "100"]
    host.change()
    assert "\r\x1b[Kagent: restore 100 %" in host.run("restore", "agent").err
    host.change()
    assert host.run("backup", "agent", "--json").err == ""
    host.change()
    assert host.run("backup", "agent", "--quiet").err == ""


# --- the system log ------------------------------------------------------------------------------------------------


def test_log_gets_a_line_a_database_and_cron_has_nothing_to_mail(host: Host, log: Log) -> None:
    host.add("orders")

    said = host.run("backup", "--all", "--syslog")

    assert said == Said(0, "", "")
    assert log.opened[0] == "sqlite-backup"
    assert [level for level, _line in log.lines] == [log.LOG_INFO] * 2
    assert log.lines[0][1].startswith(f"backup agent: stored {host.ids()[0]}")


def test_log_has_the_exit_code_of_a_failure_and_cron_mails_it(host: Host, log: Log) -> None:
    host.database().unlink()

    said = host.run("backup", "agent", "--syslog")

    assert said.out == ""
    assert "error 10" in said.err
    ((level, line),) = log.lines
    assert level == log.LOG_ERR
    assert line.startswith("backup agent failed, exit code 10: Cannot back up ")


def test_log_gets_usage_errors(host: Host, log: Log) -> None:
    assert host.run("backup", "agnt", "--syslog").code == 2

    ((level, line),) = log.lines
    assert level == log.LOG_ERR
    assert line.startswith("backup failed, exit code 2: No database 'agnt'")


def test_warnings_go_to_the_log_and_to_standard_error(host: Host, log: Log) -> None:
    identity = host.directory / "identity"
    identity.touch(mode=0o644)
    host.add("agent", identity_file=str(identity))
    host.run("backup", "agent")

    said = host.run("verify", "agent")
    assert said.code == 0
    told = f"agent: warning: The identity_file {identity} can be read by others (mode 0644): give it the mode 0600."
    assert said.err.splitlines() == [told]
    assert host.run("verify", "agent", "--syslog") == Said(0, "", "")
    ((level, line),) = log.lines
    assert level == log.LOG_WARNING
    assert line.startswith("verify agent: passed; warning: The identity_file ")


def test_on_a_terminal_the_log_changes_nothing(host: Host, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_is_terminal", lambda _stream: True)

    assert "agent: stored" in host.run("backup", "agent", "--syslog").out


def test_without_a_system_log_it_cannot_be_asked_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "syslog", None)

    said = host.run("backup", "agent", "--syslog")

    assert said.code == 2
    assert "There is no system log on this platform" in said.err
    assert not host.repository().exists()


# --- when something is wrong with the runner itself ----------------------------------------------------------------


def boom(*_arguments: object, **_options: object) -> Any:
    raise KeyError("surprise")


def test_unexpected_failure_is_code_1_without_a_traceback(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "run", boom)
    host.add("orders")

    said = host.run("backup", "--all")

    assert [line.split(":")[0] for line in said.err.splitlines()[::2]] == ["agent", "orders"]
    assert said.code == 1
    assert "An unexpected failure: KeyError: 'surprise' (test_cli.py, line " in said.err
    assert "Traceback" not in said.err


def test_unexpected_failure_outside_of_a_database_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "names", boom)

    said = host.run("backup", "agent", "--json")

    assert said.code == said.document["code"] == 1
    assert said.document["command"] == "backup"
    assert said.err == ""


def test_missing_rights_are_told_as_such(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: object) -> Any:
        raise PermissionError(13, "Permission denied", "/etc/sqlite-backup/databases.d")

    monkeypatch.setattr(os, "listdir", refused)

    assert host.run("status").code == 20


# --- interrupted ---------------------------------------------------------------------------------------------------


def test_interrupt_stops_everything_and_reports_what_was_done(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.add("bbb")
    host.add("ccc")
    real = commands.back_up

    def interrupted(settings: Any, *arguments: Any, **options: Any) -> Any:
        if settings.name == "bbb":
            os.kill(os.getpid(), signal.SIGTERM)
        return real(settings, *arguments, **options)

    monkeypatch.setattr(commands, "back_up", interrupted)
    before = signal.getsignal(signal.SIGTERM)

    said = host.run("backup", "--all", "--json")

    assert said.code == said.document["code"] == 130
    assert [each["error"] and each["error"]["code"] for each in said.document["results"]] == [None, 130]
    assert not host.repository("ccc").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_interrupt_while_pruning_does_not_hide_the_backup(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: object, **_options: object) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(prune, "run", interrupted)

    said = host.run("backup", "agent", "--json")

    assert said.code == 130
    assert said.result["backup"]["id"] == host.ids()[0]


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_during_a_backup_leaves_nothing_half_made(host: Host, name: str) -> None:
    """A real process in the middle of a copy; twice, as timeout(1) and some service managers send it."""
    host.add("large", path=_large(host.directory / "large.db"), compression="xz", compression_level=9)
    host.add("other")
    with subprocess.Popen(
        host.command("backup", "large", "other"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        _wait_for_staging(host.repository("large"))
        process.send_signal(getattr(signal, name))
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=120)

    assert (process.returncode, out) == (130, "")
    assert err.startswith("large: error 130: Interrupted.")
    assert "Traceback" not in err
    assert not list(host.repository("large").glob(".staging*"))
    assert not host.ids("large")
    assert not host.repository("other").exists()
    assert host.run("backup", "other").code == 0


def test_a_second_signal_does_not_break_the_cleaning_up() -> None:
    cleaned = False
    with pytest.raises(KeyboardInterrupt), cli._interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
            cleaned = True
    assert cleaned


def test_a_later_signal_ends_a_cleaning_up_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "_CLEANING_SECONDS", -1.0)
    cleaned = False
    with pytest.raises(KeyboardInterrupt), cli._interruptible():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0)
            cleaned = True
    assert not cleaned


def test_what_ignores_a_signal_goes_on_ignoring_it(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """As nohup(1) wants it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        real = commands.back_up

        def hung_up(*arguments: Any, **options: Any) -> Any:
            os.kill(os.getpid(), signal.SIGHUP)
            return real(*arguments, **options)

        monkeypatch.setattr(commands, "back_up", hung_up)
        assert host.run("backup", "agent").code == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def _large(path: Path) -> Path:
    """So large that xz needs seconds for it."""
    databases.make(path)
    with contextlib.closing(databases.open_writer(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("CREATE TABLE noise(data)")
        fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000) "
        connection.execute(fill + "INSERT INTO noise SELECT hex(randomblob(2000)) FROM n")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    databases.settle(path)
    return path


def _wait_for_staging(repository: Path) -> None:
    end = time.monotonic() + 60
    while not any(each.is_file() and each.stat().st_size for each in repository.glob(".staging*/**/*")):
        assert time.monotonic() < end, "the backup never began"
        time.sleep(0.02)


# --- other users ---------------------------------------------------------------------------------------------------


@pytest.mark.root
@processes.needs_root
def test_source_of_another_user(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Case 17: root backs it up, its owner can go on writing, and it comes back as theirs; others may do nothing."""
    monkeypatch.delenv("SQLITE_BACKUP_CONFIG", raising=False)
    with processes.open_directory() as directory:
        home = directory / "home"
        home.mkdir()
        owner = processes.NOBODY - 1
        host = Host(directory, capfd, bare=True)
        path = host.add("agent", path=databases.make(home / "agent.db"))
        path.chmod(0o600)
        for each in (home, path):
            os.chown(each, owner, owner)

        assert host.run("backup", "agent").code == 0
        assert {each.name for each in home.iterdir()} == {"agent.db"}
        path.unlink()
        assert host.run("restore", "agent").code == 0
        status = path.stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (owner, owner, 0o600)

        host.config.chmod(0o755)
        with limits.unprivileged():
            said = host.run("list")
        assert (said.code, said.out) == (20, "")
        assert "error 20: Cannot list" in said.err
        for each in (host.config / "databases.d", *host.config.glob("databases.d/*")):
            each.chmod(each.stat().st_mode | 0o055)
        for command in (("backup", "agent"), ("list",), ("status",), ("verify", "agent"), ("prune", "agent")):
            with limits.unprivileged():
                said = host.run(*command)
            assert (said.code, said.out if command != ("status",) else "") == (20, ""), said
            assert "Traceback" not in said.err


def test_lines_stay_together_with_many_databases(host: Host) -> None:
    """Twenty at once: every one is there, in the order of the names."""
    names = [f"db{number:02d}" for number in range(20)]
    for name in names:
        host.add(name)

    said = host.run("backup", "--all")

    assert [line.split(":")[0] for line in said.out.splitlines()] == ["agent", *names]
    assert all(Repository.exists(host.repository(name)) for name in names)
    table = host.run("status").out.splitlines()
    assert len(table) == 22
    assert json.loads(host.run("status", "--json").out)["code"] == 0


def test_runner_without_a_file_of_its_own_is_named_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = SimpleNamespace(config=None)
    monkeypatch.delenv("SQLITE_BACKUP_CONFIG", raising=False)
    monkeypatch.setattr(sys, "argv", ["-c"])

    assert cli._command(arguments, "list") == ["sqlite-backup", "list"]  # type: ignore[arg-type]
