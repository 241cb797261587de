# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One reading of an image: what is stored of it, what is learnt from it, and what goes on beside it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import random
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import pages, reading
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import (
    Beside,
    Reading,
    Storage,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.clock import Deadline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    SourceBusyError,
    UsageError,
)
from support import databases, images, keys, limits
from support.images import MemorySnapshot

PAGE_SIZE = 16
# A statement that never ends.
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


def noise(page_count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(page_count * PAGE_SIZE)


def with_page(content: bytes, number: int, page: bytes) -> bytes:
    begin = (number - 1) * PAGE_SIZE
    return content[:begin] + page.ljust(PAGE_SIZE, b"!") + content[begin + PAGE_SIZE :]


@contextlib.contextmanager
def index_of(path: Path, content: bytes) -> Iterator[pages.Index]:
    path.unlink(missing_ok=True)
    writer = pages.IndexWriter()
    writer.add(pages.digests(content, PAGE_SIZE))
    writer.write(path, {})
    with contextlib.ExitStack() as opened:
        index = opened.enter_context(pages.open_index(path, len(content) // PAGE_SIZE))
        assert index is not None
        yield index


# --- artifacts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compression", "scheme", "name"),
    [
        ("none", "none", "database.sqlite"),
        ("gzip", "none", "database.sqlite.gz"),
        ("xz", "none", "database.sqlite.xz"),
        pytest.param("zstd", "none", "database.sqlite.zst", marks=keys.needs_zstd),
        pytest.param("none", "age", "database.sqlite.age", marks=keys.needs_age),
        pytest.param("gzip", "gpg-passphrase", "database.sqlite.gz.gpg", marks=keys.needs_gpg),
    ],
)
def test_artifact_tells_how_to_read_it(tmp_path: Path, compression: str, scheme: str, name: str) -> None:
    """By its name to a person, by its entry to a program."""
    encryption, known = keys.scheme(scheme)
    storage = Storage(tmp_path, compression, None, encryption)
    stored = storage.write("database.sqlite", "image", [b"first ", b"second"], compressed=True)
    content = (tmp_path / name).read_bytes()
    assert (stored.path, stored.role) == (name, "image")
    assert (stored.compression, stored.encryption) == (compression, encryption.method)
    assert (stored.bytes, stored.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    with codec.open_artifact(tmp_path / name, stored.compression, stored.encryption, known) as stream:
        assert b"".join(iter(lambda: stream.read(100), b"")) == b"first second"


@keys.needs_age
def test_only_what_is_meant_to_be_is_compressed_and_all_of_it_is_encrypted(tmp_path: Path) -> None:
    storage = Storage(tmp_path, "gzip", 9, keys.scheme("age")[0])
    assert storage.write("schema.sql", "schema", [b"x"]).path == "schema.sql.age"
    assert sorted(os.listdir(tmp_path)) == ["schema.sql.age"]


def test_level_of_compression_is_passed_on(tmp_path: Path) -> None:
    content = [b"".join(b"%d ran for %d ms\n" % (n % 97, n * 7919 % 1009) for n in range(20_000))]
    fast = Storage(tmp_path, "gzip", 1).write("fast", "image", content, compressed=True)
    assert Storage(tmp_path, "gzip", 9).write("small", "image", content, compressed=True).bytes < fast.bytes
    with pytest.raises(UsageError):
        Storage(tmp_path, "gzip", 99).write("wrong", "image", content, compressed=True)
    assert Storage(tmp_path, "gzip", 99).write("plain", "schema", content).bytes == len(content[0])


def test_artifacts_and_their_directories_are_private(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Storage(tmp_path / "new").write("files/deep/below/log", "include", [b"secret"])
    finally:
        os.umask(before)
    modes = {each.relative_to(tmp_path).as_posix(): stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes.pop("new/files/deep/below/log") == 0o600
    assert set(modes.values()) == {0o700}
    assert len(modes) == 4


def test_artifact_never_takes_the_place_of_another(tmp_path: Path) -> None:
    Storage(tmp_path).write("a", "include", [b"precious"])
    with pytest.raises(EngineError, match="exists"):
        Storage(tmp_path).write("a", "include", [b"other"])
    assert (tmp_path / "a").read_bytes() == b"precious"


# --- one reading ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_count", [0, 1, 3, 7])
@pytest.mark.parametrize("indexed", [False, True])
def test_whole_image_is_read_once_and_known_afterwards(tmp_path: Path, page_count: int, indexed: bool) -> None:
    content = noise(page_count)
    image = MemorySnapshot(content, PAGE_SIZE)
    index = pages.IndexWriter() if indexed else None
    told: list[tuple[int, int]] = []
    reading = Reading(image, index, lambda done, total: told.append((done, total)))
    assert b"".join(reading.whole()) == content
    assert image.chunks_read == -(-page_count // 3)
    assert (reading.sha256, reading.changed_pages) == (hashlib.sha256(content).hexdigest(), page_count)
    assert told == [(min(done, page_count), page_count) for done in range(3, page_count + 3, 3)]
    if index is not None:
        index.write(tmp_path / "index", {})
        with pages.open_index(tmp_path / "index", page_count) as found:
            assert found is not None
            assert found.read(100) == pages.digests(content, PAGE_SIZE)


def test_image_of_which_only_the_bytes_are_known_is_read_whole() -> None:
    """A damaged header names no page size."""
    image = MemorySnapshot(noise(5), PAGE_SIZE)
    image.page_size = 0
    image.chunks = lambda: iter([b"some bytes", b"and more"])  # type: ignore[method-assign]
    reading = Reading(image)
    assert b"".join(reading.whole()) == b"some bytesand more"
    assert reading.sha256 == hashlib.sha256(b"some bytesand more").hexdigest()


@pytest.mark.parametrize("changed", [(), (1,), (7,), (2, 3, 9), tuple(range(1, 11))])
def test_changed_pages_are_streamed_and_counted(tmp_path: Path, changed: tuple[int, ...]) -> None:
    old = new = noise(10)
    for number in changed:
        new = with_page(new, number, b"changed")
    writer = pages.IndexWriter()
    reading = Reading(MemorySnapshot(new, PAGE_SIZE), writer)
    with index_of(tmp_path / "old", old) as index:
        stream = b"".join(reading.changes(index))
    assert stream == images.stream_of(PAGE_SIZE, 10, images.records_between(old, new, PAGE_SIZE))
    assert (reading.changed_pages, reading.sha256) == (len(changed), hashlib.sha256(new).hexdigest())
    writer.write(tmp_path / "new", {})
    with pages.open_index(tmp_path / "new", 10) as index_of_new:
        assert index_of_new is not None
        assert index_of_new.read(10) == pages.digests(new, PAGE_SIZE)


@pytest.mark.parametrize(("page_count", "expected"), [(4, []), (10, []), (12, [11, 12])])
def test_pages_that_are_new_have_changed_and_those_that_are_gone_have_not(
    tmp_path: Path, page_count: int, expected: list[int]
) -> None:
    new = noise(12)[: page_count * PAGE_SIZE]
    reading = Reading(MemorySnapshot(new, PAGE_SIZE))
    with index_of(tmp_path / "old", noise(12)[: 10 * PAGE_SIZE]) as index:
        stream = b"".join(reading.changes(index))
    records = [(number, images.pages_of(new, PAGE_SIZE)[number - 1]) for number in expected]
    assert stream == images.stream_of(PAGE_SIZE, page_count, records)
    assert reading.changed_pages == len(expected)


@pytest.mark.parametrize(("limit", "raises"), [(None, False), (4, False), (3, True), (0, True)])
def test_more_changes_than_the_limit_are_too_many(tmp_path: Path, limit: int | None, raises: bool) -> None:
    new = noise(10)
    for number in (1, 2, 8, 10):
        new = with_page(new, number, b"changed")
    image = MemorySnapshot(new, PAGE_SIZE)
    with index_of(tmp_path / "old", noise(10)) as index:
        with pytest.raises(reading.TooManyChangesError) if raises else contextlib.nullcontext():
            list(Reading(image).changes(index, limit_pages=limit))
    # It stops where it knows.
    assert image.chunks_read == (1 if limit == 0 else 4)


@pytest.mark.parametrize(("changed", "chunks_read"), [((), 4), ((1, 10), 1), ((8, 10), 3), ((10,), 4)])
def test_nothing_comes_before_the_first_change(tmp_path: Path, changed: tuple[int, ...], chunks_read: int) -> None:
    """A run in which nothing changed begins no artifact and starts no check."""
    new = noise(10)
    for number in changed:
        new = with_page(new, number, b"changed")
    image = MemorySnapshot(new, PAGE_SIZE)
    with index_of(tmp_path / "old", noise(10)) as index:
        stream = Reading(image).changes(index)
        first = next(stream)
        assert image.chunks_read == chunks_read
        assert first.startswith(pages.header(PAGE_SIZE, 10))
        assert len(first) > 24
        for _piece in stream:
            pass


def test_failure_of_the_image_is_what_is_raised() -> None:
    """Also with a digest on its way on another core."""
    image = MemorySnapshot(noise(9), PAGE_SIZE)
    good = image.chunks

    def broken() -> Iterator[bytes]:
        yield from itertools.islice(good(), 2)
        raise SourceBusyError("on purpose")

    image.chunks = broken  # type: ignore[method-assign]
    before = threading.active_count()
    with pytest.raises(SourceBusyError, match="on purpose"):
        list(Reading(image).whole())
    assert threading.active_count() == before


# --- the same image ------------------------------------------------------------------------------------------------


def test_image_of_an_index_is_recognised(tmp_path: Path) -> None:
    with index_of(tmp_path / "old", noise(10)) as index:
        for _round in range(3):
            image = MemorySnapshot(noise(10), PAGE_SIZE)
            assert reading.is_image_of(index, image, 10)
            assert image.chunks_read == 4


def test_other_image_is_found_at_its_first_page_that_differs(tmp_path: Path) -> None:
    with index_of(tmp_path / "old", noise(10)) as index:
        for number in range(1, 11):
            image = MemorySnapshot(with_page(noise(10), number, b"other"), PAGE_SIZE)
            assert not reading.is_image_of(index, image, 10)
            assert image.chunks_read == 1 + (number - 1) // 3
        assert reading.is_image_of(index, MemorySnapshot(noise(10), PAGE_SIZE), 10)


@pytest.mark.parametrize("page_count", [1, 9])
def test_image_of_another_length_is_not_read(tmp_path: Path, page_count: int) -> None:
    """The pages that the two have in common may all be the same."""
    with index_of(tmp_path / "old", noise(10)) as index:
        image = MemorySnapshot(noise(10)[: page_count * PAGE_SIZE], PAGE_SIZE)
        assert not reading.is_image_of(index, image, 10)
        assert image.chunks_read == 0


# --- beside --------------------------------------------------------------------------------------------------------


@pytest.fixture
def image(tmp_path: Path) -> Iterator[MemorySnapshot]:
    """An image with a connection, and a look at whether a thread stays behind."""
    path = databases.make(tmp_path / "a.db", journal_mode="delete", page_size=512)
    before = threading.active_count()
    with contextlib.closing(sqlite3.connect(path, check_same_thread=False)) as connection, limits.within(10):
        try:
            yield MemorySnapshot(path.read_bytes(), 512, connection=connection)
        finally:
            left_behind = threading.active_count() - before
            # A test that fails must not keep the run from ending.
            while threading.active_count() > before:
                connection.interrupt()
                time.sleep(0.01)
    assert left_behind == 0


def count(image: MemorySnapshot, sql: str = "SELECT count(*) FROM item") -> int:
    assert image.connection is not None
    return int(image.connection.execute(sql).fetchone()[0])


def test_result_of_the_work_beside_is_handed_over(image: MemorySnapshot) -> None:
    with Beside(image, lambda: (count(image), threading.get_ident())) as beside:
        beside.start()
        found, thread = beside.result(Deadline(None))
    assert found == 3
    assert thread != threading.get_ident()


def test_work_is_done_once_and_not_before_it_is_asked_for(image: MemorySnapshot) -> None:
    done: list[int] = []
    with Beside(image, lambda: done.append(1)):
        pass
    assert done == []
    with Beside(image, lambda: done.append(1)) as beside:
        beside.start()
        beside.start()
        beside.result(Deadline(None))
        beside.result(Deadline(None))
    assert done == [1]
    with Beside(image, lambda: done.append(1)) as beside:
        beside.result(Deadline(None))
    assert done == [1, 1]


def test_failure_of_the_work_is_what_its_result_raises(image: MemorySnapshot) -> None:
    def fail() -> None:
        raise SourceBusyError("on purpose")

    with Beside(image, fail) as beside:
        beside.start()
        with pytest.raises(SourceBusyError, match="on purpose"):
            beside.result(Deadline(None))


def test_deadline_ends_a_long_check(image: MemorySnapshot) -> None:
    begin = time.monotonic()
    with pytest.raises(SourceBusyError, match="^the check did not end before the timeout"):
        with Beside(image, lambda: count(image, ENDLESS)) as beside:
            beside.result(Deadline(0.2))
    assert 0.2 <= time.monotonic() - begin < 10


@pytest.mark.parametrize("fails", [True, False])
def test_long_check_is_interrupted_when_nobody_wants_its_result(image: MemorySnapshot, fails: bool) -> None:
    """A full disk, or a database that turns out to be unchanged, must not wait for a check of hours."""
    begun = threading.Event()

    def check() -> int:
        begun.set()
        return count(image, ENDLESS)

    with pytest.raises(ZeroDivisionError) if fails else contextlib.nullcontext():
        with Beside(image, check) as beside:
            beside.start()
            assert begun.wait(5)
            if fails:
                raise ZeroDivisionError
    assert count(image) == 3, "the connection can still be used"


def test_check_of_many_statements_is_interrupted_until_it_ends(image: MemorySnapshot) -> None:
    """An interrupt ends only the statement that runs just then, and quick_check is followed by others."""
    statements: list[str] = []

    def check() -> None:
        for _round in range(3):
            with contextlib.suppress(sqlite3.OperationalError):
                count(image, ENDLESS)
            statements.append("interrupted")

    with Beside(image, check) as beside:
        beside.start()
    assert statements == ["interrupted"] * 3


def test_work_without_a_connection_is_waited_for(image: MemorySnapshot) -> None:
    """Of a source that SQLite cannot open there is nothing to interrupt."""
    image.connection = None
    done: list[int] = []

    def work() -> None:
        time.sleep(0.1)
        done.append(1)

    with Beside(image, work) as beside:
        beside.start()
    assert done == [1]
