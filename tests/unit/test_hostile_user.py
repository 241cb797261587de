# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root works in the directory of a user who plays tricks: nothing of root's is read, written, removed or given away.

Each trick is played by a real second user, and what only root may touch is looked at afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.inclusion import (
    FILE,
    LOGS,
    METRICS,
    PRISMA_SCHEMA,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import backup, restore
from support import databases, manifests, processes, tricks
from support.ground import SECRET, Ground, check_roots_are_untouched, outcome_of

pytestmark = [pytest.mark.root, pytest.mark.thorough, processes.needs_root]


@pytest.fixture
def shared_ground() -> Iterator[Ground]:
    with processes.open_directory() as place:
        yield Ground(place, repository_is_theirs=True)


@pytest.mark.parametrize("trick", tricks.BESIDE)
def test_root_beside_a_hostile_user_touches_nothing_of_roots(ground: Ground, trick: str) -> None:
    ground.change()
    ground.play(tricks.BESIDE[trick])
    check_answers(ground, trick)


@pytest.mark.parametrize("trick", tricks.IN_REPOSITORY)
def test_root_in_a_repository_of_a_hostile_user_touches_nothing_of_roots(shared_ground: Ground, trick: str) -> None:
    shared_ground.change()
    shared_ground.play(tricks.IN_REPOSITORY[trick])
    check_answers(shared_ground, trick)


def check_answers(ground: Ground, trick: str) -> None:
    """Run all commands: what they end with is as documented."""
    codes = {}
    for command, words in tricks.COMMANDS.items():
        codes[command] = ground.run(words)
        check_roots_are_untouched(ground)
    assert tricks.row(trick, codes) in tricks.documented()


def test_every_trick_of_the_table_is_played() -> None:
    width = len(tricks.COMMANDS) + 2
    rows = [line for line in tricks.documented() if line.count("|") == width and not line.startswith("| trick |")]
    assert [line.split(" | ")[0][2:] for line in rows] == [*tricks.BESIDE, *tricks.IN_REPOSITORY]


@pytest.mark.parametrize("hard", [False, True])
def test_included_file_that_leads_to_a_file_of_roots_is_refused(ground: Ground, hard: bool) -> None:
    """Else the user finds its content in the backup. Not every kernel keeps users from making the second link."""
    if hard:
        os.link(ground.roots / "secret", ground.theirs / ".env")
    else:
        ground.play("os.symlink(roots / 'secret', theirs / '.env')")
    ground.change()
    assert outcome_of(lambda: ground.back_up(include=(Include(ground.theirs / ".env"),))) == 18
    assert not [each for each in ground.repository.rglob("*") if each.is_file() and SECRET in each.read_bytes()]


@pytest.mark.parametrize("kind", [FILE, LOGS, METRICS, PRISMA_SCHEMA])
def test_file_of_roots_that_the_user_named_as_an_included_one_gets_into_no_backup_of_theirs(
    shared_ground: Ground, kind: str
) -> None:
    """A file that only root may read, in the user's directory, who may call it what they like."""
    (shared_ground.theirs / "secret").write_bytes(SECRET + b"\n")
    (shared_ground.theirs / "secret").chmod(0o600)
    shared_ground.play("os.rename(theirs / 'secret', theirs / 'a.prisma')")
    asked = Include(shared_ground.theirs / "a.prisma", kind=kind)
    shared_ground.change()
    assert outcome_of(lambda: shared_ground.back_up(include=(asked,))) == 18
    optional = dataclasses.replace(asked, required=False)
    outcome = shared_ground.back_up(include=(optional,))
    assert "the owner of the repository may not read it" in " ".join(outcome.warnings)
    assert not list(shared_ground.repository.glob("*/files"))
    os.chmod(shared_ground.theirs / "a.prisma", 0o644)
    shared_ground.change()
    shared_ground.back_up(include=(asked,))
    assert list(shared_ground.repository.glob("*/files"))


def by_env_file(ground: Ground, named: Path) -> int:
    (ground.config / "agent.json").write_text(
        json.dumps({"env_file": str(ground.theirs / ".env"), "repository": str(ground.repository)})
    )
    ground.play(f"(theirs / '.env').write_text('DATABASE_URL=file:{named}')")
    return ground.run(["backup", "agent"])


def test_environment_file_of_a_user_names_only_what_is_that_users(ground: Ground) -> None:
    """Else the user has root read a database of somebody else, and restore over it."""
    of_root = databases.make(ground.place / "root.db")

    assert by_env_file(ground, of_root) == 18
    assert by_env_file(ground, ground.roots / "new.db") == 18
    assert by_env_file(ground, ground.database) == 0


@pytest.mark.parametrize(
    "trick",
    ["os.symlink(roots / 'secret', theirs / '.env')", "os.mkfifo(theirs / '.env')", "(theirs / '.env').mkdir()"],
)
def test_environment_file_that_is_none_is_refused(ground: Ground, trick: str) -> None:
    given = {"env_file": str(ground.theirs / ".env"), "repository": str(ground.repository)}
    (ground.config / "agent.json").write_text(json.dumps(given))
    ground.play(trick)
    assert ground.run(["backup", "agent"]) == 18
    assert ground.run(["status"]) != 1


def test_directory_on_the_way_that_became_a_link_is_not_followed(ground: Ground) -> None:
    """The user owns a directory above that of the database, too."""
    deep = ground.theirs / "deep"
    deep.mkdir()
    path = databases.make(deep / "deep.db", journal_mode="delete")
    ground.give(deep)
    backup.run(backup.Request(path, ground.place / "other", compression="none"))
    ground.play("(theirs / 'deep').rename(theirs / 'gone'); os.symlink(roots, theirs / 'deep')")
    assert outcome_of(lambda: restore.run(restore.Request(ground.place / "other", dest=path))) == 18
    check_roots_are_untouched(ground)


def test_link_of_the_user_to_a_file_of_the_user_is_followed(ground: Ground) -> None:
    """Deployments are full of such links."""
    ground.play("(theirs / 'agent.db').rename(theirs / 'real.db'); os.symlink('real.db', theirs / 'agent.db')")
    ground.change()
    ground.back_up()
    digest = files.sha256_file(ground.theirs / "real.db")
    databases.add(ground.theirs / "real.db", "later")
    ground.restore(force_identity=True)
    assert files.sha256_file(ground.theirs / "real.db") == digest
    assert (ground.theirs / "agent.db").is_symlink()


def test_directory_of_roots_under_the_name_of_the_workplace_keeps_its_content(ground: Ground) -> None:
    """In a directory of one's own one may rename what belongs to others."""
    repository = ground.theirs / "of-root"
    shutil.copytree(ground.repository, repository)
    repository.chmod(0o700)
    ground.play("(theirs / 'of-root').rename(theirs / '.agent.db.restoring')")
    ground.change()
    before = databases.tree(ground.theirs / ".agent.db.restoring")
    assert (outcome_of(ground.restore), outcome_of(ground.undo)) == (18, 18)
    assert databases.tree(ground.theirs / ".agent.db.restoring") == before


def test_undo_set_that_is_a_link_is_none(ground: Ground) -> None:
    """Its names would come into a message."""
    ground.play("os.symlink(roots, theirs / 'agent.db.before-restore.20990101T000000Z')")
    assert outcome_of(ground.undo) == 22


@pytest.mark.parametrize("depth", [201, 3000])
@pytest.mark.parametrize("place", ["theirs / 'deep'", "repository / '.staging-x'"])
def test_directories_that_are_too_deep_are_refused(shared_ground: Ground, place: str, depth: int) -> None:
    ground = shared_ground
    ground.play(f"os.mkdir({place}); os.chdir({place}); [(os.mkdir('d'), os.chdir('d')) for _ in range({depth})]")
    ground.change()
    include = (Include(ground.theirs / "deep"),) if "deep" in place else ()
    code = outcome_of(lambda: ground.back_up(include=include))
    # As deep as that, Python could not.
    subprocess.run(["rm", "-rf", ground.theirs], check=True)
    # Before 3.13 Python removes no directories that are as deep as that.
    assert code in ((18,) if include else (0,) if depth == 201 else (0, 18))


def forged(ground: Ground, **origin: str) -> None:
    """Let the newest manifest, and the repository, say something else of the database."""
    path = next(ground.repository.glob("*-full")) / "manifest.json"
    document = manifest.from_bytes(path.read_bytes())
    database_ = dataclasses.replace(document.database, **origin)
    path.write_bytes(manifest.to_bytes(dataclasses.replace(document, database=database_)))
    description = ground.repository / "repository.json"
    content = {**json.loads(description.read_bytes()), "source": database_.source}
    description.write_bytes(manifests.sealed(content))
    ground.give(ground.repository)


def test_path_in_the_repository_of_a_user_is_not_believed(shared_ground: Ground) -> None:
    """Else it would be the user's choice which file root replaces."""
    ground = shared_ground
    forged(ground, source=str(ground.roots / "new"), owner="root")
    for work in (restore.run, restore.undo):
        assert outcome_of(lambda: work(restore.Request(ground.repository))) == 18  # noqa: B023
    check_roots_are_untouched(ground)


def test_path_in_the_repository_of_a_user_is_believed_where_that_user_rules(shared_ground: Ground) -> None:
    ground = shared_ground
    ground.database.unlink()
    assert outcome_of(lambda: restore.run(restore.Request(ground.repository))) == 0
    assert ground.database.stat().st_uid == processes.NOBODY


@pytest.mark.parametrize("in_roots", [False, True])
def test_owner_in_the_repository_of_a_user_is_not_believed(shared_ground: Ground, in_roots: bool) -> None:
    """And without the group to which it was open, the file is open to its owner alone."""
    ground = shared_ground
    forged(ground, owner="nobody" if in_roots else "root", group="0", mode="4755")
    dest = (ground.roots if in_roots else ground.theirs) / "new.db"
    restore.run(restore.Request(ground.repository, dest=dest))
    status = dest.stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0 if in_roots else processes.NOBODY, 0o700)


# --- what would be read or copied without an end ---------------------------------------------------------------------


def test_broken_database_of_holes_is_not_kept_apart(ground: Ground) -> None:
    """A copy of it would fill the disk of root's."""
    ground.play(
        "with open(theirs / 'agent.db', 'r+b') as f:\n    f.seek(100); f.write(b'\\xff' * 3000); f.truncate(1 << 42)"
    )

    assert ground.run(["backup", "agent", "--no-prune"]) == 16

    assert not [each for each in ground.repository.iterdir() if each.name.startswith(".staging-")]


def test_log_of_holes_beside_a_broken_database_is_not_kept_apart(ground: Ground) -> None:
    ground.play(
        "with open(theirs / 'agent.db', 'r+b') as f:\n"
        "    f.seek(100); f.write(b'\\xff' * 3000)\n"
        "with open(theirs / 'agent.db-wal', 'wb') as f:\n"
        "    f.truncate(1 << 42)"
    )

    assert ground.run(["backup", "agent", "--no-prune"]) in (11, 16)


def test_file_of_holes_in_the_place_of_an_included_one_does_not_keep_the_database_from_coming_back(
    ground: Ground,
) -> None:
    ground.play("(theirs / 'notes.txt').write_text('kept')")
    told = json.loads((ground.config / "agent.json").read_text())
    told["include"] = [{"src": str(ground.theirs / "notes.txt")}]
    (ground.config / "agent.json").write_text(json.dumps(told))
    ground.change()
    assert ground.run(["backup", "agent"]) == 0
    wanted = ground.database.read_bytes()
    ground.change()
    ground.play("os.truncate(theirs / 'notes.txt', 1 << 42)")

    assert ground.run(["restore", "agent", "--with-files"]) == 0

    assert ground.database.read_bytes() == wanted
    assert (ground.theirs / "notes.txt.from-backup").read_text() == "kept"


def test_export_reads_no_more_of_what_is_in_its_place_than_it_would_write(ground: Ground) -> None:
    ground.play("with open(theirs / 'out.jsonl', 'wb') as f: f.truncate(1 << 42)")
    before = (ground.theirs / "out.jsonl").stat()

    assert ground.run(["export", "agent", "--into", str(ground.theirs / "out.jsonl"), "--plain"]) == 18

    assert (ground.theirs / "out.jsonl").stat().st_ino == before.st_ino
