# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A guarded command runs only behind a pinned backup, and its failure comes with the way back."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import guard
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import NoSpaceError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup
from support import databases, processes
from support.hosts import Host, Said

OLD = ["name 0", "name 1", "name 2"]
# A migration in a language of its own: commits something, then ends as it is told.
MIGRATION = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("INSERT INTO item(name) VALUES ('half migrated')")
connection.close()
sys.exit(int(sys.argv[2]))
"""
SLOW = """
import pathlib, signal, sys, time
def end(number, frame):
    print("got", signal.Signals(number).name, flush=True)
    sys.exit(7)
for name in ("SIGTERM", "SIGINT", "SIGHUP"):
    signal.signal(getattr(signal, name), end)
pathlib.Path(sys.argv[1]).touch()
time.sleep(60)
"""


def guarded(host: Host, *command: object, options: tuple[str, ...] = ()) -> Said:
    return host.run("guard", "agent", "--reason", "migration 42", *options, "--", *command)


def migration(host: Host, code: int) -> list[str]:
    return [sys.executable, "-c", MIGRATION, str(host.database()), str(code)]


def go_back_in(said: Said) -> str:
    """The command that is printed for the way back."""
    (line,) = [each for each in said.err.splitlines() if " restore agent " in each]
    return line[line.index("then: ") + len("then: ") :]


def test_success_says_which_backup_protects(host: Host) -> None:
    said = guarded(host, *migration(host, 0))

    assert said.code == 0
    (made,) = host.ids()
    assert f"agent: protected by the pinned backup {made}; now running" in said.err
    assert f"agent: the command succeeded; the pinned backup {made} stays" in said.err
    assert said.out == "", "standard output is that of the command"
    event = host.history()[-1]
    assert (event["event"], event["reason"]) == ("backup", "migration 42")
    assert host.run("list", "--json").result["repository"]["backups"][0]["pinned"]


def test_the_command_has_the_terminal(host: Host) -> None:
    said = guarded(host, "sh", "-c", "echo to out; echo to err >&2")

    assert said.out == "to out\n"
    assert "to err\n" in said.err


def test_the_command_reads_standard_input(host: Host) -> None:
    said = host.run_apart("guard", "agent", "--reason", "x", "--", "cat", input="typed")

    assert (said.code, said.out) == (0, "typed")


def test_an_equal_backup_that_is_not_pinned_does_not_suffice(host: Host) -> None:
    host.run("backup", "agent")

    assert guarded(host, "true").code == 0
    assert len(host.ids()) == 2
    assert guarded(host, "true").code == 0
    assert len(host.ids()) == 2, "an equal pinned one does"


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_failure_says_how_to_go_back_and_that_works(host: Host, flags: tuple[str, ...]) -> None:
    said = guarded(host, *migration(host, 3), options=flags)

    assert said.code == 3
    assert databases.names(host.database()) == [*OLD, "half migrated"]
    if flags:
        command = said.result["go_back"]
        assert (said.result["error"]["code"], said.result["exit_code"]) == (3, 3)
    else:
        command = go_back_in(said)
        assert "failed with exit code 3; agent is as it left it." in said.err
    words = shlex.split(command)
    assert words == ["sqlite-backup", "restore", "agent", "--config", str(host.config), "--backup", host.ids()[0]]
    databases.settle(host.database())
    assert host.run(*words[1:3], *words[5:]).code == 0
    assert databases.names(host.database()) == OLD


def test_restore_on_failure_puts_the_database_back(host: Host) -> None:
    said = guarded(host, *migration(host, 3), options=("--restore-on-failure",))

    assert said.code == 3
    assert databases.names(host.database()) == OLD
    (undo_set,) = host.directory.glob("agent.db.before-restore.*")
    assert f"agent was put back to {host.ids()[0]}." in said.err
    assert f"What the command left is in {undo_set}." in said.err
    assert databases.names(undo_set / "agent.db") == [*OLD, "half migrated"]


def test_restore_on_failure_also_when_the_database_is_gone(host: Host) -> None:
    said = guarded(host, "sh", "-c", f"rm {host.database()}; exit 9", options=("--restore-on-failure", "--json"))

    assert said.code == 9
    assert databases.names(host.database()) == OLD
    assert said.result["restore"]["backup"] == host.ids()[0]


def test_restore_on_failure_of_a_command_that_did_nothing(host: Host) -> None:
    said = guarded(host, "false", options=("--restore-on-failure",))

    assert said.code == 1
    assert "agent is unchanged" in said.err


def test_an_open_database_is_not_put_back_and_the_way_back_is_told(host: Host) -> None:
    """What the command left running goes on writing to it."""
    with processes.application(host.database()) as application:
        application("INSERT INTO item(name) VALUES ('still running')")
        said = guarded(host, *migration(host, 3), options=("--restore-on-failure",))

    assert said.code == 3
    assert "agent could not be put back: Cannot restore" in said.err
    assert "the database is open in" in said.err
    assert "Stop what has it open, then: sqlite-backup restore agent" in said.err
    assert "half migrated" in databases.names(host.database())


def test_without_a_backup_the_command_never_runs(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> Any:
        raise NoSpaceError("The disk is full.", hint="Free some space.")

    monkeypatch.setattr(backup, "run", fail)
    witness = host.directory / "ran"

    said = guarded(host, "touch", witness)

    assert said.code == 16
    assert not witness.exists()


def test_a_corrupt_database_is_not_migrated(host: Host) -> None:
    content = host.database().read_bytes()
    host.database().write_bytes(content[:4096] + b"\x00\xff" * 2048)
    witness = host.directory / "ran"

    said = guarded(host, "touch", witness)

    assert said.code == 12
    assert not witness.exists()
    assert "protected by" not in said.err


def test_a_program_that_does_not_exist_is_told_before_anything_is_done(host: Host) -> None:
    said = guarded(host, "no-such-program", "--help")

    assert said.code == 19
    assert "Cannot run no-such-program: there is no such program." in said.err
    assert not host.repository().exists()


def test_a_program_that_cannot_start_is_told(host: Host) -> None:
    program = host.directory / "broken"
    program.write_text("#!/no/such/interpreter\n")
    program.chmod(0o755)

    said = guarded(host, program)

    assert said.code == 19
    assert "Cannot run" in said.err
    assert "Traceback" not in said.err


def test_json_leaves_standard_output_to_the_document(host: Host) -> None:
    said = guarded(host, "echo", "noise", options=("--json",))

    assert "noise\n" in said.err
    assert said.document["code"] == 0
    assert said.result["exit_code"] == 0
    assert said.result["command"] == ["echo", "noise"]
    assert said.result["restore"] is None


def test_quiet_is_silent_about_success_only(host: Host) -> None:
    assert guarded(host, "true", options=("--quiet",)) == Said(0, "", "")
    assert "restore agent" in guarded(host, "false", options=("--quiet",)).err


def test_words_of_the_command_are_not_options_of_ours(host: Host) -> None:
    said = guarded(host, "echo", "--json", "--", "--all", "$HOME", "two words")

    assert said.out == "--json -- --all $HOME two words\n"


# --- signals -------------------------------------------------------------------------------------------------------


def test_a_command_that_is_killed_counts_as_a_shell_would_say(host: Host) -> None:
    said = guarded(host, "sh", "-c", "kill -9 $$")

    assert said.code == 128 + signal.SIGKILL
    assert "was ended by signal 9" in said.err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signals_are_for_the_command(host: Host, name: str) -> None:
    """It decides what to do about them, and its failure is then handled as any other."""
    witness = host.directory / "started"
    command = host.command("guard", "agent", "--reason", "x", "--", sys.executable, "-c", SLOW, witness)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        _wait_for(witness)
        process.send_signal(getattr(signal, name))
        out, err = process.communicate(timeout=60)

    assert process.returncode == 7
    assert out == f"got {name}\n"
    assert "failed with exit code 7; agent is as it left it." in err


def test_no_wait_is_long() -> None:
    """A signal that comes right before one is seen when that ends."""

    class Process:
        waits: ClassVar[list[float]] = []

        def wait(self, timeout: float) -> int:
            self.waits.append(timeout)
            if len(self.waits) < 3:
                raise subprocess.TimeoutExpired([], timeout)
            return 7

    assert guard._waited_for(Process()) == 7
    assert len(Process.waits) == 3
    assert max(Process.waits) <= 1


@pytest.mark.thorough
def test_what_is_typed_in_a_terminal_reaches_the_command_once(host: Host) -> None:
    """The terminal sends it to both, so the runner must not send it again."""
    import pty

    witness, log = host.directory / "started", host.directory / "log"
    counting = (
        "import pathlib, signal, sys, time\n"
        "got = []\n"
        "signal.signal(signal.SIGINT, lambda *_: got.append(1))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "end = time.monotonic() + 3\n"
        "while time.monotonic() < end: time.sleep(0.05)\n"
        "pathlib.Path(sys.argv[2]).write_text(str(len(got)))\n"
    )
    command = host.command("guard", "agent", "--reason", "x", "--", sys.executable, "-c", counting, witness, log)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)  # noqa: S606 - no shell is wanted
    try:
        _wait_for(witness)
        os.write(terminal, b"\x03")
        _wait_for(log)
        assert os.waitstatus_to_exitcode(_drained(child, terminal)) == 0
    finally:
        os.close(terminal)

    assert log.read_text() == "1"


def _drained(child: int, terminal: int) -> int:
    """Read what is printed, so that nobody waits for that, until the child has ended; its status."""
    while True:
        try:
            if not os.read(terminal, 4096):
                break
        except OSError:
            break
    return os.waitpid(child, 0)[1]


def test_handlers_are_put_back(host: Host) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)}
    guarded(host, "true")
    assert {number: signal.getsignal(number) for number in before} == before


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists() or (path.name == "log" and not path.read_text()):
        assert time.monotonic() < end, f"{path} never came"
        time.sleep(0.02)


# --- words for a shell ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word", [*databases.ODD_NAMES, "", "\x1b[31m", "back\\slash", "tab\tand 'quote'\n\\n", "$x`y`"]
)
def test_quoted_words_come_out_of_a_shell_as_they_went_in(word: str) -> None:
    line = guard.quoted(["printf", "%s", word])

    assert line.isprintable()
    said = subprocess.run(["bash", "-c", line], check=True, capture_output=True).stdout
    assert said == os.fsencode(word)


def test_way_back_names_an_odd_configuration(host: Host) -> None:
    odd = host.directory / "et c'\n"
    host.config.rename(odd)
    host.config = odd

    said = guarded(host, "false", options=("--json",))

    show = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {said.result['go_back']}"], check=True, capture_output=True, text=True
    )
    assert show.stdout.split("\0")[3:5] == ["--config", str(odd)]
