# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import (
    Manifest,
    Origin,
    StoredFile,
)
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sqlite.proof import Check, Proof
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    EngineError,
    PermissionDeniedError,
    UsageError,
)
from support import databases, limits, manifests, processes


def read(data: bytes) -> Manifest:
    return manifest.from_bytes(data)


def document() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(manifest.to_bytes(manifests.example()))
    return content


# --- what is written is what is read -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"proof": None, "suspect": True, "checks": (Check("readable", "failed", "malformed"),)},
        {"parent": "20250101T000000Z-full", "type": "incremental", "pinned": True, "tags": ()},
        {"database": Origin("agent", "/srv/a.db", "")},
        {"database": Origin("agent", "/srv/a.db", "h", "app", "app", "0640", 1001, 0)},
        {"durations": {}, "versions": {}, "reason": ""},
        {"versions": manifest.versions()},
    ],
)
def test_manifest_is_read_as_it_was_written(changes: dict[str, Any]) -> None:
    written = manifests.example(**changes)
    assert read(manifest.to_bytes(written)) == written


@settings(max_examples=50, deadline=None)
@given(st.text(), st.dictionaries(st.text(), st.integers(0, 2**63)), st.lists(st.text()))
def test_any_names_survive(name: str, tables: dict[str, int], tags: list[str]) -> None:
    """A table may be called anything, and its row count must come back to it."""
    proof = Proof("0" * 64, tables, {})
    written = manifests.example(database=Origin(name, name, name), reason=name, tags=tuple(tags), proof=proof)
    assert read(manifest.to_bytes(written)) == written


@pytest.mark.parametrize("name", [each.replace("?#100%41&x=1", "?#100%41") for each in databases.ODD_NAMES])
def test_odd_paths_survive(name: str) -> None:
    """Bytes that are no UTF-8 must neither fail the backup nor come back as other bytes."""
    stored = StoredFile(f"files/{name}", "include", 1, "0" * 64)
    written = manifests.example(
        database=Origin("agent", f"/srv/{name}", "host"), files=(manifests.example().content_file, stored)
    )
    again = read(manifest.to_bytes(written))
    assert again == written
    assert os.fsencode(again.database.source) == b"/srv/" + os.fsencode(name)


def test_same_manifest_gives_the_same_bytes() -> None:
    """The order of tables in memory must not show."""
    proofs = (Proof("0" * 64, {"a": 1, "b": 2}, {}), Proof("0" * 64, {"b": 2, "a": 1}, {}))
    assert len({manifest.to_bytes(manifests.example(proof=proof)) for proof in proofs}) == 1


def test_same_bytes_are_read_once_and_others_anew() -> None:
    """A run looks at a hundred backups several times."""
    first = manifests.example()
    data = manifest.to_bytes(first)
    assert manifest.from_bytes(data) is manifest.from_bytes(bytes(bytearray(data)))
    other = dataclasses.replace(first, sequence=first.sequence + 1)
    assert manifest.from_bytes(manifest.to_bytes(other)).sequence == first.sequence + 1


def test_seal_is_made_as_the_format_says() -> None:
    """A stranger's program must be able to check it, and to write a manifest that we read."""
    assert manifests.sealed(document()) == manifest.to_bytes(manifests.example())


def test_field_that_a_later_version_adds_is_left_alone() -> None:
    assert read(manifests.sealed({**document(), "colour": "blue"})) == manifests.example()


@pytest.mark.parametrize("key", ["database", "image", "proof"])
def test_field_that_a_later_version_adds_to_an_object_is_left_alone(key: str) -> None:
    content = document()
    content[key]["colour"] = "blue"
    content["files"][0]["colour"] = content["checks"][0]["colour"] = "blue"
    assert read(manifests.sealed(content)) == manifests.example()


def test_manifest_from_before_the_numbers_of_owners_is_read() -> None:
    content = document()
    del content["database"]["uid"], content["database"]["gid"]
    assert read(manifests.sealed(content)) == manifests.example()


@pytest.mark.parametrize("value", ["1001", 1.5, True, -1, [], 1 << 64])
def test_number_of_an_owner_of_another_type_is_damage(value: object) -> None:
    content = document()
    content["database"]["uid"] = value
    with pytest.raises(BackupDamagedError, match="uid is"):
        read(manifests.sealed(content))


def test_content_and_stored_bytes_are_those_of_the_files() -> None:
    example = manifests.example()
    assert example.content_file.path == "database.sqlite.gz"
    assert example.stored_bytes == 125


# --- damage --------------------------------------------------------------------------------------------------------


def test_every_flipped_bit_is_damage() -> None:
    """One wrong bit could name another image, another parent, or another time."""
    whole = bytearray(manifest.to_bytes(manifests.example()))
    unseen = []
    for position in range(len(whole)):
        for bit in range(8):
            whole[position] ^= 1 << bit
            try:
                read(bytes(whole))
            except BackupDamagedError:
                pass
            else:
                unseen.append((position, bit))
            whole[position] ^= 1 << bit
    assert not unseen


def test_manifest_cut_anywhere_is_damage() -> None:
    whole = manifest.to_bytes(manifests.example())
    for length in range(len(whole)):
        with pytest.raises(BackupDamagedError):
            read(whole[:length])


@pytest.mark.parametrize("tail", [b"\n", b" ", b"\x00", b"{}"])
def test_bytes_behind_the_manifest_are_damage(tail: bytes) -> None:
    with pytest.raises(BackupDamagedError):
        read(manifest.to_bytes(manifests.example()) + tail)


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"null", b"[]", b"1", b'"seal"', b"{}", b'{"format": 1}'])
def test_anything_else_is_damage(data: bytes) -> None:
    with pytest.raises(BackupDamagedError, match="does not match its seal") as caught:
        read(data)
    assert "another backup" in caught.value.hint


def test_seal_of_another_manifest_is_damage() -> None:
    """A manifest put together from two backups must not pass."""
    whole, other = (manifest.to_bytes(manifests.example(sequence=sequence)) for sequence in (7, 8))
    mixed = whole.replace(json.loads(whole)["seal"].encode(), json.loads(other)["seal"].encode())
    assert mixed not in (whole, other)
    with pytest.raises(BackupDamagedError, match="does not match its seal"):
        read(mixed)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda content: content.pop(name)


def with_files(*roles: str) -> Callable[[dict[str, Any]], None]:
    entries = [{**document()["files"][0], "role": role} for role in roles]
    return lambda content: content.update(files=entries)


@pytest.mark.parametrize(
    "change",
    [
        *(without(name) for name in ("id", "image", "files", "database", "proof", "started", "suspect")),
        with_files(),
        with_files("include"),
        with_files("image", "image"),
        lambda content: content.update(files=[{"path": "a"}]),
        lambda content: content.update(image=None),
        lambda content: content["files"].append("a"),
        lambda content: content.update(parent="20250102T030400Z-full"),
        lambda content: content.update(type="incremental", files=[{**content["files"][0], "role": "pages"}]),
    ],
)
def test_sealed_nonsense_is_damage(change: Callable[[dict[str, Any]], None]) -> None:
    """A seal proves who wrote it no more than a checksum does: what it covers is still checked."""
    content = document()
    change(content)
    with pytest.raises(BackupDamagedError):
        read(manifests.sealed(content))


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd", "../other/database.sqlite", "files/../../a", "files/..", "..", "C:\\a", "C:a",
        "files\\..\\..\\a", "a:stream",
    ],
)  # fmt: skip
def test_path_that_leaves_the_backup_is_refused(path: str) -> None:
    """A manifest from off-site must not make us read, or write, anywhere else; nor on Windows."""
    content = document()
    content["files"][1]["path"] = path
    with pytest.raises(BackupDamagedError, match="leaves the backup"):
        read(manifests.sealed(content))


@pytest.mark.parametrize("path", ["files/..a/b..", "files/.env", "files/a b/c", "files/-x"])
def test_path_with_harmless_dots_is_fine(path: str) -> None:
    content = document()
    content["files"][1]["path"] = path
    assert read(manifests.sealed(content)).files[1].path == path


def test_newer_format_asks_for_an_update() -> None:
    """It is whole, so it must not be called damaged: somebody might remove it."""
    with pytest.raises(UsageError, match="it has format 2, this version reads 1.*Update") as caught:
        read(manifests.sealed({**document(), "format": 2}))
    assert caught.value.code == 2


def test_newer_format_with_a_wrong_seal_is_damage() -> None:
    whole = manifest.to_bytes(manifests.example())
    flipped = whole.replace(b'"format": 1', b'"format": 3')
    assert flipped != whole
    with pytest.raises(BackupDamagedError):
        read(flipped)


# --- artifacts -----------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(tmp_path: Path) -> Manifest:
    """A manifest whose artifacts are in ``tmp_path``."""
    entries = []
    for path, role, content in (("database.sqlite", "image", b"image"), ("files/env", "include", b"A=1\n")):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
        entries.append(StoredFile(path, role, len(content), hashlib.sha256(content).hexdigest()))
    return manifests.example(files=tuple(entries))


def test_whole_artifacts_pass(stored: Manifest, tmp_path: Path) -> None:
    manifest.check_files(stored, tmp_path)


@pytest.mark.parametrize("path", ["database.sqlite", "files/env"])
@pytest.mark.parametrize("position", [0, -1])
def test_flipped_bit_in_any_artifact_is_damage(stored: Manifest, tmp_path: Path, path: str, position: int) -> None:
    databases.flip_bit(tmp_path / path, position)
    with pytest.raises(
        BackupDamagedError, match=f"{stored.id} is damaged: .*{re.escape(str(Path(path)))} does not have the SHA-256"
    ):
        manifest.check_files(stored, tmp_path)


@pytest.mark.parametrize("content", [b"", b"imag", b"image\n"])
def test_artifact_of_another_length_is_damage(stored: Manifest, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "database.sqlite").write_bytes(content)
    with pytest.raises(BackupDamagedError, match=f"has {len(content)} bytes, not 5"):
        manifest.check_files(stored, tmp_path)


def test_missing_artifact_is_damage(stored: Manifest, tmp_path: Path) -> None:
    (tmp_path / "files" / "env").unlink()
    with pytest.raises(BackupDamagedError, match="files.env is missing"):
        manifest.check_files(stored, tmp_path)


def test_missing_directory_of_an_artifact_is_damage(stored: Manifest, tmp_path: Path) -> None:
    (tmp_path / "files" / "env").unlink()
    (tmp_path / "files").rmdir()
    (tmp_path / "files").write_bytes(b"")
    with pytest.raises(BackupDamagedError, match="files.env is missing"):
        manifest.check_files(stored, tmp_path)


def test_artifact_that_may_not_be_read_is_a_missing_permission() -> None:
    """Calling it damaged would make somebody throw a good backup away."""
    with processes.open_directory() as place:
        (place / "a").write_bytes(b"image")
        (place / "a").chmod(0)
        entry = StoredFile("a", "image", 5, hashlib.sha256(b"image").hexdigest())
        with limits.unprivileged(), pytest.raises(PermissionDeniedError):
            manifest.check_files(manifests.example(files=(entry,)), place)


def test_artifact_that_is_a_directory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    entry = StoredFile("a", "image", (tmp_path / "a").stat().st_size, "0" * 64)
    with pytest.raises(EngineError, match="not a regular file"):
        manifest.check_files(manifests.example(files=(entry,)), tmp_path)


@pytest.mark.parametrize(
    ("child", "parent", "expected"),
    [
        ("", "", True),
        ("a", "a", True),
        ("a", "", True),
        ("", "a", True),
        ("a", "b", False),
    ],
)
def test_parent_of_another_repository_is_none(child: str, parent: str, *, expected: bool) -> None:
    """Manifests of an older version name no repository."""
    one, other = manifests.example(repository=child), manifests.example(repository=parent)
    assert one.is_from(other) == expected


@pytest.mark.parametrize(("digest", "expected"), [(None, True), ("right", True), ("0" * 64, False)])
def test_parent_with_another_image_is_none(digest: str | None, *, expected: bool) -> None:
    parent = manifests.example()
    child = manifests.example(parent_sha256=parent.image.sha256 if digest == "right" else digest)
    assert child.is_from(parent) == expected
