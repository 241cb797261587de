# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The image of a backup, put together from its chain: exact, or damage, and never anything in between."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import random
import shutil
import sqlite3
import stat
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import base, chain, image
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.image import Written
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    EngineError,
    NoSpaceError,
    ProofFailedError,
    StorageFailedError,
)
from support import databases, limits
from support.keys import ZSTD
from support.sites import PAGE_SIZE, Site, sha256

GROW = "INSERT INTO page(content) SELECT content FROM page, (VALUES (1), (2)) WHERE id <= 40"
# The database grows to three times its size, shrinks below its first one, and grows again.
STEPS = (
    (),
    (GROW,),
    ("UPDATE page SET content = 'x' WHERE id = 3",),
    ("DELETE FROM page WHERE id > 10", "VACUUM"),
    (GROW,),
    ("PRAGMA user_version = 7",),
)


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    """What the database held at each backup of the chain."""
    return []


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]) -> Site:
    """A chain of six."""
    site = Site(tmp_path_factory.mktemp("template"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "SMALL_BYTES", 0)
        for step in STEPS:
            with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
                for each in step:
                    connection.execute(each)
            databases.settle(site.database)
            site.stored(type="incremental")
            contents.append(site.settled())
    return site


@pytest.fixture
def chained(template: Site, tmp_path: Path) -> Site:
    return template.copied_to(tmp_path / "site")


def links(site: Site, number: int = -1) -> list[Backup]:
    return chain.links(site.open(), site.open().backups()[number])


def written(of: Sequence[Backup], dest: Path) -> Written:
    return image.write_image(of, dest, NO_KEYS)


def proven(of: Sequence[Backup], dest: Path) -> bytes:
    """The image, put together and proven."""
    image.prove(of[-1], written(of, dest), lambda: None)
    return dest.read_bytes()


# --- put together --------------------------------------------------------------------------------------------------


def test_every_link_comes_to_its_own_image(chained: Site, contents: list[bytes], tmp_path: Path) -> None:
    sizes = [len(each) for each in contents]
    assert sizes[1] > 2 * sizes[0] > 2 * sizes[3]
    assert sizes[4] > sizes[3]
    for number, content in enumerate(contents):
        assert proven(links(chained, number), tmp_path / f"{number}.db") == content


def test_room_is_needed_for_the_largest_link(chained: Site, contents: list[bytes]) -> None:
    """The disk would otherwise be full half-way through the chain."""
    sizes = [len(each) for each in contents]
    needed = [image.needed_bytes(links(chained, number)) for number in range(6)]
    assert needed == [max(sizes[: number + 1]) for number in range(6)]
    assert needed[3] == sizes[1] > sizes[3]


@pytest.mark.parametrize("compression", ["none", "gzip", "xz", ZSTD])
def test_digest_of_a_full_image_is_made_while_it_is_unpacked(site: Site, tmp_path: Path, compression: str) -> None:
    site.stored(compression=compression)
    found = written(links(site), tmp_path / "a.db")
    assert found == Written(tmp_path / "a.db", sha256(site.settled()))
    assert (tmp_path / "a.db").read_bytes() == site.settled()


def test_progress_is_told_up_to_the_whole_image(site: Site, tmp_path: Path) -> None:
    site.stored()
    told: list[tuple[int, int]] = []
    whole = len(site.settled())
    image.write_image(links(site), tmp_path / "a.db", NO_KEYS, progress=lambda *numbers: told.append(numbers))
    assert told == sorted(set(told))
    assert {total for _done, total in told} == {whole}
    assert told[-1] == (whole, whole)


def test_digest_of_a_chain_is_made_when_it_is_complete(chained: Site, tmp_path: Path) -> None:
    """That of its full image is another one."""
    assert written(links(chained), tmp_path / "a.db") == Written(tmp_path / "a.db", "")


def test_digest_waits_for_what_is_still_to_come(tmp_path: Path) -> None:
    """An end of the file is not the end of the image."""
    path, complete = tmp_path / "growing", threading.Event()
    content = random.Random(1).randbytes(10_000)

    def write() -> None:
        with open(path, "ab", buffering=0) as file:
            for place in range(0, len(content), 1000):
                time.sleep(image._POLL_SECONDS * 1.5)
                file.write(content[place : place + 1000])
        complete.set()

    path.touch()
    thread = threading.Thread(target=write)
    thread.start()
    with limits.within(10):
        assert image._digest_growing(path, complete) == sha256(content)
    thread.join()


def test_last_bytes_that_arrive_with_the_end_are_digested(tmp_path: Path) -> None:
    """The file is read, found empty, written to and complete: whether it is complete must be asked before."""
    path = tmp_path / "growing"
    path.touch()

    class Completing(threading.Event):
        def is_set(self) -> bool:
            if not super().is_set():
                path.write_bytes(b"the last bytes")
                self.set()
            return super().is_set()

    with limits.within(10):
        assert image._digest_growing(path, Completing()) == sha256(b"the last bytes")


def test_image_is_private_and_takes_the_place_of_nothing(chained: Site, tmp_path: Path) -> None:
    dest = tmp_path / "a.db"
    written(links(chained), dest)
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    before = dest.read_bytes()
    with pytest.raises(EngineError, match="^cannot write .*exists"):
        written(links(chained, 0), dest)
    assert dest.read_bytes() == before


@pytest.mark.parametrize("number", [0, -1])
def test_full_disk_is_no_damage(chained: Site, tmp_path: Path, number: int) -> None:
    of = links(chained, number)
    with limits.within(10), limits.full_disk_after(of[0].trusted().image.bytes - 1), pytest.raises(NoSpaceError):
        written(of, tmp_path / "a.db")


def test_flush_that_fails_while_the_image_is_unpacked_is_told(
    chained: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk tells it once, to the first who flushes: the flush at the end would succeed."""
    failed = threading.Event()
    unpack = codec.unpack_into

    def fsync(_descriptor: int) -> None:
        if not failed.is_set():
            failed.set()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def unpack_behind_it(*arguments: Any, **options: Any) -> None:
        assert failed.wait(10)
        unpack(*arguments, **options)

    monkeypatch.setattr(image, "_FLUSH_SECONDS", 0.001)
    monkeypatch.setattr(codec, "unpack_into", unpack_behind_it)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StorageFailedError, match="cannot write"):
        written(links(chained, 0), tmp_path / "a.db")


# --- damage --------------------------------------------------------------------------------------------------------


def test_flipped_bit_in_any_link_never_comes_to_another_image(
    chained: Site, contents: list[bytes], tmp_path: Path
) -> None:
    """Case 11: what the check of the artifacts would find is found without it, too."""
    of, pick = links(chained), random.Random(1)
    found = 0
    for link in of:
        path = link.path / link.trusted().content_file.path
        whole = path.read_bytes()
        for position in pick.sample(range(len(whole)), 12):
            databases.flip_bit(path, position)
            # Some bits of gzip carry nothing: a time, an operating system, the rest of a byte.
            try:
                assert proven(of, tmp_path / "a.db") == contents[-1]
            except BackupDamagedError:
                found += 1
            path.write_bytes(whole)
            files.remove_file(tmp_path / "a.db")
    assert found > 60


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_link_that_is_cut_never_comes_to_an_image(chained: Site, tmp_path: Path, number: int, kept: float) -> None:
    of = links(chained)
    path = of[number].path / of[number].trusted().content_file.path
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with limits.within(10), pytest.raises(BackupDamagedError, match="Cannot unpack"):
        proven(of, tmp_path / "a.db")


@pytest.mark.parametrize(("one", "other"), [(2, 5), (4, 1), (5, 4)])
def test_link_with_the_pages_of_another_never_comes_to_an_image(
    chained: Site, tmp_path: Path, one: int, other: int
) -> None:
    """Case 11: swapped files are whole, each for itself."""
    of = links(chained)
    source, dest = (of[each].path / of[each].trusted().content_file.path for each in (other, one))
    shutil.copy(source, dest)
    with pytest.raises(BackupDamagedError):
        proven(of, tmp_path / "a.db")


def test_chain_without_its_middle_never_comes_to_an_image(chained: Site, tmp_path: Path) -> None:
    of = links(chained)
    with pytest.raises(BackupDamagedError, match="is not the image of its manifest"):
        proven([*of[:4], *of[5:]], tmp_path / "a.db")


def test_full_image_that_is_longer_than_its_manifest_says_is_damage(chained: Site, tmp_path: Path) -> None:
    """It could fill the disk."""
    (full,) = links(chained, 0)
    document = full.trusted()
    shorter = dataclasses.replace(document.image, bytes=document.image.bytes - PAGE_SIZE)
    smaller = dataclasses.replace(full, manifest=dataclasses.replace(document, image=shorter))
    with pytest.raises(BackupDamagedError, match="more than it should"):
        written([smaller], tmp_path / "a.db")


# --- proven --------------------------------------------------------------------------------------------------------


def fail() -> None:
    raise ProofFailedError("on purpose")


def test_proof_hands_on_what_the_check_finds(chained: Site, tmp_path: Path) -> None:
    for number in (0, 5):
        of = links(chained, number)
        found = written(of, tmp_path / f"{number}.db")
        assert image.prove(of[-1], found, lambda: "found") == "found"
        with pytest.raises(ProofFailedError, match="on purpose"):
            image.prove(of[-1], found, fail)


def test_proven_image_is_on_the_disk(chained: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.append(os.fstat(descriptor).st_ino))
    proven(links(chained), tmp_path / "a.db")
    assert (tmp_path / "a.db").stat().st_ino in flushed


@pytest.mark.parametrize("number", [0, 5])
@pytest.mark.parametrize("change", ["bit", "shorter", "longer"])
def test_wrong_image_is_damage_whatever_the_check_says(chained: Site, tmp_path: Path, number: int, change: str) -> None:
    """That the check fails as well is only what damage looks like; that it passes proves nothing."""
    of, dest = links(chained, number), tmp_path / "a.db"
    found = written(of, dest)
    content = dest.read_bytes()
    if change == "bit":
        databases.flip_bit(dest, len(content) // 2)
        # Of a full image the digest was made on the way, and would be of what arrived.
        found = Written(dest, hashlib.sha256(dest.read_bytes()).hexdigest() if number == 0 else "")
    else:
        dest.write_bytes(content[:-1] if change == "shorter" else content + b"\0")
    for check in (fail, lambda: None):
        with pytest.raises(BackupDamagedError, match=f"what the backup {of[-1].id} holds is not the image"):
            image.prove(of[-1], found, check)


def test_image_that_cannot_be_read_is_no_damage(chained: Site, tmp_path: Path) -> None:
    of = links(chained)
    found = written(of, tmp_path / "a.db")
    (tmp_path / "a.db").unlink()
    with pytest.raises(EngineError, match="^cannot read") as caught:
        image.prove(of[-1], found, lambda: None)
    assert not isinstance(caught.value, BackupDamagedError)
