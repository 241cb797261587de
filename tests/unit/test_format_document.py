# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/format.md tells a stranger to run is run, as it stands there."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption
from support import databases, keys
from support.keys import needs_gpg, needs_zstd
from support.sites import PAGE_SIZE, ROWS, Site

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "format.md"
pytestmark = pytest.mark.usefixtures("moment")


def blocks(heading: str, language: str) -> list[str]:
    """The pieces of code in that language below a heading of the document."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", DOCUMENT.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", section, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(each) for each in found]


def run(code: str, directory: Path, *program: str) -> str:
    """What ``code`` says, run by ``program`` in ``directory``, without a terminal."""
    command = [*program, code]
    done = subprocess.run(
        command, cwd=directory, text=True, capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def python(code: str, directory: Path) -> str:
    return run(code, directory, sys.executable, "-c")


def shell(code: str, directory: Path) -> str:
    return run(f"set -e\n{code}", directory, "sh", "-c")


def named(code: str, names: dict[str, object]) -> str:
    """``code`` with other names; each must be there."""
    for word, name in names.items():
        assert word in code
        code = code.replace(word, str(name))
    return code


# --- whole backups -------------------------------------------------------------------------------------------------


@needs_zstd
def test_commands_for_who_is_in_a_hurry_put_the_newest_full_backup_in_place(site: Site) -> None:
    document = site.stored(compression="zstd")
    content = site.settled()
    site.change(1)
    (code,) = blocks("In a hurry", "shell")
    names: dict[str, object] = {
        "/var/backups/sqlite/agent": site.repository,
        "20251230T120000Z-full": document.id,
        "/srv/ci-fixer/agent.db": site.database,
    }
    said = shell(named(code, names), site.directory)
    assert document.image.sha256 in said
    assert site.database.read_bytes() == content
    assert not list(site.directory.glob("agent.db?*"))


def test_python_for_the_changes_of_incrementals_makes_the_image(site: Site, tmp_path: Path) -> None:
    stored = [site.stored()]
    for rows in ([1, 2], [ROWS]):
        site.change(rows)
        stored.append(site.stored())
    contents = [gzip.decompress((site.repository / each.id / each.content_file.path).read_bytes()) for each in stored]
    for name, content in zip(("full.sqlite", "first.pages", "second.pages"), contents):
        (tmp_path / name).write_bytes(content)
    (code,) = blocks("The changed pages of an incremental backup", "python")
    python(code, tmp_path)
    assert (tmp_path / "full.sqlite").read_bytes() == site.settled()


def test_python_for_the_seal_accepts_a_manifest_and_no_other(site: Site, tmp_path: Path) -> None:
    document = site.stored()
    (code,) = blocks("The seal", "python")
    content = (site.repository / document.id / "manifest.json").read_bytes()
    code = f"import hashlib\ndata = open('manifest.json', 'rb').read()\n{code}"
    (tmp_path / "manifest.json").write_bytes(content)
    python(code, tmp_path)
    (tmp_path / "manifest.json").write_bytes(content.replace(b"agent", b"Agent", 1))
    with pytest.raises(AssertionError, match="AssertionError"):
        python(code, tmp_path)


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The empty directory of a gpg that nobody has used yet; its path must be short."""
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setenv("GNUPGHOME", path)
        yield Path(path)
        subprocess.run(["gpgconf", "--kill", "all"], check=False, timeout=60)


@needs_gpg
@needs_zstd
@pytest.mark.parametrize("kind", ["passphrase", pytest.param("locked key", marks=pytest.mark.slow)])
def test_gpg_without_a_terminal_decrypts_as_the_document_says(site: Site, keyring: Path, kind: str) -> None:
    loopback = "--pinentry-mode loopback --passphrase-file PASSPHRASE"
    (code,) = blocks("Encrypted backups", "shell")
    assert loopback in code
    if kind == "passphrase":
        encryption, passphrase = Encryption("gpg", passphrase_file=keys.passphrase()), keys.passphrase()
    else:
        encryption, good = keys.scheme("gpg-locked-key")
        assert good.passphrase_file is not None
        passphrase = good.passphrase_file
        command = f"gpg --batch {loopback} --import SECRET-KEY"
        assert "`gpg --batch --import SECRET-KEY`" in DOCUMENT.read_text("utf-8")
        shell(named(command, {"PASSPHRASE": passphrase, "SECRET-KEY": good.identity_file}), keyring)
    document = site.stored(compression="zstd", encryption=encryption)
    shell(named(code, {"PASSPHRASE": passphrase}), site.repository / document.id)
    assert (site.repository / document.id / "restored.sqlite").read_bytes() == site.settled()


# --- suspect ones --------------------------------------------------------------------------------------------------


def suspect(site: Site, place: Path) -> dict[str, object]:
    """The manifest of the newest backup, which is suspect, with its image and its sidecars unpacked in ``place``."""
    outcome = site.back_up()
    assert outcome.backup is not None
    manifest: dict[str, object] = json.loads((outcome.backup.path / "manifest.json").read_bytes())
    assert manifest["suspect"] is True
    for each in manifest["files"]:  # type: ignore[attr-defined]
        if each["role"] == "image":
            assert each["path"] == "database.sqlite.gz"
            (place / "suspect.sqlite").write_bytes(gzip.decompress((outcome.backup.path / each["path"]).read_bytes()))
        if each["role"] == "sidecar":
            assert (each["path"], each["compression"]) == ("database.sqlite-wal", "none")
            shutil.copy(outcome.backup.path / each["path"], place / "suspect.sqlite-wal")
    return manifest


def rows_in(path: Path) -> dict[int, str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return dict(connection.execute("SELECT id, content FROM page"))


@contextlib.contextmanager
def with_rows_in_the_log(path: Path) -> Iterator[None]:
    """The application is running, and what it changed last is only in the log. The page of the header is not."""
    with contextlib.closing(databases.open_writer(path)) as application:
        application.execute("UPDATE page SET content = 'in the log' WHERE id > 30")
        yield


def recover_is_in_the_shell(place: Path) -> bool:
    if not shutil.which("sqlite3"):
        return False
    command = ["sqlite3", str(databases.make(place / "try.db")), ".recover"]
    return b"name 2" in subprocess.run(command, capture_output=True, check=False, timeout=60).stdout


@pytest.mark.parametrize("way", ["python", "shell"])
def test_suspect_backup_with_a_broken_header_is_repaired_with_its_log(site: Site, tmp_path: Path, way: str) -> None:
    """A page size that is none, and a file that is not whole pages of the size that it had."""
    place = tmp_path / "repair"
    place.mkdir()
    if way == "shell" and not recover_is_in_the_shell(tmp_path):
        pytest.skip("the shell of SQLite here cannot recover")
    with with_rows_in_the_log(site.database):
        content = bytearray(site.database.read_bytes())
        content[16:18] = b"\0\3"
        site.database.write_bytes(content + b"x" * 100)
        manifest = suspect(site, place)
    assert manifest["checks"][0]["name"] == "readable"  # type: ignore[index]
    image = manifest["image"]
    assert isinstance(image, dict)
    assert (image["page_size"], image["bytes"] % PAGE_SIZE) == (3, 100)
    mend, copy = blocks("How to repair a suspect backup", "python")
    python(mend, place)
    if way == "python":
        assert python(copy, place) == ""
    else:
        (command,) = re.findall(r"`(sqlite3 suspect\.sqlite \.recover [^`]*)`", DOCUMENT.read_text("utf-8"))
        shell(command, place)
    rows = rows_in(place / "repaired.sqlite")
    assert [*rows] == [*range(1, ROWS + 1)]
    assert [number for number, content in rows.items() if content == "in the log"] == [*range(31, ROWS + 1)]


def test_suspect_backup_with_a_damaged_page_gives_the_rows_before_and_behind_it(site: Site, tmp_path: Path) -> None:
    place = tmp_path / "repair"
    place.mkdir()
    before = site.database.read_bytes()
    number = len(before) // PAGE_SIZE // 2
    content = before[: number * PAGE_SIZE] + b"\xff" * PAGE_SIZE + before[(number + 1) * PAGE_SIZE :]
    site.database.write_bytes(content)
    manifest = suspect(site, place)
    assert [each["name"] for each in manifest["checks"]] == ["quick_check", "rows"]  # type: ignore[attr-defined]
    assert os.listdir(place) == ["suspect.sqlite"]
    _mend, copy = blocks("How to repair a suspect backup", "python")
    assert "page: database disk image is malformed" in python(copy, place)
    rows = rows_in(place / "repaired.sqlite")
    # One is in that page, and Python gives no row before it has the next one.
    assert [*rows] == [each for each in range(1, ROWS + 1) if each in rows]
    assert (len(rows), {1, ROWS} <= {*rows}) == (ROWS - 3, True)
