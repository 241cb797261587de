# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the first bytes of an encrypted file say about who can read it, without any key.

Formats: https://age-encryption.org/v1 (section "Header"), RFC 9580 (OpenPGP: 4.2 packet headers, 5.1 and 5.3 packets of
session keys, 5.13 encrypted data). Every function takes the head of a file and raises ``ValueError``, whose text
continues a sentence about the file, when it is not what it should be.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import BinaryIO

# Room for more recipients than anyone has: an RSA key of 4096 bits takes about 800 bytes.
HEAD_BYTES = 256 * 1024
AES256 = 9
_AGE_INTRO = b"age-encryption.org/v1\n"
_AGE_COLUMNS = 64
_NOBODY = "it names nobody who could read it"
_PUBLIC_KEY_PACKET, _PASSPHRASE_PACKET = 1, 3
# Integrity protected data, and its successor in GnuPG 2.3 and later.
_DATA_PACKETS = (18, 20)
# Where each version of a passphrase packet names its cipher.
_CIPHER_OFFSET = {4: 1, 5: 1, 6: 2}


def age_recipients(head: bytes) -> list[str]:
    """The type of each recipient ("X25519", "ssh-rsa", …) for whom an age file is encrypted."""
    lines = io.BytesIO(head)
    if lines.readline(len(_AGE_INTRO)) != _AGE_INTRO:
        raise ValueError("it does not begin as age's format does")
    types = []
    while not (line := _whole_line(lines)).startswith(b"--- "):
        words = line.split(b" ")
        if len(words) < 2 or words[0] != b"->":
            raise ValueError("its age header is malformed")
        types.append(words[1].decode("ascii", errors="replace"))
        while len(_whole_line(lines)) >= _AGE_COLUMNS:
            pass
    # "Grease" is there so that readers learn to pass over types that they do not know; nobody can read by it.
    readers = [each for each in types if not each.endswith("-grease")]
    if not readers:
        raise ValueError(_NOBODY)
    return readers


def _whole_line(lines: BinaryIO) -> bytes:
    line = lines.readline()
    if not line.endswith(b"\n"):
        raise ValueError("its age header is cut short")
    return line[:-1]


@dataclass(frozen=True)
class OpenPgp:
    """How an OpenPGP message is encrypted: for how many public keys, and with which cipher for each passphrase."""

    public_keys: int
    passphrase_ciphers: tuple[int, ...]


def openpgp_readers(head: bytes) -> OpenPgp:
    """Who can read an OpenPGP message that is encrypted and protected against changes."""
    data = io.BytesIO(head)
    public_keys = 0
    ciphers: list[int] = []
    while True:
        tag, length = _packet(data)
        if tag in _DATA_PACKETS:
            break
        if tag not in (_PUBLIC_KEY_PACKET, _PASSPHRASE_PACKET):
            raise ValueError("it holds data that is not encrypted, or not protected against changes")
        body = data.read(length)
        if len(body) != length or length < 0:
            raise ValueError("its OpenPGP header is cut short")
        if tag == _PUBLIC_KEY_PACKET:
            public_keys += 1
        else:
            ciphers.append(_cipher(body))
    if not public_keys and not ciphers:
        raise ValueError(_NOBODY)
    return OpenPgp(public_keys, tuple(ciphers))


def _packet(data: BinaryIO) -> tuple[int, int]:
    """Tag and length in bytes of the packet that begins here; -1 for a length that the header does not tell."""
    first = _number(data, 1)
    if not first & 0x80:
        raise ValueError("it does not begin as OpenPGP's binary format does")
    if not first & 0x40:
        kind = first & 3
        return first >> 2 & 15, -1 if kind == 3 else _number(data, 1 << kind)
    length = _number(data, 1)
    if 192 <= length < 224:
        length = ((length - 192) << 8) + _number(data, 1) + 192
    elif length == 255:
        length = _number(data, 4)
    elif length >= 224:
        length = -1
    return first & 63, length


def _number(data: BinaryIO, size: int) -> int:
    octets = data.read(size)
    if len(octets) != size:
        raise ValueError("its OpenPGP header is cut short")
    return int.from_bytes(octets, "big")


def _cipher(body: bytes) -> int:
    offset = _CIPHER_OFFSET.get(body[0] if body else 0, len(body))
    if offset >= len(body):
        raise ValueError("its OpenPGP header is malformed")
    return body[offset]
