# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import pipeline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.pipeline import (
    Command,
    ProgramFailedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    PermissionDeniedError,
    ProgramMissingError,
    from_os_error,
)
from support import leftovers, limits
from support.processes import small_disk

MEBIBYTE = 1024 * 1024
NOISE = random.Random(1).randbytes(8 * MEBIBYTE)
TIMEOUT_SECONDS = 20.0
CAT = Command(("cat",))
# Says, to whoever does not take it away, more than any pipe holds.
TALKATIVE = "head -c 3000000 /dev/zero | tr '\\0' x >&2"


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path) -> Iterator[None]:
    with leftovers.nothing_left(TIMEOUT_SECONDS):
        yield


def shell(script: str, proof: str = "") -> Command:
    return Command(("sh", "-c", script), proof=proof)


class Collector:
    """A sink that keeps what it is given, or refuses it from some size on."""

    def __init__(self, room: int = 1 << 60) -> None:
        self.taken = bytearray()
        self.closed = False
        self._room = room

    def write(self, data: bytes, /) -> int:
        if len(self.taken) + len(data) > self._room:
            raise OSError(errno.ENOSPC, "full")
        self.taken += data
        return len(data)

    def close(self) -> None:
        self.closed = True


@contextlib.contextmanager
def writing(commands: list[Command], sink: Collector) -> Iterator[pipeline.Filter]:
    row = pipeline.Filter(commands, sink)
    try:
        yield row
    finally:
        row.end()


def write_all(commands: list[Command], sink: Collector, data: bytes = NOISE) -> None:
    with writing(commands, sink) as written:
        for start in range(0, len(data), MEBIBYTE):
            written.write(data[start : start + MEBIBYTE])
        written.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").write_bytes(NOISE)
    return tmp_path / "source"


def read_all(commands: list[Command], source: Path, size: int = MEBIBYTE) -> bytes:
    pieces = []
    with open(source, "rb") as file, pipeline.reading(commands, file) as stream:
        while piece := stream.read(size):
            pieces.append(piece)
    return b"".join(pieces)


def pour(commands: list[Command], source: Path, target: Path, limit_bytes: int = 1 << 40) -> bytes:
    with open(source, "rb") as file, open(target, "wb") as to:
        pipeline.pour(commands, file, to, limit_bytes=limit_bytes)
    return target.read_bytes()


def kill_child(name: str) -> None:
    """End one of the programs as the kernel does when memory is short."""
    os.kill(leftovers.children()[name], signal.SIGKILL)


# --- through ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("size", [0, 1, len(NOISE)])
def test_content_goes_through_every_program(tmp_path: Path, count: int, size: int) -> None:
    """The pipes between them hold far less than it."""
    (tmp_path / "source").write_bytes(NOISE[:size])
    sink = Collector()
    write_all([CAT] * count, sink, NOISE[:size])
    assert bytes(sink.taken) == NOISE[:size]
    assert sink.closed
    assert read_all([CAT] * count, tmp_path / "source") == NOISE[:size]
    assert pour([CAT] * count, tmp_path / "source", tmp_path / "target") == NOISE[:size]


def test_programs_read_one_another_in_order(tmp_path: Path) -> None:
    row = [shell(f"cat; printf {each}") for each in "abc"]
    (tmp_path / "source").write_bytes(b"0")
    sink = Collector()
    write_all(row, sink, b"0")
    assert bytes(sink.taken) == read_all(row, tmp_path / "source") == b"0abc"
    assert pour(row, tmp_path / "source", tmp_path / "target") == b"0abc"


def test_sink_takes_while_more_is_written() -> None:
    """Nothing is collected on the way."""
    sink = Collector()
    with writing([CAT, CAT], sink) as written:
        written.write(b"x" * MEBIBYTE)
        while len(sink.taken) < MEBIBYTE:
            time.sleep(0.001)
        written.close()


def test_program_that_says_much_does_not_wait_for_us(source: Path) -> None:
    """Its messages go through a pipe, too, and a full one would stop it, and with it everything."""
    row = [shell(f"{TALKATIVE}; cat"), shell(f"{TALKATIVE}; cat; {TALKATIVE}")]
    sink = Collector()
    write_all(row, sink)
    assert bytes(sink.taken) == NOISE
    assert read_all(row, source) == NOISE


def test_stream_is_read_in_whole_pieces(source: Path) -> None:
    """Who reads pages needs all the bytes of one, however the pipe splits them."""
    with open(source, "rb") as file, pipeline.reading([shell("dd bs=1000 2>/dev/null")], file) as stream:
        assert len(stream.read(MEBIBYTE)) == MEBIBYTE


def test_messages_of_programs_are_in_english_and_settings_reach_them(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they say is compared with what they are known to say."""
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    command = Command(("sh", "-c", "printf %s:%s $LC_ALL $SETTING"), environment={"SETTING": "given"})
    assert read_all([command], source) == b"C:given"


def test_descriptor_reaches_only_the_program_that_needs_it(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    with open(tmp_path / "secret", "rb") as secret:
        number = secret.fileno()
        given = Command(("sh", "-c", f"cat /dev/fd/{number}"), descriptors=(number,))
        other = shell(f"cat; test -e /proc/self/fd/{number} || printf -- -none")
        assert read_all([given, other], source) == b"secret-none"


# --- failing ---------------------------------------------------------------------------------------------------------

# Which program of the row is named when these three run: what comes before it loses its reader, what comes behind it
# gets half an input and complains about that.
ROWS = [
    pytest.param(["exit 3", "cat", "cat"], 3, id="first, at once"),
    pytest.param(["cat", "exit 3", "cat"], 3, id="middle, at once"),
    pytest.param(["cat", "cat", "exit 3"], 3, id="last, at once"),
    pytest.param(["head -c 200000; exit 3", "cat", "cat"], 3, id="first, later"),
    pytest.param(["cat", "head -c 200000; exit 3", "cat; exit 9"], 3, id="middle, later, and the last complains"),
    pytest.param(["cat; exit 3", "cat; exit 9", "cat; exit 9"], 3, id="first, at the end, and the others complain"),
    pytest.param(["cat", "cat", "cat; exit 3"], 3, id="last, at the end"),
    pytest.param(["trap '' PIPE; cat", "head -c 9; exit 3", "cat"], 3, id="who lost its reader only says so"),
    pytest.param(["cat", "kill -9 $$", "cat; exit 9"], -9, id="killed"),
]


@pytest.mark.parametrize(("scripts", "code"), ROWS)
def test_program_that_failed_first_is_the_one_that_is_named(
    source: Path, tmp_path: Path, scripts: list[str], code: int
) -> None:
    """Not the one whose pipe broke because of that: "broken pipe" helps nobody."""
    row = [shell(f"{script}") for script in scripts]
    with pytest.raises(ProgramFailedError) as written:
        write_all(row, Collector())
    with pytest.raises(ProgramFailedError) as read:
        read_all(row, source)
    with pytest.raises(ProgramFailedError) as poured:
        pour(row, source, tmp_path / "target")
    assert [each.value.exit_code for each in (written, read, poured)] == [code] * 3


@pytest.mark.parametrize("row", [["true"], ["cat", "true"], ["cat", "true", "cat"]])
def test_program_that_does_not_read_everything_has_failed(source: Path, tmp_path: Path, row: list[str]) -> None:
    """It is content, with exit code 0; what it wrote is half an artifact all the same."""
    commands = [Command((name,)) for name in row]
    with pytest.raises(ProgramFailedError, match="true.*did not read everything"):
        write_all(commands, Collector())
    if len(row) > 1:
        with pytest.raises(ProgramFailedError, match="true .*did not read everything"):
            read_all(commands, source)
        with pytest.raises(ProgramFailedError, match="true .*did not read everything"):
            pour(commands, source, tmp_path / "target")


def test_exit_code_0_without_the_proof_is_a_failure(source: Path) -> None:
    """A program may be content with less than was asked for."""
    assert read_all([shell("cat; echo all done >&2", proof="all done")], source) == NOISE
    with pytest.raises(ProgramFailedError, match="failed with exit code 0: half done"):
        read_all([shell("cat; echo half done >&2", proof="all done")], source)


def test_proof_counts_however_much_is_said_before_it(source: Path) -> None:
    assert read_all([shell(f"cat; {TALKATIVE}; echo; echo done >&2", proof="done")], source)


def test_end_of_a_stream_is_told_only_when_it_is_the_end(source: Path) -> None:
    """A reader takes the end for proof: it must not see one before the failure."""
    with open(source, "rb") as file, pipeline.reading([shell("head -c 10; sleep 0.2; exit 3")], file) as stream:
        assert len(stream.read(10)) == 10
        with pytest.raises(ProgramFailedError, match="exit code 3"):
            stream.read(1)


def test_words_of_a_program_are_kept_short_and_clean(source: Path) -> None:
    """One that quotes the file that it cannot read must not fill a log, or a terminal, with it."""
    junk = "echo '[GNUPG:] STATUS 1' >&2; printf 'it is bad: \\033[31m' >&2; head -c 100000 /dev/urandom >&2; exit 1"
    with pytest.raises(ProgramFailedError) as caught:
        read_all([shell(junk)], source)
    message = caught.value.message
    assert message.startswith("sh failed with exit code 1: it is bad: ?[31m")
    assert len(message) < 500
    assert message.isprintable()


def test_signal_is_told_as_such(source: Path) -> None:
    with pytest.raises(EngineError, match=r"sh was ended by signal 15\. Run again\."):
        read_all([shell("kill -15 $$")], source)


@pytest.mark.parametrize("victim", ["cat", "tr", "dd"])
def test_program_killed_in_the_middle_of_writing_ends_it_at_once(victim: str) -> None:
    row = [Command(("cat",)), Command(("tr", "a", "a")), Command(("dd",))]
    with writing(row, Collector()) as written:
        written.write(NOISE[:MEBIBYTE])
        kill_child(victim)
        with pytest.raises(ProgramFailedError, match=f"{victim} was ended by signal 9"):
            for _round in range(100):
                written.write(NOISE[:MEBIBYTE])


@pytest.mark.parametrize("victim", ["cat", "tr", "dd"])
def test_program_killed_in_the_middle_of_reading_ends_it_at_once(victim: str) -> None:
    row = [Command(("cat",)), Command(("tr", "a", "a")), Command(("dd",))]
    with open("/dev/zero", "rb", buffering=0) as endless, pipeline.reading(row, endless) as stream:
        assert stream.read(65536)
        kill_child(victim)
        with pytest.raises(ProgramFailedError, match=f"{victim} was ended by signal 9"):
            while stream.read(65536):
                pass


def test_program_that_does_not_end_with_its_neighbours_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped, swapped out, or waiting for something else: it must not hold up the message about the failure."""
    monkeypatch.setattr(pipeline, "_LOST_SECONDS", 0.2)
    row = [shell("exec sleep 1000"), shell("exit 3")]
    with writing(row, Collector()) as written, pytest.raises(ProgramFailedError, match="exit code 3"):
        time.sleep(0.1)
        for _round in range(100):
            written.write(NOISE[:MEBIBYTE])


@pytest.mark.parametrize("room", [0, 100_000, len(NOISE) - 1])
@pytest.mark.parametrize("count", [1, 3])
def test_failure_of_the_sink_is_what_is_raised(room: int, count: int) -> None:
    """The programs wait for us to take their output while we wait for them to take our input."""
    sink = Collector(room)
    with pytest.raises(OSError, match="full"):
        write_all([CAT] * count, sink)
    assert not sink.closed


def test_failure_of_the_sink_that_nobody_expected_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends the taking, what was taken is not the whole."""
    monkeypatch.setattr(threading, "excepthook", lambda _arguments: None)

    class Broken(Collector):
        def write(self, data: bytes, /) -> int:
            return len(data) // 0

    with pytest.raises(EngineError):
        write_all([CAT], Broken(), b"x")


def test_failure_goes_on_being_raised() -> None:
    with writing([shell("exit 3")], Collector()) as written:
        for _round in range(3):
            with pytest.raises(ProgramFailedError, match="exit code 3"):
                while True:
                    written.write(NOISE)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_program_is_named_and_leaves_none_of_the_others(source: Path, place: int) -> None:
    row = [CAT, CAT]
    row.insert(place, Command(("no-such-program",)))
    with pytest.raises(ProgramMissingError, match="no-such-program: it is not installed"):
        write_all(row, Collector())
    with pytest.raises(ProgramMissingError, match="no-such-program: it is not installed"):
        read_all(row, source)


def test_program_that_may_not_be_run_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "program").write_text("#!/bin/sh\n")
    with pytest.raises(PermissionError) as caught:
        write_all([CAT, Command((str(tmp_path / "program"),))], Collector())
    assert isinstance(from_os_error("Cannot", caught.value), PermissionDeniedError)


def test_no_thread_to_be_had_leaves_no_program(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def refuse(thread: threading.Thread) -> None:
        started.append(thread)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="new thread"):
        read_all([CAT], source)
    assert started


# --- stopping early --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 3])
def test_reader_may_stop_at_any_time(source: Path, count: int) -> None:
    with open(source, "rb") as file, pipeline.reading([CAT] * count, file) as stream:
        assert stream.read(10) == NOISE[:10]
    with open(source, "rb") as file, pipeline.reading([CAT] * count, file):
        pass


def test_failure_of_the_reader_is_what_is_raised(source: Path) -> None:
    with pytest.raises(ZeroDivisionError), open(source, "rb") as file, pipeline.reading([CAT, CAT], file) as stream:
        stream.read(10)
        raise ZeroDivisionError


def test_writer_may_give_up_at_any_time() -> None:
    with pytest.raises(ZeroDivisionError), writing([CAT, CAT], Collector()) as written:
        written.write(NOISE)
        raise ZeroDivisionError


def test_interruption_while_a_program_takes_its_time_ends_it() -> None:
    with pytest.raises(TimeoutError), writing([shell("exec sleep 1000")], Collector()) as written:
        with limits.within(0.2):
            written.close()


def test_programs_cannot_ask_a_terminal(source: Path) -> None:
    """A question that nobody sees would hold up a run for ever."""
    assert read_all([shell("(: </dev/tty) 2>/dev/null && echo yes || echo no")], source) == b"no\n"


def test_output_is_taken_up_to_its_limit(source: Path) -> None:
    with open(source, "rb") as file:
        assert pipeline.output_of(shell("printf abc"), file, limit_bytes=10) == b"abc"
        assert pipeline.output_of(CAT, file, limit_bytes=10) == NOISE[:10]
        with pytest.raises(ProgramFailedError, match="exit code 3"):
            pipeline.output_of(shell("exit 3"), file, limit_bytes=10)


# --- straight into a file --------------------------------------------------------------------------------------------


def test_file_that_grows_too_large_ends_the_programs(tmp_path: Path) -> None:
    """What promises a small database, and unpacks to more than the disk holds."""
    endless = shell("exec cat /dev/zero")
    (tmp_path / "source").touch()
    content = pour([endless, CAT], tmp_path / "source", tmp_path / "target", limit_bytes=1000)
    assert len(content) > 1000, "the caller sees it by the size"


def test_full_disk_under_a_program_is_told_as_such(source: Path) -> None:
    """By the program's words: its exit code is that of a damaged input."""
    with small_disk(2 * MEBIBYTE) as disk, pytest.raises(OSError, match="No space") as caught:
        pour([CAT, CAT], source, disk / "target")
    assert caught.value.errno == errno.ENOSPC


def test_limit_on_the_size_of_files_is_told_as_a_full_disk(source: Path, tmp_path: Path) -> None:
    """The kernel ends a program with a signal there, where Python gets an error."""
    with limits.full_disk_after(100_000), pytest.raises(OSError, match="too large") as caught:
        pour([CAT, CAT], source, tmp_path / "target")
    assert caught.value.errno == errno.EFBIG


def test_failure_in_front_of_the_last_program_is_not_the_disk(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ProgramFailedError, match="exit code 3"):
        pour([shell("exit 3"), CAT], source, tmp_path / "target")


def test_what_was_written_before_stays_before(source: Path, tmp_path: Path) -> None:
    """A buffer that is flushed later would land in the middle."""
    with open(source, "rb") as file, open(tmp_path / "target", "wb") as target:
        target.write(b"before")
        pipeline.pour([shell("printf after")], file, target, limit_bytes=files.CHUNK_BYTES)
    assert (tmp_path / "target").read_bytes() == b"beforeafter"
