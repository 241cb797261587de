# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of metrics for node_exporter: whole at every moment, readable by it, and nothing of others is touched."""

from __future__ import annotations

import os
import stat
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    NoSpaceError,
    PermissionDeniedError,
    RefusedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.watch import metrics, textfile
from support import limits, observations, processes

NAME = "sqlite_backup.root.agent.prom"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    place = tmp_path / "textfiles"
    place.mkdir(mode=0o755)
    return place


def write(directory: Path, *configured: str, **changed: Any) -> None:
    textfile.write(directory, observations.full(**changed), configured or ("agent",))


def content(**changed: Any) -> bytes:
    return metrics.text(metrics.families(observations.full(**changed))).encode()


def names(directory: Path) -> list[str]:
    return sorted(each.name for each in directory.iterdir())


def test_file_is_there_for_all_to_read(directory: Path) -> None:
    before = os.umask(0o077)
    try:
        write(directory)
    finally:
        os.umask(before)
    assert (directory / NAME).read_bytes() == content()
    assert stat.S_IMODE((directory / NAME).stat().st_mode) == 0o644
    assert names(directory) == [NAME]


def test_file_and_its_name_are_flushed_in_this_order(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def flush(descriptor: int) -> None:
        done.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")

    real = os.replace
    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *args, **more: (done.append("rename"), real(*args, **more))[1])
    write(directory)
    assert done == ["file", "rename", "directory"]


def test_directory_that_is_missing_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Cannot write metrics: .*missing is not a directory") as caught:
        write(tmp_path / "missing")
    assert "textfile_directory" in caught.value.hint
    assert names(tmp_path) == []


def test_file_in_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is not a directory"):
        write(tmp_path / "file")


def test_full_disk_leaves_the_old_file(directory: Path) -> None:
    write(directory)
    with limits.full_disk_after(1024), pytest.raises(NoSpaceError, match="Cannot write metrics"):
        write(directory, free_bytes=1)
    assert (directory / NAME).read_bytes() == content()
    assert names(directory) == [NAME]


@processes.needs_root
def test_directory_that_this_user_may_not_write_to_is_an_error() -> None:
    with processes.open_directory() as place:
        with limits.unprivileged(), pytest.raises(PermissionDeniedError, match="Cannot write metrics"):
            write(place)


# --- databases that are configured no more ----------------------------------------------------------------------------


def test_files_of_databases_that_are_gone_go(directory: Path) -> None:
    for name in ("agent", "old", "other"):
        write(directory, "agent", "old", "other", name=name)
    stays = [
        "sqlite_backup.jo.old.prom",
        "sqlite_backup.root.example.old.prom",
        "sqlite_backup.root.old.prom.bak",
        ".sqlite_backup.root.old.prom",
        "node.prom",
    ]
    for each in stays:
        (directory / each).touch()
    write(directory, "agent", "other")
    assert names(directory) == sorted([NAME, "sqlite_backup.root.other.prom", *stays])


def test_name_of_a_user_is_a_name_of_a_file(directory: Path) -> None:
    write(directory, user="EXAMPLE\\jo/../x y")
    assert names(directory) == ["sqlite_backup.EXAMPLE%5cjo%2f..%2fx%20y.agent.prom"]
    write(directory, "other", name="other", user="EXAMPLE\\jo/../x y")
    assert names(directory) == ["sqlite_backup.EXAMPLE%5cjo%2f..%2fx%20y.other.prom"]


def test_remove_takes_one_and_none(directory: Path) -> None:
    write(directory)
    for _again in range(2):
        textfile.remove(directory, "root", "agent")
        assert names(directory) == []


# --- others in the same directory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "hard link"])
def test_what_has_the_name_is_replaced_and_never_written_through(directory: Path, kind: str) -> None:
    secret = directory.parent / "secret"
    secret.write_bytes(b"secret")
    secret.chmod(0o600)
    path = directory / NAME
    {
        "link": lambda: path.symlink_to(secret),
        "dangling": lambda: path.symlink_to(directory.parent / "new"),
        "fifo": lambda: os.mkfifo(path),
        "hard link": lambda: os.link(secret, path),
    }[kind]()
    with limits.within(5):
        write(directory)
    assert secret.read_bytes() == b"secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_ISREG(path.lstat().st_mode)
    assert path.read_bytes() == content()
    assert names(directory.parent) == ["secret", "textfiles"]


def test_directory_that_has_the_name_stays(directory: Path) -> None:
    (directory / NAME / "thesis").mkdir(parents=True)
    with pytest.raises(RefusedError, match=f"Cannot write metrics.*{NAME}"):
        write(directory)
    assert (directory / NAME / "thesis").is_dir()
    assert names(directory) == [NAME]


@processes.needs_root
@pytest.mark.root
def test_file_in_a_directory_of_another_user_is_that_users() -> None:
    """node_exporter's user could not remove it else."""
    with processes.open_directory() as place:
        os.chown(place, processes.NOBODY, processes.NOBODY)
        write(place)
        status = (place / NAME).stat()
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (processes.NOBODY, 0o644)


_TRICKS = """
import os, pathlib, sys
os.setgid(65534), os.setuid(65534)
place = pathlib.Path(sys.argv[1])
print("ready", flush=True)
while True:
    for each in list(os.scandir(place)):
        try:
            os.unlink(each.path)
            os.symlink(sys.argv[2], each.path)
        except OSError:
            pass
"""


@processes.needs_root
@pytest.mark.root
@pytest.mark.thorough
def test_owner_of_the_directory_who_changes_names_all_the_time_reaches_nothing_of_roots() -> None:
    with processes.open_directory() as top:
        place, secret = top / "theirs", top / "secret"
        place.mkdir()
        os.chown(place, processes.NOBODY, processes.NOBODY)
        secret.write_bytes(b"secret")
        secret.chmod(0o600)
        with processes.running(_TRICKS, place, secret):
            for _each in range(2000):
                try:
                    write(place)
                except (EngineError, OSError):
                    continue
        status = secret.stat()
        assert (secret.read_bytes(), status.st_uid, stat.S_IMODE(status.st_mode)) == (b"secret", 0, 0o600)


# --- killed, and at the same time -------------------------------------------------------------------------------------


ENGINE = Path(textfile.__file__).parents[1]


def _killed_at(line: int, directory: Path) -> bool:
    """Whether a run was killed when it came to so many lines of the engine; else it ended before."""
    told = observations.full(free_bytes=1)
    child = os.fork()
    if child == 0:
        left = line

        def trace(frame: FrameType, event: str, _argument: object) -> Any:
            nonlocal left
            if not frame.f_code.co_filename.startswith(str(ENGINE)):
                return None
            left -= event == "line"
            if left < 0:
                os._exit(9)
            return trace

        sys.settrace(trace)
        textfile.write(directory, told, ("agent",))
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_killed_at_any_line_it_leaves_a_whole_file_and_the_next_run_clears_up(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = content(free_bytes=1)
    # What is before the file is touched, and takes most lines, kills nothing.
    monkeypatch.setattr(metrics, "families", lambda *_told: [])
    monkeypatch.setattr(metrics, "text", lambda _found: new.decode())
    old = b"old"
    left, seen, line = 0, set(), 0
    while True:
        (directory / NAME).write_bytes(old)
        if not _killed_at(line, directory):
            break
        found = (directory / NAME).read_bytes()
        assert found in (old, new)
        seen.add(found)
        others = [each for each in names(directory) if each != NAME]
        assert not [each for each in others if each.endswith(".prom")], "node_exporter would read it"
        left += len(others)
        # A run may take its time; an hour later nobody writes to it any more.
        for each in others:
            os.utime(directory / each, (0, 0))
        write(directory)
        assert names(directory) == [NAME]
        line += 1
    assert seen == {old, new}
    assert left > 5


def test_reader_never_sees_half_a_file(directory: Path) -> None:
    whole = {content(free_bytes=number) for number in range(2)}
    write(directory, free_bytes=0)
    torn: list[bytes] = []
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            found = (directory / NAME).read_bytes()
            if found not in whole:
                torn.append(found)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(300):
        write(directory, free_bytes=number % 2)
    ended.set()
    reader.join()
    assert not torn
