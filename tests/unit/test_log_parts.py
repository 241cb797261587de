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
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import log_parts
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.inclusion import LOGS, Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import FileOrigin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NOT_ENCRYPTED
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    SourceMissingError,
    UsageError,
)
from support import keys, limits, processes
from support.ground import SECRET, Ground
from support.meddled import Meddled


class Host:
    """Log files in ``logs``; ``take`` is what one backup stores of those that ``pattern`` names."""

    def __init__(self, directory: Path, pattern: str = "*.log", limit_bytes: int = 1 << 20, *, required: bool = False):
        self.directory = directory
        self.logs = directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self.asked = Include(self.logs / pattern, kind=LOGS, required=required, limit_bytes=limit_bytes)
        self.encryption = NOT_ENCRYPTED
        self.seconds: float | None = None
        self.parts: log_parts.Parts
        self.runs = 0

    @property
    def note(self) -> Path:
        return self.directory / "index" / "logs.json"

    def take(self, *, published: bool = True, meddle: Callable[[], object] = lambda: None) -> dict[str, bytes]:
        """``meddle`` is what the application does once the first piece was read."""
        self.runs += 1
        storage = Meddled(self.directory / f"staging-{self.runs}", meddle, "gzip", encryption=self.encryption)
        asked, deadline = [self.asked], Deadline(self.seconds)
        self.parts = log_parts.store(
            log_parts.found(self.asked), asked, self.note, storage, number=1, deadline=deadline
        )
        if published:
            self.parts.keep()
        if self.encryption != NOT_ENCRYPTED:
            return {}
        contents = {each.path: (storage.directory / each.path).read_bytes() for each in self.parts.stored}
        return {
            path.removeprefix("files/logs/").removesuffix(".gz"): gzip.decompress(each)
            for path, each in contents.items()
        }

    def rotate(self, name: str = "app.log.1") -> Path:
        return (self.logs / "app.log").rename(self.logs / name)

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


@pytest.mark.parametrize("lines", [300, 3])
def test_log_that_was_cut_and_begins_as_before_is_stored_from_its_beginning(host: Host, lines: int) -> None:
    """As each start of an application writes the same lines."""
    banner = "".join(f"{number}: configuration\n" for number in range(100))
    host.write(banner + "old\n" * lines)
    host.take()
    host.write("lost\n")
    (host.logs / "app.log").write_text(banner + "new\n" * 1000)
    assert host.take() == {"app.log": banner.encode() + b"new\n" * 1000}
    (warning,) = host.parts.warnings
    assert "app.log began anew since the previous backup" in warning
    assert host.take() == {}


def test_another_log_under_the_number_of_one_that_is_gone_is_new(host: Host) -> None:
    host.write("one\n")
    host.take()
    status = (host.logs / "app.log").stat()
    host.write("completely different\n", "b.log")
    other = (host.logs / "b.log").stat()
    old, new = (f"{each.st_dev}:{each.st_ino}" for each in (status, other))
    host.note.write_text(host.note.read_text().replace(old, new))
    (host.logs / "app.log").unlink()
    assert host.take() == {"b.log": b"completely different\n"}
    (warning,) = host.parts.warnings
    assert f"the file that {host.logs / 'app.log'} was at the previous backup is not found any more" in warning


def _compress(host: Host) -> None:
    path = host.rotate()
    path.with_name("app.log.1.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def _move_away(host: Host) -> None:
    (host.directory / "old").mkdir()
    (host.logs / "app.log").rename(host.directory / "old" / "app.log.1")


@pytest.mark.parametrize("scheme", ["none", "age"])
@pytest.mark.parametrize("again", ["three\n", ""])
@pytest.mark.parametrize("lose", [_compress, _move_away, lambda host: (host.logs / "app.log").unlink()])
def test_lines_that_cannot_be_found_any_more_are_told_once(
    host: Host, lose: Callable[[Host], object], again: str, scheme: str
) -> None:
    host.encryption = keys.scheme(scheme)[0]
    host.write("one\n")
    host.write("other\n", "b.log")
    host.take()
    host.write("two\n")
    # Before the number of the other file is free.
    host.write(again, "new")
    lose(host)
    if again:
        (host.logs / "new").rename(host.logs / "app.log")
    host.take()
    (warning,) = host.parts.warnings
    # What is encrypted tells no name in its note; then the one that has the place now is what is left.
    told = host.logs / "app.log" if again or scheme == "none" else f"a log of {host.logs / '*.log'}"
    assert f"the file that {told} was at the previous backup is not found any more" in warning
    assert "not stored" in warning
    host.take()
    assert host.parts.warnings == []


def test_loss_is_told_again_until_a_backup_tells_it(host: Host) -> None:
    host.write("one\n")
    host.write("other\n", "b.log")
    host.take()
    (host.logs / "app.log").unlink()
    for published in (False, True):
        host.take(published=published)
        assert "is not found any more" in host.parts.warnings[0]


@pytest.mark.parametrize("pattern", ["*.log", "*.log*"])
def test_log_that_was_done_with_is_missed_by_nobody(tmp_path: Path, pattern: str) -> None:
    """Each rotation removes the oldest one, which was stored long ago."""
    host = Host(tmp_path, pattern)
    host.write("one\n")
    host.take()
    host.rotate()
    host.write("two\n")
    host.take()
    (host.logs / "app.log.1").unlink()
    host.rotate("app.log.2")
    host.write("three\n")
    assert host.take()["app.log"] == b"three\n"
    assert host.parts.warnings == []


def test_log_of_a_day_long_past_is_missed_by_nobody(host: Host) -> None:
    host.write("one\n", "app-2025-12-29.log")
    host.write("two\n", "app-2025-12-30.log")
    os.utime(host.logs / "app-2025-12-29.log", (1, 1))
    host.take()
    (host.logs / "app-2025-12-29.log").unlink()
    host.take()
    assert host.parts.warnings == []
    (host.logs / "app-2025-12-30.log").unlink()
    host.write("three\n", "app-2025-12-31.log")
    host.take()
    assert "app-2025-12-30.log was at the previous backup" in host.parts.warnings[0]


def test_what_is_no_more_asked_for_is_missed_by_nobody(host: Host) -> None:
    host.write("one\n")
    host.take()
    (host.logs / "app.log").unlink()
    host.asked = Include(host.logs / "*.txt", kind=LOGS, required=False)
    host.write("other\n", "b.txt")
    assert host.take() == {"b.txt": b"other\n"}
    assert host.parts.warnings == []


def test_name_that_is_gone_meanwhile_hides_no_rotated_log(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.write("one\n")
    host.take()
    host.write("two\n")
    host.rotate()
    host.write("three\n")
    names = log_parts.places.names
    # Somebody lists the directory, and then a temporary file goes away.
    monkeypatch.setattr(log_parts.places, "names", lambda path: ["aaa.tmp", *names(path)])
    assert host.take() == {"app.log": b"three\n", "app.log.1": b"two\n"}


def test_more_names_than_are_looked_at_are_told(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_parts, "_MOST_NAMES", 2)
    for name in ("a.txt", "b.txt", "app.log"):
        host.write("one\n", name)
    host.take()
    assert f"{host.logs} has 3 names, and only 2 are looked at" in host.parts.warnings[0]


def test_more_rotated_logs_than_can_be_meant_are_not_stored(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_parts, "_MOST_FILES", 2)
    host.write("one\n")
    host.take()
    for number in range(1, 5):
        host.write("rotated\n", f"app.log.{number}")
    assert len(host.take()) == 2
    assert host.parts.warnings == ["more than 2 logs were rotated since the previous backup: the others are not stored"]


def test_log_that_is_not_read_by_the_deadline_comes_with_a_later_backup(host: Host) -> None:
    host.write("one\n")
    host.seconds = 0
    assert host.take() == {}
    assert "could not be read before the timeout" in host.parts.warnings[0]
    host.seconds = None
    assert host.take() == {"app.log": b"one\n"}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a log that is open from being cut")
@pytest.mark.parametrize("required", [False, True])
def test_log_that_is_cut_while_it_is_read_is_read_again(tmp_path: Path, required: bool) -> None:
    host = Host(tmp_path, limit_bytes=1 << 23, required=required)
    host.write("old\n" * 1_000_000)

    def cut() -> None:
        if (host.logs / "app.log").stat().st_size > 100:
            (host.logs / "app.log").write_text("new\n")

    assert host.take(meddle=cut) == {"app.log": b"new\n"}
    (origin,) = host.parts.origins
    assert (origin.start, origin.end) == (0, 4)
    assert host.take() == {}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a log that is open from being cut")
def test_of_a_log_that_is_cut_all_the_time_nothing_stays_and_nothing_is_forgotten(host: Host) -> None:
    host.asked = Include(host.asked.src, kind=LOGS, required=False, limit_bytes=1 << 23)
    host.write("other\n", "b.log")
    host.write("old\n" * 1_000_000)

    def cut() -> None:
        (host.logs / "app.log").write_text(f"{os.urandom(4).hex()}\n" * 400_000)

    assert host.take(meddle=cut) == {"b.log": b"other\n"}
    (warning,) = host.parts.warnings
    assert "app.log: it was cut while it was read" in warning
    assert [each.path for each in host.parts.origins] == ["files/logs/b.log"]
    assert len(host.take()["app.log"]) == 3_600_000


@pytest.mark.parametrize("required", [False, True])
def test_part_that_cannot_be_written_is_no_matter_of_the_log(tmp_path: Path, required: bool) -> None:
    host = Host(tmp_path, required=required)
    host.write("one\n")
    (tmp_path / "staging-1").mkdir()
    (tmp_path / "staging-1" / "files").touch()
    with pytest.raises(EngineError, match="Cannot write "):
        host.take()


def test_settings_are_no_logs(tmp_path: Path) -> None:
    host = Host(tmp_path, "*")
    host.write("TOKEN=hunter2\n", ".env")
    host.write("TOKEN=hunter2\n", ".env.local")
    host.write("one\n")
    assert host.take() == {"app.log": b"one\n"}


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
    host.note.write_bytes(content)
    assert host.take() == {"app.log": b"one\n"}
    assert host.take() == {}


@pytest.mark.parametrize("scheme", ["none", "age"])
def test_the_note_tells_no_more_than_the_backup(host: Host, scheme: str) -> None:
    host.encryption = keys.scheme(scheme)[0]
    host.write("a line that is a secret\n", "wombat.log")
    host.take()
    note = host.note.read_text()
    assert ("wombat" in note) == (scheme == "none")
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
