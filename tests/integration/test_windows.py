# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner, one file, under a Windows Python in Wine: a live database, kills, files that are held, and Linux."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from support import databases, wine

pytestmark = [pytest.mark.thorough, pytest.mark.timeout(300)]

# What a path, a URI or a pattern could take for something else.
ODD = "a b#%41;ü.db"
# Of a smaller one every backup is a full one.
ROWS_FOR_INCREMENTALS = base.SMALL_BYTES // 15
WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
number = 0
while True:
    number += 1
    connection.execute("INSERT INTO item(name) VALUES (?)", (f"live {number}",))
    print(number, flush=True)
    time.sleep(0.002)
"""
HOLD = """
import sys, time
file = open(sys.argv[1], "r+b")
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
KEEP = """
import ctypes, sys, time
open_file = ctypes.WinDLL("kernel32").CreateFileW
open_file.restype = ctypes.c_void_p
access, sharing = 3 << 30, 0
assert open_file(ctypes.c_wchar_p(sys.argv[1]), access, sharing, None, 3, 0, None) != ctypes.c_void_p(-1).value
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""
# Reads, and lets others read (CopyFile, File.OpenRead of .NET), write, too (Python), or remove it, too (a scanner).
READERS = {
    name: KEEP.replace("= 3 << 30, 0", f"= 1 << 31, {sharing}")
    for name, sharing in {"reads alone": 0, "shares reading": 1, "shares writing": 3, "shares all": 7}.items()
}
READ = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("SELECT count(*) FROM item").fetchone()
print("held", flush=True)
sys.stdin.read()
"""
LOCK = """
import pathlib, sys
sys.path.insert(0, sys.argv[2])
from _engine.repository.repository import Repository
with Repository.open_existing(pathlib.Path(sys.argv[1])).locked(timeout_seconds=0):
    print("held", flush=True)
    sys.stdin.read()
"""
WITHOUT_STREAMS = """
import sys
sys.path.insert(0, sys.argv[1])
from _engine.runner.cli import main
sys.stdin = sys.stdout = sys.stderr = None
sys.exit(main(sys.argv[2:]))
"""
WAIT = """
import pathlib, subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _engine.system import files, locks, places
words = [sys.executable, "-c", sys.argv[3], sys.argv[2], "1"]
holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
holder.stdout.readline()
begin = time.monotonic()
exec(sys.argv[4], {"files": files, "locks": locks, "places": places, "path": pathlib.Path(sys.argv[2])})
print(time.monotonic() - begin > 0.3)
"""
# What a run stages is opened at once, and stays open for longer than the engine waits; others may remove it.
SCANNED = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
from _engine.runner.cli import main
from _engine.system import files
make = files.create_directory
create = ctypes.WinDLL("kernel32").CreateFileW
create.restype = ctypes.c_void_p
def make_and_scan(path):
    make(path)
    if path.name.startswith(".staging-"):
        name = ctypes.c_wchar_p(str(path / "scanned"))
        assert create(name, 1 << 31, 7, None, 2, 0, None) != ctypes.c_void_p(-1).value
files.create_directory = make_and_scan
sys.exit(main(sys.argv[2:]))
"""
INTERRUPT = """
import _thread, pathlib, signal, sys, threading, time
sys.path.insert(0, sys.argv[1])
from _engine.runner.cli import main
def interrupt():
    while not list(pathlib.Path(sys.argv[2]).glob(".staging-*")):
        time.sleep(0.001)
    _thread.interrupt_main(signal.SIGBREAK)
threading.Thread(target=interrupt, daemon=True).start()
sys.exit(main(sys.argv[3:]))
"""
HARM = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("DELETE FROM item")
sys.exit(3)
"""
FAMILY = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _engine.system import launch
GRANDCHILD = "import time; print(1, flush=True); time.sleep(60)"
CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
process = launch.start([sys.executable, "-c", CHILD, GRANDCHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
family = launch.Family(process)
process.stdout.readline()
begin = time.monotonic()
family.end()
process.stdout.read()
print(time.monotonic() - begin < 120)
"""

ORPHANS = """
import subprocess, sys, time
sys.path.insert(0, sys.argv[1])
from _engine.system import launch
BEAT = "import sys, time\\nwhile True: print(1, file=open(sys.argv[1], 'a'), flush=True); time.sleep(0.05)"
process = launch.start([sys.executable, "-c", BEAT, sys.argv[2]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
family = launch.Family(process)
while not __import__("os").path.exists(sys.argv[2]):
    time.sleep(0.01)
print("up", flush=True)
time.sleep(600)
"""
KILL = """
import pathlib, subprocess, sys, time
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
parent = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], **pipes)
assert parent.stdout.readline()
parent.kill()
parent.wait()
beat, before = pathlib.Path(sys.argv[3]), -1
for _attempt in range(30):
    if beat.stat().st_size == before:
        break
    before = beat.stat().st_size
    time.sleep(2)
else:
    sys.exit("it still runs")
"""
WHO = """
import os, subprocess, sys
code = "import sys; sys.path.insert(0, sys.argv[1]); from _engine.system import who; print(who.describe()['user'])"
names = ("USERNAME", "USER", "LOGNAME", "LNAME")
without = {name: value for name, value in os.environ.items() if name.upper() not in names}
pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
for environment in (dict(os.environ), without, {**without, "LOGNAME": "mallory", "USERNAME": "mallory"}):
    child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], env=environment, **pipes)
    print(child.communicate()[0].decode().strip())
"""


class Host:
    """A configured database ``agent`` that a Windows Python sees, in ``directory`` of this one."""

    def __init__(self, runner: Path, directory: Path, *, name: str = ODD) -> None:
        self.runner = runner
        self.directory = directory
        self.database = directory / name
        self.repository = directory / "backups"
        self.configuration = directory / "config"
        (self.configuration / "databases.d").mkdir(parents=True)
        self.configure()

    def configure(self, *, seen: Callable[[Path], str] = wine.seen, **options: Any) -> None:
        content = {"path": seen(self.database), "repository": seen(self.repository), "suspect_below": 0, **options}
        (self.configuration / "databases.d" / "agent.json").write_text(json.dumps(content), encoding="utf-8")

    def words(self, *words: str) -> list[str]:
        return [wine.seen(self.runner), *words, "--json", "--config", wine.seen(self.configuration)]

    def run(self, *words: str, code: int = 0) -> dict[str, Any]:
        """What came of a command for the database; it must end with ``code``."""
        return _answer(wine.run(self.words(*words), self.runner.parent), code)

    def run_on_linux(self, *words: str, code: int = 0) -> dict[str, Any]:
        command = [sys.executable, str(self.runner), *words, "--json", "--config", str(self.configuration)]
        return _answer(subprocess.run(command, capture_output=True, check=False, encoding="utf-8"), code)

    def backups(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run("list", "agent")["repository"]["backups"]
        return found


def _answer(done: subprocess.CompletedProcess[str], code: int) -> dict[str, Any]:
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    result: dict[str, Any] = document["results"][0] if document["results"] else document
    return result


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    wine.python()
    path = tmp_path_factory.mktemp("runner") / "sqlite-backup.pyz"
    path.write_bytes(zipapp.build(cli.main))
    return path


@pytest.fixture
def host(runner: Path, tmp_path: Path) -> Host:
    made = Host(runner, tmp_path)
    databases.make(made.database)
    return made


@contextlib.contextmanager
def beside(code: str, *words: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Another Windows process that has said its first word, until the end of the block."""
    with wine.start(["-c", code, *words], cwd) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip()
            yield process
        finally:
            process.kill()


def numbers(path: Path) -> list[int]:
    """What the writer committed to this database, by an SQLite of this system."""
    return [int(name.split()[1]) for name in databases.names(path) if name.startswith("live")]


def test_live_database_is_backed_up_and_comes_back(host: Host) -> None:
    """With a writer that never pauses; and what was written on Windows is restored on Linux as well."""
    databases.make(host.database.with_name("big"), rows=ROWS_FOR_INCREMENTALS)
    host.database.with_name("big").replace(host.database)
    with beside(WRITER, wine.seen(host.database), cwd=host.directory) as process:
        first = host.run("backup", "agent")["backup"]
        second = host.run("backup", "agent", "--type", "incremental")["backup"]
        assert process.poll() is None
    assert [first["type"], second["type"]] == ["full", "incremental"]
    assert host.run("verify", "agent", "--backup", "all", "--level", "full")["verification"]["outcome"] == "passed"

    back = host.directory / "back.db"
    host.run("restore", "agent", "--dest", wine.seen(back), "--force-identity")
    committed = numbers(back)
    assert committed == list(range(1, len(committed) + 1))
    assert len(committed) > 1
    assert host.database.with_name(f"{ODD}-wal").stat().st_size
    host.run("restore", "agent")
    assert numbers(host.database) == committed
    host.run("restore", "agent", "--undo")
    live = numbers(host.database)
    assert live == list(range(1, len(live) + 1))
    assert len(live) > len(committed)

    host.configure(seen=str)
    here = host.directory / "here.db"
    host.run_on_linux("restore", "agent", "--dest", str(here), "--force-identity")
    assert here.read_bytes() == back.read_bytes()


def test_what_was_backed_up_on_linux_comes_back(host: Host) -> None:
    databases.make(host.database.with_name("big"), rows=ROWS_FOR_INCREMENTALS)
    host.database.with_name("big").replace(host.database)
    host.configure(seen=str, compression="gzip")
    types = [host.run_on_linux("backup", "agent")["backup"]["type"]]
    databases.add(host.database, "later")
    types.append(host.run_on_linux("backup", "agent")["backup"]["type"])
    assert types == ["full", "incremental"]
    before = host.database.read_bytes()
    host.database.write_bytes(b"lost")

    host.configure()
    host.run("restore", "agent", "--force-identity")
    assert databases.masked(host.database.read_bytes()) == databases.masked(before)
    assert databases.names(host.database)[-1] == "later"


def test_zstd_without_its_program_is_an_error_that_says_so(host: Host) -> None:
    host.configure(seen=str, compression="zstd")
    host.run_on_linux("backup", "agent")
    host.configure()
    elsewhere = wine.seen(host.directory / "x.db")
    error = host.run("restore", "agent", "--dest", elsewhere, "--force-identity", code=19)["error"]
    assert "zstd" in error["message"]


def test_programs_are_not_taken_from_where_it_runs(host: Host) -> None:
    (host.directory / "zstd.exe").write_bytes(b"MZ, and what somebody else wants to be run")
    made = _answer(wine.run(host.words("backup", "agent"), host.directory), 0)["backup"]
    assert (Path(host.repository) / made["id"] / "database.sqlite.gz").exists()


def _staged(host: Host) -> list[Path]:
    return list(host.repository.glob(".staging-*/*"))


def _published(host: Host) -> list[Path]:
    return list(host.repository.glob("2*"))


def _restoring(host: Host) -> list[Path]:
    return list(host.directory.glob(".*.restoring/restored*"))


def _saved(host: Host) -> list[Path]:
    return list(host.directory.glob(".*.restoring/undo"))


def _killed(host: Host, words: Sequence[str], moment: Callable[[Host], list[Path]]) -> bool:
    """Kill a run at this moment; whether it was one."""
    process = wine.start(host.words(*words), host.directory)
    with process:
        end = time.monotonic() + 60
        while process.poll() is None and not moment(host):
            assert time.monotonic() < end
            time.sleep(0.001)
        was_there = process.poll() is None
        process.kill()
    return was_there


def test_killed_runs_leave_what_the_next_run_puts_in_order(host: Host) -> None:
    databases.make(host.database.with_name("big"), rows=ROWS_FOR_INCREMENTALS)
    host.database.with_name("big").replace(host.database)
    before = databases.names(host.database)
    killed = [_killed(host, ("backup", "agent"), moment) for moment in (_staged, _published)]
    assert killed[0]
    host.run("backup", "agent", "--force")
    assert not list(host.repository.glob(".staging-*"))
    assert host.run("verify", "agent", "--backup", "all", "--level", "full")["verification"]["outcome"] == "passed"

    databases.add(host.database, "lost")
    killed = [_killed(host, ("restore", "agent"), moment) for moment in (_restoring, _saved)]
    assert killed[0]
    assert databases.names(host.database) in (before, [*before, "lost"])
    host.run("restore", "agent")
    assert databases.names(host.database) == before
    assert not list(host.directory.glob(".*.restoring"))


def test_second_run_is_told_of_the_first(host: Host) -> None:
    host.configure(lock_timeout="1s")
    host.run("backup", "agent")
    with beside(LOCK, wine.seen(host.repository), wine.seen(host.runner), cwd=host.directory):
        error = host.run("backup", "agent", "--force", code=15)["error"]
    assert "is locked by process " in error["message"]
    host.run("backup", "agent", "--force")
    assert len(host.backups()) == 2


@pytest.mark.parametrize("code", [HOLD, READ], ids=["by its name", "by SQLite"])
def test_database_that_is_open_is_not_replaced(host: Host, code: str) -> None:
    host.run("backup", "agent")
    databases.add(host.database, "newer")
    with beside(code, wine.seen(host.database), "600", cwd=host.directory):
        error = host.run("restore", "agent", code=18)["error"]
    assert "the database is open in" in error["message"]
    assert databases.names(host.database)[-1] == "newer"
    host.run("restore", "agent")
    assert databases.names(host.database) == ["name 0", "name 1", "name 2"]


@pytest.mark.parametrize(
    ("holder", "work"),
    [
        (HOLD, "files.replace_private(path, b'new')"),
        (HOLD, "files.remove_file(path); files.write_private(path, b'new')"),
        (KEEP, "assert places.read_bytes(path) == b'old'; files.replace_private(path, b'new')"),
    ],
    ids=["replaced", "removed", "read"],
)
def test_file_that_is_held_for_a_moment_is_waited_for(runner: Path, tmp_path: Path, holder: str, work: str) -> None:
    """As a virus scanner does with each new file."""
    held = tmp_path / "held"
    held.write_bytes(b"old")
    done = wine.run(["-c", WAIT, wine.seen(runner), wine.seen(held), holder, work], tmp_path)
    assert done.stdout.strip() == "True", done.stderr
    assert held.read_bytes() == b"new"


@pytest.mark.parametrize("holder", READERS.values(), ids=READERS)
@pytest.mark.parametrize(
    "work",
    [
        "files.replace_private(path, b'')",
        "files.append_line(path, 'line')",
        "locks.held(path, timeout_seconds=0).__enter__()",
        "files.move_directory(path.parent, path.parent.with_name('moved'))",
        "files.remove_tree(path.parent); assert not path.parent.exists(); path.parent.mkdir()",
    ],
    ids=["replaced", "appended", "locked", "moved", "removed"],
)
def test_whoever_reads_for_a_moment_is_waited_for(runner: Path, tmp_path: Path, holder: str, work: str) -> None:
    """Whatever that program lets others do meanwhile."""
    held = tmp_path / "deep" / "held"
    held.parent.mkdir()
    held.touch()
    done = wine.run(["-c", WAIT, wine.seen(runner), wine.seen(held), holder, work], tmp_path)
    assert (done.returncode, done.stdout.strip() in ("True", "False")) == (0, True), done.stderr


def test_backup_that_is_published_is_good_whatever_stays_of_its_staging(host: Host) -> None:
    answer = _answer(wine.run(["-c", SCANNED, *host.words("backup", "agent")], host.directory), 0)
    assert {".staging-" in each for each in answer["warnings"] if "could not be removed" in each} == {True}
    assert len(host.backups()) == 1
    host.run("backup", "agent", "--force")
    assert not list(host.repository.glob(".staging-*"))


def test_read_only_database_is_restored_and_stays_so(host: Host) -> None:
    """What an earlier, killed restore saved of it is read-only, too, and Windows removes nothing of that kind."""
    host.run("backup", "agent")
    databases.add(host.database, "newer")
    saving = host.database.with_name(f".{host.database.name}.restoring") / "saving"
    saving.mkdir(parents=True)
    (saving / host.database.name).write_bytes(host.database.read_bytes())
    for each in (host.database, saving / host.database.name):
        each.chmod(0o400)
    for words, rows in ((("restore", "agent"), 3), (("restore", "agent", "--undo"), 4)):
        host.run(*words)
        assert len(databases.names(host.database)) == rows
        assert not host.database.stat().st_mode & 0o222
        assert len(list(host.directory.glob("*.before-restore.*"))) == 1
        assert not saving.parent.exists()


def test_file_that_stays_held_ends_a_run_in_bounded_time(host: Host) -> None:
    made = host.run("backup", "agent")["backup"]["id"]
    host.run("pin", "agent", "--backup", made)
    with beside(HOLD, wine.seen(host.repository / made / "pin.json"), "600", cwd=host.directory):
        begin = time.monotonic()
        error = host.run("unpin", "agent", "--backup", made, code=11)["error"]
        assert time.monotonic() - begin < 120
    assert "it is open in another program" in error["message"]
    assert host.backups()[0]["pinned"]
    host.run("unpin", "agent", "--backup", made)


def test_interrupted_run_ends_in_order(host: Host) -> None:
    """As by Ctrl-Break."""
    databases.make(host.database.with_name("big"), rows=ROWS_FOR_INCREMENTALS)
    host.database.with_name("big").replace(host.database)
    words = [wine.seen(host.runner), wine.seen(host.repository), *host.words("backup", "agent")[1:]]
    assert _answer(wine.run(["-c", INTERRUPT, *words], host.directory), 130)["error"]["class"] == "CancelledError"
    assert not _staged(host)
    assert not _published(host)


def test_failed_command_is_undone(host: Host) -> None:
    words = host.words("guard", "agent", "--reason", "migration", "--restore-on-failure")
    command = ["python", "-c", HARM, wine.seen(host.database)]
    path = {"WINEPATH": wine.seen(wine.PYTHON.parent)}
    error = _answer(wine.run([*words, "--", *command], host.directory, env=path), 3)["error"]
    assert "failed with exit code 3; agent was put back to" in error["message"]
    assert databases.names(host.database) == ["name 0", "name 1", "name 2"]


def test_paths_with_slashes_and_a_configuration_that_is_tried(host: Host) -> None:
    content = {"path": f"Z:{host.database}", "repository": f"Z:{host.repository}"}
    done = wine.run(host.words("try", "agent"), host.directory, given=json.dumps(content))
    assert _answer(done, 0)["error"] is None
    assert not host.repository.exists()


def test_long_paths(runner: Path, tmp_path: Path) -> None:
    directory = tmp_path.joinpath(*["long" * 30] * 3)
    directory.mkdir(parents=True)
    host = Host(runner, directory)
    databases.make(host.database)
    host.run("backup", "agent")
    databases.add(host.database, "newer")
    host.run("restore", "agent")
    assert databases.names(host.database) == ["name 0", "name 1", "name 2"]


def test_name_is_that_of_the_file_to_the_letter(host: Host) -> None:
    """Windows finds agent.json under the name AGENT, too."""
    assert "No database 'AGENT' is configured" in host.run("backup", "AGENT", code=2)["error"]["message"]
    assert not host.repository.exists()


def test_demo(runner: Path, tmp_path: Path) -> None:
    done = wine.run([wine.seen(runner), "demo", "--json"], tmp_path)
    assert _answer(done, 0)["demo"]["proven"]


def test_there_need_be_no_console(host: Host) -> None:
    """As under pythonw.exe, which a scheduled task may use."""
    words = ["backup", "agent", "--config", wine.seen(host.configuration)]
    done = wine.run(["-c", WITHOUT_STREAMS, wine.seen(host.runner), *words], host.directory)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len(host.backups()) == 1


def test_program_ends_with_what_it_started(runner: Path, tmp_path: Path) -> None:
    done = wine.run(["-c", FAMILY, wine.seen(runner)], tmp_path)
    assert done.stdout.strip() == "True", done.stderr


def test_program_ends_when_its_runner_is_killed(runner: Path, tmp_path: Path) -> None:
    done = wine.run(["-c", KILL, ORPHANS, wine.seen(runner), wine.seen(tmp_path / "beat")], tmp_path)
    assert done.returncode == 0, done.stderr


def test_who_runs_it_is_not_up_to_the_environment(runner: Path, tmp_path: Path) -> None:
    said = wine.run(["-c", WHO, wine.seen(runner)], tmp_path).stdout.split("\n")[:3]
    assert said[0]
    assert said == [said[0]] * 3


def test_other_text_than_the_console_has_is_told_all_the_same(host: Host) -> None:
    host.run("backup", "agent")
    done = wine.run(
        [wine.seen(host.runner), "list", "agent", "--config", wine.seen(host.configuration)],
        host.directory,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0, done.stderr
    assert "\\xfc.db" in done.stdout


def test_doctor_says_that_it_does_not_judge_the_rights(host: Host) -> None:
    host.run("backup", "agent")
    found = {each["name"]: each for each in host.run("doctor", "agent")["findings"]}
    assert not [each for each in found.values() if each["outcome"] == "problem"]
    for name in ("repository rights", "configuration"):
        assert (found[name]["outcome"], "Windows' rights are not looked at" in found[name]["detail"]) == ("note", True)
