# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write-ahead log of a live database, against the files that SQLite itself writes."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import sqlite3
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import wal
from support import databases

PAGE_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
HEADER_BYTES = 48
VERSION, READY = slice(0, 4), slice(12, 13)
NOISE = "INSERT INTO item(name) VALUES (hex(randomblob(?)))"


@contextlib.contextmanager
def live(path: Path, *, page_size: int = 4096, rows: int = 3, setup: str = "") -> Iterator[sqlite3.Connection]:
    """A WAL database that is open, with one commit in its log, and that nobody checkpoints."""
    databases.make(path, page_size=page_size, rows=rows, setup=setup)
    with contextlib.closing(databases.open_writer(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("INSERT INTO item(name) VALUES ('in the log')")
        yield connection


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def start_of_index(path: Path) -> bytes:
    """What the engine looks at of the ``-shm``."""
    return path.with_name(f"{path.name}-shm").read_bytes()[: wal.INDEX_BYTES]


def index_of(path: Path) -> wal.Index:
    index = wal.parse_index(start_of_index(path))
    assert index is not None
    return index


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def merged(path: Path, index: wal.Index) -> bytes:
    """The image of the commit ``index``, put together from the database file and its log."""
    content = bytearray(path.read_bytes().ljust(index.page_count * index.page_size, b"\0"))
    with opened(log_of(path)) as log:
        frames = wal.Frames(log, index)
        for page, frame in frames.pages(1, index.page_count):
            begin = (page - 1) * index.page_size
            content[begin : begin + index.page_size] = frames.read(frame)
    return bytes(content[: index.page_count * index.page_size])


def folded(path: Path, scratch: Path) -> bytes:
    """The same image as SQLite makes it: what a checkpoint writes into a copy of the two files."""
    copy = scratch / "folded.db"
    databases.copy_live(path, copy)
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    content = copy.read_bytes()
    copy.unlink()
    return content


# --- the wal-index -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_index_names_the_newest_commit(tmp_path: Path, page_size: int) -> None:
    path = tmp_path / "a.db"
    with live(path, page_size=page_size, rows=500) as connection:
        index = index_of(path)
        (page_count,) = connection.execute("PRAGMA page_count").fetchone()
        log = log_of(path).read_bytes()
        assert (index.page_size, index.page_count, index.backfilled) == (page_size, page_count, 0)
        assert index.frames == (len(log) - 32) // (24 + page_size) > 0
        assert index.salt == log[16:24]
        assert index.checksum == struct.unpack_from(">II", log, len(log) - page_size - 8)


def test_index_is_another_one_after_every_commit_but_not_after_a_checkpoint(tmp_path: Path) -> None:
    """The engine takes two equal headers for "nobody committed in between", and counts what is in the file by now."""
    path = tmp_path / "a.db"
    with live(path) as connection:
        first = index_of(path)
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        copied = index_of(path)
        assert copied == dataclasses.replace(first, backfilled=first.frames)
        connection.execute("INSERT INTO item(name) VALUES ('first of a log that starts again')")
        restarted = index_of(path)
        connection.execute("INSERT INTO item(name) VALUES ('second')")
        headers = {each.header for each in (first, restarted, index_of(path))}
    assert len(headers) == 3
    assert (restarted.frames, restarted.backfilled) == (1, 0)
    assert restarted.salt != first.salt


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The beginning of a real ``-shm``."""
    path = tmp_path_factory.mktemp("shm") / "a.db"
    with live(path):
        return start_of_index(path)


def native_checksum(header: bytes) -> bytes:
    """As the walformat page describes it, over the 40 bytes before it."""
    sums = [0, 0]
    for number, (word,) in enumerate(struct.iter_unpack("=I", header[:40])):
        sums[number % 2] = (sums[number % 2] + word + sums[1 - number % 2]) % 2**32
    return struct.pack("=II", *sums)


def changed(start: bytes, place: slice, value: bytes) -> bytes:
    """The wal-index with other bytes in its header, in both copies, and with their checksum."""
    header = bytearray(start[:HEADER_BYTES])
    header[place] = value
    header[40:] = native_checksum(header)
    return bytes(header) * 2 + start[2 * HEADER_BYTES :]


def test_header_with_its_checksum_is_read(start: bytes) -> None:
    """Else the tests of the checksum below would show nothing."""
    assert wal.parse_index(changed(start, VERSION, start[VERSION])) == wal.parse_index(start)
    assert wal.parse_index(changed(start, slice(20, 24), struct.pack("=I", 77))).page_count == 77  # type: ignore[union-attr]


@pytest.mark.parametrize("copy", [0, HEADER_BYTES])
def test_copies_that_differ_are_torn(start: bytes, copy: int) -> None:
    """A writer changes the second copy first, so two that are the same were not being written."""
    for bit in range(HEADER_BYTES * 8):
        torn = bytearray(start)
        torn[copy + bit // 8] ^= 1 << bit % 8
        assert wal.parse_index(bytes(torn)) is None


def test_header_that_differs_from_its_checksum_is_torn(start: bytes) -> None:
    """Both copies can be read half-way through the writing of two commits."""
    for bit in range(HEADER_BYTES * 8):
        header = bytearray(start[:HEADER_BYTES])
        header[bit // 8] ^= 1 << bit % 8
        assert wal.parse_index(bytes(header) * 2 + start[2 * HEADER_BYTES :]) is None


@pytest.mark.parametrize(
    ("place", "value"),
    [(VERSION, struct.pack("=I", 3007001)), (VERSION, struct.pack("=I", 3006999)), (READY, b"\0")],
)
def test_index_of_another_version_or_without_content_is_not_used(start: bytes, place: slice, value: bytes) -> None:
    assert wal.parse_index(changed(start, place, value)) is None


@pytest.mark.parametrize("filler", [b"\0", b"\xff"])
def test_index_that_was_never_filled_is_not_used(filler: bytes) -> None:
    """After a crash, or a truncation, the ``-shm`` is zeros until somebody opens the database."""
    assert wal.parse_index(filler * wal.INDEX_BYTES) is None


@given(st.binary(min_size=wal.INDEX_BYTES, max_size=wal.INDEX_BYTES), st.booleans())
def test_no_bytes_make_the_reader_of_the_index_fail(data: bytes, doubled: bool) -> None:
    """Whatever is there, it is a reason to copy, not a traceback."""
    header = data[:40] + native_checksum(data[:40])
    found = wal.parse_index(header * 2 + data[2 * HEADER_BYTES :] if doubled else data)
    assert found is None or found.header == header


# --- the frames ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", PAGE_SIZES)
def test_frames_give_what_a_checkpoint_would_write(tmp_path: Path, page_size: int) -> None:
    """Pages that were written once, many times and never since the last checkpoint."""
    path = tmp_path / "a.db"
    with live(path, page_size=page_size, rows=2000) as connection:
        before = path.read_bytes()
        for number in range(8):
            connection.execute("UPDATE item SET name = name || ? WHERE id % 100 = 7", (number,))
            connection.execute(NOISE, (page_size,))
        index = index_of(path)
        written = index.frames
        with opened(log_of(path)) as log:
            found = wal.Frames(log, index).pages(1, index.page_count)
        assert merged(path, index) == folded(path, tmp_path)
        assert path.read_bytes() == before
    assert 0 < len(found) < written
    assert [page for page, _frame in found] == sorted({page for page, _frame in found})


def test_page_has_the_newest_frame_of_its_commit(tmp_path: Path) -> None:
    """Each commit writes the same two pages, or one: what was true at a commit stays readable after the next."""
    path = tmp_path / "a.db"
    with live(path) as connection:
        moments = []
        for number in range(5):
            connection.execute("UPDATE item SET name = ?", (f"round {number}",))
            moments.append((index_of(path), folded(path, tmp_path)))
        for index, image in moments:
            assert merged(path, index) == image
            with opened(log_of(path)) as log:
                assert [frame for _page, frame in wal.Frames(log, index).pages(2, 1)] == [index.frames]
    assert len({image for _index, image in moments}) == 5


def spill(connection: sqlite3.Connection) -> None:
    """Begin a transaction that is too large for the cache: frames of it get into the log before its commit."""
    connection.execute("PRAGMA cache_size=5")
    connection.execute("BEGIN")
    connection.execute("UPDATE item SET name = 'not committed ' || id")


@pytest.mark.parametrize("end", ["", "ROLLBACK", "ROLLBACK and another commit"])
def test_frames_of_a_transaction_that_did_not_commit_are_not_seen(tmp_path: Path, end: str) -> None:
    path = tmp_path / "a.db"
    with live(path, page_size=512, rows=500) as connection:
        committed = log_of(path).stat().st_size
        spill(connection)
        assert log_of(path).stat().st_size > committed + 20 * 536
        if end:
            connection.execute("ROLLBACK")
        if "commit" in end:
            connection.execute("INSERT INTO item(name) VALUES ('over the frames that were taken back')")
        index = index_of(path)
        assert 32 + index.frames * 536 < log_of(path).stat().st_size
        image = merged(path, index)
        assert image == folded(path, tmp_path)
    assert b"not committed" not in image


def test_frames_of_a_later_commit_are_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with live(path) as connection:
        index, image = index_of(path), folded(path, tmp_path)
        connection.execute("UPDATE item SET name = 'later ' || id")
        connection.execute(NOISE, (50_000,))
        assert merged(path, index) == image


@pytest.mark.parametrize("shrink", ["VACUUM", "PRAGMA incremental_vacuum"])
def test_pages_behind_the_end_after_a_shrinking_commit_are_gone(tmp_path: Path, shrink: str) -> None:
    """Their frames are still in the log."""
    path = tmp_path / "a.db"
    setup = "PRAGMA auto_vacuum=INCREMENTAL; CREATE TABLE big(x)"
    with live(path, setup=setup) as connection:
        connection.execute("INSERT INTO big VALUES(randomblob(200000))")
        large = index_of(path).page_count
        connection.execute("DELETE FROM big")
        connection.executescript(shrink)
        index = index_of(path)
        assert index.page_count < large - 40
        assert merged(path, index) == folded(path, tmp_path)
        with opened(log_of(path)) as log:
            found = wal.Frames(log, index).pages(1, large)
        assert max(page for page, _frame in found) <= index.page_count
        connection.execute("INSERT INTO big VALUES(randomblob(300000))")
        assert merged(path, index_of(path)) == folded(path, tmp_path)


def test_part_of_the_pages_is_looked_up(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with live(path, rows=3000) as connection:
        connection.execute("PRAGMA wal_checkpoint(RESTART)")
        connection.execute("UPDATE item SET name = 'x' WHERE id IN (1, 3000)")
        index = index_of(path)
        with opened(log_of(path)) as log:
            frames = wal.Frames(log, index)
            everywhere = list(frames.pages(1, index.page_count))
            assert len(everywhere) == index.frames == 2
            assert [list(frames.pages(page, 1)) for page, _frame in everywhere] == [[each] for each in everywhere]
            between = everywhere[0][0] + 1
            assert not frames.pages(between, everywhere[1][0] - between)
            assert list(frames.pages(between, 100_000)) == everywhere[1:]


@pytest.mark.parametrize("mode", ["RESTART", "TRUNCATE"])
def test_log_that_started_again_is_read_as_far_as_it_is_new(tmp_path: Path, mode: str) -> None:
    """With RESTART the frames of the time before are still behind the new ones, and look just like them."""
    path = tmp_path / "a.db"
    with live(path, rows=500) as connection:
        connection.execute("UPDATE item SET name = 'old ' || id")
        old = index_of(path)
        assert connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[0] == 0
        connection.execute("UPDATE item SET name = 'new' WHERE id = 1")
        index = index_of(path)
        assert merged(path, index) == folded(path, tmp_path)
        with opened(log_of(path)) as log:
            with pytest.raises(ValueError, match="do not belong together"):
                wal.Frames(log, old)
            more = dataclasses.replace(index, frames=index.frames + 1)
            with pytest.raises(ValueError, match="another time" if mode == "RESTART" else "shorter"):
                wal.Frames(log, more)


Change = Callable[[wal.Index], wal.Index]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda index: dataclasses.replace(index, page_count=index.page_count + 1), id="page_count"),
        pytest.param(lambda index: dataclasses.replace(index, checksum=(index.checksum[0], 1)), id="checksum"),
        pytest.param(lambda index: dataclasses.replace(index, frames=index.frames - 1), id="frames"),
        pytest.param(lambda index: dataclasses.replace(index, frames=0), id="no frames"),
    ],
)
def test_last_frame_must_be_the_commit_of_the_index(tmp_path: Path, change: Change) -> None:
    """A log of the same time with another commit at this place: the index was overtaken."""
    path = tmp_path / "a.db"
    with live(path, rows=500) as connection:
        connection.execute("UPDATE item SET name = 'x' || id")
        with opened(log_of(path)) as log, pytest.raises(ValueError, match="not the commit"):
            wal.Frames(log, change(index_of(path)))


@pytest.mark.parametrize(
    ("offset", "what"),
    [(3, "magic"), (7, "version"), (10, "page size"), (16, "first salt"), (23, "second salt")],
)
def test_log_of_another_kind_or_time_is_refused(tmp_path: Path, offset: int, what: str) -> None:
    path = tmp_path / "a.db"
    with live(path):
        index = index_of(path)
        copy = tmp_path / "copy-wal"
        copy.write_bytes(log_of(path).read_bytes())
        databases.flip_bit(copy, offset)
        with opened(copy) as log, pytest.raises(ValueError, match="do not belong together"):
            wal.Frames(log, index)


def test_frame_of_another_time_is_refused_wherever_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with live(path) as connection:
        connection.execute(NOISE, (20_000,))
        index = index_of(path)
        content = log_of(path).read_bytes()
        for frame in range(index.frames):
            for offset in (8, 15):
                copy = tmp_path / "copy-wal"
                copy.write_bytes(content)
                databases.flip_bit(copy, 32 + frame * 4120 + offset)
                with opened(copy) as log, pytest.raises(ValueError, match=f"frame {frame + 1} of the -wal"):
                    wal.Frames(log, index)


def test_log_that_is_cut_anywhere_is_refused(tmp_path: Path) -> None:
    """Not when a frame is looked up, then when its page is read: never a page that is too short."""
    path = tmp_path / "a.db"
    with live(path, page_size=512) as connection:
        connection.execute(NOISE, (1000,))
        index = index_of(path)
        content = log_of(path).read_bytes()
    lengths = {0, 31, 32, *random.Random(1).sample(range(len(content)), 100), len(content) - 512, len(content) - 1}
    for length in lengths:
        copy = tmp_path / "copy-wal"
        copy.write_bytes(content[:length])
        with opened(copy) as log, pytest.raises(ValueError, match="shorter than"):
            frames = wal.Frames(log, index)
            for _page, frame in frames.pages(1, index.page_count):
                assert len(frames.read(frame)) == 512
