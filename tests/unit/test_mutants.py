# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Some thousand damaged databases and backups: each answer is bounded, of a documented class, and true.

What is called whole, SQLite reads, too, and finds in it what was there. See docs/mutants.md.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import retention
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.repository import Repository
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import pin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import info, prune, restore, verify
from support import mutants
from support.sites import Site

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_process_is_looked_at"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork(2): a mutant may end the process that reads it"),
]

MUTANTS = 100
ANSWER_SECONDS = 10
MEMORY_BYTES = 2 << 30
# Of errors.py, without 1, which is a fault of ours.
DOCUMENTED = {0, 2, 3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 23, 30}


@pytest.fixture
def template(tmp_path: Path) -> Path:
    path = tmp_path / "template"
    path.mkdir()
    return path


def each_mutant(template: Path, kind: str) -> Iterator[tuple[random.Random, Path]]:
    """A directory like ``template`` for each mutant, and where its chances come from."""
    trial = template.with_name("trial")
    for number in range(MUTANTS):
        shutil.copytree(template, trial)
        yield random.Random(f"{mutants.SEED} {kind} {number}"), trial
        shutil.rmtree(trial)


def answer_of(work: Callable[[], object]) -> int:
    """The code that the work ends with."""
    try:
        work()
    except EngineError as error:
        return error.code
    return 0


def raised(found: verify.Verification) -> None:
    if found.error:
        raise found.error


def judged(work: Callable[[], Counter[str]]) -> Counter[str]:
    """What ``work`` counts, in a child with bounds."""
    import resource

    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 1
        try:
            # Not the handler of pytest, which waits for SQLite to return.
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(ANSWER_SECONDS)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            os.write(writing, json.dumps(work()).encode())
            code = 0
        except BaseException:  # noqa: BLE001 - the test must see it
            os.write(writing, json.dumps(traceback.format_exc()[-600:]).encode())
        os._exit(code)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    found = json.loads(answer or '""')
    assert status == 0, f"ended with {status}: {found}"
    return Counter(found)


def counted(kind: str, template: Path, judge: Callable[[random.Random, Path], Counter[str]]) -> Counter[str]:
    """The sum of all that was counted; what a mutant broke is shown with the number of its mutant."""
    total: Counter[str] = Counter()
    broken = []
    for number, (chance, trial) in enumerate(each_mutant(template, kind)):
        try:
            total += judged(lambda: judge(chance, trial))  # noqa: B023
        except AssertionError as error:
            broken.append(f"mutant {number}: {error}")
    assert broken == []
    return total


@pytest.mark.parametrize("kind", mutants.LIVE)
def test_no_damaged_database_is_called_whole(template: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # For how long a journal that looks hot must stay as it is.
    monkeypatch.setattr(pin, "_STILL_SECONDS", 0.02)
    mutants.LIVE[kind](template)
    files = sorted(template.iterdir())

    def judge(chance: random.Random, trial: Path) -> Counter[str]:
        check = chance.choice(("quick", "full"))
        # The log, and what tells where it is, count as much as the database.
        mutants.mutate(chance, trial / chance.choice(files).name)
        said = mutants.said_by_sqlite(trial / mutants.NAME, check)
        repository = trial / "repository"
        whole: list[bool] = []
        code = answer_of(lambda: whole.append(mutants.back_up(trial / mutants.NAME, repository, check)))
        assert code in DOCUMENTED, f"backup ended with {code}"
        live = answer_of(lambda: raised(verify.verify_database(trial / mutants.NAME, verify.Expectations(check))))
        assert live in DOCUMENTED, f"verify --live ended with {live}"
        if live == 0:
            assert said, "the live database is called whole, and SQLite finds it damaged"
        if whole == [True]:
            assert said, "the backup is called whole, and SQLite finds its source damaged"
            restore.run(restore.Request(repository, dest=trial / "restored.db", force_identity=True))
            assert mutants.content_of(trial / "restored.db", check) == said, "the backup holds something else"
        return Counter({f"code {code}": 1, "whole for SQLite": int(bool(said))})

    found = counted(kind, template, judge)
    assert found["code 12"] > 0
    assert found["code 0"] > 0 or kind == "a hot journal"
    assert found["whole for SQLite"] < MUTANTS


@pytest.fixture
def stored(template: Path, nothing_is_small: None) -> Site:
    # Made where the mutants will be, since a repository knows where its database is.
    trial = template.with_name("trial")
    trial.mkdir()
    mutants.make_repository(trial)
    template.rmdir()
    trial.rename(template)
    return Site(template, existing=True)


def check_repository(trial: Path, before: dict[str, bytes]) -> Counter[str]:
    """Every command answers; what is called good restores exactly what was backed up."""
    site = Site(trial, existing=True)
    codes = Counter()
    # Not built upon what is damaged, nor upon a wrong index of its pages.
    site.change([9], "later")
    for name, work in {
        "list": lambda: info.describe_repository(open_(site)),
        "prune": lambda: prune.run(prune.Request(site.repository, retention.Policy(keep_last=9)), dry_run=True),
        "backup": lambda: mutants.back_up(site.database, site.repository, "quick"),
    }.items():
        code = answer_of(work)
        assert code in DOCUMENTED, f"{name} ended with {code}"
        codes[f"{name} {code}"] += 1
    if codes["backup 0"]:
        assert site.restored() == site.settled(), "the next backup holds something else"
    for identity, content in before.items():
        dest = trial / "restored" / "agent.db"
        dest.parent.mkdir(exist_ok=True)
        verified = answer_of(lambda: check_verified(site, identity))  # noqa: B023
        # All are foreign where another id is forged into the description.
        request = restore.Request(site.repository, identity, dest=dest, force_identity=True)
        restored = answer_of(lambda: restore.run(request))  # noqa: B023
        assert {verified, restored} <= DOCUMENTED, f"verify ended with {verified}, restore with {restored}"
        if restored == 0:
            assert dest.read_bytes() == content, "another content was restored"
        if verified == 0:
            assert restored == 0, f"it was called good, and its restore ended with {restored}"
        codes[f"restore {restored}"] += 1
        shutil.rmtree(dest.parent)
    return codes


def check_verified(site: Site, identity: str) -> None:
    raised(verify.verify_backups(open_(site), identity, verify.Expectations("full"), lock_timeout_seconds=0))


def open_(site: Site) -> Repository:
    return Repository.open_existing(site.repository)


@pytest.mark.parametrize(("change", "suffix"), [(mutants.mutate, ""), (mutants.forge, ".json")])
def test_no_damaged_backup_is_called_good(
    stored: Site, change: Callable[[random.Random, Path], None], suffix: str
) -> None:
    """Nor one with a forged document, that only somebody who knows the format could have written."""
    before = {identity: stored.restored(identity) for identity in stored.ids()}
    files = [each.relative_to(stored.directory) for each in mutants.stored_files(stored.repository)]
    files = [each for each in files if each.name.endswith(suffix)]

    def judge(chance: random.Random, trial: Path) -> Counter[str]:
        change(chance, trial / chance.choice(files))
        return check_repository(trial, before)

    found = counted(change.__name__, stored.directory, judge)
    assert found["restore 13"] > 0
    assert found["restore 0"] > 0
    assert found["backup 0"] > 0
