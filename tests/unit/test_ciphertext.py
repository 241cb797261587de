# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import functools
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import ciphertext
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.ciphertext import OpenPgp
from support import keys

INTRO = b"age-encryption.org/v1\n"
X25519 = b"-> X25519 tmjJuwAud+bXlB7Ts73H1KldoQhTECA4DCFE2o40fxQ\nZX0EJeuTYlnLcOhG6yh+oC+e+Pb/JsF/TH031kWd1Vw\n"
# A body whose last line is full ends with an empty line.
LONG = b"-> ssh-rsa iT4WUg\n" + (b"A" * 64 + b"\n") * 2 + b"\n"
GREASE = b"-> Tj`-grease word\nAAAA\n"
MAC = b"--- S36KFJndvRwP49WI/KqPeUT7REtqm7GPXmQMuETWRTA\n"
AGE = INTRO + X25519 + GREASE + LONG + MAC

# Old and new packet headers (RFC 9580, 4.2): the tag, and a length of one, two or four bytes.
PUBLIC_KEY = b"\x03" + b"k" * 8 + b"\x01data"
PASSPHRASE = b"\x04\x09\x03\x0asaltsalt\xff"
DATA = b"\xd2\xea\x01data"


def old(tag: int, body: bytes, kind: int = 0) -> bytes:
    return bytes([0x80 | tag << 2 | kind]) + len(body).to_bytes(1 << kind, "big") + body


def new(tag: int, body: bytes) -> bytes:
    return (
        bytes([0xC0 | tag]) + (bytes([len(body)]) if len(body) < 192 else b"\xff" + len(body).to_bytes(4, "big")) + body
    )


# --- age -------------------------------------------------------------------------------------------------------------


def test_recipients_of_an_age_header_are_told_by_type() -> None:
    """Grease is there for nobody: it must not be counted as a reader."""
    assert ciphertext.age_recipients(AGE + b"payload") == ["X25519", "ssh-rsa"]


@pytest.mark.parametrize("stanzas", [b"", GREASE])
def test_age_file_for_nobody_is_told(stanzas: bytes) -> None:
    with pytest.raises(ValueError, match="nobody"):
        ciphertext.age_recipients(INTRO + stanzas + MAC)


def test_age_header_cut_anywhere_is_malformed() -> None:
    for length in range(len(AGE)):
        with pytest.raises(ValueError, match="age"):
            ciphertext.age_recipients(AGE[:length])


@pytest.mark.parametrize(
    "head",
    [b"", b"SQLite format 3\0", b"-----BEGIN AGE ENCRYPTED FILE-----\n", b"age-encryption.org/v2\n", b"\x85\x01"],
)
def test_what_is_no_age_file_is_told(head: bytes) -> None:
    """As it was asked for: binary, version 1."""
    with pytest.raises(ValueError, match="does not begin as age's format does"):
        ciphertext.age_recipients(head + MAC)


@pytest.mark.parametrize("line", [b"X25519 abc", b"->", b"->X25519", b"--> X25519", b"---", b""])
def test_line_that_is_none_of_a_header_is_malformed(line: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        ciphertext.age_recipients(INTRO + line + b"\n" + MAC)


@keys.needs_age
def test_real_age_header_is_understood(tmp_path: Path) -> None:
    command = ["age", "-r", keys.age_recipient(), "-r", keys.age_recipient("other")]
    head = subprocess.run(command, input=b"x", capture_output=True, check=True).stdout
    assert ciphertext.age_recipients(head) == ["X25519", "X25519"]


# --- OpenPGP ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packet", [old, functools.partial(old, kind=1), functools.partial(old, kind=2), new], ids=["1", "2", "4", "new"]
)
@pytest.mark.parametrize("data", [DATA, b"\xd4\xea", new(18, b"x"), new(20, b"x" * 300)])
def test_readers_of_an_openpgp_message(packet: Callable[[int, bytes], bytes], data: bytes) -> None:
    head = packet(1, PUBLIC_KEY) + packet(1, PUBLIC_KEY) + packet(3, PASSPHRASE) + data
    assert ciphertext.openpgp_readers(head) == OpenPgp(2, (9,))


def test_length_of_two_bytes_is_understood() -> None:
    """RFC 9580, 4.2.1: from 192 to 8383, which is where RSA keys are."""
    head = b"\xc1\xc5\xfb" + bytes(1723) + new(3, PASSPHRASE) + DATA
    assert ciphertext.openpgp_readers(head) == OpenPgp(1, (9,))


@pytest.mark.parametrize(("version", "cipher"), [(4, b"\x07"), (5, b"\x09\x02"), (6, b"\x05\x09\x02")])
def test_cipher_of_each_version_of_a_passphrase_packet(version: int, cipher: bytes) -> None:
    head = new(3, bytes([version]) + cipher + b"\x03\x0asaltsalt\xff") + DATA
    assert ciphertext.openpgp_readers(head).passphrase_ciphers == (7 if version == 4 else 9,)


@pytest.mark.parametrize("body", [b"", b"\x04", b"\x06\x05", b"\x07\x09\x09\x09", b"\x00\x09"])
def test_malformed_passphrase_packet_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="malformed"):
        ciphertext.openpgp_readers(new(3, body) + DATA)


def test_openpgp_header_cut_anywhere_is_malformed() -> None:
    """Cut behind the packet of the passphrase, gpg takes it for a message without content, and is content."""
    whole = old(3, PASSPHRASE) + new(1, PUBLIC_KEY) + DATA[:2]
    for length in range(len(whole)):
        with pytest.raises(ValueError, match="cut short"):
            ciphertext.openpgp_readers(whole[:length])


def test_message_for_nobody_is_told() -> None:
    with pytest.raises(ValueError, match="nobody"):
        ciphertext.openpgp_readers(DATA)


@pytest.mark.parametrize("tag", [2, 8, 9, 10, 11])
def test_message_that_is_not_encrypted_or_protected_is_told(tag: int) -> None:
    """Signed, compressed, encrypted without protection, marked, plain: gpg unpacks all of them."""
    with pytest.raises(ValueError, match="not encrypted, or not protected"):
        ciphertext.openpgp_readers(old(3, PASSPHRASE) + new(tag, b"data"))


@pytest.mark.parametrize("head", [b"-----BEGIN PGP MESSAGE-----\n", b"age-encryption.org/v1\n", b"SQLite format 3\0"])
def test_what_is_not_binary_openpgp_is_told(head: bytes) -> None:
    with pytest.raises(ValueError, match="does not begin as OpenPGP"):
        ciphertext.openpgp_readers(head)


@pytest.mark.parametrize("packet", [b"\x87", b"\xc3\xe1", b"\x8f" + PASSPHRASE])
def test_key_packet_without_a_length_is_malformed(packet: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        ciphertext.openpgp_readers(packet + PUBLIC_KEY + DATA)


# --- anything --------------------------------------------------------------------------------------------------------

HEADS = st.one_of(
    st.binary(max_size=300),
    st.lists(
        st.one_of(st.sampled_from([INTRO, X25519, LONG, GREASE, MAC, DATA, old(3, PASSPHRASE), new(1, PUBLIC_KEY)]),
                  st.binary(max_size=8)),
        max_size=8,
    ).map(b"".join),
)  # fmt: skip


@given(HEADS)
def test_no_bytes_give_anything_but_readers_or_a_sentence(head: bytes) -> None:
    """An artifact is whatever somebody put there."""
    for read in (ciphertext.age_recipients, ciphertext.openpgp_readers):
        with contextlib.suppress(ValueError):
            assert read(head)


@given(st.integers(0, len(AGE) - 1), st.integers(1, 255))
def test_changed_byte_of_a_header_never_adds_a_reader_unseen(position: int, change: int) -> None:
    changed = bytearray(AGE)
    changed[position] ^= change
    with contextlib.suppress(ValueError):
        assert len(ciphertext.age_recipients(bytes(changed))) <= 3
