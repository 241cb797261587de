# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database out of an export, by the runner: proven before it has its name, and nothing is lost for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import proof, rebuilt, switch
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import FAILED
from support import databases, keys
from support.hosts import Host

pytestmark = pytest.mark.usefixtures("moment", "no_process_is_looked_at")
NAMES = [f"name {number}" for number in range(3)]


@pytest.fixture
def text(tmp_path: Path, host: Host) -> Path:
    """The export of the database ``agent``."""
    (tmp_path / "out").mkdir()
    path = tmp_path / "out" / "agent.jsonl"
    assert host.run("export", "agent", "--into", path).code == 0
    return path


@pytest.fixture
def dest(text: Path) -> Path:
    return text.with_name("new.db")


def beside(dest: Path) -> list[str]:
    return sorted(each.name for each in dest.parent.iterdir() if each.name != "agent.jsonl")


def test_a_new_database(host: Host, text: Path, dest: Path) -> None:
    host.run("backup", "agent")

    said = host.run("import", "agent", "--from", text, "--dest", dest, "--json").result

    assert (said["changed"], said["import"]["tables"], said["import"]["undo_set"]) == (True, {"item": 3}, "")
    assert {each["name"]: each["outcome"] for each in said["import"]["checks"]} == {
        "quick_check": "passed",
        "content": "passed",
    }
    assert databases.names(dest) == NAMES
    assert stat.S_IMODE(dest.stat().st_mode) == 0o600
    assert beside(dest) == ["new.db"]
    line = host.history()[-1]
    assert (line["event"], line["outcome"], line["dest"]) == ("import", "passed", str(dest))
    assert line["sha256"] == said["import"]["sha256"]


def test_the_same_content_is_left_as_it_is(host: Host, text: Path, dest: Path) -> None:
    host.run("import", "agent", "--from", text, "--dest", dest)
    databases.settle(dest)
    inode = dest.stat().st_ino

    again = host.run("import", "agent", "--from", text, "--dest", dest)
    live = host.run("import", "agent", "--from", text, "--json").result

    assert again.out == f"agent: {dest} holds just that already, 3 rows of 1 table\n"
    assert dest.stat().st_ino == inode
    assert not live["changed"], "the database that it came from"


def test_another_content_is_replaced_only_by_force_and_is_kept(host: Host, text: Path) -> None:
    host.change()

    refused = host.run("import", "agent", "--from", text)
    planned = host.run("import", "agent", "--from", text, "--force", "--dry-run", "--json").result
    assert (refused.code, "give force to replace it" in refused.err, planned["changed"]) == (18, True, True)
    assert databases.names(host.database()) == [*NAMES, "changed"]
    databases.settle(host.database())

    forced = host.run("import", "agent", "--from", text, "--force", "--json").result

    assert databases.names(host.database()) == NAMES
    kept = Path(forced["import"]["undo_set"])
    assert databases.names(kept / "agent.db") == [*NAMES, "changed"]
    assert host.run("restore", "agent", "--undo").code == 0
    assert databases.names(host.database()) == [*NAMES, "changed"]


def test_a_database_that_is_open_is_not_replaced(host: Host, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host.change()
    monkeypatch.setattr(
        "ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.processes.users_of",
        lambda _path: ["7"],
    )

    said = host.run("import", "agent", "--from", text, "--force")

    assert (said.code, "is open in 7" in said.err) == (18, True), said.err
    assert databases.names(host.database()) == [*NAMES, "changed"]


def test_a_log_without_its_database_is_not_replayed(host: Host, text: Path, dest: Path) -> None:
    dest.with_name("new.db-wal").write_bytes(b"mine")

    said = host.run("import", "agent", "--from", text, "--dest", dest)

    assert (said.code, "exists" in said.err, beside(dest)) == (18, True, ["new.db-wal"]), said.err


def test_a_dry_run_reads_to_the_end_and_writes_nothing(host: Host, text: Path, dest: Path) -> None:
    good = host.run("import", "agent", "--from", text, "--dest", dest, "--dry-run")
    text.write_bytes(text.read_bytes()[:-20])
    bad = host.run("import", "agent", "--from", text, "--dest", dest, "--dry-run")

    assert (good.code, good.out) == (0, f"agent: would build {dest} with 3 rows of 1 table\n")
    assert bad.code == 13
    assert beside(dest) == []


@pytest.mark.parametrize("way", [keys.AGE, keys.GPG_PASSPHRASE])
@pytest.mark.parametrize("compression", ["none", "gzip", "xz", keys.ZSTD])
def test_it_is_known_how_it_is_stored(host: Host, text: Path, dest: Path, way: str, compression: str) -> None:
    if way == "age":
        given = {"encryption": {"method": "age", "recipients": [keys.age_recipient()]}}
        key = {"identity_file": str(keys.age_identity())}
    else:
        given = {"encryption": {"method": "gpg", "passphrase_file": str(keys.passphrase())}}
        key = {"passphrase_file": str(keys.passphrase())}
    host.add("agent", compression=compression, **given, **key)
    host.run("export", "agent", "--into", text, "--force")

    assert host.run("import", "agent", "--from", text, "--dest", dest).code == 0
    assert databases.names(dest) == NAMES
    dest.unlink()
    host.add("agent", **given)
    refused = host.run("import", "agent", "--from", text, "--dest", dest)
    assert (refused.code, beside(dest)) == (14, []), refused.err


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text\n",
        b"\x1f\x8bnot",
        pytest.param(b"\x28\xb5\x2f\xfdnot", marks=keys.needs_zstd),
        b"age-encryption.org/v1\n",
    ],
)
def test_what_is_no_export_leaves_nothing(host: Host, text: Path, dest: Path, content: bytes) -> None:
    text.write_bytes(content)

    said = host.run("import", "agent", "--from", text, "--dest", dest)

    assert said.code in (10, 13, 14), said.err
    assert beside(dest) == []


def test_what_is_not_there(host: Host, text: Path, dest: Path) -> None:
    missing = host.run("import", "agent", "--from", text.with_name("no"), "--dest", dest)
    nowhere = host.run("import", "agent", "--from", text, "--dest", dest.parent / "no" / "new.db")

    assert (missing.code, "does not exist" in missing.err) == (10, True), missing.err
    assert (nowhere.code, "does not exist" in nowhere.err) == (2, True), nowhere.err


def test_what_does_not_tell_the_same_is_not_put_in_place(
    host: Host, text: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = rebuilt.build

    def other(export: object, path: Path, **options: object) -> None:
        real(export, path, **options)  # type: ignore[arg-type]
        databases.add(path, "one more")

    monkeypatch.setattr(rebuilt, "build", other)

    said = host.run("import", "agent", "--from", text, "--dest", dest)

    assert (said.code, "does not have the content" in said.err) == (17, True), said.err
    assert beside(dest) == []


def test_what_fails_its_check_is_not_put_in_place(
    host: Host, text: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "check_structure", lambda *_words: [proof.whole("quick_check", FAILED, "torn")])

    said = host.run("import", "agent", "--from", text, "--dest", dest)

    assert (said.code, "what was built fails: torn" in said.err, beside(dest)) == (17, True, []), said.err


def test_what_a_killed_import_left_is_put_in_order(host: Host, text: Path, dest: Path) -> None:
    place = switch.workplace_of(dest)
    place.mkdir(mode=0o700)
    (place / "restored").write_bytes(b"half")

    assert host.run("import", "agent", "--from", text, "--dest", dest).code == 0

    assert databases.names(dest) == NAMES
    assert beside(dest) == ["new.db"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no fifos here")
def test_a_fifo_is_not_waited_for(host: Host, text: Path, dest: Path) -> None:
    text.unlink()
    os.mkfifo(text)

    assert host.run("import", "agent", "--from", text, "--dest", dest).code == 2
