# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an encrypted backup tells whoever has no key: nothing, whatever happens on the way to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import encryption as encryptions
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    ProgramMissingError,
    SourceCorruptError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, keys, words
from support.keys import AGE, GPG_KEY, GPG_PASSPHRASE, needs_age, needs_gpg
from support.sites import Site
from support.words import WORDS

# Each call of gpg takes a tenth of a second, and longer with an agent.
SLOW_PASSPHRASE, SLOW_KEY, SLOW_LOCKED_KEY = (
    pytest.param(name, marks=[needs_gpg, pytest.mark.slow]) for name in ("gpg-passphrase", "gpg-key", "gpg-locked-key")
)


@pytest.fixture(autouse=True)
def quick_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow for whoever guesses a passphrase, they are as right when they are quick."""
    monkeypatch.setattr(encryptions, "_FINGERPRINT_ROUNDS", 10)


# --- nothing about the content is readable -------------------------------------------------------------------------


def _full(site: Site) -> None:
    """The first backup."""


def _incremental(site: Site) -> None:
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        connection.execute(f"INSERT INTO {WORDS['table']}({WORDS['column']}) VALUES ('{WORDS['row']}')")
        connection.commit()


def _suspect(site: Site) -> None:
    """quick_check quotes the names of tables and indexes in what it finds."""
    with contextlib.closing(sqlite3.connect(site.database)) as connection:
        query = f"SELECT rootpage FROM sqlite_master WHERE name = '{WORDS['index']}'"
        (root,) = connection.execute(query).fetchone()
    content = bytearray(site.database.read_bytes())
    content[(root - 1) * 512 : root * 512] = b"\x00\xff" * 256
    site.database.write_bytes(content)


def _malformed_schema(site: Site) -> None:
    """SQLite quotes the schema in what it says, and the bytes are salvaged."""
    with contextlib.closing(sqlite3.connect(site.database, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema=ON")
        connection.execute(
            "UPDATE sqlite_master SET sql = substr(sql, 1, length(sql) - 1) WHERE name = ?", (WORDS["table"],)
        )


def _corrupt_header(site: Site) -> None:
    content = bytearray(site.database.read_bytes())
    content[16:18] = b"\x00\x03"
    site.database.write_bytes(content)
    site.database.with_name("agent.db-wal").write_bytes(WORDS["row"].encode())


CONDITIONS = [_full, _incremental, _suspect, _malformed_schema, _corrupt_header]


@pytest.mark.parametrize("scheme", [AGE, SLOW_KEY])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_nothing_about_the_content_is_readable(telling: Site, scheme: str, condition: Callable[[Site], None]) -> None:
    encryption, good = keys.scheme(scheme)
    # Not compressed, which would hide the words as well.
    options: dict[str, Any] = {
        "encryption": encryption,
        "compression": "none",
        "include": words.include(telling.database),
    }
    if condition is not _full:
        telling.stored(**options)
    condition(telling)
    outcome = telling.back_up(**options)
    is_corrupt = condition in (_suspect, _malformed_schema, _corrupt_header)
    assert isinstance(outcome.error, SourceCorruptError) == is_corrupt
    telling.back_up(**options)
    telling.verified("full", good)
    assert words.readable(telling.repository) == []
    telling.back_up(include=words.include(telling.database), compression="none", force=True)
    assert {each.split(" in ")[0] for each in words.readable(telling.repository)} == set(WORDS), "the test sees none"


@needs_age
def test_failures_tell_the_audit_log_nothing_about_the_content(telling: Site) -> None:
    """A message may quote the name of a file to include, or the schema."""
    options: dict[str, Any] = {"encryption": keys.scheme("age")[0], "include": words.include(telling.database)}
    telling.stored(**options)
    words.include(telling.database)[0].src.unlink()
    with pytest.raises(EngineError, match=WORDS["include"]):
        telling.back_up(**options)
    assert (telling.history()[-1]["outcome"], telling.history()[-1]["code"]) == ("failed", 10)
    assert words.readable(telling.repository) == []


@pytest.mark.parametrize("scheme", [AGE, GPG_KEY])
def test_every_file_of_a_backup_but_its_manifest_is_encrypted(telling: Site, scheme: str) -> None:
    encryption, _good = keys.scheme(scheme)
    document = telling.stored(encryption=encryption, include=words.include(telling.database))
    directory = telling.repository / document.id
    names = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    suffix = {"age": ".age", "gpg": ".gpg"}[encryption.method]
    assert names == {
        "manifest.json",
        *(f"{name}{suffix}" for name in ("database.sqlite.gz", "schema.sql", "proof.json", "files/1")),
    }
    assert {each.encryption for each in document.files} == {encryption.method}
    assert document.proof is None
    assert {(each.outcome, each.detail) for each in document.checks} == {("passed", "")}


# --- a missing program, and bad keys -------------------------------------------------------------------------------


@contextlib.contextmanager
def _path(monkeypatch: pytest.MonkeyPatch, directory: Path, *programs: str) -> Iterator[Path]:
    """PATH is ``directory``, with just these programs, for the block."""
    directory.mkdir(exist_ok=True)
    for each in programs:
        found = shutil.which(each)
        assert found
        (directory / each).symlink_to(found)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(directory))
        yield directory


@pytest.mark.parametrize("scheme", [AGE, GPG_PASSPHRASE, SLOW_KEY])
def test_missing_program_stores_nothing_and_breaks_nothing(
    telling: Site, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 13: never a silent plain copy."""
    encryption, good = keys.scheme(scheme)
    nothing = telling.tree()
    with _path(monkeypatch, tmp_path / "bin"):
        for dry_run in (True, False):
            with pytest.raises(ProgramMissingError) as caught:
                telling.back_up(encryption=encryption, dry_run=dry_run)
            assert caught.value.code == 19
    (tmp_path / "bin").rmdir()
    assert _without_directories(telling.tree()) == _without_directories(nothing)

    telling.stored(encryption=encryption)
    stored = _backups(telling)
    telling.change(1)
    before = telling.tree()
    with _path(monkeypatch, tmp_path / "bin"):
        with pytest.raises(ProgramMissingError):
            telling.back_up(encryption=encryption)
        with pytest.raises(ProgramMissingError):
            restore.run(restore.Request(repository=telling.repository, dest=telling.database, keys=good))
        with pytest.raises(ProgramMissingError):
            telling.listed(good)
        assert telling.verified("full", good) == ("inconclusive", 19)
        assert telling.verified("quick", good) == ("passed", 0)
    assert _backups(telling) == stored
    assert telling.tree()["agent.db"] == before["agent.db"]
    assert words.readable(telling.repository) == []
    assert telling.open().backups()[-1].verified
    assert telling.history()[-3]["code"] == 19


def _without_directories(tree: dict[str, tuple[int, int, str]]) -> dict[str, tuple[int, int, str]]:
    return {name: entry for name, entry in tree.items() if entry[2]}


def _backups(site: Site) -> dict[str, str]:
    """Everything in the repository but logs, locks and notes."""
    found = databases.tree(site.repository)
    return {
        name: digest
        for name, digest in found.items()
        if not name.endswith((".jsonl", "checks.json")) and ".lock" not in name
    }


_BAD: dict[str, Callable[[], Encryption]] = {
    "unknown method": lambda: Encryption("rot13"),
    "recipients without a method": lambda: Encryption("none", ("age1example",)),
    "no recipients": lambda: Encryption("age"),
    "a passphrase for age": lambda: Encryption("age", (), keys.passphrase()),
    "no recipient": lambda: Encryption("age", ("age1notarecipient",)),
    "a secret key": lambda: Encryption("age", (_secret(),)),
    "a missing file": lambda: Encryption("age", ("/nowhere/recipients",)),
    "a file without recipients": lambda: Encryption("age", (str(keys.file_with("empty", "# nobody\n")),)),
    "a secret key in a file": lambda: Encryption("age", (str(keys.age_identity()),)),
    "neither keys nor passphrase": lambda: Encryption("gpg"),
    "both keys and passphrase": lambda: Encryption("gpg", ("/nowhere/key",), keys.passphrase()),
    "no key in the file": lambda: Encryption("gpg", (str(keys.file_with("nokey", "no key\n")),)),
    "an empty passphrase": lambda: Encryption("gpg", (), keys.file_with("nopassphrase", "\nsecond line\n")),
    "a missing passphrase": lambda: Encryption("gpg", (), Path("/nowhere/passphrase")),
}


def _secret() -> str:
    return keys.age_identity().read_text().split()[-1]


@needs_age
@needs_gpg
@pytest.mark.parametrize("name", _BAD)
def test_bad_keys_store_nothing(telling: Site, name: str) -> None:
    encryption = _BAD[name]()
    before = telling.tree()
    for dry_run in (True, False):
        with pytest.raises(UsageError) as caught:
            telling.back_up(encryption=encryption, dry_run=dry_run)
        assert caught.value.hint
        assert "AGE-SECRET-KEY" not in str(caught.value)
    assert telling.tree() == before


_FALSE_PROGRAM = """#!/bin/sh
echo >> "$0.calls"
if [ "$(wc -l < "$0.calls")" -eq {call} ]; then {action}; fi
exec "{real}" "$@"
"""


@pytest.mark.parametrize("scheme", [AGE, SLOW_PASSPHRASE])
@pytest.mark.parametrize(
    "action", ["exit 1", "head -c 20000 > /dev/null; exit 1", "kill -9 $$", "exec cat", "cat > /dev/null; exit 0"]
)
@pytest.mark.parametrize("call", [2, 3])
def test_program_that_fails_on_its_way_leaves_no_plain_copy(
    telling: Site, scheme: str, action: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call is the check before the backup, the second encrypts the image, the third the schema.

    The same with a program that says all is well and passes its input on as it is, or takes it and writes nothing.
    """
    encryption, _good = keys.scheme(scheme)
    with _path(monkeypatch, tmp_path / "bin", *("sh", "wc", "head", "cat")) as directory:
        program = directory / encryption.method
        program.write_text(_FALSE_PROGRAM.format(call=call, action=action, real=_real(encryption.method)))
        program.chmod(0o755)
        with pytest.raises(EngineError):
            telling.back_up(encryption=encryption, compression="none", include=words.include(telling.database))
        assert telling.ids() == []
        assert sorted(path.name for path in telling.repository.iterdir()) == [
            ".lock",
            "history.jsonl",
            "repository.json",
        ]
        assert words.readable(telling.repository) == []
    telling.stored(encryption=encryption)


def _real(program: str) -> str:
    """Where the program is, in the PATH that this run began with."""
    found = shutil.which(program, path=_PATH)
    assert found
    return found


_PATH = os.environ.get("PATH", "")


# --- secrets -------------------------------------------------------------------------------------------------------

_LISTENER = """#!/bin/sh
{{ tr '\\0' '\\n' < /proc/$$/cmdline; env; }} >> "{log}"
exec "{real}" "$@"
"""


@pytest.mark.parametrize("scheme", [AGE, SLOW_PASSPHRASE, SLOW_LOCKED_KEY])
def test_no_secret_is_on_a_command_line_or_in_a_log(
    site: Site, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (encryption, good), bad = keys.scheme(scheme), keys.wrong_keys(scheme)
    log = tmp_path / "log"
    with _path(monkeypatch, tmp_path / "bin", "sh", "tr", "env", "gpgconf", "gpg-agent") as directory:
        program = directory / encryption.method
        program.write_text(_LISTENER.format(log=log, real=_real(encryption.method)))
        program.chmod(0o755)
        site.stored(encryption=encryption)
        site.change(1)
        site.stored(encryption=encryption)
        site.restored(keys=good)
        assert site.verified("full", bad)[1] == 14
    heard = log.read_text()
    assert encryption.method in heard
    secrets = [keys.PASSPHRASE, keys.KEY_PASSPHRASE]
    if scheme == "age":
        secrets.extend(line for line in keys.age_identity().read_text().split() if line.startswith("AGE-SECRET-KEY"))
    assert [each for each in secrets if each in heard] == []
    assert words.readable(site.repository, {each: each for each in secrets}) == []


@needs_gpg
def test_exposed_passphrase_file_is_a_warning(site: Site) -> None:
    exposed = keys.file_with("exposed", "everybody reads this\n")
    exposed.chmod(0o644)
    outcome = site.back_up(encryption=Encryption("gpg", (), exposed))
    assert outcome.warnings == [
        f"The passphrase_file {exposed} can be read by others (mode 0644): give it the mode 0600."
    ]
