# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of age and gpg for tests, made once a run, and the ways to encrypt with them."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption, Keys

needs_age = pytest.mark.skipif(not shutil.which("age"), reason="age is not installed")
needs_gpg = pytest.mark.skipif(not shutil.which("gpg"), reason="gpg is not installed")
needs_zstd = pytest.mark.skipif(not shutil.which("zstd"), reason="zstd is not installed")
needs_ssh = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")

ZSTD = pytest.param("zstd", marks=needs_zstd)
AGE = pytest.param("age", marks=needs_age)
GPG_PASSPHRASE = pytest.param("gpg-passphrase", marks=needs_gpg)
GPG_KEY = pytest.param("gpg-key", marks=needs_gpg)
GPG_LOCKED_KEY = pytest.param("gpg-locked-key", marks=needs_gpg)
SCHEMES = [AGE, GPG_PASSPHRASE, GPG_KEY, GPG_LOCKED_KEY]

# That of this run: what a test sets for itself goes away with it.
_TEMPORARY = tempfile.gettempdir()
# Not plain words: a message or a command line that holds one of them holds it on purpose.
PASSPHRASE = "correct horse \N{LATIN SMALL LETTER SHARP S} battery 7Gq"
KEY_PASSPHRASE = "staple-9Xw"


_FAST_KEY = ("future-default", "default")


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="keys-", dir=_TEMPORARY)


def path_of(name: str) -> Path:
    return Path(_directory().name, name)


def file_with(name: str, content: str) -> Path:
    path = path_of(name)
    path.write_text(content, encoding="utf-8")
    path.chmod(0o600)
    return path


def passphrase(text: str = PASSPHRASE) -> Path:
    return file_with(f"passphrase-{abs(hash(text))}", text + "\n")


def age_identity(name: str = "own") -> Path:
    path = path_of(f"{name}.identity")
    if not path.exists():
        subprocess.run(["age-keygen", "-o", str(path)], check=True, capture_output=True)
    return path


def age_recipient(name: str = "own") -> str:
    return next(word for word in age_identity(name).read_text().split() if word.startswith("age1"))


def ssh_identity(kind: str = "ed25519") -> Path:
    """An SSH key; the public one has the suffix ``.pub``."""
    path = path_of(f"ssh-{kind}")
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "a comment", "-f", str(path)], check=True)
    return path


def gpg_key(name: str = "own", protection: str = "", kind: tuple[str, str] = _FAST_KEY) -> tuple[Path, Path]:
    """The files of a public and of its secret key, which needs the passphrase ``protection`` if there is one."""
    home = path_of(f"{name}.home")
    public, secret = path_of(f"{name}.public.asc"), path_of(f"{name}.secret.asc")
    if home.exists():
        return public, secret
    home.mkdir(mode=0o700)
    key = ["--pinentry-mode", "loopback", "--passphrase", protection]
    who = f"{name}@example.org"
    # The agent measures how much a passphrase can take; that is not what is tested.
    (home / "gpg-agent.conf").write_text("ignore-invalid-option s2k-count\ns2k-count 65536\n")
    for words in (
        [*key, "--quick-gen-key", who, *kind, "never"],
        ["--armor", "--output", str(public), "--export", who],
        [*key, "--armor", "--output", str(secret), "--export-secret-keys", who],
    ):
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", *words]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True, timeout=60)
    return public, secret


def scheme(name: str) -> tuple[Encryption, Keys]:
    """How to encrypt, and how to decrypt that."""
    if name == "age":
        return Encryption("age", (age_recipient(), age_recipient("other"))), Keys(age_identity())
    if name == "gpg-passphrase":
        return Encryption("gpg", passphrase_file=passphrase()), Keys(passphrase_file=passphrase())
    if name == "gpg-key":
        public, secret = gpg_key()
        return Encryption("gpg", (str(public),)), Keys(secret)
    if name == "gpg-locked-key":
        public, secret = gpg_key("locked", KEY_PASSPHRASE)
        recipients = (str(public), str(gpg_key()[0]))
        return Encryption("gpg", recipients), Keys(secret, passphrase(KEY_PASSPHRASE))
    return Encryption(), Keys()


def wrong_keys(name: str) -> Keys:
    """Keys of the kind that this scheme needs, but others."""
    if name == "age":
        return Keys(age_identity("stranger"))
    if name == "gpg-passphrase":
        return Keys(passphrase_file=passphrase("another"))
    if name == "gpg-key":
        return Keys(gpg_key("stranger")[1])
    return Keys(gpg_key("locked", KEY_PASSPHRASE)[1], passphrase("another"))


def make_all() -> None:
    """Make every key that a test may use, before it is looked at what the test leaves behind."""
    for each in SCHEMES:
        if not any(mark.args[0] for mark in each.marks):
            scheme(str(each.values[0]))
            wrong_keys(str(each.values[0]))
