# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands of the runner with what they start from, and what must hold whatever happened to them on the way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import COLLECTION_VERSION
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.runner import cli, zipapp
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    CancelledError,
    EngineError,
    RefusedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, verify
from support import databases, keys, words
from support.faults import Kind
from support.sites import Site

_NEVER = {"keep_within": "0s", **{f"keep_{each}": 0 for each in ("hourly", "daily", "weekly", "monthly")}}
NEW = ["new"]


@dataclass(frozen=True)
class Job:
    """``prepare`` makes a directory in which ``run`` ends with the exit code 0; afterwards ``check`` looks.

    ``check`` gets the directory, the exit code (or minus the signal that killed the run), and which kind of fault
    there was. It may change everything, and goes on working there as an operator would.
    """

    run: Callable[[Path], int]
    prepare: Callable[[Path], None]
    check: Callable[[Path, int, Kind], None]


def _command(*line: str) -> Callable[[Path], int]:
    """A command of the runner."""
    return lambda directory: cli.main([line[0], "--config", str(directory / "etc"), *line[1:]])


_BACKUP = _command("backup", "agent", "--no-prune")


def _done(directory: Path, *line: str) -> None:
    assert _command(*line)(directory) == 0, line


def _configure(site: Site, **options: Any) -> None:
    place = site.directory / "etc" / "databases.d"
    place.mkdir(mode=0o700, parents=True)
    told = {"path": str(site.database), "repository": str(site.repository), "compression": "none"}
    told.update(_NEVER, keep_last=1, lock_timeout="0s", timeout="5s")
    (place / "agent.json").write_text(json.dumps({**told, **options}))
    (place / "agent.json").chmod(0o600)


def _site(directory: Path) -> Site:
    return Site(directory, existing=True)


_WHOLE: set[str] = set()
"""What passed a full verification in this process: the same bytes need no other one."""


def _bytes_of(site: Site, name: str) -> str:
    """A digest of a backup and of all that it builds on, without its notes."""
    place = site.repository / name
    tree = {path: digest for path, digest in databases.tree(place).items() if path != "checks.json"}
    parent = json.loads((place / "manifest.json").read_bytes())["parent"]
    before = _bytes_of(site, parent) if parent else ""
    return hashlib.sha256(json.dumps([name, tree, before]).encode()).hexdigest()


def _whole(site: Site, good: Keys = NO_KEYS) -> list[str]:
    """The backups: each passes a full verification, and everything is private."""
    if not (site.repository / "repository.json").exists():
        return []
    repository = site.open()
    listed = [each.id for each in repository.backups()]
    for each in listed:
        known = _bytes_of(site, each)
        if known not in _WHOLE:
            result = verify.verify_backups(repository, each, verify.Expectations("full"), keys=good, dry_run=True)
            assert result.error is None
            _WHOLE.add(known)
    for each in site.repository.rglob("*"):
        assert each.stat().st_mode & 0o077 == 0, each
    return listed


def _backup(kind: str, *, first: bool = False, encrypted: bool = False, journal_mode: str = "wal") -> Job:
    """A backup after one backup and a change, or the first one."""

    def prepare(directory: Path) -> None:
        site = Site(directory, journal_mode=journal_mode)
        options: dict[str, Any] = {"type": kind}
        if encrypted:
            words.put_into(site.database)
            options["encryption"] = {"method": "age", "recipients": [keys.age_recipient()]}
            options["include"] = [{"src": str(site.database.with_name(words.WORDS["include"]))}]
        _configure(site, **options)
        if not first:
            _done(directory, "backup", "agent")
            site.change(30 if kind == "full" else 2)

    def check(directory: Path, code: int, _kind: Kind) -> None:
        site = _site(directory)
        good = keys.scheme("age")[1] if encrypted else NO_KEYS
        before = _whole(site, good)
        assert len(before) in ((0, 1) if first else (1, 2))
        if code == 0:
            assert len(before) == (1 if first else 2)
            assert site.restored(keys=good) == site.settled()
        if code == CancelledError.code and before:
            assert set(before) <= {each.get("backup") for each in site.history()}
        if encrypted:
            assert words.readable(site.repository) == []
        # The next run finds all that it needs, an index of pages that is right for one, and cleans up.
        site.change([7])
        _done(directory, "backup", "agent", "--no-prune", "--type", "incremental")
        assert site.ids()[:-1] == before
        assert site.restored(keys=good) == site.settled()
        assert not list(site.repository.glob(".staging*"))
        assert [path.name for path in site.repository.glob(".index/*Z-*")] == site.ids()[-1:]

    return Job(_BACKUP, prepare, check)


def _prepare_backup_beside_a_log(directory: Path) -> None:
    """Of a database that its application left with commits in the log."""
    databases.make(directory / "agent.db")
    _configure(_site(directory))
    _done(directory, "backup", "agent")
    databases.crashed_wal(directory / "agent.db")


def _check_backup_beside_a_log(directory: Path, code: int, _kind: Kind) -> None:
    site = _site(directory)
    before = _whole(site)
    assert len(before) in (1, 2)
    assert databases.names(site.database)[-1] == "only in wal"
    if code == 0:
        assert len(before) == 2
    _done(directory, "backup", "agent", "--no-prune")
    assert site.restored() == site.settled()
    assert _whole(site)[0] == before[0]


def _prepare_backup_after_damage(directory: Path) -> None:
    """A full backup, and an incremental one on it that rots."""
    site = Site(directory)
    _configure(site, compression="gzip")
    _done(directory, "backup", "agent", "--no-prune")
    site.change([1])
    _done(directory, "backup", "agent", "--no-prune")
    damaged = site.repository / site.ids()[-1] / "database.pages.gz"
    databases.flip_bit(damaged, damaged.stat().st_size // 2)
    site.change([2])


def _check_backup_after_damage(directory: Path, code: int, _kind: Kind) -> None:
    """What is damaged stays so, what was good stays good, and nothing builds on the damage."""
    site = _site(directory)
    first, damaged, *others = site.ids()
    assert len(others) == 1 if code == 0 else len(others) < 2
    for wanted, expected in ((first, 0), (damaged, 13), *((each, 0) for each in others)):
        assert _command("verify", "agent", "--backup", wanted)(directory) == expected
    site.change([7])
    _done(directory, "backup", "agent", "--no-prune")
    assert site.restored() == site.settled()
    kinds = [each.trusted().type for each in site.open().backups()]
    assert kinds == ["full", "incremental", "full", *(["incremental"] if others else [])]


def _prepare_prune(directory: Path) -> None:
    """A full backup, another one with two incrementals on it, and one to keep; the lock of each was used once."""
    site = Site(directory)
    _configure(site)
    for number, kind in enumerate(("full", "full", "incremental", "incremental", "full")):
        site.change([3], str(number))
        _done(directory, "backup", "agent", "--no-prune", "--type", kind)
    _done(directory, "verify", "agent", "--backup", "all")


def _check_prune(directory: Path, code: int, kind: Kind) -> None:
    site = _site(directory)
    before = _whole(site)
    newest = before[-1:]
    assert len(newest) == 1
    assert code != 0 or kind.reads or before == newest
    if code == CancelledError.code:
        gone = [each for event in site.history() if event["event"] == "prune" for each in event["removed"]]
        assert len(gone) + len(before) == 5
    _done(directory, "prune", "agent")
    assert _whole(site) == newest
    assert not list(site.repository.glob(".staging*"))
    assert {each.name for each in (site.repository / ".locks").iterdir()} <= {"checks", *newest}


def content(database: Path) -> object:
    """What an application would find: the names, the raw bytes of no database, or that the file is missing."""
    if not database.exists():
        return "missing"
    scratch = database.parent / "looked at"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    databases.copy_live(database, scratch / "copy.db")
    try:
        return databases.names(scratch / "copy.db")
    except sqlite3.DatabaseError:
        return database.read_bytes()
    finally:
        shutil.rmtree(scratch)


def _old_garbage(path: Path) -> None:
    databases.crashed_wal(path)
    path.write_bytes(b"garbage" * 1000)


OLD: dict[str, Callable[[Path], object]] = {
    "a closed database": databases.make,
    "a log": databases.crashed_wal,
    "a journal": lambda path: databases.crashed_journal(path, rows=100),
    "garbage": _old_garbage,
    "nothing": lambda _path: None,
}


def _prepare_restore(directory: Path, old: str) -> None:
    """A repository whose newest backup has the name "new", and what is ``old`` where it will be restored."""
    database = databases.make(directory / "agent.db", rows=0)
    databases.add(database, "new")
    _configure(_site(directory))
    _done(directory, "backup", "agent")
    database.unlink()
    OLD[old](database)


def expected(old: str) -> object:
    """What an application finds in what is ``old``."""
    return {
        "a closed database": ["name 0", "name 1", "name 2"],
        "a log": ["name 0", "name 1", "name 2", "only in wal"],
        "a journal": [f"name {number}" for number in range(100)],
        "garbage": b"garbage" * 1000,
        "nothing": "missing",
    }[old]


def _check_alternatives(directory: Path, code: int, kind: Kind, *, wanted: object, other: object) -> None:
    """``wanted`` is live after success, ``other`` after a failure that could be taken back, nothing else ever."""
    found = content(directory / "agent.db")
    assert found in (wanted, other)
    if code == 0:
        assert found == wanted
    elif code > 0 and not kind.lasting:
        assert found == other


def _check_backup_is_not_refused(directory: Path) -> None:
    """A killed restore may leave a second hard link to the live database in its workplace."""
    try:
        backup.run(backup.Request(directory / "agent.db", directory / "other", compression="none"))
    except EngineError as error:
        assert not isinstance(error, RefusedError), error  # noqa: PT017 - the others are about what is there
    shutil.rmtree(directory / "other", ignore_errors=True)


def _restore(old: str) -> Job:
    was = expected(old)

    def check(directory: Path, code: int, kind: Kind) -> None:
        _check_alternatives(directory, code, kind, wanted=NEW, other=was)
        _check_backup_is_not_refused(directory)
        _done(directory, "restore", "agent")
        assert content(directory / "agent.db") == NEW
        assert not (directory / ".agent.db.restoring").exists()
        assert len(_whole(_site(directory))) == 1
        if was != "missing":
            _done(directory, "restore", "agent", "--undo")
            assert content(directory / "agent.db") == was

    return Job(_command("restore", "agent"), lambda directory: _prepare_restore(directory, old), check)


def _undo(old: str) -> Job:
    was = expected(old)

    def prepare(directory: Path) -> None:
        _prepare_restore(directory, old)
        _done(directory, "restore", "agent")

    def check(directory: Path, code: int, kind: Kind) -> None:
        _check_alternatives(directory, code, kind, wanted=was, other=NEW)
        # Whatever is live, the other content is one undo away.
        now = content(directory / "agent.db")
        _done(directory, "restore", "agent", "--undo")
        assert content(directory / "agent.db") == (NEW if now == was else was)

    return Job(_command("restore", "agent", "--undo"), prepare, check)


def _export(directory: Path) -> int:
    return _command("export", "agent", "--into", str(directory / "agent.jsonl"), "--force")(directory)


def _import(directory: Path) -> int:
    return _command("import", "agent", "--from", str(directory / "agent.jsonl"), "--force")(directory)


def _prepare_export(directory: Path) -> None:
    """The export of an older content."""
    database = databases.make(directory / "agent.db", rows=0)
    _configure(_site(directory))
    _done(directory, "backup", "agent")
    assert _export(directory) == 0
    databases.add(database, "new")
    databases.settle(database)


def _check_export(directory: Path, code: int, _kind: Kind) -> None:
    """It is the one or the other, whole."""
    text = (directory / "agent.jsonl").read_bytes()
    assert text.splitlines()[-1].startswith(b'{"end":true,')
    assert (b'"new"' in text) or code != 0
    assert _export(directory) == 0
    assert b'"new"' in (directory / "agent.jsonl").read_bytes()
    assert not (directory / ".agent.jsonl.new").exists()


def _load(old: str) -> Job:
    was = expected(old)

    def prepare(directory: Path) -> None:
        _prepare_restore(directory, "nothing")
        _done(directory, "restore", "agent")
        assert _export(directory) == 0
        (directory / "agent.db").unlink()
        OLD[old](directory / "agent.db")

    def check(directory: Path, code: int, kind: Kind) -> None:
        _check_alternatives(directory, code, kind, wanted=NEW, other=was)
        assert _import(directory) == 0
        assert content(directory / "agent.db") == NEW
        assert not (directory / ".agent.db.restoring").exists()
        if was != "missing":
            _done(directory, "restore", "agent", "--undo")
            assert content(directory / "agent.db") == was

    return Job(_import, prepare, check)


def _prepare_verify(directory: Path) -> None:
    site = Site(directory)
    _configure(site)
    _done(directory, "backup", "agent")
    site.change([3])
    _done(directory, "backup", "agent", "--no-prune", "--type", "incremental")


def _check_verify(directory: Path, _code: int, _kind: Kind) -> None:
    """No backup is called damaged, nor a good one forgotten."""
    site = _site(directory)
    assert len(_whole(site)) == 2
    assert all(each["verified"] for each in site.listed())
    _done(directory, "verify", "agent", "--backup", "all", "--level", "full")
    assert not [name for name in os.listdir(directory) if name not in ("agent.db", "repository", "etc")]


def _prepare_pin(directory: Path) -> None:
    site = Site(directory)
    _configure(site)
    _done(directory, "backup", "agent")
    site.change([3])
    _done(directory, "backup", "agent", "--no-prune", "--type", "full")


def _pin(directory: Path) -> int:
    """Pin the older one of two backups."""
    first = min(path.name for path in (directory / "repository").glob("*-full"))
    return _command("pin", "agent", "--backup", first)(directory)


def _check_pin(directory: Path, code: int, _kind: Kind) -> None:
    """It is pinned or it is not, and nobody is in doubt."""
    site = _site(directory)
    assert len(_whole(site)) == 2
    first, second = site.open().backups()
    assert (first.pin_damage, second.pin) == ("", None)
    if code == 0:
        assert first.pinned
    assert _pin(directory) == 0
    _done(directory, "prune", "agent")
    assert len(site.ids()) == 2
    assert not list(site.repository.glob("*/.pin.json.new"))


def _prepare_renewal(directory: Path) -> None:
    """A repository of which the file that describes it is lost."""
    site = Site(directory)
    _configure(site)
    _done(directory, "backup", "agent")
    site.change([3])
    _done(directory, "backup", "agent", "--no-prune")
    (site.repository / "repository.json").unlink()
    site.change([4])


def _check_renewal(directory: Path, code: int, _kind: Kind) -> None:
    """The repository is the same, and all that it had is its own."""
    site = _site(directory)
    known = {each.trusted().repository for each in site.open().backups()}
    assert known == {site.open().id}
    assert len(site.ids()) in ((3,) if code == 0 else (2, 3))
    _done(directory, "backup", "agent", "--no-prune")
    assert {site.open().id} == known
    assert (site.open().doubt, [each for each in site.open().backups() if each.foreign]) == ("", [])
    assert _whole(site) == site.ids()
    assert site.restored() == site.settled()


def _start_over(site: Site, table: str) -> None:
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.executescript(f"DROP TABLE IF EXISTS page; DROP TABLE IF EXISTS item; CREATE TABLE {table}(a)")
    databases.settle(site.database)


_MEANT = _command("backup", "agent", "--force-identity", "--no-prune")


def _prepare_acceptance(directory: Path) -> None:
    """Two backups of a database that began anew."""
    site = Site(directory)
    _configure(site, keep_last=9)
    _done(directory, "backup", "agent")
    for table in ("new", "newer"):
        _start_over(site, table)
        _done(directory, "backup", "agent", "--no-prune")
    _start_over(site, "newest")


def _check_acceptance(directory: Path, code: int, _kind: Kind) -> None:
    """None of its backups is given up, and to say once more that it is meant is enough."""
    site = _site(directory)
    before = [each.apart for each in site.open().backups()]
    assert before[:3] in ([False, True, True], [False, False, False])
    assert True not in before[3:]
    if code == 0:
        assert True not in before
    _done(directory, "backup", "agent", "--force-identity")
    assert len(_whole(site)) == 4
    assert [each.id for each in site.open().backups() if each.apart or not each.verified] == []
    assert site.restored() == site.settled()


def _install(directory: Path) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        zipapp.install(directory / "sqlite-backup", cli.main, interpreter=sys.executable)
    except EngineError as error:
        return error.code
    except KeyboardInterrupt:
        return CancelledError.code
    return 0


def _runners() -> tuple[bytes, bytes]:
    """The runner of another version, and the one of this."""
    new = zipapp.build(cli.main, sys.executable)
    return new.replace(COLLECTION_VERSION.encode(), b"0.0.9"), new


def _prepare_install(directory: Path) -> None:
    (directory / "sqlite-backup").write_bytes(_runners()[0])
    (directory / "sqlite-backup").chmod(0o755)


def _check_install(directory: Path, code: int, _kind: Kind) -> None:
    path = directory / "sqlite-backup"
    old, new = _runners()
    assert path.read_bytes() in ((new,) if code == 0 else (old, new))
    assert path.stat().st_mode & 0o777 == 0o755
    assert _install(directory) == 0
    assert path.read_bytes() == new
    assert list(directory.iterdir()) == [path]


JOBS = {
    "first backup": _backup("full", first=True),
    "full backup": _backup("full"),
    "full backup, journal": _backup("full", journal_mode="delete"),
    "full backup, encrypted": _backup("full", encrypted=True),
    "incremental backup": _backup("incremental"),
    "incremental backup, encrypted": _backup("incremental", encrypted=True),
    "backup beside a log": Job(_BACKUP, _prepare_backup_beside_a_log, _check_backup_beside_a_log),
    "backup after damage": Job(_BACKUP, _prepare_backup_after_damage, _check_backup_after_damage),
    "prune": Job(_command("prune", "agent"), _prepare_prune, _check_prune),
    **{f"restore over {old}": _restore(old) for old in OLD},
    **{f"undo to {old}": _undo(old) for old in OLD if old != "nothing"},
    "export": Job(_export, _prepare_export, _check_export),
    **{f"import over {old}": _load(old) for old in ("a closed database", "a log", "nothing")},
    "verify": Job(_command("verify", "agent", "--backup", "all", "--level", "full"), _prepare_verify, _check_verify),
    "pin": Job(_pin, _prepare_pin, _check_pin),
    "backup without repository.json": Job(_BACKUP, _prepare_renewal, _check_renewal),
    "backup with force_identity": Job(_MEANT, _prepare_acceptance, _check_acceptance),
    "install the runner": Job(_install, _prepare_install, _check_install),
}
ENCRYPTED = tuple(name for name in JOBS if name.endswith("encrypted"))
SHORT = (
    *("export", "import over a closed database", "import over a log", "import over nothing"),
    *("pin", "backup without repository.json", "backup with force_identity"),
)
"""What they share with others is played there: of these it is enough to play what differs most."""
WITH_LINKS = tuple(name for name in JOBS if name.startswith(("restore", "undo")))
"""The jobs that make hard links where they can."""
