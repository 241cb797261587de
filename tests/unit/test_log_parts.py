# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A backup holds what is new in the logs since the one before it: every line once, whatever is done meanwhile."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import log_parts
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.inclusion import LOGS, Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import FileOrigin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Storage
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    SourceMissingError,
    UsageError,
)
from support import limits, processes
from support.ground import SECRET, Ground


class Host:
    """Log files in ``logs``; ``take`` is what one backup stores of those that ``pattern`` names."""

    def __init__(self, directory: Path, pattern: str = "*.log", limit_bytes: int = 1 << 20, *, required: bool = False):
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self.asked = Include(self.logs / pattern, kind=LOGS, required=required, limit_bytes=limit_bytes)
        self.parts: log_parts.Parts
        self.runs = 0

    def take(self, *, published: bool = True) -> dict[str, bytes]:
        self.runs += 1
        storage = Storage(self.directory / f"staging-{self.runs}", "gzip")
        place = self.directory / "index" / "logs.json"
        self.parts = log_parts.store(log_parts.found(self.asked), [self.asked], place, storage, number=1)
        if published:
            self.parts.keep()
        contents = {each.path: (storage.directory / each.path).read_bytes() for each in self.parts.stored}
        return {
            path.removeprefix("files/logs/").removesuffix(".gz"): gzip.decompress(each)
            for path, each in contents.items()
        }

    def write(self, text: str, name: str = "app.log") -> None:
        with (self.logs / name).open("a", encoding="utf-8", newline="") as file:
            file.write(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_only_what_is_new_is_stored(host: Host) -> None:
    host.write("one\ntwo\n")
    assert host.take() == {"app.log": b"one\ntwo\n"}
    assert host.take() == {}
    host.write("three\n")
    host.write("other\n", "b.log")
    assert host.take() == {"app.log": b"three\n", "b.log": b"other\n"}
    assert host.parts.warnings == []


def test_origin_says_which_bytes_they_were(host: Host) -> None:
    host.write("one\n")
    host.take()
    host.write("two\n")
    host.take()
    (origin,) = host.parts.origins
    assert isinstance(origin, FileOrigin)
    assert (origin.path, origin.source) == ("files/logs/app.log", str(host.logs / "app.log"))
    assert (origin.kind, origin.start, origin.end) == ("logs", 4, 8)
    assert origin.uid == (None if sys.platform == "win32" else (host.logs / "app.log").stat().st_uid)


def test_line_that_is_being_written_waits_for_its_end(host: Host) -> None:
    host.write("one\ntw")
    assert host.take() == {"app.log": b"one\n"}
    assert host.take() == {}
    host.write("o\nth")
    assert host.take() == {"app.log": b"two\n"}


def test_what_has_no_line_for_long_is_taken_as_it_is(host: Host) -> None:
    host.write("x" * (1024 * 1024 + 1))
    host.asked = Include(host.asked.src, kind=LOGS, limit_bytes=4 << 20)
    assert len(host.take()["app.log"]) == 1024 * 1024 + 1


@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
def test_rotated_log_is_stored_to_its_end(tmp_path: Path, pattern: str) -> None:
    host = Host(tmp_path, pattern)
    host.write("one\n")
    host.take()
    host.write("two\nwithout an end")
    (host.logs / "app.log").rename(host.logs / "app.log.1")
    host.write("three\n")
    found = host.take()
    assert found["app.log"] == b"three\n"
    # As long as the pattern names it, it may be written to.
    assert found["app.log.1"] == (b"two\nwithout an end" if pattern == "*.log" else b"two\n")
    assert host.take() == {}
    assert host.parts.warnings == []


def test_log_that_was_rotated_twice_is_stored_as_well(host: Host) -> None:
    host.write("one\n")
    host.take()
    os.utime(host.logs / "app.log", (1, 1))
    for number, text in enumerate(("two\n", "three\n", "four\n")):
        (host.logs / "app.log").rename(host.logs / f"app.log.{number}")
        host.write(text)
    (host.logs / "app.log.gz").write_bytes(b"packed")
    (host.logs / "another.txt").write_bytes(b"no log")
    assert host.take() == {"app.log": b"four\n", "app.log.1": b"two\n", "app.log.2": b"three\n"}
    assert host.take() == {}


def test_rotated_logs_of_before_the_first_backup_are_not_stored(host: Host) -> None:
    host.write("old\n", "app.log.1")
    host.write("one\n")
    assert host.take() == {"app.log": b"one\n"}
    os.utime(host.logs / "app.log.1", (1, 1))
    assert host.take() == {}


@pytest.mark.skipif(sys.platform == "win32", reason="no file has such a name there")
@pytest.mark.parametrize("pattern", ["*.log", "*"])
@pytest.mark.parametrize(
    ("name", "stored_as"),
    [
        ("a:b", "a%3Ab"),
        ("..\\b", "..%5Cb"),
        ("a%3Ab", "a%253Ab"),
        ("a\nb", "a%0Ab"),
        ("\u0436" * 127, "%long-" + hashlib.sha256(b"\xd0\xb6" * 127).hexdigest()),
    ],
)
def test_no_name_of_a_log_spoils_a_backup(tmp_path: Path, pattern: str, name: str, stored_as: str) -> None:
    host = Host(tmp_path, pattern, required=True)
    host.write("one\n")
    host.take()
    host.write("two\n")
    (host.logs / "app.log").rename(host.logs / name)
    host.write("three\n")
    assert host.take() == {"app.log": b"three\n", stored_as: b"two\n"}


@pytest.mark.parametrize("later", ["four\n", "what is longer than all that was there\n"])
def test_log_that_is_cut_is_stored_from_its_beginning(host: Host, later: str) -> None:
    host.write("one\ntwo\nthree\n")
    host.take()
    os.truncate(host.logs / "app.log", 0)
    host.write(later)
    assert host.take() == {"app.log": later.encode()}
    (warning,) = host.parts.warnings
    assert "app.log began anew since the previous backup" in warning


def test_another_log_under_the_number_of_one_that_is_gone_is_new(host: Host) -> None:
    host.write("one\n")
    host.take()
    place = host.directory / "index" / "logs.json"
    status = (host.logs / "app.log").stat()
    host.write("completely different\n", "b.log")
    other = (host.logs / "b.log").stat()
    old, new = (f"{each.st_dev}:{each.st_ino}" for each in (status, other))
    place.write_text(place.read_text().replace(old, new))
    (host.logs / "app.log").unlink()
    assert host.take() == {"b.log": b"completely different\n"}


def test_of_too_much_the_newest_whole_lines_are_stored(tmp_path: Path) -> None:
    host = Host(tmp_path, limit_bytes=20)
    host.write("".join(f"line {number}\n" for number in range(10)))
    assert host.take() == {"app.log": b"line 8\nline 9\n"}
    (warning,) = host.parts.warnings
    assert "has 70 B that are new, of which only the last 14 B are stored: see limit_mib" in warning
    assert host.take() == {}


def test_log_of_holes_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    host = Host(tmp_path, limit_bytes=1 << 20)
    (host.logs / "app.log").touch()
    os.truncate(host.logs / "app.log", 1 << 42)
    with limits.within(20):
        assert len(host.take()["app.log"]) <= 1 << 20


def test_part_of_a_backup_that_was_not_published_comes_again(host: Host) -> None:
    host.write("one\n")
    host.take(published=False)
    assert host.take() == {"app.log": b"one\n"}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"salt": 1, "files": {"1:1": {"end": -1}}}', b"[" * 100_000])
def test_damaged_note_means_that_all_is_new(host: Host, content: bytes) -> None:
    host.write("one\n")
    host.take()
    (host.directory / "index" / "logs.json").write_bytes(content)
    assert host.take() == {"app.log": b"one\n"}
    assert host.take() == {}


def test_the_note_tells_nothing_of_the_content(host: Host) -> None:
    host.write("a line that is a secret\n", "wombat.log")
    host.take()
    note = (host.directory / "index" / "logs.json").read_text()
    assert "wombat" not in note
    assert "secret" not in note


@pytest.mark.parametrize("required", [False, True])
def test_missing_logs_are_an_error_for_whoever_asked(tmp_path: Path, required: bool) -> None:
    host = Host(tmp_path, required=required)
    (host.logs / "dir.log").mkdir()
    with pytest.raises(SourceMissingError, match=r"there are no logs .*\*\.log"):
        host.take()
    shutil.rmtree(host.logs)
    with pytest.raises(SourceMissingError):
        host.take()


def test_too_many_logs_are_refused(host: Host) -> None:
    for number in range(201):
        host.write("x\n", f"{number}.log")
    with pytest.raises(UsageError, match="are 201 files"):
        host.take()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fifos")
@pytest.mark.parametrize("make", [processes.fifo, lambda path: path.symlink_to("/etc/passwd")])
def test_what_is_no_file_is_neither_followed_nor_waited_for(tmp_path: Path, make: object) -> None:
    host = Host(tmp_path)
    make(host.logs / "app.log")  # type: ignore[operator]
    host.write("one\n", "b.log")
    with limits.within(10):
        assert host.take() == {"b.log": b"one\n"}
    assert "it is a link, or not a regular file" in host.parts.warnings[0]
    strict = Host(tmp_path, required=True)
    with limits.within(10), pytest.raises(EngineError, match=r"Cannot (use|include) .*app\.log"):
        strict.take()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a log that is open from being renamed")
def test_no_line_is_lost_or_stored_twice_while_it_is_written_and_rotated(host: Host) -> None:
    script = """
    i=0
    while [ $i -lt 3000 ]; do
        echo "line $i" >> app.log
        i=$((i + 1))
        [ $((i % 700)) -eq 0 ] || continue
        # However slow this machine is: a file that no backup saw under its first name is none that is named.
        for round in 1 2; do
            rm -f ../taken
            while [ ! -e ../taken ]; do sleep 0.01; done
        done
        mv app.log app.log.$i
    done"""
    host.write("")
    found: list[bytes] = []
    with subprocess.Popen(["sh", "-c", script], cwd=host.logs) as writer:
        while writer.poll() is None:
            found.append(_taken(host))
            (host.directory / "taken").touch()
    found.extend((_taken(host), _taken(host)))
    lines = b"".join(found).splitlines()
    assert sorted(lines) == sorted(f"line {number}".encode() for number in range(3000))


def _taken(host: Host) -> bytes:
    try:
        return b"".join(host.take().values())
    except SourceMissingError:
        # Between the two names.
        return b""


ACTIONS = st.lists(st.tuples(st.sampled_from(["write", "take", "rotate"]), st.text("ab\n", max_size=8)), max_size=20)


@settings(deadline=None, max_examples=60)
@given(ACTIONS)
def test_every_line_is_stored_once(actions: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        host = Host(Path(directory), "*.log*")
        host.write("")
        stored: dict[int, bytes] = {}

        def take() -> None:
            for name, content in host.take().items():
                number = (host.logs / name).stat().st_ino
                stored[number] = stored.get(number, b"") + content

        for count, (action, text) in enumerate(actions):
            if action == "write":
                host.write(text)
            elif action == "take":
                take()
            else:
                (host.logs / "app.log").rename(host.logs / f"app.log.{count}")
                host.write("")
        take()
        for path in host.logs.iterdir():
            content = path.read_bytes()
            assert stored.get(path.stat().st_ino, b"") == content[: content.rfind(b"\n") + 1]


def test_last_line_that_nobody_ends_is_stored_in_the_end(host: Host) -> None:
    host.write("one\nwithout an end")
    host.take()
    os.utime(host.logs / "app.log", (1, 1))
    assert host.take() == {"app.log": b"without an end"}
    host.write(" but one\n")
    assert host.take() == {"app.log": b" but one\n"}


# --- root in somebody else's directory -----------------------------------------------------------------------------


@processes.needs_root
@pytest.mark.parametrize(
    "trick",
    [
        "os.symlink(roots / 'secret', theirs / 'logs' / 'app.log')",
        "os.rmdir(theirs / 'logs'); os.symlink(roots, theirs / 'logs')",
        "os.mkfifo(theirs / 'logs' / 'app.log')",
    ],
)
def test_nothing_of_roots_gets_into_a_part(ground: Ground, trick: str) -> None:
    (ground.theirs / "logs").mkdir()
    ground.give(ground.theirs / "logs")
    ground.play(trick)
    ground.change()
    asked = Include(ground.theirs / "logs" / "*", kind=LOGS, required=False)
    with limits.within(20):
        outcome = ground.back_up(include=(asked,))
    assert outcome.warnings
    assert outcome.error is None
    assert not [each for each in ground.repository.rglob("*") if each.is_file() and SECRET in each.read_bytes()]
