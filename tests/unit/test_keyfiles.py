# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import keyfiles
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    PermissionDeniedError,
    UsageError,
)
from support import limits
from support.processes import needs_root, open_directory

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJSHYDpSKGqJNWT4Kbi3C9DsTKvpyuzcmHMu0V9qHXoc"
SECRET = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- the files themselves --------------------------------------------------------------------------------------------


def test_file_that_does_not_exist_names_the_option(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", written(tmp_path / "file", b"x") / "below"):
        with pytest.raises(UsageError, match=rf"the identity_file .*{path.name} does not exist.*identity_file"):
            keyfiles.content(path, "identity_file")


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\r\n"])
def test_empty_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    """A file that a failed copy left empty must not pass for a key."""
    with pytest.raises(UsageError, match="identity_file .* is empty"):
        keyfiles.content(written(tmp_path / "key", content), "identity_file")


def test_what_is_not_a_regular_file_is_an_error(tmp_path: Path) -> None:
    """It is read more than once, which a pipe would not survive."""
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/zero")):
        with limits.within(5), pytest.raises(UsageError, match="is not a regular file"):
            keyfiles.content(path, "identity_file")


def test_huge_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too large"):
        keyfiles.content(written(tmp_path / "key", b"x" * (1024 * 1024 + 1)), "identity_file")


@needs_root
def test_file_that_may_not_be_read_is_told_as_such() -> None:
    with open_directory() as directory:
        path = written(directory / "key", b"x")
        path.chmod(0o600)
        with (
            limits.unprivileged(),
            pytest.raises(PermissionDeniedError, match=f"the identity_file {re.escape(str(path))}"),
        ):
            keyfiles.content(path, "identity_file")


def test_passphrase_is_the_first_line(tmp_path: Path) -> None:
    """As gpg takes it, with every space."""
    assert keyfiles.passphrase(written(tmp_path / "p", b" a b \nrest")) == b" a b "
    assert keyfiles.passphrase(written(tmp_path / "p", b"only")) == b"only"
    with pytest.raises(UsageError, match="first line of the passphrase_file .* is empty"):
        keyfiles.passphrase(written(tmp_path / "p", b"\npassphrase\n"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o444])
def test_file_that_others_can_read_is_told(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "p", b"x")
    path.chmod(mode)
    assert keyfiles.exposed(path, "passphrase_file") == (
        f"The passphrase_file {path} can be read by others (mode {mode:04o}): give it the mode 0600."
    )


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o620])
def test_private_file_needs_no_warning(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "p", b"x")
    path.chmod(mode)
    assert not keyfiles.exposed(path, "passphrase_file")
    assert not keyfiles.exposed(None, "passphrase_file")
    assert not keyfiles.exposed(tmp_path / "missing", "passphrase_file")


# --- recipients of age -----------------------------------------------------------------------------------------------


def test_recipients_come_from_words_and_files(tmp_path: Path) -> None:
    path = written(tmp_path / "recipients", f"# who may read\r\n\n  {RECIPIENT}\r\n{ED25519} somebody@host\n")
    assert keyfiles.age_recipients(RECIPIENT) == [RECIPIENT]
    assert keyfiles.age_recipients(f"{ED25519} a comment") == [ED25519]
    assert keyfiles.age_recipients(str(path)) == [RECIPIENT, ED25519]


@pytest.mark.parametrize("content", ["# only a comment\n", "\n#\n"])
def test_file_without_recipients_is_an_error(tmp_path: Path, content: str) -> None:
    with pytest.raises(UsageError, match="recipients"):
        keyfiles.age_recipients(str(written(tmp_path / "r", content)))


@pytest.mark.parametrize(
    "line", ["nonsense", "ssh-ed25519", "ssh-dss AAAA", "-----BEGIN PGP PUBLIC KEY BLOCK-----", "--output"]
)
def test_line_that_is_no_recipient_is_told_by_its_number(tmp_path: Path, line: str) -> None:
    """Age passes over some of them, and then one reader is missing. It is not quoted: it may be anything."""
    path = written(tmp_path / "r", f"{RECIPIENT}\n{line}\n")
    with pytest.raises(UsageError, match=f"line 2 of {re.escape(str(path))} is not a recipient of age") as caught:
        keyfiles.age_recipients(str(path))
    assert line not in str(caught.value).replace("ssh-ed25519 …", "")


@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        SECRET.lower(),
        "AGE-PLUGIN-YUBIKEY-1GFPYYSJZQ",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----",
    ],
)
def test_secret_key_is_refused_and_not_quoted(tmp_path: Path, secret: str) -> None:
    """Who can read the host could read its backups; and the message goes to a log."""
    path = written(tmp_path / "r", f"# public key: {RECIPIENT}\n{secret}\n")
    for given in (secret, str(path)):
        with pytest.raises(UsageError, match="holds a secret key.*age-keygen -y") as caught:
            keyfiles.age_recipients(given)
        assert secret not in str(caught.value)


def test_name_of_a_file_is_not_taken_for_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "ňame", RECIPIENT)
    assert keyfiles.age_recipients("ňame") == [RECIPIENT]


# --- key files of gpg ------------------------------------------------------------------------------------------------


def test_same_key_twice_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = written(tmp_path / "first", b"key\n"), written(tmp_path / "second", b"other")
    written(tmp_path / "copy", b"\nkey")
    found = keyfiles.gpg_keys(("first", "copy", str(second)))
    assert list(found.values()) == [str(first), str(second)]
    assert list(found) == [hashlib.sha256(content).hexdigest() for content in (b"key", b"other")]


@pytest.mark.parametrize(
    "content", [b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", b"\x95\x03\xbe", b"\x94\x58", b"\xc5\x58"]
)
def test_exported_secret_key_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UsageError, match="holds a secret key.*gpg --export"):
        keyfiles.gpg_keys((str(written(tmp_path / "key", content)),))


def test_missing_key_file_names_the_option() -> None:
    with pytest.raises(UsageError, match="the recipients /nowhere does not exist"):
        keyfiles.gpg_keys(("/nowhere",))
