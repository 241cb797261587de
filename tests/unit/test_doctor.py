# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the doctor finds, each on real files, and that looking leaves no trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import bugs
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import clock
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import doctor, pinning, restore
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work.doctor import (
    NOTE,
    OK,
    PROBLEM,
    WARNING,
    Finding,
)
from support import databases, processes
from support.sites import Site

# Made up, in the format of Linux: no real NFS can be had in a test.
FAKE_DISK = "1 0 8:1 / / rw - ext4 /dev/sda rw\n"
FAKE_NFS = "1 0 0:40 / / rw - nfs4 server:/export rw\n"
FAKE_MEMORY = "1 0 0:41 / / rw - tmpfs tmpfs rw\n"


def examined(site: Site, *, mounts: str | None = FAKE_DISK, **options: Any) -> dict[str, Finding]:
    request = doctor.Request(**{"path": site.database, "repository": site.repository, "compression": "gzip", **options})
    found = doctor.examine(request, mounts=mounts)
    assert len({each.name for each in found}) == len(found)
    for each in found:
        assert each.outcome in (OK, NOTE, WARNING, PROBLEM)
        assert each.detail.endswith(".")
        assert (each.hint == "") == (each.outcome in (OK, NOTE))
    return {each.name: each for each in found}


def outcomes(found: dict[str, Finding]) -> dict[str, str]:
    """What is not fine."""
    return {name: each.outcome for name, each in found.items() if each.outcome != OK}


@pytest.fixture
def sound(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site with a backup, on a host where nothing is to be found."""
    monkeypatch.setattr(bugs, "BUGS", ())
    monkeypatch.setattr(clock, "_TIME_SYNC", site.directory / "missing")
    monkeypatch.delitem(doctor._CHECKS, "separation")
    live = site.directory / "srv"
    live.mkdir()
    site.database = site.database.rename(live / "agent.db")
    site.back_up()
    return site


def test_nothing_to_be_found(sound: Site) -> None:
    found = examined(sound)

    assert outcomes(found) == {}
    assert set(found) == {"source", "repository", *doctor._CHECKS}


@pytest.mark.parametrize("journal_mode", ["wal", "delete"])
def test_leaves_no_trace(tmp_path: Path, journal_mode: str) -> None:
    """SQLite would make the sidecars of an idle database in WAL mode."""
    site = Site(tmp_path, journal_mode=journal_mode)
    site.back_up()
    before = site.tree()

    examined(site)

    assert site.tree() == before


def test_bugs_of_this_sqlite(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    bug = bugs.Bug("a bug of the test", first=(3, 0, 0), fixed=(99, 0, 0), only_wal=True)
    monkeypatch.setattr(bugs, "BUGS", (bug,))

    assert outcomes(examined(sound)) == {"sqlite": NOTE}
    detail = examined(sound)["sqlite"].detail
    assert bug.what in detail
    assert sqlite3.sqlite_version in detail
    with contextlib.closing(sqlite3.connect(sound.database)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    assert outcomes(examined(sound)) == {"journal mode": WARNING}


@pytest.mark.parametrize("content", [None, b"PK\x03\x04 and more"])
def test_no_source(sound: Site, content: bytes | None) -> None:
    sound.database.unlink()
    if content:
        sound.database.write_bytes(content)

    found = examined(sound)

    assert outcomes(found) == {"source": PROBLEM}


def test_no_directory_of_the_source(sound: Site) -> None:
    shutil.rmtree(sound.database.parent)

    assert outcomes(examined(sound)) == {"source": PROBLEM}


def test_empty_source(sound: Site) -> None:
    sound.database.write_bytes(b"")

    assert outcomes(examined(sound)) == {}


def test_hard_links(sound: Site) -> None:
    os.link(sound.database, sound.database.with_name("other.db"))

    found = examined(sound)

    assert outcomes(found) == {"hard links": PROBLEM}
    assert "2 hard links" in found["hard links"].detail


def test_symbolic_link_is_looked_through(sound: Site) -> None:
    """Its sidecars are beside what it leads to."""
    real = databases.crashed_journal(sound.directory / "real.db")
    sound.database.unlink()
    sound.database.symlink_to(real)

    assert outcomes(examined(sound)) == {"recovery": PROBLEM, "journal mode": WARNING}


def test_unfinished_transaction(sound: Site) -> None:
    sound.database.unlink()
    databases.crashed_journal(sound.database)

    found = examined(sound)

    assert found["recovery"].outcome == PROBLEM
    assert "agent.db-journal" in found["recovery"].detail


def test_transaction_that_ends_meanwhile(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    sound.database.unlink()
    databases.crashed_journal(sound.database)
    journal = sound.database.with_name("agent.db-journal")
    monkeypatch.setattr(time, "sleep", lambda _seconds: journal.unlink())

    assert examined(sound)["recovery"].outcome == OK


@processes.needs_root
@pytest.mark.parametrize(("mode", "outcome"), [(0o644, PROBLEM), (0o664, WARNING)])
def test_sidecar_of_another_owner(sound: Site, mode: int, outcome: str) -> None:
    side = sound.database.with_name("agent.db-shm")
    side.touch()
    assert examined(sound)["sidecars"].outcome == OK
    os.chown(side, processes.NOBODY, -1)
    side.chmod(mode)

    found = examined(sound)

    assert outcomes(found) == {"sidecars": outcome}
    assert f"agent.db-shm belongs to {side.owner()}, the database to root" in found["sidecars"].detail
    assert found["sidecars"].hint.endswith(f"chown root {side}")


@processes.needs_root
@pytest.mark.parametrize("stranger", ["*-full", "*-full/manifest.json", ".lock"])
def test_repository_with_something_of_another_owner(sound: Site, stranger: str) -> None:
    (path,) = sound.repository.glob(stranger)
    assert examined(sound)["ownership"].outcome == OK
    os.chown(path, processes.NOBODY, -1)

    found = examined(sound)

    assert outcomes(found) == {"ownership": PROBLEM}
    assert f"{path} belongs to {path.owner()}, the repository to root" in found["ownership"].detail
    assert found["ownership"].hint == f"chown -R root {sound.repository}"


def test_undo_sets(sound: Site) -> None:
    for _again in range(2):
        sound.change()
        restore.run(restore.Request(repository=sound.repository, dest=sound.database))

    found = examined(sound)

    assert outcomes(found) == {"undo sets": WARNING}
    assert found["undo sets"].detail.startswith("2 undo sets")


def test_what_is_one_is_told_as_one(sound: Site) -> None:
    sound.change()
    restore.run(restore.Request(repository=sound.repository, dest=sound.database))

    found = examined(sound)

    assert found["undo sets"].detail.startswith("1 undo set of ")
    assert found["repository"].detail.endswith("holds 1 backup.")


def test_repository_that_cannot_be_written_to(sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the kernel made its filesystem read-only, for root, too."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != sound.repository and access(path, mode))

    found = examined(sound)

    assert outcomes(found) == {"repository rights": PROBLEM}


def test_restore_that_was_killed(sound: Site) -> None:
    sound.database.with_name(".agent.db.restoring").mkdir()

    assert outcomes(examined(sound)) == {"undo sets": WARNING}


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        (FAKE_NFS, {"source filesystem": WARNING, "repository filesystem": WARNING}),
        (FAKE_MEMORY, {"source filesystem": WARNING, "repository filesystem": PROBLEM}),
        ("", {}),
    ],
)
def test_filesystems_by_fake_mounts(sound: Site, mounts: str, found: dict[str, str]) -> None:
    assert outcomes(examined(sound, mounts=mounts)) == found


def test_repository_in_memory(sound: Site) -> None:
    with processes.small_disk(1 << 24) as disk:
        sound.repository = disk / "repository"
        sound.back_up()

        found = outcomes(examined(sound, mounts=None))

    assert found["repository filesystem"] == PROBLEM


def test_same_filesystem(site: Site) -> None:
    site.back_up()
    assert examined(site)["separation"].outcome == WARNING
    with processes.small_disk(1 << 24) as disk:
        for repository in (disk / "repository", disk / "not" / "yet"):
            site.repository = repository
            assert examined(site)["separation"].outcome == OK


@processes.needs_root
def test_repository_in_reach_of_the_application(sound: Site) -> None:
    inside = sound.database.parent / "backups" / "agent"
    shutil.move(sound.repository, inside)
    sound.repository = inside
    directory = sound.database.parent
    directory.chmod(0o755)
    assert examined(sound)["reach"].outcome == OK

    directory.chmod(0o775)
    assert outcomes(examined(sound)) == {"reach": WARNING}

    directory.chmod(0o755)
    os.chown(directory, processes.NOBODY, -1)
    assert outcomes(examined(sound)) == {"reach": WARNING}


def test_no_repository_yet(sound: Site) -> None:
    shutil.rmtree(sound.repository)

    assert outcomes(examined(sound)) == {"repository": WARNING}


def test_repository_is_broken(sound: Site) -> None:
    (sound.repository / "repository.json").write_text("{")

    assert outcomes(examined(sound)) == {"repository": PROBLEM}


def test_description_of_the_repository_is_damaged(sound: Site) -> None:
    """It hides nothing else."""
    sound.repository.chmod(0o750)
    databases.flip_bit(sound.repository / "repository.json", 40)

    found = examined(sound)

    assert outcomes(found) == {"repository": PROBLEM, "repository rights": WARNING}
    assert "The next backup writes it anew" in found["repository"].detail
    assert found["repository"].hint == "Make a backup now: backup."


def test_pin_is_damaged(sound: Site) -> None:
    """It holds, so that what was to be removed stays."""
    sound.change()
    sound.back_up()
    first, second = sound.ids()
    for identity in (first, second):
        (sound.repository / identity / "pin.json").write_text("{", encoding="utf-8")

    found = examined(sound)

    assert outcomes(found) == {"pins": WARNING}
    assert found["pins"].detail.startswith(f"{second} counts as pinned: Cannot read {sound.repository / second}")
    assert found["pins"].detail.endswith("And 1 more.")
    assert f"--backup {second}" in found["pins"].hint
    for identity in (first, second):
        pinning.run(pinning.Request(sound.repository, identity, pinned=False))
    assert outcomes(examined(sound)) == {}


def test_backup_is_damaged(sound: Site) -> None:
    (identity,) = sound.ids()
    databases.flip_bit(sound.repository / identity / "manifest.json", 40)

    found = examined(sound)

    assert outcomes(found) == {"backups": PROBLEM}
    assert identity in found["backups"].detail


@pytest.mark.parametrize("mode", [0o750, 0o701])
def test_repository_is_open_to_others(sound: Site, mode: int) -> None:
    sound.repository.chmod(mode)

    found = examined(sound)

    assert outcomes(found) == {"repository rights": WARNING}
    assert found["repository rights"].hint == f"chmod 0700 {sound.repository}"


class TestSpace:
    @pytest.fixture
    def free(self, monkeypatch: pytest.MonkeyPatch) -> dict[Path, int]:
        """The bytes that are free in a directory; a terabyte unless told otherwise."""
        told: dict[Path, int] = {}

        def disk_usage(path: Path) -> Any:
            return shutil._ntuple_diskusage(1 << 41, 0, told.get(Path(path), 1 << 40))

        monkeypatch.setattr(shutil, "disk_usage", disk_usage)
        return told

    def test_for_the_next_full_backup(self, sound: Site, free: dict[Path, int]) -> None:
        stored_bytes = sound.open().backups()[-1].trusted().stored_bytes
        free[sound.repository] = stored_bytes + 1000
        assert outcomes(examined(sound)) == {}
        free[sound.repository] = stored_bytes // 2
        assert outcomes(examined(sound)) == {"space": PROBLEM}

    def test_it_grows_with_the_database(self, sound: Site, free: dict[Path, int]) -> None:
        free[sound.repository] = sound.open().backups()[-1].trusted().stored_bytes * 2
        assert outcomes(examined(sound)) == {}
        with sound.database.open("r+b") as file:
            file.truncate(sound.database.stat().st_size * 3)
        assert outcomes(examined(sound)) == {"space": PROBLEM}

    def test_for_a_day(self, sound: Site, free: dict[Path, int], moment: list[datetime]) -> None:
        shutil.rmtree(sound.repository)
        for _hour in range(30):
            moment[0] += timedelta(hours=1)
            sound.back_up(force=True, type="full")
        stored_bytes = sound.open().backups()[-1].trusted().stored_bytes

        free[sound.repository] = stored_bytes * 20
        assert outcomes(examined(sound)) == {"space": WARNING}
        free[sound.repository] = stored_bytes * 25
        assert outcomes(examined(sound)) == {}

    def test_for_the_first_backup(self, sound: Site, free: dict[Path, int]) -> None:
        """It is as large as the database at the most, and goes where the nearest directory is that exists."""
        shutil.rmtree(sound.repository)
        free[sound.directory] = sound.database.stat().st_size - 1

        assert outcomes(examined(sound)) == {"repository": WARNING, "space": PROBLEM}

    def test_for_a_restore(self, sound: Site, free: dict[Path, int]) -> None:
        free[sound.database.parent] = sound.database.stat().st_size - 1

        assert outcomes(examined(sound)) == {"restore space": WARNING}


class TestClock:
    def test_newest_backup_is_of_the_future(self, sound: Site, moment: list[datetime]) -> None:
        moment[0] += timedelta(days=3650)
        sound.back_up(force=True)
        moment[0] -= timedelta(days=3650)

        found = examined(sound)

        assert found["clock"].outcome == WARNING
        assert "dated 2035-" in found["clock"].detail

    def test_it_is_past(self, sound: Site, moment: list[datetime]) -> None:
        shutil.rmtree(sound.repository)
        moment[0] = datetime.fromisoformat("1970-01-01T00:00:17+00:00")

        assert examined(sound)["clock"].outcome == PROBLEM

    def test_nothing_set_it(self, sound: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(clock, "_TIME_SYNC", sound.directory)

        assert outcomes(examined(sound)) == {"clock": WARNING}


class TestPrograms:
    @pytest.fixture(autouse=True)
    def no_programs(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
        programs = tmp_path / "programs"
        programs.mkdir()
        monkeypatch.setenv("PATH", str(programs))
        return programs

    @pytest.mark.parametrize(
        ("options", "outcome", "said"),
        [
            ({"compression": "gzip"}, OK, "Every program"),
            ({"compression": "auto"}, WARNING, "gzip is used"),
            ({"compression": "zstd"}, PROBLEM, "zstd is configured"),
            ({"encryption": Encryption("age", ("age1x",))}, PROBLEM, "age is configured"),
            ({"encryption": Encryption("gpg", ("key",)), "compression": "zstd"}, PROBLEM, "gpg and zstd is configured"),
        ],
    )
    def test_missing(self, sound: Site, options: dict[str, Any], outcome: str, said: str) -> None:
        found = examined(sound, **options)["programs"]

        assert found.outcome == outcome
        assert said in found.detail

    def test_installed(self, sound: Site, no_programs: Path) -> None:
        for name in ("zstd", "age"):
            (no_programs / name).touch(mode=0o755)

        for compression in ("auto", "zstd"):
            found = examined(sound, compression=compression, encryption=Encryption("age", ("age1x",)))
            assert found["programs"].outcome == OK


class TestConfiguration:
    @pytest.fixture
    def file(self, sound: Site) -> Path:
        file = sound.directory / "agent.json"
        file.touch(mode=0o600)
        return file

    @pytest.mark.parametrize(("mode", "outcome"), [(0o600, OK), (0o640, WARNING), (0o604, WARNING)])
    def test_others_read_it(self, sound: Site, file: Path, mode: int, outcome: str) -> None:
        file.chmod(mode)

        assert examined(sound, configuration=file)["configuration"].outcome == outcome

    @pytest.mark.parametrize(
        "option",
        [
            lambda file: {"encryption": Encryption("gpg", (), file)},
            lambda file: {"keys": Keys(identity_file=file)},
            lambda file: {"keys": Keys(passphrase_file=file)},
        ],
    )
    def test_others_read_a_key(self, sound: Site, file: Path, option: Any) -> None:
        assert examined(sound, **option(file))["configuration"].outcome == OK
        file.chmod(0o644)

        assert examined(sound, **option(file))["configuration"].outcome == PROBLEM

    def test_it_is_missing(self, sound: Site) -> None:
        """One check that cannot be made hides none of the others."""
        found = examined(sound, configuration=sound.directory / "missing.json")

        assert outcomes(found) == {"configuration": PROBLEM}
