# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The included files come back with the database: to their places, over nothing, and nowhere else."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import FileOrigin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Storage
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system import files
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    KeyRejectedError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, keys, limits, processes
from support.ground import Ground
from support.sites import Site

SCHEMA, ENV, CONF = "model AgentRun {}\n", "TOKEN=hunter2\n", "port=80\n"


class Application:
    """A database in ``home`` with files beside it and, at ``conf``, elsewhere; ``backup`` holds all of them."""

    def __init__(self, directory: Path, scheme: str = "none") -> None:
        self.home = directory / "srv"
        (self.home / "prisma").mkdir(parents=True)
        self.site = Site(self.home)
        self.schema, self.env, self.conf = (
            self.home / "prisma/schema.prisma",
            self.home / ".env",
            directory / "app.conf",
        )
        for path, content in ((self.schema, SCHEMA), (self.env, ENV), (self.conf, CONF)):
            path.write_text(content)
        self.schema.chmod(0o640)
        self.include = (Include(self.home / "prisma"), Include(self.env, "env", redact=True), Include(self.conf))
        self.site.repository = directory / "repository"
        encryption, self.keys = keys.scheme(scheme)
        self.backup = self.site.stored(include=self.include, encryption=encryption)

    def lose(self) -> None:
        shutil.rmtree(self.home)
        self.conf.unlink()
        self.home.mkdir()

    def restore(self, *, dry_run: bool = False, **options: Any) -> restore.Outcome:
        asked = {"dest": self.site.database, "with_files": True, "keys": self.keys, **options}
        return restore.run(restore.Request(self.site.repository, **asked), dry_run=dry_run)


@pytest.fixture
def application(tmp_path: Path) -> Application:
    return Application(tmp_path)


def fates(outcome: restore.Outcome) -> dict[str, str]:
    return {each["name"]: each["fate"] for each in outcome.files}


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


# --- back in their places ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["none", "age"])
def test_what_was_beside_a_lost_database_comes_back(tmp_path: Path, scheme: str) -> None:
    application = Application(tmp_path, scheme)
    application.lose()
    outcome = application.restore()
    assert application.schema.read_text() == SCHEMA
    assert mode(application.schema) == 0o640
    assert (application.home / ".env.redacted").read_text() == "TOKEN=<redacted>\n"
    assert not application.env.exists()
    assert not application.conf.exists()
    assert fates(outcome) == {"prisma/schema.prisma": "in place", "env": "redacted", "app.conf": "left out"}
    assert f"{application.env}.redacted lacks its secrets" in outcome.warnings[1]
    assert f"it came from {application.conf}" in outcome.warnings[0]


def test_without_being_asked_for_no_file_is_written(application: Application) -> None:
    application.lose()
    assert application.restore(with_files=False).files == []
    assert sorted(each.name for each in application.home.iterdir()) == ["agent.db"]


def test_files_go_along_with_a_database_that_moves(application: Application, tmp_path: Path) -> None:
    """What stands beside the present database is not looked at."""
    new = tmp_path / "new"
    new.mkdir()
    application.restore(dest=new / "agent.db")
    assert (new / "prisma/schema.prisma").read_text() == SCHEMA


def test_place_that_the_operator_names_counts(application: Application) -> None:
    """Also for a directory, whose files have names below its own."""
    application.lose()
    moved = Include(application.home / "models", "prisma")
    outcome = application.restore(include=(Include(application.conf), moved))
    assert application.conf.read_text() == CONF
    assert (application.home / "models/schema.prisma").read_text() == SCHEMA
    assert fates(outcome)["app.conf"] == "in place"


def test_all_of_them_go_below_another_directory(application: Application, tmp_path: Path) -> None:
    application.restore(with_files=False, files_to=tmp_path / "look")
    found = {
        path.relative_to(tmp_path / "look").as_posix() for path in (tmp_path / "look").rglob("*") if path.is_file()
    }
    assert found == {"prisma/schema.prisma", "env.redacted", "app.conf"}
    assert mode(tmp_path / "look/prisma") == 0o700


def test_second_restore_changes_nothing(application: Application) -> None:
    application.lose()
    first, again = application.restore(), application.restore()
    assert (first.changed, again.changed) == (True, False)
    assert fates(again) == fates(first)
    assert not any(each["changed"] for each in again.files)


def test_check_mode_says_it_and_writes_nothing(application: Application) -> None:
    application.lose()
    foreseen = application.restore(dry_run=True)
    assert list(application.home.iterdir()) == []
    done = application.restore()
    assert (foreseen.files, foreseen.warnings, foreseen.changed) == (done.files, done.warnings, True)


def test_a_file_alone_that_is_missing_is_a_change(application: Application) -> None:
    application.schema.unlink()
    outcome = application.restore()
    assert (outcome.changed, outcome.undo_set) == (True, "")
    assert application.schema.read_text() == SCHEMA


# --- nothing is overwritten ----------------------------------------------------------------------------------------


def test_another_file_of_that_name_is_kept(application: Application) -> None:
    application.schema.write_text("model Newer {}\n")
    outcome = application.restore()
    assert application.schema.read_text() == "model Newer {}\n"
    assert Path(f"{application.schema}.from-backup").read_text() == SCHEMA
    assert f"is {application.schema}.from-backup" in " ".join(outcome.warnings)

    again = application.restore()
    assert not again.changed
    assert fates(again)["prisma/schema.prisma"] == "beside"


def test_neither_is_what_was_written_beside_it_before(application: Application) -> None:
    beside = Path(f"{application.schema}.from-backup")
    application.schema.write_text("model Newer {}\n")
    beside.write_text("edited")
    outcome = application.restore()
    assert beside.read_text() == "edited"
    assert fates(outcome)["prisma/schema.prisma"] == "kept"


def test_secrets_that_were_filled_in_stay(application: Application) -> None:
    application.lose()
    redacted = Path(f"{application.env}.redacted")
    redacted.write_text("TOKEN=filled in\n")
    outcome = application.restore()
    assert redacted.read_text() == "TOKEN=filled in\n"
    assert fates(outcome)["env"] == "kept"


def test_file_with_the_same_settings_needs_no_redacted_one(application: Application) -> None:
    application.env.write_text("TOKEN=rotated\n")
    outcome = application.restore()
    assert fates(outcome)["env"] == "in place"
    assert not Path(f"{application.env}.redacted").exists()


@pytest.mark.parametrize("make", [processes.fifo, os.mkdir, lambda path: os.symlink("/nowhere", path)])
def test_what_is_no_file_but_has_the_name_is_kept(application: Application, make: Any) -> None:
    application.schema.unlink()
    make(application.schema)
    with limits.within(10):
        outcome = application.restore()
    assert fates(outcome)["prisma/schema.prisma"] == "beside"
    assert not application.schema.is_file()


def test_file_that_comes_meanwhile_is_not_overwritten(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The application was started between the look and the writing."""
    application.schema.unlink()
    sync = files.sync_file

    def start(path: Path) -> None:
        sync(path)
        if path.name.endswith(".from-backup.new"):
            application.schema.write_text("of the application")

    monkeypatch.setattr(files, "sync_file", start)
    outcome = application.restore()
    assert application.schema.read_text() == "of the application"
    assert fates(outcome)["prisma/schema.prisma"] == "failed"
    assert "Cannot put the included file" in " ".join(outcome.warnings)
    assert sorted(each.name for each in application.schema.parent.iterdir()) == ["schema.prisma"]


# --- what a backup may say -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def altered(application: Application, source: str) -> Iterator[None]:
    """Let the manifest say that the schema came from ``source``, with a right seal."""
    path = application.site.repository / application.backup.id / manifest.MANIFEST_NAME
    document = manifest.from_bytes(path.read_bytes())
    origins = tuple(
        dataclasses.replace(each, source=source) if each.path.endswith("schema.prisma") else each
        for each in document.origins
    )
    path.write_bytes(manifest.to_bytes(dataclasses.replace(document, origins=origins)))
    yield


@pytest.mark.parametrize(
    "source",
    [
        *("/etc/cron.d/evil", "{home}/../evil", "{home}/prisma/../../evil", "{home}", "evil", "", "{home}/agent.db"),
        *("{home}/agent.db-wal", "{home}/.agent.db.restoring/undo/a", "{home}/agent.db.before-restore.x/agent.db"),
    ],
)
def test_backup_cannot_choose_another_place(application: Application, source: str, tmp_path: Path) -> None:
    """A ``-wal`` would be replayed over what was restored."""
    application.lose()
    with altered(application, source.format(home=application.home)):
        outcome = application.restore()
    assert fates(outcome)["prisma/schema.prisma"] == "left out"
    assert sorted(each.name for each in application.home.iterdir()) == [".env.redacted", "agent.db"]
    assert not (tmp_path / "evil").exists()


def test_backup_of_an_older_version_does_not_say_where_files_were(application: Application, tmp_path: Path) -> None:
    path = application.site.repository / application.backup.id / manifest.MANIFEST_NAME
    document = manifest.from_bytes(path.read_bytes())
    path.write_bytes(manifest.to_bytes(dataclasses.replace(document, origins=())))
    application.lose()
    assert set(fates(application.restore()).values()) == {"left out"}
    outcome = application.restore(include=application.include)
    assert application.schema.read_text() == SCHEMA
    assert fates(outcome)["env"] == "redacted"


def test_place_that_no_file_can_have_is_damage(application: Application) -> None:
    with altered(application, "/srv/\0"), pytest.raises(BackupDamagedError):
        application.restore(backup=application.backup.id)


@pytest.mark.parametrize("name", ["../evil", "/evil", "a\0b", 7, None, ""])
def test_name_that_leads_elsewhere_is_damage(tmp_path: Path, name: Any) -> None:
    """In an encrypted backup no manifest has it; whoever knows the recipient can have written it."""
    application = Application(tmp_path, "age")
    directory = application.site.repository / application.backup.id
    (directory / "proof.json.age").unlink()
    found = {"proof": None, "checks": [], "names": dict.fromkeys(("files/1", "files/2", "files/3"), name)}
    storage = Storage(directory, encryption=keys.scheme("age")[0])
    stored = storage.write("proof.json", "proof", [json.dumps(found).encode()])
    rest = tuple(each for each in application.backup.files if each.role != "proof")
    document = dataclasses.replace(application.backup, files=(*rest, stored))
    (directory / manifest.MANIFEST_NAME).write_bytes(manifest.to_bytes(document))
    application.lose()
    with pytest.raises(BackupDamagedError, match="the name of an included file is"):
        application.restore(files_to=tmp_path / "look")
    assert list(application.home.iterdir()) == []


def test_encrypted_backup_tells_of_its_files_only_to_its_readers(tmp_path: Path) -> None:
    application = Application(tmp_path, "age")
    assert application.backup.origins == ()
    directory = application.site.repository / application.backup.id
    told = [each.name for each in directory.rglob("*") if each.is_file() and b"schema.prisma" in each.read_bytes()]
    assert told == []
    with pytest.raises(KeyRejectedError):
        application.restore(keys=keys.wrong_keys("age"))


def test_manifest_keeps_where_a_file_was_and_whose(application: Application) -> None:
    by_path = {each.path: each for each in application.backup.origins}
    schema, env = by_path["files/prisma/schema.prisma"], by_path["files/env"]
    assert isinstance(schema, FileOrigin)
    assert (schema.source, schema.mode, schema.redacted) == (str(application.schema), "0640", False)
    assert (env.source, env.redacted) == (str(application.env), True)
    assert schema.uid == application.schema.stat().st_uid


# --- root in somebody else's directory -----------------------------------------------------------------------------


def _restored(ground: Ground, keys: Keys = NO_KEYS) -> restore.Outcome:
    return restore.run(restore.Request(ground.repository, dest=ground.database, with_files=True, keys=keys))


@processes.needs_root
@pytest.mark.parametrize("trick", ["os.symlink(roots, theirs / 'conf')", "os.symlink(roots / 'new', theirs / 'conf')"])
def test_root_follows_no_link_of_a_user_to_write_a_file(ground: Ground, trick: str) -> None:
    conf = ground.theirs / "conf"
    conf.mkdir()
    (conf / "app.conf").write_text(CONF)
    ground.give(conf)
    ground.change()
    ground.back_up(include=(Include(conf),))
    shutil.rmtree(conf)
    ground.play(trick)
    (fate,) = fates(_restored(ground)).values()
    assert fate in ("failed", "kept")
    assert ground.state() == ground.before


@processes.needs_root
def test_files_and_new_directories_belong_to_the_user_again(ground: Ground) -> None:
    conf = ground.theirs / "conf"
    conf.mkdir()
    (conf / "app.conf").write_text(CONF)
    ground.give(conf)
    ground.change()
    ground.back_up(include=(Include(conf),))
    shutil.rmtree(conf)
    databases.settle(ground.database)
    _restored(ground)
    assert {each.stat().st_uid for each in (conf, conf / "app.conf")} == {processes.NOBODY}
