# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command ``demo``: a live database is backed up, lost and restored, in a temporary directory, with proof."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..repository import base
from ..sqlite import database, snapshot
from ..sqlite.library import sqlite3
from ..system import files, launch, scratch
from ..system.clock import Deadline
from ..system.errors import EngineError, ProofFailedError, doing
from . import commands, config, demo_writer, grammar
from .config import Database
from .result import Result

NAME = "demo"
# Of a smaller one every backup is a full one.
_ROW_BYTES = 1000
_ROWS = base.SMALL_BYTES // _ROW_BYTES + 1
_PLACE = os.path.abspath(Path(demo_writer.__file__).parents[2])
_ROOM = ".".join(demo_writer.__name__.split(".")[-3:])
_CODE = f"import sys; sys.path.insert(0, sys.argv[1]); from {_ROOM} import main; main()"
_TITLE = "a live database, its loss and its restore, in a temporary directory that is gone again"
_COMMITS = 25
_PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.01


@dataclass
class _Story:
    """What was done, line by line, and what was proven: what, whether it held, how that is known."""

    steps: list[str] = field(default_factory=list)
    proofs: list[tuple[str, bool, str]] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        proofs = [{"what": what, "held": held, "evidence": evidence} for what, held, evidence in self.proofs]
        return {"demo": {"proven": all(each["held"] for each in proofs), "steps": self.steps, "proofs": proofs}}

    def lines(self) -> list[str]:
        proven = (f"  {'proven' if held else 'FAILED'}: {what} ({how})" for what, held, how in self.proofs)
        return [*(f"  {each}" for each in self.steps), *proven]


class _Writer:
    """The process that commits to ``path``; ``last`` is the number of its newest commit that is known."""

    def __init__(self, path: Path) -> None:
        self.last = 0
        self._said = b""
        pipe = subprocess.PIPE
        words = [sys.executable, "-I", "-B", "-c", _CODE, _PLACE, os.fspath(path)]
        self._process = launch.start(words, stdin=pipe, stdout=pipe, stderr=pipe)
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._follow, self._hear)]
        for each in self._threads:
            each.start()

    def _follow(self) -> None:
        for line in self._process.stdout or ():
            self.last = int(line)

    def _hear(self) -> None:
        for line in self._process.stderr or ():
            self._said = line

    def wait_for(self, number: int) -> None:
        end = time.monotonic() + _PATIENCE_SECONDS
        while self.last < number:
            if self._process.poll() is not None or time.monotonic() > end:
                raise EngineError(f"the process that writes to it failed: {self._said.decode(errors='replace')}")
            time.sleep(_POLL_SECONDS)

    def end(self) -> None:
        """Kill it, as a lost host would."""
        self._process.kill()
        self._process.wait()
        for each in self._threads:
            each.join(_PATIENCE_SECONDS)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()


def run(given: str | None) -> tuple[Result, list[str]]:
    """What came of it, and the lines that tell it; ``given`` is a database to work with a copy of."""
    story = _Story()
    result = Result(NAME)
    try:
        with doing("Cannot show a backup"), scratch.directory() as folder:
            _play(story, folder, Path(given) if given else None)
    except EngineError as error:
        result.error = error
    result.facts = story.facts()
    failed = [what for what, held, _evidence in story.proofs if not held]
    if failed and result.error is None:
        result.error = ProofFailedError(f"The demo failed: {failed[0]} is not so.", action="", hint="Please report it.")
    proven = result.error is None and bool(story.proofs)
    end = "proven: what was backed up is back" if proven else "not proven"
    return result, [_TITLE, *story.lines(), f"  {end}"]


def _play(story: _Story, folder: Path, given: Path | None) -> None:
    live = folder / (given.name if given else "agent.db")
    told = _copy(given, live, folder) if given else _make(live)
    story.steps.append(f"{live.name}: {told}; another process commits to it all the time")
    content = {"path": os.fspath(live), "repository": os.fspath(folder / "repository")}
    configuration = folder / "config" / config.DATABASES_NAME
    files.make_private_directory(configuration)
    settings = config.checked(content, NAME, file=configuration / f"{NAME}.json", told=NAME)
    with _writing(live) as writer:
        _back_up(story, settings, writer, "full")
        before = writer.last
        backup = _back_up(story, settings, writer, "incremental")
        writer.end()
    _lose(story, live, writer.last)
    _check(_do(settings, "restore", commands.restore_one, ()))
    story.steps.append(f"restored from {backup['id']}")
    _prove(story, live, backup, before, writer.last)
    verified = _check(_do(settings, "verify", commands.verify_one, ("--backup", "all", "--level", "full")))
    story.proofs.append(("each backup passes its full verification", True, verified["outcome"]))


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[_Writer]:
    writer = _Writer(path)
    try:
        writer.wait_for(_COMMITS)
        yield writer
    finally:
        writer.end()


def _make(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE run (id INTEGER PRIMARY KEY, name TEXT, output BLOB)")
        rows = ((f"run {number}",) for number in range(_ROWS))
        connection.executemany(f"INSERT INTO run (name, output) VALUES (?, randomblob({_ROW_BYTES}))", rows)
        connection.commit()
    return f"{files.readable(path.stat().st_size)} in {_ROWS:,} rows"


def _copy(given: Path, path: Path, folder: Path) -> str:
    """Copy the database of the operator, which is only read; the copy is put into WAL mode."""
    with doing(f"Cannot copy {given}"):
        source = database.locate(given)
        with snapshot.take(source, folder, deadline=Deadline(None)) as image, files.create_private(path) as file:
            for chunk in image.chunks():
                files.write_all(file, chunk)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return f"a copy of {files.readable(path.stat().st_size)}"


def _do(settings: Database, command: str, work: Callable[..., Result], words: Sequence[str]) -> Result:
    return work(settings, vars(grammar.parse([command, NAME, *words])))


def _check(result: Result) -> dict[str, Any]:
    """The facts of a step of the story; raises when it failed."""
    if result.error is not None:
        raise result.error
    facts: dict[str, Any] = result.facts.get("verification", result.facts)
    return facts


def _back_up(story: _Story, settings: Database, writer: _Writer, kind: str) -> dict[str, Any]:
    before, begin = writer.last, time.monotonic()
    words = ("--type", kind, "--reason", "demo", "--no-push", "--no-prune")
    backup: dict[str, Any] = _check(_do(settings, "backup", commands.back_up, words))["backup"]
    pages = f"{backup['changed_pages']:,} of {backup['page_count']:,} pages"
    sizes = f"{pages}, {files.readable(backup['stored_bytes'])} stored of {files.readable(backup['database_bytes'])}"
    took = f"{time.monotonic() - begin:.1f} s, while {writer.last - before} commits were made"
    story.steps.append(f"backed up ({backup['type']}): {sizes}, in {took}")
    writer.wait_for(writer.last + _COMMITS)
    return backup


def _lose(story: _Story, path: Path, last: int) -> None:
    for suffix in ("", *database.SIDECARS):
        files.remove_file(database.sidecar(path, suffix))
    story.steps.append(f"lost: the writer was killed behind commit {last}, and its database deleted")


def _prove(story: _Story, path: Path, backup: dict[str, Any], before: int, last: int) -> None:
    promised = backup["sha256"]
    same = files.sha256_file(path) == promised
    story.proofs.append(("the restored file is the image that was backed up", same, f"SHA-256 {promised[:16]}..."))
    count, newest = demo_writer.committed(path)
    whole = count == newest and before <= newest <= last
    evidence = f"{before} before it began, 1 to {newest} are back, {last - newest} came later and are lost"
    story.proofs.append(("every commit from before the last backup is back", whole, evidence))
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (found,) = connection.execute("PRAGMA integrity_check").fetchone()
    evidence = f"integrity_check: {found}, {sum(backup['tables'].values()):,} rows were backed up"
    story.proofs.append(("SQLite finds it sound", found == "ok", evidence))
