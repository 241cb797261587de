# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import errno
import hashlib
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec, encryption
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    EngineError,
    KeyRejectedError,
    NoSpaceError,
    ProgramMissingError,
    UsageError,
)
from support import keys, leftovers, limits
from support.keys import ZSTD, needs_zstd
from support.processes import small_disk

MEBIBYTE = 1024 * 1024
TIMEOUT_SECONDS = 300.0

every_compression = pytest.mark.parametrize("compression", ["none", "gzip", "xz", ZSTD])
every_real_compression = pytest.mark.parametrize("compression", ["gzip", "xz", ZSTD])
# Behind an encryption one of them says what this Python does with any; the others are for one Python, at leisure.
_leisure = [pytest.param(name, marks=pytest.mark.slow) for name in ("none", "gzip", "xz")]
every_compression_inside = pytest.mark.parametrize("compression", [*_leisure, ZSTD])
# The fourth, a key with a passphrase, is for test_encryption: here it would only be slow.
every_scheme = pytest.mark.parametrize("name", [keys.AGE, keys.GPG_PASSPHRASE, keys.GPG_KEY])


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path) -> Iterator[None]:
    keys.make_all()
    with leftovers.nothing_left(TIMEOUT_SECONDS):
        yield


def noise(size: int, seed: int = 1) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def text(size: int) -> bytes:
    """Bytes that every compression makes much smaller."""
    return (b"one line of a log that repeats itself\n" * (size // 38 + 1))[:size]


def write(path: Path, pieces: Iterable[bytes], compression: str, level: int | None = None) -> codec.ArtifactWriter:
    with codec.ArtifactWriter(path, compression=compression, level=level) as writer:
        for piece in pieces:
            writer.write(piece)
    return writer


def read(path: Path, compression: str, size: int = MEBIBYTE) -> bytes:
    pieces = []
    with codec.open_artifact(path, compression) as stream:
        while piece := stream.read(size):
            pieces.append(piece)
    return b"".join(pieces)


def artifact(path: Path, content: bytes, compression: str) -> bytes:
    """Write it, and return what is stored."""
    path.unlink(missing_ok=True)
    write(path, [content], compression)
    return path.read_bytes()


# --- there and back ------------------------------------------------------------------------------------------------


@every_compression
@pytest.mark.parametrize("make", [noise, text])
@pytest.mark.parametrize("size", [0, 1, 4096, MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 5 * MEBIBYTE + 7])
def test_content_comes_back(tmp_path: Path, compression: str, make: object, size: int) -> None:
    """Every byte, whatever the size: more than any buffer or pipe between the stages, and none at all."""
    content = make(size)  # type: ignore[operator]
    pieces = [content[start : start + MEBIBYTE] for start in range(0, size, MEBIBYTE)]
    write(tmp_path / "a", pieces, compression, level=0 if compression == "xz" else 1)
    assert read(tmp_path / "a", compression) == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.lists(st.binary(max_size=3000), max_size=6), st.integers(1, 4000), st.sampled_from(["none", "gzip", "xz"]))
def test_pieces_of_any_size_give_the_same_content(
    tmp_path: Path, pieces: list[bytes], read_size: int, compression: str
) -> None:
    (tmp_path / "a").unlink(missing_ok=True)
    write(tmp_path / "a", pieces, compression)
    assert read(tmp_path / "a", compression, read_size) == b"".join(pieces)


@every_compression
def test_size_and_digest_are_those_of_the_file(tmp_path: Path, compression: str) -> None:
    """The manifest takes them from here; a later look at the file must find the same."""
    writer = write(tmp_path / "a", [noise(2 * MEBIBYTE)], compression, level=1)
    stored = (tmp_path / "a").read_bytes()
    assert (writer.stored_bytes, writer.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())


@every_compression
def test_artifact_is_private_and_on_the_disk(tmp_path: Path, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        fsync(descriptor)
        flushed.append((os.fstat(descriptor).st_ino, os.fstat(descriptor).st_size))

    monkeypatch.setattr(os, "fsync", record)
    before = os.umask(0)
    try:
        writer = write(tmp_path / "a", [text(10_000)], compression)
    finally:
        os.umask(before)
    status = (tmp_path / "a").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert flushed == [(status.st_ino, writer.stored_bytes)], "flushed once, and only when it was complete"


@needs_zstd
def test_artifact_is_flushed_only_when_the_last_byte_has_arrived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of zstd's output may still be on its way to the file when zstd itself is done."""
    flushing = threading.Event()
    arrive = files.write_all
    main = threading.get_ident()

    def arrive_late(file: BinaryIO, data: bytes) -> None:
        if threading.get_ident() != main:
            flushing.wait(0.2)
        arrive(file, data)

    fsync, sizes = os.fsync, []

    def record(descriptor: int) -> None:
        sizes.append(os.fstat(descriptor).st_size)
        flushing.set()
        fsync(descriptor)

    monkeypatch.setattr(files, "write_all", arrive_late)
    monkeypatch.setattr(os, "fsync", record)
    writer = write(tmp_path / "a", [noise(1000)], "zstd")
    assert sizes == [writer.stored_bytes]


@every_real_compression
def test_compression_compresses(tmp_path: Path, compression: str) -> None:
    assert len(artifact(tmp_path / "a", text(MEBIBYTE), compression)) < MEBIBYTE // 50


@every_compression
def test_same_content_gives_the_same_artifact(tmp_path: Path, compression: str) -> None:
    """No time and no name in it: two copies can be compared."""
    assert artifact(tmp_path / "a", text(50_000), compression) == artifact(tmp_path / "b", text(50_000), compression)


@pytest.mark.parametrize("program", ["gzip", "xz", "zstd"])
@pytest.mark.parametrize("size", [0, 3 * MEBIBYTE])
def test_person_needs_none_of_our_code(tmp_path: Path, program: str, size: int) -> None:
    """A restore must be possible when everything of ours is gone."""
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")
    path = tmp_path / f"a{codec.SUFFIXES[program]}"
    write(path, [text(size)], program)
    subprocess.run([program, "-d", str(path)], check=True, capture_output=True)
    assert (tmp_path / "a").read_bytes() == text(size)


@every_real_compression
def test_what_the_program_itself_writes_is_read(tmp_path: Path, compression: str) -> None:
    if not shutil.which(compression):
        pytest.skip(f"{compression} is not installed")
    (tmp_path / "a").write_bytes(text(MEBIBYTE))
    subprocess.run([compression, str(tmp_path / "a")], check=True, capture_output=True)
    assert read(tmp_path / f"a{codec.SUFFIXES[compression]}", compression) == text(MEBIBYTE)


# --- choosing ------------------------------------------------------------------------------------------------------


def program_named(directory: Path, name: str) -> None:
    program = directory / (f"{name}.exe" if sys.platform == "win32" else name)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)


def test_auto_is_zstd_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program_named(tmp_path, "zstd")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert codec.choose_compression("auto") == "zstd"


def test_auto_is_gzip_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert codec.choose_compression("auto") == "gzip"


@pytest.mark.parametrize("name", ["none", "gzip", "xz", "zstd"])
def test_named_compression_is_taken_at_its_word(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never another one silently, whatever is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert codec.choose_compression(name) == name


@pytest.mark.parametrize("name", ["", "bzip2", "ZSTD"])
def test_unknown_compression_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError, match="auto, none, gzip, xz, zstd"):
        codec.choose_compression(name)


@pytest.mark.parametrize(("compression", "lowest", "highest"), [("gzip", 1, 9), ("xz", 0, 9), ("zstd", 1, 19)])
def test_level_must_be_one_that_the_compression_has(compression: str, lowest: int, highest: int) -> None:
    assert [codec.check_level(compression, level) for level in (lowest, highest)] == [lowest, highest]
    for level in (lowest - 1, highest + 1):
        with pytest.raises(UsageError, match=f"Use {lowest} to {highest}"):
            codec.check_level(compression, level)


@every_real_compression
def test_level_is_passed_on(tmp_path: Path, compression: str) -> None:
    content = "".join(f"{number % 97} ran for {number * 7919 % 1009} ms\n" for number in range(20_000)).encode()
    fast = write(tmp_path / "fast", [content], compression, level=1)
    small = write(tmp_path / "small", [content], compression, level=9)
    assert small.stored_bytes < fast.stored_bytes


def test_wrong_level_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        codec.ArtifactWriter(tmp_path / "a", compression="gzip", level=99)
    assert not list(tmp_path.iterdir())


def test_missing_zstd_is_an_error_and_never_a_plain_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    before = os.listdir("/proc/self/fd") if sys.platform == "linux" else []
    with pytest.raises(ProgramMissingError, match="zstd: it is not installed") as caught:
        write(tmp_path / "a", [b"x"], "zstd")
    # Also while somebody keeps the error, and with it whatever was open.
    assert caught.value
    assert (os.listdir("/proc/self/fd") if before else []) == before
    (tmp_path / "b").write_bytes(b"x")
    with pytest.raises(ProgramMissingError, match="zstd: it is not installed"):
        read(tmp_path / "b", "zstd")


# --- damage --------------------------------------------------------------------------------------------------------


@every_real_compression
def test_artifact_cut_anywhere_is_damage(tmp_path: Path, compression: str) -> None:
    """Half an image that looks complete is the worst that a backup can be. Nothing at all is also half."""
    whole = artifact(tmp_path / "a", text(20_000), compression)
    for length in range(0, len(whole), 7 if compression == "zstd" else 1):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError, match="Cannot unpack"):
            read(tmp_path / "a", compression)


@every_real_compression
@pytest.mark.slow
def test_large_artifact_cut_is_damage(tmp_path: Path, compression: str) -> None:
    whole = artifact(tmp_path / "a", noise(3 * MEBIBYTE), compression)
    for length in (MEBIBYTE, 2 * MEBIBYTE + 1, len(whole) - 1):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError):
            read(tmp_path / "a", compression)


@every_real_compression
def test_flipped_bit_never_gives_other_content(tmp_path: Path, compression: str) -> None:
    """Some bits of a header carry nothing (a time, an operating system); all others must be missed."""
    content = text(300) + noise(40)
    whole = bytearray(artifact(tmp_path / "a", content, compression))
    detected = 0
    for position in range(len(whole)):
        whole[position] ^= 1 << position % 8
        (tmp_path / "a").write_bytes(whole)
        whole[position] ^= 1 << position % 8
        try:
            assert read(tmp_path / "a", compression) == content
        except BackupDamagedError:
            detected += 1
    assert detected > len(whole) * 0.8


@every_real_compression
@pytest.mark.parametrize("tail", [b"garbage that follows", bytes(1), bytes(512)])
@pytest.mark.parametrize("size", [0, 2 * MEBIBYTE])
def test_bytes_behind_the_end_are_damage(tmp_path: Path, compression: str, tail: bytes, size: int) -> None:
    """A file that grew is not the file that was written, even where what was written can still be read."""
    whole = artifact(tmp_path / "a", text(size), compression)
    (tmp_path / "a").write_bytes(whole + tail)
    with pytest.raises(BackupDamagedError):
        read(tmp_path / "a", compression)


@pytest.mark.parametrize("compression", ["gzip", "xz"])
def test_second_artifact_behind_the_first_is_damage(tmp_path: Path, compression: str) -> None:
    whole = artifact(tmp_path / "a", text(100), compression)
    (tmp_path / "a").write_bytes(whole + whole)
    with pytest.raises(BackupDamagedError, match="it holds more than it should"):
        read(tmp_path / "a", compression)


@every_real_compression
def test_artifact_of_another_compression_is_damage(tmp_path: Path, compression: str) -> None:
    # The program zstd may know gzip and xz, too: what it makes of those is still held against the image's digest.
    for other in {"none"} if compression == "zstd" else {"none", "gzip", "xz"} - {compression}:
        artifact(tmp_path / "a", noise(5000), other)
        with pytest.raises(BackupDamagedError):
            read(tmp_path / "a", compression)


def test_unknown_compression_of_an_artifact_is_a_usage_error(tmp_path: Path) -> None:
    """A newer version may have stored it: it is not damaged."""
    (tmp_path / "a").write_bytes(b"x")
    with pytest.raises(UsageError, match="stored with 'brotli'.*Update"):
        read(tmp_path / "a", "brotli")


@needs_zstd
def test_image_that_goes_on_behind_its_size_is_damage(tmp_path: Path) -> None:
    """Who reads only as much as the manifest says must still learn that there was more, and must not wait."""
    artifact(tmp_path / "a", text(8 * MEBIBYTE), "zstd")
    with pytest.raises(BackupDamagedError, match="more than it should"):
        with codec.open_artifact(tmp_path / "a", "zstd") as stream:
            assert stream.read(1000) == text(1000)


@every_compression
def test_failure_of_the_reader_is_what_is_raised(tmp_path: Path, compression: str) -> None:
    """A full disk under a restore must not be called a damaged backup."""
    artifact(tmp_path / "a", text(8 * MEBIBYTE), compression)
    with pytest.raises(OSError, match="full"), codec.open_artifact(tmp_path / "a", compression) as stream:
        stream.read(1000)
        raise OSError(errno.ENOSPC, "full")


# --- failing while writing -----------------------------------------------------------------------------------------


@every_compression
@pytest.mark.parametrize("space", [0, 1, 100, MEBIBYTE])
def test_full_disk_is_told_as_such_and_nothing_hangs(tmp_path: Path, compression: str, space: int) -> None:
    """Zstd waits for us to take its output while we wait for it to take our input: neither may wait for ever."""
    pieces = [noise(MEBIBYTE, seed) for seed in range(8)]
    with (
        limits.full_disk_after(space),
        pytest.raises(NoSpaceError, match=f"Cannot write {re.escape(str(tmp_path / 'a'))}"),
    ):
        write(tmp_path / "a", pieces, compression, level=1)


@every_compression
def test_disk_that_is_full_at_the_last_byte_is_told_as_such(tmp_path: Path, compression: str) -> None:
    """What a filter holds back is written when it is closed, and must not be lost silently there."""
    size = len(artifact(tmp_path / "a", noise(200_000), compression))
    with limits.full_disk_after(size - 1), pytest.raises(NoSpaceError):
        write(tmp_path / "b", [noise(200_000)], compression)


@every_compression
def test_failure_in_the_block_is_what_is_raised(tmp_path: Path, compression: str) -> None:
    """A source that cannot be read must not become "zstd failed"."""
    with pytest.raises(ZeroDivisionError), codec.ArtifactWriter(tmp_path / "a", compression=compression) as writer:
        writer.write(noise(2 * MEBIBYTE))
        raise ZeroDivisionError


@every_compression
def test_artifact_never_takes_the_place_of_a_file(tmp_path: Path, compression: str) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(EngineError, match="file exists"):
        write(tmp_path / "a", [b"x"], compression)
    assert (tmp_path / "a").read_bytes() == b"precious"


@pytest.mark.parametrize("script", ["cat >/dev/null; echo broken >&2; exit 3", "exit 3"])
def test_zstd_that_fails_is_an_error_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """Its exit code decides: an artifact that it did not finish must not be published."""
    program_named(tmp_path, "zstd")
    (tmp_path / "zstd").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(EngineError, match="zstd failed with exit code 3") as caught:
        write(tmp_path / "a", [noise(MEBIBYTE)] * 3, "zstd")
    assert ("broken" in caught.value.message) == ("broken" in script)


def test_nothing_is_held_in_memory(tmp_path: Path) -> None:
    """What was written is on its way: a filter that collected it would need as much memory as the database is long."""
    with codec.ArtifactWriter(tmp_path / "a") as writer:
        writer.write(b"x" * files.CHUNK_BYTES)
        assert (tmp_path / "a").stat().st_size == files.CHUNK_BYTES


# --- encryption ------------------------------------------------------------------------------------------------------


def seal(path: Path, content: bytes, compression: str, wanted: Encryption) -> codec.ArtifactWriter:
    with codec.ArtifactWriter(path, compression=compression, level=1, encryption=wanted) as writer:
        for start in range(0, len(content), MEBIBYTE):
            writer.write(content[start : start + MEBIBYTE])
    return writer


def more_than_pipes_hold(compression: str) -> bytes:
    """So that programs still run when something happens; Python's own compressions are slow, and no program."""
    return noise(100_000 if compression in {"gzip", "xz"} else 4 * MEBIBYTE)


def unseal(path: Path, compression: str, method: str, given_keys: Keys) -> bytes:
    with codec.open_artifact(path, compression, method, given_keys) as stream:
        return b"".join(iter(lambda: stream.read(MEBIBYTE), b""))


def unpack(path: Path, compression: str, name: str, limit_bytes: int = 1 << 40) -> bytes:
    wanted, given_keys = keys.scheme(name)
    target = path.with_name("unpacked")
    target.unlink(missing_ok=True)
    with files.create_private(target) as file:
        count = codec.unpack_into(
            path, file, compression=compression, encryption=wanted.method, keys=given_keys, limit_bytes=limit_bytes
        )
    content = target.read_bytes()
    assert count == len(content)
    return content


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [*keys.SCHEMES[:3], pytest.param("gpg-locked-key", marks=[keys.needs_gpg, pytest.mark.slow])]
)
@every_compression_inside
@pytest.mark.parametrize("make", [noise, text])
@pytest.mark.parametrize("size", [0, 1, 65536, pytest.param(5 * MEBIBYTE + 7, marks=pytest.mark.slow)])
def test_encrypted_content_comes_back(tmp_path: Path, name: str, compression: str, make: object, size: int) -> None:
    content = make(size)  # type: ignore[operator]
    wanted, given_keys = keys.scheme(name)
    writer = seal(tmp_path / "a", content, compression, wanted)
    stored = (tmp_path / "a").read_bytes()
    assert (writer.stored_bytes, writer.stored_sha256) == (len(stored), hashlib.sha256(stored).hexdigest())
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    encryption.check_ciphertext(tmp_path / "a", wanted)
    assert unseal(tmp_path / "a", compression, wanted.method, given_keys) == content
    assert unpack(tmp_path / "a", compression, name) == content


@every_compression
@pytest.mark.parametrize("size", [0, 1, 65536, 5 * MEBIBYTE])
@pytest.mark.slow
def test_plain_content_is_unpacked_into_a_file(tmp_path: Path, compression: str, size: int) -> None:
    write(tmp_path / "a", [noise(size)], compression, level=1)
    assert unpack(tmp_path / "a", compression, "none") == noise(size)


def test_name_of_an_artifact_says_how_it_is_unpacked() -> None:
    assert codec.suffix("zstd") == ".zst"
    assert codec.suffix("zstd", "age") == ".zst.age"
    assert codec.suffix("none", "gpg") == ".gpg"


@keys.needs_age
@needs_zstd
def test_person_needs_none_of_our_code_but_a_key(tmp_path: Path) -> None:
    seal(tmp_path / "a.zst.age", text(3 * MEBIBYTE), "zstd", keys.scheme("age")[0])
    line = f"age -d -i {keys.age_identity()} {tmp_path}/a.zst.age | zstd -d"
    assert subprocess.run(line, shell=True, check=True, capture_output=True).stdout == text(3 * MEBIBYTE)  # noqa: S602
    line = f"zstd -3 -T0 | age -r {keys.age_recipient()} > {tmp_path}/b"
    subprocess.run(line, shell=True, check=True, input=text(3 * MEBIBYTE))  # noqa: S602
    assert unseal(tmp_path / "b", "zstd", "age", keys.scheme("age")[1]) == text(3 * MEBIBYTE)


@every_scheme
@every_compression_inside
def test_wrong_key_is_told_whatever_is_inside(tmp_path: Path, name: str, compression: str) -> None:
    """What unpacks behind the decryption gets nothing then, and calls that damage."""
    wanted = keys.scheme(name)[0]
    seal(tmp_path / "a", more_than_pipes_hold(compression), compression, wanted)
    wrong = keys.wrong_keys(name)
    with pytest.raises(KeyRejectedError, match=f"Cannot decrypt {re.escape(str(tmp_path / 'a'))}"):
        unseal(tmp_path / "a", compression, wanted.method, wrong)
    with pytest.raises(KeyRejectedError), open(tmp_path / "unpacked", "wb") as file:
        codec.unpack_into(
            tmp_path / "a", file, compression=compression, encryption=wanted.method, keys=wrong, limit_bytes=1 << 30
        )
    with pytest.raises(KeyRejectedError, match="no key is given"):
        unseal(tmp_path / "a", compression, wanted.method, Keys())


@pytest.mark.thorough
@every_scheme
@every_compression_inside
@pytest.mark.parametrize("damage", ["cut", "middle", "end", "tail"])
def test_damage_is_told_whatever_is_inside(tmp_path: Path, name: str, compression: str, damage: str) -> None:
    """What unpacks may notice first, or be content with all that came before."""
    wanted, given_keys = keys.scheme(name)
    seal(tmp_path / "a", more_than_pipes_hold(compression), compression, wanted)
    whole = bytearray((tmp_path / "a").read_bytes())
    if damage == "cut":
        del whole[len(whole) // 2 :]
    elif damage == "tail":
        whole += b"tail"
    else:
        whole[-1 if damage == "end" else len(whole) // 2] ^= 1
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(BackupDamagedError, match=f"Cannot (decrypt|unpack) {re.escape(str(tmp_path / 'a'))}"):
        unseal(tmp_path / "a", compression, wanted.method, given_keys)
    with pytest.raises(BackupDamagedError):
        unpack(tmp_path / "a", compression, name)


@every_scheme
@every_compression_inside
def test_reader_that_stops_at_the_expected_size_learns_that_there_was_more(
    tmp_path: Path, name: str, compression: str
) -> None:
    wanted, given_keys = keys.scheme(name)
    content = more_than_pipes_hold(compression)
    seal(tmp_path / "a", content, compression, wanted)
    with pytest.raises(BackupDamagedError, match="more than it should"):
        with codec.open_artifact(tmp_path / "a", compression, wanted.method, given_keys) as stream:
            assert stream.read(1000) == content[:1000]
    with pytest.raises(OSError, match="full"):
        with codec.open_artifact(tmp_path / "a", compression, wanted.method, given_keys) as stream:
            stream.read(1000)
            raise OSError(errno.ENOSPC, "full")


@every_scheme
@every_compression
@pytest.mark.parametrize("space", [4096, MEBIBYTE])
@pytest.mark.slow
def test_full_disk_under_an_encrypted_artifact_is_told(tmp_path: Path, name: str, compression: str, space: int) -> None:
    wanted = keys.scheme(name)[0]
    with small_disk(space) as disk, pytest.raises(NoSpaceError, match=f"Cannot write {re.escape(str(disk / 'a'))}"):
        seal(disk / "a", noise(3 * MEBIBYTE), compression, wanted)


@pytest.mark.parametrize("method", ["age", "gpg"])
def test_missing_encryption_is_an_error_and_never_a_plain_copy(
    tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("x")
    wanted = Encryption("age", ("age1x",)) if method == "age" else Encryption("gpg", (), tmp_path / "key")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ProgramMissingError, match=f"{method}: it is not installed"):
        seal(tmp_path / "a", b"content", "none", wanted)
    assert (tmp_path / "a").read_bytes() == b""
    with pytest.raises(ProgramMissingError, match=f"{method} is not installed"):
        unseal(tmp_path / "a", "none", method, Keys(tmp_path / "key", tmp_path / "key"))


@keys.needs_age
@pytest.mark.parametrize("script", ["cat", "cat >/dev/null", "age -r {other}"])
def test_artifact_that_is_not_encrypted_as_asked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """The program is content: a wrapper, another program of that name, a configuration."""
    real = shutil.which("age")
    wanted = keys.scheme("age")[0]
    program_named(tmp_path, "age")
    script = script.format(other=keys.age_recipient("stranger")).replace("age -r", f"{real} -r")
    (tmp_path / "age").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(EngineError, match="age wrote something else than was asked for"):
        seal(tmp_path / "a", b"content", "none", wanted)


@keys.needs_age
@needs_zstd
@pytest.mark.parametrize("victim", ["zstd", "age"])
def test_program_killed_while_it_writes_is_an_error(tmp_path: Path, victim: str) -> None:
    """Killed, zstd leaves age with an input that ends, and an artifact that looks complete."""
    with pytest.raises(
        EngineError, match=f"Cannot write {re.escape(str(tmp_path / 'a'))}: {victim} was ended by signal 9"
    ):
        with codec.ArtifactWriter(tmp_path / "a", compression="zstd", encryption=keys.scheme("age")[0]) as writer:
            writer.write(noise(MEBIBYTE))
            os.kill(leftovers.children()[victim], signal.SIGKILL)


@keys.needs_age
@needs_zstd
@pytest.mark.parametrize("victim", ["zstd", "age"])
def test_program_killed_while_it_reads_is_not_called_damage(tmp_path: Path, victim: str) -> None:
    wanted, given_keys = keys.scheme("age")
    seal(tmp_path / "a", noise(20 * MEBIBYTE), "zstd", wanted)
    with pytest.raises(
        EngineError, match=f"Cannot (decrypt|unpack) {re.escape(str(tmp_path / 'a'))}: {victim} was ended by signal 9"
    ) as caught:
        with codec.open_artifact(tmp_path / "a", "zstd", "age", given_keys) as stream:
            stream.read(1000)
            os.kill(leftovers.children()[victim], signal.SIGKILL)
            while stream.read(MEBIBYTE):
                pass
    assert caught.value.code == 1


# --- unpacking into a file -------------------------------------------------------------------------------------------

UNPACKED = ["none", keys.AGE, keys.GPG_PASSPHRASE]


@pytest.mark.parametrize("name", UNPACKED)
@pytest.mark.parametrize("compression", [*_leisure[:2], ZSTD])
def test_content_that_is_longer_than_it_should_be_does_not_fill_the_disk(
    tmp_path: Path, name: str, compression: str
) -> None:
    wanted = keys.scheme(name)[0]
    seal(tmp_path / "a", bytes(60 * MEBIBYTE), compression, wanted)
    with pytest.raises(BackupDamagedError, match="more than it should"):
        unpack(tmp_path / "a", compression, name, limit_bytes=MEBIBYTE)
    with pytest.raises(BackupDamagedError, match="more than it should"):
        unpack(tmp_path / "a", compression, name, limit_bytes=60 * MEBIBYTE - 1)
    assert len(unpack(tmp_path / "a", compression, name, limit_bytes=60 * MEBIBYTE)) == 60 * MEBIBYTE


@pytest.mark.parametrize("name", UNPACKED)
@every_compression
@pytest.mark.slow
def test_full_disk_under_what_is_unpacked_is_no_damage(tmp_path: Path, name: str, compression: str) -> None:
    wanted, given_keys = keys.scheme(name)
    seal(tmp_path / "a", noise(3 * MEBIBYTE), compression, wanted)
    with small_disk(MEBIBYTE) as disk, files.create_private(disk / "b") as file:
        with pytest.raises(OSError, match="No space left") as caught:
            codec.unpack_into(
                tmp_path / "a", file,
                compression=compression, encryption=wanted.method, keys=given_keys, limit_bytes=1 << 30,
            )  # fmt: skip
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("name", UNPACKED)
def test_missing_artifact_is_told(tmp_path: Path, name: str) -> None:
    wanted, given_keys = keys.scheme(name)
    with pytest.raises(EngineError, match=f"Cannot read {re.escape(str(tmp_path / 'a'))}: no such file"):
        unseal(tmp_path / "a", "none", wanted.method, given_keys)
