# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence of a backup: what is found in a snapshot, what of it may be told, and where the rest is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import examination, include
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.examination import Evidence
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import StoredFile
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.reading import Storage
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import NO_KEYS, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite import database, proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check, Proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    KeyRejectedError,
)
from support import databases, keys, manifests
from support.images import MemorySnapshot

SETUP = "PRAGMA user_version=7; CREATE TABLE secret_table(secret_column); CREATE VIEW secret_view AS SELECT 1"
PROOF = Proof("5" * 64, {"secret_table": 3}, {"user_version": 7})
FOUND = Evidence((Check("quick_check", "passed"),), PROOF, "CREATE TABLE secret_table(secret_column);\n")


@contextlib.contextmanager
def image_of(path: Path) -> Iterator[MemorySnapshot]:
    with contextlib.closing(database.connect(path, immutable=True)) as connection:
        yield MemorySnapshot(path.read_bytes(), 4096, connection=connection)


def examined(path: Path, level: str = "quick") -> Evidence:
    with image_of(path) as image:
        return examination.examine(image, level)


def outcomes(found: Evidence) -> dict[str, str]:
    return {each.name: each.outcome for each in found.checks}


# --- what is found -------------------------------------------------------------------------------------------------


def test_sound_image_has_a_schema_and_a_proof(tmp_path: Path) -> None:
    path = databases.make(tmp_path / "a.db", setup=SETUP)
    found = examined(path)
    assert found.schema is not None
    assert found.proof is not None
    assert "CREATE TABLE secret_table(secret_column);" in found.schema
    assert "PRAGMA user_version = 7;" in found.schema
    assert found.proof.schema_sha256 == proof.schema_digest(found.schema)
    assert found.proof.tables == {"item": 3, "secret_table": 0}
    assert (found.proof.header["user_version"], found.proof.header["journal_mode"]) == (7, "wal")
    assert (found.suspect, found.doubts) == (False, [])


@pytest.mark.parametrize(
    ("level", "names"),
    [("none", []), ("quick", ["quick_check"]), ("full", ["integrity_check", "foreign_key_check"])],
)
def test_image_is_checked_as_deep_as_asked_for(tmp_path: Path, level: str, names: list[str]) -> None:
    found = examined(databases.make(tmp_path / "a.db"), level)
    assert outcomes(found) == dict.fromkeys(names, "passed")
    assert found.proof is not None


def test_rows_without_their_parent_are_told_and_not_judged(tmp_path: Path) -> None:
    setup = "CREATE TABLE p(id INTEGER PRIMARY KEY); CREATE TABLE c(p REFERENCES p); INSERT INTO c VALUES (5)"
    found = examined(databases.make(tmp_path / "a.db", setup=setup), "full")
    assert not found.suspect
    assert found.checks[-1] == Check("foreign_key_check", "passed", "1 rows without their parent, in c")


def damaged(path: Path, number: int) -> Path:
    """A database whose page ``number`` is rubbish."""
    databases.make(path, rows=2000, journal_mode="delete")
    content = bytearray(path.read_bytes())
    content[(number - 1) * 4096 : number * 4096] = b"\x00\xff" * 2048
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("level", ["quick", "full"])
def test_damaged_page_makes_a_backup_suspect_and_fails_nothing(tmp_path: Path, level: str) -> None:
    """Case 10: its bytes are worth keeping, and nobody may take them for good ones."""
    found = examined(damaged(tmp_path / "a.db", 3), level)
    assert found.suspect
    assert outcomes(found)["quick_check" if level == "quick" else "integrity_check"] == "failed"


def test_rows_that_cannot_be_counted_make_a_backup_suspect(tmp_path: Path) -> None:
    """Also when no check was asked for."""
    found = examined(damaged(tmp_path / "a.db", 2), "none")
    assert found.suspect
    assert outcomes(found) == {"rows": "failed"}
    assert (found.proof, found.schema) == (None, None)


def test_image_that_sqlite_cannot_open_is_suspect() -> None:
    image = MemorySnapshot(b"rubbish!", 8)
    image.corruption = "SQLite says: malformed"
    found = examination.examine(image, "quick")
    assert found == Evidence((Check("readable", "failed", "SQLite says: malformed"),))
    assert found.suspect


def test_missing_module_is_a_doubt_and_no_failure(tmp_path: Path) -> None:
    """Case 22: there is nothing against the database but that this host cannot look at a part of it."""
    found = examined(databases.with_missing_module(databases.make(tmp_path / "a.db"), "not_here(a)"))
    assert not found.suspect
    assert found.doubts == ["unverifiable: needs module not_here"]
    assert found.proof is not None
    assert found.proof.tables == {"item": 3}


def test_empty_image_has_an_empty_proof(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"")
    found = examined(tmp_path / "a.db")
    assert found.proof == Proof(proof.schema_digest(""), {}, {})
    assert not found.suspect


# --- what may be told ----------------------------------------------------------------------------------------------


CHECKS = (
    proof.whole("quick_check", "passed"),
    proof.whole("integrity_check", "failed", "row 3 missing from index secret_index"),
    proof.whole("foreign_key_check", "passed", "2 rows without their parent, in secret_table"),
    Check("virtual table secret_table", "inconclusive", "unverifiable: needs module secret_module"),
    Check("table secret_table", "failed", "the table does not exist"),
    Check("assertion SELECT secret", "failed", "expected 5"),
)


def test_checks_of_a_plain_backup_are_told_as_they_are() -> None:
    assert examination.told(CHECKS, encrypted=False) == CHECKS


def test_checks_of_an_encrypted_backup_tell_outcomes_and_nothing_else() -> None:
    """The manifest is readable by whoever holds the repository, off-site, too."""
    told = examination.told(CHECKS, encrypted=True)
    assert "secret" not in json.dumps([each.to_json() for each in told])
    assert [each.outcome for each in told] == [each.outcome for each in CHECKS]
    assert [each.name for each in told] == [
        *("quick_check", "integrity_check", "foreign_key_check"),
        *("content", "content", "content"),
    ]
    assert not any(each.detail for each in told)


# --- where it is stored --------------------------------------------------------------------------------------------


def backup_in(directory: Path, *stored: StoredFile, **changes: Any) -> Backup:
    """A backup in ``directory`` that holds also these files."""
    document = manifests.example(**changes)
    return Backup(document.id, directory, dataclasses.replace(document, files=(*document.files, *stored)))


def test_plain_backup_stores_its_schema_for_a_person_and_its_proof_in_the_manifest(tmp_path: Path) -> None:
    (schema,) = examination.store(FOUND, include.Stored(names={"files/note": "note"}), Storage(tmp_path, "gzip"))
    assert (schema.path, schema.role, schema.compression) == ("schema.sql", "schema", "none")
    assert (tmp_path / "schema.sql").read_text() == FOUND.schema
    assert examination.proof_of(backup_in(tmp_path, schema, proof=PROOF), NO_KEYS) == PROOF


def test_suspect_backup_has_no_schema_and_perhaps_no_proof(tmp_path: Path) -> None:
    assert examination.store(Evidence(CHECKS), include.Stored(), Storage(tmp_path)) == []
    assert examination.proof_of(backup_in(tmp_path, proof=None), NO_KEYS) is None


every_scheme = pytest.mark.parametrize("scheme", [keys.AGE, keys.GPG_PASSPHRASE, keys.GPG_KEY])


@every_scheme
def test_encrypted_backup_stores_both_for_its_readers(tmp_path: Path, scheme: str) -> None:
    encryption, known = keys.scheme(scheme)
    stored = examination.store(
        FOUND, include.Stored(names={"note": "files/0"}), Storage(tmp_path, "gzip", None, encryption)
    )
    assert [(each.path, each.role) for each in stored] == [
        (f"schema.sql.{encryption.method}", "schema"),
        (f"proof.json.{encryption.method}", "proof"),
    ]
    assert not [each for each in stored if b"secret" in (tmp_path / each.path).read_bytes()]
    assert examination.proof_of(backup_in(tmp_path, *stored, proof=None), known) == PROOF
    content = json.loads(unpacked(tmp_path, stored[1], known))
    assert content["checks"] == [{"name": "quick_check", "outcome": "passed", "detail": ""}]
    assert content["names"] == {"note": "files/0"}
    assert unpacked(tmp_path, stored[0], known).decode() == FOUND.schema


def unpacked(directory: Path, stored: StoredFile, known: Keys) -> bytes:
    with codec.open_artifact(directory / stored.path, stored.compression, stored.encryption, known) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


@every_scheme
def test_proof_needs_the_key(tmp_path: Path, scheme: str) -> None:
    """Case 12."""
    stored = examination.store(FOUND, include.Stored(), Storage(tmp_path, encryption=keys.scheme(scheme)[0]))
    backup = backup_in(tmp_path, *stored, proof=None)
    for known in (NO_KEYS, keys.wrong_keys(scheme)):
        with pytest.raises(KeyRejectedError):
            examination.proof_of(backup, known)


@keys.needs_age
@pytest.mark.parametrize("found", [FOUND, Evidence(CHECKS)])
def test_proof_that_is_not_as_stored_is_damage_for_whoever_has_no_key(tmp_path: Path, found: Evidence) -> None:
    """Case 11: the files are compared before anything is decrypted."""
    encryption, known = keys.scheme("age")
    stored = examination.store(found, include.Stored(), Storage(tmp_path, encryption=encryption))
    backup = backup_in(tmp_path, *stored, proof=None)
    assert examination.proof_of(backup, known) == found.proof
    databases.flip_bit(tmp_path / "proof.json.age", -1)
    for each in (known, NO_KEYS):
        with pytest.raises(BackupDamagedError, match="SHA-256"):
            examination.proof_of(backup, each)
    (tmp_path / "proof.json.age").unlink()
    with pytest.raises(BackupDamagedError, match="is missing"):
        examination.proof_of(backup, known)


@keys.needs_age
@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"not json", b"\xff", b"[]", b"5", b"{}", b'{"proof": 5}', b'{"proof": {"tables": {}}}'),
        b'{"proof": [1]}',
        b'{"proof": {"schema_sha256": 5, "tables": {}, "header": {}}}',
        b'{"proof": {"schema_sha256": "", "tables": {"item": "3"}, "header": {}}}',
        b'{"proof": {"schema_sha256": "", "tables": {"item": -3}, "header": {}}}',
        b'{"proof": {"schema_sha256": "", "tables": {"item": true}, "header": {}}}',
        b'{"proof": {"schema_sha256": "", "tables": {"item": ' + b"9" * 5000 + b"}}}",
        b'{"proof": {"schema_sha256": "", "tables": [], "header": {}}}',
        b'{"proof": {"schema_sha256": "", "tables": {}, "header": {"user_version": null}}}',
        b'{"proof": {"schema_sha256": "", "tables": {}, "header": {}, "uncounted": "item"}}',
        b'{"proof": ' * 100_000,
    ],
    ids=lambda content: content[:60].decode("ascii", "replace"),
)
def test_what_is_no_proof_is_damage(tmp_path: Path, content: bytes) -> None:
    """Whoever knows the recipient can encrypt anything for them."""
    encryption, known = keys.scheme("age")
    stored = Storage(tmp_path, encryption=encryption).write("proof.json", "proof", [content])
    with pytest.raises(BackupDamagedError, match=r"Cannot read .*proof\.json\.age"):
        examination.proof_of(backup_in(tmp_path, stored, proof=None), known)


@keys.needs_age
def test_what_a_later_version_added_to_a_proof_is_left_alone(tmp_path: Path) -> None:
    """As in a manifest: docs/format.md promises it."""
    encryption, known = keys.scheme("age")
    content = json.dumps({"more": [], "proof": {**PROOF.to_json(), "more": {"of": "it"}}}).encode()
    stored = Storage(tmp_path, encryption=encryption).write("proof.json", "proof", [content])
    assert examination.proof_of(backup_in(tmp_path, stored, proof=None), known) == PROOF


@keys.needs_age
def test_long_proof_is_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a database with very many tables, from a program that gives little at once."""
    many = dataclasses.replace(PROOF, tables={f"table {number}": number for number in range(20_000)})
    encryption, known = keys.scheme("age")
    stored = examination.store(
        dataclasses.replace(FOUND, proof=many), include.Stored(), Storage(tmp_path, encryption=encryption)
    )
    open_artifact = codec.open_artifact

    @contextlib.contextmanager
    def dribble(*arguments: Any) -> Iterator[types.SimpleNamespace]:
        with contextlib.ExitStack() as opened:
            stream = opened.enter_context(open_artifact(*arguments))
            yield types.SimpleNamespace(read=lambda size: stream.read(min(size, 1000)))

    monkeypatch.setattr(codec, "open_artifact", dribble)
    assert examination.proof_of(backup_in(tmp_path, *stored, proof=None), known) == many
