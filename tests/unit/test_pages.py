# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Digests of pages, the stream of those that changed, and the index that must never be believed too easily."""

from __future__ import annotations

import hashlib
import io
import os
import random
import stat
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import pages
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Reading
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    EngineError,
)
from support import databases, images

PAGE_SIZE = 8
FACTS = {"image_sha256": "5" * 64, "readers": "salt:digest"}


def noise(page_count: int, seed: int = 1, page_size: int = PAGE_SIZE) -> bytes:
    return random.Random(seed).randbytes(page_count * page_size)


def index_in(path: Path, content: bytes, facts: dict[str, str] | None = None) -> Path:
    writer = pages.IndexWriter()
    writer.add(pages.digests(content, PAGE_SIZE))
    writer.write(path, FACTS if facts is None else facts)
    return path


def is_whole(path: Path, page_count: int) -> bool:
    with pages.open_index(path, page_count) as index:
        return index is not None


# --- digests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page_size", [512, 4096, 65536])
@pytest.mark.parametrize("page_count", [0, 1, 5])
def test_digest_of_each_page_is_half_of_its_sha256(page_size: int, page_count: int) -> None:
    content = noise(page_count, page_size=page_size)
    expected = [hashlib.sha256(page).digest()[:16] for page in images.pages_of(content, page_size)]
    assert pages.digests(content, page_size) == b"".join(expected)


@given(st.lists(st.integers(0, 2), max_size=8), st.lists(st.integers(0, 2), max_size=8))
def test_place_has_changed_unless_the_old_image_has_the_same_there(old: list[int], new: list[int]) -> None:
    """Also where the old image was shorter, and where only a part of the digest differs."""
    digest = [b"same" * 4, b"same" * 3 + b"last", b"1st!" + b"same" * 3]
    found = pages.changed_places(b"".join(digest[each] for each in old), b"".join(digest[each] for each in new))
    assert found == [place for place, each in enumerate(new) if old[place : place + 1] != [each]]


# --- the stream ----------------------------------------------------------------------------------------------------


class Dribble(io.BytesIO):
    """A stream that gives less than it is asked for, as a pipe does."""

    def __init__(self, content: bytes, most: int) -> None:
        super().__init__(content)
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, self._most))


def applied(old: bytes, stream: bytes, page_count: int, *, page_size: int = PAGE_SIZE, most: int = 1 << 20) -> bytes:
    """What becomes of the image ``old``."""
    with tempfile.TemporaryFile(buffering=0) as image:
        image.write(old)
        pages.apply(Dribble(stream, most), image, page_size=page_size, page_count=page_count, where="/b/changes")  # type: ignore[arg-type]
        image.seek(0)
        return image.read() or b""


def changes(old: bytes, new: bytes, *, page_size: int = PAGE_SIZE, chunk_pages: int = 3) -> bytes:
    """The stream that a backup of ``new`` on top of one of ``old`` stores."""
    with tempfile.TemporaryDirectory() as directory:
        writer = pages.IndexWriter()
        writer.add(pages.digests(old, page_size))
        writer.write(Path(directory, "index"), {})
        with pages.open_index(Path(directory, "index"), len(old) // page_size) as index:
            assert index is not None
            image = images.MemorySnapshot(new, page_size, chunk_pages=chunk_pages)
            return b"".join(Reading(image).changes(index))


def image_of(numbers: Sequence[int], page_size: int) -> bytes:
    """An image whose pages are one of a few, so that some are the same in two images."""
    return b"".join(number.to_bytes(page_size, "big") for number in numbers)


NUMBERS = st.lists(st.integers(0, 3), max_size=12)


@settings(deadline=None)
@given(NUMBERS, NUMBERS, st.sampled_from([1, 8, 512]), st.integers(1, 5), st.integers(1, 40))
def test_changes_make_the_one_image_into_the_other(
    before: list[int], after: list[int], page_size: int, chunk_pages: int, most: int
) -> None:
    """Whatever the two have in common, whichever is longer, in pieces of any size."""
    old, new = image_of(before, page_size), image_of(after, page_size)
    stream = changes(old, new, page_size=page_size, chunk_pages=chunk_pages)
    assert stream == images.stream_of(page_size, len(after), images.records_between(old, new, page_size))
    assert applied(old, stream, len(after), page_size=page_size, most=most) == new


def test_stream_is_what_the_documentation_says() -> None:
    """docs/format.md: a stranger reads it, and it must not change."""
    expected = b"SQLite pages\0\0\0\1" + b"\0\0\0\2" + b"\0\0\0\3" + b"\0\0\0\1ab" + b"\0\0\0\3ef" + b"\0\0\0\0"
    assert pages.header(2, 3) + pages.record(1, b"ab") + pages.record(3, memoryview(b"ef")) + pages.END == expected
    assert applied(b"....", expected, 3, page_size=2) == b"ab..ef"


def test_large_stream_is_applied_across_all_its_pieces() -> None:
    """Pages begin anywhere in what is read at once."""
    old, new = noise(300, 1, 65536 // 8), noise(400, 2, 65536 // 8)
    stream = changes(old, new, page_size=65536 // 8, chunk_pages=128)
    assert len(stream) > 3 << 20
    assert applied(old, stream, 400, page_size=65536 // 8) == new


OLD, NEW = noise(5, 1), noise(2, 1) + noise(4, 2)
RECORDS = images.records_between(OLD, NEW, PAGE_SIZE)
STREAM = images.stream_of(PAGE_SIZE, 6, RECORDS)


def assert_damaged(stream: bytes, match: str = "/b/changes") -> None:
    for most in (1 << 20, 7, 1):
        with pytest.raises(BackupDamagedError, match=match):
            applied(OLD, stream, 6, most=most)


def test_stream_of_the_tests_of_damage_is_whole() -> None:
    """Else they would show nothing."""
    assert [number for number, _page in RECORDS] == [3, 4, 5, 6]
    assert applied(OLD, STREAM, 6) == NEW


def test_stream_that_is_cut_anywhere_is_damage() -> None:
    for length in range(len(STREAM)):
        assert_damaged(STREAM[:length], "ends too early")


@pytest.mark.parametrize("tail", [b"\0", bytes(4), b"x" * 100, STREAM])
def test_bytes_behind_the_end_are_damage(tail: bytes) -> None:
    """A page number of zero in the middle would otherwise silently leave out the rest."""
    assert_damaged(STREAM + tail, "goes on behind its end")


@pytest.mark.parametrize(
    ("numbers", "match"),
    [
        ([3, 0, 5, 6], "goes on"),
        ([3, 4, 6, 5], "names the page 5 behind 6"),
        ([3, 3, 5, 6], "names the page 3 behind 3"),
        ([3, 4, 5, 7], "names the page 7 behind 5, of 6"),
        ([3, 4, 5, 2**32 - 1], "names the page 4294967295"),
    ],
)
def test_numbers_that_no_writer_would_write_are_damage(numbers: list[int], match: str) -> None:
    records = [(number, page) for number, (_number, page) in zip(numbers, RECORDS)]
    assert_damaged(images.stream_of(PAGE_SIZE, 6, records), match)


def test_stream_of_another_image_is_damage() -> None:
    """Another format, page size or page count than the manifest says."""
    for bit in range(images.STREAM_HEADER_BYTES * 8):
        damaged = bytearray(STREAM)
        damaged[bit // 8] ^= 1 << bit % 8
        assert_damaged(bytes(damaged), "does not hold the changed pages")


# --- the index -----------------------------------------------------------------------------------------------------


def test_index_gives_back_its_digests_in_order(tmp_path: Path) -> None:
    content = noise(7)
    digests = pages.digests(content, PAGE_SIZE)
    with pages.open_index(index_in(tmp_path / "index", content), 7) as index:
        assert index is not None
        assert {key: index.facts[key] for key in FACTS} == FACTS
        for _round in range(2):
            assert index.read(3) == digests[:48]
            assert index.read(100) == digests[48:]
            assert index.read(1) == b""
            index.rewind()


def test_index_is_private_from_its_first_byte(tmp_path: Path) -> None:
    """Who knows a page can find out by its digest whether it is in the database."""
    before = os.umask(0)
    try:
        index_in(tmp_path / "index", noise(3))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "index").stat().st_mode) == 0o600


def test_index_takes_the_place_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "index").write_bytes(b"precious")
    with pytest.raises(EngineError, match="exists"):
        index_in(tmp_path / "index", noise(3))
    assert (tmp_path / "index").read_bytes() == b"precious"


def test_index_that_is_cut_anywhere_is_not_used(tmp_path: Path) -> None:
    path = index_in(tmp_path / "index", noise(3))
    whole = path.read_bytes()
    assert is_whole(path, 3)
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert not is_whole(path, 3)


def test_index_with_a_flipped_bit_in_its_digests_is_not_used(tmp_path: Path) -> None:
    """A digest that is wrong could make a page that changed look as if it had not."""
    path = index_in(tmp_path / "index", noise(3))
    whole = bytearray(path.read_bytes())
    for bit in range(3 * 16 * 8):
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        whole[bit // 8] ^= 1 << bit % 8
        assert not is_whole(path, 3)


def test_flipped_bit_in_the_facts_is_never_a_failure(tmp_path: Path) -> None:
    """The facts are compared one by one by whoever uses them; the digests are still right."""
    path = index_in(tmp_path / "index", noise(3))
    whole = bytearray(path.read_bytes())
    unusable = 0
    for bit in range(3 * 16 * 8, len(whole) * 8):
        whole[bit // 8] ^= 1 << bit % 8
        path.write_bytes(whole)
        whole[bit // 8] ^= 1 << bit % 8
        with pages.open_index(path, 3) as index:
            unusable += index is None
            assert index is None or index.facts["digests_sha256"] == hashlib.sha256(whole[:48]).hexdigest()
    assert 64 * 8 < unusable < (len(whole) - 48) * 8


@pytest.mark.parametrize("page_count", [0, 1, 2, 4, 5, 1 << 30])
def test_index_of_another_number_of_pages_is_not_used(tmp_path: Path, page_count: int) -> None:
    assert not is_whole(index_in(tmp_path / "index", noise(3)), page_count)


def _remove(path: Path) -> None:
    path.unlink()


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _other_facts(text: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:48] + text.encode())

    return change


@pytest.mark.parametrize(
    "change",
    [
        _remove,
        _directory,
        _empty,
        *map(_other_facts, ["[]", "null", "{}", '{"digests_sha256": 5}', "\x00", "{" * 100, '"' + "5" * 64 + '"']),
    ],
)
def test_what_is_no_index_is_none(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = index_in(tmp_path / "index", noise(3))
    change(path)
    assert not is_whole(path, 3)


def test_failure_of_whoever_uses_an_index_is_what_is_raised(tmp_path: Path) -> None:
    """It is not taken for one of the index."""
    path = index_in(tmp_path / "index", noise(3))
    for error in (OSError, ValueError):
        for page_count in (3, 4):
            with pytest.raises(error, match="on purpose"), pages.open_index(path, page_count):
                raise error("on purpose")


def test_index_of_a_real_database_finds_the_page_that_changed(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", rows=500, page_size=512, journal_mode="delete")
    old = path.read_bytes()
    databases.add(path, "new")
    new = path.read_bytes()
    stream = changes(old, new, page_size=512, chunk_pages=10)
    assert 28 < len(stream) <= 28 + 4 * 516
    assert applied(old, stream, len(new) // 512, page_size=512) == new
