# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encrypted backups from end to end: who has the key gets everything back, and who has not breaks nothing."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.include import Include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import encryption
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import (
    NO_KEYS,
    NOT_ENCRYPTED,
    Encryption,
    Keys,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    EngineError,
    KeyRejectedError,
    UsageError,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.work import restore
from support import databases, keys, words
from support.keys import AGE, GPG_KEY, GPG_PASSPHRASE, needs_age, needs_gpg, needs_zstd
from support.sites import Site
from support.words import WORDS

pytestmark = pytest.mark.thorough

# Each call of gpg takes a tenth of a second, and longer with an agent.
SLOW_PASSPHRASE, SLOW_KEY, SLOW_LOCKED_KEY = (
    pytest.param(name, marks=[needs_gpg, pytest.mark.slow]) for name in ("gpg-passphrase", "gpg-key", "gpg-locked-key")
)


@pytest.fixture(autouse=True)
def quick_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow for whoever guesses a passphrase, they are as right when they are quick."""
    monkeypatch.setattr(encryption, "_FINGERPRINT_ROUNDS", 10)


# --- there and back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [AGE, GPG_KEY, SLOW_PASSPHRASE])
def test_who_has_the_key_gets_everything_back(telling: Site, scheme: str) -> None:
    encryption, good = keys.scheme(scheme)
    options: dict[str, Any] = {
        "encryption": encryption,
        "compression": "auto",
        "include": words.include(telling.database),
    }
    contents = {telling.stored(**options).id: telling.settled()}
    telling.change(1)
    foretold = telling.back_up(dry_run=True, **options)
    assert (foretold.type, foretold.parent, foretold.changed_pages) == ("incremental", telling.ids()[0], 1)
    second = telling.stored(**options)
    contents[second.id] = telling.settled()
    assert (second.type, second.encryption) == ("incremental", encryption.method)
    for dry_run in (True, False):
        assert not telling.back_up(dry_run=dry_run, **options).changed

    assert telling.verified("quick", NO_KEYS) == ("passed", 0)
    assert telling.verified("full", good) == ("passed", 0)
    assert {wanted: telling.restored(wanted, good) for wanted in contents} == contents
    tables = {"ZanzibarLedger": 1, "item": 3, "page": 40}
    assert [each["tables"] for each in telling.listed(good)] == [tables, tables]
    assert [each["tables"] for each in telling.listed(NO_KEYS)] == [{}, {}]

    telling.change(2)
    before = telling.settled()
    request = restore.Request(repository=telling.repository, dest=telling.database, keys=good)
    assert restore.run(request).changed
    assert telling.database.read_bytes() == contents[second.id]
    assert not restore.run(request).changed
    restore.undo(dataclasses.replace(request, keys=NO_KEYS))
    assert telling.settled() == before


@needs_age
@pytest.mark.parametrize("given", ["texts", "a file", "both"])
def test_each_recipient_alone_can_read(site: Site, given: str) -> None:
    own, other = keys.age_recipient(), keys.age_recipient("other")
    listed = keys.file_with("recipients", f"# who may read\n{own}\n\n{other}\n")
    recipients = {"texts": (own, other), "a file": (str(listed),), "both": (own, str(listed))}[given]
    site.stored(encryption=Encryption("age", recipients))
    for name in ("own", "other"):
        assert site.restored(keys=Keys(keys.age_identity(name))) == site.settled()
    with pytest.raises(KeyRejectedError):
        site.restored(keys=Keys(keys.age_identity("stranger")))


@needs_gpg
@pytest.mark.slow
def test_each_gpg_key_alone_can_read(site: Site) -> None:
    encryption, locked = keys.scheme("gpg-locked-key")
    site.stored(encryption=encryption)
    for good in (locked, Keys(keys.gpg_key()[1])):
        assert site.restored(keys=good) == site.settled()


# --- by hand, as docs/format.md says -------------------------------------------------------------------------------


def _decrypts(scheme: str) -> list[str]:
    if scheme == "age":
        return ["age", "-d", "-i", str(keys.age_identity())]
    return [
        "gpg",
        "--batch",
        "--quiet",
        "--passphrase-file",
        str(keys.passphrase()),
        "--pinentry-mode",
        "loopback",
        "-d",
    ]


def _piped(content: bytes, *commands: list[str]) -> bytes:
    for command in commands:
        content = subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout
    return content


@needs_zstd
@pytest.mark.parametrize("scheme", [AGE, SLOW_PASSPHRASE])
def test_a_stranger_restores_a_chain_with_plain_tools(
    telling: Site, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of this collection is used, only docs/format.md."""
    (tmp_path / "gnupg").mkdir(mode=0o700)
    monkeypatch.setenv("GNUPGHOME", str(tmp_path / "gnupg"))
    encryption, _good = keys.scheme(scheme)
    options: dict[str, Any] = {
        "encryption": encryption,
        "compression": "zstd",
        "include": words.include(telling.database),
    }
    telling.stored(**options)
    for rows in ([1, 2], [40]):
        telling.change(rows)
        telling.stored(**options)

    suffix = {"age": "age", "gpg": "gpg"}[encryption.method]
    manifests = {path.parent: json.loads(path.read_bytes()) for path in telling.repository.glob("*/manifest.json")}
    directories = sorted(manifests, key=lambda each: manifests[each]["sequence"])
    assert [manifests[each]["parent"] for each in directories] == [None, *(each.name for each in directories[:-1])]
    artifact = (directories[0] / f"database.sqlite.zst.{suffix}").read_bytes()
    image = bytearray(_piped(artifact, _decrypts(scheme), ["zstd", "-d", "-c"]))
    for directory in directories[1:]:
        artifact = (directory / f"database.pages.zst.{suffix}").read_bytes()
        stream = _piped(artifact, _decrypts(scheme), ["zstd", "-d", "-c"])
        magic, page_size, page_count = struct.unpack_from(">16sII", stream)
        assert magic == b"SQLite pages\0\0\0\1"
        size = page_size * page_count
        image = image[:size] + bytes(size - len(image))
        place = 24
        while number := struct.unpack_from(">I", stream, place)[0]:
            begin = (number - 1) * page_size
            image[begin : begin + page_size] = stream[place + 4 : place + 4 + page_size]
            place += 4 + page_size
        assert place + 4 == len(stream)
    assert bytes(image) == telling.settled()

    proof = json.loads(_piped((directories[-1] / f"proof.json.{suffix}").read_bytes(), _decrypts(scheme)))
    assert proof["proof"]["tables"][WORDS["table"]] == 1
    assert proof["names"] == {"files/1": WORDS["include"]}
    included = (directories[-1] / f"files/1.{suffix}").read_bytes()
    assert _piped(included, _decrypts(scheme)).decode() == WORDS["include content"]
    schema = (directories[-1] / f"schema.sql.{suffix}").read_bytes()
    assert WORDS["comment"] in _piped(schema, _decrypts(scheme)).decode()


# --- the wrong key, and none ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", [AGE, GPG_PASSPHRASE, SLOW_KEY, SLOW_LOCKED_KEY])
@pytest.mark.parametrize("given", ["wrong", "none"])
def test_without_its_key_a_backup_is_neither_restored_nor_called_damaged(site: Site, scheme: str, given: str) -> None:
    """Case 12: the live database is not touched, and nothing is held against the backup."""
    encryption, good = keys.scheme(scheme)
    bad = keys.wrong_keys(scheme) if given == "wrong" else NO_KEYS
    document = site.stored(encryption=encryption, compression="none")
    site.change(1)
    before = site.tree()
    request = restore.Request(repository=site.repository, dest=site.database, keys=bad)
    for dry_run in (True, False):
        with pytest.raises(KeyRejectedError) as caught:
            restore.run(request, dry_run=dry_run)
        assert (caught.value.code, bool(caught.value.hint)) == (14, True)
    after = site.tree()
    assert {name for name, entry in after.items() if before.get(name) != entry} <= {
        "repository",
        "repository/.locks",
        f"repository/.locks/{document.id}",
    }

    assert site.verified("full", bad) == ("inconclusive", 14)
    (backup,) = site.open().backups()
    assert backup.verified
    assert [each["outcome"] for each in backup.verifications] == []
    assert site.verified("quick", bad) == ("passed", 0)
    if given == "wrong":
        with pytest.raises(KeyRejectedError):
            site.listed(bad)
    assert site.verified("full", good) == ("passed", 0)
    (backup,) = site.open().backups()
    assert [each["outcome"] for each in backup.verifications] == ["passed", "passed"]


@needs_age
def test_lost_key_file_is_a_wrong_option(site: Site) -> None:
    """Case 12: nothing is touched, and nothing is noted."""
    site.stored(encryption=keys.scheme("age")[0])
    site.change(1)
    before = site.tree()
    for lost in (Keys(Path("/nowhere/identity")), Keys(site.directory), Keys(keys.file_with("no-identity", "\n"))):
        for attempt in (
            site.listed,
            lambda given: site.verified("full", given),
            lambda given: restore.run(restore.Request(repository=site.repository, dest=site.database, keys=given)),
        ):
            with pytest.raises(UsageError) as caught:
                attempt(lost)
            assert (caught.value.code, caught.value.hint[:7]) == (2, "Correct")
    changed = {name for name, entry in site.tree().items() if before.get(name) != entry and entry[2]}
    assert {name.partition("/.locks")[0] for name in changed} <= {"repository"}
    (backup,) = site.open().backups()
    assert (backup.verified, list(backup.verifications)) == (True, [])


@needs_age
def test_damage_is_found_without_the_key(site: Site) -> None:
    """Whatever the key: a changed byte of an artifact is damage, and a restore says so."""
    document = site.stored(encryption=keys.scheme("age")[0])
    databases.flip_bit(site.repository / document.id / "proof.json.age", -1)
    for given in (keys.scheme("age")[1], keys.wrong_keys("age"), NO_KEYS):
        assert site.verified("quick", given) == ("failed", 13)
        assert site.verified("full", given) == ("failed", 13)
        with pytest.raises(EngineError) as caught:
            site.restored(keys=given)
        assert caught.value.code == 13


@needs_age
@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_damaged_backup_does_not_hide_the_others_from_a_listing(site: Site, damage: str) -> None:
    encryption, good = keys.scheme("age")
    first = site.stored(encryption=encryption)
    site.change(1)
    second = site.stored(encryption=encryption)
    proof = site.repository / first.id / "proof.json.age"
    if damage == "changed":
        databases.flip_bit(proof, -1)
    else:
        proof.unlink()
    listed = site.listed(good)
    assert [each["id"] for each in listed] == [first.id, second.id]
    assert [bool(each["damage"]) for each in listed] == [True, False]
    assert [each["tables"] for each in listed] == [{}, {"item": 3, "page": 40}]


# --- for whom ------------------------------------------------------------------------------------------------------


READERS = {
    "none": lambda: NOT_ENCRYPTED,
    "own": lambda: Encryption("age", (keys.age_recipient(),)),
    "own in a file": lambda: Encryption("age", (str(keys.file_with("own-recipient", f"{keys.age_recipient()}\n")),)),
    "own and other": lambda: Encryption("age", (keys.age_recipient(), keys.age_recipient("other"))),
    "other and own": lambda: Encryption("age", (keys.age_recipient("other"), keys.age_recipient())),
    "other": lambda: Encryption("age", (keys.age_recipient("other"),)),
    "passphrase": lambda: Encryption("gpg", (), keys.passphrase()),
    "passphrase elsewhere": lambda: Encryption("gpg", (), keys.file_with("elsewhere", f"{keys.PASSPHRASE}\n# more")),
    "another passphrase": lambda: Encryption("gpg", (), keys.passphrase("another")),
}
OTHERS = [
    ("none", "own"),
    ("own", "none"),
    ("own", "other"),
    ("own", "own and other"),
    ("own and other", "own"),
    ("own", "passphrase"),
    ("passphrase", "another passphrase"),
]
SAME = [("own", "own in a file"), ("own and other", "other and own"), ("passphrase", "passphrase elsewhere")]


@needs_age
@needs_gpg
@pytest.mark.parametrize(("before", "after"), OTHERS)
@pytest.mark.slow
def test_other_readers_get_a_full_backup(site: Site, before: str, after: str) -> None:
    """An incremental would be of no use to them; and what is theirs to read now is stored though nothing changed."""
    site.stored(encryption=READERS[before]())
    for changes in (0, 1):
        site.change(changes)
        assert site.stored(encryption=READERS[after]()).type == "full"
        assert site.history()[-1]["why_full"] == "it is encrypted for others than the newest backup"
        before, after = after, before


@needs_age
@needs_gpg
@pytest.mark.parametrize(("before", "after"), SAME)
def test_the_same_readers_get_an_incremental(site: Site, before: str, after: str) -> None:
    site.stored(encryption=READERS[before]())
    assert not site.back_up(encryption=READERS[after]()).changed
    site.change(1)
    assert site.stored(encryption=READERS[after]()).type == "incremental"


# --- included files ------------------------------------------------------------------------------------------------


@needs_age
def test_what_is_included_is_compared_though_it_cannot_be_read(telling: Site) -> None:
    same = words.include(telling.database)
    options: dict[str, Any] = {"encryption": keys.scheme("age")[0], "include": same}
    telling.stored(**options)
    assert not telling.back_up(**options).changed
    renamed = (Include(same[0].src, "another-name.txt"),)
    for include, content in ((renamed, ""), (same, ""), (same, "other content"), ((), "")):
        if content:
            same[0].src.write_text(content)
        options["include"] = include
        document = telling.stored(**options)
        assert document.type == "incremental"
        assert [each.role for each in document.files].count("include") == len(include)
        assert not telling.back_up(**options).changed


@needs_age
@pytest.mark.parametrize("include", [True, False])
def test_without_the_index_an_encrypted_backup_cannot_be_confirmed(telling: Site, include: bool) -> None:
    """Only the index tells for whom it is, and what was included."""
    options: dict[str, Any] = {
        "encryption": keys.scheme("age")[0],
        "include": words.include(telling.database) if include else (),
    }
    telling.stored(**options)
    telling.index().unlink()
    assert telling.stored(**options).type == "full"
    assert not telling.back_up(**options).changed
