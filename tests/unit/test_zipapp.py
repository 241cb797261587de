# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The runner as one file: the same bytes everywhere, put in place whole, and nobody else's file is touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner.zipapp import Outcome, Runner
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    NoSpaceError,
    ProgramMissingError,
    RefusedError,
    UsageError,
)
from support import limits, processes, pythons

ENGINE = Path(zipapp.__file__).parents[1]
SOURCES = {f"_engine/{each.relative_to(ENGINE).as_posix()}": each.read_bytes() for each in ENGINE.rglob("*.py")}
INTERPRETER = sys.executable
_BUILD = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
print(hashlib.sha256(zipapp.build(cli.main)).hexdigest())
"""

_COMPILED = """
import sys
compiled = []
sys.addaudithook(lambda event, arguments: compiled.append(str(arguments[1])) if event == "compile" else None)
sys.path.insert(0, sys.argv[1])
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli
print(*[each for each in compiled if "_engine/" in each and "__init__" not in each], cli.__file__)
"""
_AS_NOBODY = """
import os, pathlib, sys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
path = pathlib.Path(sys.argv[1])
content = zipapp.build(cli.main)
zipapp.build = lambda *_arguments: content
zipapp._unfit = lambda *_arguments: None
os.setuid({user})
for work in (zipapp.install, zipapp.remove):
    try:
        work(path, *[cli.main][:work is zipapp.install], dry_run={dry_run})
    except EngineError as error:
        print(type(error).__name__, end=" ")
"""


def install(path: Path, *, dry_run: bool = False, interpreter: str = INTERPRETER) -> Outcome:
    return zipapp.install(path, cli.main, interpreter=interpreter, dry_run=dry_run)


def make_old(path: Path) -> str:
    """Put a runner of another version at ``path``; its SHA-256."""
    content = zipapp.build(cli.main, INTERPRETER).replace(manifest.COLLECTION_VERSION.encode(), b"0.0.9")
    path.write_bytes(content)
    path.chmod(0o755)
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a runner may be put, in a directory of its own."""
    directory = tmp_path / "bin"
    directory.mkdir()
    return directory / "sqlite-backup"


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    """The engine in a zip archive as Ansible makes one."""
    path = tmp_path / "payload.zip"
    package = "ansible_collections/sqliteops/backup/plugins/module_utils"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for depth in range(package.count("/") + 1):
            content.writestr("/".join([*package.split("/")[: depth + 1], "__init__.py"]), b"")
        for name, source in SOURCES.items():
            content.writestr(f"{package}/{name}", source)
    return path


class TestBuild:
    def test_holds_every_room_as_it_is_and_nothing_else(self, path: Path) -> None:
        path.write_bytes(zipapp.build(cli.main))

        with zipfile.ZipFile(path) as content:
            assert content.testzip() is None
            names = content.namelist()
            rooms = {name: content.read(name) for name in names if name != "__main__.py"}
        assert names == sorted(names)
        assert rooms == SOURCES

    def test_depends_on_nothing_but_the_sources(self) -> None:
        content = zipapp.build(cli.main)

        with zipfile.ZipFile(io.BytesIO(content)) as opened:
            for member in opened.infolist():
                assert member.date_time == (1980, 1, 1, 0, 0, 0)
                assert member.compress_type == zipfile.ZIP_STORED
                assert member.create_system == 3
                assert member.external_attr >> 16 == stat.S_IFREG | 0o644
        first, second, _rest = content.split(b"\n", 2)
        assert first == b"#!/usr/bin/env python3"
        assert second.decode() == f"# sqliteops.backup runner {manifest.COLLECTION_VERSION}"

    @pytest.mark.parametrize("python", pythons.of("3.9", "3.10", "3.11", "3.12", "3.13", "3.14"))
    def test_is_the_same_from_every_python(self, python: str, tmp_path: Path) -> None:
        """A copy with other times and modes, too: a host gets the sources in any way."""
        utils = tmp_path / "ansible_collections" / "sqliteops" / "backup" / "plugins" / "module_utils"
        for name, source in SOURCES.items():
            copy = utils / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source)
            copy.chmod(0o600)

        built = subprocess.run(
            [python, "-I", "-B", "-c", _BUILD, str(tmp_path)], stdout=subprocess.PIPE, check=True, cwd=tmp_path
        )

        assert built.stdout.decode().strip() == hashlib.sha256(zipapp.build(cli.main)).hexdigest()

    def test_is_the_same_out_of_a_zip(self, payload: Path) -> None:
        """So Ansible brings the engine to a host, and so the runner has it."""
        built = subprocess.run([sys.executable, "-I", "-c", _BUILD, str(payload)], stdout=subprocess.PIPE, check=True)

        assert built.stdout.decode().strip() == hashlib.sha256(zipapp.build(cli.main)).hexdigest()

    @pytest.mark.parametrize("interpreter", ["/usr/bin/python3.11", "/opt/my python/bin/python3 -I", "/opt/pythön"])
    def test_begins_with_the_interpreter(self, interpreter: str) -> None:
        assert zipapp.build(cli.main, interpreter).split(b"\n", 1)[0].decode() == f"#!{interpreter}"

    @pytest.mark.parametrize(
        "interpreter", ["", "python3", "/usr/bin/python3\n#", "/usr/bin/python3\0", "/" + "x" * 125, "/" + "ä" * 63]
    )
    def test_refuses_what_cannot_be_a_first_line(self, interpreter: str) -> None:
        with pytest.raises(UsageError, match="interpreter"):
            zipapp.build(cli.main, interpreter)


class TestRun:
    def test_runs_and_explains_itself(self, path: Path) -> None:
        install(path)

        shown = subprocess.run([str(path), "--help"], capture_output=True, check=True, cwd="/", env={})

        assert b"backup" in shown.stdout
        assert shown.stderr == b""

    def test_its_exit_code_is_that_of_the_entry(self, path: Path) -> None:
        install(path)

        assert subprocess.run([str(path), "no-such-command"], capture_output=True, check=False).returncode == 2

    @pytest.mark.parametrize("python", pythons.of("2.7", "3.6", "3.7", "3.8"))
    def test_an_old_python_says_what_it_is(self, python: str, path: Path) -> None:
        install(path)

        ended = subprocess.run([python, str(path), "--help"], capture_output=True, check=False)

        assert ended.returncode == ProgramMissingError.code
        message, hint = ended.stderr.decode().splitlines()
        assert re.fullmatch(
            r"sqlite-backup: error 19: Cannot run: this Python [23]\.\d+\.\d+ \(/.+\) is too old\.", message
        ), message
        assert "Python 3.9 or newer" in hint
        assert ended.stdout == b""

    @pytest.mark.parametrize("python", pythons.of("2.7", "3.8"))
    def test_an_old_python_says_it_to_programs(self, python: str, path: Path) -> None:
        install(path)

        ended = subprocess.run([python, str(path), "status", "--json"], capture_output=True, check=False)

        assert (ended.returncode, ended.stderr) == (ProgramMissingError.code, b"")
        document = json.loads(ended.stdout)
        assert (document["code"], document["results"]) == (ProgramMissingError.code, [])
        assert document["error"]["class"] == ProgramMissingError.__name__
        assert document["error"]["message"].endswith("is too old.")
        assert document["error"]["hint"]


def test_a_room_in_a_zip_is_compiled_once(payload: Path) -> None:
    """What zipimport does twice takes a good part of the time of a small task."""
    told = subprocess.run([sys.executable, "-I", "-c", _COMPILED, str(payload)], stdout=subprocess.PIPE, check=True)

    *compiled, file = told.stdout.decode().split()
    rooms = [Path(each) for each in compiled]
    engine = payload / ENGINE.relative_to(ENGINE.parents[5])
    assert engine / "system" / "errors.py" in rooms
    assert sorted(rooms) == sorted(set(rooms))
    assert Path(file) == engine / "runner" / "cli.py"


class TestInstall:
    def test_there_is_none(self, path: Path) -> None:
        outcome = install(path)

        content = path.read_bytes()
        assert content == zipapp.build(cli.main, INTERPRETER)
        after = Runner(manifest.COLLECTION_VERSION, hashlib.sha256(content).hexdigest())
        assert outcome == Outcome(True, None, after)
        assert zipapp.find(path) == after
        assert [each.name for each in path.parent.iterdir()] == [path.name]

    @pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
    def test_everybody_may_run_it(self, path: Path, umask: int) -> None:
        before = os.umask(umask)
        try:
            install(path)
        finally:
            os.umask(before)

        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    def test_it_is_there_already(self, path: Path) -> None:
        first = install(path)
        before = path.stat()

        assert install(path) == Outcome(False, first.after, first.after)
        assert (path.stat().st_ino, path.stat().st_ctime_ns) == (before.st_ino, before.st_ctime_ns)

    def test_it_has_another_version(self, path: Path) -> None:
        old = Runner("0.0.9", make_old(path))

        planned = install(path, dry_run=True)

        assert zipapp.find(path) == old
        assert install(path) == planned
        assert (planned.changed, planned.before) == (True, old)
        assert zipapp.find(path) == planned.after

    @pytest.mark.parametrize("mode", [0o644, 0o700, 0o777, 0o4755])
    def test_its_mode_was_changed(self, path: Path, mode: int) -> None:
        install(path)
        path.chmod(mode)

        assert install(path, dry_run=True).changed
        assert install(path).changed
        assert stat.S_IMODE(path.stat().st_mode) == 0o755

    def test_dry_run_leaves_no_trace(self, path: Path) -> None:
        assert install(path, dry_run=True).changed
        assert list(path.parent.iterdir()) == []

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize(
        "content", [b"", b"#!/bin/sh\nexec sqlite3 .backup\n", b"#!/x\n# sqliteops.backup runner \nPK\x03\x04"]
    )
    def test_the_file_is_somebody_elses(self, path: Path, content: bytes, dry_run: bool) -> None:
        path.write_bytes(content)

        with pytest.raises(RefusedError, match="not a runner"):
            install(path, dry_run=dry_run)
        with pytest.raises(RefusedError, match="not a runner"):
            zipapp.remove(path, dry_run=dry_run)

        assert path.read_bytes() == content

    def test_it_is_a_link_or_a_pipe(self, path: Path) -> None:
        elsewhere = path.with_name("elsewhere")
        install(elsewhere)
        path.symlink_to(elsewhere)
        with pytest.raises(RefusedError):
            install(path)
        path.unlink()
        os.mkfifo(path)
        with limits.within(5), pytest.raises(RefusedError):
            zipapp.remove(path)

    def test_it_is_a_directory(self, path: Path) -> None:
        path.mkdir()

        with pytest.raises(UsageError, match="is a directory"):
            install(path)

    @pytest.mark.parametrize("parent", ["missing", "missing/deeper", "file"])
    def test_there_is_no_directory(self, path: Path, parent: str) -> None:
        path.with_name("file").touch()
        nowhere = path.parent / parent / path.name

        planned = install(nowhere, dry_run=True)

        assert planned.changed
        assert [each.split(": ")[1] for each in planned.warnings] == [
            f"the directory {nowhere.parent} does not exist. Create it first."
        ]
        with pytest.raises(UsageError, match=r"does not exist\. Create it first"):
            install(nowhere)

    @processes.needs_root
    @pytest.mark.parametrize("dry_run", [True, False])
    def test_the_directory_is_somebody_elses(self, dry_run: bool) -> None:
        with processes.open_directory() as directory:
            path = directory / "sqlite-backup"
            make_old(path)
            code = _AS_NOBODY.format(user=processes.NOBODY, dry_run=dry_run)
            assert processes.python(code, path) == "PermissionDeniedError PermissionDeniedError"
            assert [each.name for each in directory.iterdir()] == [path.name]

    def test_the_interpreter_is_missing(self, path: Path) -> None:
        for interpreter in ("/usr/bin/env no-such-python", "/nowhere/python3"):
            (warning,) = install(path, dry_run=True, interpreter=interpreter).warnings
            with pytest.raises(ProgramMissingError) as caught:
                install(path, interpreter=interpreter)
            assert interpreter in caught.value.message
            assert "no such file" in caught.value.message.lower()
            assert warning == str(caught.value)
        assert not path.exists()

    @pytest.mark.parametrize("python", pythons.of("2.7", "3.6", "3.8"))
    def test_the_interpreter_is_too_old(self, path: Path, python: str) -> None:
        version = subprocess.run([python, "--version"], stdout=-1, stderr=-2, check=True).stdout.split()[1].decode()

        with pytest.raises(ProgramMissingError, match=rf"not a Python 3\.9 or newer .*\({re.escape(version)}\)"):
            install(path, interpreter=python)

    def test_the_interpreter_has_no_sqlite(self, path: Path) -> None:
        shim = pythons.without("_sqlite3", path.parent)

        with pytest.raises(ProgramMissingError, match="with the module sqlite3 .*sqlite3"):
            install(path, interpreter=str(shim))

    def test_the_disk_is_full(self, path: Path) -> None:
        old = make_old(path)

        with limits.full_disk_after(4096), pytest.raises(NoSpaceError):
            install(path)

        assert files.sha256_file(path) == old
        assert [each.name for each in path.parent.iterdir()] == [path.name]


class TestRemove:
    def test_it_is_there(self, path: Path) -> None:
        before = install(path).after

        planned = zipapp.remove(path, dry_run=True)

        assert path.exists()
        assert zipapp.remove(path) == planned == Outcome(True, before, None)
        assert not path.exists()

    def test_it_is_not_there(self, path: Path) -> None:
        for missing in (path, path.parent / "missing" / path.name):
            assert zipapp.remove(missing) == Outcome(False, None, None)


class TestKilled:
    def test_what_another_run_writes_stays(self, path: Path) -> None:
        running = path.with_name(f".{path.name}.{os.getppid()}.new")
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        ended = path.with_name(f".{path.name}.{child}.new")
        other = path.with_name(f".{path.name}.mine.new")
        for each in (running, ended, other):
            each.touch()

        install(path)

        assert running.exists()
        assert other.exists()
        assert not ended.exists()


def test_it_is_made_without_ansible_as_the_guide_for_windows_says(tmp_path: Path) -> None:
    checkout = ENGINE.parents[2]
    guide = (checkout / "docs" / "windows.md").read_text(encoding="utf-8")
    (code,) = re.findall(r'^python -c "([^"\n]+)"$', guide, re.MULTILINE)
    (tmp_path / "plugins").symlink_to(checkout / "plugins")
    subprocess.run([sys.executable, "-B", "-c", code], cwd=tmp_path, check=True, timeout=60)
    assert tmp_path.joinpath("sqlite-backup.pyz").read_bytes() == zipapp.build(cli.main)
