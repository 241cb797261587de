# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a look at names and sizes finds of one published backup; lists of them are in test_repository.py."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository import manifest, published
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.manifest import Manifest, StoredFile
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.pins import Pin
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.repository.published import Backup
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import EngineError
from support import manifests

CONTENT = b"content"


def stored(place: Path, path: Path) -> Manifest:
    """A manifest of one artifact that has as many bytes as a look at what is at ``path`` tells."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    name = path.relative_to(place).as_posix()
    return manifests.example(files=(StoredFile(name, "image", path.lstat().st_size, digest),))


def lack(place: Path, document: Manifest) -> str:
    (found,) = published.in_order([Backup(document.id, place, document)])
    return found.lack


def test_nothing_is_missed_of_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "artifact").write_bytes(CONTENT)
    document = stored(tmp_path, tmp_path / "artifact")
    assert lack(tmp_path, document) == ""
    manifest.check_files(document, tmp_path)


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_what_is_planted_for_an_artifact_is_none_whatever_its_size(tmp_path: Path, kind: str) -> None:
    """A link may lead to a file with the very bytes, for now."""
    place = tmp_path / "artifact"
    if kind == "directory":
        place.mkdir()
        (place / "more").touch()
    else:
        (tmp_path / CONTENT.decode()).write_bytes(CONTENT)
        place.symlink_to(CONTENT.decode())
        assert place.lstat().st_size == len(CONTENT)
    document = stored(tmp_path, place)
    assert "artifact has" in lack(tmp_path, document)
    with pytest.raises(EngineError, match="not a regular file"):
        manifest.check_files(document, tmp_path)


def test_planted_link_on_the_way_to_an_artifact_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").symlink_to(tmp_path / "nowhere")
    document = manifests.example(files=(StoredFile("files/a", "image", 7, hashlib.sha256(CONTENT).hexdigest()),))
    assert "files/a cannot be found" in lack(tmp_path, document)
    with pytest.raises(EngineError, match="files/a is missing"):
        manifest.check_files(document, tmp_path)


@pytest.mark.parametrize(
    ("damage", "warning"), [("", ""), ("it is cut.", "20250102T030405Z-full counts as pinned: it is cut.")]
)
def test_pin_that_nobody_can_read_is_told(tmp_path: Path, damage: str, warning: str) -> None:
    found = Backup("20250102T030405Z-full", tmp_path, manifests.example(), pin=Pin(True, damage=damage))
    assert found.pin_warning == warning
    assert Backup(found.id, tmp_path, found.manifest).pin_warning == ""
