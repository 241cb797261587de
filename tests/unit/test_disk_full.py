# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A disk that is full at each stage (case 8): a clear error, no traceback, and all that was there stays whole."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS, NOT_ENCRYPTED
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore, verify
from support import databases, keys, processes
from support.sites import Site

pytestmark = [pytest.mark.root, pytest.mark.thorough]

DISK_BYTES = 4 * 1024 * 1024
STEP_BYTES = 4 * 1024


@pytest.fixture
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at the free space before, so that the disk really fills up on the way."""
    monkeypatch.setattr(files, "require_space", lambda *_arguments, **_options: None)


def _fill(disk: Path, leave_bytes: int) -> None:
    """Write a file so that about ``leave_bytes`` are left."""
    import shutil

    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    filler.write_bytes(b"\0" * max(0, shutil.disk_usage(disk).free - leave_bytes))


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd", "xz"])
def test_backup_on_a_disk_that_fills_up(tmp_path: Path, compression: str) -> None:
    import shutil

    if compression == "zstd" and not shutil.which("zstd"):
        pytest.skip("zstd is not installed")
    source = databases.make(tmp_path / "agent.db", rows=6000, page_size=1024)
    with processes.small_disk(DISK_BYTES) as disk:
        request = backup.Request(path=source, repository=disk / "repository", compression=compression, force=True)
        backup.run(request)
        codes = []
        for leave_bytes in range(0, 5 * source.stat().st_size, STEP_BYTES):
            _fill(disk, leave_bytes)
            try:
                backup.run(request)
                codes.append(0)
            except EngineError as error:
                codes.append(error.code)
            repository = Repository.open_existing(request.repository)
            assert not list(repository.path.glob(".staging*"))
            assert len(repository.backups()) == 1 + codes.count(0)
            if codes[-1] == 0:
                break
        assert set(codes) == {0, 16}
        assert codes.count(16) > 3
        (disk / "filler").unlink()
        assert verify.verify_backups(repository, "all", verify.Expectations("full")).outcome == "passed"


@pytest.mark.usefixtures("unguarded", "nothing_is_small")
@pytest.mark.parametrize("encrypted", [False, pytest.param(True, marks=keys.needs_age)])
@pytest.mark.parametrize("kind", ["full", "incremental"])
def test_every_kind_of_backup_on_a_disk_that_fills_up(tmp_path: Path, kind: str, encrypted: bool) -> None:
    """The page index is what grows first: a page of it stands for 256 pages of the database."""
    encryption, good = keys.scheme("age") if encrypted else (NOT_ENCRYPTED, NO_KEYS)
    site = Site(tmp_path, rows=1500)
    with processes.small_disk(DISK_BYTES) as disk:
        site.repository = disk / "repository"
        options = {"type": kind, "encryption": encryption, "max_chain": 1000}
        site.stored(**options)
        site.change(100)
        codes = []
        before = databases.tree(site.repository)
        for leave_bytes in range(0, DISK_BYTES, STEP_BYTES):
            _fill(disk, leave_bytes)
            try:
                codes.append(0 if site.stored(**options) else -1)
                break
            except EngineError as error:
                codes.append(error.code)
            assert not list(site.repository.glob(".staging*"))
            after = databases.tree(site.repository)
            kept = {name for name, digest in before.items() if after.get(name) != digest}
            assert kept <= {"history.jsonl", ".lock"}
        assert set(codes) == {0, 16}
        assert codes.count(16) > 3
        (disk / "filler").unlink()
        newest = site.open().backups()[-1].trusted()
        assert newest.type == kind
        assert site.verified("full", good) == ("passed", 0)
        assert site.restored(keys=good) == site.settled()
        site.change(1)
        site.stored(**options)
        assert site.restored(keys=good) == site.settled()


@pytest.mark.usefixtures("unguarded")
@pytest.mark.parametrize("old", ["clean", "wal"])
@pytest.mark.slow
def test_restore_on_a_disk_that_fills_up(tmp_path: Path, old: str) -> None:
    source = databases.make(tmp_path / "agent.db", rows=6000, page_size=1024)
    request = backup.Request(path=source, repository=tmp_path / "repository")
    backup.run(request)
    with processes.small_disk(DISK_BYTES) as disk:
        live = disk / "agent.db"
        (databases.make if old == "clean" else databases.crashed_wal)(live, rows=5000)
        before = databases.tree(disk)
        codes = []
        for leave_bytes in range(0, 5 * source.stat().st_size, STEP_BYTES):
            _fill(disk, leave_bytes)
            try:
                restore.run(restore.Request(repository=request.repository, dest=live))
                codes.append(0)
                break
            except EngineError as error:
                codes.append(error.code)
            (disk / "filler").unlink()
            assert databases.tree(disk) == before
        assert set(codes) == {0, 16}
        assert codes.count(16) > 3
        (disk / "filler").unlink()
        assert len(databases.names(live)) == 6000


def test_too_little_space_is_said_before_the_first_byte(tmp_path: Path) -> None:
    source = databases.make(tmp_path / "agent.db", rows=6000, page_size=1024)
    with processes.small_disk(DISK_BYTES) as disk:
        request = backup.Request(path=source, repository=disk / "repository")
        _fill(disk, source.stat().st_size // 2)
        with pytest.raises(EngineError, match="bytes are needed") as caught:
            backup.run(request)
        assert caught.value.code == 16
        with contextlib.suppress(FileNotFoundError):
            assert not list((disk / "repository").glob("*-full"))
